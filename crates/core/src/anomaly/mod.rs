//! Anomalies: what is in a point that differs from the points before it more than it should.
//!
//! Pure: the caller measures the points. A number is held against the median of the last points, so
//! that neither slow growth nor one odd point among them rings. An anomaly says that somebody should
//! look; it never says that a point is bad.

mod judge;
mod text;

pub use judge::judge;

use crate::config::{AnomalyLimits, Config, PlanConfig};
use crate::finding::Severity;
use crate::fingerprint::Fingerprint;
use crate::kind::{Kind, StoredKind};
use crate::name::Name;
use crate::point::{Details, FileChanges, Manifest, ManifestArtifact, ManifestSource};
use serde::Serialize;
use std::collections::BTreeMap;

/// Number of points that a point is compared with.
pub const POINTS_MAX: usize = 14;
/// Number of points below which nothing is compared.
pub const POINTS_MIN: usize = 3;

/// The measures of a point, by source.
pub type Measured = BTreeMap<Name, Measure>;

/// The measure of one source in a point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measure {
    /// What is in it; `None` where neither the catalog nor a key tells.
    pub content: Option<Content>,
    /// What each store keeps of it. Without stores that have a repository, where this depends on
    /// what was there before.
    pub stored: BTreeMap<Name, Stored>,
}

/// The content of a source in a point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Bytes, neither compressed nor encrypted.
    pub bytes: u64,
    /// Files or objects, of a source that has them.
    pub files: Option<u64>,
    /// Rows of each table.
    pub tables: BTreeMap<String, u64>,
    /// The files that changed since the point before, as far as it could be compared.
    pub changes: Option<FileChanges>,
}

/// Stored form of a source in a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Bytes.
    pub bytes: u64,
    /// True if all of them are compressed.
    pub compressed: bool,
}

/// The judgements that are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    /// How far a point may be from those before it; `None` if they are not compared.
    pub limits: Option<AnomalyLimits>,
    /// The least content of each source that has such a limit.
    pub least: BTreeMap<Name, Least>,
}

impl Watch {
    /// The judgements that a configuration asks for of a plan.
    pub fn of(config: &Config, plan: &PlanConfig) -> Self {
        let sources = plan.sources.iter();
        let least = sources.filter_map(|source| {
            let least = config.source.get(source)?.kind.least();
            let least = Least {
                bytes: least.min_bytes,
                rows: least.min_rows,
            };
            (least != Least::default()).then(|| (source.clone(), least))
        });
        Watch {
            limits: plan.anomaly.limits().cloned(),
            least: least.collect(),
        }
    }

    /// The default, for points whose plan no configuration has.
    pub fn unconfigured() -> Self {
        Watch {
            limits: Some(AnomalyLimits::default()),
            least: BTreeMap::new(),
        }
    }
}

/// The least content of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Least {
    /// Bytes.
    pub bytes: Option<u64>,
    /// Rows in all tables.
    pub rows: Option<u64>,
}

/// The judgement of a point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// What somebody should look at.
    pub anomalies: Vec<Anomaly>,
    /// Number of anomalies beyond these.
    pub unlisted: u64,
    /// What was compared.
    pub compared: Compared,
}

/// Part of a point that was compared with the points before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compared {
    /// The content of every source: bytes, files and rows.
    Content,
    /// Only the stored bytes of some source, since its content is sealed and not known here.
    StoredBytes,
    /// Nothing of some source: its content is not known here, and its stored bytes say nothing.
    Unknown,
    /// Nothing yet: there are fewer than three points before it.
    #[default]
    TooFewPoints,
    /// Nothing: the plan says `anomaly = "off"`.
    Off,
}

impl Compared {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Compared::Content => "content",
            Compared::StoredBytes => "stored-bytes",
            Compared::Unknown => "unknown",
            Compared::TooFewPoints => "too-few-points",
            Compared::Off => "off",
        }
    }
}

