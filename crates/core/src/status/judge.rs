//! The status of an application: ages, limits and verdicts. Pure.

use super::due::{Agenda, Terms, agenda, decides, usual_backup};
use super::facts::{
    DrillFacts, Facts, PlanFacts, Point, Proved, ReportFacts, Uncopied, VerifyFacts, current_at,
};
use super::failing::failing;
use super::limit::{Limit, LimitOf, limits};
use crate::anomaly::{self, Anomaly, Compared};
use crate::clock::is_ahead;
use crate::error::Error;
use crate::evidence::Verdict;
use crate::exit::Exit;
use crate::history::{Job, JobKind, JobOutcome};
use crate::name::Name;
use crate::objective;
use crate::point::PointId;
use crate::restoring::Stage;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::iter;

/// The status of an application: the document of `status`.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The application.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// The time for which it holds.
    pub at: Timestamp,
    /// The recovery point objective, in seconds.
    pub rpo_target_seconds: Option<u64>,
    /// The recovery time objective, in seconds.
    pub rto_target_seconds: Option<u64>,
    /// The plans.
    pub plans: Vec<PlanStatus>,
    /// The drills.
    pub drills: Vec<DrillStatus>,
    /// The verifications.
    pub verifications: Vec<VerifyStatus>,
    /// The reports.
    pub reports: Vec<ReportStatus>,
    /// The stores.
    pub stores: Vec<StoreStatus>,
    /// The newest decided record of a restore.
    pub restore: Option<LastRestore>,
    /// Live restores of this host that were interrupted, or keep what was live before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open_restores: Vec<OpenRestore>,
    /// Points that are dated in the future, since some clock was or is wrong.
    pub points_ahead: Vec<PointId>,
    /// Jobs that run on this host.
    pub running: Vec<Running>,
}

/// A live restore that is not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenRestore {
    /// Its id.
    pub id: PointId,
    /// When it began.
    pub begun: Timestamp,
    /// It was interrupted while something of it was live.
    pub interrupted: bool,
    /// When what was live before is removed; `None` while it is not over.
    pub until: Option<Timestamp>,
}

/// A restore that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastRestore {
    /// Its record.
    pub evidence: PointId,
    /// When it ended.
    pub at: Timestamp,
    /// The verdict: `verified`, `restored` or `failed`.
    pub outcome: Verdict,
}

/// How old the newest complete point of a plan is, held against its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// Younger than its limit.
    Fresh,
    /// Older than its limit.
    Overdue,
    /// There is no complete point.
    Never,
    /// Nothing says how old it may be.
    Unlimited,
}

impl Freshness {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Freshness::Fresh => "fresh",
            Freshness::Overdue => "overdue",
            Freshness::Never => "never",
            Freshness::Unlimited => "unlimited",
        }
    }

    /// Returns whether somebody should look.
    pub fn is_overdue(self) -> bool {
        matches!(self, Freshness::Overdue | Freshness::Never)
    }
}

/// The status of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlanStatus {
    /// Its name.
    pub plan: Name,
    /// Its newest complete point.
    pub point: Option<PointId>,
    /// When a run last found nothing new since that point.
    pub unchanged_at: Option<Timestamp>,
    /// Seconds since that run was begun; without one, since that point was.
    pub age_seconds: Option<u64>,
    /// Seconds that the age may reach.
    pub limit_seconds: Option<u64>,
    /// Where the limit comes from.
    pub limit_of: Option<LimitOf>,
    /// The age, held against the limit.
    pub freshness: Freshness,
    /// Seconds that a run usually takes.
    pub usual_seconds: Option<u64>,
    /// Longest age that the schedule leads to: the longest gap, the spread and the usual duration.
    pub longest_seconds: Option<u64>,
    /// Stores that hold the newest complete point.
    pub stores: Vec<Name>,
    /// Stores that each point goes to.
    pub destinations: Vec<Name>,
    /// Points that each store missed.
    pub missing_copies: BTreeMap<Name, u64>,
    /// When the oldest of them was taken.
    pub missing_since: BTreeMap<Name, Timestamp>,
    /// Points that each store lost.
    pub lost_copies: BTreeMap<Name, u64>,
    /// Snapshots of machines in its newest complete point that were not copied where they should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uncopied: Vec<Uncopied>,
    /// The last run here that was not successful, unless a successful one followed.
    pub failing: Option<LastJob>,
    /// The last prune here that was not successful, unless a successful one followed.
    pub prune_failing: Option<LastJob>,
    /// The newest decided proof of a point of this plan.
    pub proof: Option<Verdict>,
    /// When that proof was made.
    pub proved_at: Option<Timestamp>,
    /// The time of the schedule for which it is due and does not run.
    pub due_since: Option<Timestamp>,
    /// What of its newest complete point differs from the points before more than it should.
    pub anomalies: Vec<Anomaly>,
    /// Number of anomalies beyond these.
    pub anomalies_unlisted: u64,
    /// What of that point was compared; absent without one.
    pub compared: Option<Compared>,
    /// When it runs next.
    pub next: Option<Timestamp>,
}

