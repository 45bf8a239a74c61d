//! Jobs: units of work with their own cancellation, progress and history, and the runner that `run`
//! and the daemon share.
//!
//! What is due is decided in [`crate::status`]; this module carries it out. A job runs in a thread of
//! its own, so that one that hangs is ended at its timeout and holds no other up. A manual verb is a
//! job, too ([`record`]), in the process of whoever called it.

pub mod daemon;
mod deed;
mod document;
mod memory;
mod metrics_file;
mod once;
mod ping;
mod tell;
mod turn;

pub use document::{DueDocument, JobDocument, Jobs, PlannedRun, Ran, ShownJob};
pub use once::{
    Begun, StatusDocument, acknowledge, alarms, begun, cost, facts, history, jobs, metrics, plan,
    report, run, show, status,
};
pub use turn::{Mode, Turn, Turned, Watcher, look};

use crate::cancel;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::history::{Ended, Job, JobId, JobKind, JobOutcome};
use crate::host::{author, host};
use crate::name::Name;
use crate::process::ProcessName;

/// Subject of a verification that somebody called: it may read points of several plans.
pub const POINTS: Name = Name::own("points");

/// Runs a verb that somebody called, and notes it in the history of this host. A history that cannot
/// be written is no reason to refuse the verb: it is told as a warning.
pub fn record<T>(
    context: &Context,
    kind: JobKind,
    subject: &Name,
    work: impl FnOnce() -> Result<T>,
    ended: impl FnOnce(&T) -> Ended,
) -> Result<T> {
    let warn = |text: &str| context.reporter.warn(text);
    let history = match once::history(context) {
        Ok(history) => history,
        Err(error) => {
            warn(&format!("this run is not noted: {error}"));
            return work();
        }
    };
    let mut job = new(
        context,
        kind,
        subject.clone(),
        format!("called by {}", author()),
    );
    job.called = true;
    let begun = history.begin(&mut job, &context.clock);
    if let Err(error) = &begun {
        warn(&format!("this run is not noted: {error}"));
    }
    let mut pings = ping::Pings::default();
    pings.begin(&context.config, &context.clock, &job);
    let result = work();
    let end = match &result {
        Ok(done) => ended(done),
        Err(error) => failed(&cancel::explain(error.clone())),
    };
    job.end(context.clock.now(), end);
    pings.end(&context.config, &context.clock, &job);
    let noted = history.note(&job).and_then(|()| history.trim());
    // One that was not noted at its beginning was told of.
    if let (Ok(()), Err(error)) = (begun, noted) {
        warn(&format!("the end of this run is not noted: {error}"));
    }
    for error in pings.finish() {
        warn(&error.with_hint());
    }
    result
}

/// A job that begins now.
fn new(context: &Context, kind: JobKind, subject: Name, reason: String) -> Job {
    let now = context.clock.now();
    Job {
        id: JobId::new(&context.clock),
        app: context.config.app.name.clone(),
        environment: context.config.app.environment.clone(),
        kind,
        subject,
        slot: None,
        reason,
        called: false,
        attempt: 1,
        created: now,
        started: now,
        finished: None,
        outcome: None,
        point: None,
        message: None,
        host: host(),
        process: ProcessName::this().ok(),
    }
}

/// The end of a job that failed with this error.
pub fn failed(error: &Error) -> Ended {
    let outcome = match error.code {
        Code::Interrupted => JobOutcome::Interrupted,
        code => code.exit().into(),
    };
    Ended::of(outcome, error.with_hint())
}

pub use deed::{of_backup, of_copy, of_drill, of_prune, of_restore, of_verify, reading_since};

#[cfg(test)]
mod tests;
