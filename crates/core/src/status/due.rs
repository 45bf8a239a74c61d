//! What is due, and when something will be. Pure.

use super::facts::{Facts, PlanFacts, Point};
use super::median;
use crate::clock::{AHEAD_SECONDS_MAX, is_ahead};
use crate::config::When;
use crate::digest::sha256_hex;
use crate::evidence::Verdict;
use crate::history::{Job, JobKind, JobOutcome};
use crate::name::Name;
use crate::point::{Outcome, PointId};
use crate::schedule::Schedule;
use crate::window;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Time after which something is tried again that another run was at work on.
const BUSY_SECONDS: i64 = 60;
/// Time between two attempts to heal a store, doubled with each failure.
const HEAL_SECONDS_MIN: i64 = 300;
const HEAL_SECONDS_MAX: i64 = 6 * 3600;
/// Time after which copies that healing left out are tried again.
const HEAL_AGAIN_SECONDS: i64 = 86_400;
/// Newest runs from which the usual duration is taken.
const USUAL_OF: usize = 10;

/// What a runner keeps to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// Waits out the spread of each schedule.
    pub spread: bool,
}

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// What is to be done.
    pub kind: JobKind,
    /// The plan, drill, verification or store.
    pub subject: Name,
    /// The time in the schedule; absent for healing.
    pub slot: Option<Timestamp>,
    /// The how-manieth run for it, from 1.
    pub attempt: u32,
    /// Why it is due.
    pub reason: String,
    /// For healing, the points to copy.
    pub points: Vec<PointId>,
    /// Its usual duration in seconds, where it is known.
    pub usual: Option<u64>,
}

/// What is due, and when it is worth looking again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agenda {
    /// What is due now, in the order in which it is to be begun.
    pub now: Vec<Due>,
    /// What becomes due later, with the time; the earliest first.
    pub later: Vec<(Timestamp, Due)>,
}

impl Agenda {
    /// The earliest time at which something that is not due now may be.
    pub fn next(&self) -> Option<Timestamp> {
        self.later.first().map(|(at, _)| *at)
    }

    /// When this is due: now, or the time later.
    pub fn when(&self, kind: JobKind, subject: &str, now: Timestamp) -> Option<Timestamp> {
        let is = |due: &&Due| due.kind == kind && due.subject == subject;
        let due_now = self.now.iter().find(is).map(|_| now);
        due_now.or_else(|| {
            let mut later = self.later.iter();
            later.find(|(_, due)| is(&due)).map(|(at, _)| *at)
        })
    }
}

/// Computes what is due.
pub fn agenda(facts: &Facts, terms: Terms) -> Agenda {
    let mut turns: Vec<(Timestamp, Due)> = Vec::new();
    turns.extend(
        facts
            .plans
            .iter()
            .filter_map(|plan| backup(facts, terms, plan)),
    );
    let backups: Vec<(Timestamp, Due)> = turns.clone();
    turns.extend(drills(facts, terms, &backups));
    turns.extend(verifications(facts, terms, &backups));
    turns.extend(heals(facts));
    turns.retain(|(_, due)| !is_running(facts, due.kind, &due.subject));
    turns.sort_by(|(at, a), (bt, b)| {
        (at, a.kind, a.slot, &a.subject).cmp(&(bt, b.kind, b.slot, &b.subject))
    });
    let (mut now, later): (Vec<_>, Vec<_>) =
        turns.into_iter().partition(|(at, _)| *at <= facts.now);
    now.sort_by(|(_, a), (_, b)| (a.kind, a.slot, &a.subject).cmp(&(b.kind, b.slot, &b.subject)));
    Agenda {
        now: now.into_iter().map(|(_, due)| due).collect(),
        later,
    }
}

fn is_running(facts: &Facts, kind: JobKind, subject: &Name) -> bool {
    let mut jobs = facts.jobs.iter();
    jobs.any(|job| job.outcome.is_none() && job.kind == kind && job.subject == *subject)
}

/// The delay of a subject within the spread of its schedule: always the same for one name.
fn delay(facts: &Facts, terms: Terms, when: &When, kind: JobKind, subject: &str) -> i64 {
    let Some(spread) = when.spread.filter(|_| terms.spread) else {
        return 0;
    };
    let text = format!(
        "{}/{}/{}/{subject}",
        facts.app,
        facts.environment,
        kind.as_str()
    );
    let digits: String = sha256_hex(text.as_bytes()).chars().take(15).collect();
    let number = u64::from_str_radix(&digits, 16).unwrap_or(0);
    let delay = number % spread.seconds.saturating_add(1);
    i64::try_from(delay).unwrap_or(0)
}

