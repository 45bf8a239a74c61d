//! A live restore says what it will do, does that, and claims nothing else.

use crate::crash::{Started, make_gate, reached};
use crate::support::{App, HEAD};
use lifeboat_testkit::postgres::PostgresServer;

pub const LIVE: &[&str] = &[
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
        .listing("live/.lifeboat-aside")
        .into_iter()
        .find(|f| f.contains(".before-"))
        .unwrap();
    let kept = std::fs::read(app.path("live/.lifeboat-aside").join(kept)).unwrap();
    assert_eq!(kept, b"no database any more");
    assert_eq!(
        std::fs::read(app.path("data/notes.txt")).unwrap(),
        b"remember the milk\n"
    );
}

/// Killed when everything lies aside, and when everything is swapped in: the next one takes it back first.
#[test]
fn a_restore_that_was_killed_is_run_again() {
    let server = PostgresServer::start();
    server.create_database("crm");
    server.psql("crm", "CREATE TABLE t (i int); INSERT INTO t VALUES (1)");
    let mut app = App::with("");
    app.configure(&format!(
        r#"{HEAD}
[source.files]
kind = "files"
paths = ["{{root}}/data"]

[source.db]
kind = "postgres"
url = "env:DATABASE_URL"

[source.small]
kind = "sqlite"
path = "{{root}}/live/app.db"

[store.disk]
kind = "local"
path = "{{root}}/store"

[plan.main]
sources = ["files", "db", "small"]
stores = ["disk"]

[restore]
stop = [["cat", "{{root}}/stop"]]
start = [["cat", "{{root}}/start"]]
"#
    ));
    app.env("DATABASE_URL", server.url("crm"));
    app.write("data/notes.txt", b"captured");
    let point = app.backup();
    app.write("data/notes.txt", b"changed");
    server.psql("crm", "DELETE FROM t");
    for gate in ["stop", "start"] {
        app.write("start", b"");
        app.write("stop", b"");
        std::fs::remove_file(app.path(gate)).unwrap();
        make_gate(&app.path(gate));
        let mut run = Started::new(&app, LIVE);
        let held = reached(&app.path(gate), &mut run);
        run.kill();
        drop(held);
        std::fs::remove_file(app.path(gate)).unwrap();
    }
    app.write("start", b"");
    app.write("stop", b"");
    let report = app.json(LIVE);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    let read = |path: &str| std::fs::read(app.path(path)).unwrap();
    assert_eq!(read("data/notes.txt"), b"captured");
    // The ones before were taken back: what is kept is what was live before them all.
    assert_eq!(
        read(&format!(".lifeboat-aside/data.before-{point}/notes.txt")),
        b"changed"
    );
    let suffix = point.to_lowercase().replace('-', "_");
    for (database, rows) in [
        ("crm".to_owned(), "1"),
        (format!("crm_before_{suffix}"), "0"),
    ] {
        assert_eq!(server.psql(&database, "SELECT count(*) FROM t"), rows);
    }
    let databases = "SELECT count(*) FROM pg_database WHERE datname LIKE 'crm%'";
    assert_eq!(server.psql("postgres", databases), "2");
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("was interrupted, and is taken back"),
        "{warnings}"
    );
}
