//! How long nothing was captured of a plan. Pure.

use super::facts::Facts;
use crate::history::{JobKind, JobOutcome};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;

/// A time in which no complete point of a plan was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// When the last point before it was begun, or where it was looked first.
    pub from: Timestamp,
    /// When the next point was begun, or where it was looked last.
    pub until: Timestamp,
    /// Its length in seconds.
    pub seconds: u64,
}

/// The longest time between `from` and `until` in which no complete point of a plan was begun, as
/// far as points, runs that found nothing new, and jobs show it. Points that the rules deleted are
/// known by their jobs alone. Nothing is told of the time before the plan had its first point.
pub fn longest_silence(
    facts: &Facts,
    plan: &str,
    from: Timestamp,
    until: Timestamp,
) -> Option<Silence> {
    let points = facts.points.iter().filter(|p| p.counts && p.plan == *plan);
    let checks = facts.checks.iter().filter(|check| check.plan == *plan);
    let jobs = facts.jobs.iter().filter(|job| {
        let is_done = job.outcome == Some(JobOutcome::Done) && job.kind == JobKind::Backup;
        is_done && job.subject == *plan
    });
    let begun: BTreeSet<Timestamp> = points
        .map(|point| point.started)
        .chain(checks.map(|check| check.at))
        .chain(jobs.map(|job| job.started))
        .collect();
    let first = *begun.first()?;
    let start = from.max(first);
    if start >= until {
        return None;
    }
    let within = begun.iter().copied();
    let within = within.filter(|at| *at > start && *at < until);
    let mut last = start;
    let mut longest: Option<Silence> = None;
    for at in within.chain([until]) {
        let seconds = u64::try_from(at.as_second() - last.as_second()).unwrap_or(0);
        if longest.as_ref().is_none_or(|known| known.seconds < seconds) {
            longest = Some(Silence {
                from: last,
                until: at,
                seconds,
            });
        }
        last = at;
    }
    longest
}
