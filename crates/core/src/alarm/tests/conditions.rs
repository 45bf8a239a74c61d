//! What is wrong, by status.

use super::super::{Condition, conditions};
use super::{Kind, name};
use crate::anomaly::{Anomaly, What};
use crate::error::{Code, Error, Fact};
use crate::evidence::Verdict;
use crate::finding::{Finding, Severity};
use crate::history::{JobKind, JobOutcome};
use crate::point::PointId;
use crate::status::tests::samples::{plan, status};
use crate::status::{
    DamagedCopy, DrillStanding, DrillStatus, Freshness, LastJob, LastRestore, OpenRestore,
    PlanStatus, Running, Status, StoreStatus, Uncopied, VerifyStatus,
};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

fn id() -> PointId {
    PointId::parse("20261120T060000Z-7f3a").unwrap()
}

fn store(error: Option<Error>) -> StoreStatus {
    StoreStatus {
        store: name("offsite"),
        points: 1,
        bytes: 1,
        error,
        damaged: Vec::new(),
    }
}

fn drill(standing: DrillStanding) -> DrillStatus {
    DrillStatus {
        drill: name("weekly"),
        standing,
        outcome: None,
        evidence: Some(id()),
        at: None,
        verified_at: None,
        age_seconds: None,
        max_age_seconds: None,
        rto_seconds: None,
        rto_target_seconds: None,
        rto_missed: false,
        failing: None,
        next: None,
    }
}

fn last(outcome: JobOutcome, retry: Option<Timestamp>) -> Option<LastJob> {
    Some(LastJob {
        job: id(),
        outcome,
        at: at(-60),
        message: Some("the disk is full".into()),
        retry,
        before: None,
    })
}

/// A backup of a plan that runs since a time.
fn backing_up(plan: &str, started: Timestamp) -> Running {
    Running {
        job: id(),
        kind: JobKind::Backup,
        subject: name(plan),
        started,
    }
}

/// A time so many seconds after the status.
fn at(seconds: i64) -> Timestamp {
    status().at + SignedDuration::from_secs(seconds)
}

fn with_plan(change: impl FnOnce(&mut PlanStatus)) -> Status {
    let mut plan = plan("hourly");
    plan.destinations = vec![name("offsite")];
    change(&mut plan);
    Status {
        plans: vec![plan],
        ..status()
    }
}

fn found(status: &Status) -> Vec<Condition> {
    conditions(status, &BTreeSet::new(), &[])
}

/// The identities of what is found.
fn ids(status: &Status) -> Vec<String> {
    found(status).iter().map(Condition::id).collect()
}

fn assert_ids(status: &Status, expected: &[&str]) {
    assert_eq!(ids(status), expected);
}

#[test]
fn nothing_is_wrong_with_what_is_well() {
    assert_ids(&status(), &[]);
    assert_ids(&with_plan(|plan| plan.freshness = Freshness::Fresh), &[]);
}

#[test]
fn a_failure_is_told_when_it_is_not_tried_again() {
    let failing = |outcome, retry| with_plan(|plan| plan.failing = last(outcome, retry));
    assert_ids(&failing(JobOutcome::Failed, Some(at(60))), &[]);
    assert_ids(&failing(JobOutcome::Failed, None), &["plan.hourly/failed"]);
    assert_ids(
        &failing(JobOutcome::TimedOut, None),
        &["plan.hourly/failed"],
    );
    assert_ids(
        &failing(JobOutcome::Partial, None),
        &["plan.hourly/partial"],
    );
    let told = found(&failing(JobOutcome::Failed, None));
    assert_eq!(
        told[0].text,
        "the backup of plan hourly failed: the disk is full"
    );
    assert_eq!(told[0].since, Some(at(-60)));
    let prune = with_plan(|plan| plan.prune_failing = last(JobOutcome::Failed, None));
    assert_ids(&prune, &["plan.hourly/prune-failed"]);
}

