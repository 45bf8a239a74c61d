//! `lifeboat diff`: what changed from one point to another.

use crate::bucket::Live;
use crate::support::{App, age_key};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

fn sql(app: &App, sql: &str) {
    let connection = rusqlite::Connection::open(app.path("live/app.db")).unwrap();
    connection.execute_batch(sql).unwrap();
}

/// A source of a document by its name.
fn source<'d>(diff: &'d Value, name: &str) -> &'d Value {
    let sources = diff["sources"].as_array().unwrap();
    sources.iter().find(|s| s["source"] == name).unwrap()
}

/// The paths or tables of a list.
fn listed(list: &Value, key: &str) -> Vec<String> {
    let listed = list["listed"].as_array().unwrap().iter();
    listed
        .map(|e| e[key].as_str().unwrap().to_owned())
        .collect()
}

/// An application with a point before, and one after tables and files were changed.
fn two_points() -> (App, String, String) {
    let app = App::basic();
    app.write("data/gone.txt", b"gone");
    app.write("data/mode.txt", b"as it was");
    sql(
        &app,
        "CREATE TABLE old (id INTEGER); CREATE TABLE same (a TEXT);
        INSERT INTO same VALUES ('x');",
    );
    let first = app.backup();
    sql(
        &app,
        "DROP TABLE old; CREATE TABLE new (id INTEGER); INSERT INTO new VALUES (1), (2);
        DELETE FROM client WHERE id >= 40; DROP INDEX client_name;
        UPDATE same SET a = 'y';",
    );
    std::fs::remove_file(app.path("data/gone.txt")).unwrap();
    app.write("data/new.txt", b"a new one");
    app.write("data/notes.txt", b"remember the bread");
    let mode = PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(app.path("data/mode.txt"), mode).unwrap();
    let second = app.backup();
    (app, first, second)
}

#[test]
fn diff_tells_tables_and_files() {
    let (app, first, second) = two_points();
    let diff = app.json(&["diff", &first, &second]);
    assert_eq!(
        (&diff["before"]["point"], &diff["after"]["point"]),
        (&json!(first), &json!(second))
    );
    let tables = &source(&diff, "db")["tables"];
    assert_eq!(listed(&tables["added"], "table"), ["main.new"]);
    assert_eq!(listed(&tables["removed"], "table"), ["main.old"]);
    assert_eq!(
        listed(&tables["changed"], "table"),
        ["main.client", "main.same"]
    );
    let client = &tables["changed"]["listed"][0];
    assert_eq!(
        (&client["rows_before"], &client["rows_after"]),
        (&json!(50), &json!(40))
    );
    // As many rows and bytes, and others.
    let same = &tables["changed"]["listed"][1];
    assert_eq!(
        (&same["rows_before"], &same["bytes_before"]),
        (&same["rows_after"], &same["bytes_after"])
    );
    let kinds = tables["kinds"].as_array().unwrap();
    assert!(
        kinds
            .iter()
            .any(|k| k["kind"] == "index" && k["after"] == 0),
        "{kinds:?}"
    );
    let files = &source(&diff, "files")["files"];
    let ends = |list: &Value, end: &str| {
        let paths = listed(list, "path");
        assert_eq!(paths.len(), 1, "{paths:?}");
        assert!(paths[0].ends_with(end), "{paths:?}");
    };
    ends(&files["added"], "data/new.txt");
    ends(&files["removed"], "data/gone.txt");
    ends(&files["changed"], "data/notes.txt");
    ends(&files["metadata"], "data/mode.txt");

    let text = app.ok(&["diff", &first, &second]);
    text.says(&[
        "source db: 1 table added, 1 removed, 2 changed",
        "  0 tables equal; 51 rows → 43 rows",
        "50 → 40",
        "1, others",
        "objects of kind index: 1 → 0",
        "source files: 1 entry added, 1 removed, 1 changed, 1 metadata",
    ]);
    let wide = text.stdout.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None);
}

#[test]
fn diff_chooses_points_and_sources() {
    let (app, first, second) = two_points();
    // The other way round.
    let back = app.json(&["diff", "latest", &first, "--source", "db"]);
    assert_eq!(
        listed(&source(&back, "db")["tables"]["added"], "table"),
        ["main.old"]
    );
    assert_eq!(back["sources"].as_array().unwrap().len(), 1);
    // With the point before it, which is the first one; and that has none before it.
    assert_eq!(app.json(&["diff", "latest"])["before"]["point"], first);
    app.exits(2, &["diff", &first])
        .says(&["no complete point of plan main before"]);
    app.ok(&["diff", &second, &second])
        .says(&["source db: nothing changed"]);
    app.exits(2, &["diff", "latest", "--source", "nope"])
        .says(&["they have: db, files"]);
}

