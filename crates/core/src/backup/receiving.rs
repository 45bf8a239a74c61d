//! A store during a backup: what it received, or why it failed.

use crate::clock::is_ahead;
use crate::context::Context;
use crate::copies;
use crate::deliver::{self, NamedKeys};
use crate::error::{Error, Result};
use crate::exposure;
use crate::name::{Name, StoredKey};
use crate::observe::Reporter;
use crate::point::{ManifestArtifact, POINTS_PREFIX, PointId};
use crate::sign::TrustedSigners;
use crate::snapshot::Deposit;
use crate::stores::OpenStore;
use crate::wrong_clock;
use lifeboat_store::StoreError;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// A store during a backup.
pub(super) struct Receiving {
    pub store: OpenStore,
    /// Keys of this store that may not be used.
    pub named: NamedKeys,
    pub artifacts: Vec<ManifestArtifact>,
    /// The snapshot in preparation, when the store has a repository.
    pub deposit: Option<Arc<Deposit>>,
    /// Error because of which this store gets no copy of this point.
    pub failed: Option<Error>,
}

impl Receiving {
    /// Excludes the store from this point. Returns the error with the store's name.
    pub fn give_up(&mut self, reporter: &Reporter, error: Error) -> Error {
        let message = format!("store {}: {}", self.store.name, error.message);
        let error = Error { message, ..error };
        reporter.warn(&format!("no copy of this point there: {error}"));
        self.failed.get_or_insert(error).clone()
    }

    /// Finds a key that no manifest names, and says whether the object must be new.
    pub fn free_key(
        &mut self,
        context: &Context,
        stem: &str,
        suffix: &str,
        point: &PointId,
    ) -> Result<(StoredKey, bool)> {
        let named = &mut self.named;
        let (store, ours) = (&self.store, &self.artifacts);
        deliver::free_key(context, store, named, ours, stem, suffix, point)
    }
}

/// Opens the repositories, so that an unusable one is noticed before anything is stopped or dumped
/// for it.
pub(super) fn open_repositories(context: &Context, stores: &mut [Receiving]) {
    for receiving in stores.iter_mut().filter(|s| s.failed.is_none()) {
        match receiving.store.deposit(HashSet::new()) {
            Ok(deposit) => receiving.deposit = deposit,
            Err(error) => drop(receiving.give_up(&context.reporter, error)),
        }
    }
}

/// Points that these stores hold already.
#[derive(Default)]
pub(super) struct Before {
    /// The newest point that is not dated in the future.
    pub newest: Option<PointId>,
    /// Points that are dated in the future and signed by a trusted signer.
    pub ahead: BTreeSet<PointId>,
}

/// Asks each store for its points. A store that does not answer is excluded before anything is
/// stopped or dumped for it; a store that only forbids listing is not.
pub(super) fn look_before(context: &Context, stores: &mut [Receiving]) -> Before {
    let now = context.clock.now();
    let mut before = Before::default();
    for receiving in stores {
        match receiving.store.store.list(POINTS_PREFIX) {
            Ok(objects) => {
                let points = copies::ids(&objects).into_iter();
                let (ahead, points): (Vec<_>, Vec<_>) =
                    points.partition(|point| is_ahead(point.time(), now));
                before.newest = before.newest.max(points.into_iter().next_back());
                let store = &receiving.store;
                let believed = ahead
                    .into_iter()
                    .filter(|point| is_signed(&context.trusted, store, point));
                before.ahead.extend(believed);
            }
            Err(StoreError::Denied { .. }) => {}
            Err(error) => drop(receiving.give_up(&context.reporter, error.into())),
        }
    }
    before
}

/// Returns warnings about stores that are open to strangers. Fails if a sensitive one of these
/// sources would go there.
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
        context.reporter.warn(text);
    }
    Ok(warnings)
}

/// Returns warnings about points that are dated in the future and were not disowned.
pub(super) fn set_aside(context: &Context, ahead: BTreeSet<PointId>) -> Result<Vec<String>> {
    let disowned = context.state.catalog.disowned()?;
    let now = context.clock.now();
    let tell = |point: &PointId| {
        format!(
            "{}; {}",
            wrong_clock::ahead(point, now),
            wrong_clock::AHEAD_HINT
        )
    };
    let warnings: Vec<String> = ahead.difference(&disowned).map(tell).collect();
    warnings.iter().for_each(|text| context.reporter.warn(text));
    Ok(warnings)
}

/// Returns whether a trusted signer signed a point: anybody can make an id with any time.
fn is_signed(trusted: &TrustedSigners, store: &OpenStore, point: &PointId) -> bool {
    copies::read(store, point).is_ok_and(|copy| copy.check_trust(trusted).is_ok())
}

/// Returns the first error if every store failed.
pub(super) fn unanimous(stores: &[Receiving]) -> Option<Error> {
    let failed = stores.iter().map(|s| s.failed.clone());
    failed.collect::<Option<Vec<_>>>()?.into_iter().next()
}
