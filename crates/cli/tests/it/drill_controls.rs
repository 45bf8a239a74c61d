//! Negative controls: a drill fails, and says what differs, whenever what comes back is not what
//! was there. The positive ones are in `drill_verified`.

use crate::forge::{Held, manifest_path};
use crate::support::{App, BASIC, noise};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A richer database than the basic one: a trigger, a view, a sequence, duplicate rows.
const MORE: &str = "
    CREATE TABLE ledger (entry INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT);
    INSERT INTO ledger (text) VALUES ('a'), ('b'), ('c');
    CREATE TABLE hit (page TEXT, at INTEGER);
    INSERT INTO hit VALUES ('/', 1), ('/', 1), ('/about', 2);
    CREATE TABLE orphan (x);
    CREATE VIEW rich AS SELECT * FROM client WHERE balance > 10;
    CREATE TRIGGER keep AFTER INSERT ON client BEGIN INSERT INTO ledger (text) VALUES (new.name); END;
";

fn sql(app: &App, statements: &str) {
    let connection = rusqlite::Connection::open(app.path("live/app.db")).unwrap();
    connection.execute_batch(statements).unwrap();
}

fn application() -> App {
    let app = App::basic();
    sql(&app, MORE);
    app
}

/// The observations of the checks that did not pass, in one text.
pub fn found(report: &Value) -> String {
    let checks = report["checks"].as_array().unwrap().iter();
    let failed = checks.filter(|c| c["outcome"] != "passed");
    failed
        .map(|c| {
            format!(
                "{}: {}\n",
                c["name"].as_str().unwrap(),
                c["observed"].as_str().unwrap()
            )
        })
        .collect()
}

/// Drills a point, which must fail and say each of these.
pub fn must_fail(app: &App, point: &str, expected: &[&str]) {
    let report = app.json_exits(4, &["drill", "--point", point]);
    assert_eq!(report["outcome"], "failed", "{report:#}");
    assert_eq!(
        report["point"], point,
        "the evidence must name the point: {report:#}"
    );
    let found = found(&report);
    for text in expected {
        assert!(found.contains(text), "nothing says {text:?}:\n{found}");
    }
    // People are told the same, and the point is not listed as proved; one whose manifest is not what
    // it was is missing, too.
    let listed = app.run(&["--json", "points"]).json();
    let mut points = listed["points"].as_array().unwrap().iter();
    assert_eq!(
        points.find(|p| p["point"] == point).unwrap()["proof"],
        "failed",
        "{listed:#}"
    );
}

/// Captures, changes, captures again, and lets the first point hold what the second captured.
fn captured_then_changed(app: &App, change: impl FnOnce(&App)) -> String {
    let original = app.backup();
    change(app);
    let changed = Held::read(app, "disk", &app.backup());
    Held::read(app, "disk", &original)
        .with_objects_of(&changed)
        .commit();
    original
}

macro_rules! sqlite_controls {
    ($($name:ident: $statements:literal => $($expected:literal),+;)+) => {$(
        #[test]
        fn $name() {
            let app = application();
            let point = captured_then_changed(&app, |app| sql(app, $statements));
            must_fail(&app, &point, &[$($expected),+]);
        }
    )+};
}

sqlite_controls! {
    sqlite_a_changed_row: "UPDATE client SET name = 'someone else' WHERE id = 7"
        => "table main.client: 50 rows with hash";
    sqlite_a_changed_type: "UPDATE client SET balance = CAST(balance AS TEXT) WHERE id = 0; UPDATE hit SET page = CAST(page AS BLOB) WHERE at = 2"
        => "table main.hit: 3 rows with hash";
    sqlite_a_deleted_row: "DELETE FROM client WHERE id = 7"
        => "table main.client: 50 rows was captured, 49 rows came back";
    sqlite_a_duplicated_row: "INSERT INTO hit SELECT * FROM hit WHERE at = 2"
        => "table main.hit: 3 rows was captured, 4 rows came back";
    sqlite_two_duplicates_that_cancel: "DELETE FROM hit WHERE page = '/'; INSERT INTO hit VALUES ('/x', 9), ('/x', 9)"
        => "table main.hit: 3 rows with hash";
    sqlite_a_missing_table: "DROP TABLE orphan"
        => "table main.orphan: 0 rows was captured, no such table came back";
    sqlite_a_missing_index: "DROP INDEX client_name"
        => "index main.client_name: CREATE INDEX client_name ON client (name) was captured, nothing came back";
    sqlite_a_missing_trigger: "DROP TRIGGER keep"
        => "trigger main.keep:", "nothing came back";
    sqlite_a_missing_view: "DROP VIEW rich"
        => "view main.rich:", "nothing came back";
    sqlite_a_sequence_that_fell_back: "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'ledger'"
        => "table main.sqlite_sequence: 1 row with hash";
    sqlite_another_column: "ALTER TABLE orphan ADD COLUMN y"
        => "table main.orphan: CREATE TABLE orphan (x) was captured";
}

