//! PostgreSQL servers that refuse us, clients that do not fit, and targets that are not empty.

use crate::support::{App, in_namespace};
use lifeboat_testkit::postgres::PostgresServer;
use lifeboat_testkit::privilege::needs_mounts;

/// An application whose source `db` is the database `crm` of a server.
fn app(url: &str) -> App {
    let mut app = App::with(
        r#"
[source.db]
kind = "postgres"
url = "env:DATABASE_URL"

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
sources = ["db"]
stores = ["disk"]
"#,
    );
    app.env("DATABASE_URL", url);
    app
}

fn server() -> PostgresServer {
    let server = PostgresServer::start();
    server.create_database("crm");
    server.psql(
        "crm",
        "CREATE TABLE client (id int PRIMARY KEY, name text);
         INSERT INTO client SELECT i, 'client ' || i FROM generate_series(1, 100) i;
         CREATE ROLE guest LOGIN PASSWORD 'guest-password';",
    );
    server
}

#[test]
fn a_server_that_refuses_us() {
    let server = server();
    let mut app = app(&server.url_as("keeper", "hunter2-wrong", "crm"));
    let refusal = app.refuses(1, "source-denied", &["backup"]);
    refusal
        .names(&["source db", "keeper"])
        .because(&["password authentication failed"]);
    assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:#?}");
    let output = app.exits(1, &["doctor"]);
    output
        .says(&["source.db", "password authentication failed", "hint:"])
        .never_says(&["hunter2"]);

    app.env("DATABASE_URL", server.url("no_such_database"));
    let refusal = app.refuses(1, "source-missing", &["backup"]);
    refusal
        .names(&["source db", "no_such_database"])
        .because(&["does not exist"]);

    // A role that may log in and read nothing.
    app.env(
        "DATABASE_URL",
        server.url_as("guest", "guest-password", "crm"),
    );
    let refusal = app.refuses(1, "source-denied", &["backup"]);
    refusal
        .names(&["source db", "may not read: public.client"])
        .advises(&["GRANT"]);
    assert!(
        !format!("{refusal:?}").contains("guest-password"),
        "{refusal:#?}"
    );
    app.exits(1, &["doctor"]).says(&["source.db", "hint:"]);
    app.holds_no_point("store");

    app.env("DATABASE_URL", server.url("crm"));
    app.backup();
}

#[test]
fn a_client_that_is_older_than_the_server() {
    if needs_mounts() {
        return;
    }
    let server = server();
    let app = app(&server.url("crm"));
    let installed = lifeboat_testkit::postgres::newest_bin();
    let installed = installed.parent().unwrap().display().to_string();
    // The same programs under an older version's name: it is by the directory that the
    // distribution's versions are told apart.
    let older = format!(
        "mkdir -p older/9 && mount --bind {installed} older/9 && \
         mount --rbind older /usr/lib/postgresql"
    );
    let output = in_namespace(&app, &older, &["backup"], "");
    assert_eq!(output.code, 1, "{output}");
    let refusal = output.refusal();
    refusal.names(&[
        "source db",
        "the client is older than the server",
        "pg_dump 9",
    ]);
    refusal.advises(&["apt-get install postgresql-client-"]);
    in_namespace(&app, &older, &["--json", "backup"], "").json_refusal("tool-missing");
    app.holds_no_point("store");
    let output = in_namespace(&app, &older, &["doctor"], "");
    assert_eq!(output.code, 1, "{output}");
    output.says(&["older than the server", "apt-get install"]);
}

#[test]
fn a_target_database_that_is_not_empty() {
    let server = server();
    let mut app = app(&server.url("crm"));
    app.backup();
    server.create_database("busy");
    server.psql(
        "busy",
        "CREATE TABLE precious (x int); INSERT INTO precious VALUES (1)",
    );
    app.env("TARGET", server.url("busy"));
    let refusal = app.refuses(1, "target", &["restore", "latest", "--to", "env:TARGET"]);
    refusal.names(&["busy", "not empty"]).advises(&["createdb"]);
    let tables = "SELECT string_agg(relname, ',') FROM pg_class WHERE relkind = 'r' \
                  AND relnamespace = 'public'::regnamespace";
    assert_eq!(server.psql("busy", tables), "precious");
    assert_eq!(server.psql("busy", "SELECT count(*) FROM precious"), "1");

    app.env("TARGET", server.url("no_such_target"));
    let refusal = app.refuses(1, "target", &["restore", "latest", "--to", "env:TARGET"]);
    refusal
        .names(&["no_such_target"])
        .because(&["does not exist"]);
    app.refuses(2, "secret", &["restore", "latest", "--to", "env:UNSET"])
        .names(&["UNSET"]);
    app.env("TARGET", "mysql://x/y");
    app.refuses(2, "usage", &["restore", "latest", "--to", "env:TARGET"])
        .names(&["mysql://"]);
    app.env("TARGET", "ftp://x/y");
    app.refuses(2, "usage", &["restore", "latest", "--to", "env:TARGET"])
        .names(&["env:TARGET"]);

    server.create_database("fresh");
    app.env("TARGET", server.url("fresh"));
    app.ok(&["restore", "latest", "--to", "env:TARGET"]);
    assert_eq!(server.psql("fresh", "SELECT count(*) FROM client"), "100");
}
