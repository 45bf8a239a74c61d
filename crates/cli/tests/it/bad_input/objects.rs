//! Stored objects that were deleted, truncated, altered or put there by somebody: `verify`,
//! `drill` and `restore` each notice, name them, and leave the target alone.

use crate::support::App;
use std::path::PathBuf;

/// The key of the stored object of a source.
fn object(app: &App, source: &str) -> PathBuf {
    let shown = app.json(&["show", "latest"]);
    let artifacts = shown["artifacts"].as_array().unwrap();
    let found = artifacts.iter().find(|a| a["source"] == source).unwrap();
    app.path("store").join(found["key"].as_str().unwrap())
}

fn damage(path: &std::path::Path, how: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    match how {
        "deleted" => return std::fs::remove_file(path).unwrap(),
        "truncated" => bytes.truncate(bytes.len() - 1),
        "emptied" => bytes.clear(),
        "altered" => bytes[middle] ^= 1,
        "extended" => bytes.push(0),
        other => panic!("{other}"),
    }
    std::fs::write(path, bytes).unwrap();
}

/// Everything that reads a damaged point must say so and name the object.
fn is_noticed(how: &str, outcome: &str, code: &str) {
    for source in ["files", "db"] {
        let app = App::basic();
        app.backup();
        let path = object(&app, source);
        let key = path
            .strip_prefix(app.path("store"))
            .unwrap()
            .display()
            .to_string();
        damage(&path, how);
        let verified = app.json_exits(4, &["verify"]);
        assert_eq!(verified["outcome"], outcome, "{verified:#}");
        let objects = verified["objects"].as_array().unwrap();
        let wrong: Vec<_> = objects
            .iter()
            .filter(|o| o["outcome"] != "intact")
            .collect();
        assert_eq!(wrong.len(), 1, "{verified:#}");
        assert_eq!(wrong[0]["key"], key.as_str());
        assert!(!wrong[0]["detail"].as_str().unwrap().is_empty());
        app.exits(4, &["verify"]).says(&[&key, outcome]);

        let drill = app.json_exits(4, &["drill"]);
        assert_eq!(drill["outcome"], "failed", "{drill:#}");
        assert!(
            drill.to_string().contains(&key),
            "the drill does not name {key}: {drill:#}"
        );

        let target = app.path("out").display().to_string();
        let args = ["restore", "latest", "--source", source, "--to", &target];
        let refusal = app.refuses(4, code, &args);
        refusal.names(&[&key]).advises(&["lifeboat copy"]);
        let left = app.listing("out");
        assert!(
            left.is_empty(),
            "{how} {source}: a failed restore left {left:?}"
        );
    }
}

#[test]
fn deleted() {
    is_noticed("deleted", "missing", "object-missing");
}

#[test]
fn truncated() {
    is_noticed("truncated", "damaged", "object-damaged");
}

#[test]
fn emptied() {
    is_noticed("emptied", "damaged", "object-damaged");
}

#[test]
fn altered() {
    is_noticed("altered", "damaged", "object-damaged");
}

#[test]
fn extended() {
    is_noticed("extended", "damaged", "object-damaged");
}

#[test]
fn a_damaged_copy_is_passed_over_for_a_whole_one_when_none_is_named() {
    let app = App::basic();
    app.edit("stores = [\"disk\"]", "stores = [\"disk\", \"second\"]");
    let second = app.path("second").display().to_string();
    app.configure_also(&format!(
        "[store.second]\nkind = \"local\"\npath = \"{second}\"\n"
    ));
    let point = app.backup();
    let manifest = app.path(&format!("store/lifeboat/points/{point}.json"));
    damage(&manifest, "altered");
    let target = app.path("out").display().to_string();
    app.ok(&["restore", "latest", "--to", &target]);
    app.exits(4, &["verify"]).says(&["disk", &point]);
    app.exits(
        4,
        &[
            "restore",
            "latest",
            "--store",
            "disk",
            "--to",
            &app.path("out2").display().to_string(),
        ],
    );
    app.ok(&["copy", &point, "--to", "disk"]);
    app.ok(&["verify"]);
}

#[test]
fn details_that_were_altered_or_deleted() {
    for how in ["altered", "deleted", "truncated"] {
        let app = App::basic();
        let point = app.backup();
        damage(
            &app.path(&format!("store/lifeboat/points/{point}.details.json")),
            how,
        );
        app.exits(4, &["verify"]).says(&["details.json"]);
        let drill = app.json_exits(4, &["drill"]);
        assert_eq!(drill["outcome"], "failed", "{how}: {drill:#}");
        let target = app.path("out").display().to_string();
        let restore = app.json_exits(4, &["restore", &point, "--to", &target]);
        assert_eq!(restore["outcome"], "failed", "{how}: {restore:#}");
        assert!(
            app.path("out/files").exists(),
            "what could be read is there"
        );
    }
}

#[test]
fn points_that_are_ambiguous_or_unknown() {
    let app = App::basic();
    let none = app.refuses(2, "point-unknown", &["show", "latest"]);
    none.names(&["no restore point"])
        .advises(&["lifeboat backup"]);
    app.refuses(2, "point-unknown", &["verify"])
        .advises(&["lifeboat backup"]);
    app.refuses(2, "point-unknown", &["drill"])
        .advises(&["lifeboat backup"]);
    let (one, two) = (app.backup(), app.backup());
    let common: String = one
        .chars()
        .zip(two.chars())
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a)
        .collect();
    let target = app.path("out").display().to_string();
    for args in [
        &["show", common.as_str()][..],
        &["verify", &common],
        &["drill", "--point", &common],
        &["restore", &common, "--to", &target],
        &["copy", &common, "--to", "disk"],
    ] {
        let refusal = app.refuses(2, "point-ambiguous", args);
        refusal
            .names(&[&common, "2 restore points"])
            .because(&[&one, &two])
            .advises(&["more of the id"]);
    }
    for unknown in [
        "1999",
        "latest:nightly",
        "before:1999-01-01",
        "random:90d..91d",
    ] {
        let refusal = app.refuses(2, "point-unknown", &["restore", unknown, "--to", &target]);
        refusal.advises(&["lifeboat points"]);
    }
    for nonsense in [
        "newest",
        "before:yesterday",
        "random:x",
        "random:2d..1d",
        "../../etc",
    ] {
        app.refuses(2, "usage", &["show", nonsense])
            .names(&[nonsense])
            .advises(&["latest:PLAN"]);
    }
    app.ok(&["show", &one]);
    assert!(!app.path("out").exists());
}
