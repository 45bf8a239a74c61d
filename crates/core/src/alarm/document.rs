//! What is open and who was told, for people and programs; and taking care of an alarm.

use super::condition::Condition;
use super::ledger::{Acknowledged, Alarm, Ledger};
use super::outbox::{CHANNEL_FAILS_SECONDS, ChannelState};
use crate::condition::ConditionKind;
use crate::error::{Code, Error, Result};
use crate::finding::Severity;
use crate::host::author;
use crate::name::Name;
use crate::notify::Item;
use crate::span::Span;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The document of `alarms`.
#[derive(Debug, Clone, Serialize)]
pub struct Alarms {
    /// The application.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// The time for which it holds.
    pub at: Timestamp,
    /// When the runner of this host looked last; absent if it never did.
    pub looked: Option<Timestamp>,
    /// What is open, the gravest first.
    pub alarms: Vec<OpenAlarm>,
    /// The channels of the configuration.
    pub channels: Vec<ChannelDocument>,
}

/// An alarm that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenAlarm {
    /// Its id.
    pub alarm: String,
    /// What explains all of it: `store.offsite`, `plan.hourly`.
    pub cause: String,
    /// The gravest of what is wrong.
    pub severity: Severity,
    /// Since when the oldest of it holds.
    pub since: Timestamp,
    /// What is wrong.
    pub conditions: Vec<Item>,
    /// When each channel took a message about it last.
    pub told: BTreeMap<Name, Timestamp>,
    /// Who takes care of it; absent if nobody does, or that time is over.
    pub acknowledged: Option<Acknowledged>,
    /// Since when it seems to be over, where that is not certain yet.
    pub clear_since: Option<Timestamp>,
}

/// A channel, and how it fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelDocument {
    /// Its name.
    pub channel: Name,
    /// Its kind.
    pub kind: &'static str,
    /// When it took a message last.
    pub sent: Option<Timestamp>,
    /// Since when it takes nothing.
    pub failing: Option<Timestamp>,
    /// Why.
    pub error: Option<String>,
    /// Messages that wait for it.
    pub waiting: usize,
}

impl ChannelDocument {
    /// A channel in this state.
    pub fn new(channel: &Name, kind: &'static str, state: ChannelState, waiting: usize) -> Self {
        ChannelDocument {
            channel: channel.clone(),
            kind,
            sent: state.sent,
            failing: state.failing,
            error: state.error,
            waiting,
        }
    }
}

impl OpenAlarm {
    fn of(cause: &str, alarm: &Alarm, now: Timestamp) -> Self {
        let wrong = alarm.wrong.values();
        let mut conditions: Vec<Item> = wrong.map(|wrong| wrong.item.clone()).collect();
        conditions.sort_by(|a, b| (b.severity, a.since).cmp(&(a.severity, b.since)));
        OpenAlarm {
            alarm: alarm.id.clone(),
            cause: cause.to_owned(),
            severity: alarm.severity(),
            since: alarm.since(),
            conditions,
            told: alarm
                .told
                .iter()
                .filter_map(|(name, told)| Some((name.clone(), told.delivered?)))
                .collect(),
            acknowledged: alarm
                .acknowledged
                .clone()
                .filter(|_| alarm.is_acknowledged(now)),
            clear_since: alarm.clear_since,
        }
    }

    /// Returns whether this names the alarm: its id, its cause, or one of its conditions.
    fn is_named(&self, name: &str) -> bool {
        let is_of = |full: &str| full == name || full.ends_with(&format!("/{name}"));
        let mut conditions = self.conditions.iter();
        self.alarm == name || self.cause == name || conditions.any(|item| is_of(&item.condition))
    }
}

/// What is open in a ledger, the gravest first.
pub fn open_alarms(ledger: &Ledger, now: Timestamp) -> Vec<OpenAlarm> {
    let alarms = ledger.alarms.iter();
    let mut open: Vec<OpenAlarm> = alarms
        .map(|(cause, alarm)| OpenAlarm::of(cause, alarm, now))
        .collect();
    open.sort_by(|a, b| (b.severity, a.since, &a.cause).cmp(&(a.severity, b.since, &b.cause)));
    open
}

/// Says that somebody takes care of an alarm, for a time. Until then it is not repeated and does not
/// escalate. Fails if no alarm, or more than one, is meant.
pub fn acknowledge(
    ledger: &Ledger,
    name: &str,
    span: Span,
    reason: &str,
    now: Timestamp,
) -> Result<(Ledger, OpenAlarm)> {
    if reason.trim().is_empty() {
        let error = Error::new(Code::Usage, "acknowledging an alarm needs a reason");
        return Err(error.hint("add --reason TEXT; `lifeboat alarms` shows it"));
    }
    let until = span.after(now);
    if until <= now || until == Timestamp::MAX {
        let message = format!("an alarm cannot be acknowledged for {span}");
        return Err(Error::new(Code::Usage, message).hint("for example --for 8h"));
    }
    let open = open_alarms(ledger, now);
    let mut named = open.iter().filter(|alarm| alarm.is_named(name));
    let mut next = ledger.clone();
    let (first, second) = (named.next(), named.next());
    let known = first.and_then(|alarm| next.alarms.get_mut(&alarm.cause));
    let (Some(alarm), None, Some(known)) = (first, second, known) else {
        return Err(unknown(name, second.is_some(), &open));
    };
    known.acknowledged = Some(Acknowledged {
        until,
        by: author(),
        reason: reason.to_owned(),
        at: now,
    });
    let alarm = OpenAlarm::of(&alarm.cause, known, now);
    Ok((next, alarm))
}

fn unknown(name: &str, several: bool, open: &[OpenAlarm]) -> Error {
    let message = match several {
        true => format!("several open alarms are called {name:?}"),
        false => format!("no open alarm is called {name:?}"),
    };
    let error = Error::new(Code::Usage, message);
    match open {
        [] => error.hint("nothing is open: there is nothing to acknowledge"),
        open => {
            let known = open
                .iter()
                .map(|alarm| format!("{} ({})", alarm.alarm, alarm.cause));
            error.hint(format!("open: {}", known.collect::<Vec<_>>().join(", ")))
        }
    }
}

/// The condition that a channel takes no messages, if it does not for long.
pub fn of_channel(name: &Name, state: &ChannelState, now: Timestamp) -> Option<Condition> {
    let failing = state.failing?;
    let long = now.as_second() - failing.as_second() >= CHANNEL_FAILS_SECONDS;
    let why = state
        .error
        .as_deref()
        .unwrap_or("a channel does not say why");
    let kind = ConditionKind::Channel;
    let text = format!("nothing is delivered: {why}");
    long.then(|| {
        Condition::new(
            format!("notify.{name}"),
            kind,
            Severity::Warning,
            Some(failing),
            text,
        )
        .hint(format!("test it: lifeboat notify test {name}"))
    })
}
