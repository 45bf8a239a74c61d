//! A store in memory, for tests and experiments. It keeps every promise of [`Store`] except
//! durability: its content is lost when it is dropped.

use crate::probe::probe;
use crate::{ObjectInfo, PutOptions, Receipt, Store, StoreError, check_key};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Objects = BTreeMap<String, Arc<[u8]>>;

/// A store of objects in a map.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<Objects>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The map is consistent whenever the lock is free, even if a holder of the lock panicked.
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &str) -> Option<Arc<[u8]>> {
        self.objects().get(key).cloned()
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
        if options.if_absent && self.get(key).is_some() {
            return Err(exists());
        }
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)
            .map_err(|source| StoreError::Body {
                key: key.to_owned(),
                source,
            })?;
        let receipt = Receipt {
            bytes: bytes.len() as u64,
            version: None,
        };
        let mut objects = self.objects();
        if options.if_absent && objects.contains_key(key) {
            return Err(exists());
        }
        objects.insert(key.to_owned(), bytes.into());
        Ok(receipt)
    }

    fn open(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        check_key(key)?;
        let location = self.location();
        let bytes = self.get(key).ok_or_else(|| StoreError::NotFound {
            location: location.clone(),
            key: key.to_owned(),
        })?;
        if offset > bytes.len() as u64 {
            return Err(beyond(&location, key, offset, bytes.len() as u64));
        }
        let mut cursor = Cursor::new(bytes);
        cursor.set_position(offset);
        Ok(Box::new(cursor))
    }

    fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        check_key(key)?;
        Ok(self.get(key).map(|bytes| ObjectInfo {
            key: key.to_owned(),
            bytes: bytes.len() as u64,
            modified: None,
            version: None,
        }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        Ok(self
            .objects()
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, bytes)| ObjectInfo {
                key: key.clone(),
                bytes: bytes.len() as u64,
                modified: None,
                version: None,
            })
            .collect())
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_key(key)?;
        self.objects().remove(key);
        Ok(())
    }

    fn lists_at_once(&self) -> bool {
        true
    }

    fn probe(&self) -> Result<(), StoreError> {
        probe(self)
    }
}

/// The error for an offset beyond the end of an object.
pub(crate) fn beyond(location: &str, key: &str, offset: u64, bytes: u64) -> StoreError {
    StoreError::Other {
        location: location.to_owned(),
        detail: format!("{key:?} has {bytes} bytes, so it cannot be read from byte {offset}"),
    }
}
