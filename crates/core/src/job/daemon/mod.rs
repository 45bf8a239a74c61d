//! The daemon: the runner that stays. It sleeps until something is due, answers requests on its
//! control socket, and runs several applications beside each other.
//!
//! Guarantees: an application that is refused, hangs or fails holds no other up. An application whose
//! turn has not come holds no connection, no open file and no thread. Times are compared with the
//! clock anew after each sleep, so that a clock that is set, or a host that slept, is noticed.

mod application;
mod control;
mod request;

pub use control::{Control, ask};
pub use request::{Answer, ApplicationDocument, Command, DaemonDocument, Request};

use super::metrics_file;
use super::tell::Desk;
use super::turn::FAULT;
use super::turn::{Mode, Turn, Turned, Watcher};
use crate::alarm::Condition;
use crate::amount;
use crate::cancel::{self, Cancel};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::history::{History, Job, JobId};
use crate::observe::Silent;
use crate::state::State;
use crate::status::{Form, Metrics};
use crate::thread;
use application::Application;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Name of the control socket in the state directory.
const SOCKET: &str = "daemon.sock";
/// Longest sleep: by then a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// Interval at which a sleep looks whether it should end.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A turn that lasts longer than this no longer keeps others from beginning.
const LONG_TURN: Duration = Duration::from_secs(3600);
/// Step by which a clock may go back unnoticed.
const BACK_SECONDS: i64 = 2;

/// Hears of the daemon: a service manager, and whoever reads its log.
pub trait Service: Send + Sync {
    /// It is ready, and waits for what this text says.
    fn ready(&self, _status: &str) {}
    /// It is alive.
    fn alive(&self) {}
    /// It reads its configuration again.
    fn reloading(&self) {}
    /// It stops.
    fn stopping(&self) {}
    /// A job of an application begins.
    fn began(&self, _app: &str, _job: &Job) {}
    /// A job of an application ended.
    fn ended(&self, _app: &str, _job: &Job) {}
    /// Something that an operator should know; `app` is empty if it concerns all.
    fn warned(&self, _app: &str, _message: &str) {}
}

/// What the daemon works with.
pub struct Options {
    /// The file or directory of the configuration; found as for every verb when absent.
    pub config: Option<PathBuf>,
    /// The control socket; in the state directory when absent.
    pub socket: Option<PathBuf>,
    /// Applications whose turn may come at a time.
    pub turns: usize,
    /// The source of time.
    pub clock: Clock,
    /// Hears of what happens.
    pub service: Arc<dyn Service>,
}

/// What wakes the daemon.
pub enum Wake {
    /// A request, with the way back for its answer.
    Request(Request, Sender<Answer>),
    /// Read the configuration again.
    Reload,
    /// A turn is over: of the application with this file.
    Turned(PathBuf, Box<Ended>),
}

/// How a turn ended.
pub struct Ended {
    result: Result<Turned>,
    unwritten: Vec<Job>,
    desk: Option<Arc<Desk>>,
}

/// Jobs that run, with what ends them.
pub(crate) type Running = Arc<Mutex<BTreeMap<JobId, (Job, Cancel)>>>;

/// Runs until its job is asked to end. `wakes` receives requests from elsewhere, such as a signal to
/// reload.
pub fn run(options: Options, wakes: (Sender<Wake>, Receiver<Wake>)) -> Result<()> {
    let applications = application::load(options.config.as_deref())?;
    let directory = application::host_state(&applications)?;
    State::prepare(&directory)?;
    let busy = || {
        Error::new(
            Code::Busy,
            "another daemon is at work with this state directory",
        )
        .hint("ask it with `lifeboat daemon status`, or stop it")
    };
    let _lock = crate::state::lock(&directory, "daemon")?.ok_or_else(busy)?;
    let socket = options
        .socket
        .clone()
        .unwrap_or_else(|| directory.join(SOCKET));
    let control = Control::listen(&socket, wakes.0.clone())?;
    let now = options.clock.now();
    let mut daemon = Daemon {
        applications,
        started: now,
        last_look: now,
        wakes: wakes.0,
        running: Running::default(),
        options,
    };
    for application in &daemon.applications {
        if let Some(error) = &application.refused {
            let path = application.path.display().to_string();
            daemon.options.service.warned(&path, &error.with_hint());
        }
    }
    daemon.live(&wakes.1);
    drop(control);
    Ok(())
}

