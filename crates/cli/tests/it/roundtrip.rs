//! Full cycles over an application of every kind of source, through a plain and an encrypted
//! store: what comes back is compared by other programs than ours.

use crate::support::{App, HEAD, listing};
use lifeboat_core::archive::Identities;
use lifeboat_testkit::postgres::{EVERYTHING, PostgresServer};
use lifeboat_testkit::tree;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// An age identity: its secret text, and the public key.
pub fn age_key() -> (String, String) {
    let made = Identities::generate();
    (
        String::from_utf8(made.secret.to_vec()).unwrap(),
        made.recipient,
    )
}

/// Files, SQLite and a command, in a plain gzip store and an encrypted zstd one.
pub const SOURCES: &str = r#"
[source.files]
kind = "files"
paths = ["{root}/data"]

[source.db]
kind = "sqlite"
path = "{root}/live/app.db"

[source.vault]
kind = "command"
command = ["printf", "secret %s\\n", "one"]
extension = "txt"
"#;

const STORES: &str = r#"
[store.disk]
kind = "local"
path = "{root}/store"

[store.vault]
kind = "local"
path = "{root}/vault"
compress = "zstd:3"
encrypt = { age = ["{public}"] }
decrypt = { age = "file:{root}/identity.txt" }

[plan.main]
sources = [{names}]
stores = ["disk", "vault"]

[drill.main]
plans = ["main"]
"#;

const POSTGRES: &str = r#"
[source.crm]
kind = "postgres"
url = "env:CRM_URL"
"#;

/// The application without PostgreSQL.
pub fn application() -> App {
    build(SOURCES, "\"files\", \"db\", \"vault\"")
}

/// The application with a database of `server`.
pub fn application_on(server: &PostgresServer, database: &str) -> App {
    let sources = format!("{SOURCES}{POSTGRES}");
    let mut app = build(&sources, "\"files\", \"db\", \"vault\", \"crm\"");
    app.env("CRM_URL", server.url(database));
    app
}

