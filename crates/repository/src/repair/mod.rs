//! Repairs what can be repaired from what is left.

pub mod snapshots;

use crate::check::{self, Depth};
use crate::error::{Error, FileKind, Result};
use crate::fetch::Opener;
use crate::id::Id;
use crate::index::{Index, IndexPack};
use crate::index_writer::IndexWriter;
use crate::lock::{Lock, Mode};
use crate::pack::PackedBlob;
use crate::repository::{Author, Repository, open_blob};
use crate::saver::with_saver;
use crate::sync::{into_inner, lock};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Mutex;
use std::time::Duration;

/// The result of a repair of the index.
#[derive(Debug, Default)]
pub struct Report {
    /// Packs in the new index.
    pub packs: u64,
    /// The damage found in packs: in their headers, and with [`Depth::Data`] anywhere in them.
    pub damaged: Vec<Error>,
    /// Intact blobs of damaged packs that were copied to other packs.
    pub saved_blobs: u64,
    /// Index files that were replaced.
    pub replaced: u64,
}

/// Builds a new index from the packs' own headers, and removes the old one. For a pack whose header
/// cannot be read, the entries of the old index stay. With [`Depth::Data`] every pack is read, and
/// the intact blobs of damaged packs are copied to other packs. Damaged packs are not in the new
/// index, so the next backup stores again what was lost, and prune removes them.
///
/// Takes its own lock; the caller must hold none.
pub fn index(
    repository: &Repository,
    depth: Depth,
    wait: Duration,
    author: &Author,
) -> Result<Report> {
    let held = Lock::take(repository, Mode::Exclusive, wait, author)?;
    let before = repository.list(FileKind::Index)?;
    let packs: BTreeMap<Id, u64> = repository.list(FileKind::Pack)?.into_iter().collect();
    let looked: Vec<(Id, Result<Looked>)> = packs
        .par_iter()
        .map(|(id, bytes)| (*id, look(repository, id, *bytes, depth)))
        .collect();
    let mut report = Report::default();
    let (mut whole, mut bad) = (Vec::new(), BTreeMap::new());
    for (id, looked) in looked {
        let looked = looked?;
        match looked.errors.is_empty() {
            true => whole.push(IndexPack::new(id, &looked.blobs)),
            false => drop(bad.insert(id, looked.blobs)),
        }
        report.damaged.extend(looked.errors);
    }
    old_entries(repository, &before, &packs, &mut bad)?;
    match depth {
        Depth::Structure => {
            let known = bad.iter().filter(|(_, blobs)| !blobs.is_empty());
            whole.extend(known.map(|(id, blobs)| IndexPack::new(*id, blobs)));
        }
        Depth::Data => report.saved_blobs = save(repository, &bad)?,
    }
    report.packs = whole.len() as u64;
    write(repository, whole)?;
    // Only now: if the process is killed before, both are there, and agree.
    for (id, _) in before {
        repository.delete(FileKind::Index, &id)?;
        report.replaced += 1;
    }
    held.release()?;
    Ok(report)
}

/// The blobs in a pack, and its damage.
struct Looked {
    blobs: Vec<PackedBlob>,
    errors: Vec<Error>,
}

/// Reads the header of a pack. An error comes from the store, not from the pack: an index without
/// the pack would hide what is there.
fn look(repository: &Repository, id: &Id, bytes: u64, depth: Depth) -> Result<Looked> {
    let mut errors = match depth {
        Depth::Structure => Vec::new(),
        Depth::Data => check::pack(repository, id, bytes, &mut Opener::default()),
    };
    let blobs = match repository.pack_header(id, bytes) {
        Ok(blobs) => blobs,
        Err(error) => {
            if depth == Depth::Structure || !error.is_damage() {
                errors.push(error);
            }
            Vec::new()
        }
    };
    match errors.iter().position(|error| !error.is_damage()) {
        Some(place) => Err(errors.swap_remove(place)),
        None => Ok(Looked { blobs, errors }),
    }
}

/// Adds the old index entries of packs whose headers cannot be read, up to the pack's present
/// length.
fn old_entries(
    repository: &Repository,
    before: &[(Id, u64)],
    packs: &BTreeMap<Id, u64>,
    bad: &mut BTreeMap<Id, Vec<PackedBlob>>,
) -> Result<()> {
    let wanted: BTreeSet<Id> = bad
        .iter()
        .filter(|(_, blobs)| blobs.is_empty())
        .map(|(id, _)| *id)
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let found: Mutex<BTreeMap<Id, HashSet<PackedBlob>>> = Mutex::default();
    // Damaged index files contribute nothing.
    repository.each_index_file(before, |_, file| {
        for pack in file.packs.into_iter().chain(file.packs_to_delete) {
            let bytes = packs.get(&pack.id).filter(|_| wanted.contains(&pack.id));
            let there = |blob: &PackedBlob| bytes.is_some_and(|bytes| blob.end() <= *bytes);
            let blobs = pack.blobs.iter().map(PackedBlob::from).filter(there);
            lock(&found).entry(pack.id).or_default().extend(blobs);
        }
    })?;
    for (id, blobs) in into_inner(found) {
        if wanted.contains(&id) {
            let mut blobs: Vec<PackedBlob> = blobs.into_iter().collect();
            blobs.sort_by_key(|blob| blob.offset);
            bad.insert(id, blobs);
        }
    }
    Ok(())
}

/// Copies the intact blobs out of damaged packs.
fn save(repository: &Repository, bad: &BTreeMap<Id, Vec<PackedBlob>>) -> Result<u64> {
    if bad.is_empty() {
        return Ok(0);
    }
    let ((), added) = with_saver(repository, &Index::default(), |saver| {
        for (id, blobs) in bad {
            let content = match repository.read_pack(id) {
                Err(Error::Missing { .. } | Error::Damaged { .. }) => continue,
                other => other?,
            };
            for blob in blobs {
                let from = blob.offset as usize;
                let sealed = content.get(from..from + blob.length as usize);
                let compressed = blob.uncompressed.is_some();
                let sealed = sealed.unwrap_or_default();
                if open_blob(repository.key(), &blob.id, sealed.to_vec(), compressed).is_ok() {
                    saver.copy(blob, sealed)?;
                }
            }
        }
        Ok(())
    })?;
    Ok(added.data_blobs + added.tree_blobs)
}

fn write(repository: &Repository, packs: Vec<IndexPack>) -> Result<()> {
    let writer = IndexWriter::new(repository);
    packs.into_iter().try_for_each(|pack| writer.add(pack))?;
    writer.finish()
}
