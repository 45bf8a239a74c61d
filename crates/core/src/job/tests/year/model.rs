//! What must be true, by a model of its own: it hears of what was put into stores and deleted there,
//! of what goes wrong, of how jobs ended, and of the messages.
//!
//! It decides with none of the code that decides. It does read what is stored with its own types, takes
//! the numbers of the rules from the configuration, and knows the same limits of a clock that is right.

use super::fault::What;
use super::place::Change;
use super::stay::is_damaged;
use super::told::{Open, Owed, Truth};
use super::world::{World, plus};
use crate::context::Context;
use crate::evidence::Record;
use crate::history::{Job, JobKind, JobOutcome};
use crate::marks::{Intent, Pin};
use crate::name::Name;
use crate::notify::{Event, Message};
use crate::point::{Manifest, PointId};
use crate::status::{Facts, Status};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What a host sees when it looks.
pub(super) struct Seen<'a> {
    pub(super) host: usize,
    pub(super) facts: &'a Facts,
    pub(super) status: &'a Status,
}

/// How a job ended.
pub(super) struct Ending {
    pub(super) at: Timestamp,
    /// When it began, by the clock of its host.
    pub(super) started: Timestamp,
    /// The time in the schedule that it was for.
    pub(super) slot: Option<Timestamp>,
    pub(super) outcome: JobOutcome,
    pub(super) point: Option<PointId>,
}

/// What is stored where, and what was said of it.
#[derive(Default)]
pub(super) struct Model {
    /// The first thing that is not as it should be.
    problem: Option<(Timestamp, String)>,
    /// The manifests that are in the stores.
    pub(super) there: BTreeMap<(String, PointId), Manifest>,
    /// Every point that was ever committed.
    ever: BTreeSet<PointId>,
    /// What is in the stores, as it was when the prune of a host began.
    pub(super) at_prune: BTreeMap<usize, BTreeMap<(String, PointId), Manifest>>,
    pub(super) announced: BTreeMap<(String, PointId), Timestamp>,
    /// A person said that any number of points may go.
    pub(super) confirmed: bool,
    /// Objects of the points that were pruned, by store.
    pub(super) pruned: BTreeSet<(String, String)>,
    /// Hosts that lost their catalog, until every store has answered since.
    pub(super) blind: BTreeSet<usize>,
    /// Points that the operator disowned, since a wrong clock dated them.
    pub(super) disowned: BTreeSet<PointId>,
    /// What somebody else deleted, and when.
    pub(super) lost: BTreeMap<(String, PointId), Timestamp>,
    pub(super) records: BTreeMap<PointId, Record>,
    pub(super) pins: BTreeMap<PointId, Pin>,
    /// When a run of a plan last found nothing new.
    last_check: BTreeMap<Name, (PointId, Timestamp)>,
    /// The last job of each host about a subject that ended.
    pub(super) ended: BTreeMap<(usize, JobKind, Name), Ending>,
    /// The last drill of each host that was done: when it ended, and when it began by the clock of its host.
    pub(super) proved: BTreeMap<(usize, Name), (Timestamp, Timestamp)>,
    /// What channels were told, and not yet that it is over.
    pub(super) open: BTreeMap<(usize, Name, String), Open>,
    pub(super) truths: BTreeMap<(usize, String), Truth>,
    /// What must be told of what happened.
    pub(super) owed: Vec<Owed>,
    /// When each condition was last told to a host's first channel.
    pub(super) said: BTreeMap<(usize, String), Timestamp>,
    pub(super) delivered: BTreeSet<(usize, Name, String)>,
    /// When something last kept hosts from looking and telling as they should.
    pub(super) disturbed: Option<Timestamp>,
    /// What does so now.
    pub(super) disturbing: i64,
    /// When each kind of trouble last began or ended.
    pub(super) last: BTreeMap<&'static str, Timestamp>,
    /// How much of each kind of trouble there is now.
    active: BTreeMap<&'static str, i64>,
    /// Numbers of the life.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Model {
    pub(super) fn is_broken(&self) -> bool {
        self.problem.is_some()
    }

    pub(super) fn problem(&self) -> Option<&(Timestamp, String)> {
        self.problem.as_ref()
    }

