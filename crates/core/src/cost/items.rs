//! Costs of each thing, from facts and prices. Pure.

use super::document::{Figure, Item, ItemKind};
use super::facts::{Facts, RunFacts, float, mean, whole};
use super::money::Amount;
use super::prices::{Priced, Prices, Tariff, dated};
use super::projection::Projection;
use super::{machine, storage, traffic};
use crate::name::Name;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Bytes of the GB of the prices.
pub(super) const GB: f64 = 1_073_741_824.0;

/// Projections of the points of each plan in each store, and of the snapshots of each machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Projections {
    /// By plan and store.
    pub copies: BTreeMap<(Name, Name), Rc<Projection>>,
    /// By source and plan.
    pub machines: BTreeMap<(Name, Name), Rc<Projection>>,
}

impl Projections {
    /// Makes the projections that the facts allow.
    pub fn of(facts: &Facts) -> Self {
        let copies = facts.copies.iter().filter_map(|copies| {
            let projection = storage::projection(copies, facts.stores.get(&copies.store)?, facts)?;
            Some((
                (copies.plan.clone(), copies.store.clone()),
                Rc::new(projection),
            ))
        });
        let machines = facts.machines.iter().filter_map(|machine| {
            let projection = machine::projection(machine, facts)?;
            Some((
                (machine.source.clone(), machine.plan.clone()),
                Rc::new(projection),
            ))
        });
        Projections {
            copies: copies.collect(),
            machines: machines.collect(),
        }
    }
}

/// Lists everything that costs something or may.
pub(super) fn items(facts: &Facts, projections: &Projections, prices: &Prices) -> Vec<Item> {
    let mut items = Vec::new();
    for (name, store) in &facts.stores {
        let priced = prices.of_store(name, store);
        for copies in facts.copies.iter().filter(|copies| copies.store == *name) {
            let projection = projections.copies.get(&(copies.plan.clone(), name.clone()));
            items.push(storage::stored(
                copies,
                store,
                &priced,
                projection.map(|projection| &**projection),
            ));
            items.extend(storage::noncurrent(facts, copies, store, &priced));
        }
        items.extend(traffic::requests(facts, name, store, &priced));
        items.extend(traffic::keys(facts, name, store, prices));
    }
    for machine in &facts.machines {
        let projection = projections
            .machines
            .get(&(machine.source.clone(), machine.plan.clone()));
        items.push(machine::snapshots(
            machine,
            prices,
            projection.map(|projection| &**projection),
        ));
    }
    for read in &facts.reads {
        items.extend(traffic::reading(facts, projections, read, prices));
        items.extend(machine::machine_hours(facts, read, prices));
    }
    items.extend(
        facts
            .runs
            .iter()
            .filter_map(|run| minutes(facts, run, prices)),
    );
    items
}

/// Returns the bytes that objects of these sizes are charged as.
pub(super) fn charged(objects: &[u64], minimum: u64) -> f64 {
    objects
        .iter()
        .map(|bytes| float((*bytes).max(minimum)))
        .sum()
}

/// The bytes of all of them.
pub(super) fn all(objects: &[u64]) -> f64 {
    charged(objects, 0)
}

/// Names the store, its class and the plan of an item.
pub(super) fn subject(store: &Name, priced: &Priced, plan: Option<&Name>) -> String {
    let class = match priced {
        Priced::Is(Tariff {
            class: Some(class), ..
        }) => format!(" ({class})"),
        _ => String::new(),
    };
    let plan = plan
        .map(|plan| format!(", plan {plan}"))
        .unwrap_or_default();
    format!("store {store}{class}{plan}")
}

/// Minutes of the runner. A minute that has begun counts as a whole one.
fn minutes(facts: &Facts, run: &RunFacts, prices: &Prices) -> Option<Item> {
    let runner = facts.runner.as_ref()?;
    let list = prices.runner.as_ref();
    let price = runner.minute.or(list.map(|list| list.minute));
    let mean = mean(
        run.seconds
            .iter()
            .map(|seconds| float(seconds.div_ceil(60).max(1))),
    );
    let minutes = mean.zip(run.runs).map(|(minutes, runs)| minutes * runs);
    let amount = price
        .zip(minutes)
        .map(|(price, minutes)| Amount::exactly(price.times(minutes)));
    let figure = Figure {
        amount: amount.unwrap_or(Amount::UNKNOWN),
        count: minutes.map(whole),
        bytes: None,
    };
    let mut item = Item {
        kind: ItemKind::RunnerMinutes,
        subject: run.name.clone(),
        now: Some(figure),
        steady: Some(figure),
        from: vec![runner.why.clone()],
        notes: Vec::new(),
    };
    match run.seconds.len() {
        0 => item
            .notes
            .push("how long it takes is not known yet".to_owned()),
        seconds => item
            .from
            .push(format!("measured of {seconds} {}", run.measured)),
    }
    if run.runs.is_none() {
        item.notes
            .push("how often it runs is not known: it has no schedule".to_owned());
    }
    match (runner.minute, list) {
        (Some(_), _) => item.from.push("your price".to_owned()),
        (None, Some(list)) => item.from.push(dated("runner", Some(list.date))),
        (None, None) => item
            .notes
            .push("the table of prices has no [runner]".to_owned()),
    }
    Some(item)
}
