//! The alarms of an application, and one step of them. Pure.
//!
//! An alarm is all that has one cause. Guarantees: what is told to a channel once is not told there
//! again before its time to repeat, unless it became graver; what comes and goes is told once; whoever
//! was told that something is wrong is told when it is over.

use super::condition::Condition;
use crate::condition::ConditionKind;
use crate::digest::sha256_hex;
use crate::finding::Severity;
use crate::name::Name;
use crate::notify::{Event, Item, Message};
use crate::span::Span;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Time for which what comes and goes with a network must be away, seen twice, before it is over.
const SETTLED: Span = Span { seconds: 1800 };
/// Time after which one look is enough for that.
const LONG_SETTLED: Span = Span { seconds: 6 * 3600 };
/// Time for which what lasts is told after it was seen last, unless somebody looks: a week.
const LASTING: Span = Span {
    seconds: 7 * 86_400,
};
/// Digits of the short name of an alarm.
const SHORT_DIGITS: usize = 6;

/// The alarms that are open, by cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// When the last step was.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The alarms.
    pub alarms: BTreeMap<String, Alarm>,
}

/// Everything that is wrong for one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// A short name that no other alarm of the application has: what `ack` takes.
    pub id: String,
    /// When it was seen first.
    pub opened: Timestamp,
    /// What is wrong, by its identity within the application; once it is over, what was.
    pub wrong: BTreeMap<String, Wrong>,
    /// Messages that were decided.
    pub messages: u32,
    /// What each channel was told.
    pub told: BTreeMap<Name, Told>,
    /// Escalations that were carried out: the channel that has the rule, its number there, and the
    /// channel that was told.
    pub escalated: BTreeSet<(Name, usize, Name)>,
    /// Who looks after it.
    pub acknowledged: Option<Acknowledged>,
    /// Since when it seems to be over.
    pub clear_since: Option<Timestamp>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrong {
    /// As a message tells it.
    pub item: Item,
    /// When it was seen last.
    pub seen: Timestamp,
}

/// What a channel was told of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When that was last.
    pub at: Timestamp,
    /// The gravest that it was told.
    pub severity: Severity,
    /// True if it was told since the alarm escalated to it: then it hears of all of it.
    pub escalated: bool,
    /// The conditions that it was told.
    #[serde(default)]
    pub conditions: BTreeSet<String>,
    /// When it took such a message last.
    #[serde(default)]
    pub delivered: Option<Timestamp>,
}

/// Somebody looks after an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Until when it is not repeated and does not escalate.
    pub until: Timestamp,
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A channel, as far as it decides what is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: Name,
    /// The kinds of conditions that it hears of.
    pub kinds: BTreeSet<ConditionKind>,
    /// The least severity that it hears of.
    pub severity: Severity,
    /// True if it hears when something is over.
    pub recovered: bool,
    /// Time for which a condition must hold before it is told.
    pub wait: Span,
    /// Time between two messages about the same alarm; `None` for never.
    pub repeat: Option<Span>,
    /// Who else is told of what stays open.
    pub escalations: Vec<Escalation>,
}

/// A rule that tells others of what stays open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// Time for which it must be open.
    pub after: Span,
    /// The kinds that it is about; every kind if empty.
    pub kinds: BTreeSet<ConditionKind>,
    /// Groups of subjects: something must be wrong with one of each; no group if empty.
    pub all: Vec<Vec<String>>,
    /// The channels that are told.
    pub to: Vec<Name>,
}

/// Whose alarms they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// The application.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// The host that tells of them.
    pub host: String,
    /// Whom to ask.
    pub contacts: Vec<String>,
}

impl Whose {
    fn name(&self) -> String {
        format!("{}/{}", self.app, self.environment)
    }
}

/// A message, and the channel it goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The channel.
    pub channel: Name,
    /// The message.
    pub message: Message,
}

