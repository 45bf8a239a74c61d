//! `lifeboat restore`.

use super::Run;
use super::drill::{checks, show_evidence, show_record, verdict};
use crate::args;
use crate::output::{self, line};
use lifeboat_core::cold::Want;
use lifeboat_core::evidence::Verdict;
use lifeboat_core::name::Name;
use lifeboat_core::point::Selector;
use lifeboat_core::restore::live::{self, Answer, Options, Planned, Report, Target};
use lifeboat_core::restore::{half_way, together};
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
        plan: args.plan.clone(),
        sources: args.sources.clone(),
        allow_partial: args.allow_partial,
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
            let app = format!("{}/{}", app.name, app.environment);
            show_plan(run, &planned, &app, point)?;
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

fn show_plan(run: &Run<'_>, planned: &Planned, app: &str, given: &str) -> Result<()> {
    // Several points have no id together.
    let asked = match planned.points.as_slice() {
        [one] => one.as_str(),
        _ => given,
    };
    if run.cli.json {
        return output::json(&json!({
            "schema": 1, "point": planned.point, "points": planned.points, "store": planned.store, "outcome": "planned",
            "steps": planned.steps,
        }));
    }
    line(format!(
        "restoring {} from store {} onto {app} would:",
        together::named(&planned.points),
        planned.store
    ));
    planned
        .steps
        .iter()
        .enumerate()
        .for_each(|(n, step)| line(format!("  {}. {step}", n + 1)));
    line("nothing was done. To carry it out:");
    line(format!(
        "  lifeboat restore {asked} --live --confirm {app} --reason TEXT"
    ));
    line("or, to look at it first, into a directory or another database:");
    line(format!("  lifeboat restore {asked} --to DIRECTORY"));
    Ok(())
}

fn show_report(run: &Run<'_>, report: &Report) -> Result<u8> {
    let record = &report.evidence.record;
    let point = record.points.first();
    let sources: Vec<&Name> = record.points.iter().flat_map(|p| &p.sources).collect();
    if run.cli.json {
        output::json(&json!({
            "schema": 1,
            "point": point.map(|p| &p.point),
            "points": record.points,
            "target": record.target,
            "outcome": record.outcome,
            "sources": sources,
            "partial": report.partial,
            "swapped_back": report.undone,
            "places": report.places.iter().map(|(s, p)| json!({ "source": s, "place": p })).collect::<Vec<_>>(),
            "safety_point": report.safety_points.first(),
            "safety_points": report.safety_points,
            "checks": checks(record),
            "limits": record.limits(),
            "warnings": report.warnings,
            "seconds": record.rto_seconds,
            "evidence": report.evidence.key,
        }))?;
    } else {
        match report.undone {
            Some(true) => {
                line("FAILED AND SWAPPED BACK: the application is as it was before");
            }
            Some(false) => line(
                "FAILED, AND NOT ALL OF IT COULD BE SWAPPED BACK: see below, and `lifeboat doctor`",
            ),
            None => {}
        }
        report.partial.iter().for_each(line);
        let left_out = record.points.iter().flat_map(|p| &p.left_out);
        let left_out: Vec<&str> = left_out.map(Name::as_str).collect();
        let alone = match left_out.is_empty() {
            true => String::new(),
            false => format!(" (a part: without {})", left_out.join(", ")),
        };
        line(format!(
            "restore to {}: {}{alone}",
            record.target.as_deref().unwrap_or_default(),
            verdict(record.outcome)
        ));
        report
            .places
            .iter()
            .for_each(|(source, place)| line(format!("  {source} is at {place}")));
        show_record(record);
        for safety in &report.safety_points {
            line(format!("  safety point, taken before: {safety}"));
        }
        report
            .warnings
            .iter()
            .for_each(|w| line(format!("note: {w}")));
        show_evidence(&report.evidence);
    }
    Ok(match record.outcome {
        Verdict::Verified | Verdict::Restored if report.partial.is_some() => 3,
        Verdict::Verified | Verdict::Restored => 0,
        Verdict::Unverifiable | Verdict::Failed => 4,
        Verdict::Interrupted => Code::Interrupted.exit_code(),
    })
}