fn build(sources: &str, names: &str) -> App {
    let (secret, public) = age_key();
    let app = App::with("");
    app.write("identity.txt", secret.as_bytes());
    let stores = STORES
        .replace("{public}", &public)
        .replace("{names}", names);
    app.configure(&format!("{HEAD}{sources}{stores}"));
    std::fs::set_permissions(
        app.path("live/app.db"),
        std::fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    if tree::privileged() {
        std::os::unix::fs::chown(app.path("live/app.db"), Some(33), Some(34)).unwrap();
    }
    app
}

/// What a shell script prints in a directory.
pub fn sh(directory: &Path, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", script])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Two trees are the same for diff, find, getfattr and getfacl.
pub fn same_tree(one: &Path, other: &Path) {
    let (a, b) = (one.to_str().unwrap(), other.to_str().unwrap());
    let diff = Command::new("diff")
        .args(["-r", "--no-dereference", a, b])
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&diff.stdout).into_owned() + &String::from_utf8_lossy(&diff.stderr);
    assert!(diff.status.success() && said.is_empty(), "{said}");
    let privilege = if tree::privileged() { "%U:%G " } else { "" };
    for look in [
        &format!(
            "find . ! -type l -printf '%p %y %m %n {privilege}\\n' | sort; find . -type l -printf '%p %l {privilege}\\n' | sort"
        ),
        "find . -type f -printf '%p %s %Ts\\n' | sort",
        "getfattr -Rhd -m - . 2>/dev/null | LC_ALL=C sort",
        "getfacl -Rpn . 2>/dev/null",
    ] {
        let (left, right) = (sh(one, look), sh(other, look));
        assert_eq!(left, right, "{look}");
    }
}

pub fn dump(path: &Path) -> String {
    let output = Command::new("sqlite3")
        .arg(path)
        .arg(".dump")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Everything a database is to pg_dump, without what only a run of it makes.
pub fn pg_dump(server: &PostgresServer, database: &str) -> String {
    let output = Command::new("pg_dump")
        .args([
            "-h",
            server.socket().to_str().unwrap(),
            "-p",
            &server.port().to_string(),
            "-U",
            "postgres",
            "-d",
            database,
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter(|l| !l.contains("restrict "))
        .map(|l| format!("{l}\n"))
        .collect()
}

/// A copy of a database made with stock tools alone.
fn stock_copy(server: &PostgresServer, from: &str, to: &str) {
    server.create_database(to);
    let access = format!(
        "-h {} -p {} -U postgres",
        server.socket().display(),
        server.port()
    );
    sh(
        Path::new("/"),
        &format!("pg_dump {access} -Fc {from} | pg_restore {access} --exit-on-error -d {to}"),
    );
}

fn without_special_files(app: &App) {
    sh(
        &app.path("data"),
        "find . ! -type d ! -type f ! -type l -delete; rm -f sparse/terabyte 'sparse/all hole'",
    );
}

#[test]
fn awkward_files_sqlite_and_a_command_come_back_from_both_stores() {
    let app = application();
    tree::awkward(&app.path("data"));
    // diff would read a terabyte of holes; the files source has a test of its own for it.
    sh(&app.path("data"), "rm -f sparse/terabyte 'sparse/all hole'");
    let point = app.backup();
    without_special_files(&app);
    app.ok(&["verify", &point]);
    for store in ["disk", "vault"] {
        let report = app.json(&["drill", "--store", store]);
        assert_eq!(
            (&report["outcome"], &report["store"]),
            (&Value::from("verified"), &Value::from(store))
        );
        let target = app.path(&format!("from {store}"));
        app.ok(&[
            "restore",
            &point,
            "--store",
            store,
            "--to",
            target.to_str().unwrap(),
        ]);
        let full = target
            .join("files")
            .join(app.path("data").strip_prefix("/").unwrap());
        same_tree(&app.path("data"), &full);
        assert_eq!(
            dump(&target.join("db/app.db")),
            dump(&app.path("live/app.db"))
        );
        assert_eq!(
            std::fs::read(target.join("vault/vault.txt")).unwrap(),
            b"secret one\n"
        );
    }
    assert_eq!(listing(&app.path("state/scratch")), Vec::<String>::new());
    for name in listing(&app.path("vault")) {
        let bytes = std::fs::read(app.path("vault").join(&name)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let clear = ["secret one", "client_name", "photo.bin", "remember the"]
            .iter()
            .any(|marker| text.contains(marker));
        assert!(!clear, "{name} in the encrypted store tells of the content");
    }
}

#[test]
fn postgres_comes_back_from_both_stores() {
    let server = PostgresServer::start();
    server.create_database("crm");
    server.psql("crm", EVERYTHING);
    let mut app = application_on(&server, "crm");
    let point = app.backup();
    app.ok(&["verify", &point]);
    stock_copy(&server, "crm", "stock");
    let expected = pg_dump(&server, "stock");
    for store in ["disk", "vault"] {
        let report = app.json(&["drill", "--store", store]);
        assert_eq!(report["outcome"], "verified", "{report:#}");
        let target = format!("again_{store}");
        server.create_database(&target);
        app.env("TARGET_URL", server.url(&target));
        app.ok(&[
            "restore",
            &point,
            "--store",
            store,
            "--source",
            "crm",
            "--to",
            "env:TARGET_URL",
        ]);
        assert_eq!(pg_dump(&server, &target), expected);
        // What is there already is not touched.
        app.exits(
            1,
            &[
                "restore",
                &point,
                "--store",
                store,
                "--to",
                "env:TARGET_URL",
            ],
        )
        .says(&["is not empty"]);
        assert_eq!(pg_dump(&server, &target), expected);
        let directory = app.path(&format!("to {store}"));
        app.ok(&[
            "restore",
            &point,
            "--source",
            "crm",
            "--store",
            store,
            "--to",
            directory.to_str().unwrap(),
        ]);
        assert!(sh(&directory, "pg_restore -l crm/crm.dump").contains("every_type"));
        assert!(sh(&directory, "cat crm/globals.sql").contains("app reader"));
        assert!(
            !directory.join("files").exists(),
            "only --source crm was asked for"
        );
    }
}

/// Each store is lost in turn, the plain and the encrypted one, and made anew from the other.
#[test]
fn a_lost_store_is_healed_from_the_other() {
    let app = application();
    let points = [app.backup(), app.backup()];
    app.ok(&["drill"]);
    for (directory, lost, left) in [("vault", "vault", "disk"), ("store", "disk", "vault")] {
        std::fs::remove_dir_all(app.path(directory)).unwrap();
        app.exits(4, &["verify", "--all"]).says(&["lifeboat copy"]);
        app.ok(&["copy", "--to", lost]);
        let verified = app.json(&["verify", "--all"]);
        assert_eq!(verified["outcome"], "intact", "{verified:#}");
        for point in &points {
            let report = app.json(&["drill", "--point", point, "--store", lost]);
            assert_eq!(report["outcome"], "verified", "{report:#}");
        }
        // The evidence came along, and still names its chain whole.
        app.ok(&["evidence", "verify"]);
        app.exits(2, &["copy", &points[0], "--from", left, "--to", left])
            .says(&["the same one"]);
    }
    let target = app.path("restored");
    app.ok(&[
        "restore",
        &points[0],
        "--store",
        "disk",
        "--to",
        target.to_str().unwrap(),
    ]);
    let data = app.path("data");
    same_tree(
        &data,
        &target.join("files").join(data.strip_prefix("/").unwrap()),
    );
}
