//! Documents of snapshots that are kept or removed, and of space that is freed.

use super::StoredSnapshot;
use crate::document::Schema;
use crate::repo::forget::Judged;
use lifeboat_repository::Named;
use lifeboat_repository::prune;
use lifeboat_repository::snapshot::Group;
use serde::Serialize;

/// The document of `forget`.
#[derive(Debug, Clone, Serialize)]
pub struct Forgotten {
    dry_run: bool,
    groups: Vec<KeptGroup>,
    prune: Option<Freed>,
}

/// A group of snapshots.
#[derive(Debug, Clone, Serialize)]
pub struct KeptGroup {
    group: Group,
    keep: Vec<Kept>,
    remove: Vec<StoredSnapshot>,
}

/// A kept snapshot, and the rules that keep it.
#[derive(Debug, Clone, Serialize)]
pub struct Kept {
    snapshot: StoredSnapshot,
    reasons: Vec<String>,
}

impl Forgotten {
    /// Makes the document of a judgement, and of the space that was freed if some was.
    pub fn new(dry_run: bool, judged: &[Judged<'_>], pruned: Option<&prune::Report>) -> Self {
        Forgotten {
            dry_run,
            groups: judged.iter().map(KeptGroup::from).collect(),
            prune: pruned.map(Freed::from),
        }
    }
}

impl From<&Judged<'_>> for KeptGroup {
    fn from(judged: &Judged<'_>) -> Self {
        let kept = |(snapshot, reasons): &(&Named, Vec<String>)| Kept {
            snapshot: StoredSnapshot::from(*snapshot),
            reasons: reasons.clone(),
        };
        let removed = judged.removed.iter().copied();
        KeptGroup {
            group: judged.group.clone(),
            keep: judged.kept.iter().map(kept).collect(),
            remove: removed.map(StoredSnapshot::from).collect(),
        }
    }
}

/// The document of `prune`. Its version has been its last field from the beginning.
#[derive(Debug, Clone, Serialize)]
pub struct Pruned {
    #[serde(flatten)]
    freed: Freed,
    schema: Schema,
    dry_run: bool,
}

impl Pruned {
    /// Makes the document of a prune, done or tried.
    pub fn new(dry_run: bool, report: &prune::Report) -> Self {
        Pruned {
            freed: report.into(),
            schema: Schema,
            dry_run,
        }
    }
}

/// Counts of packs, by what became of them.
#[derive(Debug, Clone, Serialize)]
struct Freed {
    snapshots: u64,
    kept: Packs,
    unused_bytes: u64,
    repacked: Packs,
    marked: Packs,
    recovered: Packs,
    waiting: Packs,
    deleted: Packs,
    missing: u64,
}

/// A number of packs, and their bytes.
#[derive(Debug, Clone, Copy, Serialize)]
struct Packs {
    packs: u64,
    bytes: u64,
}

impl From<&prune::Packs> for Packs {
    fn from(packs: &prune::Packs) -> Self {
        Packs {
            packs: packs.count,
            bytes: packs.bytes,
        }
    }
}

impl From<&prune::Report> for Freed {
    fn from(report: &prune::Report) -> Self {
        Freed {
            snapshots: report.snapshots,
            kept: (&report.kept).into(),
            unused_bytes: report.unused_bytes,
            repacked: (&report.repacked).into(),
            marked: (&report.marked).into(),
            recovered: (&report.recovered).into(),
            waiting: (&report.waiting).into(),
            deleted: (&report.deleted).into(),
            missing: report.missing,
        }
    }
}
