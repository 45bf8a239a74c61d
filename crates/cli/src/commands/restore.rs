//! `lifeboat restore`.

use super::Run;
use super::drill::{checks, show_evidence, show_record, verdict};
use crate::args;
use crate::output::{self, line};
use lifeboat_core::cold::Want;
use lifeboat_core::evidence::Verdict;
use lifeboat_core::point::Selector;
use lifeboat_core::restore::half_way;
use lifeboat_core::restore::live::{self, Answer, Options, Planned, Report, Target};
use lifeboat_core::{Code, Error, Result};
use serde_json::json;

pub fn run(run: &Run<'_>, args: &args::Restore) -> Result<u8> {
    let Some(point) = &args.point else {
        return undo(run, args);
    };
    if args.confirm.is_some() && !args.live {
        return Err(Error::new(
            Code::Usage,
            "--confirm is of a live restore, and --live is not given",
        )
        .hint("add --live, or leave --confirm out"));
    }
    let target = match (&args.to, args.live) {
        (Some(to), _) => Some(Target::parse(to)?),
        (None, true) => Some(Target::Live),
        (None, false) => None,
    };
    let options = Options {
        point: Selector::parse(point)?,
        sources: args.sources.clone(),
        store: args.store.clone(),
        target,
        confirm: args.confirm.clone(),
        reason: args.reason.clone(),
        unproven: args.unproven,
    };
    if args.cold.store_url.is_some() && options.target.is_none() {
        return Err(Error::new(Code::Usage, "nothing says where to restore to")
            .hint("add --to DIRECTORY, or --to with the URL of an empty database"));
    }
    let want = Want::Point(options.point.clone());
    let context = run.context_for(&args.cold, &want)?;
    let answer = live::run(&context, &options)?;
    run.results();
    match answer {
        Answer::Planned(planned) => {
            let app = &context.config.app;
            show_plan(run, &planned, &format!("{}/{}", app.name, app.environment))?;
            Ok(7)
        }
        Answer::Done(report) => show_report(run, &report),
    }
}

fn undo(run: &Run<'_>, args: &args::Restore) -> Result<u8> {
    let context = run.context()?;
    let done = half_way::undo(&context, args.confirm.as_deref())?;
    run.results();
    let start = &context.config.restore.start;
    if run.cli.json {
        output::json(&json!({
            "schema": 1, "outcome": if done.is_empty() { "nothing" } else { "undone" }, "steps": done,
        }))?;
        return Ok(0);
    }
    if done.is_empty() {
        line("nothing is half-way");
        return Ok(0);
    }
    done.iter().for_each(line);
    if !start.is_empty() {
        line("next: start what the restore had stopped");
        start
            .iter()
            .for_each(|words| line(format!("  {}", words.join(" "))));
    }
    Ok(0)
}

fn show_plan(run: &Run<'_>, planned: &Planned, app: &str) -> Result<()> {
    if run.cli.json {
        return output::json(&json!({
            "schema": 1, "point": planned.point, "store": planned.store, "outcome": "planned", "steps": planned.steps,
        }));
    }
    line(format!(
        "restoring {} from store {} onto {app} would:",
        planned.point, planned.store
    ));
    planned
        .steps
        .iter()
        .enumerate()
        .for_each(|(n, step)| line(format!("  {}. {step}", n + 1)));
    line("nothing was done. To carry it out:");
    line(format!(
        "  lifeboat restore {} --live --confirm {app} --reason TEXT",
        planned.point
    ));
    line("or, to look at it first, into a directory or another database:");
    line(format!(
        "  lifeboat restore {} --to DIRECTORY",
        planned.point
    ));
    Ok(())
}

fn show_report(run: &Run<'_>, report: &Report) -> Result<u8> {
    let record = &report.evidence.record;
    let point = record.points.first();
    if run.cli.json {
        output::json(&json!({
            "schema": 1,
            "point": point.map(|p| &p.point),
            "target": record.target,
            "outcome": record.outcome,
            "sources": point.map(|p| &p.sources),
            "places": report.places.iter().map(|(s, p)| json!({ "source": s, "place": p })).collect::<Vec<_>>(),
            "safety_point": report.safety_point,
            "checks": checks(record),
            "limits": record.limits(),
            "warnings": report.warnings,
            "seconds": record.rto_seconds,
            "evidence": report.evidence.key,
        }))?;
    } else {
        line(format!(
            "restore to {}: {}",
            record.target.as_deref().unwrap_or_default(),
            verdict(record.outcome)
        ));
        report
            .places
            .iter()
            .for_each(|(source, place)| line(format!("  {source} is at {place}")));
        show_record(record);
        if let Some(safety) = &report.safety_point {
            line(format!("  safety point, taken before: {safety}"));
        }
        report
            .warnings
            .iter()
            .for_each(|w| line(format!("note: {w}")));
        show_evidence(&report.evidence);
    }
    Ok(match record.outcome {
        Verdict::Verified | Verdict::Restored => 0,
        Verdict::Unverifiable | Verdict::Failed => 4,
        Verdict::Interrupted => Code::Interrupted.exit_code(),
    })
}
