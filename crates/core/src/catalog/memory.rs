//! Memory of the copies that were once in a store, and of what the operator said about them.
//!
//! A copy that was seen in a store, and is now gone or no longer trusted, is missing until the
//! operator forgets it. A point can also be disowned: it exists, but is used only when it is named
//! by its id. Both are known on this host alone, and are lost with the catalog.

use super::sync::{Synced, shows_loss};
use super::{Catalog, doubt, stored};
use crate::copies::{self, PointCopy, StoredManifest};
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
        at TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS given_up (
        location TEXT NOT NULL, point TEXT NOT NULL, PRIMARY KEY (location, point));";
const CHANGED: &str = "
    SELECT s.point, s.bytes, s.signature
    FROM seen s LEFT JOIN manifest m ON m.location = s.location AND m.point = s.point
    WHERE s.location = ?1 AND (m.bytes IS NOT s.bytes OR m.signature IS NOT s.signature)
    ORDER BY s.point";
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

/// Returns whether a store holds a manifest of a point by a listing that is made once, when it is
/// first asked for.
fn is_there_now(
    store: &OpenStore,
    listed: &mut Option<BTreeSet<PointId>>,
    point: &PointId,
) -> Result<bool> {
    let listed = match listed {
        Some(listed) => listed,
        None => listed.insert(copies::list(store)?.into_keys().collect()),
    };
    Ok(listed.contains(point))
}

/// Remembers the noted copy of a point.
pub(super) fn remember(c: &Connection, location: &str, point: &PointId) -> rusqlite::Result<()> {
    see(c, "REPLACE", location, point)
}

fn see(c: &Connection, conflict: &str, location: &str, point: &PointId) -> rusqlite::Result<()> {
    let statement = format!(
        "INSERT OR {conflict} INTO seen SELECT location, point, bytes, signature
            FROM manifest WHERE location = ?1 AND point = ?2"
    );
    c.prepare_cached(&statement)?
        .execute([location, point.as_str()])
        .map(drop)
}

impl Catalog {
    /// Finds copies that were seen in a store, were trusted, and are lost. Removes what replaced
    /// them from `synced`, and remembers everything else that is there. Forgets those that are gone
    /// and `explained`.
    pub(crate) fn lost(
        &self,
        trusted: &TrustedSigners,
        store: &OpenStore,
        synced: &mut Synced,
        explained: &dyn Fn(&PointId) -> bool,
    ) -> Result<Vec<Lost>> {
        let location = store.store.location();
        let is_believed = |copy: &PointCopy| copy.check_trust(trusted).is_ok();
        let (mut lost, mut listed) = (Vec::new(), None);
        for (point, stored) in self.changed(&location)? {
            let now = synced.copies.get(&point);
            let seen = stored.parse(&store.name, &point);
            let Some(seen) = seen.ok().filter(is_believed) else {
                // A copy that is trusted now replaces one that never was.
                if now.is_some_and(is_believed) {
                    self.write(|c| remember(c, &location, &point))?;
                }
                continue;
            };
            let found = match (loss(trusted, &seen, now), synced.errors.get(&point)) {
                (None, _) => continue,
                (_, Some(error)) if !shows_loss(error) => continue,
                (_, Some(error)) if error.code != Code::ObjectMissing => Some(error.clone()),
                (Some(found), _) => found,
            };
            if found.is_none() && explained(&point) {
                self.drop_seen(&location, &[&point])?;
                continue;
            }
            // A run of this host may have put it there after the listing.
            if found.is_none() && is_there_now(store, &mut listed, &point)? {
                continue;
            }
            synced.copies.remove(&point);
            synced.errors.remove(&point);
            lost.push(Lost {
                store: store.name.clone(),
                copy: seen,
                found,
            });
        }
        self.remember_new(&location, synced)?;
        Ok(lost)
    }

    /// The remembered copies of a store, by ascending point, that are not what is noted of it now.
    fn changed(&self, location: &str) -> Result<Vec<(PointId, StoredManifest)>> {
        self.run(|c| {
            let mut statement = c.prepare(CHANGED)?;
            let mut rows = statement.query([location])?;
            let mut changed = Vec::new();
            while let Some(row) = rows.next()? {
                let stored = StoredManifest {
                    bytes: row.get(1)?,
                    signature: row.get(2)?,
                };
                let point = PointId::parse(&row.get::<_, String>(0)?);
                changed.extend(point.map(|point| (point, stored)));
            }
            Ok(changed)
        })
    }

    /// Remembers the copies that a store holds, unless one of the same point is remembered: what
    /// the store holds later does not replace what it held first.
    pub(super) fn remember_new(&self, location: &str, synced: &Synced) -> Result<()> {
        let known: BTreeSet<String> = self.run(|c| {
            c.prepare("SELECT point FROM seen WHERE location = ?1")?
                .query_map([location], |r| r.get(0))?
                .collect()
        })?;
        let mut new = synced.copies.keys().filter(|p| !known.contains(p.as_str()));
        let Some(first) = new.next() else {
            return Ok(());
        };
        self.write(|c| {
            let mut all = std::iter::once(first).chain(new);
            all.try_for_each(|point| see(c, "IGNORE", location, point))
        })
    }

    /// Forgets copies that the rules deleted from a store, and what was captured of points that no
    /// store has any more.
    pub(crate) fn drop_pruned(&self, location: &str, points: &[&PointId]) -> Result<()> {
        self.drop_seen(location, points)?;
        self.drop_notes(location, points.iter().copied())?;
        self.drop_details()
    }

    /// Drops copies from the memory of a store.
    fn drop_seen(&self, location: &str, points: &[&PointId]) -> Result<()> {
        self.write(|c| {
            let delete = "DELETE FROM seen WHERE location = ?1 AND point = ?2";
            let mut delete = c.prepare_cached(delete)?;
            points.iter().try_for_each(|point| {
                delete.execute([location, point.as_str()])?;
                stored::clear(c, location, point)?;
                doubt::clear(c, location, point)
            })
        })
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

    /// The points that a store held and that were forgotten since: it does not lack them.
    pub(crate) fn given_up(&self, location: &str) -> Result<BTreeSet<PointId>> {
        let points: Vec<String> = self.run(|c| {
            c.prepare("SELECT point FROM given_up WHERE location = ?1")?
                .query_map([location], |r| r.get(0))?
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
                let given_up = "INSERT OR IGNORE INTO given_up
                    SELECT location, point FROM seen WHERE point = ?1";
                transaction.execute(given_up, [point.as_str()])?;
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

    #[test]
    fn what_was_seen_in_a_store_and_is_forgotten_is_given_up_there() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&directory.path().join("catalog")).unwrap();
        let point = PointId::parse("20261120T060000Z-8fff").unwrap();
        let seen = "INSERT INTO seen VALUES ('here', ?1, x'00', NULL)";
        catalog
            .write(|c| c.execute(seen, [point.as_str()]).map(drop))
            .unwrap();
        assert!(catalog.given_up("here").unwrap().is_empty());
        catalog
            .forget(Forgotten::Missing, &point, "by hand", point.time())
            .unwrap();
        assert_eq!(catalog.given_up("here").unwrap(), [point].into());
        assert!(catalog.given_up("there").unwrap().is_empty());
    }
}
