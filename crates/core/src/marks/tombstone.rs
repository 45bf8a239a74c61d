//! Tombstones: what the rules deleted, so that nobody takes it for lost.

use super::{Header, Intent, Mark, PRUNED_PREFIX, put};
use crate::context::Context;
use crate::error::Result;
use crate::name::Name;
use crate::point::PointId;
use crate::retention::Why;
use crate::stores::OpenStore;
use serde::{Deserialize, Serialize};

/// Points that the rules deleted from a store. Of one intent there may be several: where a run was
/// killed, or two ended it at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// What every mark says.
    #[serde(flatten)]
    pub header: Header,
    /// The intent that announced them.
    pub intent: PointId,
    /// The store, as the configuration of the host that wrote this calls it.
    pub store: Name,
    /// The points.
    pub points: Vec<Gone>,
}

/// A point that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// The point.
    pub point: PointId,
    /// Its plan.
    pub plan: Name,
    /// Why nothing kept it.
    pub why: Why,
    /// SHA-256 of the manifest of the store's copy, hex.
    pub manifest_sha256: String,
    /// Keys of objects that were not deleted, since they are not those that the manifest names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

impl Tombstone {
    /// Says now that points of an intent were deleted.
    pub fn new(context: &Context, intent: &Intent, points: Vec<Gone>) -> Self {
        Tombstone {
            header: Header::now(context),
            intent: intent.header.id.clone(),
            store: intent.store.clone(),
            points,
        }
    }

    /// Stores it.
    pub fn put(&self, context: &Context, store: &OpenStore) -> Result<()> {
        put(context, store, self)
    }
}

impl Mark for Tombstone {
    const WHAT: &'static str = "tombstone";

    fn header(&self) -> &Header {
        &self.header
    }

    fn key(&self) -> String {
        format!("{PRUNED_PREFIX}{}.json", self.header.id)
    }
}
