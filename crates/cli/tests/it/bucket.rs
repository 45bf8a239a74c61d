//! A bucket as a source: mirrored, proved, restored as of a point, and what goes wrong with it.

use crate::restore_md::{follow, instructions};
use crate::support::{App, HEAD, LIFEBOAT, noise};
use lifeboat_testkit::s3::{Answer, Fault, FaultyProxy, MotoServer, S3sServer};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A server with a bucket `live` in it, a way to it that can be broken, and an application that
/// mirrors it into a local store `disk`.
pub struct Live {
    pub server: MotoServer,
    pub proxy: FaultyProxy,
    pub app: App,
}

impl Live {
    fn new() -> Self {
        Self::with("kind = \"local\"\npath = \"{root}/store\"")
    }

    /// `store` is what the store's table holds; `{server}` in it is the server's URL.
    pub fn with(store: &str) -> Self {
        let server = MotoServer::start();
        for bucket in ["live", "backup", "new"] {
            server.create_bucket(bucket);
        }
        let proxy = FaultyProxy::start(server.address());
        let mut app = App::with("");
        let store = store.replace("{server}", &server.endpoint());
        app.configure(&configuration(&proxy.endpoint(), &store));
        app.env("LIVE_ACCESS", &server.access_key);
        app.env("LIVE_SECRET", &server.secret_key);
        Live { server, proxy, app }
    }

    pub fn put(&self, key: &str, headers: &[(&str, &str)], bytes: &[u8]) {
        let path = format!("/live/{key}");
        let answer = self.server.request("PUT", &path, headers, bytes);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }

    pub fn get(&self, key: &str) -> Answer {
        self.server.request("GET", &format!("/{key}"), &[], b"")
    }

