//! What restores set aside: it may be secret, and no later backup takes it.

use crate::repo::Desk;
use crate::support::{App, listing};
use serde_json::Value;

/// A secret and a database that a source around them leaves out.
const WITHIN: &str = r#"
[source.secret]
kind = "files"
paths = ["{root}/app/.env"]

[source.db]
kind = "sqlite"
path = "{root}/app/app.db"

[source.app]
kind = "files"
paths = ["{root}/app"]
exclude = [".env", "app.db"]

[store.vault]
kind = "local"
path = "{root}/vault"

[store.clear]
kind = "local"
path = "{root}/clear"
compress = "none"

[plan.secret]
sources = ["secret", "db"]
stores = ["vault"]

[plan.app]
sources = ["app"]
stores = ["clear"]
"#;

fn application() -> App {
    let app = App::with(WITHIN);
    app.write("app/.env", b"TOKEN=first-secret\n");
    app.write("app/index.html", b"hello\n");
    app.database("app/app.db", 5);
    app
}

/// Whether anything in a store, which neither compresses nor encrypts, holds this text.
fn holds(app: &App, store: &str, text: &str) -> bool {
    let root = app.path(store);
    listing(&root).iter().any(|name| {
        let bytes = std::fs::read(root.join(name)).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|found| found == text.as_bytes())
    })
}

/// What a backup of the application says it left out.
fn left_out(report: &Value) -> Vec<String> {
    let warnings = report["warnings"].as_array().unwrap().iter();
    let name = |warning: &Value| {
        let text = warning.as_str().unwrap().strip_prefix("source app: ")?;
        let name = text.strip_suffix(" was set aside by a restore, and no backup takes it")?;
        Some(name.to_owned())
    };
    warnings.filter_map(name).collect()
}

#[test]
fn what_a_live_restore_set_aside_is_left_out_and_named() {
    let app = application();
    app.backup_of("secret");
    app.write("app/.env", b"TOKEN=second-secret\n");
    for _ in 0..2 {
        let live = ["restore", "latest", "--live", "--confirm", "crm/test"];
        app.ok(&[&live[..], &["--reason=lost"]].concat());
    }
    let kept = app.listing("app/.lifeboat-aside");
    assert_eq!(
        kept.iter()
            .filter(|k| k.starts_with(".env.before-"))
            .count(),
        2
    );
    assert_eq!(
        kept.iter()
            .filter(|k| k.starts_with("app.db.before-"))
            .count(),
        2
    );
    // Nothing else lies about.
    let around = app.listing("app");
    let around: Vec<_> = around
        .iter()
        .filter(|n| !n.starts_with(".lifeboat-aside"))
        .collect();
    assert_eq!(around, [".env", "app.db", "index.html"]);

    // Whoever looks after the application is told what still lies there.
    let told = app.run(&["doctor"]).stdout;
    for kept in kept.iter().filter(|name| name.contains(".before-")) {
        assert!(told.contains(kept.as_str()), "{kept}: {told}");
    }

    let report = app.json(&["backup", "app"]);
    assert_eq!(report["outcome"], "complete", "{report:#}");
    let aside = app.path("app/.lifeboat-aside").display().to_string();
    assert_eq!(left_out(&report), [aside]);
    assert!(holds(&app, "clear", "hello"));
    assert!(!holds(&app, "clear", "TOKEN="));
}

#[test]
fn what_older_versions_left_is_left_out_and_what_only_looks_so_is_not() {
    let app = application();
    let point = "20261120T060000Z-7f3a";
    app.write(&format!("app/.env.before-{point}"), b"TOKEN=old-secret");
    app.write(
        &format!("app/..env.lifeboat-{point}-secret/secret/x"),
        b"TOKEN=old-secret",
    );
    app.write("app/.env.before-lunch", b"noon");
    app.write("app/.lifeboat-aside/notes", b"of the user");
    let report = app.json(&["backup", "app"]);
    let path = |name: String| app.path(&name).display().to_string();
    assert_eq!(
        left_out(&report),
        [
            path(format!("app/..env.lifeboat-{point}-secret")),
            path(format!("app/.env.before-{point}")),
        ]
    );
    assert!(holds(&app, "clear", "noon") && holds(&app, "clear", "of the user"));
    assert!(!holds(&app, "clear", "TOKEN="));
    // Nothing is set aside in a directory that is the user's.
    app.backup_of("secret");
    let live = [
        "restore",
        "latest",
        "--live",
        "--confirm",
        "crm/test",
        "--reason=x",
    ];
    let store = ["--store", "vault"];
    let output = app.run(&[&live[..], &store].concat());
    assert_ne!(output.code, 0);
    output.says(&["nothing can be set aside in"]);
    assert_eq!(
        std::fs::read(app.path("app/.env")).unwrap(),
        b"TOKEN=first-secret\n"
    );
}

#[test]
fn a_repository_leaves_it_out_too() {
    let desk = Desk::new();
    desk.app
        .write("tree/.lifeboat-aside/.made-by-lifeboat", b"");
    desk.app
        .write("tree/.lifeboat-aside/.env.before", b"secret");
    desk.app
        .write("tree/dir/.lifeboat-aside/notes", b"of the user");
    let report = desk.json(&["backup", &desk.path("tree")]);
    let aside = desk.app.path("tree/.lifeboat-aside").display().to_string();
    assert_eq!(
        report["set_aside"],
        serde_json::json!([aside]),
        "{report:#}"
    );
    assert_eq!(report["skipped"], serde_json::json!([]), "{report:#}");
    let listed = desk.ok(&["ls", "latest"]).stdout;
    assert!(!listed.contains("tree/.lifeboat-aside"), "{listed}");
    assert!(
        listed.contains("tree/dir/.lifeboat-aside/notes"),
        "{listed}"
    );
}
