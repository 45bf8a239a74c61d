//! The record of drills and restores: append-only, signed, chained by signer, in every store.
//!
//! Each record carries the SHA-256 of the one before by the same signer. Manifests carry the
//! chain's newest number and hash, so that a cut tail shows. Nothing here is ever changed or
//! deleted; a store that lacks records receives them with the next one.

use crate::catalog::StoredRecord;
use crate::context::{Context, OpenStore};
use crate::digest::sha256_hex;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::point::copies::{self, put_bytes, read_object, to_json};
use crate::point::{Head, PointId};
use crate::probe::CheckResult;
use jiff::Timestamp;
use lifeboat_store::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const PREFIX: &str = "lifeboat/evidence/";
/// How often another writer may take our number before we give up.
const ATTEMPTS_MAX: u32 = 8;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// A rehearsed restore.
    Drill,
    /// A real one.
    Restore,
}

/// What it proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What came back equals what was captured, apart from the named limits, and every check passed.
    Verified,
    /// It came back, but its content could not be compared.
    Restored,
    /// It cannot be proved on this host: something it needs is missing here.
    Unverifiable,
    /// It did not come back, or differs, or a check failed.
    Failed,
}

impl Verdict {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Verified => "verified",
            Verdict::Restored => "restored",
            Verdict::Unverifiable => "unverifiable",
            Verdict::Failed => "failed",
        }
    }
}

/// How long one phase took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `fetch`, `restore db`, `compare db`, `checks`.
    pub name: String,
    /// Seconds.
    pub seconds: f64,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this format: 1.
    pub schema: u32,
    /// Id: time and random digits, as a point's.
    pub id: PointId,
    /// Its number in the signer's chain, from 1.
    pub sequence: u64,
    /// SHA-256 of the record before by the same signer; absent for the first.
    pub previous: Option<String>,
    /// Id of the key that signs it.
    pub signer: String,
    /// What was done.
    pub activity: Activity,
    /// Of which application.
    pub app: Name,
    /// In which environment.
    pub environment: Name,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who ran it.
    pub author: String,
    /// On which host.
    pub host: String,
    /// Version of the program.
    pub lifeboat: String,
    /// The drill of the configuration, when it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Name>,
    /// Why, where someone said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was restored where, for a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What was brought back.
    pub points: Vec<ProvedPoint>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// What it proved.
    pub outcome: Verdict,
    /// Each thing that was asked, and the answer.
    pub checks: Vec<CheckResult>,
    /// What this cannot prove.
    pub limits: Vec<String>,
    /// How long each phase took.
    pub phases: Vec<Phase>,
    /// Seconds from the start until everything was back and checked.
    pub rto_seconds: f64,
    /// Seconds between the capture and the start: what would have been lost.
    pub rpo_seconds: f64,
    /// The targets at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_target_seconds: Option<u64>,
    /// The targets at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_target_seconds: Option<u64>,
}

/// A point that was brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvedPoint {
    /// Its id.
    pub point: PointId,
    /// Its plan, where that is known.
    #[serde(with = "crate::name::or_empty")]
    pub plan: Option<Name>,
    /// The store its copy was read from; absent when none had one that can be believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Name>,
    /// SHA-256 of that copy's manifest; absent when it cannot be believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
    /// The sources that were brought back.
    pub sources: Vec<Name>,
}

/// What became of a new record.
#[derive(Debug)]
pub struct Appended {
    /// The record as signed.
    pub record: Record,
    /// Its key in every store; `None` when nobody here could sign it, and none received it.
    pub key: Option<String>,
    /// Stores that did not receive it, and why. They receive it with the next record.
    pub missing: Vec<(Name, Error)>,
}

/// Signs a record and adds it to our chain in every store. `draft` needs no sequence, previous or
/// signer; they are set here.
pub fn append(context: &Context, mut draft: Record) -> Result<Appended> {
    if context.is_cold() {
        return Ok(Appended {
            record: draft,
            key: None,
            missing: Vec::new(),
        });
    }
    let lock = context.lock("evidence")?;
    let mut missing = Vec::new();
    let mut stores = Vec::new();
    for name in context.config.store.keys() {
        match context.store(name) {
            Ok(store) => stores.push(store),
            Err(error) => missing.push((name.clone(), error)),
        }
    }
    let signer = directory(context.signer.id().as_str());
    let (mut known, errors) = gather(context, &stores);
    missing.extend(errors);
    for _ in 0..ATTEMPTS_MAX {
        let last = known
            .values()
            .filter(|r| r.signer == signer)
            .max_by_key(|r| r.sequence);
        draft.sequence = last.map_or(1, |r| r.sequence + 1);
        draft.previous = last.map(|r| sha256_hex(&r.bytes));
        draft.signer = context.signer.id().to_string();
        let bytes = to_json(&draft)?;
        let record = StoredRecord {
            key: format!("{PREFIX}{signer}/{:06}-{}.json", draft.sequence, draft.id),
            signature: context.signer.sign(&bytes)?,
            signer: signer.clone(),
            sequence: draft.sequence,
            bytes,
        };
        let (reached, taken) = publish(&stores, &record, &mut missing);
        if taken {
            known.extend(gather(context, &stores).0);
            continue;
        }
        context.catalog.note_record(&record)?;
        heal(&reached, &known);
        drop(lock);
        return Ok(Appended {
            record: draft,
            key: Some(record.key),
            missing,
        });
    }
    Err(Error::new(
        Code::Busy,
        "other runs with the same signing key keep adding evidence",
    )
    .hint("run again, and give each host a signing key of its own"))
}

