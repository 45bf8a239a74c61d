//! Attempts: how many, and when.

use super::*;

fn hourly(attempts: u32, wait: &str, jobs: Vec<Job>) -> Facts {
    let mut facts = facts(
        "20T06:01",
        &[plan("p", retrying("0 * * * *", attempts, wait))],
    );
    facts.points = vec![point("20T05:00")];
    facts.jobs = jobs;
    facts
}

fn failed(started: &str) -> Job {
    run("20T06:00", started, JobOutcome::Failed)
}

#[test]
fn the_wait_doubles_with_each_attempt_that_failed() {
    let mut facts = hourly(4, "5m", vec![failed("20T06:00")]);
    assert_eq!(
        later(&facts),
        [(at("20T06:06"), "backup p 20T06:00 #2".to_owned())]
    );
    assert_eq!(now(&then(&facts, "20T06:06")), ["backup p 20T06:00 #2"]);
    facts.jobs.push(failed("20T06:06"));
    assert_eq!(
        later(&then(&facts, "20T06:07")),
        [(at("20T06:17"), "backup p 20T06:00 #3".to_owned())]
    );
    facts.jobs.push(failed("20T06:17"));
    assert_eq!(
        later(&then(&facts, "20T06:18")),
        [(at("20T06:38"), "backup p 20T06:00 #4".to_owned())]
    );
    facts.jobs.push(failed("20T06:38"));
    assert_eq!(
        later(&then(&facts, "20T06:50")),
        [(at("20T07:00"), "backup p 20T07:00 #1".to_owned())]
    );
    assert_eq!(now(&then(&facts, "20T07:00")), ["backup p 20T07:00 #1"]);
}

#[test]
fn no_attempt_waits_past_the_next_time_of_the_schedule() {
    for wait in ["58m", "59m", "2h", "9999999w", "9999999999999w"] {
        let facts = hourly(3, wait, vec![failed("20T06:00")]);
        let expected = match wait {
            "58m" => (at("20T06:59"), "backup p 20T06:00 #2".to_owned()),
            _ => (at("20T07:00"), "backup p 20T07:00 #1".to_owned()),
        };
        assert_eq!(later(&facts), [expected], "{wait}");
    }
    // Neither does what is busy, nor what waits for the end of a window.
    let mut facts = hourly(
        3,
        "5m",
        vec![run("20T06:00", "20T06:58:30", JobOutcome::Busy)],
    );
    facts.now = at("20T06:59:40");
    assert_eq!(later(&facts)[0].1, "backup p 20T07:00 #1");
    facts.plans = vec![plan("p", not_during("0 * * * *", &["06:30-07:30"]))];
    assert_eq!(
        later(&facts),
        [(at("20T07:30"), "backup p 20T07:00 #1".to_owned())]
    );
}

#[test]
fn every_end_that_left_the_work_undone_counts_and_no_other() {
    use JobOutcome::{
        Busy, Done, Failed, Interrupted, NotDue, NotProved, Partial, PutOff, TimedOut,
    };
    for (outcome, attempt) in [
        (Partial, 2),
        (Failed, 2),
        (TimedOut, 2),
        (Interrupted, 2),
        // Without a point or a record to show for it, success is no success.
        (Done, 2),
        (NotProved, 2),
        (PutOff, 1),
        (NotDue, 1),
        (Busy, 1),
    ] {
        let facts = hourly(3, "5m", vec![run("20T06:00", "20T06:00", outcome)]);
        let due = agenda(&then(&facts, "20T06:30"), Terms::default()).now;
        assert_eq!(due[0].attempt, attempt, "{outcome:?}");
        let exhausted = hourly(1, "5m", facts.jobs.clone());
        let due = now(&then(&exhausted, "20T06:30"));
        assert_eq!(due.is_empty(), attempt == 2, "{outcome:?}");
    }
    // An attempt for another time of the schedule, of another plan or by hand is none for this one.
    for other in [
        run("20T05:00", "20T06:00", Failed),
        run("", "20T06:00", Failed),
        job(JobKind::Backup, "other", "20T06:00", "20T06:00", Failed),
        job(JobKind::Drill, "p", "20T06:00", "20T06:00", Failed),
    ] {
        let facts = hourly(3, "5m", vec![other]);
        assert_eq!(now(&facts), ["backup p 20T06:00 #1"]);
    }
}