    /// Notes that something is not as it should be; the first is what counts.
    pub(super) fn broken(&mut self, now: Timestamp, text: String) {
        self.problem.get_or_insert((now, text));
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Something happens that keeps hosts from looking or telling, or that ends.
    pub(super) fn disturbed(&mut self, now: Timestamp, begins: bool, lasts: bool, what: &What) {
        let name = match what {
            What::Down(_) => "down",
            What::Kill(_) | What::KillAfter(..) => "kill",
            What::Clock(..) => "clock",
            What::NewKey(_) | What::NoCatalog(_) | What::NoState(_) => "state",
            What::Away(_) | What::Denied(_) => "away",
            What::Full(_) => "full",
            What::Lies(_) | What::Rots(_) => "damage",
            What::Loses(_) => "loss",
            What::Slow => "slow",
            What::SourceFails(_) => "source",
            What::SourceShrinks(_) => "shrinks",
            What::ChannelDown => "channel",
            What::Changed => "changed",
            What::Acknowledge => "acknowledged",
            What::Manual | What::Called | What::Pin | What::Prune | What::Mend => "operator",
        };
        self.last.insert(name, now);
        *self.active.entry(name).or_default() += match (begins, lasts) {
            (_, false) => 0,
            (true, true) => 1,
            (false, true) => -1,
        };
        let lasting = matches!(
            what,
            What::Down(_) | What::Clock(..) | What::ChannelDown | What::Slow
        );
        if lasting {
            self.disturbing += if begins { 1 } else { -1 };
        }
        let keeps = !matches!(
            name,
            "away" | "full" | "damage" | "loss" | "source" | "shrinks" | "operator"
        );
        if keeps {
            self.disturbed = Some(now);
        }
        if let What::NoCatalog(host) | What::NoState(host) = what {
            self.blind.insert(*host);
        }
        if let What::NoState(host) = what {
            // What was told and what failed is forgotten with it.
            self.open.retain(|(other, ..), _| other != host);
            self.ended.retain(|(other, ..), _| other != host);
            self.proved.retain(|(other, _), _| other != host);
            self.truths.retain(|(other, _), _| other != host);
        }
    }

    /// Returns whether nothing kept the hosts from looking and telling for so many seconds.
    pub(super) fn is_calm(&self, now: Timestamp, seconds: i64) -> bool {
        self.disturbing == 0 && self.disturbed.is_none_or(|at| plus(at, seconds) <= now)
    }

    /// Returns whether something of a kind happened within so many seconds.
    pub(super) fn lately(&self, what: &str, now: Timestamp, seconds: i64) -> bool {
        let active = self.active.get(what).is_some_and(|count| *count > 0);
        active
            || self
                .last
                .get(what)
                .is_some_and(|at| plus(*at, seconds) >= now)
    }

    /// When a run of a plan found last that its newest complete point is what is there.
    pub(super) fn checked(&self, plan: &Name) -> Option<Timestamp> {
        let newest = self.complete(None, plan).max()?;
        let (_, at) = self
            .last_check
            .get(plan)
            .filter(|(point, _)| point == newest)?;
        Some(*at)
    }

    /// Returns whether something is so, as a host can know it.
    pub(super) fn is_so(&self, host: usize, id: &str) -> bool {
        let truth = self.truths.get(&(host, id.to_owned()));
        truth.is_some_and(Truth::holds)
    }

    /// Returns whether some host lost its state at some time.
    pub(super) fn lost_state(&self) -> bool {
        self.last.contains_key("state")
    }

    /// Returns whether another run completed a point of a plan while a job was at work, or after it.
    pub(super) fn is_made_up_for(&self, ending: &Ending, plan: &str) -> bool {
        let mut there = self.there.values();
        there.any(|manifest| {
            let is_other = ending.point.as_ref() != Some(&manifest.point);
            is_other && self.is_sound(manifest, plan) && manifest.finished > ending.started
        })
    }

    /// Returns whether a store lacks a copy that nothing can give it: every other one is damaged.
    pub(super) fn is_beyond_healing(&self, world: &World, id: &str) -> bool {
        let Some(lacks) = id.strip_suffix("/copy-missing") else {
            return false;
        };
        self.there.iter().any(|((_, point), manifest)| {
            let mut lacking = manifest.stores.iter();
            let is_lacked = lacking.any(|store| {
                let there = self.there.contains_key(&(store.to_string(), point.clone()));
                !there && lacks == format!("plan.{}.{store}", manifest.plan)
            });
            let mut copies = self.there.iter().filter(|((_, other), _)| other == point);
            is_lacked && copies.all(|((store, _), copy)| is_damaged(copy, &world.damaged(store)))
        })
    }

    /// Returns whether a point is complete, and in each of these stores.
    pub(super) fn is_everywhere(&self, point: &PointId, plan: &str, stores: &[Name]) -> bool {
        let holds = |store: &Name| {
            let held = self.there.get(&(store.to_string(), point.clone()));
            held.is_some_and(|manifest| is_complete(manifest, plan))
        };
        stores.iter().all(holds)
    }

    /// When a prune of a plan last did what the rules say.
    pub(super) fn pruned_at(&self, plan: &Name) -> Option<Timestamp> {
        let prunes = self.ended.iter().filter(|((_, kind, subject), ending)| {
            let done = ending.outcome == JobOutcome::Done;
            done && *kind == JobKind::Prune && subject == plan
        });
        prunes.map(|(_, ending)| ending.at).max()
    }

    /// Somebody deleted a manifest behind the back of every host.
    pub(super) fn lost(&mut self, world: &World, store: &str, key: &str) {
        let Some(point) = point_of(key) else {
            return;
        };
        let place = (store.to_owned(), point);
        let manifest = self.there.remove(&place);
        if let Some(manifest) = manifest.filter(|_| !self.announced.contains_key(&place)) {
            let begins = format!("plan.{}.{store}", manifest.plan);
            let known = plus(place.1.time(), 86_400) < world.now();
            for host in (0..world.system.hosts).filter(|_| known) {
                let mut owed = Owed::new(host, world.now(), begins.clone(), "/copy-missing");
                owed.lost = Some(place.clone());
                self.owed.push(owed);
            }
        }
        self.lost.insert(place, world.now());
    }

    /// The complete points of a plan in a store, the oldest first.
    pub(super) fn complete<'m>(
        &'m self,
        store: Option<&'m str>,
        plan: &'m str,
    ) -> impl Iterator<Item = &'m PointId> {
        let there = self.there.iter().filter(move |((holder, _), manifest)| {
            store.is_none_or(|store| store == holder) && self.is_sound(manifest, plan)
        });
        there.map(|((_, point), _)| point)
    }
}

