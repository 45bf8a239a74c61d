//! A source of a kind that this version does not know, or that is not the configured one any more:
//! nothing of it is taken for something else.

use crate::forge;
use crate::support::App;

/// A point in which the source `files` says that it is of another kind.
fn point_of_kind(app: &App, kind: &str) -> String {
    let point = app.backup();
    let manifest = forge::manifest_path(app, &point);
    forge::change(app, &manifest, |m| {
        m["sources"][0]["kind"] = kind.into();
    });
    point
}

#[test]
fn a_kind_that_is_not_known_is_refused_by_name() {
    let app = App::basic();
    let point = point_of_kind(&app, "hologram");
    let target = app.path("out").display().to_string();
    let alone = ["restore", &point, "--source", "files", "--to", &target];
    app.refuses(1, "unsupported", &alone)
        .names(&["source files", "hologram"])
        .advises(&["newer"]);
    assert!(!app.path("out").exists());
    // With others, they come back, and it is named.
    let both = app.json_exits(4, &["restore", &point, "--to", &target]);
    assert_eq!(both["outcome"], "unverifiable", "{both:#}");
    // The mark stays, for a run that brings what is lacking.
    assert_eq!(app.listing("out"), [".lifeboat-restore.json", "db/app.db"]);
    let live = [
        "restore",
        &point,
        "--live",
        "--confirm",
        "crm/test",
        "--reason",
        "x",
    ];
    app.refuses(1, "unsupported", &live).names(&["hologram"]);
    // A drill could not look at it, which speaks neither for nor against the point.
    let drill = app.json_exits(4, &["drill", "--point", &point]);
    assert_eq!(drill["outcome"], "unverifiable", "{drill:#}");
    assert_eq!(app.json(&["verify", &point])["outcome"], "intact");
    assert_eq!(
        app.json(&["show", &point])["sources"][0]["kind"],
        "hologram"
    );
}

#[test]
fn what_was_captured_as_another_kind_is_not_swapped_in() {
    let app = App::basic();
    let before = app.listing("data");
    let point = point_of_kind(&app, "command");
    let live = [
        "restore",
        &point,
        "--live",
        "--confirm",
        "crm/test",
        "--reason",
        "x",
    ];
    app.refuses(1, "target", &live)
        .names(&["source files was captured as command", "has it as files"])
        .advises(&["--to"]);
    assert_eq!(app.listing("data"), before);
}