#[test]
fn a_run_that_was_killed_is_tried_again_at_once() {
    let killed = |time| run("20T06:00", time, JobOutcome::Interrupted);
    let mut facts = hourly(3, "5m", vec![killed("20T06:00")]);
    assert_eq!(now(&facts), ["backup p 20T06:00 #2"]);
    facts.jobs = vec![failed("20T06:00"), killed("20T06:06")];
    assert_eq!(now(&then(&facts, "20T06:07")), ["backup p 20T06:00 #3"]);
    facts.jobs = vec![killed("20T06:00"), failed("20T06:01")];
    assert_eq!(later(&then(&facts, "20T06:02"))[0].0, at("20T06:12"));
    // It is no endless loop.
    facts.jobs = vec![killed("20T06:00"), killed("20T06:01"), killed("20T06:02")];
    assert_eq!(now(&then(&facts, "20T06:30")), [""; 0]);
}

#[test]
fn what_another_run_was_at_work_on_is_tried_again_after_a_minute() {
    for outcome in [JobOutcome::Busy, JobOutcome::NotDue] {
        let facts = hourly(3, "5m", vec![run("20T06:00", "20T06:00", outcome)]);
        assert_eq!(
            later(&facts),
            [(at("20T06:02"), "backup p 20T06:00 #1".to_owned())]
        );
        assert_eq!(now(&then(&facts, "20T06:02")), ["backup p 20T06:00 #1"]);
    }
    let facts = hourly(
        3,
        "5m",
        vec![run("20T06:00", "20T06:00", JobOutcome::PutOff)],
    );
    assert_eq!(now(&facts), ["backup p 20T06:00 #1"]);
}

#[test]
fn attempts_of_other_hosts_count_and_keep_the_wait() {
    let mut facts = hourly(3, "5m", vec![]);
    facts.points.push(partial("20T06:00", "20T06:00"));
    assert_eq!(
        later(&facts),
        [(at("20T06:06"), "backup p 20T06:00 #2".to_owned())]
    );
    facts.points.push(partial("20T06:06", "20T06:00"));
    facts.points.push(partial("20T06:20", "20T06:00"));
    assert_eq!(now(&then(&facts, "20T06:50")), [""; 0]);
    // One that is taken by hand, for another time or of another plan is none.
    for other in [
        Point {
            slot: None,
            ..partial("20T06:00", "20T06:00")
        },
        partial("20T06:00", "20T05:00"),
        Point {
            plan: name("other"),
            ..partial("20T06:00", "20T06:00")
        },
    ] {
        facts.points = vec![point("20T05:00"), other];
        assert_eq!(now(&facts), ["backup p 20T06:00 #1"]);
    }
}

#[test]
fn a_job_and_its_point_are_one_attempt() {
    let mut own = run("20T06:00", "20T06:00", JobOutcome::Partial);
    let point = partial("20T06:00", "20T06:00");
    own.point = Some(point.id.clone());
    let mut facts = hourly(3, "5m", vec![own]);
    facts.points.push(point);
    assert_eq!(
        later(&facts),
        [(at("20T06:06"), "backup p 20T06:00 #2".to_owned())]
    );
    // A run that was killed could not note the point that it had made.
    facts.jobs[0].point = None;
    facts.jobs[0].outcome = Some(JobOutcome::Interrupted);
    assert_eq!(now(&facts), ["backup p 20T06:00 #2"]);
    // One of another host comes on top.
    facts.points.push(partial("20T06:10", "20T06:00"));
    assert_eq!(now(&then(&facts, "20T06:40")), ["backup p 20T06:00 #3"]);
}

#[test]
fn a_success_after_attempts_that_failed_ends_them() {
    let mut facts = hourly(3, "5m", vec![failed("20T06:00")]);
    facts.points.push(point("20T06:06"));
    assert_eq!(
        later(&then(&facts, "20T06:10")),
        [(at("20T07:00"), "backup p 20T07:00 #1".to_owned())]
    );
}
