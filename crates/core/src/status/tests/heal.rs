//! Copies that a store missed.

use super::*;

/// A point that lies in `disk` and that `offsite` missed.
fn missed(time: &str) -> Point {
    Point {
        missed: vec![name("offsite")],
        ..point(time)
    }
}

fn held(time: &str) -> Point {
    Point {
        stores: vec![name("disk"), name("offsite")],
        ..point(time)
    }
}

fn lacking(points: Vec<Point>) -> Facts {
    let mut facts = facts("20T06:30", &[plan("p", when("0 6 * * *"))]);
    facts.stores = vec![store("disk"), store("offsite")];
    facts.points = points;
    facts
}

fn copy(started: &str, outcome: JobOutcome) -> Job {
    job(JobKind::Copy, "offsite", "", started, outcome)
}

/// The points to copy, now or later.
fn wanted(facts: &Facts) -> Vec<PointId> {
    let agenda = agenda(facts, Terms::default());
    let later = agenda.later.into_iter().map(|(_, due)| due);
    let mut all = agenda.now.into_iter().chain(later);
    let due = all.find(|due| due.kind == JobKind::Copy);
    due.map(|due| due.points).unwrap_or_default()
}

#[test]
fn a_store_that_missed_copies_receives_them() {
    let facts = lacking(vec![missed("19T06:00"), missed("20T06:00")]);
    assert_eq!(now(&facts), ["copy offsite #1"]);
    assert_eq!(wanted(&facts), [id(at("19T06:00")), id(at("20T06:00"))]);
    let due = &agenda(&facts, Terms::default()).now[0];
    assert_eq!(due.reason, "the store lacks 2 points");
    let off = Facts {
        heal: false,
        ..facts
    };
    assert_eq!(now(&off), [""; 0]);
    let whole = lacking(vec![held("20T06:00")]);
    assert_eq!(wanted(&whole), []);
}

#[test]
fn only_what_was_never_delivered_is_copied() {
    let lost = Point {
        lost: vec![name("offsite")],
        ..point("20T06:00")
    };
    assert_eq!(wanted(&lacking(vec![lost])), []);
    let partial = Point {
        counts: false,
        ..missed("20T06:00")
    };
    assert_eq!(wanted(&lacking(vec![point("20T06:00"), partial])), []);
    let mixed = vec![missed("17T06:00"), held("18T06:00")];
    assert_eq!(wanted(&lacking(mixed)), [id(at("17T06:00"))]);
}

#[test]
fn both_the_store_and_one_that_holds_the_point_must_answer() {
    let mut facts = lacking(vec![missed("20T06:00")]);
    facts.stores[1] = silent("offsite");
    assert_eq!(wanted(&facts), []);
    facts.stores = vec![silent("disk"), store("offsite")];
    assert_eq!(wanted(&facts), []);
    facts.stores.push(store("third"));
    facts.points[0].stores.push(name("third"));
    assert_eq!(now(&facts), ["copy offsite #1"]);
}

fn next(jobs: Vec<Job>, now: &str) -> Timestamp {
    let mut facts = then(&lacking(vec![missed("20T06:00")]), now);
    facts.jobs = jobs;
    let agenda = agenda(&facts, Terms::default());
    agenda.when(JobKind::Copy, "offsite", facts.now).unwrap()
}

#[test]
fn the_wait_doubles_with_each_failure_in_a_row_up_to_six_hours() {
    use JobOutcome::{Done, Failed, Interrupted, Partial};
    let mut jobs = Vec::new();
    let mut waits = Vec::new();
    for hour in 6..16 {
        jobs.push(copy(&format!("20T{hour:02}:00"), Failed));
        let end = jobs.last().unwrap().finished.unwrap();
        let next = next(jobs.clone(), &end.to_string());
        waits.push((next.as_second() - end.as_second()) / 60);
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 360, 360, 360]);
    for outcome in [Partial, Interrupted] {
        let jobs = vec![copy("20T06:20", outcome)];
        assert_eq!(next(jobs, "20T06:22"), at("20T06:26"), "{outcome:?}");
    }
    let jobs = vec![
        copy("20T06:05", Failed),
        copy("20T06:10", Done),
        copy("20T06:20", Failed),
    ];
    assert_eq!(next(jobs, "20T06:22"), at("20T06:26"));
}

#[test]
fn what_healing_left_out_waits_a_day_and_what_came_since_a_minute() {
    let done = vec![copy("20T06:10", JobOutcome::Done)];
    assert_eq!(next(done.clone(), "20T06:12"), at("21T06:11"));
    // The point ended while that copy ran, so that the copy cannot have seen it.
    let done = vec![copy("20T06:00:30", JobOutcome::Done)];
    assert_eq!(next(done, "20T06:02"), at("20T06:02:30"));
}

#[test]
fn a_copy_that_gave_way_is_no_failure_and_one_that_was_busy_waits_a_minute() {
    use JobOutcome::{Busy, Failed, NotDue, PutOff};
    let after = |outcome| next(vec![copy("20T06:20", outcome)], "20T06:21");
    assert_eq!(after(PutOff), at("20T06:21"));
    assert_eq!(after(Busy), at("20T06:22"));
    assert_eq!(after(NotDue), at("20T06:22"));
    let jobs = vec![copy("20T06:10", Failed), copy("20T06:20", PutOff)];
    assert_eq!(next(jobs, "20T06:21"), at("20T06:21"));
    let jobs = vec![copy("20T06:18", Failed), copy("20T06:20", Busy)];
    assert_eq!(next(jobs, "20T06:21"), at("20T06:24"));
}

#[test]
fn a_copy_under_a_wrong_clock_holds_nothing_up() {
    let ahead = "2036-01-01T00:00:00Z";
    assert_eq!(
        next(vec![copy(ahead, JobOutcome::Failed)], "20T06:30"),
        at("20T06:30")
    );
    let mut during = copy("20T06:10", JobOutcome::Failed);
    during.finished = Some(at(ahead));
    assert_eq!(next(vec![during], "20T06:30"), at("20T06:30"));
}
