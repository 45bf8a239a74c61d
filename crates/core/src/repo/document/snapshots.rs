//! Documents of snapshots, and of those that new ones were made of.

use lifeboat_repository::repair::snapshots as mend;
use lifeboat_repository::rewrite::{self, Became};
use lifeboat_repository::snapshot::Snapshot;
use lifeboat_repository::{Id, Named, copy};
use serde::Serialize;

/// The document of `snapshots`.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshots {
    snapshots: Vec<StoredSnapshot>,
}

impl<'s> FromIterator<&'s Named> for Snapshots {
    fn from_iter<T: IntoIterator<Item = &'s Named>>(snapshots: T) -> Self {
        Snapshots {
            snapshots: snapshots.into_iter().map(Into::into).collect(),
        }
    }
}

/// A snapshot as it is stored, with its id.
#[derive(Debug, Clone, Serialize)]
pub struct StoredSnapshot {
    id: Id,
    short_id: String,
    #[serde(flatten)]
    snapshot: Snapshot,
}

impl From<&Named> for StoredSnapshot {
    fn from((id, snapshot): &Named) -> Self {
        let mut snapshot = snapshot.clone();
        // Other programs may have written fields with these names; they are not part of the
        // snapshot.
        snapshot
            .others
            .retain(|name, _| !matches!(name.as_str(), "id" | "short_id"));
        StoredSnapshot {
            id: *id,
            short_id: id.short(),
            snapshot,
        }
    }
}

/// A snapshot, with its new id or its id elsewhere.
#[derive(Debug, Clone, Copy, Serialize)]
struct Renamed {
    from: Id,
    to: Id,
}

fn renamed(pairs: &[(Id, Id)]) -> Vec<Renamed> {
    let pairs = pairs.iter();
    pairs.map(|&(from, to)| Renamed { from, to }).collect()
}

/// The document of `copy`.
#[derive(Debug, Clone, Serialize)]
pub struct Copied {
    copied: Vec<Renamed>,
    there: Vec<Id>,
    stored_bytes: u64,
}

impl From<&copy::Report> for Copied {
    fn from(report: &copy::Report) -> Self {
        Copied {
            copied: renamed(&report.copied),
            there: report.there.clone(),
            stored_bytes: report.added.stored_bytes,
        }
    }
}

/// The document of `tag`.
#[derive(Debug, Clone, Serialize)]
pub struct Tagged {
    changed: Vec<Renamed>,
}

impl From<&[(Id, Id)]> for Tagged {
    fn from(changed: &[(Id, Id)]) -> Self {
        let changed = renamed(changed);
        Tagged { changed }
    }
}

/// A snapshot, and its outcome.
#[derive(Debug, Clone, Copy, Serialize)]
struct Fate {
    snapshot: Id,
    #[serde(flatten)]
    became: Fated,
}

/// The outcomes of [`Became`], as the document names them.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "became", rename_all = "kebab-case")]
enum Fated {
    Same,
    New { new: Option<Id> },
    Earlier { new: Id },
    Nothing,
}

impl From<&(Id, Became)> for Fate {
    fn from(&(snapshot, became): &(Id, Became)) -> Self {
        let became = match became {
            Became::Same => Fated::Same,
            Became::New(new) => Fated::New { new },
            Became::Earlier(new) => Fated::Earlier { new },
            Became::Nothing => Fated::Nothing,
        };
        Fate { snapshot, became }
    }
}

/// The document of `rewrite`.
#[derive(Debug, Clone, Serialize)]
pub struct Rewritten {
    dry_run: bool,
    snapshots: Vec<Fate>,
    stored_bytes: u64,
}

impl Rewritten {
    /// Makes the document of a rewrite, done or tried.
    pub fn new(dry_run: bool, report: &rewrite::Report) -> Self {
        Rewritten {
            dry_run,
            snapshots: report.snapshots.iter().map(Into::into).collect(),
            stored_bytes: report.added.stored_bytes,
        }
    }
}

/// The document of `repair snapshots`.
#[derive(Debug, Clone, Serialize)]
pub struct Repaired {
    dry_run: bool,
    snapshots: Vec<Fate>,
    mended: Vec<Mended>,
    stored_bytes: u64,
}

/// A file or directory that was repaired.
#[derive(Debug, Clone, Serialize)]
struct Mended {
    path: String,
    what: String,
}

impl Repaired {
    /// Makes the document of a repair, done or tried.
    pub fn new(dry_run: bool, report: &mend::Report) -> Self {
        let mended = report.mended.iter().map(|mended| Mended {
            path: mended.path.to_string_lossy().into_owned(),
            what: mended.what.to_string(),
        });
        Repaired {
            dry_run,
            snapshots: report.snapshots.iter().map(Into::into).collect(),
            mended: mended.collect(),
            stored_bytes: report.added.stored_bytes,
        }
    }
}
