//! Objectives that are missed, and captures of nothing, are said.

use crate::support::App;

fn app() -> App {
    let app = App::basic();
    app.edit(
        "environment = \"test\"",
        "environment = \"test\"\nrto = \"1s\"\nrpo = \"1s\"",
    );
    app
}

#[test]
fn a_missed_objective_is_said() {
    let app = app();
    app.edit(
        "checks = [{ sql",
        "checks = [{ command = [\"sleep\", \"2.2\"] }, { sql",
    );
    let point = app.backup();
    app.ok(&["drill"])
        .says(&["recovery time", "MISSED its objective of 1.0 s"]);
    let drilled = app.json(&["drill"]);
    assert_eq!(drilled["outcome"], "verified");
    assert_eq!(drilled["rto_missed"], true, "{drilled:#}");
    // The drills took longer than the objective, so the point is older, too.
    assert_eq!(drilled["rpo_missed"], true, "{drilled:#}");
    let said = [
        "newest complete point",
        &point,
        "the objective (app.rpo) is 1s",
    ];
    app.ok(&["doctor"]).says(&said);
    app.ok(&["points"]).says(&said);
    let listed = app.json(&["points"]);
    assert_eq!(listed["overdue"][0]["plan"], "main", "{listed:#}");
    app.edit("rpo = \"1s\"", "rpo = \"1d\"");
    app.ok(&["points"]).never_says(&["objective"]);
}

#[test]
fn what_became_empty_is_a_warning() {
    let app = App::basic();
    app.ok(&["backup"]).never_says(&["empty"]);
    let connection = rusqlite::Connection::open(app.path("live/app.db")).unwrap();
    connection.execute_batch("DELETE FROM client").unwrap();
    app.ok(&["backup"]).says(&[
        "source db: it is empty, and had",
        "rows in the point before",
    ]);
    let report = app.json(&["backup"]);
    assert!(
        report["warnings"].to_string().contains("it holds no rows"),
        "{report:#}"
    );
}
