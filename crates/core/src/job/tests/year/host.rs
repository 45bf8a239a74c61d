//! A host, and the runner on it: what `job::turn` does, in virtual time and on one thread.

use super::fault::What;
use super::place::Life;
use super::world::{World, plus};
use crate::alarm::{self, Attempt};
use crate::backup;
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::config::{Config, NotifyConfig};
use crate::context::Context;
use crate::copy;
use crate::error::{Code, Result};
use crate::history::{Ended, History, Job, JobKind, JobOutcome};
use crate::job::deed::execute;
use crate::job::tell::Desk;
use crate::job::turn::{FAULT, asked_to, gave_way, look};
use crate::job::{Mode, new};
use crate::name::Name;
use crate::notify::Message;
use crate::observe::Reporter;
use crate::pin as pins;
use crate::point::{PointId, Selector};
use crate::prune;
use crate::span::Span;
use crate::status::{self, Due, Facts, Status, agenda, judge};
use crate::survey;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// Jobs that one turn may begin before that is an endless loop.
const JOBS_MAX: usize = 60;
/// Seconds after which the service manager starts a process again.
const RESTART_SECONDS: i64 = 30;
/// Seconds after which a runner looks again that could not look.
const FAILED_SECONDS: i64 = 60;
/// Seconds after which what is wrong is told while a job runs.
const PATIENCE_SECONDS: i64 = 60;

/// A job that runs.
struct Running {
    due: Due,
    cancel: Cancel,
    asked: Option<JobOutcome>,
}

/// What a process has while it lives.
pub(super) struct Process {
    pub(super) context: Context,
    pub(super) history: History,
    pub(super) desk: Arc<Desk>,
}

pub(super) struct Host {
    number: usize,
    pub(super) state: PathBuf,
    pub(super) clock: Clock,
    /// Seconds that its clock is ahead.
    pub(super) offset: i64,
    pub(super) life: Arc<Life>,
    config: Config,
    process: Option<Rc<Process>>,
    /// Faults that keep it down.
    down: u32,
    /// When it is looked at next.
    wake: Timestamp,
    running: Vec<Running>,
    turning: bool,
    /// Jobs that were noted as running when their process was killed.
    orphaned: Vec<Job>,
    /// Set when the process should be replaced once nothing runs.
    restart: bool,
    /// Set when all of its state but the key is lost.
    lose: Vec<&'static str>,
    /// Changes of stores after which the next job is killed.
    kill_after: Option<i64>,
}

impl Host {
    pub(super) fn new(world: &World, number: usize, life: Arc<Life>, seed: u64) -> Self {
        let config = world.system.config(world, number);
        let seed = seed.wrapping_mul(31).wrapping_add(number as u64);
        Host {
            number,
            state: config.app.state.clone(),
            clock: Clock::seeded(world.begin, seed),
            offset: 0,
            life,
            config,
            process: None,
            down: 0,
            // The second one is set up a little later.
            wake: plus(world.begin, 600 * i64::try_from(number).unwrap_or(0)),
            running: Vec::new(),
            turning: false,
            orphaned: Vec::new(),
            restart: false,
            lose: Vec::new(),
            kill_after: None,
        }
    }