macro_rules! files_controls {
    ($($name:ident: $change:expr => $($expected:literal),+;)+) => {$(
        #[test]
        fn $name() {
            let app = application();
            let change: fn(&App) = $change;
            let point = captured_then_changed(&app, change);
            must_fail(&app, &point, &[$($expected),+]);
        }
    )+};
}

/// Changes a file so that nothing but its content tells: size and times stay.
fn rewrite_unseen(path: &Path, bytes: &[u8]) {
    let before = std::fs::metadata(path).unwrap().modified().unwrap();
    std::fs::write(path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(before).unwrap();
}

files_controls! {
    files_changed_content: |app| rewrite_unseen(&app.path("data/notes.txt"), b"remember the mulk\n")
        => "content of file", "data/notes.txt";
    files_one_bit_in_a_large_file: |app| {
        let mut bytes = noise(100_000, 7);
        bytes[61_234] ^= 1;
        rewrite_unseen(&app.path("data/deep/er/photo.bin"), &bytes);
    } => "content of file", "data/deep/er/photo.bin";
    files_changed_mode: |app| {
        let open = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(app.path("data/notes.txt"), open).unwrap();
    } => "mode of file", "data/notes.txt", "666";
    files_changed_link_target: |app| {
        std::fs::remove_file(app.path("data/link")).unwrap();
        std::os::unix::fs::symlink("deep", app.path("data/link")).unwrap();
    } => "link", "data/link", "notes.txt was captured, deep came back";
    files_changed_attribute: |app| {
        lifeboat_testkit::tree::set_attribute(&app.path("data/notes.txt"), "user.origin", b"elsewhere");
    } => "extended attributes of file", "data/notes.txt";
    files_changed_time: |app| lifeboat_testkit::tree::set_mtime(&app.path("data/notes.txt"), 1_000_000_000, 0)
        => "modification time of file", "data/notes.txt";
    files_an_extra_file: |app| drop(app.write("data/deep/planted", b"x"))
        => "data/deep/planted: not there was captured, present came back";
    files_a_missing_file: |app| std::fs::remove_file(app.path("data/notes.txt")).unwrap()
        => "data/notes.txt: present was captured, missing came back";
    files_an_extra_directory: |app| std::fs::create_dir(app.path("data/empty")).unwrap()
        => "directory", "data/empty: not there was captured, present came back";
    files_a_file_instead_of_a_link: |app| {
        std::fs::remove_file(app.path("data/link")).unwrap();
        app.write("data/link", b"remember the milk\n");
    } => "type of link", "data/link";
}

/// The forgery itself must be sound, or every control above would fail for its sake.
#[test]
fn the_same_content_from_another_point_verifies() {
    let app = application();
    let point = captured_then_changed(&app, |_| {});
    let report = app.json(&["drill", "--point", &point]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
}

/// What is stored for a source of the newest point.
fn object(app: &App, source: &str) -> PathBuf {
    let shown = app.json(&["show", "latest"]);
    let mut artifacts = shown["artifacts"].as_array().unwrap().iter();
    let key = artifacts.find(|a| a["source"] == source).unwrap()["key"]
        .as_str()
        .unwrap();
    app.path("store").join(key)
}

fn alter(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Every way a stored object may be hurt. Verify finds it, and so does the drill.
fn damaged_objects(app: &App) {
    for source in ["db", "files"] {
        let point = app.backup();
        let path = object(app, source);
        let whole = std::fs::read(&path).unwrap();
        let name = path
            .strip_prefix(app.path("store"))
            .unwrap()
            .display()
            .to_string();
        let spots = [0, whole.len() / 2, whole.len() - 1];
        for spot in spots {
            alter(&path, |bytes| bytes[spot] ^= 1);
            app.exits(4, &["verify", &point])
                .says(&[&name, "damaged", "SHA-256 is"]);
            must_fail(app, &point, &[&format!("{source}: content")]);
            std::fs::write(&path, &whole).unwrap();
        }
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            alter(&path, |bytes| bytes.truncate(length));
            app.exits(4, &["verify", &point])
                .says(&[&name, &format!("it has {length} bytes")]);
            must_fail(app, &point, &[&format!("{source}: content")]);
            std::fs::write(&path, &whole).unwrap();
        }
        alter(&path, |bytes| bytes.push(0));
        must_fail(app, &point, &[&format!("{source}: content")]);
        std::fs::remove_file(&path).unwrap();
        app.exits(4, &["verify", &point]).says(&[&name, "missing"]);
        must_fail(app, &point, &[&format!("{source}: content"), "no object"]);
        std::fs::write(&path, &whole).unwrap();
        app.ok(&["verify", &point]);
        app.ok(&["drill", "--point", &point]);
    }
}

#[test]
fn a_damaged_object_in_a_plain_store() {
    damaged_objects(&App::basic());
}

#[test]
fn a_damaged_object_in_an_encrypted_store() {
    damaged_objects(&encrypted());
}

/// [`BASIC`] with a store that compresses with zstd and encrypts with age.
pub fn encrypted() -> App {
    let (secret, public) = crate::roundtrip::age_key();
    let text = format!(
        "path = \"{{root}}/store\"\ncompress = \"zstd:3\"\nencrypt = {{ age = [\"{public}\"] }}\ndecrypt = {{ age = \"file:{{root}}/identity.txt\" }}\n"
    );
    let app = App::with(&BASIC.replace("path = \"{root}/store\"\n", &text));
    app.write("identity.txt", secret.as_bytes());
    app
}

#[test]
fn swapped_objects() {
    let app = App::basic();
    let first = app.backup();
    let (one, other) = (object(&app, "db"), object(&app, "files"));
    let (a, b) = (std::fs::read(&one).unwrap(), std::fs::read(&other).unwrap());
    std::fs::write(&one, &b).unwrap();
    std::fs::write(&other, &a).unwrap();
    must_fail(
        &app,
        &first,
        &["db: content", "files: content", "is damaged"],
    );
    std::fs::write(&one, &a).unwrap();
    std::fs::write(&other, &b).unwrap();
    // The same object of an earlier point: sound in itself, and not the one that was captured.
    app.write("data/notes.txt", b"remember the bread\n");
    let second = app.backup();
    std::fs::copy(&other, object(&app, "files")).unwrap();
    must_fail(&app, &second, &["files: content", "is damaged"]);
}

#[test]
fn an_edited_manifest() {
    let app = App::basic();
    let point = app.backup();
    let path = manifest_path(&app, &point);
    let whole = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"plan\": \"main\"", "\"plan\": \"mail\""),
        ("\"outcome\": \"complete\"", "\"outcome\": \"partial\""),
    ] {
        assert!(whole.contains(from), "{whole}");
        std::fs::write(&path, whole.replacen(from, to, 1)).unwrap();
        let drilled = app.json_exits(4, &["drill", "--point", &point]);
        assert!(found(&drilled).contains("cannot be trusted"), "{drilled:#}");
        app.exits(4, &["verify", &point])
            .says(&["cannot be trusted"]);
        let target = app.path("restored");
        app.exits(4, &["restore", &point, "--to", target.to_str().unwrap()])
            .says(&["cannot be trusted"]);
        assert!(!target.exists());
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    must_fail(&app, &point, &["is damaged"]);
    std::fs::write(&path, whole).unwrap();
    app.ok(&["drill", "--point", &point]);
}

#[test]
fn edited_details() {
    for app in [App::basic(), encrypted()] {
        let point = app.backup();
        let manifest = std::fs::read_to_string(manifest_path(&app, &point)).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let path = app
            .path("store")
            .join(manifest["details"]["key"].as_str().unwrap());
        let whole = std::fs::read(&path).unwrap();
        alter(&path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        must_fail(&app, &point, &["details.json", "is damaged"]);
        app.exits(4, &["verify", &point])
            .says(&["details.json", "damaged"]);
        std::fs::remove_file(&path).unwrap();
        must_fail(&app, &point, &["details.json"]);
        std::fs::write(&path, whole).unwrap();
        app.ok(&["drill", "--point", &point]);
    }
}

/// A key pair of OpenSSH's own making.
fn ssh_key(directory: &Path) -> PathBuf {
    let path = directory.join("stranger");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    path
}

#[test]
fn a_wrong_signature_and_an_unknown_signer() {
    let app = App::basic();
    let point = app.backup();
    let path = manifest_path(&app, &point);
    let signature = PathBuf::from(format!("{}.sig", path.display()));
    let right = std::fs::read(&signature).unwrap();

    // By us, of something else.
    let second = app.backup();
    std::fs::copy(
        format!("{}.sig", manifest_path(&app, &second).display()),
        &signature,
    )
    .unwrap();
    must_fail(&app, &point, &["cannot be trusted"]);
    std::fs::write(&signature, b"not a signature\n").unwrap();
    must_fail(&app, &point, &["cannot be trusted"]);
    std::fs::remove_file(&signature).unwrap();
    must_fail(&app, &point, &["cannot be trusted: it has no signature"]);

    // Of exactly this manifest, by someone we do not know.
    let key = ssh_key(app.root());
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "lifeboat", "-f"])
        .arg(&key)
        .arg(&path)
        .status();
    assert!(signed.unwrap().success());
    must_fail(&app, &point, &["cannot be trusted", "SHA256:"]);
    let shown = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(&key)
        .output()
        .unwrap();
    let id = String::from_utf8(shown.stdout)
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .to_owned();
    let report = app.json(&["drill", "--point", &point, "--trust-signer", &id]);
    assert_eq!(report["outcome"], "verified", "{report:#}");

    std::fs::write(&signature, right).unwrap();
    app.ok(&["drill", "--point", &point]);
}

