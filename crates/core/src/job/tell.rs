//! Tells people what is wrong: steps the alarms of an application after each look, and lets a courier
//! deliver the messages beside everything else.

use crate::alarm::{self, Condition, Escalation, Known, Listener, Outbox, Whose};
use crate::clock::Clock;
use crate::condition::ConditionKind;
use crate::config::{Config, NotifyConfig};
use crate::context::Context;
use crate::doctor;
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::host::host;
use crate::name::Name;
use crate::notify::{self, Again, Message};
use crate::secret::Scrubber;
use crate::state;
use crate::status::Status;
use crate::thread;
use crossbeam_channel::{Sender, unbounded};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Time between two looks at what changes slowly, such as keys that expire.
const WATCHED_SECONDS: i64 = 3600;
/// Least time until it is looked again for the sake of a message.
const AGAIN_SECONDS_MIN: i64 = 30;

/// The alarms of one application, for as long as a process works on it.
pub(crate) struct Desk {
    outbox: Outbox,
    /// When it was last looked at what changes slowly, and what was found.
    watched: Mutex<Option<(Timestamp, Vec<Finding>)>>,
}

impl Desk {
    /// Opens the alarms of an application on this host.
    pub(crate) fn open(config: &Config, warn: impl Fn(&str)) -> Result<Arc<Desk>> {
        let app = &config.app;
        Ok(Arc::new(Desk {
            outbox: Outbox::open(&app.state, &app.name, &app.environment, warn)?,
            watched: Mutex::default(),
        }))
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Steps the alarms. `begun` are the plans whose backup was begun just now, `also` what is wrong
    /// beside the status. Returns when something is to be told next, if nothing changes before.
    pub(super) fn look(
        &self,
        context: &Context,
        status: &Status,
        begun: &BTreeSet<String>,
        also: &[Condition],
    ) -> Result<Option<Timestamp>> {
        let now = context.clock.now();
        let findings = self.findings(context, now);
        let mut conditions = alarm::conditions(status, begun, &findings);
        conditions.extend(also.iter().cloned());
        let channels = self.outbox.channels()?;
        let is_there = |name: &&Name| context.config.notify.contains_key(*name);
        // Where none of them works, the network of this host does not.
        let works = |name: &&Name| channels.get(*name).is_some_and(|c| c.failing.is_none());
        let any_works = context.config.notify.keys().any(|name| works(&name));
        let failing = channels
            .iter()
            .filter(|(name, _)| any_works && is_there(name));
        conditions.extend(failing.filter_map(|(name, state)| alarm::of_channel(name, state, now)));
        for condition in &mut conditions {
            // Whatever a server said goes to people and services elsewhere.
            condition.scrub(&context.scrubber);
        }
        let (whose, listeners) = (whose(&context.config), listeners(&context.config));
        let ledger = self.outbox.step(now, |ledger| {
            alarm::step(ledger, &conditions, Known::All, now, &whose, &listeners)
        })?;
        let next = [
            alarm::next_change(&ledger, now, &listeners),
            self.outbox.next()?,
            status.next_overdue(),
        ];
        let soon = now.as_second() + AGAIN_SECONDS_MIN;
        let next = next.into_iter().flatten().min();
        let next = next.map(|at| at.as_second().max(soon));
        Ok(next.and_then(|at| Timestamp::from_second(at).ok()))
    }

    /// Tells that the runner could not look what is due. Everything else stays as it was.
    pub(super) fn tell_failure(&self, config: &Config, clock: &Clock, error: &Error) -> Result<()> {
        let now = clock.now();
        let text = format!("nothing is backed up or drilled: {error}");
        let (kind, severity) = (ConditionKind::Failed, Severity::Error);
        let mut condition = Condition::new("runner", kind, severity, None, text);
        condition.hint.clone_from(&error.hint);
        let scrubber = Scrubber::default();
        config.learn_environment(&scrubber);
        condition.scrub(&scrubber);
        let (whose, listeners) = (whose(config), listeners(config));
        let conditions = [condition];
        self.outbox.step(now, |ledger| {
            alarm::step(ledger, &conditions, Known::Some, now, &whose, &listeners)
        })?;
        deliver(config, clock, self, &scrubber)
    }

    fn findings(&self, context: &Context, now: Timestamp) -> Vec<Finding> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |at: Timestamp| now.as_second().saturating_sub(at.as_second()).abs();
        if let Some((at, known)) = &*watched
            && age(*at) < WATCHED_SECONDS
        {
            return known.clone();
        }
        let found = doctor::watch(context);
        *watched = Some((now, found.clone()));
        found
    }
}

