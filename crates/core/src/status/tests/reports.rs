//! When a report is due.

use super::*;

/// A Friday, with a report each Monday at 06:00 and a daily plan.
fn reporting(time: &str) -> Facts {
    let mut facts = facts(time, &[plan("p", when("0 3 * * *"))]);
    facts.reports = vec![ReportFacts {
        name: name("weekly"),
        when: when("0 6 * * 1"),
    }];
    facts
}

fn sent(started: &str, outcome: JobOutcome) -> Job {
    job(JobKind::Report, "weekly", "23T06:00", started, outcome)
}

#[test]
fn a_report_is_due_at_its_time_once_and_again_after_a_failure() {
    let mut facts = reporting("23T06:01");
    facts.points = vec![point("23T03:00")];
    facts.jobs = vec![run("20T03:00", "20T03:00", JobOutcome::Done)];
    assert_eq!(now(&facts), ["report weekly 23T06:00 #1"]);
    facts.jobs.push(sent("23T06:01", JobOutcome::Done));
    let after = then(&facts, "23T06:05");
    assert_eq!(now(&after), [""; 0]);
    let status = judge(&after, Terms::default());
    assert_eq!(status.reports[0].next, Some(at("30T06:00")));
    assert!(status.reports[0].at.is_some() && status.reports[0].failing.is_none());
    facts.jobs.pop();
    facts.jobs.push(sent("23T06:01", JobOutcome::Failed));
    assert_eq!(
        now(&then(&facts, "23T06:10")),
        ["report weekly 23T06:00 #2"]
    );
    let status = judge(&then(&facts, "23T06:10"), Terms::default());
    assert!(status.reports[0].failing.is_some());
}

#[test]
fn a_report_is_due_where_no_backup_ever_succeeded() {
    let mut facts = reporting("23T06:01");
    let failed = |started| run("23T03:00", started, JobOutcome::Failed);
    facts.jobs = vec![run("20T03:00", "20T03:00", JobOutcome::Failed)];
    facts
        .jobs
        .extend(["23T03:00", "23T03:10", "23T03:30"].map(failed));
    assert_eq!(now(&facts), ["report weekly 23T06:00 #1"]);
}

#[test]
fn without_a_history_the_run_that_takes_the_first_point_since_reports() {
    let mut facts = reporting("24T03:01");
    let newest = point("24T03:00");
    facts.points = vec![point("20T03:00"), newest.clone()];
    assert_eq!(now(&facts), [""; 0], "another run took that point");
    let mut job = run("24T03:00", "24T03:00", JobOutcome::Done);
    job.point = Some(newest.id);
    facts.jobs = vec![job];
    assert_eq!(now(&facts), ["report weekly 23T06:00 #1"]);
}
