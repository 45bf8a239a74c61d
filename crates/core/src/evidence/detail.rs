//! The sealed detail of a record: observations, which may contain data.
//!
//! It lies beside the records, named by the SHA-256 of its plain form, which the record carries. A
//! random salt in it prevents confirming a guess by that hash. It is sealed to the store's
//! recipients, or else to those of `[evidence]`. It is stored unencrypted only in a store that
//! holds the data of the points themselves unencrypted. The state directory keeps the details made
//! on this host. A chain is intact without any detail, but a missing detail is reported.

use super::gather::{DETAILS, Object, PREFIX, hash_of, is_hash};
use super::record::{DetailRef, ProvedPoint, Record};
use crate::archive::{self, Identities, Recipients, Sealer, Sealing};
use crate::clock::Clock;
use crate::compress::Compress;
use crate::context::Context;
use crate::copies::{DOCUMENT_BYTES_MAX, put_bytes, read_optional};
use crate::digest::{hex, sha256_hex};
use crate::document::to_json;
use crate::error::{Code, Error, Result};
use crate::fingerprint::Difference;
use crate::name::Name;
use crate::place;
use crate::point::PointId;
use crate::probe::Observed;
use crate::state::State;
use crate::stores::OpenStore;
use lifeboat_store::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;

pub(super) const KEPT: &str = "evidence";

/// Everything in a record that may contain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Version of this format: 1.
    schema: u32,
    /// Id of the record.
    id: PointId,
    /// 32 random bytes, hex.
    salt: String,
    /// Details of each check of the record, in its order.
    checks: Vec<CheckDetail>,
    /// The limits as text.
    limits: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CheckDetail {
    name: String,
    expected: String,
    observed: String,
    /// Differences, one by one; details of older versions have them only in `observed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    differences: Vec<Difference>,
}

impl Detail {
    /// Collects the observations of a record.
    fn new(record: &Record, clock: &Clock) -> Self {
        let salt: Vec<u8> = (0..4).flat_map(|_| clock.random().to_le_bytes()).collect();
        Detail {
            schema: 1,
            id: record.id.clone(),
            salt: hex(&salt),
            checks: record
                .checks
                .iter()
                .map(|check| CheckDetail {
                    name: check.question(),
                    expected: check.expected().to_owned(),
                    observed: check.observed().to_owned(),
                    differences: check.listed.clone(),
                })
                .collect(),
            limits: record.limits().into_iter().map(str::to_owned).collect(),
        }
    }

    /// Puts the observations back into the record.
    fn reveal(self, record: &mut Record) {
        for (check, detail) in record.checks.iter_mut().zip(self.checks) {
            check.asked = Some(detail.name.into());
            check.expected = Some(detail.expected.into());
            check.observed = Some(detail.observed.into());
            check.listed = detail.differences;
        }
        record.limits = self.limits.into_iter().map(Observed::from).collect();
    }
}

/// A detail in its plain, unencrypted form.
pub(super) struct Plain {
    pub sha256: String,
    pub bytes: Vec<u8>,
}

/// Moves the observations out of a record that is to be signed; the record then carries their hash.
pub(super) fn take(record: &mut Record, clock: &Clock) -> Result<Plain> {
    let bytes = to_json(&Detail::new(record, clock))?;
    let sha256 = sha256_hex(&bytes);
    record.limits_count = record.limits.len() as u64;
    record.detail = Some(DetailRef {
        sha256: sha256.clone(),
    });
    Ok(Plain { sha256, bytes })
}

