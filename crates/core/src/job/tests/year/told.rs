//! What was told, and what should have been.

use super::model::Model;
use super::place::Trouble;
use super::world::{World, plus};
use crate::clock::is_ahead;
use crate::condition::ConditionKind;
use crate::config::Config;
use crate::finding::Severity;
use crate::history::{Job, JobKind, JobOutcome};
use crate::name::Name;
use crate::notify::{Event, Item, Message};
use crate::point::PointId;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// Time within which something that is so must have been told.
const BOUND: i64 = 4 * HOUR;
/// Time for which something must be so before the pager hears of it.
const PAGER_WAITS: i64 = HOUR;
/// Time within which a store that missed a copy is given it.
const HEALED_WITHIN: i64 = 2 * HOUR;
/// Time after which one look is enough to say that a store is back.
const SETTLED: i64 = 6 * HOUR;
/// Time for which something may be told after it was so: what flaps is over after six hours.
const LINGERS: i64 = 9 * HOUR;

/// An alarm that a channel was told of and not yet that it is over.
#[derive(Debug, Clone)]
pub(super) struct Open {
    at: Timestamp,
    severity: Severity,
    conditions: BTreeMap<String, ConditionKind>,
    subject: String,
}

/// Whether something is so, since when, or until when it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truth {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// When this host last looked while it was so.
    seen: Timestamp,
}

impl Truth {
    pub(super) fn holds(&self) -> bool {
        self.since.is_some()
    }
}

/// What must be told once, of something that happened.
#[derive(Debug, Clone)]
pub(super) struct Owed {
    host: usize,
    since: Timestamp,
    /// How the condition begins, and how it ends.
    begins: String,
    ends: String,
    /// The copy that was lost, if it is about one.
    pub(super) lost: Option<(String, PointId)>,
}

impl Owed {
    pub(super) fn new(host: usize, since: Timestamp, begins: String, ends: &str) -> Self {
        Owed {
            host,
            since,
            begins,
            ends: ends.to_owned(),
            lost: None,
        }
    }

    fn is_of(&self, condition: &str) -> bool {
        condition.starts_with(&self.begins) && condition.ends_with(&self.ends)
    }
}

/// A verification found something damaged.
pub(super) fn owes_damage(model: &mut Model, host: usize, now: Timestamp) {
    let owed = Owed::new(host, now, "store.".to_owned(), "/damaged");
    model.owed.push(owed);
}

/// A backup captured a source that lost most of its rows just before.
pub(super) fn owes_anomaly(world: &World, model: &mut Model, host: usize, job: &Job) {
    let (plan, Some(point)) = (&*job.subject, &job.point) else {
        return;
    };
    let before = model.complete(None, plan).filter(|other| *other != point);
    let before: BTreeSet<&PointId> = before.collect();
    let began = model.last.get("shrinks").copied();
    let Some((began, newest)) = began.zip(before.last()) else {
        return;
    };
    let just = newest.time() < began && began < job.started;
    // It knows what was in the points before.
    let now = world.now();
    let mut known = ["state", "clock"].into_iter();
    let known = known.all(|what| !model.lately(what, now, 10 * DAY));
    if !just || !known || before.len() < 4 || world.system.hosts > 1 {
        return;
    }
    let sources = model.there.iter().find(|((_, other), _)| other == point);
    let sources = sources.map(|(_, manifest)| manifest.sources.clone());
    let shrunk: Vec<_> = sources
        .into_iter()
        .flatten()
        .filter(|source| world.is_shrunk(&source.name))
        .collect();
    for source in shrunk {
        let begins = format!("plan.{plan}.{}", source.name);
        model.owed.push(Owed::new(host, now, begins, "/anomaly"));
    }
}

