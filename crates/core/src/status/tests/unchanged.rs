//! Runs that found nothing new: which are believed, and what follows from them.

use super::super::facts::{checks, points};
use super::*;
use crate::copies::{PointCopy, StoredManifest, manifest_sha256};
use crate::evidence::{Listed, sample};
use crate::kept::Proofs;
use crate::marks::{Header, Intent, Leaving, Marks, Unchanged};
use crate::retention::Why;
use crate::survey::Survey;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// A run of the plan `p` that found nothing new since a point.
fn check(time: &str, point: &str) -> Check {
    Check {
        at: at(time),
        plan: name("p"),
        point: id(at(point)),
        slot: None,
    }
}

fn hourly(now: &str) -> Facts {
    let mut facts = facts(now, &[plan("p", when("0 * * * *"))]);
    facts.points = vec![point("20T03:00")];
    facts
}

#[test]
fn a_run_that_found_nothing_new_consumes_the_time_of_the_schedule() {
    let mut facts = hourly("20T06:30");
    let due = ["backup p 20T06:00 #1"];
    let of_slot = |slot: &str| Check {
        slot: Some(at(slot)),
        ..check("20T05:59:57", "20T03:00")
    };
    let of_other = Check {
        plan: name("other"),
        ..check("20T06:00", "20T03:00")
    };
    for (check, expected) in [
        (check("20T06:00", "20T03:00"), &[][..]),
        (check("20T06:29", "20T03:00"), &[]),
        // The clock was set back by some seconds in between.
        (of_slot("20T06:00"), &[]),
        (of_slot("20T05:00"), &due[..]),
        (check("20T05:59:57", "20T03:00"), &due),
        (of_other, &due),
    ] {
        facts.checks = vec![check.clone()];
        assert_eq!(now(&facts), expected, "{check:?}");
    }
}

#[test]
fn after_a_jump_back_a_run_that_found_nothing_new_before_consumes_nothing() {
    let mut facts = hourly("20T06:01");
    facts.jobs = vec![run("20T06:00", "20T06:00:30", JobOutcome::Done)];
    facts.checks = vec![check("20T06:00:40", "20T03:00")];
    assert_eq!(now(&facts), [""; 0]);
    // Back to five, where another run began, and on until six comes again.
    facts
        .jobs
        .push(run("20T05:00", "20T05:00", JobOutcome::Done));
    assert_eq!(now(&facts), ["backup p 20T06:00 #1"]);
    // What another host found in that time is new.
    facts.checks = vec![check("20T06:00:10", "20T03:00")];
    assert_eq!(now(&facts), [""; 0]);
}

#[test]
fn the_age_of_a_plan_counts_from_the_run_that_found_nothing_new() {
    let mut facts = hourly("20T06:30");
    facts.rpo = Some(span("2h"));
    let told = |facts: &Facts| judge(facts, Terms::default()).plans.remove(0);
    assert_eq!(told(&facts).freshness, Freshness::Overdue);
    facts.checks = vec![check("20T05:30", "20T03:00")];
    let plan = told(&facts);
    assert_eq!(plan.freshness, Freshness::Fresh);
    assert_eq!(plan.age_seconds, Some(3600));
    assert_eq!(plan.point, Some(id(at("20T03:00"))));
    assert_eq!(plan.unchanged_at, Some(at("20T05:30")));
    // Of a point that is not the newest it says nothing.
    facts.points.push(point("20T04:00"));
    let plan = told(&facts);
    assert_eq!(plan.age_seconds, Some(9000));
    assert_eq!(plan.unchanged_at, None);
}

#[test]
fn a_run_that_found_nothing_new_ends_a_failure() {
    let mut facts = hourly("20T06:30");
    facts.jobs = vec![run("20T05:00", "20T05:00", JobOutcome::Failed)];
    let failing = |facts: &Facts| judge(facts, Terms::default()).plans[0].failing.is_some();
    assert!(failing(&facts));
    facts.checks = vec![check("20T05:10", "20T03:00")];
    assert!(!failing(&facts));
    facts.checks = vec![check("20T05:00", "20T03:00")];
    assert!(failing(&facts));
}

/// A copy of a complete point of the plan `p` in the store `disk`, changed by `change`.
fn copy(time: &str, change: serde_json::Value) -> PointCopy {
    let time = at(time);
    let mut value = json!({
        "schema": 1, "point": id(time), "app": "crm", "environment": "production", "plan": "p",
        "host": "h", "author": "a", "lifeboat": "0", "started": time, "finished": plus(time, 60),
        "outcome": "complete", "store": "disk", "stores": ["disk"],
        "sources": [{ "name": "db", "kind": "files", "outcome": "complete", "started": time, "finished": time }],
        "artifacts": [], "evidence": {}, "signer": "s",
        "details": { "key": "lifeboat/points/x", "bytes": 0, "sha256": "" },
    });
    for (key, changed) in change.as_object().unwrap() {
        value[key] = changed.clone();
    }
    let stored = StoredManifest {
        bytes: serde_json::to_vec(&value).unwrap(),
        signature: None,
    };
    stored.parse("disk", &id(time)).unwrap()
}

