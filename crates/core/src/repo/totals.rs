//! Counts what snapshots hold, and how much of it is stored.

use crate::error::Result;
use crate::explain::explain;
use lifeboat_repository::browse::{self, Then};
use lifeboat_repository::index::Index;
use lifeboat_repository::tree::{Node, NodeKind};
use lifeboat_repository::{Named, Repository};
use serde::Serialize;
use std::collections::HashSet;

/// The document of `stats`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Totals {
    /// Snapshots that were counted.
    pub snapshots: usize,
    /// Files in all of them.
    pub files: u64,
    /// Bytes of these files.
    pub restored_bytes: u64,
    /// Different blobs that they need.
    pub blobs: usize,
    /// Bytes of these blobs.
    pub blob_bytes: u64,
    /// Bytes that are stored of them.
    pub stored_bytes: u64,
}

/// Counts these snapshots. What several of them need is stored once, and counted so.
pub fn count(repository: &Repository, index: &Index, snapshots: &[&Named]) -> Result<Totals> {
    let mut totals = Totals {
        snapshots: snapshots.len(),
        ..Totals::default()
    };
    let (mut trees, mut blobs) = (HashSet::new(), HashSet::new());
    for (_, snapshot) in snapshots {
        trees.insert(snapshot.tree);
        let mut count = |_: &[u8], node: &Node| {
            if node.kind == NodeKind::File {
                totals.files += 1;
                totals.restored_bytes += node.size;
            }
            trees.extend(node.subtree);
            blobs.extend(node.content.iter().flatten().copied());
            Ok(Then::Enter)
        };
        browse::walk(repository, index, &snapshot.tree, b"", &mut count).map_err(explain)?;
    }
    let mut seen = HashSet::new();
    for (id, place) in index.blobs() {
        if (blobs.contains(&id) || trees.contains(&id)) && seen.insert((id, place.kind)) {
            totals.blob_bytes += u64::from(place.plain_bytes);
            totals.stored_bytes += u64::from(place.length);
        }
    }
    totals.blobs = seen.len();
    Ok(totals)
}