/// How the detail of a record is sealed for a store; `None` when it must not be put there.
fn sealing(context: &Context, store: &OpenStore, record: &Record) -> Result<Option<Sealing>> {
    let sealed_to = |recipients: Recipients| Sealing {
        compress: Compress::None,
        recipients: Some(recipients),
        signer: None,
    };
    if let Some(recipients) = &store.sealing.recipients {
        return Ok(Some(sealed_to(recipients.clone())));
    }
    let configured = &context.config.evidence.recipients;
    if !configured.is_empty() {
        context.stores.check_recipients(configured)?;
        let recipients = Recipients::parse_any(configured, context.clock.now())?;
        return Ok(Some(sealed_to(recipients)));
    }
    let holds = |plan: &Name| {
        let plan = context.config.plan.get(plan);
        plan.is_some_and(|plan| plan.stores.contains(&store.name))
    };
    let mut points = record.points.iter();
    let is_clear = !store.config.is_repository()
        && points
            .all(|p| p.store.as_ref() == Some(&store.name) || p.plan.as_ref().is_some_and(holds));
    Ok(is_clear.then_some(Sealing {
        compress: Compress::None,
        recipients: None,
        signer: None,
    }))
}

/// Seals a detail and puts it into a store that may hold it.
pub(super) fn put(
    context: &Context,
    store: &OpenStore,
    signer: &str,
    record: &Record,
    plain: &Plain,
) -> Result<()> {
    let Some(sealing) = sealing(context, store, record)? else {
        return Ok(());
    };
    let failed = |e| Error::from_io(Code::Store, "the detail of a record cannot be sealed", e);
    let mut sealer = Sealer::new(&sealing, Vec::new())?;
    sealer.write_all(&plain.bytes).map_err(failed)?;
    let bytes = sealer.finish().map_err(failed)?;
    let key = format!(
        "{PREFIX}{signer}/{DETAILS}/{}.json{}",
        plain.sha256,
        sealing.suffix()
    );
    match put_bytes(store, &key, &bytes, true) {
        Ok(()) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Keeps a detail in the state directory.
pub(super) fn keep(context: &Context, plain: &Plain) -> Result<()> {
    let path = kept_path(&context.state, &plain.sha256)?;
    place::replace_file(&mut plain.bytes.as_slice(), &path, 0o600)
        .map(drop)
        .map_err(|error| Error {
            code: Code::State,
            ..error
        })
}

fn kept_path(state: &State, sha256: &str) -> Result<PathBuf> {
    let directory = state.private_directory(&[KEPT])?;
    Ok(directory.join(format!("{sha256}.json")))
}

/// The detail with this hash, if the state directory has it undamaged.
pub(super) fn kept(context: &Context, sha256: &str) -> Option<Plain> {
    let path = is_hash(sha256).then(|| kept_path(&context.state, sha256).ok())??;
    let bytes = std::fs::read(path).ok()?;
    (sha256_hex(&bytes) == sha256).then(|| Plain {
        sha256: sha256.to_owned(),
        bytes,
    })
}

/// Hashes of all details in the state directory.
pub(super) fn all_kept(state: &State) -> BTreeSet<String> {
    let entries = state.private_directory(&[KEPT]).map(std::fs::read_dir);
    let Ok(Ok(entries)) = entries else {
        return BTreeSet::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| {
            let hash = name.to_str()?.strip_suffix(".json")?;
            is_hash(hash).then(|| hash.to_owned())
        })
        .collect()
}

/// Opens the detail of a record from the state directory only.
pub(super) fn open_kept(context: &Context, record: &mut Record) {
    let hash = record.detail.as_ref().map(|d| d.sha256.clone());
    let plain = hash.and_then(|hash| kept(context, &hash));
    if let Some(detail) = plain.and_then(|plain| parse(&plain.bytes, record)) {
        detail.reveal(record);
    }
}

/// Opens the detail of a record from the state directory, or from a store that has it and whose key
/// is on this host. The error says why it stays sealed.
pub(super) fn open(context: &Context, objects: &[Object], record: &mut Record) -> Result<()> {
    open_kept(context, record);
    let Some(wanted) = record.detail.clone() else {
        return Ok(());
    };
    if is_open(record) {
        return Ok(());
    }
    let mut why = Error::new(
        Code::ObjectMissing,
        "no store that can be read has its detail",
    )
    .hint("show it on the host that made it, or name the store's key in `decrypt`");
    for object in objects
        .iter()
        .filter(|o| hash_of(&o.file) == Some(&wanted.sha256))
    {
        match read(context, object, &wanted.sha256, record) {
            Ok(detail) => {
                detail.reveal(record);
                return Ok(());
            }
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// Returns whether the record holds its observations.
fn is_open(record: &Record) -> bool {
    let all = record.checks.iter().all(|check| check.observed.is_some());
    all && record.limits.len() as u64 == record.limits_count
}

fn read(context: &Context, object: &Object, sha256: &str, record: &Record) -> Result<Detail> {
    let plain = read_plain(context, object, sha256)?;
    parse(&plain, record).ok_or_else(|| damaged(object, "is no detail of it"))
}

fn damaged(object: &Object, what: &str) -> Error {
    let message = format!("{} in store {} {what}", object.key, object.store.name);
    Error::new(Code::ObjectDamaged, message)
}

/// Reads a stored detail, opens it with a key of this host, and compares it with the hash that its
/// record carries. When no key of this host opens it, the error has another code than
/// `ObjectDamaged`.
pub(super) fn read_plain(context: &Context, object: &Object, sha256: &str) -> Result<Vec<u8>> {
    let (store, key) = (&object.store, &object.key);
    let bytes = read_optional(store, key)?.ok_or_else(|| damaged(object, "is gone"))?;
    let encrypt = match key.rsplit('.').next() {
        Some("age") => Some("age"),
        Some("gpg") => Some("openpgp"),
        _ => None,
    };
    if !could_be(encrypt, &bytes) {
        return Err(damaged(object, "is not sealed as its name says"));
    }
    let mut why = None;
    for identities in keys(context, store)? {
        let mut plain = Vec::new();
        let opened = archive::open(bytes.as_slice(), "none", encrypt, identities.as_ref());
        // A key that opens an `age` header opens the rest, too.
        let code = match (opened.is_ok(), encrypt) {
            (true, Some("age")) => Code::ObjectDamaged,
            _ => Code::Decryption,
        };
        let read = opened.and_then(|reader| {
            let mut reader = reader.take(DOCUMENT_BYTES_MAX);
            let cut = |e| Error::from_io(code, format!("{key} cannot be opened"), e);
            reader.read_to_end(&mut plain).map_err(cut)
        });
        match read {
            Ok(_) if sha256_hex(&plain) != sha256 => {
                return Err(damaged(object, "is not what the record says"));
            }
            Ok(_) => return Ok(plain),
            Err(error) if error.code == Code::ObjectDamaged => return Err(error),
            Err(error) => why = Some(error),
        }
    }
    Err(why.unwrap_or_else(|| damaged(object, "cannot be opened")))
}

/// Returns whether bytes begin as a message of this encryption does.
fn could_be(encrypt: Option<&str>, bytes: &[u8]) -> bool {
    match encrypt {
        Some("age") => bytes.starts_with(b"age-encryption.org/v1\n"),
        // The first byte of an OpenPGP packet has its highest bit set.
        Some(_) => bytes.first().is_some_and(|byte| byte & 0x80 != 0),
        None => true,
    }
}

/// Returns whether a store that holds a record should also hold its detail.
pub(super) fn belongs(store: &OpenStore, record: &Record) -> bool {
    let is_of_here = |p: &ProvedPoint| p.store.as_ref() == Some(&store.name);
    let holds_all = !record.points.is_empty() && record.points.iter().all(is_of_here);
    store.sealing.recipients.is_some() || holds_all && !store.config.is_repository()
}

/// Keys that may open objects of a store, its own first.
fn keys(context: &Context, store: &OpenStore) -> Result<Vec<Option<Identities>>> {
    let mut keys = vec![store.identities()?];
    for (name, config) in &context.config.store {
        if *name != store.name && config.decrypt.is_some() {
            keys.extend(context.stores.open(name).and_then(|s| s.identities()));
        }
    }
    Ok(keys)
}

fn parse(bytes: &[u8], record: &Record) -> Option<Detail> {
    let detail: Detail = serde_json::from_slice(bytes).ok()?;
    let fits = detail.id == record.id && detail.checks.len() == record.checks.len();
    fits.then_some(detail)
}
