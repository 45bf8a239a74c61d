//! The controls of `drill_controls` for PostgreSQL, on a real server.

use crate::drill_controls::{found, must_fail};
use crate::forge::Held;
use crate::support::{App, HEAD};
use lifeboat_testkit::mariadb::{postgres_18, postgres_18_path};
use lifeboat_testkit::postgres::PostgresServer;
use serde_json::Value;

const CONFIG: &str = r#"
[source.crm]
kind = "postgres"
url = "env:CRM_URL"

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
sources = ["crm"]
stores = ["disk"]

[drill.main]
plans = ["main"]
"#;

const SCHEMA: &str = "
    CREATE TABLE client (id integer PRIMARY KEY, name text NOT NULL);
    INSERT INTO client SELECT i, 'client ' || i FROM generate_series(1, 40) i;
    CREATE INDEX client_name ON client (lower(name));
    CREATE TABLE gone (id integer PRIMARY KEY);
    INSERT INTO gone VALUES (1), (2);
    CREATE TABLE hit (page text, at integer);
    INSERT INTO hit VALUES ('/', 1), ('/', 1), ('/about', 2);
    CREATE TABLE empty (id integer);
    CREATE TABLE parent (a integer, b text);
    CREATE TABLE child (c integer) INHERITS (parent);
    ALTER TABLE parent ADD COLUMN e date DEFAULT '2020-01-01';
    INSERT INTO child (a, b, c, e) VALUES (1, 'one', 7, '2021-02-03'), (2, 'two', 8, NULL);
    CREATE SEQUENCE ticket;
    SELECT nextval('ticket') FROM generate_series(1, 20);
    CREATE SEQUENCE unused;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER keep BEFORE UPDATE ON client FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE VIEW first AS SELECT * FROM client WHERE id = 1;
    ALTER TABLE hit ADD CONSTRAINT positive CHECK (at > 0);
    SELECT lo_from_bytea(4711, 'a large object');
";

fn application(server: &PostgresServer) -> App {
    server.create_database("crm");
    server.psql("crm", SCHEMA);
    let mut app = App::with("");
    app.configure(&format!("{HEAD}{CONFIG}"));
    app.env("CRM_URL", server.url("crm"));
    app
}

/// A point that holds what the database is after these statements, with the proof from before.
fn captured_then_changed(app: &App, server: &PostgresServer, statements: &str) -> String {
    let original = app.backup();
    server.psql("crm", statements);
    let changed = Held::read(app, "disk", &app.backup());
    Held::read(app, "disk", &original)
        .with_objects_of(&changed)
        .commit();
    original
}

#[test]
fn every_changed_row_is_named() {
    let server = PostgresServer::start();
    let app = application(&server);
    let point = captured_then_changed(
        &app,
        &server,
        "
        UPDATE client SET name = 'someone else' WHERE id = 7;
        DELETE FROM gone WHERE id = 2;
        INSERT INTO hit SELECT * FROM hit WHERE at = 2;
        INSERT INTO empty VALUES (NULL);
        UPDATE child SET c = a, a = c WHERE b = 'one';
        SELECT lo_put(4711, 2, 'L');",
    );
    must_fail(
        &app,
        &point,
        &[
            "crm: content: 6 differences",
            "table public.client: 40 rows with hash",
            "table public.gone: 2 rows was captured, 1 row came back",
            "table public.hit: 3 rows was captured, 4 rows came back",
            "table public.empty: 0 rows was captured, 1 row came back",
            "table public.child: 2 rows with hash",
            "table pg_largeobject: 1 row with hash",
        ],
    );
}

#[test]
fn every_missing_object_is_named() {
    let server = PostgresServer::start();
    let app = application(&server);
    let point = captured_then_changed(
        &app,
        &server,
        "DROP TRIGGER keep ON client; DROP INDEX client_name; DROP SEQUENCE ticket;
         ALTER TABLE hit DROP CONSTRAINT positive",
    );
    must_fail(
        &app,
        &point,
        &[
            "trigger ",
            "EXECUTE FUNCTION",
            "index public.client_name: CREATE INDEX client_name ON public.client USING btree (lower(name)) was captured, nothing came back",
            "sequence public.ticket: value 20 was captured, no such sequence came back",
            "positive",
        ],
    );
}

