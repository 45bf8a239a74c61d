//! `lifeboat prune`, `lifeboat pin` and `lifeboat unpin`.

use super::Run;
use crate::args;
use crate::output::{self, Printer};
use jiff::Timestamp;
use lifeboat_core::history::JobKind;
use lifeboat_core::job;
use lifeboat_core::pin::{self, Pinned};
use lifeboat_core::point::{PointId, Selector};
use lifeboat_core::prune::{
    self, Amount, Fate, MachinePruned, Options, Report, Simulated, SimulatedStore, StorePruned,
};
use lifeboat_core::span::Span;
use lifeboat_core::{Code, Error, Exit, Result};
use std::collections::BTreeSet;

pub fn run(run: &Run<'_>, args: &args::Prune) -> Result<Exit> {
    let context = run.context()?;
    if let Some(span) = &args.simulate {
        let span: Span = span
            .parse()
            .map_err(|error| Error::new(Code::Usage, error))?;
        let simulated = prune::simulate(&context, args.plan.as_deref(), span)?;
        for error in &simulated.errors {
            run.warn(&error.to_string());
        }
        run.answer(&simulated, |out| tell_simulated(out, &simulated))?;
        return Ok(simulated.exit());
    }
    let options = Options {
        plan: args.plan.clone(),
        store: args.store.clone(),
        dry_run: args.dry_run,
        beyond_limit: args.yes,
        reading_since: job::reading_since(&context)?,
    };
    let work = || prune::run(&context, &options);
    let plan = args.plan.as_deref();
    let plan = plan.and_then(|plan| context.config.plan.get_key_value(plan));
    let report = match args.dry_run {
        true => work()?,
        false => {
            let subject = plan.map_or(job::POINTS, |(plan, _)| plan.clone());
            job::record(&context, JobKind::Prune, &subject, work, job::of_prune)?
        }
    };
    run.results();
    for error in report.errors() {
        run.warn(&error.with_hint());
    }
    let now = context.clock.now();
    run.answer(&report, |out| {
        for store in &report.stores {
            tell_store(out, store, args, now);
        }
        for machine in &report.machines {
            tell_machine(out, machine, report.dry_run);
        }
        tell_sum(out, &report);
    })?;
    Ok(report.exit())
}

fn tell_store(out: &Printer, store: &StorePruned, args: &args::Prune, now: Timestamp) {
    let name = &store.store;
    if store.elsewhere {
        return out.line(format!("store {name}: others delete there (pruned_by)"));
    }
    let shown = store
        .points
        .iter()
        .filter(|point| args.dry_run || args.all || point.fate != Fate::Kept);
    let rows: Vec<Vec<String>> = shown
        .rev()
        .map(|point| {
            vec![
                point.point.to_string(),
                output::age(point.point.time(), now),
                point.plan.to_string(),
                point.fate.as_str().to_owned(),
                output::bytes(point.bytes),
                point.said.clone(),
            ]
        })
        .collect();
    let kept = store.points.iter().filter(|point| point.fate == Fate::Kept);
    out.line(format!(
        "store {name}: {}, {} kept",
        output::count(store.points.len(), "point"),
        kept.count()
    ));
    if !rows.is_empty() {
        out.table(&["point", "age", "plan", "what", "stored", "why"], rows);
    }
    if store.others > 0 {
        out.line(format!(
            "left alone: {} of plans that the configuration does not have, or of signers who are not trusted",
            output::count(store.others, "copy")
        ));
    }
    for key in &store.left {
        out.line(format!(
            "left: {key} is not what its manifest named; look at it, and delete it by hand"
        ));
    }
}

fn tell_machine(out: &Printer, machine: &MachinePruned, dry_run: bool) {
    let goes = if dry_run { "would go" } else { "deleted" };
    // A copy goes with its snapshot.
    let points: BTreeSet<&PointId> = machine.deleted.iter().map(|one| &one.point).collect();
    out.line(format!(
        "source {}: {} of plan {} kept where they are, {} {goes}",
        machine.source,
        output::count(machine.kept, "snapshot"),
        machine.plan,
        points.len()
    ));
    for snapshot in &machine.deleted {
        let region = snapshot.region.as_deref();
        let region = region
            .map(|region| format!(" in {region}"))
            .unwrap_or_default();
        out.line(format!("  {}{region} of {}", snapshot.name, snapshot.point));
    }
    if machine.others > 0 {
        out.line(format!(
            "left alone: {} of the machine that no point names",
            output::count(machine.others, "snapshot")
        ));
    }
}