    /// When it is looked at next, by the time of the world.
    pub(super) fn wakes(&self) -> Timestamp {
        match self.down > 0 || self.life.is_dead() && !self.running.is_empty() {
            true => Timestamp::MAX,
            false => self.wake,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Returns whether the job that runs is to end.
    pub(super) fn is_stopped(&self) -> bool {
        let asked = self.running.last().is_some_and(|r| r.cancel.requested());
        asked || self.life.is_dead()
    }

    /// Takes the configuration that its operator made.
    pub(super) fn reconfigure(&mut self, world: &World) {
        self.config = world.system.config(world, self.number);
        self.restart = true;
        self.wake = self.wake.min(world.now());
    }

    /// Loses files of its state when nothing runs.
    fn loses(&mut self, files: &'static [&'static str]) {
        // What was lost before, and not yet missed, stays lost.
        self.lose.extend(files);
        self.restart = true;
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn is_up(&self) -> bool {
        self.down == 0
    }

    pub(super) fn process(&self) -> Option<Rc<Process>> {
        self.process.clone()
    }
}

fn with<T>(world: &World, host: usize, work: impl FnOnce(&mut Host) -> T) -> T {
    work(&mut world.hosts.borrow_mut()[host])
}

/// Something happens to a host.
pub(super) fn happens(world: &Rc<World>, host: usize, what: &What, begins: bool) {
    let now = world.now();
    with(world, host, |own| match what {
        What::Down(_) if begins => {
            own.down += 1;
            own.life.kill();
        }
        What::Down(_) => {
            own.down = own.down.saturating_sub(1);
            own.wake = plus(now, RESTART_SECONDS);
        }
        What::Kill(_) => {
            own.life.kill();
            own.wake = plus(now, RESTART_SECONDS);
        }
        What::KillAfter(_, steps) => own.kill_after = Some(*steps),
        What::Clock(_, seconds) => {
            own.offset += if begins { *seconds } else { -*seconds };
            // What sleeps until a time wakes by the new clock.
            own.wake = own.wake.min(plus(now, 1));
        }
        What::NewKey(_) => own.loses(&["signing.key"]),
        What::NoCatalog(_) => own.loses(&["catalog.db"]),
        What::NoState(_) => own.loses(&["catalog.db", "jobs.db", "alarms.db"]),
        _ => {}
    });
    world.set_clocks();
    settle(world, host);
}

/// Buries a process that was killed while nothing of it ran.
fn settle(world: &World, host: usize) {
    with(world, host, |own| {
        if own.life.is_dead() && own.running.is_empty() && !own.turning {
            own.process = None;
            own.life.revive();
        }
    });
}

/// Opens what a process needs, after whatever was lost.
fn open(world: &World, host: usize) -> Result<Rc<Process>> {
    let (config, clock, lose, orphaned) = with(world, host, |own| {
        own.life.revive();
        let orphaned = std::mem::take(&mut own.orphaned);
        (
            own.config.clone(),
            own.clock.clone(),
            std::mem::take(&mut own.lose),
            orphaned,
        )
    });
    let state = config.app.state.clone();
    for file in lose {
        for suffix in ["", "-wal", "-shm"] {
            let path = state.join(format!("{file}{suffix}"));
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir_all(&path);
        }
    }
    let context = Context::open(config.clone(), clock, Reporter::silent(), &[])?;
    trust(world, &context)?;
    // Its own key may be new to it.
    let context = Context::open(
        config.clone(),
        context.clock.clone(),
        Reporter::silent(),
        &[],
    )?;
    let history = History::open(&state, |_| ())?;
    for job in orphaned {
        history.note(&job)?;
    }
    let desk = Desk::open(&config, |_| ())?;
    Ok(Rc::new(Process {
        context,
        history,
        desk,
    }))
}

/// Makes every host believe the key of this one: the operator has put it where all find it.
fn trust(world: &World, context: &Context) -> Result<()> {
    let path = world.home.path().join("signers");
    let mut known = std::fs::read_to_string(&path).unwrap_or_default();
    let line = context
        .state
        .signer
        .public()
        .line_for(&context.config.app.name);
    if !known.contains(&line) {
        known += &format!("{line}\n");
        let written = std::fs::write(&path, known);
        written.map_err(|e| crate::Error::from_io(crate::Code::Io, "the signers", e))?;
        // Those who are up read it again.
        for other in world.hosts.borrow_mut().iter_mut() {
            other.restart |= other.state != context.config.app.state;
        }
    }
    Ok(())
}

/// A host wakes, and does what is due.
pub(super) fn wake(world: &Rc<World>, host: usize) {
    let fresh = with(world, host, |own| {
        if own.restart && own.running.is_empty() && !own.turning {
            own.process = None;
            own.restart = false;
        }
        own.process.clone()
    });
    let process = match fresh.map_or_else(|| open(world, host), Ok) {
        Ok(process) => process,
        Err(error) => {
            let text = format!("host {host} cannot begin: {error}");
            world.model.borrow_mut().broken(world.now(), text);
            return;
        }
    };
    with(world, host, |own| own.process = Some(Rc::clone(&process)));
    // Whatever is asked of a job that another host runs is not asked of this one.
    let before = with(world, host, |own| std::mem::replace(&mut own.turning, true));
    let next = Cancel::default().run(|| turn(world, host, &process));
    with(world, host, |own| {
        own.turning = before;
        match next {
            Ok(next) => own.wake = next,
            Err(()) => own.wake = plus(world.now(), FAILED_SECONDS),
        }
    });
    drop(process);
    settle(world, host);
}

/// One turn. Returns when to look again; fails if it could not look.
fn turn(world: &Rc<World>, host: usize, process: &Process) -> std::result::Result<Timestamp, ()> {
    let Process {
        context, history, ..
    } = process;
    let app = &context.config.app;
    let now = context.clock.now();
    if with(world, host, |own| own.running.is_empty()) {
        let _ = history.end_interrupted(&app.name, &app.environment, now);
    }
    for _ in 0..JOBS_MAX {
        let facts = match look(context, history, false) {
            Ok(facts) => facts,
            Err(error) => {
                let text = format!("host {host} cannot look: {error}");
                world.diary.borrow_mut().says(world.now(), text);
                return Err(());
            }
        };
        let terms = Mode::Standing.terms();
        let agenda = agenda(&facts, terms);
        let status = judge(&facts, terms);
        let seen = super::model::Seen {
            host,
            facts: &facts,
            status: &status,
        };
        super::model::looked(world, &seen);
        let first = agenda.now.first();
        let running = with(world, host, |own| own.is_running());
        if !running && let Some(due) = first {
            run(world, host, process, due);
            if with(world, host, |own| own.life.is_dead() || own.restart) {
                return Ok(plus(world.now(), RESTART_SECONDS));
            }
            continue;
        }
        if running && first.is_some_and(|due| due.kind == JobKind::Backup) {
            put_off(world, host, &facts);
        }
        let told = tell(world, host, process, &status);
        let next = agenda.next().into_iter().chain(told).min();
        // By the clock of the host.
        let wait = next.map_or(86_400, |next| {
            next.as_second()
                .saturating_sub(context.clock.now().as_second())
        });
        return Ok(plus(world.now(), wait.max(1)));
    }
    let text = format!("host {host} begins jobs without end");
    world.model.borrow_mut().broken(world.now(), text);
    Err(())
}

/// Asks what runs to give way to a backup, unless it did before.
fn put_off(world: &World, host: usize, facts: &Facts) {
    with(world, host, |own| {
        let Some(running) = own.running.last_mut() else {
            return;
        };
        let (kind, subject) = (running.due.kind, &running.due.subject);
        if kind > JobKind::Backup && !gave_way(&facts.jobs, kind, subject) {
            running.asked.get_or_insert(JobOutcome::PutOff);
            running.cancel.request();
        }
    });
}

/// Runs a job to its end, while the rest of the world goes on.
fn run(world: &Rc<World>, host: usize, process: &Process, due: &Due) {
    let Process {
        context, history, ..
    } = process;
    let mut job = new(context, due.kind, due.subject.clone(), due.reason.clone());
    job.slot = due.slot;
    job.attempt = due.attempt;
    let _ = history.begin(&mut job, &context.clock);
    let cancel = Cancel::default();
    with(world, host, |own| {
        own.wake = plus(world.now(), PATIENCE_SECONDS);
        if let Some(steps) = own.kill_after.take() {
            own.life.kill_after(steps);
        }
        own.running.push(Running {
            due: due.clone(),
            cancel: cancel.clone(),
            asked: None,
        });
    });
    super::model::began(world, host, &job);
    world.prepare(host, due.kind);
    let (app, own) = (&context.config.app, job.id.clone());
    let jobs = history
        .jobs(&app.name, &app.environment)
        .unwrap_or_default();
    let jobs: Vec<Job> = jobs.into_iter().filter(|job| job.id != own).collect();
    let work = AssertUnwindSafe(|| {
        execute(context, due, || {
            let facts = status::gather(context, jobs)?;
            let agenda = agenda(&facts, Mode::Standing.terms());
            let mut now = agenda.now.into_iter();
            Ok(now.find(|known| known.kind == due.kind && known.subject == due.subject))
        })
    });
    let ended = cancel.run(|| catch_unwind(work));
    let ended = ended.unwrap_or_else(|_| Ended::of(JobOutcome::Failed, FAULT));
    let running = with(world, host, |own| own.running.pop());
    if with(world, host, |own| own.life.is_dead()) {
        // Nothing noted how it ended.
        job.process = None;
        super::model::ended(world, host, &job, true);
        world
            .places
            .iter()
            .for_each(|place| place.orphan_leases(host));
        with(world, host, |own| {
            own.orphaned.push(job);
            own.process = None;
            own.wake = own.wake.max(plus(world.now(), RESTART_SECONDS));
        });
        return;
    }
    with(world, host, |own| own.life.revive());
    let ended = asked_to(running.and_then(|running| running.asked), ended);
    if ended.message.as_deref() == Some(FAULT) {
        let text = format!(
            "a fault of the program in {} {}",
            job.kind.as_str(),
            job.subject
        );
        world.model.borrow_mut().broken(world.now(), text);
    }
    job.end(context.clock.now(), ended);
    let _ = history.note(&job);
    let _ = history.trim();
    super::model::ended(world, host, &job, false);
}

/// Steps the alarms, and delivers what waits.
fn tell(world: &Rc<World>, host: usize, process: &Process, status: &Status) -> Option<Timestamp> {
    let Process { context, desk, .. } = process;
    let looked = desk.look(context, status, &BTreeSet::new(), &[]);
    let next = match looked {
        Ok(next) => next,
        Err(error) => {
            let text = format!("host {host} cannot tell: {error}");
            world.model.borrow_mut().broken(world.now(), text);
            return None;
        }
    };
    let down = world.channels_down.get() > 0;
    let heard: Mutex<Vec<(Name, Message)>> = Mutex::default();
    let send = |channel: &Name, _: &NotifyConfig, message: &Message| {
        if down {
            return Attempt::Later(None, "it does not answer".to_owned());
        }
        let mut heard = heard.lock().expect("no panic");
        heard.push((channel.clone(), message.clone()));
        Attempt::Delivered
    };
    let delivered = alarm::deliver(desk.outbox(), &context.config.notify, &context.clock, &send);
    if let Err(error) = delivered {
        let text = format!("host {host} cannot deliver: {error}");
        world.model.borrow_mut().broken(world.now(), text);
    }
    for (channel, message) in heard.into_inner().expect("no panic") {
        super::model::heard(world, host, &channel, &message);
    }
    super::told::check(world, host);
    next
}

/// The operator acknowledges the oldest alarm of a host for a day, and forgets it.
pub(super) fn acknowledge(world: &Rc<World>, host: usize) {
    let Some(process) = with(world, host, |own| own.process()) else {
        return;
    };
    let Ok(ledger) = process.desk.outbox().ledger() else {
        return;
    };
    let oldest = ledger.alarms.values().min_by_key(|alarm| alarm.opened);
    if let Some(alarm) = oldest {
        let span = Span { seconds: 86_400 };
        let _ = crate::job::acknowledge(&process.context, &alarm.id, span, "I look at it");
    }
}

/// The operator takes a point by hand.
pub(super) fn manual(world: &Rc<World>, host: usize, reason: Option<&str>) {
    let Some(process) = with(world, host, |own| {
        own.process().filter(|_| !own.is_running())
    }) else {
        return;
    };
    let plan = process
        .context
        .config
        .plan
        .keys()
        .next()
        .map(ToString::to_string);
    let options = backup::Options {
        plan,
        reason: reason.map(str::to_owned),
        ..backup::Options::default()
    };
    let _ = Cancel::default().run(|| backup::run(&process.context, &options));
    super::model::took_notice(world);
}

/// The operator pins the newest point.
pub(super) fn pin(world: &Rc<World>, host: usize) {
    let Some(process) = with(world, host, |own| own.process()) else {
        return;
    };
    let latest = Selector::parse("latest").expect("a selector");
    let _ = Cancel::default().run(|| pins::pin(&process.context, &latest, "for the auditor"));
    super::model::took_notice(world);
}

/// The operator prunes by hand.
pub(super) fn make_room(world: &Rc<World>, host: usize) {
    let Some(process) = with(world, host, |own| {
        own.process().filter(|_| !own.is_running())
    }) else {
        return;
    };
    super::model::prunes(world, host);
    let options = prune::Options::default();
    let _ = Cancel::default().run(|| prune::run(&process.context, &options));
    super::model::took_notice(world);
}

/// The operator does what only a person can.
pub(super) fn mend(world: &Rc<World>, host: usize) {
    let Some(process) = with(world, host, |own| {
        own.process().filter(|_| !own.is_running())
    }) else {
        return;
    };
    let context = &process.context;
    let _ = Cancel::default().run(|| -> Result<()> {
        let survey = survey::survey(context, false)?;
        let lost = survey
            .missing
            .iter()
            .map(|lost| (&lost.store, &lost.copy.manifest.point));
        let ahead = survey.ahead(context);
        let mut forget: BTreeSet<String> = ahead.iter().map(ToString::to_string).collect();
        for (store, point) in lost {
            let elsewhere = survey
                .copies
                .iter()
                .any(|(_, copy)| copy.manifest.point == *point);
            match elsewhere {
                true => match copy::heal(context, std::slice::from_ref(point), store) {
                    // Its only other copy is damaged: there is nothing to heal it from.
                    Err(error) if error.code == Code::ObjectDamaged => {
                        forget.insert(point.to_string());
                    }
                    _ => {}
                },
                false => drop(forget.insert(point.to_string())),
            }
        }
        for (store, points) in &survey.damaged {
            let points: Vec<PointId> = points.keys().cloned().collect();
            let _ = copy::heal(context, &points, store);
        }
        // What the rules want gone may go, however much that is.
        let options = prune::Options {
            beyond_limit: true,
            ..prune::Options::default()
        };
        super::model::prunes(world, host);
        world.model.borrow_mut().confirmed = true;
        let pruned = prune::run(context, &options);
        super::model::took_notice(world);
        world.model.borrow_mut().confirmed = false;
        pruned?;
        let forget: Vec<String> = forget.into_iter().collect();
        if !forget.is_empty() {
            survey::forget(context, &forget, "an accident")?;
            let mut model = world.model.borrow_mut();
            model.disowned.extend(ahead);
            model
                .lost
                .retain(|(_, point), _| !forget.contains(&point.to_string()));
        }
        Ok(())
    });
    super::model::took_notice(world);
}
