//! `lifeboat posture`.

use super::{Run, doctor};
use crate::args;
use crate::output::Printer;
use lifeboat_core::context::Context;
use lifeboat_core::finding::{Findings, Severity};
use lifeboat_core::posture::{self, Mending};
use lifeboat_core::survey;
use lifeboat_core::{Exit, Result};

pub fn run(run: &Run<'_>, args: &args::Posture) -> Result<Exit> {
    let context = run.context()?;
    if let Some(name) = &args.fix {
        return fix(run, &context, name, args.yes);
    }
    let survey = survey::survey(&context, false)?;
    for unread in &survey.unread {
        run.warn(&unread.error.with_hint());
    }
    let mut findings = posture::examine(&context, &survey, &args.names, args.attempt)?;
    if args.names.is_empty() {
        findings.extend(posture::copies(&context));
    }
    let findings = Findings::new(findings);
    run.answer(&findings, |out| doctor::tell(run, out, &findings))?;
    Ok(findings.exit(match findings.count(Severity::Error) {
        0 => Exit::Done,
        _ => Exit::Failed,
    }))
}

fn fix(run: &Run<'_>, context: &Context, name: &str, confirmed: bool) -> Result<Exit> {
    let planned = posture::mendable(context, name)?;
    if planned.calls.is_empty() {
        run.answer(&planned, |out| {
            out.line(format!(
                "{}: nothing is wrong that can be set",
                planned.bucket
            ));
        })?;
        return Ok(Exit::Done);
    }
    if !confirmed {
        run.answer(&planned, |out| {
            show(out, &planned);
            run.next(out, &format!("posture --fix {name} --yes"));
        })?;
        return Ok(Exit::NeedsConfirmation);
    }
    let mended = posture::mend(context, planned)?;
    run.answer(&mended, |out| show(out, &mended))?;
    Ok(Exit::Done)
}

/// Prints the calls, each with whether it was made and read back.
fn show(out: &Printer, mending: &Mending) {
    out.line(format!("{}:", mending.bucket));
    for call in &mending.calls {
        let mark = match call.done {
            true => "set and read back",
            false => "would be set",
        };
        out.line(format!("  {mark}: {} ({})", call.call, call.action));
    }
}
