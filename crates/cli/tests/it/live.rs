//! A live restore says what it will do, does that, and claims nothing else.

use crate::support::App;

const LIVE: &[&str] = &[
    "restore",
    "latest",
    "--live",
    "--confirm",
    "crm/test",
    "--reason=lost",
];

#[test]
fn the_plan_is_in_the_order_of_what_is_done() {
    let app = App::basic();
    app.configure_also(
        "[restore]\nstop = [[\"true\", \"stop\"]]\nstart = [[\"true\", \"start\"]]\n",
    );
    app.backup();
    let planned = app.json_exits(7, &["restore", "latest"]);
    let steps: Vec<&str> = planned["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap())
        .collect();
    let expected = [
        "fetch source files",
        "fetch source db",
        "take a safety point",
        "run true stop",
        "swap in source files",
        "swap in source db",
        "run true start",
        "sign the evidence",
    ];
    assert_eq!(steps.len(), expected.len(), "{steps:#?}");
    for (step, begins) in steps.iter().zip(expected) {
        assert!(step.starts_with(begins), "{steps:#?}");
    }
}

#[test]
fn what_was_there_is_kept_and_nothing_is_claimed_where_nothing_was() {
    let app = App::basic();
    app.backup();
    std::fs::remove_dir_all(app.path("data")).unwrap();
    app.write("live/app.db", b"no database any more");
    let report = app.json(LIVE);
    let warnings = report["warnings"].to_string();
    assert!(!warnings.contains("data.before-"), "{warnings}");
    assert!(warnings.contains("app.db.before-"), "{warnings}");
    let kept = app
        .listing("live")
        .into_iter()
        .find(|f| f.contains(".before-"))
        .unwrap();
    let kept = std::fs::read(app.path("live").join(kept)).unwrap();
    assert_eq!(kept, b"no database any more");
    assert_eq!(
        std::fs::read(app.path("data/notes.txt")).unwrap(),
        b"remember the milk\n"
    );
}
