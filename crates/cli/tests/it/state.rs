//! State on the host is a cache: everything works from the stores alone, as on a runner that is
//! thrown away each time, and what somebody else put into a store is not believed.

use crate::support::{App, in_namespace, run};
use lifeboat_testkit::privilege::needs_mounts;
use serde_json::Value;
use std::process::Command;

fn signing_key(app: &App, name: &str) -> String {
    let path = app.path(name);
    let made = run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&path));
    assert_eq!(made.code, 0, "{made}");
    path.display().to_string()
}

/// The basic application whose signing key is a reference.
fn throwaway() -> App {
    let app = App::basic();
    let key = signing_key(&app, "signing.key");
    app.edit(
        "environment = \"test\"",
        &format!("environment = \"test\"\nsigning_key = \"file:{key}\""),
    );
    app
}

/// Runs a verb with a state directory that was never there before.
fn fresh(app: &App, exit: i32, args: &[&str]) -> Value {
    if app.path("state").exists() {
        app.forget_state();
    }
    app.json_exits(exit, args)
}

#[test]
fn every_verb_works_with_a_new_state_directory() {
    let app = throwaway();
    let point = fresh(&app, 0, &["backup"])["point"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        fresh(&app, 0, &["points"])["points"][0]["point"],
        point.as_str()
    );
    assert_eq!(fresh(&app, 0, &["show", &point])["point"], point.as_str());
    assert_eq!(fresh(&app, 0, &["verify"])["outcome"], "intact");
    assert_eq!(fresh(&app, 0, &["drill"])["outcome"], "verified");
    assert_eq!(fresh(&app, 0, &["drill"])["outcome"], "verified");
    assert_eq!(
        fresh(&app, 0, &["restore", &point, "--to", "out"])["outcome"],
        "verified"
    );
    let listed = fresh(&app, 0, &["evidence", "list"]);
    let records = listed["evidence"].as_array().unwrap();
    let numbers: Vec<_> = records
        .iter()
        .map(|r| r["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3], "the chain goes on: {listed:#}");
    let verified = fresh(&app, 0, &["evidence", "verify"]);
    assert_eq!(verified["outcome"], "intact", "{verified:#}");
    assert_eq!(
        fresh(&app, 0, &["points"])["points"][0]["proof"],
        "verified"
    );
    let second = fresh(&app, 0, &["backup"])["point"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        fresh(&app, 0, &["points"])["points"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(fresh(&app, 0, &["verify", "--all"])["outcome"], "intact");
    fresh(
        &app,
        0,
        &[
            "restore",
            &second,
            "--live",
            "--confirm",
            "crm/test",
            "--reason",
            "try",
        ],
    );
}

#[test]
fn a_catalog_that_is_gone_or_damaged_is_rebuilt() {
    let app = App::basic();
    let point = app.backup();
    app.json(&["drill"]);
    let catalog = app.path("state/catalog.db");
    let whole = std::fs::read(&catalog).unwrap();
    let half = &whole[..whole.len() / 2];
    let mut scrambled = whole.clone();
    scrambled
        .iter_mut()
        .skip(100)
        .step_by(7)
        .for_each(|byte| *byte ^= 0x5a);
    let cases: [(&str, &[u8]); 5] = [
        ("empty", b""),
        ("garbage", &[b'x'; 9000]),
        ("half", half),
        ("scrambled", &scrambled),
        (
            "of another program",
            b"SQLite format 3\0 and then nothing of the kind",
        ),
    ];
    for (what, bytes) in cases {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(app.path(&format!("state/catalog.db{suffix}")));
        }
        std::fs::write(&catalog, bytes).unwrap();
        let listed = app.json(&["points"]);
        assert_eq!(
            listed["points"][0]["point"],
            point.as_str(),
            "{what}: {listed:#}"
        );
        assert_eq!(
            listed["points"][0]["proof"], "verified",
            "{what}: {listed:#}"
        );
        app.ok(&["verify"]);
        app.ok(&["evidence", "verify"]);
    }
    std::fs::remove_file(&catalog).unwrap();
    assert_eq!(app.points(), [point.as_str()]);
    // Of a directory in its place nobody can make anything.
    let _ = std::fs::remove_file(&catalog);
    std::fs::create_dir(&catalog).unwrap();
    app.refuses(1, "state", &["points"]).names(&["catalog.db"]);
}

#[test]
fn a_rescan_finds_what_is_there_and_calls_missing_what_was() {
    let app = App::basic();
    let (one, two) = (app.backup(), app.backup());
    for suffix in ["json", "json.sig"] {
        std::fs::remove_file(app.path(&format!("store/lifeboat/points/{one}.{suffix}"))).unwrap();
    }
    let listed = app.json_exits(4, &["points", "--rescan"]);
    assert_eq!(listed["points"].as_array().unwrap().len(), 2, "{listed:#}");
    app.ok(&["points", "--forget", &one, "--reason", "by hand"]);
    assert_eq!(app.points(), [two.as_str()]);
    // The store was moved: its new place holds what the old one held.
    let root = app.root().display().to_string();
    std::fs::rename(app.path("store"), app.path("moved")).unwrap();
    app.edit(&format!("{root}/store"), &format!("{root}/moved"));
    assert_eq!(app.json(&["points"])["points"].as_array().unwrap().len(), 1);
    app.ok(&["verify"]);
    // A disk that is not there says so, and what was known of it is still listed.
    std::fs::rename(app.path("moved"), app.path("away")).unwrap();
    app.write("moved", b"");
    let listed = app.json_exits(3, &["points"]);
    assert_eq!(listed["errors"].as_array().unwrap().len(), 1, "{listed:#}");
}

#[test]
fn a_lost_state_directory_with_the_only_signing_key_says_what_to_do() {
    let app = App::basic();
    let point = app.backup();
    let old = app.json(&["show", "latest"])["signer"]
        .as_str()
        .unwrap()
        .to_owned();
    app.forget_state();
    let refusal = app.refuses(4, "untrusted", &["restore", &point, "--to", "out"]);
    refusal
        .names(&[&point, "not trusted"])
        .advises(&["trusted_signers", "--trust-signer", &old]);
    assert!(!app.path("out").exists());
    app.exits(4, &["verify"]).says(&["--trust-signer", &old]);
    let listed = app.json(&["points"]);
    assert_eq!(listed["points"][0]["trusted"], false, "{listed:#}");
    app.exits(4, &["drill"]).says(&[&old]);
    // Whoever knows the key from elsewhere goes on.
    app.ok(&["verify", "--trust-signer", &old]);
    app.ok(&["restore", &point, "--to", "out", "--trust-signer", &old]);
    assert_eq!(
        app.json(&["drill", "--trust-signer", &old])["outcome"],
        "verified"
    );
}

/// Puts a manifest into the store, signed by this key or not at all.
fn plant(app: &App, template: &str, id: &str, key: Option<&str>) {
    let text = std::fs::read_to_string(app.path(&format!("store/lifeboat/points/{template}.json")))
        .unwrap();
    let path = app.write(
        &format!("store/lifeboat/points/{id}.json"),
        text.replace(template, id).as_bytes(),
    );
    if let Some(key) = key {
        let signed = run(Command::new("ssh-keygen")
            .args(["-Y", "sign", "-n", "lifeboat", "-f", key])
            .arg(&path));
        assert_eq!(signed.code, 0, "{signed}");
    }
}

#[test]
fn a_manifest_that_somebody_else_put_there_is_not_believed() {
    let app = App::basic();
    let point = app.backup();
    let foreign = signing_key(&app, "foreign.key");
    for (id, key) in [
        ("20990101T000000Z-aaaa", None),
        ("20990102T000000Z-bbbb", Some(foreign.as_str())),
    ] {
        plant(&app, &point, id, key);
        let listed = app.json(&["points", "--rescan"]);
        let found = listed["points"]
            .as_array()
            .unwrap()
            .iter()
            .find(|p| p["point"] == id);
        let found = found
            .unwrap_or_else(|| panic!("it is hidden rather than shown as what it is: {listed:#}"));
        assert_eq!(found["trusted"], false, "{listed:#}");
        app.ok(&["points"]).says(&[id, "untrusted"]);
        app.refuses(4, "untrusted", &["restore", id, "--to", "out"])
            .names(&[id]);
        assert!(!app.path("out").exists());
        app.exits(4, &["verify", id])
            .says(&[id, "cannot be trusted"]);
        app.exits(4, &["drill", "--point", id])
            .says(&["cannot be trusted"]);
    }
    // It must not stand in the way of what is ours either.
    app.ok(&["verify", &point]);
    let restored = app.json(&["restore", "latest", "--to", "ours"]);
    assert_eq!(
        restored["point"],
        point.as_str(),
        "latest is the newest that can be believed"
    );
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
}

#[test]
fn things_in_a_store_that_are_nothing_of_ours_are_left_alone() {
    let app = App::basic();
    let point = app.backup();
    app.write("store/lifeboat/points/readme.txt", b"hello");
    app.write("store/lifeboat/points/not-an-id.json", b"{}");
    app.write("store/photo.jpg", b"jpg");
    assert_eq!(app.points(), [point.as_str()]);
    app.write(
        "store/lifeboat/points/20200101T000000Z-dead.json",
        b"this is not JSON",
    );
    let listed = app.json_exits(3, &["points", "--rescan"]);
    assert_eq!(listed["points"].as_array().unwrap().len(), 1, "{listed:#}");
    let errors = listed["errors"].to_string();
    assert!(
        errors.contains("20200101T000000Z-dead") && errors.contains("damaged"),
        "{listed:#}"
    );
    app.backup();
    assert_eq!(std::fs::read(app.path("store/photo.jpg")).unwrap(), b"jpg");
}

#[test]
fn points_taken_within_a_second_are_listed_as_they_were_taken() {
    let app = App::with(
        r#"
[source.name]
kind = "command"
command = ["echo", "Ada"]
extension = "txt"

[store.near]
kind = "local"
path = "{root}/near"

[store.far]
kind = "local"
path = "{root}/far"

[plan.near]
sources = ["name"]
stores = ["near"]

[plan.far]
sources = ["name"]
stores = ["far"]
"#,
    );
    let taken: Vec<String> = (0..6)
        .map(|turn| app.backup_of(["near", "far"][turn % 2]))
        .collect();
    assert_eq!(app.points(), taken);
}

#[test]
fn a_state_directory_on_a_full_disk_says_so() {
    if needs_mounts() {
        return;
    }
    let app = App::basic();
    app.ok(&["points"]);
    let state = app.path("state").display().to_string();
    let setup = format!(
        "cp -p {state}/signing.key {state}.key; mount -t tmpfs -o size=512k,mode=0700 tmpfs {state}; cp -p {state}.key {state}/signing.key; dd if=/dev/zero of={state}/fill bs=1k 2>/dev/null || true"
    );
    let refused = in_namespace(&app, &setup, &["points"], "");
    assert_eq!(refused.code, 1, "{refused}");
    refused.says(&["the file system of", "is full"]);
}
