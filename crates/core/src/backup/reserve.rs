//! Reserves a plan, so that one run at a time backs it up, and takes the point.

use super::hooks::{Hook, run_commands};
use super::{Options, Report, Run, choose_plan};
use crate::config::PlanConfig;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::lease::Lease;
use crate::machines;
use jiff::Timestamp;
use std::fs::File;

/// Takes a restore point. Fails only if nothing was begun; later failures are in the report.
pub fn run(context: &Context, options: &Options) -> Result<Report> {
    Ok(reserve(context, options)?.take())
}

/// A plan that no other run backs up, on this host or another, until this value is dropped.
pub struct Reserved<'a> {
    run: Run<'a>,
    _lease: Option<Lease>,
    _lock: File,
}

/// Reserves a plan. Fails with [`Code::Busy`] if another run has it.
pub fn reserve<'a>(context: &'a Context, options: &Options) -> Result<Reserved<'a>> {
    let (name, plan) = choose_plan(&context.config, options.plan.as_deref())?;
    context.config.check_plan(name)?;
    let busy = || {
        Error::new(
            Code::Busy,
            format!("another backup of plan {name} is running"),
        )
        .hint("wait until it has ended; the lock goes with the process that holds it")
    };
    let lock = context
        .state
        .lock(&format!("plan-{name}"))?
        .ok_or_else(busy)?;
    context.sweep();
    let run = Run::begin(context, name, plan, options)?;
    Ok(Reserved {
        _lease: run.lease()?,
        run,
        _lock: lock,
    })
}

impl Reserved<'_> {
    /// Takes the restore point for this time of the schedule.
    pub fn take_for(mut self, slot: Option<Timestamp>) -> Report {
        self.run.trigger.slot = slot;
        self.take()
    }

    /// Takes the restore point.
    pub fn take(self) -> Report {
        let mut run = self.run;
        let (context, plan) = (run.context, run.plan);
        let has_machines = has_machines(context, plan);
        if has_machines {
            // An address that leads nowhere comes first, and costs nothing where none does.
            run.warn_all(machines::mend(context));
        }
        let begun = run.begin_spool();
        match begun.and_then(|()| run_commands(context, Hook::Before, &plan.before)) {
            Ok(()) => run.capture_all(),
            Err(error) => run.fail(error),
        }
        if let Err(error) = run_commands(context, Hook::Finally, &plan.finally) {
            run.fail(error);
        }
        run.settle();
        let mut report = run.commit();
        if has_machines {
            // Whoever takes snapshots every day comes by often enough to destroy what killed drills left.
            let told = machines::reap(context);
            told.iter().for_each(|text| context.reporter.warn(text));
            report.warnings.extend(told);
        }
        report
    }
}

/// Whether a plan takes snapshots of a machine.
fn has_machines(context: &Context, plan: &PlanConfig) -> bool {
    let mut sources = plan
        .sources
        .iter()
        .filter_map(|name| context.config.source.get(name));
    sources.any(|source| source.kind.snapshots().is_some())
}
