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
