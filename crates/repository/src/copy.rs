//! Copies snapshots with everything they need into another repository.
//!
//! Every tree is read, whatever the other repository has: a copy that was interrupted may have left
//! a tree there without everything in it.

use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::pack::BlobKind;
use crate::repository::Repository;
use crate::requests::Readers;
use crate::saver::{Added, Saver, with_saver};
use crate::snapshot::Snapshot;
use crate::tree;
use rayon::prelude::*;
use std::collections::HashSet;

/// The result of a copy.
#[derive(Debug, Default)]
pub struct Report {
    /// The id of each copied snapshot, and its id in the target repository.
    pub copied: Vec<(Id, Id)>,
    /// Snapshots that the target repository had already.
    pub there: Vec<Id>,
    /// The blobs that were new in the target repository.
    pub added: Added,
}

/// Copies snapshots, oldest first. A snapshot is written once everything it needs is there.
pub fn run(
    from: (&Repository, &Index),
    to: &Repository,
    snapshots: &[(Id, Snapshot)],
) -> Result<Report> {
    let mut report = Report::default();
    let (there, errors) = to.snapshots()?;
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    let first = |id: &Id, snapshot: &Snapshot| snapshot.original.unwrap_or(*id);
    let same = |id: &Id, snapshot: &Snapshot| {
        there.iter().any(|(other, copy)| {
            copy.tree == snapshot.tree
                && copy.time == snapshot.time
                && first(other, copy) == first(id, snapshot)
        })
    };
    let mut wanted = Vec::new();
    for (id, snapshot) in snapshots {
        match same(id, snapshot) {
            true => report.there.push(*id),
            false => wanted.push((id, snapshot)),
        }
    }
    if wanted.is_empty() {
        return Ok(report);
    }
    let (index, errors) = to.load_index()?;
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    let ((), added) = with_saver(to, &index, |saver| {
        let mut seen = HashSet::new();
        for (_, snapshot) in &wanted {
            trees(from, saver, &mut seen, snapshot.tree)?;
        }
        Ok(())
    })?;
    report.added = added;
    for (id, snapshot) in wanted {
        let copy = Snapshot {
            parent: None,
            original: Some(first(id, snapshot)),
            ..snapshot.clone()
        };
        report.copied.push((*id, to.save_snapshot(&copy)?));
    }
    Ok(report)
}

fn trees(
    from: (&Repository, &Index),
    saver: &Saver<'_>,
    seen: &mut HashSet<Id>,
    root: Id,
) -> Result<()> {
    let readers = Readers::new(from.0)?;
    let mut level = vec![root];
    while !level.is_empty() {
        level.retain(|id| seen.insert(*id));
        let copied = level.par_iter().map(|id| one(from, saver, id));
        let below: Result<Vec<Vec<Id>>> = readers.run(|| copied.collect());
        level = below?.concat();
    }
    Ok(())
}

/// Copies a tree and the content of its files, and returns its subtrees.
fn one((from, index): (&Repository, &Index), saver: &Saver<'_>, id: &Id) -> Result<Vec<Id>> {
    let json = from.load_blob(index, BlobKind::Tree, id)?;
    let nodes = tree::parse(&json).map_err(|damage| Error::Blob { id: *id, damage })?;
    for content in nodes.iter().flat_map(|node| node.content.iter().flatten()) {
        if !saver.has(BlobKind::Data, content) {
            let blob = from.load_blob(index, BlobKind::Data, content)?;
            saver.save(BlobKind::Data, &blob)?;
        }
    }
    saver.save(BlobKind::Tree, &json)?;
    Ok(nodes.into_iter().filter_map(|node| node.subtree).collect())
}
