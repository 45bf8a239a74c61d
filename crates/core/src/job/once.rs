//! `run`, `jobs` and `status`: the runner for one turn, and what it can be asked.

use super::document::{JobDocument, Jobs, PlannedRun, Ran, ShownJob, later};
use super::memory;
use super::metrics_file::publish;
use super::tell::Desk;
use super::turn::{Mode, Turn, Watcher, look};
use crate::alarm::{self, Alarms, ChannelDocument, OpenAlarm, open_alarms};
use crate::clock::Clock;
use crate::config::{Config, Period};
use crate::context::Context;
use crate::cost::{self, Cost, Prices, Runner};
use crate::error::{Code, Error, Result};
use crate::history::{History, Job, JobKind};
use crate::observe::{Observer, Reporter};
use crate::report::{self, Report, Window};
use crate::span::Span;
use crate::state;
use crate::status::{self, Facts, Metrics, Status, agenda, judge};
use jiff::Timestamp;
use serde::Serialize;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Takes the lock that the one runner of an application holds on this host. Fails with
/// [`Code::Busy`] if another one does.
pub(super) fn only_runner(state: &Path) -> Result<File> {
    state::lock(state, "runner")?.ok_or_else(|| {
        let message = "another runner of this application is at work on this host";
        Error::new(Code::Busy, message).hint("see what it does: lifeboat jobs")
    })
}

/// Opens the history of an application; warnings go to its reporter.
pub fn history(context: &Context) -> Result<History> {
    let state = context.state.private_directory(&[])?;
    History::open(&state, |text| context.reporter.warn(text))
}

/// Does what is due, and returns when nothing is left. Fails with [`Code::Busy`] if another runner
/// of this application is at work on this host.
pub fn run(
    config: &Config,
    clock: &Clock,
    observer: Arc<dyn Observer>,
    watcher: &dyn Watcher,
) -> Result<Ran> {
    let ran = run_due(config, clock, observer, watcher);
    if let Err(error) = &ran {
        tell_failure(config, clock, None, error, watcher);
    }
    ran
}

/// Tells people that the runner itself failed, if it is not that another one is at work, or that it was
/// asked to end.
pub(super) fn tell_failure(
    config: &Config,
    clock: &Clock,
    desk: Option<Arc<Desk>>,
    error: &Error,
    watcher: &dyn Watcher,
) {
    if matches!(error.code, Code::Busy | Code::Interrupted) || config.notify.is_empty() {
        return;
    }
    let opened = match desk {
        Some(desk) => Ok(desk),
        None => Desk::open(config, |text| watcher.warned(text)),
    };
    let told = opened.and_then(|desk| desk.tell_failure(config, clock, error));
    if let Err(error) = told {
        watcher.warned(&error.with_hint());
    }
}

fn run_due(
    config: &Config,
    clock: &Clock,
    observer: Arc<dyn Observer>,
    watcher: &dyn Watcher,
) -> Result<Ran> {
    let reporter = Reporter::new(Arc::clone(&observer));
    let context = Context::open(config.clone(), clock.clone(), reporter, &[])?;
    let _lock = only_runner(&config.app.state)?;
    let history = history(&context)?;
    let desk = Desk::open(config, |text| context.reporter.warn(text))?;
    memory::recall(&context, &history, Some(&desk));
    let turn = Turn {
        desk: Arc::clone(&desk),
        pings: Mutex::default(),
        also: Vec::new(),
        config,
        clock: clock.clone(),
        history: &history,
        observer,
        watcher,
        mode: Mode::Once,
    };
    let turned = turn.run();
    // What ran is worth remembering, whatever came after.
    memory::keep(&context, &history, &desk);
    let turned = turned?;
    if let Some(status) = &turned.status {
        publish(config, status, &history, &desk, watcher);
    }
    Ok(Ran {
        jobs: turned.jobs.iter().map(JobDocument::from).collect(),
        later: later(&turned.agenda),
    })
}

/// Says what `run` would do now.
pub fn plan(context: &Context) -> Result<PlannedRun> {
    let facts = facts(context)?;
    let agenda = agenda(&facts, Mode::Once.terms());
    Ok(PlannedRun::of(&agenda, facts.now))
}

/// The facts, with the jobs of this host where a configuration is there.
pub fn facts(context: &Context) -> Result<Facts> {
    let history = history(context)?;
    memory::recall(context, &history, None);
    look(context, &history, false)
}

/// The document of `status`.
#[derive(Debug, Clone, Serialize)]
pub struct StatusDocument {
    /// The status.
    #[serde(flatten)]
    pub status: Status,
    /// The alarms that are open, as the runner of this host saw it last.
    pub alarms: Vec<OpenAlarm>,
}

/// The status of an application.
pub fn status(context: &Context) -> Result<StatusDocument> {
    let status = judge(&facts(context)?, Mode::Once.terms());
    let alarms = match context.is_passing() {
        // Nothing is known of another host's alarms.
        true => Vec::new(),
        false => open_alarms(&desk(context)?.outbox().ledger()?, status.at),
    };
    Ok(StatusDocument { status, alarms })
}

/// The alarms of an application on this host, with what the store of `run.memory` knows of them.
fn desk(context: &Context) -> Result<Arc<Desk>> {
    let desk = Desk::open(&context.config, |text| context.reporter.warn(text))?;
    if context.config.run.memory.is_some() {
        memory::recall(context, &history(context)?, Some(&desk));
    }
    Ok(desk)
}

