//! Snapshots that somebody else keeps, as the points tell of them: which are to stay, and what their
//! keepers have; and the machines that drills make of them.

use crate::config::{Config, KeepRules};
use crate::context::Context;
use crate::error::Result;
use crate::kept::{self, Judged, Proofs};
use crate::name::Name;
use crate::point::{External, Outcome, PointId};
use crate::retention::{self, Decision, Held, Reason, Rules};
use crate::source::machine::{self, Provider, Quarantine, Snapshot};
use crate::span::Span;
use crate::survey::Survey;
use std::collections::{BTreeMap, BTreeSet};

/// A snapshot that a point names, and whether it is to stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The point.
    pub point: PointId,
    /// Its plan.
    pub plan: Name,
    /// The source.
    pub source: Name,
    /// The snapshot.
    pub external: External,
    /// True if it is to stay.
    pub stays: bool,
}

/// What a point is in all stores together.
#[derive(Debug, Default)]
struct Whole {
    external: Option<External>,
    is_sound: bool,
    is_safety: bool,
    is_manual: bool,
    always: Vec<Reason>,
    /// True if every copy of it goes now.
    goes: bool,
}

/// Every snapshot of a configured machine that a believed point of a configured plan names, by plan and
/// source, the oldest first. What `keep_at_source` says is asked of all points together, wherever their
/// copies are; a snapshot whose point goes goes with it.
///
/// `is_done` says in which stores points go now that are to.
pub fn named(
    context: &Context,
    judged: &[Judged<'_>],
    is_done: &dyn Fn(&Name) -> bool,
) -> Vec<Named> {
    let mut all = Vec::new();
    for (source, config) in &context.config.source {
        let Some(snapshots) = config.kind.snapshots() else {
            continue;
        };
        let rules = snapshots.keep_at_source.as_ref();
        let plans: BTreeSet<&Name> = judged.iter().map(|judged| &judged.plan).collect();
        for plan in plans {
            let own = judged.iter().filter(|judged| judged.plan == *plan);
            let points = together(own, source, is_done);
            let stays = stay(context, plan, rules, &points);
            all.extend(points.into_iter().filter_map(|(point, whole)| {
                Some(Named {
                    stays: stays.contains(&point) && !whole.goes,
                    plan: plan.clone(),
                    source: source.clone(),
                    external: whole.external?,
                    point,
                })
            }));
        }
    }
    all
}

/// The points of a plan that name a snapshot of a source, with what all their copies say.
fn together<'a>(
    judged: impl Iterator<Item = &'a Judged<'a>>,
    source: &Name,
    is_done: &dyn Fn(&Name) -> bool,
) -> BTreeMap<PointId, Whole> {
    let mut points: BTreeMap<PointId, Whole> = BTreeMap::new();
    for judged in judged {
        let decided = judged.held.iter().zip(&judged.decisions);
        for ((held, decision), copy) in decided.zip(&judged.copies) {
            let mut sources = copy.manifest.sources.iter();
            let Some(named) = sources.find(|s| s.name == *source && s.external.is_some()) else {
                continue;
            };
            let is_to_go = matches!(decision, Decision::Delete(_)) && held.leaving.is_some();
            let goes = is_to_go && is_done(&judged.store);
            let is_new = !points.contains_key(&held.point);
            let whole = points.entry(held.point.clone()).or_default();
            whole.goes = goes && (is_new || whole.goes);
            whole.external = named.external.clone();
            // What else the point lacks says nothing of its snapshot.
            whole.is_sound |= named.outcome == Outcome::Complete;
            whole.is_safety |= held.safety;
            whole.is_manual |= held.manual;
            whole.always.extend(held.always.iter().cloned());
        }
    }
    points
}

