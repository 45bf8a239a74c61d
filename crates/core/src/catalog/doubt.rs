//! Copies that were read and found damaged, until one is read and found whole or put anew.
//!
//! Known on this host alone, like the rest of the memory.

use super::Catalog;
use crate::error::Result;
use crate::point::PointId;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS doubt (
        location TEXT NOT NULL, point TEXT NOT NULL, why TEXT NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (location, point));";

/// A copy that was found damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// What was found.
    pub why: String,
    /// When it was found first.
    pub at: Timestamp,
}

/// Forgets that a copy was found damaged.
pub(super) fn clear(c: &Connection, location: &str, point: &PointId) -> rusqlite::Result<()> {
    c.prepare_cached("DELETE FROM doubt WHERE location = ?1 AND point = ?2")?
        .execute([location, point.as_str()])
        .map(drop)
}

impl Catalog {
    /// Notes that a copy was found damaged now, unless that is known.
    pub(crate) fn note_doubt(
        &self,
        location: &str,
        point: &PointId,
        why: &str,
        at: Timestamp,
    ) -> Result<()> {
        self.write(|c| {
            let at = at.to_string();
            let insert = "INSERT INTO doubt VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT DO UPDATE SET why = excluded.why";
            c.execute(insert, params![location, point.as_str(), why, at])
                .map(drop)
        })
    }

    /// Notes that a copy was found whole.
    pub(crate) fn clear_doubt(&self, location: &str, point: &PointId) -> Result<()> {
        self.write(|c| clear(c, location, point))
    }

    /// The copies of a store that were found damaged.
    pub(crate) fn doubts(&self, location: &str) -> Result<BTreeMap<PointId, Doubt>> {
        let rows: Vec<(String, String, String)> = self.run(|c| {
            c.prepare("SELECT point, why, at FROM doubt WHERE location = ?1")?
                .query_map([location], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?
                .collect()
        })?;
        let doubts = rows.into_iter().filter_map(|(point, why, at)| {
            let at = at.parse().ok()?;
            Some((PointId::parse(&point)?, Doubt { why, at }))
        });
        Ok(doubts.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_stays_with_its_first_time_until_it_is_cleared() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&directory.path().join("catalog")).unwrap();
        let point = PointId::parse("20261120T060000Z-7f3a").unwrap();
        let at = |day: i8| jiff::civil::date(2026, 11, day).at(0, 0, 0, 0);
        let at = |day| {
            at(day)
                .to_zoned(jiff::tz::TimeZone::UTC)
                .unwrap()
                .timestamp()
        };
        catalog.note_doubt("here", &point, "a bit", at(21)).unwrap();
        catalog
            .note_doubt("here", &point, "two bits", at(22))
            .unwrap();
        let known = catalog.doubts("here").unwrap().remove(&point).unwrap();
        assert_eq!((known.why.as_str(), known.at), ("two bits", at(21)));
        assert!(catalog.doubts("there").unwrap().is_empty());
        catalog.clear_doubt("here", &point).unwrap();
        assert!(catalog.doubts("here").unwrap().is_empty());
    }
}
