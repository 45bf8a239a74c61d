#![allow(clippy::disallowed_methods)]

use super::*;
use crate::observe::{Observer, Silent};
use crate::process::ProcessName;
use crate::secret::{Scrubber, Secret};
use std::sync::Arc;

fn clock() -> Clock {
    Clock::fixed("2026-11-20T06:07:00Z".parse().unwrap())
}

fn job(clock: &Clock) -> Job {
    Job {
        id: JobId::new(clock),
        app: Name::own("crm"),
        environment: Name::own("production"),
        kind: JobKind::Backup,
        subject: Name::own("hourly"),
        slot: Some(clock.now()),
        reason: "scheduled".into(),
        called: false,
        attempt: 1,
        created: clock.now(),
        started: clock.now(),
        finished: None,
        outcome: None,
        point: None,
        message: None,
        host: crate::host::host(),
        process: ProcessName::this().ok(),
    }
}

fn open(state: &Path) -> History {
    History::open(state, |text| panic!("{text}")).unwrap()
}

fn jobs(history: &History) -> Vec<Job> {
    history
        .jobs(&Name::own("crm"), &Name::own("production"))
        .unwrap()
}

#[test]
fn a_job_is_noted_when_it_begins_and_when_it_ends() {
    let state = tempfile::tempdir().unwrap();
    let (history, clock) = (open(state.path()), clock());
    let (mut one, mut other) = (job(&clock), job(&clock));
    history.begin(&mut one, &clock).unwrap();
    // A clock that stands still proposes the same id again and again until it moves.
    clock.wait(Duration::from_secs(1)).unwrap();
    history.begin(&mut other, &clock).unwrap();
    assert_ne!(one.id, other.id);
    one.end(
        clock.now(),
        Ended::of(JobOutcome::Partial, "a file was skipped"),
    );
    history.note(&one).unwrap();
    let read = jobs(&open(state.path()));
    assert_eq!(read, [one, other]);
    assert_eq!(read[0].state(), "partial");
    assert_eq!(read[0].seconds(), Some(1));
    assert_eq!(read[1].state(), "running");
    assert!(
        history
            .jobs(&Name::own("crm"), &Name::own("staging"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_job_whose_process_is_gone_was_interrupted() {
    let state = tempfile::tempdir().unwrap();
    let (history, clock) = (open(state.path()), clock());
    let mut gone = job(&clock);
    gone.process = gone.process.map(|process| ProcessName {
        pid: u32::MAX,
        ..process
    });
    history.begin(&mut gone, &clock).unwrap();
    clock.wait(Duration::from_secs(60)).unwrap();
    let mut elsewhere = job(&clock);
    elsewhere.process.clone_from(&gone.process);
    elsewhere.host = "another".into();
    history.begin(&mut elsewhere, &clock).unwrap();
    assert_eq!(jobs(&history)[0].state(), "interrupted");
    let ended = history
        .end_interrupted(&gone.app, &gone.environment, clock.now())
        .unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].id, gone.id);
    let read = jobs(&history);
    assert_eq!(read[0].outcome, Some(JobOutcome::Interrupted));
    assert_eq!(read[0].seconds(), Some(60));
    // A process of another host cannot be looked at.
    assert_eq!(read[1].state(), "running");
}

#[test]
fn a_damaged_history_is_put_aside_and_a_newer_one_refused() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("jobs.db");
    for round in 1..3 {
        std::fs::write(&path, b"this is no database, whatever it is called").unwrap();
        let said = std::cell::RefCell::new(String::new());
        let history = History::open(state.path(), |text| said.borrow_mut().push_str(text)).unwrap();
        let aside = match round {
            1 => "jobs.db.damaged",
            _ => "jobs.db.damaged-2",
        };
        assert!(said.borrow().ends_with(aside), "{}", said.borrow());
        let kept = std::fs::read(state.path().join(aside)).unwrap();
        assert!(kept.starts_with(b"this is no database"));
        assert!(jobs(&history).is_empty());
    }
    let newer = Connection::open(&path).unwrap();
    newer
        .pragma_update(None, "user_version", VERSION + 1)
        .unwrap();
    let error = History::open(state.path(), |_| ()).err().unwrap();
    assert_eq!(error.code, Code::State);
    assert!(error.message.contains("newer version"), "{error}");
    assert!(error.hint.unwrap().contains("move the file away"));
}

#[test]
fn what_cannot_be_written_is_remembered_for_as_long_as_the_process_lives() {
    let state = tempfile::tempdir().unwrap();
    let (history, clock) = (open(state.path()), clock());
    let mut one = job(&clock);
    history.begin(&mut one, &clock).unwrap();
    history
        .connection()
        .pragma_update(None, "query_only", true)
        .unwrap();
    one.end(
        clock.now(),
        Ended::of(JobOutcome::Failed, "the disk is full"),
    );
    assert_eq!(history.note(&one).unwrap_err().code, Code::State);
    clock.wait(Duration::from_secs(1)).unwrap();
    let mut other = job(&clock);
    assert_eq!(
        history.begin(&mut other, &clock).unwrap_err().code,
        Code::State
    );
    assert_eq!(jobs(&history), [one.clone(), other.clone()]);
    // It is written as soon as that is possible.
    history
        .connection()
        .pragma_update(None, "query_only", false)
        .unwrap();
    history.note(&one).unwrap();
    history.note(&other).unwrap();
    assert_eq!(jobs(&open(state.path())), [one, other]);
}

#[test]
fn a_log_is_bounded_and_holds_no_secret() {
    let state = tempfile::tempdir().unwrap();
    let path = log::path(state.path(), "20261120T060700Z-0001");
    let scrubber = Scrubber::default();
    scrubber.learn(&Secret::new(b"hunter2hunter2".to_vec()));
    let log = JobLog::create(&path, clock(), scrubber, Arc::new(Silent)).unwrap();
    log.warned("the password is hunter2hunter2");
    let read = || std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        read(),
        "2026-11-20T06:07:00Z warning: the password is ***\n"
    );
    for _ in 0..1500 {
        log.line(&"x".repeat(1000));
    }
    let text = read();
    assert!(text.len() < (1 << 20) + 100, "{}", text.len());
    assert!(text.ends_with("the log is full: what follows is not in it\n"));
}

#[test]
fn the_oldest_jobs_are_removed_with_their_logs() {
    let state = tempfile::tempdir().unwrap();
    let (history, clock) = (open(state.path()), clock());
    history.connection().execute_batch("BEGIN").unwrap();
    let mut first = None;
    for _ in 0..=JOBS_MAX {
        clock.wait(Duration::from_secs(1)).unwrap();
        let mut one = job(&clock);
        history.begin(&mut one, &clock).unwrap();
        first.get_or_insert(one.id);
    }
    history.connection().execute_batch("COMMIT").unwrap();
    let path = history.log_path(&first.unwrap());
    drop(JobLog::create(&path, clock, Scrubber::default(), Arc::new(Silent)).unwrap());
    assert!(path.exists());
    history.trim().unwrap();
    assert_eq!(jobs(&history).len(), JOBS_MAX);
    assert!(!path.exists());
}
