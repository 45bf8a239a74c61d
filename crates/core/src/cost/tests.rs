//! Tests of the judgement, on facts and prices as values.

use super::facts::{MachineList, MachineService};
use super::*;
use crate::config::{KeepRules, Reach};
use crate::name::Name;
use crate::point::PointId;
use crate::posture::Versions;
use crate::retention::{Held, Rules};
use crate::schedule::Schedule;
use crate::span::Span;
use jiff::Timestamp;
use std::path::Path;

const MB: u64 = 1_000_000;
const GIB: u64 = 1 << 30;

fn now() -> Timestamp {
    "2026-12-01T12:00:00Z".parse().unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn days(count: u64) -> Span {
    Span {
        seconds: count * 86_400,
    }
}

fn daily(count: u32) -> KeepRules {
    KeepRules {
        daily: Some(Reach::Count(count)),
        ..KeepRules::default()
    }
}

fn last(count: u32) -> KeepRules {
    KeepRules {
        last: Some(count),
        ..KeepRules::default()
    }
}

fn rules(keep: Option<KeepRules>, grace: Span) -> Rules {
    Rules {
        rules: keep,
        manual: days(30),
        safety: days(30),
        minimum: 1,
        grace,
    }
}

fn each_day() -> Pace {
    Pace::Scheduled(Schedule::parse("0 6 * * *").unwrap())
}

/// A point each day up to today, the oldest first.
fn held(count: u64) -> Vec<Held> {
    let times = (0..count).rev().map(|back| days(back).before(now()));
    let points = times.map(|time| Held {
        point: PointId::parse(&time.strftime("%Y%m%dT060000Z-0000").to_string()).unwrap(),
        sound: true,
        safety: false,
        manual: false,
        always: Vec::new(),
        lock: None,
        leaving: None,
    });
    points.collect()
}

/// Points of these objects in a store.
fn copies(store: &str, count: u64, objects: &[u64], keep: Option<KeepRules>) -> Copies {
    let held = held(count);
    Copies {
        plan: name("daily"),
        store: name(store),
        objects: held
            .iter()
            .map(|h| (h.point.clone(), objects.to_vec()))
            .collect(),
        bytes: count * objects.iter().sum::<u64>(),
        sharing: Sharing::Nothing,
        rules: rules(keep, days(1)),
        pace: each_day(),
        held,
    }
}

fn bucket() -> StoreFacts {
    StoreFacts {
        place: Place::Amazon {
            region: "us-east-1".to_owned(),
        },
        class: None,
        key: None,
        elsewhere: false,
        versions: Versions::NotKept,
        asked: true,
    }
}

fn facts(store: StoreFacts, copies: Copies) -> Facts {
    Facts {
        at: now(),
        stores: [(copies.store.clone(), store)].into(),
        copies: vec![copies],
        machines: Vec::new(),
        reads: Vec::new(),
        runs: Vec::new(),
        runner: None,
    }
}

fn listed(service: MachineService, size: Option<&str>) -> Option<MachineList> {
    Some(MachineList {
        service,
        region: "us-east-1".to_owned(),
        size: size.map(str::to_owned),
    })
}

fn machine(count: u64, bytes: u64, keep: KeepRules) -> MachineFacts {
    let held = held(count);
    MachineFacts {
        copies_in: None,
        source: name("machine"),
        plan: name("daily"),
        list: listed(MachineService::Lightsail, None),
        bytes: held.iter().map(|h| (h.point.clone(), bytes)).collect(),
        at_source: true,
        asked: true,
        rules: vec![rules(Some(keep), days(0))],
        pace: each_day(),
        held,
    }
}

fn app() -> crate::config::App {
    let text = "version = 1\napp.name = \"helpdesk\"\nsource.a = { kind = \"files\", paths = [\"/a\"] }\n\
        store.b = { kind = \"local\", path = \"/b\" }\nplan.c = { sources = [\"a\"], stores = [\"b\"] }\n";
    let config = crate::config::Config::parse(text, Path::new("/c.toml")).unwrap();
    config.app
}

fn cost(facts: &Facts) -> Cost {
    compose(&app(), facts, &Prices::shipped().unwrap(), Vec::new())
}

fn item(cost: &Cost, kind: ItemKind) -> &Item {
    let mut items = cost.items.iter().filter(|item| item.kind == kind);
    let found = items.next();
    found.unwrap_or_else(|| panic!("no {kind:?} in {:#?}", cost.items))
}

fn steady(cost: &Cost, kind: ItemKind) -> Amount {
    item(cost, kind).steady.unwrap().amount
}

/// Units of money, as a person would write them.
fn units(money: Money) -> f64 {
    serde_json::to_value(money).unwrap().as_f64().unwrap() / 1e6
}

fn near(money: Money, expected: f64) {
    let found = units(money);
    assert!(
        (found - expected).abs() <= expected * 0.06 + 0.001,
        "{found} is not {expected}"
    );
}

/// An operator's estimate, made by hand: 1.20 for the runner, 3.50 for snapshots, 0.03 for storage, and next
/// to nothing for requests and keys: 4.73 together.
#[test]
fn the_helpdesk_costs_what_its_operator_estimated() {
    let mut store = bucket();
    store.key = Some(ServerKey::OfAccount);
    let mut facts = facts(store, copies("s3", 30, &[50 * MB], Some(daily(30))));
    facts.machines.push(machine(7, 10 * GIB, last(7)));
    facts.runs.push(RunFacts {
        name: "plan daily".to_owned(),
        runs: Some(30.0),
        seconds: vec![290, 300, 245],
        measured: "jobs of this host",
    });
    facts.runner = Some(Runner {
        minute: Some("0.008".parse().unwrap()),
        why: "--runner-minute".to_owned(),
    });
    let cost = cost(&facts);
    near(
        steady(&cost, ItemKind::RunnerMinutes).most_micros.unwrap(),
        1.20,
    );
    near(
        steady(&cost, ItemKind::Snapshots).most_micros.unwrap(),
        3.50,
    );
    assert_eq!(steady(&cost, ItemKind::Snapshots).least_micros, Money::NONE);
    near(
        steady(&cost, ItemKind::Storage).most_micros.unwrap(),
        0.0331,
    );
    assert!(units(steady(&cost, ItemKind::Requests).most_micros.unwrap()) < 0.02);
    assert!(units(steady(&cost, ItemKind::Keys).most_micros.unwrap()) < 0.01);
    let total = cost.total.steady;
    near(total.amount.most_micros.unwrap(), 4.73);
    near(total.amount.least_micros, 1.24);
    assert_eq!(total.amount.most_micros, Some(total.known_most_micros));
    assert_eq!(
        item(&cost, ItemKind::Snapshots).steady.unwrap().count,
        Some(7)
    );
    // 30 days, and the point that is leaving.
    assert_eq!(
        item(&cost, ItemKind::Storage).steady.unwrap().count,
        Some(31)
    );
    assert_eq!(cost.exit(), crate::exit::Exit::Done);
}

#[test]
fn every_figure_says_where_it_is_from_and_nothing_unknown_is_0() {
    let mut facts = facts(bucket(), copies("s3", 3, &[50 * MB], Some(daily(30))));
    facts.machines.push(MachineFacts {
        list: None,
        ..machine(2, GIB, last(7))
    });
    let cost = cost(&facts);
    for item in &cost.items {
        let figures = [item.now, item.steady].into_iter().flatten();
        for figure in figures {
            let unknown = figure.amount == Amount::UNKNOWN;
            assert!(!unknown || !item.notes.is_empty(), "{item:#?}");
            assert!(unknown || !item.from.is_empty(), "{item:#?}");
        }
    }
    assert_eq!(steady(&cost, ItemKind::Snapshots), Amount::UNKNOWN);
    assert_eq!(cost.total.steady.amount.most_micros, None, "at least");
    assert!(cost.total.steady.amount.to_string().starts_with("at least"));
    let from = &item(&cost, ItemKind::Storage).from;
    assert!(
        from.contains(&"sizes: measured of 3 points".to_owned()),
        "{from:?}"
    );
    assert!(
        from.contains(&"list price of 2026-06-01 (s3.us-east-1)".to_owned()),
        "{from:?}"
    );
}

#[test]
fn a_store_without_a_price_is_left_out_and_one_that_asks_for_money_is_unknown() {
    let of = |place: Place| {
        let store = StoreFacts { place, ..bucket() };
        cost(&facts(store, copies("disk", 3, &[MB], Some(daily(7)))))
    };
    for place in [Place::Local, Place::Sftp] {
        let cost = of(place);
        assert_eq!(item(&cost, ItemKind::Storage).steady, None);
        assert_eq!(cost.total.steady.amount, Amount::NONE);
    }
    let elsewhere = Place::Amazon {
        region: "eu-central-1".to_owned(),
    };
    for place in [Place::Server, elsewhere] {
        let cost = of(place);
        assert_eq!(steady(&cost, ItemKind::Storage), Amount::UNKNOWN);
        assert_eq!(cost.total.steady.amount, Amount::UNKNOWN);
        assert_eq!(
            item(&cost, ItemKind::Storage).now.unwrap().amount,
            Amount::UNKNOWN
        );
        assert_eq!(cost.total.now.amount, Amount::UNKNOWN);
        assert_eq!(
            item(&cost, ItemKind::Storage).now.unwrap().bytes,
            Some(3 * MB)
        );
    }
    // A table of the operator's own prices any store.
    let own = "version = 1\ncurrency = \"EUR\"\n[store.disk]\ngb_month = 1\n";
    let prices = Prices::parse(own, Path::new("own.toml")).unwrap();
    let store = StoreFacts {
        place: Place::Local,
        ..bucket()
    };
    let facts = facts(store, copies("disk", 4, &[GIB], Some(last(2))));
    let cost = compose(&app(), &facts, &prices, Vec::new());
    assert_eq!(
        item(&cost, ItemKind::Storage)
            .now
            .unwrap()
            .amount
            .to_string(),
        "4.00"
    );
    assert_eq!(
        steady(&cost, ItemKind::Storage).to_string(),
        "3.00",
        "two, and one that is leaving"
    );
    assert_eq!(cost.currency, "EUR");
}

#[test]
fn nothing_is_known_of_a_store_that_does_not_answer() {
    let store = StoreFacts {
        asked: false,
        ..bucket()
    };
    let mut facts = facts(store, copies("s3", 0, &[], Some(daily(30))));
    facts.machines.push(MachineFacts {
        asked: false,
        ..machine(0, GIB, last(7))
    });
    let cost = cost(&facts);
    for kind in [ItemKind::Storage, ItemKind::Snapshots] {
        let found = item(&cost, kind);
        assert_eq!(found.now, Some(Figure::of(Amount::UNKNOWN)));
        assert_eq!(found.steady, Some(Figure::of(Amount::UNKNOWN)));
        assert!(
            found
                .notes
                .iter()
                .any(|note| note.contains("could not be asked")),
            "{found:#?}"
        );
    }
}

#[test]
fn without_points_nothing_is_measured() {
    let cost = cost(&facts(bucket(), copies("s3", 0, &[], Some(daily(7)))));
    assert_eq!(cost.points, 0);
    assert_eq!(
        item(&cost, ItemKind::Storage).now.unwrap().amount,
        Amount::NONE
    );
    assert_eq!(steady(&cost, ItemKind::Storage), Amount::UNKNOWN);
    assert!(cost.cheaper.is_empty());
}

#[test]
fn what_nothing_deletes_has_no_end_and_a_rule_is_named() {
    let cost = cost(&facts(bucket(), copies("s3", 30, &[10 * GIB], None)));
    let found = item(&cost, ItemKind::Storage);
    let now = found.now.unwrap().amount;
    assert_eq!(
        found.steady.unwrap().amount,
        Amount::at_least(now.least_micros)
    );
    assert!(
        found
            .notes
            .iter()
            .any(|note| note.contains("grows for good")),
        "{found:#?}"
    );
    assert_eq!(
        cost.cheaper[0].change,
        "plan.daily.keep_in.s3 = { daily = 30, monthly = 12 }"
    );
    assert_eq!(cost.cheaper[0].saves, Amount::UNKNOWN);
}

#[test]
fn shared_packs_and_repositories_are_counted_once_and_never_foreseen() {
    for (sharing, exact) in [(Sharing::Packs, true), (Sharing::Repository, false)] {
        let mut shared = copies("s3", 10, &[GIB], Some(daily(7)));
        (shared.sharing, shared.bytes) = (sharing, 3 * GIB);
        let cost = cost(&facts(bucket(), shared));
        let amount = item(&cost, ItemKind::Storage).now.unwrap().amount;
        assert_eq!(amount.least_micros.to_string(), "0.07", "{sharing:?}");
        assert_eq!(amount.most_micros.is_some(), exact, "{sharing:?}");
        assert_eq!(steady(&cost, ItemKind::Storage), Amount::UNKNOWN);
    }
}

#[test]
fn old_versions_count_only_where_something_is_known_of_them() {
    let of = |versions: Versions| {
        let store = StoreFacts {
            versions,
            ..bucket()
        };
        let cost = cost(&facts(store, copies("s3", 30, &[GIB], Some(daily(7)))));
        let found = cost
            .items
            .into_iter()
            .find(|i| i.kind == ItemKind::NoncurrentVersions);
        found.map(|item| item.notes.join("; "))
    };
    assert_eq!(of(Versions::NotKept), None);
    assert!(of(Versions::Unknown).unwrap().contains("lifeboat posture"));
    assert!(
        of(Versions::Expire)
            .unwrap()
            .contains("until a lifecycle rule")
    );
    // 30 points of a GB in a month.
    assert!(
        of(Versions::Stay)
            .unwrap()
            .contains("30.0 GiB a month at steady state, 0.69 more each month")
    );
}

#[test]
fn what_goes_early_is_charged_for_the_shortest_time_of_its_class() {
    let of = |class: &str| {
        let store = StoreFacts {
            class: Some(class.to_owned()),
            ..bucket()
        };
        let cost = cost(&facts(store, copies("s3", 8, &[GIB], Some(last(7)))));
        units(steady(&cost, ItemKind::Storage).most_micros.unwrap())
    };
    // Seven, and one that is leaving; of the colder classes 30 and 90.
    assert!((of("STANDARD") - 8.0 * 0.023).abs() < 0.0005);
    assert!((of("STANDARD_IA") - 30.0 * 0.0125).abs() < 0.0005);
    assert!((of("GLACIER_IR") - 90.0 * 0.004).abs() < 0.0005);
    let small = StoreFacts {
        class: Some("STANDARD_IA".to_owned()),
        ..bucket()
    };
    let cost = cost(&facts(small, copies("s3", 1, &[1, 1], Some(last(100)))));
    let charged = item(&cost, ItemKind::Storage)
        .now
        .unwrap()
        .amount
        .most_micros
        .unwrap();
    assert_eq!(charged, Money::micros(3), "two of 128 KiB");
}

#[test]
fn drills_cost_what_they_read_and_an_hour_of_their_machine() {
    let mut facts = facts(bucket(), copies("s3", 10, &[GIB], Some(daily(30))));
    facts.machines.push(MachineFacts {
        list: listed(MachineService::Lightsail, Some("small_3_0")),
        ..machine(2, GIB, last(7))
    });
    facts.reads.push(ReadFacts {
        name: "drill weekly".to_owned(),
        runs: Some(4.0),
        copies: vec![(name("daily"), name("s3"))],
        percent: None,
        machines: vec![name("machine")],
    });
    let found = cost(&facts);
    assert_eq!(steady(&found, ItemKind::Reading).to_string(), "up to 0.36");
    assert_eq!(steady(&found, ItemKind::MachineHours).to_string(), "0.06");
    // A bundle that is not named is that of the instance, which nobody asks.
    facts.machines[0].list = listed(MachineService::Lightsail, None);
    assert_eq!(
        steady(&cost(&facts), ItemKind::MachineHours),
        Amount::UNKNOWN
    );
    facts.machines[0].list = listed(MachineService::Ec2, Some("t3.small"));
    let found = cost(&facts);
    assert_eq!(steady(&found, ItemKind::MachineHours).to_string(), "0.08");
    facts.machines[0].list = listed(MachineService::Ec2, Some("z9.odd"));
    let found = cost(&facts);
    let said = item(&found, ItemKind::MachineHours).notes.join("; ");
    assert!(
        said.contains("[ec2.us-east-1.type_hour] has no z9.odd"),
        "{said}"
    );
    // A share of all points is more at steady state than now.
    facts.reads[0].percent = Some(50);
    let found = cost(&facts);
    assert_eq!(
        item(&found, ItemKind::Reading).now.unwrap().bytes,
        Some(20 * GIB)
    );
    assert_eq!(
        item(&found, ItemKind::Reading).steady.unwrap().bytes,
        Some(62 * GIB)
    );
}

#[test]
fn a_cheaper_class_and_a_shorter_rule_say_what_a_restore_loses() {
    let mut facts = facts(bucket(), copies("s3", 30, &[10 * GIB], Some(daily(180))));
    let found = cost(&facts).cheaper;
    let class = found
        .iter()
        .find(|c| c.change.contains("storage_class"))
        .unwrap();
    assert_eq!(
        class.change,
        "store.s3.storage_class = \"GLACIER_IR\" for new points"
    );
    // 181 points of 10 GiB, at 0.023 and at 0.004, and dearer requests.
    near(class.saves.least_micros, 1810.0 * 0.019);
    assert!(
        class
            .costs
            .contains("0.30 each time that the newest 10.0 GiB are read"),
        "{}",
        class.costs
    );
    assert!(class.costs.contains("90 days"), "{}", class.costs);
    let keep = found.iter().find(|c| c.change.contains("keep_in")).unwrap();
    assert_eq!(keep.change, "plan.daily.keep_in.s3 = { daily = 90 }");
    near(keep.saves.least_micros, 900.0 * 0.023);
    assert!(
        keep.costs.contains("older than about 90 days"),
        "{}",
        keep.costs
    );
    assert!(keep.costs.contains("reach back 180"), "{}", keep.costs);
    // Points that go after a week cost more in a class with a shortest time.
    facts.copies[0].rules.rules = Some(last(3));
    let found = cost(&facts).cheaper;
    assert!(
        !found.iter().any(|c| c.change.contains("GLACIER_IR")),
        "{found:#?}"
    );
}

#[test]
fn a_projection_ends_when_as_many_points_go_as_are_taken() {
    let of = |keep: KeepRules, pace: Pace| {
        let mut facts = facts(bucket(), copies("s3", 3, &[MB], Some(keep)));
        facts.copies[0].pace = pace;
        let cost = cost(&facts);
        let found = item(&cost, ItemKind::Storage);
        (found.steady.unwrap().count.unwrap(), found.notes.join("; "))
    };
    let (count, note) = of(daily(30), each_day());
    assert_eq!(
        (count, note.as_str()),
        (31, "as many points go as come after about 30 days")
    );
    let yearly = KeepRules {
        yearly: Some(Reach::Count(5)),
        ..daily(7)
    };
    let (count, note) = of(yearly, each_day());
    assert!((12..=13).contains(&count), "{count}");
    let after = note
        .split_whitespace()
        .rev()
        .nth(1)
        .unwrap()
        .parse::<u32>()
        .unwrap();
    assert!((700..=2000).contains(&after), "{note}");
    // Without a schedule, points come as they came.
    let times: Vec<Timestamp> = held(8).iter().map(|held| held.point.time()).collect();
    assert_eq!(of(daily(30), Pace::measure(&times)).0, 31);
    assert!(matches!(Pace::measure(&times[..2]), Pace::Unknown));
}

#[test]
fn a_runner_is_paid_by_begun_minutes_where_there_is_one() {
    let mut facts = facts(bucket(), copies("s3", 3, &[MB], Some(daily(7))));
    facts.runs.push(RunFacts {
        name: "plan daily".to_owned(),
        runs: Some(30.0),
        seconds: vec![61],
        measured: "jobs of this host",
    });
    let found = cost(&facts);
    assert!(
        !found
            .items
            .iter()
            .any(|item| item.kind == ItemKind::RunnerMinutes)
    );
    assert!(
        found
            .not_counted
            .iter()
            .any(|not| not.contains("--runner-minute"))
    );
    facts.runner = Some(Runner {
        minute: None,
        why: "it runs on a runner of GitHub now".to_owned(),
    });
    // Two minutes of 0.006.
    assert_eq!(
        steady(&cost(&facts), ItemKind::RunnerMinutes).to_string(),
        "0.36"
    );
    facts.runs[0].seconds.clear();
    assert_eq!(
        steady(&cost(&facts), ItemKind::RunnerMinutes),
        Amount::UNKNOWN
    );
}
