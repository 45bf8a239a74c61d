//! Points in a repository: the whole round, with restic looking on.

use crate::restore_md::{compare, follow, instructions};
use crate::roundtrip::{SOURCES, same_tree, sh};
use crate::s3::{Bucket, moto};
use crate::support::{App, HEAD, LIFEBOAT, in_namespace, noise};
use lifeboat_repository::keyfile::Cost;
use lifeboat_repository::{Author, FileKind, Repository};
use lifeboat_store::LocalStore;
use lifeboat_testkit::mariadb::MariadbServer;
use lifeboat_testkit::postgres::PostgresServer;
use lifeboat_testkit::privilege::needs_mounts;
use lifeboat_testkit::restic::Restic;
use lifeboat_testkit::tree;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

pub const PASSWORD: &str = "a long password";

const STORES: &str = r#"
[store.disk]
kind = "local"
path = "{root}/store"
layout = "repository"
password = "file:{root}/repository.key"

[store.plain]
kind = "local"
path = "{root}/plain"

[plan.main]
sources = [{names}]
stores = ["disk", "plain"]

[drill.main]
plans = ["main"]
store = "disk"
"#;

pub const NAMES: &str = "\"files\", \"db\", \"vault\"";

/// An application whose first store keeps points in a repository that is not there yet.
pub fn bare(sources: &str, names: &str) -> App {
    let app = App::with("");
    let key = app.write("repository.key", PASSWORD.as_bytes());
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    app.configure(&format!(
        "{HEAD}{sources}{}",
        STORES.replace("{names}", names)
    ));
    app
}

/// The same with a repository, whose key is opened quickly.
pub fn application(sources: &str, names: &str) -> App {
    let app = bare(sources, names);
    cheap(&app.path("store"));
    app
}

fn cheap(store: &Path) {
    let store = Arc::new(LocalStore::create(store).unwrap());
    let by = Author::default();
    let made = Repository::create(store, "repository/", PASSWORD.as_bytes(), &by).unwrap();
    let slow = made.list(FileKind::Key).unwrap();
    let cost = Cost {
        log_n: 4,
        ..Cost::default()
    };
    made.add_key(PASSWORD.as_bytes(), cost, &by).unwrap();
    for (id, _) in slow {
        made.delete(FileKind::Key, &id).unwrap();
    }
}

pub fn repository(app: &App) -> PathBuf {
    app.path("store/repository")
}

/// The largest file with packs.
pub fn largest_pack(app: &App) -> PathBuf {
    let packs = app.listing("store/repository/data");
    let packs = packs
        .iter()
        .map(|name| repository(app).join("data").join(name));
    packs
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap()
}

/// What a restored tree of the `files` source is to be compared with.
fn below(target: &Path, app: &App) -> PathBuf {
    let data = app.path("data");
    target.join("files").join(data.strip_prefix("/").unwrap())
}

