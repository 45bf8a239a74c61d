//! Stores that a test puts in the place of local directories.

use crate::config::{StoreConfig, StoreKind};
use lifeboat_store::Store;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

static PLACES: Mutex<BTreeMap<PathBuf, Arc<dyn Store>>> = Mutex::new(BTreeMap::new());

/// From now on, what is configured as the directory `path` is `store`.
pub(crate) fn put_at(path: &Path, store: Arc<dyn Store>) {
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    places.insert(path.to_owned(), store);
}

/// Forgets every place below a path.
pub(crate) fn clear(below: &Path) {
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    places.retain(|path, _| !path.starts_with(below));
}

pub(super) fn at(config: &StoreConfig) -> Option<Arc<dyn Store>> {
    let StoreKind::Local(local) = &config.kind else {
        return None;
    };
    let places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    places.get(&local.path).cloned()
}
