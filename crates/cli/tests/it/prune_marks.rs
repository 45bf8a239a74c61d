//! What is said of points in the stores: pins and intents, of whoever wrote them.

use crate::prune::{
    HEAD, PLAN, application, assert_no_orphan, assert_whole, command_on, fates, held, json_on,
    ok_on, on, points,
};
use crate::support::{App, run};
use serde_json::{Value, json};

#[test]
fn a_pin_keeps_a_point_and_brings_back_one_that_is_leaving() {
    let app = application();
    let taken = points(&app, 1..=4);
    let refused = on(&app, 4, "03:30:00", &["pin", &taken[0]]);
    assert_eq!(refused.code, 2, "{refused}");
    let pinned = json_on(
        &app,
        4,
        "03:30:00",
        &["pin", &taken[0], "--reason", "before the audit"],
    );
    assert_eq!(pinned["stores"], json!(["disk", "other"]), "{pinned:#}");
    ok_on(&app, 4, "04:00:00", &["prune"]);
    // An empty state knows the pin from the store.
    app.forget_state_but_key();
    let said = ok_on(
        &app,
        4,
        "04:30:00",
        &["pin", &taken[1], "--reason", "it is wanted"],
    );
    said.says(&["it was leaving store disk, and stays there now"]);
    let report = json_on(&app, 5, "04:00:01", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["kept", "returned", "kept", "kept"]);
    let point = &report["stores"][0]["points"][0];
    assert_eq!(point["reasons"], json!(["pinned: before the audit"]));
    assert_eq!(held(&app, "store"), taken);

    let refused = on(&app, 5, "05:00:00", &["unpin", &taken[2], "--reason", "x"]);
    assert_eq!(refused.code, 2, "{refused}");
    ok_on(
        &app,
        5,
        "05:00:00",
        &["unpin", &taken[0], "--reason", "over"],
    );
    let report = json_on(&app, 5, "06:00:00", &["prune"]);
    assert_eq!(
        fates(&report, "disk"),
        ["announced", "kept", "kept", "kept"]
    );
    ok_on(&app, 6, "06:00:01", &["prune"]);
    assert_eq!(held(&app, "store"), taken[1..]);
    assert_no_orphan(&app, "store");
    assert_whole(&app, 6);
    let pins = app.listing("store").into_iter();
    let pins = pins.filter(|name| name.starts_with("lifeboat/pins/2"));
    let pins: Vec<String> = pins.filter(|name| !name.contains(&taken[1])).collect();
    assert_eq!(pins, [""; 0], "of the point that is gone");
}

#[test]
fn a_pin_that_cannot_be_checked_keeps_its_point() {
    let app = application();
    let taken = points(&app, 1..=4);
    ok_on(
        &app,
        4,
        "03:30:00",
        &["pin", &taken[0], "--reason", "audit"],
    );
    for store in ["store", "other"] {
        let name = app.listing(store).into_iter();
        let mut name =
            name.filter(|name| name.starts_with("lifeboat/pins/2") && name.ends_with(".sig"));
        std::fs::write(app.path(store).join(name.next().unwrap()), b"rubbish").unwrap();
    }
    // What this host read before still counts here; an empty state knows nothing of it.
    app.forget_state_but_key();
    let report = on(&app, 4, "04:00:00", &["--json", "prune"]);
    assert_eq!(report.code, 4, "{report}");
    assert_eq!(
        fates(&report.json(), "disk"),
        ["kept", "announced", "kept", "kept"]
    );
}

#[test]
fn intents_that_were_forged_or_put_back_do_nothing() {
    let app = application();
    let taken = points(&app, 1..=3);
    ok_on(&app, 3, "04:00:00", &["prune"]);
    let intents = || -> Vec<String> {
        let names = app.listing("store").into_iter();
        names
            .filter(|name| name.starts_with("lifeboat/intents/2"))
            .collect()
    };
    let kept: Vec<(String, Vec<u8>)> = intents()
        .into_iter()
        .map(|name| {
            (
                name.clone(),
                std::fs::read(app.path("store").join(&name)).unwrap(),
            )
        })
        .collect();
    let (name, bytes) = kept
        .iter()
        .find(|(name, _)| name.ends_with(".json"))
        .unwrap();
    // It is to name the newest point as well.
    let mut forged: Value = serde_json::from_slice(bytes).unwrap();
    let mut leaving = forged["points"][0].clone();
    let newest = &taken[2];
    let manifest = app.path(&format!("store/lifeboat/points/{newest}.json"));
    let manifest = std::fs::read_to_string(manifest).unwrap();
    leaving["point"] = json!(newest);
    leaving["manifest"] = json!(manifest);
    forged["points"].as_array_mut().unwrap().push(leaving);
    let path = app.path("store").join(name);
    std::fs::write(&path, serde_json::to_vec(&forged).unwrap()).unwrap();
    let told = on(&app, 4, "05:00:00", &["--json", "prune", "--store", "disk"]);
    assert_eq!(told.code, 4, "{told}");
    assert_eq!(held(&app, "store"), taken, "{told}");
    std::fs::write(&path, bytes).unwrap();
    ok_on(&app, 5, "05:00:00", &["prune"]);
    ok_on(&app, 6, "05:00:00", &["prune"]);
    assert_eq!(held(&app, "store"), taken[1..]);

    // Put back, it finds its own tombstone, and goes.
    for (name, bytes) in &kept {
        app.write(&format!("store/{name}"), bytes);
    }
    ok_on(&app, 7, "05:00:00", &["prune"]);
    assert_eq!(held(&app, "store"), taken[1..]);
    assert_eq!(intents(), [""; 0]);
    assert_whole(&app, 7);
}

