//! `RESTORE.md` does what it says: its shell blocks are run as they stand, in an empty directory,
//! by a shell that knows nothing of Lifeboat.

use crate::roundtrip::{application, application_on, same_tree, sh};
use crate::s3::{Bucket, moto};
use crate::support::{App, HEAD, Output, run};
use lifeboat_testkit::mariadb::MariadbServer;
use lifeboat_testkit::postgres::PostgresServer;
use lifeboat_testkit::tree;
use std::path::Path;
use std::process::Command;

/// The ```sh blocks, in order, as one script.
fn blocks(text: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => script += &format!("{line}\n"),
            _ => {}
        }
    }
    assert!(script.contains("ssh-keygen -Y verify"), "{text}");
    script
}

/// Runs the instructions in a new directory `name` of the application, with nothing but these
/// variables of ours.
pub fn follow(app: &App, name: &str, text: &str, env: &[(&str, &str)]) -> Output {
    let directory = app.path(name);
    std::fs::create_dir(&directory).unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &blocks(text)])
        .current_dir(&directory)
        .env_clear();
    // The client for S3 is among the tools of these tests.
    let aws = lifeboat_testkit::s3::tool("venv/bin/aws");
    let own = aws.parent().unwrap().display();
    let path = format!("{own}:{}", std::env::var("PATH").unwrap());
    shell.env("PATH", path).env("HOME", &directory);
    shell.envs(env.iter().copied());
    run(&mut shell)
}

