//! Requests to stores, keys that their servers encrypt with, and bytes read from them. Pure.

use super::document::{Figure, Item, ItemKind};
use super::facts::{Copies, Facts, Place, ReadFacts, ServerKey, Sharing, StoreFacts, float, whole};
use super::items::{GB, Projections, all, subject};
use super::money::{Amount, Money};
use super::prices::{Priced, Prices, Tariff, dated, no_table};
use crate::name::Name;

/// Bytes that are sent in one request, of an object whose size is not known before.
const PART_BYTES: u64 = 16 << 20;
/// Requests of a backup as a server counted them: PUT and LIST beside those of its objects, GET and HEAD
/// for each object, and GET and HEAD beside those.
const PUTS_BESIDE: f64 = 15.0;
const GETS_BY_OBJECT: f64 = 2.0;
const GETS_BESIDE: f64 = 23.0;

/// Requests of a month.
#[derive(Default, Clone, Copy)]
struct Asked {
    puts: f64,
    gets: f64,
    /// True if there are more that could not be counted.
    more: bool,
}

impl Asked {
    fn in_month(facts: &Facts, store: &Name) -> Asked {
        let mut asked = Asked::default();
        for copies in facts.copies.iter().filter(|copies| copies.store == *store) {
            let objects = copies.mean(|objects| float(objects.len() as u64));
            let parts = |bytes: u64| match bytes {
                0..=PART_BYTES => 1.0,
                bytes => 2.0 + float(bytes.div_ceil(PART_BYTES)),
            };
            let puts = copies.mean(|objects| objects.iter().map(|bytes| parts(*bytes)).sum());
            match (puts.zip(objects), copies.pace.in_month(facts.at)) {
                (Some((puts, objects)), Some(runs)) => {
                    asked.puts += (puts + PUTS_BESIDE) * runs;
                    asked.gets += (objects * GETS_BY_OBJECT + GETS_BESIDE) * runs;
                }
                _ => asked.more = true,
            }
            asked.more |= copies.sharing != Sharing::Nothing;
        }
        for read in &facts.reads {
            let own = read.copies.iter().filter(|(_, of)| of == store);
            for (plan, _) in own {
                let copies = facts
                    .copies
                    .iter()
                    .find(|c| c.plan == *plan && c.store == *store);
                let objects = copies.and_then(|c| c.mean(|objects| float(objects.len() as u64)));
                let points = copies.map_or(1.0, |c| points_read(read, float(c.held.len() as u64)));
                let gets = objects
                    .zip(read.runs)
                    .map(|(objects, runs)| 2.0 * objects * points * runs);
                asked.gets += gets.unwrap_or(0.0);
            }
        }
        asked
    }

    fn all(&self) -> u64 {
        whole(self.puts + self.gets)
    }
}

/// Number of points that a run reads.
fn points_read(read: &ReadFacts, points: f64) -> f64 {
    match read.percent {
        None => 1.0,
        Some(percent) => points * f64::from(percent) / 100.0,
    }
}

/// Requests of backups, drills and verifications to a store.
pub(super) fn requests(
    facts: &Facts,
    name: &Name,
    store: &StoreFacts,
    priced: &Priced,
) -> Option<Item> {
    let own = matches!(store.place, Place::Amazon { .. } | Place::Server);
    let tariff = match priced {
        Priced::Is(tariff) => Some(tariff),
        Priced::Unknown(_) => None,
        Priced::Not => return None,
    };
    if !own
        && tariff
            .is_none_or(|t| t.prices.put_1000 == Money::NONE && t.prices.get_1000 == Money::NONE)
    {
        return None;
    }
    let asked = Asked::in_month(facts, name);
    let money = tariff.map(|tariff| {
        let puts = tariff.prices.put_1000.times(asked.puts / 1000.0);
        puts.plus(tariff.prices.get_1000.times(asked.gets / 1000.0))
    });
    let figure = Figure {
        amount: match money {
            None => Amount::UNKNOWN,
            Some(money) if asked.more => Amount::at_least(money),
            Some(money) => Amount::exactly(money),
        },
        count: (!asked.more).then(|| asked.all()),
        bytes: None,
    };
    let mut notes = Vec::new();
    if asked.more {
        notes.push("not all requests can be counted: no points, no schedule, or packs".to_owned());
    }
    Some(Item {
        kind: ItemKind::Requests,
        subject: subject(name, priced, None),
        now: Some(figure),
        steady: Some(figure),
        from: [
            Some("counted from the objects of points".to_owned()),
            tariff.map(|t| t.from.clone()),
        ]
        .into_iter()
        .flatten()
        .collect(),
        notes,
    })
}

