//! Sources that cannot be reached, read or dumped.

use crate::support::{App, BASIC, in_namespace};
use lifeboat_testkit::privilege::needs_mounts;

/// One source and one store.
fn app(source: &str) -> App {
    App::with(&format!(
        r#"
{source}

[store.disk]
kind = "local"
path = "{{root}}/store"

[plan.main]
sources = ["it"]
stores = ["disk"]
"#
    ))
}

fn postgres(port: u16) -> App {
    let mut app = app(&format!(
        "[source.it]\nkind = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"crm\"\n\
         password = \"env:PGPW\"\ndatabase = \"crm\""
    ));
    app.env("PGPW", "hunter2-password");
    app
}

#[test]
fn paths_that_are_not_there() {
    let app = app("[source.it]\nkind = \"files\"\npaths = [\"{root}/nowhere\"]");
    let refusal = app.refuses(1, "source-missing", &["backup"]);
    refusal
        .names(&["source it", "nowhere"])
        .advises(&["optional"]);
    app.exits(1, &["doctor"])
        .says(&["source.it", "nowhere", "hint:"]);
    app.holds_no_point("store");
}

#[test]
fn a_sqlite_database_that_is_not_there_or_not_one() {
    let app = app("[source.it]\nkind = \"sqlite\"\npath = \"{root}/nowhere.db\"");
    app.refuses(1, "source-missing", &["backup"])
        .names(&["source it", "nowhere.db"]);
    assert!(
        !app.path("nowhere.db").exists(),
        "looking for it does not make it"
    );
    app.write("nowhere.db", &[b'x'; 5000]);
    let refusal = app.refuses(1, "source-failed", &["backup"]);
    refusal
        .names(&["source it", "nowhere.db"])
        .because(&["not a database"]);
    app.exits(1, &["doctor"]).says(&["source.it", "nowhere.db"]);
    app.holds_no_point("store");
}

#[test]
fn a_server_that_does_not_listen() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let app = postgres(port);
    let refusal = app.refuses(1, "source-unreachable", &["backup"]);
    refusal
        .names(&["source it", "127.0.0.1"])
        .because(&["refused"]);
    let output = app.exits(1, &["doctor"]);
    output
        .says(&["source.it", "127.0.0.1", "hint:"])
        .never_says(&["hunter2"]);
    app.holds_no_point("store");
}

#[test]
fn a_command_that_is_not_installed() {
    let app = app("[source.it]\nkind = \"command\"\ncommand = [\"mariadb-dump\", \"crm\"]");
    let mut command = app.command(&["backup"]);
    let empty = tempfile::tempdir().unwrap();
    let output = crate::support::run(command.env("PATH", empty.path()));
    assert_eq!(output.code, 1, "{output}");
    output
        .refusal()
        .names(&["source it", "mariadb-dump"])
        .advises(&["apt-get install mariadb-client"]);
    app.edit("mariadb-dump", "no-such-program");
    app.refuses(1, "tool-missing", &["backup"])
        .names(&["no-such-program"]);
    app.exits(1, &["doctor"])
        .says(&["source.it", "no-such-program", "hint:"]);
    app.holds_no_point("store");
}

#[test]
fn postgresql_client_programs_that_are_not_installed() {
    if needs_mounts() {
        return;
    }
    let app = postgres(1);
    // Where the distribution keeps them is hidden, and PATH has the shell alone.
    let hide = "mount -t tmpfs none /usr/lib/postgresql; PATH=/nowhere";
    let output = in_namespace(&app, hide, &["backup"], "");
    assert_eq!(output.code, 1, "{output}");
    let refusal = output.refusal();
    refusal
        .names(&["source it", "psql", "not installed"])
        .advises(&["apt-get install postgresql-client"]);
    in_namespace(&app, hide, &["--json", "backup"], "").json_refusal("tool-missing");
    app.holds_no_point("store");
}

#[test]
fn a_command_that_fails_says_so_in_its_own_words() {
    let app = app(
        "[source.it]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"echo half; echo no such table >&2; exit 3\"]",
    );
    let refusal = app.refuses(1, "source-failed", &["backup"]);
    refusal
        .names(&["source it", "exit status 3"])
        .because(&["no such table"])
        .advises(&["by hand"]);
    app.edit("echo half; echo no such table >&2; exit 3", "exit 0");
    app.refuses(1, "source-failed", &["backup"])
        .names(&["0 bytes", "min_bytes"])
        .advises(&["min_bytes"]);
    app.holds_no_point("store");
    let objects = app.listing("store");
    assert!(
        objects.iter().all(|k| !k.starts_with("crm/")),
        "half an object is left: {objects:?}"
    );
}

#[test]
fn a_failed_backup_tells_the_same_as_json() {
    let app = App::with(
        &BASIC
            .replace("live/app.db", "nowhere.db")
            .replace("{root}/data", "{root}/nodata"),
    );
    let document = app.json_exits(1, &["backup"]);
    assert_eq!(document["outcome"], "failed", "{document:#}");
    assert_eq!(document["error"]["code"], "source-missing", "{document:#}");
    let errors = document["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "both failed: {document:#}");
    app.holds_no_point("store");
}