#[test]
fn a_missing_table_and_changed_definitions_are_named() {
    let server = PostgresServer::start();
    let app = application(&server);
    let point = captured_then_changed(
        &app,
        &server,
        "DROP TABLE empty; ALTER TABLE client ALTER name DROP NOT NULL;
         CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    );
    must_fail(
        &app,
        &point,
        &[
            "table public.empty",
            "nothing came back",
            "public.touch",
            "public.client",
        ],
    );
}

#[test]
fn a_sequence_may_be_ahead_and_not_behind() {
    let server = PostgresServer::start();
    let app = application(&server);
    let point = captured_then_changed(&app, &server, "SELECT setval('ticket', 500)");
    let report = app.json(&["drill", "--point", &point]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    let point = captured_then_changed(&app, &server, "SELECT setval('ticket', 499)");
    must_fail(
        &app,
        &point,
        &["sequence public.ticket: value 500 was captured, value 499 came back"],
    );
}

/// What differs is in the record to the last of it; people are shown a part, and how to see the rest.
#[test]
fn a_record_holds_every_difference() {
    let server = PostgresServer::start();
    let app = application(&server);
    let tables = |statement: &str| -> String {
        let statement = |n| statement.replace('#', &format!("t{n:02}"));
        (1..=25).map(statement).collect()
    };
    server.psql("crm", &tables("CREATE TABLE # AS SELECT 1 AS a;"));
    let point = captured_then_changed(&app, &server, &tables("DELETE FROM #;"));
    let text = app.exits(4, &["drill", "--point", &point]);
    text.says(&[
        "25 differences: table public.t01: 1 row was captured, 0 rows came back; ",
        "table public.t20: 1 row was captured, 0 rows came back; and 5 more",
    ]);
    text.never_says(&["t21"]);
    let listed = app.json(&["evidence", "list"]);
    let id = listed["evidence"][0]["id"].as_str().unwrap().to_owned();
    text.says(&[&format!(
        "all differences: lifeboat --json evidence show {id}"
    )]);
    let shown = app.json(&["evidence", "show", &id]);
    let check = &shown["checks"][0];
    assert_eq!(check["differences"], 25, "{shown:#}");
    let all = check["listed"].as_array().unwrap();
    let subjects: Vec<_> = all.iter().map(|d| d["subject"].as_str().unwrap()).collect();
    let expected: Vec<_> = (1..=25).map(|n| format!("table public.t{n:02}")).collect();
    assert_eq!(subjects, expected);
    assert_eq!(all[24]["expected"], "1 row");
    assert_eq!(all[24]["observed"], "0 rows");
    assert_eq!(check["unlisted"], Value::Null);
    // The record itself is in clear, and names none of it.
    let record = listed["evidence"][0]["key"].as_str().unwrap();
    let record = std::fs::read_to_string(app.path("store").join(record)).unwrap();
    assert!(!record.contains("public.t"), "{record}");
}

/// A restore runs without a search path; whoever lives with one is told what to do, and that helps.
#[test]
fn a_function_without_a_search_path_is_told_with_its_remedy() {
    let server = PostgresServer::start();
    let app = application(&server);
    server.psql(
        "crm",
        "CREATE SCHEMA app; ALTER DATABASE crm SET search_path = public, app; SET search_path = public, app;
         CREATE TABLE app.rate (kind integer, factor integer); INSERT INTO rate VALUES (1, 7);
         CREATE FUNCTION app.rated(k integer) RETURNS integer LANGUAGE sql IMMUTABLE
           AS 'SELECT factor FROM rate WHERE kind = k';
         CREATE TABLE bill (kind integer CHECK (rated(kind) > 0)); INSERT INTO bill VALUES (1);",
    );
    let remedy = "ALTER FUNCTION app.rated(k integer) SET search_path = app";
    let point = app.backup();
    must_fail(
        &app,
        &point,
        &[
            "function app.rated(k integer) names something without its schema",
            "relation \"rate\" does not exist",
            remedy,
        ],
    );
    app.exits(4, &["drill"]).says(&[remedy]);
    server.psql("crm", remedy);
    app.backup();
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
}

/// A live restore leaves the database with the owner and privileges that it had; one that was made by
/// somebody else keeps its own, and is told of.
#[test]
fn the_database_itself_comes_back() {
    let server = PostgresServer::start();
    let mut app = application(&server);
    server.psql(
        "crm",
        "CREATE ROLE clerk; CREATE ROLE boss; ALTER DATABASE crm OWNER TO boss; ALTER DATABASE crm CONNECTION LIMIT 66;
         REVOKE ALL ON DATABASE crm FROM PUBLIC; GRANT CREATE ON DATABASE crm TO clerk;
         COMMENT ON DATABASE crm IS 'the live one'",
    );
    let properties = |name: &str| {
        let sql = "SELECT datdba::regrole, (SELECT array_agg(x ORDER BY x::text) FROM unnest(datacl) x), datconnlimit, shobj_description(oid, 'pg_database') \
            FROM pg_database WHERE datname = ";
        server.psql("postgres", &format!("{sql}'{name}'"))
    };
    let before = properties("crm");
    app.backup();
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(report["limits"], serde_json::json!([]), "{report:#}");
    app.restore_live();
    assert_eq!(properties("crm"), before);

    let made = "CREATE DATABASE elsewhere TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'";
    server.psql("postgres", made);
    let untouched = properties("elsewhere");
    app.env("TARGET_URL", server.url("elsewhere"));
    let report = app.json(&["restore", "latest", "--to", "env:TARGET_URL"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(properties("elsewhere"), untouched);
    let limits = report["limits"].to_string();
    for text in [
        "database: its owner was boss at capture",
        "database: its privileges was",
        "database: its comment was the live one at capture, and is nothing",
        "database: its locale was",
    ] {
        assert!(limits.contains(text), "no {text:?}: {report:#}");
    }
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains(
            "make it with CREATE DATABASE \\\"elsewhere\\\" TEMPLATE template0 ENCODING 'UTF8'"
        ),
        "{report:#}"
    );
}

/// The restored child has its columns in another order than the captured one.
#[test]
fn an_inherited_child_verifies_though_its_columns_come_back_in_another_order() {
    let server = PostgresServer::start();
    let mut app = application(&server);
    let point = app.backup();
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    let order = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'child'::regclass AND attnum > 0";
    server.create_database("again");
    app.env("TARGET_URL", server.url("again"));
    app.ok(&["restore", &point, "--to", "env:TARGET_URL"]);
    assert_eq!(server.psql("crm", order), "a b c e");
    assert_eq!(server.psql("again", order), "a b e c");
    assert_eq!(
        server.psql("again", "TABLE child"),
        "1|one|2021-02-03|7\n2|two||8"
    );
}

#[test]
fn a_capture_of_another_database_than_the_live_one() {
    let server = PostgresServer::start();
    let mut app = application(&server);
    app.configure_also("checks = [{ live = \"crm\", tolerance = \"5%\" }]");
    let point = app.backup();
    app.ok(&["drill"]);
    server.psql("crm", "INSERT INTO client VALUES (41, 'new')");
    app.ok(&["drill"]);
    server.psql("crm", "CREATE TABLE later (id integer)");
    must_fail(&app, &point, &["live crm", "public.later"]);
    server.create_database("other");
    server.psql("other", "CREATE TABLE client (id integer)");
    app.env("CRM_URL", server.url("other"));
    must_fail(&app, &point, &["live crm", "public.client"]);
    // A live database that cannot be asked ties the capture to nothing.
    app.env("CRM_URL", server.url("absent"));
    let report = app.json_exits(4, &["drill", "--point", &point]);
    assert_ne!(report["outcome"], "verified");
    assert!(found(&report).contains("absent"), "{report:#}");
}

#[test]
fn what_this_host_cannot_start_is_unverifiable() {
    let server = PostgresServer::start();
    let app = application(&server);
    let point = app.backup();
    let mut held = Held::read(&app, "disk", &point);
    for artifact in &mut held.details.artifacts {
        let version = artifact
            .tools
            .get_mut("server")
            .expect("the server's version is recorded");
        *version = "99.1".into();
    }
    held.commit();
    let report = app.json_exits(4, &["drill"]);
    assert_eq!(report["outcome"], "unverifiable", "{report:#}");
    assert!(found(&report).contains("99"), "{report:#}");
    assert_eq!(app.json(&["points"])["points"][0]["proof"], "none");
}

/// The throwaway server is gone afterwards, with all it wrote.
#[test]
fn a_drill_leaves_nothing_behind() {
    let server = PostgresServer::start();
    let mut app = application(&server);
    let temporary = app.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    std::os::unix::fs::chown(&temporary, None, None).unwrap();
    std::fs::set_permissions(
        &temporary,
        std::os::unix::fs::PermissionsExt::from_mode(0o1777),
    )
    .unwrap();
    app.env("TMPDIR", temporary.to_str().unwrap());
    app.backup();
    app.ok(&["drill"]);
    assert_eq!(crate::support::listing(&temporary), Vec::<String>::new());
    assert_eq!(
        crate::support::listing(&app.path("state/scratch")),
        Vec::<String>::new()
    );
    let root = app.root().to_str().unwrap();
    let running = std::process::Command::new("pgrep")
        .args(["-f", root])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&running.stdout),
        "",
        "something of {root} still runs"
    );
}

