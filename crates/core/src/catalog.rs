//! The index of what the stores hold: a cache in SQLite. Deleting it loses only its memory of
//! points that were once there (see [`memory`]). Data that points share is kept once (see
//! [`details`]).
//!
//! Rows are keyed by a store's location, so that a store name that is given another place does not
//! show the points of the old one. A catalog that cannot be read is replaced.

mod details;
pub mod memory;
mod records;

pub use memory::Lost;
pub use records::{HeldRecord, StoredRecord};

use crate::copies::{self, PointCopy};
use crate::digest::hex;
use crate::error::{Code, Error, Result};
use crate::point::{Manifest, PointId};
use crate::stores::OpenStore;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Largest number of points searched for the previous point of a plan.
const PREVIOUS_MAX: usize = 200;

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
    /// Opens the catalog or creates it; replaces a damaged one by an empty one.
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
        // consistent all the same.
        Ok(self
            .connection
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn run<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&mut *self.connection()?).map_err(|error| failed(&self.path, &error))
    }

    /// Notes a copy of a point that this host committed.
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

    /// Noted copies of a store, by ascending point.
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

    /// SHA-256, hex, of the manifest of the plan's previous point, as far as the store's points are
    /// noted here.
    pub fn previous_of_plan(&self, location: &str, manifest: &Manifest) -> Option<String> {
        let rows: Vec<Vec<u8>> = self
            .run(|c| {
                c.prepare(
                    "SELECT bytes FROM manifest WHERE location = ?1 AND point < ?2 ORDER BY point DESC",
                )?
                .query_map([location, manifest.point.as_str()], |r| r.get(0))?
                .take(PREVIOUS_MAX)
                .collect()
            })
            .ok()?;
        let of_plan = |bytes: &Vec<u8>| {
            let parsed = serde_json::from_slice::<Manifest>(bytes);
            parsed.is_ok_and(|m| {
                m.app == manifest.app
                    && m.environment == manifest.environment
                    && m.plan == manifest.plan
                    && !m.safety
            })
        };
        let previous = rows.into_iter().find(of_plan)?;
        Some(hex(&Sha256::digest(&previous)))
    }

    /// The newest point of the same second as `point` that any store holds or held, including
    /// forgotten ones: a new point must not reuse the id.
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

    /// Stored bytes of this artifact in one of the newest noted points of a store, as an estimate
    /// for the next one.
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

    /// Updates the notes of a store: one list call, and a read of each manifest that is new or has
    /// another size. Returns its copies, and the errors of manifests that could not be read.
    pub fn sync(&self, store: &OpenStore) -> Result<(Vec<PointCopy>, Vec<Error>)> {
        let Synced { copies, errors } = self.sync_points(store, false)?;
        Ok((
            copies.into_values().collect(),
            errors.into_values().collect(),
        ))
    }

    /// Updates as [`Catalog::sync`] does and returns the copies by point; `rescan` reads every
    /// manifest.
    pub(crate) fn sync_points(&self, store: &OpenStore, rescan: bool) -> Result<Synced> {
        let location = store.store.location();
        let listed = copies::list(store)?;
        let noted = self.copies(&location)?.into_iter();
        let noted: BTreeMap<PointId, PointCopy> =
            noted.map(|c| (c.manifest.point.clone(), c)).collect();
        // A copy that is gone stays in the memory.
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
                    if shows_loss(&error) {
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

/// Content of a store that could be listed.
pub(crate) struct Synced {
    pub(crate) copies: BTreeMap<PointId, PointCopy>,
    /// Errors of manifests that exist and could not be read. The copy of such a point is the one
    /// noted before.
    pub(crate) errors: BTreeMap<PointId, Error>,
}

/// Returns whether an error shows that a document is gone or changed, rather than that the store
/// could not be read.
fn shows_loss(error: &Error) -> bool {
    matches!(
        error.code,
        Code::ObjectMissing | Code::ObjectDamaged | Code::Untrusted
    )
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