/// The way to wake the daemon.
pub fn channel() -> (Sender<Wake>, Receiver<Wake>) {
    crossbeam_channel::unbounded()
}

/// The control socket of the daemon that has this configuration.
pub fn socket(config: Option<&std::path::Path>) -> Result<PathBuf> {
    let applications = application::load(config)?;
    Ok(application::host_state(&applications)?.join(SOCKET))
}

struct Daemon {
    options: Options,
    applications: Vec<Application>,
    started: Timestamp,
    /// The time when it was looked last what is due.
    last_look: Timestamp,
    wakes: Sender<Wake>,
    running: Running,
}

impl Daemon {
    fn live(&mut self, wakes: &Receiver<Wake>) {
        self.options.service.ready(&self.line());
        while !cancel::requested() {
            self.look();
            match self.rest(wakes) {
                Some(Wake::Reload) => drop(self.reload()),
                Some(Wake::Request(request, back)) => {
                    let answer = self.answer(&request);
                    let _ = back.send(answer);
                    if matches!(request.command, Command::Stop) {
                        Cancel::current().request();
                    }
                }
                Some(Wake::Turned(path, ended)) => self.turned(&path, *ended),
                None => {}
            }
            self.options.service.alive();
        }
        self.options.service.stopping();
        // The jobs are asked to end by their turns, which end with the daemon.
        while self.applications.iter().any(|app| app.turning.is_some()) {
            match wakes.recv_timeout(Duration::from_secs(1)) {
                Ok(Wake::Turned(path, ended)) => self.turned(&path, *ended),
                Ok(Wake::Request(_, back)) => {
                    let _ = back.send(Answer::stopping());
                }
                Ok(Wake::Reload) | Err(_) => {}
            }
            self.options.service.alive();
        }
    }

    /// Begins the turns that are due.
    fn look(&mut self) {
        let now = self.options.clock.now();
        if now.as_second() < self.last_look.as_second() - BACK_SECONDS {
            // What was computed for the old time may come a second time.
            self.applications
                .iter_mut()
                .for_each(|app| app.next = Some(now));
        }
        self.last_look = now;
        let short =
            |app: &&Application| app.turning.is_some_and(|since| since.elapsed() < LONG_TURN);
        let mut turning = self.applications.iter().filter(short).count();
        let mut due: Vec<usize> = (0..self.applications.len()).collect();
        due.retain(|place| {
            self.applications
                .get(*place)
                .is_some_and(|app| app.is_due(now))
        });
        due.sort_by_key(|place| self.applications.get(*place).and_then(|app| app.next));
        for place in due {
            if turning >= self.options.turns.max(1) {
                break;
            }
            turning += usize::from(self.begin(place));
        }
    }

    /// Begins a turn in a thread of its own. Returns whether it did.
    fn begin(&mut self, place: usize) -> bool {
        let Some(app) = self.applications.get_mut(place) else {
            return false;
        };
        let Some(config) = app.config.clone() else {
            return false;
        };
        let job = TurnOf {
            name: app.name(),
            config,
            clock: self.options.clock.clone(),
            service: Arc::clone(&self.options.service),
            running: Arc::clone(&self.running),
            unwritten: std::mem::take(&mut app.unwritten),
            desk: app.desk.clone(),
            also: app.conditions(),
        };
        let (path, back) = (app.path.clone(), self.wakes.clone());
        let begun = thread::start(move || {
            let ended = job.run();
            let _ = back.send(Wake::Turned(path, Box::new(ended)));
        });
        match begun {
            Ok(_) => app.turning = Some(Instant::now()),
            Err(error) => {
                self.options.service.warned(&app.name(), &error.with_hint());
                app.failed(self.options.clock.now(), error);
            }
        }
        app.turning.is_some()
    }

    fn turned(&mut self, path: &std::path::Path, ended: Ended) {
        let now = self.options.clock.now();
        let service = Arc::clone(&self.options.service);
        let Some(app) = self.applications.iter_mut().find(|app| app.path == path) else {
            return;
        };
        app.turning = None;
        app.unwritten = ended.unwritten;
        app.desk = app.desk.take().or(ended.desk);
        match ended.result {
            Ok(turned) => app.succeeded(now, turned),
            Err(error) if error.code == Code::Interrupted => {}
            Err(error) => {
                service.warned(&app.name(), &error.with_hint());
                app.failed(now, error);
            }
        }
        if let Some(config) = app.replacement.take() {
            app.take(config, now);
        }
        self.applications.retain(|app| !app.is_gone());
        service.ready(&self.line());
    }

