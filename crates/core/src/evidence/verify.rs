//! Checks every chain in each store: signatures, numbers and hashes; that no tail that a manifest
//! names was cut; and that no record that this host has seen there is missing.
//!
//! Each store is judged by its own content alone. This host's memory (the catalog, and the details
//! in its state directory) only reveals what is missing. Without it, a tail that no manifest names
//! can be cut unnoticed.

use super::chain::{self, Link};
use super::gather::{self, Object, PREFIX};
use super::{detail, record::Record, unsent};
use crate::context::Context;
use crate::copies;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::point::{Head, PointId};
use crate::sign::TrustedSigners;
use crate::state::State;
use crate::stores::OpenStore;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Result of `evidence verify`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChainReport {
    /// Number of records that were checked.
    pub records: u64,
    /// Problems, each in a sentence; empty when everything is intact.
    pub problems: Vec<String>,
    /// Sentences about what could not be read, and is therefore unknown.
    pub unread: Vec<String>,
    /// Remarks that are no damage: a chain that forked, a store that lacks a record that it never
    /// had.
    pub notes: Vec<String>,
}

/// The outcome of a check of the chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainOutcome {
    /// Everything is intact.
    Intact,
    /// No problem is known, but something could not be read.
    Unread,
    /// There are problems.
    Damaged,
}

impl ChainOutcome {
    /// Returns the exit code of the check.
    pub fn exit(self) -> Exit {
        match self {
            ChainOutcome::Intact => Exit::Done,
            ChainOutcome::Unread => Exit::Failed,
            ChainOutcome::Damaged => Exit::NotProved,
        }
    }
}

/// The document of `evidence verify`.
#[derive(Debug, Clone, Serialize)]
pub struct ChainDocument<'a> {
    outcome: ChainOutcome,
    #[serde(flatten)]
    report: &'a ChainReport,
}

impl ChainReport {
    /// The worst result.
    pub fn outcome(&self) -> ChainOutcome {
        match (self.problems.is_empty(), self.unread.is_empty()) {
            (false, _) => ChainOutcome::Damaged,
            (true, false) => ChainOutcome::Unread,
            (true, true) => ChainOutcome::Intact,
        }
    }

    /// Makes the document.
    pub fn document(&self) -> ChainDocument<'_> {
        ChainDocument {
            outcome: self.outcome(),
            report: self,
        }
    }
}

/// Checks the evidence in every store.
pub fn verify(context: &Context) -> Result<ChainReport> {
    let mut report = ChainReport::default();
    let mut seen = BTreeMap::new();
    let (stores, unopened) = gather::open_stores(context);
    for (name, error) in unopened {
        report.unread.push(format!("store {name}: {error}"));
    }
    let mut verified = Vec::new();
    for store in &stores {
        let before = remembered(&context.state, store);
        match Chains::read(context, store, &mut report) {
            Ok(chains) => {
                seen.extend(chains.records.clone());
                verified.push((store, chains, before));
            }
            Err(error) => report.unread.push(format!("store {}: {error}", store.name)),
        }
    }
    let details: BTreeSet<String> = verified
        .iter()
        .flat_map(|(_, chains, _)| chains.details.keys().cloned())
        .collect();
    for (store, chains, before) in &verified {
        chains.check(store, &mut report);
        chains.check_details(context, store, &details, &mut report);
        chains.check_heads(&context.trusted, store, &mut report)?;
        chains.check_memory(context, store, before, &mut report);
    }
    check_kept(context, &seen, &mut report);
    let mut lacking = lacking(&verified, &seen);
    report.notes.append(&mut lacking);
    report.records = seen.len() as u64;
    Ok(report)
}

/// Hashes of the records that this host has seen in a store.
fn remembered(state: &State, store: &OpenStore) -> BTreeSet<String> {
    let held = state.catalog.held(&store.store.location());
    let held = held.unwrap_or_default().into_values();
    held.map(|held| held.sha256).collect()
}

/// A record as a store holds it.
#[derive(Clone)]
struct Seen {
    signer: String,
    sequence: u64,
    detail: Option<String>,
    /// True when a trusted signer signed it.
    is_believed: bool,
    /// True when the store should hold its detail.
    has_detail: bool,
}

