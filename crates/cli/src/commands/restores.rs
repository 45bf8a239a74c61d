//! `lifeboat restores`: live restores that are open.

use super::Run;
use super::restore::show_report;
use crate::args::RestoresCommand;
use crate::output::Printer;
use lifeboat_core::history::{Ended, JobKind, JobOutcome};
use lifeboat_core::job;
use lifeboat_core::name::Name;
use lifeboat_core::restore::application;
use lifeboat_core::restore::open::{self, Closed, Open, State};
use lifeboat_core::{Exit, Result};
use serde::Serialize;

/// The document of `restores list`.
#[derive(Serialize)]
struct Document {
    restores: Vec<Open>,
}

pub fn run(run: &Run<'_>, command: &RestoresCommand) -> Result<Exit> {
    let context = run.context()?;
    let app = &context.config.app.name;
    match command {
        RestoresCommand::List => {
            let document = Document {
                restores: open::list(&context)?,
            };
            run.answer(&document, |out| list(out, &document.restores))?;
            Ok(Exit::Done)
        }
        RestoresCommand::Resume(args) => {
            let confirm = args.confirm.as_deref();
            let work = || open::resume(&context, &args.id, confirm);
            let report = match confirm {
                Some(_) => job::record(&context, JobKind::Restore, app, work, job::of_restore)?,
                None => work()?,
            };
            run.answer(&report.document(), |out| show_report(out, &report))?;
            Ok(report.exit())
        }
        RestoresCommand::Undo(args) => {
            let (confirm, reason) = (args.which.confirm.as_deref(), args.reason.as_deref());
            let work = || open::undo(&context, &args.which.id, confirm, reason);
            let ended = |_: &Closed| Ended::of(JobOutcome::Done, "taken back");
            let closed = match confirm {
                Some(_) => job::record(&context, JobKind::Restore, app, work, ended)?,
                None => work()?,
            };
            tell(
                run,
                &closed,
                "taken back: what was live before is live again",
            )
        }
        RestoresCommand::Finish(args) => {
            let closed = open::finish(&context, &args.id, args.confirm.as_deref())?;
            tell(
                run,
                &closed,
                "finished: nothing of what was live before is kept",
            )
        }
    }
}

fn tell(run: &Run<'_>, closed: &Closed, what: &str) -> Result<Exit> {
    run.answer(closed, |out| {
        closed.steps.iter().for_each(|step| out.sentence(step));
        let warnings = closed.warnings.iter();
        warnings.for_each(|warning| out.sentence(format!("note: {warning}")));
        out.sentence(format!("restore {} is {what}", closed.id));
        if let Some(evidence) = &closed.evidence {
            out.sentence(format!("evidence {evidence}"));
        }
    })?;
    Ok(Exit::Done)
}

fn list(out: &Printer, restores: &[Open]) {
    if restores.is_empty() {
        return out.line("no live restore is open on this host");
    }
    for one in restores {
        let id = &one.id;
        let what = match one.state {
            State::Running => "is running",
            State::Ended => "ended before anything live was touched",
            State::Interrupted => "WAS INTERRUPTED while something of it was live",
            State::Kept => "is done; what was live before is kept",
            State::Closing => "is done; what was live before is removed in part",
        };
        out.sentence(format!("{id} {what}"));
        out.sentence(format!(
            "  {} of {}, begun by {} at {}{}",
            one.sources
                .iter()
                .map(Name::as_str)
                .collect::<Vec<_>>()
                .join(", "),
            application::join_ids(&one.points),
            one.by,
            one.begun.strftime("%Y-%m-%dT%H:%M:%SZ"),
            one.reason
                .iter()
                .map(|reason| format!(": {reason}"))
                .collect::<String>()
        ));
        for kept in &one.kept {
            out.sentence(format!("  {kept}"));
        }
        let next = match one.state {
            State::Running => continue,
            State::Ended | State::Interrupted => {
                format!("lifeboat restores resume {id}, or undo {id}")
            }
            State::Kept => format!("lifeboat restores undo {id}, or finish {id}"),
            State::Closing => format!("lifeboat restores finish {id}"),
        };
        out.sentence(format!("  next: {next}"));
    }
}
