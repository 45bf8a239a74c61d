//! Restore points: ids, the manifest that commits a point in a store, and choosing a point.
//!
//! A manifest is the last object of a point that is written to a store; an artifact that no
//! manifest names does not exist. A manifest is clear text (ids, times, stored sizes and hashes).
//! What could reveal the content (source hashes, table names, inventories) is in the details,
//! encrypted to the store's recipients.

mod id;
mod manifest;
mod owners;
mod select;

pub use id::PointId;
pub use manifest::{
    Consistency, Details, DetailsArtifact, External, FileAttributes, FileChanges, Head, Manifest,
    ManifestArtifact, ManifestSource, Outcome, Skipped, StoredDetails, Targets, Trigger,
    TriggeredBy,
};
pub use owners::owners;
pub(crate) use select::age_limit;
pub use select::{Candidate, OnlyPartial, Selector, parse_time};

/// Prefix of the keys of all manifests in a store.
pub const POINTS_PREFIX: &str = "lifeboat/points/";

/// Key of a point's manifest in a store.
pub fn manifest_key(point: &PointId) -> String {
    format!("{POINTS_PREFIX}{point}.json")
}

/// Key of a point's details in a store, before the suffix of an encryption.
pub fn details_key(point: &PointId) -> String {
    format!("{POINTS_PREFIX}{point}.details.json")
}
