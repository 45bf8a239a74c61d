//! Monthly cost of an application's backups, now and at steady state, when as many points go as are taken.
//!
//! Every figure names its sources and has two bounds. An unknown amount has no upper bound, and neither
//! has a sum that contains it. Pure but for [`gather`]: stored bytes follow from the sizes in manifests,
//! and those to come from the decisions of [`crate::retention`] about points like the newest ones. No
//! provider is asked for bills or prices.

mod cheaper;
mod document;
mod facts;
mod gather;
mod items;
mod machine;
mod money;
mod prices;
mod projection;
mod storage;
mod traffic;

pub use document::{Cheaper, Cost, Figure, Item, ItemKind, Total, Totals};
pub use facts::{
    Copies, Facts, MachineFacts, Pace, Place, ReadFacts, RunFacts, Runner, ServerKey, Sharing,
    StoreFacts,
};
pub use gather::{Gathered, gather};
pub use money::{Amount, Money};
pub use prices::{PriceList, Prices, SHIPPED};

use crate::config::App;
use crate::error::Error;

/// Computes the cost from the facts.
pub fn compose(app: &App, facts: &Facts, prices: &Prices, errors: Vec<Error>) -> Cost {
    let projections = items::Projections::of(facts);
    let items = items::items(facts, &projections, prices);
    let points = facts.copies.iter().flat_map(|copies| copies.held.iter());
    let mut points: Vec<_> = points.map(|held| &held.point).collect();
    points.sort_unstable();
    points.dedup();
    Cost {
        app: app.name.clone(),
        environment: app.environment.clone(),
        at: facts.at,
        currency: prices.currency.clone(),
        prices: prices.lists(facts.at),
        points: points.len(),
        total: Totals::of(&items),
        items,
        not_counted: not_counted(facts),
        cheaper: cheaper::cheaper(facts, &projections, prices),
        errors,
    }
}

/// Lists possible costs that no item counts.
fn not_counted(facts: &Facts) -> Vec<String> {
    let mut not = Vec::new();
    let is_bucket =
        |store: &StoreFacts| matches!(store.place, Place::Amazon { .. } | Place::Server);
    if facts.stores.values().any(is_bucket) {
        not.push(
            "what `lifeboat run` or the daemon asks buckets while nothing is due, what prune, healing \
             and posture ask, and small notes beside the points"
                .to_owned(),
        );
    }
    if facts.runner.is_none() {
        not.push(
            "minutes of a runner: nothing says that plans run on one that is paid for \
             (--runner-minute PRICE)"
                .to_owned(),
        );
    }
    let by_hand = facts.reads.iter().filter(|read| read.runs.is_none());
    let by_hand: Vec<&str> = by_hand.map(|read| read.name.as_str()).collect();
    if !by_hand.is_empty() {
        not.push(format!(
            "what runs by hand: {} (no schedule)",
            by_hand.join(", ")
        ));
    }
    not.push("taxes, discounts, free allowances, and restores".to_owned());
    not
}

#[cfg(test)]
mod tests;