/// A run that was not successful.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastJob {
    /// Its id.
    pub job: PointId,
    /// How it ended.
    pub outcome: JobOutcome,
    /// When it ended.
    pub at: Timestamp,
    /// What it came to.
    pub message: Option<String>,
    /// When it is tried again for the same time of the schedule, or since when it is.
    pub retry: Option<Timestamp>,
    /// How the time of the schedule before was left undone, if it was, too: then another attempt is no
    /// news.
    #[serde(skip)]
    pub before: Option<JobOutcome>,
}

/// What the records of a drill show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillStanding {
    /// The newest decided one is `verified`, and young enough.
    Proved,
    /// The newest decided one restored, and could not compare.
    Restored,
    /// The newest decided one failed.
    Failed,
    /// The last `verified` one is too old.
    Overdue,
    /// There is none.
    Never,
}

impl DrillStanding {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            DrillStanding::Proved => "proved",
            DrillStanding::Restored => "restored",
            DrillStanding::Failed => "failed",
            DrillStanding::Overdue => "overdue",
            DrillStanding::Never => "never",
        }
    }
}

/// The status of a drill.
#[derive(Debug, Clone, Serialize)]
pub struct DrillStatus {
    /// Its name.
    pub drill: Name,
    /// Its standing.
    pub standing: DrillStanding,
    /// The verdict of its newest decided record: `verified`, `restored` or `failed`.
    pub outcome: Option<Verdict>,
    /// Its newest decided record.
    pub evidence: Option<PointId>,
    /// When that was made.
    pub at: Option<Timestamp>,
    /// When a record was `verified` last.
    pub verified_at: Option<Timestamp>,
    /// Seconds since then.
    pub age_seconds: Option<u64>,
    /// Seconds that this may reach.
    pub max_age_seconds: Option<u64>,
    /// Seconds that the last `verified` one took until everything was restored and checked.
    pub rto_seconds: Option<f64>,
    /// The recovery time objective, in seconds.
    pub rto_target_seconds: Option<u64>,
    /// True if that objective was missed.
    pub rto_missed: bool,
    /// The last run here that was not successful, unless a successful one followed.
    pub failing: Option<LastJob>,
    /// When it runs next.
    pub next: Option<Timestamp>,
}

impl DrillStatus {
    /// Returns whether its proof is missing for longer than it may be.
    pub fn is_overdue(&self) -> bool {
        match (self.age_seconds, self.max_age_seconds) {
            (Some(age), Some(max)) => age > max,
            _ => self.standing == DrillStanding::Overdue,
        }
    }
}

/// The status of a verification.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyStatus {
    /// Its name.
    pub verify: Name,
    /// How it ended last on this host.
    pub outcome: Option<JobOutcome>,
    /// When that was.
    pub at: Option<Timestamp>,
    /// True if it is longer ago than it may be.
    pub overdue: bool,
    /// The last run here that was not successful, unless a successful one followed.
    pub failing: Option<LastJob>,
    /// When it runs next.
    pub next: Option<Timestamp>,
}

/// The status of a report.
#[derive(Debug, Clone, Serialize)]
pub struct ReportStatus {
    /// Its name.
    pub report: Name,
    /// When it was sent last, as far as this host knows.
    pub at: Option<Timestamp>,
    /// The last run here that was not successful, unless a successful one followed.
    pub failing: Option<LastJob>,
    /// When it is sent next.
    pub next: Option<Timestamp>,
}

/// The status of a store.
#[derive(Debug, Clone, Serialize)]
pub struct StoreStatus {
    /// Its name.
    pub store: Name,
    /// Number of points that it holds.
    pub points: u64,
    /// Bytes of them. In a repository, points share what they have in common, and each counts what
    /// was added for it.
    pub bytes: u64,
    /// The error of a store that did not answer; what it holds is as it was last seen.
    pub error: Option<Error>,
    /// Copies that this host read and found damaged.
    pub damaged: Vec<DamagedCopy>,
}

/// A copy that this host read and found damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedCopy {
    /// The point.
    pub point: PointId,
    /// What was found.
    pub why: String,
    /// When it was found first.
    pub since: Timestamp,
}

