//! A bucket as a source: mirrored, proved, restored as of a point, and what goes wrong with it.

use crate::support::{App, HEAD, noise};
use lifeboat_testkit::s3::MotoServer;
use std::path::Path;

/// Moto with a bucket `live` in it, and an application that mirrors it into a local store.
struct Live {
    server: MotoServer,
    app: App,
}

impl Live {
    fn new() -> Self {
        Self::with("", "", &LOCAL)
    }

    /// `source` is added to the source, `store` to the store whose table `place` begins.
    fn with(source: &str, store: &str, place: &str) -> Self {
        let server = MotoServer::start();
        server.create_bucket("live");
        server.create_bucket("backup");
        let mut app = App::with("");
        app.configure(&configuration(
            &server.endpoint(),
            &server.endpoint(),
            source,
            store,
            place,
        ));
        app.env("LIVE_ACCESS", &server.access_key);
        app.env("LIVE_SECRET", &server.secret_key);
        Live { server, app }
    }

    fn put(&self, key: &str, headers: &[(&str, &str)], bytes: &[u8]) {
        let answer = self
            .server
            .request("PUT", &format!("/live/{key}"), headers, bytes);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn delete(&self, key: &str) {
        let answer = self
            .server
            .request("DELETE", &format!("/live/{key}"), &[], b"");
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    fn restore(&self, point: &str, to: &str) -> std::path::PathBuf {
        let to = self.app.path(to);
        self.app
            .ok(&["restore", point, "--to", to.to_str().unwrap()]);
        to.join("media")
    }
}

const LOCAL: &str = "kind = \"local\"\npath = \"{root}/store\"";

fn configuration(live: &str, _backup: &str, source: &str, store: &str, place: &str) -> String {
    format!(
        r#"{HEAD}
[source.media]
kind = "bucket"
bucket = "live"
endpoint = "{live}"
access_key = "env:LIVE_ACCESS"
secret_key = "env:LIVE_SECRET"
{source}

[store.disk]
{place}
{store}

[plan.main]
sources = ["media"]
stores = ["disk"]

[drill.main]
plans = ["main"]
"#
    )
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn a_bucket_is_mirrored_and_restored_as_of_an_older_point() {
    let live = Live::new();
    let large = noise(3 << 20, 5);
    let headers = [
        ("content-type", "text/plain; charset=utf-8"),
        ("cache-control", "max-age=60"),
        ("x-amz-meta-owner", "alice"),
        ("x-amz-tagging", "team=red%20one&level=3"),
    ];
    live.put("notes/a.txt", &headers, b"first");
    live.put("photos/large.bin", &[], &large);
    live.put("photos/small.bin", &[], b"small");
    live.put("empty", &[], b"");
    let first = live.app.backup();
    live.app.ok(&["drill"]);
    live.put("notes/a.txt", &[], b"second");
    live.put("notes/b.txt", &[], b"new");
    live.delete("photos/small.bin");
    let second = live.app.backup();
    live.app.ok(&["drill"]);
    live.app.ok(&["verify", "--all"]);

    let old = live.restore(&first, "old");
    assert_eq!(read(&old.join("objects/notes/a.txt")), b"first");
    assert_eq!(read(&old.join("objects/photos/large.bin")), large);
    assert_eq!(read(&old.join("objects/photos/small.bin")), b"small");
    assert_eq!(read(&old.join("objects/empty")), b"");
    assert!(!old.join("objects/notes/b.txt").exists());
    let new = live.restore(&second, "new");
    assert_eq!(read(&new.join("objects/notes/a.txt")), b"second");
    assert_eq!(read(&new.join("objects/notes/b.txt")), b"new");
    assert_eq!(read(&new.join("objects/photos/large.bin")), large);
    assert!(!new.join("objects/photos/small.bin").exists());

    let index = String::from_utf8(read(&old.join("index.ndjson"))).unwrap();
    let entry: serde_json::Value =
        serde_json::from_str(index.lines().find(|l| l.contains("notes/a.txt")).unwrap()).unwrap();
    assert_eq!(
        entry["headers"]["content-type"],
        "text/plain; charset=utf-8"
    );
    assert_eq!(entry["headers"]["cache-control"], "max-age=60");
    assert_eq!(entry["metadata"]["owner"], "alice");
    assert_eq!(entry["tags"]["team"], "red one");
    assert_eq!(entry["tags"]["level"], "3");
}
