//! Pins: what an operator says of a point, that it stays, or that it need not any longer.

use super::{Header, Mark, PINS_PREFIX, put};
use crate::context::Context;
use crate::error::Result;
use crate::point::PointId;
use crate::stores::OpenStore;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What was said of a point. The newest counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What every mark says.
    #[serde(flatten)]
    pub header: Header,
    /// The point.
    pub point: PointId,
    /// True if the point stays from now on; false if it need not.
    pub pinned: bool,
    /// The reason that was given.
    pub reason: String,
}

impl Pin {
    /// Says now that a point stays, or that it need not. It counts before what was said `before`, by
    /// whatever clock.
    pub fn new(
        context: &Context,
        point: &PointId,
        pinned: bool,
        reason: &str,
        before: Option<Timestamp>,
    ) -> Self {
        let mut header = Header::now(context);
        let after = before.map(|at| at.checked_add(SignedDuration::from_secs(1)));
        header.at = header
            .at
            .max(after.map_or(header.at, |at| at.unwrap_or(Timestamp::MAX)));
        Pin {
            header,
            point: point.clone(),
            pinned,
            reason: reason.to_owned(),
        }
    }

    /// When it was said, and its id, by which one of several that were said at one time counts.
    pub fn said(&self) -> (Timestamp, &PointId) {
        (self.header.at, &self.header.id)
    }

    /// Stores it, and removes what was said of the point before: if that cannot be, the newest
    /// counts.
    pub fn put(&self, context: &Context, store: &OpenStore) -> Result<()> {
        put(context, store, self)?;
        let own = Mark::key(self);
        let of_point = store.store.list(&prefix(&self.point))?;
        let others = of_point
            .iter()
            .filter(|object| !object.key.starts_with(&own));
        for object in others {
            let _ = store.store.delete(&object.key);
        }
        Ok(())
    }
}

impl Mark for Pin {
    const WHAT: &'static str = "pin";
    const UNBELIEVED: &'static str = "its point stays all the same, since nobody can tell what it said: find out who wrote it, and say it anew (lifeboat pin or unpin)";

    fn header(&self) -> &Header {
        &self.header
    }

    fn key(&self) -> String {
        format!("{PINS_PREFIX}{}.{}.json", self.point, self.header.id)
    }
}

/// Prefix of the keys of all that was said of a point.
pub(crate) fn prefix(point: &PointId) -> String {
    format!("{PINS_PREFIX}{point}.")
}

/// The point that the key of a pin names.
pub(super) fn point_of(key: &str) -> Option<PointId> {
    let (point, _) = key.strip_prefix(PINS_PREFIX)?.split_once('.')?;
    PointId::parse(point)
}
