//! Runs with one signing key at the same time: each record is there once, and the chain is whole.

use crate::evidence_chain::records;
use crate::roundtrip::application;
use crate::s3::Bucket;
use crate::support::App;
use lifeboat_testkit::s3::MotoServer;
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// The state directory of another runner with the same key.
fn other_runner(app: &App) -> std::path::PathBuf {
    let key = std::fs::read(app.path("state/signing.key")).unwrap();
    app.private("other/signing.key", &key);
    let text = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    let (own, other) = (app.path("state"), app.path("other"));
    let text = text.replace(own.to_str().unwrap(), other.to_str().unwrap());
    app.write("other.toml", text.as_bytes())
}

fn drill(app: &App, config: Option<&std::path::Path>) -> Command {
    let mut command = app.command(&["drill"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(config) = config {
        command.env("LIFEBOAT_CONFIG", config);
    }
    command
}

/// Pairs of drills at once, some with one state directory, some with two.
fn race(app: &App, rounds: u64) {
    app.backup();
    let other = other_runner(app);
    for round in 0..rounds {
        let second = (round % 2 == 0).then_some(other.as_path());
        let running = [drill(app, None), drill(app, second)].map(|mut c| c.spawn().unwrap());
        for child in running {
            let ended = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success(), "round {round}: {said}");
        }
    }
    let listed = app.json(&["evidence", "list"]);
    let mut numbers: Vec<u64> = listed["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["sequence"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=2 * rounds).collect::<Vec<_>>());
    let verified = app.json(&["evidence", "verify"]);
    assert_eq!(verified["outcome"], "intact", "{verified:#}");
    assert_eq!(verified["records"], 2 * rounds);
    assert_eq!(verified["notes"], json!([]), "{verified:#}");
}

#[test]
fn two_runs_at_once_take_two_numbers_on_a_disk() {
    let app = application();
    race(&app, 8);
    for store in ["store", "vault"] {
        let names: Vec<String> = records(&app, store)
            .iter()
            .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        let expected: Vec<String> = (1..=16).map(|n| format!("{n:06}.json")).collect();
        assert_eq!(names, expected, "{store}");
    }
}

#[test]
fn two_runs_at_once_take_two_numbers_on_s3() {
    // Not s3s-fs, which looks whether an object exists and writes it in two steps.
    let server = MotoServer::start();
    race(&Bucket::of_moto(&server, "race").application(""), 4);
}

/// Makes a store unreachable, and reachable again.
fn away(app: &App, store: &str, is_away: bool) {
    let (place, aside) = (app.path(store), app.path(&format!("{store}.aside")));
    if is_away {
        std::fs::rename(&place, &aside).unwrap();
        std::fs::write(&place, b"").unwrap();
    } else {
        std::fs::remove_file(&place).unwrap();
        std::fs::rename(&aside, &place).unwrap();
    }
}

#[test]
fn a_fork_between_homes_is_joined_and_called_no_damage() {
    let app = application();
    app.backup();
    app.ok(&["drill"]);
    let other = other_runner(&app);
    away(&app, "store", true);
    app.ok(&["drill", "--store", "vault"]);
    away(&app, "store", false);
    away(&app, "vault", true);
    let mut elsewhere = drill(&app, Some(&other));
    assert!(
        elsewhere
            .args(["--store", "disk"])
            .status()
            .unwrap()
            .success()
    );
    away(&app, "vault", false);
    // Each store has a second record, and they are two.
    let second = |store: &str| std::fs::read(&records(&app, store)[1]).unwrap();
    assert_ne!(second("store"), second("vault"));
    app.ok(&["evidence", "verify"]);
    app.ok(&["drill"]);
    let newest = app.json(&["evidence", "list"])["evidence"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(newest["sequence"], 3);
    assert_eq!(
        newest["previous"].as_array().unwrap().len(),
        2,
        "{newest:#}"
    );
    let verified: Value = app.json(&["evidence", "verify"]);
    assert_eq!(
        (&verified["outcome"], &verified["records"]),
        (&"intact".into(), &4.into()),
        "{verified:#}"
    );
    assert!(verified["notes"].to_string().contains("forks at record 2"));
    for store in ["store", "vault"] {
        assert_eq!(records(&app, store).len(), 4, "{store}");
    }
}
