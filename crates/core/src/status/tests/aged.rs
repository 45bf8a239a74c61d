//! A status at a later time.

use super::*;

#[test]
fn ages_and_what_follows_from_them_move_on() {
    let mut facts = facts("20T06:30", &[plan("p", when("0 * * * *"))]);
    facts.rpo = Some(span("90m"));
    facts.points = vec![point("20T06:00")];
    facts.drills = vec![DrillFacts {
        max_age: Some(span("9d")),
        ..drill(when("0 3 * * 0"))
    }];
    facts.records = vec![record("20T06:10", Verdict::Verified)];
    let status = judge(&facts, Terms::default());
    let later = |time| status.clone().aged(at(time));
    let same = later("20T06:30");
    assert_eq!(same.plans[0].age_seconds, Some(1800));
    assert_eq!(same.plans[0].freshness, Freshness::Fresh);
    assert_eq!(later("20T07:30").plans[0].freshness, Freshness::Fresh);
    let overdue = later("20T07:30:01");
    assert_eq!(overdue.at, at("20T07:30:01"));
    assert_eq!(overdue.plans[0].age_seconds, Some(5401));
    assert_eq!(overdue.plans[0].freshness, Freshness::Overdue);
    assert_eq!(overdue.drills[0].standing, DrillStanding::Proved);
    let old = later("29T06:10:01");
    assert_eq!(old.drills[0].standing, DrillStanding::Overdue);
    assert!(old.drills[0].is_overdue());
    // A clock that was set back makes nothing younger.
    assert_eq!(later("20T05:00").plans[0].age_seconds, Some(1800));
}
