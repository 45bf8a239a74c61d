//! One job: what was done, why, and how it ended.

use crate::exit::Exit;
use crate::host::host;
use crate::name::Name;
use crate::point::PointId;
use crate::process::ProcessName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Identity of a job: time and random digits, as a point's.
pub type JobId = PointId;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Brings a point back, onto the live application or elsewhere.
    Restore,
    /// Takes a restore point; its subject is a plan.
    Backup,
    /// Rehearses a restore; its subject is a drill.
    Drill,
    /// Reads again what is stored; its subject is a verification of the configuration.
    Verify,
    /// Gives a store the copies it lacks; its subject is that store.
    Copy,
    /// Deletes what no rule keeps; its subject is a plan.
    Prune,
    /// Writes a report and sends it; its subject is a report of the configuration.
    Report,
}

impl JobKind {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Restore => "restore",
            JobKind::Backup => "backup",
            JobKind::Drill => "drill",
            JobKind::Verify => "verify",
            JobKind::Copy => "copy",
            JobKind::Prune => "prune",
            JobKind::Report => "report",
        }
    }
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobOutcome {
    /// All of it was done.
    Done,
    /// Part of it was done.
    Partial,
    /// What it was to prove is not so: something is damaged or missing, or differs.
    NotProved,
    /// It failed.
    Failed,
    /// It took longer than it may, and was ended.
    TimedOut,
    /// Somebody ended it, or its process is gone.
    Interrupted,
    /// It gave way to a backup, and is due again.
    PutOff,
    /// There was nothing left to do: another run had done it.
    NotDue,
    /// Another run was at work on the same.
    Busy,
}

impl JobOutcome {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            JobOutcome::Done => "done",
            JobOutcome::Partial => "partial",
            JobOutcome::NotProved => "not-proved",
            JobOutcome::Failed => "failed",
            JobOutcome::TimedOut => "timed-out",
            JobOutcome::Interrupted => "interrupted",
            JobOutcome::PutOff => "put-off",
            JobOutcome::NotDue => "not-due",
            JobOutcome::Busy => "busy",
        }
    }

    /// Returns whether nothing is left of a job that ended so, as if it had not been begun.
    pub fn is_void(self) -> bool {
        matches!(
            self,
            JobOutcome::PutOff | JobOutcome::NotDue | JobOutcome::Busy
        )
    }

    /// Returns whether it calls for another attempt.
    pub fn is_failure(self) -> bool {
        match self {
            JobOutcome::Partial | JobOutcome::Failed | JobOutcome::TimedOut => true,
            JobOutcome::Interrupted => true,
            JobOutcome::Done | JobOutcome::NotProved => false,
            JobOutcome::PutOff | JobOutcome::NotDue | JobOutcome::Busy => false,
        }
    }
}

impl From<Exit> for JobOutcome {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => JobOutcome::Done,
            Exit::Partial => JobOutcome::Partial,
            Exit::NotProved => JobOutcome::NotProved,
            Exit::Busy => JobOutcome::Busy,
            Exit::Failed | Exit::Usage | Exit::Overdue | Exit::NeedsConfirmation => {
                JobOutcome::Failed
            }
        }
    }
}

/// The end of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub outcome: JobOutcome,
    /// The point it made or worked on.
    pub point: Option<PointId>,
    /// What it came to, in a sentence.
    pub message: Option<String>,
}

impl Ended {
    /// An end without a point.
    pub fn of(outcome: JobOutcome, message: impl Into<String>) -> Self {
        Ended {
            outcome,
            point: None,
            message: Some(message.into()),
        }
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Its application.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// What it does.
    pub kind: JobKind,
    /// The plan, drill, verification or store that it is about.
    pub subject: Name,
    /// The time in the schedule for which it runs; absent if somebody called it.
    #[serde(default)]
    pub slot: Option<Timestamp>,
    /// Why it runs.
    pub reason: String,
    /// True if somebody called it: what is due by itself does not follow from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub called: bool,
    /// Number of the run for this time of the schedule, from 1.
    pub attempt: u32,
    /// When it began to wait for its turn.
    pub created: Timestamp,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    #[serde(default)]
    pub finished: Option<Timestamp>,
    /// How it ended.
    #[serde(default)]
    pub outcome: Option<JobOutcome>,
    /// The point it made or worked on.
    #[serde(default)]
    pub point: Option<PointId>,
    /// What it came to, in a sentence.
    #[serde(default)]
    pub message: Option<String>,
    /// The host it runs on.
    pub host: String,
    /// The process it runs in; absent where that cannot be told.
    #[serde(default)]
    pub process: Option<ProcessName>,
}

impl Job {
    /// Notes its end.
    pub fn end(&mut self, now: Timestamp, ended: Ended) {
        self.finished = Some(now);
        self.outcome = Some(ended.outcome);
        self.point = ended.point.or(self.point.take());
        self.message = ended.message;
    }

    /// Returns whether it was not noted as ended, and cannot be running.
    pub fn is_abandoned(&self) -> bool {
        let here = self.host == host();
        let gone = |process: &ProcessName| !process.is_alive();
        self.outcome.is_none() && here && self.process.as_ref().is_none_or(gone)
    }

    /// How it ended, or that it runs: the word in JSON and tables.
    pub fn state(&self) -> &'static str {
        match self.outcome {
            Some(outcome) => outcome.as_str(),
            None if self.is_abandoned() => JobOutcome::Interrupted.as_str(),
            None => "running",
        }
    }

    /// Seconds from its beginning to its end.
    pub fn seconds(&self) -> Option<u64> {
        let finished = self.finished?.as_second();
        u64::try_from(finished.saturating_sub(self.started.as_second())).ok()
    }
}
