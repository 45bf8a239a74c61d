//! Deletes objects, each only if it is the recorded one, and makes sure that it is gone.

use crate::copies::read_optional;
use crate::digest::sha256_hex;
use crate::error::{Code, Error, Result};
use crate::point::{Manifest, manifest_key};
use crate::snapshot;
use crate::stores::OpenStore;
use jiff::{SignedDuration, Timestamp};
use lifeboat_store::{ObjectInfo, StoreError};

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

/// Deletes a manifest if it is the recorded one, byte for byte, and then its signature. Returns false
/// if another one stands there, which is left alone.
pub(super) fn manifest(store: &OpenStore, manifest: &Manifest, sha256: &str) -> Result<bool> {
    let key = manifest_key(&manifest.point);
    match read_optional(store, &key)? {
        Some(bytes) if sha256_hex(&bytes) != sha256 => return Ok(false),
        Some(_) => remove(store, &key, |_| true)?,
        None => 0,
    };
    remove(store, &format!("{key}.sig"), |_| true)?;
    Ok(true)
}

/// Deletes an object that a manifest named, if it is the recorded one: of the recorded version or
/// else of its size, and not put there after `store_time`, by the clock of the store.
pub(super) fn recorded(
    store: &OpenStore,
    object: &Recorded,
    store_time: Option<Timestamp>,
) -> Result<Fate> {
    let Some(found) = store.store.stat(&object.key)? else {
        return Ok(Fate::Gone(0));
    };
    if found.version.is_some() && object.version.is_some() && found.version != object.version {
        // Somebody put another version above the recorded one.
        let version = object.version.as_deref().unwrap_or_default();
        store.store.delete_version(&object.key, version)?;
        return Ok(Fate::Left);
    }
    // Times of stores have whole seconds.
    let newer = |found: &ObjectInfo| match (found.modified, store_time) {
        (Some(modified), Some(time)) => modified > time + SignedDuration::from_secs(1),
        _ => false,
    };
    if found.bytes != object.bytes || newer(&found) {
        return Ok(Fate::Left);
    }
    remove(store, &object.key, |found| !newer(found)).map(Fate::Gone)
}

/// Deletes what stands under a key, and every version below it that `may` be deleted. Returns the
/// bytes that it freed. Fails if the store says that it deleted something and still has it.
pub(super) fn remove(
    store: &OpenStore,
    key: &str,
    may: impl Fn(&ObjectInfo) -> bool,
) -> Result<u64> {
    let mut freed = 0;
    let mut last: Option<ObjectInfo> = None;
    for _ in 0..VERSIONS_MAX {
        let Some(found) = store.store.stat(key)? else {
            return Ok(freed);
        };
        if let Some(last) = &last
            && (last.version.is_none() || last.version == found.version)
        {
            let message = format!(
                "store {} says that it deleted {key}, and still has it",
                store.name
            );
            return Err(Error::new(Code::Store, message).hint(
                "look for what keeps it there (replication, a snapshot of the file system, a proxy); nothing more is deleted there until it obeys",
            ));
        }
        if !may(&found) {
            return Ok(freed);
        }
        let deleted = match &found.version {
            Some(version) => store.store.delete_version(key, version),
            None => store.store.delete(key),
        };
        deleted.map_err(|error| refused(store, key, error))?;
        freed += found.bytes;
        last = Some(found);
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
