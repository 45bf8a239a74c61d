//! MariaDB and MySQL on real servers: drilled, restored elsewhere, restored onto the live one.

use crate::drill_controls::{found, must_fail};
use crate::forge::Held;
use crate::support::{App, HEAD};
use lifeboat_testkit::mariadb::{EVERYTHING, MariadbServer, MysqlServer, mysql_path};

const CONFIG: &str = r#"
[source.crm]
kind = "{kind}"
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

/// What both servers have.
pub const SCHEMA: &str = "
CREATE TABLE client (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL, KEY by_name (name));
INSERT INTO client (name) VALUES ('one'), ('two'), ('thr\u{e9}\u{e9}');
CREATE TABLE gone (id INT PRIMARY KEY);
INSERT INTO gone VALUES (1), (2);
CREATE TABLE invoice (id INT PRIMARY KEY, client INT, CONSTRAINT of_client FOREIGN KEY (client) REFERENCES client (id));
INSERT INTO invoice VALUES (7, 1), (8, 2);
CREATE TABLE `o.d d``\u{e4}` (a INT, at DATE);
SET sql_mode = '';
INSERT INTO `o.d d``\u{e4}` VALUES (1, '0000-00-00');
CREATE TABLE log (text VARCHAR(80));
CREATE VIEW first AS SELECT * FROM client WHERE id = 1;
CREATE VIEW a_view_of_it AS SELECT name FROM first;
DELIMITER $$
CREATE TRIGGER crm.keep_log
AFTER INSERT ON crm.client FOR EACH ROW INSERT INTO log VALUES (CONCAT('new ', NEW.name))$$
CREATE PROCEDURE tidy() DELETE FROM log$$
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DO DELETE FROM log$$
CREATE EVENT never ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE DO DELETE FROM log$$
DELIMITER ;
";

pub const LIVE: &[&str] = &[
    "restore",
    "latest",
    "--live",
    "--confirm",
    "crm/test",
    "--reason=lost",
];

pub fn application(server: &MariadbServer, kind: &str, schema: &str) -> App {
    server.sql("", "CREATE DATABASE crm CHARACTER SET latin1");
    server.sql("crm", schema);
    let mut app = App::with("");
    app.configure(&format!("{HEAD}{CONFIG}").replace("{kind}", kind));
    app.env("CRM_URL", server.url("crm"));
    if kind == "mysql" {
        app.env("PATH", mysql_path());
    }
    app
}

/// A point that holds what the database is after these statements, with the proof from before.
fn captured_then_changed(app: &App, server: &MariadbServer, statements: &str) -> String {
    let original = app.backup();
    server.sql("crm", statements);
    let changed = Held::read(app, "disk", &app.backup());
    Held::read(app, "disk", &original)
        .with_objects_of(&changed)
        .commit();
    original
}

/// What a person would look at.
fn looked_at(server: &MariadbServer, database: &str) -> String {
    server.sql(
        database,
        "SELECT * FROM client; SELECT * FROM invoice; SELECT * FROM a_view_of_it; SELECT * FROM log;
         SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE();
         SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE();
         SELECT EVENT_NAME, STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE() ORDER BY 1;
         SELECT CONSTRAINT_NAME, UNIQUE_CONSTRAINT_SCHEMA = DATABASE() FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = DATABASE();
         SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = DATABASE()",
    )
}

pub fn databases(server: &MariadbServer) -> Vec<String> {
    let list = server.sql("", "SHOW DATABASES LIKE 'crm%'");
    list.lines().map(str::to_owned).collect()
}

