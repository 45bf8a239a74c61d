//! `lifeboat run` and `lifeboat jobs`.

use super::Run;
use crate::args;
use crate::output::{self, Printer};
use jiff::Timestamp;
use lifeboat_core::cancel::{self, Cancel};
use lifeboat_core::clock::Clock;
use lifeboat_core::history::Job;
use lifeboat_core::job::{self, DueDocument, JobDocument, ShownJob, Watcher};
use lifeboat_core::observe::Reporter;
use lifeboat_core::{Exit, Result};
use std::time::Duration;

/// Interval at which a log is looked at for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(300);

/// Tells of jobs while they run.
struct Teller(Reporter);

impl Watcher for Teller {
    fn began(&self, job: &Job, _: &Cancel) {
        let what = format!("{} {}: {}", job.kind.as_str(), job.subject, job.reason);
        self.0.step(&what, None);
    }

    fn ended(&self, job: &Job) {
        let failed = job.outcome.is_some_and(|outcome| outcome.is_failure());
        if failed {
            let message = job.message.as_deref().unwrap_or_default();
            let (kind, state) = (job.kind.as_str(), job.state());
            self.0
                .warn(&format!("{kind} {} {state}: {message}", job.subject));
        }
    }

    fn warned(&self, message: &str) {
        self.0.warn(message);
    }
}

pub fn run(run: &Run<'_>, args: &args::RunDue) -> Result<Exit> {
    if args.dry_run {
        let planned = job::plan(&run.context()?)?;
        run.answer(&planned, |out| {
            if planned.now.is_empty() {
                out.line("nothing is due now");
            }
            for due in &planned.now {
                out.line(format!(
                    "due now: {} {}: {}",
                    due.kind.as_str(),
                    due.subject,
                    due.reason
                ));
            }
            show_later(out, &planned.later);
        })?;
        return Ok(Exit::Done);
    }
    let teller = Teller(run.reporter.beside());
    let observer = run.reporter.observer();
    let ran = job::run(&run.config()?, &Clock::System, observer, &teller)?;
    run.answer(&ran, |out| {
        match ran.jobs.is_empty() {
            true => out.line("nothing was due"),
            false => table(out, &ran.jobs),
        }
        show_later(out, &ran.later);
    })?;
    Ok(ran.exit())
}

fn show_later(out: &Printer, later: &[DueDocument]) {
    for due in later {
        let attempt = match due.attempt {
            1 => String::new(),
            attempt => format!(", attempt {attempt}"),
        };
        out.line(format!(
            "next: {} {} at {}{attempt}",
            due.kind.as_str(),
            due.subject,
            due.at
        ));
    }
}

fn table(out: &Printer, jobs: &[JobDocument]) {
    let rows = jobs.iter().map(|job| {
        vec![
            job.job.to_string(),
            job.kind.as_str().to_owned(),
            job.subject.to_string(),
            job.state.to_owned(),
            job.seconds
                .map_or_else(String::new, |s| output::seconds(s as f64)),
            output::reason(job.message.as_deref()),
        ]
    });
    out.table(&["job", "kind", "subject", "state", "took", "result"], rows);
}

pub fn jobs(run: &Run<'_>, args: &args::Jobs) -> Result<Exit> {
    let context = run.context()?;
    let Some(id) = &args.job else {
        let jobs = job::jobs(&context, args.most)?;
        run.answer(&jobs, |out| match jobs.jobs.is_empty() {
            true => out.line("no job is noted on this host yet"),
            false => table(out, &jobs.jobs),
        })?;
        return Ok(Exit::Done);
    };
    let mut shown = job::show(&context, id)?;
    if args.follow {
        let mut told = 0;
        loop {
            run.results();
            if !run.out.is_json() {
                shown
                    .log
                    .iter()
                    .skip(told)
                    .for_each(|line| run.out.line(line));
            }
            told = shown.log.len();
            if shown.job.state != "running" {
                break;
            }
            cancel::wait(FOLLOW_EVERY)?;
            shown = job::show(&context, shown.job.job.as_str())?;
        }
        return match run.out.is_json() {
            true => run.answer(&shown, |_| ()).map(|()| Exit::Done),
            false => Ok(Exit::Done),
        };
    }
    run.answer(&shown, |out| show(out, &shown))?;
    Ok(Exit::Done)
}

fn show(out: &Printer, shown: &ShownJob) {
    let job = &shown.job;
    out.line(format!(
        "{} {} {}: {}",
        job.job,
        job.kind.as_str(),
        job.subject,
        job.state
    ));
    let line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            out.line(format!("  {name:<9} {}", output::joined(&value)));
        }
    };
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    line("why", Some(job.reason.clone()));
    line("slot", time(job.slot));
    line(
        "attempt",
        (job.attempt > 1).then(|| job.attempt.to_string()),
    );
    line("started", time(Some(job.started)));
    line("finished", time(job.finished));
    line("took", job.seconds.map(|s| output::seconds(s as f64)));
    line("host", Some(job.host.clone()));
    line("point", job.point.as_ref().map(ToString::to_string));
    line("result", job.message.clone());
    if !shown.log.is_empty() {
        out.line("log:");
        shown
            .log
            .iter()
            .for_each(|text| out.line(format!("  {text}")));
    }
}
