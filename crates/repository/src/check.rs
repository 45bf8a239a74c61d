//! Checks that everything the snapshots need is present, and with [`Depth::Data`] also that every
//! stored byte is intact.
//!
//! Nothing is changed. Each damaged thing is reported once and does not end the check.

mod subset;

use crate::error::{Damage, Error, FileKind, Result};
use crate::fetch::Opener;
use crate::hash::Hashing;
use crate::id::Id;
use crate::index::{Index, Location};
use crate::lock::find as find_locks;
use crate::pack::{self, BlobKind, PackedBlob};
use crate::repository::Repository;
use crate::requests::Readers;
use crate::sync::{into_inner, lock};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
pub use subset::Subset;

/// The amount of data that a check reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Config, index, snapshots and trees. Of packs, only presence and length are checked.
    Structure,
    /// In addition, every byte of every pack.
    Data,
}

/// The result of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// Snapshots that were checked.
    pub snapshots: u64,
    /// Distinct trees among them.
    pub trees: u64,
    /// Packs in the index.
    pub packs: u64,
    /// Packs that were read.
    pub packs_read: u64,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// The errors that were found.
    pub errors: Vec<Error>,
    /// Packs that no index lists: left by a backup that did not finish. `prune` collects them.
    pub unknown_packs: Vec<Id>,
}

/// Packs and their sizes in bytes.
pub type Packs = Vec<(Id, u64)>;

/// The choice of packs to read, and the receiver of the results.
pub struct Reading<'a> {
    /// Chooses the packs to read from all packs.
    pub choose: &'a dyn Fn(Packs) -> Packs,
    /// Receives each pack and whether it is intact, from several threads. It is not called for a
    /// pack that could not be read because the store failed.
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

/// Checks a repository, reading only the packs that `reading` chooses.
pub fn run_reading(repository: &Repository, reading: Option<&Reading<'_>>) -> Result<Report> {
    let mut report = Report::default();
    report.errors.extend(keys_and_locks(repository)?);
    // Snapshots before the index: whatever a snapshot names was in an index before it.
    let (snapshots, errors) = repository.snapshots()?;
    report.snapshots = (snapshots.len() + errors.len()) as u64;
    report.errors.extend(errors);
    let roots = snapshots.into_iter().map(|(_, snapshot)| snapshot.tree);
    let (index, errors) = repository.load_index()?;
    report.errors.extend(errors);
    let stored: BTreeMap<Id, u64> = repository.list(FileKind::Pack)?.into_iter().collect();
    report.packs = stored.len() as u64;
    // Packs that are to be deleted may be gone.
    let wanted = by_pack(&index, |at| !at.to_delete);
    for (pack, length) in &wanted {
        match stored.get(pack) {
            None => report.errors.push(Error::Missing {
                kind: FileKind::Pack,
                id: *pack,
            }),
            Some(&bytes) => report.errors.extend(wrong_length(pack, bytes, length)),
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
    let readers = Readers::new(repository)?;
    let mut seen = HashSet::new();
    let mut level: Vec<Id> = roots.collect();
    while !level.is_empty() {
        level.retain(|id| seen.insert(*id));
        let all = level.par_iter();
        level = readers.run(|| all.flat_map_iter(|id| trees.inner(id)).collect());
    }
    report.trees = seen.len() as u64;
    report.errors.extend(into_inner(trees.errors));
    if let Some(reading) = reading {
        // A pack in no index is rubbish, whatever it holds.
        let packs = stored.iter().filter(|(id, _)| known(id));
        let packs = packs.map(|(id, bytes)| (*id, *bytes)).collect();
        read(repository, &readers, packs, reading, &mut report);
    }
    Ok(report)
}

/// The errors of keys and locks that cannot be read.
fn keys_and_locks(repository: &Repository) -> Result<Vec<Error>> {
    let mut errors = Vec::new();
    let mut note = |error| match error {
        // It was removed since it was listed.
        Error::Missing { .. } => Ok(()),
        Error::Damaged { .. } => {
            errors.push(error);
            Ok(())
        }
        other => Err(other),
    };
    for (id, _) in repository.list(FileKind::Key)? {
        repository
            .key_file(&id)
            .map_or_else(&mut note, |_| Ok(()))?;
    }
    for found in find_locks(repository, None)? {
        found.file.map_or_else(&mut note, |_| Ok(()))?;
    }
    Ok(errors)
}

fn read(
    repository: &Repository,
    readers: &Readers,
    packs: Packs,
    reading: &Reading<'_>,
    report: &mut Report,
) {
    let bytes_read = AtomicU64::new(0);
    let packs = (reading.choose)(packs);
    let told = reading.told;
    let read = packs
        .par_iter()
        .map_init(Opener::default, |opener, (id, bytes)| {
            bytes_read.fetch_add(*bytes, Ordering::Relaxed);
            let errors = pack(repository, id, *bytes, opener);
            if errors.iter().all(Error::is_damage) {
                told(id, errors.is_empty());
            }
            errors
        });
    let errors: Vec<Vec<Error>> = readers.run(|| read.collect());
    report.packs_read = packs.len() as u64;
    report.bytes_read = bytes_read.into_inner();
    report.errors.extend(errors.into_iter().flatten());
}

/// The length of a pack according to the index.
#[derive(Default)]
pub(crate) struct Length {
    /// The end of its last blob.
    end: u64,
    /// Bytes of its blobs, and of their entries in its header. A pack that is in several index
    /// files is counted several times.
    blobs: u64,
    entries: u64,
}

impl Length {
    fn add(&mut self, at: &Location) {
        self.end = self.end.max(at.end());
        self.blobs += u64::from(at.length);
        self.entries += pack::entry_bytes(at.compressed);
    }

    pub(crate) fn bytes(&self) -> u64 {
        let times = (self.blobs / self.end.max(1)).max(1);
        self.end + self.entries / times + pack::HEADER_FRAME_BYTES
    }
}

/// The lengths of the packs that hold blobs at the places for which `wanted` returns true.
pub(crate) fn by_pack(index: &Index, wanted: impl Fn(&Location) -> bool) -> BTreeMap<Id, Length> {
    let mut packs: BTreeMap<Id, Length> = BTreeMap::new();
    for (_, at) in index.blobs().filter(|(_, at)| wanted(at)) {
        packs.entry(at.pack).or_default().add(&at);
    }
    packs
}

fn wrong_length(pack: &Id, bytes: u64, length: &Length) -> Option<Error> {
    let expected = length.bytes();
    let damage = match bytes {
        _ if bytes == expected => return None,
        _ if bytes < length.end => Damage::Short { bytes },
        _ => Damage::Format(format!(
            "it is {bytes} bytes long, and by the index {expected}"
        )),
    };
    Some(Error::Damaged {
        kind: FileKind::Pack,
        id: *pack,
        damage,
    })
}

struct Trees<'a> {
    repository: &'a Repository,
    index: &'a Index,
    errors: Mutex<Vec<Error>>,
}

impl Trees<'_> {
    /// The subtrees of a tree. Checks on the way that the content of its files is in the index.
    fn inner(&self, id: &Id) -> Vec<Id> {
        let (below, errors) = self
            .read(id)
            .unwrap_or_else(|error| (Vec::new(), vec![error]));
        lock(&self.errors).extend(errors);
        below
    }

    /// The subtrees of a tree, and the errors in what it refers to. Fails if it is not a tree.
    fn read(&self, id: &Id) -> Result<(Vec<Id>, Vec<Error>)> {
        let about = |damage| Error::Blob { id: *id, damage };
        let text = self.repository.tree_text(self.index, id)?;
        let (mut below, mut errors) = (Vec::new(), Vec::new());
        errors.extend(self.unknown(BlobKind::Tree, id));
        let mut refused = None;
        text.read(|node| {
            let node = match node {
                Ok(node) => node,
                Err(damage) => {
                    refused.get_or_insert(damage);
                    return;
                }
            };
            match node.directory() {
                Ok(tree) => below.extend(tree),
                Err(damage) => errors.push(about(damage)),
            }
            let content = node.content.iter().flatten();
            errors.extend(content.filter_map(|id| self.unknown(BlobKind::Data, id)));
        })
        .map_err(about)?;
        refused.map_or(Ok((below, errors)), |damage| Err(about(damage)))
    }

    /// The error for a blob that is in no pack that stays; `None` if it is in one.
    fn unknown(&self, kind: BlobKind, id: &Id) -> Option<Error> {
        match self.index.locations(kind, id).next() {
            None => Some(Error::UnknownBlob { id: *id }),
            Some(place) if place.to_delete => Some(Error::ToDelete {
                id: *id,
                pack: place.pack,
            }),
            Some(_) => None,
        }
    }
}