/// Live, with something done to it in between, and back again when a check fails.
fn restores_onto_live(server: &MariadbServer, app: &App) {
    let before = looked_at(server, "crm");
    app.backup();
    server.sql(
        "crm",
        "DELETE FROM invoice; DROP VIEW a_view_of_it; DROP TRIGGER keep_log; CREATE TABLE later (id INT);
         CREATE TRIGGER later_one BEFORE INSERT ON later FOR EACH ROW SET NEW.id = 1; DROP EVENT never",
    );
    let objects = "SHOW FULL TABLES; SHOW EVENTS;
        SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE();
        SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()";
    let broken = server.sql("crm", objects);

    // A check that fails after the swap: everything is as it was.
    let config = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    app.configure_also(
        "[restore]\nchecks = [{ sql = \"crm\", query = \"select count(*) from client\", expect = \"> 1000\" }]\n",
    );
    let report = app.json_exits(4, LIVE);
    assert_eq!(report["outcome"], "failed", "{report:#}");
    let now = server.sql("crm", objects);
    assert_eq!(now, broken, "{report:#}");
    assert_eq!(databases(server), ["crm"], "{report:#}");

    app.configure(&config);
    let report = app.json(LIVE);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(looked_at(server, "crm"), before);
    server.sql(
        "crm",
        "INSERT INTO client (name) VALUES ('after'); CALL tidy()",
    );
    let databases = databases(server);
    let [_, kept] = databases.as_slice() else {
        panic!("{databases:?}");
    };
    assert!(kept.starts_with("crm_before_"), "{kept}");
    let text = server.sql(kept, objects);
    assert!(text.contains("later_one"), "{text}");
    let asleep = "SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE() AND STATUS = 'ENABLED'";
    assert_eq!(server.sql(kept, asleep), "0");
}

fn restores_elsewhere(server: &MariadbServer, app: &mut App, point: &str) {
    server.sql("", "CREATE DATABASE elsewhere CHARACTER SET latin1");
    app.env("TARGET_URL", server.url("elsewhere"));
    let to = ["restore", point, "--to", "env:TARGET_URL"];
    let report = app.json(&to);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(
        server.sql("elsewhere", "SELECT name FROM a_view_of_it"),
        "one"
    );
    server.sql("elsewhere", "INSERT INTO client (name) VALUES ('there')");
    assert_eq!(server.sql("elsewhere", "SELECT text FROM log"), "new there");
    assert_eq!(server.sql("crm", "SELECT COUNT(*) FROM log"), "0");
    app.refuses(1, "target", &to)
        .names(&["elsewhere is not empty"])
        .advises(&["CREATE DATABASE"]);
    server.sql("", "DROP DATABASE elsewhere");
}

#[test]
fn mariadb_from_backup_to_live() {
    let server = MariadbServer::start();
    let mut app = application(&server, "mariadb", SCHEMA);
    let point = app.backup();
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    restores_elsewhere(&server, &mut app, &point);
    restores_onto_live(&server, &app);
}

#[test]
fn mysql_from_backup_to_live() {
    let server = MysqlServer::start();
    let mut app = application(&server, "mysql", SCHEMA);
    let point = app.backup();
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    restores_elsewhere(&server, &mut app, &point);
    let original = captured_then_changed(
        &app,
        &server,
        "UPDATE client SET name = 'x' WHERE id = 2; DROP TRIGGER keep_log; DROP INDEX by_name ON client",
    );
    must_fail(&app, &original, &["client", "keep_log", "by_name"]);
    server.sql(
        "",
        "DROP DATABASE crm; CREATE DATABASE crm CHARACTER SET latin1",
    );
    server.sql("crm", SCHEMA);
    restores_onto_live(&server, &app);

    // Whether a dump has the values of such a column is for the policy to say.
    server.sql(
        "crm",
        "CREATE TABLE card (number INT, holder VARCHAR(20) MASKING POLICY hidden)",
    );
    app.ok(&["doctor"])
        .says(&["a proof cannot cover card.holder: under a masking policy"]);
    app.refuses(1, "tool-missing", &["backup"])
        .names(&["masking policies"])
        .advises(&["DROP MASKING POLICY"]);
    server.sql("crm", "DROP TABLE card");

    // MariaDB's server proves nothing of it.
    app.env("PATH", std::env::var("PATH").unwrap());
    let report = app.json_exits(4, &["drill"]);
    assert_eq!(report["outcome"], "unverifiable", "{report:#}");
    assert!(found(&report).contains("only MariaDB"), "{report:#}");
}

