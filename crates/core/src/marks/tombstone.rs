//! Tombstones: what the rules deleted, so that nobody takes it for lost.

use super::{About, Intent, Mark, PRUNED_PREFIX, put};
use crate::context::Context;
use crate::error::Result;
use crate::host::{author, host};
use crate::name::Name;
use crate::point::PointId;
use crate::retention::Why;
use crate::stores::OpenStore;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Points that the rules deleted from a store. Of one intent there may be several: where a run was
/// killed, or two ended it at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Version of this format: 1.
    pub schema: u32,
    /// Its id.
    pub id: PointId,
    /// The intent that announced them.
    pub intent: PointId,
    /// The application of the points.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// The store, as the configuration of the host that wrote this calls it.
    pub store: Name,
    /// When it was written.
    pub at: Timestamp,
    /// Who wrote it.
    pub author: String,
    /// The host it was written on.
    pub host: String,
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
            schema: 1,
            id: PointId::new(&context.clock),
            intent: intent.id.clone(),
            app: intent.app.clone(),
            environment: intent.environment.clone(),
            store: intent.store.clone(),
            at: context.clock.now(),
            author: author(),
            host: host(),
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

    fn about(&self) -> About<'_> {
        About {
            schema: self.schema,
            app: &self.app,
            environment: &self.environment,
            at: self.at,
        }
    }

    fn key(&self) -> String {
        format!("{PRUNED_PREFIX}{}.json", self.id)
    }
}
