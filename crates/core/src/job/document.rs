//! The documents of `run` and `jobs`.

use crate::exit::Exit;
use crate::history::{Job, JobId, JobKind, JobOutcome};
use crate::name::Name;
use crate::status::{Agenda, Due};
use jiff::Timestamp;
use serde::Serialize;

/// The document of `run`.
#[derive(Debug, Clone, Serialize)]
pub struct Ran {
    /// The jobs that ran, in the order in which they ended.
    pub jobs: Vec<JobDocument>,
    /// What is due later, the earliest first.
    pub later: Vec<DueDocument>,
}

impl Ran {
    /// Returns the exit code of `run`: the gravest of its jobs. The last attempt at something counts.
    pub fn exit(&self) -> Exit {
        let last = |job: &&JobDocument| {
            let mut same = self.jobs.iter().rev();
            let newest = same.find(|other| other.kind == job.kind && other.subject == job.subject);
            newest.is_some_and(|newest| newest.job == job.job)
        };
        let exits = self.jobs.iter().filter(last).map(|job| match job.outcome {
            None | Some(JobOutcome::Done | JobOutcome::NotDue | JobOutcome::PutOff) => Exit::Done,
            Some(JobOutcome::Busy) => Exit::Busy,
            Some(JobOutcome::Partial) => Exit::Partial,
            Some(JobOutcome::NotProved) => Exit::NotProved,
            Some(JobOutcome::Failed | JobOutcome::TimedOut | JobOutcome::Interrupted) => {
                Exit::Failed
            }
        });
        let gravity = |exit: &Exit| match exit {
            Exit::Failed => 4,
            Exit::NotProved => 3,
            Exit::Partial => 2,
            Exit::Busy => 1,
            _ => 0,
        };
        exits.max_by_key(gravity).unwrap_or(Exit::Done)
    }
}

/// The document of `run --dry-run`.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedRun {
    /// What is due now, in the order in which it would be begun.
    pub now: Vec<DueDocument>,
    /// What is due later, the earliest first.
    pub later: Vec<DueDocument>,
}

/// Something that is due.
#[derive(Debug, Clone, Serialize)]
pub struct DueDocument {
    /// What is to be done.
    pub kind: JobKind,
    /// The plan, drill, verification or store.
    pub subject: Name,
    /// When it may begin.
    pub at: Timestamp,
    /// The time in the schedule.
    pub slot: Option<Timestamp>,
    /// Number of the run for it, from 1.
    pub attempt: u32,
    /// Why it is due.
    pub reason: String,
}

/// The document of `jobs`.
#[derive(Debug, Clone, Serialize)]
pub struct Jobs {
    /// The jobs, the newest first.
    pub jobs: Vec<JobDocument>,
}

/// The document of `jobs ID`.
#[derive(Debug, Clone, Serialize)]
pub struct ShownJob {
    /// The job.
    #[serde(flatten)]
    pub job: JobDocument,
    /// Its log, a line each; empty if none was kept.
    pub log: Vec<String>,
}

/// A job.
#[derive(Debug, Clone, Serialize)]
pub struct JobDocument {
    /// Its id.
    pub job: JobId,
    /// What it does.
    pub kind: JobKind,
    /// The plan, drill, verification or store.
    pub subject: Name,
    /// Its outcome, or `running`.
    pub state: &'static str,
    /// The time in the schedule for which it ran.
    pub slot: Option<Timestamp>,
    /// Number of the run for it, from 1.
    pub attempt: u32,
    /// Why it ran.
    pub reason: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Seconds that it took.
    pub seconds: Option<u64>,
    /// The point it made or worked on.
    pub point: Option<JobId>,
    /// What it came to.
    pub message: Option<String>,
    /// The host it ran on.
    pub host: String,
    /// Its outcome, if it ended.
    #[serde(skip)]
    pub outcome: Option<JobOutcome>,
}

impl From<&Job> for JobDocument {
    fn from(job: &Job) -> Self {
        JobDocument {
            job: job.id.clone(),
            kind: job.kind,
            subject: job.subject.clone(),
            state: job.state(),
            slot: job.slot,
            attempt: job.attempt,
            reason: job.reason.clone(),
            started: job.started,
            finished: job.finished,
            seconds: job.seconds(),
            point: job.point.clone(),
            message: job.message.clone(),
            host: job.host.clone(),
            outcome: job.outcome,
        }
    }
}

impl DueDocument {
    fn new(at: Timestamp, due: &Due) -> Self {
        DueDocument {
            kind: due.kind,
            subject: due.subject.clone(),
            at,
            slot: due.slot,
            attempt: due.attempt,
            reason: due.reason.clone(),
        }
    }
}

/// What is due later.
pub(super) fn later(agenda: &Agenda) -> Vec<DueDocument> {
    let later = agenda.later.iter();
    later.map(|(at, due)| DueDocument::new(*at, due)).collect()
}

impl PlannedRun {
    /// What an agenda of this time holds.
    pub(super) fn of(agenda: &Agenda, now: Timestamp) -> Self {
        let due = agenda.now.iter();
        PlannedRun {
            now: due.map(|due| DueDocument::new(now, due)).collect(),
            later: later(agenda),
        }
    }
}

#[cfg(test)]
mod tests;
