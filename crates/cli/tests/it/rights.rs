//! Whether the account of a database may do what a live restore does: told beforehand, with the
//! statements that grant it, and these are enough.

use crate::support::App;
use lifeboat_testkit::mariadb::{MariadbServer, MysqlServer, mysql_path};
use lifeboat_testkit::postgres::PostgresServer;

fn application(kind: &str) -> App {
    App::with(&format!(
        r#"
[source.db]
kind = "{kind}"
url = "env:DB_URL"

[store.disk]
kind = "local"
path = "{{root}}/store"

[plan.main]
sources = ["db"]
stores = ["disk"]
"#
    ))
}

/// The statements that the doctor and the plan of a live restore name.
fn grants(app: &App) -> Vec<String> {
    let doctor = app.json(&["doctor"]);
    let findings = doctor["findings"].as_array().unwrap();
    let lack = findings.iter().find(|finding| {
        let message = finding["message"].as_str().unwrap();
        message.contains("lacks the rights for a live restore")
    });
    let Some(lack) = lack else { return vec![] };
    assert_eq!(lack["severity"], "warning");
    let hint = lack["hint"].as_str().unwrap();
    let (_, statements) = hint.split_once("administrator of the database: ").unwrap();
    app.exits(7, &["restore", "latest"]).says(&[statements]);
    statements.split("; ").map(str::to_owned).collect()
}

#[test]
fn a_postgres_role_that_may_not_make_databases() {
    let server = PostgresServer::start();
    server.psql(
        "postgres",
        "CREATE ROLE app LOGIN PASSWORD 'secret'; CREATE ROLE backup LOGIN PASSWORD 'secret'; GRANT pg_read_all_data TO backup",
    );
    server.psql("postgres", "CREATE DATABASE crm OWNER app");
    server.psql("crm", "GRANT CREATE ON SCHEMA public TO app; SET ROLE app; CREATE TABLE client (id int PRIMARY KEY); INSERT INTO client SELECT generate_series(1, 50)");
    let mut app = application("postgres");
    app.env("DB_URL", server.url_as("app", "secret", "crm"));
    app.backup();
    assert_eq!(grants(&app), ["ALTER ROLE app CREATEDB"]);
    server.psql("postgres", "ALTER ROLE app CREATEDB");
    assert_eq!(grants(&app), Vec::<String>::new());
    app.ok(&["doctor"]).says(&["app may restore it live"]);
    app.restore_live();
    assert_eq!(server.psql("crm", "SELECT count(*) FROM client"), "50");

    // One that only reads could not give it back to its owner.
    app.env("DB_URL", server.url_as("backup", "secret", "crm"));
    let lack =
        "backup cannot restore it live: only a superuser can give what is restored back to app";
    app.ok(&["doctor"]).says(&[lack]);
    app.exits(7, &["restore", "latest"]).says(&[lack]);
    app.env("DB_URL", server.url("crm"));
    app.ok(&["doctor"]).says(&["may restore it live"]);
}

fn mariadb_or_mysql(server: &MariadbServer, app: &mut App, reads: &str, definer: &str) {
    server.sql(
        "",
        "CREATE DATABASE crm_app; CREATE USER backup IDENTIFIED BY 'secret'",
    );
    server.sql(
        "crm_app",
        "CREATE TABLE client (id INT PRIMARY KEY); INSERT INTO client VALUES (1), (2); CREATE VIEW clients AS SELECT id FROM client",
    );
    server.sql(
        "",
        "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON crm_app.* TO backup",
    );
    server.sql("", reads);
    app.env("DB_URL", server.url_as("backup", "secret", "crm_app"));
    app.backup();
    let expected = [
        "GRANT ALL ON `crm_app`.* TO `backup`@`%`".to_owned(),
        "GRANT ALL ON `crm\\_app\\_%`.* TO `backup`@`%`".to_owned(),
        format!("GRANT {definer} ON *.* TO `backup`@`%`"),
    ];
    assert_eq!(grants(app), expected);
    for statement in expected {
        server.sql("", &statement);
    }
    assert_eq!(grants(app), Vec::<String>::new());
    app.ok(&["doctor"]).says(&["may restore it live"]);
    app.restore_live();
    assert_eq!(
        server.sql("crm_app", "SELECT COUNT(*) FROM clients").trim(),
        "2"
    );
}

#[test]
fn a_mariadb_account_that_only_reads() {
    let server = MariadbServer::start();
    let mut app = application("mariadb");
    mariadb_or_mysql(
        &server,
        &mut app,
        "GRANT SELECT ON mysql.proc TO backup",
        "SET USER",
    );
}

#[test]
fn a_mysql_account_that_only_reads() {
    let server = MysqlServer::start();
    let mut app = application("mysql");
    app.env("PATH", mysql_path());
    let reads = "GRANT SHOW_ROUTINE ON *.* TO backup";
    let definer = "SET_ANY_DEFINER, SYSTEM_USER";
    mariadb_or_mysql(&server, &mut app, reads, definer);
}
