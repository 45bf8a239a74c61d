//! What has to stay, by the model.

use super::model::{Model, config_store, is_complete, of_plan};
use super::place::Change;
use super::world::{World, plus};
use crate::clock::{AHEAD_SECONDS_MAX, is_ahead};
use crate::config::Config;
use crate::context::Context;
use crate::evidence::{Record, Verdict};
use crate::kept;
use crate::name::Name;
use crate::point::{Manifest, PointId};
use crate::retention::Held;
use crate::retention::tests::model::is_kept;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Returns whether an object of a copy is among the damaged ones of its store.
pub(super) fn is_damaged(manifest: &Manifest, damaged: &BTreeSet<String>) -> bool {
    let mut artifacts = manifest.artifacts.iter();
    artifacts.any(|artifact| damaged.contains(artifact.key.as_str()))
}

/// What a host may know of the damaged objects of a store: nothing, everything, what is of one copy, or
/// the rest. That depends on what it happened to read.
pub(super) fn known_damage(
    damaged: &BTreeSet<String>,
    copy: Option<&&Manifest>,
) -> [BTreeSet<String>; 4] {
    let keys = copy.into_iter().flat_map(|copy| &copy.artifacts);
    let keys: BTreeSet<&str> = keys.map(|artifact| artifact.key.as_str()).collect();
    let all = damaged.iter().cloned();
    let (own, others) = all.partition(|key| keys.contains(key.as_str()));
    [BTreeSet::new(), damaged.clone(), own, others]
}

impl Model {
    /// Why a copy stays, whatever the rules about periods, among those of its plan in its store; `None` if
    /// nothing keeps it so. With the damaged objects of that store, as a host decides that knows them.
    pub(super) fn must_stay(
        &self,
        config: &Config,
        of_plan: &[&Manifest],
        point: &PointId,
        now: Timestamp,
        damaged: &BTreeSet<String>,
    ) -> Option<String> {
        let plan = &of_plan.iter().find(|m| m.point == *point)?.plan;
        if self.pins.get(point).is_some_and(|pin| pin.pinned) {
            return Some("it is pinned".to_owned());
        }
        let sound = of_plan.iter();
        let sound = sound.filter(|m| self.is_sound(m, plan) && !is_damaged(m, damaged));
        if sound.map(|m| &m.point).max() == Some(point) {
            return Some("it is the newest complete one".to_owned());
        }
        let mut drills = config.drill.keys();
        let drill =
            drills.find(|drill| self.newest_proven(drill, plan, now).as_ref() == Some(point))?;
        Some(format!("it is the newest one that drill {drill} proved"))
    }

    /// Returns whether a copy is of a point of this plan that is complete, and was not disowned.
    pub(super) fn is_sound(&self, manifest: &Manifest, plan: &str) -> bool {
        is_complete(manifest, plan) && !self.disowned.contains(&manifest.point)
    }

    /// Why a copy should not have been deleted; `None` if it was right.
    pub(super) fn may_not_go(
        &self,
        context: &Context,
        change: &Change,
        gone: &Manifest,
        offset: i64,
        world: &World,
    ) -> Option<String> {
        let point = &gone.point;
        let needed = self.is_needed(context, change, &gone.plan, point, world);
        if needed.is_some() {
            return needed;
        }
        let store = config_store(context, &change.store)?;
        let rules = kept::rules(context, &gone.plan, store)?;
        let grace = i64::try_from(rules.grace.seconds).unwrap_or(0);
        match self.announced(&change.store, point) {
            None => Some("nobody announced it".to_owned()),
            // Clocks that differ by so little are taken for right; one that is wrong dates it wrongly.
            Some(at) => {
                let soon = plus(at, grace) > plus(change.at, AHEAD_SECONDS_MAX);
                let right = offset == 0 && !self.lately("clock", change.at, grace);
                (soon && right).then(|| format!("it was announced at {at}"))
            }
        }
    }