#[test]
fn an_overdue_plan_says_by_how_much() {
    let late = |age| {
        with_plan(|plan| {
            plan.freshness = Freshness::Overdue;
            (plan.age_seconds, plan.limit_seconds) = (Some(age), Some(3600));
            plan.usual_seconds = Some(600);
        })
    };
    let told = found(&late(9000));
    assert_eq!(told[0].id(), "plan.hourly/overdue");
    assert_eq!(
        told[0].text,
        "plan hourly is overdue: its newest complete point is 2h old, and may be 1h"
    );
    assert_eq!(told[0].since, Some(at(-5400)));
    assert_eq!(told[0].severity, Severity::Error);
    // A backup that was begun in time and is not late itself will make it good.
    let running = |age, since: i64| {
        let mut status = late(age);
        status.running.push(backing_up("hourly", at(-since)));
        ids(&status)
    };
    assert_eq!(running(3700, 300), [""; 0]);
    assert_eq!(running(9000, 300), ["plan.hourly/overdue"]);
    assert_eq!(running(4800, 1300), ["plan.hourly/overdue"]);
    let never = with_plan(|plan| plan.freshness = Freshness::Never);
    let told = found(&never);
    assert_eq!(told[0].text, "plan hourly never made a complete point");
    let begun = BTreeSet::from(["hourly".to_owned()]);
    assert!(conditions(&never, &begun, &[]).is_empty());
}

#[test]
fn what_waits_its_turn_behind_another_job_is_neither_missed_nor_without_points() {
    let waiting = |since: i64| {
        let mut status = with_plan(|plan| {
            plan.freshness = Freshness::Never;
            plan.due_since = Some(at(-90_000));
        });
        status.running.push(backing_up("other", at(-since)));
        ids(&status)
    };
    assert_eq!(waiting(3600), [""; 0]);
    let both = ["plan.hourly/missed", "plan.hourly/overdue"];
    assert_eq!(waiting(3601), both, "it takes too long");
}

#[test]
fn what_failed_before_is_not_over_because_it_is_tried_again() {
    let failing = |retry, before| {
        with_plan(|plan| {
            plan.failing = last(JobOutcome::Failed, retry).map(|job| LastJob { before, ..job });
        })
    };
    let (failed, partial) = (Some(JobOutcome::Failed), Some(JobOutcome::Partial));
    assert_ids(&failing(Some(at(300)), None), &[]);
    assert_ids(&failing(Some(at(300)), failed), &["plan.hourly/failed"]);
    assert_ids(&failing(None, None), &["plan.hourly/failed"]);
    // What was partial is no graver as long as it is tried again.
    assert_ids(&failing(Some(at(300)), partial), &["plan.hourly/partial"]);
    assert_ids(&failing(None, partial), &["plan.hourly/failed"]);
}

#[test]
fn a_time_that_passed_is_missed_unless_its_run_begins_now() {
    let due = |since: i64| with_plan(|plan| plan.due_since = Some(at(-since)));
    assert_ids(&due(3600), &[]);
    assert_ids(&due(3601), &["plan.hourly/missed"]);
    let begun = BTreeSet::from(["hourly".to_owned()]);
    assert!(conditions(&due(9000), &begun, &[]).is_empty());
}

#[test]
fn what_fails_because_of_a_store_has_that_cause() {
    let mut status = with_plan(|plan| {
        plan.freshness = Freshness::Overdue;
        (plan.age_seconds, plan.limit_seconds) = (Some(9000), Some(3600));
        plan.failing = last(JobOutcome::Partial, None);
        plan.missing_copies.insert(name("offsite"), 3);
        plan.missing_since.insert(name("offsite"), at(-7200));
    });
    let error = Error::new(Code::Store, "store offsite does not answer");
    status.stores = vec![store(Some(error))];
    let found = found(&status);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(
        found.iter().all(|c| c.cause == "store.offsite"),
        "{found:#?}"
    );
    status.stores = vec![store(None)];
    let found = super::super::conditions(&status, &BTreeSet::new(), &[]);
    let causes: BTreeSet<&str> = found.iter().map(|c| c.cause.as_str()).collect();
    assert_eq!(causes, BTreeSet::from(["plan.hourly", "store.offsite"]));
}