/// A job that runs.
#[derive(Debug, Clone, Serialize)]
pub struct Running {
    /// Its id.
    pub job: PointId,
    /// What it does.
    pub kind: JobKind,
    /// The plan, drill, verification or store.
    pub subject: Name,
    /// When it began.
    pub started: Timestamp,
}

impl Status {
    /// Returns the exit code of `status --check`: a proof that failed weighs more than one that is
    /// overdue, and that more than a store that did not answer.
    pub fn exit(&self) -> Exit {
        let failed = |drill: &DrillStatus| drill.standing == DrillStanding::Failed;
        let not_proved = |verify: &VerifyStatus| verify.outcome == Some(JobOutcome::NotProved);
        let damaged = self.stores.iter().any(|store| !store.damaged.is_empty());
        if damaged || self.drills.iter().any(failed) || self.verifications.iter().any(not_proved) {
            return Exit::NotProved;
        }
        let overdue = self.plans.iter().any(|plan| plan.freshness.is_overdue())
            || self.drills.iter().any(DrillStatus::is_overdue)
            || self.verifications.iter().any(|verify| verify.overdue);
        match (
            overdue,
            self.stores.iter().any(|store| store.error.is_some()),
        ) {
            (true, _) => Exit::Overdue,
            (false, true) => Exit::Partial,
            (false, false) => Exit::Done,
        }
    }
}

/// Computes the status.
pub fn judge(facts: &Facts, terms: Terms) -> Status {
    let agenda = agenda(facts, terms);
    let limits = limits(&facts.plans, facts.rpo, |plan| {
        let points = facts.points.iter();
        usual_backup(points.filter(|point| point.plan == *plan)).unwrap_or(0)
    });
    let stores = facts.stores.iter().map(|store| {
        let held = facts
            .points
            .iter()
            .filter(|point| point.stores.contains(&store.name));
        StoreStatus {
            store: store.name.clone(),
            points: held.clone().count() as u64,
            bytes: held.map(|point| point.bytes).sum(),
            error: store.error.clone(),
            damaged: store
                .damaged
                .iter()
                .map(|(point, doubt)| DamagedCopy {
                    point: point.clone(),
                    why: doubt.why.clone(),
                    since: doubt.at,
                })
                .collect(),
        }
    });
    let running = facts.jobs.iter().filter(|job| job.outcome.is_none());
    Status {
        app: facts.app.clone(),
        environment: facts.environment.clone(),
        at: facts.now,
        rpo_target_seconds: facts.rpo.map(|rpo| rpo.seconds),
        rto_target_seconds: facts.rto.map(|rto| rto.seconds),
        plans: facts
            .plans
            .iter()
            .map(|plan| plan_status(facts, &agenda, plan, limits.get(&plan.name)))
            .collect(),
        drills: facts
            .drills
            .iter()
            .map(|drill| drill_status(facts, &agenda, drill))
            .collect(),
        verifications: facts
            .verifications
            .iter()
            .map(|verify| verify_status(facts, &agenda, verify))
            .collect(),
        reports: facts
            .reports
            .iter()
            .map(|report| report_status(facts, &agenda, report))
            .collect(),
        stores: stores.collect(),
        restore: last_restore(facts),
        open_restores: open_restores(facts),
        points_ahead: facts.ahead.clone(),
        running: running
            .map(|job| Running {
                job: job.id.clone(),
                kind: job.kind,
                subject: job.subject.clone(),
                started: job.started,
            })
            .collect(),
    }
}

fn last_restore(facts: &Facts) -> Option<LastRestore> {
    let restores = facts.records.iter();
    let mut restores = restores.rev();
    let last = restores.find(|record| record.drill.is_none() && decides(record.outcome))?;
    Some(LastRestore {
        evidence: last.id.clone(),
        at: last.finished,
        outcome: last.outcome,
    })
}

/// Seconds from a time until now; zero if it lies ahead.
fn age(facts: &Facts, time: Timestamp) -> u64 {
    u64::try_from(facts.now.as_second() - time.as_second()).unwrap_or(0)
}

/// The copies of a plan's points that are not where they should be, by store.
#[derive(Default)]
struct Copies {
    missing: BTreeMap<Name, u64>,
    /// When the oldest point was taken that is missing.
    missing_since: BTreeMap<Name, Timestamp>,
    lost: BTreeMap<Name, u64>,
}

