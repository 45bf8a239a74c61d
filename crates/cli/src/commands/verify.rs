//! `lifeboat verify`.

use super::Run;
use crate::args;
use crate::output::Printer;
use lifeboat_core::amount;
use lifeboat_core::cold::Want;
use lifeboat_core::context::Context;
use lifeboat_core::history::JobKind;
use lifeboat_core::job;
use lifeboat_core::point::Selector;
use lifeboat_core::verify::{self, Soundness, Verified, VerifiedObject, VerifiedPoint, Which};
use lifeboat_core::{Code, Error, Exit, Result};

pub fn run(run: &Run<'_>, args: &args::Verify) -> Result<Exit> {
    let which = match (&args.point, args.all, &args.sample) {
        (Some(point), _, _) => Which::One(Selector::parse(point)?),
        (None, true, _) => Which::All,
        (None, false, Some(sample)) => Which::Sample(percent(sample)?),
        (None, false, None) => Which::Newest,
    };
    let want = Want::Point(match &which {
        Which::One(selector) => selector.clone(),
        _ => Selector::Latest,
    });
    let store = args.within.store.as_deref();
    let context = run.context_as_of(&args.cold, &args.as_of, store, &want)?;
    let work = || verify::run(&context, &which, store);
    let verified = match context.is_passing() {
        true => work()?,
        false => job::record(
            &context,
            JobKind::Verify,
            &job::POINTS,
            work,
            job::of_verify,
        )?,
    };
    run.answer(&verified.document(), |out| {
        verified.points.iter().for_each(|point| show(out, point));
        let others = verified.instructions.iter().chain(&verified.unread);
        others.for_each(|object| show_unsound(out, object));
        if !context.is_passing() {
            next(run, out, &context, &verified);
        }
    })?;
    Ok(verified.exit())
}

/// What comes next: a drill, until schedules are followed here, or another copy of what is not whole.
fn next(run: &Run<'_>, out: &Printer, context: &Context, verified: &Verified) {
    let all = verified.points.iter();
    let unsound = |object: &&VerifiedObject| {
        matches!(object.outcome, Soundness::Damaged | Soundness::Missing)
    };
    let wrong = all
        .clone()
        .find_map(|point| Some((point, point.objects.iter().find(unsound)?)));
    match wrong {
        Some((point, object)) if context.config.store.len() > 1 => {
            run.next(out, &format!("copy {} --to {}", point.point, object.store));
        }
        Some(_) => run.next(out, "backup   takes another point"),
        None if all.clone().any(lacks_a_snapshot) => {
            run.next(out, "backup   takes another snapshot");
        }
        None if all.len() > 0 && !job::begun(context).by_itself => run.next(out, "drill"),
        None => {}
    }
}

/// Whether a snapshot that should be there is not, or cannot be used.
fn lacks_a_snapshot(point: &VerifiedPoint) -> bool {
    let wrong = |outcome| matches!(outcome, Soundness::Damaged | Soundness::Missing);
    let mut snapshots = point.snapshots.iter();
    snapshots.any(|snapshot| !snapshot.released && wrong(snapshot.outcome))
}

fn percent(text: &str) -> Result<u8> {
    amount::share(text).ok_or_else(|| {
        Error::new(Code::Usage, format!("{text:?} is no share")).hint("write it as --sample 10%")
    })
}

/// Shows an object, unless it is intact.
fn show_unsound(out: &Printer, object: &VerifiedObject) {
    if object.outcome == Soundness::Intact {
        return;
    }
    let detail = object.detail.as_deref().unwrap_or_default();
    out.line(format!(
        "  {} {}: {}: {detail}",
        object.store,
        object.key,
        object.outcome.as_str()
    ));
}

fn show(out: &Printer, verified: &VerifiedPoint) {
    out.line(format!("{} {}", verified.point, verified.outcome.as_str()));
    verified
        .objects
        .iter()
        .for_each(|one| show_unsound(out, one));
    let intact = verified
        .objects
        .iter()
        .filter(|o| o.outcome == Soundness::Intact)
        .count();
    out.line(format!(
        "  {intact} of {} objects intact",
        verified.objects.len()
    ));
    for snapshot in &verified.snapshots {
        let region = snapshot.region.as_deref();
        let region = region
            .map(|region| format!(" in {region}"))
            .unwrap_or_default();
        let name = format!("{}: snapshot {}{region}", snapshot.source, snapshot.name);
        let detail = snapshot.detail.as_deref().unwrap_or_default();
        out.line(match (snapshot.outcome, snapshot.released) {
            (Soundness::Intact, _) => format!("  {name} is available; its bytes were not read"),
            (_, true) => format!("  {name} was given up by keep_at_source"),
            (outcome, false) => format!("  {name}: {}: {detail}", outcome.as_str()),
        });
    }
}
