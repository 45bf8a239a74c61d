//! What is due, and when something will be. Pure.

use super::facts::{Check, Facts, PlanFacts, Point};
use super::gap::{Backups, give_way};
use super::heal::heals;
use super::median;
use super::prunes::prunes;
use crate::clock::is_ahead;
use crate::config::When;
use crate::digest::sha256_hex;
use crate::evidence::Verdict;
use crate::history::{Job, JobKind, JobOutcome};
use crate::name::Name;
use crate::point::PointId;
use crate::window;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Time after which something is tried again that another run was at work on.
pub(super) const BUSY_SECONDS: i64 = 60;
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
    /// Number of the run for it, from 1.
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

    /// The time of the schedule for which this is due now.
    pub fn due_since(&self, kind: JobKind, subject: &str) -> Option<Timestamp> {
        let mut due = self.now.iter();
        due.find(|due| due.kind == kind && due.subject == subject)?
            .slot
    }

    /// When this is tried again for a time of the schedule for which it was tried before.
    pub fn retry(&self, kind: JobKind, subject: &str, now: Timestamp) -> Option<Timestamp> {
        let due_now = self.now.iter().map(|due| (now, due));
        let mut all = due_now.chain(self.later.iter().map(|(at, due)| (*at, due)));
        let retry =
            all.find(|(_, due)| due.attempt > 1 && due.kind == kind && due.subject == subject);
        retry.map(|(at, _)| at)
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
    let basis = Basis::new(facts, terms);
    let plans = facts.plans.iter();
    let mut turns: Vec<(Timestamp, Due)> = plans.filter_map(|plan| backup(&basis, plan)).collect();
    let backups = Backups::new(&basis, &turns);
    turns.extend(drills(&basis, &backups));
    turns.extend(verifications(&basis, &backups));
    turns.extend(heals(&basis));
    turns.extend(prunes(&basis, &backups));
    turns.extend(reports(&basis, &backups));
    turns.retain(|(_, due)| !is_running(facts, due.kind, &due.subject));
    turns.sort_by(|(at, a), (bt, b)| {
        (at, a.kind, a.slot, &a.subject).cmp(&(bt, b.kind, b.slot, &b.subject))
    });
    let (mut now, later): (Vec<_>, Vec<_>) =
        turns.into_iter().partition(|(at, _)| *at <= facts.now);
    // Whoever waits longest comes first: where there is more to do than time, none is left out.
    now.sort_by_cached_key(|(_, due)| {
        let begun = last_begun(facts, due.kind, &due.subject);
        (due.kind, begun, due.slot, due.subject.clone())
    });
    Agenda {
        now: now.into_iter().map(|(_, due)| due).collect(),
        later,
    }
}

/// When something of this subject was begun last, as far as is known here.
fn last_begun(facts: &Facts, kind: JobKind, subject: &Name) -> Option<Timestamp> {
    let of_subject = facts.jobs.iter().filter(|job| {
        let whole = job.outcome.is_none_or(|outcome| !outcome.is_void());
        whole && job.kind == kind && job.subject == *subject
    });
    let points = facts
        .points
        .iter()
        .filter(|point| kind == JobKind::Backup && point.plan == *subject && point.counts);
    let newest = points.map(|point| point.started).max();
    let checks = facts.checks.iter();
    let checks = checks.filter(|check| kind == JobKind::Backup && check.plan == *subject);
    let newest = newest.max(checks.map(|check| check.at).max());
    newest.max(of_subject.map(|job| job.started).max())
}

fn is_running(facts: &Facts, kind: JobKind, subject: &Name) -> bool {
    let mut jobs = facts.jobs.iter();
    jobs.any(|job| job.outcome.is_none() && job.kind == kind && job.subject == *subject)
}

/// What an agenda is computed from.
pub(super) struct Basis<'a> {
    pub(super) facts: &'a Facts,
    terms: Terms,
    /// The jobs that were begun since the clock of their host was set back, the oldest first.
    jobs: Vec<&'a Job>,
    /// The points of the jobs before. They do not show that a time of the schedule was kept, for it
    /// comes a second time.
    set_aside: BTreeSet<&'a PointId>,
    /// The jobs before.
    jobs_before: Vec<&'a Job>,
}