/// What happened, and was not told.
fn unsaid(model: &mut Model, host: usize, now: Timestamp) -> Option<String> {
    let owed = std::mem::take(&mut model.owed);
    let (due, later): (Vec<_>, Vec<_>) = owed
        .into_iter()
        .partition(|owed| owed.host == host && plus(owed.since, BOUND) <= now);
    model.owed = later;
    // What a host knows then is not followed here, or somebody said that he looks.
    let excuses = [
        ("state", 10 * DAY),
        ("clock", 10 * DAY),
        ("away", 2 * BOUND),
        ("acknowledged", 2 * DAY),
    ];
    let mut excuses = excuses.into_iter();
    if excuses.any(|(what, seconds)| model.lately(what, now, seconds)) {
        return None;
    }
    due.iter().for_each(|_| model.count("owed"));
    due.into_iter().find_map(|owed| {
        let since = now.as_second() - owed.since.as_second();
        let gone = owed.lost.as_ref().is_some_and(|lost| {
            !model.lost.contains_key(lost) || model.lately("operator", now, since)
        });
        let mut open = model.open.iter().filter(|((of, ..), _)| *of == host);
        let open = open.any(|(_, open)| open.conditions.keys().any(|id| owed.is_of(id)));
        let mut said = model.said.iter().filter(|((of, _), _)| *of == host);
        let said = said.any(|((_, id), at)| owed.is_of(id) && *at >= owed.since);
        let silent = !gone && !open && !said && model.is_calm(now, since);
        let (begins, ends, at) = (&owed.begins, &owed.ends, owed.since);
        silent.then(|| format!("{begins}…{ends} is so since {at}, and was not told"))
    })
}

/// The identity of a condition within its application.
fn local(condition: &str) -> &str {
    condition.splitn(3, '/').nth(2).unwrap_or(condition)
}

/// Returns whether the pager hears of something too early: it waits for an hour, but for a key that is
/// refused, which may be an attack.
fn is_early(message: &Message) -> bool {
    let mut items = message.items.iter();
    let heard = |item: &Item| {
        let lasted = plus(item.since, PAGER_WAITS) <= message.at;
        lasted || item.kind == ConditionKind::StoreDenied
    };
    !items.any(heard)
}

/// Notes a message. Fails if it should not have been told.
pub(super) fn heard(
    model: &mut Model,
    host: usize,
    channel: &Name,
    message: &Message,
) -> Result<(), String> {
    let once = (host, channel.clone(), message.id.clone());
    if !model.delivered.insert(once) {
        return Err("it was delivered before".to_owned());
    }
    if **channel == *"ops" {
        for item in &message.items {
            let id = local(&item.condition).to_owned();
            model.said.insert((host, id), message.at);
        }
    }
    let alarm = message.id.split('-').next().unwrap_or_default().to_owned();
    let key = (host, channel.clone(), alarm);
    let known = model.open.get(&key).cloned();
    let items = message.items.iter();
    let conditions: BTreeMap<String, ConditionKind> = items
        .map(|item| (local(&item.condition).to_owned(), item.kind))
        .collect();
    if known.is_none() && **channel == *"pager" && is_early(message) {
        return Err("it has not lasted for an hour".to_owned());
    }
    match (message.event, &known) {
        (Event::New, Some(known)) => {
            let news = conditions.iter().any(|(id, kind)| {
                *kind == ConditionKind::Anomaly && !known.conditions.contains_key(id)
            });
            if message.severity <= known.severity && !news {
                return Err(format!("it was told at {} already", known.at));
            }
        }
        (Event::Repeated, Some(known)) => {
            // A clock that was wrong dated what was told before.
            let wrong = model.lately("clock", message.at, 2 * DAY);
            if plus(known.at, DAY) > message.at && !wrong && known.at <= message.at {
                return Err(format!("it was told at {} already", known.at));
            }
        }
        (Event::New, None) => {}
        (Event::Recovered, Some(known)) => {
            let away = format!("{}/store-unreachable", known.subject);
            let truth = model.truths.get(&(host, away));
            let truth = truth.filter(|truth| truth.since.is_some());
            model.open.remove(&key);
            if truth.is_some_and(|truth| plus(truth.seen, SETTLED) > message.at) {
                return Err("it was so when this host last looked".to_owned());
            }
        }
        (Event::Repeated | Event::Recovered, None) => {
            return Err("nobody was told that it began".to_owned());
        }
        (event, _) => return Err(format!("unexpected: {}", event.as_str())),
    }
    if message.event != Event::Recovered {
        let before = known.as_ref();
        let mut all = before
            .map(|known| known.conditions.clone())
            .unwrap_or_default();
        // What is over is not in the message any more; anomalies stay known.
        all.retain(|_, kind| *kind == ConditionKind::Anomaly);
        all.extend(conditions);
        model.open.insert(
            key,
            Open {
                at: message.at,
                severity: before.map_or(message.severity, |k| k.severity.max(message.severity)),
                conditions: all,
                subject: local(&message.alarm).to_owned(),
            },
        );
    }
    Ok(())
}