#[test]
fn diff_lists_a_bounded_number_and_names_that_are_safe_to_show() {
    let app = App::basic();
    let first = app.backup();
    for n in 0..30 {
        app.write(&format!("data/more/{n:02}"), b"x");
    }
    let hostile: [&[u8]; 4] = [
        b"line\nbreak",
        b"\x1b[2Jescape",
        b"not \xff UTF-8",
        "turned \u{202e}txt.exe".as_bytes(),
    ];
    for name in hostile {
        std::fs::write(app.path("data").join(OsStr::from_bytes(name)), b"y").unwrap();
    }
    sql(
        &app,
        "CREATE TABLE \"t\nwo \u{1b}[2J \u{202e}x\" (id INTEGER);",
    );
    app.backup();
    let few = app.json(&["diff", &first, "latest"]);
    let added = &source(&few, "files")["files"]["added"];
    assert_eq!(added["count"], 35);
    assert_eq!(added["listed"].as_array().unwrap().len(), 20);
    let all = app.json(&["diff", &first, "latest", "--all"]);
    let added = &source(&all, "files")["files"]["added"];
    assert_eq!(added["listed"].as_array().unwrap().len(), 35);
    app.ok(&["diff", &first, "latest"])
        .says(&["… and 15 more added"]);
    let text = app.ok(&["diff", &first, "latest", "--all"]);
    text.says(&[
        "line\\x0abreak",
        "\\x1b[2Jescape",
        "not \\xff UTF-8",
        "\\u{202e}txt.exe",
    ]);
    text.says(&["t\\nwo \\u{1b}[2J \\u{202e}x"]);
    text.never_says(&["… and", "\u{1b}", "\u{202e}"]);
}

#[test]
fn diff_needs_a_key_or_notes() {
    let app = App::basic();
    let (public, secret) = age_key();
    app.private("identity.txt", secret.as_bytes());
    let encrypt = format!("kind = \"local\"\nencrypt = {{ age = [\"{public}\"] }}");
    app.edit("kind = \"local\"", &encrypt);
    let first = app.backup();
    app.write("data/new.txt", b"a new one");
    app.backup();
    let noted = app.json(&["diff", &first, "latest"]);
    assert_eq!(noted["before"]["from_catalog"], true);
    app.ok(&["diff", &first, "latest"])
        .says(&["as this host noted it"]);
    app.forget_state_but_key();
    app.exits(1, &["diff", &first, "latest"]).says(&[
        "is not known here, since store disk did not tell",
        "decrypt",
    ]);
    app.edit(
        "encrypt = {",
        "decrypt = { age = \"file:{root}/identity.txt\" }\nencrypt = {",
    );
    let read = app.json(&["diff", &first, "latest"]);
    assert_eq!(read["before"]["from_catalog"], false);
    assert_eq!(read["sources"], noted["sources"]);
    // And on a machine that has the store and the key alone.
    let url = format!("file://{}", app.path("store").display());
    let identity = format!("file:{}", app.path("identity.txt").display());
    let signer = app.json(&["show", "latest"])["signer"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut cold = vec!["diff", first.as_str(), "latest", "--store-url", &url];
    cold.extend(["--identity", &identity, "--trust-signer", &signer]);
    assert_eq!(app.json(&cold)["sources"], noted["sources"]);
}

#[test]
fn diff_of_plans_that_share_sources() {
    let app = App::basic();
    app.configure_also(
        "[plan.files]\nsources = [\"files\"]\nstores = [\"disk\"]\n[plan.db]\nsources = [\"db\"]\nstores = [\"disk\"]",
    );
    let [main, files, db] = ["main", "files", "db"].map(|plan| app.backup_of(plan));
    let diff = app.json(&["diff", &main, &files]);
    assert_eq!(diff["only_before"], json!(["db"]));
    assert_eq!(source(&diff, "files")["equal"], true);
    app.ok(&["diff", &main, &files])
        .says(&["source db: it is not in"]);
    app.exits(2, &["diff", &files, &db])
        .says(&["have no source in common"]);
}

#[test]
fn diff_lists_objects_of_a_bucket() {
    let live = Live::with("kind = \"local\"\npath = \"{root}/store\"");
    for key in ["gone", "other", "same", "tags"] {
        live.put(key, &[], key.as_bytes());
    }
    let first = live.app.backup();
    live.delete("gone");
    live.put("new", &[], b"a new one");
    live.put("other", &[], b"has changed");
    // A bucket's listing tells times to the second.
    let modified = || {
        let answer = live.get("live/tags");
        answer.header("last-modified").map(str::to_owned)
    };
    let before = modified();
    while modified() == before {
        live.put("tags", &[("x-amz-meta-key", "kept")], b"tags");
    }
    live.app.backup();
    let diff = live.app.json(&["diff", &first, "latest"]);
    let objects = &source(&diff, "media")["objects"];
    for (list, key) in [
        ("added", "new"),
        ("removed", "gone"),
        ("changed", "other"),
        ("metadata", "tags"),
    ] {
        assert_eq!(listed(&objects[list], "path"), [key], "{list}");
    }
    assert_eq!(objects["objects"], json!({ "before": 4, "after": 4 }));
    live.app.ok(&["diff", &first, "latest"]).says(&[
        "source media: 1 object added, 1 removed, 1 changed, 1 metadata",
        "  4 objects; ",
    ]);
}
