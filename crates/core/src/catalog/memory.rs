//! Memory of the copies that were once in a store, and of what the operator said about them.
//!
//! A copy that was seen in a store, and is now gone or no longer trusted, is missing until the
//! operator forgets it. A point can also be disowned: it exists, but is used only when it is named
//! by its id. Both are known on this host alone, and are lost with the catalog.

use super::{Catalog, Synced, shows_loss};
use crate::copies::{self, PointCopy};
use crate::error::{Code, Error, Result};
use crate::host::author;
use crate::name::Name;
use crate::point::PointId;
use crate::sign::TrustedSigners;
use crate::stores::OpenStore;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::Serialize;
use std::collections::BTreeSet;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS seen (
        location TEXT NOT NULL, point TEXT NOT NULL, bytes BLOB NOT NULL, signature TEXT,
        PRIMARY KEY (location, point));
    CREATE TABLE IF NOT EXISTS forgotten (
        point TEXT NOT NULL, what TEXT NOT NULL, reason TEXT NOT NULL, author TEXT NOT NULL,
        at TEXT NOT NULL);";
/// First version of the catalog with a memory.
const VERSION: i64 = 2;

/// Creates the tables. In a catalog of an older version, the noted copies become the memory.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(SCHEMA)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if version < VERSION {
        connection.execute("INSERT OR IGNORE INTO seen SELECT * FROM manifest", [])?;
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(())
}

/// Reason for which a point is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forgotten {
    /// It was missing, and may be gone.
    Missing,
    /// It is dated in the future: it is there, and is passed over.
    Disowned,
}

impl Forgotten {
    /// The name in JSON and in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Forgotten::Missing => "missing",
            Forgotten::Disowned => "disowned",
        }
    }
}

/// A copy that was once in a store, and is lost.
pub struct Lost {
    /// Store that held it.
    pub store: Name,
    /// The copy as it was.
    pub copy: PointCopy,
    /// Error of what is there now instead; `None` when nothing is there.
    pub found: Option<Error>,
}

impl Lost {
    /// Describes the loss in a sentence.
    pub fn text(&self) -> String {
        let (point, store) = (&self.copy.manifest.point, &self.store);
        match &self.found {
            None => format!("point {point} was in store {store} and is not there any more"),
            Some(why) => format!(
                "point {point} was in store {store}, and its manifest there is not what it was: {why}"
            ),
        }
    }
}

/// Decides whether a copy that was trusted is lost, given what the store holds `now`. The inner
/// value is the error of what is there instead, if anything is.
fn loss(
    trusted: &TrustedSigners,
    seen: &PointCopy,
    now: Option<&PointCopy>,
) -> Option<Option<Error>> {
    let Some(now) = now else {
        return Some(None);
    };
    if let Err(error) = now.check_trust(trusted) {
        return Some(Some(error));
    }
    let (was, is) = (&seen.manifest, &now.manifest);
    if (&was.app, &was.environment) == (&is.app, &is.environment) {
        return None;
    }
    let message = format!("it is of {}/{} now", is.app, is.environment);
    Some(Some(Error::new(Code::ObjectDamaged, message)))
}

impl Catalog {
    /// Remembers a copy that this host committed.
    pub(super) fn remember(&self, location: &str, copy: &PointCopy) -> Result<()> {
        self.see("REPLACE", location, copy)
    }

    /// Remembers a copy that was found in a store, unless one is remembered: what the store holds
    /// later does not replace what it held first.
    pub(super) fn remember_first(&self, location: &str, copy: &PointCopy) -> Result<()> {
        self.see("IGNORE", location, copy)
    }

    fn see(&self, conflict: &str, location: &str, copy: &PointCopy) -> Result<()> {
        let point = copy.manifest.point.as_str();
        self.run(|c| {
            let statement = format!("INSERT OR {conflict} INTO seen VALUES (?1, ?2, ?3, ?4)");
            let values = params![location, point, copy.bytes, copy.signature];
            c.execute(&statement, values).map(drop)
        })
    }

