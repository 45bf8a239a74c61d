//! Restores onto the live application: what comes back, what is kept, and how it is undone.

use crate::roundtrip::{application, application_on, dump, pg_dump, same_tree, sh};
use crate::support::{App, listing};
use lifeboat_testkit::postgres::PostgresServer;
use lifeboat_testkit::tree;
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

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
    app.configure_also("[restore]\nstop = [[\"{root}/say\", \"stop\"]]\nprepare = [[\"{root}/say\", \"prepare\"]]\nstart = [[\"{root}/say\", \"start\"]]\nafter = [[\"{root}/say\", \"after\"]]\nchecks = [{ sql = \"db\", query = \"select count(*) from client\", expect = \"= 50\" }]");
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
        "stop 30\nprepare 50\nstart 50\nafter 50\n"
    );
    assert!(!app.path("data/later.txt").exists());
    assert_eq!(
        std::fs::read(app.path(&format!(".lifeboat-aside/data.before-{point}/later.txt"))).unwrap(),
        b"not in the point\n"
    );
    let kept = rusqlite::Connection::open(
        app.path(&format!("live/.lifeboat-aside/app.db.before-{point}")),
    )
    .unwrap();
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
    assert_eq!(report["swapped_back"], true, "{report:#}");
    // Nothing lies where it is not.
    assert_eq!(report["places"], serde_json::json!([]), "{report:#}");
    assert!(!report.to_string().contains("is kept as"), "{report:#}");
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
        let args = [
            "restore",
            &point,
            "--live",
            "--confirm",
            "crm/test",
            "--reason",
            "x",
        ];
        let said = app.exits(4, &args).stdout;
        let first = said.lines().next().unwrap();
        assert_eq!(
            first,
            "FAILED AND SWAPPED BACK: the application is as it was before"
        );
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
    app.script("steal", "mv .lifeboat-aside/data.before-* stolen; exit 1");
    app.configure_also("[restore]\nchecks = [{ command = [\"{root}/steal\"] }]");
    let report = live(&app, 4, &point, &["--source", "files"]);
    assert_eq!(report["outcome"], "failed", "{report:#}");
    assert_eq!(report["swapped_back"], false, "{report:#}");
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
fn checks_ask_what_is_live_of_sources_that_stay() {
    let app = application();
    let point = app.backup();
    change(&app);
    let before = picture(&app);
    let restore = |check: &str| {
        format!(
            "[restore]\nchecks = [{{ sql = \"db\", query = \"select count(*) from client\", expect = \"{check}\" }}]"
        )
    };
    let files = ["--source", "files"];
    app.configure_also(&restore("> 0"));
    let report = live(&app, 4, &point, &files);
    assert_eq!(report["swapped_back"], true, "{report:#}");
    assert_eq!(picture(&app), before);
    // What is live has gone on since the capture: that is no question to ask.
    app.edit(&restore("> 0"), &restore("same"));
    let mut args = vec![
        "restore",
        &point,
        "--live",
        "--confirm",
        "crm/test",
        "--reason",
        "x",
    ];
    args.extend(files);
    app.refuses(2, "usage", &args)
        .names(&["source db", "is not to be restored"])
        .advises(&["--source db"]);
    assert_eq!(picture(&app), before);
    app.edit(&restore("same"), &restore("= 0"));
    live(&app, 0, &point, &files);
    assert_eq!(sh(app.root(), "cat data/notes.txt"), "remember the milk\n");
}

#[test]
fn a_check_that_nothing_answers_after_the_swap_undoes_it() {
    let mut app = application();
    let point = app.backup();
    change(&app);
    let before = picture(&app);
    app.env("AWAY_URL", "postgres://nobody@127.0.0.1:1/away");
    app.configure_also(
        "[source.away]\nkind = \"postgres\"\nurl = \"env:AWAY_URL\"\n\n\
         [restore]\nchecks = [{ sql = \"away\", query = \"select 1\", expect = \"= 1\" }]\n",
    );
    let report = live(&app, 4, &point, &["--source", "files"]);
    assert_eq!(report["swapped_back"], true, "{report:#}");
    // It says nothing against the point.
    assert_eq!(report["outcome"], "unverifiable", "{report:#}");
    assert_eq!(picture(&app), before);
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
