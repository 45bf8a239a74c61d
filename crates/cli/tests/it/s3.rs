//! The whole round through S3, against two different servers.

use crate::roundtrip::{SOURCES, same_tree};
use crate::support::{App, HEAD};
use lifeboat_testkit::s3::{FaultyProxy, MotoServer, S3sServer};
use serde_json::Value;

/// A bucket on a real server, with a way around the program to what is in it.
pub enum Bucket<'a> {
    Moto(&'a MotoServer, &'static str),
    S3s(&'a S3sServer, &'static str),
}

impl<'a> Bucket<'a> {
    pub fn of_moto(server: &'a MotoServer, name: &'static str) -> Self {
        server.create_bucket(name);
        Bucket::Moto(server, name)
    }

    pub fn of_s3s(server: &'a S3sServer, name: &'static str) -> Self {
        server.create_bucket(name);
        Bucket::S3s(server, name)
    }

    fn access(&self) -> (String, &str, &str, &str) {
        match self {
            Bucket::Moto(s, name) => (s.endpoint(), &s.access_key, &s.secret_key, name),
            Bucket::S3s(s, name) => (s.endpoint(), &s.access_key, &s.secret_key, name),
        }
    }

    /// An application with this bucket as store `cloud`, which its plan uses, and a store `disk`.
    pub fn application(&self, more: &str) -> App {
        let (endpoint, access, secret, name) = self.access();
        let mut app = App::with("");
        app.configure(&format!(
            r#"{HEAD}{SOURCES}
[store.cloud]
kind = "s3"
bucket = "{name}"
endpoint = "{endpoint}"
access_key = "env:S3_ACCESS"
secret_key = "env:S3_SECRET"
{more}
[store.disk]
kind = "local"
path = "{{root}}/store"
compress = "zstd"

[plan.main]
sources = ["files", "db", "vault"]
stores = ["cloud"]

[drill.main]
plans = ["main"]
"#
        ));
        app.env("S3_ACCESS", access);
        app.env("S3_SECRET", secret);
        app
    }

    /// An object, as the server has it.
    pub fn get(&self, key: &str) -> Vec<u8> {
        match self {
            Bucket::Moto(server, name) => {
                let answer = server.request("GET", &format!("/{name}/{key}"), &[], b"");
                assert_eq!(answer.status, 200, "{key}: {}", answer.text());
                answer.body
            }
            Bucket::S3s(server, name) => std::fs::read(server.data().join(name).join(key)).unwrap(),
        }
    }

