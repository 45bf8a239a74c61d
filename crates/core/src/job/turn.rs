//! One turn of the runner: looks what is due for one application, does it, and says when to look
//! again.

use super::deed::execute;
use super::ping::Pings;
use super::tell::{Courier, Desk};
use super::{failed, new};
use crate::alarm::Condition;
use crate::cancel::{self, Cancel};
use crate::clock::Clock;
use crate::config::{Config, When};
use crate::context::Context;
use crate::error::Result;
use crate::history::{Ended, History, Job, JobKind, JobLog, JobOutcome};
use crate::observe::{Observer, Reporter};
use crate::restore;
use crate::status::{self, Agenda, Due, Facts, Status, Terms, agenda, judge};
use crate::thread;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time for which a store that does not answer yet is waited for after a start.
const STORE_WAIT: Duration = Duration::from_secs(30);
/// Interval at which that is tried.
const STORE_EVERY: Duration = Duration::from_secs(2);
/// Time that a job is given to end after it was asked to. One that hangs then is left behind.
const END_WAIT: Duration = Duration::from_secs(20);
/// Seconds that jobs are given before what is wrong is told.
const PATIENCE_SECONDS: i64 = 60;
/// Longest wait for a job before the clock and requests are looked at again.
const TICK: Duration = Duration::from_millis(250);

/// What is told of a panic.
pub(super) const FAULT: &str = "a fault of lifeboat itself; please report it";

/// Who calls the runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `run`: ignores the spread, waits out retries, and ends when nothing is due.
    Once,
    /// The daemon: keeps to the spread, and comes back for retries.
    Standing,
}

impl Mode {
    /// The terms under which something is due.
    pub fn terms(self) -> Terms {
        Terms {
            spread: self == Mode::Standing,
        }
    }
}

/// Hears of jobs.
pub trait Watcher: Send + Sync {
    /// A job begins; whoever keeps `cancel` can end it.
    fn began(&self, _job: &Job, _cancel: &Cancel) {}
    /// A job ended.
    fn ended(&self, _job: &Job) {}
    /// Something else that an operator should know.
    fn warned(&self, _message: &str) {}
}

/// A turn of the runner.
pub struct Turn<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The source of time.
    pub clock: Clock,
    /// The history of this host.
    pub history: &'a History,
    /// Hears the progress of the jobs.
    pub observer: Arc<dyn Observer>,
    /// Hears of the jobs.
    pub watcher: &'a dyn Watcher,
    /// Who calls.
    pub mode: Mode,
    /// The alarms.
    pub(crate) desk: Arc<Desk>,
    /// Pings on their way.
    pub(crate) pings: Mutex<Pings>,
    /// What is wrong beside what the stores and the history show.
    pub also: Vec<Condition>,
}

/// What a turn came to.
#[derive(Debug, Default)]
pub struct Turned {
    /// The jobs that ran, in the order in which they ended.
    pub jobs: Vec<Job>,
    /// When it is worth looking again; `None` if nothing will ever be due.
    pub next: Option<Timestamp>,
    /// What is due later.
    pub agenda: Agenda,
    /// The status when it was looked last.
    pub status: Option<Status>,
}

/// A job that runs.
struct Running {
    job: Job,
    due: Due,
    cancel: Cancel,
    deadline: Option<Instant>,
    /// Why it was asked to end, and until when it is waited for.
    asked: Option<(JobOutcome, Instant)>,
}

/// Whether what is wrong is told yet: what is due now may end it within a minute.
#[derive(Default)]
struct Patience(Option<Instant>);

impl Patience {
    /// Returns whether to wait, since jobs run and did not for long.
    fn lasts(&mut self, jobs_run: bool) -> bool {
        let since = *self.0.get_or_insert_with(Instant::now);
        let seconds = i64::try_from(since.elapsed().as_secs()).unwrap_or(i64::MAX);
        let lasts = jobs_run && seconds < PATIENCE_SECONDS;
        if !lasts {
            self.0 = None;
        }
        lasts
    }
}

/// The end of a job's thread.
type End = (crate::history::JobId, Ended);

/// Gathers the facts. While no store answers at all, waits up to 30 seconds, as after a start before
/// the network is there.
pub fn look(context: &Context, history: &History, patient: bool) -> Result<Facts> {
    let begun = Instant::now();
    loop {
        let app = &context.config.app;
        let jobs = history.jobs(&app.name, &app.environment)?;
        let facts = status::gather_measured(context, jobs)?;
        let silent = facts.stores.iter().all(|store| store.error.is_some());
        if !patient || !silent || facts.stores.is_empty() || begun.elapsed() > STORE_WAIT {
            return Ok(facts);
        }
        cancel::wait(STORE_EVERY)?;
    }
}