pub fn instructions(store: &Path) -> String {
    let path = store.join("lifeboat/restore/crm/test.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let quoted = path.display();
    let state = store.parent().unwrap().join("state/allowed_signers");
    sh(
        store,
        &format!(
            "ssh-keygen -Y verify -f '{}' -I crm -n lifeboat -s '{quoted}.sig' < '{quoted}'",
            state.display()
        ),
    );
    text
}

/// What came out is what was there.
pub fn compare(app: &App, name: &str) {
    let restored = app.path(name).join("restored");
    let data = app.path("data");
    same_tree(
        &data,
        &restored.join("files").join(data.strip_prefix("/").unwrap()),
    );
    let dump = |path: &Path| {
        sh(
            Path::new("/"),
            &format!("sqlite3 '{}' .dump", path.display()),
        )
    };
    assert_eq!(
        dump(&restored.join("db/db.sqlite")),
        dump(&app.path("live/app.db"))
    );
    assert_eq!(
        std::fs::read(restored.join("vault/vault.txt")).unwrap(),
        b"secret one\n"
    );
}

#[test]
fn for_a_plain_and_an_encrypted_local_store() {
    let app = application();
    tree::awkward(&app.path("data"));
    // A terabyte of holes takes any stock tar its time; the mode of one file no other user may read.
    sh(&app.path("data"), "rm -rf sparse special");
    app.backup();
    let allowed = app.path("state/allowed_signers");
    let allowed = allowed.to_str().unwrap();
    let identity = app.path("identity.txt");
    let identity = identity.to_str().unwrap();
    for (store, name) in [("store", "plain"), ("vault", "sealed")] {
        let text = instructions(&app.path(store));
        let env = [("ALLOWED_SIGNERS", allowed), ("IDENTITY", identity)];
        let output = follow(&app, name, &text, &env);
        assert_eq!(output.code, 0, "{text}\n{output}");
        output.says(&["Good \"lifeboat\" signature for crm", ": OK"]);
        compare(&app, name);
        // Without a list of signers it still says what it can.
        let output = follow(
            &app,
            &format!("{name} unsigned"),
            &text,
            &[("IDENTITY", identity)],
        );
        assert_eq!(output.code, 0, "{output}");
        output.says(&["Good \"lifeboat\" signature with ED25519 key"]);
    }
    // The whole store was carried elsewhere.
    std::fs::rename(app.path("store"), app.path("else where")).unwrap();
    let text =
        std::fs::read_to_string(app.path("else where/lifeboat/restore/crm/test.md")).unwrap();
    let elsewhere = app.path("else where");
    let output = follow(
        &app,
        "moved",
        &text,
        &[("STORE", elsewhere.to_str().unwrap())],
    );
    assert_eq!(output.code, 0, "{output}");
    compare(&app, "moved");
}

#[test]
fn it_stops_at_damage_and_at_strangers() {
    let app = application();
    app.backup();
    let text = instructions(&app.path("store"));
    let signers = app.write(
        "signers",
        b"crm ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q\n",
    );
    let output = follow(
        &app,
        "stranger",
        &text,
        &[("ALLOWED_SIGNERS", signers.to_str().unwrap())],
    );
    assert_ne!(output.code, 0, "{output}");
    assert!(!app.path("stranger/restored/files").exists());
    let name = crate::support::listing(&app.path("store"))
        .into_iter()
        .find(|n| n.ends_with(".sqlite.gz"))
        .unwrap();
    let path = app.path("store").join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let output = follow(&app, "damaged", &text, &[]);
    assert_ne!(output.code, 0);
    output.says(&["FAILED"]);
    assert!(!app.path("damaged/restored/db").exists());
}

#[test]
fn for_postgres() {
    let server = PostgresServer::start();
    server.create_database("crm");
    server.psql("crm", "CREATE ROLE clerk; CREATE TABLE client (id int PRIMARY KEY, name text); ALTER TABLE client OWNER TO clerk;
        INSERT INTO client SELECT i, 'c' || i FROM generate_series(1, 300) i");
    let app = application_on(&server, "crm");
    app.backup();
    let text = instructions(&app.path("vault"));
    let identity = app.path("identity.txt");
    let port = server.port().to_string();
    let socket = server.socket().to_str().unwrap();
    let env = [
        ("IDENTITY", identity.to_str().unwrap()),
        ("PGHOST", socket),
        ("PGPORT", &port),
        ("PGUSER", "postgres"),
    ];
    let output = follow(&app, "same server", &text, &env);
    assert_eq!(output.code, 0, "{output}");
    let all = "SELECT sum(id), count(*), max(name) FROM client";
    assert_eq!(server.psql("restored_crm", all), server.psql("crm", all));
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'client'";
    assert_eq!(server.psql("restored_crm", owner), "clerk");

    // On an empty server, with the roles from the second artifact.
    let other = PostgresServer::start();
    let port = other.port().to_string();
    let socket = other.socket().to_str().unwrap();
    let env = [
        ("IDENTITY", identity.to_str().unwrap()),
        ("PGHOST", socket),
        ("PGPORT", &port),
        ("PGUSER", "postgres"),
        ("RESTORE_ROLES", "yes"),
    ];
    let output = follow(&app, "other server", &text, &env);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(
        (
            other.psql("restored_crm", all),
            other.psql("restored_crm", owner)
        ),
        (server.psql("crm", all), "clerk".into())
    );
}

#[test]
fn for_mariadb() {
    let server = MariadbServer::start();
    server.sql(
        "",
        "CREATE DATABASE crm CHARACTER SET latin1 COLLATE latin1_german1_ci",
    );
    server.sql(
        "crm",
        "CREATE TABLE client (id INT PRIMARY KEY, name TEXT); INSERT INTO client VALUES (1, 'a;b\\n'), (2, '\u{e9}');
         CREATE VIEW v AS SELECT * FROM client; CREATE PROCEDURE p() DELETE FROM client /* all */;
         CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2035-01-01' DO DELETE FROM client",
    );
    let mut app = App::with("");
    app.configure(&format!(
        "{HEAD}\n[source.crm]\nkind = \"mariadb\"\nurl = \"env:CRM_URL\"\n\n[store.disk]\nkind = \"local\"\npath = \"{{root}}/vault\"\n\n[plan.main]\nsources = [\"crm\"]\nstores = [\"disk\"]\n"
    ));
    app.env("CRM_URL", server.url("crm"));
    app.backup();
    let text = instructions(&app.path("vault"));
    let client = format!(
        "mariadb --no-defaults -u root --socket={}",
        server.socket().display()
    );
    let output = follow(&app, "new database", &text, &[("SQL_CLIENT", &client)]);
    assert_eq!(output.code, 0, "{text}\n{output}");
    let all = "SELECT * FROM v; SHOW CREATE TABLE client; SHOW CREATE PROCEDURE p; SELECT EVENT_NAME, STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE(); SELECT @@collation_database";
    assert_eq!(server.sql("restored_crm", all), server.sql("crm", all));
}

#[test]
fn for_s3() {
    let server = moto();
    let bucket = Bucket::of_moto(&server, "backups");
    let app = bucket.application("prefix = \"some/where\"\n");
    app.backup();
    let text = String::from_utf8(bucket.get("some/where/lifeboat/restore/crm/test.md")).unwrap();
    let allowed = app.path("state/allowed_signers");
    let env = [
        ("AWS_ACCESS_KEY_ID", server.access_key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key.as_str()),
        ("ALLOWED_SIGNERS", allowed.to_str().unwrap()),
    ];
    let output = follow(&app, "from bucket", &text, &env);
    assert_eq!(output.code, 0, "{text}\n{output}");
    compare(&app, "from bucket");
}
