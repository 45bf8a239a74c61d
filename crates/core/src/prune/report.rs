//! What a prune did, or would do, about each point.

use super::machines::MachinePruned;
use crate::error::Error;
use crate::exit::Exit;
use crate::kept::Judged;
use crate::name::Name;
use crate::point::PointId;
use crate::retention::{Decision, Hold, Reason, Why};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The document of `prune`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// True if nothing was done.
    pub dry_run: bool,
    /// Each store that was looked at.
    pub stores: Vec<StorePruned>,
    /// Each machine of which points name snapshots.
    pub machines: Vec<MachinePruned>,
}

/// What was decided about the points of a store, and done.
#[derive(Debug, Clone, Serialize)]
pub struct StorePruned {
    /// The store.
    pub store: Name,
    /// True if others delete points there, so that nothing is done.
    pub elsewhere: bool,
    /// Each point, by plan, the oldest first.
    pub points: Vec<PrunedPoint>,
    /// Copies that no rule is about: of plans that the configuration does not have, or of signers who
    /// are not trusted.
    pub others: usize,
    /// Bytes of the objects that were deleted.
    pub freed_bytes: u64,
    /// Snapshots of a repository that were removed, and bytes of packs that were deleted.
    pub snapshots: u64,
    /// Objects that are named and were not deleted, since they are not the recorded ones.
    pub left: Vec<String>,
    /// Objects of kept points whose locks were looked at, and are long enough now.
    pub locks: u64,
    /// What went wrong.
    pub errors: Vec<Error>,
    /// The place of each point in the list.
    #[serde(skip)]
    places: BTreeMap<PointId, usize>,
}

/// A point of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrunedPoint {
    /// Its id.
    pub point: PointId,
    /// Its plan.
    pub plan: Name,
    /// What becomes of it.
    pub fate: Fate,
    /// Why it stays; empty if it goes.
    pub reasons: Vec<Reason>,
    /// Why it goes; absent if it stays.
    pub why: Option<Why>,
    /// What holds up its deletion.
    pub hold: Option<Hold>,
    /// When it can be deleted, if that is known and later than now.
    pub until: Option<Timestamp>,
    /// Bytes of its copy, packs that it shares with others included.
    pub bytes: u64,
    /// The decision in words.
    #[serde(skip)]
    pub said: String,
}

/// What becomes of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It stays.
    Kept,
    /// It was to go, and stays after all.
    Returned,
    /// It is announced that it goes.
    Announced,
    /// It waits for the time when it can be deleted.
    Waiting,
    /// It was deleted, or would be.
    Deleted,
    /// It is to go, and nothing was done about it, as the errors of its store say.
    NotDone,
    /// Its deletion did not come to its end; the next run goes on with it.
    Unfinished,
}

impl Fate {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Kept => "kept",
            Fate::Returned => "returned",
            Fate::Announced => "announced",
            Fate::Waiting => "waiting",
            Fate::Deleted => "deleted",
            Fate::NotDone => "not done",
            Fate::Unfinished => "unfinished",
        }
    }
}

impl Report {
    pub(super) fn new(dry_run: bool) -> Self {
        Report {
            dry_run,
            stores: Vec::new(),
            machines: Vec::new(),
        }
    }

    /// What went wrong.
    pub fn errors(&self) -> impl Iterator<Item = &Error> {
        let stores = self.stores.iter().flat_map(|store| &store.errors);
        stores.chain(
            self.machines
                .iter()
                .filter_map(|machine| machine.error.as_ref()),
        )
    }

    /// Returns the exit code: done, or partial where a store went wrong; the code of the error if
    /// nothing was done in any.
    pub fn exit(&self) -> Exit {
        let Some(first) = self.errors().next() else {
            return Exit::Done;
        };
        let mut whole = self.stores.iter();
        let any = whole.any(|store| store.errors.is_empty() && !store.points.is_empty());
        match any || self.count(Fate::Deleted) > 0 {
            true => Exit::Partial,
            false => first.code.exit(),
        }
    }

    /// Number of points with this fate, in all stores.
    pub fn count(&self, fate: Fate) -> usize {
        let points = self.stores.iter().flat_map(|store| &store.points);
        points.filter(|point| point.fate == fate).count()
    }

    /// Bytes of the objects that were deleted in all stores.
    pub fn freed_bytes(&self) -> u64 {
        self.stores.iter().map(|store| store.freed_bytes).sum()
    }
}

impl StorePruned {
    pub(super) fn new(store: &Name) -> Self {
        StorePruned {
            store: store.clone(),
            elsewhere: false,
            points: Vec::new(),
            others: 0,
            freed_bytes: 0,
            snapshots: 0,
            left: Vec::new(),
            locks: 0,
            errors: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    /// Lists what was decided. Unless it is only to be shown, nothing of it is done yet.
    pub(super) fn list(&mut self, judged: &[Judged<'_>], only_shown: bool) {
        for judged in judged {
            let decided = judged.held.iter().zip(&judged.decisions);
            for ((held, decision), copy) in decided.zip(&judged.copies) {
                let (mut reasons, mut why, mut hold, mut until) = (Vec::new(), None, None, None);
                let fate = match decision {
                    Decision::Keep(kept) => {
                        reasons.clone_from(kept);
                        match held.leaving {
                            Some(_) => Fate::Returned,
                            None => Fate::Kept,
                        }
                    }
                    Decision::Delete(reason) => {
                        why = Some(*reason);
                        match (only_shown, held.leaving) {
                            (false, _) => Fate::NotDone,
                            (true, Some(_)) => Fate::Deleted,
                            (true, None) => Fate::Announced,
                        }
                    }
                    Decision::Wait {
                        until: at,
                        hold: what,
                        why: reason,
                    } => {
                        (why, hold, until) = (Some(*reason), Some(*what), *at);
                        Fate::Waiting
                    }
                };
                self.places.insert(held.point.clone(), self.points.len());
                self.points.push(PrunedPoint {
                    point: held.point.clone(),
                    plan: judged.plan.clone(),
                    fate,
                    reasons,
                    why,
                    hold,
                    until,
                    bytes: copy.manifest.stored_bytes(),
                    said: decision.to_string(),
                });
            }
        }
    }

    /// Notes that nothing is done of what was decided.
    pub(super) fn nothing_done(&mut self) {
        for point in &mut self.points {
            if matches!(point.fate, Fate::Announced | Fate::Deleted) {
                point.fate = Fate::NotDone;
            }
        }
    }

    /// Notes that something else became of a point than was decided.
    pub(super) fn set(&mut self, point: &PointId, fate: Fate) {
        let place = self.places.get(point).copied();
        if let Some(found) = place.and_then(|place| self.points.get_mut(place)) {
            found.fate = fate;
        }
    }
}
