//! The whole round on the smallest application: what every other topic builds upon.

use crate::support::App;

#[test]
fn back_up_list_verify_drill_restore() {
    let app = App::basic();
    app.ok(&["doctor"]);
    let point = app.backup();
    assert_eq!(app.points(), [point.as_str()]);
    app.ok(&["verify"]);
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
    let target = app.path("restored");
    app.ok(&["restore", &point, "--to", target.to_str().unwrap()]);
    let mut notes: Vec<_> = app.listing("restored");
    notes.retain(|p| p.ends_with("notes.txt") || p.ends_with("app.db"));
    assert_eq!(notes.len(), 2, "{notes:?}");
}

#[test]
fn quiet_says_only_what_failed() {
    let app = App::basic();
    for args in [
        &["-q", "backup"][..],
        &["backup", "-q"],
        &["drill", "-q"],
        &["verify", "-q"],
        &["evidence", "verify", "-q"],
        &["config", "check", "-q"],
    ] {
        let output = app.ok(args);
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("", ""),
            "{args:?}"
        );
    }
    app.ok(&["points", "-q"]).says(&["complete"]);
    let key = app.listing("store");
    let key = key.iter().find(|k| k.ends_with(".sqlite.gz")).unwrap();
    std::fs::write(app.path("store").join(key), b"x").unwrap();
    app.exits(4, &["verify", "-q"]).says(&["damaged"]);
    assert!(app.json(&["-q", "backup"])["point"].is_string());
}
