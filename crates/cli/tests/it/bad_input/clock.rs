//! A clock that lost its time: points sort by it, and retention will delete by it.

use crate::support::{App, at};

#[test]
fn a_point_from_the_future_is_set_aside_until_it_is_disowned() {
    let app = App::basic();
    let older = app.backup();
    let output = at(&app, "+10y", &["--json", "backup"]);
    assert_eq!(output.code, 0, "{output}");
    let glitch = output.json()["point"].as_str().unwrap().to_owned();
    // Backups go on, and tell.
    let report = app.json(&["backup"]);
    let newest = report["point"].as_str().unwrap().to_owned();
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains(&glitch), "{report:#}");
    assert!(warnings.contains("points --forget"), "{report:#}");
    let listed = app.json(&["points", "--rescan"]);
    let ahead = listed["points"].as_array().unwrap().iter();
    let ahead: Vec<_> = ahead
        .filter(|p| p["ahead"] == true)
        .map(|p| &p["point"])
        .collect();
    assert_eq!(ahead, [&glitch]);
    app.exits(1, &["doctor"])
        .says(&["clock", &glitch, "points --forget"]);
    let latest = |app: &App| app.json(&["show", "latest"])["point"].clone();
    assert_eq!(latest(&app), newest.as_str());
    let verified = app.json(&["verify"]);
    assert_eq!(verified["point"], newest.as_str());
    assert_eq!(app.json(&["drill"])["point"], newest.as_str());
    // The state is of no importance: the store knows.
    app.forget_state_but_key();
    assert_eq!(latest(&app), newest.as_str());
    app.exits(2, &["points", "--forget", &older, "--reason", "clock"]);
    let forgotten = app.json(&["points", "--forget", &glitch, "--reason", "clock"]);
    assert_eq!(forgotten["forgotten"][0]["was"], "disowned");
    app.ok(&["doctor"]).never_says(&[&glitch]);
    app.ok(&["points", "--rescan"])
        .says(&[&glitch])
        .never_says(&["set aside"]);
    let report = app.json(&["backup"]);
    assert_eq!(
        report["warnings"].as_array().unwrap().len(),
        0,
        "{report:#}"
    );
    // It is still there, for whoever names it; how old it is nobody can tell.
    let drilled = app.json(&["drill", "--point", &glitch]);
    assert_eq!(drilled["outcome"], "verified");
    let limits = drilled["limits"].to_string();
    assert!(limits.contains("the age of"), "{limits}");
    app.ok(&["verify", "--all"]);
}

#[test]
fn a_clock_that_is_slow_takes_a_point_and_tells() {
    let app = App::basic();
    let point = app.backup();
    let output = at(&app, "-2d", &["--json", "backup"]);
    assert_eq!(output.code, 0, "{output}");
    let warnings = output.json()["warnings"].to_string();
    assert!(warnings.contains(&point), "{output}");
    app.ok(&["doctor"]);
    assert_eq!(app.json(&["show", "latest"])["point"], point.as_str());
    app.ok(&["verify", "--all"]);
}

#[test]
fn a_clock_that_starts_anew_takes_no_point() {
    let app = App::basic();
    let output = at(&app, "1970-01-02 00:00:00", &["backup"]);
    assert_eq!(output.code, 1, "{output}");
    output
        .refusal()
        .names(&["clock", "1970", "cannot be"])
        .advises(&["set-ntp"]);
    app.holds_no_point("store");
    let output = at(&app, "1970-01-02 00:00:00", &["doctor"]);
    assert_eq!(output.code, 1, "{output}");
    output.says(&["clock", "set-ntp"]);
}

#[test]
fn a_small_difference_between_hosts_is_no_matter() {
    let app = App::basic();
    app.backup();
    let output = at(&app, "-20s", &["backup"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(app.points().len(), 2);
}