/// The newest version is found in `PATH`, dumped by its own tools, drilled on its own server.
#[test]
fn version_18_from_backup_to_live() {
    let server = PostgresServer::start_from(&postgres_18());
    let mut app = application(&server);
    app.env("PATH", postgres_18_path());
    let point = app.backup();
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    let changed = captured_then_changed(&app, &server, "DELETE FROM gone WHERE id = 2");
    must_fail(&app, &changed, &["table public.gone"]);
    server.create_database("again");
    app.env("TARGET_URL", server.url("again"));
    app.ok(&["restore", &point, "--to", "env:TARGET_URL"]);
    let live = [
        "restore",
        &point,
        "--live",
        "--confirm",
        "crm/test",
        "--reason=lost",
    ];
    let report = app.json(&live);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(server.psql("crm", "SELECT count(*) FROM gone"), "2");
}

/// Another major version writes views in other words, and says twice that a column is not null.
#[test]
fn an_older_major_version_comes_back_on_18_and_words_are_a_limit() {
    let server = PostgresServer::start();
    let mut app = application(&server);
    app.env("PATH", postgres_18_path());
    server.psql(
        "crm",
        "CREATE EXTENSION IF NOT EXISTS hstore; GRANT SELECT ON client TO PUBLIC;
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
         CREATE DOMAIN shade AS text NOT NULL CHECK (value <> '')",
    );
    let point = app.backup();
    let newer = PostgresServer::start_from(&postgres_18());
    newer.create_database("again");
    app.env("TARGET_URL", newer.url("again"));
    let report = app.json(&["restore", &point, "--to", "env:TARGET_URL"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    let limits = report["limits"].to_string();
    // From 16 on, views are written in the words of 18.
    let version: u32 = server
        .psql("crm", "SHOW server_version_num")
        .trim()
        .parse()
        .unwrap();
    assert_eq!(
        limits.contains("view public.first: there, but PostgreSQL 18"),
        version < 160_000,
        "{version}: {limits}"
    );
    // What is not there is a difference on any version.
    let changed = captured_then_changed(&app, &server, "DROP VIEW first");
    newer.create_database("third");
    app.env("TARGET_URL", newer.url("third"));
    let report = app.json_exits(4, &["restore", &changed, "--to", "env:TARGET_URL"]);
    assert!(
        report.to_string().contains("view public.first"),
        "{report:#}"
    );
}
