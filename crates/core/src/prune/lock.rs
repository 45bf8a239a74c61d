//! Locks in the way of a prune: what is locked of the points that would go waits; what kept points
//! need is locked longer, before its locks end.
//!
//! Guarantees: a lock is never shortened; an object that a staying point needs, too, holds up no point
//! that goes. It does not lock what a leaving point alone needs any longer.

use super::delete;
use crate::config::StoreKind;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::kept::{self, Judged};
use crate::object_lock::{self, Noted, Object, Wanted};
use crate::point::{Manifest, PointId, manifest_key};
use crate::pool;
use crate::retention::{self, Decision};
use crate::snapshot;
use crate::stores::OpenStore;
use crate::survey::Survey;
use jiff::Timestamp;
use lifeboat_store::{Lock, StoreError};
use std::collections::{BTreeMap, BTreeSet};

/// Asks the store what it locks of the points that would go, and decides anew about those.
pub(super) fn wait(
    context: &Context,
    store: &OpenStore,
    survey: &Survey,
    judged: &mut [Judged<'_>],
) -> Result<()> {
    let going = judged.iter().flat_map(|judged| {
        let decided = judged.copies.iter().zip(&judged.decisions);
        let going = decided.filter(|(_, decision)| matches!(decision, Decision::Delete(_)));
        going.map(|(copy, _)| &copy.manifest.point)
    });
    let going: BTreeSet<&PointId> = going.collect();
    if going.is_empty() {
        return Ok(());
    }
    let here = survey.copies.iter().filter(|(name, _)| *name == store.name);
    let staying = here.filter(|(_, copy)| !going.contains(&copy.manifest.point));
    let staying: BTreeSet<String> = staying
        .flat_map(|(_, copy)| delete::objects(&copy.manifest))
        .map(|object| object.key)
        .collect();
    let noted = context.state.catalog.locks(&store.store.location())?;
    let now = context.clock.now();
    for judged in judged {
        let Some(rules) = kept::rules(context, &judged.plan, &judged.store) else {
            continue;
        };
        let mut locked = false;
        let decided = judged.held.iter_mut().zip(&judged.decisions);
        for ((held, decision), copy) in decided.zip(&judged.copies) {
            if !matches!(decision, Decision::Delete(_)) {
                continue;
            }
            let own = of_point(&copy.manifest);
            let own = own.filter(|object| !staying.contains(&object.key));
            let mut lock: Option<Lock> = None;
            for object in own {
                lock = lock.max(lock_of(store, &noted, &object, now)?);
            }
            locked |= lock.is_some();
            held.lock = lock;
        }
        if locked {
            judged.decisions = retention::decide(&judged.held, &rules, now);
        }
    }
    Ok(())
}

/// The lock of an object. The store is not asked about a version whose lock is known to last.
fn lock_of(
    store: &OpenStore,
    noted: &BTreeMap<Object, Noted>,
    object: &Object,
    now: Timestamp,
) -> Result<Option<Lock>> {
    let known = noted.get(object).filter(|_| object.version.is_some());
    match known.filter(|noted| noted.until > now) {
        Some(noted) => Ok(Some(Lock::Until(noted.until))),
        None => Ok(store.store.lock(&object.key, object.version.as_deref())?),
    }
}

/// The objects of a point that are no part of a repository.
fn of_point(manifest: &Manifest) -> impl Iterator<Item = Object> {
    let key = manifest_key(&manifest.point);
    let committed = [format!("{key}.sig"), key].map(|key| Object { key, version: None });
    let named = delete::objects(manifest).into_iter().map(|object| Object {
        key: object.key,
        version: object.version,
    });
    named.chain(committed)
}

/// Locks longer what kept points need, where its locks end soon or are not known. Returns the number of
/// objects that were looked at and are locked long enough now.
pub(super) fn extend(context: &Context, store: &OpenStore, judged: &[Judged<'_>]) -> Result<u64> {
    let StoreKind::S3(s3) = &store.config.kind else {
        return Ok(0);
    };
    let Some(config) = &s3.object_lock else {
        return Ok(0);
    };
    let wanted = Wanted::now(config, context.clock.now());
    let (catalog, location) = (&context.state.catalog, store.store.location());
    let noted = catalog.locks(&location)?;
    let due = object_lock::due(needed(store, judged)?, &noted, &wanted);
    context.reporter.step("extend locks", None);
    let (opened, asked) = (store.clone(), wanted.clone());
    let work = move |object: Object| {
        let locked = lock_longer(&opened, &object, &asked);
        (object, locked)
    };
    let (mut locks, mut gone) = (BTreeMap::new(), BTreeSet::new());
    let (mut failed, mut first) = (0_u64, None);
    pool::each(store.readers(), due, work, |(object, locked)| {
        let terms = wanted.terms.clone();
        match locked {
            Ok(Some(until)) => drop(locks.insert(object, Noted { until, terms })),
            // Whoever looks at the points says what is missing.
            Ok(None) => drop(gone.insert(object)),
            Err(error) => {
                failed += 1;
                first.get_or_insert(error);
            }
        }
        Ok(())
    })?;
    // A lock that has ended says nothing any more.
    let ended = noted
        .into_iter()
        .filter(|(_, noted)| noted.until < context.clock.now());
    gone.extend(ended.map(|(object, _)| object));
    catalog.note_locks(&location, &locks, &gone)?;
    match first {
        Some(error) => Err(not_extended(store, failed, error)),
        None => Ok(locks.len() as u64),
    }
}

fn not_extended(store: &OpenStore, failed: u64, error: StoreError) -> Error {
    let (name, error) = (&store.name, Error::from(error));
    let objects = match failed {
        1 => "1 object".to_owned(),
        failed => format!("{failed} objects"),
    };
    let message = format!(
        "{objects} of kept points in store {name} could not be locked longer: {}",
        error.message
    );
    Error { message, ..error }
}

/// Locks an object longer. `None` if it is not there.
fn lock_longer(
    store: &OpenStore,
    object: &Object,
    wanted: &Wanted,
) -> std::result::Result<Option<Timestamp>, StoreError> {
    let Object { key, version } = object;
    let lock = |version: Option<&str>| {
        store
            .store
            .extend_lock(key, version, wanted.enough, wanted.until)
    };
    let locked = match lock(version.as_deref()) {
        // The content of the bucket came from another one.
        Err(StoreError::NotFound { .. }) if version.is_some() => lock(None),
        locked => locked,
    };
    match locked {
        Ok(until) => Ok(Some(until)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The objects that kept points need. Of a repository that holds any of them, these are all its files
/// but the snapshots of points that are not kept: which packs a snapshot needs is not looked for, since
/// the others are deleted within days.
fn needed(store: &OpenStore, judged: &[Judged<'_>]) -> Result<BTreeSet<Object>> {
    let (mut needed, mut kept, mut leaving) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for judged in judged {
        for (copy, decision) in judged.copies.iter().zip(&judged.decisions) {
            let manifest = &copy.manifest;
            let snapshots = manifest
                .artifacts
                .iter()
                .filter_map(|a| a.snapshot.as_deref());
            match decision {
                Decision::Keep(_) => {
                    needed.extend(of_point(manifest));
                    kept.extend(snapshots);
                }
                Decision::Wait { .. } | Decision::Delete(_) => leaving.extend(snapshots),
            }
        }
    }
    if kept.is_empty() {
        return Ok(needed);
    }
    let snapshots = format!("{}snapshots/", snapshot::PREFIX);
    let is_needed = |key: &str| {
        let id = key.strip_prefix(&snapshots);
        id.is_none_or(|id| kept.contains(id) || !leaving.contains(id))
    };
    let files = store.store.list(snapshot::PREFIX)?.into_iter();
    let files = files.filter(|file| object_lock::applies(&file.key) && is_needed(&file.key));
    needed.extend(files.map(|file| Object {
        key: file.key,
        version: None,
    }));
    Ok(needed)
}
