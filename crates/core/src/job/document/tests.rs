use super::*;
use jiff::Timestamp;

fn ran(jobs: &[(&'static str, Option<JobOutcome>)]) -> Ran {
    let jobs = jobs.iter().enumerate().map(|(number, (subject, outcome))| {
        let at = Timestamp::UNIX_EPOCH;
        JobDocument {
            job: JobId::parse(&format!("20261120T060000Z-{number:04x}")).unwrap(),
            kind: JobKind::Backup,
            subject: Name::own(subject),
            state: "",
            slot: None,
            attempt: 1,
            reason: String::new(),
            started: at,
            finished: None,
            seconds: None,
            point: None,
            message: None,
            host: String::new(),
            outcome: *outcome,
        }
    });
    Ran {
        jobs: jobs.collect(),
        later: Vec::new(),
    }
}

#[test]
fn the_exit_code_of_a_run_is_that_of_its_gravest_job() {
    use JobOutcome::{
        Busy, Done, Failed, Interrupted, NotDue, NotProved, Partial, PutOff, TimedOut,
    };
    assert_eq!(ran(&[]).exit(), Exit::Done);
    // From the least grave on.
    let ranks = [
        (Exit::Done, &[Done, NotDue, PutOff][..]),
        (Exit::Busy, &[Busy]),
        (Exit::Partial, &[Partial]),
        (Exit::NotProved, &[NotProved]),
        (Exit::Failed, &[Failed, TimedOut, Interrupted]),
    ];
    for (rank, (exit, outcomes)) in ranks.iter().enumerate() {
        for outcome in *outcomes {
            assert_eq!(ran(&[("p", Some(*outcome))]).exit(), *exit, "{outcome:?}");
            for (_, lesser) in &ranks[..rank] {
                let (lesser, outcome) = (Some(lesser[0]), Some(*outcome));
                assert_eq!(ran(&[("a", lesser), ("b", outcome)]).exit(), *exit);
                assert_eq!(ran(&[("a", outcome), ("b", lesser)]).exit(), *exit);
            }
        }
    }
    assert_eq!(ran(&[("p", None)]).exit(), Exit::Done);
}

#[test]
fn the_last_attempt_at_something_counts() {
    let (failed, done) = (Some(JobOutcome::Failed), Some(JobOutcome::Done));
    assert_eq!(ran(&[("p", failed), ("p", done)]).exit(), Exit::Done);
    assert_eq!(ran(&[("p", done), ("p", failed)]).exit(), Exit::Failed);
    assert_eq!(ran(&[("p", failed), ("q", done)]).exit(), Exit::Failed);
    let mut drilled = ran(&[("p", failed), ("p", done)]);
    drilled.jobs[1].kind = JobKind::Drill;
    assert_eq!(drilled.exit(), Exit::Failed);
}
