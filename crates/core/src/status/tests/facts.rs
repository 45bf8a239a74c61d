//! Facts from what the stores hold.

use super::super::facts::{jobs_of, points, records};
use super::*;
use crate::copies::StoredManifest;
use crate::error::{Code, Error};
use crate::evidence::{Listed, sample};
use crate::point::Manifest;
use crate::survey::Survey;
use serde_json::json;
use std::collections::BTreeMap;

/// A manifest of a complete point of the plan `p`, taken for 06:00, changed by `change`.
fn manifest(time: &str, change: serde_json::Value) -> Manifest {
    let time = at(time);
    let mut value = json!({
        "schema": 1, "point": id(time), "app": "crm", "environment": "production", "plan": "p",
        "host": "h", "author": "a", "lifeboat": "0", "started": time, "finished": plus(time, 60),
        "outcome": "complete", "store": "disk", "stores": ["disk", "offsite"],
        "trigger": { "by": "schedule", "slot": at("20T06:00") },
        "sources": [{ "name": "db", "kind": "files", "outcome": "complete", "started": time, "finished": time }],
        "artifacts": [], "evidence": {}, "signer": "s",
        "details": { "key": "lifeboat/points/x", "bytes": 0, "sha256": "" },
    });
    for (key, changed) in change.as_object().unwrap() {
        value[key] = changed.clone();
    }
    serde_json::from_value(value).unwrap()
}

/// The points of these copies at 06:30; each is said to be trusted or not.
fn seen(copies: Vec<(&str, Manifest, bool)>, disowned: &[PointId]) -> Vec<Point> {
    let copies = copies.into_iter().map(|(store, mut manifest, trusted)| {
        let signer = if trusted { "s" } else { "stranger" };
        manifest.signer = signer.into();
        let stored = StoredManifest {
            bytes: serde_json::to_vec(&manifest).unwrap(),
            signature: None,
        };
        let copy = stored.parse(store, &manifest.point).unwrap();
        (name(store), copy)
    });
    let survey = Survey {
        copies: copies.collect(),
        missing: Vec::new(),
        given_up: BTreeMap::new(),
        disowned: disowned.iter().cloned().collect(),
        damaged: BTreeMap::new(),
        marks: BTreeMap::new(),
        unread: Vec::new(),
    };
    let missed = crate::survey::missing_copies(&survey.copies);
    let now = at("20T06:30");
    points(&survey, missed, now, &|copy| copy.manifest.signer == "s")
}

#[test]
fn only_a_complete_trusted_point_of_the_past_counts() {
    let counts = |manifest: Manifest, signed| {
        let points = seen(vec![("disk", manifest, signed)], &[]);
        points[0].counts
    };
    let failed = json!([{ "name": "db", "kind": "files", "outcome": "failed", "started": at("20T06:00"), "finished": at("20T06:00") }]);
    assert!(counts(manifest("20T06:00", json!({})), true));
    assert!(counts(manifest("20T06:40", json!({})), true));
    assert!(!counts(manifest("20T06:40:01", json!({})), true));
    assert!(!counts(manifest("20T06:00", json!({})), false));
    assert!(!counts(
        manifest("20T06:00", json!({ "safety": true })),
        true
    ));
    assert!(!counts(
        manifest("20T06:00", json!({ "outcome": "partial" })),
        true
    ));
    assert!(!counts(
        manifest("20T06:00", json!({ "outcome": "failed" })),
        true
    ));
    assert!(!counts(
        manifest("20T06:00", json!({ "sources": failed })),
        true
    ));
    let point = id(at("20T06:00"));
    let disowned = seen(
        vec![("disk", manifest("20T06:00", json!({})), true)],
        &[point],
    );
    assert!(!disowned[0].counts);
}

#[test]
fn the_time_of_the_schedule_is_that_of_a_scheduled_run() {
    let slot = |change, signed| {
        let points = seen(vec![("disk", manifest("20T06:00", change), signed)], &[]);
        points[0].slot
    };
    assert_eq!(slot(json!({}), true), Some(at("20T06:00")));
    let by_hand = json!({ "trigger": { "by": "command", "slot": at("20T06:00") } });
    assert_eq!(slot(by_hand, true), None);
    assert_eq!(slot(json!({ "trigger": null }), true), None);
    // Whoever can write to a store could else use up the attempts.
    assert_eq!(slot(json!({ "outcome": "partial" }), false), None);
}

#[test]
fn a_copy_that_is_not_trusted_says_nothing_of_a_trusted_point() {
    let forged = json!({ "plan": "q", "finished": at("20T06:20"), "outcome": "failed" });
    let forged = manifest("20T06:00", forged);
    let own = manifest("20T06:00", json!({}));
    let points = seen(vec![("a", forged, false), ("disk", own, true)], &[]);
    assert_eq!(points.len(), 1);
    assert_eq!(points[0].plan, name("p"));
    assert!(points[0].counts);
    assert_eq!(points[0].outcome, Outcome::Complete);
    assert_eq!(points[0].finished, at("20T06:01"));
    assert_eq!(points[0].stores, [name("disk"), name("a")]);
    assert_eq!(points[0].missed, [name("offsite")]);
}

#[test]
fn points_are_in_order() {
    let copies = ["20T06:00", "18T06:00", "19T06:00"]
        .map(|time| ("disk", manifest(time, json!({})), time != "19T06:00"));
    let times: Vec<_> = seen(copies.into(), &[])
        .iter()
        .map(|point| point.id.time())
        .collect();
    assert_eq!(times, [at("18T06:00"), at("19T06:00"), at("20T06:00")]);
}

#[test]
fn a_record_that_is_not_believed_or_dated_in_the_future_is_left_out() {
    let listed = |finished: &str, distrust: Option<Error>| {
        let mut record = sample();
        record.finished = at(finished);
        Listed {
            record,
            key: String::new(),
            distrust,
        }
    };
    let forged = Error::new(Code::Untrusted, "forged");
    let all = [
        listed("20T06:40", None),
        listed("20T06:40:01", None),
        listed("20T06:00", Some(forged)),
    ];
    let records = records(&all, at("20T06:30"));
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].finished, at("20T06:40"));
    assert_eq!(records[0].drill, None);
    assert_eq!(records[0].sources, [(name("hourly"), name("db"))]);
}

#[test]
fn a_job_that_another_host_seems_to_run_holds_nothing_up() {
    let jobs = vec![
        run("", "20T05:00", JobOutcome::Done),
        under_way("20T06:00"),
        Job {
            host: "web2".to_owned(),
            ..under_way("20T06:10")
        },
        Job {
            host: "web2".to_owned(),
            ..run("", "20T06:20", JobOutcome::Failed)
        },
    ];
    let kept = jobs_of(jobs, "web1");
    let kept: Vec<_> = kept.iter().map(|job| job.started).collect();
    assert_eq!(kept, [at("20T05:00"), at("20T06:00"), at("20T06:20")]);
}
