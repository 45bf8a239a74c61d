//! Changes that would cost less: changed facts go through the same computation, and each change says
//! what it saves and what a restore would lose by it. Pure.

use super::document::{Cheaper, Item, Total};
use super::facts::{Copies, Facts, MachineFacts, ReadFacts, Sharing, whole};
use super::items::{GB, Projections, all, items};
use super::money::{Amount, Money};
use super::prices::{Priced, Prices, Tariff};
use super::projection::Projection;
use super::{machine, storage};
use crate::amount::bytes;
use crate::config::{KeepRules, Reach};
use crate::name::Name;
use crate::span::Span;
use std::rc::Rc;

/// Changes that are named at most.
const NAMED_MAX: usize = 4;
/// Smallest monthly saving that is worth naming.
const WORTH: Money = Money::micros(50_000);

/// The changes that would save most, the best first.
pub(super) fn cheaper(facts: &Facts, projections: &Projections, prices: &Prices) -> Vec<Cheaper> {
    let mut found = Vec::new();
    for name in facts.stores.keys() {
        found.extend(other_class(facts, projections, prices, name));
    }
    for copies in &facts.copies {
        found.extend(shorter(facts, projections, prices, copies));
        found.extend(any_rule(facts, prices, copies));
    }
    for machine in &facts.machines {
        found.extend(fewer_snapshots(facts, projections, prices, machine));
    }
    let most = |cheaper: &Cheaper| cheaper.saves.most_micros.unwrap_or_default();
    found.sort_by_key(|cheaper| std::cmp::Reverse(most(cheaper)));
    found.truncate(NAMED_MAX);
    found
}

/// Returns the facts about one store alone.
fn only(facts: &Facts, store: &Name) -> Facts {
    let copies = facts.copies.iter().filter(|copies| copies.store == *store);
    let stores = facts.stores.iter().filter(|(name, _)| *name == store);
    let reads = facts.reads.iter().map(|read| ReadFacts {
        machines: Vec::new(),
        ..read.clone()
    });
    Facts {
        at: facts.at,
        copies: copies.cloned().collect(),
        stores: stores
            .map(|(name, store)| (name.clone(), store.clone()))
            .collect(),
        machines: Vec::new(),
        reads: reads.collect(),
        runs: Vec::new(),
        runner: None,
    }
}

/// Returns the saving of the second list over the first at steady state; `None` if it is unknown or not
/// worth naming.
fn saves(now: &[Item], then: &[Item]) -> Option<Amount> {
    let steady = |items: &[Item]| {
        // An amount that is unknown in both lists makes no difference.
        let figures = items.iter().filter_map(|item| item.steady.as_ref());
        let known = figures.filter(|figure| figure.amount != Amount::UNKNOWN);
        Total::of(known).amount
    };
    let (now, then) = (steady(now), steady(then));
    let most = now.most_micros?.less(then.most_micros?);
    let least = now.least_micros.less(then.least_micros).min(most);
    (most >= WORTH).then(|| Amount::between(least, most))
}

/// A storage class that is read at once, where it costs less with its fees and shortest times.
fn other_class(
    facts: &Facts,
    projections: &Projections,
    prices: &Prices,
    name: &Name,
) -> Option<Cheaper> {
    let now = only(facts, name);
    let store = now.stores.get(name)?;
    let Priced::Is(Tariff {
        class: Some(current),
        ..
    }) = prices.of_store(name, store)
    else {
        return None;
    };
    if now
        .copies
        .iter()
        .any(|copies| copies.sharing != Sharing::Nothing)
    {
        return None;
    }
    let before = items(&now, projections, prices);
    let classes = prices.classes_beside(store).into_iter();
    let tried = classes
        .filter(|class| *class != current)
        .filter_map(|class| {
            let mut then = now.clone();
            let store = then.stores.get_mut(name)?;
            store.class = Some(class.clone());
            let Priced::Is(tariff) = prices.of_store(name, store) else {
                return None;
            };
            Some((
                saves(&before, &items(&then, projections, prices))?,
                class,
                tariff.prices,
            ))
        });
    let (saves, class, other) = tried.max_by_key(|(saves, _, _)| saves.least_micros)?;
    if saves.least_micros < WORTH {
        return None;
    }
    let newest: Option<f64> = now.copies.iter().map(|copies| copies.mean(all)).sum();
    let newest = newest?;
    let fee = other.retrieval_gb.times(newest / GB);
    let minimum = match other.minimum_days {
        0 => String::new(),
        days => {
            format!("; what goes before {days} days is charged until then, which is counted here")
        }
    };
    let size = bytes(whole(newest));
    Some(Cheaper {
        change: format!("store.{name}.storage_class = \"{class}\" for new points"),
        saves,
        costs: format!("as fast as now; {fee} each time that the newest {size} are read{minimum}"),
    })
}