fn tell_simulated(out: &Printer, simulated: &Simulated) {
    out.line(format!("at {}:", simulated.at.strftime("%Y-%m-%d %H:%M")));
    for store in &simulated.stores {
        let SimulatedStore {
            store: name,
            plan,
            now,
            then,
            ..
        } = store;
        if let Some(why) = &store.unknown {
            out.line(format!("plan {plan} in store {name}: unknown, since {why}"));
            continue;
        }
        out.line(format!("plan {plan} in store {name}:"));
        let row = |age: String, now: String, then: String| vec![age, now, then];
        let mut rows = Vec::new();
        let mut above = None;
        for aged in &store.ages {
            let up_to = aged.up_to_seconds.map(|seconds| Span { seconds });
            let age = match (above, up_to) {
                (_, Some(up_to)) => format!("to {up_to}"),
                (Some(above), None) => format!("over {above}"),
                (None, None) => String::new(),
            };
            above = up_to.or(above);
            if aged.now + aged.then > 0 {
                rows.push(row(age, aged.now.to_string(), aged.then.to_string()));
            }
        }
        let all = |amount: &Amount| match amount.bytes {
            Some(bytes) => format!("{}, {}", amount.points, output::bytes(bytes)),
            None => amount.points.to_string(),
        };
        rows.push(row("all".to_owned(), all(now), all(then)));
        out.table(&["age", "now", "then"], rows);
    }
}

fn tell_sum(out: &Printer, report: &Report) {
    let mut parts = Vec::new();
    let mut part = |fate: Fate, text: &str| {
        let count = report.count(fate);
        if count > 0 {
            parts.push(format!("{} {text}", output::count(count, "copy")));
        }
    };
    part(Fate::Announced, "announced");
    part(Fate::Waiting, "waiting");
    part(Fate::Returned, "kept after all");
    part(Fate::Deleted, "deleted");
    part(Fate::Unfinished, "not deleted to the end");
    part(Fate::NotDone, "not touched");
    let snapshots: usize = report
        .machines
        .iter()
        .map(|machine| machine.deleted.len())
        .sum();
    if snapshots > 0 {
        parts.push(format!("{} deleted", output::count(snapshots, "snapshot")));
    }
    let freed = report.freed_bytes();
    if freed > 0 {
        parts.push(format!("{} freed", output::bytes(freed)));
    }
    let parts = match parts.is_empty() {
        true => "nothing goes".to_owned(),
        false => parts.join(", "),
    };
    out.line(match report.dry_run {
        true => format!("would be: {parts}; nothing was done"),
        false => parts,
    });
    if report.count(Fate::Announced) > 0 && !report.dry_run {
        out.line("announced copies are deleted by a prune after the grace period (prune_grace)");
    }
}

pub fn pin(run: &Run<'_>, args: &args::PinArgs, pinned: bool) -> Result<Exit> {
    let context = run.context()?;
    let selector = Selector::parse(&args.point)?;
    let reason = args.reason.as_deref().unwrap_or_default();
    let said = match pinned {
        true => pin::pin(&context, &selector, reason)?,
        false => pin::unpin(&context, &selector, reason)?,
    };
    run.results();
    for error in &said.errors {
        run.warn(&error.to_string());
    }
    run.answer(&said, |out| tell_pin(out, &said))?;
    Ok(said.exit())
}

fn tell_pin(out: &Printer, said: &Pinned) {
    let Pinned { point, stores, .. } = said;
    let told = stores.join(", ");
    out.line(match said.pinned {
        true => format!("{point} is pinned: no rule deletes it (told: {told})"),
        false => format!("{point} is not pinned any more: the rules decide (told: {told})"),
    });
    for store in &said.was_leaving {
        out.line(format!("it was leaving store {store}, and stays there now"));
    }
}