impl Ledger {
    /// The alarm that a message is about, if it is still open.
    fn of_message(&mut self, message: &Message) -> Option<&mut Alarm> {
        let mut alarms = self.alarms.values_mut();
        alarms.find(|alarm| {
            let number = message.id.strip_prefix(alarm.id.as_str());
            number.is_some_and(|number| number.starts_with('-'))
        })
    }

    /// Notes that a channel took a message. Returns false if its alarm is over.
    pub(super) fn note_delivered(
        &mut self,
        channel: &Name,
        message: &Message,
        now: Timestamp,
    ) -> bool {
        let alarm = self.of_message(message);
        let told = alarm.and_then(|alarm| alarm.told.get_mut(channel));
        let Some(told) = told else {
            return false;
        };
        told.delivered = Some(now);
        true
    }

    /// Notes that a message was given up: its channel is told of the alarm anew, or again if it took what
    /// this one repeats.
    pub(super) fn untell(&mut self, channel: &Name, message: &Message) {
        let Some(alarm) = self.of_message(message) else {
            return;
        };
        let told = alarm.told.get_mut(channel);
        let told = told.filter(|_| message.event == Event::Repeated);
        if let Some((told, taken)) = told.and_then(|told| told.delivered.map(|at| (told, at))) {
            told.at = taken;
            return;
        }
        alarm.told.remove(channel);
        alarm.escalated.retain(|(_, _, to)| to != channel);
    }
}

impl Alarm {
    pub(super) fn new(whose: &Whose, cause: &str, now: Timestamp) -> Self {
        let digest = sha256_hex(format!("{}/{cause}@{now}", whose.name()).as_bytes());
        Alarm {
            id: digest.chars().take(SHORT_DIGITS).collect(),
            opened: now,
            wrong: BTreeMap::new(),
            messages: 0,
            told: BTreeMap::new(),
            escalated: BTreeSet::new(),
            acknowledged: None,
            clear_since: None,
        }
    }

    /// The gravest of what is wrong.
    pub fn severity(&self) -> Severity {
        let severities = self.wrong.values().map(|wrong| wrong.item.severity);
        severities.max().unwrap_or(Severity::Ok)
    }

    /// Since when the oldest of it holds.
    pub fn since(&self) -> Timestamp {
        let since = self.wrong.values().map(|wrong| wrong.item.since);
        since.min().unwrap_or(self.opened)
    }

    /// Returns whether somebody looks after it.
    pub fn is_acknowledged(&self, now: Timestamp) -> bool {
        let until = self.acknowledged.as_ref().map(|ack| ack.until);
        until.is_some_and(|until| until > now)
    }

    /// What a clock that was ahead has dated counts as of now: it puts off nothing that is to be told.
    fn no_later_than(&mut self, now: Timestamp) {
        let told = self.told.values_mut().map(|told| &mut told.at);
        let wrong = self.wrong.values_mut();
        let wrong = wrong.flat_map(|wrong| [&mut wrong.seen, &mut wrong.item.since]);
        let dates = told.chain(wrong).chain(&mut self.clear_since);
        for date in dates.chain([&mut self.opened]) {
            *date = now.min(*date);
        }
        if let Some(ack) = self.acknowledged.as_mut().filter(|ack| ack.at > now) {
            let lasts = ack.until.duration_since(ack.at);
            (ack.at, ack.until) = (now, now + lasts);
        }
    }

    /// Returns whether it is over, having been clear since a time.
    fn is_over(&self, clear_since: Timestamp, now: Timestamp) -> bool {
        let wrong = self.wrong.values();
        let flapping = wrong.filter(|wrong| Condition::flaps(wrong.item.kind));
        let Some(seen) = flapping.map(|wrong| wrong.seen).max() else {
            return true;
        };
        let seen_twice = clear_since < now && SETTLED.after(clear_since) <= now;
        seen_twice || LONG_SETTLED.after(seen) <= now
    }

