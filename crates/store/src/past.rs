//! A view of a store as it stood at a time, made from the versions that the store keeps. The choice
//! of the versions is the same for every store that keeps them.
//!
//! Guarantees: the view changes nothing. The same time always shows the same versions, unless one of
//! them is removed for good meanwhile. It does not know when a version was really stored: it goes
//! by the times that the store tells, in the store's resolution.

use crate::{Exposure, Lock, ObjectInfo, PutOptions, Receipt, Store, StoreError, check_key};
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most objects whose versions a view remembers, so that they need not be looked for again.
const KNOWN_MAX: usize = 100_000;

/// A version of an object, or the marker that a deletion left in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) bytes: u64,
    pub(crate) modified: Timestamp,
    pub(crate) is_deletion: bool,
}

/// The objects that stood at a time. It is found from the versions as they are listed.
///
/// A version counts if the store's time of it is not after the time of the view. Where times are
/// whole seconds, several versions may have the same: then the one that the store lists first
/// counts, which is the newest. A store may list deletions apart from versions, so a version and a
/// deletion in the same second have no order, and the version counts: better to show an object that
/// was just deleted than to hide one that was there.
#[derive(Debug)]
pub(crate) struct Standing {
    at: Timestamp,
    chosen: BTreeMap<String, Version>,
    seen: usize,
}

impl Standing {
    pub(crate) fn new(at: Timestamp) -> Self {
        Standing {
            at,
            chosen: BTreeMap::new(),
            seen: 0,
        }
    }

    /// Adds a version. Of the versions of one key, the newest comes first.
    pub(crate) fn add(&mut self, version: Version) {
        self.seen += 1;
        if version.modified > self.at {
            return;
        }
        let rank = |v: &Version| (v.modified, Reverse(v.is_deletion));
        match self.chosen.entry(version.key.clone()) {
            Entry::Vacant(free) => {
                free.insert(version);
            }
            Entry::Occupied(mut before) if rank(&version) > rank(before.get()) => {
                before.insert(version);
            }
            Entry::Occupied(_) => {}
        }
    }

    /// The number of versions that were added.
    pub(crate) fn seen(&self) -> usize {
        self.seen
    }

    /// The objects, in ascending byte order of keys.
    pub(crate) fn finish(self) -> Vec<ObjectInfo> {
        let versions = self.chosen.into_values();
        let there = versions.filter(|version| !version.is_deletion);
        there.map(info).collect()
    }
}

fn info(version: Version) -> ObjectInfo {
    ObjectInfo {
        key: version.key,
        bytes: version.bytes,
        modified: Some(version.modified),
        version: Some(version.id),
    }
}

/// A store that keeps versions.
pub(crate) trait Versioned: Store {
    /// Finds what stood at a time, among the objects whose keys start with `prefix`.
    fn standing(&self, prefix: &str, at: Timestamp) -> Result<Vec<ObjectInfo>, StoreError>;

    /// Opens a part of a version, as [`Store::open_part`] does.
    fn open_version_part(
        &self,
        key: &str,
        version: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        Ok(Box::new(
            self.open_version(key, version, offset)?.take(bytes),
        ))
    }
}

/// The view.
pub(crate) struct Past<S> {
    store: S,
    at: Timestamp,
    /// Objects that were looked for; `None` for those that did not stand there.
    known: Mutex<BTreeMap<String, Option<ObjectInfo>>>,
}

impl<S: Versioned + Clone + 'static> Past<S> {
    pub(crate) fn new(store: S, at: Timestamp) -> Self {
        Past {
            store,
            at,
            known: Mutex::default(),
        }
    }

    /// The map is consistent whenever the lock is free, even if a holder of the lock panicked.
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Option<ObjectInfo>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the object that stood under a key.
    fn find(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        check_key(key)?;
        if let Some(known) = self.known().get(key) {
            return Ok(known.clone());
        }
        let standing = self.store.standing(key, self.at)?;
        let found = standing.into_iter().find(|object| object.key == key);
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key.to_owned(), found.clone());
        Ok(found)
    }

    /// The version that stood under a key.
    fn version(&self, key: &str) -> Result<String, StoreError> {
        let found = self.find(key)?.and_then(|object| object.version);
        found.ok_or_else(|| StoreError::NotFound {
            location: self.location(),
            key: key.to_owned(),
        })
    }

    fn read_only<T>(&self) -> Result<T, StoreError> {
        Err(StoreError::ReadOnly {
            location: self.location(),
            detail: "what stood there in the past cannot be changed".to_owned(),
        })
    }
}