    /// Finds copies that were seen in a store, were trusted, and are lost. Removes what replaced
    /// them from `synced`, and remembers everything else that is there.
    pub(crate) fn lost(
        &self,
        trusted: &TrustedSigners,
        store: &OpenStore,
        synced: &mut Synced,
    ) -> Result<Vec<Lost>> {
        let location = store.store.location();
        let rows: Vec<(String, Vec<u8>, Option<String>)> = self.run(|c| {
            c.prepare("SELECT point, bytes, signature FROM seen WHERE location = ?1 ORDER BY 1")?
                .query_map([&location], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
                .collect()
        })?;
        let is_believed = |copy: &PointCopy| copy.check_trust(trusted).is_ok();
        let (mut lost, mut known) = (Vec::new(), BTreeSet::new());
        for (point, bytes, signature) in rows {
            let Some(point) = PointId::parse(&point) else {
                continue;
            };
            known.insert(point.clone());
            let now = synced.copies.get(&point);
            if now.is_some_and(|now| now.bytes == bytes && now.signature == signature) {
                continue;
            }
            let seen = copies::parse(&store.name, &point, bytes, signature);
            let Some(seen) = seen.ok().filter(is_believed) else {
                // A copy that is trusted now replaces one that never was.
                if let Some(now) = now.filter(|now| is_believed(now)) {
                    self.remember(&location, now)?;
                }
                continue;
            };
            let found = match (loss(trusted, &seen, now), synced.errors.get(&point)) {
                (None, _) => continue,
                (_, Some(error)) if !shows_loss(error) => continue,
                (_, Some(error)) if error.code != Code::ObjectMissing => Some(error.clone()),
                (Some(found), _) => found,
            };
            synced.copies.remove(&point);
            synced.errors.remove(&point);
            lost.push(Lost {
                store: store.name.clone(),
                copy: seen,
                found,
            });
        }
        let new = synced.copies.iter().filter(|(p, _)| !known.contains(p));
        for (_, copy) in new {
            self.remember_first(&location, copy)?;
        }
        Ok(lost)
    }

    /// The points that were disowned.
    pub(crate) fn disowned(&self) -> Result<BTreeSet<PointId>> {
        let points: Vec<String> = self.run(|c| {
            c.prepare("SELECT point FROM forgotten WHERE what = ?1")?
                .query_map([Forgotten::Disowned.as_str()], |r| r.get(0))?
                .collect()
        })?;
        Ok(points.iter().filter_map(|id| PointId::parse(id)).collect())
    }

    /// Notes that a point is forgotten. A missing point is also dropped from the memory.
    pub(crate) fn forget(
        &self,
        what: Forgotten,
        point: &PointId,
        reason: &str,
        at: Timestamp,
    ) -> Result<()> {
        let by = author();
        self.run(|c| {
            let transaction = c.transaction()?;
            transaction.execute(
                "INSERT INTO forgotten VALUES (?1, ?2, ?3, ?4, ?5)",
                params![point.as_str(), what.as_str(), reason, by, at.to_string()],
            )?;
            if what == Forgotten::Missing {
                // The next survey remembers copies that are still there again.
                transaction.execute("DELETE FROM seen WHERE point = ?1", [point.as_str()])?;
            }
            transaction.commit()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_keeps_its_id() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&directory.path().join("catalog")).unwrap();
        let id = |text: &str| PointId::parse(text).unwrap();
        let forgotten = id("20261120T060000Z-8fff");
        let other = id("20261120T060001Z-0000");
        catalog
            .forget(Forgotten::Missing, &forgotten, "by hand", other.time())
            .unwrap();
        let beside = catalog.newest_beside(&id("20261120T060000Z-0001"));
        assert_eq!(beside, Some(forgotten));
        assert_eq!(catalog.newest_beside(&other), None);
    }
}
