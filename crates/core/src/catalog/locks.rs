//! The ends of locks on objects, as stores said them last, so that not every object is asked about each
//! day. A note that is lost is asked for again.

use super::Catalog;
use crate::error::Result;
use crate::object_lock::{Noted, Object};
use rusqlite::params;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS object_lock (
        location TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL, until TEXT NOT NULL,
        terms TEXT NOT NULL, PRIMARY KEY (location, key, version));";

impl Catalog {
    /// The noted locks of a store.
    pub(crate) fn locks(&self, location: &str) -> Result<BTreeMap<Object, Noted>> {
        let rows: Vec<(String, String, String, String)> = self.run(|c| {
            c.prepare("SELECT key, version, until, terms FROM object_lock WHERE location = ?1")?
                .query_map([location], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?
                .collect()
        })?;
        let locks = rows.into_iter().filter_map(|(key, version, until, terms)| {
            let version = (!version.is_empty()).then_some(version);
            let until = until.parse().ok()?;
            Some((Object { key, version }, Noted { until, terms }))
        });
        Ok(locks.collect())
    }

    /// Notes locks of a store, and forgets those of objects that are gone.
    pub(crate) fn note_locks(
        &self,
        location: &str,
        locks: &BTreeMap<Object, Noted>,
        gone: &BTreeSet<Object>,
    ) -> Result<()> {
        self.write(|c| {
            let delete =
                "DELETE FROM object_lock WHERE location = ?1 AND key = ?2 AND version = ?3";
            for Object { key, version } in gone {
                let version = version.as_deref().unwrap_or_default();
                c.prepare_cached(delete)?
                    .execute([location, key, version])?;
            }
            let insert = "INSERT OR REPLACE INTO object_lock VALUES (?1, ?2, ?3, ?4, ?5)";
            for (Object { key, version }, Noted { until, terms }) in locks {
                let version = version.as_deref().unwrap_or_default();
                let until = until.to_string();
                c.prepare_cached(insert)?
                    .execute(params![location, key, version, until, terms])?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_noted_by_version_and_forgotten_with_their_objects() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&directory.path().join("catalog")).unwrap();
        let object = |version: Option<&str>| Object {
            key: "k".to_owned(),
            version: version.map(str::to_owned),
        };
        let note = |until: &str| Noted {
            until: until.parse().unwrap(),
            terms: "compliance 30d".to_owned(),
        };
        let (one, two) = (object(Some("1")), object(None));
        let first = BTreeMap::from([
            (one.clone(), note("2026-12-01T00:00:00Z")),
            (two.clone(), note("2026-12-02T00:00:00Z")),
        ]);
        catalog
            .note_locks("here", &first, &BTreeSet::new())
            .unwrap();
        assert_eq!(catalog.locks("here").unwrap(), first);
        assert!(catalog.locks("there").unwrap().is_empty());
        let later = BTreeMap::from([(one, note("2027-01-01T00:00:00Z"))]);
        catalog
            .note_locks("here", &later, &BTreeSet::from([two]))
            .unwrap();
        assert_eq!(catalog.locks("here").unwrap(), later);
    }
}
