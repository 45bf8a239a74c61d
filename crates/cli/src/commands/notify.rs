//! `lifeboat notify test`.

use super::Run;
use crate::args::NotifyCommand;
use crate::output::{self, Printer};
use lifeboat_core::clock::Clock;
use lifeboat_core::notify::{self, Outcome, Tested};
use lifeboat_core::secret::Scrubber;
use lifeboat_core::{Exit, Result};

pub fn run(run: &Run<'_>, command: &NotifyCommand) -> Result<Exit> {
    let NotifyCommand::Test { name } = command;
    let config = run.config()?;
    let report = notify::test(
        &config,
        name.as_deref(),
        &Clock::System,
        &Scrubber::default(),
    )?;
    run.answer(&report, |out| {
        for tested in &report.channels {
            show(out, tested);
        }
    })?;
    Ok(report.exit())
}

fn show(out: &Printer, tested: &Tested) {
    let Tested { channel, kind, .. } = tested;
    let mark = match tested.outcome {
        Outcome::Delivered => "\x1b[32mok\x1b[0m   ",
        Outcome::Later | Outcome::Refused => "\x1b[31merror\x1b[0m",
    };
    if let Some(to) = &tested.to {
        let took = output::seconds(tested.seconds);
        out.line(format!("{mark} {channel} ({kind}): {to} took it in {took}"));
    }
    if let Some(error) = &tested.error {
        out.line(format!("{mark} {}", output::joined(&error.message)));
        if let Some(cause) = &error.cause {
            out.line(format!("      cause: {}", output::joined(cause)));
        }
        if let Some(hint) = &error.hint {
            out.line(format!("      hint: {hint}"));
        }
    }
}
