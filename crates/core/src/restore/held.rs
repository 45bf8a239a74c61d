//! Databases that came back with their machine, compared with what was captured of them.

use super::checks::counts;
use super::{Restored, Stopwatch, prove};
use crate::cancel;
use crate::config::SnapshotConfig;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::expect::Percent;
use crate::fetch::Fetched;
use crate::fingerprint::Difference;
use crate::kind::Kind;
use crate::machines;
use crate::name::Name;
use crate::probe::{self, CheckOutcome, CheckResult, Subject};
use crate::source::machine::{self, Held, Machine};
use crate::source::{self, Arrived, Limit, Placed};
use crate::sqlite;
use std::time::{Duration, Instant};

/// How long a database may take until it answers, on a machine that has just come up.
const ANSWERS_WITHIN: Duration = Duration::from_secs(300);
/// How long it may refuse who asks: while a machine comes up, its SSH server may.
const REFUSES_WITHIN: Duration = Duration::from_secs(20);
/// How often it is asked.
const ANSWERS_EVERY: Duration = Duration::from_secs(2);
/// Differences that are named where there are more.
const SHOWN: usize = 5;
const EXPECTED: &str = "as in its dump of the same point";

/// Compares the databases that a machine holds with what was captured of them in the same point. The machine
/// counts as compared if each of them is equal. Does nothing where it holds none.
pub fn prove_all(
    context: &Context,
    fetched: &Fetched,
    restored: &mut Restored,
    watch: &mut Stopwatch,
) -> Vec<CheckResult> {
    let Placed::Machine(machine) = &restored.placed else {
        return Vec::new();
    };
    let mut machine = machine.clone();
    let config = context.config.source.get(&restored.source);
    let Some(config) = config.and_then(|config| config.kind.snapshots()) else {
        return Vec::new();
    };
    let (mut checks, mut limits, mut equal) = (Vec::new(), Vec::new(), 0);
    for name in &config.holds {
        let subject = Subject::held(name, &restored.source);
        let mut one = One {
            context,
            fetched,
            machine: &mut machine,
            of: &restored.source,
            name,
            config,
            limits: &mut limits,
        };
        match one.compare(subject.clone(), watch) {
            Ok(Compared::Equal(check)) => {
                equal += 1;
                checks.push(check);
            }
            Ok(Compared::Near(check, limit)) => {
                limits.push(limit);
                checks.push(check);
            }
            Ok(Compared::Apart(check)) => {
                let asked = config.tolerance.is_some();
                restored.warnings.extend((!asked).then(|| {
                    format!("if {name} is written to between its dump and the snapshot, say with `tolerance` how much may differ")
                }));
                checks.push(check);
            }
            Ok(Compared::Not(why)) => limits.push(format!("{name} was not compared: {why}")),
            Err(error) => {
                let error = cancel::explain(error);
                checks.push(CheckResult::from_error(subject, EXPECTED, &error, true));
            }
        }
    }
    if equal > 0 && equal == config.holds.len() {
        restored.differences = Some(Vec::new());
        let names: Vec<&str> = config.holds.iter().map(Name::as_str).collect();
        limits.push(format!(
            "of the machine, {} was compared, and nothing else of its disk",
            names.join(", ")
        ));
    }
    restored.limits.extend(limits.into_iter().map(Limit::Said));
    // With the host keys that were asked for.
    restored.placed = Placed::Machine(machine);
    checks
}

/// How a database on a machine compares.
enum Compared {
    /// It is equal.
    Equal(CheckResult),
    /// It differs no more than it may, with what that leaves unproved.
    Near(CheckResult, String),
    /// It differs.
    Apart(CheckResult),
    /// There is nothing to compare it with, for this reason.
    Not(&'static str),
}

/// A database on a machine.
struct One<'a> {
    context: &'a Context,
    fetched: &'a Fetched,
    machine: &'a mut Machine,
    of: &'a Name,
    name: &'a Name,
    config: &'a SnapshotConfig,
    limits: &'a mut Vec<String>,
}

