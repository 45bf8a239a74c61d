//! Full cycles over an application of every kind of source, through a plain and an encrypted
//! store: what comes back is compared by other programs than ours.

use crate::support::{App, HEAD, listing};
use lifeboat_core::archive::Identities;
use lifeboat_testkit::postgres::{EVERYTHING, PostgresServer};
use lifeboat_testkit::tree;
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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

fn dump(path: &Path) -> String {
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
fn pg_dump(server: &PostgresServer, database: &str) -> String {
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

fn live(app: &App, code: i32, point: &str, more: &[&str]) -> Value {
    let mut args = vec![
        "restore",
        point,
        "--live",
        "--confirm",
        "crm/test",
        "--reason",
        "it burned",
    ];
    args.extend(more);
    app.json_exits(code, &args)
}

#[test]
fn a_destroyed_application_comes_back() {
    let server = PostgresServer::start();
    server.create_database("crm");
    server.psql("crm", "CREATE TABLE client (id int PRIMARY KEY, name text); INSERT INTO client SELECT i, 'c' || i FROM generate_series(1, 500) i");
    let app = application_on(&server, "crm");
    std::fs::set_permissions(app.path("data"), std::fs::Permissions::from_mode(0o751)).unwrap();
    let before = (dump(&app.path("live/app.db")), pg_dump(&server, "crm"));
    sh(app.root(), "cp -a data original");
    let point = app.backup();
    std::fs::remove_dir_all(app.path("data")).unwrap();
    std::fs::remove_file(app.path("live/app.db")).unwrap();
    server.psql("postgres", "DROP DATABASE crm");

    let report = live(&app, 0, &point, &[]);
    // The command's output has no live place, and is said to have none.
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert!(
        report["warnings"]
            .to_string()
            .contains("source vault: a command's output has no live place"),
        "{report:#}"
    );
    same_tree(&app.path("original"), &app.path("data"));
    assert_eq!(
        (dump(&app.path("live/app.db")), pg_dump(&server, "crm")),
        before
    );
    let file = std::fs::metadata(app.path("live/app.db")).unwrap();
    assert_eq!(file.mode() & 0o7777, 0o640);
    if tree::privileged() {
        assert_eq!((file.uid(), file.gid()), (33, 34));
    }
    // Nothing lies around: there was nothing to keep.
    assert_eq!(
        sh(app.root(), "ls"),
        "data\nidentity.txt\nlifeboat.toml\nlive\noriginal\nstate\nstore\nvault\n"
    );
    assert_eq!(sh(app.root(), "ls live"), "app.db\n");
    assert_eq!(databases(&server), "crm");
}

fn databases(server: &PostgresServer) -> String {
    server.psql(
        "postgres",
        "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname ~ 'crm'",
    )
}

/// The directory above is gone as well: it comes back as it was, and lets its users in.
#[test]
fn the_directories_above_come_back_as_they_were() {
    let app = application();
    app.edit(
        "{root}/data"
            .replace("{root}", &app.root().display().to_string())
            .as_str(),
        &app.path("opt/bot/data").display().to_string(),
    );
    app.write("opt/bot/data/notes.txt", b"kept\n");
    for (path, mode) in [("opt", 0o755), ("opt/bot", 0o2750), ("opt/bot/data", 0o700)] {
        std::fs::set_permissions(app.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    if tree::privileged() {
        std::os::unix::fs::chown(app.path("opt/bot"), Some(33), Some(34)).unwrap();
        std::fs::set_permissions(app.path("opt/bot"), std::fs::Permissions::from_mode(0o2750))
            .unwrap();
    }
    let before = sh(
        &app.path("opt"),
        "find . -printf '%p %m %U %G\\n' | sort; stat -c %a .",
    );
    let point = app.backup();
    std::fs::remove_dir_all(app.path("opt")).unwrap();
    live(&app, 0, &point, &["--source", "files"]);
    assert_eq!(
        sh(
            &app.path("opt"),
            "find . -printf '%p %m %U %G\\n' | sort; stat -c %a ."
        ),
        before
    );
}

#[test]
fn what_was_live_is_kept_aside_and_a_safety_point_taken() {
    let app = application();
    app.configure_also("[restore]\nstop = [[\"{root}/say\", \"stop\"]]\nstart = [[\"{root}/say\", \"start\"]]\nafter = [[\"{root}/say\", \"after\"]]\nchecks = [{ sql = \"db\", query = \"select count(*) from client\", expect = \"= 50\" }]");
    app.script(
        "say",
        &format!(
            "echo $1 $(sqlite3 {0}/live/app.db 'select count(*) from client') >> {0}/said",
            app.root().display()
        ),
    );
    let point = app.backup();
    app.write("data/later.txt", b"not in the point\n");
    let connection = rusqlite::Connection::open(app.path("live/app.db")).unwrap();
    connection
        .execute("DELETE FROM client WHERE id < 20", [])
        .unwrap();
    drop(connection);

    let report = live(&app, 0, &point, &["--store", "vault"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(
        std::fs::read_to_string(app.path("said")).unwrap(),
        "stop 30\nstart 50\nafter 50\n"
    );
    assert!(!app.path("data/later.txt").exists());
    assert_eq!(
        std::fs::read(app.path(&format!("data.before-{point}/later.txt"))).unwrap(),
        b"not in the point\n"
    );
    let kept =
        rusqlite::Connection::open(app.path(&format!("live/app.db.before-{point}"))).unwrap();
    assert_eq!(
        kept.query_row("SELECT count(*) FROM client", [], |r| r.get::<_, i64>(0))
            .unwrap(),
        30
    );
    // The safety point holds what was live at that moment, and is itself a point like any other.
    let safety = report["safety_point"].as_str().unwrap();
    let target = app.path("safety");
    app.ok(&["restore", safety, "--to", target.to_str().unwrap()]);
    assert!(listing(&target).iter().any(|p| p.ends_with("later.txt")));
    assert_eq!(
        app.points().last().unwrap(),
        safety,
        "the safety point is the newest"
    );
    let shown = app.json(&["show", safety]);
    assert!(
        shown["reason"].as_str().unwrap().contains("it burned"),
        "{shown:#}"
    );
    // The check was of the first point.
    app.edit("expect = \"= 50\"", "expect = \"= 30\"");
    // A second restore keeps what the first put there under a name of its own.
    live(&app, 0, safety, &[]);
    assert_eq!(
        std::fs::read(app.path("data/later.txt")).unwrap(),
        b"not in the point\n"
    );
}

/// Everything of the application, byte for byte, as tar sees it.
fn picture(app: &App) -> String {
    sh(
        app.root(),
        "tar --sort=name --numeric-owner --xattrs --acls --pax-option=delete=atime,delete=ctime -cf - data live/* | sha256sum; ls . live",
    )
}

/// Changes everything since a point was taken.
fn change(app: &App) {
    app.write("data/notes.txt", b"newer\n");
    app.write("live/beside", b"not ours\n");
    let connection = rusqlite::Connection::open(app.path("live/app.db")).unwrap();
    connection.execute("DELETE FROM client", []).unwrap();
}

/// A live restore that fails after the swap, and is undone.
fn undone(app: &App, point: &str) {
    let report = live(app, 4, point, &[]);
    assert_eq!(report["outcome"], "failed", "{report:#}");
    assert!(
        report["warnings"].to_string().contains("live again"),
        "{report:#}"
    );
    let listed = app.json(&["evidence", "list"]);
    let last = listed["evidence"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(
        (&last["activity"], &last["outcome"]),
        (&"restore".into(), &"failed".into())
    );
    assert_eq!(last["reason"], "it burned");
}

#[test]
fn a_live_restore_whose_check_fails_is_undone() {
    let app = application();
    let point = app.backup();
    change(&app);
    let before = picture(&app);
    for failing in [
        "checks = [{ sql = \"db\", query = \"select count(*) from client\", expect = \"= 49\" }]",
        "checks = [{ command = [\"false\"] }]",
        "start = [[\"false\"]]",
    ] {
        app.configure_also(&format!("[restore]\n{failing}"));
        undone(&app, &point);
        assert_eq!(picture(&app), before, "{failing}");
        app.edit(&format!("[restore]\n{failing}"), "");
    }
    // A stop that fails: nothing is swapped at all.
    app.configure_also("[restore]\nstop = [[\"false\"]]");
    let args = [
        "restore",
        &point,
        "--live",
        "--confirm",
        "crm/test",
        "--reason",
        "x",
    ];
    app.exits(1, &args).says(&["false ended with"]);
    assert_eq!(picture(&app), before);
}

/// What cannot be undone is never called undone, and nothing of it is removed.
#[test]
fn an_undo_that_fails_is_said_and_recorded() {
    let app = application();
    let point = app.backup();
    change(&app);
    app.script("steal", "mv data.before-* stolen; exit 1");
    app.configure_also("[restore]\nchecks = [{ command = [\"{root}/steal\"] }]");
    let report = live(&app, 4, &point, &["--source", "files"]);
    assert_eq!(report["outcome"], "failed", "{report:#}");
    assert!(
        !report["warnings"].to_string().contains("live again"),
        "{report:#}"
    );
    let checks = report["checks"].as_array().unwrap();
    let undo = checks.iter().find(|c| c["name"] == "undo").unwrap();
    assert_eq!(undo["outcome"], "failed", "{report:#}");
    let notes = sh(
        app.root(),
        "find . -name notes.txt -not -path './state/*' -exec cat {} + | sort",
    );
    assert_eq!(notes, "newer\nremember the milk\n", "both are still there");
}

#[test]
fn a_live_restore_of_a_database_whose_check_fails_is_undone() {
    let server = PostgresServer::start();
    server.create_database("crm");
    server.psql(
        "crm",
        "CREATE TABLE client (id int PRIMARY KEY); INSERT INTO client VALUES (1), (2)",
    );
    let app = application_on(&server, "crm");
    let point = app.backup();
    change(&app);
    server.psql("crm", "INSERT INTO client VALUES (3)");
    let before = (picture(&app), pg_dump(&server, "crm"));
    app.configure_also("[restore]\nchecks = [{ sql = \"crm\", query = \"select count(*) from client\", expect = \"= 3\" }]");
    undone(&app, &point);
    assert_eq!((picture(&app), pg_dump(&server, "crm")), before);
    assert_eq!(databases(&server), "crm");
    // With a check that passes it stays, and what was live is kept under another name.
    app.edit("expect = \"= 3\"", "expect = \"= 2\"");
    live(&app, 0, &point, &[]);
    assert_eq!(server.psql("crm", "SELECT count(*) FROM client"), "2");
    let kept = databases(&server);
    let kept = kept
        .split(' ')
        .find(|name| name.starts_with("crm_before_"))
        .unwrap();
    assert_eq!(server.psql(kept, "SELECT count(*) FROM client"), "3");
}

#[test]
fn a_damaged_point_never_reaches_what_is_live() {
    let app = application();
    let point = app.backup();
    let before = picture(&app);
    let object = listing(&app.path("store"))
        .into_iter()
        .find(|p| p.ends_with(".sqlite.gz"))
        .unwrap();
    let path = app.path("store").join(object);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    app.exits(
        4,
        &[
            "restore",
            &point,
            "--live",
            "--confirm",
            "crm/test",
            "--reason",
            "x",
            "--store",
            "disk",
        ],
    )
    .says(&[".sqlite.gz in store disk: a gzip member fails its checksum"]);
    assert_eq!(picture(&app), before);
    // The other store's copy is sound.
    live(&app, 0, &point, &["--store", "vault"]);
}

#[test]
fn a_live_restore_must_be_confirmed() {
    let app = application();
    let point = app.backup();
    app.write("data/notes.txt", b"newer\n");
    let before = picture(&app);
    for (args, says) in [
        (vec![], "nothing was done"),
        (vec!["--live"], "needs --confirm"),
        (
            vec!["--live", "--confirm", "crm/production"],
            "--confirm says crm/production, this configuration is of crm/test",
        ),
        (vec!["--live", "--confirm", "crm"], "--confirm says crm"),
        (vec!["--live", "--confirm", "crm/test"], "needs --reason"),
        (
            vec!["--live", "--confirm", "crm/test", "--reason", "  "],
            "needs --reason",
        ),
    ] {
        let mut all = vec!["restore", &point];
        all.extend(args);
        app.exits(7, &all).says(&[says]);
        assert_eq!(picture(&app), before);
    }
    let planned = app.json_exits(7, &["restore", &point]);
    let steps = planned["steps"].to_string();
    for step in [
        "safety point",
        "swap in source db",
        &app.path("live/app.db").display().to_string(),
        "sign the evidence",
    ] {
        assert!(steps.contains(step), "{steps}");
    }
    assert_eq!(app.points(), [point.as_str()], "no safety point was taken");
    assert_eq!(
        app.json(&["evidence", "list"])["evidence"],
        serde_json::json!([])
    );
    app.exits(2, &["restore", &point, "--live", "--to", "x"]);
    app.exits(2, &["restore", &point, "--source", "nothing", "--to", "x"])
        .says(&["no source named nothing", "files, db, vault"]);
}

#[test]
fn only_the_named_source_is_restored_live() {
    let app = application();
    let point = app.backup();
    app.write("data/notes.txt", b"newer\n");
    let connection = rusqlite::Connection::open(app.path("live/app.db")).unwrap();
    connection.execute("DELETE FROM client", []).unwrap();
    drop(connection);
    let report = live(&app, 0, &point, &["--source", "db"]);
    assert_eq!(report["sources"], serde_json::json!(["db"]));
    assert_eq!(
        std::fs::read(app.path("data/notes.txt")).unwrap(),
        b"newer\n"
    );
    assert!(dump(&app.path("live/app.db")).contains("client 49"));
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

/// Where the evidence is in a store: each record's path, in order.
fn records(app: &App, store: &str) -> Vec<std::path::PathBuf> {
    let base = app.path(store).join("lifeboat/evidence");
    let mut found: Vec<_> = listing(&base)
        .into_iter()
        .filter(|p| p.ends_with(".json"))
        .map(|p| base.join(p))
        .collect();
    found.sort();
    found
}

#[test]
fn evidence_is_chained_and_signed_for_stock_tools() {
    let app = application();
    app.backup();
    app.ok(&["drill"]);
    app.ok(&["drill", "--store", "vault"]);
    let target = app.path("restored");
    app.ok(&["restore", "latest", "--to", target.to_str().unwrap()]);
    for store in ["store", "vault"] {
        let records = records(&app, store);
        assert_eq!(records.len(), 3);
        let mut previous = Value::Null;
        for (number, path) in records.iter().enumerate() {
            let quoted = path.display();
            let said = sh(
                app.root(),
                &format!(
                    "ssh-keygen -Y verify -f state/allowed_signers -I crm -n lifeboat -s '{quoted}.sig' < '{quoted}'"
                ),
            );
            assert!(
                said.contains("Good \"lifeboat\" signature for crm"),
                "{said}"
            );
            let record: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            assert_eq!(record["sequence"], number as u64 + 1);
            assert_eq!(record["previous"], previous, "{record:#}");
            previous = sh(app.root(), &format!("sha256sum < '{quoted}'"))
                .split(' ')
                .next()
                .unwrap()
                .into();
        }
        // What the record names is the manifest that is there.
        let record: Value = serde_json::from_slice(&std::fs::read(&records[0]).unwrap()).unwrap();
        let point = record["points"][0]["point"].as_str().unwrap();
        let manifest = app
            .path("store/lifeboat/points")
            .join(format!("{point}.json"));
        let hash = sh(app.root(), &format!("sha256sum < '{}'", manifest.display()));
        assert!(hash.starts_with(record["points"][0]["manifest_sha256"].as_str().unwrap()));
    }
    let verified = app.json(&["evidence", "verify"]);
    assert_eq!(
        (&verified["outcome"], &verified["records"]),
        (&"intact".into(), &3.into())
    );
    // Also where only the stores are left.
    let key = std::fs::read(app.path("state/signing.key")).unwrap();
    app.forget_state();
    app.write("state/signing.key", &key);
    assert_eq!(app.json(&["evidence", "verify"])["records"], 3);
    assert_eq!(
        app.json(&["evidence", "list"])["evidence"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

/// Three records, with a point after them whose manifest knows the newest.
fn with_evidence() -> (App, Vec<std::path::PathBuf>) {
    let app = application();
    app.backup();
    for _ in 0..3 {
        app.ok(&["drill"]);
    }
    app.backup();
    app.ok(&["evidence", "verify"]);
    let records = records(&app, "store");
    (app, records)
}

fn remove(record: &Path) {
    std::fs::remove_file(record).unwrap();
    std::fs::remove_file(format!("{}.sig", record.display())).unwrap();
}

#[test]
fn a_cut_tail_of_the_evidence_shows() {
    let (app, records) = with_evidence();
    remove(&records[2]);
    app.exits(4, &["evidence", "verify"])
        .says(&["store disk", "lacks record 3, which the manifest of"]);
}

#[test]
fn evidence_that_is_gone_altogether_shows() {
    let (app, _) = with_evidence();
    std::fs::remove_dir_all(app.path("store/lifeboat/evidence")).unwrap();
    app.exits(4, &["evidence", "verify"])
        .says(&["store disk", "lacks record 3"]);
}

#[test]
fn an_edited_record_shows() {
    let (app, records) = with_evidence();
    let text = std::fs::read_to_string(&records[1]).unwrap();
    assert!(text.contains("\"outcome\": \"verified\""));
    std::fs::write(
        &records[1],
        text.replace("\"outcome\": \"verified\"", "\"outcome\": \"restored\""),
    )
    .unwrap();
    app.exits(4, &["evidence", "verify"]).says(&[
        "000002",
        "the signature does not match",
        "000003",
        "does not carry the hash of the record before it",
    ]);
}

#[test]
fn a_record_missing_from_the_middle_shows() {
    let (app, records) = with_evidence();
    remove(&records[1]);
    app.exits(4, &["evidence", "verify"])
        .says(&["record 2 of this chain is missing"]);
    // The other store has it, and the next record heals the first.
    app.ok(&["drill"]);
    app.ok(&["evidence", "verify"]);
}

#[test]
fn records_that_changed_places_show() {
    let (app, records) = with_evidence();
    let (one, two) = (
        std::fs::read(&records[0]).unwrap(),
        std::fs::read(&records[1]).unwrap(),
    );
    let sig = |n: usize| std::path::PathBuf::from(format!("{}.sig", records[n].display()));
    let (sig_one, sig_two) = (
        std::fs::read(sig(0)).unwrap(),
        std::fs::read(sig(1)).unwrap(),
    );
    std::fs::write(&records[0], two).unwrap();
    std::fs::write(&records[1], one).unwrap();
    std::fs::write(sig(0), sig_two).unwrap();
    std::fs::write(sig(1), sig_one).unwrap();
    app.exits(4, &["evidence", "verify"])
        .says(&["stands under another name than its content says"]);
}

#[test]
fn a_record_by_a_stranger_shows() {
    let (app, records) = with_evidence();
    let script = format!(
        "ssh-keygen -q -t ed25519 -N '' -f stranger; rm -f '{0}.sig'; ssh-keygen -q -Y sign -n lifeboat -f stranger '{0}'",
        records[2].display()
    );
    sh(app.root(), &script);
    app.exits(4, &["evidence", "verify"])
        .says(&["000003", "SHA256:"]);
}
