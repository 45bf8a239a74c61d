//! Verbs that somebody calls are jobs: `lifeboat jobs` lists them with how they ended.

use crate::support::App;
use serde_json::{Value, json};

/// The jobs, the oldest first: kind, subject and state.
fn jobs(app: &App) -> Vec<(String, String, String)> {
    let listed = app.json(&["jobs"]);
    let word = |job: &Value, key: &str| job[key].as_str().unwrap().to_owned();
    let jobs = listed["jobs"].as_array().unwrap().iter().rev();
    jobs.map(|job| (word(job, "kind"), word(job, "subject"), word(job, "state")))
        .collect()
}

fn expect(app: &App, expected: &[(&str, &str, &str)]) {
    let found = jobs(app);
    let found: Vec<(&str, &str, &str)> = found
        .iter()
        .map(|(kind, subject, state)| (kind.as_str(), subject.as_str(), state.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn each_verb_that_does_something_is_a_job() {
    let app = App::basic();
    let point = app.backup();
    app.ok(&["drill"]);
    app.ok(&["verify"]);
    app.ok(&["copy", "--to", "disk"]);
    let out = app.path("out").display().to_string();
    app.ok(&["restore", "latest", "--to", &out]);
    app.restore_live();
    expect(
        &app,
        &[
            ("backup", "main", "done"),
            ("drill", "main", "done"),
            ("verify", "points", "done"),
            ("copy", "disk", "done"),
            ("restore", "crm", "done"),
            ("restore", "crm", "done"),
        ],
    );
    let listed = app.json(&["jobs"]);
    for job in listed["jobs"].as_array().unwrap() {
        let reason = job["reason"].as_str().unwrap();
        assert!(reason.starts_with("called by "), "{reason}");
        assert_eq!(job["slot"], Value::Null, "{job:#}");
        match job["kind"].as_str().unwrap() {
            "copy" => assert_eq!(job["point"], Value::Null, "{job:#}"),
            _ => assert_eq!(job["point"], json!(point), "{job:#}"),
        }
    }
}

#[test]
fn what_only_looks_or_is_refused_is_none() {
    let app = App::basic();
    let point = app.backup();
    let signer = app.json(&["show", &point])["signer"].clone();
    app.ok(&["backup", "--dry-run"]);
    app.exits(2, &["backup", "another"]);
    app.exits(2, &["drill", "another"]);
    app.exits(2, &["copy", "--to", "another"]);
    app.exits(7, &["restore", "latest"]);
    app.exits(7, &["restore", "latest", "--live"]);
    let wrong = ["restore", "latest", "--live", "--confirm", "crm/another"];
    app.exits(7, &wrong);
    let cold = format!("file://{}", app.path("store").display());
    let cold = [
        "--store-url",
        &cold,
        "--trust-signer",
        signer.as_str().unwrap(),
    ];
    app.ok(&[&["verify"][..], &cold].concat());
    let out = app.path("out").display().to_string();
    app.ok(&[&["restore", "latest", "--to", &out][..], &cold].concat());
    expect(&app, &[("backup", "main", "done")]);
}

#[test]
fn a_verb_that_fails_is_noted_as_it_ended() {
    let app = App::with(
        r#"
[source.vault]
kind = "command"
command = ["sh", "-c", "cat {root}/vault"]
extension = "json"

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
sources = ["vault"]
stores = ["disk"]
"#,
    );
    app.exits(1, &["backup"]);
    app.exits(2, &["drill"]);
    app.write("vault", b"{}");
    app.backup();
    for name in app.listing("store") {
        if name.contains("vault") {
            app.write(&format!("store/{name}"), b"damaged");
        }
    }
    app.exits(4, &["verify"]);
    app.exits(4, &["drill"]);
    expect(
        &app,
        &[
            ("backup", "main", "failed"),
            ("drill", "all", "failed"),
            ("backup", "main", "done"),
            ("verify", "points", "not-proved"),
            ("drill", "all", "not-proved"),
        ],
    );
    let listed = app.json(&["jobs"]);
    let first = listed["jobs"].as_array().unwrap().last().unwrap();
    let message = first["message"].as_str().unwrap();
    assert!(message.contains("vault"), "{message}");
    assert_eq!(first["point"], Value::Null);
}

#[test]
fn a_history_of_a_newer_version_is_a_warning_for_a_backup() {
    let app = App::basic();
    app.backup();
    let history = app
        .listing("state")
        .into_iter()
        .find(|name| name.ends_with("jobs.db"))
        .unwrap();
    let history = rusqlite::Connection::open(app.path("state").join(history)).unwrap();
    history.pragma_update(None, "user_version", 99).unwrap();
    drop(history);
    app.ok(&["backup"])
        .says(&["this run is not noted", "newer version of lifeboat"]);
    assert_eq!(app.json(&["backup"])["outcome"], "complete");
    app.refuses(1, "state", &["jobs"])
        .names(&["jobs.db", "newer version"])
        .because(&["version 99"])
        .advises(&["move the file away"]);
}