/// Keys of KMS and requests to it: one for each object that is put or got.
pub(super) fn keys(
    facts: &Facts,
    name: &Name,
    store: &StoreFacts,
    prices: &Prices,
) -> Option<Item> {
    let key = store.key?;
    let Place::Amazon { region } = &store.place else {
        return None;
    };
    let asked = Asked::in_month(facts, name);
    let mut item = Item {
        kind: ItemKind::Keys,
        subject: format!("store {name}, KMS"),
        now: Some(Figure::of(Amount::UNKNOWN)),
        steady: Some(Figure::of(Amount::UNKNOWN)),
        from: vec!["server_side_encryption in the configuration".to_owned()],
        notes: Vec::new(),
    };
    let Some(list) = prices.kms.get(region) else {
        item.notes.push(no_table(&format!("kms.{region}")));
        return Some(item);
    };
    let requests = list
        .request_10000
        .times((asked.puts + asked.gets) / 10_000.0);
    let amount = match key {
        ServerKey::OfAccount => Amount::between(Money::NONE, requests),
        ServerKey::Own => {
            item.notes
                .push("the key costs what it costs, also where it serves others".to_owned());
            Amount::between(Money::NONE, requests.plus(list.key_month))
        }
    };
    let figure = Figure {
        amount: match asked.more {
            true => Amount::at_least(amount.least_micros),
            false => amount,
        },
        count: (!asked.more).then(|| asked.all()),
        bytes: None,
    };
    (item.now, item.steady) = (Some(figure), Some(figure));
    item.from
        .push(dated(&format!("kms.{region}"), Some(list.date)));
    Some(item)
}

/// Bytes that a drill or verification reads out of each store, where that may cost something.
pub(super) fn reading(
    facts: &Facts,
    projections: &Projections,
    read: &ReadFacts,
    prices: &Prices,
) -> Vec<Item> {
    let Some(runs) = read.runs else {
        return Vec::new();
    };
    let stores = facts.stores.iter().filter_map(|(name, store)| {
        let plans = read.copies.iter().filter(|(_, of)| of == name);
        let copies = plans.filter_map(|(plan, _)| {
            let mut all = facts.copies.iter();
            all.find(|copies| copies.plan == *plan && copies.store == *name)
        });
        let copies: Vec<&Copies> = copies.collect();
        match prices.of_store(name, store) {
            _ if copies.is_empty() => None,
            Priced::Not => None,
            Priced::Is(tariff) => Some(read_of(
                projections,
                read,
                runs,
                name,
                &copies,
                Some(&tariff),
            )),
            Priced::Unknown(_) => Some(read_of(projections, read, runs, name, &copies, None)),
        }
    });
    stores.collect()
}

fn read_of(
    projections: &Projections,
    read: &ReadFacts,
    runs: f64,
    store: &Name,
    copies: &[&Copies],
    tariff: Option<&Tariff>,
) -> Item {
    let apart = copies
        .iter()
        .all(|copies| copies.sharing == Sharing::Nothing);
    let figure = |points: &dyn Fn(&Copies) -> f64| {
        let sizes = copies.iter().map(|copies| {
            let size = copies.mean(all).filter(|_| apart)?;
            Some(size * points_read(read, points(copies)))
        });
        let bytes = sizes.sum::<Option<f64>>().map(|size| size * runs);
        let amount = tariff.zip(bytes).map(|(tariff, bytes)| {
            let fee = tariff.prices.retrieval_gb.times(bytes / GB);
            Amount::between(fee, fee.plus(tariff.egress_gb.times(bytes / GB)))
        });
        Figure {
            amount: amount.unwrap_or(Amount::UNKNOWN),
            count: Some(whole(runs)),
            bytes: bytes.map(whole),
        }
    };
    let now = figure(&|copies| float(copies.held.len() as u64));
    let steady = figure(&|copies| {
        let projection = projections
            .copies
            .get(&(copies.plan.clone(), copies.store.clone()));
        projection.map_or(float(copies.held.len() as u64), |projection| {
            projection.points()
        })
    });
    let note = match (now.bytes, tariff) {
        (Some(_), Some(_)) => "what does not leave the region of the store is free",
        (_, None) => "the store has no price",
        (None, Some(_)) => "how much is read is not known",
    };
    let from = ["schedule, and the size of the newest points".to_owned()];
    Item {
        kind: ItemKind::Reading,
        subject: format!("{}, store {store}", read.name),
        now: Some(now),
        steady: Some(steady),
        from: from
            .into_iter()
            .chain(tariff.map(|tariff| tariff.from.clone()))
            .collect(),
        notes: vec![note.to_owned()],
    }
}
