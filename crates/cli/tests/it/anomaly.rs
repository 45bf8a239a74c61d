//! Anomalies: what differs from the points before is told, and fails nothing.

use crate::support::{App, HEAD, age_key, noise};
use lifeboat_testkit::mariadb::MariadbServer;
use lifeboat_testkit::postgres::PostgresServer;
use serde_json::{Value, json};

/// The anomalies of the plan `main`, as `status` has them.
fn anomalies(app: &App) -> Vec<Value> {
    let status = app.json(&["status"]);
    status["plans"][0]["anomalies"].as_array().unwrap().clone()
}

fn compared(app: &App) -> Value {
    app.json(&["status"])["plans"][0]["compared"].clone()
}

fn sql(app: &App, sql: &str) {
    let connection = rusqlite::Connection::open(app.path("live/app.db")).unwrap();
    connection.execute_batch(sql).unwrap();
}

/// An application with a table of 1000 rows and another of five.
fn two_tables() -> App {
    let app = App::basic();
    let more = "CREATE TABLE note (id INTEGER PRIMARY KEY);
        INSERT INTO note VALUES (1), (2), (3), (4), (5);
        WITH RECURSIVE n(i) AS (SELECT 50 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
        INSERT INTO client SELECT i, 'client ' || i, 0 FROM n;";
    sql(&app, more);
    app
}

fn backups(app: &App, count: usize) {
    for _ in 0..count {
        app.backup();
    }
}

#[test]
fn a_shrunk_and_a_dropped_table_are_told_with_their_figures() {
    let app = two_tables();
    backups(&app, 2);
    assert_eq!(compared(&app), "too-few-points");
    app.backup();
    assert_eq!(compared(&app), "too-few-points");
    app.backup();
    assert_eq!(
        (compared(&app), anomalies(&app)),
        (json!("content"), vec![])
    );

    sql(&app, "DELETE FROM client WHERE id >= 480; DROP TABLE note;");
    let report = app.json(&["backup"]);
    assert_eq!(report["outcome"], "complete");
    let point = report["point"].as_str().unwrap();
    let told = [
        "table main.client of source db shrank to 480 rows, usually 1000 (-52 %)",
        "table main.note of source db is gone, usually 5 rows",
    ];
    let warnings = report["warnings"].to_string();
    for text in told {
        assert!(warnings.contains(text), "{warnings}");
    }
    let found = anomalies(&app);
    let rows = json!({ "source": "db", "what": "rows", "table": "main.client",
        "observed": 480, "usual": 1000, "severity": "error" });
    let gone = json!({ "source": "db", "what": "table-gone", "table": "main.note",
        "observed": 0, "usual": 5, "severity": "error" });
    assert_eq!(found, [rows, gone]);
    let shown = app.ok(&["status"]);
    shown.says(
        &told
            .map(|text| format!("  {text}"))
            .each_ref()
            .map(String::as_str),
    );
    shown.says(&[&format!(
        "plan main has anomalies: see `lifeboat diff {point}`"
    )]);
    let wide = shown.stdout.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None);
    app.ok(&["diff", point]).says(&["1000 → 480", "main.note"]);
    // It is not overdue, and nothing failed.
    app.ok(&["status", "--check"]);
    // A host that lost its state reads the same from the stores, whose details are in clear.
    app.forget_state_but_key();
    assert_eq!(anomalies(&app), found);

    app.edit(
        "stores = [\"disk\"]",
        "stores = [\"disk\"]\nanomaly = \"off\"",
    );
    assert_eq!((compared(&app), anomalies(&app)), (json!("off"), vec![]));
}

#[test]
fn files_replaced_by_what_cannot_be_compressed_ring() {
    let app = App::basic();
    for file in 0..200 {
        let text = format!("line of file {file}\n").repeat(1000);
        app.write(&format!("data/many/{file}"), text.as_bytes());
    }
    backups(&app, 4);
    assert_eq!(anomalies(&app), [] as [Value; 0]);
    for file in 0..150 {
        let bytes = noise(20_000, file + 1);
        app.write(&format!("data/many/{file}"), &bytes);
    }
    let report = app.json(&["backup"]);
    let found = anomalies(&app);
    let whats: Vec<&Value> = found.iter().map(|a| &a["what"]).collect();
    assert_eq!(whats, ["ratio", "files-changed"], "{found:#?}");
    assert_eq!(
        (&found[1]["observed"], &found[1]["of"]),
        (&json!(150), &json!(202))
    );
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("150 of 202 files were replaced"),
        "{warnings}"
    );
    // Computed once, when the point was taken.
    app.forget_state_but_key();
    assert_eq!(anomalies(&app), found);
}

