//! The status.

use super::*;
use crate::anomaly::{Anomaly, Compared, Content, Measure, Watch};
use crate::exit::Exit;
use std::collections::BTreeMap;

fn judged(facts: &Facts) -> Status {
    judge(facts, Terms::default())
}

fn daily(points: Vec<Point>) -> Facts {
    let mut facts = facts("20T06:30", &[plan("p", when("0 6 * * *"))]);
    facts.points = points;
    facts
}

#[test]
fn a_plan_is_never_fresh_overdue_or_unlimited() {
    let told = |facts: &Facts| judged(facts).plans.remove(0).freshness;
    let fresh = Some(span("25h"));
    let never = Facts {
        rpo: fresh,
        ..daily(vec![])
    };
    assert_eq!(told(&never), Freshness::Never);
    assert!(told(&never).is_overdue());
    let mut facts = Facts {
        rpo: fresh,
        ..daily(vec![point("19T05:30")])
    };
    assert_eq!(told(&facts), Freshness::Fresh);
    facts.now = plus(facts.now, 1);
    assert_eq!(told(&facts), Freshness::Overdue);
    assert!(told(&facts).is_overdue());
    // A point that does not count is none.
    facts.points[0].counts = false;
    assert_eq!(told(&facts), Freshness::Never);
    // Without an objective the schedule is the limit; without both there is none.
    facts.rpo = None;
    assert_eq!(told(&facts), Freshness::Never);
    facts.plans[0].when = When::default();
    assert_eq!(told(&facts), Freshness::Unlimited);
    facts.points[0].counts = true;
    assert_eq!(told(&facts), Freshness::Unlimited);
    facts.rpo = Some(span("1h"));
    assert_eq!(told(&facts), Freshness::Overdue);
    facts.points.clear();
    assert_eq!(told(&facts), Freshness::Never);
}

#[test]
fn the_status_of_a_plan_tells_ages_and_what_is_next() {
    let mut newest = point("20T06:00");
    newest.finished = plus(newest.started, 600);
    newest.stores.push(name("offsite"));
    let older = Point {
        missed: vec![name("offsite")],
        lost: vec![name("disk")],
        ..point("19T06:00")
    };
    let partial = partial("20T06:20", "20T06:00");
    let mut facts = daily(vec![older, newest, partial]);
    facts.rpo = Some(span("25h"));
    let status = judged(&facts).plans.remove(0);
    assert_eq!(status.point, Some(id(at("20T06:00"))));
    assert_eq!(status.age_seconds, Some(1800));
    assert_eq!(status.limit_seconds, Some(25 * 3600));
    assert_eq!(status.limit_of, Some(LimitOf::Objective));
    assert_eq!(status.usual_seconds, Some(600));
    assert_eq!(status.longest_seconds, Some(86_400 + 600));
    assert_eq!(status.stores, [name("disk"), name("offsite")]);
    assert_eq!(status.missing_copies, [(name("offsite"), 1)].into());
    assert_eq!(status.lost_copies, [(name("disk"), 1)].into());
    assert_eq!(status.next, Some(at("21T06:00")));
}

#[test]
fn the_limit_by_the_schedule_allows_for_the_usual_duration() {
    let long = Point {
        finished: at("20T04:00"),
        ..point("19T06:00")
    };
    let facts = daily(vec![long]);
    let status = judged(&facts).plans.remove(0);
    assert_eq!(status.limit_of, Some(LimitOf::Schedule));
    assert_eq!(status.limit_seconds, Some((24 + 6 + 22) * 3600));
}

#[test]
fn a_point_from_a_clock_that_is_a_little_ahead_is_of_age_zero() {
    let facts = daily(vec![point("20T06:35")]);
    assert_eq!(judged(&facts).plans[0].age_seconds, Some(0));
}

