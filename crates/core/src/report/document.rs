//! The document of `report`.

use crate::alarm::OpenAlarm;
use crate::anomaly::{Anomaly, Compared};
use crate::config::Period;
use crate::evidence::Verdict;
use crate::history::{JobKind, JobOutcome};
use crate::name::Name;
use crate::point::PointId;
use crate::retention::Why;
use crate::status::{Covered, DrillStanding, Freshness, Silence};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// What happened in a period, what was proved in it, and what was not.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The application.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// The host that wrote it.
    pub host: String,
    /// Length of the period.
    pub period: Period,
    /// Beginning of the period.
    pub from: Timestamp,
    /// End of the period, which is not a part of it.
    pub until: Timestamp,
    /// When it was written: ages, open alarms and what is due next hold for this time.
    pub at: Timestamp,
    /// What ran.
    pub ran: Ran,
    /// What the drills proved.
    pub drills: Vec<DrillProofs>,
    /// Restores that were recorded in the period.
    pub restores: Vec<Proof>,
    /// What is not proved.
    pub unproved: Unproved,
    /// Ages of the plans against their limits.
    pub plans: Vec<PlanAge>,
    /// Sizes of the points of each plan.
    pub point_sizes: Vec<PointSizes>,
    /// Sizes of the stores.
    pub store_sizes: Vec<StoreSizes>,
    /// What is unusual about the newest point of each plan.
    pub anomalies: Vec<PlanAnomalies>,
    /// What the rules deleted.
    pub deleted: Deleted,
    /// Alarms that are open.
    pub alarms: Vec<OpenAlarm>,
    /// Alarms of which something was told in the period, as far as this host remembers.
    pub told: Vec<ToldAlarm>,
    /// What is due next, the earliest first.
    pub next: Vec<Next>,
    /// The operator's checklists.
    pub checklists: Vec<Checklist>,
}

/// The jobs of a period.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ran {
    /// Since when this host has a history of jobs; absent if it has none.
    pub noted_since: Option<Timestamp>,
    /// The jobs that ended in the period, by kind.
    pub jobs: Vec<JobsOfKind>,
    /// Those that were not successful, the oldest first.
    pub failures: Vec<Failure>,
    /// Number of failures beyond these.
    pub failures_unlisted: u64,
    /// The points that were taken in the period and are still known.
    pub points: Vec<PointsTaken>,
}

/// The jobs of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct JobsOfKind {
    /// The kind.
    pub kind: JobKind,
    /// Number of jobs.
    pub jobs: u64,
    /// How many of them ended in which way.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The job that took longest.
    pub longest: Option<Longest>,
}

/// The job that took longest.
#[derive(Debug, Clone, Serialize)]
pub struct Longest {
    /// Its id.
    pub job: PointId,
    /// What it was about.
    pub subject: Name,
    /// Its duration in seconds.
    pub seconds: u64,
}

/// A job that was not successful.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// Its id.
    pub job: PointId,
    /// Its kind.
    pub kind: JobKind,
    /// What it was about.
    pub subject: Name,
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: JobOutcome,
    /// What it came to.
    pub message: Option<String>,
}

/// The points of a plan that were taken in the period.
#[derive(Debug, Clone, Serialize)]
pub struct PointsTaken {
    /// The plan.
    pub plan: Name,
    /// Number of complete points.
    pub complete: u64,
    /// Number of others: partial, failed, or not to be trusted.
    pub others: u64,
    /// Number of points that no job in the history of this host took.
    pub unnoted: u64,
    /// The newest complete one.
    pub newest: Option<PointId>,
    /// The longest time in the period in which no complete point was begun.
    pub silence: Option<Silence>,
}

/// The records of a drill in the period.
#[derive(Debug, Clone, Serialize)]
pub struct DrillProofs {
    /// The drill.
    pub drill: Name,
    /// What its records show now.
    pub standing: DrillStanding,
    /// Seconds since it was verified last.
    pub age_seconds: Option<u64>,
    /// Seconds that this may reach.
    pub max_age_seconds: Option<u64>,
    /// True if it was not verified for longer than that.
    pub overdue: bool,
    /// Its records, the oldest first.
    pub records: Vec<Proof>,
    /// Number of older records beyond these.
    pub records_unlisted: u64,
}

/// A record of a drill or a restore.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// Its id.
    pub evidence: PointId,
    /// When it ended.
    pub at: Timestamp,
    /// The verdict.
    pub outcome: Verdict,
    /// The points that were restored.
    pub points: Vec<PointId>,
    /// Seconds until everything was restored and checked.
    pub rto_seconds: f64,
    /// The recovery time objective at that time, in seconds.
    pub rto_target_seconds: Option<u64>,
    /// True if that objective was missed.
    pub rto_missed: bool,
    /// What it does not prove, by name, as far as this host can tell.
    pub limits: Vec<String>,
    /// Number of limits beyond these.
    pub limits_unlisted: u64,
}

