//! `lifeboat restore`.

use super::Run;
use super::drill::{show_evidence, show_record, verdict};
use crate::args;
use crate::output::Printer;
use lifeboat_core::cold::Want;
use lifeboat_core::context::Context;
use lifeboat_core::history::{Ended, JobKind, JobOutcome};
use lifeboat_core::job;
use lifeboat_core::name::Name;
use lifeboat_core::point::Selector;
use lifeboat_core::restore::live::{self, Answer, Options, Planned, Report, Target};
use lifeboat_core::restore::{Undone, UndoneOutcome, application, interrupted};
use lifeboat_core::shell::quote;
use lifeboat_core::{Code, Error, Exit, Result};

pub fn run(run: &Run<'_>, args: &args::Restore) -> Result<Exit> {
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
        store: args.from.store.clone(),
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
    let store = options.store.as_deref();
    let from = run.context_as_of(&args.cold, &args.as_of, store, &want)?;
    // The live application is that of now, and so is its record, wherever the points are read.
    let present = match (from.as_of(), &options.target) {
        (Some(_), None | Some(Target::Live)) => Some(run.context()?),
        _ => None,
    };
    let answer = carry_out(&from, present.as_ref().unwrap_or(&from), &options)?;
    match answer {
        Answer::Planned(planned) => {
            run.answer(&planned.document(), |out| {
                show_plan(run, out, &planned, &from, args);
            })?;
            Ok(Exit::NeedsConfirmation)
        }
        Answer::Done(report) => {
            run.answer(&report.document(), |out| show_report(out, &report))?;
            Ok(report.exit())
        }
    }
}

/// Runs the restore of points that are read from `from`, as a job if it is to change anything.
fn carry_out(from: &Context, context: &Context, options: &Options) -> Result<Answer> {
    let work = || live::run(from, context, options);
    let acts = match &options.target {
        None => false,
        Some(Target::Live) => live::confirm(&context.config, options).is_ok(),
        Some(_) => !context.is_passing(),
    };
    if !acts {
        return work();
    }
    let ended = |answer: &Answer| match answer {
        Answer::Done(report) => job::of_restore(report),
        Answer::Planned(_) => Ended::of(JobOutcome::Done, "planned"),
    };
    let app = &context.config.app.name;
    job::record(context, JobKind::Restore, app, work, ended)
}

fn undo(run: &Run<'_>, args: &args::Restore) -> Result<Exit> {
    let context = run.context()?;
    let undone = Undone::from(interrupted::undo(&context, args.confirm.as_deref())?);
    run.answer(&undone, |out| {
        if undone.outcome == UndoneOutcome::Nothing {
            return out.line("no swap was interrupted: there is nothing to undo");
        }
        undone.steps.iter().for_each(|step| out.line(step));
        let start = &context.config.restore.start;
        if !start.is_empty() {
            out.line("next: start what the restore had stopped");
            let commands = start.iter();
            commands.for_each(|words| out.line(format!("  {}", words.join(" "))));
        }
    })?;
    Ok(Exit::Done)
}

/// What was said of what is to be restored, as it is said again.
fn said(args: &args::Restore) -> String {
    let mut words = Vec::new();
    let mut say = |option: &str, value: &str| words.push(format!(" {option} {}", quote(value)));
    args.plan.iter().for_each(|plan| say("--plan", plan));
    args.sources
        .iter()
        .for_each(|source| say("--source", source));
    args.from
        .store
        .iter()
        .for_each(|store| say("--store", store));
    let flags = [
        (args.allow_partial, " --allow-partial"),
        (args.unproven, " --unproven"),
    ];
    words.extend(
        flags
            .iter()
            .filter(|(given, _)| *given)
            .map(|(_, flag)| (*flag).to_owned()),
    );
    words.concat()
}

fn show_plan(
    run: &Run<'_>,
    out: &Printer,
    planned: &Planned,
    from: &Context,
    args: &args::Restore,
) {
    let app = &from.config.app;
    let app = format!("{}/{}", app.name, app.environment);
    let (stood, as_of) = match from.as_of() {
        Some(at) => (format!(" as it stood at {at},"), format!(" --as-of {at}")),
        None => (String::new(), String::new()),
    };
    // Several points have no id together.
    let asked = match planned.points.as_slice() {
        [one] => one.as_str(),
        _ => args.point.as_deref().unwrap_or("latest"),
    };
    let said = said(args);
    out.line(format!(
        "restoring {} from store {}{stood} onto {app} would:",
        application::join_ids(&planned.points),
        planned.store
    ));
    let steps = planned.steps.iter().enumerate();
    steps.for_each(|(n, step)| out.line(format!("  {}. {step}", n + 1)));
    let again = run.command(&format!("restore {asked}{said}{as_of}"));
    out.line("nothing was done. To carry it out:");
    out.line(format!("  {again} --live --confirm {app} --reason TEXT"));
    out.line("or, to look at it first, into a directory or another database:");
    out.line(format!("  {again} --to DIRECTORY"));
}

pub fn show_report(out: &Printer, report: &Report) {
    let record = &report.evidence.record;
    match report.undone {
        Some(true) => out.line("FAILED AND SWAPPED BACK: the application is as it was before"),
        Some(false) => out.line(
            "FAILED, AND NOT ALL OF IT COULD BE SWAPPED BACK: see below, and `lifeboat doctor`",
        ),
        None => {}
    }
    report.partial.iter().for_each(|lacking| out.line(lacking));
    let left_out = record.points.iter().flat_map(|p| &p.left_out);
    let left_out: Vec<&str> = left_out.map(Name::as_str).collect();
    let alone = match left_out.is_empty() {
        true => String::new(),
        false => format!(" (a part: without {})", left_out.join(", ")),
    };
    out.line(format!(
        "restore to {}: {}{alone}",
        record.target.as_deref().unwrap_or_default(),
        verdict(record.outcome)
    ));
    for (source, place) in &report.places {
        out.line(format!("  {source} is at {place}"));
    }
    show_record(out, record);
    for safety in &report.safety_points {
        out.line(format!("  safety point, taken before: {safety}"));
    }
    let warnings = report.warnings.iter();
    warnings.for_each(|warning| out.line(format!("note: {warning}")));
    show_evidence(out, &report.evidence);
}