/// A host has told what it has to tell: is everything told that is so, and nothing else?
pub(super) fn check(world: &World, host: usize) {
    let (config, offset, up) = {
        let hosts = world.hosts.borrow();
        let own = &hosts[host];
        (own.config().clone(), own.offset, own.is_up())
    };
    let now = world.now();
    let mut model = world.model.borrow_mut();
    let answers = |trouble: Trouble| !trouble.away && !trouble.denied;
    if world.places.iter().all(|place| answers(place.trouble())) {
        model.blind.remove(&host);
    }
    let so = truths(world, &model, &config, host);
    for (id, truth) in &mut model.truths {
        if id.0 == host && !so.contains(&id.1) && truth.since.is_some() {
            (truth.since, truth.until) = (None, Some(now));
        }
    }
    for id in &so {
        let key = (host, id.clone());
        let truth = model.truths.entry(key).or_insert(Truth {
            since: Some(now),
            until: None,
            seen: now,
        });
        truth.since.get_or_insert(now);
        truth.seen = now;
    }
    if offset != 0 || !up || !model.is_calm(now, BOUND) {
        return;
    }
    let problem = untold(&model, host, &so, now)
        .or_else(|| unfounded(&model, host, now, world))
        .or_else(|| forgotten(world, &model, &config))
        .or_else(|| unsaid(&mut model, host, now));
    if let Some(problem) = problem {
        model.broken(now, format!("host {host}: {problem}"));
    }
}

/// A drill or a verification whose time came, and that nobody began.
fn forgotten(world: &World, model: &Model, config: &Config) -> Option<String> {
    let now = world.now();
    let drills = config.drill.iter();
    let drills = drills.map(|(name, drill)| (JobKind::Drill, name, &drill.when));
    let verifies = config.verify.iter();
    let verifies = verifies.map(|(name, verify)| (JobKind::Verify, name, &verify.when));
    drills.chain(verifies).find_map(|(kind, name, when)| {
        let within = period(when.schedule.as_deref()?) + DAY;
        let troubles = ["away", "full", "damage", "loss", "source"];
        let troubled = troubles.iter().any(|what| model.lately(what, now, within));
        if troubled || model.lately("clock", now, 60 * DAY) || !model.is_calm(now, within) {
            return None;
        }
        let of_kind = model.ended.iter();
        let of_kind = of_kind.filter(|((_, of, subject), _)| *of == kind && subject == name);
        let last = of_kind.map(|(_, ending)| ending.at).max();
        let last = last.unwrap_or(world.begin);
        let late = plus(last, within) < now;
        late.then(|| format!("{} {name} did not run since {last}", kind.as_str()))
    })
}

/// Seconds between two times of a schedule, at most.
fn period(schedule: &str) -> i64 {
    let fields: Vec<&str> = schedule.split(' ').collect();
    match fields[..] {
        [_, "*", "*", _, "*"] => HOUR,
        [_, _, "*", _, "*"] => DAY,
        [.., "*"] => 31 * DAY,
        _ => 7 * DAY,
    }
}

/// What is so for long, and was not told.
fn untold(model: &Model, host: usize, so: &BTreeSet<String>, now: Timestamp) -> Option<String> {
    // A person said that he knows.
    if model.lately("acknowledged", now, 2 * DAY) {
        return None;
    }
    let ops = Name::own("ops");
    let open = model
        .open
        .iter()
        .filter(|((of, channel, _), _)| *of == host && *channel == ops);
    let open: Vec<&Open> = open.map(|(_, open)| open).collect();
    let stores_told = open.iter().any(|open| open.subject.starts_with("store."));
    so.iter().find_map(|id| {
        let truth = model.truths.get(&(host, id.clone()))?;
        let long = truth.since.is_some_and(|since| plus(since, BOUND) <= now);
        let subject = id.split('/').next().unwrap_or_default();
        let told = open.iter().any(|open| {
            let mut conditions = open.conditions.keys();
            open.subject == subject
                || conditions.any(|told| told.split('/').next() == Some(subject))
        });
        // What a store that is away explains is told with it.
        let told = told || subject.starts_with("plan.") && stores_told;
        // What joined an alarm is told by itself when that is repeated.
        let itself = open.iter().any(|open| open.conditions.contains_key(id));
        let longer = truth
            .since
            .is_some_and(|since| plus(since, DAY + BOUND) <= now);
        // A message about a store names everything that is wrong with it then.
        let passed_over = open.iter().any(|open| {
            let later = truth.since.is_some_and(|since| open.at > since);
            let of_store = subject.starts_with("store.") && open.subject == subject;
            of_store && later && !open.conditions.contains_key(id)
        });
        let passed_over = passed_over && !model.lately("clock", now, 3 * DAY);
        let untold =
            long && (!told || passed_over) || longer && !itself && model.is_calm(now, DAY + BOUND);
        untold.then(|| format!("{id} is so since {:?}, and was not told", truth.since))
    })
}