/// Chains in one store.
struct Chains {
    /// Records in the chain of each signer.
    links: BTreeMap<String, Vec<Link>>,
    /// Records by hash.
    records: BTreeMap<String, Seen>,
    /// Objects whose names say that they are a detail, by its hash.
    details: BTreeMap<String, Vec<Object>>,
    /// True when every object could be read.
    is_whole: bool,
}

impl Chains {
    fn read(context: &Context, store: &OpenStore, report: &mut ChainReport) -> Result<Self> {
        let mut chains = Chains {
            links: BTreeMap::new(),
            records: BTreeMap::new(),
            details: BTreeMap::new(),
            is_whole: true,
        };
        for object in store.store.list(PREFIX)? {
            let key = &object.key;
            if let Some((hash, detail)) = gather::detail(store, key) {
                chains.details.entry(hash).or_default().push(detail);
                continue;
            }
            let told = |what: &str| format!("store {}: {key}: {what}", store.name);
            let stored = match gather::read(store, key) {
                Ok(None) => continue,
                Ok(Some(stored)) => stored,
                Err(error) if is_damage(&error) => {
                    report.problems.push(told(&error.to_string()));
                    continue;
                }
                Err(error) => {
                    chains.is_whole = false;
                    report.unread.push(told(&error.to_string()));
                    continue;
                }
            };
            let believed = gather::believe(&context.trusted, &stored);
            if let Err(error) = &believed {
                report.problems.push(told(&error.message));
            }
            let record: Record = match (&believed, serde_json::from_slice(&stored.bytes)) {
                (Ok(believed), _) => believed.record.clone(),
                (Err(_), Ok(record)) => record,
                (Err(_), Err(_)) => continue,
            };
            if believed.is_ok() {
                let stamp = format!("{} {:?}", object.bytes, object.modified);
                gather::note(context, &store.store.location(), key, stamp, &stored);
            }
            let file = key.rsplit('/').next().unwrap_or_default();
            chains
                .links
                .entry(stored.signer.clone())
                .or_default()
                .push(Link {
                    name: file.to_owned(),
                    hash: stored.sha256.clone(),
                    sequence: stored.sequence,
                    previous: record.previous.clone(),
                });
            let seen = Seen {
                signer: stored.signer,
                sequence: stored.sequence,
                is_believed: believed.is_ok(),
                has_detail: detail::belongs(store, &record),
                detail: record.detail.map(|d| d.sha256),
            };
            chains.records.insert(stored.sha256, seen);
        }
        Ok(chains)
    }

    /// Checks that each record follows existing ones.
    fn check(&self, store: &OpenStore, report: &mut ChainReport) {
        for (signer, links) in &self.links {
            let findings = chain::check(links);
            let place = format!("store {}: {PREFIX}{signer}/", store.name);
            let problems = findings.problems.into_iter();
            let problems = problems.map(|(name, what)| format!("{place}{name}: {what}"));
            report.problems.extend(problems);
            // The branches are the same in every store.
            let forks = findings.forks.into_iter();
            for fork in forks.map(|fork| format!("the chain of {signer} {fork}")) {
                if !report.notes.contains(&fork) {
                    report.notes.push(fork);
                }
            }
        }
    }

    /// Reports details that are missing or do not match their records. `anywhere` holds the hashes
    /// of those that some store has.
    fn check_details(
        &self,
        context: &Context,
        store: &OpenStore,
        anywhere: &BTreeSet<String>,
        report: &mut ChainReport,
    ) {
        let (mut sealed, mut why) = (0, None);
        for record in self.records.values().filter(|r| r.is_believed) {
            let Some(hash) = &record.detail else {
                continue;
            };
            let (signer, sequence) = (&record.signer, record.sequence);
            let of = format!(
                "store {}: the detail of record {sequence} of the chain of {signer}",
                store.name
            );
            let Some(objects) = self.details.get(hash) else {
                let is_kept = detail::kept(context, hash).is_some();
                match (record.has_detail, is_kept, anywhere.contains(hash)) {
                    (false, _, _) => {}
                    (true, false, true) => report.notes.push(format!(
                        "{of} is not there; the host that made it puts it there with its next drill, restore or backup"
                    )),
                    (true, true, _) => report.problems.push(format!(
                        "{of} is gone; the next drill, restore or backup puts it there again"
                    )),
                    (true, false, false) => report.problems.push(format!("{of} is gone")),
                }
                continue;
            };
            for object in objects {
                match detail::read_plain(context, object, hash) {
                    Ok(_) => {}
                    Err(error) if is_damage(&error) => {
                        report.problems.push(format!("{of} is damaged: {error}"));
                    }
                    Err(error) if error.code == Code::Store => {
                        report.unread.push(format!("{of}: {error}"));
                    }
                    Err(error) => {
                        sealed += 1;
                        why = Some(error);
                    }
                }
            }
        }
        if let Some(why) = why {
            report.notes.push(format!(
                "store {}: details that no key of this host opens are there, and were not compared with their records: {sealed} ({why})",
                store.name
            ));
        }
    }