    /// Returns whether something that is not seen any more stays all the same, until somebody says
    /// that he looked: the next point hides that the one before it lost something.
    fn lasts(&self, wrong: &Wrong, now: Timestamp) -> bool {
        let acknowledged = self.acknowledged.as_ref();
        let looked = acknowledged.is_some_and(|ack| ack.at >= wrong.seen);
        Condition::lasts(wrong.item.kind) && !looked && LASTING.after(wrong.seen) > now
    }
}

/// How much is known of what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Everything: what is not among the conditions is over.
    All,
    /// It could not be looked: what else was wrong may still be.
    Some,
}

/// Goes one step: from a ledger and what is wrong now to the next ledger, and what is told.
pub fn step(
    ledger: &Ledger,
    conditions: &[Condition],
    known: Known,
    now: Timestamp,
    whose: &Whose,
    listeners: &[Listener],
) -> (Ledger, Vec<Outgoing>) {
    let mut causes: BTreeMap<&str, Vec<&Condition>> = BTreeMap::new();
    for condition in conditions {
        let cause = known_cause(ledger, condition).unwrap_or(&condition.cause);
        causes.entry(cause).or_default().push(condition);
    }
    let subjects: BTreeSet<&str> = conditions.iter().map(|c| c.subject.as_str()).collect();
    let mut next = ledger.clone();
    next.at = Some(now);
    // A channel that is configured again is told anew.
    let is_there = |name: &Name| listeners.iter().any(|listener| listener.name == *name);
    for alarm in next.alarms.values_mut() {
        alarm.told.retain(|name, _| is_there(name));
        alarm.no_later_than(now);
    }
    for cause in causes.keys() {
        let new = || Alarm::new(whose, cause, now);
        next.alarms.entry((*cause).to_owned()).or_insert_with(new);
    }
    let (mut outgoing, mut over) = (Vec::new(), Vec::new());
    for (cause, alarm) in &mut next.alarms {
        let mut turn = AlarmTurn {
            cause,
            alarm,
            now,
            whose,
            listeners,
            outgoing: &mut outgoing,
            under_way: BTreeSet::new(),
        };
        let seen = causes.get(cause.as_str());
        if seen.is_some() || (known == Known::All && turn.has_lasting()) {
            turn.open(seen.map_or(&[], Vec::as_slice), &subjects);
        } else if known == Known::All && turn.clear() {
            over.push(cause.clone());
        }
    }
    next.alarms.retain(|cause, _| !over.contains(cause));
    (next, outgoing)
}

/// The cause of the open alarm that a condition is in: it stays there until it is over, whatever would
/// explain it now.
fn known_cause<'l>(ledger: &'l Ledger, condition: &Condition) -> Option<&'l str> {
    let id = condition.id();
    let mut open = ledger.alarms.iter();
    let known =
        open.find(|(_, alarm)| alarm.clear_since.is_none() && alarm.wrong.contains_key(&id));
    known.map(|(cause, _)| cause.as_str())
}

/// One alarm in one step.
struct AlarmTurn<'a> {
    cause: &'a str,
    alarm: &'a mut Alarm,
    now: Timestamp,
    whose: &'a Whose,
    listeners: &'a [Listener],
    outgoing: &'a mut Vec<Outgoing>,
    /// Conditions that a job may be ending.
    under_way: BTreeSet<String>,
}