#[test]
fn awkward_files_a_database_and_a_command_come_back_for_lifeboat_and_for_restic() {
    let app = bare(SOURCES, NAMES);
    tree::awkward(&app.path("data"));
    // A terabyte of holes takes restic its time, as it does diff.
    sh(
        &app.path("data"),
        "rm -rf sparse/terabyte 'sparse/all hole' special",
    );
    let report = app.json(&["backup"]);
    assert_eq!(report["outcome"], "complete", "{report:#}");
    let point = report["point"].as_str().unwrap();
    let stored = &report["artifacts"][0]["stored"][0];
    let snapshot = stored["snapshot"].as_str().unwrap();
    assert_eq!(stored["key"], "/files", "{report:#}");
    app.ok(&["verify", point])
        .says(&["10 of 10 objects intact"]);
    let report = app.json(&["drill"]);
    assert_eq!(
        (&report["outcome"], &report["store"]),
        (&Value::from("verified"), &Value::from("disk")),
        "{report:#}"
    );
    let target = app.path("restored here");
    let to = target.to_str().unwrap();
    app.ok(&["restore", point, "--store", "disk", "--to", to]);
    same_tree(&app.path("data"), &below(&target, &app));

    // Nobody's lock is left, and restic knows all of it by the same names.
    assert_eq!(app.listing("store/repository/locks"), [""; 0]);
    let restic = Restic::current();
    restic.ok(&repository(&app), PASSWORD, &["check", "--read-data"]);
    let listed = restic.ok(
        &repository(&app),
        PASSWORD,
        &["snapshots", "--json", "--tag", point],
    );
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["id"], snapshot);
    assert_eq!(
        listed[0]["paths"],
        serde_json::json!(["/db", "/files", "/vault"])
    );
    let target = app.path("by restic");
    let to = target.to_str().unwrap();
    restic.ok(
        &repository(&app),
        PASSWORD,
        &["restore", snapshot, "--target", to],
    );
    same_tree(&app.path("data"), &below(&target, &app));
    assert_eq!(
        std::fs::read(target.join("vault/output.txt")).unwrap(),
        b"secret one\n"
    );
    for name in app.listing("store") {
        let bytes = std::fs::read(app.path("store").join(&name)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let clear = ["secret one", "client_name", "photo.bin", "remember the"];
        let clear = clear.iter().any(|marker| text.contains(marker));
        assert!(!clear, "{name} tells of the content");
    }
}

#[test]
fn restore_md_does_it_with_restic_alone() {
    let app = application(SOURCES, NAMES);
    tree::awkward(&app.path("data"));
    sh(&app.path("data"), "rm -rf sparse special");
    // The older restic, which is in PATH, knows no such link.
    sh(&app.path("data"), "find . -type l -name 'odd*' -delete");
    app.backup();
    let text = instructions(&app.path("store"));
    let allowed = app.path("state/allowed_signers");
    let password = app.path("repository.key");
    let env = [
        ("ALLOWED_SIGNERS", allowed.to_str().unwrap()),
        ("RESTIC_PASSWORD_FILE", password.to_str().unwrap()),
        ("RESTIC_OPTIONS", "--no-cache"),
    ];
    let output = follow(&app, "stock", &text, &env);
    assert_eq!(output.code, 0, "{text}\n{output}");
    output.says(&["Good \"lifeboat\" signature for crm"]);
    compare(&app, "stock");
    // The manifest must name this snapshot.
    let other = text
        .replace(" cat snapshot ", " cat snapshot 00")
        .replace("\"snapshot\": \"", "\"snapshot\": \"00");
    let other = other.replace("'\\\"snapshot", "'\"snapshot");
    let output = follow(
        &app,
        "another",
        &other.replace("grep -q '\"", "grep -q '\"x"),
        &env,
    );
    assert_ne!(output.code, 0, "{output}");
}

#[test]
fn what_two_points_share_is_stored_once() {
    let app = application(
        "\n[source.dump]\nkind = \"command\"\ncommand = [\"cat\", \"{root}/dump\"]\n",
        "\"dump\"",
    );
    let mut dump = noise(10 << 20, 3);
    let backup = |dump: &[u8]| {
        app.write("dump", dump);
        let point = app.backup();
        let shown = app.json(&["show", &point, "--store", "disk"]);
        (point, shown["artifacts"][0]["bytes"].as_u64().unwrap())
    };
    let (first, all) = backup(&dump);
    assert!(all > 10 << 20);
    dump.extend(b"a line that was not there");
    let (second, added) = backup(&dump);
    // No chunk is longer than 8 MiB, and those before the last are the same.
    assert!(added < 9 << 20, "{added}");
    app.ok(&["verify", "--all"]);
    let target = app.path("out");
    let to = target.to_str().unwrap();
    app.ok(&["restore", &second, "--store", "disk", "--to", to]);
    assert!(std::fs::read(target.join("dump/dump.bin")).unwrap() == dump);
    app.ok(&["verify", &first]);
}

