//! When the points of a plan are pruned: after each successful backup, at most daily. Pure.

use super::due::{BUSY_SECONDS, Basis, Due, later, usual_job};
use super::facts::{PlanFacts, Point};
use super::gap::{Backups, give_way};
use crate::config::When;
use crate::history::{Job, JobKind, JobOutcome};
use jiff::Timestamp;

/// Time between two prunes of a plan.
const PRUNE_SECONDS: i64 = 86_400;
/// Time after which one that failed is tried again, doubled with each failure.
const AGAIN_SECONDS_MIN: i64 = 3600;

/// The prunes of the plans that do not keep everything.
pub(super) fn prunes(basis: &Basis<'_>, backups: &Backups<'_>) -> Vec<(Timestamp, Due)> {
    let plans = basis.facts.plans.iter().filter(|plan| plan.prunes);
    let turns = plans.filter_map(|plan| {
        let at = next(basis, plan)?;
        let due = Due {
            kind: JobKind::Prune,
            subject: plan.name.clone(),
            slot: None,
            attempt: 1,
            reason: match plan.relocks {
                Some(_) => "a point was taken since the last time, or locks are to be extended",
                None => "a point was taken since the last time",
            }
            .to_owned(),
            points: Vec::new(),
            usual: usual_job(basis.facts, JobKind::Prune, &plan.name),
        };
        // Its own time comes with each backup: it has no schedule to be done by.
        let when = When {
            not_during: plan.when.not_during.clone(),
            ..When::default()
        };
        Some(give_way(basis, backups, &when, (at, due)))
    });
    turns.collect()
}

fn next(basis: &Basis<'_>, plan: &PlanFacts) -> Option<Timestamp> {
    let facts = basis.facts;
    let of_plan = || {
        let points = facts.points.iter();
        points.filter(|point| point.counts && point.plan == plan.name)
    };
    let newest = of_plan().next_back()?;
    let jobs = || basis.jobs(JobKind::Prune, &plan.name).rev();
    let ended = || jobs().filter(|job| job.outcome.is_some_and(|outcome| !outcome.is_void()));
    let in_vain = jobs().find(|job| job.outcome.is_some());
    let in_vain = in_vain.filter(|job| job.outcome.is_some_and(JobOutcome::is_void));
    let earliest = in_vain.map_or(newest.finished, |job| {
        later(basis.end_of(job), BUSY_SECONDS)
    });
    let Some(last) = ended().next() else {
        return is_first_to_know(basis, newest, of_plan()).then_some(earliest);
    };
    let is_done = |job: &&Job| job.outcome == Some(JobOutcome::Done);
    let failures = ended().take_while(|job| !is_done(job)).count();
    let next = match failures {
        0 if newest.finished <= last.started => later(last.started, relocks(plan)?),
        0 => later(last.started, PRUNE_SECONDS),
        failures => {
            let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(20);
            let wait = PRUNE_SECONDS.min(AGAIN_SECONDS_MIN << doublings);
            later(basis.end_of(last), wait)
        }
    };
    Some(earliest.max(next))
}

/// Time in seconds after which a plan is pruned without a new point; `None` if it is not.
fn relocks(plan: &PlanFacts) -> Option<i64> {
    let seconds = i64::try_from(plan.relocks?.seconds).unwrap_or(i64::MAX);
    Some(seconds.max(PRUNE_SECONDS))
}

/// Where no history remembers a prune: true if one does reach back, or if this run took the first
/// point of the day. So a runner that is thrown away after each run prunes once a day.
fn is_first_to_know<'a>(
    basis: &Basis<'_>,
    newest: &Point,
    mut of_plan: impl Iterator<Item = &'a Point>,
) -> bool {
    let mut jobs = basis.facts.jobs.iter();
    if jobs.any(|job| job.created < newest.started) {
        return true;
    }
    let day = |at: Timestamp| at.as_second().div_euclid(86_400);
    let today = day(newest.id.time());
    let is_first = !of_plan.any(|point| point.id < newest.id && day(point.id.time()) == today);
    let mut jobs = basis.facts.jobs.iter();
    is_first && jobs.any(|job| job.point.as_ref() == Some(&newest.id))
}