impl Copies {
    /// Counts them; the points come the oldest first.
    fn of<'f>(points: impl Iterator<Item = &'f Point>) -> Self {
        let mut copies = Copies::default();
        for point in points {
            // The others are given to nobody: they lack something themselves.
            for store in point.missed.iter().filter(|_| point.counts) {
                *copies.missing.entry(store.clone()).or_default() += 1;
                let since = copies.missing_since.entry(store.clone());
                since.or_insert(point.finished);
            }
            for store in &point.lost {
                *copies.lost.entry(store.clone()).or_default() += 1;
            }
        }
        copies
    }
}

/// The live restores that somebody has to go on with, or may still take back.
fn open_restores(facts: &Facts) -> Vec<OpenRestore> {
    let open = facts.restores.iter().filter_map(|restore| {
        let kept = restore.ended.filter(|_| restore.stage == Stage::Kept);
        let until = kept.and_then(|ended| {
            let kept = i64::try_from(facts.keep_aside.seconds).ok()?;
            Timestamp::from_second(ended.as_second().checked_add(kept)?).ok()
        });
        let interrupted = restore.is_interrupted();
        (interrupted || until.is_some()).then(|| OpenRestore {
            id: restore.id.clone(),
            begun: restore.begun,
            interrupted,
            until,
        })
    });
    open.collect()
}

fn plan_status(
    facts: &Facts,
    agenda: &Agenda,
    plan: &PlanFacts,
    limit: Option<&Limit>,
) -> PlanStatus {
    let of_plan = || facts.points.iter().filter(|point| point.plan == plan.name);
    let newest: Option<&Point> = of_plan().rev().find(|point| point.counts);
    let unchanged_at = newest.and_then(|point| {
        let checks = facts.checks.iter();
        let of_point = checks.filter(|check| check.point == point.id);
        of_point.map(|check| check.at).max()
    });
    let age_seconds = newest.map(|point| age(facts, current_at(&facts.checks, &point.id)));
    let usual = usual_backup(of_plan());
    let copies = Copies::of(of_plan());
    let proof = newest_proof(facts, plan);
    let measured = facts.measured.get(&plan.name);
    let judged = measured
        .and_then(|measured| measured.split_last())
        .map(|(point, before)| anomaly::judge(before, point, &plan.watch));
    let compared = judged.as_ref().map(|judged| judged.compared);
    let judged = judged.unwrap_or_default();
    PlanStatus {
        plan: plan.name.clone(),
        point: newest.map(|point| point.id.clone()),
        unchanged_at,
        age_seconds,
        limit_seconds: limit.map(|limit| limit.seconds),
        limit_of: limit.map(|limit| limit.of),
        freshness: match (age_seconds, limit) {
            (None, None) => match plan.when.schedule.is_some() {
                true => Freshness::Never,
                false => Freshness::Unlimited,
            },
            (None, Some(_)) => Freshness::Never,
            (Some(_), None) => Freshness::Unlimited,
            (Some(age), Some(limit)) if age > limit.seconds => Freshness::Overdue,
            (Some(_), Some(_)) => Freshness::Fresh,
        },
        usual_seconds: usual,
        longest_seconds: plan
            .when
            .gap_max()
            .map(|gap| gap.seconds.saturating_add(usual.unwrap_or(0))),
        stores: newest.map(|point| point.stores.clone()).unwrap_or_default(),
        destinations: plan.stores.clone(),
        missing_copies: copies.missing,
        missing_since: copies.missing_since,
        lost_copies: copies.lost,
        uncopied: facts.uncopied.get(&plan.name).cloned().unwrap_or_default(),
        failing: failing(
            facts,
            agenda,
            JobKind::Backup,
            &plan.name,
            &mut of_plan()
                .filter(|point| point.counts)
                .map(|point| point.finished)
                .chain(unchanged_at),
        ),
        prune_failing: failing(
            facts,
            agenda,
            JobKind::Prune,
            &plan.name,
            &mut iter::empty(),
        ),
        proof: proof.map(|record| record.outcome),
        proved_at: proof.map(|record| record.finished),
        due_since: agenda.due_since(JobKind::Backup, &plan.name),
        anomalies: judged.anomalies,
        anomalies_unlisted: judged.unlisted,
        compared,
        next: agenda.when(JobKind::Backup, &plan.name, facts.now),
    }
}

/// The newest record that decides something about this plan. A part that came back proves nothing
/// about the whole; a part that did not says enough.
fn newest_proof<'f>(facts: &'f Facts, plan: &PlanFacts) -> Option<&'f Proved> {
    let has = |record: &Proved, source: &Name| {
        let mut sources = record.sources.iter();
        sources.any(|(of, known)| *of == plan.name && known == source)
    };
    let decides_on_plan = |record: &&Proved| match record.outcome {
        Verdict::Failed => record.plans.contains(&plan.name),
        _ => decides(record.outcome) && plan.sources.iter().all(|source| has(record, source)),
    };
    facts.records.iter().rev().find(decides_on_plan)
}

