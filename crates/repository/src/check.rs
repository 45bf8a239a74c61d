//! Says whether everything that the snapshots need is there, and with [`Depth::Data`] whether every
//! byte of it is what it was.
//!
//! Nothing is changed. What is damaged is named, once for each thing, and does not end the check.

mod subset;

use crate::error::{Damage, Error, FileKind, Result};
use crate::id::Id;
use crate::index::Index;
use crate::pack::{self, BlobKind};
use crate::repository::{Repository, open_blob};
use crate::sync::{into_inner, lock};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
pub use subset::Subset;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Config, index, snapshots and trees; of packs that they are there, and how long they are.
    Structure,
    /// Every byte of every pack, too.
    Data,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Different trees among them.
    pub trees: u64,
    /// Packs.
    pub packs: u64,
    /// Packs that were read.
    pub packs_read: u64,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// What is wrong.
    pub errors: Vec<Error>,
    /// Packs that no index knows: rubbish of a backup that did not end, which `prune` collects.
    pub unknown_packs: Vec<Id>,
}

/// Packs and their bytes.
pub type Packs = Vec<(Id, u64)>;

/// Which packs are read, and who hears of it.
pub struct Reading<'a> {
    /// Chooses among all packs.
    pub choose: &'a dyn Fn(Packs) -> Packs,
    /// Hears of each pack whether it is whole, from several threads. Of one that could not be read
    /// because the store failed, nothing is heard.
    pub told: &'a (dyn Fn(&Id, bool) + Sync),
}

impl std::fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reading")
    }
}

/// Checks a repository. An error means that the check itself could not be done.
pub fn run(repository: &Repository, depth: Depth) -> Result<Report> {
    let all = Reading {
        choose: &|packs| packs,
        told: &|_, _| {},
    };
    match depth {
        Depth::Structure => run_reading(repository, None),
        Depth::Data => run_reading(repository, Some(&all)),
    }
}

/// The same, reading only some packs.
pub fn run_reading(repository: &Repository, reading: Option<&Reading<'_>>) -> Result<Report> {
    let mut report = Report::default();
    // Snapshots before the index: whatever a snapshot names was in an index before it.
    let (snapshots, errors) = repository.snapshots()?;
    report.snapshots = (snapshots.len() + errors.len()) as u64;
    report.errors.extend(errors);
    let roots = snapshots.into_iter().map(|(_, snapshot)| snapshot.tree);
    let (index, errors) = repository.load_index()?;
    report.errors.extend(errors);
    let stored: BTreeMap<Id, u64> = repository.list(FileKind::Pack)?.into_iter().collect();
    report.packs = stored.len() as u64;
    let wanted = by_pack(&index);
    for (pack, blobs) in &wanted {
        match stored.get(pack) {
            None => report.errors.push(Error::Missing {
                kind: FileKind::Pack,
                id: *pack,
            }),
            Some(&bytes) => report.errors.extend(too_short(pack, bytes, blobs)),
        }
    }
    let to_delete: HashSet<Id> = index
        .blobs()
        .filter(|(_, at)| at.to_delete)
        .map(|(_, at)| at.pack)
        .collect();
    let known = |id: &Id| wanted.contains_key(id) || to_delete.contains(id);
    let unknown = stored.keys().filter(|id| !known(id));
    report.unknown_packs = unknown.copied().collect();
    let trees = Trees {
        repository,
        index: &index,
        errors: Mutex::default(),
    };
    let mut seen = HashSet::new();
    let mut level: Vec<Id> = roots.collect();
    while !level.is_empty() {
        level.retain(|id| seen.insert(*id));
        level = level
            .par_iter()
            .flat_map_iter(|id| trees.inner(id))
            .collect();
    }
    report.trees = seen.len() as u64;
    report.errors.extend(into_inner(trees.errors));
    if let Some(reading) = reading {
        read(repository, stored, reading, &mut report);
    }
    Ok(report)
}

