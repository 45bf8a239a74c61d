//! A store in memory, for tests and experiments. It keeps every promise of [`Store`] except
//! durability: its content is lost when it is dropped.

use crate::past::{Past, Standing, Version, Versioned};
use crate::probe::probe;
use crate::{Lock, ObjectInfo, PutOptions, Receipt, Store, StoreError, check_key};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store of objects in a map. Clones of it have the same objects.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    keeps_versions: bool,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    /// The versions of each object, the newest last. There is one at least, and no more than one if
    /// the store keeps no versions.
    objects: BTreeMap<String, Vec<Kept>>,
    /// The time at which objects are stored; `None` until it is set.
    now: Option<Timestamp>,
    /// The number of versions made so far.
    made: u64,
}

/// One version of an object.
#[derive(Debug, Clone)]
struct Kept {
    /// Its id; empty if the store keeps no versions.
    id: String,
    /// Its bytes; `None` for the marker that a deletion leaves.
    bytes: Option<Arc<[u8]>>,
    modified: Option<Timestamp>,
    lock: Option<Lock>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store that keeps every version of its objects.
    pub fn versioned() -> Self {
        MemoryStore {
            shared: Arc::new(Shared {
                keeps_versions: true,
                content: Mutex::default(),
            }),
        }
    }

    /// Sets the time at which objects are stored from now on. Until then it is unknown, and a view
    /// as of a time shows such objects at any time.
    pub fn set_time(&self, now: Timestamp) {
        self.content().now = Some(now);
    }

    /// Locks a version of an object, or removes its lock. Returns false if there is no such
    /// version.
    pub fn set_lock(&self, key: &str, version: &str, lock: Option<Lock>) -> bool {
        let mut content = self.content();
        let versions = content.objects.get_mut(key).into_iter().flatten();
        let mut found = false;
        for kept in versions.filter(|kept| kept.id == version) {
            kept.lock = lock;
            found = true;
        }
        found
    }

    /// The ids of the versions of an object, the newest first. The marker of a deletion is one.
    pub fn versions(&self, key: &str) -> Vec<String> {
        let content = self.content();
        let versions = content.objects.get(key).into_iter().flatten();
        versions.rev().map(|kept| kept.id.clone()).collect()
    }

    /// The content is consistent whenever the lock is free, even if a holder of the lock panicked.
    fn content(&self) -> MutexGuard<'_, Content> {
        let content = self.shared.content.lock();
        content.unwrap_or_else(PoisonError::into_inner)
    }

    /// The current version of an object, or the given one; `None` if it was deleted.
    fn get(&self, key: &str, version: Option<&str>) -> Option<Kept> {
        let content = self.content();
        let versions = content.objects.get(key)?;
        let kept = match version {
            Some(id) if self.shared.keeps_versions => versions.iter().find(|kept| kept.id == id),
            Some(_) => None,
            None => versions.last(),
        };
        kept.filter(|kept| kept.bytes.is_some()).cloned()
    }

    fn read(
        &self,
        key: &str,
        version: Option<&str>,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        check_key(key)?;
        let found = self.get(key, version).and_then(|kept| kept.bytes);
        let bytes = found.ok_or_else(|| StoreError::NotFound {
            location: self.location(),
            key: key.to_owned(),
        })?;
        if offset > bytes.len() as u64 {
            return Err(beyond(&self.location(), key, offset, bytes.len() as u64));
        }
        let mut cursor = Cursor::new(bytes);
        cursor.set_position(offset);
        Ok(Box::new(cursor))
    }

    /// Fails if the store keeps no versions.
    fn need_versions(&self) -> Result<(), StoreError> {
        match self.shared.keeps_versions {
            true => Ok(()),
            false => Err(StoreError::WithoutVersions {
                location: self.location(),
            }),
        }
    }
}

impl Content {
    /// Adds a version; `None` for the marker of a deletion.
    fn add(&mut self, key: &str, bytes: Option<Arc<[u8]>>, keeps_versions: bool) -> Option<String> {
        self.made += 1;
        let id = match keeps_versions {
            true => format!("v{}", self.made),
            false => String::new(),
        };
        let kept = Kept {
            id: id.clone(),
            bytes,
            modified: self.now,
            lock: None,
        };
        let versions = self.objects.entry(key.to_owned()).or_default();
        if !keeps_versions {
            versions.clear();
        }
        versions.push(kept);
        keeps_versions.then_some(id)
    }
}

