//! Removes snapshots, and frees the packs that no snapshot needs.

use super::{Opened, Snapshots};
use crate::error::Result;
use crate::explain;
use jiff::Timestamp;
use lifeboat_repository::{FileKind, Id, forget, prune};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Snapshots {
    /// Removes these snapshots, as far as they are there. Returns how many were.
    pub(crate) fn forget(&self, snapshots: Vec<String>) -> Result<u64> {
        let repository = self.repository()?;
        let there = repository.list(FileKind::Snapshot);
        let there = there.map_err(|error| self.about(error))?;
        let ids: Vec<Id> = snapshots.iter().filter_map(|id| id.parse().ok()).collect();
        let ids: Vec<Id> = ids
            .into_iter()
            .filter(|id| there.iter().any(|(there, _)| there == id))
            .collect();
        forget::remove(&repository, &ids).map_err(|error| self.about(error))?;
        Ok(ids.len() as u64)
    }

    /// The ids of the snapshots that are there.
    pub(crate) fn ids(&self) -> Result<BTreeSet<String>> {
        let there = self.repository()?.list(FileKind::Snapshot);
        let there = there.map_err(|error| self.about(error))?;
        Ok(there.into_iter().map(|(id, _)| id.to_string()).collect())
    }

    /// Frees what no snapshot needs: packs are marked first, and deleted by a run a day later. Returns
    /// the bytes of those that were deleted.
    pub(crate) fn free(&self, now: Timestamp) -> Result<u64> {
        let repository = self.repository()?;
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
        Ok(report.deleted.bytes)
    }
}
