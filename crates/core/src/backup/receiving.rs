//! A store during a backup: what it received, or why it is given up.

use super::keys;
use crate::context::{Context, OpenStore};
use crate::error::{Error, Result};
use crate::exposure;
use crate::name::{Name, StoredKey};
use crate::point::copies;
use crate::point::{ManifestArtifact, POINTS_PREFIX, PointId};
use crate::snapshot::Deposit;
use lifeboat_store::StoreError;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// A store during a backup.
pub(super) struct Receiving {
    pub store: OpenStore,
    /// Keys that manifests of this store name; read when a key turns out to be taken.
    pub named: Option<BTreeSet<String>>,
    pub artifacts: Vec<ManifestArtifact>,
    /// The snapshot in the making, where the store's points are in a repository.
    pub deposit: Option<Arc<Deposit>>,
    /// Why this store will hold no copy of this point.
    pub failed: Option<Error>,
}

impl Receiving {
    /// Leaves the store out of this point from here on. Returns the error with the store's name.
    pub fn give_up(&mut self, context: &Context, error: Error) -> Error {
        let message = format!("store {}: {}", self.store.name, error.message);
        let error = Error { message, ..error };
        context
            .observer
            .warn(&format!("no copy of this point there: {error}"));
        self.failed.get_or_insert(error).clone()
    }

    /// A key that no manifest names, and whether the object must be new.
    pub fn free_key(
        &mut self,
        stem: &str,
        suffix: &str,
        point: &PointId,
    ) -> Result<(StoredKey, bool)> {
        let named = &mut self.named;
        keys::free_key(&self.store, named, &self.artifacts, stem, suffix, point)
    }
}

/// Opens the repositories, so that one that cannot be used shows before anything is stopped or dumped
/// for it.
pub(super) fn open_repositories(context: &Context, stores: &mut [Receiving]) {
    for receiving in stores.iter_mut().filter(|s| s.failed.is_none()) {
        match receiving.store.deposit(HashSet::new()) {
            Ok(deposit) => receiving.deposit = deposit,
            Err(error) => drop(receiving.give_up(context, error)),
        }
    }
}

/// The newest point of these stores. One that does not answer gets no copy, and is known not to
/// before anything is stopped or dumped for it; one that only may not list is not given up.
pub(super) fn newest_point(context: &Context, stores: &mut [Receiving]) -> Option<PointId> {
    let mut newest = None;
    for receiving in stores {
        match receiving.store.store.list(POINTS_PREFIX) {
            Ok(objects) => {
                let store = &receiving.store;
                let mut points = copies::ids(&objects).into_iter().rev();
                newest = newest.max(points.find(|point| is_believable(context, store, point)));
            }
            Err(StoreError::Denied { .. }) => {}
            Err(error) => drop(receiving.give_up(context, error.into())),
        }
    }
    newest
}

/// What is to be said of stores that strangers can look into; an error when something of these sources
/// must not go there.
pub(super) fn exposed(
    context: &Context,
    stores: &[Receiving],
    sources: &[Name],
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for receiving in stores.iter().filter(|s| s.failed.is_none()) {
        let looked = exposure::look(context, &receiving.store);
        looked.refuse(&context.config, sources)?;
        warnings.extend(looked.warning());
    }
    for text in &warnings {
        context.observer.warn(text);
    }
    Ok(warnings)
}

/// Whether a point counts for what the time is. One from the future must be signed by someone we
/// trust: an id alone could stop every backup until then.
fn is_believable(context: &Context, store: &OpenStore, point: &PointId) -> bool {
    point.time() <= context.clock.now()
        || copies::read(store, point).is_ok_and(|copy| copy.check_trust(context).is_ok())
}

/// The first error, when every store failed.
pub(super) fn unanimous(stores: &[Receiving]) -> Option<Error> {
    let failed = stores.iter().map(|s| s.failed.clone());
    failed.collect::<Option<Vec<_>>>()?.into_iter().next()
}
