//! The index of what the stores hold: a cache in SQLite that can be deleted at any time, at the
//! price of its memory: which points were there once (see [`memory`]). What points have in common
//! is kept once (see [`details`]).
//!
//! Rows are keyed by a store's location, so that a configuration that gives a name to another
//! place does not show the old one's points. A catalog that cannot be read is made anew.

mod details;
pub mod memory;
mod records;

pub use memory::Lost;
pub use records::{HeldRecord, StoredRecord};

use crate::clock::is_ahead;
use crate::context::{Context, OpenStore};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::objective;
use crate::point::copies::{self, PointCopy};
use crate::point::{Manifest, PointId};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS manifest (
        location TEXT NOT NULL, point TEXT NOT NULL, bytes BLOB NOT NULL, signature TEXT,
        PRIMARY KEY (location, point));";

/// The index of what the stores hold.
pub struct Catalog {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Catalog {
    /// Opens the catalog, or makes it; one that is damaged is replaced by an empty one.
    pub fn open(path: &Path) -> Result<Self> {
        let connection = match connect(path) {
            Ok(connection) => connection,
            Err(error) if is_damage(&error) => {
                for suffix in ["", "-wal", "-shm"] {
                    let mut name = path.as_os_str().to_owned();
                    name.push(suffix);
                    let _ = std::fs::remove_file(PathBuf::from(name));
                }
                connect(path).map_err(|e| failed(path, &e))?
            }
            Err(error) => return Err(failed(path, &error)),
        };
        Ok(Catalog {
            connection: Mutex::new(connection),
            path: path.to_owned(),
        })
    }

    fn connection(&self) -> Result<MutexGuard<'_, Connection>> {
        // A poisoned lock means that another thread panicked between two statements: the cache is
        // whole all the same.
        Ok(self
            .connection
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn run<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&mut *self.connection()?).map_err(|error| failed(&self.path, &error))
    }

    /// Notes a copy of a point that was committed here.
    pub fn note(&self, location: &str, copy: &PointCopy) -> Result<()> {
        self.remember(location, copy)?;
        self.index(location, copy)
    }

    fn index(&self, location: &str, copy: &PointCopy) -> Result<()> {
        self.run(|c| {
            c.execute(
                "INSERT OR REPLACE INTO manifest VALUES (?1, ?2, ?3, ?4)",
                params![
                    location,
                    copy.manifest.point.as_str(),
                    copy.bytes,
                    copy.signature
                ],
            )
        })?;
        Ok(())
    }

    /// The copies noted of a store, by ascending point.
    pub fn copies(&self, location: &str) -> Result<Vec<PointCopy>> {
        let rows: Vec<(String, Vec<u8>, Option<String>)> = self.run(|c| {
            c.prepare(
                "SELECT point, bytes, signature FROM manifest WHERE location = ?1 ORDER BY point",
            )?
            .query_map([location], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
            .collect()
        })?;
        Ok(rows
            .into_iter()
            .filter_map(|(point, bytes, signature)| {
                copies::parse(location, &PointId::parse(&point)?, bytes, signature).ok()
            })
            .collect())
    }

    /// The newest point of the same second as `point` that is or was in any store, also one that is
    /// forgotten: what it left must not be met again.
    pub fn newest_beside(&self, point: &PointId) -> Option<PointId> {
        let newest: Option<String> = self
            .run(|c| {
                c.query_row(
                    "SELECT max(point) FROM (SELECT point FROM manifest UNION SELECT point FROM seen
                        UNION SELECT point FROM forgotten) WHERE point GLOB ?1",
                    [format!("{}-*", point.second())],
                    |r| r.get(0),
                )
            })
            .ok()?;
        PointId::parse(&newest?)
    }

    /// Stored bytes of this artifact in one of the newest points noted of a store: what the next one
    /// will be about as large as.
    pub fn previous_bytes(&self, location: &str, source: &str, artifact: &str) -> Option<u64> {
        let rows: Vec<Vec<u8>> = self
            .run(|c| {
                c.prepare(
                    "SELECT bytes FROM manifest WHERE location = ?1 ORDER BY point DESC LIMIT 20",
                )?
                .query_map([location], |r| r.get(0))?
                .collect()
            })
            .ok()?;
        rows.iter().find_map(|bytes| {
            let manifest: Manifest = serde_json::from_slice(bytes).ok()?;
            let mut artifacts = manifest.artifacts.into_iter();
            artifacts
                .find(|a| a.source == source && a.name == artifact)?
                .stored_bytes()
        })
    }