    /// Sleeps until something is due, at most [`SLEEP_MAX`], or something wakes it. A clock of a test
    /// is set forward instead, where nothing runs.
    fn rest(&self, wakes: &Receiver<Wake>) -> Option<Wake> {
        let now = self.options.clock.now();
        let waiting = self.applications.iter().filter(|app| app.turning.is_none());
        let next = waiting.filter_map(|app| app.next).min();
        let seconds = next.map(|next| next.as_second().saturating_sub(now.as_second()));
        let until = seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        let turning = self.applications.iter().any(|app| app.turning.is_some());
        if matches!(self.options.clock, Clock::Fixed(_)) && !turning {
            if let Ok(wake) = wakes.try_recv() {
                return Some(wake);
            }
            let _ = self.options.clock.wait(until.unwrap_or(SLEEP_MAX));
            return None;
        }
        let mut sleep = until.unwrap_or(SLEEP_MAX).min(SLEEP_MAX);
        if turning && sleep.is_zero() {
            // Another application is due, and waits for this turn.
            sleep = Duration::from_secs(1);
        }
        let end = Instant::now() + sleep;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match wakes.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(wake) => return Some(wake),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // The clock may have been set, or the host have slept.
            let is_due = next.is_some_and(|next| next <= self.options.clock.now()) && !turning;
            if left.is_zero() || is_due || cancel::requested() {
                return None;
            }
        }
    }

    /// Reads the configuration again. One that is refused leaves the old one in force. Returns the
    /// errors.
    fn reload(&mut self) -> Vec<String> {
        let service = Arc::clone(&self.options.service);
        service.reloading();
        let now = self.options.clock.now();
        let loaded = match application::load(self.options.config.as_deref()) {
            Ok(loaded) => loaded,
            Err(error) => {
                for app in &mut self.applications {
                    app.refuse(error.clone(), now);
                }
                let text = format!(
                    "the old configuration stays in force: {}",
                    error.with_hint()
                );
                service.warned("", &text);
                service.ready(&self.line());
                return vec![text];
            }
        };
        let mut errors = Vec::new();
        for app in &mut self.applications {
            app.listed = loaded.iter().any(|new| new.path == app.path);
        }
        for new in loaded {
            let known = self
                .applications
                .iter_mut()
                .find(|app| app.path == new.path);
            if let Some(error) = &new.refused {
                let stays = if known.is_some() {
                    ": the old configuration stays in force"
                } else {
                    ""
                };
                let text = format!("{}{stays}", error.with_hint());
                service.warned(&new.path.display().to_string(), &text);
                errors.push(text);
            }
            match (known, new.config.clone()) {
                (None, _) => self.applications.push(new),
                (Some(app), None) => match new.refused {
                    Some(error) => app.refuse(error, now),
                    None => app.refused = None,
                },
                (Some(app), Some(config)) if app.turning.is_some() => {
                    app.replacement = Some(config)
                }
                (Some(app), Some(config)) => app.take(config, now),
            }
        }
        self.applications.retain(|app| !app.is_gone());
        service.ready(&self.line());
        errors
    }

    /// What it waits for, in a line.
    fn line(&self) -> String {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = self
            .applications
            .iter()
            .filter(|app| app.refused.is_some())
            .count();
        let refused = match refused {
            0 => String::new(),
            count => format!(", {} refused", amount::count(count, "configuration")),
        };
        let next = self.applications.iter().filter_map(|app| app.next).min();
        let next = match next {
            None => "nothing is scheduled".to_owned(),
            // Before its first turn.
            Some(at) if at == Timestamp::MIN => "looking what is due".to_owned(),
            Some(at) => format!("next at {at}"),
        };
        let applications = amount::count(self.applications.len(), "application");
        match running.len() {
            0 => format!("{applications}, {next}{refused}"),
            jobs => format!(
                "{applications}, {} at work{refused}",
                amount::count(jobs, "job")
            ),
        }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let now = self.options.clock.now();
        let known = self
            .applications
            .iter()
            .any(|app| request.concerns(&app.name()));
        if !known && request.app.is_some() {
            let names: Vec<String> = self.applications.iter().map(Application::name).collect();
            let app = request.app.clone().unwrap_or_default();
            let error = Error::new(Code::Usage, format!("there is no application {app:?} here"));
            return Answer::failed(error.hint(format!("it has: {}", names.join(", "))));
        }
        match &request.command {
            Command::Status => Answer::Status(self.document(request)),
            Command::Metrics => {
                let asked = self.applications.iter();
                let asked = asked.filter(|app| request.concerns(&app.name()));
                let all = asked.filter_map(|app| app.metrics(now)).collect();
                Answer::Metrics {
                    metrics: Metrics::merge(all).text(Form::OpenMetrics),
                }
            }
            Command::Wake => {
                let asked = self.applications.iter_mut();
                for app in asked.filter(|app| request.concerns(&app.name())) {
                    app.next = Some(now);
                }
                Answer::done("it looks what is due")
            }
            Command::Reload => match self.reload().first() {
                None => Answer::done("the configuration was read again"),
                Some(text) => Answer::failed(
                    Error::new(Code::Configuration, text.clone()).hint("mend it, and reload again"),
                ),
            },
            Command::Cancel { job } => self.cancel(job),
            Command::Stop => Answer::done("it stops"),
        }
    }

    fn cancel(&self, id: &str) -> Answer {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting: Vec<_> = running
            .iter()
            .filter(|(job, _)| job.as_str().starts_with(id))
            .collect();
        match fitting.as_slice() {
            [(job, (_, cancel))] if !id.is_empty() => {
                cancel.request();
                Answer::done(format!("job {job} was asked to end"))
            }
            _ => Answer::failed(
                Error::new(Code::Usage, format!("{id:?} is no job that runs here"))
                    .hint("see what runs: lifeboat daemon status"),
            ),
        }
    }

    fn document(&self, request: &Request) -> DaemonDocument {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = self
            .applications
            .iter()
            .filter(|app| request.concerns(&app.name()));
        DaemonDocument {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            at: self.options.clock.now(),
            applications: asked.map(|app| app.document(&running)).collect(),
        }
    }
}