fn drill_status(facts: &Facts, agenda: &Agenda, drill: &DrillFacts) -> DrillStatus {
    let decided = || {
        let records = facts.records.iter().rev();
        records
            .filter(|record| record.drill.as_ref() == Some(&drill.name) && decides(record.outcome))
    };
    let last = decided().next();
    let verified = decided().find(|record| record.is_whole());
    let age_seconds = verified.map(|record| age(facts, record.finished));
    let max_age_seconds = drill.max_age.map(|max| max.seconds);
    // A drill that was never proved is overdue once there are points that old.
    let oldest = facts
        .points
        .iter()
        .find(|point| point.counts && drill.plans.contains(&point.plan));
    let waited = age_seconds.or(oldest.map(|point| age(facts, point.id.time())));
    let overdue = matches!((waited, max_age_seconds), (Some(waited), Some(max)) if waited > max);
    let standing = match last.map(|record| record.outcome) {
        Some(Verdict::Failed) => DrillStanding::Failed,
        _ if overdue => DrillStanding::Overdue,
        Some(Verdict::Restored) => DrillStanding::Restored,
        Some(_) => DrillStanding::Proved,
        None => DrillStanding::Never,
    };
    let rto_seconds = verified.map(|record| record.rto_seconds);
    let rto = facts.rto.map(|rto| rto.seconds);
    DrillStatus {
        drill: drill.name.clone(),
        standing,
        outcome: last.map(|record| record.outcome),
        evidence: last.map(|record| record.id.clone()),
        at: last.map(|record| record.finished),
        verified_at: verified.map(|record| record.finished),
        age_seconds,
        max_age_seconds,
        rto_seconds,
        rto_target_seconds: rto,
        rto_missed: rto_seconds.is_some_and(|seconds| objective::missed(seconds, rto)),
        failing: failing(
            facts,
            agenda,
            JobKind::Drill,
            &drill.name,
            &mut decided().map(|record| record.finished),
        ),
        next: agenda.when(JobKind::Drill, &drill.name, facts.now),
    }
}

fn report_status(facts: &Facts, agenda: &Agenda, report: &ReportFacts) -> ReportStatus {
    let name = &report.name;
    let mut jobs = facts.jobs.iter().rev();
    let sent = jobs.find(|job| {
        let is_done = job.outcome == Some(JobOutcome::Done) && !ended_ahead(facts, job);
        is_done && job.kind == JobKind::Report && job.subject == *name
    });
    ReportStatus {
        report: name.clone(),
        at: sent.and_then(|job| job.finished),
        failing: failing(facts, agenda, JobKind::Report, name, &mut iter::empty()),
        next: agenda.when(JobKind::Report, name, facts.now),
    }
}

/// Returns whether a job ended in the future, by a clock that was wrong: it would hide what fails until
/// then.
fn ended_ahead(facts: &Facts, job: &Job) -> bool {
    job.finished.is_some_and(|end| is_ahead(end, facts.now))
}

fn verify_status(facts: &Facts, agenda: &Agenda, verify: &VerifyFacts) -> VerifyStatus {
    let mut jobs = facts.jobs.iter().rev();
    let last = jobs.find(|job| {
        let decided = matches!(job.outcome, Some(JobOutcome::Done | JobOutcome::NotProved));
        let own = job.kind == JobKind::Verify && job.subject == verify.name;
        decided && !job.called && own && !ended_ahead(facts, job)
    });
    let at = last.and_then(|job| job.finished);
    // One that is not noted is overdue once there are points that old, and a history.
    let oldest = facts.points.iter().find(|point| point.counts);
    let history = facts.jobs.first().map(|job| job.created);
    let unnoted = || Some(oldest?.id.time().max(history?));
    let since = at.or_else(unnoted);
    let waited = since.map(|since| age(facts, since));
    VerifyStatus {
        verify: verify.name.clone(),
        outcome: last.and_then(|job| job.outcome),
        at,
        overdue: matches!((waited, verify.max_age), (Some(waited), Some(max)) if waited > max.seconds),
        failing: failing(
            facts,
            agenda,
            JobKind::Verify,
            &verify.name,
            &mut at.into_iter(),
        ),
        next: agenda.when(JobKind::Verify, &verify.name, facts.now),
    }
}
