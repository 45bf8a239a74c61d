//! Giving way to backups.

use super::*;

/// A daily drill at 03:10 that usually takes so many minutes, beside plans whose backups take five.
fn beside(now: &str, plans: &[(&str, When)], minutes: i64) -> Facts {
    let mut all = Vec::new();
    let mut points = Vec::new();
    for (plan_name, when) in plans {
        all.push(plan(plan_name, when.clone()));
        let schedule = when.schedule().unwrap();
        let slot = schedule.last_until(at(now)).unwrap();
        let point = point_of(plan_name, &slot.to_string());
        points.push(Point {
            finished: plus(slot, 300),
            ..point
        });
    }
    points.sort_by(|a, b| a.id.cmp(&b.id));
    let mut facts = facts(now, &all);
    facts.points = points;
    facts.drills = vec![DrillFacts {
        plans: vec![name(plans[0].0)],
        ..drill(when("10 3 * * *"))
    }];
    let proof = record("19T05:00", Verdict::Verified);
    facts.records = vec![Proved {
        started: plus(proof.finished, -60 * minutes),
        ..proof
    }];
    facts
}

fn begins(facts: &Facts) -> Timestamp {
    let agenda = agenda(facts, Terms::default());
    agenda.when(JobKind::Drill, "weekly", facts.now).unwrap()
}

fn hourly(minutes: i64) -> Facts {
    beside("20T03:10", &[("p", when("0 * * * *"))], minutes)
}

#[test]
fn it_waits_for_the_next_backup_if_it_would_not_fit_before_it() {
    assert_eq!(begins(&hourly(30)), at("20T03:10"));
    assert_eq!(begins(&hourly(50)), at("20T03:10"));
    assert_eq!(begins(&hourly(51)), at("20T04:05:01"));
    assert_eq!(begins(&hourly(54)), at("20T04:05:01"));
    // Where its duration is not known, it is begun.
    let mut unknown = hourly(51);
    unknown.records.clear();
    assert_eq!(begins(&unknown), at("20T03:10"));
    // It was foretold so.
    assert_eq!(begins(&then(&hourly(51), "20T03:05")), at("20T04:05:01"));
    assert_eq!(begins(&then(&hourly(30), "20T03:05")), at("20T03:10"));
}

#[test]
fn one_that_fits_no_gap_runs_anyway() {
    assert_eq!(begins(&hourly(55)), at("20T03:10"));
    assert_eq!(begins(&hourly(600)), at("20T03:10"));
    // Each plan alone leaves a gap that is long enough, and both together do not.
    let plans = [("p", when("0 * * * *")), ("q", when("30 * * * *"))];
    assert_eq!(begins(&beside("20T03:10", &plans, 40)), at("20T03:10"));
    assert_eq!(begins(&beside("20T03:10", &plans, 24)), at("20T03:35:01"));
}

#[test]
fn it_waits_for_a_gap_further_on() {
    let plans = [("p", when("0 0-5 * * *")), ("q", when("30 0-4 * * *"))];
    assert_eq!(
        begins(&beside("20T03:10", &plans, 50)),
        at("20T04:35:01").max(at("20T05:05:01"))
    );
    // Not beyond its own next time.
    let plans = [("p", when("0 * 20-25 * *"))];
    assert_eq!(begins(&beside("20T03:10", &plans, 300)), at("20T03:10"));
    // Backups that wait for the end of a window collapse, and leave a gap before.
    let waits = not_during("0 * * * *", &["03:30-12:00"]);
    assert_eq!(
        begins(&beside("20T03:10", &[("p", waits.clone())], 500)),
        at("20T03:10")
    );
    let many = [("p", waits), ("q", when("30 3 * * *"))];
    assert_eq!(begins(&beside("20T03:10", &many, 480)), at("20T03:35:01"));
}

#[test]
fn it_is_not_put_off_into_a_window_of_its_own() {
    let mut facts = hourly(51);
    facts.drills[0].when = not_during("10 3 * * *", &["04:00-05:00"]);
    assert_eq!(begins(&facts), at("20T05:05:01"));
    facts.drills[0].when = not_during("10 3 * * *", &["04:00-03:00"]);
    assert_eq!(begins(&facts), at("20T03:10"));
}

#[test]
fn a_backup_that_is_due_now_comes_first_and_the_next_one_is_seen() {
    let mut facts = hourly(51);
    facts.points[0] = point("20T01:00");
    facts.points[0].finished = plus(facts.points[0].started, 300);
    assert_eq!(now(&facts), ["backup p 20T03:00 #1"]);
    assert_eq!(begins(&facts), at("20T04:05:01"));
    facts.records[0].started = plus(facts.records[0].finished, -60);
    assert_eq!(
        now(&facts),
        ["backup p 20T03:00 #1", "drill weekly 20T03:10 #1"]
    );
}

#[test]
fn an_attempt_of_a_backup_is_given_way_to() {
    let mut facts = hourly(20);
    facts.jobs = vec![run("20T03:00", "20T03:09", JobOutcome::Failed)];
    facts.points[0] = point("20T02:00");
    facts.points[0].finished = plus(facts.points[0].started, 300);
    assert_eq!(begins(&facts), at("20T03:20:01"));
}

#[test]
fn a_verification_gives_way_too() {
    let mut facts = hourly(30);
    facts.verifications = vec![VerifyFacts {
        name: name("deep"),
        when: when("10 3 * * *"),
        max_age: None,
    }];
    let mut before = job(
        JobKind::Verify,
        "deep",
        "19T03:10",
        "19T03:10",
        JobOutcome::Done,
    );
    before.finished = Some(plus(before.started, 52 * 60));
    facts.jobs = vec![before];
    let agenda = agenda(&facts, Terms::default());
    let begins = agenda.when(JobKind::Verify, "deep", facts.now);
    assert_eq!(begins, Some(at("20T04:05:01")));
}

#[test]
fn where_there_is_no_backup_to_come_it_begins() {
    let mut facts = hourly(51);
    facts.plans[0].when = When::default();
    assert_eq!(begins(&facts), at("20T03:10"));
}
