//! Makes new snapshots from old ones: without some of their files, or with another host or time.

mod filter;
mod tree;

use crate::error::{FileKind, Result};
use crate::id::Id;
use crate::index::Index;
use crate::pattern::Patterns;
use crate::repository::{Named, Repository};
use crate::saver::{Added, Saver, with_pretence, with_saver};
use crate::snapshot::{Snapshot, TagChange};
use crate::time::Time;
use filter::Filter;
pub(crate) use tree::{Edit, Entries, Made, Rewriter, Rule};

/// The fate of a snapshot; with a dry run, what it would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// The snapshot is unchanged.
    Same,
    /// A new snapshot replaces it. The id is missing after a dry run.
    New(Option<Id>),
    /// A snapshot that was made from it earlier replaces it.
    Earlier(Id),
    /// Nothing of the snapshot is left.
    Nothing,
}

/// The treatment of the old snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deed {
    /// Remove the snapshots that were replaced.
    pub forget: bool,
    /// Report what would be done, and do nothing.
    pub dry_run: bool,
}

/// The changes to make.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Paths to leave out, with everything below them.
    pub exclude: Patterns,
    /// The new host.
    pub host: Option<String>,
    /// The new time.
    pub time: Option<Time>,
}

/// The result of a rewrite, or what it would be.
#[derive(Debug, Default)]
pub struct Report {
    /// The fate of each snapshot.
    pub snapshots: Vec<(Id, Became)>,
    /// The blobs that were stored.
    pub added: Added,
}

/// The tag of rewritten snapshots, the same as restic's.
const TAG: &str = "rewrite";

/// Changes these snapshots. `all` are all snapshots of the repository. If anything cannot be read,
/// it fails and changes nothing. If `deed.forget` is set, the caller must hold an exclusive lock.
pub fn run(
    repository: &Repository,
    index: &Index,
    (all, wanted): (&[Named], &[&Named]),
    changes: &Changes,
    deed: Deed,
) -> Result<Report> {
    let mut report = Report::default();
    let mut new: Vec<(&Named, Option<Snapshot>)> = wanted
        .iter()
        .map(|named| (*named, Some(named.1.clone())))
        .collect();
    if !changes.exclude.is_empty() {
        let filter = Filter {
            repository,
            index,
            exclude: &changes.exclude,
        };
        let made = remake(repository, index, &filter, wanted, deed)?;
        report.added = made.1;
        for ((_, snapshot), made) in new.iter_mut().zip(made.0) {
            *snapshot = snapshot.take().zip(made).map(|(old, made)| with(old, made));
        }
    }
    for snapshot in new.iter_mut().filter_map(|(_, snapshot)| snapshot.as_mut()) {
        snapshot.time = changes.time.unwrap_or(snapshot.time);
        if let Some(host) = &changes.host {
            snapshot.hostname.clone_from(host);
        }
    }
    report.snapshots = replace(repository, all, new, TAG, deed)?;
    Ok(report)
}

/// Applies a rule to the trees of these snapshots. Returns the new trees.
pub(crate) fn remake(
    repository: &Repository,
    index: &Index,
    rule: &impl Rule,
    wanted: &[&Named],
    deed: Deed,
) -> Result<(Vec<Option<Made>>, Added)> {
    let roots: Vec<Id> = wanted.iter().map(|(_, snapshot)| snapshot.tree).collect();
    let work = |saver: &Saver<'_>| Rewriter::new(repository, index, saver, rule).roots(&roots);
    match deed.dry_run {
        true => with_pretence(repository, index, work),
        false => with_saver(repository, index, work),
    }
}

/// Returns the snapshot with another tree, and with the totals in its summary corrected.
pub(crate) fn with(mut snapshot: Snapshot, made: Made) -> Snapshot {
    if made.tree == snapshot.tree {
        return snapshot;
    }
    snapshot.tree = made.tree;
    if let Some(mut summary) = snapshot.summary() {
        summary.total_files_processed = made.files;
        summary.total_bytes_processed = made.bytes;
        snapshot.set_summary(&summary);
    }
    snapshot
}

/// Stores the new snapshots and then, if requested, removes the old ones. `all` are all snapshots
/// of the repository. A change to `None` means that nothing is left of the snapshot.
pub(crate) fn replace(
    repository: &Repository,
    all: &[Named],
    changes: Vec<(&Named, Option<Snapshot>)>,
    tag: &str,
    deed: Deed,
) -> Result<Vec<(Id, Became)>> {
    let mut became = Vec::with_capacity(changes.len());
    for ((id, old), new) in changes {
        became.push((*id, one(repository, all, (id, old), new, tag, deed)?));
    }
    // Only now: if the process is killed before, both are there.
    if deed.forget && !deed.dry_run {
        for (id, _) in became.iter().filter(|(_, now)| *now != Became::Same) {
            repository.delete(FileKind::Snapshot, id)?;
        }
    }
    Ok(became)
}

fn one(
    repository: &Repository,
    all: &[Named],
    (id, old): (&Id, &Snapshot),
    new: Option<Snapshot>,
    tag: &str,
    deed: Deed,
) -> Result<Became> {
    let Some(mut new) = new else {
        return Ok(Became::Nothing);
    };
    if new == *old {
        return Ok(Became::Same);
    }
    new.original = Some(*id);
    let retag = |snapshot: &Snapshot, change: fn(Vec<String>) -> TagChange| {
        let changed = snapshot.retagged(id, &change(vec![tag.to_owned()]));
        changed.map_or_else(|| snapshot.tags.clone(), |changed| changed.tags)
    };
    if !deed.forget {
        new.tags = retag(&new, TagChange::Add);
    }
    let plain = |snapshot: &Snapshot| Snapshot {
        tags: retag(snapshot, TagChange::Remove),
        ..snapshot.clone()
    };
    let same = |other: &Snapshot| other.tree == new.tree && plain(other) == plain(&new);
    if let Some((earlier, _)) = all.iter().find(|(_, other)| same(other)) {
        return Ok(Became::Earlier(*earlier));
    }
    match deed.dry_run {
        true => Ok(Became::New(None)),
        false => Ok(Became::New(Some(repository.save_snapshot(&new)?))),
    }
}
