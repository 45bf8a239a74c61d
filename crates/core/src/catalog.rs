//! The index of what the stores hold: a cache in SQLite. Deleting it loses only its memory of
//! points that were once there (see [`memory`]). Data that points share is kept once (see
//! [`details`]).
//!
//! Rows are keyed by a store's location, so that a store name that is given another place does not
//! show the points of the old one. A catalog that cannot be read is replaced.
//!
//! It remembers that a signature fits a manifest, and which key made it, so that this is computed
//! once. It never remembers that a key is trusted: that is asked anew in every run.

mod details;
mod doubt;
mod locks;
pub(crate) mod marks;
pub mod memory;
mod place;
mod posture;
mod records;
mod stored;
mod sync;

pub use doubt::Doubt;
pub use memory::Lost;
pub(crate) use posture::NotedPosture;
pub use records::{HeldRecord, StoredRecord};

use crate::copies::{Fit, PointCopy, StoredManifest};
use crate::digest::hex;
use crate::error::{Code, Error, Result};
use crate::point::{Manifest, PointId};
use crate::sqlite::{self, is_damage};
use rusqlite::{Connection, Row, TransactionBehavior, params};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// Largest number of points searched for the previous point of a plan.
const PREVIOUS_MAX: usize = 200;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS manifest (
        location TEXT NOT NULL, point TEXT NOT NULL, bytes BLOB NOT NULL, signature TEXT,
        PRIMARY KEY (location, point));
    CREATE TABLE IF NOT EXISTS fit (
        location TEXT NOT NULL, point TEXT NOT NULL, digest TEXT NOT NULL, key TEXT NOT NULL,
        PRIMARY KEY (location, point));";

const COPIES: &str = "
    SELECT m.point, m.bytes, m.signature, f.digest, f.key
    FROM manifest m LEFT JOIN fit f ON f.location = m.location AND f.point = m.point
    WHERE m.location = ?1 ORDER BY m.point";

const NEWEST_COPIES: &str = "
    SELECT m.point, m.bytes, m.signature, f.digest, f.key
    FROM manifest m LEFT JOIN fit f ON f.location = m.location AND f.point = m.point
    WHERE m.location = ?1 ORDER BY m.point DESC LIMIT ?2";

/// Number of points among which the newest of a plan are looked for.
const NEWEST_MAX: u32 = 2000;

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

    /// Runs `work` in one transaction: all of it is written, or nothing.
    fn write(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<()> {
        self.run(|c| {
            let transaction = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            work(&transaction)?;
            transaction.commit()
        })
    }

    /// Notes a copy of a point that this host committed.
    pub fn note(&self, location: &str, stored: &StoredManifest, copy: &PointCopy) -> Result<()> {
        self.write(|c| {
            index(c, location, stored, copy)?;
            doubt::clear(c, location, &copy.manifest.point)?;
            memory::remember(c, location, &copy.manifest.point)
        })
    }

    /// Noted copies of a store, by ascending point.
    pub fn copies(&self, location: &str) -> Result<Vec<PointCopy>> {
        let mut unknown = Vec::new();
        let copies = self.run(|c| {
            let mut statement = c.prepare(COPIES)?;
            let mut rows = statement.query([location])?;
            let mut copies = Vec::new();
            while let Some(row) = rows.next()? {
                let (stored, known) = noted(row)?;
                let point = PointId::parse(&row.get::<_, String>(0)?);
                let parsed = point.map(|p| stored.parse_knowing(location, &p, known.as_ref()));
                let Some(Ok(copy)) = parsed else {
                    continue;
                };
                let fit = stored.fit(&copy).filter(|fit| known.as_ref() != Some(fit));
                unknown.extend(fit.map(|fit| (copy.manifest.point.clone(), fit)));
                copies.push(copy);
            }
            Ok(copies)
        })?;
        if !unknown.is_empty() {
            // Notes of an older version. What cannot be noted is computed again.
            let _ = self.write(|c| {
                let mut fits = unknown.iter();
                fits.try_for_each(|(point, fit)| note_fit(c, location, point, fit))
            });
        }
        Ok(copies)
    }

    /// The newest noted copies of a store that are wanted, the newest first: at most `most`, and none
    /// beyond its newest 2000 points.
    pub fn newest_copies(
        &self,
        location: &str,
        most: usize,
        wanted: impl Fn(&PointCopy) -> bool,
    ) -> Result<Vec<PointCopy>> {
        self.run(|c| {
            let mut statement = c.prepare(NEWEST_COPIES)?;
            let mut rows = statement.query(params![location, NEWEST_MAX])?;
            let mut copies = Vec::new();
            while copies.len() < most
                && let Some(row) = rows.next()?
            {
                let (stored, known) = noted(row)?;
                let point = PointId::parse(&row.get::<_, String>(0)?);
                let parsed = point.map(|p| stored.parse_knowing(location, &p, known.as_ref()));
                copies.extend(parsed.and_then(std::result::Result::ok).filter(&wanted));
            }
            Ok(copies)
        })
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

    /// Drops the notes of points that a store does not hold.
    fn drop_notes<'a>(
        &self,
        location: &str,
        points: impl IntoIterator<Item = &'a PointId>,
    ) -> Result<()> {
        self.write(|c| {
            for point in points {
                for table in ["manifest", "fit"] {
                    let statement =
                        format!("DELETE FROM {table} WHERE location = ?1 AND point = ?2");
                    c.prepare_cached(&statement)?
                        .execute(params![location, point.as_str()])?;
                }
            }
            Ok(())
        })
    }
}

