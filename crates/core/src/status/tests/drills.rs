//! Drills: when one is due, by evidence.

use super::*;

/// A drill on Sundays at 03:00; the 15th and the 22nd are Sundays.
fn weekly(now: &str, records: Vec<Proved>) -> Facts {
    let mut facts = facts(now, &[plan("p", when("0 6 * * *"))]);
    facts.points = vec![point("14T06:00"), point("15T06:00")];
    facts.drills = vec![drill(when("0 3 * * 0"))];
    facts.records = records;
    facts
}

fn drill_job(started: &str, outcome: JobOutcome) -> Job {
    job(JobKind::Drill, "weekly", "15T03:00", started, outcome)
}

const DUE: [&str; 1] = ["drill weekly 15T03:00 #1"];

#[test]
fn it_is_due_until_a_record_decides() {
    use Verdict::{Failed, Interrupted, Restored, Unverifiable, Verified};
    assert_eq!(now(&weekly("15T07:00", vec![])), DUE);
    for (outcome, done) in [
        (Verified, true),
        (Restored, true),
        (Failed, true),
        (Unverifiable, false),
        (Interrupted, false),
    ] {
        let facts = weekly("15T07:00", vec![record("15T03:10", outcome)]);
        assert_eq!(now(&facts).is_empty(), done, "{outcome:?}");
        // The record of the week before proves nothing for this one.
        let facts = weekly("15T07:00", vec![record("15T02:59", outcome)]);
        assert_eq!(now(&facts), DUE, "{outcome:?}");
    }
    let mut other = weekly("15T07:00", vec![record("15T03:10", Verified)]);
    other.records[0].drill = Some(name("other"));
    assert_eq!(now(&other), DUE);
    other.records[0].drill = None;
    assert_eq!(now(&other), DUE);
}

#[test]
fn a_job_without_a_record_is_an_attempt_and_no_proof() {
    let mut facts = weekly("15T07:00", vec![]);
    for outcome in [JobOutcome::Done, JobOutcome::NotProved, JobOutcome::Failed] {
        facts.jobs = vec![drill_job("15T06:58", outcome)];
        assert_eq!(
            later(&facts)[0],
            (at("15T07:04"), "drill weekly 15T03:00 #2".to_owned()),
            "{outcome:?}"
        );
    }
    facts.jobs = ["15T06:30", "15T06:40", "15T06:50"]
        .map(|time| drill_job(time, JobOutcome::NotProved))
        .into();
    assert_eq!(now(&then(&facts, "15T09:00")), [""; 0]);
    // A drill of another host that decided ends it, too.
    facts.jobs.truncate(1);
    facts.records = vec![record("15T06:35", Verdict::Verified)];
    assert_eq!(now(&facts), [""; 0]);
}

#[test]
fn it_waits_until_each_of_its_plans_has_a_point() {
    let mut facts = weekly("15T07:00", vec![]);
    facts.drills[0].plans.push(name("q"));
    let is_there = |facts: &Facts| {
        let agenda = agenda(facts, Terms::default());
        agenda.when(JobKind::Drill, "weekly", facts.now).is_some()
    };
    assert!(!is_there(&facts));
    facts.points.push(Point {
        counts: false,
        ..point_of("q", "15T06:30")
    });
    assert!(!is_there(&facts));
    facts.points[2].counts = true;
    assert_eq!(now(&facts), DUE);
    facts.points.remove(0);
    facts.points.remove(0);
    assert!(!is_there(&facts));
}

#[test]
fn what_is_unverifiable_is_tried_so_often_without_a_history_too() {
    let unverifiable = |time| record(time, Verdict::Unverifiable);
    let mut facts = weekly("15T07:00", vec![unverifiable("15T06:58")]);
    assert_eq!(
        later(&facts)[0],
        (at("15T07:03"), "drill weekly 15T03:00 #2".to_owned())
    );
    facts.records.push(unverifiable("15T07:03"));
    assert_eq!(
        later(&then(&facts, "15T07:04"))[0],
        (at("15T07:13"), "drill weekly 15T03:00 #3".to_owned())
    );
    facts.records.push(unverifiable("15T07:13"));
    facts.now = at("15T09:00");
    assert_eq!(now(&facts), [""; 0]);
    let agenda = agenda(&facts, Terms::default());
    let next = agenda.when(JobKind::Drill, "weekly", facts.now);
    assert_eq!(next, Some(at("22T03:00")));
}

#[test]
fn a_job_and_its_record_are_one_attempt() {
    let mut facts = weekly("15T07:00", vec![record("15T06:00", Verdict::Unverifiable)]);
    facts.jobs = vec![drill_job("15T05:59", JobOutcome::Failed)];
    assert_eq!(now(&facts), ["drill weekly 15T03:00 #2"]);
    // Records of other hosts come on top.
    facts
        .records
        .push(record("15T06:20", Verdict::Unverifiable));
    assert_eq!(now(&facts), ["drill weekly 15T03:00 #3"]);
    // One that was interrupted is tried again at once, one that was put off as if it had not been.
    facts.records.clear();
    facts.jobs = vec![drill_job("15T06:59", JobOutcome::Interrupted)];
    assert_eq!(now(&facts), ["drill weekly 15T03:00 #2"]);
    facts.jobs = vec![drill_job("15T06:59", JobOutcome::PutOff)];
    facts.records = vec![record("15T06:59", Verdict::Interrupted)];
    assert_eq!(now(&facts), DUE);
}

#[test]
fn its_usual_duration_is_the_median_of_what_decided() {
    let long = |time: &str, minutes: i64| {
        let record = record(time, Verdict::Failed);
        Proved {
            started: plus(record.finished, -60 * minutes),
            ..record
        }
    };
    let mut facts = weekly(
        "15T07:00",
        vec![
            long("01T05:00", 10),
            long("02T05:00", 30),
            long("03T05:00", 20),
        ],
    );
    facts.records.push(Proved {
        outcome: Verdict::Interrupted,
        ..long("04T05:00", 300)
    });
    let due = agenda(&facts, Terms::default()).now;
    assert_eq!(due[0].usual, Some(1200));
}