#[test]
fn a_broken_minimum_rings_at_the_first_point() {
    let app = App::basic();
    app.edit(
        "kind = \"sqlite\"",
        "kind = \"sqlite\"\nmin_rows = 51\nmin_bytes = 10",
    );
    let report = app.json(&["backup"]);
    let text = "source db has 50 rows, fewer than min_rows allows (51)";
    assert!(report["warnings"].to_string().contains(text), "{report:#}");
    let found = anomalies(&app);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["what"], "min-rows");
    app.ok(&["status"]).says(&[text]);
    // A source without tables has no rows.
    app.edit("kind = \"files\"", "kind = \"files\"\nmin_rows = 5");
    app.exits(2, &["config", "check"])
        .says(&["\"min_rows\"", "not \"files\""]);
}

#[test]
fn a_host_without_key_and_state_judges_bytes_only_and_says_so() {
    let app = two_tables();
    let (public, _) = age_key();
    let encrypt = format!("kind = \"local\"\nencrypt = {{ age = [\"{public}\"] }}");
    app.edit("kind = \"local\"", &encrypt);
    backups(&app, 4);
    sql(&app, "DELETE FROM client WHERE id >= 480;");
    app.write("data/large.bin", &noise(3 << 20, 9));
    app.backup();
    let whats = |found: &[Value]| -> Vec<String> {
        let mut whats: Vec<String> = found
            .iter()
            .map(|a| a["what"].as_str().unwrap().to_owned())
            .collect();
        whats.sort();
        whats
    };
    assert_eq!(whats(&anomalies(&app)), ["bytes", "rows"]);
    app.forget_state_but_key();
    assert_eq!(compared(&app), "stored-bytes");
    assert_eq!(whats(&anomalies(&app)), ["stored-bytes"]);
    app.ok(&["status"])
        .says(&["rows and files are sealed, only stored bytes were compared"])
        .never_says(&["main.client"]);
}

const DATABASE: &str = r#"
[source.crm]
kind = "{kind}"
url = "env:CRM_URL"

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
sources = ["crm"]
stores = ["disk"]
"#;

/// Tells of a table that shrank and one that was dropped in the database behind a URL.
fn tells_of_lost_rows(kind: &str, url: &str, schema: &str, run: impl Fn(&str)) {
    let mut app = App::with("");
    app.configure(&format!("{HEAD}{DATABASE}").replace("{kind}", kind));
    app.env("CRM_URL", url);
    run("CREATE TABLE client (id integer PRIMARY KEY)");
    for from in (0..1000).step_by(100) {
        let rows: Vec<String> = (from..from + 100).map(|id| format!("({id})")).collect();
        run(&format!("INSERT INTO client VALUES {}", rows.join(", ")));
    }
    run("CREATE TABLE gone (id integer PRIMARY KEY)");
    backups(&app, 3);
    run("DELETE FROM client WHERE id >= 300");
    run("DROP TABLE gone");
    let report = app.json(&["backup"]);
    let warnings = report["warnings"].to_string();
    for text in [
        format!("table {schema}client of source crm shrank to 300 rows, usually 1000 (-70 %)"),
        format!("table {schema}gone of source crm is gone, usually 0 rows"),
    ] {
        assert!(warnings.contains(&text), "{warnings}");
    }
    let diff = app.json(&["diff", "latest"]);
    let tables = &diff["sources"][0]["tables"];
    let changed = &tables["changed"]["listed"][0];
    assert_eq!(changed["table"], format!("{schema}client"));
    let rows = (&changed["rows_before"], &changed["rows_after"]);
    assert_eq!(rows, (&json!(1000), &json!(300)));
    let removed = &tables["removed"]["listed"][0];
    assert_eq!(removed["table"], format!("{schema}gone"));
}

#[test]
fn anomaly_in_postgres() {
    let server = PostgresServer::start();
    server.create_database("crm");
    let run = |sql: &str| drop(server.psql("crm", sql));
    tells_of_lost_rows("postgres", &server.url("crm"), "public.", run);
}

#[test]
fn anomaly_in_mariadb() {
    let server = MariadbServer::start();
    server.sql("", "CREATE DATABASE crm");
    let run = |sql: &str| drop(server.sql("crm", sql));
    tells_of_lost_rows("mariadb", &server.url("crm"), "", run);
}