/// A row of [`COPIES`] or [`NEWEST_COPIES`]: what is noted of a manifest, and whether its signature is known to fit.
fn noted(row: &Row<'_>) -> rusqlite::Result<(StoredManifest, Option<Fit>)> {
    let stored = StoredManifest {
        bytes: row.get(1)?,
        signature: row.get(2)?,
    };
    let (digest, key): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
    let fit = digest.zip(key).map(|(digest, key)| Fit { digest, key });
    Ok((stored, fit))
}

fn index(
    c: &Connection,
    location: &str,
    stored: &StoredManifest,
    copy: &PointCopy,
) -> rusqlite::Result<()> {
    let point = &copy.manifest.point;
    let values = params![location, point.as_str(), stored.bytes, stored.signature];
    c.prepare_cached("INSERT OR REPLACE INTO manifest VALUES (?1, ?2, ?3, ?4)")?
        .execute(values)?;
    match stored.fit(copy) {
        Some(fit) => note_fit(c, location, point, &fit),
        None => Ok(()),
    }
}

fn note_fit(c: &Connection, location: &str, point: &PointId, fit: &Fit) -> rusqlite::Result<()> {
    c.prepare_cached("INSERT OR REPLACE INTO fit VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![location, point.as_str(), fit.digest, fit.key])
        .map(drop)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    sqlite::share(&connection)?;
    connection.execute_batch(SCHEMA)?;
    memory::prepare(&connection)?;
    connection.execute_batch(doubt::SCHEMA)?;
    connection.execute_batch(locks::SCHEMA)?;
    connection.execute_batch(stored::SCHEMA)?;
    connection.execute_batch(posture::SCHEMA)?;
    connection.execute_batch(place::SCHEMA)?;
    connection.execute_batch(details::SCHEMA)?;
    details::migrate(&mut connection)?;
    connection.execute_batch(records::SCHEMA)?;
    connection.execute_batch(marks::SCHEMA)?;
    records::migrate(&mut connection)?;
    Ok(connection)
}

fn failed(path: &Path, error: &rusqlite::Error) -> Error {
    Error::new(Code::State, format!("the catalog cannot be used: {}", path.display()))
        .cause(sqlite::failure(path, error))
        .hint("check the disk and the permissions; the catalog may be deleted, it is rebuilt from the stores")
}

#[cfg(test)]
mod tests;