/// Rules that keep half as many points.
fn shorter(
    facts: &Facts,
    projections: &Projections,
    prices: &Prices,
    copies: &Copies,
) -> Option<Cheaper> {
    let place = (copies.plan.clone(), copies.store.clone());
    let before = projections.copies.get(&place)?;
    let store = facts.stores.get(&copies.store)?;
    let Priced::Is(_) = prices.of_store(&copies.store, store) else {
        return None;
    };
    let halved = half(copies.rules.rules.as_ref()?)?;
    let mut changed = copies.clone();
    changed.rules.rules = Some(halved.clone());
    let after = Rc::new(storage::projection(&changed, store, facts)?);
    let mut then = projections.clone();
    then.copies.insert(place, Rc::clone(&after));
    let facts = only(facts, &copies.store);
    let saves = saves(
        &items(&facts, projections, prices),
        &items(&facts, &then, prices),
    )?;
    Some(Cheaper {
        change: keep_in(copies, &halved),
        saves,
        costs: format!(
            "what is older than about {:.0} days would be gone; now points reach back {:.0}",
            after.oldest_days(),
            before.oldest_days()
        ),
    })
}

/// The rules of a plan in a store, as a configuration says them.
fn keep_in(copies: &Copies, rules: &KeepRules) -> String {
    format!(
        "plan.{}.keep_in.{} = {}",
        copies.plan,
        copies.store,
        text(rules)
    )
}

/// A rule, where nothing is ever deleted.
fn any_rule(facts: &Facts, prices: &Prices, copies: &Copies) -> Option<Cheaper> {
    let store = facts.stores.get(&copies.store)?;
    if copies.rules.rules.is_some() || copies.sharing != Sharing::Nothing || store.elsewhere {
        return None;
    }
    let Priced::Is(tariff) = prices.of_store(&copies.store, store) else {
        return None;
    };
    let grows = copies.mean(all)? * copies.pace.in_month(facts.at)? / GB;
    let grows = tariff.prices.gb_month.times(grows);
    let rules = KeepRules {
        daily: Some(Reach::Count(30)),
        monthly: Some(Reach::Count(12)),
        ..KeepRules::default()
    };
    let mut changed = copies.clone();
    changed.rules.rules = Some(rules.clone());
    let after = storage::projection(&changed, store, facts)?;
    let kept = changed.mean(all)? * after.points() / GB;
    let kept = tariff.prices.gb_month.times(kept);
    (grows.times(12.0) >= WORTH).then(|| Cheaper {
        change: keep_in(copies, &rules),
        saves: Amount::UNKNOWN,
        costs: format!(
            "what is older than about {:.0} days would be gone; it would end at {kept} a month, and now each month adds {grows} to the next",
            after.oldest_days()
        ),
    })
}

/// Half as many snapshots of a machine.
fn fewer_snapshots(
    facts: &Facts,
    projections: &Projections,
    prices: &Prices,
    machine: &MachineFacts,
) -> Option<Cheaper> {
    let place = (machine.source.clone(), machine.plan.clone());
    let before = projections.machines.get(&place)?;
    let rules = machine.rules.first().filter(|_| machine.at_source)?;
    let halved = half(rules.rules.as_ref()?)?;
    let mut changed = machine.clone();
    changed.rules.first_mut()?.rules = Some(halved.clone());
    let after = machine::projection(&changed, facts)?;
    let item = |projection: &Projection| [machine::snapshots(machine, prices, Some(projection))];
    let saves = saves(&item(before), &item(&after))?;
    Some(Cheaper {
        change: format!(
            "source.{}.keep_at_source = {}",
            machine.source,
            text(&halved)
        ),
        saves,
        costs: format!(
            "no machine of what is older than about {:.0} days, now {:.0}; the points stay",
            after.oldest_days(),
            before.oldest_days()
        ),
    })
}

/// Returns the same rules with every number and span halved; `None` if nothing is left to halve.
fn half(rules: &KeepRules) -> Option<KeepRules> {
    let number = |count: u32| match count {
        0 | 1 => count,
        count => count.div_ceil(2),
    };
    let span = |span: Span| {
        let days = span.seconds / 86_400;
        match days {
            0 | 1 => span,
            days => Span {
                seconds: days.div_ceil(2) * 86_400,
            },
        }
    };
    let reach = |reach: Reach| match reach {
        Reach::Count(count) => Reach::Count(number(count)),
        Reach::Span(of) => Reach::Span(span(of)),
    };
    let halved = KeepRules {
        last: rules.last.map(number),
        hourly: rules.hourly.map(reach),
        daily: rules.daily.map(reach),
        weekly: rules.weekly.map(reach),
        monthly: rules.monthly.map(reach),
        yearly: rules.yearly.map(reach),
        within: rules.within.map(span),
        of_period: rules.of_period,
    };
    (halved != *rules).then_some(halved)
}

/// Rules as a configuration has them.
fn text(rules: &KeepRules) -> String {
    let mut parts = Vec::new();
    parts.extend(rules.last.map(|last| format!("last = {last}")));
    let names = ["hourly", "daily", "weekly", "monthly", "yearly"];
    for (name, reach) in names.into_iter().zip(rules.periods()) {
        parts.extend(reach.map(|reach| match reach {
            Reach::Count(count) => format!("{name} = {count}"),
            Reach::Span(span) => format!("{name} = \"{span}\""),
        }));
    }
    parts.extend(rules.within.map(|within| format!("within = \"{within}\"")));
    if rules.of_period != KeepRules::default().of_period {
        parts.push("of_period = \"first\"".to_owned());
    }
    format!("{{ {} }}", parts.join(", "))
}