/// A time of a schedule, what is known of it, and the next one.
struct Slot<'a> {
    facts: &'a Facts,
    when: &'a When,
    kind: JobKind,
    subject: &'a Name,
    /// The last time of the schedule.
    last: Timestamp,
    /// When the last one could begin at the earliest.
    begin: Timestamp,
    /// When the next one can begin at the earliest, with that time of the schedule.
    next: Option<(Timestamp, Timestamp)>,
}

impl<'a> Slot<'a> {
    fn find(
        facts: &'a Facts,
        terms: Terms,
        when: &'a When,
        kind: JobKind,
        subject: &'a Name,
    ) -> Option<Self> {
        let schedule: Schedule = when.schedule()?;
        let delay = delay(facts, terms, when, kind, subject);
        let last = schedule.last_until(later(facts.now, -delay))?;
        let next = schedule.next_after(last);
        Some(Slot {
            facts,
            when,
            kind,
            subject,
            last,
            begin: later(last, delay),
            next: next.map(|next| (later(next, delay), next)),
        })
    }

    /// The jobs for the last time of the schedule.
    fn jobs(&self) -> impl Iterator<Item = &'a Job> {
        let (kind, subject, last) = (self.kind, self.subject, self.last);
        let jobs = self.facts.jobs.iter();
        jobs.filter(move |job| {
            job.kind == kind && job.subject == *subject && job.slot == Some(last)
        })
    }

    /// The turn: when it may begin, and what for. `failed` runs for the last time of the schedule
    /// are known.
    fn turn(
        &self,
        done: bool,
        failed: u32,
        reason: &str,
        usual: Option<u64>,
    ) -> Option<(Timestamp, Due)> {
        let due = |slot, attempt, reason: String| Due {
            kind: self.kind,
            subject: self.subject.clone(),
            slot: Some(slot),
            attempt,
            reason,
            points: Vec::new(),
            usual,
        };
        let free = |at| window::free_from(&self.when.not_during, at);
        if done || failed >= self.when.retry.attempts {
            let (begin, slot) = self.next?;
            let reason = format!("scheduled for {slot}");
            return Some((free(begin)?, due(slot, 1, reason)));
        }
        let mut at = self.begin.max(self.facts.now);
        let mut why = reason.to_owned();
        if failed > 0 {
            at = at.max(self.again(failed));
            why = format!("attempt {} for {}", failed + 1, self.last);
        }
        if let Some(busy) = self
            .jobs()
            .filter(|job| job.outcome == Some(JobOutcome::Busy))
            .last()
        {
            at = at.max(later(busy.finished.unwrap_or(busy.started), BUSY_SECONDS));
        }
        Some((free(at)?, due(self.last, failed + 1, why)))
    }

    /// The time of the next attempt after so many that failed.
    fn again(&self, failed: u32) -> Timestamp {
        let ended = |job: &&Job| job.outcome.is_some_and(JobOutcome::is_failure);
        let Some(newest) = self.jobs().filter(ended).last() else {
            return self.facts.now;
        };
        // A run that was killed says nothing against another one.
        if newest.outcome == Some(JobOutcome::Interrupted) {
            return self.facts.now;
        }
        let wait = i64::try_from(self.when.retry.wait.seconds).unwrap_or(i64::MAX);
        let wait = wait.saturating_mul(1_i64 << (failed - 1).min(20));
        later(newest.finished.unwrap_or(newest.started), wait)
    }

    /// Number of failed jobs for the last time of the schedule.
    fn failures(&self) -> u32 {
        let failed = self
            .jobs()
            .filter(|job| job.outcome.is_some_and(JobOutcome::is_failure));
        u32::try_from(failed.count()).unwrap_or(u32::MAX)
    }
}

fn later(time: Timestamp, seconds: i64) -> Timestamp {
    let second = time.as_second().saturating_add(seconds);
    Timestamp::from_second(second).unwrap_or(time)
}