#[test]
fn what_fails_is_told_until_something_succeeds() {
    let failing = |facts: &Facts| judged(facts).plans[0].failing.clone().map(|f| f.at);
    let mut facts = daily(vec![point("19T06:00")]);
    assert_eq!(failing(&facts), None);
    for outcome in [
        JobOutcome::Partial,
        JobOutcome::Failed,
        JobOutcome::NotProved,
        JobOutcome::TimedOut,
        JobOutcome::Interrupted,
    ] {
        facts.jobs = vec![run("20T06:00", "20T06:00", outcome)];
        assert_eq!(failing(&facts), Some(at("20T06:01")), "{outcome:?}");
    }
    // What did nothing and what still runs do not hide it.
    for outcome in [JobOutcome::Busy, JobOutcome::NotDue, JobOutcome::PutOff] {
        facts.jobs.push(run("20T06:00", "20T06:10", outcome));
    }
    facts.jobs.push(under_way("20T06:20"));
    assert_eq!(failing(&facts), Some(at("20T06:01")));
    // A later success clears it, on this host or another.
    let mut cleared = facts.clone();
    cleared.points.push(point("20T06:05"));
    assert_eq!(failing(&cleared), None);
    facts
        .jobs
        .push(run("20T06:00", "20T06:25", JobOutcome::Done));
    assert_eq!(failing(&facts), None);
    facts
        .jobs
        .push(run("20T06:00", "20T06:27", JobOutcome::Failed));
    let last = judged(&facts).plans[0].failing.clone().unwrap();
    assert_eq!(
        (last.at, last.outcome),
        (at("20T06:28"), JobOutcome::Failed)
    );
}

#[test]
fn a_point_whose_own_run_was_not_successful_clears_nothing() {
    let mut facts = daily(vec![point("20T06:00")]);
    facts.jobs = vec![run("20T06:00", "20T06:00", JobOutcome::Partial)];
    facts.jobs[0].point = Some(facts.points[0].id.clone());
    facts.points[0].missed = vec![name("offsite")];
    assert!(judged(&facts).plans[0].failing.is_some());
}

#[test]
fn what_another_host_completed_meanwhile_clears_a_failure() {
    let mut facts = daily(vec![point("20T06:00")]);
    facts.jobs = vec![run("20T06:00", "20T06:00:30", JobOutcome::Failed)];
    facts.points[0].finished = at("20T06:00:45");
    assert_eq!(judged(&facts).plans[0].failing, None);
    facts.points[0].finished = at("20T06:00:30");
    assert!(judged(&facts).plans[0].failing.is_some(), "it is older");
}

#[test]
fn a_failure_is_tried_again_as_long_as_that_runs_and_is_no_news_for_the_next_time() {
    let failing = |facts: &Facts| judged(facts).plans[0].failing.clone().unwrap();
    let mut facts = daily(vec![point("18T06:00")]);
    facts.jobs = vec![run("20T06:00", "20T06:00", JobOutcome::Failed)];
    assert!(failing(&facts).retry.is_some(), "in a while");
    assert_eq!(failing(&facts).before, None);
    // While it is tried again, nothing is due.
    let again = Job {
        attempt: 2,
        slot: Some(at("20T06:00")),
        ..under_way("20T06:20")
    };
    facts.jobs.push(again);
    assert_eq!(failing(&facts).retry, Some(at("20T06:20")));
    facts.jobs[1].started = at("20T05:00");
    assert_eq!(failing(&facts).retry, None, "it hangs");
    // The time of the schedule before was left undone, too.
    facts.jobs = vec![
        run("19T06:00", "19T06:00", JobOutcome::Failed),
        run("20T06:00", "20T06:00", JobOutcome::Failed),
    ];
    assert_eq!(failing(&facts).before, Some(JobOutcome::Failed));
    facts.points.push(point("19T07:00"));
    assert_eq!(failing(&facts).before, None, "a success lies between");
}

#[test]
fn a_run_that_was_partial_before_does_not_make_up_for_itself() {
    let failing = |facts: &Facts| judged(facts).plans[0].failing.clone().unwrap();
    let before = Point {
        missed: vec![name("offsite")],
        ..point("19T06:00")
    };
    let mut facts = daily(vec![before]);
    facts.jobs = vec![
        run("19T06:00", "19T06:00", JobOutcome::Partial),
        run("20T06:00", "20T06:00", JobOutcome::Failed),
    ];
    facts.jobs[0].point = Some(facts.points[0].id.clone());
    assert!(failing(&facts).retry.is_some());
    assert_eq!(failing(&facts).before, Some(JobOutcome::Partial));
    // What another host completed meanwhile makes up for it.
    facts.points.push(Point {
        id: numbered(at("19T06:00"), 2),
        ..point("19T06:00")
    });
    assert_eq!(failing(&facts).before, None);
}

