//! Tables of what is kept, and properties that hold for any points and rules.

pub(crate) mod model;

use super::*;
use crate::config::{OfPeriod, Reach};
use crate::name::Name;

/// Pseudo-random numbers, the same in every run of one seed.
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

const NOW: &str = "2026-12-31T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn days(count: u64) -> Span {
    Span {
        seconds: count * 86_400,
    }
}

fn point(time: Timestamp, number: u64) -> PointId {
    let time = time.strftime("%Y%m%dT%H%M%SZ");
    PointId::parse(&format!("{time}-{:04x}", number & 0xffff)).unwrap()
}

fn held(time: Timestamp) -> Held {
    Held {
        point: point(time, 0),
        sound: true,
        safety: false,
        manual: false,
        always: Vec::new(),
        lock: None,
        leaving: None,
    }
}

fn rules(periods: KeepRules) -> Rules {
    Rules {
        rules: Some(periods),
        manual: days(30),
        safety: days(30),
        minimum: 1,
        grace: days(1),
    }
}

/// A sound point each six hours, up to the newest at this time.
fn each_six_hours(newest: &str, count: i64) -> Vec<Held> {
    let newest = at(newest).as_second();
    let times = (0..count).rev().map(|back| newest - back * 6 * 3600);
    times
        .map(|time| held(Timestamp::from_second(time).unwrap()))
        .collect()
}

/// The points that stay, as day and hour.
fn kept(points: &[Held], rules: &Rules) -> Vec<String> {
    let decided = decide(points, rules, at(NOW));
    let kept = points.iter().zip(decided);
    let kept = kept.filter(|(_, decision)| matches!(decision, Decision::Keep(_)));
    kept.map(|(held, _)| held.point.time().strftime("%m-%d %H").to_string())
        .collect()
}

#[test]
fn a_count_keeps_periods_that_have_points_and_a_span_those_that_are_recent() {
    // Five days of points, then none for ten days: no time has passed without points.
    let points = each_six_hours("2026-12-20T18:00:00Z", 20);
    let daily = |reach| KeepRules {
        daily: Some(reach),
        ..KeepRules::default()
    };
    assert_eq!(
        kept(&points, &rules(daily(Reach::Count(3)))),
        ["12-18 18", "12-19 18", "12-20 18"]
    );
    assert_eq!(
        kept(&points, &rules(daily(Reach::Span(days(2))))),
        ["12-19 18", "12-20 18"]
    );
    let first = |reach| KeepRules {
        of_period: OfPeriod::First,
        ..daily(reach)
    };
    // The newest complete point stays beside the first of its day.
    assert_eq!(
        kept(&points, &rules(first(Reach::Count(3)))),
        ["12-18 00", "12-19 00", "12-20 00", "12-20 18"]
    );
    assert_eq!(
        kept(&points, &rules(first(Reach::Span(days(2))))),
        ["12-19 00", "12-20 00", "12-20 18"]
    );
    let last = KeepRules {
        last: Some(2),
        ..KeepRules::default()
    };
    assert_eq!(kept(&points, &rules(last)), ["12-20 12", "12-20 18"]);
    let within = KeepRules {
        within: Some(days(1)),
        ..KeepRules::default()
    };
    assert_eq!(
        kept(&points, &rules(within)),
        ["12-20 00", "12-20 06", "12-20 12", "12-20 18"]
    );
    // While a count is not filled, the oldest of all stays, as with restic.
    assert_eq!(
        kept(&points, &rules(daily(Reach::Count(9)))),
        [
            "12-16 00", "12-16 18", "12-17 18", "12-18 18", "12-19 18", "12-20 18"
        ]
    );
}

