//! When the manifest of each copy was put, by the store's clock, as it was listed last.
//!
//! Whoever puts a copy anew puts its manifest last. So a time that moved shows that another host did:
//! the manifest is read again, even one of the same size, and damage that was found before is
//! forgotten.

use super::{Catalog, doubt};
use crate::copies::Listed;
use crate::error::Result;
use crate::point::PointId;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS stored (
        location TEXT NOT NULL, point TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (location, point));";

/// The noted times of a store's manifests, in microseconds since 1970.
pub(super) struct Times(BTreeMap<String, i64>);

impl Times {
    /// Returns whether a manifest was put at another time than is noted. Unknown times are no
    /// others.
    pub fn moved(&self, point: &PointId, listed: &Listed) -> bool {
        listed
            .stored
            .is_some_and(|stored| self.is_other(point, stored))
    }

    fn is_other(&self, point: &PointId, stored: Timestamp) -> bool {
        let noted = self.0.get(point.as_str());
        noted.is_some_and(|noted| *noted != stored.as_microsecond())
    }
}

/// Forgets when a manifest was put.
pub(super) fn clear(c: &Connection, location: &str, point: &PointId) -> rusqlite::Result<()> {
    c.prepare_cached("DELETE FROM stored WHERE location = ?1 AND point = ?2")?
        .execute([location, point.as_str()])
        .map(drop)
}

impl Catalog {
    /// The noted times of the manifests of a store.
    pub(super) fn times(&self, location: &str) -> Result<Times> {
        let rows: BTreeMap<String, i64> = self.run(|c| {
            c.prepare("SELECT point, at FROM stored WHERE location = ?1")?
                .query_map([location], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        Ok(Times(rows))
    }

    /// Notes when these manifests, which were read, were put. What was put at another time than in
    /// `known` is not doubted any longer.
    pub(super) fn note_times<'a>(
        &self,
        location: &str,
        known: &Times,
        read: impl Iterator<Item = &'a (PointId, Option<Timestamp>)>,
    ) -> Result<()> {
        let read = read.filter_map(|(point, stored)| Some((point, (*stored)?)));
        let new: Vec<(&PointId, Timestamp)> = read
            .filter(|(point, stored)| {
                !known.0.contains_key(point.as_str()) || known.is_other(point, *stored)
            })
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        self.write(|c| {
            new.iter().try_for_each(|(point, stored)| {
                c.prepare_cached("INSERT OR REPLACE INTO stored VALUES (?1, ?2, ?3)")?
                    .execute(params![location, point.as_str(), stored.as_microsecond()])?;
                match known.is_other(point, *stored) {
                    true => doubt::clear(c, location, point),
                    false => Ok(()),
                }
            })
        })
    }
}