/// An alarm that was told and is open, of which nothing is so any more.
fn unfounded(model: &Model, host: usize, now: Timestamp, world: &World) -> Option<String> {
    let mut open = model.open.iter().filter(|((of, ..), _)| *of == host);
    open.find_map(|((_, channel, _), open)| {
        let holds = |(id, kind): (&String, &ConditionKind)| {
            let truth = model.truths.get(&(host, id.clone()));
            let lingers = |at: Timestamp| plus(at, LINGERS) >= now;
            let so = truth.is_some_and(|t| t.since.is_some() || t.until.is_some_and(lingers));
            // Of the proofs that it forgot, a host knows only those that are in stores that answer.
            let is_blind = *kind == ConditionKind::ProofOverdue && model.blind.contains(&host);
            so || is_blind
                || excused(model, *kind, now, world)
                || model.is_beyond_healing(world, id)
        };
        // What was told later of the same alarm is told with the next repetition alone.
        let joined = model.truths.iter().any(|((of, id), truth)| {
            let subject = id.split('/').next().unwrap_or_default();
            *of == host && truth.since.is_some() && explains(&open.subject, subject)
        });
        let founded = open.conditions.iter().any(holds) || joined;
        let told = &open.conditions;
        (!founded).then(|| format!("{channel} was told {told:?}, and nothing of it is so"))
    })
}

/// Returns whether what is wrong with one subject may be told as part of an alarm about another.
fn explains(alarm: &str, subject: &str) -> bool {
    alarm == subject || alarm.starts_with("store.") && subject.starts_with("plan.")
}

/// Kinds whose reasons the model follows only roughly.
fn excused(model: &Model, kind: ConditionKind, now: Timestamp, world: &World) -> bool {
    match kind {
        ConditionKind::Anomaly => model.lately("shrinks", now, 25 * DAY),
        ConditionKind::Clock => model.lately("clock", now, 60 * DAY),
        ConditionKind::Damaged => {
            model.lately("damage", now, 120 * DAY)
                || world.places.iter().any(|place| place.has_damage())
        }
        ConditionKind::CopyMissing => {
            !model.lost.is_empty()
                || ["away", "full", "damage", "loss"]
                    .iter()
                    .any(|what| model.lately(what, now, 3 * DAY))
        }
        ConditionKind::PruneFailed => {
            ["away", "full", "damage", "loss", "clock", "kill", "changed"]
                .iter()
                .any(|what| model.lately(what, now, 60 * DAY))
        }
        ConditionKind::ProofFailed => model.lately("damage", now, 200 * DAY),
        ConditionKind::Missed => ["away", "full", "slow", "down", "changed"]
            .iter()
            .any(|what| model.lately(what, now, 2 * DAY)),
        ConditionKind::Channel => model.lately("channel", now, DAY),
        // The disk of the machine that this runs on, which all stores share.
        ConditionKind::Disk | ConditionKind::Posture => true,
        _ => false,
    }
}

