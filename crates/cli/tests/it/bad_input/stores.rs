//! Stores that are full, read-only, not there, or refuse us.

use crate::support::{App, BASIC, give_to_nobody, in_namespace, noise};
use lifeboat_testkit::privilege::needs_mounts;
use std::os::unix::fs::PermissionsExt;

fn s3(endpoint: &str, bucket: &str) -> App {
    let mut app = App::with(&BASIC.replace(
        "kind = \"local\"\npath = \"{root}/store\"",
        &format!(
            "kind = \"s3\"\nbucket = \"{bucket}\"\nendpoint = \"{endpoint}\"\n\
             access_key = \"env:ACCESS\"\nsecret_key = \"env:SECRET\""
        ),
    ));
    app.env("ACCESS", "AKIAEXAMPLE");
    app.env("SECRET", "hunter2-secret");
    app
}

#[test]
fn full() {
    if needs_mounts() {
        return;
    }
    let app = App::basic();
    app.write("data/large.bin", &noise(3 << 20, 3));
    std::fs::create_dir(app.path("store")).unwrap();
    let mount = "mount -t tmpfs -o size=1m none store";
    let output = in_namespace(&app, mount, &["backup"], "find store -type f >&2");
    assert_eq!(output.code, 1, "{output}");
    output.says(&[
        "store disk",
        "full",
        "No space left",
        "hint: free space there",
    ]);
    output.never_says(&["store/crm/files", "store/lifeboat/points"]);
    let output = in_namespace(&app, mount, &["--json", "backup"], "");
    assert_eq!(output.json()["error"]["code"], "store", "{output}");
    // The smaller source would still fit: what is left must be usable.
    std::fs::remove_file(app.path("data/large.bin")).unwrap();
    let output = in_namespace(&app, mount, &["backup"], "");
    assert_eq!(output.code, 0, "{output}");
}

#[test]
fn read_only() {
    if needs_mounts() {
        return;
    }
    let app = App::basic();
    let point = app.backup();
    let before = app.listing("store");
    let mount = "mount --bind store store; mount -o remount,ro,bind store";
    let output = in_namespace(&app, mount, &["backup"], "");
    assert_eq!(output.code, 1, "{output}");
    let refusal = output.refusal();
    refusal.names(&["disk", "read-only"]).advises(&["writable"]);
    assert_eq!(app.listing("store"), before);
    // Reading needs no writing: everything but new points still works.
    for args in [&["points"][..], &["verify"], &["show", &point]] {
        let output = in_namespace(&app, mount, args, "");
        assert_eq!(output.code, 0, "{args:?} on a read-only store: {output}");
    }
    let target = app.path("out").display().to_string();
    let output = in_namespace(&app, mount, &["restore", &point, "--to", &target], "");
    assert_eq!(output.code, 0, "{output}");
    assert!(!app.listing("out").is_empty());
}

#[test]
fn of_another_user() {
    let app = App::basic();
    app.edit(
        &app.path("state").display().to_string(),
        "/tmp/lifeboat-test-nobody-state",
    );
    app.edit(
        "/tmp/lifeboat-test-nobody-state",
        &app.path("theirs").display().to_string(),
    );
    std::fs::create_dir(app.path("theirs")).unwrap();
    give_to_nobody(&app.path("theirs"));
    std::fs::create_dir(app.path("store")).unwrap();
    std::fs::set_permissions(app.path("store"), PermissionsExt::from_mode(0o555)).unwrap();
    let output = crate::support::as_nobody(&app, &["backup"]);
    assert_eq!(output.code, 1, "{output}");
    output
        .refusal()
        .names(&["disk"])
        .because(&["Permission denied"]);
    assert_eq!(app.listing("store"), [""; 0]);
}

#[test]
fn a_directory_whose_parent_is_not_there() {
    let app = App::basic();
    let root = app.root().display().to_string();
    app.edit(
        &format!("{root}/store"),
        &format!("{root}/not-mounted/store"),
    );
    let refusal = app.refuses(1, "store", &["backup"]);
    refusal.names(&["disk", "not-mounted"]).advises(&["path"]);
    assert!(
        !app.path("not-mounted").exists(),
        "a disk that is not mounted is not papered over"
    );
    app.write("not-mounted", b"a file");
    app.refuses(1, "store", &["backup"])
        .names(&["disk", "not-mounted"]);
}

#[test]
fn an_endpoint_that_does_not_listen() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let app = s3(&format!("http://127.0.0.1:{port}"), "crm-backups");
    let refusal = app.refuses(1, "store", &["backup"]);
    refusal
        .names(&["disk", "crm-backups"])
        .because(&["refused"])
        .advises(&["endpoint"]);
    app.exits(1, &["doctor"])
        .says(&["store.disk", "hint:"])
        .never_says(&["hunter2"]);
}

#[test]
fn a_bucket_that_is_not_there() {
    let server = lifeboat_testkit::s3::MotoServer::start();
    let app = s3(&server.endpoint(), "no-such-bucket");
    let refusal = app.refuses(1, "store", &["backup"]);
    refusal.names(&["disk", "no-such-bucket", "does not exist"]);
    refusal.advises(&["create it"]);
    app.exits(1, &["doctor"])
        .says(&["store.disk", "no-such-bucket", "create it"]);
}

#[test]
fn credentials_that_are_wrong() {
    let server = lifeboat_testkit::s3::S3sServer::start();
    server.create_bucket("crm-backups");
    let app = s3(&server.endpoint(), "crm-backups");
    let refusal = app.refuses(1, "store", &["backup"]);
    refusal
        .names(&["disk"])
        .advises(&["access_key", "secret_key"]);
    assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:#?}");
    app.exits(1, &["doctor"])
        .says(&["access_key"])
        .never_says(&["hunter2"]);
}

#[test]
fn one_that_no_plan_stores_in() {
    let app = App::basic();
    app.configure_also("[store.spare]\nkind = \"local\"\npath = \"{root}/spare\"\n");
    let point = app.backup();
    app.ok(&["copy", "--to", "spare"])
        .says(&["lacks nothing", "no plan stores anything there"]);
    let refusal = app.refuses(
        2,
        "point-unknown",
        &["verify", "latest", "--store", "spare"],
    );
    refusal
        .names(&["there is no restore point in store spare"])
        .advises(&["lifeboat copy POINT --to spare"]);
    app.ok(&["copy", &point, "--to", "spare"]);
    app.ok(&["verify", "latest", "--store", "spare"]);
}
