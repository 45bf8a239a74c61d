//! Evidence in the stores and in the catalog's memory of them.
//!
//! Each record in a store is read once, and kept by its hash. Only records that a trusted signer
//! signed, in the directory of that signer, are trusted: anybody who can write to a store can put
//! others there, which have no effect.

use super::chain::Link;
use super::record::Record;
use super::unsent;
use crate::catalog::{HeldRecord, StoredRecord};
use crate::context::Context;
use crate::copies::{self, read_object};
use crate::digest::sha256_hex;
use crate::error::{Error, Result};
use crate::name::Name;
use crate::point::PointId;
use crate::pool;
use crate::sign::TrustedSigners;
use crate::stores::OpenStore;
use lifeboat_store::ObjectInfo;
use std::collections::{BTreeMap, BTreeSet};

/// The directory of a signer that holds details, and that of the state.
pub(super) const DETAILS: &str = "details";
/// Where evidence is in a store.
pub(crate) const PREFIX: &str = "lifeboat/evidence/";

/// A trusted record.
#[derive(Debug, Clone)]
pub(super) struct Believed {
    pub record: Record,
    pub stored: StoredRecord,
}

impl Believed {
    pub fn link(&self) -> Link {
        Link {
            name: self.stored.sha256.clone(),
            hash: self.stored.sha256.clone(),
            sequence: self.record.sequence,
            previous: self.record.previous.clone(),
        }
    }
}

/// An object below the directory of a signer.
pub(super) struct Object {
    pub store: OpenStore,
    pub key: String,
    /// Path below the signer's directory.
    pub file: String,
}

/// All evidence that was found.
#[derive(Default)]
pub(super) struct Gathered {
    /// Every record that was seen or is remembered, by hash, with a signature that fits if one was
    /// seen.
    pub known: BTreeMap<String, StoredRecord>,
    /// Hashes of the records in each store.
    pub held: BTreeMap<Name, BTreeSet<String>>,
    /// Details in stores.
    pub details: Vec<Object>,
    /// Stores that could not be listed, with the errors.
    pub unlisted: Vec<(Name, Error)>,
    /// Errors of objects that could not be read.
    pub unread: Vec<Error>,
}

impl Gathered {
    /// The trusted records.
    pub fn believed(&self, context: &Context) -> Vec<Believed> {
        let believed = |stored: &StoredRecord| believe(&context.trusted, stored).ok();
        self.known.values().filter_map(believed).collect()
    }

    fn learn(&mut self, context: &Context, record: StoredRecord) {
        match self.known.get(&record.sha256) {
            Some(known) if believe(&context.trusted, known).is_ok() => {}
            _ => drop(self.known.insert(record.sha256.clone(), record)),
        }
    }
}

/// Parses a record that a trusted signer signed; fails for any other.
pub(super) fn believe(trusted: &TrustedSigners, stored: &StoredRecord) -> Result<Believed> {
    let untrusted = |why: String| Error::new(crate::error::Code::Untrusted, why);
    let record: Record =
        serde_json::from_slice(&stored.bytes).map_err(|e| untrusted(format!("is damaged: {e}")))?;
    let (app, at) = (&record.app, record.finished);
    trusted.verify(app, &stored.bytes, &stored.signature, at)?;
    if record.sequence != stored.sequence || directory(&record.signer) != stored.signer {
        let why = "stands under another name than its content says";
        return Err(untrusted(why.into()));
    }
    Ok(Believed {
        record,
        stored: stored.clone(),
    })
}

/// Name of a signer's directory: the first 32 hex digits of the SHA-256 of its id.
pub(super) fn directory(id: &str) -> String {
    sha256_hex(id.as_bytes()).chars().take(32).collect()
}

/// Key of a record; with `id`, the key beside another record of the same number.
pub(super) fn key(signer: &str, sequence: u64, id: Option<&PointId>) -> String {
    match id {
        None => format!("{PREFIX}{signer}/{sequence:06}.json"),
        Some(id) => format!("{PREFIX}{signer}/{sequence:06}-{id}.json"),
    }
}

/// Splits a key into the signer's directory and the path below it.
pub(super) fn split(key: &str) -> Option<(&str, &str)> {
    let (signer, file) = key.strip_prefix(PREFIX)?.split_once('/')?;
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    (signer.len() == 32 && signer.bytes().all(hex)).then_some((signer, file))
}