#[test]
fn a_postgres_database_comes_back() {
    let server = PostgresServer::start();
    server.create_database("crm");
    server.psql(
        "crm",
        "CREATE ROLE clerk; CREATE TABLE client (id int PRIMARY KEY, name text);
        INSERT INTO client SELECT i, 'c' || i FROM generate_series(1, 3000) i",
    );
    let mut app = application(
        "\n[source.crm]\nkind = \"postgres\"\nurl = \"env:CRM_URL\"\n",
        "\"crm\"",
    );
    app.env("CRM_URL", server.url("crm"));
    app.backup();
    app.ok(&["drill"]).says(&["verified"]);
    let text = instructions(&app.path("store"));
    let (password, port) = (app.path("repository.key"), server.port().to_string());
    let env = [
        ("RESTIC_PASSWORD_FILE", password.to_str().unwrap()),
        ("RESTIC_OPTIONS", "--no-cache"),
        ("PGHOST", server.socket().to_str().unwrap()),
        ("PGPORT", &port),
        ("PGUSER", "postgres"),
    ];
    let output = follow(&app, "stock", &text, &env);
    assert_eq!(output.code, 0, "{text}\n{output}");
    let all = "SELECT sum(id), count(*), max(name) FROM client";
    assert_eq!(server.psql("restored_crm", all), server.psql("crm", all));
}

#[test]
fn damage_is_found_costs_what_it_hits_and_is_healed_by_another_copy() {
    let app = application(SOURCES, NAMES);
    app.write("data/large", &noise(3 << 20, 5));
    let point = app.backup();
    let pack = largest_pack(&app);
    let whole = std::fs::read(&pack).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let output = app.exits(4, &["verify", "--store", "disk"]);
    output.says(&["/files: damaged", "/data/large cannot be restored: blob "]);
    let target = app.path("out");
    let to = target.to_str().unwrap();
    app.exits(4, &["restore", &point, "--store", "disk", "--to", to])
        .says(&[
            "passed  db",
            "passed  vault",
            "heal this one with `lifeboat copy`",
        ]);
    // A drill of such a copy proves nothing.
    app.exits(4, &["drill"]).says(&["failed"]);
    app.ok(&["copy", &point, "--from", "plain", "--to", "disk"]);
    app.ok(&["verify", "--store", "disk"]);

    // A pack is gone, and with it all that was in it.
    for name in app.listing("store/repository/data") {
        std::fs::remove_file(repository(&app).join("data").join(name)).unwrap();
    }
    app.exits(4, &["verify", "--store", "disk"])
        .says(&["missing"]);
    app.ok(&["copy", &point, "--from", "plain", "--to", "disk"]);
    app.ok(&["verify", "--store", "disk"])
        .says(&["5 of 5 objects intact"]);
    app.ok(&["drill"]).says(&["verified"]);

    // And the other way round: archives out of the repository, byte for byte those of the capture.
    std::fs::remove_dir_all(app.path("plain")).unwrap();
    app.ok(&["copy", &point, "--from", "disk", "--to", "plain"]);
    app.ok(&["verify", "--store", "plain"]);
    app.ok(&["drill", "--store", "plain"]).says(&["verified"]);
    // The snapshot itself.
    std::fs::remove_dir_all(repository(&app).join("snapshots")).unwrap();
    app.exits(4, &["verify", "--store", "disk"])
        .says(&["its repository: snapshot", "is missing"]);
    app.ok(&["copy", &point, "--to", "disk"]);
    app.ok(&["verify", "--store", "disk"]);
    // A new point does not rely on what the index alone has.
    std::fs::remove_file(largest_pack(&app)).unwrap();
    let later = app.backup();
    app.ok(&["verify", &later, "--store", "disk"]);
}

