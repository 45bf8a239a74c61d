//! Buckets that anybody can look into: warned of, and refused for what is sensitive.

use crate::s3::{Bucket, moto};
use crate::support::{App, age_key};
use lifeboat_testkit::s3::{MotoServer, S3sServer};

/// An application whose store `cloud` is the bucket `backups`, sealed; its files are `sensitive` or
/// not.
fn application(server: &MotoServer, prefix: &str, sensitive: bool) -> App {
    let bucket = Bucket::of_moto(server, "backups");
    let (recipient, _) = age_key();
    let app = bucket.application(&format!(
        "prefix = \"{prefix}\"\nencrypt = {{ age = [\"{recipient}\"] }}\n"
    ));
    app.edit("paths = [", &format!("sensitive = {sensitive}\npaths = ["));
    app
}

#[test]
fn a_bucket_that_is_nobody_elses_is_not_spoken_of() {
    let server = moto();
    let app = application(&server, "", true);
    app.ok(&["doctor"]).never_says(&["is public"]);
    app.backup();
    let report = app.json(&["backup"]);
    assert_eq!(
        report["warnings"].as_array().unwrap().len(),
        0,
        "{report:#}"
    );
    app.ok(&["doctor"]).never_says(&["is public"]);
    let server = S3sServer::start();
    server.create_bucket("backups");
    let endpoint = format!("endpoint = \"{}\"", server.endpoint());
    let config = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    let old = config.lines().find(|l| l.starts_with("endpoint")).unwrap();
    app.edit(old, &endpoint);
    let mut app = app;
    app.env("S3_ACCESS", &server.access_key);
    app.env("S3_SECRET", &server.secret_key);
    app.backup();
    app.ok(&["doctor"]).never_says(&["is public"]);
}

#[test]
fn what_is_sensitive_does_not_go_into_a_public_bucket() {
    let server = moto();
    let app = application(&server, "below/this", true);
    app.backup();
    let refuses = |seen: &str| {
        let refused = app.refuses(2, "configuration", &["backup"]);
        refused.names(&["source files is sensitive", "store cloud is public"]);
        refused.because(&["s3://backups", &format!("anybody can {seen} what it holds")]);
        refused.advises(&["block public access"]);
        app.exits(1, &["doctor"])
            .says(&[seen, "source files, which goes there, is sensitive"]);
        assert_eq!(app.points().len(), 1, "nothing was put there");
    };
    server.publish("backups", &["s3:ListBucket"]);
    refuses("list");
    server.publish("backups", &["s3:GetObject"]);
    refuses("read");
    server.publish("backups", &["s3:GetObject", "s3:ListBucket"]);
    refuses("list and read");
    // Nor by way of another store.
    app.configure_also("[plan.other]\nsources = [\"files\"]\nstores = [\"safe\"]\n[store.safe]\nkind = \"local\"\npath = \"{root}/safe\"\nencrypt = { age = [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"] }");
    let point = app.backup_of("other");
    let copied = app.exits(2, &["copy", &point, "--from", "safe", "--to", "cloud"]);
    copied.says(&["store cloud is public"]);
}

#[test]
fn for_the_rest_a_public_bucket_is_warned_of() {
    let server = moto();
    let app = application(&server, "", false);
    server.publish("backups", &["s3:GetObject"]);
    // There is nothing yet that could be read.
    app.backup();
    let report = app.json(&["backup"]);
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("anybody can read what it holds"),
        "{warnings}"
    );
    app.ok(&["doctor"]).says(&[
        "warning",
        "is public: anybody can read",
        "block public access",
    ]);
    // The same, where this host knows nothing of what is there.
    app.forget_state_but_key();
    let report = app.json(&["backup"]);
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("anybody can read what it holds"),
        "{warnings}"
    );
}

#[test]
fn a_repository_in_a_bucket_is_looked_into_like_an_archive() {
    let server = moto();
    let bucket = Bucket::of_moto(&server, "backups");
    let app =
        bucket.application("layout = \"repository\"\npassword = \"file:{root}/repository.key\"\n");
    let key = app.write("repository.key", b"a long password");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    app.backup();
    let report = app.json(&["backup"]);
    let warnings = report["warnings"].as_array().unwrap();
    assert!(warnings.is_empty(), "{report:#}");
    app.ok(&["doctor"]).never_says(&["is public"]);
    server.publish("backups", &["s3:GetObject"]);
    let report = app.json(&["backup"]);
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("anybody can read what it holds"),
        "{report:#}"
    );
    app.ok(&["doctor"]).says(&["is public: anybody can read"]);
}
