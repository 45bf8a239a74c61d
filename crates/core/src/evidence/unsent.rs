//! Records that no store has taken yet, in the state directory. The catalog may be deleted at any time, and
//! what is signed here must not go with it.

use super::detail::KEPT;
use super::gather::{Gathered, is_hash};
use crate::catalog::StoredRecord;
use crate::digest::sha256_hex;
use crate::document::to_json;
use crate::error::{Code, Error, Result};
use crate::place;
use crate::state::State;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const NAME: &str = "record-";

/// A record as it is kept.
#[derive(Serialize, Deserialize)]
struct Unsent {
    signer: String,
    sequence: u64,
    record: String,
    signature: String,
}

/// Keeps a record until a store has it.
pub(super) fn keep(state: &State, record: &StoredRecord) -> Result<()> {
    let unsent = Unsent {
        signer: record.signer.clone(),
        sequence: record.sequence,
        record: String::from_utf8_lossy(&record.bytes).into_owned(),
        signature: record.signature.clone(),
    };
    let bytes = to_json(&unsent)?;
    place::replace_file(&mut bytes.as_slice(), &path(state, &record.sha256)?, 0o600)
        .map(drop)
        .map_err(|error| Error {
            code: Code::State,
            ..error
        })
}

/// The records that are kept.
pub(super) fn all(state: &State) -> Vec<StoredRecord> {
    let entries = state.private_directory(&[KEPT]).map(std::fs::read_dir);
    let Ok(Ok(entries)) = entries else {
        return Vec::new();
    };
    let is_one = |name: &str| {
        let hash = name.strip_prefix(NAME)?.strip_suffix(".json")?;
        is_hash(hash).then_some(())
    };
    let named = entries.flatten().filter_map(|entry| {
        is_one(entry.file_name().to_str()?)?;
        let unsent: Unsent = serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok()?;
        let bytes = unsent.record.into_bytes();
        Some(StoredRecord {
            signer: unsent.signer,
            sequence: unsent.sequence,
            sha256: sha256_hex(&bytes),
            bytes,
            signature: unsent.signature,
        })
    });
    named.collect()
}

/// Forgets the records that stores hold.
pub(super) fn forget_held(state: &State, gathered: &Gathered) {
    for record in all(state) {
        if gathered
            .held
            .values()
            .any(|held| held.contains(&record.sha256))
        {
            forget(state, &record.sha256);
        }
    }
}

/// Forgets a record. One that stays is put into a store that has it once more.
pub(super) fn forget(state: &State, sha256: &str) {
    if let Ok(path) = path(state, sha256) {
        let _ = std::fs::remove_file(path);
    }
}

fn path(state: &State, sha256: &str) -> Result<PathBuf> {
    let directory = state.private_directory(&[KEPT])?;
    Ok(directory.join(format!("{NAME}{sha256}.json")))
}
