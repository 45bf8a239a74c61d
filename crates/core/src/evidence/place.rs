//! Puts records into stores: a new one first into one home, where its number is taken once, and then
//! into the others.
//!
//! The home of a record is the first store, in the order of the configuration, that can make an object
//! only where there is none and that answers. There, two runs with one key cannot both have a number:
//! the second one sees the first and follows it. When the home is away, the next store is the home; what
//! forks by that is joined by a later record. Nothing is ever overwritten or lost: a record whose
//! number is taken by another one stands beside it, under its id.

use super::gather::{self, Believed, key};
use crate::catalog::StoredRecord;
use crate::context::Context;
use crate::copies::{put_bytes, read_optional};
use crate::error::{Code, Error, Result};
use crate::stores::OpenStore;
use lifeboat_store::StoreError;

/// What became of a record that was to be made in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// It is there.
    Ours,
    /// The number belongs to another record.
    Taken,
    /// Another run is about to put a record with this number, or died before it did.
    Claimed,
    /// The store cannot make an object only where there is none.
    Weak,
}

/// How a record is to be made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    /// Also in a store that looks first and then writes; what it holds is read back.
    pub weak_too: bool,
    /// The claim of another run is old: take it over.
    pub take_over: bool,
}

/// Makes a record under its number, unless another has it.
pub(super) fn make(store: &OpenStore, record: &StoredRecord, how: How) -> Result<Made> {
    let key = key(&record.signer, record.sequence, None);
    let signature_key = format!("{key}.sig");
    if let Some(there) = read_optional(store, &key)? {
        return Ok(match there == record.bytes {
            true => Made::Ours,
            false => Made::Taken,
        });
    }
    // The signature comes first, so that no record is ever seen without one; it claims the number.
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
            // Whoever was first keeps its signature.
            if let Some(before) = before {
                put_bytes(store, &signature_key, &before, false)?;
            }
            return Ok(Made::Taken);
        }
        Err(error) => return Err(error.into()),
    }
    settle(store, record, &key)
}

/// Puts the signature of a record where there is none yet; otherwise returns the one that is there, if
/// it is another.
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

/// Reads back what is under a key that was just made: a server that ignores conditions lets two
/// runs make one object.
fn settle(store: &OpenStore, record: &StoredRecord, key: &str) -> Result<Made> {
    if read_optional(store, key)?.as_deref() != Some(record.bytes.as_slice()) {
        return Ok(Made::Taken);
    }
    sign(store, record, key)?;
    Ok(Made::Ours)
}

/// Puts the signature of a record that is there, unless it is there.
fn sign(store: &OpenStore, record: &StoredRecord, key: &str) -> Result<()> {
    let signature_key = format!("{key}.sig");
    let there = read_optional(store, &signature_key)?;
    if there.as_deref() != Some(record.signature.as_bytes()) {
        put_bytes(store, &signature_key, record.signature.as_bytes(), false)?;
    }
    Ok(())
}

/// Gives a store a record that it lacks: under its number, or beside another one that has it. Returns
/// its key there.
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

/// Gives each store the records that it lacks, and says what a store had lost. What fails is tried
/// again with the next record.
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

/// Gives a store the details that were made here and that it lacks.
fn heal_details(
    context: &Context,
    store: &OpenStore,
    gathered: &gather::Gathered,
    believed: &[&Believed],
) {
    let ours = gather::directory(context.state.signer.id().as_str());
    let has = |sha256: &str| {
        let mut there = gathered.details.iter();
        there.any(|o| o.store.name == store.name && super::gather::hash_of(&o.file) == Some(sha256))
    };
    for record in believed.iter().filter(|b| b.stored.signer == ours) {
        let Some(detail) = &record.record.detail else {
            continue;
        };
        if has(&detail.sha256) {
            continue;
        }
        if let Some(plain) = super::detail::kept(context, &detail.sha256) {
            // It is whole in the state directory, and tried again next time.
            let _ = super::detail::put(context, store, &ours, &record.record, &plain);
        }
    }
}