    /// Why a copy has to stay, by what was there when the prune of this host began; `None` if it has not.
    pub(super) fn is_needed(
        &self,
        context: &Context,
        change: &Change,
        plan: &Name,
        point: &PointId,
        world: &World,
    ) -> Option<String> {
        let of_plan = of_plan(self.before(change.host), &change.store, plan);
        // A host judges by its own clock. What it proved while that was ahead is proved: it believes
        // its own record, and others do not yet.
        let offset = world.hosts.borrow()[change.host].offset;
        let by_host = plus(change.at, offset.max(0));
        // A damaged point is no newest complete one for a host that knows that it is damaged.
        let damaged = world.damaged(&change.store);
        let known = known_damage(&damaged, of_plan.iter().find(|m| m.point == *point));
        let stays = known
            .iter()
            .map(|damaged| self.must_stay(&context.config, &of_plan, point, by_host, damaged));
        let stays: Option<Vec<String>> = stays.collect();
        let stays = stays.and_then(|mut whys| whys.pop());
        if stays.is_some() {
            return stays;
        }
        // A host whose clock is wrong does not see what is dated in the future.
        let knows = offset == 0 && !self.lately("state", change.at, 60 * 86_400);
        let unclear = self.unclear(&of_plan, change.at);
        if unclear.is_some() && knows {
            return unclear;
        }
        let rules = kept::rules(context, plan, config_store(context, &change.store)?)?;
        let held = of_plan.iter();
        let held = held.map(|m| (m, self.held(m), self.is_disowned_alone(m)));
        let held: Vec<_> = held.collect();
        let kept_with = |known: &BTreeSet<String>, believed: bool| {
            let held = held.iter().map(|(manifest, held, disowned)| Held {
                sound: (held.sound || believed && *disowned) && !is_damaged(manifest, known),
                ..held.clone()
            });
            let held: Vec<Held> = held.collect();
            let own = held.iter().find(|held| held.point == *point);
            own.is_none_or(|own| is_kept(own, &held, &rules))
        };
        let kept_if = |believed| known.iter().all(|known| kept_with(known, believed));
        // What was disowned is known to a host alone, and forgotten with its catalog.
        let kept = kept_if(false) && (!self.lost_state() || kept_if(true));
        kept.then(|| "the rules keep it".to_owned())
    }

    /// Why nobody can know what has to stay; `None` if that is clear.
    fn unclear(&self, of_plan: &[&Manifest], now: Timestamp) -> Option<String> {
        let known = |at: &Timestamp| plus(*at, 86_400) < now;
        // Whoever deletes what was announced to go deletes the manifest first: nobody can tell that
        // somebody else did, and nothing was lost that was to stay.
        let lost = self.lost.iter();
        let mut lost = lost.filter(|(of, at)| known(at) && !self.announced.contains_key(*of));
        if let Some(((store, point), _)) = lost.next() {
            return Some(format!("{store} lost {point}"));
        }
        let mut ahead = of_plan.iter().map(|manifest| &manifest.point);
        let is_ahead = |point: &&PointId| is_ahead(point.time(), now);
        let ahead = ahead.find(|point| is_ahead(point) && !self.disowned.contains(point));
        ahead.map(|point| format!("{point} is dated in the future"))
    }

    /// What was there when the prune of a host began.
    pub(super) fn before(&self, host: usize) -> &BTreeMap<(String, PointId), Manifest> {
        self.at_prune.get(&host).unwrap_or(&self.there)
    }

    /// What is known of a copy, but for what is damaged.
    pub(super) fn held(&self, manifest: &Manifest) -> Held {
        Held {
            point: manifest.point.clone(),
            sound: manifest.lacks().is_none()
                && !self.disowned.contains(&manifest.point)
                && !self.is_refuted(manifest),
            safety: manifest.safety,
            manual: manifest.reason.is_some(),
            always: Vec::new(),
            lock: None,
            leaving: None,
        }
    }

    /// The newest point of a plan that a drill proved. Nobody believes a record that is dated in the
    /// future.
    fn newest_proven(&self, drill: &Name, plan: &Name, now: Timestamp) -> Option<PointId> {
        let of_drill = self.records.values().filter(|record| {
            let counts = record.outcome == Verdict::Verified && !is_ahead(record.finished, now);
            record.drill.as_ref() == Some(drill) && counts
        });
        let points = of_drill.flat_map(|record| &record.points);
        let of_plan = points.filter(|point| point.plan.as_ref() == Some(plan));
        of_plan.map(|point| point.point.clone()).max()
    }

    /// When it was announced that a copy goes.
    pub(super) fn announced(&self, store: &str, point: &PointId) -> Option<Timestamp> {
        self.announced
            .get(&(store.to_owned(), point.clone()))
            .copied()
    }

    /// Returns whether an object belonged to a point that was pruned.
    pub(super) fn was_pruned(&self, store: &str, key: &str) -> bool {
        self.pruned.contains(&(store.to_owned(), key.to_owned()))
    }

    /// Returns whether nothing is wrong with a copy but that its point was disowned.
    fn is_disowned_alone(&self, manifest: &Manifest) -> bool {
        let disowned = self.disowned.contains(&manifest.point);
        disowned && manifest.lacks().is_none() && !self.is_refuted(manifest)
    }

    /// Returns whether the newest record about a copy says that it does not come back.
    fn is_refuted(&self, manifest: &Manifest) -> bool {
        let mut records: Vec<&Record> = self.records.values().collect();
        records.sort_by_key(|record| record.finished);
        let about = records.into_iter().rev().find(|record| {
            let decides = matches!(record.outcome, Verdict::Verified | Verdict::Failed);
            let mut points = record.points.iter();
            decides
                && points.any(|point| {
                    let here = point.store.as_ref().is_none_or(|s| *s == manifest.store);
                    point.point == manifest.point && here
                })
        });
        about.is_some_and(|record| record.outcome == Verdict::Failed)
    }
}
