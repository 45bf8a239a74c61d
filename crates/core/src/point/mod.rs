//! A restore point: its id, the manifest that commits it in a store, and how one is chosen.
//!
//! A store's manifest is written last there; an artifact that no manifest names does not exist.
//! The manifest is clear text (ids, times, stored sizes and hashes); what could tell of the
//! content (source hashes, table names, inventories) is in the details, sealed to the store's
//! recipients.

mod id;
mod manifest;
mod owners;
mod select;

pub use id::PointId;
pub use manifest::{
    Consistency, Details, DetailsArtifact, FileAttributes, Head, Manifest, ManifestArtifact,
    ManifestSource, Outcome, Skipped, StoredDetails, Targets, Trigger, TriggeredBy,
};
pub use owners::owners;
pub(crate) use select::age_limit;
pub use select::{Candidate, OnlyPartial, Selector};

/// Where manifests are in a store.
pub const POINTS_PREFIX: &str = "lifeboat/points/";

/// The manifest's key in a store.
pub fn manifest_key(point: &PointId) -> String {
    format!("{POINTS_PREFIX}{point}.json")
}

/// The key of its details in a store, before the suffix of an encryption.
pub fn details_key(point: &PointId) -> String {
    format!("{POINTS_PREFIX}{point}.details.json")
}
