//! Makes new snapshots of old ones.

mod tree;

use crate::error::{FileKind, Result};
use crate::id::Id;
use crate::repository::{Named, Repository};
use crate::snapshot::{Snapshot, TagChange};
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