/// Number in the name of a record: `000003.json` or `000003-<id>.json`.
pub(super) fn number(file: &str) -> Option<u64> {
    let stem = file.strip_suffix(".json")?;
    let digits = match stem.split_once('-') {
        None => stem,
        Some((digits, id)) => PointId::parse(id).map(|_| digits)?,
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// Reads a record and the signature beside it.
pub(super) fn read(store: &OpenStore, key: &str) -> Result<Option<StoredRecord>> {
    let Some((signer, sequence)) = split(key).and_then(|(s, file)| Some((s, number(file)?))) else {
        return Ok(None);
    };
    let bytes = read_object(store, key, copies::DOCUMENT_BYTES_MAX)?;
    let signature = copies::read_optional(store, &format!("{key}.sig"))?;
    Ok(Some(StoredRecord {
        signer: signer.to_owned(),
        sequence,
        sha256: sha256_hex(&bytes),
        bytes,
        signature: String::from_utf8_lossy(&signature.unwrap_or_default()).into_owned(),
    }))
}

/// The hash of the detail that an object is, if it is one.
pub(super) fn hash_of(file: &str) -> Option<&str> {
    let (hash, _) = file
        .strip_prefix(DETAILS)?
        .strip_prefix('/')?
        .split_once(".json")?;
    is_hash(hash).then_some(hash)
}

/// Whether it is a SHA-256 in hex.
pub(super) fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The hash that an object of this key has the detail of, and the object, if it is a detail.
pub(super) fn detail(store: &OpenStore, key: &str) -> Option<(String, Object)> {
    let (_, file) = split(key)?;
    let hash = hash_of(file)?.to_owned();
    let object = Object {
        store: store.clone(),
        file: file.to_owned(),
        key: key.to_owned(),
    };
    Some((hash, object))
}

/// Opens every store of the configuration; also returns the errors of those that cannot be opened.
pub(super) fn open_stores(context: &Context) -> (Vec<OpenStore>, Vec<(Name, Error)>) {
    let (mut stores, mut errors) = (Vec::new(), Vec::new());
    for name in context.config.store.keys() {
        match context.stores.open(name) {
            Ok(store) => stores.push(store),
            Err(error) => errors.push((name.clone(), error)),
        }
    }
    (stores, errors)
}

/// Reads the catalog, what no store has taken, and these stores.
pub(super) fn gather(context: &Context, stores: &[OpenStore]) -> Gathered {
    let mut gathered = Gathered::default();
    let catalog = context.state.catalog.records().unwrap_or_default();
    for record in catalog.into_iter().chain(unsent::all(&context.state)) {
        gathered.learn(context, record);
    }
    for store in stores {
        match store.store.list(PREFIX) {
            Ok(objects) => gather_store(context, store, objects, &mut gathered),
            Err(error) => gathered.unlisted.push((store.name.clone(), error.into())),
        }
    }
    gathered
}

fn gather_store(
    context: &Context,
    store: &OpenStore,
    objects: Vec<ObjectInfo>,
    gathered: &mut Gathered,
) {
    let location = store.store.location();
    let before = context.state.catalog.held(&location).unwrap_or_default();
    let (mut held, mut new) = (BTreeSet::new(), Vec::new());
    for object in objects {
        if let Some((_, detail)) = detail(store, &object.key) {
            gathered.details.push(detail);
            continue;
        }
        let Some((_, file)) = split(&object.key) else {
            continue;
        };
        if number(file).is_none() {
            continue;
        }
        let stamp = format!("{} {:?}", object.bytes, object.modified);
        let same = before.get(&object.key).filter(|known| known.stamp == stamp);
        if let Some(same) = same.filter(|known| gathered.known.contains_key(&known.sha256)) {
            held.insert(same.sha256.clone());
            continue;
        }
        new.push((object.key, stamp));
    }
    let reading = store.clone();
    let read = move |(key, stamp): (String, String)| {
        let record = read(&reading, &key);
        (key, stamp, record)
    };
    let all = pool::each(store.readers(), new, read, |(key, stamp, record)| {
        match record {
            Ok(Some(record)) => {
                held.insert(record.sha256.clone());
                note(context, &location, &key, stamp, &record);
                gathered.learn(context, record);
            }
            Ok(None) => {}
            Err(error) => gathered.unread.push(error),
        }
        Ok(())
    });
    gathered.unread.extend(all.err());
    gathered.held.insert(store.name.clone(), held);
}

/// Notes that a store holds a record. An unwritable index is reported when it is needed.
pub(super) fn note(
    context: &Context,
    location: &str,
    key: &str,
    stamp: String,
    record: &StoredRecord,
) {
    let held = HeldRecord {
        stamp,
        sha256: record.sha256.clone(),
    };
    let catalog = &context.state.catalog;
    if let Err(error) = catalog.note_held(location, key, &held, record) {
        context.reporter.warn(&error.to_string());
    }
}
