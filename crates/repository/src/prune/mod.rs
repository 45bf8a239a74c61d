//! Frees what no snapshot needs, in two steps some time apart.
//!
//! The first step copies what is needed out of packs that are mostly rubbish. Then it removes packs
//! that nothing needs from the index, and records there, as rustic does, since when they are to be
//! deleted. The second step, in a later run, deletes the packs whose grace period is over and which
//! are still not needed. So a backup that relied on such a pack while it ran, by a program that
//! takes no locks, loses nothing: the next run finds its snapshot and puts the pack back.
//!
//! Copying runs beside backups. Only changing the index needs an exclusive lock, for as long as it
//! takes to write the index.
//!
//! A prune that is killed at any point leaves a repository whose index has everything that is
//! needed: packs are stored before the index that names them, the new index before the old one is
//! removed, and the old one is removed before any pack.

mod plan;
mod switch;

use crate::error::{Error, FileKind, Result};
use crate::id::Id;
use crate::index::{Index, IndexPack};
use crate::lock::{Lock, Mode};
use crate::pack::PackedBlob;
use crate::repository::{Author, Repository, open_blob};
use crate::saver::{Saver, with_saver};
use crate::sync::{into_inner, lock};
use crate::used::Used;
use jiff::{SignedDuration, Timestamp};
use plan::Plan;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

/// The options of a prune.
#[derive(Debug, Clone)]
pub struct Options {
    /// The grace period: how long a pack stays after it was removed from the index. It should be
    /// longer than any backup. Zero deletes at once.
    pub grace: SignedDuration,
    /// The rubbish that may stay in packs that are partly needed, as a share of what is needed:
    /// 0.05 is 5 %.
    pub max_unused: f64,
    /// Report what would be done, and do nothing.
    pub dry_run: bool,
    /// The time to wait for conflicting locks.
    pub wait: Duration,
    /// The holder named in the locks.
    pub author: Author,
    /// The current time.
    pub now: Timestamp,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            grace: SignedDuration::from_hours(23),
            max_unused: 0.05,
            dry_run: false,
            wait: Duration::ZERO,
            author: Author::default(),
            now: Timestamp::now(),
        }
    }
}

/// A number of packs and their total size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packs {
    /// The number of packs.
    pub count: u64,
    /// Their total size in bytes.
    pub bytes: u64,
}

impl Packs {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// The result of a prune, or with [`Options::dry_run`] what it would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Snapshots that were read.
    pub snapshots: u64,
    /// Packs that stay as they are.
    pub kept: Packs,
    /// Rubbish in them, in bytes.
    pub unused_bytes: u64,
    /// Packs that were replaced by new packs with only the blobs that are needed.
    pub repacked: Packs,
    /// Packs to be deleted: nothing needed them, or they were repacked, or no index listed them.
    pub marked: Packs,
    /// Packs that were to be deleted, but are needed after all.
    pub recovered: Packs,
    /// Packs to be deleted whose grace period is not over.
    pub waiting: Packs,
    /// Packs that were deleted.
    pub deleted: Packs,
    /// Packs of the index that are missing, and that nothing needs.
    pub missing: u64,
}

/// The index files, the snapshots and the packs at one time.
struct State {
    /// The packs of each index file, and those to be deleted, with the time of the mark.
    files: BTreeMap<Id, IndexContent>,
    snapshots: BTreeSet<Id>,
    roots: Vec<Id>,
    /// The size of each pack in the store.
    stored: BTreeMap<Id, u64>,
}

/// The packs that an index file names.
struct IndexContent {
    packs: Vec<Id>,
    to_delete: Vec<(Id, Option<Timestamp>)>,
    blobs: usize,
}

