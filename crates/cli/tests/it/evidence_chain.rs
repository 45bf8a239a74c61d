//! The chain of evidence, checked by stock tools, and whatever is done to it.

use crate::roundtrip::{application, sh};
use crate::support::{App, listing};
use serde_json::Value;
use std::path::Path;

/// Where the evidence is in a store: each record's path, in order.
fn records(app: &App, store: &str) -> Vec<std::path::PathBuf> {
    let base = app.path(store).join("lifeboat/evidence");
    let mut found: Vec<_> = listing(&base)
        .into_iter()
        .filter(|p| p.ends_with(".json"))
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
        let mut previous = Value::Null;
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
            previous = sh(app.root(), &format!("sha256sum < '{quoted}'"))
                .split(' ')
                .next()
                .unwrap()
                .into();
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
    app.write("state/signing.key", &key);
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

fn remove(record: &Path) {
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
