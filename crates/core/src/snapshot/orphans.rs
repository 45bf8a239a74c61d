//! Orphans: snapshots that no manifest names, because a backup was killed after it made the
//! snapshot and before it wrote the manifest.

use super::{PREFIX, Snapshots};
use crate::error::Result;
use crate::point::PointId;
use jiff::{SignedDuration, Timestamp};
use lifeboat_repository as engine;
use lifeboat_repository::{FileKind, Id, Snapshot};
use std::collections::HashSet;

/// Minimum age of an orphan: the manifest of a younger snapshot may be about to be written.
const GRACE: SignedDuration = SignedDuration::from_hours(24);

/// A snapshot made for a point that no manifest names.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub snapshot: Id,
    pub point: PointId,
}

impl Snapshots {
    /// Finds orphans of these plans that are older than a day. `named` is called once the snapshots
    /// are listed, and returns the ids of those that manifests name.
    pub(crate) fn orphans(
        &self,
        is_plan: impl Fn(&str) -> bool,
        named: impl FnOnce() -> Result<HashSet<String>>,
        now: Timestamp,
    ) -> Result<Vec<Orphan>> {
        let repository = self.repository()?;
        let prefix = format!("{PREFIX}{}/", FileKind::Snapshot.directory());
        let listed = self.store.list(&prefix)?;
        let named = named()?;
        let old = |at: Timestamp| now.duration_since(at) >= GRACE;
        let mut found = Vec::new();
        for object in listed {
            let id = object
                .key
                .strip_prefix(&prefix)
                .and_then(|name| name.parse().ok());
            let Some(id) = id.filter(|id: &Id| !named.contains(&id.to_string())) else {
                continue;
            };
            if !object.modified.is_none_or(old) {
                continue;
            }
            let snapshot = match repository.snapshot(&id) {
                Ok(snapshot) => snapshot,
                // Forgotten meanwhile, or unreadable for everybody.
                Err(engine::Error::Missing { .. } | engine::Error::Damaged { .. }) => continue,
                Err(error) => return Err(self.about(error)),
            };
            let point = point_of(&snapshot, &is_plan).filter(|_| old(snapshot.time.at));
            found.extend(point.map(|point| Orphan {
                snapshot: id,
                point,
            }));
        }
        found.sort_by(|a, b| (&a.point, a.snapshot).cmp(&(&b.point, b.snapshot)));
        Ok(found)
    }
}

/// The point that a snapshot was made for, if its tags are those of a point of these plans.
fn point_of(snapshot: &Snapshot, is_plan: impl Fn(&str) -> bool) -> Option<PointId> {
    match snapshot.tags.as_deref() {
        Some([point, plan]) if is_plan(plan) => PointId::parse(point),
        _ => None,
    }
}
