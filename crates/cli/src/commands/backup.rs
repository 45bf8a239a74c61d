//! `lifeboat backup`.

use super::Run;
use crate::args;
use crate::output::{self, Printer};
use lifeboat_core::backup::{self, Options, Report};
use lifeboat_core::history::JobKind;
use lifeboat_core::job;
use lifeboat_core::{Exit, Result};
use std::collections::BTreeSet;

pub fn run(run: &Run<'_>, args: &args::Backup) -> Result<Exit> {
    let context = run.context()?;
    let options = Options {
        safety: false,
        slot: None,
        plan: args.plan.clone(),
        reason: args.reason.clone(),
    };
    if args.dry_run {
        let planned = backup::plan(&context, &options)?;
        run.answer(&planned, |out| {
            out.line(format!("a backup of plan {} would:", planned.plan));
            let steps = planned.steps.iter();
            steps.for_each(|step| out.line(format!("  {step}")));
        })?;
        return Ok(Exit::Done);
    }
    let (plan, _) = backup::choose_plan(&context.config, args.plan.as_deref())?;
    let work = || backup::run(&context, &options);
    let report = job::record(&context, JobKind::Backup, plan, work, job::of_backup)?;
    run.results();
    if run.out.is_json() {
        // The report says which version of the format it is, and names what it failed with.
        run.out.json(&report)?;
        return Ok(report.exit());
    }
    match report.refusal() {
        Some(error) => Err(error),
        None => {
            match report.unchanged {
                true => show_unchanged(run.out, &report),
                false => show(run, &report),
            }
            Ok(report.exit())
        }
    }
}

/// Says that nothing changed, as far as that goes.
fn show_unchanged(out: &Printer, report: &Report) {
    let bytes: u64 = report.artifacts.iter().map(|a| a.bytes).sum();
    out.line(format!(
        "unchanged since {}: {} captured, nothing of it new, so no point was taken",
        report.point,
        output::bytes(bytes),
    ));
    for error in &report.errors {
        out.line(format!("not noted: {error}"));
    }
}

fn show(run: &Run<'_>, report: &Report) {
    let out = run.out;
    let stored: u64 = report
        .artifacts
        .iter()
        .flat_map(|a| &a.stored)
        .map(|s| s.bytes)
        .sum();
    let bytes: u64 = report.artifacts.iter().map(|a| a.bytes).sum();
    out.line(format!(
        "{} {}: {} captured, {} stored, {}",
        report.point,
        report.outcome.as_str(),
        output::bytes(bytes),
        output::bytes(stored),
        output::seconds(report.seconds)
    ));
    let rows = report.artifacts.iter().map(|a| {
        let stores: Vec<_> = a.stored.iter().map(|s| s.store.clone()).collect();
        let stored = a
            .stored
            .first()
            .map_or_else(String::new, |s| output::bytes(s.bytes));
        vec![
            a.source.clone(),
            a.name.clone(),
            output::bytes(a.bytes),
            stored,
            stores.join(", "),
        ]
    });
    out.table(&["source", "artifact", "bytes", "stored", "stores"], rows);
    // Each was told as a warning when it happened, and a store's is told below.
    let failed = report
        .errors
        .iter()
        .map(|error| error.split(": ").next().unwrap_or(error));
    let failed: BTreeSet<&str> = failed
        .filter(|failed| !failed.starts_with("store "))
        .collect();
    for failed in failed {
        out.line(format!("not done: {failed}; a warning above says why"));
    }
    for store in &report.missing_copies {
        out.line(format!(
            "missing copy: store {store} does not hold this point; heal it with: lifeboat copy {} --to {store}",
            report.point
        ));
    }
    run.next(out, &format!("drill --point {}", report.point));
}