/// The alarms that are open, and how the channels fare.
pub fn alarms(context: &Context) -> Result<Alarms> {
    let (now, config) = (context.clock.now(), &context.config);
    let desk = desk(context)?;
    let mut states = desk.outbox().channels()?;
    let waiting = desk.outbox().waiting()?;
    let ledger = desk.outbox().ledger()?;
    let channels = config.notify.iter().map(|(name, channel)| {
        let state = states.remove(name).unwrap_or_default();
        let waiting = waiting.iter().filter(|w| w.channel == *name).count();
        ChannelDocument::new(name, channel.kind.name(), state, waiting)
    });
    Ok(Alarms {
        app: config.app.name.clone(),
        environment: config.app.environment.clone(),
        at: now,
        channels: channels.collect(),
        looked: ledger.at,
        alarms: open_alarms(&ledger, now),
    })
}

/// Says that somebody takes care of an alarm for a time.
pub fn acknowledge(context: &Context, name: &str, span: Span, reason: &str) -> Result<OpenAlarm> {
    let (now, desk) = (context.clock.now(), desk(context)?);
    let (next, alarm) = alarm::acknowledge(&desk.outbox().ledger()?, name, span, reason, now)?;
    // The runner may have stepped the alarms meanwhile: what is said here goes into what it left.
    let acknowledged = next.alarms.get(&alarm.cause);
    let acknowledged = acknowledged.and_then(|alarm| alarm.acknowledged.clone());
    desk.outbox().step(now, |ledger| {
        let mut ledger = ledger.clone();
        if let Some(known) = ledger.alarms.get_mut(&alarm.cause) {
            known.acknowledged.clone_from(&acknowledged);
        }
        (ledger, Vec::new())
    })?;
    if context.config.run.memory.is_some() {
        memory::keep(context, &history(context)?, &desk);
    }
    Ok(alarm)
}

/// The metrics of an application.
pub fn metrics(context: &Context) -> Result<Metrics> {
    let facts = facts(context)?;
    let status = judge(&facts, Mode::Once.terms());
    let open = open_alarms(&desk(context)?.outbox().ledger()?, status.at);
    Ok(status::metrics(&status, &facts.jobs).and(alarm::metrics(&status, &open)))
}

/// The report of a period that ends at a time, now if none is given. Fails if that lies ahead.
pub fn report(context: &Context, period: Period, until: Option<Timestamp>) -> Result<Report> {
    let now = context.clock.now();
    let until = until.unwrap_or(now);
    if until > now {
        let error = Error::new(Code::Usage, format!("{until} is in the future"));
        return Err(error.hint("a report tells what happened: give a time that has passed"));
    }
    let window = Window::ending(period, until)?;
    let history = history(context)?;
    let desk = desk(context)?;
    let app = &context.config.app;
    let jobs = history.jobs(&app.name, &app.environment)?;
    report::gather(context, jobs, desk.outbox(), &window)
}

/// What an application's backups cost in a month, by these prices. What cannot be read is named in it.
pub fn cost(context: &Context, prices: &Prices, runner: Option<Runner>) -> Result<Cost> {
    prices.check_dates(context.clock.now())?;
    let history = history(context)?;
    memory::recall(context, &history, None);
    let app = &context.config.app;
    let jobs = history.jobs(&app.name, &app.environment)?;
    let gathered = cost::gather(context, &jobs, runner)?;
    Ok(cost::compose(app, &gathered.facts, prices, gathered.errors))
}

/// How far this host has come with an application, as far as its history tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Begun {
    /// A backup was taken.
    pub backed_up: bool,
    /// A schedule was followed, by `run` or the daemon.
    pub by_itself: bool,
}

/// Looks in the history how far this host has come. Nothing is known without one.
pub fn begun(context: &Context) -> Begun {
    let app = &context.config.app;
    let jobs = history(context).and_then(|history| history.jobs(&app.name, &app.environment));
    let jobs = jobs.unwrap_or_default();
    Begun {
        backed_up: jobs.iter().any(|job| job.kind == JobKind::Backup),
        by_itself: jobs.iter().any(|job| job.slot.is_some()),
    }
}

/// The newest jobs of an application, at most so many.
pub fn jobs(context: &Context, most: usize) -> Result<Jobs> {
    let app = &context.config.app;
    let history = history(context)?;
    memory::recall(context, &history, None);
    let jobs = history.jobs(&app.name, &app.environment)?;
    let newest = jobs.iter().rev().take(most).map(JobDocument::from);
    Ok(Jobs {
        jobs: newest.collect(),
    })
}

/// The job with this id, or whose id begins with it, and its log.
pub fn show(context: &Context, id: &str) -> Result<ShownJob> {
    let history = history(context)?;
    let app = &context.config.app;
    let known = || history.jobs(&app.name, &app.environment);
    let mut jobs = known()?;
    if context.config.run.memory.is_some() && choose(&jobs, id).is_err() {
        memory::recall(context, &history, None);
        jobs = known()?;
    }
    let job = choose(&jobs, id)?;
    let log = crate::plain::read(history.log_path(&job.id)).unwrap_or_default();
    Ok(ShownJob {
        job: job.into(),
        log: String::from_utf8_lossy(&log)
            .lines()
            .map(str::to_owned)
            .collect(),
    })
}

fn choose<'j>(jobs: &'j [Job], id: &str) -> Result<&'j Job> {
    let fitting: Vec<&Job> = jobs
        .iter()
        .filter(|job| job.id.as_str().starts_with(id))
        .collect();
    match fitting.as_slice() {
        [one] if !id.is_empty() => Ok(one),
        _ if id == "latest" => jobs
            .last()
            .ok_or_else(|| Error::new(Code::Usage, "no job is noted on this host")),
        [] => Err(Error::new(
            Code::Usage,
            format!("no job of this host has the id {id:?}"),
        )
        .hint("run `lifeboat jobs`")),
        several => Err(Error::new(
            Code::Usage,
            format!("{id:?} begins the ids of {} jobs", several.len()),
        )
        .hint("give more of the id")),
    }
}
