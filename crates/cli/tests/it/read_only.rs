//! Capturing what may only be read, as in the units of systemd, to which everything but the stores and the
//! state is read-only: SQLite databases in WAL mode above all, beside which SQLite wants to make files.

use crate::support::{App, in_namespace};
use lifeboat_testkit::privilege::needs_mounts;
use rusqlite::Connection;

const READ_ONLY: &str = "mount --bind live live; mount -o remount,ro,bind live";

/// An application whose database, below a files source as well, is in WAL mode.
fn app() -> App {
    let app = App::with(
        r#"
[source.db]
kind = "sqlite"
path = "{root}/live/app.db"

[source.files]
kind = "files"
paths = ["{root}/live"]

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
sources = ["db", "files"]
stores = ["disk"]

[drill.main]
plans = ["main"]
checks = [{ sql = "db", query = "select count(*) from client", expect = "same" }, { live = "db" }]
"#,
    );
    let database = open(&app);
    database.pragma_update(None, "journal_mode", "wal").unwrap();
    app
}

fn open(app: &App) -> Connection {
    Connection::open(app.path("live/app.db")).unwrap()
}

fn add(database: &Connection) {
    let add = "INSERT INTO client SELECT max(id) + 1, 'new', 0 FROM client";
    database.execute(add, []).unwrap();
}

/// A backup and a drill succeed where the database is read-only, and find these rows.
fn is_captured(app: &App, rows: usize) {
    let before = app.listing("live");
    let backup = in_namespace(app, READ_ONLY, &["--json", "backup"], "");
    assert_eq!(backup.code, 0, "{backup}");
    let drill = in_namespace(app, READ_ONLY, &["--json", "drill"], "");
    assert_eq!(drill.code, 0, "{drill}");
    let drill = drill.json();
    assert_eq!(drill["outcome"], "verified", "{drill:#}");
    let counted = drill["checks"].as_array().unwrap().iter();
    let counted = counted.filter(|check| check["name"].as_str().unwrap().contains("count(*)"));
    let observed: Vec<_> = counted.map(|check| check["observed"].to_string()).collect();
    assert!(
        observed.len() == 1 && observed[0].contains(&rows.to_string()),
        "{drill:#}"
    );
    assert_eq!(app.listing("live"), before);
    assert_eq!(app.listing("state/scratch"), [""; 0]);
}

#[test]
fn a_database_that_nobody_has_open() {
    if needs_mounts() {
        return;
    }
    let app = app();
    assert_eq!(app.listing("live"), ["app.db"]);
    is_captured(&app, 50);
    in_namespace(&app, READ_ONLY, &["doctor"], "").never_says(&["cannot be copied", "may not be"]);
}

#[test]
fn a_database_with_the_log_that_a_crash_left() {
    if needs_mounts() {
        return;
    }
    let app = app();
    let database = open(&app);
    add(&database);
    let log = std::fs::read(app.path("live/app.db-wal")).unwrap();
    let main = std::fs::read(app.path("live/app.db")).unwrap();
    drop(database);
    app.write("live/app.db", &main);
    app.write("live/app.db-wal", &log);
    is_captured(&app, 51);
}

#[test]
fn a_database_that_is_being_written() {
    if needs_mounts() {
        return;
    }
    let app = app();
    let database = open(&app);
    add(&database);
    is_captured(&app, 51);
}
