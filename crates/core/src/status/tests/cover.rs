//! The gate.

use super::*;
use crate::exit::Exit;

fn gated(records: Vec<Proved>) -> Facts {
    let plans = [
        plan_over("p", when("0 3 * * *"), &["db", "files"]),
        plan_over("hand", When::default(), &["other"]),
    ];
    let mut facts = facts("20T06:00", &plans);
    facts.records = records;
    facts
}

fn proof(finished: &str, sources: &[&str]) -> Proved {
    Proved {
        sources: sources.iter().map(|s| (name("p"), name(s))).collect(),
        ..record(finished, Verdict::Verified)
    }
}

fn covered(gate: &Gate) -> Vec<(String, bool)> {
    let sources = gate.sources.iter();
    let told = sources.map(|s| (format!("{}/{}", s.plan, s.source), s.covered));
    told.collect()
}

#[test]
fn a_machine_that_came_back_is_covered_and_not_compared() {
    let gate = |records| gate(&gated(records), None, span("90d"));
    let restored = |uncompared: &[&str]| Proved {
        outcome: Verdict::Restored,
        uncompared: uncompared.iter().map(|source| name(source)).collect(),
        ..proof("19T06:00", &["db", "files"])
    };
    let open = gate(vec![restored(&["files"])]);
    assert!(open.open);
    let compared: Vec<bool> = open.sources.iter().map(|source| source.compared).collect();
    assert_eq!(compared, [true, false]);
    // What could not be compared for another reason proves nothing.
    assert!(!gate(vec![restored(&[])]).open);
}

#[test]
fn each_source_of_each_scheduled_plan_must_be_covered() {
    let gate = |records| gate(&gated(records), None, span("90d"));
    let whole = gate(vec![proof("19T06:00", &["db", "files"])]);
    assert!(whole.open);
    assert_eq!(whole.exit(), Exit::Done);
    // One proof for each will do; the plan without a schedule is not asked for.
    let two = gate(vec![
        proof("18T06:00", &["db"]),
        proof("19T06:00", &["files"]),
    ]);
    assert!(two.open);
    assert_eq!(
        covered(&two),
        [("p/db".to_owned(), true), ("p/files".to_owned(), true)]
    );
    let half = gate(vec![proof("19T06:00", &["db"])]);
    assert!(!half.open);
    assert_eq!(half.exit(), Exit::Overdue);
    assert_eq!(
        covered(&half),
        [("p/db".to_owned(), true), ("p/files".to_owned(), false)]
    );
    assert_eq!(half.sources[1].evidence, None);
    assert_eq!(half.sources[1].age_seconds, None);
    // A source of that name in another plan is another one.
    let mut other = proof("19T06:00", &["db", "files"]);
    other.sources = vec![(name("hand"), name("db")), (name("hand"), name("files"))];
    assert!(!gate(vec![other]).open);
}

#[test]
fn the_newest_verified_record_covers_and_no_other() {
    let all: &[&str] = &["db", "files"];
    for outcome in [
        Verdict::Failed,
        Verdict::Unverifiable,
        Verdict::Restored,
        Verdict::Interrupted,
    ] {
        let newer = Proved {
            outcome,
            ..proof("20T05:00", all)
        };
        assert!(!gate(&gated(vec![newer.clone()]), None, span("90d")).open);
        let both = gated(vec![proof("19T06:00", all), newer]);
        let gate = gate(&both, None, span("90d"));
        assert_eq!(gate.sources[0].at, Some(at("19T06:00")), "{outcome:?}");
    }
    let facts = gated(vec![proof("18T06:00", all), proof("19T06:00", all)]);
    let gate = gate(&facts, None, span("90d"));
    assert_eq!(gate.sources[0].at, Some(at("19T06:00")));
    assert_eq!(gate.sources[0].evidence, Some(id(at("19T06:00"))));
    assert_eq!(gate.sources[0].age_seconds, Some(86_400));
}

#[test]
fn a_restore_covers_as_a_drill_does() {
    let mut restore = proof("19T06:00", &["db", "files"]);
    restore.drill = None;
    assert!(gate(&gated(vec![restore]), None, span("90d")).open);
}

#[test]
fn a_record_that_is_dated_in_the_future_covers_nothing() {
    let ahead = |time| gated(vec![proof(time, &["db", "files"])]);
    assert!(gate(&ahead("20T06:10"), None, span("90d")).open);
    let gate = gate(&ahead("20T06:10:01"), None, span("90d"));
    assert!(!gate.open);
    assert_eq!(gate.sources[0].evidence, None);
}

#[test]
fn the_shortest_age_of_the_drills_of_a_plan_wins_over_the_option() {
    let mut facts = gated(vec![proof("19T06:00", &["db", "files"])]);
    let aged = |of: &str, max_age: Option<&str>, plan: &str| DrillFacts {
        name: name(of),
        max_age: max_age.map(span),
        plans: vec![name(plan)],
        ..drill(When::default())
    };
    let max = |facts: &Facts, option: &str| {
        let gate = gate(facts, None, span(option));
        (gate.sources[0].max_age_seconds, gate.open)
    };
    assert_eq!(max(&facts, "24h"), (86_400, true));
    assert_eq!(max(&facts, "86399s"), (86_399, false));
    facts.drills = vec![aged("a", Some("9d"), "p"), aged("b", None, "p")];
    assert_eq!(max(&facts, "1h"), (9 * 86_400, true));
    facts.drills.push(aged("c", Some("23h"), "p"));
    assert_eq!(max(&facts, "90d"), (23 * 3600, false));
    facts.drills[2].plans = vec![name("hand")];
    assert_eq!(max(&facts, "1h"), (9 * 86_400, true));
}

#[test]
fn a_plan_that_is_named_is_asked_for_and_where_there_is_none_the_gate_is_closed() {
    let mut facts = gated(vec![proof("19T06:00", &["db", "files"])]);
    assert!(gate(&facts, Some("p"), span("90d")).open);
    let by_hand = gate(&facts, Some("hand"), span("90d"));
    assert_eq!(covered(&by_hand), [("hand/other".to_owned(), false)]);
    assert!(!gate(&facts, Some("unknown"), span("90d")).open);
    facts.plans.remove(0);
    let nothing = gate(&facts, None, span("90d"));
    assert!(!nothing.open);
    assert_eq!(nothing.sources, []);
    assert_eq!(nothing.exit(), Exit::Overdue);
}
