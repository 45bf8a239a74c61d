//! What fails: the last job here that was not successful, unless something successful followed. Pure.

use super::due::Agenda;
use super::facts::Facts;
use super::judge::LastJob;
use crate::history::{Job, JobKind, JobOutcome};
use crate::name::Name;
use jiff::Timestamp;

/// Time for which a run that tries something again is waited for.
const AGAIN_SECONDS_MAX: i64 = 3600;

/// The jobs about a subject that ended and did something, the newest first.
fn whole_jobs<'a>(
    facts: &'a Facts,
    kind: JobKind,
    subject: &'a Name,
) -> impl Iterator<Item = &'a Job> {
    facts.jobs.iter().rev().filter(move |job| {
        let whole = job.outcome.is_some_and(|outcome| !outcome.is_void());
        whole && job.kind == kind && job.subject == *subject
    })
}

/// The last job of this host about a subject, if it was not successful and nothing successful
/// followed. `successes` are the times of what was successful, on whatever host.
pub(super) fn failing(
    facts: &Facts,
    agenda: &Agenda,
    kind: JobKind,
    subject: &Name,
    successes: &mut dyn Iterator<Item = Timestamp>,
) -> Option<LastJob> {
    let last: &Job = whole_jobs(facts, kind, subject).next()?;
    let (outcome, at) = (last.outcome?, last.finished?);
    if outcome == JobOutcome::Done {
        return None;
    }
    let ahead = dated_ahead(facts, last);
    let follows = |time: Timestamp| !ahead.iter().any(|job| spans(job, time));
    let success = successes
        .filter(|time| *time <= last.started || follows(*time))
        .max();
    // It was partial for want of copies that were made since.
    let healed = facts.points.iter().any(|point| {
        let is_whole = point.counts && point.missed.is_empty() && point.lost.is_empty();
        outcome == JobOutcome::Partial && is_whole && last.point.as_ref() == Some(&point.id)
    });
    let failed = !healed && !is_followed(facts, last, success, &follows);
    failed.then(|| LastJob {
        job: last.id.clone(),
        outcome,
        at,
        message: last.message.clone(),
        retry: agenda
            .retry(kind, subject, facts.now)
            .or_else(|| tried_now(facts, last)),
        before: failed_before(facts, last, success, &follows),
    })
}

/// Returns whether something successful came after a job, of which `success` is the newest.
fn is_followed(
    facts: &Facts,
    job: &Job,
    success: Option<Timestamp>,
    follows: &dyn Fn(Timestamp) -> bool,
) -> bool {
    // The end of a job that was interrupted is noted later, by the next run.
    let since = match job.outcome {
        Some(JobOutcome::Interrupted) => job.started,
        _ => job.finished.unwrap_or(job.started),
    };
    // What another host completed meanwhile is as new as what this run was to make.
    let elsewhere = facts.points.iter().any(|point| {
        let is_other = job.point.as_ref() != Some(&point.id) && point.finished > job.started;
        let counts = job.kind == JobKind::Backup && point.counts && point.plan == job.subject;
        counts && is_other && follows(point.finished)
    });
    elsewhere || success.is_some_and(|success| success > since)
}

/// The jobs of the same work that were begun before a job here, and are dated after it: a clock was
/// ahead then. What they made follows on nothing that this job did, not even once its time has come.
fn dated_ahead<'f>(facts: &'f Facts, last: &Job) -> Vec<&'f Job> {
    let before = facts.jobs.iter().take_while(|job| job.id != last.id);
    let ahead = before.filter(|job| {
        let same = job.kind == last.kind && job.subject == last.subject && job.host == last.host;
        same && job.started > last.started
    });
    ahead.collect()
}

/// Returns whether a time lies within a job.
fn spans(job: &Job, time: Timestamp) -> bool {
    (job.started..=job.finished.unwrap_or(job.started)).contains(&time)
}

/// How the time of the schedule before was left undone, or done in part: a run makes up for nothing
/// that it lacked itself. `None` if it was done.
fn failed_before(
    facts: &Facts,
    last: &Job,
    success: Option<Timestamp>,
    follows: &dyn Fn(Timestamp) -> bool,
) -> Option<JobOutcome> {
    let mut since = whole_jobs(facts, last.kind, &last.subject).take_while(|job| {
        let followed = is_followed(facts, job, success, follows);
        let decided = matches!(job.outcome, Some(JobOutcome::Done | JobOutcome::NotProved));
        !decided && !followed
    });
    since.find(|job| job.slot != last.slot)?.outcome
}

/// When the run was begun that tries again now what this job left undone; `None` if it takes
/// unusually long, so that nobody should wait for it.
fn tried_now(facts: &Facts, last: &Job) -> Option<Timestamp> {
    let mut running = facts.jobs.iter().filter(|job| job.outcome.is_none());
    let own = running.find(|job| {
        let same = job.kind == last.kind && job.subject == last.subject;
        same && job.attempt > 1 && job.slot == last.slot
    })?;
    let lasts = facts
        .now
        .as_second()
        .saturating_sub(own.started.as_second());
    (lasts <= AGAIN_SECONDS_MAX).then_some(own.started)
}