/// Delivers what waits, in a thread of its own.
pub(super) struct Courier {
    nudge: Sender<()>,
    thread: JoinHandle<()>,
}

impl Courier {
    /// Starts it. It waits to be nudged.
    pub(super) fn start(config: &Config, clock: Clock, desk: Arc<Desk>) -> Result<Courier> {
        let (nudge, nudged) = unbounded();
        let config = config.clone();
        let thread = thread::start(move || {
            let scrubber = Scrubber::default();
            config.learn_environment(&scrubber);
            while nudged.recv().is_ok() {
                while nudged.try_recv().is_ok() {}
                // What cannot be noted stays, and is tried again.
                let _ = deliver(&config, &clock, &desk, &scrubber);
            }
        })?;
        Ok(Courier { nudge, thread })
    }

    /// Lets it deliver what is to be delivered now.
    pub(super) fn nudge(&self) {
        let _ = self.nudge.send(());
    }

    /// Waits until everything was tried that was to be tried.
    pub(super) fn finish(self) {
        drop(self.nudge);
        let _ = self.thread.join();
    }
}

/// Delivers what waits, unless another courier of this application is at it, which takes it as well.
fn deliver(config: &Config, clock: &Clock, desk: &Desk, scrubber: &Scrubber) -> Result<()> {
    // Where there is no lock to be had, such as on a full disk, people hear of it all the same.
    let lock = state::lock(&config.app.state, "courier");
    if matches!(lock, Ok(None)) {
        return Ok(());
    }
    let send = |name: &Name, channel: &NotifyConfig, message: &Message| match notify::send(
        name, channel, message, clock, scrubber,
    ) {
        Ok(_) => alarm::Attempt::Delivered,
        Err(failed) => {
            let why = failed.error.with_hint();
            match failed.again {
                Again::Later(after) => alarm::Attempt::Later(after, why),
                Again::OnceCorrected => alarm::Attempt::Refused(why),
            }
        }
    };
    alarm::deliver(&desk.outbox, &config.notify, clock, &send)
}

/// Whose alarms those of a configuration are.
pub(super) fn whose(config: &Config) -> Whose {
    Whose {
        app: config.app.name.clone(),
        environment: config.app.environment.clone(),
        host: host(),
        contacts: config.contact_lines(),
    }
}

/// The channels of a configuration, as far as they decide what is told.
pub(super) fn listeners(config: &Config) -> Vec<Listener> {
    let channels = config.notify.iter();
    channels
        .map(|(name, channel)| listener(config, name, channel))
        .collect()
}

/// The subjects of conditions that show that something is wrong with `one`: a source fails as part of
/// the plans that capture it.
fn subjects(config: &Config, one: &str) -> Vec<String> {
    let mut subjects = vec![one.to_owned()];
    if let Some(source) = one.strip_prefix("source.") {
        let plans = config.plan.iter();
        let plans = plans.filter(|(_, plan)| plan.sources.iter().any(|name| name == source));
        subjects.extend(plans.map(|(plan, _)| format!("plan.{plan}")));
    }
    subjects
}

fn listener(config: &Config, name: &Name, channel: &NotifyConfig) -> Listener {
    let escalations = channel.escalate.iter().map(|rule| Escalation {
        after: rule.after,
        kinds: rule.kinds.iter().copied().collect(),
        all: rule.all.iter().map(|one| subjects(config, one)).collect(),
        to: rule.to.clone(),
    });
    Listener {
        name: name.clone(),
        kinds: channel.kinds(),
        severity: channel.severity(),
        recovered: channel.recovered(),
        wait: channel.wait,
        repeat: channel.repeat.span(),
        escalations: escalations.collect(),
    }
}