    pub fn delete(&self, key: &str) {
        let path = format!("/live/{key}");
        let answer = self.server.request("DELETE", &path, &[], b"");
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    pub fn restore(&self, point: &str, to: &str) -> PathBuf {
        let to = self.app.path(to);
        let path = to.to_str().unwrap();
        self.app.ok(&["restore", point, "--to", path]);
        to.join("media")
    }

    /// Restores what there is of the partial point of this report.
    fn restore_part(&self, report: &serde_json::Value, to: &str) -> PathBuf {
        let to = self.app.path(to);
        let point = report["point"].as_str().unwrap();
        let path = to.to_str().unwrap();
        self.app
            .exits(3, &["restore", point, "--allow-partial", "--to", path]);
        to.join("media")
    }

    /// What was asked for objects since the last call.
    pub fn gets(&self) -> Vec<String> {
        let requests = self.proxy.requests().into_iter();
        requests.filter(|r| r.starts_with("GET /live/")).collect()
    }
}

fn configuration(live: &str, store: &str) -> String {
    format!(
        r#"{HEAD}
[source.media]
kind = "bucket"
bucket = "live"
endpoint = "{live}"
access_key = "env:LIVE_ACCESS"
secret_key = "env:LIVE_SECRET"

[store.disk]
{store}

[plan.main]
sources = ["media"]
stores = ["disk"]

[drill.main]
plans = ["main"]
"#
    )
}

pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The packs of a local store.
pub fn packs(app: &App) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![app.path("store")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => directories.push(path),
                false if path.display().to_string().contains("/objects-") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
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
    live.gets();
    let second = live.app.backup();
    let asked = live.gets();
    assert_eq!(asked.len(), 2, "only what changed is fetched: {asked:?}");
    live.app.ok(&["drill"]);
    live.app.ok(&["verify", "--all"]);
    live.gets();
    live.app.backup();
    assert_eq!(live.gets(), [""; 0], "nothing changed, nothing is fetched");
    // Without this host's notes, the store tells what is there.
    std::fs::remove_dir_all(live.app.path("state/buckets")).unwrap();
    std::fs::remove_file(live.app.path("state/catalog.db")).unwrap();
    live.app.backup();
    assert_eq!(live.gets(), [""; 0], "the store tells what is there");

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

/// Keys that no directory can hold beside each other, or at all.
const ODD: [&str; 12] = [
    "a",
    "a/b",
    "a/b/c",
    "folder/",
    "bell%07",
    "double//slash",
    "x/../y",
    "./z",
    "%C3%BC%20%C3%B6",
    "plus%2Bpercent%25",
    "-dash",
    "quote%27%22%26%3C",
];

#[test]
fn odd_keys_survive_an_encrypted_store_and_come_back_into_a_bucket() {
    let live = Live::with(
        r#"kind = "s3"
bucket = "backup"
endpoint = "{server}"
access_key = "env:BACKUP_ACCESS"
secret_key = "env:LIVE_SECRET"
encrypt = { age = ["{root}/recipients.txt"] }
decrypt = { age = "file:{root}/identity.txt" }"#,
    );
    let mut app = live.app;
    let keygen = |args: &[&str]| {
        let made = std::process::Command::new("age-keygen").args(args).output();
        made.unwrap().stdout
    };
    let identity = keygen(&[]);
    let identity = app.write("identity.txt", &identity);
    let recipient = keygen(&["-y", identity.to_str().unwrap()]);
    app.write("recipients.txt", &recipient);
    app.env("BACKUP_ACCESS", "another");
    let live = Live { app, ..live };
    let long = "l".repeat(600);
    for key in ODD.iter().copied().chain([long.as_str()]) {
        live.put(key, &[("x-amz-meta-key", "kept")], key.as_bytes());
    }
    live.put("empty", &[], b"");
    let large = noise((9 << 20) + 5, 9);
    let headers = [("content-type", "image/png"), ("x-amz-tagging", "a=b%2Bc")];
    live.put("large.png", &headers, &large);
    let point = live.app.backup();
    live.app.ok(&["drill"]);
    let listed = live.get("backup?list-type=2").text();
    assert!(
        !listed.contains("large") && !listed.contains("plus"),
        "names are sealed: {listed}"
    );

    live.app.ok(&["restore", &point, "--to", "s3://new/below"]);
    for key in ODD.iter().copied().chain([long.as_str()]) {
        let answer = live.get(&format!("new/below/{key}"));
        assert_eq!(answer.text(), key);
        assert_eq!(answer.header("x-amz-meta-key"), Some("kept"), "{key}");
    }
    assert_eq!(live.get("new/below/empty").body, b"");
    let answer = live.get("new/below/large.png");
    assert!(answer.body == large);
    assert_eq!(answer.header("content-type"), Some("image/png"));
    let tags = live.get("new/below/large.png?tagging").text();
    assert!(
        tags.contains("<Key>a</Key>") && tags.contains("<Value>b+c</Value>"),
        "{tags}"
    );
    let again = live
        .app
        .exits(1, &["restore", &point, "--to", "s3://new/below"]);
    assert!(again.to_string().contains("is not empty"), "{again}");
}

pub const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";

#[test]
fn what_cannot_be_read_is_named_and_its_version_before_stays() {
    let live = Live::new();
    live.put("open/a", &[], b"a1");
    live.put("secret/b", &[], b"b1");
    live.app.backup();
    live.put("open/a", &[], b"a2");
    live.put("secret/b", &[], b"b2");
    live.put("secret/c", &[], b"c1");
    live.proxy.set(
        Fault::Answer("GET /live/secret/".into(), 403, DENIED.into()),
        1000,
    );
    let report = live.app.json_exits(3, &["backup"]);
    let warnings = report["warnings"].to_string();
    for key in ["secret/b", "secret/c"] {
        assert!(
            warnings.contains(&format!("{key} was left out: AccessDenied: no")),
            "{warnings}"
        );
    }
    live.proxy
        .set(Fault::Answer("never".into(), 0, String::new()), 0);
    let restored = live.restore_part(&report, "restored");
    assert_eq!(read(&restored.join("objects/open/a")), b"a2");
    assert_eq!(read(&restored.join("objects/secret/b")), b"b1");
    assert!(!restored.join("objects/secret/c").exists());
    live.gets();
    live.app.backup();
    assert_eq!(
        live.gets().len(),
        2,
        "what was left out is fetched as soon as it can be"
    );
}

#[test]
fn an_object_that_changes_while_it_is_copied_is_tried_again_and_then_named() {
    let live = Live::new();
    live.put("a", &[], b"small");
    live.put("large", &[], &noise(3 << 20, 1));
    live.put("z", &[], b"last");
    let changed = || Fault::Answer("range: bytes=1048576-".into(), 412, String::new());
    live.proxy.set(changed(), 1);
    let point = live.app.backup();
    assert_eq!(live.proxy.done(), 1);
    let restored = live.restore(&point, "restored");
    assert_eq!(read(&restored.join("objects/large")), noise(3 << 20, 1));
    assert_eq!(read(&restored.join("objects/z")), b"last");

    live.put("large", &[], &noise(3 << 20, 2));
    live.put("z", &[], b"newer");
    live.proxy.set(changed(), 1000);
    let report = live.app.json_exits(3, &["backup"]);
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("large was left out: it changed while it was copied"),
        "{warnings}"
    );
    live.proxy.set(changed(), 0);
    let restored = live.restore_part(&report, "again");
    assert_eq!(read(&restored.join("objects/large")), noise(3 << 20, 1));
    assert_eq!(read(&restored.join("objects/z")), b"newer");
}

#[test]
fn damage_is_found_and_healed() {
    let live = Live::new();
    live.app
        .configure_also("[store.other]\nkind = \"local\"\npath = \"{root}/other\"");
    live.app
        .edit("stores = [\"disk\"]", "stores = [\"disk\", \"other\"]");
    live.put("a", &[], &noise(100_000, 1));
    live.put("b", &[], &noise(100_000, 2));
    live.app.backup();
    live.put("c", &[], b"c");
    let point = live.app.backup();
    let [first, second] = packs(&live.app).try_into().unwrap();
    let mut bytes = read(&first);
    bytes[1000] ^= 1;
    std::fs::write(&first, &bytes).unwrap();
    live.app.exits(4, &["verify"]);
    let drill = live.app.exits(4, &["drill"]).to_string();
    assert!(
        drill.contains("object a: present was captured, missing came back"),
        "{drill}"
    );
    assert!(
        !drill.contains("object b"),
        "the other objects of the pack are whole: {drill}"
    );
    live.app
        .ok(&["copy", &point, "--from", "other", "--to", "disk"]);
    live.app.ok(&["verify"]);
    live.app.ok(&["drill"]);
    // What is missing altogether is fetched again by the next run.
    std::fs::remove_file(&second).unwrap();
    live.gets();
    live.app.run(&["backup"]);
    assert_eq!(live.gets().len(), 1);
    live.app.ok(&["verify", "latest"]);
}

#[test]
fn the_live_bucket_gets_back_what_differs_and_loses_nothing() {
    let live = Live::new();
    let headers = [("content-type", "text/css"), ("x-amz-tagging", "k=v")];
    live.put("same", &[], b"same");
    live.put("lost", &headers, b"lost");
    live.put("changed", &[], b"good");
    let point = live.app.backup();
    live.delete("lost");
    live.put("changed", &[], b"bad");
    live.put("extra", &[], b"extra");
    let live_restore = [
        "restore",
        &point,
        "--live",
        "--confirm",
        "crm/test",
        "--reason",
        "test",
    ];
    let output = live.app.ok(&live_restore).to_string();
    assert!(output.contains("is kept as"), "{output}");
    assert_eq!(live.get("live/lost").text(), "lost");
    assert_eq!(
        live.get("live/lost").header("content-type"),
        Some("text/css")
    );
    assert!(
        live.get("live/lost?tagging")
            .text()
            .contains("<Key>k</Key>")
    );
    assert_eq!(live.get("live/changed").text(), "good");
    assert_eq!(live.get("live/same").text(), "same");
    assert_eq!(live.get("live/extra").text(), "extra");

    // A check that fails puts back what was there before.
    live.put("changed", &[], b"bad");
    live.delete("lost");
    live.app
        .configure_also("[restore]\nchecks = [{ command = [\"false\"] }]");
    live.app.exits(4, &live_restore);
    assert_eq!(live.get("live/changed").text(), "bad");
    assert_eq!(live.get("live/lost").status, 404);
}

#[test]
fn a_killed_run_is_taken_up_where_it_was() {
    let server = S3sServer::start();
    server.create_bucket("live");
    let first = noise(65 << 20, 3);
    std::fs::write(server.data().join("live/a-first"), &first).unwrap();
    std::fs::write(server.data().join("live/b-second"), b"second").unwrap();
    let proxy = FaultyProxy::start(server.address());
    let mut app = App::with("");
    let store = "kind = \"local\"\npath = \"{root}/store\"";
    app.configure(&configuration(&proxy.endpoint(), store));
    app.env("LIVE_ACCESS", &server.access_key);
    app.env("LIVE_SECRET", &server.secret_key);
    // The second object is not to be had; meanwhile the first is stored.
    proxy.set(
        Fault::Answer("GET /live/b-second".into(), 503, String::new()),
        1000,
    );
    let mut run = app.command(&["backup"]).spawn().unwrap();
    let journal = app.path("state/buckets/main/media/journal");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !std::fs::read_to_string(&journal).is_ok_and(|j| j.contains("\"Pack\"")) {
        assert!(Instant::now() < deadline, "{LIFEBOAT} stored nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    proxy.requests();
    proxy.set(Fault::Answer("never".into(), 0, String::new()), 0);
    let point = app.backup();
    let asked: Vec<String> = proxy.requests();
    assert!(
        asked.iter().any(|r| r.contains("/live/b-second")),
        "{asked:?}"
    );
    assert!(
        !asked.iter().any(|r| r.contains("/live/a-first")),
        "{asked:?}"
    );
    app.ok(&["verify"]);
    app.ok(&["restore", &point, "--to", app.path("out").to_str().unwrap()]);
    assert!(read(&app.path("out/media/objects/a-first")) == first);
    assert!(!journal.exists(), "what is committed needs no notes");
}

#[test]
fn stock_tools_bring_the_objects_back() {
    let live = Live::new();
    let headers = [("content-type", "text/css"), ("x-amz-tagging", "k=v%20w")];
    live.put("a", &headers, b"old");
    live.put("gone", &[], b"gone");
    live.app.backup();
    live.put("a", &headers, b"new");
    live.put("a/b", &[], b"beneath");
    live.delete("gone");
    live.app.backup();
    let text = instructions(&live.app.path("store"));
    let output = follow(&live.app, "stock", &text, &[]);
    assert_eq!(output.code, 0, "{output}");
    let objects = live.app.path("stock/restored/media/objects");
    assert_eq!(read(&objects.join("a")), b"new");
    assert_eq!(read(&objects.join("a%2Fb")), b"beneath");
    assert!(!objects.join("gone").exists());
    let server = live.server.endpoint();
    let env = [
        ("TO_BUCKET", "new"),
        ("AWS_ENDPOINT_URL", &server),
        ("AWS_ACCESS_KEY_ID", &live.server.access_key),
        ("AWS_SECRET_ACCESS_KEY", &live.server.secret_key),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ];
    let output = follow(&live.app, "stock-bucket", &text, &env);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(live.get("new/a").text(), "new");
    assert_eq!(live.get("new/a").header("content-type"), Some("text/css"));
    assert!(
        live.get("new/a?tagging")
            .text()
            .contains("<Value>v w</Value>")
    );
    assert_eq!(live.get("new/a/b").text(), "beneath");
}

#[test]
fn a_bucket_is_not_mirrored_into_itself() {
    let live = Live::new();
    let store = format!(
        "kind = \"s3\"\nbucket = \"live\"\nendpoint = \"{}\"\naccess_key = \"env:B\"\nsecret_key = \"env:C\"",
        live.proxy.endpoint()
    );
    live.app
        .configure(&configuration(&live.proxy.endpoint(), &store));
    let refused = live.app.exits(2, &["backup"]).to_string();
    assert!(
        refused.contains("what destroys the one destroys the other"),
        "{refused}"
    );
    let store = store
        .replace("bucket = \"live\"", "bucket = \"backup\"")
        .replace("env:B", "env:LIVE_ACCESS");
    live.app
        .configure(&configuration(&live.proxy.endpoint(), &store));
    let warned = live.app.run(&["config", "check"]).to_string();
    assert!(warned.contains("the same credentials"), "{warned}");
    let mut app = live.app;
    app.edit(
        "access_key = \"env:LIVE_ACCESS\"\nsecret_key = \"env:C\"",
        "access_key = \"env:B\"\nsecret_key = \"env:LIVE_SECRET\"",
    );
    app.env("B", &live.server.access_key);
    let warned = app.run(&["doctor"]).to_string();
    assert!(
        warned.contains("store disk has the same credentials"),
        "{warned}"
    );
}

#[test]
fn an_unreadable_bucket_is_told_of() {
    let live = Live::new();
    live.put("a", &[], b"a");
    live.app.ok(&["doctor"]);
    live.app.edit("bucket = \"live\"", "bucket = \"nowhere\"");
    let missing = live.app.exits(1, &["backup"]).to_string();
    assert!(
        missing.contains("s3://nowhere") && missing.contains("does not exist"),
        "{missing}"
    );
    live.app.edit("bucket = \"nowhere\"", "bucket = \"live\"");
    live.proxy.set(
        Fault::Answer("list-type=2".into(), 403, DENIED.into()),
        1000,
    );
    let denied = live.app.json_exits(1, &["backup"]);
    assert_eq!(denied["error"]["code"], "source-denied", "{denied}");
}
