//! What the rules keep of the points in each store: gathers the facts for [`retention`] from a survey
//! and the evidence, so that `prune`, healing and lists of missing copies decide alike.
//!
//! It reads nothing of the objects themselves: whether a copy is whole is for `prune` to look at.

use crate::clock::is_ahead;
use crate::config::PrunedBy;
use crate::context::Context;
use crate::copies::PointCopy;
use crate::evidence::{self, Listed, Verdict};
use crate::name::Name;
use crate::point::{Manifest, PointId};
use crate::retention::{self, Decision, Held, Reason, Rules};
use crate::survey::{self, Survey};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What the records of evidence that can be read say of the points.
pub fn proofs(context: &Context) -> Proofs {
    match evidence::list(context) {
        Ok((listed, _)) => Proofs::of(&listed, context.clock.now()),
        Err(_) => Proofs::default(),
    }
}

/// What is decided about the points of a plan in a store.
pub struct Judged<'s> {
    /// The store.
    pub store: Name,
    /// The plan.
    pub plan: Name,
    /// The points, the oldest first, with what is known of them.
    pub held: Vec<Held>,
    /// The copies, in the same order.
    pub copies: Vec<&'s PointCopy>,
    /// The decisions, in the same order.
    pub decisions: Vec<Decision>,
}

/// What the records of evidence say of points.
#[derive(Debug, Default)]
pub struct Proofs {
    /// The newest proven point of each drill and plan; of no drill, the newest of all.
    newest: BTreeMap<(Option<Name>, Name), PointId>,
    /// Points whose newest record says that they do not come back, with the store of the copy;
    /// `None` where that is not known.
    refuted: BTreeSet<(PointId, Option<Name>)>,
}

impl Proofs {
    /// Gathers what the believed records say.
    pub fn of(listed: &[Listed], now: Timestamp) -> Self {
        let mut proofs = Proofs::default();
        let believed = listed
            .iter()
            .filter(|listed| listed.distrust.is_none() && !is_ahead(listed.record.finished, now));
        // The records are in the order in which they were made.
        for record in believed.map(|listed| &listed.record) {
            for point in &record.points {
                let copy = (point.point.clone(), point.store.clone());
                match record.outcome {
                    _ if record.is_whole() => {
                        proofs.refuted.retain(|(id, store)| {
                            *id != point.point || (store.is_some() && *store != point.store)
                        });
                        if let Some(plan) = &point.plan {
                            proofs.note(record.drill.clone(), plan, &point.point);
                            proofs.note(None, plan, &point.point);
                        }
                    }
                    Verdict::Failed => drop(proofs.refuted.insert(copy)),
                    Verdict::Verified
                    | Verdict::Restored
                    | Verdict::Unverifiable
                    | Verdict::Interrupted => {}
                }
            }
        }
        proofs
    }

    fn note(&mut self, drill: Option<Name>, plan: &Name, point: &PointId) {
        let newest = self.newest.entry((drill, plan.clone()));
        let newest = newest.or_insert_with(|| point.clone());
        if point > newest {
            newest.clone_from(point);
        }
    }

    /// Returns whether the newest record about some copy of a point says that it does not come back.
    pub fn refutes_any(&self, point: &PointId) -> bool {
        self.refuted.iter().any(|(refuted, _)| refuted == point)
    }

    fn refutes(&self, point: &PointId, store: &Name) -> bool {
        let is_refuted = |store| self.refuted.contains(&(point.clone(), store));
        is_refuted(None) || is_refuted(Some(store.clone()))
    }

    /// Why evidence keeps a point of a plan: for a drill only as long as it is configured.
    fn reasons(&self, context: &Context, manifest: &Manifest) -> Vec<Reason> {
        let of = |drill: Option<&Name>| {
            let newest = self.newest.get(&(drill.cloned(), manifest.plan.clone()));
            newest.is_some_and(|newest| *newest == manifest.point)
        };
        let drills = context.config.drill.keys();
        let proved = drills.filter(|drill| of(Some(drill)));
        let mut reasons: Vec<Reason> = proved.cloned().map(Reason::Proven).collect();
        if reasons.is_empty() && of(None) {
            reasons.push(Reason::ProvenLast);
        }
        reasons
    }
}

/// The rules of what a plan keeps in a store; `None` if the configuration does not have the plan.
pub fn rules(context: &Context, plan: &Name, store: &Name) -> Option<Rules> {
    let config = context.config.plan.get(plan)?;
    Some(Rules {
        rules: config.kept_in(store).cloned(),
        manual: config.keep_manual,
        safety: config.keep_safety,
        minimum: config.keep_minimum,
        grace: config.prune_grace,
    })
}

/// Decides about every believed point of a configured plan in each store that answered. Points of
/// other plans, of unknown signers and those that were set aside are left alone.
pub fn judge<'s>(context: &Context, survey: &'s Survey, proofs: &Proofs) -> Vec<Judged<'s>> {
    let mut of_plan: BTreeMap<(&Name, &Name), Vec<&'s PointCopy>> = BTreeMap::new();
    for (store, copy) in &survey.copies {
        if survey.unasked(store).is_none() && copy.check_trust(&context.trusted).is_ok() {
            let place = (store, &copy.manifest.plan);
            of_plan.entry(place).or_default().push(copy);
        }
    }
    let mut judged = Vec::new();
    for ((store, plan), mut copies) in of_plan {
        let Some(rules) = rules(context, plan, store) else {
            continue;
        };
        copies.sort_by(|a, b| a.manifest.point.cmp(&b.manifest.point));
        let held = |copy: &&PointCopy| held(context, survey, proofs, store, copy);
        let held: Vec<Held> = copies.iter().map(held).collect();
        judged.push(Judged {
            store: store.clone(),
            plan: plan.clone(),
            decisions: retention::decide(&held, &rules, context.clock.now()),
            held,
            copies,
        });
    }
    judged
}