/// Reads a whole pack and checks its header, each blob in it, and its name. Only one blob is in
/// memory at a time; it is hashed for the pack and opened while it is in the processor's cache.
pub(crate) fn pack(
    repository: &Repository,
    id: &Id,
    bytes: u64,
    opener: &mut Opener,
) -> Vec<Error> {
    let mut errors = Vec::new();
    let blobs = match repository.pack_header(id, bytes) {
        Ok(blobs) => blobs,
        // A pack whose blobs cannot be listed can still be hashed.
        Err(error @ Error::Damaged { .. }) => {
            errors.push(error);
            Vec::new()
        }
        Err(error) => return vec![error],
    };
    match check_content(repository, (id, bytes), &blobs, opener, &mut errors) {
        Ok(found) if found == *id => {}
        Ok(found) => errors.push(Error::Damaged {
            kind: FileKind::Pack,
            id: *id,
            damage: Damage::Hash { found },
        }),
        Err(error) => errors.push(error),
    }
    errors
}

/// Opens each blob at the beginning of a pack, and returns the hash of the whole pack.
fn check_content(
    repository: &Repository,
    (id, bytes): (&Id, u64),
    blobs: &[PackedBlob],
    opener: &mut Opener,
    errors: &mut Vec<Error>,
) -> Result<Id> {
    let failed = |source| Error::Read {
        key: FileKind::Pack.key(id),
        source,
    };
    let mut pack = repository.open_pack(id, 0..bytes)?;
    let mut hash = Hashing::default();
    for blob in blobs {
        let sealed = opener.room(blob.length as usize).map_err(|damage| {
            let id = blob.id;
            Error::Blob { id, damage }
        })?;
        pack.read_exact(sealed).map_err(failed)?;
        let opened = opener.check(repository.key(), blob, &mut hash);
        errors.extend(opened.err());
        opener.trim();
    }
    let mut rest = [0; 8 << 10];
    loop {
        match pack.read(&mut rest) {
            Ok(0) => break,
            Ok(count) => hash.update(rest.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(hash.finish())
}