/// What is not proved.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Unproved {
    /// Sources of plans that no verified record covers, or none that is young enough.
    pub sources: Vec<Covered>,
    /// Drills that were not verified for longer than they may be.
    pub drills: Vec<Name>,
    /// Verifications that are longer ago than they may be, or found something wrong.
    pub verifications: Vec<Name>,
}

/// The age of the newest complete point of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlanAge {
    /// The plan.
    pub plan: Name,
    /// The point.
    pub point: Option<PointId>,
    /// Its age in seconds.
    pub age_seconds: Option<u64>,
    /// Seconds that the age may reach.
    pub limit_seconds: Option<u64>,
    /// The age, held against the limit.
    pub freshness: Freshness,
}

/// The sizes of the points of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PointSizes {
    /// The plan.
    pub plan: Name,
    /// Number of complete points in the period.
    pub points: u64,
    /// Median of the bytes of one copy of them.
    pub bytes: Option<u64>,
    /// Number of complete points in the period before, as far as they are kept.
    pub points_before: u64,
    /// Median of the bytes of one copy of those.
    pub bytes_before: Option<u64>,
    /// How far the size moved, in percent of the size before.
    pub drift_percent: Option<i64>,
}

/// The sizes of a store.
#[derive(Debug, Clone, Serialize)]
pub struct StoreSizes {
    /// The store.
    pub store: Name,
    /// The error of a store that did not answer; what it holds is as it was last seen.
    pub error: Option<String>,
    /// Number of points that it holds.
    pub points: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes of the points that were taken in the period.
    pub bytes_added: u64,
    /// Bytes of the points that were taken in the period before, as far as they are kept.
    pub bytes_added_before: u64,
}

/// What is unusual about the newest complete point of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlanAnomalies {
    /// The plan.
    pub plan: Name,
    /// The point.
    pub point: Option<PointId>,
    /// What of it was compared with the points before; absent without a point.
    pub compared: Option<Compared>,
    /// What differs more than it should.
    pub anomalies: Vec<Anomaly>,
    /// Number of anomalies beyond these.
    pub anomalies_unlisted: u64,
}

/// What the rules deleted in the period.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Deleted {
    /// Number of copies.
    pub copies: u64,
    /// The newest of them, the oldest first.
    pub listed: Vec<DeletedCopy>,
    /// Number of copies that are announced, and go next.
    pub announced: u64,
}

/// A copy that the rules deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeletedCopy {
    /// When it was deleted.
    pub at: Timestamp,
    /// The point.
    pub point: PointId,
    /// Its plan.
    pub plan: Name,
    /// The store.
    pub store: Name,
    /// Why nothing kept it.
    pub why: Why,
}

/// An alarm of which something was told in the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToldAlarm {
    /// Its id.
    pub alarm: String,
    /// What was said first.
    pub title: String,
    /// When it was told as new, if that was in the period.
    pub opened: Option<Timestamp>,
    /// When it was told as over, if that was in the period.
    pub ended: Option<Timestamp>,
    /// Number of messages about it.
    pub messages: u64,
}

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Next {
    /// When.
    pub at: Timestamp,
    /// What it does.
    pub kind: JobKind,
    /// What it is about.
    pub subject: Name,
}

/// What an operator looks at every so often.
#[derive(Debug, Clone, Serialize)]
pub struct Checklist {
    /// How often.
    pub every: Period,
    /// What is to be done.
    pub items: Vec<Item>,
}

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The thing.
    pub task: Task,
    /// True if Lifeboat did it in the period, and shows so.
    pub done: bool,
    /// What shows it; empty if it is open.
    pub shown_by: Vec<ShownBy>,
    /// What is known of it, or why it is open.
    pub note: Option<String>,
    /// The command that does it, or helps; absent if it is done.
    pub command: Option<String>,
}

/// What shows that something was done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", content = "id", rename_all = "kebab-case")]
pub enum ShownBy {
    /// A job of this host.
    Job(PointId),
    /// A signed record of a drill or a restore.
    Evidence(PointId),
    /// A restore point.
    Point(PointId),
    /// A drill that has a schedule.
    Drill(Name),
}

/// Something that an operator of backups is to see done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Backups run.
    BackupsRan,
    /// What is stored is intact.
    StoredIntact,
    /// Every store has its copy.
    CopiesComplete,
    /// No job failed.
    JobsSucceeded,
    /// There are recent points.
    RecentPoints,
    /// Sizes are as usual.
    SizesUsual,
    /// A backup can be decrypted and restored.
    Decrypts,
    /// Somebody read the warnings.
    WarningsRead,
    /// A point of each month is kept.
    MonthKept,
    /// There is room on the disks.
    RoomLeft,
    /// Every store can be read.
    StoresReachable,
    /// The documentation is up to date.
    DocumentationCurrent,
    /// Everything was restored and compared.
    RestoreTested,
    /// The results of that are recorded.
    ResultsRecorded,
    /// What was learned is in the procedures.
    ProceduresUpdated,
    /// The next test has a date.
    NextTestScheduled,
}
