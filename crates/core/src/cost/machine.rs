//! Snapshots of machines, and the machines that drills make of them. Pure.

use super::document::{Figure, Item, ItemKind};
use super::facts::{Facts, MEASURED, MachineFacts, ReadFacts, float, mean, whole};
use super::items::GB;
use super::money::{Amount, Money};
use super::prices::{Prices, dated, no_table};
use super::projection::{Projection, project};
use crate::amount::count;
use crate::point::PointId;

/// A price, and the list that it is from.
struct Listed {
    price: Money,
    from: String,
}

/// Finds the price of snapshots, in the machine's own table or in the list of its region.
fn price_of_snapshots(machine: &MachineFacts, prices: &Prices) -> Option<Listed> {
    let own = prices.machine.get(machine.source.as_str());
    if let Some((own, price)) = own.and_then(|own| Some((own, own.snapshot_gb_month?))) {
        let from = dated(&format!("machine.{}", machine.source), own.date);
        return Some(Listed { price, from });
    }
    let list = machine.list.as_ref()?;
    let of = prices.of_machines(list)?;
    Some(Listed {
        price: of.snapshot_gb_month,
        from: dated(&list.table(), Some(of.date)),
    })
}

/// The mean full size of the newest snapshots; `None` where no size is known.
fn coming(machine: &MachineFacts) -> Option<f64> {
    let newest = machine.held.iter().rev().take(MEASURED);
    let sizes = newest.filter_map(|held| machine.bytes.get(&held.point));
    mean(sizes.map(|bytes| float(*bytes)))
}

/// Projects the snapshots of a machine; `None` if the facts do not allow it.
pub(super) fn projection(machine: &MachineFacts, facts: &Facts) -> Option<Projection> {
    let deletes = !machine.rules.is_empty() && machine.rules.iter().all(|r| r.rules.is_some());
    let comes = machine.pace.in_month(facts.at).is_some() && coming(machine).is_some();
    (deletes && comes).then(|| project(&machine.held, &machine.rules, &machine.pace, facts.at))
}

/// Snapshots of a machine. The provider charges changed bytes; only the full size is known.
pub(super) fn snapshots(
    machine: &MachineFacts,
    prices: &Prices,
    projection: Option<&Projection>,
) -> Item {
    let listed = price_of_snapshots(machine, prices);
    // No provider says how much changed.
    let figure = |count: u64, bytes: f64| Figure {
        amount: listed.as_ref().map_or(Amount::UNKNOWN, |listed| {
            Amount::between(Money::NONE, listed.price.times(bytes / GB))
        }),
        count: Some(count),
        bytes: Some(whole(bytes)),
    };
    let sizes = machine
        .held
        .iter()
        .map(|held| machine.bytes.get(&held.point));
    let sizes: Option<Vec<u64>> = sizes.map(|bytes| bytes.copied()).collect();
    let sizes = sizes.filter(|_| machine.asked);
    let coming = coming(machine);
    let now = sizes
        .as_ref()
        .map(|sizes| figure(sizes.len() as u64, float(sizes.iter().sum())));
    let steady = projection.zip(coming).map(|(projection, coming)| {
        let known = |point: &PointId| machine.bytes.get(point).map(|bytes| float(*bytes));
        let figure = figure(
            whole(projection.points()),
            projection.sum(&known, coming, 0),
        );
        match projection.steady_after_days {
            Some(_) => figure,
            None => Figure {
                amount: Amount::UNKNOWN,
                ..figure
            },
        }
    });
    let unknown = Figure::of(Amount::UNKNOWN);
    let mut from = Vec::new();
    let mut notes = Vec::new();
    match (&listed, &machine.list) {
        (Some(listed), _) => from.push(listed.from.clone()),
        (None, Some(list)) => notes.push(no_table(&list.table())),
        (None, None) => notes.push(format!(
            "[machine.{}] in a table of prices says what its provider asks",
            machine.source
        )),
    }
    match (coming, sizes) {
        (Some(_), Some(_)) => {
            let told = count(machine.bytes.len(), "snapshot");
            from.push(format!("full sizes: told of {told}"));
            notes.extend(bounds(machine).map(ToOwned::to_owned));
        }
        _ if !machine.asked => notes.push("a store of the plan could not be asked".to_owned()),
        _ => notes.push("the size of a snapshot is not known".to_owned()),
    }
    match (steady.is_some(), machine.at_source) {
        (true, true) => from.push("growth: keep_at_source".to_owned()),
        (true, false) => from.push("growth: the rules of the plan".to_owned()),
        (false, _) if coming.is_some() => {
            notes
                .push("how many stay is not known: no rule deletes any, or no schedule".to_owned());
        }
        (false, _) => {}
    }
    Item {
        kind: ItemKind::Snapshots,
        subject: subject(machine),
        now: Some(now.unwrap_or(unknown)),
        steady: Some(steady.unwrap_or(unknown)),
        from,
        notes,
    }
}

fn subject(machine: &MachineFacts) -> String {
    let of = format!("machine {}, plan {}", machine.source, machine.plan);
    match &machine.copies_in {
        Some(region) => format!("{of}, copies in {region}"),
        None => of,
    }
}

/// What the amount for full sizes bounds, and what it leaves out.
fn bounds(machine: &MachineFacts) -> impl Iterator<Item = &'static str> {
    let crosses = "what crosses to another region is charged besides";
    let changed = "the provider charges what changed: the full size is the upper bound";
    let copies = machine.copies_in.is_some();
    std::iter::once(changed).chain(copies.then_some(crosses))
}

/// An hour of the machine that each drill makes.
pub(super) fn machine_hours(facts: &Facts, read: &ReadFacts, prices: &Prices) -> Vec<Item> {
    let Some(runs) = read.runs else {
        return Vec::new();
    };
    let items = read.machines.iter().filter_map(|source| {
        let machine = facts.machines.iter().find(|machine| machine.source == *source)?;
        let own = prices.machine.get(source.as_str());
        let own = own.and_then(|own| Some((own.hour?, format!("machine.{source}"), own.date)));
        let list = machine.list.as_ref().and_then(|list| {
            let of = prices.of_machines(list)?;
            Some((of.hour?, list.table(), Some(of.date)))
        });
        let price = own.or(list);
        let figure = Figure {
            amount: price.as_ref().map_or(Amount::UNKNOWN, |(hour, _, _)| Amount::exactly(hour.times(runs))),
            count: Some(whole(runs)),
            bytes: None,
        };
        let mut notes = vec!["an hour for each drill".to_owned()];
        if price.is_none() {
            notes.push(match &machine.list {
                Some(list) => match (list.sizes(), &list.size) {
                    ((_, key), None) => format!("its {key} is that of the instance, which is asked for nothing here: `{key}` names one"),
                    ((table, _), Some(size)) => format!("[{table}] has no {size}"),
                },
                None => format!("[machine.{source}] in a table of prices says what an hour costs"),
            });
        }
        Some(Item {
            kind: ItemKind::MachineHours,
            subject: format!("{}, machine {source}", read.name),
            now: Some(figure),
            steady: Some(figure),
            from: std::iter::once("schedule".to_owned())
                .chain(price.map(|(_, table, date)| dated(&table, date)))
                .collect(),
            notes,
        })
    });
    items.collect()
}
