//! Marks that the stores have shown: signed notes about points. Each is read once, and again when the
//! store says that it was replaced; what a store no longer holds is dropped.

use super::Catalog;
use crate::copies::{DOCUMENT_BYTES_MAX, read_object, read_optional};
use crate::error::{Code, Error, Result};
use crate::pool;
use crate::stores::OpenStore;
use rusqlite::params;
use std::collections::BTreeMap;

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS mark (
        location TEXT NOT NULL, key TEXT NOT NULL, stamp TEXT NOT NULL,
        bytes BLOB NOT NULL, signature TEXT NOT NULL, PRIMARY KEY (location, key));";

/// A mark as a store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredMark {
    /// Its key.
    pub key: String,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
    /// The signature beside it; empty if there is none.
    pub signature: String,
    stamp: String,
}

impl Catalog {
    /// The marks below a prefix, by key, and the errors of those that could not be read: one list
    /// call, and two reads of each that is new.
    pub(crate) fn marks(
        &self,
        store: &OpenStore,
        prefix: &str,
    ) -> Result<(Vec<StoredMark>, Vec<Error>)> {
        let location = store.store.location();
        let listed = store.store.list(prefix)?;
        let mut known = self.known_marks(&location, prefix).unwrap_or_default();
        let (mut marks, mut new) = (Vec::new(), Vec::new());
        for object in listed.into_iter().filter(|o| o.key.ends_with(".json")) {
            let stamp = format!("{} {:?}", object.bytes, object.modified);
            let known = known.remove(&object.key);
            // Of a store that tells no times, one that was replaced looks the same.
            let is_same = |mark: &StoredMark| object.modified.is_some() && mark.stamp == stamp;
            match known.filter(is_same) {
                Some(mark) => marks.push(mark),
                None => new.push((object.key, stamp)),
            }
        }
        let gone: Vec<String> = known.into_keys().collect();
        let mut errors = Vec::new();
        let reading = store.clone();
        let read = move |(key, stamp): (String, String)| read(&reading, key, stamp);
        let mut read_now = Vec::new();
        pool::each(store.readers(), new, read, |read| {
            match read {
                Ok(mark) => read_now.push(mark),
                // It was removed after the listing.
                Err(error) if error.code == Code::ObjectMissing => {}
                Err(error) => errors.push(error),
            }
            Ok(())
        })?;
        if !gone.is_empty() || !read_now.is_empty() {
            // What cannot be noted is read again.
            let _ = self.note_marks(&location, &gone, &read_now);
        }
        marks.extend(read_now);
        marks.sort_by(|a, b| a.key.cmp(&b.key));
        Ok((marks, errors))
    }

    /// The marks below a prefix that a store showed when it was asked last.
    pub(crate) fn noted_marks(&self, location: &str, prefix: &str) -> Result<Vec<StoredMark>> {
        Ok(self.known_marks(location, prefix)?.into_values().collect())
    }

    fn known_marks(&self, location: &str, prefix: &str) -> Result<BTreeMap<String, StoredMark>> {
        self.run(|c| {
            let query = "SELECT key, stamp, bytes, signature FROM mark
                WHERE location = ?1 AND substr(key, 1, length(?2)) = ?2";
            c.prepare(query)?
                .query_map([location, prefix], |r| {
                    let mark = StoredMark {
                        key: r.get(0)?,
                        stamp: r.get(1)?,
                        bytes: r.get(2)?,
                        signature: r.get(3)?,
                    };
                    Ok((mark.key.clone(), mark))
                })?
                .collect()
        })
    }

    fn note_marks(&self, location: &str, gone: &[String], read: &[StoredMark]) -> Result<()> {
        self.write(|c| {
            for key in gone {
                let delete = "DELETE FROM mark WHERE location = ?1 AND key = ?2";
                c.execute(delete, [location, key])?;
            }
            for mark in read {
                c.execute(
                    "INSERT OR REPLACE INTO mark VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![location, mark.key, mark.stamp, mark.bytes, mark.signature],
                )?;
            }
            Ok(())
        })
    }
}

fn read(store: &OpenStore, key: String, stamp: String) -> Result<StoredMark> {
    let bytes = read_object(store, &key, DOCUMENT_BYTES_MAX)?;
    let signature = read_optional(store, &format!("{key}.sig"))?.unwrap_or_default();
    Ok(StoredMark {
        key,
        bytes,
        signature: String::from_utf8_lossy(&signature).into_owned(),
        stamp,
    })
}