    /// Brings the notes of a store up to date: one list call, and a read for each manifest that is
    /// new or has another size. Returns its copies, and errors of manifests that could not be read.
    pub fn sync(&self, store: &OpenStore) -> Result<(Vec<PointCopy>, Vec<Error>)> {
        let Synced { copies, errors } = self.sync_points(store, false)?;
        Ok((
            copies.into_values().collect(),
            errors.into_values().collect(),
        ))
    }

    /// The same, by point; with `rescan`, every manifest is read.
    fn sync_points(&self, store: &OpenStore, rescan: bool) -> Result<Synced> {
        let location = store.store.location();
        let listed = copies::list(store)?;
        let noted = self.copies(&location)?.into_iter();
        let noted: BTreeMap<PointId, PointCopy> =
            noted.map(|c| (c.manifest.point.clone(), c)).collect();
        // What is gone stays in the memory.
        let gone = noted.keys().filter(|point| !listed.contains_key(point));
        for point in gone.clone() {
            self.drop_note(&location, point)?;
        }
        if gone.count() > 0 {
            self.drop_details()?;
        }
        let mut errors = BTreeMap::new();
        for (point, sizes) in &listed {
            if !rescan && noted.get(point).is_some_and(|copy| sizes.fit(copy)) {
                continue;
            }
            match copies::read(store, point) {
                Ok(copy) => self.index(&location, &copy)?,
                Err(error) => {
                    if says_lost(&error) {
                        self.drop_note(&location, point)?;
                    }
                    errors.insert(point.clone(), error);
                }
            }
        }
        let copies = self.copies(&location)?.into_iter();
        Ok(Synced {
            copies: copies.map(|c| (c.manifest.point.clone(), c)).collect(),
            errors,
        })
    }

    fn drop_note(&self, location: &str, point: &PointId) -> Result<()> {
        let statement = "DELETE FROM manifest WHERE location = ?1 AND point = ?2";
        let values = params![location, point.as_str()];
        self.run(|c| c.execute(statement, values).map(drop))
    }
}

/// What a store that answered has.
struct Synced {
    copies: BTreeMap<PointId, PointCopy>,
    /// Why a manifest that is there could not be read. A copy of its point is one that was noted
    /// before.
    errors: BTreeMap<PointId, Error>,
}

/// Whether an error says that a document is not there or not what it was, and not only that the
/// store could not be asked for it.
fn says_lost(error: &Error) -> bool {
    matches!(
        error.code,
        Code::ObjectMissing | Code::ObjectDamaged | Code::Untrusted
    )
}

/// What the stores hold, as far as they answer.
pub struct Survey {
    /// Every copy of this application's points, with the name of its store.
    pub copies: Vec<(Name, PointCopy)>,
    /// Copies of this application's points that were in a store once, are lost, and were not
    /// acknowledged as gone; of stores that answered.
    pub missing: Vec<Lost>,
    /// Points that were disowned.
    pub disowned: BTreeSet<PointId>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// A store or a manifest that could not be read.
pub struct Unread {
    /// In which store.
    pub store: Name,
    /// The point whose manifest could not be read; the whole store if there is none.
    pub point: Option<PointId>,
    /// Why.
    pub error: Error,
}

impl Survey {
    /// Why a store could not be asked, if it could not.
    pub fn unasked(&self, store: &str) -> Option<&Error> {
        let mut unasked = self.unread.iter().filter(|u| u.point.is_none());
        unasked.find(|u| u.store == store).map(|u| &u.error)
    }

    /// Adds to an error which says that there is no point that the stores were not all read, if so
    /// it is.
    pub fn as_far_as_read(&self, error: Error, store: Option<&str>) -> Error {
        let mut unread = self.unread.iter();
        let first = unread.find(|u| store.is_none_or(|s| u.store == s));
        let Some(Unread { error: first, .. }) = first else {
            return error;
        };
        Error {
            code: first.code,
            message: format!("{}, as far as the stores could be read", error.message),
            hint: first.hint.clone(),
            ..error
        }
        .cause(first)
    }

    /// Points that someone we trust signed, that are dated in the future, and that were not
    /// disowned.
    pub fn ahead(&self, context: &Context) -> BTreeSet<PointId> {
        let now = context.clock.now();
        let ahead = self.copies.iter().filter(|(_, copy)| {
            let point = &copy.manifest.point;
            is_ahead(point.time(), now)
                && !self.disowned.contains(point)
                && copy.check_trust(context).is_ok()
        });
        ahead.map(|(_, c)| c.manifest.point.clone()).collect()
    }