/// The points whose snapshots are to stay.
fn stay(
    context: &Context,
    plan: &Name,
    rules: Option<&KeepRules>,
    points: &BTreeMap<PointId, Whole>,
) -> BTreeSet<PointId> {
    let Some(rules) = rules else {
        return points.keys().cloned().collect();
    };
    let held: Vec<Held> = points
        .iter()
        .map(|(point, whole)| Held {
            point: point.clone(),
            sound: whole.is_sound,
            safety: whole.is_safety,
            manual: whole.is_manual,
            always: whole.always.clone(),
            lock: None,
            leaving: None,
        })
        .collect();
    let rules = self::rules(context, plan, rules);
    let decisions = retention::decide(&held, &rules, context.clock.now());
    let decided = held.into_iter().zip(decisions);
    decided
        .filter(|(_, decision)| matches!(decision, Decision::Keep(_)))
        .map(|(held, _)| held.point)
        .collect()
}

/// The rules of what is kept of the snapshots of a plan where they are, by what `keep_at_source` says.
pub fn rules(context: &Context, plan: &Name, keep: &KeepRules) -> Rules {
    let plan = context.config.plan.get(plan);
    Rules {
        rules: Some(keep.clone()),
        manual: plan.map_or(Span { seconds: 0 }, |plan| plan.keep_manual),
        safety: plan.map_or(Span { seconds: 0 }, |plan| plan.keep_safety),
        minimum: 1,
        grace: Span { seconds: 0 },
    }
}

/// Who keeps snapshots in a region, and what was there when it was asked.
pub struct Keeper {
    /// Whom to ask.
    pub provider: Box<dyn Provider>,
    /// What is there.
    pub there: Result<Vec<Snapshot>>,
}

/// The keepers of snapshots, by source and region, each asked once.
#[derive(Default)]
pub struct Keepers(BTreeMap<(Name, Option<String>), Keeper>);

impl Keepers {
    /// Who keeps the snapshots of a source in a region; where the source says, if none is told. `None` if it is no
    /// machine that is configured here.
    pub fn of(&mut self, config: &Config, source: &Name, region: Option<&str>) -> Option<&Keeper> {
        let own = provider(config, source)?;
        let elsewhere = region.filter(|region| own.region() != Some(region));
        let key = (source.clone(), elsewhere.map(str::to_owned));
        if !self.0.contains_key(&key) {
            let provider = match elsewhere {
                Some(region) => own.keeper_in(region)?,
                None => own,
            };
            let there = provider.snapshots();
            self.0.insert(key.clone(), Keeper { provider, there });
        }
        self.0.get(&key)
    }
}

/// The provider of a source; `None` if it is no machine that is configured here.
pub fn provider(config: &Config, source: &Name) -> Option<Box<dyn Provider>> {
    machine::provider(&config.source.get(source)?.kind)
}

/// Every snapshot that points name, where nothing goes now.
pub fn named_by(context: &Context, survey: &Survey, proofs: &Proofs) -> Vec<Named> {
    let mut sources = context.config.source.values();
    if !sources.any(|source| source.kind.snapshots().is_some()) {
        return Vec::new();
    }
    let judged = kept::judge(context, survey, proofs);
    named(context, &judged, &|_| false)
}

/// Where machines of a drill are noted, and how they are called.
pub fn quarantine(context: &Context) -> Result<Quarantine> {
    let sources = context.config.source.values();
    let notes = match sources
        .map(|source| source.kind.kind())
        .any(machine::is_machine)
    {
        true => context.state.private_directory(&["machines"])?,
        // None are made, and none were.
        false => context.state.scratch().with_file_name("machines"),
    };
    let (app, clock) = (&context.config.app, &context.clock);
    let of = (app.name.as_str(), app.environment.as_str());
    Ok(Quarantine::of(
        of.0,
        of.1,
        notes,
        clock.now(),
        clock.random(),
    ))
}

/// Leads addresses that a killed restore left leading nowhere to where they led. Returns what was done, and what
/// could not be.
pub fn mend(context: &Context) -> Vec<String> {
    match quarantine(context) {
        Ok(quarantine) => machine::mend(&quarantine.notes, &context.config.source),
        Err(error) => vec![error.with_hint()],
    }
}

/// Destroys the machines of drills whose process is gone, and those whose time is over, whoever made them.
/// Returns what was done, and what could not be.
pub fn reap(context: &Context) -> Vec<String> {
    match quarantine(context) {
        Ok(quarantine) => machine::reap(&quarantine, &context.config.source),
        Err(error) => vec![error.with_hint()],
    }
}