fn backup(facts: &Facts, terms: Terms, plan: &PlanFacts) -> Option<(Timestamp, Due)> {
    let slot = Slot::find(facts, terms, &plan.when, JobKind::Backup, &plan.name)?;
    let set_aside = before_jump(facts, &plan.name);
    let of_plan = || facts.points.iter().filter(|point| point.plan == plan.name);
    let done = of_plan().any(|point| {
        point.counts && point.id.time() >= slot.last && !set_aside.contains(&point.id)
    });
    let noted: BTreeSet<&PointId> = slot.jobs().filter_map(|job| job.point.as_ref()).collect();
    // Attempts of another host, or of one whose history is gone.
    let elsewhere = of_plan().filter(|point| {
        let fell_short = point.outcome != Outcome::Complete;
        fell_short && point.slot == Some(slot.last) && !noted.contains(&point.id)
    });
    let failed = slot.failures().saturating_add(count(elsewhere));
    let reason = match of_plan().any(|point| point.counts) {
        true => format!("scheduled for {}", slot.last),
        false => "it never ran".to_owned(),
    };
    slot.turn(done, failed, &reason, usual_backup(of_plan()))
}

/// Points that this host took before its clock was set back. They do not show that a time of the
/// schedule was kept, for it comes a second time.
fn before_jump<'a>(facts: &'a Facts, plan: &Name) -> BTreeSet<&'a PointId> {
    let jobs: Vec<&Job> = facts
        .jobs
        .iter()
        .filter(|job| job.kind == JobKind::Backup && job.subject == *plan)
        .collect();
    let jump = jobs
        .iter()
        .rposition(|job| is_ahead(job.started, facts.now));
    let before = jobs.iter().take(jump.map_or(0, |place| place + 1));
    before.filter_map(|job| job.point.as_ref()).collect()
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

pub(super) fn usual_backup<'a>(points: impl Iterator<Item = &'a Point>) -> Option<u64> {
    let durations = points.filter(|point| point.counts).map(|point| {
        let seconds = point.finished.as_second() - point.started.as_second();
        u64::try_from(seconds).unwrap_or(0)
    });
    usual(durations)
}

/// The median of the last durations.
fn usual(durations: impl Iterator<Item = u64>) -> Option<u64> {
    let all: Vec<u64> = durations.collect();
    median(all.into_iter().rev().take(USUAL_OF).collect())
}

fn usual_job(facts: &Facts, kind: JobKind, subject: &Name) -> Option<u64> {
    let jobs = facts.jobs.iter();
    let ended = jobs.filter(|job| {
        let whole = matches!(job.outcome, Some(JobOutcome::Done | JobOutcome::NotProved));
        whole && job.kind == kind && job.subject == *subject
    });
    usual(ended.filter_map(Job::seconds))
}

/// Puts something off that would still run when the next backup is due, unless it would find no gap
/// at all that is long enough: then it runs beside.
fn give_way(
    facts: &Facts,
    backups: &[(Timestamp, Due)],
    (at, due): (Timestamp, Due),
) -> (Timestamp, Due) {
    let begin = at.max(facts.now);
    let usual = i64::try_from(due.usual.unwrap_or(0)).unwrap_or(i64::MAX);
    let next = backups.iter().filter(|(time, _)| *time > begin);
    let Some((next, backup)) = next.min_by_key(|(time, _)| *time) else {
        return (at, due);
    };
    let gap = facts
        .plans
        .iter()
        .find(|plan| plan.name == backup.subject)
        .and_then(|plan| plan.when.schedule())
        .map_or(0, |schedule| {
            i64::try_from(schedule.gap_max().seconds).unwrap_or(i64::MAX)
        });
    let length = i64::try_from(backup.usual.unwrap_or(0)).unwrap_or(0);
    let fits_before = later(begin, usual) <= *next;
    let fits_in_a_gap = usual.saturating_add(length) < gap;
    match !fits_before && fits_in_a_gap {
        true => (later(*next, length + 1), due),
        false => (at, due),
    }
}

fn drills(facts: &Facts, terms: Terms, backups: &[(Timestamp, Due)]) -> Vec<(Timestamp, Due)> {
    let mut turns = Vec::new();
    for drill in &facts.drills {
        let has_point = |plan: &Name| facts.points.iter().any(|p| p.plan == *plan && p.counts);
        let Some(slot) = Slot::find(facts, terms, &drill.when, JobKind::Drill, &drill.name) else {
            continue;
        };
        // Before there is a point, there is nothing to rehearse.
        if !drill.plans.iter().all(has_point) {
            continue;
        }
        let of_drill = || {
            let records = facts.records.iter();
            records.filter(|record| record.drill.as_ref() == Some(&drill.name))
        };
        let since = || of_drill().filter(|record| record.finished >= slot.last);
        let done = since().any(|record| decides(record.outcome));
        let undecided = count(since().filter(|record| record.outcome == Verdict::Unverifiable));
        let failed = slot.failures().max(undecided);
        let reason = match of_drill().any(|record| decides(record.outcome)) {
            true => format!("scheduled for {}", slot.last),
            false => "it never ran".to_owned(),
        };
        let durations = of_drill()
            .filter(|record| decides(record.outcome))
            .map(|record| {
                let seconds = record.finished.as_second() - record.started.as_second();
                u64::try_from(seconds).unwrap_or(0)
            });
        let turn = slot.turn(done, failed, &reason, usual(durations));
        turns.extend(turn.map(|turn| give_way(facts, backups, turn)));
    }
    turns
}