    /// The plans of the configuration whose newest complete point is older than the objective, and
    /// what is said of each.
    pub fn overdue(&self, context: &Context) -> Vec<(Name, String)> {
        let now = context.clock.now();
        let plans = context.config.plan.keys();
        let mut newest: BTreeMap<Name, Option<PointId>> =
            plans.map(|plan| (plan.clone(), None)).collect();
        for (_, copy) in &self.copies {
            let manifest = &copy.manifest;
            let counts = manifest.lacks().is_none()
                && !manifest.safety
                && !is_ahead(manifest.point.time(), now)
                && !self.disowned.contains(&manifest.point)
                && copy.check_trust(context).is_ok();
            if let (true, Some(known)) = (counts, newest.get_mut(&manifest.plan)) {
                *known = known.take().max(Some(manifest.point.clone()));
            }
        }
        objective::overdue(&newest, context.config.app.rpo, now)
    }

    /// What can be done about a copy that is missing in a store.
    pub fn missing_hint(&self, store: &str, point: &PointId) -> String {
        match self.copies.iter().any(|(_, c)| &c.manifest.point == point) {
            true => format!("heal it: lifeboat copy {point} --to {store}"),
            false => format!(
                "find out who deleted or changed it, and whether the store was rolled back; if it may be gone: lifeboat points --forget {point} --reason TEXT"
            ),
        }
    }
}

/// Asks every store for its points. One that cannot be reached contributes what was noted of it
/// before, and says so in `unread`. With `rescan`, every manifest is read again.
pub fn survey(context: &Context, rescan: bool) -> Result<Survey> {
    let mut survey = Survey {
        copies: Vec::new(),
        missing: Vec::new(),
        disowned: context.catalog.disowned()?,
        unread: Vec::new(),
    };
    for name in context.config.store.keys() {
        let unread = |point, error| Unread {
            store: name.clone(),
            point,
            error,
        };
        let store = match context.store(name) {
            Ok(store) => store,
            Err(error) => {
                survey.unread.push(unread(None, error));
                continue;
            }
        };
        let copies = match context.catalog.sync_points(&store, rescan) {
            Ok(mut synced) => {
                let lost = context.catalog.lost(context, &store, &mut synced)?;
                survey.missing.extend(lost);
                let errors = synced.errors.into_iter();
                survey
                    .unread
                    .extend(errors.map(|(p, e)| unread(Some(p), e)));
                synced.copies.into_values().collect()
            }
            Err(error) => {
                let message = format!("store {name} cannot be asked: {}", error.message);
                survey.unread.push(unread(None, Error { message, ..error }));
                context.catalog.copies(&store.store.location())?
            }
        };
        survey
            .copies
            .extend(copies.into_iter().map(|copy| (name.clone(), copy)));
    }
    if context.is_cold() {
        // Of the others that should have a copy, nothing is known here.
        for (name, copy) in &mut survey.copies {
            copy.manifest.stores = vec![name.clone()];
        }
    }
    if context.shows_every_app() {
        return Ok(survey);
    }
    let app = &context.config.app;
    let is_ours = |m: &Manifest| m.app == app.name && m.environment == app.environment;
    survey.copies.retain(|(_, copy)| is_ours(&copy.manifest));
    survey.missing.retain(|lost| is_ours(&lost.copy.manifest));
    Ok(survey)
}

/// The stores of a point that should hold a copy and do not, by the manifests that are known.
pub fn missing_copies(found: &[(Name, PointCopy)]) -> BTreeMap<PointId, Vec<Name>> {
    let mut held: BTreeMap<PointId, (BTreeSet<Name>, BTreeSet<Name>)> = BTreeMap::new();
    for (store, copy) in found {
        let entry = held.entry(copy.manifest.point.clone()).or_default();
        entry.0.insert(store.clone());
        entry.1.extend(copy.manifest.stores.iter().cloned());
    }
    held.into_iter()
        .map(|(point, (have, want))| (point, want.difference(&have).cloned().collect()))
        .collect()
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch(SCHEMA)?;
    memory::prepare(&connection)?;
    connection.execute_batch(details::SCHEMA)?;
    details::migrate(&mut connection)?;
    connection.execute_batch(records::SCHEMA)?;
    records::migrate(&mut connection)?;
    Ok(connection)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
    )
}

fn failed(path: &Path, error: &rusqlite::Error) -> Error {
    Error::new(Code::State, format!("the catalog cannot be used: {}", path.display()))
        .cause(error)
        .hint("check the disk and the permissions; the catalog may be deleted, it is rebuilt from the stores")
}
