//! Stored bytes, and the old versions that prune leaves behind. Pure.

use super::document::{Figure, Item, ItemKind};
use super::facts::{Copies, Facts, Place, Sharing, StoreFacts, float, whole};
use super::items::{GB, all, charged, subject};
use super::money::Amount;
use super::prices::{Priced, Tariff};
use super::projection::{Projection, project};
use crate::amount::{bytes, count};
use crate::name::Name;
use crate::posture::Versions;

/// Projects the points of a plan in a store; `None` if the facts do not allow it.
pub(super) fn projection(copies: &Copies, store: &StoreFacts, facts: &Facts) -> Option<Projection> {
    let says =
        copies.sharing == Sharing::Nothing && !store.elsewhere && copies.rules.rules.is_some();
    let comes = copies.pace.in_month(facts.at).is_some() && copies.measured().next().is_some();
    (says && comes).then(|| {
        project(
            &copies.held,
            std::slice::from_ref(&copies.rules),
            &copies.pace,
            facts.at,
        )
    })
}

/// Cost of the points of a plan in a store.
pub(super) fn stored(
    copies: &Copies,
    store: &StoreFacts,
    priced: &Priced,
    projection: Option<&Projection>,
) -> Item {
    let mut item = Item {
        kind: ItemKind::Storage,
        subject: subject(&copies.store, priced, Some(&copies.plan)),
        now: None,
        steady: None,
        from: Vec::new(),
        notes: Vec::new(),
    };
    let measured = copies.measured().count();
    let tariff = match priced {
        Priced::Not => {
            item.notes.push(not_priced(&copies.store));
            return item;
        }
        Priced::Unknown(why) => {
            item.notes.push(why.clone());
            None
        }
        Priced::Is(tariff) => Some(tariff),
    };
    item.now = Some(stored_now(copies, store, tariff));
    let (steady, note) = stored_then(copies, store, tariff, projection);
    item.steady = Some(steady);
    item.notes.extend(note);
    match copies.sharing {
        _ if copies.held.is_empty() => {}
        Sharing::Nothing => item.from.push(match measured {
            0 => "sizes: no complete point yet".to_owned(),
            measured => format!("sizes: measured of {}", count(measured, "point")),
        }),
        Sharing::Packs => item
            .from
            .push("sizes: each pack that a manifest names, once".to_owned()),
        Sharing::Repository => {
            item.from
                .push("sizes: what the points that are there added".to_owned());
            item.notes
                .push("what older points added, and is still there, is not known".to_owned());
        }
    }
    if projection.is_some() {
        item.from
            .push("growth: the rules of the configuration".to_owned());
        item.from.extend(copies.pace.from());
    }
    item.from.extend(tariff.map(|tariff| tariff.from.clone()));
    item
}

fn stored_now(copies: &Copies, store: &StoreFacts, tariff: Option<&Tariff>) -> Figure {
    if !store.asked {
        return Figure::of(Amount::UNKNOWN);
    }
    let known = match (copies.sharing, tariff) {
        (Sharing::Nothing, Some(tariff)) => {
            let objects = copies.objects.values();
            let minimum = tariff.prices.minimum_object_bytes;
            objects.map(|objects| charged(objects, minimum)).sum()
        }
        _ => float(copies.bytes),
    };
    let money = tariff.map(|tariff| tariff.prices.gb_month.times(known / GB));
    let exact = copies.sharing != Sharing::Repository;
    Figure {
        amount: match money {
            None if copies.held.is_empty() => Amount::NONE,
            None => Amount::UNKNOWN,
            Some(money) if exact => Amount::exactly(money),
            Some(money) => Amount::at_least(money),
        },
        count: Some(copies.held.len() as u64),
        bytes: Some(copies.bytes),
    }
}