#[test]
fn a_store_that_refuses_is_not_one_that_does_not_answer() {
    let of = |fact: Option<Fact>| {
        let mut error = Error::new(Code::Store, "no");
        error.fact = fact;
        let status = Status {
            stores: vec![store(Some(error))],
            ..status()
        };
        ids(&status)
    };
    assert_eq!(of(None), ["store.offsite/store-unreachable"]);
    assert_eq!(of(Some(Fact::Full)), ["store.offsite/store-unreachable"]);
    assert_eq!(of(Some(Fact::Denied)), ["store.offsite/store-denied"]);
    assert_eq!(of(Some(Fact::Credentials)), ["store.offsite/store-denied"]);
}

#[test]
fn healing_has_time_before_a_copy_is_missing() {
    let missing = |since: i64| {
        with_plan(|plan| {
            plan.missing_copies.insert(name("offsite"), 1);
            plan.missing_since.insert(name("offsite"), at(-since));
        })
    };
    assert_ids(&missing(3599), &[]);
    assert_ids(&missing(3600), &["plan.hourly.offsite/copy-missing"]);
    let lost = with_plan(|plan| {
        plan.lost_copies.insert(name("offsite"), 2);
    });
    assert_eq!(
        found(&lost)[0].text,
        "store offsite lost 2 points of plan hourly"
    );
}

#[test]
fn a_snapshot_in_one_region_alone_is_told_where_two_are_asked_for() {
    let alone = with_plan(|plan| {
        plan.uncopied.push(Uncopied {
            source: name("machine"),
            region: "eu-west-1".to_owned(),
        });
    });
    assert_ids(&alone, &["plan.hourly.machine/copy-missing"]);
    assert_eq!(
        found(&alone)[0].text,
        "the newest snapshot of machine machine (plan hourly) has no copy in eu-west-1"
    );
}

#[test]
fn a_restore_that_is_open_is_told_when_somebody_has_to_act() {
    let open = |interrupted: bool, until: Option<i64>| {
        let mut status = status();
        status.open_restores.push(OpenRestore {
            id: PointId::parse("20261120T060000Z-7f3a").unwrap(),
            begun: at(-60),
            interrupted,
            until: until.map(at),
        });
        status
    };
    let id = "restore.20261120T060000Z-7f3a/restore-open";
    assert_ids(&open(true, None), &[id]);
    assert_eq!(found(&open(true, None))[0].severity, Severity::Error);
    assert_ids(&open(false, Some(3 * 86_400 + 1)), &[]);
    assert_ids(&open(false, Some(3 * 86_400)), &[id]);
    assert_eq!(found(&open(false, Some(60)))[0].severity, Severity::Warning);
}

#[test]
fn proofs_fail_and_go_stale() {
    let of = |drill: DrillStatus| {
        let status = Status {
            drills: vec![drill],
            ..status()
        };
        ids(&status)
    };
    assert_eq!(of(drill(DrillStanding::Proved)), [""; 0]);
    assert_eq!(of(drill(DrillStanding::Restored)), [""; 0]);
    assert_eq!(
        of(drill(DrillStanding::Failed)),
        ["drill.weekly/proof-failed"]
    );
    assert_eq!(
        of(drill(DrillStanding::Overdue)),
        ["drill.weekly/proof-overdue"]
    );
    let failing = DrillStatus {
        failing: last(JobOutcome::Failed, None),
        ..drill(DrillStanding::Proved)
    };
    assert_eq!(of(failing), ["drill.weekly/failed"]);
    let verify = |outcome, overdue| {
        let verify = VerifyStatus {
            verify: name("sample"),
            outcome: Some(outcome),
            at: Some(at(-10)),
            overdue,
            failing: None,
            next: None,
        };
        let status = Status {
            verifications: vec![verify],
            ..status()
        };
        ids(&status)
    };
    assert_eq!(verify(JobOutcome::Done, false), [""; 0]);
    // What it found is told by store.
    assert_eq!(verify(JobOutcome::NotProved, false), [""; 0]);
    assert_eq!(
        verify(JobOutcome::Done, true),
        ["verify.sample/proof-overdue"]
    );
}