#[test]
fn a_capture_of_another_database_than_the_live_one() {
    let app = application();
    app.edit(
        "checks = [",
        "checks = [{ live = \"db\", tolerance = \"5%\" }, ",
    );
    sql(&app, "DROP TRIGGER keep");
    let point = app.backup();
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    // A little later: within what time explains.
    sql(&app, "INSERT INTO client VALUES (50, 'new', 1)");
    app.ok(&["drill"]);
    // Much more than that.
    sql(
        &app,
        "INSERT INTO client SELECT id + 100, name, balance FROM client",
    );
    must_fail(&app, &point, &["live db", "main.client"]);
    // It was never this one.
    app.database("live/other.db", 50);
    app.edit("live/app.db", "live/other.db");
    must_fail(&app, &point, &["live db", "main.ledger"]);
}

#[test]
fn a_configured_check_that_fails() {
    for (check, expected) in [
        (
            "{ sql = \"db\", query = \"select count(*) from client\", expect = \"> 50\" }",
            "sql db: select count(*) from client: 50",
        ),
        (
            "{ sql = \"db\", query = \"select nothing from client\", expect = \"> 50\" }",
            "nothing",
        ),
        (
            "{ file = \"files\", path = \"data/absent.txt\" }",
            "missing",
        ),
        (
            "{ file = \"files\", path = \"data/notes.txt\", contains = \"butter\" }",
            "does not contain it",
        ),
        (
            "{ command = [\"grep\", \"-r\", \"butter\", \"{root}/data\"] }",
            "command: grep",
        ),
    ] {
        let app = App::basic();
        app.edit("checks = [", &format!("checks = [{check}, "));
        let point = app.backup();
        must_fail(&app, &point, &[expected]);
    }
}
