//! Verifications.

use super::*;

/// A verification on Saturdays at 04:00; the 21st is one.
fn weekly(now: &str, points: &[&str]) -> Facts {
    let mut facts = facts(now, &[plan("p", when("0 3 * * *"))]);
    facts.points = points.iter().map(|time| point(time)).collect();
    facts.verifications = vec![VerifyFacts {
        name: name("deep"),
        when: when("0 4 * * 6"),
        max_age: None,
    }];
    facts
}

fn verified(started: &str, outcome: JobOutcome) -> Job {
    job(JobKind::Verify, "deep", "21T04:00", started, outcome)
}

/// A backup of this host with its point.
fn backed_up(facts: &mut Facts, started: &str) {
    let point = point(started);
    let mut job = run("", started, JobOutcome::Done);
    job.point = Some(point.id.clone());
    facts.jobs.push(job);
    facts.points.retain(|known| known.id != point.id);
    facts.points.push(point);
}

fn is_due(facts: &Facts) -> bool {
    now(facts).iter().any(|due| due.starts_with("verify deep"))
}

#[test]
fn with_a_history_it_is_due_until_it_ran_for_its_time() {
    let mut facts = weekly("21T04:30", &[]);
    backed_up(&mut facts, "21T03:00");
    assert_eq!(now(&facts), ["verify deep 21T04:00 #1"]);
    for outcome in [JobOutcome::Done, JobOutcome::NotProved] {
        facts.jobs.truncate(1);
        facts.jobs.push(verified("21T04:05", outcome));
        assert!(!is_due(&facts), "{outcome:?}");
        let mut next = then(&facts, "28T03:30");
        backed_up(&mut next, "28T03:00");
        assert!(!is_due(&next), "{outcome:?}");
        assert!(is_due(&then(&next, "28T04:00")), "{outcome:?}");
    }
    facts.jobs.truncate(1);
    facts.jobs.push(verified("21T04:05", JobOutcome::Failed));
    assert_eq!(now(&facts), ["verify deep 21T04:00 #2"]);
    // A run before its time counts for the time before.
    facts.jobs[1] = verified("21T03:59", JobOutcome::Done);
    assert!(is_due(&facts));
}

#[test]
fn points_of_others_do_not_show_that_this_host_verified() {
    let mut facts = weekly("21T06:30", &["20T03:00", "21T05:00"]);
    facts.jobs = vec![run("", "20T05:00", JobOutcome::NotDue)];
    assert!(is_due(&facts));
}

#[test]
fn it_is_not_due_before_there_is_a_point() {
    let facts = weekly("21T04:30", &[]);
    let agenda = agenda(&facts, Terms::default());
    assert_eq!(agenda.when(JobKind::Verify, "deep", facts.now), None);
}

/// A runner that is thrown away after each run verifies in the run that takes a point, once.
#[test]
fn without_a_history_it_runs_with_the_first_backup_since() {
    let mut facts = weekly("21T04:30", &["21T03:00"]);
    assert!(!is_due(&facts));
    assert_eq!(
        later(&facts)[1],
        (at("22T03:01:01"), "verify deep 21T04:00 #1".to_owned())
    );
    facts.now = at("22T03:02");
    assert_eq!(now(&facts), ["backup p 22T03:00 #1"]);
    backed_up(&mut facts, "22T03:00");
    assert_eq!(now(&facts), ["verify deep 21T04:00 #1"]);
    facts.jobs.push(verified("22T03:02", JobOutcome::Done));
    assert!(!is_due(&facts));
    // The next runner knows nothing of it.
    facts.jobs.clear();
    assert!(!is_due(&then(&facts, "22T04:00")));
    backed_up(&mut facts, "23T03:00");
    assert!(!is_due(&then(&facts, "23T03:05")));
    assert!(!is_due(&then(&facts, "28T03:59")));
}

#[test]
fn without_a_history_every_time_is_verified_once_whatever_runs_when() {
    // Backups at the same time, more often, and less often than the runner is called.
    for (backups, minutes) in [
        ("0 * * * *", 60),
        ("0 4 * * *", 60),
        ("30 2 * * *", 17),
        ("*/30 * * * *", 90),
    ] {
        let mut facts = weekly("01T00:00", &["01T00:00"]);
        facts.plans[0].when = when(backups);
        let mut runs = 0;
        while facts.now < at("30T00:00") {
            facts.jobs.clear();
            for _ in 0..10 {
                let Some(due) = agenda(&facts, Terms::default()).now.into_iter().next() else {
                    break;
                };
                let started = facts.now.to_string();
                match due.kind {
                    JobKind::Backup => backed_up(&mut facts, &started),
                    _ => {
                        runs += 1;
                        facts.jobs.push(verified(&started, JobOutcome::Done));
                    }
                }
            }
            facts.now = plus(facts.now, minutes * 60);
        }
        // Saturdays are the 7th, 14th, 21st and 28th.
        assert_eq!(runs, 4, "{backups}");
    }
}

#[test]
fn where_no_plan_has_a_schedule_it_waits_for_no_backup() {
    let mut facts = weekly("21T04:30", &["21T03:00"]);
    facts.plans[0].when = When::default();
    assert!(is_due(&facts));
}