#[test]
fn the_bot_system_keeps_its_promise() {
    // 30 daily, first of the week for 90 days, first of the month for a year, first of the year for
    // seven: a point each night for three years.
    let newest = at("2026-12-30T03:00:00Z").as_second();
    let points: Vec<Held> = (0..3 * 365)
        .rev()
        .map(|back| held(Timestamp::from_second(newest - back * 86_400).unwrap()))
        .collect();
    let keep = KeepRules {
        daily: Some(Reach::Count(30)),
        weekly: Some(Reach::Span(days(90))),
        monthly: Some(Reach::Span(days(365))),
        yearly: Some(Reach::Span(days(7 * 365))),
        of_period: OfPeriod::First,
        ..KeepRules::default()
    };
    let decided = decide(&points, &rules(keep), at(NOW));
    let stays = |day: &str| {
        let at = at(&format!("{day}T03:00:00Z"));
        let mut known = points.iter().zip(&decided);
        known.any(|(held, decision)| {
            held.point.time() == at && matches!(decision, Decision::Keep(_))
        })
    };
    assert!(stays("2026-12-01") && stays("2026-12-30"));
    assert!(!stays("2026-11-29"), "a Sunday, and too old for daily");
    assert!(stays("2026-11-23") && stays("2026-10-05"), "Mondays");
    assert!(!stays("2026-09-28"), "a Monday, and more than 90 days ago");
    assert!(
        stays("2026-02-01") && stays("2026-11-01"),
        "first of a month"
    );
    assert!(!stays("2025-12-01"), "more than a year ago");
    assert!(
        stays("2026-01-01") && stays("2025-01-01"),
        "first of a year"
    );
    assert!(stays("2024-01-01"), "first of the first year");
    let kept = decided.iter().filter(|d| matches!(d, Decision::Keep(_)));
    assert_eq!(kept.count(), 30 + 9 + 11 + 2);
}

#[test]
fn a_point_that_is_not_sound_stands_only_where_no_sound_one_does() {
    let mut points = each_six_hours("2026-12-20T18:00:00Z", 12);
    // The last of the 18th, all of the 19th, and the last of the 20th lack something.
    for place in [3, 4, 5, 6, 7, 11] {
        points[place].sound = false;
    }
    let keep = KeepRules {
        daily: Some(Reach::Count(3)),
        ..KeepRules::default()
    };
    assert_eq!(
        kept(&points, &rules(keep)),
        ["12-18 00", "12-18 12", "12-19 18", "12-20 12"]
    );
    let only: Vec<Held> = points.iter().filter(|held| !held.sound).cloned().collect();
    let last = KeepRules {
        last: Some(1),
        ..KeepRules::default()
    };
    assert_eq!(kept(&only, &rules(last)), ["12-20 18"]);
}

#[test]
fn the_last_sound_points_are_not_pushed_out_by_those_that_are_not() {
    let mut points = each_six_hours("2026-12-20T18:00:00Z", 40);
    for held in points.iter_mut().skip(4) {
        held.sound = false;
    }
    let keep = || KeepRules {
        daily: Some(Reach::Count(3)),
        ..KeepRules::default()
    };
    let sound = |rules: &Rules| {
        let kept = kept(&points, rules);
        kept.into_iter()
            .filter(|kept| kept.starts_with("12-11"))
            .collect::<Vec<_>>()
    };
    assert_eq!(sound(&rules(keep())), ["12-11 00", "12-11 18"]);
    let three = Rules {
        minimum: 3,
        ..rules(keep())
    };
    assert_eq!(
        sound(&three),
        ["12-11 00", "12-11 06", "12-11 12", "12-11 18"]
    );
}

