//! Deletes objects, each only if it is the recorded one, and makes sure that it is gone.
//!
//! It knows versions, sizes and times; which objects are still needed is for the caller to know.

use crate::copies::read_optional;
use crate::digest::sha256_hex;
use crate::error::{Code, Error, Result};
use crate::point::{Manifest, manifest_key};
use crate::snapshot;
use crate::stores::OpenStore;
use jiff::{SignedDuration, Timestamp};
use lifeboat_store::{ObjectInfo, StoreError};
use std::collections::{BTreeMap, BTreeSet};

/// Versions of one key that are deleted at most: more are no accident.
const VERSIONS_MAX: usize = 100;

/// An object that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) key: String,
    pub(super) bytes: u64,
    pub(super) version: Option<String>,
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is gone, and freed so many bytes; 0 if it was gone before.
    Gone(u64),
    /// Something else stands there, and was left alone.
    Left,
}

/// The objects of a point beside its manifest, those in a snapshot excepted.
pub(super) fn objects(manifest: &Manifest) -> Vec<Recorded> {
    let details = &manifest.details;
    let details = (details.encrypt.as_deref() != Some(snapshot::ENCRYPTION)).then(|| Recorded {
        key: details.key.to_string(),
        bytes: details.bytes,
        version: details.version.clone(),
    });
    let artifacts = manifest.artifacts.iter();
    let artifacts = artifacts
        .filter(|artifact| artifact.snapshot.is_none())
        .map(|artifact| Recorded {
            key: artifact.key.to_string(),
            bytes: artifact.bytes,
            version: artifact.version.clone(),
        });
    details.into_iter().chain(artifacts).collect()
}

/// What was seen of the objects of a store.
#[derive(Default)]
pub(super) struct Looked {
    sizes: BTreeMap<String, Option<u64>>,
    snapshots: Option<BTreeSet<String>>,
}

impl Looked {
    /// Says what a copy lacks: an object that is missing or has another size, or a snapshot that is
    /// missing. `None` if all is there.
    pub(super) fn lack(
        &mut self,
        store: &OpenStore,
        manifest: &Manifest,
    ) -> Result<Option<String>> {
        for object in objects(manifest) {
            let size = match self.sizes.get(&object.key) {
                Some(size) => *size,
                None => {
                    let found = store.store.stat(&object.key)?;
                    let size = found.map(|found| found.bytes);
                    self.sizes.insert(object.key.clone(), size);
                    size
                }
            };
            match size {
                Some(bytes) if bytes == object.bytes => {}
                Some(_) => return Ok(Some(format!("{} has another size", object.key))),
                None => return Ok(Some(format!("{} is missing", object.key))),
            }
        }
        let mut named = manifest
            .artifacts
            .iter()
            .filter_map(|a| a.snapshot.as_ref());
        let (Some(first), Some(repository)) = (named.next(), &store.snapshots) else {
            return Ok(None);
        };
        let there = match &self.snapshots {
            Some(there) => there,
            None => self.snapshots.insert(repository.ids()?),
        };
        let is_there = there.contains(first) && named.all(|id| there.contains(id));
        Ok((!is_there).then(|| format!("snapshot {first} is missing")))
    }
}

/// Deletes a manifest if it is the recorded one, byte for byte, and then its signature. Returns false
/// if another one stands there, which is left alone.
pub(super) fn manifest(store: &OpenStore, manifest: &Manifest, sha256: &str) -> Result<bool> {
    let key = manifest_key(&manifest.point);
    match read_optional(store, &key)? {
        Some(bytes) if sha256_hex(&bytes) != sha256 => return Ok(false),
        Some(_) => remove(store, &key)?,
        None => 0,
    };
    remove(store, &format!("{key}.sig"))?;
    Ok(true)
}

/// Deletes an object that a manifest named, if it is the recorded one: of the recorded version or
/// else of its size, and not put there after `store_time`, by the clock of the store.
pub(super) fn recorded(
    store: &OpenStore,
    object: &Recorded,
    store_time: Option<Timestamp>,
) -> Result<Fate> {
    let found = store.store.stat(&object.key)?;
    let stands = found.as_ref().and_then(|found| found.version.as_ref());
    if let Some(version) = &object.version
        && stands != Some(version)
        && (found.is_none() || stands.is_some())
    {
        // Somebody put another version above the recorded one, or a delete marker.
        let deleted = store.store.delete_version(&object.key, version);
        deleted.map_err(|error| refused(store, &object.key, error))?;
        return Ok(match found {
            Some(_) => Fate::Left,
            None => Fate::Gone(0),
        });
    }
    let Some(found) = found else {
        return Ok(Fate::Gone(0));
    };
    // Times of stores have whole seconds.
    let newer = |found: &ObjectInfo| match (found.modified, store_time) {
        (Some(modified), Some(time)) => {
            let second = SignedDuration::from_secs(1);
            modified > time.checked_add(second).unwrap_or(Timestamp::MAX)
        }
        _ => false,
    };
    if found.bytes != object.bytes || newer(&found) {
        return Ok(Fate::Left);
    }
    remove_found(store, &object.key, Some(found), |found| !newer(found)).map(Fate::Gone)
}

/// Deletes what stands under a key, and every version below it. Returns the bytes that it freed.
/// Fails if the store says that it deleted something and still has it.
pub(super) fn remove(store: &OpenStore, key: &str) -> Result<u64> {
    let found = store.store.stat(key)?;
    remove_found(store, key, found, |_| true)
}

/// Removes as [`remove`] does what was `found` under a key, and the versions below it that `may` be
/// deleted.
fn remove_found(
    store: &OpenStore,
    key: &str,
    mut found: Option<ObjectInfo>,
    may: impl Fn(&ObjectInfo) -> bool,
) -> Result<u64> {
    let mut freed = 0;
    let mut last: Option<ObjectInfo> = None;
    for _ in 0..VERSIONS_MAX {
        let Some(standing) = found.take() else {
            return Ok(freed);
        };
        if let Some(last) = &last
            && (last.version.is_none() || last.version == standing.version)
        {
            let message = format!(
                "store {} says that it deleted {key}, and still has it",
                store.name
            );
            return Err(Error::new(Code::Store, message).hint(
                "look for what keeps it there (replication, a snapshot of the file system, a proxy); nothing more is deleted there until it obeys",
            ));
        }
        if !may(&standing) {
            return Ok(freed);
        }
        let deleted = match &standing.version {
            Some(version) => store.store.delete_version(key, version),
            None => store.store.delete(key),
        };
        deleted.map_err(|error| refused(store, key, error))?;
        freed += standing.bytes;
        last = Some(standing);
        found = store.store.stat(key)?;
    }
    let message = format!("{key} in store {} has very many versions", store.name);
    Err(Error::new(Code::Store, message).hint("find out who keeps writing it"))
}

fn refused(store: &OpenStore, key: &str, error: StoreError) -> Error {
    let name = &store.name;
    match &error {
        StoreError::Denied { .. } | StoreError::ReadOnly { .. } => {
            let message = format!("store {name} does not let this host delete {key}");
            Error::new(Code::Store, message).cause(&error).hint(format!(
                "let it delete there (s3:DeleteObject, s3:DeleteObjectVersion), or write pruned_by = \"elsewhere\" in [store.{name}] if others delete there"
            ))
        }
        _ => error.into(),
    }
}