/// Returns whether a verdict says something about the points.
pub(super) fn decides(outcome: Verdict) -> bool {
    matches!(
        outcome,
        Verdict::Verified | Verdict::Restored | Verdict::Failed
    )
}

fn verifications(
    facts: &Facts,
    terms: Terms,
    backups: &[(Timestamp, Due)],
) -> Vec<(Timestamp, Due)> {
    let mut turns = Vec::new();
    let Some(newest) = facts.points.iter().rev().find(|point| point.counts) else {
        return turns;
    };
    for verify in &facts.verifications {
        let Some(slot) = Slot::find(facts, terms, &verify.when, JobKind::Verify, &verify.name)
        else {
            continue;
        };
        let own = || {
            let jobs = facts.jobs.iter();
            jobs.filter(|job| job.kind == JobKind::Verify && job.subject == verify.name)
        };
        let ahead = |job: &&Job| is_ahead(job.started, facts.now);
        let decided =
            |job: &Job| matches!(job.outcome, Some(JobOutcome::Done | JobOutcome::NotProved));
        // Where no history reaches back that far, a point that was taken since shows that a run was
        // here.
        let remembered =
            facts.jobs.iter().any(|job| job.created < slot.last) || own().next().is_some();
        let done = match remembered {
            true => own()
                .filter(|job| !ahead(job))
                .any(|job| decided(job) && job.started >= slot.last),
            false => newest.id.time() >= slot.last,
        };
        let reason = format!("scheduled for {}", slot.last);
        let usual = usual_job(facts, JobKind::Verify, &verify.name);
        let turn = slot.turn(done, slot.failures(), &reason, usual);
        turns.extend(turn.map(|turn| give_way(facts, backups, turn)));
    }
    turns
}

/// Stores that missed copies. A copy that a store held once is not given to it again: somebody took
/// it away. Nor are copies older than the oldest that it holds of the plan, which its owner may no
/// longer want there.
fn heals(facts: &Facts) -> Vec<(Timestamp, Due)> {
    if !facts.heal {
        return Vec::new();
    }
    let mut turns = Vec::new();
    for store in facts.stores.iter().filter(|store| store.error.is_none()) {
        let name = &store.name;
        let lacked: Vec<&Point> = facts
            .points
            .iter()
            .filter(|point| point.counts && point.missed.contains(name))
            .filter(|point| {
                let oldest = facts
                    .points
                    .iter()
                    .find(|p| p.plan == point.plan && p.stores.contains(name));
                oldest.is_none_or(|oldest| oldest.id < point.id)
            })
            .collect();
        let Some(newest) = lacked.last() else {
            continue;
        };
        let jobs: Vec<&Job> = facts
            .jobs
            .iter()
            .filter(|job| job.kind == JobKind::Copy && job.subject == *name)
            .filter(|job| job.started.as_second() - facts.now.as_second() <= AHEAD_SECONDS_MAX)
            .collect();
        let at = next_heal(facts, &jobs, newest);
        let count = lacked.len();
        turns.push((
            at,
            Due {
                kind: JobKind::Copy,
                subject: name.clone(),
                slot: None,
                attempt: 1,
                reason: match count {
                    1 => "the store lacks a point".to_owned(),
                    count => format!("the store lacks {count} points"),
                },
                points: lacked.into_iter().map(|point| point.id.clone()).collect(),
                usual: usual_job(facts, JobKind::Copy, name),
            },
        ));
    }
    turns
}

fn next_heal(facts: &Facts, jobs: &[&Job], newest: &Point) -> Timestamp {
    let Some((last, at)) = jobs.last().and_then(|job| Some((job, job.finished?))) else {
        return facts.now;
    };
    let failed = |job: &&&Job| job.outcome != Some(JobOutcome::Done);
    let failures = jobs.iter().rev().take_while(failed).count();
    let wait = match failures {
        // Copies that came since are new.
        0 if newest.id.time() > last.started => 0,
        0 => HEAL_AGAIN_SECONDS,
        failures => {
            let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(20);
            HEAL_SECONDS_MAX.min(HEAL_SECONDS_MIN << doublings)
        }
    };
    later(at, wait)
}
