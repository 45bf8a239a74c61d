//! Intents: the announcement that points go, with all that is needed to end their deletion, whoever
//! was killed in it.

use super::{Header, INTENTS_PREFIX, Mark, put};
use crate::context::Context;
use crate::copies::{PointCopy, StoredManifest};
use crate::error::{Fact, Result};
use crate::name::Name;
use crate::point::PointId;
use crate::retention::Why;
use crate::stores::OpenStore;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Largest number of points in one intent, so that it is written and read in bounded memory.
pub const POINTS_MAX: usize = 200;

/// The announcement that points go from a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// What every mark says.
    #[serde(flatten)]
    pub header: Header,
    /// The store, as the configuration of the host that wrote this calls it.
    pub store: Name,
    /// The time by the clock of the store, where it tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_time: Option<Timestamp>,
    /// The points.
    pub points: Vec<Leaving>,
}

/// A point that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// The point.
    pub point: PointId,
    /// Its plan.
    pub plan: Name,
    /// Why nothing keeps it.
    pub why: Why,
    /// SHA-256 of the manifest of the store's copy, hex.
    pub manifest_sha256: String,
    /// That manifest.
    pub manifest: String,
    /// The signature beside it.
    pub signature: Option<String>,
}

impl Leaving {
    /// The manifest that it holds, parsed and checked.
    pub fn copy(&self, store: &str) -> Result<PointCopy> {
        let stored = StoredManifest {
            bytes: self.manifest.clone().into_bytes(),
            signature: self.signature.clone(),
        };
        stored.parse(store, &self.point)
    }
}

impl Intent {
    /// Announces now that points go from a store whose clock says `store_time`.
    pub fn new(
        context: &Context,
        store: &Name,
        store_time: Option<Timestamp>,
        points: Vec<Leaving>,
    ) -> Self {
        Intent {
            header: Header::now(context),
            store: store.clone(),
            store_time,
            points,
        }
    }

    /// Stores it.
    pub fn put(&self, context: &Context, store: &OpenStore) -> Result<()> {
        put(context, store, self)
    }

    /// Its key in a store.
    pub fn key(&self) -> String {
        Mark::key(self)
    }
}

/// The keys that the intents of a store name, whoever signed them.
#[derive(Default)]
pub(crate) struct IntentKeys {
    /// The intents that were read.
    read: BTreeSet<String>,
    keys: BTreeSet<String>,
}

impl IntentKeys {
    /// Reads the intents that are there and were not read before. One that is gone keeps its keys:
    /// they need not be used again in this run. A store that does not let them be listed names none.
    pub(crate) fn ask(&mut self, context: &Context, store: &OpenStore) -> Result<()> {
        let stored = match context.state.catalog.marks(store, INTENTS_PREFIX) {
            Ok((stored, _)) => stored,
            Err(error) if error.fact == Some(Fact::Denied) => return Ok(()),
            Err(error) => return Err(error),
        };
        for stored in stored {
            if !self.read.insert(stored.key) {
                continue;
            }
            let intent = serde_json::from_slice::<Intent>(&stored.bytes).ok();
            let points = intent.iter().flat_map(|intent| &intent.points);
            for copy in points.filter_map(|leaving| leaving.copy(&store.name).ok()) {
                let artifacts = copy.manifest.artifacts.into_iter();
                self.keys
                    .extend(artifacts.map(|artifact| artifact.key.into()));
            }
        }
        Ok(())
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.keys.contains(key)
    }
}

impl Mark for Intent {
    const WHAT: &'static str = "intent";

    fn header(&self) -> &Header {
        &self.header
    }

    fn key(&self) -> String {
        format!("{INTENTS_PREFIX}{}.json", self.header.id)
    }
}