#[test]
fn an_interruption_that_is_noted_late_does_not_hide_a_success() {
    let mut killed = run("20T06:00", "20T06:00", JobOutcome::Interrupted);
    killed.finished = Some(at("20T06:29"));
    let mut facts = daily(vec![point("20T06:10")]);
    facts.jobs = vec![killed];
    assert_eq!(judged(&facts).plans[0].failing, None);
    facts.points = vec![point("19T06:10")];
    assert!(judged(&facts).plans[0].failing.is_some());
}

fn drilled(records: Vec<Proved>) -> Facts {
    let mut facts = daily(vec![point("01T06:00"), point("20T06:00")]);
    facts.drills = vec![DrillFacts {
        max_age: Some(span("9d")),
        ..drill(when("0 3 * * 0"))
    }];
    facts.records = records;
    facts
}

#[test]
fn a_drill_is_never_proved_restored_failed_or_overdue() {
    use Verdict::{Failed, Interrupted, Restored, Unverifiable, Verified};
    let told = |facts: &Facts| {
        let drill = judged(facts).drills.remove(0);
        (drill.standing, drill.is_overdue())
    };
    let of = |records: &[(&str, Verdict)]| {
        let records = records.iter().map(|(time, outcome)| record(time, *outcome));
        drilled(records.collect())
    };
    for (records, expected) in [
        (
            &[("15T03:00", Verified)][..],
            (DrillStanding::Proved, false),
        ),
        (&[("11T06:30", Verified)], (DrillStanding::Proved, false)),
        (&[("11T06:29:59", Verified)], (DrillStanding::Overdue, true)),
        (
            &[("08T03:00", Verified), ("15T03:00", Failed)],
            (DrillStanding::Failed, true),
        ),
        (
            &[("14T03:00", Failed), ("15T03:00", Verified)],
            (DrillStanding::Proved, false),
        ),
        (
            &[("14T03:00", Verified), ("15T03:00", Failed)],
            (DrillStanding::Failed, false),
        ),
        (
            &[("14T03:00", Verified), ("15T03:00", Restored)],
            (DrillStanding::Restored, false),
        ),
        (&[("15T03:00", Restored)], (DrillStanding::Overdue, true)),
        (
            &[
                ("14T03:00", Verified),
                ("15T03:00", Unverifiable),
                ("15T04:00", Interrupted),
            ],
            (DrillStanding::Proved, false),
        ),
        // There are points that are older than a proof may be.
        (&[], (DrillStanding::Overdue, true)),
    ] {
        assert_eq!(told(&of(records)), expected, "{records:?}");
    }
    let mut young = drilled(vec![]);
    young.points.remove(0);
    assert_eq!(told(&young), (DrillStanding::Never, false));
    let mut unlimited = of(&[("01T07:00", Verified)]);
    unlimited.drills[0].max_age = None;
    assert_eq!(told(&unlimited), (DrillStanding::Proved, false));
    // Records of another drill say nothing.
    let mut other = of(&[("15T03:00", Failed)]);
    other.records[0].drill = Some(name("other"));
    assert_eq!(told(&other).0, DrillStanding::Overdue);
}

#[test]
fn the_status_of_a_drill_tells_its_proof_and_the_recovery_time() {
    let mut facts = drilled(vec![
        record("15T03:00", Verdict::Verified),
        record("16T03:00", Verdict::Restored),
    ]);
    facts.rto = Some(span("59s"));
    let status = judged(&facts);
    let drill = &status.drills[0];
    assert_eq!(drill.at, Some(at("16T03:00")));
    assert_eq!(drill.verified_at, Some(at("15T03:00")));
    assert_eq!(drill.age_seconds, Some(5 * 86_400 + 3 * 3600 + 1800));
    assert_eq!(drill.rto_target_seconds, Some(59));
    assert!(drill.rto_missed);
    assert_eq!(drill.next, Some(at("22T03:00")));
    assert_eq!(status.plans[0].proof, Some(Verdict::Restored));
    assert_eq!(status.plans[0].proved_at, Some(at("16T03:00")));
    facts.rto = Some(span("60s"));
    assert!(!judged(&facts).drills[0].rto_missed);
}

#[test]
fn a_drill_that_fails_is_told_until_a_later_one_decides() {
    let mut facts = drilled(vec![record("15T03:00", Verdict::Verified)]);
    facts.jobs = vec![job(
        JobKind::Drill,
        "weekly",
        "",
        "16T03:00",
        JobOutcome::Failed,
    )];
    assert!(judged(&facts).drills[0].failing.is_some());
    facts.records.push(record("16T04:00", Verdict::Verified));
    assert_eq!(judged(&facts).drills[0].failing, None);
}

