//! No backup where a web server publishes it, and no secret beside data or in clear: said by
//! `config check`, and held when a backup, a copy or a restore begins.

use crate::support::{App, age_key, in_namespace};
use lifeboat_testkit::privilege::needs_mounts;

const SECRETS: &str = r#"
[source.data]
kind = "files"
paths = ["{root}/data"]

[source.secrets]
kind = "files"
paths = ["{root}/secrets"]
sensitive = true

[store.disk]
kind = "local"
path = "{root}/store"

[store.safe]
kind = "local"
path = "{root}/safe"
encrypt = { age = ["{root}/recipients.txt"] }
decrypt = { age = "file:{root}/identity.txt" }

[plan.main]
sources = ["data"]
stores = ["disk"]

[plan.secrets]
sources = ["secrets"]
stores = ["safe"]
"#;

fn app() -> App {
    let app = App::with(SECRETS);
    let (recipient, identity) = age_key();
    app.write("recipients.txt", recipient.as_bytes());
    app.write("identity.txt", identity.as_bytes());
    app.write("secrets/.env", b"TOKEN=s3cr3t-token-value\n");
    app
}

#[test]
fn a_published_store_is_an_error_and_receives_nothing() {
    let app = app();
    app.edit(
        "environment = \"test\"",
        "environment = \"test\"\npublic_dirs = [\"{root}/site\"]",
    );
    app.write("site/index.html", b"hello");
    app.backup_of("main");
    app.edit("path = \"{root}/store\"", "path = \"{root}/alias/backups\"");
    std::os::unix::fs::symlink("site", app.path("alias")).unwrap();
    let checked = app.exits(2, &["config", "check"]);
    checked.says(&[
        "store.disk: path: ",
        "/alias/backups is inside ",
        "/site, which a web server publishes (listed in app.public_dirs)",
        "hint: choose a directory that no web server publishes",
    ]);
    for args in [&["backup", "main"][..], &["backup", "main", "--dry-run"]] {
        let refusal = app.refuses(2, "configuration", args);
        refusal.names(&["store.disk.path: ", "which a web server publishes"]);
        refusal.advises(&["choose a directory that no web server publishes"]);
    }
    assert_eq!(app.listing("site"), ["index.html"]);
    // The other plan is not concerned.
    app.ok(&["backup", "secrets"]);
}

#[test]
fn a_store_in_what_nginx_publishes_is_an_error() {
    if needs_mounts() {
        return;
    }
    let app = app();
    let root = app.root().display().to_string();
    app.write(
        "etc/nginx/sites-enabled/shop",
        format!("server {{ listen 80; root {root}/store/public; }}").as_bytes(),
    );
    std::fs::create_dir_all(app.path("store/public")).unwrap();
    std::fs::create_dir(app.path("upper")).unwrap();
    let setup = format!(
        "mount -t tmpfs none {root}/upper\nmkdir {root}/upper/u {root}/upper/w\ncp -r {root}/etc/nginx {root}/upper/u/\n\
         mount -t overlay overlay -o lowerdir=/etc,upperdir={root}/upper/u,workdir={root}/upper/w /etc"
    );
    let checked = in_namespace(&app, &setup, &["config", "check"], ":");
    assert_eq!(checked.code, 2, "{checked}");
    checked.says(&[
        "store.disk: path: ",
        "/store contains ",
        "/store/public, which a web server publishes (named in /etc/nginx/sites-enabled/shop)",
    ]);
    let backup = in_namespace(&app, &setup, &["backup", "main"], ":");
    assert_eq!(backup.code, 2, "{backup}");
    app.backup_of("main");
}

#[test]
fn the_state_directory_is_not_published() {
    let app = app();
    app.edit(
        "state = \"{root}/state\"",
        "state = \"{root}/public_html/state\"",
    );
    app.exits(2, &["config", "check"]).says(&["app: state: "]);
    let refusal = app.refuses(2, "configuration", &["backup", "main"]);
    refusal.names(&[
        "the state directory ",
        "/public_html, which a web server publishes",
    ]);
    refusal.advises(&["set app.state to a directory that no web server publishes"]);
    assert!(!app.path("public_html").exists(), "no key is made there");
}

#[test]
fn a_secret_is_not_restored_where_it_would_be_published() {
    let app = app();
    app.ok(&["backup", "secrets"]);
    let data = app.backup_of("main");
    std::fs::create_dir(app.path("public_html")).unwrap();
    let to = app.path("public_html/look").display().to_string();
    let restore = ["restore", "latest:secrets", "--to", &to];
    let refusal = app.refuses(1, "target", &restore);
    refusal.names(&[
        "source secrets is not restored to ",
        "/public_html, which a web server publishes",
    ]);
    refusal.advises(&["restore it to a directory that no web server publishes"]);
    assert!(!app.path("public_html/look").exists());
    // What is not sensitive may be put there, and secrets elsewhere.
    app.ok(&["restore", &data, "--to", &to]);
    let to = app.path("look").display().to_string();
    app.ok(&["restore", "latest:secrets", "--to", &to]);
}

#[test]
fn a_secret_is_not_copied_to_a_store_in_clear() {
    let app = app();
    let point = app.backup_of("secrets");
    let copy = ["copy", &point, "--from", "safe", "--to", "disk"];
    let refusal = app.refuses(2, "configuration", &copy);
    refusal.names(&[
        "source \"secrets\" is sensitive, and store \"disk\"",
        "does not encrypt",
    ]);
    app.holds_no_point("store");
    assert_eq!(app.listing("store"), [""; 0]);
}
