//! Removes snapshots, and frees the packs that no snapshot needs.

use super::{Opened, Snapshots};
use crate::error::Result;
use crate::explain;
use jiff::Timestamp;
use lifeboat_repository::{FileKind, Id, forget, prune};
use std::sync::Arc;

/// What was removed and freed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pruned {
    /// Snapshots that were removed.
    pub snapshots: u64,
    /// Bytes of the packs that were deleted.
    pub deleted_bytes: u64,
}

impl Snapshots {
    /// Removes these snapshots, and then frees what no snapshot needs: packs are marked first, and
    /// deleted by a run a day later.
    pub(crate) fn prune(&self, snapshots: Vec<String>, now: Timestamp) -> Result<Pruned> {
        let repository = self.repository()?;
        let there = repository.list(FileKind::Snapshot);
        let there = there.map_err(|error| self.about(error))?;
        let ids: Vec<Id> = snapshots.iter().filter_map(|id| id.parse().ok()).collect();
        let ids: Vec<Id> = ids
            .into_iter()
            .filter(|id| there.iter().any(|(there, _)| there == id))
            .collect();
        forget::remove(&repository, &ids).map_err(|error| self.about(error))?;
        // The prune takes its own locks, and what was read of the index is no longer true.
        *self.opened() = Opened {
            repository: Some(Arc::clone(&repository)),
            ..Opened::default()
        };
        let options = prune::Options {
            wait: super::WAIT,
            author: explain::author(),
            now,
            ..prune::Options::default()
        };
        let report = prune::run(&repository, &options).map_err(|error| self.about(error))?;
        Ok(Pruned {
            snapshots: ids.len() as u64,
            deleted_bytes: report.deleted.bytes,
        })
    }
}