impl AlarmTurn<'_> {
    /// Something is wrong.
    fn open(&mut self, conditions: &[&Condition], subjects: &BTreeSet<&str>) {
        let (now, whose) = (self.now, self.whose.name());
        let under_way = conditions.iter().filter(|condition| condition.under_way);
        self.under_way = under_way.map(|condition| condition.id()).collect();
        self.alarm.clear_since = None;
        let lasting = self.alarm.wrong.iter();
        let lasting = lasting.filter(|(_, wrong)| self.alarm.lasts(wrong, now));
        let mut wrong: BTreeMap<String, Wrong> = lasting
            .map(|(id, wrong)| (id.clone(), wrong.clone()))
            .collect();
        for condition in conditions {
            let id = condition.id();
            let known = self.alarm.wrong.get(&id).map(|wrong| &wrong.item);
            let first = known.map_or(now, |item| item.since);
            let mut item = condition.item(&whose, first);
            // A job that failed again did not begin to fail then.
            item.since = item.since.min(first);
            if let Some(known) = known.filter(|_| Condition::lasts(item.kind)) {
                // It leads to the point in which it was new.
                item.hint.clone_from(&known.hint);
            }
            wrong.insert(id, Wrong { item, seen: now });
        }
        self.alarm.wrong = wrong;
        for listener in self.listeners {
            self.tell(listener);
        }
        if !self.alarm.is_acknowledged(now) {
            for listener in self.listeners {
                self.escalate(listener, subjects);
            }
        }
    }

    /// Tells a channel what it is to hear now.
    fn tell(&mut self, listener: &Listener) {
        let (now, alarm) = (self.now, &self.alarm);
        let told = alarm.told.get(&listener.name);
        let escalated = told.is_some_and(|told| told.escalated);
        let heard = alarm.wrong.iter().filter(|(id, Wrong { item, .. })| {
            let long = listener.wait.after(item.since) <= now;
            let hears = listener.hears(item) && (long || Condition::is_urgent(item.kind));
            (hears || escalated) && !listener.is_subject_of(id)
        });
        let under_way = heard.clone().all(|(id, _)| self.under_way.contains(id));
        let heard: Vec<Item> = heard.map(|(_, wrong)| wrong.item.clone()).collect();
        let Some(severity) = heard.iter().map(|item| item.severity).max() else {
            return;
        };
        let acknowledged = alarm.is_acknowledged(now);
        let is_news = |told: &Told| {
            let mut heard = heard.iter();
            heard.any(|item| {
                Condition::lasts(item.kind) && !told.conditions.contains(&item.condition)
            })
        };
        let event = match told {
            None if acknowledged => return,
            None => Event::New,
            Some(told) if severity > told.severity || is_news(told) => Event::New,
            Some(_) if acknowledged => return,
            Some(_) if under_way => return,
            Some(told) => match listener.repeat {
                Some(repeat) if repeat.after(told.at) <= now => Event::Repeated,
                _ => return,
            },
        };
        self.send(&listener.name, event, heard, escalated);
    }

    /// Tells others, where the rules of a channel say so.
    fn escalate(&mut self, listener: &Listener, subjects: &BTreeSet<&str>) {
        for (number, rule) in listener.escalations.iter().enumerate() {
            let is_wrong = |subject: &String| subjects.contains(subject.as_str());
            let every = rule.all.iter().all(|group| group.iter().any(is_wrong));
            let wrong = self.alarm.wrong.iter().filter(|(id, Wrong { item, .. })| {
                let kind = rule.kinds.is_empty() || rule.kinds.contains(&item.kind);
                let long = rule.after.after(item.since) <= self.now;
                kind && long && !self.under_way.contains(*id)
            });
            let about: Vec<Item> = wrong.map(|(_, wrong)| wrong.item.clone()).collect();
            if !every || about.is_empty() {
                continue;
            }
            for channel in &rule.to {
                let key = (listener.name.clone(), number, channel.clone());
                if self.alarm.escalated.insert(key) {
                    self.send(channel, Event::Escalated, about.clone(), true);
                }
            }
        }
    }

    /// Returns whether something of it stays although it is not seen any more.
    fn has_lasting(&self) -> bool {
        let mut wrong = self.alarm.wrong.values();
        wrong.any(|wrong| self.alarm.lasts(wrong, self.now))
    }

    /// Nothing of it is wrong any more. Returns whether it is over.
    fn clear(&mut self) -> bool {
        let clear_since = *self.alarm.clear_since.get_or_insert(self.now);
        if !self.alarm.is_over(clear_since, self.now) {
            return false;
        }
        let told = std::mem::take(&mut self.alarm.told);
        for (channel, told) in told {
            let listener = self.listeners.iter().find(|l| l.name == channel);
            if listener.is_some_and(|listener| listener.recovered || told.escalated) {
                let wrong = self.alarm.wrong.values();
                let items = wrong.map(|wrong| wrong.item.clone()).collect();
                self.send(&channel, Event::Recovered, items, false);
            }
        }
        true
    }

    fn send(&mut self, channel: &Name, event: Event, mut items: Vec<Item>, escalated: bool) {
        let alarm = &mut *self.alarm;
        alarm.messages += 1;
        items.sort_by(|a, b| (b.severity, a.since).cmp(&(a.severity, b.since)));
        let gravest = items.first().map_or(Severity::Ok, |item| item.severity);
        let severity = match event {
            Event::Recovered => Severity::Ok,
            _ => gravest,
        };
        let told = alarm.told.entry(channel.clone()).or_insert(Told {
            at: self.now,
            severity,
            escalated,
            conditions: BTreeSet::new(),
            delivered: None,
        });
        told.conditions
            .extend(items.iter().map(|item| item.condition.clone()));
        told.at = self.now;
        told.severity = told.severity.max(severity);
        told.escalated |= escalated;
        let title = match items.as_slice() {
            [] => String::new(),
            [only] => only.text.clone(),
            [first, rest @ ..] => format!("{} (and {} more)", first.text, rest.len()),
        };
        let title = match event {
            Event::Recovered => format!("over: {title}"),
            _ => title,
        };
        if event == Event::Recovered {
            // There is nothing left to do about it.
            items.iter_mut().for_each(|item| item.hint = None);
        }
        self.outgoing.push(Outgoing {
            channel: channel.clone(),
            message: Message {
                id: format!("{}-{}", alarm.id, alarm.messages),
                alarm: format!("{}/{}", self.whose.name(), self.cause),
                event,
                severity,
                at: self.now,
                app: self.whose.app.clone(),
                environment: self.whose.environment.clone(),
                host: self.whose.host.clone(),
                title,
                items,
                contacts: self.whose.contacts.clone(),
                report: None,
            },
        });
    }
}

