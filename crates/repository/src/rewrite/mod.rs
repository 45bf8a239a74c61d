//! Makes new snapshots of old ones: without some of their files, of another host, of another time.

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

/// What became of a snapshot, or with a dry run would become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// Nothing of it changed.
    Same,
    /// A new one; its id, unless nothing was to be done.
    New(Option<Id>),
    /// One that was made of it earlier.
    Earlier(Id),
    /// There is nothing left of it.
    Nothing,
}

/// What is done with snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deed {
    /// Remove those that new ones were made of.
    pub forget: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// What is to be different.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Paths that are left out, with all below them.
    pub exclude: Patterns,
    /// Another host.
    pub host: Option<String>,
    /// Another time.
    pub time: Option<Time>,
}

/// What was made of snapshots, or would be.
#[derive(Debug, Default)]
pub struct Report {
    /// What became of each.
    pub snapshots: Vec<(Id, Became)>,
    /// What was stored.
    pub added: Added,
}

/// The tag of snapshots that were made so, as restic has it.
const TAG: &str = "rewrite";

/// Changes these snapshots, of `all` that there are. What cannot be read ends it, and nothing is
/// changed. Whoever lets them be forgotten must hold the repository alone.
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

/// What becomes by a rule of the trees of these snapshots.
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

/// A snapshot with another tree, and what its summary says of it.
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

/// Stores what snapshots are to become, and then, when they are to be forgotten, removes the old ones.
/// `all` are those that there are. `None` becomes nothing.
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
    // Only now: killed before, both are there.
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