/// The copies of a plan in a store.
pub(super) fn of_plan<'m>(
    all: &'m BTreeMap<(String, PointId), Manifest>,
    store: &str,
    plan: &str,
) -> Vec<&'m Manifest> {
    let here = all.iter().filter(|((holder, _), _)| holder == store);
    let here = here.map(|(_, manifest)| manifest);
    here.filter(|manifest| manifest.plan == *plan).collect()
}

pub(super) fn config_store<'c>(context: &'c Context, store: &str) -> Option<&'c Name> {
    context.config.store.keys().find(|name| ***name == *store)
}

pub(super) fn is_complete(manifest: &Manifest, plan: &str) -> bool {
    manifest.plan == *plan && manifest.lacks().is_none() && !manifest.safety
}

fn point_of(key: &str) -> Option<PointId> {
    let name = key.strip_prefix("lifeboat/points/")?;
    PointId::parse(name.strip_suffix(".json")?)
}

/// Takes notice of what was put and deleted since.
pub(super) fn took_notice(world: &World) {
    let mut changes: Vec<Change> = Vec::new();
    for place in &world.places {
        changes.extend(place.take_changes());
    }
    for change in changes {
        notice(world, &change);
    }
}

fn notice(world: &World, change: &Change) {
    let key = change.key.as_str();
    let mut model = world.model.borrow_mut();
    if let Some(point) = point_of(key) {
        let place = (change.store.clone(), point.clone());
        match &change.bytes {
            Some(bytes) => match serde_json::from_slice(bytes) {
                Ok(manifest) => {
                    model.count("copies");
                    model.lost.remove(&place);
                    model.ever.insert(point);
                    model.there.insert(place, manifest);
                }
                Err(error) => model.broken(change.at, format!("{key}: {error}")),
            },
            None => {
                drop(model);
                deleted(world, change, &point);
            }
        }
        return;
    }
    let Some(bytes) = &change.bytes else {
        return;
    };
    if key.starts_with("lifeboat/intents/") && key.ends_with(".json") {
        drop(model);
        if let Ok(intent) = serde_json::from_slice::<Intent>(bytes) {
            announce(world, change, intent);
        }
    } else if key.starts_with("lifeboat/pins/") && key.ends_with(".json") {
        if let Ok(pin) = serde_json::from_slice::<Pin>(bytes) {
            model.pins.insert(pin.point.clone(), pin);
        }
    } else if key.starts_with("lifeboat/evidence/")
        && key.ends_with(".json")
        && !key.contains("/details/")
        && let Ok(record) = serde_json::from_slice::<Record>(bytes)
    {
        model.records.entry(record.id.clone()).or_insert(record);
    }
}