/// What is so, as far as a host that works can know it.
fn truths(world: &World, model: &Model, config: &Config, host: usize) -> BTreeSet<String> {
    let now = world.now();
    let mut so = BTreeSet::new();
    for place in &world.places {
        let trouble = place.trouble();
        if trouble.away {
            so.insert(format!("store.{}/store-unreachable", place.name));
        } else if trouble.denied {
            so.insert(format!("store.{}/store-denied", place.name));
        }
    }
    for (name, plan) in &config.plan {
        let limit = config.app.rpo.filter(|_| plan.when.schedule.is_some());
        let newest = model
            .complete(None, name)
            .max()
            .map(crate::point::PointId::time);
        let checked = model.checked(name);
        let at = newest.max(checked);
        // It has points after a while, or something is wrong.
        let at = at.unwrap_or(world.begin);
        let limit = limit.map_or(25 * HOUR, |span| i64::try_from(span.seconds).unwrap_or(0));
        if plus(at, limit) < now {
            so.insert(format!("plan.{name}/overdue"));
        }
        lacking(world, model, name, &plan.stores, &mut so);
        let ended = |kind| model.ended.get(&(host, kind, name.clone()));
        if let Some(ending) = ended(JobKind::Backup) {
            let healed = ending.point.as_ref();
            let healed = healed.is_some_and(|p| model.is_everywhere(p, name, &plan.stores));
            // What another host did for the same time counts as well, where this one has no point.
            let slot = ending.slot.filter(|_| ending.point.is_none());
            let since = slot.unwrap_or(ending.at);
            // What another host completed meanwhile is as new as what this run was to make.
            let newer = newest.is_some_and(|newest| newest > since);
            match ending.outcome {
                JobOutcome::Done => {}
                _ if healed || newer || model.is_made_up_for(ending, name) => {}
                JobOutcome::Partial => drop(so.insert(format!("plan.{name}/partial"))),
                _ => drop(so.insert(format!("plan.{name}/failed"))),
            }
        }
        if ended(JobKind::Prune).is_some_and(|ending| ending.outcome != JobOutcome::Done) {
            so.insert(format!("plan.{name}/prune-failed"));
        }
    }
    proofs(world, model, config, host, &mut so);
    so
}

/// What is so of drills and verifications.
fn proofs(world: &World, model: &Model, config: &Config, host: usize, so: &mut BTreeSet<String>) {
    let now = world.now();
    let fails = |kind, name: &Name| {
        let ending = model.ended.get(&(host, kind, name.clone()));
        ending.is_some_and(|ending| {
            !matches!(ending.outcome, JobOutcome::Done | JobOutcome::NotProved)
        })
    };
    for (name, drill) in &config.drill {
        let of_drill = model
            .records
            .values()
            .filter(|r| r.drill.as_ref() == Some(name));
        // Nobody believes a record that is dated in the future, not even the host that made it.
        let verified = of_drill.filter(|r| {
            let verified = r.outcome == crate::evidence::Verdict::Verified;
            verified && !is_ahead(r.finished, now)
        });
        let last = verified.map(|record| record.finished).max();
        // Where no store takes the record, its host has it.
        let here = model.proved.get(&(host, name.clone()));
        let here = here.filter(|(_, started)| !is_ahead(*started, now));
        let last = last.max(here.map(|(at, _)| *at));
        let limit = drill
            .max_age
            .map_or(0, |span| i64::try_from(span.seconds).unwrap_or(0));
        // Without a catalog, only the stores tell when something was proved.
        let knows = !model.blind.contains(&host);
        if plus(last.unwrap_or(world.begin), limit) < now && knows {
            so.insert(format!("drill.{name}/proof-overdue"));
        }
        if fails(JobKind::Drill, name) {
            so.insert(format!("drill.{name}/failed"));
        }
    }
    for name in config.verify.keys() {
        if fails(JobKind::Verify, name) {
            so.insert(format!("verify.{name}/failed"));
        }
    }
}

/// A store that takes nothing, but answers, and so lacks the newest complete point of a plan.
fn lacking(world: &World, model: &Model, plan: &Name, stores: &[Name], so: &mut BTreeSet<String>) {
    let newest = model.complete(None, plan).max();
    let newest = newest.filter(|point| plus(point.time(), HEALED_WITHIN) < world.now());
    for place in &world.places {
        let (trouble, name) = (place.trouble(), &place.name);
        let full = trouble.full && !trouble.away && !trouble.denied;
        let Some(newest) = newest.filter(|_| full && stores.iter().any(|s| **s == **name)) else {
            continue;
        };
        if !model
            .complete(Some(name), plan)
            .any(|point| point == newest)
        {
            so.insert(format!("plan.{plan}.{name}/copy-missing"));
        }
    }
}