impl One<'_> {
    fn compare(&mut self, subject: Subject, watch: &mut Stopwatch) -> Result<Compared> {
        let name = self.name;
        let Some(config) = self.context.config.source.get(name) else {
            return Ok(Compared::Not("it is not configured any more"));
        };
        let kind = config.kind.kind();
        let artifact = source::descriptor(kind).main_artifact();
        let details = self.fetched.details.as_ref().ok();
        let Some(captured) = details.and_then(|details| details.artifact(name, artifact)) else {
            return Ok(Compared::Not("this point has no proof of it"));
        };
        let held = self.reach()?;
        let mut arrived = Arrived::at(held.placed.clone());
        if matches!(kind, Kind::Mariadb | Kind::Mysql) {
            arrived.limits.push(Limit::Counters);
        }
        let arrived = Restored::at(name.clone(), kind, arrived);
        let compared = prove(self.context, self.fetched, arrived, watch)?;
        let of = |limit: &Limit| format!("{name} on the machine: {limit}");
        self.limits.extend(compared.limits.iter().map(of));
        let Some(differences) = compared.differences else {
            return Ok(Compared::Not("it cannot be read back"));
        };
        if differences.is_empty() {
            let (passed, same) = (CheckOutcome::Passed, "the same");
            let check = CheckResult::new(subject, compared.summary, same, passed);
            return Ok(Compared::Equal(check));
        }
        // What is written changes rows, and no definition.
        let written = differences.iter().all(Difference::is_of_rows);
        let Some(tolerance) = self.config.tolerance.filter(|_| written) else {
            let line = ToString::to_string;
            let check = CheckResult::differing(subject, compared.summary, &differences, line);
            return Ok(Compared::Apart(check));
        };
        let observed = self.counts(&held)?;
        let dumped = counts(&captured.proof);
        let check = probe::compare_counts(subject, &observed, ("its dump", &dumped), tolerance);
        Ok(match check.outcome {
            CheckOutcome::Passed => Compared::Near(check, near(name, &differences, tolerance)),
            CheckOutcome::Failed | CheckOutcome::Unknown => Compared::Apart(check),
        })
    }

    /// Waits until it answers.
    fn reach(&mut self) -> Result<Held> {
        let (name, scratch) = (self.name, self.context.state.scratch());
        let step = format!("wait for {name} on machine {}", self.machine.name);
        self.context.reporter.step(&step, None);
        let kinds = &self.context.config.source;
        let kind = kinds.get(name).map(|source| &source.kind).ok_or_else(|| {
            Error::new(
                Code::Configuration,
                format!("there is no source named {name}"),
            )
        })?;
        let provider = machines::provider(&self.context.config, self.of).ok_or_else(|| {
            Error::new(
                Code::Configuration,
                format!("source {} is no machine", self.of),
            )
        })?;
        let patience = Duration::from_secs(self.config.wait.seconds);
        let begun = Instant::now();
        loop {
            if kind.host_by_ssh().is_some() && self.machine.host_keys.is_empty() {
                self.machine.host_keys = provider.host_keys(self.machine)?;
            }
            let held = machine::held(kind, self.machine, provider.original(), &scratch)?;
            match held.answers(&self.context.scrubber) {
                Ok(()) => return Ok(held),
                Err(error) if begun.elapsed() > patience_with(&error).min(patience) => {
                    return Err(error);
                }
                Err(_) => cancel::wait(ANSWERS_EVERY)?,
            }
        }
    }

    /// Rows of each of its tables.
    fn counts(&self, held: &Held) -> Result<std::collections::BTreeMap<String, u64>> {
        match &held.placed {
            Placed::Database(database) => database.row_counts(&self.context.scrubber),
            Placed::File(path) => Ok(counts(&sqlite::observe(path)?)),
            other => Err(other.is_no_place_of("database")),
        }
    }
}

/// How long an error may last.
fn patience_with(error: &Error) -> Duration {
    match error.code {
        Code::SourceDenied => REFUSES_WITHIN,
        _ => ANSWERS_WITHIN,
    }
}

/// What is not proved of a database whose differences are few enough.
fn near(name: &Name, differences: &[Difference], tolerance: Percent) -> String {
    let mut subjects: Vec<&str> = differences.iter().map(|d| d.subject.as_str()).collect();
    subjects.truncate(SHOWN);
    let more = differences.len().saturating_sub(SHOWN);
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{name} on the machine differs from its dump in {}{more}, with row counts within {tolerance}: what was written between the two was not told from what was lost",
        subjects.join(", ")
    )
}