#[test]
fn the_record_that_was_made_last_decides_however_it_is_dated() {
    // They come in the order in which they were made; a clock was ahead when the first one was.
    let mut facts = drilled(vec![
        record("20T05:00", Verdict::Verified),
        record("19T05:00", Verdict::Failed),
    ]);
    let status = judged(&facts);
    assert_eq!(status.drills[0].standing, DrillStanding::Failed);
    assert_eq!(status.plans[0].proof, Some(Verdict::Failed));
    facts.records.push(record("19T06:00", Verdict::Verified));
    assert_eq!(
        judged(&facts).drills[0].verified_at,
        Some(at("19T06:00")),
        "its age is no younger than it is"
    );
    facts
        .records
        .iter_mut()
        .for_each(|record| record.drill = None);
    assert_eq!(judged(&facts).restore.map(|r| r.at), Some(at("19T06:00")));
}

fn verifying(jobs: Vec<Job>) -> Facts {
    let mut facts = daily(vec![point("01T06:00"), point("20T06:00")]);
    facts.verifications = vec![VerifyFacts {
        name: name("deep"),
        when: when("0 4 * * 6"),
        max_age: Some(span("9d")),
    }];
    facts.jobs = jobs;
    facts
}

fn verified(started: &str, outcome: JobOutcome) -> Job {
    job(JobKind::Verify, "deep", "", started, outcome)
}

#[test]
fn a_verification_by_a_clock_that_was_wrong_hides_no_failure() {
    let verify = |start: &str, outcome| job(JobKind::Verify, "deep", "", start, outcome);
    let mut facts = verifying(vec![verify("29T06:00", JobOutcome::Done)]);
    assert_eq!(judged(&facts).verifications[0].at, None, "it lies ahead");
    facts.jobs.push(verify("20T06:10", JobOutcome::Failed));
    assert!(judged(&facts).verifications[0].failing.is_some());
    facts.jobs.push(verify("20T06:20", JobOutcome::Done));
    assert_eq!(judged(&facts).verifications[0].failing, None);
}

#[test]
fn a_verification_is_overdue_as_far_as_the_history_reaches() {
    let told = |jobs: Vec<Job>| {
        let status = judged(&verifying(jobs)).verifications.remove(0);
        (status.overdue, status.at)
    };
    let done = |time| vec![verified(time, JobOutcome::Done)];
    assert_eq!(told(done("14T04:00")), (false, Some(at("14T04:01"))));
    assert_eq!(told(done("11T06:29")), (false, Some(at("11T06:30"))));
    assert_eq!(told(done("11T06:28")), (true, Some(at("11T06:29"))));
    let failed = vec![
        verified("10T04:00", JobOutcome::Done),
        verified("14T04:00", JobOutcome::Failed),
    ];
    assert_eq!(told(failed), (true, Some(at("10T04:01"))));
    // Where none is noted, what is not known is not held against it.
    assert_eq!(told(vec![]), (false, None));
    assert_eq!(
        told(vec![run("", "14T06:00", JobOutcome::Done)]),
        (false, None)
    );
    assert_eq!(
        told(vec![run("", "02T06:00", JobOutcome::Done)]),
        (true, None)
    );
    let mut young = verifying(vec![run("", "02T06:00", JobOutcome::Done)]);
    young.points.remove(0);
    assert!(!judged(&young).verifications[0].overdue);
}

