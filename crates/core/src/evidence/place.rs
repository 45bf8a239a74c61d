//! Puts records into stores: a new record first into its home store, where its number can be taken
//! only once, and then into the others.
//!
//! The home of a record is the first store, in the order of the configuration, that can create an
//! object only once and that answers. There, two runs with one key cannot both take a number: the
//! second sees the first and follows it. When that store is unreachable, the next one is the home;
//! a later record joins the branches that may result. Nothing is ever overwritten or lost: a record
//! whose number is taken is stored beside the other record, under its id.

use super::gather::{self, Believed, key};
use crate::catalog::StoredRecord;
use crate::context::Context;
use crate::copies::{put_bytes, read_optional};
use crate::error::{Code, Error, Result};
use crate::stores::OpenStore;
use lifeboat_store::StoreError;

/// Result of creating a record in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// The record was created.
    Ours,
    /// Another record has the number.
    Taken,
    /// Another run is about to store a record with this number, or died before it did.
    Claimed,
    /// The store cannot create an object only once.
    Weak,
}

/// Options for creating a record.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    /// Also uses a store that checks and then writes; the object is then read back.
    pub weak_too: bool,
    /// Takes over an old claim of another run.
    pub take_over: bool,
}

/// Creates a record under its number, unless another record has it.
pub(super) fn make(store: &OpenStore, record: &StoredRecord, how: How) -> Result<Made> {
    let key = key(&record.signer, record.sequence, None);
    let signature_key = format!("{key}.sig");
    if let Some(there) = read_optional(store, &key)? {
        return Ok(match there == record.bytes {
            true => Made::Ours,
            false => Made::Taken,
        });
    }
    // The signature is stored first, so that no record is ever seen without one; it claims the
    // number.
    let before = claim(store, record, &signature_key)?;
    if before.is_some() {
        if !how.take_over {
            return Ok(Made::Claimed);
        }
        put_bytes(store, &signature_key, record.signature.as_bytes(), false)?;
    }
    if !how.weak_too && !store.store.makes_once() {
        return Ok(Made::Weak);
    }
    match put_bytes(store, &key, &record.bytes, true) {
        Ok(()) => {}
        Err(StoreError::AlreadyExists { .. }) => {
            // The signature that came first stays.
            if let Some(before) = before {
                put_bytes(store, &signature_key, &before, false)?;
            }
            return Ok(Made::Taken);
        }
        Err(error) => return Err(error.into()),
    }
    settle(store, record, &key)
}

/// Stores the signature of a record where there is none yet; otherwise returns the existing
/// signature if it differs.
fn claim(store: &OpenStore, record: &StoredRecord, key: &str) -> Result<Option<Vec<u8>>> {
    match put_bytes(store, key, record.signature.as_bytes(), true) {
        Ok(()) => Ok(None),
        Err(StoreError::AlreadyExists { .. }) => {
            let there = read_optional(store, key)?;
            Ok(there.filter(|there| there != record.signature.as_bytes()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads back the object that was just created: a server that ignores conditions lets two runs
/// create one object.
fn settle(store: &OpenStore, record: &StoredRecord, key: &str) -> Result<Made> {
    if read_optional(store, key)?.as_deref() != Some(record.bytes.as_slice()) {
        return Ok(Made::Taken);
    }
    sign(store, record, key)?;
    Ok(Made::Ours)
}

/// Stores the signature of an existing record, unless it is there.
fn sign(store: &OpenStore, record: &StoredRecord, key: &str) -> Result<()> {
    let signature_key = format!("{key}.sig");
    let there = read_optional(store, &signature_key)?;
    if there.as_deref() != Some(record.signature.as_bytes()) {
        put_bytes(store, &signature_key, record.signature.as_bytes(), false)?;
    }
    Ok(())
}

/// Gives a store a record that it lacks, under its number or beside another record of that number.
/// Returns its key there.
pub(super) fn deliver(store: &OpenStore, believed: &Believed) -> Result<String> {
    let record = &believed.stored;
    for id in [None, Some(&believed.record.id)] {
        let key = key(&record.signer, record.sequence, id);
        match read_optional(store, &key)? {
            Some(there) if there == record.bytes => {
                sign(store, record, &key)?;
                return Ok(key);
            }
            Some(_) => continue,
            None => {}
        }
        let signature_key = format!("{key}.sig");
        let before = claim(store, record, &signature_key)?;
        if before.is_some() {
            put_bytes(store, &signature_key, record.signature.as_bytes(), false)?;
        }
        match put_bytes(store, &key, &record.bytes, true) {
            Ok(()) => return Ok(key),
            Err(StoreError::AlreadyExists { .. }) => {
                if read_optional(store, &key)?.as_deref() == Some(record.bytes.as_slice()) {
                    return Ok(key);
                }
                if let Some(before) = before {
                    put_bytes(store, &signature_key, &before, false)?;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    let (name, n) = (&store.name, record.sequence);
    let message = format!("store {name} holds other objects in the place of evidence record {n}");
    Err(Error::new(Code::ObjectDamaged, message)
        .hint("look at them with `lifeboat evidence verify`, and remove what is nobody's"))
}

/// Gives each store the records that it lacks, and reports records that a store had lost. Failures
/// are retried with the next record.
pub(super) fn heal(
    context: &Context,
    stores: &[&OpenStore],
    gathered: &gather::Gathered,
    believed: &[Believed],
) {
    let mut believed: Vec<&Believed> = believed.iter().collect();
    believed.sort_by_key(|b| b.record.sequence);
    for store in stores {
        let Some(held) = gathered.held.get(&store.name) else {
            continue;
        };
        let location = store.store.location();
        let once = context.state.catalog.held(&location).unwrap_or_default();
        for record in believed.iter().filter(|b| !held.contains(&b.stored.sha256)) {
            let lost = once.values().any(|h| h.sha256 == record.stored.sha256);
            let Ok(key) = deliver(store, record) else {
                continue;
            };
            gather::note(context, &location, &key, String::new(), &record.stored);
            if lost {
                context.reporter.warn(&format!(
                    "store {} had lost evidence record {}: it was put there again",
                    store.name, record.record.sequence
                ));
            }
        }
        heal_details(context, store, gathered, &believed);
    }
}

/// Gives a store the details that were made on this host and that it lacks, whatever key signed their
/// records: it may have been replaced since.
fn heal_details(
    context: &Context,
    store: &OpenStore,
    gathered: &gather::Gathered,
    believed: &[&Believed],
) {
    let has = |sha256: &str| {
        let mut there = gathered.details.iter();
        there.any(|o| o.store.name == store.name && super::gather::hash_of(&o.file) == Some(sha256))
    };
    for record in believed {
        let Some(detail) = &record.record.detail else {
            continue;
        };
        if has(&detail.sha256) {
            continue;
        }
        let signer = &record.stored.signer;
        if let Some(plain) = super::detail::kept(context, &detail.sha256) {
            // The state directory keeps it, and the next run tries again.
            let _ = super::detail::put(context, store, signer, &record.record, &plain);
        }
    }
}