impl<'a> Basis<'a> {
    /// A clock was set back where a job began clearly after now, or after a later job of its host.
    fn new(facts: &'a Facts, terms: Terms) -> Self {
        let mut hosts: BTreeMap<&str, (Timestamp, bool)> = BTreeMap::new();
        let (mut jobs, mut jobs_before) = (Vec::new(), Vec::new());
        for job in facts.jobs.iter().rev() {
            let (earliest, was_set_back) = hosts.entry(&job.host).or_insert((facts.now, false));
            *was_set_back |= is_ahead(job.started, *earliest);
            *earliest = job.started.min(*earliest);
            match *was_set_back {
                true => jobs_before.push(job),
                false => jobs.push(job),
            }
        }
        jobs.reverse();
        Basis {
            facts,
            terms,
            jobs,
            set_aside: jobs_before
                .iter()
                .filter_map(|job| job.point.as_ref())
                .collect(),
            jobs_before,
        }
    }

    /// Returns whether a run is one before the clock was set back.
    fn is_set_aside(&self, check: &Check) -> bool {
        let mut jobs = self.jobs_before.iter();
        jobs.any(|job| {
            let is_of_plan = job.kind == JobKind::Backup && job.subject == check.plan;
            let end = job.finished.unwrap_or(job.started);
            is_of_plan && (job.started..=end).contains(&check.at)
        })
    }

    /// The jobs of a kind about a subject, the oldest first. A verification or a copy that somebody
    /// called may have been of something else.
    pub(super) fn jobs<'s>(
        &'s self,
        kind: JobKind,
        subject: &'s str,
    ) -> impl DoubleEndedIterator<Item = &'a Job> + 's {
        let jobs = self.jobs.iter().copied();
        let own = move |job: &&Job| {
            let is_of = !job.called || matches!(kind, JobKind::Backup | JobKind::Drill);
            is_of && job.kind == kind && job.subject == *subject
        };
        jobs.filter(own)
    }

    /// When a job ended. The end of one during which the clock was wrong is unknown: its beginning.
    pub(super) fn end_of(&self, job: &Job) -> Timestamp {
        let end = job.finished.filter(|end| !is_ahead(*end, self.facts.now));
        end.unwrap_or(job.started)
    }

    /// The delay of a subject within the spread of its schedule: always the same for one name.
    pub(super) fn delay(&self, when: &When, kind: JobKind, subject: &str) -> i64 {
        let Some(spread) = when.spread.filter(|_| self.terms.spread) else {
            return 0;
        };
        let Facts {
            app, environment, ..
        } = self.facts;
        let text = format!("{app}/{environment}/{}/{subject}", kind.as_str());
        let digits: String = sha256_hex(text.as_bytes()).chars().take(15).collect();
        let number = u64::from_str_radix(&digits, 16).unwrap_or(0);
        let delay = number % spread.seconds.saturating_add(1);
        i64::try_from(delay).unwrap_or(0)
    }
}

/// The runs for a time of the schedule that left it undone.
#[derive(Default)]
struct Tried {
    count: u32,
    /// When the newest one ended, and whether it was interrupted.
    newest: Option<(Timestamp, bool)>,
}

impl Tried {
    fn note(&mut self, end: Timestamp, interrupted: bool) {
        self.count = self.count.saturating_add(1);
        self.newest = self.newest.max(Some((end, interrupted)));
    }
}