    pub fn put(&self, key: &str, bytes: &[u8]) {
        match self {
            Bucket::Moto(server, name) => {
                let answer = server.request("PUT", &format!("/{name}/{key}"), &[], bytes);
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            Bucket::S3s(server, name) => {
                std::fs::write(server.data().join(name).join(key), bytes).unwrap();
            }
        }
    }

    pub fn delete(&self, key: &str) {
        match self {
            Bucket::Moto(server, name) => {
                let answer = server.request("DELETE", &format!("/{name}/{key}"), &[], b"");
                assert_eq!(answer.status, 204, "{}", answer.text());
            }
            Bucket::S3s(server, name) => {
                std::fs::remove_file(server.data().join(name).join(key)).unwrap();
            }
        }
    }
}

/// A moto server.
pub fn moto() -> MotoServer {
    MotoServer::start()
}

fn key_of(app: &App, source: &str) -> String {
    let shown = app.json(&["show", "latest", "--store", "cloud"]);
    let mut artifacts = shown["artifacts"].as_array().unwrap().iter();
    artifacts.find(|a| a["source"] == source).unwrap()["key"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Backs up, forgets everything, finds it again, proves it, brings it back.
fn round(bucket: &Bucket<'_>, prefix: &str, more: &str) -> App {
    let app = bucket.application(more);
    // Larger than a part of an upload.
    app.write("data/large.bin", &crate::support::noise(12 << 20, 3));
    app.ok(&["doctor"]);
    let point = app.backup();
    let key = std::fs::read(app.path("state/signing.key")).unwrap();
    app.forget_state();
    app.private("state/signing.key", &key);
    assert_eq!(app.json(&["points"])["points"][0]["point"], point.as_str());
    app.ok(&["verify", &point]);
    let report = app.json(&["drill"]);
    assert_eq!(
        (&report["outcome"], &report["store"]),
        (&Value::from("verified"), &Value::from("cloud")),
        "{report:#}"
    );
    let target = app.path("restored");
    app.ok(&["restore", &point, "--to", target.to_str().unwrap()]);
    let data = app.path("data");
    same_tree(
        &data,
        &target.join("files").join(data.strip_prefix("/").unwrap()),
    );
    let stored = bucket.get(&format!("{prefix}{}", key_of(&app, "vault")));
    assert_eq!(stored[..2], [0x1f, 0x8b], "gzip, under the prefix");
    app
}

/// Copies to a local disk, loses the bucket's copy, and heals it from there.
fn there_and_back(app: &App, bucket: &Bucket<'_>, prefix: &str) {
    let point = app.points().pop().unwrap();
    app.ok(&["copy", &point, "--from", "cloud", "--to", "disk"]);
    let report = app.json(&["drill", "--store", "disk"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    let key = format!("{prefix}{}", key_of(app, "files"));
    bucket.delete(&key);
    app.exits(4, &["verify", &point, "--store", "cloud"])
        .says(&["missing"]);
    app.json_exits(4, &["drill", "--store", "cloud"]);
    app.ok(&["copy", &point, "--from", "disk", "--to", "cloud"]);
    app.ok(&["verify", &point]);
    let report = app.json(&["drill", "--store", "cloud"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    // What is whole is left alone.
    app.ok(&["copy", &point, "--from", "disk", "--to", "cloud"])
        .says(&["nothing"]);
}

/// An object that someone altered on the server.
fn altered(app: &App, bucket: &Bucket<'_>, prefix: &str) {
    let point = app.points().pop().unwrap();
    for source in ["db", "files"] {
        let key = format!("{prefix}{}", key_of(app, source));
        let whole = bucket.get(&key);
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bucket.put(&key, &bytes);
        app.exits(4, &["verify", &point, "--store", "cloud"])
            .says(&["damaged", "SHA-256 is"]);
        let report = app.json_exits(4, &["drill", "--store", "cloud"]);
        assert_eq!(report["outcome"], "failed", "{report:#}");
        bucket.put(&key, &whole[..middle]);
        app.exits(4, &["verify", &point, "--store", "cloud"])
            .says(&["damaged", "bytes, the manifest says"]);
        bucket.put(&key, &whole);
    }
    app.ok(&["verify", &point, "--store", "cloud"]);
}

#[test]
fn moto_with_a_prefix_a_storage_class_and_encryption() {
    let server = moto();
    let bucket = Bucket::of_moto(&server, "backups");
    let more = "prefix = \"some/where\"\nstorage_class = \"STANDARD_IA\"\nserver_side_encryption = \"AES256\"\n";
    let app = round(&bucket, "some/where/", more);
    let key = key_of(&app, "files");
    let head = server.request("HEAD", &format!("/backups/some/where/{key}"), &[], b"");
    assert_eq!(
        head.header("x-amz-storage-class"),
        Some("STANDARD_IA"),
        "{head:?}"
    );
    assert_eq!(
        head.header("x-amz-server-side-encryption"),
        Some("AES256"),
        "{head:?}"
    );
    // Everything is under the prefix.
    let listed = server
        .request("GET", "/backups?list-type=2", &[], b"")
        .text();
    let keys: Vec<_> = listed.split("<Key>").skip(1).collect();
    assert!(
        keys.len() > 5 && keys.iter().all(|k| k.starts_with("some/where/")),
        "{listed}"
    );
    there_and_back(&app, &bucket, "some/where/");
    altered(&app, &bucket, "some/where/");
}

#[test]
fn s3s_fs_without_a_prefix() {
    let server = S3sServer::start();
    let bucket = Bucket::of_s3s(&server, "backups");
    let app = round(&bucket, "", "");
    there_and_back(&app, &bucket, "");
    altered(&app, &bucket, "");
}

/// One store that is gone does not hold up the other, and is healed later.
#[test]
fn a_server_that_is_away_gets_its_copy_later() {
    let server = S3sServer::start();
    let bucket = Bucket::of_s3s(&server, "backups");
    let app = bucket.application("");
    app.edit("stores = [\"cloud\"]", "stores = [\"disk\", \"cloud\"]");
    let endpoint = format!("endpoint = \"{}\"", server.endpoint());
    app.edit(&endpoint, "endpoint = \"http://127.0.0.1:9\"");
    let report = app.json_exits(3, &["backup"]);
    assert_eq!(report["missing_copies"], serde_json::json!(["cloud"]));
    let point = report["point"].as_str().unwrap();
    app.edit("endpoint = \"http://127.0.0.1:9\"", &endpoint);
    let listed = app.json(&["points"]);
    assert_eq!(
        listed["points"][0]["missing_copies"],
        serde_json::json!(["cloud"])
    );
    app.exits(4, &["verify", point])
        .says(&["cloud", "missing", "lifeboat copy"]);
    app.ok(&["copy", "--to", "cloud"]);
    app.ok(&["verify", point]);
    let report = app.json(&["drill", "--store", "cloud"]);
    assert_eq!(report["outcome"], "verified");
    let text = String::from_utf8(bucket.get("lifeboat/restore/crm/test.md")).unwrap();
    assert!(text.contains("s3://backups"), "{text}");
}

#[test]
fn an_unknown_point_is_found_with_two_requests_and_a_known_one_with_none() {
    let server = S3sServer::start();
    let proxy = FaultyProxy::start(server.address());
    let app = Bucket::of_s3s(&server, "backups").application("");
    app.edit(&server.endpoint(), &proxy.endpoint());
    let point = app.backup();
    app.forget_state_but_key();
    let asked = || {
        proxy.requests();
        assert_eq!(app.json(&["points"])["points"][0]["point"], point.as_str());
        let mut asked = proxy.requests();
        asked.retain(|request| request.contains("/lifeboat/points/"));
        asked.sort();
        asked
    };
    let key = format!("GET /backups/lifeboat/points/{point}.json");
    assert_eq!(
        asked(),
        [format!("{key} HTTP/1.1"), format!("{key}.sig HTTP/1.1")]
    );
    assert_eq!(asked(), [""; 0]);
}