/// A turn of one application, in a thread of its own.
struct TurnOf {
    name: String,
    config: Arc<Config>,
    clock: Clock,
    service: Arc<dyn Service>,
    running: Running,
    unwritten: Vec<Job>,
    desk: Option<Arc<Desk>>,
    also: Vec<Condition>,
}

impl TurnOf {
    fn run(mut self) -> Ended {
        let opened = State::prepare(&self.config.app.state).and_then(|()| {
            let lock = super::once::only_runner(&self.config.app.state)?;
            let warn = |text: &str| self.service.warned(&self.name, text);
            let history = History::open(&self.config.app.state, warn)?;
            let desk = match self.desk.take() {
                Some(desk) => desk,
                None => Desk::open(&self.config, warn)?,
            };
            Ok((lock, history, desk))
        });
        let (lock, history, desk) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                super::once::tell_failure(&self.config, &self.clock, None, &error, &self);
                return Ended {
                    result: Err(error),
                    unwritten: self.unwritten,
                    desk: None,
                };
            }
        };
        history.note_again(std::mem::take(&mut self.unwritten));
        let turn = Turn {
            config: &self.config,
            clock: self.clock.clone(),
            history: &history,
            observer: Arc::new(Silent),
            watcher: &self,
            mode: Mode::Standing,
            desk: Arc::clone(&desk),
            pings: Mutex::default(),
            also: self.also.clone(),
        };
        let work = std::panic::AssertUnwindSafe(|| {
            let turned = turn.run()?;
            if let Some(status) = &turned.status {
                metrics_file::publish(&self.config, status, &history, &desk, &self);
            }
            Ok(turned)
        });
        let result =
            std::panic::catch_unwind(work).unwrap_or_else(|_| Err(Error::new(Code::State, FAULT)));
        if let Err(error) = &result {
            let desk = Some(Arc::clone(&desk));
            super::once::tell_failure(&self.config, &self.clock, desk, error, &self);
        }
        drop(lock);
        Ended {
            result,
            unwritten: history.take_unwritten(),
            desk: Some(desk),
        }
    }
}

impl Watcher for TurnOf {
    fn began(&self, job: &Job, cancel: &Cancel) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(job.id.clone(), (job.clone(), cancel.clone()));
        self.service.began(&self.name, job);
    }

    fn ended(&self, job: &Job) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&job.id);
        self.service.ended(&self.name, job);
    }

    fn warned(&self, message: &str) {
        self.service.warned(&self.name, message);
    }
}