/// Puts a record into every store; those that took it, and whether the number was taken already.
fn publish<'a>(
    stores: &'a [OpenStore],
    record: &StoredRecord,
    missing: &mut Vec<(Name, Error)>,
) -> (Vec<&'a OpenStore>, bool) {
    let mut reached = Vec::new();
    for store in stores {
        if missing.iter().any(|(name, _)| *name == store.name) {
            continue;
        }
        let signature = format!("{}.sig", record.key);
        let put = put_bytes(store, &signature, record.signature.as_bytes(), true)
            .and_then(|()| put_bytes(store, &record.key, &record.bytes, true));
        match put {
            Ok(()) => reached.push(store),
            Err(StoreError::AlreadyExists { .. }) => return (reached, true),
            Err(error) => missing.push((store.name.clone(), error.into())),
        }
    }
    (reached, false)
}

/// Gives each store the records it lacks. What fails is tried again with the next record.
fn heal(stores: &[&OpenStore], known: &BTreeMap<String, StoredRecord>) {
    for store in stores {
        let Ok(objects) = store.store.list(PREFIX) else {
            continue;
        };
        let held: BTreeSet<_> = objects.into_iter().map(|o| o.key).collect();
        for record in known.values().filter(|r| !held.contains(&r.key)) {
            let signature = format!("{}.sig", record.key);
            if put_bytes(store, &signature, record.signature.as_bytes(), false).is_ok() {
                let _ = put_bytes(store, &record.key, &record.bytes, true);
            }
        }
    }
}

/// Every record of the catalog and of these stores, by key; and the stores that failed.
fn gather(
    context: &Context,
    stores: &[OpenStore],
) -> (BTreeMap<String, StoredRecord>, Vec<(Name, Error)>) {
    let (mut known, mut errors) = (BTreeMap::new(), Vec::new());
    for record in context.catalog.records().unwrap_or_default() {
        known.insert(record.key.clone(), record);
    }
    for store in stores {
        if let Err(error) = gather_store(context, store, &mut known) {
            errors.push((store.name.clone(), error));
        }
    }
    (known, errors)
}

fn gather_store(
    context: &Context,
    store: &OpenStore,
    known: &mut BTreeMap<String, StoredRecord>,
) -> Result<()> {
    for object in store.store.list(PREFIX)? {
        let Some((signer, sequence)) = parse_key(&object.key) else {
            continue;
        };
        if known.contains_key(&object.key) {
            continue;
        }
        let bytes = read_object(store, &object.key, copies::DOCUMENT_BYTES_MAX)?;
        let signature = copies::read_optional(store, &format!("{}.sig", object.key))?;
        let signature = String::from_utf8_lossy(&signature.unwrap_or_default()).into_owned();
        let record = StoredRecord {
            signer,
            sequence,
            key: object.key,
            bytes,
            signature,
        };
        context.catalog.note_record(&record)?;
        known.insert(record.key.clone(), record);
    }
    Ok(())
}

fn parse_key(key: &str) -> Option<(String, u64)> {
    let (signer, file) = key.strip_prefix(PREFIX)?.split_once('/')?;
    let (sequence, id) = file.strip_suffix(".json")?.split_once('-')?;
    PointId::parse(id)?;
    Some((Name::parse(signer)?.into(), sequence.parse().ok()?))
}

/// The directory of a signer: the first 32 hex digits of the SHA-256 of its id.
fn directory(id: &str) -> String {
    sha256_hex(id.as_bytes()).chars().take(32).collect()
}

/// The newest record of each chain we know, for a manifest; a store that lacks records receives
/// them first.
pub fn heads(context: &Context, stores: &[OpenStore]) -> BTreeMap<Name, Head> {
    let mut heads: BTreeMap<Name, Head> = BTreeMap::new();
    let (known, _) = gather(context, stores);
    heal(&stores.iter().collect::<Vec<_>>(), &known);
    for record in known.values() {
        let head = Head {
            sequence: record.sequence,
            sha256: sha256_hex(&record.bytes),
        };
        let Some(signer) = Name::parse(&record.signer) else {
            continue;
        };
        match heads.get(&signer) {
            Some(known) if known.sequence >= head.sequence => {}
            _ => drop(heads.insert(signer, head)),
        }
    }
    heads
}

/// One record as it is listed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What it says.
    pub record: Record,
    /// Its key in the stores.
    pub key: String,
    /// Why it is not to be believed, if it is not.
    pub distrust: Option<Error>,
}

