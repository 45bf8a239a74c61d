//! Copies that a store missed, and when they are given to it. Pure.

use super::due::{BUSY_SECONDS, Basis, Due, later, usual_job};
use super::facts::{Facts, Point};
use crate::history::{JobKind, JobOutcome};
use crate::name::Name;
use jiff::Timestamp;

/// Time between two attempts to heal a store, doubled with each failure.
const HEAL_SECONDS_MIN: i64 = 300;
const HEAL_SECONDS_MAX: i64 = 6 * 3600;
/// Time after which copies that healing left out are tried again.
const HEAL_AGAIN_SECONDS: i64 = 86_400;

/// Stores that missed copies.
pub(super) fn heals(basis: &Basis<'_>) -> Vec<(Timestamp, Due)> {
    let facts = basis.facts;
    let mut turns = Vec::new();
    let stores = facts.stores.iter().filter(|_| facts.heal);
    for store in stores.filter(|store| store.error.is_none()) {
        let lacked = lacked(facts, &store.name);
        if lacked.is_empty() {
            continue;
        }
        let due = Due {
            kind: JobKind::Copy,
            subject: store.name.clone(),
            slot: None,
            attempt: 1,
            reason: match lacked.len() {
                1 => "the store lacks a point".to_owned(),
                count => format!("the store lacks {count} points"),
            },
            points: lacked.iter().map(|point| point.id.clone()).collect(),
            usual: usual_job(facts, JobKind::Copy, &store.name),
        };
        turns.push((next_heal(basis, &store.name, &lacked), due));
    }
    turns
}

/// The points that a store missed and another one that answers can give. A copy that the store held
/// once is not given to it again: somebody took it away.
fn lacked<'a>(facts: &'a Facts, store: &Name) -> Vec<&'a Point> {
    let answers = |name: &Name| {
        let mut stores = facts.stores.iter();
        stores.any(|store| store.name == *name && store.error.is_none())
    };
    let missed = facts.points.iter().filter(|point| {
        point.counts && point.missed.contains(store) && point.stores.iter().any(answers)
    });
    missed.collect()
}

fn next_heal(basis: &Basis<'_>, store: &Name, lacked: &[&Point]) -> Timestamp {
    let now = basis.facts.now;
    let jobs = || basis.jobs(JobKind::Copy, store).rev();
    let in_vain = jobs()
        .find(|job| job.outcome.is_some())
        .filter(|job| matches!(job.outcome, Some(JobOutcome::Busy | JobOutcome::NotDue)));
    let earliest = in_vain.map_or(now, |job| later(basis.end_of(job), BUSY_SECONDS));
    let ended = || jobs().filter(|job| job.outcome.is_some_and(|outcome| !outcome.is_void()));
    let Some(last) = ended().next() else {
        return earliest;
    };
    let failures = ended()
        .take_while(|job| job.outcome != Some(JobOutcome::Done))
        .count();
    let wait = match failures {
        // Copies that came since are new.
        0 if lacked.iter().any(|point| point.finished > last.started) => BUSY_SECONDS,
        0 => HEAL_AGAIN_SECONDS,
        failures => {
            let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(20);
            HEAL_SECONDS_MAX.min(HEAL_SECONDS_MIN << doublings)
        }
    };
    earliest.max(later(basis.end_of(last), wait))
}