/// Everything that a database can hold is drilled, restored elsewhere, and onto the live one.
#[test]
fn everything_comes_back() {
    let server = MariadbServer::start();
    server.sql(
        "",
        "CREATE USER ghost ACCOUNT LOCK; GRANT ALL ON *.* TO ghost",
    );
    let mut app = application(&server, "mariadb", EVERYTHING);
    server.sql("crm", "ALTER DATABASE crm COMMENT 'it''s the live one'");
    app.backup();
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    // What is made in a database takes its default character set, so it becomes the captured one.
    server.sql(
        "",
        "CREATE DATABASE elsewhere CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    );
    app.env("TARGET_URL", server.url("elsewhere"));
    let report = app.json(&["restore", "latest", "--to", "env:TARGET_URL"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert!(
        report["warnings"]
            .to_string()
            .contains("it is that of the captured database now"),
        "{report:#}"
    );
    let defaults = "SELECT DEFAULT_COLLATION_NAME, SCHEMA_COMMENT FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = DATABASE()";
    assert_eq!(
        server.sql("elsewhere", defaults),
        server.sql("crm", defaults)
    );
    assert_ne!(
        server.sql(
            "crm",
            "SELECT SCHEMA_COMMENT FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = DATABASE()"
        ),
        ""
    );
    let report = app.json(LIVE);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    // It is what it was: a capture of it now drills as well.
    app.backup();
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
}

#[test]
fn every_change_is_named() {
    let server = MariadbServer::start();
    let app = application(&server, "mariadb", SCHEMA);
    let point = captured_then_changed(
        &app,
        &server,
        "UPDATE client SET name = 'someone else' WHERE id = 2; DELETE FROM gone WHERE id = 2;
         DROP INDEX by_name ON client; DROP TRIGGER keep_log; DROP PROCEDURE tidy; DROP EVENT never;
         ALTER EVENT nightly DISABLE; DROP VIEW a_view_of_it; ALTER TABLE invoice DROP FOREIGN KEY of_client",
    );
    must_fail(
        &app,
        &point,
        &[
            "table client: 3 rows with hash",
            "table gone: 2 rows was captured, 1 row came back",
            "by_name",
            "keep_log",
            "PROCEDURE tidy",
            "event never",
            "nightly",
            "a_view_of_it",
            "of_client",
        ],
    );
}

#[test]
fn what_a_target_lacks_is_told_before_anything_is_restored() {
    let server = MariadbServer::start();
    server.sql(
        "",
        "CREATE USER ghost ACCOUNT LOCK; GRANT ALL ON *.* TO ghost",
    );
    let schema = format!("{SCHEMA}CREATE DEFINER=ghost@`%` VIEW of_a_ghost AS SELECT 1 AS one;");
    let mut app = application(&server, "mariadb", &schema);
    app.backup();
    server.sql("", "DROP USER ghost");
    server.sql("", "CREATE DATABASE elsewhere");
    app.env("TARGET_URL", server.url("elsewhere"));
    let to = ["restore", "latest", "--to", "env:TARGET_URL"];
    app.refuses(1, "target", &to)
        .names(&["ghost@%", "elsewhere"])
        .advises(&["CREATE USER 'ghost'@'%'"]);
    assert_eq!(server.sql("elsewhere", "SHOW TABLES"), "");
    // A throwaway server gets it, and nobody can log in as it.
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");

    app.env("TARGET_URL", server.url_as("keeper", "wrong", "elsewhere"));
    let refusal = app.refuses(1, "target", &to);
    refusal.names(&["refused the credentials"]);
    app.env("TARGET_URL", server.url("absent"));
    app.refuses(1, "target", &to).names(&["does not exist"]);
}