fn read(
    repository: &Repository,
    stored: BTreeMap<Id, u64>,
    reading: &Reading<'_>,
    report: &mut Report,
) {
    let bytes_read = AtomicU64::new(0);
    let packs = (reading.choose)(stored.into_iter().collect());
    let told = reading.told;
    let errors: Vec<Vec<Error>> = packs
        .par_iter()
        .map(|(id, bytes)| {
            bytes_read.fetch_add(*bytes, Ordering::Relaxed);
            let errors = check_pack(repository, id, *bytes);
            let known = |error: &Error| {
                matches!(
                    error,
                    Error::Damaged { .. } | Error::Missing { .. } | Error::Blob { .. }
                )
            };
            if errors.iter().all(known) {
                told(id, errors.is_empty());
            }
            errors
        })
        .collect();
    report.packs_read = packs.len() as u64;
    report.bytes_read = bytes_read.into_inner();
    report.errors.extend(errors.into_iter().flatten());
}

/// The end of the last blob of each pack, as the index has it.
fn by_pack(index: &Index) -> BTreeMap<Id, u64> {
    let mut packs = BTreeMap::new();
    // Packs that are to be deleted may be gone.
    for (_, at) in index.blobs().filter(|(_, at)| !at.to_delete) {
        let end = packs.entry(at.pack).or_insert(0);
        *end = (*end).max(u64::from(at.offset) + u64::from(at.length));
    }
    packs
}

fn too_short(pack: &Id, bytes: u64, end: &u64) -> Option<Error> {
    (bytes < *end).then(|| Error::Damaged {
        kind: FileKind::Pack,
        id: *pack,
        damage: Damage::Short { bytes },
    })
}

struct Trees<'a> {
    repository: &'a Repository,
    index: &'a Index,
    errors: Mutex<Vec<Error>>,
}

impl Trees<'_> {
    /// The trees in a tree, after looking whether the content of its files is known.
    fn inner(&self, id: &Id) -> Vec<Id> {
        let nodes = match self.repository.tree(self.index, id) {
            Ok(nodes) => nodes,
            Err(error) => {
                self.tell(error);
                return Vec::new();
            }
        };
        self.known(BlobKind::Tree, id);
        let mut below = Vec::new();
        for node in nodes {
            match node.directory() {
                Ok(tree) => below.extend(tree),
                Err(damage) => self.tell(Error::Blob { id: *id, damage }),
            }
            for content in node.content.iter().flatten() {
                self.known(BlobKind::Data, content);
            }
        }
        below
    }

    /// Tells when a blob is in no pack that stays.
    fn known(&self, kind: BlobKind, id: &Id) {
        match self.index.locations(kind, id).next() {
            None => self.tell(Error::UnknownBlob { id: *id }),
            Some(place) if place.to_delete => self.tell(Error::ToDelete {
                id: *id,
                pack: place.pack,
            }),
            Some(_) => {}
        }
    }

    fn tell(&self, error: Error) {
        lock(&self.errors).push(error);
    }
}

/// Reads a pack to the end: its name, its header, and each blob in it.
fn check_pack(repository: &Repository, id: &Id, bytes: u64) -> Vec<Error> {
    let about = |damage| Error::Damaged {
        kind: FileKind::Pack,
        id: *id,
        damage,
    };
    let content = match repository.read_pack(id) {
        Ok(content) => content,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    let found = Id::of(&content);
    if found != *id {
        errors.push(about(Damage::Hash { found }));
    }
    let blobs = pack::parse_tail(repository.key(), &content, bytes);
    match blobs {
        Err(damage) => errors.push(about(damage)),
        Ok(blobs) => {
            for blob in blobs {
                let start = blob.offset as usize;
                let sealed = content.get(start..start + blob.length as usize);
                let sealed = sealed.unwrap_or_default().to_vec();
                let compressed = blob.uncompressed.is_some();
                errors.extend(open_blob(repository.key(), &blob.id, sealed, compressed).err());
            }
        }
    }
    errors
}
