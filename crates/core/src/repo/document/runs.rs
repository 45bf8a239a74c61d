//! Results of `backup`, `restore`, `check` and `repair index`, as documents.

use crate::exit::Exit;
use lifeboat_repository::backup::{self, Options, Outcome};
use lifeboat_repository::snapshot::Summary;
use lifeboat_repository::{Id, check, repair, restore};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The document of `backup`.
#[derive(Debug, Clone, Serialize)]
pub struct Saved {
    dry_run: bool,
    unchanged: bool,
    snapshot: Option<Id>,
    parent: Option<Id>,
    tree: Id,
    files: u64,
    files_unmodified: u64,
    directories: u64,
    bytes: u64,
    added: Added,
    summary: Summary,
    seconds: f64,
    skipped: Vec<Skipped>,
    set_aside: Vec<String>,
}

/// What was added.
#[derive(Debug, Clone, Copy, Serialize)]
struct Added {
    data_blobs: u64,
    tree_blobs: u64,
    bytes: u64,
    stored_bytes: u64,
}

/// An entry that was left out.
#[derive(Debug, Clone, Serialize)]
struct Skipped {
    path: String,
    error: String,
}

impl Saved {
    /// The result of a backup with these options, and how long it took.
    pub fn new(report: &backup::Report, options: &Options, took: Duration) -> Self {
        let added = &report.added;
        let skipped = report.skipped.iter().map(|skipped| Skipped {
            path: lossy(&skipped.path),
            error: skipped.error.to_string(),
        });
        Saved {
            dry_run: options.how.dry_run,
            unchanged: report.outcome == Outcome::Unchanged,
            snapshot: (report.outcome != Outcome::Tried).then_some(report.snapshot),
            parent: report.parent,
            tree: report.tree,
            files: report.files,
            files_unmodified: report.files_unmodified,
            directories: report.directories,
            bytes: report.bytes,
            added: Added {
                data_blobs: added.data_blobs,
                tree_blobs: added.tree_blobs,
                bytes: added.bytes,
                stored_bytes: added.stored_bytes,
            },
            summary: report.summary,
            seconds: took.as_secs_f64(),
            skipped: skipped.collect(),
            set_aside: report.set_aside.iter().map(|path| lossy(path)).collect(),
        }
    }

    /// The exit status of the backup.
    pub fn exit(&self) -> Exit {
        in_part(self.skipped.is_empty())
    }
}

/// The exit status of a command: success if everything was done, else partial.
fn in_part(all: bool) -> Exit {
    match all {
        true => Exit::Done,
        false => Exit::Partial,
    }
}

/// The document of `restore`.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    snapshot: Id,
    target: String,
    dry_run: bool,
    files: u64,
    bytes: u64,
    bytes_reused: u64,
    unchanged: u64,
    skipped: u64,
    directories: u64,
    specials: u64,
    hard_links: u64,
    deleted: u64,
    verified: u64,
    owners_unset: u64,
    failed: Vec<Failed>,
}

/// An entry that was not restored.
#[derive(Debug, Clone, Serialize)]
struct Failed {
    path: String,
    error: String,
    partial: Option<String>,
    missing_bytes: u64,
}

impl Restored {
    /// The result of a restore of `snapshot` into `target`.
    pub fn new(snapshot: Id, target: &Path, dry_run: bool, report: &restore::Report) -> Self {
        let failed = report.failed.iter().map(|failed| Failed {
            path: lossy(&failed.path),
            error: failed.cause.to_string(),
            partial: failed.partial.as_ref().map(|name| lossy(name.as_ref())),
            missing_bytes: failed.missing_bytes,
        });
        Restored {
            snapshot,
            target: lossy(target),
            dry_run,
            files: report.files,
            bytes: report.bytes,
            bytes_reused: report.bytes_reused,
            unchanged: report.unchanged,
            skipped: report.skipped,
            directories: report.directories,
            specials: report.specials,
            hard_links: report.hard_links,
            deleted: report.deleted,
            verified: report.verified,
            owners_unset: report.owners_unset,
            failed: failed.collect(),
        }
    }

    /// The exit status of the restore.
    pub fn exit(&self) -> Exit {
        in_part(self.failed.is_empty())
    }
}

/// The document of `check`.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    snapshots: u64,
    trees: u64,
    packs: u64,
    packs_read: u64,
    packs_verified_before: usize,
    bytes_read: u64,
    unknown_packs: Vec<Id>,
    errors: Vec<String>,
}

impl Checked {
    /// The result of a check. `packs_verified_before` is the number of packs that earlier checks
    /// found whole recently enough.
    pub fn new(report: &check::Report, packs_verified_before: usize) -> Self {
        Checked {
            snapshots: report.snapshots,
            trees: report.trees,
            packs: report.packs,
            packs_read: report.packs_read,
            packs_verified_before,
            bytes_read: report.bytes_read,
            unknown_packs: report.unknown_packs.clone(),
            errors: report.errors.iter().map(ToString::to_string).collect(),
        }
    }

    /// The exit status of the check.
    pub fn exit(&self) -> Exit {
        match self.errors.is_empty() {
            true => Exit::Done,
            false => Exit::NotProved,
        }
    }
}

/// The document of `repair index`.
#[derive(Debug, Clone, Serialize)]
pub struct IndexRepaired {
    /// Packs that are in the new index.
    pub packs: u64,
    /// Index files that were replaced.
    pub replaced: u64,
    /// Blobs of damaged packs that were whole and are in other packs now.
    pub saved_blobs: u64,
    /// The faults of damaged packs.
    pub damaged: Vec<String>,
}

impl From<&repair::Report> for IndexRepaired {
    fn from(report: &repair::Report) -> Self {
        IndexRepaired {
            packs: report.packs,
            replaced: report.replaced,
            saved_blobs: report.saved_blobs,
            damaged: report.damaged.iter().map(ToString::to_string).collect(),
        }
    }
}

impl IndexRepaired {
    /// The exit status of the repair.
    pub fn exit(&self) -> Exit {
        in_part(self.damaged.is_empty())
    }
}