impl Turn<'_> {
    /// Does what is due. Fails if it cannot be told what is.
    pub fn run(&self) -> Result<Turned> {
        let reporter = Reporter::new(Arc::clone(&self.observer));
        let context = Context::open(self.config.clone(), self.clock.clone(), reporter, &[])?;
        let app = &self.config.app;
        let now = self.clock.now();
        for job in self
            .history
            .end_interrupted(&app.name, &app.environment, now)?
        {
            self.watcher.ended(&job);
        }
        for told in restore::open::let_go(&context) {
            self.watcher.warned(&told);
        }
        let courier = self.courier();
        let (sender, ends) = unbounded();
        let mut running: Vec<Running> = Vec::new();
        let mut turned = Turned::default();
        let mut begun: BTreeSet<(JobKind, String)> = BTreeSet::new();
        let mut first = true;
        let mut patience = Patience::default();
        while !cancel::requested() {
            let facts = match look(&context, self.history, first) {
                Ok(facts) => facts,
                Err(error) if running.is_empty() => return Err(error),
                Err(error) => {
                    self.watcher.warned(&error.to_string());
                    self.attend(&mut running, &ends, None, &mut turned.jobs);
                    continue;
                }
            };
            first = false;
            let agenda = agenda(&facts, self.mode.terms());
            let unstarted = self.start_all(&context, &facts, &agenda, &mut running, &sender);
            turned.jobs.extend(unstarted);
            begun.extend(
                running
                    .iter()
                    .map(|r| (r.job.kind, r.job.subject.to_string())),
            );
            let retry = waits_until(&agenda, &begun);
            let status = judge(&facts, self.mode.terms());
            let told = match patience.lasts(!running.is_empty()) {
                true => Timestamp::from_second(facts.now.as_second() + PATIENCE_SECONDS).ok(),
                false => self.tell(&context, &status, &running, courier.as_ref()),
            };
            turned.next = agenda.next().into_iter().chain(told).min();
            turned.status = Some(status);
            turned.agenda = agenda;
            if running.is_empty() {
                match retry.filter(|_| self.mode == Mode::Once) {
                    Some(at) => self.wait_until(at)?,
                    None => break,
                }
                continue;
            }
            self.attend(&mut running, &ends, turned.next, &mut turned.jobs);
        }
        while !running.is_empty() {
            self.attend(&mut running, &ends, None, &mut turned.jobs);
        }
        let _ = self.history.trim();
        // Where the process stays, it ends by itself: what hangs there holds nothing up.
        if let Some(courier) = courier.filter(|_| self.mode == Mode::Once) {
            courier.finish();
        }
        self.send_pings();
        Ok(turned)
    }

    /// Starts a courier. Without one, messages wait: that fails no backup.
    fn courier(&self) -> Option<Courier> {
        let started = Courier::start(self.config, self.clock.clone(), Arc::clone(&self.desk));
        started
            .inspect_err(|error| self.watcher.warned(&error.with_hint()))
            .ok()
    }

    /// Steps the alarms, and lets the courier deliver. Returns when to look again for their sake.
    fn tell(
        &self,
        context: &Context,
        status: &Status,
        running: &[Running],
        courier: Option<&Courier>,
    ) -> Option<Timestamp> {
        let backups = running.iter().filter(|r| r.due.kind == JobKind::Backup);
        let begun = backups.map(|r| r.due.subject.to_string()).collect();
        let looked = self.desk.look(context, status, &begun, &self.also);
        if let Some(courier) = courier {
            courier.nudge();
        }
        looked.unwrap_or_else(|error| {
            self.watcher.warned(&error.with_hint());
            None
        })
    }

    /// Waits for the pings where the process ends with the turn, and warns of those that failed.
    fn send_pings(&self) {
        let pings = std::mem::take(&mut *self.pings());
        if self.mode == Mode::Once {
            for error in pings.finish() {
                self.watcher.warned(&error.with_hint());
            }
        }
    }

    fn pings(&self) -> MutexGuard<'_, Pings> {
        self.pings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until(&self, at: Timestamp) -> Result<()> {
        let seconds = at.as_second().saturating_sub(self.clock.now().as_second());
        self.clock
            .wait(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// Starts what may start beside what runs. Returns what could not be started.
    fn start_all(
        &self,
        context: &Context,
        facts: &Facts,
        agenda: &Agenda,
        running: &mut Vec<Running>,
        sender: &Sender<End>,
    ) -> Vec<Job> {
        let mut unstarted = Vec::new();
        for due in &agenda.now {
            let known = |r: &Running| r.due.kind == due.kind && r.due.subject == due.subject;
            if running.iter().any(known) {
                continue;
            }
            let parallel = usize::try_from(self.config.run.parallel).unwrap_or(1);
            if running.len() >= parallel {
                let in_the_way = || running.iter().any(|r| r.due.kind <= JobKind::Backup);
                if due.kind != JobKind::Backup || in_the_way() {
                    break;
                }
                if let Some(other) = put_off(facts, running) {
                    other.ask(JobOutcome::PutOff);
                    break;
                }
                // What would never find a gap runs beside.
            }
            match self.start(context, due, sender) {
                Ok(started) => running.push(started),
                Err(job) => unstarted.push(*job),
            }
        }
        unstarted
    }

    /// Starts a job in a thread of its own, with state and stores of its own. If the system has no
    /// thread for it, it has failed, and is returned as that.
    fn start(
        &self,
        context: &Context,
        due: &Due,
        sender: &Sender<End>,
    ) -> std::result::Result<Running, Box<Job>> {
        let mut job = new(context, due.kind, due.subject.clone(), due.reason.clone());
        job.slot = due.slot;
        job.attempt = due.attempt;
        if let Err(error) = self.history.begin(&mut job, &self.clock) {
            self.watcher
                .warned(&format!("a job cannot be noted: {error}"));
        }
        let path = self.history.log_path(&job.id);
        let (clock, observer) = (self.clock.clone(), Arc::clone(&self.observer));
        let log = JobLog::create(&path, clock.clone(), context.scrubber.fork(), observer);
        let log = Arc::new(log.unwrap_or_else(|error| {
            self.watcher.warned(&error.to_string());
            JobLog::none(clock.clone(), Arc::clone(&self.observer))
        }));
        let cancel = Cancel::default();
        self.watcher.began(&job, &cancel);
        self.pings().begin(self.config, &self.clock, &job);
        log.line(&format!(
            "{} {}: {}",
            job.kind.as_str(),
            job.subject,
            job.reason
        ));
        let work = Work {
            config: self.config.clone(),
            clock,
            due: due.clone(),
            terms: self.mode.terms(),
            jobs: self
                .history
                .jobs(&job.app, &job.environment)
                .unwrap_or_default(),
            job: job.clone(),
            log,
        };
        let (id, sender) = (job.id.clone(), sender.clone());
        let started = cancel.run(|| {
            thread::start(move || {
                let _ = sender.send((id, work.run()));
            })
        });
        let timeout = when(self.config, due).and_then(|when| when.timeout);
        let running = Running {
            job,
            due: due.clone(),
            cancel,
            deadline: timeout.map(|span| Instant::now() + Duration::from_secs(span.seconds)),
            asked: None,
        };
        match started {
            Ok(_) => Ok(running),
            Err(error) => Err(Box::new(self.finish(running, failed(&error)))),
        }
    }

    /// Waits until a job ended or something else becomes due, and ends jobs that take too long.
    fn attend(
        &self,
        running: &mut Vec<Running>,
        ends: &Receiver<End>,
        next: Option<Timestamp>,
        jobs: &mut Vec<Job>,
    ) {
        // Whoever presses Ctrl-C does not want to wait.
        let drain = match self.mode {
            Mode::Once => Duration::ZERO,
            Mode::Standing => Duration::from_secs(self.config.run.stop_timeout.seconds),
        };
        let mut stopping = None;
        loop {
            match ends.recv_timeout(TICK) {
                Ok((id, end)) => {
                    if let Some(place) = running.iter().position(|r| r.job.id == id) {
                        jobs.push(self.finish(running.swap_remove(place), end));
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            let now = Instant::now();
            for one in running.iter_mut() {
                if cancel::requested() {
                    let since: Instant = *stopping.get_or_insert(now);
                    if now >= since + drain {
                        one.ask(JobOutcome::Interrupted);
                    }
                } else if one.deadline.is_some_and(|deadline| now > deadline) {
                    one.ask(JobOutcome::TimedOut);
                }
            }
            let hangs = |r: &Running| r.asked.is_some_and(|(_, since)| now > since + END_WAIT);
            if let Some(place) = running.iter().position(hangs) {
                let text = "it did not end when it was asked to, and was left behind";
                let left = running.swap_remove(place);
                jobs.push(self.finish(left, Ended::of(JobOutcome::Failed, text)));
                return;
            }
            let due = next.is_some_and(|next| next <= self.clock.now());
            if due && !cancel::requested() && running.iter().all(|r| r.asked.is_none()) {
                return;
            }
        }
    }

    fn finish(&self, running: Running, end: Ended) -> Job {
        let Running { mut job, asked, .. } = running;
        let end = asked_to(asked.map(|(why, _)| why), end);
        job.end(self.clock.now(), end);
        if let Err(error) = self.history.note(&job) {
            self.watcher
                .warned(&format!("a job cannot be noted: {error}"));
        }
        self.pings().end(self.config, &self.clock, &job);
        self.watcher.ended(&job);
        job
    }
}

/// The end of a job that was asked to end for this reason. What it had done or found before stays.
pub(super) fn asked_to(why: Option<JobOutcome>, end: Ended) -> Ended {
    let Some(why) = why.filter(|_| end.outcome.is_failure()) else {
        return end;
    };
    let message = match (why, end.message) {
        (JobOutcome::TimedOut, said) => tell("it took longer than its timeout", said),
        (JobOutcome::PutOff, _) => "it gave way to a backup".to_owned(),
        (_, said) => tell("it was asked to end", said),
    };
    Ended {
        outcome: why,
        message: Some(message),
        ..end
    }
}

fn tell(what: &str, said: Option<String>) -> String {
    match said {
        Some(said) => format!("{what}: {said}"),
        None => what.to_owned(),
    }
}

/// Until when `run` waits for another attempt at something it began. Whatever becomes due before is
/// not missed: that time is the earliest of all.
fn waits_until(agenda: &Agenda, begun: &BTreeSet<(JobKind, String)>) -> Option<Timestamp> {
    let is_retry = |(_, due): &(Timestamp, Due)| {
        due.attempt > 1 && begun.contains(&(due.kind, due.subject.to_string()))
    };
    agenda.next().filter(|_| agenda.later.iter().any(is_retry))
}

/// The job that is to give way to a backup: the first that did not give way since it ran last.
fn put_off<'r>(facts: &Facts, running: &'r mut [Running]) -> Option<&'r mut Running> {
    let mut running = running.iter_mut();
    running.find(|r| !gave_way(&facts.jobs, r.due.kind, &r.due.subject))
}

/// Returns whether something gave way to a backup since it ran last.
pub(super) fn gave_way(jobs: &[Job], kind: JobKind, subject: &str) -> bool {
    let own = jobs
        .iter()
        .rev()
        .filter(|job| job.kind == kind && job.subject == *subject);
    let mut since = own
        .filter_map(|job| job.outcome)
        .take_while(|outcome| outcome.is_void());
    since.any(|outcome| outcome == JobOutcome::PutOff)
}

impl Running {
    /// Asks the job to end, unless it was asked before.
    fn ask(&mut self, why: JobOutcome) {
        if self.asked.is_none() {
            self.asked = Some((why, Instant::now()));
            self.cancel.request();
        }
    }
}

/// The bounds of something that is due.
fn when<'c>(config: &'c Config, due: &Due) -> Option<&'c When> {
    let subject = &due.subject;
    match due.kind {
        JobKind::Backup => config.plan.get(subject).map(|plan| &plan.when),
        JobKind::Drill => config.drill.get(subject).map(|drill| &drill.when),
        JobKind::Verify => config.verify.get(subject).map(|verify| &verify.when),
        JobKind::Report => config.report.get(subject).map(|report| &report.when),
        JobKind::Copy | JobKind::Prune | JobKind::Restore => None,
    }
}