impl Listener {
    fn hears(&self, item: &Item) -> bool {
        self.kinds.contains(&item.kind) && item.severity >= self.severity
    }

    /// Returns whether a condition says that something is wrong with this channel itself.
    fn is_subject_of(&self, id: &str) -> bool {
        id == format!("notify.{}/{}", self.name, ConditionKind::Channel.as_str())
    }
}

/// When something is to be told next, if nothing else changes.
pub fn next_change(ledger: &Ledger, now: Timestamp, listeners: &[Listener]) -> Option<Timestamp> {
    let mut times = Vec::new();
    for alarm in ledger.alarms.values() {
        if let Some(clear_since) = alarm.clear_since {
            times.push(SETTLED.after(clear_since));
            continue;
        }
        let until = alarm.acknowledged.as_ref().map(|ack| ack.until);
        let from = |at: Timestamp| until.map_or(at, |until| at.max(until));
        for listener in listeners {
            let told = alarm.told.get(&listener.name);
            if let (Some(told), Some(repeat)) = (told, listener.repeat) {
                times.push(from(repeat.after(told.at)));
            }
            for Wrong { item, .. } in alarm.wrong.values() {
                if told.is_none() && listener.hears(item) {
                    times.push(from(listener.wait.after(item.since)));
                }
                let rules = listener.escalations.iter();
                times.extend(rules.map(|rule| from(rule.after.after(item.since))));
            }
        }
    }
    times.into_iter().filter(|at| *at > now).min()
}
