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

/// What is due was found before another host did it, and is begun after that.
#[test]
fn what_another_run_did_meanwhile_is_not_done_again() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().display();
    crate::place::write_file(&mut &b"content"[..], &root.path().join("data"), 0o600).unwrap();
    let text = format!(
        "version = 1\n[app]\nname = \"crm\"\nstate = \"{at}/state\"\n\
         [source.files]\nkind = \"files\"\npaths = [\"{at}/data\"]\n\
         [store.disk]\nkind = \"local\"\npath = \"{at}/store\"\n\
         [plan.p]\nschedule = \"0 * * * *\"\nsources = [\"files\"]\nstores = [\"disk\"]\n\
         [drill.d]\nschedule = \"0 * * * *\"\nplans = [\"p\"]\n"
    );
    let config = Config::parse(&text, &root.path().join("lifeboat.toml")).unwrap();
    let clock = Clock::fixed("2026-11-20T06:07:00Z".parse().unwrap());
    let open = || Context::open(config.clone(), clock.clone(), Reporter::silent(), &[]).unwrap();
    let context = open();
    let found = || {
        agenda(
            &status::gather(&context, Vec::new()).unwrap(),
            Terms::default(),
        )
        .now
    };
    let work = |due: &Due| Work {
        config: config.clone(),
        clock: clock.clone(),
        due: due.clone(),
        terms: Terms::default(),
        jobs: Vec::new(),
        job: new(&context, due.kind, due.subject.clone(), String::new()),
        log: Arc::new(JobLog::none(
            clock.clone(),
            Arc::new(crate::observe::Silent),
        )),
    };
    for kind in [JobKind::Backup, JobKind::Drill] {
        let due = found().remove(0);
        assert_eq!(due.kind, kind);
        assert_eq!(work(&due).run().outcome, JobOutcome::Done);
        clock.wait(Duration::from_secs(1)).unwrap();
        assert_eq!(work(&due).run().outcome, JobOutcome::NotDue);
    }
    let facts = status::gather(&open(), Vec::new()).unwrap();
    assert_eq!((facts.points.len(), facts.records.len()), (1, 1));
    // A time of the schedule that passed on while it waited for its turn is taken as the next one.
    clock.wait(Duration::from_secs(3600)).unwrap();
    let stale = found().remove(0);
    clock.wait(Duration::from_secs(3600)).unwrap();
    assert_eq!(work(&stale).run().outcome, JobOutcome::Done);
    let newest = status::gather(&open(), Vec::new())
        .unwrap()
        .points
        .pop()
        .unwrap();
    assert_ne!(newest.slot, stale.slot);
    assert_eq!(newest.slot, Some("2026-11-20T08:00:00Z".parse().unwrap()));
}
