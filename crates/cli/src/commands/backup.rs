//! `lifeboat backup`.

use super::Run;
use crate::args;
use crate::output::{self, line};
use lifeboat_core::backup::{self, Options, Report};
use lifeboat_core::point::Outcome;
use lifeboat_core::{Code, Error, Result};
use std::collections::BTreeSet;

pub fn run(run: &Run<'_>, args: &args::Backup) -> Result<u8> {
    let context = run.context()?;
    let options = Options {
        safety: false,
        slot: None,
        plan: args.plan.clone(),
        reason: args.reason.clone(),
    };
    if args.dry_run {
        let planned = backup::plan(&context, &options)?;
        run.results();
        if run.cli.json {
            output::json(
                &serde_json::json!({ "schema": 1, "plan": planned.plan, "steps": planned.steps }),
            )?;
        } else {
            line(format!("a backup of plan {} would:", planned.plan));
            planned
                .steps
                .iter()
                .for_each(|step| line(format!("  {step}")));
        }
        return Ok(0);
    }
    let report = backup::run(&context, &options)?;
    run.results();
    if run.cli.json {
        output::json(&document(&report))?;
    } else if report.outcome != Outcome::Failed {
        show(&report);
    }
    match (report.outcome, report.missing_copies.is_empty()) {
        (Outcome::Complete, true) => Ok(0),
        (Outcome::Failed, _) => {
            let error = report
                .failure
                .clone()
                .unwrap_or_else(|| Error::new(Code::SourceFailed, "nothing was captured"));
            if run.cli.json {
                return Ok(error.code.exit_code());
            }
            Err(error)
        }
        _ => Ok(3),
    }
}

/// The report, and the error that nothing was committed for.
fn document(report: &Report) -> serde_json::Value {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    if let (serde_json::Value::Object(map), Some(error)) = (&mut value, &report.failure) {
        map.insert("error".into(), output::error_value(error));
    }
    value
}

fn show(report: &Report) {
    let stored: u64 = report
        .artifacts
        .iter()
        .flat_map(|a| &a.stored)
        .map(|s| s.bytes)
        .sum();
    let bytes: u64 = report.artifacts.iter().map(|a| a.bytes).sum();
    line(format!(
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
    line(output::table(
        &["source", "artifact", "bytes", "stored", "stores"],
        rows,
    ));
    // Each was told as a warning when it happened, and a store's is told below.
    let failed = report
        .errors
        .iter()
        .map(|error| error.split(": ").next().unwrap_or(error));
    let failed: BTreeSet<&str> = failed
        .filter(|failed| !failed.starts_with("store "))
        .collect();
    for failed in failed {
        line(format!("not done: {failed}; a warning above says why"));
    }
    for store in &report.missing_copies {
        line(format!(
            "missing copy: store {store} does not hold this point; heal it with: lifeboat copy {} --to {store}",
            report.point
        ));
    }
    line(format!("next: lifeboat drill --point {}", report.point));
}
