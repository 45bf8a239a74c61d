use super::*;
use crate::name::Name;
use crate::point::PointId;

fn due(subject: &'static str, attempt: u32) -> Due {
    Due {
        kind: JobKind::Backup,
        subject: Name::own(subject),
        slot: None,
        attempt,
        reason: String::new(),
        points: Vec::<PointId>::new(),
        usual: None,
    }
}

#[test]
fn a_run_waits_for_its_own_attempts_and_sleeps_through_nothing_else() {
    let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
    let begun = BTreeSet::from([(JobKind::Backup, "weekly".to_owned())]);
    let wait = |later: Vec<(Timestamp, Due)>| {
        let agenda = Agenda { now: vec![], later };
        waits_until(&agenda, &begun)
    };
    assert_eq!(wait(vec![]), None);
    assert_eq!(wait(vec![(at(1), due("hourly", 1))]), None);
    assert_eq!(wait(vec![(at(5), due("weekly", 1))]), None);
    // Another host's attempts are its own affair.
    assert_eq!(wait(vec![(at(5), due("hourly", 2))]), None);
    assert_eq!(wait(vec![(at(5), due("weekly", 2))]), Some(at(5)));
    let both = vec![(at(1), due("hourly", 1)), (at(5), due("weekly", 2))];
    assert_eq!(wait(both), Some(at(1)));
}

#[test]
fn what_a_job_found_before_it_was_asked_to_end_stays_found() {
    let end = |outcome| Ended::of(outcome, "said");
    let asked = |why, outcome| asked_to(Some(why), end(outcome)).outcome;
    for why in [
        JobOutcome::PutOff,
        JobOutcome::TimedOut,
        JobOutcome::Interrupted,
    ] {
        assert_eq!(asked(why, JobOutcome::NotProved), JobOutcome::NotProved);
        assert_eq!(asked(why, JobOutcome::Done), JobOutcome::Done);
        assert_eq!(asked(why, JobOutcome::Interrupted), why);
        assert_eq!(asked(why, JobOutcome::Partial), why);
    }
    assert_eq!(
        asked_to(None, end(JobOutcome::Failed)),
        end(JobOutcome::Failed)
    );
    let late = asked_to(Some(JobOutcome::TimedOut), end(JobOutcome::Failed));
    assert_eq!(
        late.message.unwrap(),
        "it took longer than its timeout: said"
    );
}

#[test]
fn something_gives_way_once_until_it_has_run() {
    let job = |kind: &str, outcome: Option<&str>| -> Job {
        serde_json::from_value(serde_json::json!({
            "id": "20261120T060000Z-0001", "app": "crm", "environment": "test", "kind": kind,
            "subject": "s", "reason": "", "attempt": 1, "host": "h", "outcome": outcome,
            "created": "2026-11-20T06:00:00Z", "started": "2026-11-20T06:00:00Z",
        }))
        .unwrap()
    };
    let gave = |outcomes: &[Option<&str>]| {
        let jobs: Vec<Job> = outcomes
            .iter()
            .map(|outcome| job("copy", *outcome))
            .collect();
        gave_way(&jobs, JobKind::Copy, "s")
    };
    assert!(!gave(&[]));
    assert!(gave(&[Some("put-off"), None]));
    assert!(gave(&[Some("put-off"), Some("busy"), None]));
    assert!(!gave(&[Some("put-off"), Some("done"), None]));
    assert!(!gave(&[Some("put-off"), Some("failed"), None]));
    let other = [job("drill", Some("put-off"))];
    assert!(!gave_way(&other, JobKind::Copy, "s"));
}