/// Every record of this application that can be read, by time; and the stores that failed.
pub fn list(context: &Context) -> Result<(Vec<Listed>, Vec<Error>)> {
    let (known, errors) = reachable(context);
    let mut listed: Vec<Listed> = known
        .into_values()
        .filter_map(|stored| {
            let record: Record = serde_json::from_slice(&stored.bytes).ok()?;
            let ours = record.app == context.config.app.name
                && record.environment == context.config.app.environment;
            let distrust = context
                .trusted
                .verify(
                    &record.app,
                    &stored.bytes,
                    &stored.signature,
                    record.finished,
                )
                .err();
            ours.then_some(Listed {
                record,
                key: stored.key,
                distrust,
            })
        })
        .collect();
    // Ids of one second are in no order; numbers of one chain are.
    listed.sort_by_key(|l| (l.record.finished, l.record.sequence));
    Ok((listed, errors))
}

fn reachable(context: &Context) -> (BTreeMap<String, StoredRecord>, Vec<Error>) {
    let (mut stores, mut errors) = (Vec::new(), Vec::new());
    for name in context.config.store.keys() {
        match context.store(name) {
            Ok(store) => stores.push(store),
            Err(error) => errors.push(error),
        }
    }
    let (known, failed) = gather(context, &stores);
    errors.extend(failed.into_iter().map(|(_, error)| error));
    (known, errors)
}

/// What `evidence verify` found.
#[derive(Debug, Clone, Serialize)]
pub struct ChainReport {
    /// Records that were checked.
    pub records: u64,
    /// What is wrong, each in one sentence; empty when everything holds.
    pub problems: Vec<String>,
}

/// Checks every chain as each store holds it: signatures, numbers, hashes, and that no tail that a
/// manifest knows of was cut. Nothing is taken from the catalog.
pub fn verify(context: &Context) -> Result<ChainReport> {
    let mut report = ChainReport {
        records: 0,
        problems: Vec::new(),
    };
    let mut counted = BTreeSet::new();
    for name in context.config.store.keys() {
        let store = match context.store(name) {
            Ok(store) => store,
            Err(error) => {
                report.problems.push(format!("store {name}: {error}"));
                continue;
            }
        };
        match verify_store(context, &store) {
            Ok((keys, problems)) => {
                counted.extend(keys);
                report.problems.extend(problems);
            }
            Err(error) => report.problems.push(format!("store {name}: {error}")),
        }
    }
    report.records = counted.len() as u64;
    Ok(report)
}

fn verify_store(context: &Context, store: &OpenStore) -> Result<(Vec<String>, Vec<String>)> {
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    let mut chains: BTreeMap<String, BTreeMap<u64, String>> = BTreeMap::new();
    let mut previous: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut objects = store.store.list(PREFIX)?;
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    for object in objects {
        let Some((signer, sequence)) = parse_key(&object.key) else {
            continue;
        };
        let mut wrong =
            |what: String| problems.push(format!("store {}: {}: {what}", store.name, object.key));
        let bytes = read_object(store, &object.key, copies::DOCUMENT_BYTES_MAX)?;
        let signature = copies::read_optional(store, &format!("{}.sig", object.key))?;
        let hash = sha256_hex(&bytes);
        let record: Record = match serde_json::from_slice(&bytes) {
            Ok(record) => record,
            Err(error) => {
                wrong(format!("is damaged: {error}"));
                continue;
            }
        };
        let signature = String::from_utf8_lossy(&signature.unwrap_or_default()).into_owned();
        if let Err(error) = context
            .trusted
            .verify(&record.app, &bytes, &signature, record.finished)
        {
            wrong(error.message);
        }
        if record.sequence != sequence || directory(&record.signer) != signer {
            wrong("stands under another name than its content says".into());
        }
        let expected = previous
            .get(&signer)
            .map_or((1, None), |(n, h)| (n + 1, Some(h.clone())));
        if sequence != expected.0 {
            wrong(format!("record {} of this chain is missing", expected.0));
        } else if record.previous != expected.1 {
            wrong("does not carry the hash of the record before it".into());
        }
        chains
            .entry(signer.clone())
            .or_default()
            .insert(sequence, hash.clone());
        previous.insert(signer, (sequence, hash));
        keys.push(object.key);
    }
    problems.extend(cut_tails(context, store, &chains)?);
    Ok((keys, problems))
}

/// Heads that trusted manifests know of and the store's chain does not have.
fn cut_tails(
    context: &Context,
    store: &OpenStore,
    chains: &BTreeMap<String, BTreeMap<u64, String>>,
) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    // The newest that can be believed: anybody may have put one there that cannot.
    let believed = |point: &PointId| {
        let copy = copies::read(store, point).ok()?;
        copy.check_trust(context).is_ok().then_some(copy)
    };
    let Some(copy) = copies::list(store)?.iter().rev().find_map(believed) else {
        return Ok(problems);
    };
    let newest = &copy.manifest.point;
    for (signer, head) in &copy.manifest.evidence {
        let held = chains
            .get(signer.as_str())
            .and_then(|chain| chain.get(&head.sequence));
        if held != Some(&head.sha256) {
            problems.push(format!(
                "store {}: the chain of {signer} lacks record {}, which the manifest of {newest} knows",
                store.name, head.sequence
            ));
        }
    }
    Ok(problems)
}
