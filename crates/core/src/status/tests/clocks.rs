//! Clocks that jump.

use super::*;

fn hourly(now: &str) -> Facts {
    facts(now, &[plan("p", when("0 * * * *"))])
}

/// A run of this host with the point it took.
fn taken(facts: &mut Facts, slot: &str, started: &str) {
    let point = Point {
        slot: Some(at(slot)),
        ..point(started)
    };
    let mut job = run(slot, started, JobOutcome::Done);
    job.point = Some(point.id.clone());
    facts.jobs.push(job);
    facts.points.push(point);
    facts.points.sort_by(|a, b| a.id.cmp(&b.id));
}

/// Facts at another time: a point that is dated in the future does not count.
fn seen(facts: &Facts, now: &str) -> Facts {
    let mut facts = then(facts, now);
    for point in &mut facts.points {
        point.counts = !crate::clock::is_ahead(point.id.time(), facts.now);
    }
    facts
}

#[test]
fn after_a_jump_back_nothing_is_repeated_where_there_is_no_history() {
    let mut facts = hourly("20T06:30");
    facts.points = vec![point("20T04:00"), point("20T05:00"), point("20T06:00")];
    assert_eq!(now(&seen(&facts, "20T04:30")), [""; 0]);
    assert_eq!(now(&seen(&facts, "20T05:00")), [""; 0]);
    assert_eq!(now(&seen(&facts, "20T06:00")), [""; 0]);
    assert_eq!(now(&seen(&facts, "20T07:00")), ["backup p 20T07:00 #1"]);
}

#[test]
fn after_a_jump_back_a_time_that_comes_again_is_taken_once_more() {
    let mut facts = hourly("20T06:30");
    for hour in 1..=6 {
        let time = format!("20T0{hour}:00");
        taken(&mut facts, &time, &time);
    }
    // Back from half past six to half past two.
    for hour in 3..=6 {
        let time = format!("20T0{hour}:00");
        let again = format!("20T0{hour}:00:05");
        assert_eq!(now(&seen(&facts, &again)), [format!("backup p {time} #1")]);
        taken(&mut facts, &time, &again);
        assert_eq!(now(&seen(&facts, &format!("20T0{hour}:01"))), [""; 0]);
        assert_eq!(now(&seen(&facts, &format!("20T0{hour}:59"))), [""; 0]);
    }
    assert_eq!(now(&seen(&facts, "20T07:00")), ["backup p 20T07:00 #1"]);
}

#[test]
fn attempts_before_a_jump_back_do_not_count_for_the_time_that_comes_again() {
    let mut facts = hourly("20T06:30");
    for minute in ["01", "10", "25"] {
        let started = format!("20T06:{minute}");
        let partial = partial(&started, "20T06:00");
        let mut job = run("20T06:00", &started, JobOutcome::Partial);
        job.point = Some(partial.id.clone());
        facts.jobs.push(job);
        facts.points.push(partial);
    }
    assert_eq!(now(&facts), [""; 0]);
    facts
        .jobs
        .push(run("20T05:00", "20T05:40", JobOutcome::NotDue));
    assert_eq!(now(&then(&facts, "20T06:00")), ["backup p 20T06:00 #1"]);
}

#[test]
fn a_small_difference_between_clocks_is_no_jump() {
    let mut facts = hourly("20T06:00");
    taken(&mut facts, "20T06:00", "20T06:00");
    facts
        .jobs
        .push(run("20T05:00", "20T05:55", JobOutcome::NotDue));
    assert_eq!(now(&seen(&facts, "20T06:01")), [""; 0]);
    assert_eq!(now(&seen(&facts, "20T05:50")), [""; 0]);
}

#[test]
fn the_clock_of_another_host_sets_no_point_of_this_one_aside() {
    let mut facts = hourly("20T06:30");
    taken(&mut facts, "20T06:00", "20T06:00");
    let ahead = "2036-01-01T00:00:00Z";
    facts.jobs.push(Job {
        host: "web2".to_owned(),
        ..run(ahead, ahead, JobOutcome::Done)
    });
    assert_eq!(now(&seen(&facts, "20T06:30")), [""; 0]);
    facts.jobs[1].host = "web1".to_owned();
    assert_eq!(now(&seen(&facts, "20T06:30")), ["backup p 20T06:00 #1"]);
}