/// Prunes a repository. Takes its own locks; the caller must hold none.
pub fn run(repository: &Repository, options: &Options) -> Result<Report> {
    let shared = Lock::take(repository, Mode::Shared, options.wait, &options.author)?;
    let (state, index) = look(repository)?;
    let used = Used::new(&index);
    used.add(repository, &state.roots)?;
    let mut plan = plan::make(repository, &state, &index, &used, options)?;
    let nothing = plan.unknown.is_empty() && plan.rewrite(&state).is_empty();
    if options.dry_run || nothing {
        return Ok(plan.report);
    }
    // If the store refuses to delete, nothing must be added for a prune either.
    repository.delete(FileKind::Lock, &Id::default())?;
    repack(repository, &index, &mut plan)?;
    shared.release()?;
    drop(used);
    drop(index);
    let exclusive = Lock::take(repository, Mode::Exclusive, options.wait, &options.author)?;
    let report = switch::run(repository, &state, plan, options)?;
    exclusive.release()?;
    Ok(report)
}

/// Reads the state of the repository. Snapshots are read before the index: whatever they need was
/// in the index before them.
fn look(repository: &Repository) -> Result<(State, Index)> {
    let (snapshots, errors) = repository.snapshots()?;
    require_undamaged(errors)?;
    // Packs are listed before the index is read, so that a pack stored meanwhile is not taken for
    // missing.
    let listed = repository.list(FileKind::Index)?;
    let stored = repository.list(FileKind::Pack)?.into_iter().collect();
    let read = Mutex::new((repository.index_builder(&listed), BTreeMap::new()));
    let errors = repository.each_index_file(&listed, |id, file| {
        let since = |pack: &IndexPack| (pack.id, pack.time.map(|time| time.at));
        let content = IndexContent {
            packs: file.packs.iter().map(|pack| pack.id).collect(),
            to_delete: file.packs_to_delete.iter().map(since).collect(),
            blobs: file.packs.iter().map(|pack| pack.blobs.len()).sum(),
        };
        let (builder, files) = &mut *lock(&read);
        builder.add_file(file);
        files.insert(id, content);
    })?;
    require_undamaged(errors)?;
    let (builder, files) = into_inner(read);
    let state = State {
        files,
        roots: snapshots.iter().map(|(_, s)| s.tree).collect(),
        snapshots: snapshots.into_iter().map(|(id, _)| id).collect(),
        stored,
    };
    Ok((state, builder.finish()))
}

/// Fails if there are errors: a damaged repository is not pruned.
fn require_undamaged(errors: Vec<Error>) -> Result<()> {
    errors.into_iter().next().map_or(Ok(()), Err)
}

/// Copies what is needed out of packs that go. Each blob is opened on the way, so every copy is
/// intact.
fn repack(repository: &Repository, index: &Index, plan: &mut Plan) -> Result<()> {
    let wanted = std::mem::take(&mut plan.wanted);
    let packs: Vec<(Id, Vec<PackedBlob>)> = wanted.into_iter().collect();
    if packs.is_empty() {
        return Ok(());
    }
    // The new packs are empty so far, whatever the index lists.
    with_saver(repository, &Index::default(), |saver| {
        packs
            .par_iter()
            .try_for_each(|(pack, blobs)| copy(repository, index, saver, pack, blobs))
    })?;
    Ok(())
}

fn copy(
    repository: &Repository,
    index: &Index,
    saver: &Saver<'_>,
    pack: &Id,
    blobs: &[PackedBlob],
) -> Result<()> {
    let ends = blobs.iter().map(PackedBlob::end);
    let start = blobs.iter().map(|blob| blob.offset).min().unwrap_or(0);
    let span = repository.read_pack_part(pack, start.into()..ends.max().unwrap_or(0));
    for blob in blobs {
        let sealed = span.as_ref().ok().and_then(|span| {
            let from = (blob.offset - start) as usize;
            span.get(from..from + blob.length as usize)
        });
        let compressed = blob.uncompressed.is_some();
        let is_whole = |sealed: &&[u8]| {
            open_blob(repository.key(), &blob.id, sealed.to_vec(), compressed).is_ok()
        };
        match sealed.filter(is_whole) {
            Some(sealed) => saver.copy(blob, sealed)?,
            // The blob may also be in another pack.
            None => {
                let plain = repository.load_blob(index, blob.kind, &blob.id)?;
                saver.save(blob.kind, &plain)?;
            }
        }
    }
    Ok(())
}