/// Something that differs from the points before more than it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// The source.
    pub source: Name,
    /// What differs.
    pub what: What,
    /// The table, where it is about one.
    pub table: Option<String>,
    /// The figure of this point, in the unit of `what`.
    pub observed: u64,
    /// The median of the points before; for a minimum, the minimum.
    pub usual: u64,
    /// How grave it is: what shrinks is graver than what grows.
    pub severity: Severity,
    /// All files there were, where files changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
}

/// Subject of an anomaly, and the unit of its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The size of the source, in bytes.
    Bytes,
    /// The size in a store, in bytes.
    StoredBytes,
    /// The number of files or objects.
    Files,
    /// The rows of a table.
    Rows,
    /// A table that was in every point before is gone; in rows.
    TableGone,
    /// The stored size in percent of the size of the source.
    Ratio,
    /// The number of files that have other content or another name than in the point before.
    FilesChanged,
    /// The size of the source is below `min_bytes`; in bytes.
    MinBytes,
    /// The rows of all tables are fewer than `min_rows`.
    MinRows,
}

impl What {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Bytes => "bytes",
            What::StoredBytes => "stored-bytes",
            What::Files => "files",
            What::Rows => "rows",
            What::TableGone => "table-gone",
            What::Ratio => "ratio",
            What::FilesChanged => "files-changed",
            What::MinBytes => "min-bytes",
            What::MinRows => "min-rows",
        }
    }
}

/// A copy of a point in a store.
pub struct Copy<'c> {
    /// The store.
    pub store: &'c Name,
    /// The sources of the point.
    pub sources: &'c [ManifestSource],
    /// What the store holds of them, as far as it is known.
    pub artifacts: &'c [ManifestArtifact],
}

impl<'c> Copy<'c> {
    /// The copy that a manifest describes.
    pub fn of(store: &'c Name, manifest: &'c Manifest) -> Self {
        Copy {
            store,
            sources: &manifest.sources,
            artifacts: &manifest.artifacts,
        }
    }

    /// What the store keeps of a source; `None` if that depends on what it held before.
    fn stored(&self, source: &ManifestSource) -> Option<Stored> {
        // A mirrored bucket names packs of earlier points.
        if source.kind == StoredKind::Known(Kind::Bucket) {
            return None;
        }
        let artifacts = || self.artifacts.iter().filter(|a| a.source == source.name);
        artifacts().next()?;
        Some(Stored {
            bytes: artifacts()
                .map(ManifestArtifact::stored_bytes)
                .sum::<Option<u64>>()?,
            compressed: artifacts().all(|artifact| artifact.compress != *"none"),
        })
    }
}

/// Measures a point from its copies and, where they are known, its details.
pub fn measure<'c>(
    copies: impl IntoIterator<Item = Copy<'c>>,
    details: Option<&Details>,
) -> Measured {
    let mut measured = Measured::new();
    for copy in copies {
        for source in copy.sources {
            let measure = measured.entry(source.name.clone()).or_default();
            if measure.content.is_none() {
                measure.content = details.map(|details| content(details, &source.name));
            }
            let stored = copy
                .stored(source)
                .map(|stored| (copy.store.clone(), stored));
            measure.stored.extend(stored);
        }
    }
    measured
}

/// The content of a source, as the details tell.
fn content(details: &Details, source: &Name) -> Content {
    let mut content = Content::default();
    let mut objects = None;
    let artifacts = details.artifacts.iter();
    for artifact in artifacts.filter(|artifact| artifact.source == *source) {
        content.bytes = content.bytes.saturating_add(artifact.bytes);
        match &artifact.proof.fingerprint {
            Fingerprint::Tables(proof) => {
                let tables = proof.tables.iter();
                let rows = tables.map(|(name, table)| (name.clone(), table.rows));
                content.tables.extend(rows);
            }
            Fingerprint::Files(proof) => {
                content.files = Some(content.files.unwrap_or(0).saturating_add(proof.files));
            }
            Fingerprint::Objects(proof) => objects = Some(proof),
            Fingerprint::Bytes(_) => {}
        }
        content.changes = content.changes.or(artifact.changes);
    }
    if let Some(proof) = objects {
        // The packs are those of several points.
        content.bytes = proof.bytes;
        content.files = Some(proof.objects);
    }
    content
}

#[cfg(test)]
mod tests;