#[test]
fn points_with_a_reason_and_safety_points_stand_outside_the_periods() {
    let mut points = each_six_hours("2026-12-20T18:00:00Z", 8);
    points[6].manual = true;
    points[5].safety = true;
    points[1].manual = true;
    let keep = KeepRules {
        last: Some(2),
        ..KeepRules::default()
    };
    let short = Rules {
        manual: days(1),
        safety: days(1),
        ..rules(keep.clone())
    };
    // The two newest of the others, the young one with a reason, and the safety point.
    assert_eq!(
        kept(&points, &short),
        ["12-20 00", "12-20 06", "12-20 12", "12-20 18"]
    );
    let over = Rules {
        safety: Span { seconds: 3600 },
        manual: Span { seconds: 3600 },
        ..rules(keep)
    };
    let decided = decide(&points, &over, at(NOW));
    assert_eq!(decided[5], Decision::Delete(Why::SafetyOver));
    assert_eq!(decided[6], Decision::Delete(Why::ManualOver));
    assert_eq!(decided[0], Decision::Delete(Why::NoRule));
}

#[test]
fn what_is_always_kept_stays_and_says_why() {
    let mut points = each_six_hours("2026-12-20T18:00:00Z", 8);
    points[0].always = vec![Reason::Pinned("before the audit".to_owned())];
    points[1].always = vec![Reason::Proven(Name::own("nightly"))];
    let keep = KeepRules {
        last: Some(1),
        ..KeepRules::default()
    };
    let decided = decide(&points, &rules(keep), at(NOW));
    let said: Vec<String> = decided.iter().map(ToString::to_string).collect();
    assert_eq!(said[0], "pinned: before the audit");
    assert_eq!(said[1], "last proved by drill nightly");
    assert_eq!(said[2], "no rule keeps it");
    assert_eq!(said[7], "newest complete, last");
    let forever = Rules {
        rules: None,
        ..rules(KeepRules::default())
    };
    let decided = decide(&points, &forever, at(NOW));
    assert_eq!(decided[2].to_string(), "kept forever");
}

#[test]
fn what_goes_waits_for_the_grace_period_and_for_locks() {
    let keep = || {
        rules(KeepRules {
            last: Some(1),
            ..KeepRules::default()
        })
    };
    let said = |lock: Option<Lock>, leaving: Option<&str>| {
        let mut points = each_six_hours("2026-12-20T18:00:00Z", 2);
        points[0].lock = lock;
        points[0].leaving = leaving.map(at);
        decide(&points, &keep(), at(NOW))[0].to_string()
    };
    assert_eq!(said(None, None), "no rule keeps it");
    assert_eq!(said(None, Some("2026-12-30T12:00:00Z")), "no rule keeps it");
    assert_eq!(
        said(None, Some("2026-12-30T12:00:01Z")),
        "no rule keeps it; leaves 2026-12-31 12:00"
    );
    let until = Some(Lock::Until(at("2027-01-31T00:00:00Z")));
    assert_eq!(
        said(until, None),
        "no rule keeps it; waits for its lock until 2027-01-31"
    );
    assert_eq!(
        said(until, Some("2026-12-31T00:00:00Z")),
        "no rule keeps it; waits for its lock until 2027-01-31"
    );
    assert_eq!(
        said(Some(Lock::Held), None),
        "no rule keeps it; locked until somebody lifts the lock"
    );
    assert_eq!(said(Some(Lock::Until(at(NOW))), None), "no rule keeps it");
}

#[test]
fn more_than_a_share_is_told_from_ten_points_up() {
    let points = each_six_hours("2026-12-20T18:00:00Z", 10);
    let keep = |last| {
        let rules = rules(KeepRules {
            last: Some(last),
            ..KeepRules::default()
        });
        decide(&points, &rules, at(NOW))
    };
    let limit: Percent = "50%".parse().unwrap();
    assert_eq!(excess(&points, &keep(5), limit), None);
    assert_eq!(
        excess(&points, &keep(4), limit),
        Some(Excess { going: 6, of: 10 })
    );
    let few = &points[..9];
    assert_eq!(excess(few, &keep(1)[..9], limit), None);
    // What was announced before was let pass then.
    let mut leaving = points.clone();
    for held in &mut leaving {
        held.leaving = Some(at("2026-12-20T00:00:00Z"));
    }
    assert_eq!(excess(&leaving, &keep(1), limit), None);
    let none: Percent = "0%".parse().unwrap();
    assert_eq!(
        excess(&points, &keep(9), none),
        Some(Excess { going: 1, of: 10 })
    );
}

