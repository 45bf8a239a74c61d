//! What was in a store once and is gone is missing, until somebody says that it may be gone.

use crate::support::App;
use serde_json::Value;

/// Removes everything that a store has of a point beside its artifacts.
fn hide(app: &App, store: &str, point: &str) {
    for name in app.listing(store) {
        if name.starts_with("lifeboat/points/") && name.contains(point) {
            std::fs::remove_file(app.path(store).join(name)).unwrap();
        }
    }
}

fn row(listed: &Value, point: &str) -> Value {
    let rows = listed["points"].as_array().unwrap();
    let row = rows.iter().find(|row| row["point"] == point);
    row.unwrap_or_else(|| panic!("{point} in {listed:#}"))
        .clone()
}

#[test]
fn a_point_that_vanished_is_missing_until_it_is_forgotten() {
    let app = App::basic();
    let older = app.backup();
    let newest = app.backup();
    app.ok(&["points"]);
    hide(&app, "store", &newest);
    for args in [&["points"][..], &["points", "--rescan"]] {
        let listed = app.json_exits(4, args);
        let row = row(&listed, &newest);
        assert_eq!(row["outcome"], "missing", "{listed:#}");
        assert_eq!(row["missing"], serde_json::json!(["disk"]));
        app.exits(4, args)
            .says(&[&newest, "is not there any more", "points --forget"]);
    }
    for args in [&["verify"][..], &["verify", "--all"], &["verify", &newest]] {
        let verified = app.json_exits(4, args);
        assert_eq!(verified["outcome"], "missing", "{verified:#}");
    }
    app.exits(1, &["doctor"])
        .says(&[&newest, "is not there any more"]);
    let out = app.path("out").display().to_string();
    app.ok(&["restore", "latest", "--to", &out])
        .says(&[&newest, "newer than"]);

    // Saying so takes a reason, and a point that is missing.
    app.exits(2, &["points", "--forget", &newest]);
    app.exits(2, &["points", "--forget", &newest, "--reason", " "]);
    app.exits(2, &["points", "--forget", &older, "--reason", "tidy"]);
    app.exits(2, &["points", "--forget", "latest", "--reason", "tidy"]);
    let forgotten = app.json(&["points", "--forget", &newest, "--reason", "by hand"]);
    assert_eq!(
        forgotten["forgotten"],
        serde_json::json!([{ "point": newest, "was": "missing" }])
    );
    app.ok(&["points"]);
    // The instructions were of the point that is gone: the next backup writes them again.
    app.exits(4, &["verify", "--all"]).says(&["RESTORE.md"]);
    app.backup();
    app.ok(&["verify", "--all"]);
    app.ok(&["points", "--rescan"]);
}

#[test]
fn a_store_that_was_rolled_back_misses_what_it_had() {
    let app = App::basic();
    app.backup();
    let copy = |from: &str, to: &str| {
        let (from, to) = (app.path(from), app.path(to));
        let status = std::process::Command::new("cp")
            .arg("-a")
            .args([from, to])
            .status();
        assert!(status.unwrap().success());
    };
    copy("store", "earlier");
    let newest = app.backup();
    std::fs::remove_dir_all(app.path("store")).unwrap();
    copy("earlier", "store");
    app.exits(4, &["points"]).says(&[&newest]);
    app.exits(4, &["verify", "--all"]).says(&[&newest]);
    // What comes back is not missing any more.
    app.forget_state_but_key();
    app.ok(&["points"]).never_says(&[&newest]);
}

#[test]
fn a_copy_that_vanished_is_missing_although_another_store_has_one() {
    let app = App::basic();
    app.edit("stores = [\"disk\"]", "stores = [\"disk\", \"other\"]");
    app.configure_also("[store.other]\nkind = \"local\"\npath = \"{root}/other\"\n");
    let point = app.backup();
    hide(&app, "other", &point);
    let heal = format!("lifeboat copy {point} --to other");
    let listed = app.json_exits(4, &["points"]);
    assert_eq!(
        row(&listed, &point)["missing"],
        serde_json::json!(["other"])
    );
    app.exits(4, &["verify", "--all"]).says(&[&heal]);
    app.exits(1, &["doctor"]).says(&[&heal]);
    app.ok(&["copy", &point, "--to", "other"]);
    app.ok(&["points"]);
    app.ok(&["verify", "--all"]);
}

#[test]
fn what_nobody_trusted_signed_is_not_missed() {
    let app = App::basic();
    let point = app.backup();
    let planted = "20300101T000000Z-abcd";
    for suffix in [".json", ".json.sig"] {
        let from = app.path(&format!("store/lifeboat/points/{point}{suffix}"));
        let text = std::fs::read_to_string(from)
            .unwrap()
            .replace(&point, planted);
        let to = format!("store/lifeboat/points/{planted}{suffix}");
        app.write(&to, text.as_bytes());
    }
    app.ok(&["points"]).says(&[planted, "untrusted"]);
    app.ok(&["doctor"]);
    hide(&app, "store", planted);
    app.ok(&["points"]);
}