fn held(
    context: &Context,
    survey: &Survey,
    proofs: &Proofs,
    store: &Name,
    copy: &PointCopy,
) -> Held {
    let manifest = &copy.manifest;
    let point = &manifest.point;
    let mut always = proofs.reasons(context, manifest);
    always.extend(
        survey
            .pinned(point)
            .map(|reason| Reason::Pinned(reason.to_owned())),
    );
    let ahead = is_ahead(point.time(), context.clock.now());
    if ahead {
        always.push(Reason::Ahead);
    }
    let leaving = survey.leaving(store, copy);
    Held {
        sound: manifest.lacks().is_none()
            && !ahead
            && !survey.disowned.contains(point)
            && !survey.is_damaged(store, point)
            && !proofs.refutes(point, store),
        safety: manifest.safety,
        manual: manifest.reason.is_some(),
        always,
        lock: None,
        // A pin that was taken off begins the grace period anew.
        leaving: leaving.map(|since| survey.unpinned_at(point).map_or(since, |at| at.max(since))),
        point: point.clone(),
    }
}

/// The stores that should hold a copy of a point and do not: not those whose own rules would not keep
/// it, nor those where it was deleted by the rules, or where others delete.
pub fn missing_copies(
    context: &Context,
    survey: &Survey,
    proofs: &Proofs,
) -> BTreeMap<PointId, Vec<Name>> {
    let mut missing = survey::missing_copies(&survey.copies);
    // What somebody took away, and somebody else knows of, is not given back by itself.
    for (point, stores) in &mut missing {
        let given_up = |store: &Name| {
            let given_up = survey.given_up.get(store);
            given_up.is_some_and(|points| points.contains(point))
        };
        stores.retain(|store| !given_up(store));
    }
    let mut manifests: BTreeMap<&PointId, &PointCopy> = BTreeMap::new();
    for (_, copy) in &survey.copies {
        manifests.entry(&copy.manifest.point).or_insert(copy);
    }
    let mut absent: BTreeMap<Name, Vec<&PointCopy>> = BTreeMap::new();
    for (point, stores) in &missing {
        for store in stores {
            let copies = absent.entry(store.clone()).or_default();
            copies.extend(manifests.get(point));
        }
    }
    for (store, candidates) in absent {
        for point in unwanted(context, survey, proofs, &store, &candidates) {
            if let Some(stores) = missing.get_mut(&point) {
                stores.retain(|name| *name != store);
            }
        }
    }
    missing
}

/// Of points that a store lacks, those that it is not to be given.
pub fn unwanted(
    context: &Context,
    survey: &Survey,
    proofs: &Proofs,
    store: &Name,
    candidates: &[&PointCopy],
) -> BTreeSet<PointId> {
    let mut of_plan: BTreeMap<&Name, Vec<&PointCopy>> = BTreeMap::new();
    for copy in candidates {
        of_plan.entry(&copy.manifest.plan).or_default().push(copy);
    }
    let unwanted = of_plan.into_iter().flat_map(|(plan, candidates)| {
        unwanted_of_plan(context, survey, proofs, store, plan, &candidates)
    });
    unwanted.collect()
}

fn unwanted_of_plan(
    context: &Context,
    survey: &Survey,
    proofs: &Proofs,
    store: &Name,
    plan: &Name,
    candidates: &[&PointCopy],
) -> Vec<PointId> {
    let elsewhere = context.config.store.get(store);
    let elsewhere = elsewhere.is_some_and(|config| config.pruned_by == PrunedBy::Elsewhere);
    let marks = survey.marks.get(store);
    let was_pruned = |point: &PointId| marks.is_some_and(|marks| marks.explains(point));
    let there = survey.copies.iter().filter(|(name, copy)| {
        let manifest = &copy.manifest;
        name == store && manifest.plan == *plan && copy.check_trust(&context.trusted).is_ok()
    });
    let there: Vec<&PointCopy> = there.map(|(_, copy)| copy).collect();
    let oldest = there.iter().map(|copy| &copy.manifest.point).min();
    let rules = rules(context, plan, store);
    let mut copies: Vec<&PointCopy> = there.clone();
    copies.extend(candidates);
    let all: Vec<Held> = copies
        .iter()
        .map(|copy| held(context, survey, proofs, store, copy))
        .collect();
    let decisions = rules.map(|rules| retention::decide(&all, &rules, context.clock.now()));
    let is_kept = |point: &PointId| {
        decisions.as_ref().is_none_or(|decisions| {
            let mut decided = all.iter().zip(decisions);
            decided.any(|(held, decision)| {
                held.point == *point && matches!(decision, Decision::Keep(_))
            })
        })
    };
    // Where others delete, what is older than all that is there may have been deleted.
    let may_be_deleted = |point: &PointId| elsewhere && oldest.is_some_and(|oldest| point < oldest);
    let points = candidates.iter().map(|copy| &copy.manifest.point);
    points
        .filter(|point| was_pruned(point) || !is_kept(point) || may_be_deleted(point))
        .cloned()
        .collect()
}