#[test]
fn after_a_jump_forth_and_back_work_goes_on_and_is_not_repeated() {
    for with_history in [true, false] {
        let mut facts = hourly("20T05:00");
        taken(&mut facts, "20T05:00", "20T05:00");
        let ahead = "2036-01-01T00:00:00Z";
        taken(&mut facts, ahead, ahead);
        if !with_history {
            facts.jobs.clear();
        }
        let mut runs = 0;
        for minute in (10..24 * 60).step_by(10) {
            let time = plus(at("20T05:00"), minute * 60);
            let seen = seen(&facts, &time.to_string());
            for due in agenda(&seen, Terms::default()).now {
                runs += 1;
                let slot = due.slot.unwrap().to_string();
                taken(&mut facts, &slot, &time.to_string());
                assert!(slot >= at("20T05:00").to_string());
            }
            if !with_history {
                facts.jobs.clear();
            }
        }
        // The last time before the jump is taken once more where a jump was seen.
        let again = usize::from(with_history);
        assert_eq!(runs, 23 + again);
    }
}

#[test]
fn a_job_that_ended_while_the_clock_was_wrong_holds_nothing_up() {
    let mut failed = run("20T06:00", "20T06:00", JobOutcome::Failed);
    failed.finished = Some(at("2036-01-01T00:00:00Z"));
    let mut facts = hourly("20T06:05");
    facts.points = vec![point("20T05:00")];
    facts.jobs = vec![failed];
    assert_eq!(now(&facts), ["backup p 20T06:00 #2"]);
    facts.jobs[0].outcome = Some(JobOutcome::Busy);
    assert_eq!(now(&facts), ["backup p 20T06:00 #1"]);
}

#[test]
fn a_record_of_the_first_pass_counts_when_its_time_comes_again() {
    let mut facts = hourly("20T06:00");
    facts.points = vec![point("20T06:00")];
    facts.drills = vec![drill(when("30 5 * * *"))];
    facts.records = vec![record("20T05:45", Verdict::Verified)];
    assert_eq!(now(&facts), [""; 0]);
    facts.records.clear();
    assert_eq!(now(&facts), ["drill weekly 20T05:30 #1"]);
}

#[test]
fn a_record_that_was_dated_ahead_and_that_older_ones_follow_keeps_no_time() {
    let mut facts = hourly("20T06:00");
    facts.points = vec![point("20T06:00")];
    facts.drills = vec![drill(when("30 5 * * *"))];
    facts.records = vec![
        record("20T05:45", Verdict::Verified),
        record("19T05:31", Verdict::Verified),
    ];
    assert_eq!(now(&facts), ["drill weekly 20T05:30 #1"]);
    facts.records.push(record("20T05:50", Verdict::Verified));
    assert_eq!(now(&facts), [""; 0]);
}

#[test]
fn what_a_clock_that_was_ahead_dated_ends_no_failure_that_came_after_it() {
    // The clock was ahead when the first job ran, right when it failed, and now that time has come.
    let mut facts = hourly("25T12:00");
    facts.plans[0].when = when("0 6 * * 1");
    facts.drills = vec![drill(when("0 7 * * 1"))];
    facts.verifications = vec![VerifyFacts {
        name: name("deep"),
        when: when("0 8 * * 1"),
        max_age: None,
    }];
    taken(&mut facts, "23T06:00", "24T06:00");
    let of = |kind, subject: &str, started: &str, outcome| job(kind, subject, "", started, outcome);
    let done = JobOutcome::Done;
    facts
        .jobs
        .push(of(JobKind::Drill, "weekly", "24T07:00", done));
    facts
        .jobs
        .push(of(JobKind::Verify, "deep", "24T08:00", done));
    facts.records = vec![record("24T07:00:30", Verdict::Verified)];
    let failing = |facts: &Facts| {
        let status = judge(facts, Terms::default());
        let of_plan = status.plans[0].failing.is_some();
        let of_drill = status.drills[0].failing.is_some();
        [of_plan, of_drill, status.verifications[0].failing.is_some()]
    };
    assert_eq!(failing(&facts), [false; 3]);
    let failed = JobOutcome::Failed;
    facts.jobs.push(run("23T06:00", "23T06:00", failed));
    facts
        .jobs
        .push(of(JobKind::Drill, "weekly", "23T07:00", failed));
    facts
        .jobs
        .push(of(JobKind::Verify, "deep", "23T08:00", failed));
    assert_eq!(failing(&facts), [true; 3]);
    // What another host did since ends it, and so does what this one did.
    let mut elsewhere = facts.clone();
    elsewhere.points.push(point("24T12:00"));
    elsewhere
        .records
        .push(record("24T12:00", Verdict::Verified));
    assert_eq!(failing(&elsewhere), [false, false, true]);
    taken(&mut facts, "23T06:00", "23T10:00");
    facts
        .jobs
        .push(of(JobKind::Drill, "weekly", "23T11:00", done));
    facts
        .jobs
        .push(of(JobKind::Verify, "deep", "23T12:00", done));
    assert_eq!(failing(&facts), [false; 3]);
}