/// Points are to leave a store: may they?
fn announce(world: &World, change: &Change, intent: Intent) {
    let process = of_host(world, change.host);
    let mut going: BTreeMap<Name, usize> = BTreeMap::new();
    for leaving in intent.points {
        let (store, point, plan) = (change.store.clone(), leaving.point, leaving.plan);
        let mut model = world.model.borrow_mut();
        if let Some((process, _)) = &process {
            let why = model.is_needed(&process.context, change, &plan, &point, world);
            if let Some(why) = why {
                let text = format!("{point} is to leave {store}: {why}");
                model.broken(change.at, text);
            }
        }
        let known = model.announced.insert((store, point), change.at);
        *going.entry(plan).or_default() += usize::from(known.is_none());
    }
    let Some((process, _)) = process else {
        return;
    };
    let mut model = world.model.borrow_mut();
    for (plan, going) in going {
        let of = of_plan(model.before(change.host), &change.store, &plan).len();
        let limit = process.context.config.plan.get(&plan);
        let most = limit.map_or(0, |plan| plan.prune_limit.of(of as u64));
        if of >= 10 && going as u64 > most && !model.confirmed {
            let text = format!(
                "{going} of {of} points of {plan} are to leave {}",
                change.store
            );
            model.broken(change.at, text);
        }
    }
}

/// A manifest was deleted by a host: was it allowed to?
fn deleted(world: &World, change: &Change, point: &PointId) {
    let place = (change.store.clone(), point.clone());
    let mut model = world.model.borrow_mut();
    let gone = model.there.remove(&place);
    let Some(gone) = gone else {
        return;
    };
    for artifact in &gone.artifacts {
        let object = (change.store.clone(), artifact.key.to_string());
        model.pruned.insert(object);
    }
    model.count("pruned");
    drop(model);
    let Some((context, offset)) = of_host(world, change.host) else {
        return;
    };
    let model = world.model.borrow();
    let why = model.may_not_go(&context.context, change, &gone, offset, world);
    drop(model);
    if let Some(why) = why {
        let text = format!(
            "host {} deleted {point} from {}: {why}",
            change.host, change.store
        );
        world.model.borrow_mut().broken(change.at, text);
    }
}

type Of = (Rc<super::host::Process>, i64);

fn of_host(world: &World, host: usize) -> Option<Of> {
    let hosts = world.hosts.borrow();
    let own = hosts.get(host)?;
    Some((own.process()?, own.offset))
}