impl<S: Versioned + Clone + 'static> Store for Past<S> {
    fn location(&self) -> String {
        format!("{} as of {}", self.store.location(), self.at)
    }

    fn put(
        &self,
        _: &str,
        _: &mut (dyn Read + Send),
        _: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        self.read_only()
    }

    fn open(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        let version = self.version(key)?;
        self.store.open_version(key, &version, offset)
    }

    fn open_part(
        &self,
        key: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        let version = self.version(key)?;
        self.store.open_version_part(key, &version, offset, bytes)
    }

    fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.find(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let found = self.store.standing(prefix, self.at)?;
        let mut known = self.known();
        if known.len() + found.len() <= KNOWN_MAX {
            let objects = found.iter();
            known.extend(objects.map(|object| (object.key.clone(), Some(object.clone()))));
        }
        Ok(found)
    }

    fn delete(&self, _: &str) -> Result<(), StoreError> {
        self.read_only()
    }

    fn delete_version(&self, _: &str, _: &str) -> Result<(), StoreError> {
        self.read_only()
    }

    fn lock(&self, key: &str, version: Option<&str>) -> Result<Option<Lock>, StoreError> {
        let stood = match version {
            Some(version) => Some(version.to_owned()),
            None => self.find(key)?.and_then(|object| object.version),
        };
        match stood {
            Some(version) => self.store.lock(key, Some(&version)),
            None => Ok(None),
        }
    }

    /// Opens any version, also one that was stored later: its id says what is meant.
    fn open_version(
        &self,
        key: &str,
        version: &str,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        self.store.open_version(key, version, offset)
    }

    fn as_of(&self, at: Timestamp) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(Past::new(self.store.clone(), at.min(self.at))))
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.read_only()
    }

    fn is_remote(&self) -> bool {
        self.store.is_remote()
    }

    /// What anybody sees is what is there now.
    fn exposure(&self, keys: &[String]) -> Result<Exposure, StoreError> {
        self.store.exposure(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(key: &str, id: &str, second: i64, is_deletion: bool) -> Version {
        Version {
            key: key.to_owned(),
            id: id.to_owned(),
            bytes: 1,
            modified: Timestamp::from_second(second).unwrap(),
            is_deletion,
        }
    }

    /// The keys with their versions at a time, of versions as a store lists them.
    fn at(second: i64, versions: &[Version]) -> Vec<(String, String)> {
        let mut standing = Standing::new(Timestamp::from_second(second).unwrap());
        versions.iter().cloned().for_each(|v| standing.add(v));
        assert_eq!(standing.seen(), versions.len());
        let found = standing.finish().into_iter();
        found.map(|o| (o.key, o.version.unwrap())).collect()
    }

    #[test]
    fn each_object_stands_as_it_was_stored_last_before_the_time() {
        let listed = [
            version("b", "b3", 30, false),
            version("b", "b2", 20, true),
            version("b", "b1", 10, false),
            version("a", "a1", 20, false),
        ];
        let stood = |second| at(second, &listed);
        let pair = |key: &str, id: &str| (key.to_owned(), id.to_owned());
        assert_eq!(stood(9), []);
        assert_eq!(stood(10), [pair("b", "b1")]);
        assert_eq!(stood(19), [pair("b", "b1")]);
        assert_eq!(stood(20), [pair("a", "a1")]);
        assert_eq!(stood(30), [pair("a", "a1"), pair("b", "b3")]);
        assert_eq!(stood(99), [pair("a", "a1"), pair("b", "b3")]);
    }

    #[test]
    fn within_a_second_the_version_listed_first_counts_and_a_version_before_a_deletion() {
        let newest_first = [version("k", "2", 10, false), version("k", "1", 10, false)];
        assert_eq!(at(10, &newest_first)[0].1, "2");
        let deleted = [version("k", "2", 10, true), version("k", "1", 10, false)];
        assert_eq!(at(10, &deleted)[0].1, "1");
        let apart = [version("k", "1", 10, false), version("k", "2", 10, true)];
        assert_eq!(at(10, &apart)[0].1, "1");
        let later = [version("k", "1", 10, false), version("k", "2", 11, true)];
        assert_eq!(at(11, &later), []);
    }
}
