//! Notes that a run of a plan found nothing new since a point.
//!
//! Guarantees: a store holds one note of a plan, however often somebody looks, and whether or not it
//! lets anybody delete: the next note replaces it in one step. Its signature is therefore in the same
//! object, and a run that is killed leaves the old note or the new one. It does not tell when
//! somebody looked before.

use super::{Header, Mark, UNCHANGED_PREFIX};
use crate::catalog::marks::StoredMark;
use crate::context::Context;
use crate::copies::put_bytes;
use crate::document::to_json;
use crate::error::Result;
use crate::name::Name;
use crate::point::PointId;
use crate::stores::OpenStore;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A note that a run found what a point holds, and nothing new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchanged {
    /// What every mark says. Its id is that of the point that was not taken, and its time when the
    /// run began.
    #[serde(flatten)]
    pub header: Header,
    /// The plan that was run.
    pub plan: Name,
    /// The point.
    pub point: PointId,
    /// SHA-256 of the manifest of the copy in the store that the note is in, hex.
    pub manifest_sha256: String,
    /// The time in the schedule for which it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Timestamp>,
}

/// A note with the signature of its exact text.
#[derive(Debug, Serialize, Deserialize)]
struct Enclosed {
    note: String,
    signature: String,
}

impl Unchanged {
    /// A note about a point, of a run that began at the time of `id`.
    pub fn new(
        context: &Context,
        id: &PointId,
        plan: &Name,
        point: &PointId,
        slot: Option<Timestamp>,
    ) -> Self {
        Unchanged {
            header: Header {
                id: id.clone(),
                at: id.time(),
                ..Header::now(context)
            },
            plan: plan.clone(),
            point: point.clone(),
            manifest_sha256: String::new(),
            slot,
        }
    }

    /// Stores it beside a copy, of which this is the SHA-256 of the manifest, and replaces the note
    /// that was there.
    pub fn put(&self, context: &Context, store: &OpenStore, manifest_sha256: &str) -> Result<()> {
        let mut note = self.clone();
        manifest_sha256.clone_into(&mut note.manifest_sha256);
        let text = to_json(&note)?;
        let signature = context.state.signer.sign(&text)?;
        let enclosed = Enclosed {
            note: String::from_utf8_lossy(&text).into_owned(),
            signature,
        };
        put_bytes(store, &self.key(), &to_json(&enclosed)?, false)?;
        Ok(())
    }
}

impl Mark for Unchanged {
    const WHAT: &'static str = "note";

    fn header(&self) -> &Header {
        &self.header
    }

    fn key(&self) -> String {
        let Header {
            app, environment, ..
        } = &self.header;
        let plan = &self.plan;
        format!("{UNCHANGED_PREFIX}{app}/{environment}/{plan}.json")
    }

    fn content(stored: &StoredMark) -> Option<(Vec<u8>, String)> {
        let enclosed: Enclosed = serde_json::from_slice(&stored.bytes).ok()?;
        Some((enclosed.note.into_bytes(), enclosed.signature))
    }
}
