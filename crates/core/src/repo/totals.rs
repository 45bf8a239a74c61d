//! Counts the contents of snapshots, and how much of them is stored.

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
    /// Size of these files, in bytes.
    pub restored_bytes: u64,
    /// Number of different blobs that they need.
    pub blobs: usize,
    /// Size of these blobs, in bytes.
    pub blob_bytes: u64,
    /// Stored size of these blobs, in bytes.
    pub stored_bytes: u64,
}

/// Counts the contents of these snapshots. Blobs that several of them share are counted once.
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
