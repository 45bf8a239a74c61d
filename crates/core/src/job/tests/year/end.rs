//! What must be so at the end, once nothing went wrong for a while.

use super::host::Process;
use super::model::Model;
use super::place::Place;
use super::stay::{is_damaged, known_damage};
use super::world::{World, plus};
use crate::alarm::{Wrong, open_alarms};
use crate::cancel::Cancel;
use crate::condition::ConditionKind;
use crate::evidence;
use crate::evidence::ChainOutcome;
use crate::kept;
use crate::name::Name;
use crate::point::Manifest;
use crate::retention::Held;
use crate::retention::tests::model::is_kept;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Seconds after the grace period within which what was announced is gone: prunes run daily.
const GOES_WITHIN: i64 = 2 * 86_400;

/// Looks whether everything has come to rest.
pub(super) fn check(world: &Rc<World>) {
    if world.model.borrow().is_broken() {
        return;
    }
    let hosts = world.hosts.borrow().len();
    for host in 0..hosts {
        let process = world.hosts.borrow()[host].process();
        let Some(process) = process else {
            let text = format!("host {host} does not run");
            world.model.borrow_mut().broken(world.now(), text);
            return;
        };
        let model = world.model.borrow();
        // What is damaged in the only store stays so until the rules delete it.
        let damaged = |id: &str| {
            let mut places = world.places.iter();
            let named = |store: &str| id == format!("store.{store}.copies/damaged");
            places.any(|place| named(&place.name) && place.has_damage())
        };
        let so =
            |id: &str| model.is_so(host, id) || damaged(id) || model.is_beyond_healing(world, id);
        let wrong =
            Cancel::default().run(|| alarms(&process, &so).or_else(|| chains(&process, &model)));
        drop(model);
        if let Some(wrong) = wrong {
            let text = format!("in the end, on host {host}: {wrong}");
            world.model.borrow_mut().broken(world.now(), text);
            return;
        }
    }
    let process = world.hosts.borrow()[0].process();
    if let Some(process) = process {
        let model = world.model.borrow();
        let wrong = stores(world, &model, &process);
        drop(model);
        if let Some(wrong) = wrong {
            let text = format!("in the end, {wrong}");
            world.model.borrow_mut().broken(world.now(), text);
        }
    }
}

/// Every alarm is over, but for what is so, such as that a drill did not succeed since.
fn alarms(process: &Process, so: &dyn Fn(&str) -> bool) -> Option<String> {
    let ledger = process.desk.outbox().ledger().ok()?;
    let open = open_alarms(&ledger, process.context.clock.now());
    let mut wrong = ledger.alarms.values().flat_map(|alarm| &alarm.wrong);
    // The disk of the machine that this runs on, which all stores share.
    let of_machine = [ConditionKind::Disk, ConditionKind::Posture];
    let is_disk = |wrong: &Wrong| of_machine.contains(&wrong.item.kind);
    let (_, wrong) = wrong.find(|(id, wrong)| !is_disk(wrong) && !so(id))?;
    let told = &wrong.item.text;
    Some(format!("{} alarms are open, as that {told}", open.len()))
}

/// Every chain of evidence verifies.
fn chains(process: &Process, model: &Model) -> Option<String> {
    // A record that no store took yet is in the state directory alone, and lost with it.
    let lost = |problem: &String| problem.contains("in no store, and this host made it");
    match evidence::verify(&process.context) {
        Ok(report) if report.outcome() == ChainOutcome::Intact => None,
        Ok(report) if model.lost_state() && report.problems.iter().all(lost) => None,
        Ok(report) => Some(format!(
            "evidence: {:?} {:?}",
            report.problems, report.unread
        )),
        Err(error) => Some(format!("evidence: {error}")),
    }
}

/// What is stored is what the rules keep, and nothing is left of what went.
fn stores(world: &World, model: &Model, process: &Process) -> Option<String> {
    if !model.disowned.is_empty() {
        // What a wrong clock dated and proved counts again once its time has come: that is not followed.
        return None;
    }
    let config = &process.context.config;
    for place in &world.places {
        let there = model
            .there
            .iter()
            .filter(|((store, _), _)| *store == place.name);
        let there: Vec<&Manifest> = there.map(|(_, manifest)| manifest).collect();
        for plan in config.plan.keys() {
            if let Some(text) = beyond(world, model, process, place, plan, &there) {
                return Some(text);
            }
        }
        let objects = place.content.list("").unwrap_or_default();
        let named: BTreeSet<&str> = there
            .iter()
            .flat_map(|manifest| &manifest.artifacts)
            .map(|artifact| artifact.key.as_str())
            .collect();
        for object in objects.iter().filter(|o| !o.key.starts_with("lifeboat/")) {
            let key = object.key.as_str();
            if !named.contains(key) && model.was_pruned(&place.name, key) {
                return Some(format!(
                    "{key} is left in {} of a point that went",
                    place.name
                ));
            }
        }
    }
    None
}

/// A copy of a plan in a store that no rule keeps, and that is not on its way out.
fn beyond(
    world: &World,
    model: &Model,
    process: &Process,
    place: &Place,
    plan: &Name,
    there: &[&Manifest],
) -> Option<String> {
    let config = &process.context.config;
    let store = config.store.keys().find(|name| ***name == *place.name)?;
    let rules = kept::rules(&process.context, plan, store)?;
    // What came after the last prune is for the next one. A plan that keeps everything has none.
    let until = model.pruned_at(plan)?;
    let of_plan = there.iter().copied();
    let of_plan = of_plan.filter(|m| m.plan == *plan && m.point.time() < until);
    let of_plan: Vec<&Manifest> = of_plan.collect();
    let damaged = world.damaged(&place.name);
    let held: Vec<Held> = of_plan.iter().map(|m| model.held(m)).collect();
    let grace = i64::try_from(rules.grace.seconds).unwrap_or(0);
    let manifest = of_plan.iter().find(|manifest| {
        let announced = model.announced(&place.name, &manifest.point);
        let leaves = announced.is_some_and(|at| plus(at, grace + GOES_WITHIN) > world.now());
        let (point, now) = (&manifest.point, world.now());
        let mut known = known_damage(&damaged, Some(manifest)).into_iter();
        let kept = known.any(|known| {
            let held = held.iter().zip(&of_plan).map(|(held, manifest)| Held {
                sound: held.sound && !is_damaged(manifest, &known),
                ..held.clone()
            });
            let held: Vec<Held> = held.collect();
            let own = held.iter().find(|held| held.point == *point);
            let stays = model.must_stay(config, &of_plan, point, now, &known);
            stays.is_some() || own.is_some_and(|own| is_kept(own, &held, &rules))
        });
        !kept && !leaves
    })?;
    let point = &manifest.point;
    Some(format!("{point} is in {} and no rule keeps it", place.name))
}