/// A host looked: what it knows must be what is so.
pub(super) fn looked(world: &Rc<World>, seen: &Seen<'_>) {
    took_notice(world);
    let now = world.now();
    let offset = world.hosts.borrow()[seen.host].offset;
    let mut model = world.model.borrow_mut();
    model.count("looks");
    let mut wrong = None;
    for point in &seen.facts.points {
        if point.counts && !model.ever.contains(&point.id) {
            wrong = Some(format!("{} is shown and was not committed", point.id));
        }
    }
    let troubled = world.places.iter().any(|place| place.trouble().any());
    let calm = model.is_calm(now, 6 * 3600) && !model.lately("clock", now, 90 * 86_400);
    for plan in seen
        .status
        .plans
        .iter()
        .filter(|_| calm && !troubled && offset == 0)
    {
        let newest = model.complete(None, &plan.plan).max().cloned();
        let checked = model.checked(&plan.plan);
        let at = newest.as_ref().map(PointId::time);
        let at = at.max(checked.filter(|_| at.is_some()));
        let age = at.map(|at| now.as_second() - at.as_second());
        let said = plan.age_seconds.and_then(|age| i64::try_from(age).ok());
        // A check is dated within its job, of which only the beginning is known here.
        let near = |(age, said): (i64, i64)| checked.is_some() && (age - said).abs() < 900;
        if age != said && !age.zip(said).is_some_and(near) {
            wrong = Some(format!(
                "plan {}: status says {said:?} seconds since {:?}, and it is {age:?} since {newest:?}",
                plan.plan, plan.point
            ));
        }
    }
    if let Some(wrong) = wrong {
        model.broken(now, format!("host {}: {wrong}", seen.host));
    }
}

/// A job of a host began.
pub(super) fn began(world: &World, host: usize, job: &Job) {
    let mut model = world.model.borrow_mut();
    model.count(job.kind.as_str());
    drop(model);
    if job.kind == JobKind::Prune {
        prunes(world, host);
    }
}

/// A host begins to prune: it decides about what is there now.
pub(super) fn prunes(world: &World, host: usize) {
    took_notice(world);
    let mut model = world.model.borrow_mut();
    let there = model.there.clone();
    model.at_prune.insert(host, there);
}

/// A job of a host ended, or was killed.
pub(super) fn ended(world: &World, host: usize, job: &Job, killed: bool) {
    took_notice(world);
    let now = world.now();
    let mut model = world.model.borrow_mut();
    if !killed && let Some(outcome) = job.outcome.filter(|outcome| !outcome.is_void()) {
        let key = (host, job.kind, job.subject.clone());
        if job.kind == JobKind::Drill && outcome == JobOutcome::Done {
            let proved = (now, job.started);
            model.proved.insert((host, job.subject.clone()), proved);
        }
        let ending = Ending {
            at: now,
            started: job.started,
            slot: job.slot,
            outcome,
            point: job.point.clone(),
        };
        model.ended.insert(key, ending);
        let message = job.message.as_deref().unwrap_or_default();
        if job.kind == JobKind::Verify && message.contains("damaged") {
            super::told::owes_damage(&mut model, host, now);
        }
        let unchanged = message.starts_with("unchanged");
        // A store that took the note is enough.
        let stores = world.hosts.borrow()[host]
            .config()
            .plan
            .get(&job.subject)
            .map_or(0, |plan| plan.stores.len());
        let some = message.matches("was not told").count() < stores;
        let noted = outcome == JobOutcome::Done || outcome == JobOutcome::Partial && some;
        if job.kind == JobKind::Backup && noted && unchanged {
            let point = message.split([' ', ';']).find_map(PointId::parse);
            if let Some(point) = point {
                let check = (point, job.started);
                model.last_check.insert(job.subject.clone(), check);
            }
        }
        if job.kind == JobKind::Backup && outcome == JobOutcome::Done && !unchanged {
            super::told::owes_anomaly(world, &mut model, host, job);
        }
    }
    if killed {
        // What this host knows of it is not followed.
        model.last.insert("kill", now);
        model.disturbed = Some(now);
    }
    drop(model);
    world.diary.borrow_mut().job(now, host, job, killed);
}

/// A channel took a message.
pub(super) fn heard(world: &World, host: usize, channel: &Name, message: &Message) {
    world
        .diary
        .borrow_mut()
        .told(world.now(), host, channel, message);
    let mut model = world.model.borrow_mut();
    model.count("messages");
    if message.event == Event::Report {
        return;
    }
    let text = super::told::heard(&mut model, host, channel, message);
    if let Err(text) = text {
        let title = &message.title;
        model.broken(
            world.now(),
            format!("host {host} told {channel} {title:?}: {text}"),
        );
    }
}
