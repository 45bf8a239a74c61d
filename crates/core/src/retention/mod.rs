//! What is kept of a plan's points in one store, and what may go. Pure.
//!
//! Guarantees: the newest complete point, the newest proven one of each drill and pinned points
//! stay, whatever the rules; a point that lacks something or failed a drill never takes the place of
//! a sound one; spans reach back from the newest complete point, so that a silence deletes nothing.
//! It does not know who reads a point now: that is what the grace period is for.

mod policy;
mod reason;
mod simulate;

pub use reason::{Decision, Hold, Reason, Why};
pub use simulate::simulate;

use crate::config::KeepRules;
use crate::expect::Percent;
use crate::point::PointId;
use crate::span::Span;
use jiff::Timestamp;
use lifeboat_store::Lock;
use policy::Rule;

/// What is kept of a plan in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The rules about periods and numbers; `None` keeps everything.
    pub rules: Option<KeepRules>,
    /// How long a point stays that was taken for a reason.
    pub manual: Span,
    /// How long a point stays that was taken before a live restore.
    pub safety: Span,
    /// Number of the newest sound points that always stay.
    pub minimum: u32,
    /// Time between the announcement that a point goes and its deletion.
    pub grace: Span,
}

impl Rules {
    /// When a copy may be deleted that was announced at a time.
    pub fn leaves(&self, since: Timestamp) -> Timestamp {
        self.grace.after(since)
    }
}

/// A copy of a point in the store, and what is known of the point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The point.
    pub point: PointId,
    /// True if everything of its plan is in it, and no newer record of evidence says that it does not
    /// come back.
    pub sound: bool,
    /// True if it was taken before a live restore.
    pub safety: bool,
    /// True if it was taken for a reason that somebody gave.
    pub manual: bool,
    /// Why it stays, whatever the rules.
    pub always: Vec<Reason>,
    /// What the store itself forbids.
    pub lock: Option<Lock>,
    /// When it was announced that it goes.
    pub leaving: Option<Timestamp>,
}

/// Decides about each point, in the order given. `now` decides only whether a grace period or a lock
/// is over; nothing is deleted because time passed without points.
pub fn decide(points: &[Held], rules: &Rules, now: Timestamp) -> Vec<Decision> {
    let Some(periods) = &rules.rules else {
        let keep = |held: &Held| {
            let mut reasons = held.always.clone();
            reasons.push(Reason::Forever);
            Decision::Keep(reasons)
        };
        return points.iter().map(keep).collect();
    };
    let sound = |held: &&Held| held.sound && !held.safety;
    let newest_sound = points.iter().filter(sound).map(|held| &held.point).max();
    let newest = newest_sound.or_else(|| points.iter().map(|held| &held.point).max());
    let newest = newest.map_or(now, PointId::time);
    let by_rule = policy::reasons(&Rule::all(periods), points, newest);
    let minimum = newest_of(points, rules.minimum);
    let decided = points.iter().zip(by_rule).zip(minimum);
    let decided = decided.map(|((held, by_rule), in_minimum)| {
        let mut reasons = held.always.clone();
        if newest_sound == Some(&held.point) {
            reasons.push(Reason::NewestComplete);
        }
        let outside = match (held.safety, held.manual) {
            (true, _) => Some((rules.safety, Reason::Safety as fn(Timestamp) -> Reason)),
            (false, true) => Some((rules.manual, Reason::Manual as fn(Timestamp) -> Reason)),
            (false, false) => None,
        };
        let end = outside.map(|(span, reason)| (span.after(held.point.time()), reason));
        match end {
            Some((end, reason)) if newest < end => reasons.push(reason(end)),
            Some(_) => {}
            None => reasons.extend(by_rule.into_iter().map(Reason::Rule)),
        }
        // The newest complete point stays anyway.
        if in_minimum && rules.minimum > 1 {
            reasons.push(Reason::Minimum(rules.minimum));
        }
        match reasons.is_empty() {
            false => Decision::Keep(reasons),
            true => gone(held, why(held), rules, now),
        }
    });
    decided.collect()
}

/// Marks the newest sound points, so many of them.
fn newest_of(points: &[Held], count: u32) -> Vec<bool> {
    let sound = points.iter().filter(|held| held.sound && !held.safety);
    let mut sound: Vec<&PointId> = sound.map(|held| &held.point).collect();
    sound.sort_unstable();
    sound.dedup();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let oldest = sound.iter().rev().take(count).next_back().copied();
    let is_in = |held: &Held| {
        let new = oldest.is_some_and(|oldest| held.point >= *oldest);
        new && held.sound && !held.safety
    };
    points.iter().map(is_in).collect()
}

fn why(held: &Held) -> Why {
    match (held.safety, held.manual, held.sound) {
        (true, ..) => Why::SafetyOver,
        (false, true, _) => Why::ManualOver,
        (false, false, true) => Why::NoRule,
        (false, false, false) => Why::Unsound,
    }
}

/// What becomes of a point that nothing keeps: it goes at once only where it was announced long
/// enough ago, and nothing locks it.
fn gone(held: &Held, why: Why, rules: &Rules, now: Timestamp) -> Decision {
    let locked = match held.lock {
        Some(Lock::Held) => {
            let hold = Hold::Held;
            return Decision::Wait {
                until: None,
                hold,
                why,
            };
        }
        Some(Lock::Until(until)) if until > now => Some((until, Hold::Locked)),
        Some(Lock::Until(_)) | None => None,
    };
    let grace = held.leaving.map(|since| rules.leaves(since));
    let grace = grace.filter(|until| *until > now);
    let waits = locked.into_iter();
    let waits = waits.chain(grace.map(|until| (until, Hold::Grace)));
    match waits.max_by_key(|(until, _)| *until) {
        Some((until, hold)) => Decision::Wait {
            until: Some(until),
            hold,
            why,
        },
        None => Decision::Delete(why),
    }
}

/// The points that are to be announced, where they are more than `limit` allows; `None` as long as
/// there are few points, or few of them go.
pub fn excess(points: &[Held], decisions: &[Decision], limit: Percent) -> Option<Excess> {
    let going = points.iter().zip(decisions).filter(|(held, decision)| {
        held.leaving.is_none() && matches!(decision, Decision::Delete(_))
    });
    let (going, of) = (going.count(), points.len());
    let allowed = limit.allows((of - going) as u64, of as u64);
    (of >= LIMIT_FROM_POINTS && !allowed).then_some(Excess { going, of })
}

/// Number of points in a store from which the limit holds.
pub const LIMIT_FROM_POINTS: usize = 10;

/// More points are to go than a limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// The points that are to go.
    pub going: usize,
    /// All points of the plan in the store.
    pub of: usize,
}

#[cfg(test)]
pub(crate) mod tests;
