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
    app.exits(4, &["verify", "--all"])
        .says(&["restore/crm/test.md"]);
    app.backup();
    app.ok(&["verify", "--all"]);
    app.ok(&["points", "--rescan"]);
}

/// The manifest of a point, from the store's directory.
fn manifest(point: &str) -> String {
    format!("store/lifeboat/points/{point}.json")
}

/// Whether what is there in the place of `lost` is told wherever it matters.
#[track_caller]
fn is_told(app: &App, lost: &str) {
    for args in [&["points", "--rescan"][..], &["points"]] {
        let listed = app.json_exits(4, args);
        let row = row(&listed, lost);
        assert_eq!(row["outcome"], "missing", "{listed:#}");
        assert_eq!(row["missing"], serde_json::json!(["disk"]));
        app.exits(4, args)
            .says(&[lost, "is not what it was", "points --forget"]);
    }
    for args in [&["verify", "--all"][..], &["verify", lost]] {
        let verified = app.json_exits(4, args);
        assert_eq!(verified["outcome"], "damaged", "{verified:#}");
    }
    app.exits(1, &["doctor"])
        .says(&[lost, "is not what it was"]);
    let out = app.path("out").display().to_string();
    app.exits(4, &["restore", lost, "--to", &out])
        .says(&["is not what it was"]);
}

#[test]
fn an_overwritten_manifest_is_no_less_noticed_than_a_deleted_one() {
    let app = App::basic();
    let older = app.backup();
    let newest = app.backup();
    app.ok(&["points"]);
    let read = |point: &str| std::fs::read(app.path(&manifest(point))).unwrap();
    let (of_older, of_newest) = (read(&older), read(&newest));

    app.write(&manifest(&older), b"{}");
    // Without being asked to look again: a listing shows another size.
    app.exits(4, &["points"])
        .says(&[&older, "is not what it was"]);
    is_told(&app, &older);
    app.write(&manifest(&older), &of_older);
    app.ok(&["points"]);

    // Another point's manifest, signed by somebody who is trusted.
    app.write(&manifest(&newest), &of_older);
    is_told(&app, &newest);
    // One that nobody signed.
    let text = String::from_utf8(of_newest.clone()).unwrap();
    app.write(
        &manifest(&newest),
        text.replace("\"crm\"", "\"srm\"").as_bytes(),
    );
    is_told(&app, &newest);
    let out = app.path("latest").display().to_string();
    app.ok(&["restore", "latest", "--to", &out])
        .says(&[&newest, "it is newer than"]);

    // What was gone and is there again as something else is still missing.
    std::fs::remove_file(app.path(&manifest(&newest))).unwrap();
    app.exits(4, &["points"])
        .says(&[&newest, "is not there any more"]);
    app.write(&manifest(&newest), b"{}");
    is_told(&app, &newest);
    app.ok(&["points", "--forget", &newest, "--reason", "by hand"]);
    // It is not missing any more, but something in the store cannot be read, and may be a point.
    app.exits(3, &["points"])
        .says(&["damaged"])
        .never_says(&["missing:"]);
    app.exits(4, &["verify", "--all"])
        .says(&[&newest, "damaged"]);
    app.exits(1, &["doctor"]).says(&[&newest, "damaged"]);
}

#[test]
fn a_lost_signature_is_noticed_and_a_found_one_remembered() {
    let app = App::basic();
    let point = app.backup();
    let signature = format!("{}.sig", manifest(&point));
    let kept = std::fs::read(app.path(&signature)).unwrap();
    app.forget_state_but_key();
    std::fs::remove_file(app.path(&signature)).unwrap();
    // First seen without a signature, which an upload by other means may be.
    app.ok(&["points"]).says(&["untrusted"]);
    app.write(&signature, &kept);
    app.ok(&["points"]).never_says(&["untrusted"]);
    std::fs::remove_file(app.path(&signature)).unwrap();
    is_told(&app, &point);
}