#[test]
fn damage_is_told_by_store() {
    let copy = DamagedCopy {
        point: id(),
        why: "a.gz is damaged".into(),
        since: at(-100),
    };
    let status = Status {
        stores: vec![StoreStatus {
            damaged: vec![copy.clone(), copy],
            ..store(None)
        }],
        ..status()
    };
    let found = found(&status);
    assert_eq!(found[0].id(), "store.offsite.copies/damaged");
    assert!(
        found[0]
            .text
            .starts_with("2 copies in store offsite are damaged")
    );
}

#[test]
fn a_restore_that_differs_is_told_for_a_month() {
    let restored = |outcome, days: i64| {
        let restore = LastRestore {
            evidence: id(),
            at: at(-86_400 * days),
            outcome,
        };
        let status = Status {
            restore: Some(restore),
            ..status()
        };
        ids(&status)
    };
    assert_eq!(restored(Verdict::Failed, 0), ["restore/restore-differs"]);
    assert_eq!(restored(Verdict::Failed, 31), [""; 0]);
    assert_eq!(restored(Verdict::Verified, 0), [""; 0]);
    assert_eq!(restored(Verdict::Restored, 0), [""; 0]);
}

#[test]
fn findings_of_a_kind_are_conditions() {
    let finding = |severity| {
        let finding = Finding::new(
            "store.s",
            severity,
            "a key expires",
            Some("renew it".into()),
        );
        conditions(
            &status(),
            &BTreeSet::new(),
            &[finding.of_kind(Kind::Expiring)],
        )
    };
    assert!(finding(Severity::Ok).is_empty());
    let found = finding(Severity::Warning);
    assert_eq!(found[0].id(), "store.s/expiring");
    assert_eq!(found[0].hint.as_deref(), Some("renew it"));
    let untold = Finding::new("store.s", Severity::Error, "no", None);
    assert!(conditions(&status(), &BTreeSet::new(), &[untold]).is_empty());
    let ahead = Status {
        points_ahead: vec![id()],
        ..status()
    };
    assert_ids(&ahead, &["clock/clock"]);
}

#[test]
fn anomalies_are_told_one_by_one_with_their_source_as_cause() {
    let anomaly = |source, what, severity| Anomaly {
        source: name(source),
        what,
        table: None,
        observed: 500,
        usual: 1000,
        severity,
        of: None,
    };
    let odd = PlanStatus {
        point: Some(id()),
        anomalies: vec![
            anomaly("files", What::Files, Severity::Error),
            anomaly("files", What::FilesChanged, Severity::Warning),
            anomaly("db", What::MinRows, Severity::Error),
        ],
        ..plan("daily")
    };
    let status = Status {
        plans: vec![odd],
        ..status()
    };
    let found = conditions(&status, &BTreeSet::new(), &[]);
    let told: Vec<_> = found
        .iter()
        .map(|c| (c.id(), &*c.cause, c.text.as_str()))
        .collect();
    let (db, files) = ("plan.daily.db", "plan.daily.files");
    let told_of: [(&str, &str, &str); 3] = [
        (
            "plan.daily.db.min-rows/anomaly",
            db,
            "source db has 500 rows, fewer than min_rows allows (1000)",
        ),
        (
            "plan.daily.files.files-changed/anomaly",
            files,
            "source files: 500 of 0 files were replaced, usually 1000: encrypted?",
        ),
        (
            "plan.daily.files.files/anomaly",
            files,
            "source files shrank to 500 files, usually 1000 (-50 %)",
        ),
    ];
    assert_eq!(
        told,
        told_of.map(|(id, cause, text)| (id.to_owned(), cause, text))
    );
    for condition in &found {
        assert_eq!(condition.since, Some(id().time()));
        let hint = condition.hint.as_deref().unwrap();
        assert_eq!(hint, format!("see what changed: lifeboat diff {}", id()));
    }
}