/// What is looked at: a point of three o'clock, and a note of half past five about it.
struct Seen {
    copies: Vec<PointCopy>,
    note: Unchanged,
    marks: Marks,
    listed: Vec<Listed>,
    disowned: BTreeSet<PointId>,
    /// The store that the note is in.
    store: &'static str,
}

fn header(time: &str) -> Header {
    Header {
        schema: 1,
        id: id(at(time)),
        app: name("crm"),
        environment: name("production"),
        at: at(time),
        author: "a".to_owned(),
        host: "h".to_owned(),
    }
}

impl Seen {
    fn new() -> Self {
        let copy = copy("20T03:00", json!({}));
        let point = copy.manifest.point.clone();
        Seen {
            note: Unchanged {
                header: header("20T05:30"),
                plan: name("p"),
                point,
                manifest_sha256: manifest_sha256(&copy),
                slot: None,
            },
            copies: vec![copy],
            marks: Marks::default(),
            listed: Vec::new(),
            disowned: BTreeSet::new(),
            store: "disk",
        }
    }

    /// Returns whether the note counts at half past six.
    fn counts(mut self) -> bool {
        self.marks.unchanged = vec![self.note.clone()];
        let copies = self.copies.into_iter();
        let survey = Survey {
            copies: copies.map(|copy| (name("disk"), copy)).collect(),
            missing: Vec::new(),
            given_up: BTreeMap::new(),
            disowned: self.disowned,
            damaged: BTreeMap::new(),
            marks: BTreeMap::from([(name(self.store), self.marks)]),
            unread: Vec::new(),
        };
        let now = at("20T06:30");
        let is_trusted = |copy: &PointCopy| copy.manifest.signer == "s";
        let points = points(&survey, BTreeMap::new(), now, &is_trusted);
        let proofs = Proofs::of(&self.listed, now);
        let found = checks(&survey, &proofs, &points, now, &is_trusted);
        let expected = Check {
            at: self.note.header.at,
            plan: self.note.plan,
            point: self.note.point,
            slot: None,
        };
        assert!(found.is_empty() || found == [expected]);
        !found.is_empty()
    }
}

#[test]
fn a_note_counts_while_its_point_is_sound_and_there() {
    let counts = |change: &dyn Fn(&mut Seen)| {
        let mut seen = Seen::new();
        change(&mut seen);
        seen.counts()
    };
    assert!(counts(&|_| {}));
    assert!(counts(&|seen| seen
        .copies
        .push(copy("20T05:31", json!({})))));
    assert!(counts(&|seen| {
        let partial = json!({ "outcome": "partial" });
        seen.copies.push(copy("20T04:00", partial));
    }));
    // Its point is not there, or not as it says.
    assert!(!counts(&|seen| seen.copies.clear()));
    assert!(!counts(&|seen| seen.store = "offsite"));
    assert!(!counts(&|seen| seen.note.manifest_sha256.clear()));
    assert!(!counts(&|seen| seen.note.plan = name("q")));
    // Whoever found nothing new cannot have seen the newest.
    assert!(!counts(&|seen| seen
        .copies
        .push(copy("20T05:30", json!({})))));
    assert!(!counts(&|seen| seen.note.header.at = at("20T06:40:01")));
    assert!(counts(&|seen| seen.note.header.at = at("20T06:40")));
    // Its point does not count.
    let made = |change: serde_json::Value| {
        move |seen: &mut Seen| {
            seen.copies = vec![copy("20T03:00", change.clone())];
            seen.note.manifest_sha256 = manifest_sha256(&seen.copies[0]);
        }
    };
    assert!(!counts(&made(json!({ "outcome": "partial" }))));
    assert!(!counts(&made(json!({ "signer": "stranger" }))));
    assert!(!counts(&made(json!({ "safety": true }))));
    assert!(!counts(
        &|seen| seen.disowned = BTreeSet::from([id(at("20T03:00"))])
    ));
}

#[test]
fn a_note_about_a_point_that_goes_or_does_not_come_back_counts_nothing() {
    let mut seen = Seen::new();
    let leaving = Leaving {
        point: seen.note.point.clone(),
        plan: name("p"),
        why: Why::NoRule,
        manifest_sha256: seen.note.manifest_sha256.clone(),
        manifest: String::new(),
        signature: None,
    };
    seen.marks.intents = vec![Intent {
        header: header("20T06:00"),
        store: name("disk"),
        store_time: None,
        points: vec![leaving],
    }];
    assert!(!seen.counts());

    for (store, outcome, expected) in [
        ("disk", Verdict::Failed, false),
        ("disk", Verdict::Verified, true),
        ("offsite", Verdict::Failed, false),
    ] {
        let mut seen = Seen::new();
        let mut record = sample();
        record.finished = at("20T06:00");
        record.outcome = outcome;
        record.points[0].point = seen.note.point.clone();
        record.points[0].store = Some(name(store));
        seen.listed = vec![Listed {
            record,
            key: String::new(),
            distrust: None,
        }];
        assert_eq!(seen.counts(), expected, "{outcome:?} in {store}");
    }
}