#[test]
fn a_repository_that_cannot_be_used_is_told_before_anything_is_done() {
    let app = application(SOURCES, NAMES);
    app.ok(&["doctor"])
        .says(&["its repository opens with the password"]);
    app.edit("stores = [\"disk\", \"plain\"]", "stores = [\"disk\"]");
    app.edit(
        "[plan.main]",
        "[plan.main]\nbefore = [[\"touch\", \"{root}/stopped\"]]",
    );
    app.write("repository.key", b"another password");
    let refusal = app.refuses(1, "decryption", &["backup"]);
    refusal
        .names(&["store disk", "password"])
        .advises(&["`password` of [store.disk]"]);
    app.exits(1, &["doctor"])
        .says(&["the password does not open"]);
    app.write("repository.key", PASSWORD.as_bytes());
    // Somebody prunes.
    let store = Arc::new(LocalStore::open(&app.path("store")).unwrap());
    let open = Repository::open(store, "repository/", PASSWORD.as_bytes()).unwrap();
    let lock = lifeboat_repository::lock::Lock::take(
        &open,
        lifeboat_repository::lock::Mode::Exclusive,
        std::time::Duration::ZERO,
        &Author::default(),
    );
    let lock = lock.unwrap();
    let waiting = app
        .command(&["backup"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It waits until that has ended.
    while app.listing("state/locks").is_empty() {
        std::thread::yield_now();
    }
    lock.release().unwrap();
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(app.path("stopped").exists());
    // One that was there and has lost its config is not made anew over what is left.
    std::fs::remove_file(app.path("stopped")).unwrap();
    std::fs::remove_file(repository(&app).join("config")).unwrap();
    let refusal = app.refuses(4, "object-damaged", &["backup"]);
    refusal
        .names(&["lost its config"])
        .advises(&["out of the way"]);
    assert!(!app.path("stopped").exists());
}

#[test]
fn on_a_full_disk_there_is_no_snapshot_and_the_other_store_has_the_point() {
    if needs_mounts() {
        return;
    }
    let app = bare(SOURCES, NAMES);
    app.write("data/large", &noise(3 << 20, 6));
    std::fs::create_dir(app.path("store")).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=2m tmpfs '{}'",
        app.path("store").display()
    );
    let then = format!(
        "ls '{0}/snapshots' '{0}/locks' >&2",
        repository(&app).display()
    );
    let output = in_namespace(&app, &mount, &["--json", "backup"], &then);
    assert_eq!(output.code, 3, "{output}");
    let report = output.json();
    assert_eq!(
        report["missing_copies"],
        serde_json::json!(["disk"]),
        "{report:#}"
    );
    assert!(
        report["errors"][0].as_str().unwrap().contains("is full"),
        "{report:#}"
    );
    for artifact in report["artifacts"].as_array().unwrap() {
        let stored = artifact["stored"].as_array().unwrap();
        assert_eq!(stored.len(), 1, "{report:#}");
        assert_eq!(stored[0]["store"], "plain");
    }
    let names = output.stderr.lines().filter(|line| line.len() == 64);
    assert_eq!(
        names.count(),
        0,
        "neither a snapshot nor a lock is left\n{output}"
    );
    app.ok(&["verify", "--store", "plain"]);
}

#[test]
fn a_machine_that_has_nothing_restores_with_the_password_and_so_does_a_kit() {
    let mut app = application(SOURCES, NAMES);
    let point = app.backup();
    app.env("KIT", "correct horse battery staple");
    app.ok(&["kit", "export", "-o", "kit.age", "--passphrase", "env:KIT"]);
    app.ok(&["kit", "test", "kit.age", "--passphrase", "env:KIT"])
        .says(&["disk", &point]);
    let store = app.path("store");
    let given = ["--store-url", store.to_str().unwrap()];
    let trust = ["--trusted-signers", "state/allowed_signers"];
    app.ok(&[&["points"][..], &given].concat()).says(&[&point]);
    let before = app.listing("store");
    let to = ["--to", "out"];
    let restore = ["restore", &point];
    app.exits(1, &[&restore[..], &given, &trust, &to].concat())
        .says(&["whose password is not known", "--password REFERENCE"]);
    let password = format!("file:{}", app.path("repository.key").display());
    let password = ["--password", &password];
    app.ok(&[&restore[..], &given, &trust, &to, &password].concat())
        .says(&["verified"]);
    same_tree(&app.path("data"), &below(&app.path("out"), &app));
    assert_eq!(
        app.listing("store"),
        before,
        "nothing is written there, no lock either"
    );
}

#[test]
fn killed_at_any_moment_it_leaves_no_snapshot_and_the_next_backup_is_whole() {
    let app = application(SOURCES, NAMES);
    for number in 0..40 {
        app.write(&format!("data/many/{number}"), &noise(50_000, number));
    }
    app.edit("stores = [\"disk\", \"plain\"]", "stores = [\"disk\"]");
    let mut points = 0;
    for pause in [0, 20, 60, 120, 200, 300, 450, 700] {
        let mut child = std::process::Command::new(LIFEBOAT)
            .args([
                "--config",
                app.path("lifeboat.toml").to_str().unwrap(),
                "-q",
                "backup",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        // A killed run that got as far as the commit counts, and nothing else does.
        // Killed before it wrote the restore page, it has a point all the same.
        let listed = app.json(&["points"]);
        let there = listed["points"].as_array().unwrap().len();
        assert!(there == points || there == points + 1);
        points = there;
    }
    let point = app.backup();
    app.ok(&["verify", "--all"]);
    app.ok(&["restore", &point, "--to", "out"])
        .says(&["verified"]);
    Restic::current().ok(&repository(&app), PASSWORD, &["check", "--read-data"]);
    assert_eq!(app.listing("store/repository/locks"), [""; 0]);
}

#[test]
fn in_a_bucket() {
    let server = moto();
    let bucket = Bucket::of_moto(&server, "backups");
    let app = bucket.application(
        "prefix = \"some/where\"\nlayout = \"repository\"\npassword = \"file:{root}/repository.key\"\n",
    );
    app.configure_also("");
    let key = app.write("repository.key", PASSWORD.as_bytes());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    app.backup();
    app.ok(&["drill"]).says(&["verified"]);
    let text = String::from_utf8(bucket.get("some/where/lifeboat/restore/crm/test.md")).unwrap();
    let env = [
        ("AWS_ACCESS_KEY_ID", server.access_key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key.as_str()),
        ("RESTIC_PASSWORD_FILE", key.to_str().unwrap()),
        ("RESTIC_OPTIONS", "--no-cache"),
    ];
    let output = follow(&app, "stock", &text, &env);
    assert_eq!(output.code, 0, "{text}\n{output}");
    compare(&app, "stock");
}

#[test]
fn a_mariadb_database_comes_back() {
    let server = MariadbServer::start();
    server.sql("", "CREATE DATABASE crm CHARACTER SET utf8mb4");
    server.sql(
        "crm",
        "CREATE TABLE client (id INT PRIMARY KEY, name TEXT); INSERT INTO client VALUES (1, 'a;b\\n'), (2, '\u{e9}');
         CREATE VIEW v AS SELECT * FROM client",
    );
    let mut app = application(
        "\n[source.crm]\nkind = \"mariadb\"\nurl = \"env:CRM_URL\"\n",
        "\"crm\"",
    );
    app.env("CRM_URL", server.url("crm"));
    app.backup();
    app.ok(&["drill"]).says(&["verified"]);
    let text = instructions(&app.path("store"));
    let password = app.path("repository.key");
    let client = format!(
        "mariadb --no-defaults -u root --socket={}",
        server.socket().display()
    );
    let env = [
        ("RESTIC_PASSWORD_FILE", password.to_str().unwrap()),
        ("RESTIC_OPTIONS", "--no-cache"),
        ("SQL_CLIENT", &client),
    ];
    let output = follow(&app, "stock", &text, &env);
    assert_eq!(output.code, 0, "{text}\n{output}");
    let all = "SELECT * FROM v; SHOW CREATE TABLE client";
    assert_eq!(server.sql("restored_crm", all), server.sql("crm", all));
}