/// Everything that the thread of a job works with.
struct Work {
    config: Config,
    clock: Clock,
    due: Due,
    terms: Terms,
    /// The jobs of this host when it was started.
    jobs: Vec<Job>,
    job: Job,
    log: Arc<JobLog>,
}

impl Work {
    fn run(self) -> Ended {
        let log = Arc::clone(&self.log);
        // A fault of the program ends this job, and no other.
        let work = std::panic::AssertUnwindSafe(|| self.open_and_do());
        let ended =
            std::panic::catch_unwind(work).unwrap_or_else(|_| Ended::of(JobOutcome::Failed, FAULT));
        let message = ended.message.as_deref().unwrap_or_default();
        log.line(&format!("{}: {message}", ended.outcome.as_str()));
        ended
    }

    fn open_and_do(self) -> Ended {
        let reporter = Reporter::new(self.log.clone());
        let context = match Context::open(self.config.clone(), self.clock.clone(), reporter, &[]) {
            Ok(context) => context,
            Err(error) => return failed(&error),
        };
        let (due, terms, own) = (&self.due, self.terms, &self.job.id);
        let jobs = self.jobs.iter().filter(|job| job.id != *own);
        let jobs: Vec<Job> = jobs.cloned().collect();
        execute(&context, due, || {
            let facts = status::gather(&context, jobs)?;
            let agenda = agenda(&facts, terms);
            let mut now = agenda.now.into_iter();
            Ok(now.find(|known| known.kind == due.kind && known.subject == due.subject))
        })
    }
}

#[cfg(test)]
mod tests;
