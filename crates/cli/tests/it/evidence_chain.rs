//! The chain of evidence, checked by stock tools, and whatever is done to it.

use crate::roundtrip::{application, sh};
use crate::support::{App, listing};
use serde_json::Value;
use std::path::Path;

/// Where the evidence is in a store: each record's path, in order.
pub fn records(app: &App, store: &str) -> Vec<std::path::PathBuf> {
    let base = app.path(store).join("lifeboat/evidence");
    let mut found: Vec<_> = listing(&base)
        .into_iter()
        .filter(|p| p.ends_with(".json") && !p.contains("/details/"))
        .map(|p| base.join(p))
        .collect();
    found.sort();
    found
}

#[test]
fn evidence_is_chained_and_signed_for_stock_tools() {
    let app = application();
    app.backup();
    app.ok(&["drill"]);
    app.ok(&["drill", "--store", "vault"]);
    let target = app.path("restored");
    app.ok(&["restore", "latest", "--to", target.to_str().unwrap()]);
    for store in ["store", "vault"] {
        let records = records(&app, store);
        assert_eq!(records.len(), 3);
        let mut previous = serde_json::json!([]);
        for (number, path) in records.iter().enumerate() {
            let quoted = path.display();
            let said = sh(
                app.root(),
                &format!(
                    "ssh-keygen -Y verify -f state/allowed_signers -I crm -n lifeboat -s '{quoted}.sig' < '{quoted}'"
                ),
            );
            assert!(
                said.contains("Good \"lifeboat\" signature for crm"),
                "{said}"
            );
            let record: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            assert_eq!(record["sequence"], number as u64 + 1);
            assert_eq!(record["previous"], previous, "{record:#}");
            let sum = sh(app.root(), &format!("sha256sum < '{quoted}'"));
            previous = serde_json::json!([sum.split(' ').next().unwrap()]);
        }
        // What the record names is the manifest that is there.
        let record: Value = serde_json::from_slice(&std::fs::read(&records[0]).unwrap()).unwrap();
        let point = record["points"][0]["point"].as_str().unwrap();
        let manifest = app
            .path("store/lifeboat/points")
            .join(format!("{point}.json"));
        let hash = sh(app.root(), &format!("sha256sum < '{}'", manifest.display()));
        assert!(hash.starts_with(record["points"][0]["manifest_sha256"].as_str().unwrap()));
    }
    let verified = app.json(&["evidence", "verify"]);
    assert_eq!(
        (&verified["outcome"], &verified["records"]),
        (&"intact".into(), &3.into())
    );
    // Also where only the stores are left.
    let key = std::fs::read(app.path("state/signing.key")).unwrap();
    app.forget_state();
    app.private("state/signing.key", &key);
    assert_eq!(app.json(&["evidence", "verify"])["records"], 3);
    assert_eq!(
        app.json(&["evidence", "list"])["evidence"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

/// Three records, with a point after them whose manifest knows the newest.
fn with_evidence() -> (App, Vec<std::path::PathBuf>) {
    let app = application();
    app.backup();
    for _ in 0..3 {
        app.ok(&["drill"]);
    }
    app.backup();
    app.ok(&["evidence", "verify"]);
    let records = records(&app, "store");
    (app, records)
}

pub fn remove(record: &Path) {
    std::fs::remove_file(record).unwrap();
    std::fs::remove_file(format!("{}.sig", record.display())).unwrap();
}

#[test]
fn a_cut_tail_of_the_evidence_shows() {
    let (app, records) = with_evidence();
    remove(&records[2]);
    app.exits(4, &["evidence", "verify"])
        .says(&["store disk", "lacks record 3, which the manifest of"]);
}

#[test]
fn evidence_that_is_gone_altogether_shows() {
    let (app, _) = with_evidence();
    std::fs::remove_dir_all(app.path("store/lifeboat/evidence")).unwrap();
    app.exits(4, &["evidence", "verify"])
        .says(&["store disk", "lacks record 3"]);
}

#[test]
fn an_edited_record_shows() {
    let (app, records) = with_evidence();
    let text = std::fs::read_to_string(&records[1]).unwrap();
    assert!(text.contains("\"outcome\": \"verified\""));
    std::fs::write(
        &records[1],
        text.replace("\"outcome\": \"verified\"", "\"outcome\": \"restored\""),
    )
    .unwrap();
    app.exits(4, &["evidence", "verify"]).says(&[
        "000002",
        "the signature does not match",
        "000003",
        "does not carry the hash of the record before it",
    ]);
}

#[test]
fn a_record_missing_from_the_middle_shows() {
    let (app, records) = with_evidence();
    remove(&records[1]);
    app.exits(4, &["evidence", "verify"])
        .says(&["record 2 of this chain is missing"]);
    // The other store has it, and the next record heals the first.
    app.ok(&["drill"]);
    app.ok(&["evidence", "verify"]);
}

#[test]
fn records_that_changed_places_show() {
    let (app, records) = with_evidence();
    let (one, two) = (
        std::fs::read(&records[0]).unwrap(),
        std::fs::read(&records[1]).unwrap(),
    );
    let sig = |n: usize| std::path::PathBuf::from(format!("{}.sig", records[n].display()));
    let (sig_one, sig_two) = (
        std::fs::read(sig(0)).unwrap(),
        std::fs::read(sig(1)).unwrap(),
    );
    std::fs::write(&records[0], two).unwrap();
    std::fs::write(&records[1], one).unwrap();
    std::fs::write(sig(0), sig_two).unwrap();
    std::fs::write(sig(1), sig_one).unwrap();
    app.exits(4, &["evidence", "verify"])
        .says(&["stands under another name than its content says"]);
}

#[test]
fn a_record_by_a_stranger_shows() {
    let (app, records) = with_evidence();
    let script = format!(
        "ssh-keygen -q -t ed25519 -N '' -f stranger; rm -f '{0}.sig'; ssh-keygen -q -Y sign -n lifeboat -f stranger '{0}'",
        records[2].display()
    );
    sh(app.root(), &script);
    app.exits(4, &["evidence", "verify"])
        .says(&["000003", "SHA256:"]);
}

/// One store, and two drills after the last point: no manifest knows of them.
fn unknown_to_manifests() -> (App, Vec<std::path::PathBuf>) {
    let app = App::basic();
    app.backup();
    app.ok(&["drill"]);
    app.ok(&["drill"]);
    let records = records(&app, "store");
    (app, records)
}

#[test]
fn a_tail_that_this_host_has_seen_is_missed_and_put_back() {
    let (app, records) = unknown_to_manifests();
    remove(&records[1]);
    let lost = app.json_exits(4, &["evidence", "verify"]);
    assert_eq!(lost["outcome"], "damaged");
    let problems = lost["problems"].to_string();
    assert!(
        problems.contains("lacks record 2") && problems.contains("this host has seen there"),
        "{lost:#}"
    );
    // It is told again until it is mended, which the next record does.
    app.exits(4, &["evidence", "verify"]);
    app.ok(&["drill"])
        .says(&["store disk had lost evidence record 2"]);
    assert!(records[1].exists());
    assert_eq!(app.json(&["evidence", "verify"])["records"], 3);
}

#[test]
fn without_the_catalog_a_tail_is_missed_by_the_details_that_the_state_keeps() {
    let (app, records) = unknown_to_manifests();
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(app.path("state").join(file));
    }
    app.ok(&["evidence", "verify"]);
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(app.path("state").join(file));
    }
    remove(&records[1]);
    app.exits(4, &["evidence", "verify"])
        .says(&["is in no store, and this host made it"]);
    // With the whole state gone, nothing knows of it: SECURITY.md says so.
    app.forget_state_but_key();
    assert_eq!(app.json(&["evidence", "verify"])["records"], 1);
}

#[test]
fn a_record_that_no_store_took_outlives_the_catalog() {
    let app = App::basic();
    app.backup();
    // The store takes no evidence, and gives back its points.
    let place = app.path("store/lifeboat/evidence");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::write(&place, "in the way").unwrap();
    let drilled = app.run(&["drill"]);
    assert!(drilled.to_string().contains("verified"), "{drilled}");
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(app.path("state").join(file));
    }
    let listed = |app: &App| {
        app.json(&["evidence", "list"])["evidence"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(listed(&app), 1, "{drilled}");
    std::fs::remove_file(&place).unwrap();
    app.backup();
    let there = app.listing("store/lifeboat/evidence");
    assert!(
        there.iter().any(|name| name.ends_with("000001.json")),
        "{there:?}"
    );
    assert_eq!(listed(&app), 1);
    app.ok(&["drill"]);
    let kept = app.listing("state/evidence");
    assert!(
        !kept.iter().any(|name| name.contains("record-")),
        "{kept:?}"
    );
    let verified = app.json(&["evidence", "verify"]);
    assert_eq!(verified["outcome"], "intact", "{verified:#}");
    assert_eq!(verified["records"], 2);
}

#[test]
fn a_store_that_cannot_be_read_is_not_called_damaged() {
    let (app, _) = unknown_to_manifests();
    std::fs::rename(app.path("store"), app.path("away")).unwrap();
    app.write("store", b"");
    let unread = app.json_exits(1, &["evidence", "verify"]);
    assert_eq!(unread["outcome"], "unread", "{unread:#}");
    assert_eq!(unread["problems"].as_array().unwrap().len(), 0);
}

/// A record as versions before wrote it: signed, under its id, with what was observed in clear.
fn old_record(app: &App, template: &Value, directory: &Path, id: &str, previous: &str) -> String {
    let mut old = template.clone();
    let map = old.as_object_mut().unwrap();
    for new in ["detail", "limits_count"] {
        map.remove(new);
    }
    map["id"] = id.into();
    map["sequence"] = 1.into();
    map["previous"] = Value::Null;
    if !previous.is_empty() {
        map["sequence"] = 2.into();
        map["previous"] = previous.into();
    }
    map["checks"] = serde_json::json!([{ "name": "sql db: select 1", "expected": "> 0",
        "observed": "an old answer", "outcome": "passed" }]);
    map.insert("limits".into(), serde_json::json!(["an old limit"]));
    let number = map["sequence"].as_u64().unwrap();
    let path = directory.join(format!("{number:06}-{id}.json"));
    std::fs::write(&path, serde_json::to_vec_pretty(&old).unwrap()).unwrap();
    let path = path.display();
    sh(
        app.root(),
        &format!(
            "chmod 600 state/signing.key; ssh-keygen -q -Y sign -n lifeboat -f state/signing.key '{path}'; sha256sum < '{path}'"
        ),
    )[..64]
        .to_owned()
}

#[test]
fn records_of_older_versions_are_read_and_their_forks_are_joined() {
    let (app, made) = unknown_to_manifests();
    let template: Value = serde_json::from_slice(&std::fs::read(&made[0]).unwrap()).unwrap();
    let directory = made[0].parent().unwrap().to_owned();
    made.iter().for_each(|record| remove(record));
    app.forget_state_but_key();
    let first = old_record(&app, &template, &directory, "20250101T000000Z-0001", "");
    let two = old_record(&app, &template, &directory, "20250102T000000Z-0002", &first);
    let other = old_record(&app, &template, &directory, "20250102T000001Z-0003", &first);
    let verified = app.json(&["evidence", "verify"]);
    assert_eq!(verified["outcome"], "intact", "{verified:#}");
    let notes = verified["notes"].to_string();
    assert!(notes.contains("forks at record 2"), "{notes}");
    app.ok(&["evidence", "show", "20250101"])
        .says(&["an old answer", "an old limit"]);
    // The next record joins the branches.
    app.ok(&["drill"]);
    let joined: Value =
        serde_json::from_slice(&std::fs::read(directory.join("000003.json")).unwrap()).unwrap();
    let mut ends = [two, other];
    ends.sort();
    assert_eq!(joined["previous"], serde_json::json!(ends));
    let verified = app.json(&["evidence", "verify"]);
    assert_eq!(
        (&verified["outcome"], &verified["records"]),
        (&"intact".into(), &4.into())
    );
}

#[test]
fn what_strangers_put_among_the_records_decides_nothing() {
    let (app, made) = unknown_to_manifests();
    let directory = made[0].parent().unwrap();
    let text = std::fs::read_to_string(&made[1]).unwrap();
    let planted = text.replace("\"sequence\": 2", "\"sequence\": 999998");
    std::fs::write(directory.join("999998.json"), planted).unwrap();
    std::fs::write(directory.join("000003.json"), b"{}").unwrap();
    app.forget_state_but_key();
    let report = app.json(&["drill"]);
    let key = report["evidence"].as_str().unwrap();
    assert!(key.contains("/000003-"), "{key}");
    app.exits(4, &["evidence", "verify"])
        .says(&["999998.json", "000003.json"]);
}

#[test]
fn a_run_that_died_before_its_record_stops_nobody() {
    let (app, made) = unknown_to_manifests();
    let directory = made[0].parent().unwrap();
    std::fs::write(
        directory.join("000003.json.sig"),
        b"of a record that never came",
    )
    .unwrap();
    app.ok(&["drill"]);
    assert!(directory.join("000003.json").exists());
    assert_eq!(app.json(&["evidence", "verify"])["records"], 3);
}