/// A pin that is taken off begins the grace period anew.
#[test]
fn a_pin_that_is_taken_off_begins_the_grace_period_anew() {
    let app = application();
    let taken = points(&app, 1..=3);
    ok_on(&app, 3, "04:00:00", &["prune"]);
    ok_on(&app, 3, "05:00:00", &["pin", &taken[0], "--reason", "wait"]);
    ok_on(
        &app,
        4,
        "06:00:00",
        &["unpin", &taken[0], "--reason", "over"],
    );
    let report = json_on(&app, 4, "07:00:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["waiting", "kept", "kept"]);
    assert_eq!(
        report["stores"][0]["points"][0]["until"],
        "2026-12-05T06:00:00Z"
    );
}

/// A key that an intent names is not used again, even where its object is gone already.
#[test]
fn a_key_is_not_used_again_while_an_intent_names_it() {
    let app = App::with(
        r#"
[source.db]
kind = "sqlite"
path = "{root}/live/app.db"

[store.disk]
kind = "local"
path = "{root}/store"
key = "{app}/{source}"

[plan.main]
sources = ["db"]
stores = ["disk"]
keep = { last = 1 }
"#,
    );
    let taken = points(&app, 1..=2);
    ok_on(&app, 2, "04:00:00", &["prune"]);
    let key = |point: &str| {
        let shown = json_on(&app, 3, "02:00:00", &["show", point]);
        shown["artifacts"][0]["key"].as_str().unwrap().to_owned()
    };
    let first = key(&taken[0]);
    assert_eq!(first, "crm/db.sqlite.gz");
    // A prune that was killed has deleted the manifest and the artifact, and nothing else.
    for name in [format!("lifeboat/points/{}.json", taken[0]), first.clone()] {
        std::fs::remove_file(app.path("store").join(name)).unwrap();
    }
    let newest = points(&app, [3]).remove(0);
    assert_ne!(key(&newest), first);
    ok_on(&app, 3, "04:00:01", &["prune"]);
    ok_on(&app, 4, "04:00:02", &["prune"]);
    assert_eq!(held(&app, "store"), [newest]);
    assert_no_orphan(&app, "store");
    assert_whole(&app, 4);
    // Then it is free.
    let last = points(&app, [5]).remove(0);
    let shown = json_on(&app, 5, "04:00:00", &["show", &last]);
    assert_eq!(shown["artifacts"][0]["key"], first);
}

/// An intent of another application in the same store is its own affair.
#[test]
fn an_intent_of_another_application_does_nothing() {
    let app = application();
    let taken = points(&app, 1..=3);
    ok_on(&app, 3, "04:00:00", &["prune"]);
    let others = App::with(&format!("{HEAD}{PLAN}"));
    others.edit("name = \"crm\"", "name = \"shop\"");
    others.edit("keep = { last = 2 }", "keep = { last = 1 }");
    others.edit("keep_in.other = { last = 3 }", "");
    std::os::unix::fs::symlink(app.path("store"), others.path("store")).unwrap();
    // The other trusts this signer, and reads the same intents.
    let key = std::fs::read(app.path("state/signing.key")).unwrap();
    others.write("state/signing.key", &key);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(others.path("state/signing.key"), private).unwrap();
    let theirs = points(&others, 5..=6);
    ok_on(&others, 6, "04:00:00", &["prune"]);
    let report = json_on(&others, 8, "04:00:00", &["prune", "--store", "disk"]);
    assert_eq!(fates(&report, "disk"), ["deleted", "kept"]);
    let mut left = taken.clone();
    left.push(theirs[1].clone());
    assert_eq!(held(&app, "store"), left);
    ok_on(&app, 8, "05:00:00", &["prune"]);
    left.remove(0);
    assert_eq!(held(&app, "store"), left);
}

/// A copy that was announced and whose signature is gone stays, and that is said.
#[test]
fn an_announced_copy_that_is_not_believed_any_more_stays() {
    let app = application();
    let taken = points(&app, 1..=3);
    ok_on(&app, 3, "04:00:00", &["prune", "--store", "disk"]);
    let signature = format!("store/lifeboat/points/{}.json.sig", taken[0]);
    std::fs::remove_file(app.path(&signature)).unwrap();
    app.forget_state_but_key();
    let told = on(&app, 5, "04:00:00", &["prune", "--store", "disk"]);
    assert_ne!(told.code, 0, "{told}");
    told.says(&[&taken[0], "was announced to go", "and stays"]);
    assert_eq!(held(&app, "store"), taken);
}

/// A clock that was wrong for a while delays what goes, and deletes nothing.
#[test]
fn what_was_announced_by_a_wrong_clock_is_announced_anew() {
    let app = application();
    let taken = points(&app, 1..=3);
    let wrong =
        run(command_on(&app, 3, "04:00:00", &["prune"]).env("FAKETIME", "@2031-12-03 04:00:00"));
    assert_eq!(wrong.code, 0, "{wrong}");
    let report = json_on(&app, 3, "05:00:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["announced", "kept", "kept"]);
    assert_eq!(held(&app, "store"), taken);
    let report = json_on(&app, 4, "05:00:01", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["deleted", "kept", "kept"]);
    // A pin of that clock is taken off by the right one.
    let pinned = run(
        command_on(&app, 4, "06:00:00", &["pin", &taken[1], "--reason", "x"])
            .env("FAKETIME", "@2031-12-03 04:00:00"),
    );
    assert_eq!(pinned.code, 0, "{pinned}");
    ok_on(
        &app,
        4,
        "06:00:00",
        &["unpin", &taken[1], "--reason", "over"],
    );
    let refused = on(
        &app,
        4,
        "07:00:00",
        &["unpin", &taken[1], "--reason", "over"],
    );
    assert_eq!(refused.code, 2, "{refused}");
}