impl Kept {
    fn info(&self, key: &str) -> ObjectInfo {
        ObjectInfo {
            key: key.to_owned(),
            bytes: self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            modified: self.modified,
            version: (!self.id.is_empty()).then(|| self.id.clone()),
        }
    }
}

impl Store for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn put(
        &self,
        key: &str,
        body: &mut (dyn Read + Send),
        options: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        check_key(key)?;
        let exists = || StoreError::AlreadyExists {
            location: self.location(),
            key: key.to_owned(),
        };
        if options.if_absent && self.get(key, None).is_some() {
            return Err(exists());
        }
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)
            .map_err(|source| StoreError::Body {
                key: key.to_owned(),
                source,
            })?;
        let mut content = self.content();
        let newest = content
            .objects
            .get(key)
            .and_then(|versions| versions.last());
        if options.if_absent && newest.is_some_and(|kept| kept.bytes.is_some()) {
            return Err(exists());
        }
        let length = bytes.len() as u64;
        Ok(Receipt {
            bytes: length,
            version: content.add(key, Some(bytes.into()), self.shared.keeps_versions),
        })
    }

    fn open(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        self.read(key, None, offset)
    }

    fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        check_key(key)?;
        Ok(self.get(key, None).map(|kept| kept.info(key)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let content = self.content();
        let objects = content.objects.range(prefix.to_owned()..);
        let objects = objects.take_while(|(key, _)| key.starts_with(prefix));
        let current = objects.filter_map(|(key, versions)| Some((key, versions.last()?)));
        let there = current.filter(|(_, kept)| kept.bytes.is_some());
        Ok(there.map(|(key, kept)| kept.info(key)).collect())
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_key(key)?;
        let mut content = self.content();
        match self.shared.keeps_versions {
            true => drop(content.add(key, None, true)),
            false => drop(content.objects.remove(key)),
        }
        Ok(())
    }

    fn delete_version(&self, key: &str, version: &str) -> Result<(), StoreError> {
        check_key(key)?;
        self.need_versions()?;
        let mut content = self.content();
        let now = content.now;
        let Some(versions) = content.objects.get_mut(key) else {
            return Ok(());
        };
        let is_locked = |kept: &Kept| match kept.lock {
            None => false,
            Some(Lock::Until(until)) => now.is_none_or(|now| now < until),
            Some(Lock::Held) => true,
        };
        if versions.iter().any(|k| k.id == version && is_locked(k)) {
            return Err(StoreError::Denied {
                location: self.location(),
                key: key.to_owned(),
                detail: "it is locked".to_owned(),
            });
        }
        versions.retain(|kept| kept.id != version);
        if versions.is_empty() {
            content.objects.remove(key);
        }
        Ok(())
    }

    fn lock(&self, key: &str, version: Option<&str>) -> Result<Option<Lock>, StoreError> {
        check_key(key)?;
        Ok(self.get(key, version).and_then(|kept| kept.lock))
    }

    fn open_version(
        &self,
        key: &str,
        version: &str,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        self.read(key, Some(version), offset)
    }

    fn as_of(&self, at: Timestamp) -> Result<Box<dyn Store>, StoreError> {
        self.need_versions()?;
        Ok(Box::new(Past::new(self.clone(), at)))
    }

    fn lists_at_once(&self) -> bool {
        true
    }

    fn probe(&self) -> Result<(), StoreError> {
        probe(self)
    }
}

impl Versioned for MemoryStore {
    fn standing(&self, prefix: &str, at: Timestamp) -> Result<Vec<ObjectInfo>, StoreError> {
        let content = self.content();
        let objects = content.objects.range(prefix.to_owned()..);
        let mut standing = Standing::new(at);
        for (key, versions) in objects.take_while(|(key, _)| key.starts_with(prefix)) {
            for kept in versions.iter().rev() {
                let ObjectInfo { key, bytes, .. } = kept.info(key);
                standing.add(Version {
                    key,
                    id: kept.id.clone(),
                    bytes,
                    modified: kept.modified.unwrap_or(Timestamp::MIN),
                    is_deletion: kept.bytes.is_none(),
                });
            }
        }
        Ok(standing.finish())
    }
}

/// The error for an offset beyond the end of an object.
pub(crate) fn beyond(location: &str, key: &str, offset: u64, bytes: u64) -> StoreError {
    StoreError::Other {
        location: location.to_owned(),
        detail: format!("{key:?} has {bytes} bytes, so it cannot be read from byte {offset}"),
    }
}