/// A time of a schedule, what is known of it, and the next one.
struct Slot<'a> {
    basis: &'a Basis<'a>,
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
        basis: &'a Basis<'a>,
        when: &'a When,
        kind: JobKind,
        subject: &'a Name,
    ) -> Option<Self> {
        let schedule = when.schedule()?;
        let delay = basis.delay(when, kind, subject);
        let last = schedule.last_until(later(basis.facts.now, -delay))?;
        let next = schedule.next_after(last);
        Some(Slot {
            basis,
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
        let jobs = self.basis.jobs(self.kind, self.subject);
        jobs.filter(|job| job.slot == Some(self.last))
    }

    /// The jobs for it that ended and did something. One that claims success counts, too: where
    /// nothing else shows that success, it would be repeated for ever.
    fn tried(&self) -> Tried {
        let mut tried = Tried::default();
        for job in self.jobs() {
            match job.outcome {
                Some(outcome) if !outcome.is_void() => {
                    let interrupted = outcome == JobOutcome::Interrupted;
                    tried.note(self.basis.end_of(job), interrupted);
                }
                _ => {}
            }
        }
        tried
    }

    /// The turn: when it may begin, and what for. After the last attempt, and where a further one
    /// would not begin before the next time of the schedule, that is the next one.
    fn turn(
        &self,
        done: bool,
        tried: &Tried,
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
        if !done && tried.count < self.when.retry.attempts {
            let at = free(self.earliest(tried))?;
            let attempt = tried.count + 1;
            let reason = match attempt {
                1 => reason.to_owned(),
                attempt => format!("attempt {attempt} for {}", self.last),
            };
            if self.next.is_none_or(|(next, _)| at < next) {
                return Some((at, due(self.last, attempt, reason)));
            }
        }
        let (begin, slot) = self.next?;
        Some((free(begin)?, due(slot, 1, format!("scheduled for {slot}"))))
    }

    /// When the last time of the schedule may be tried at the earliest.
    fn earliest(&self, tried: &Tried) -> Timestamp {
        let mut at = self.begin.max(self.basis.facts.now);
        // A run that was killed says nothing against another one.
        if let Some((ended, false)) = tried.newest {
            let wait = i64::try_from(self.when.retry.wait.seconds).unwrap_or(i64::MAX);
            let doublings = tried.count.saturating_sub(1).min(20);
            at = at.max(later(ended, wait.saturating_mul(1 << doublings)));
        }
        let in_vain =
            |job: &&Job| matches!(job.outcome, Some(JobOutcome::Busy | JobOutcome::NotDue));
        if let Some(job) = self.jobs().filter(in_vain).last() {
            at = at.max(later(self.basis.end_of(job), BUSY_SECONDS));
        }
        at
    }
}

/// A time so many seconds later; the last or first of all times where there is none.
pub(super) fn later(time: Timestamp, seconds: i64) -> Timestamp {
    let second = time.as_second().saturating_add(seconds);
    Timestamp::from_second(second).unwrap_or(match seconds < 0 {
        true => Timestamp::MIN,
        false => Timestamp::MAX,
    })
}

fn backup(basis: &Basis<'_>, plan: &PlanFacts) -> Option<(Timestamp, Due)> {
    let slot = Slot::find(basis, &plan.when, JobKind::Backup, &plan.name)?;
    let of_plan = || {
        let points = basis.facts.points.iter();
        points.filter(|point| point.plan == plan.name)
    };
    let is_fresh = |point: &&Point| !basis.set_aside.contains(&point.id);
    // The points are in order. A clock that is set back by a second makes one older than the time
    // it was taken for.
    let points = &basis.facts.points;
    let since = points.partition_point(|point| point.id.time() < slot.last);
    let is_of_slot = |place: usize, point: &Point| place >= since || point.slot == Some(slot.last);
    let mut of_slot = points.iter().enumerate();
    let done = of_slot.any(|(place, point)| {
        let is_whole = point.plan == plan.name && point.counts && is_fresh(&point);
        is_whole && is_of_slot(place, point)
    });
    let mut checks = basis.facts.checks.iter();
    let done = done
        || checks.any(|check| {
            let is_of_slot = check.at >= slot.last || check.slot == Some(slot.last);
            check.plan == plan.name && is_of_slot && !basis.is_set_aside(check)
        });
    let mut tried = slot.tried();
    // Attempts of another host, or of one whose history is gone. One that was killed here may have
    // left a point that it could not note.
    let noted_here = |point: &Point| {
        slot.jobs().any(|job| {
            let end = job.finished.unwrap_or(basis.facts.now);
            let began_within = (job.started..=end).contains(&point.id.time());
            job.point.as_ref() == Some(&point.id) || began_within
        })
    };
    for point in of_plan().filter(is_fresh) {
        if !point.counts && point.slot == Some(slot.last) && !noted_here(point) {
            tried.note(point.finished, false);
        }
    }
    let reason = match of_plan().any(|point| point.counts) {
        true => format!("scheduled for {}", slot.last),
        false => "it never ran".to_owned(),
    };
    slot.turn(done, &tried, &reason, usual_backup(of_plan()))
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

pub(super) fn usual_job(facts: &Facts, kind: JobKind, subject: &Name) -> Option<u64> {
    let jobs = facts.jobs.iter();
    let ended = jobs.filter(|job| {
        let whole = matches!(job.outcome, Some(JobOutcome::Done | JobOutcome::NotProved));
        whole && job.kind == kind && job.subject == *subject
    });
    usual(ended.filter_map(Job::seconds))
}

fn drills(basis: &Basis<'_>, backups: &Backups<'_>) -> Vec<(Timestamp, Due)> {
    let facts = basis.facts;
    let mut turns = Vec::new();
    for drill in &facts.drills {
        let has_point = |plan: &Name| facts.points.iter().any(|p| p.plan == *plan && p.counts);
        let Some(slot) = Slot::find(basis, &drill.when, JobKind::Drill, &drill.name) else {
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
        // In the order in which they were made: one that a clock dated ahead, and that older ones
        // follow, was not made since.
        let since = || {
            let newest = facts.records.iter().rev();
            let since = newest.take_while(|record| record.finished >= slot.last);
            since.filter(|record| record.drill.as_ref() == Some(&drill.name))
        };
        let done = since().any(|record| decides(record.outcome));
        let mut undecided = Tried::default();
        for record in since().filter(|record| record.outcome == Verdict::Unverifiable) {
            undecided.note(record.finished, false);
        }
        // A job here and its record are one attempt.
        let mut tried = slot.tried();
        tried.count = tried.count.max(undecided.count);
        tried.newest = tried.newest.max(undecided.newest);
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
        let turn = slot.turn(done, &tried, &reason, usual(durations));
        turns.extend(turn.map(|turn| give_way(basis, backups, &drill.when, turn)));
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

fn verifications(basis: &Basis<'_>, backups: &Backups<'_>) -> Vec<(Timestamp, Due)> {
    let facts = basis.facts;
    let mut turns = Vec::new();
    // Before there is a point, there is nothing to read.
    if !facts.points.iter().any(|point| point.counts) {
        return turns;
    }
    for verify in &facts.verifications {
        let (when, name) = (&verify.when, &verify.name);
        turns.extend(noted_only(basis, backups, JobKind::Verify, when, name));
    }
    turns
}

/// The turn of something that leaves nothing in a store: only a job shows that it was done.
fn noted_only(
    basis: &Basis<'_>,
    backups: &Backups<'_>,
    kind: JobKind,
    when: &When,
    name: &Name,
) -> Option<(Timestamp, Due)> {
    let facts = basis.facts;
    let slot = Slot::find(basis, when, kind, name)?;
    let own = || basis.jobs(kind, name);
    let remembered = facts.jobs.iter().any(|job| job.created < slot.last) || own().next().is_some();
    let known = match remembered {
        true => Known::from_jobs(own(), slot.last),
        false => Known::from_points(facts, slot.last),
    };
    let reason = format!("scheduled for {}", slot.last);
    let usual = usual_job(facts, kind, name);
    let done = known == Known::Done;
    let (mut at, due) = slot.turn(done, &slot.tried(), &reason, usual)?;
    if known == Known::WithNextBackup && due.slot == Some(slot.last) {
        at = backups.first_end(facts.now).unwrap_or(at).max(at);
    }
    Some(give_way(basis, backups, when, (at, due)))
}

/// The reports. One is due even where there is no point: that is what it tells.
fn reports(basis: &Basis<'_>, backups: &Backups<'_>) -> Vec<(Timestamp, Due)> {
    let mut turns = Vec::new();
    for report in &basis.facts.reports {
        let (when, name) = (&report.when, &report.name);
        turns.extend(noted_only(basis, backups, JobKind::Report, when, name));
    }
    turns
}

/// What is known of a verification or report for a time of the schedule.
#[derive(PartialEq)]
enum Known {
    Done,
    Open,
    /// Nobody will remember that it was done, unless a backup that was taken before it shows that.
    WithNextBackup,
}

impl Known {
    fn from_jobs<'a>(mut jobs: impl Iterator<Item = &'a Job>, last: Timestamp) -> Self {
        let done = jobs.any(|job| {
            let decided = matches!(job.outcome, Some(JobOutcome::Done | JobOutcome::NotProved));
            decided && job.started >= last
        });
        match done {
            true => Known::Done,
            false => Known::Open,
        }
    }

    /// Where no history reaches back that far, as with a runner that is thrown away after each run:
    /// the run that takes the first point since verifies, too. Later runs see that point.
    fn from_points(facts: &Facts, last: Timestamp) -> Self {
        let mut points = facts.points.iter();
        let first = points.find(|point| point.counts && point.id.time() >= last);
        let mut jobs = facts.jobs.iter();
        match first {
            Some(first) if jobs.any(|job| job.point.as_ref() == Some(&first.id)) => Known::Open,
            Some(_) => Known::Done,
            None => Known::WithNextBackup,
        }
    }
}
