//! Prunes: after a successful backup, at most daily.

use super::*;

/// A plan `p` at six each day that does not keep everything, with a point of today.
fn pruning(now: &str) -> Facts {
    let plan = PlanFacts {
        prunes: true,
        relocks: None,
        ..plan("p", when("0 6 * * *"))
    };
    let mut facts = facts(now, &[plan]);
    facts.points = vec![point("19T06:00"), point("20T06:00")];
    facts.jobs = vec![run("18T06:00", "18T06:00", JobOutcome::Done)];
    facts
}

fn prune(started: &str, outcome: JobOutcome) -> Job {
    job(JobKind::Prune, "p", "", started, outcome)
}

fn next(facts: &Facts) -> Option<Timestamp> {
    agenda(facts, Terms::default()).when(JobKind::Prune, "p", facts.now)
}

#[test]
fn one_follows_each_backup_once_a_day() {
    let mut facts = pruning("20T06:30");
    assert_eq!(now(&facts), ["prune p #1"]);
    facts.jobs.push(prune("20T06:20", JobOutcome::Done));
    assert_eq!(next(&facts), None, "nothing was taken since");
    facts.jobs.pop();
    facts.jobs.push(prune("19T06:20", JobOutcome::Done));
    assert_eq!(next(&facts), Some(facts.now));
    facts.jobs.pop();
    facts.jobs.push(prune("19T07:20", JobOutcome::Done));
    assert_eq!(next(&facts), Some(at("20T07:20")), "at most daily");
    facts.plans[0].prunes = false;
    assert_eq!(next(&facts), None, "everything is kept");
}

/// Locks end whether points are taken or not.
#[test]
fn where_locks_are_to_be_extended_one_comes_without_a_new_point() {
    let mut facts = pruning("20T06:30");
    facts.jobs.push(prune("20T06:20", JobOutcome::Done));
    let days = |days: u64| {
        Some(Span {
            seconds: days * 86_400,
        })
    };
    facts.plans[0].relocks = days(4);
    assert_eq!(next(&facts), Some(at("24T06:20")));
    facts.plans[0].relocks = Some(Span { seconds: 9 * 3600 });
    assert_eq!(next(&facts), Some(at("21T06:20")), "at most daily");
    facts.jobs.pop();
    facts.jobs.push(prune("19T06:20", JobOutcome::Done));
    facts.plans[0].relocks = days(4);
    assert_eq!(next(&facts), Some(facts.now), "a new point does not wait");
}

#[test]
fn without_a_complete_point_there_is_nothing_to_prune_after() {
    let mut facts = pruning("20T06:30");
    facts.points = Vec::new();
    assert_eq!(next(&facts), None);
    facts.points = vec![partial("20T06:00", "20T06:00")];
    assert_eq!(next(&facts), None);
}

#[test]
fn one_that_fails_is_tried_again_later_and_later() {
    let mut facts = pruning("20T06:30");
    let mut waits = Vec::new();
    for _ in 0..6 {
        facts.jobs.push(prune("20T06:20", JobOutcome::Failed));
        let end = facts.jobs.last().unwrap().finished.unwrap();
        waits.push((next(&facts).unwrap().as_second() - end.as_second()) / 3600);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 24]);
    // One that met another is no failure.
    let mut facts = pruning("20T06:21");
    facts.jobs.push(prune("20T06:20", JobOutcome::Busy));
    let end = facts.jobs.last().unwrap().finished.unwrap();
    assert_eq!(next(&facts), Some(plus(end, 60)));
}

#[test]
fn a_runner_that_is_thrown_away_prunes_with_the_first_point_of_the_day() {
    let mut facts = pruning("20T06:30");
    let taken = Job {
        point: Some(id(at("20T06:00"))),
        ..run("20T06:00", "20T06:00", JobOutcome::Done)
    };
    facts.jobs = Vec::new();
    assert_eq!(next(&facts), None, "another run took it");
    facts.jobs = vec![taken];
    assert_eq!(next(&facts), Some(facts.now));
    facts.points.insert(1, point("20T05:00"));
    assert_eq!(next(&facts), None, "one of the same day came before");
}

#[test]
fn it_is_put_off_where_it_would_still_run_when_a_backup_is_due() {
    let mut facts = pruning("20T06:30");
    facts.plans[0].when = when("0 * * * *");
    facts.points.push(point("20T06:05"));
    for time in ["17T06:20", "18T06:20"] {
        let mut long = prune(time, JobOutcome::Done);
        long.finished = Some(plus(long.started, 40 * 60));
        facts.jobs.push(long);
    }
    let next = next(&facts).unwrap();
    assert!(next > at("20T07:00"), "{next}");
}