/// Points and rules as nobody would write them.
fn world(seed: u64) -> (Vec<Held>, Rules) {
    let mut numbers = Numbers::new(seed);
    let newest = at("2026-12-20T18:00:00Z").as_second();
    let mut time = newest;
    let mut points = Vec::new();
    for number in 0..numbers.below(60) {
        let step =
            [60, 3600, 6 * 3600, 86_400, 20 * 86_400][usize::try_from(numbers.below(5)).unwrap()];
        time -= i64::try_from(numbers.below(step)).unwrap();
        points.push(Held {
            point: point(Timestamp::from_second(time).unwrap(), number),
            sound: !numbers.one_in(4),
            safety: numbers.one_in(12),
            manual: numbers.one_in(9),
            ..held(at(NOW))
        });
    }
    points.sort_by(|a, b| a.point.cmp(&b.point));
    let mut reach = |unit: u64| match numbers.below(4) {
        0 => None,
        1 => Some(Reach::Span(Span {
            seconds: unit * (1 + numbers.below(9)),
        })),
        _ => Some(Reach::Count(u32::try_from(numbers.below(9)).unwrap())),
    };
    let [hourly, daily, weekly, monthly, yearly] =
        [3600, 86_400, 604_800, 2_592_000, 31_536_000].map(&mut reach);
    let keep = KeepRules {
        last: numbers
            .one_in(2)
            .then(|| u32::try_from(numbers.below(5)).unwrap()),
        hourly,
        daily,
        weekly,
        monthly,
        yearly,
        within: numbers.one_in(3).then(|| Span {
            seconds: numbers.below(40 * 86_400),
        }),
        of_period: match numbers.one_in(2) {
            true => OfPeriod::First,
            false => OfPeriod::Last,
        },
    };
    let rules = Rules {
        manual: days(1 + numbers.below(60)),
        safety: days(1 + numbers.below(60)),
        minimum: u32::try_from(numbers.below(5)).unwrap(),
        ..rules(keep)
    };
    (points, rules)
}

#[test]
fn the_decisions_are_those_of_a_slow_model() {
    for seed in 0..250 {
        let (points, rules) = world(seed);
        let decided = decide(&points, &rules, at(NOW));
        for (held, decision) in points.iter().zip(&decided) {
            assert_eq!(
                matches!(decision, Decision::Keep(_)),
                model::is_kept(held, &points, &rules),
                "seed {seed}: {} is {decision:?} of {rules:?}",
                held.point
            );
        }
    }
}

#[test]
fn nothing_goes_because_time_passes_and_going_twice_takes_no_more() {
    for seed in 0..1000 {
        let (points, rules) = world(seed);
        let now = decide(&points, &rules, at(NOW));
        let later = decide(&points, &rules, at("2031-01-01T00:00:00Z"));
        assert_eq!(now, later, "seed {seed}");
        let newest = points.iter().rfind(|held| held.sound && !held.safety);
        if let Some(newest) = newest {
            let mut decided = points.iter().zip(&now);
            let (_, decision) = decided.find(|(held, _)| *held == newest).unwrap();
            assert!(matches!(decision, Decision::Keep(_)), "seed {seed}");
        }
        // With the newest of each period, what is left decides as before.
        let periods = rules.rules.as_ref().unwrap();
        if periods.of_period == OfPeriod::Last && points.iter().all(|held| held.sound) {
            let left = points.iter().zip(&now);
            let left = left.filter(|(_, decision)| matches!(decision, Decision::Keep(_)));
            let left: Vec<Held> = left.map(|(held, _)| held.clone()).collect();
            let again = decide(&left, &rules, at(NOW));
            let goes = again.iter().filter(|d| !matches!(d, Decision::Keep(_)));
            assert_eq!(goes.count(), 0, "seed {seed}");
        }
    }
}