#[test]
fn a_copy_that_stays_is_remembered_after_another_was_forgotten() {
    let app = App::basic();
    app.edit("stores = [\"disk\"]", "stores = [\"disk\", \"other\"]");
    app.configure_also("[store.other]\nkind = \"local\"\npath = \"{root}/other\"\n");
    let point = app.backup();
    hide(&app, "other", &point);
    app.ok(&["points", "--forget", &point, "--reason", "by hand"]);
    // It may be gone there: nothing is missing, and nothing gives it back unless somebody asks for it.
    let listed = app.json(&["points"]);
    let known = row(&listed, &point);
    assert_eq!(known["missing_copies"], serde_json::json!([]), "{listed:#}");
    app.ok(&["verify", "--all"]).never_says(&["lifeboat copy"]);
    app.ok(&["copy", "--to", "other"]).says(&[&point]);
    hide(&app, "other", &point);
    app.ok(&["points", "--forget", &point, "--reason", "by hand"]);
    app.ok(&["points"]);
    hide(&app, "store", &point);
    app.exits(4, &["points"])
        .says(&[&point, "is not there any more"]);
}

#[test]
fn a_store_that_cannot_be_asked_is_never_left_out_in_silence() {
    let app = App::basic();
    app.edit("stores = [\"disk\"]", "stores = [\"disk\", \"other\"]");
    app.configure_also("[store.other]\nkind = \"local\"\npath = \"{root}/other\"\n");
    let point = app.backup();
    app.forget_state_but_key();
    let manifest = app.path(&manifest(&point));
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("other"));
    // Nothing says that the other store has anything.
    app.edit("stores = [\"disk\", \"other\"]", "stores = [\"disk\"]");
    let alone = app.backup();
    for name in app.listing("store") {
        if name.contains("points/") && !name.contains(&alone) {
            std::fs::remove_file(app.path("store").join(name)).unwrap();
        }
    }
    app.forget_state_but_key();
    std::fs::rename(app.path("other"), app.path("away")).unwrap();
    app.write("other", b"a file where the directory was");
    for args in [&["verify"][..], &["verify", "--all"], &["verify", &alone]] {
        let verified = app.json_exits(1, args);
        assert_eq!(verified["outcome"], "unread", "{verified:#}");
        assert_eq!(verified["unread"][0]["store"], "other", "{verified:#}");
    }
    app.ok(&["verify", "--all", "--store", "disk"]);
    app.exits(1, &["copy", "--to", "other"]);
    let copied = app.json_exits(3, &["copy", "--to", "disk"]);
    assert!(
        !copied["errors"].as_array().unwrap().is_empty(),
        "{copied:#}"
    );
    let out = app.path("out").display().to_string();
    app.ok(&["restore", "latest", "--to", &out])
        .says(&["it may hold points that are newer"]);
    // Where no store answers, nothing says that there is no point.
    std::fs::rename(app.path("store"), app.path("gone")).unwrap();
    app.write("store", b"a file where the directory was");
    app.forget_state_but_key();
    app.exits(1, &["verify", "--all"])
        .says(&["as far as the stores could be read"]);
    app.exits(3, &["points"])
        .says(&["as far as the stores could be read"]);
}

#[test]
fn a_store_that_joins_a_plan_is_given_what_was_taken_before() {
    let app = App::basic();
    let older = app.backup();
    app.edit("stores = [\"disk\"]", "stores = [\"disk\", \"other\"]");
    app.configure_also("[store.other]\nkind = \"local\"\npath = \"{root}/other\"\n");
    // What nobody trusted signed says that it belongs there, and stops nothing.
    let text = std::fs::read_to_string(app.path(&manifest(&older))).unwrap();
    let planted = "20250101T000000Z-abcd";
    app.write(&manifest(planted), text.replace(&older, planted).as_bytes());
    let copied = app.json(&["copy", "--to", "other"]);
    assert_eq!(copied["copied"][0]["point"], older.as_str(), "{copied:#}");
    app.ok(&["verify", &older, "--store", "other"]);
    app.ok(&["copy", "--to", "other"]).says(&["lacks nothing"]);
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