    /// Reports chain heads that the newest trusted manifest names and the store lacks.
    fn check_heads(
        &self,
        trusted: &TrustedSigners,
        store: &OpenStore,
        report: &mut ChainReport,
    ) -> Result<()> {
        let believed = |point: &PointId| {
            let copy = copies::read(store, point).ok()?;
            copy.check_trust(trusted).is_ok().then_some(copy)
        };
        let points = match copies::list(store) {
            Ok(points) => points,
            Err(error) => {
                report.unread.push(format!("store {}: {error}", store.name));
                return Ok(());
            }
        };
        let Some(copy) = points.keys().rev().find_map(believed) else {
            return Ok(());
        };
        let newest = &copy.manifest.point;
        for (signer, head) in &copy.manifest.evidence {
            let Head {
                sequence,
                sha256,
                beside,
            } = head;
            let lacks = |hash: &&String| !self.records.contains_key(*hash);
            let missing = std::iter::once(sha256).chain(beside).filter(lacks).count();
            if missing > 0 {
                report.problems.push(format!(
                    "store {}: the chain of {signer} lacks record {sequence}, which the manifest of {newest} knows",
                    store.name
                ));
            }
        }
        Ok(())
    }

    /// Reports records that this host has seen in the store, and that are gone.
    fn check_memory(
        &self,
        context: &Context,
        store: &OpenStore,
        before: &BTreeSet<String>,
        report: &mut ChainReport,
    ) {
        if !self.is_whole {
            return;
        }
        let known = context.state.catalog.records().unwrap_or_default();
        for stored in known {
            let gone =
                before.contains(&stored.sha256) && !self.records.contains_key(&stored.sha256);
            if gone && gather::believe(&context.trusted, &stored).is_ok() {
                report.problems.push(format!(
                    "store {}: the chain of {} lacks record {}, which this host has seen there; the next drill, restore or backup puts it there again",
                    store.name, stored.signer, stored.sequence
                ));
            }
        }
    }
}

fn is_damage(error: &Error) -> bool {
    matches!(error.code, Code::ObjectMissing | Code::ObjectDamaged)
}

/// Reports details on this host whose records are nowhere, not even in the catalog.
fn check_kept(context: &Context, seen: &BTreeMap<String, Seen>, report: &mut ChainReport) {
    if context.is_cold() || !report.unread.is_empty() {
        return;
    }
    let mut remembered = context.state.catalog.records().unwrap_or_default();
    remembered.extend(unsent::all(&context.state));
    let remembered = remembered.iter().filter_map(|stored| {
        let record: Record = serde_json::from_slice(&stored.bytes).ok()?;
        Some(record.detail?.sha256)
    });
    let mut known: BTreeSet<String> = remembered.collect();
    known.extend(seen.values().filter_map(|record| record.detail.clone()));
    for hash in detail::all_kept(&context.state).difference(&known) {
        report.problems.push(format!(
            "the record with the detail {hash} is in no store, and this host made it: the state directory keeps that detail"
        ));
    }
}

/// Reports records that a store lacks and, as far as is known here, never had.
fn lacking(
    verified: &[(&OpenStore, Chains, BTreeSet<String>)],
    seen: &BTreeMap<String, Seen>,
) -> Vec<String> {
    let mut notes = Vec::new();
    for (store, chains, before) in verified.iter().filter(|(_, chains, _)| chains.is_whole) {
        let lacks = |hash: &String| !chains.records.contains_key(hash) && !before.contains(hash);
        let lacking = seen.iter().filter(|(hash, r)| r.is_believed && lacks(hash));
        for (_, record) in lacking {
            notes.push(format!(
                "store {} has not received record {} of the chain of {} yet; the next drill, restore or backup puts it there",
                store.name, record.sequence, record.signer
            ));
        }
    }
    notes
}