/// Figure of what is stored at steady state, with a remark.
fn stored_then(
    copies: &Copies,
    store: &StoreFacts,
    tariff: Option<&Tariff>,
    projection: Option<&Projection>,
) -> (Figure, Option<String>) {
    let unknown = |why: &str| (Figure::of(Amount::UNKNOWN), Some(why.to_owned()));
    if !store.asked {
        return unknown("it could not be asked");
    }
    if copies.held.is_empty() {
        return unknown("nothing is measured yet: there is no point");
    }
    match copies.sharing {
        _ if store.elsewhere => return unknown("others delete there (pruned_by)"),
        Sharing::Packs => {
            return unknown("which packs go depends on what changes in the bucket");
        }
        Sharing::Repository => return unknown("what points will share is not known before"),
        Sharing::Nothing => {}
    }
    let minimum = tariff.map_or(0, |tariff| tariff.prices.minimum_object_bytes);
    let days = tariff.map_or(0, |tariff| tariff.prices.minimum_days);
    let Some(coming) = copies.mean(|objects| charged(objects, minimum)) else {
        return unknown("nothing is measured yet: there is no complete point");
    };
    let price = |gb: f64| tariff.map(|tariff| tariff.prices.gb_month.times(gb));
    if copies.rules.rules.is_none() {
        let now = price(float(copies.bytes) / GB).unwrap_or_default();
        return (
            Figure::of(Amount::at_least(now)),
            Some("no rule deletes anything: it grows for good".to_owned()),
        );
    }
    let Some(projection) = projection else {
        return unknown("the plan has no schedule, and too few points to see how often they come");
    };
    let known = |point: &_| {
        copies
            .objects
            .get(point)
            .map(|objects| charged(objects, minimum))
    };
    let gb = projection.sum(&known, coming, days) / GB;
    let sized = |point: &_| copies.objects.get(point).map(|objects| all(objects));
    let figure = Figure {
        amount: match (price(gb), projection.steady_after_days) {
            (None, _) => Amount::UNKNOWN,
            (Some(money), Some(_)) => Amount::exactly(money),
            (Some(money), None) => Amount::at_least(money),
        },
        count: Some(whole(projection.points())),
        bytes: Some(whole(projection.sum(
            &sized,
            copies.mean(all).unwrap_or(coming),
            0,
        ))),
    };
    let note = match projection.steady_after_days {
        Some(days) => format!("as many points go as come after about {days} days"),
        None => "it still grows after twelve years, or there are too many points to say".to_owned(),
    };
    (figure, Some(note))
}

fn not_priced(store: &Name) -> String {
    format!("not priced: [store.{store}] in a table of prices says what it costs")
}

/// Versions that prune leaves behind, where the bucket keeps them.
pub(super) fn noncurrent(
    facts: &Facts,
    copies: &Copies,
    store: &StoreFacts,
    priced: &Priced,
) -> Option<Item> {
    let is_bucket = matches!(store.place, Place::Amazon { .. } | Place::Server);
    let deletes = copies.rules.rules.is_some();
    if !is_bucket || !deletes || copies.held.is_empty() {
        return None;
    }
    let note = match store.versions {
        Versions::NotKept => return None,
        Versions::Unknown => {
            "whether the bucket keeps versions is not known: run `lifeboat posture`".to_owned()
        }
        Versions::Expire => {
            "the bucket keeps versions until a lifecycle rule takes them".to_owned()
        }
        Versions::Stay => {
            let grows = copies
                .mean(all)
                .zip(copies.pace.in_month(facts.at))
                .map(|(size, runs)| {
                    let gb = size * runs / GB;
                    let money = match priced {
                        Priced::Is(tariff) => {
                            format!(", {} more each month", tariff.prices.gb_month.times(gb))
                        }
                        Priced::Not | Priced::Unknown(_) => String::new(),
                    };
                    format!(
                        ", about {} a month at steady state{money}",
                        bytes(whole(gb * GB))
                    )
                });
            let grows = grows.unwrap_or_default();
            let policy = format!("`lifeboat policy --lifecycle {}`", copies.store);
            format!(
                "what prune deletes stays as an old version for good{grows}; {policy} prints a rule that ends it"
            )
        }
    };
    let mut from = Vec::new();
    if store.versions != Versions::Unknown {
        from.push("what `lifeboat posture` saw last".to_owned());
    }
    Some(Item {
        kind: ItemKind::NoncurrentVersions,
        subject: subject(&copies.store, priced, Some(&copies.plan)),
        now: Some(Figure::of(Amount::UNKNOWN)),
        steady: Some(Figure::of(Amount::UNKNOWN)),
        from,
        notes: vec![note],
    })
}