#[test]
fn the_exit_code_tells_the_gravest() {
    let fresh = || Facts {
        rpo: Some(span("25h")),
        ..daily(vec![point("20T06:00")])
    };
    let exit = |facts: &Facts| judged(facts).exit();
    assert_eq!(exit(&fresh()), Exit::Done);
    let silent_store = Facts {
        stores: vec![silent("disk")],
        ..fresh()
    };
    assert_eq!(exit(&silent_store), Exit::Partial);
    let overdue = Facts {
        points: vec![point("18T06:00")],
        ..silent_store.clone()
    };
    assert_eq!(exit(&overdue), Exit::Overdue);
    let never = Facts {
        points: vec![],
        ..fresh()
    };
    assert_eq!(exit(&never), Exit::Overdue);
    let failed = Facts {
        drills: vec![drill(when("0 3 * * 0"))],
        records: vec![record("15T03:00", Verdict::Failed)],
        ..overdue
    };
    assert_eq!(exit(&failed), Exit::NotProved);
    let stale = Facts {
        records: vec![record("01T06:30", Verdict::Verified)],
        ..drilled(vec![])
    };
    assert_eq!(exit(&stale), Exit::Overdue);
    let damaged = verifying(vec![verified("14T04:00", JobOutcome::NotProved)]);
    assert_eq!(exit(&damaged), Exit::NotProved);
    let late = verifying(vec![verified("08T04:00", JobOutcome::Done)]);
    assert_eq!(exit(&late), Exit::Overdue);
    let failing = Facts {
        jobs: vec![run("20T06:00", "20T06:10", JobOutcome::Failed)],
        ..fresh()
    };
    assert_eq!(exit(&failing), Exit::Done);
}

#[test]
fn stores_and_jobs_that_run_are_listed() {
    let mut facts = daily(vec![point("19T06:00"), point("20T06:00")]);
    facts.stores.push(silent("offsite"));
    facts.points[0].stores.push(name("offsite"));
    facts.jobs = vec![
        run("20T06:00", "20T06:00", JobOutcome::Done),
        under_way("20T06:20"),
    ];
    let status = judged(&facts);
    let held: Vec<_> = status.stores.iter().map(|s| (s.points, s.bytes)).collect();
    assert_eq!(held, [(2, 20), (1, 10)]);
    assert!(status.stores[0].error.is_none() && status.stores[1].error.is_some());
    assert_eq!(status.running.len(), 1);
    assert_eq!(status.running[0].started, at("20T06:20"));
}

#[test]
fn a_part_that_came_back_proves_nothing_about_its_plan() {
    let plans = [plan_over("p", when("0 * * * *"), &["db", "files"])];
    let mut facts = facts("20T06:30", &plans);
    let with = |finished, outcome, sources: &[&str]| Proved {
        sources: sources.iter().map(|s| (name("p"), name(s))).collect(),
        ..record(finished, outcome)
    };
    let whole = with("19T06:00", Verdict::Verified, &["db", "files"]);
    let part = with("20T06:00", Verdict::Verified, &["db"]);
    let proof = |facts: &Facts| {
        let plan = judge(facts, Terms::default()).plans.remove(0);
        (plan.proof, plan.proved_at)
    };
    facts.records = vec![part.clone()];
    assert_eq!(proof(&facts), (None, None));
    facts.records = vec![whole.clone(), part];
    assert_eq!(
        proof(&facts),
        (Some(Verdict::Verified), Some(at("19T06:00")))
    );
    // What failed may have brought nothing back.
    facts.records = vec![whole, with("20T06:10", Verdict::Failed, &[])];
    assert_eq!(proof(&facts).0, Some(Verdict::Failed));
}

#[test]
fn anomalies_of_the_newest_point_are_told_and_change_no_exit_code() {
    let measured = |rows: u64| {
        let content = Content {
            tables: BTreeMap::from([("public.client".to_owned(), rows)]),
            ..Content::default()
        };
        let measure = Measure {
            content: Some(content),
            ..Measure::default()
        };
        BTreeMap::from([(name("db"), measure)])
    };
    let watched = PlanFacts {
        watch: Watch::unconfigured(),
        ..plan("p", when("0 * * * *"))
    };
    let mut facts = facts("20T06:30", &[watched]);
    facts.points = vec![point("20T06:00")];
    assert_eq!(judged(&facts).plans[0].compared, None);
    let mut history = vec![measured(1000); 3];
    facts.measured = BTreeMap::from([(name("p"), history.clone())]);
    let status = judged(&facts);
    assert_eq!(status.plans[0].compared, Some(Compared::TooFewPoints));
    history.push(measured(400));
    facts.measured = BTreeMap::from([(name("p"), history)]);
    let status = judged(&facts);
    let plan = &status.plans[0];
    let texts: Vec<String> = plan.anomalies.iter().map(Anomaly::text).collect();
    let text = "table public.client of source db shrank to 400 rows, usually 1000 (-60 %)";
    assert_eq!(texts, [text]);
    assert_eq!(plan.compared, Some(Compared::Content));
    assert_eq!(status.exit(), Exit::Done);
}
