//! `lifeboat drill`.

use super::Run;
use crate::args;
use crate::output::{self, Printer};
use lifeboat_core::context::Context;
use lifeboat_core::drill::{self, Options};
use lifeboat_core::evidence::{Appended, Record, Verdict};
use lifeboat_core::history::JobKind;
use lifeboat_core::job;
use lifeboat_core::probe::{CheckOutcome, CheckResult, DIFFERENCES_SHOWN};
use lifeboat_core::{Exit, Result};

pub fn run(run: &Run<'_>, args: &args::Drill) -> Result<Exit> {
    let context = run.context()?;
    let options = Options {
        drill: args.drill.clone(),
        point: args.point.clone(),
        store: args.store.clone(),
    };
    let (name, _) = drill::choose_drill(&context.config, args.drill.as_deref())?;
    let work = || drill::run(&context, &options);
    let report = job::record(&context, JobKind::Drill, &name, work, job::of_drill)?;
    run.answer(&report.document(), |out| {
        let record = &report.evidence.record;
        out.line(format!(
            "drill {}: {}",
            record.drill.as_deref().unwrap_or_default(),
            verdict(record.outcome)
        ));
        show_record(out, record);
        let warnings = report.warnings.iter();
        warnings.for_each(|warning| out.line(format!("note: {warning}")));
        show_evidence(out, &report.evidence);
        next(run, out, &context, record);
    })?;
    Ok(report.exit())
}

/// What comes next: to let it run by itself, or to find out which copies are damaged.
fn next(run: &Run<'_>, out: &Printer, context: &Context, record: &Record) {
    match (record.outcome, record.points.first()) {
        (Verdict::Verified | Verdict::Restored, _) if !job::begun(context).by_itself => {
            run.next(out, "init --systemd   lets it run by itself");
        }
        (Verdict::Failed, Some(point)) => run.next(out, &format!("verify {}", point.point)),
        _ => {}
    }
}

/// Says how to see the differences that the text of a record does not show, where there are any.
pub fn show_where_all_are(out: &Printer, record: &Record) {
    let shows_all = |check: &CheckResult| check.listed.len() <= DIFFERENCES_SHOWN;
    if !record.checks.iter().all(shows_all) {
        out.line(format!(
            "  all differences: lifeboat --json evidence show {}",
            record.id
        ));
    }
}

/// A verdict, coloured.
pub fn verdict(verdict: Verdict) -> String {
    let colour = match verdict {
        Verdict::Verified => 32,
        Verdict::Restored | Verdict::Unverifiable | Verdict::Interrupted => 33,
        Verdict::Failed => 31,
    };
    format!("\x1b[{colour}m{}\x1b[0m", verdict.as_str())
}

/// What a record says, for people.
pub fn show_record(out: &Printer, record: &Record) {
    for point in &record.points {
        let store = point.store.as_deref().unwrap_or("none");
        out.line(format!(
            "  point {} of plan {}, copy in store {store}",
            point.point,
            point.plan.as_deref().unwrap_or("unknown")
        ));
    }
    for check in &record.checks {
        let mark = match check.outcome {
            CheckOutcome::Passed => "\x1b[32mpassed\x1b[0m ",
            CheckOutcome::Failed => "\x1b[31mfailed\x1b[0m ",
            CheckOutcome::Unknown => "\x1b[33munknown\x1b[0m",
        };
        out.line(format!(
            "  {mark} {}: expected {}; observed {}",
            check.question(),
            check.expected(),
            // What a command says may have several lines, and this is one.
            output::joined(check.observed())
        ));
    }
    record
        .limits()
        .into_iter()
        .for_each(|limit| out.line(format!("  limit   {limit}")));
    let measured = |what: &str, seconds: f64, target: Option<u64>, missed: bool| {
        let measured = output::seconds(seconds);
        match target.map(|s| output::seconds(s as f64)) {
            None => format!("{what} {measured}"),
            Some(target) if missed => {
                format!("{what} {measured}, \x1b[31mMISSED\x1b[0m its objective of {target}")
            }
            Some(target) => format!("{what} {measured} (objective {target})"),
        }
    };
    let time = (record.rto_seconds, record.rto_target_seconds);
    let point = (record.rpo_seconds, record.rpo_target_seconds);
    out.line(format!(
        "  {}",
        measured("recovery time", time.0, time.1, record.missed_rto())
    ));
    out.line(format!(
        "  {}",
        measured("recovery point", point.0, point.1, record.missed_rpo())
    ));
    if let Some(down) = record.downtime_seconds {
        let down = output::seconds(down);
        out.line(format!("  downtime {down}, from stop to start"));
    }
}

/// Where the evidence is.
pub fn show_evidence(out: &Printer, evidence: &Appended) {
    match &evidence.key {
        Some(key) => {
            show_where_all_are(out, &evidence.record);
            out.line(format!(
                "  evidence {} number {}, {key}",
                evidence.record.id, evidence.record.sequence
            ));
        }
        None => out.line("  no evidence is kept: nothing here signs in the application's name"),
    }
    for (store, error) in &evidence.missing {
        out.line(format!(
            "  store {store} did not receive the evidence and will with the next record: {error}"
        ));
    }
}
