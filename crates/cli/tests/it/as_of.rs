//! A bucket that keeps versions, after somebody overwrote and deleted what is in it: points are read
//! by the versions that their manifests name, and with `--as-of` everything is, as it stood.

use crate::cold::{Machine, point_and_signer};
use crate::s3::{Bucket, moto};
use crate::support::App;
use jiff::Timestamp;
use lifeboat_testkit::s3::MotoServer;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const NAME: &str = "backups";

/// The bucket, which keeps versions, and an application that backs up into it.
fn kept(server: &MotoServer) -> (Bucket<'_>, App) {
    let bucket = Bucket::of_moto(server, NAME);
    server.version(NAME);
    let app = bucket.application("");
    (bucket, app)
}

/// Lets the second go by, since S3 tells times in whole seconds, as this host's clock, which is the
/// server's. Returns a time after everything that was stored before, and before all that is stored
/// later.
fn moment() -> String {
    let second = Timestamp::now().as_second();
    while Timestamp::now().as_second() == second {
        std::thread::sleep(Duration::from_millis(5));
    }
    Timestamp::from_second(second).unwrap().to_string()
}

/// The keys of the current objects of a bucket.
fn keys(server: &MotoServer, bucket: &str) -> Vec<String> {
    let answer = server.request("GET", &format!("/{bucket}?list-type=2"), &[], b"");
    let text = answer.text();
    let keys = text.split("<Key>").skip(1);
    keys.map(|rest| rest.split_once("</Key>").unwrap().0.to_owned())
        .collect()
}

/// Overwrites every artifact with rubbish, and deletes everything else.
fn attack(server: &MotoServer, bucket: &Bucket<'_>) {
    for key in keys(server, NAME) {
        match key.starts_with("lifeboat/") {
            true => bucket.delete(&key),
            false => bucket.put(&key, b"pay us"),
        }
    }
}

fn ids(document: &Value) -> Vec<&str> {
    let points = document["points"].as_array().unwrap().iter();
    let mut ids: Vec<&str> = points.map(|p| p["point"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn notes(app: &App, target: &Path) -> String {
    let data = app.path("data/notes.txt");
    let below = data.strip_prefix("/").unwrap();
    std::fs::read_to_string(target.join("files").join(below)).unwrap()
}

#[test]
fn what_was_overwritten_and_deleted_is_read_as_it_stood() {
    let server = moto();
    let (bucket, app) = kept(&server);
    let before = moment();
    let first = app.backup();
    let between = moment();
    app.write("data/notes.txt", b"remember the bread\n");
    let second = app.backup();
    let whole = moment();
    attack(&server, &bucket);
    app.exits(4, &["verify", "--all"]);
    let now = app.json_exits(4, &["points"]);

    let points = |at: &str| app.json(&["points", "--as-of", at]);
    assert_eq!(ids(&points(&whole)), [&first, &second]);
    assert_eq!(ids(&points(&between)), [&first]);
    for point in points(&whole)["points"].as_array().unwrap() {
        assert_eq!(point["trusted"], true, "{point:#}");
        assert_eq!(point["stores"], serde_json::json!(["cloud"]));
        assert_eq!(point["missing_copies"], serde_json::json!([]));
    }
    let said = app.ok(&["points", "--as-of", &whole]);
    said.says(&["store disk keeps no versions of its objects: it is left out"]);
    let as_of = ["--as-of", &whole, "--store", "cloud"];
    let with = |verb: &[&'static str]| [verb, &as_of].concat();
    let said = app.ok(&with(&["points"]));
    said.never_says(&["disk", "overdue"]);
    let shown = app.json(&with(&["show", "latest"]));
    assert_eq!(shown["point"], second.as_str());
    let verified = app.json(&with(&["verify", "--all"]));
    assert_eq!(verified["outcome"], "intact", "{verified:#}");
    let report = app.json(&with(&["restore", "latest", "--to", "back"]));
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(notes(&app, &app.path("back")), "remember the bread\n");
    app.ok(&["restore", &first, "--as-of", &between, "--to", "older"]);
    assert_eq!(notes(&app, &app.path("older")), "remember the milk\n");

    // Nothing of it entered the catalog, nor the stores, and no scratch directory stays.
    assert_eq!(app.json_exits(4, &["points"])["points"], now["points"]);
    for file in app
        .listing("state")
        .iter()
        .filter(|f| f.contains("catalog"))
    {
        let bytes = std::fs::read(app.path("state").join(file)).unwrap();
        assert!(!bytes.windows(7).any(|w| w == b" as of "), "{file}");
    }
    let left = keys(&server, NAME);
    assert!(left.iter().all(|k| !k.starts_with("lifeboat/")), "{left:?}");
    assert_eq!(app.listing("state/scratch"), [""; 0]);

    let early = app.exits(2, &["points", "--as-of", &before]);
    early.says(&["nothing was in store cloud at", "give a later time"]);
}

#[test]
fn a_repository_is_read_as_it_stood() {
    let server = moto();
    let bucket = Bucket::of_moto(&server, NAME);
    server.version(NAME);
    let mut app =
        bucket.application("layout = \"repository\"\npassword = \"env:REPOSITORY_PASSWORD\"");
    app.env("REPOSITORY_PASSWORD", "a long password");
    let point = app.backup();
    let whole = moment();
    attack(&server, &bucket);
    let past = ["--as-of", &whole, "--store", "cloud"];
    app.exits(2, &["restore", &point, "--to", "back"]);
    let verified = app.json(&[&["verify", "--all"][..], &past].concat());
    assert_eq!(verified["outcome"], "intact", "{verified:#}");
    app.ok(&[&["restore", &point, "--to", "back"][..], &past].concat());
    assert_eq!(notes(&app, &app.path("back")), "remember the milk\n");
}

#[test]
fn a_time_or_a_store_that_has_no_past_is_refused() {
    let server = moto();
    let bucket = Bucket::of_moto(&server, NAME);
    let app = bucket.application("");
    app.backup();
    for (time, says) in [
        ("2999-01-01", "is in the future"),
        ("yesterday", "is no time"),
        ("2026-13-01", "is no time"),
    ] {
        app.exits(2, &["points", "--as-of", time]).says(&[says]);
    }
    let now = moment();
    for store in ["cloud", "disk"] {
        let store = &["points", "--as-of", &now, "--store", store];
        app.exits(2, store)
            .says(&["keeps no versions of its objects", "versioning turned on"]);
    }
    app.exits(2, &["points", "--as-of", &now])
        .says(&["keeps no versions of its objects"]);
    app.exits(2, &["points", "--as-of", &now, "--store", "none"])
        .says(&["there is no store named none"]);
    // What writes reads nothing of the past, nor does what has no use for it.
    for verb in [&["drill"][..], &["status"], &["backup"]] {
        let given = [verb, &["--as-of", &now]].concat();
        app.exits(2, &given).says(&["unexpected argument"]);
    }
}

#[test]
fn a_key_that_may_only_read_is_enough() {
    let server = moto();
    let (bucket, mut app) = kept(&server);
    let point = app.backup();
    let whole = moment();
    attack(&server, &bucket);
    let (access, secret) = server.enforce(
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject",
            "s3:GetObjectVersion","s3:ListBucket","s3:ListBucketVersions"],"Resource":"*"}]}"#,
    );
    app.env("S3_ACCESS", access);
    app.env("S3_SECRET", secret);
    let as_of = ["--as-of", &whole, "--store", "cloud"];
    let report = app.json(&[&["restore", &point, "--to", "back"][..], &as_of].concat());
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(notes(&app, &app.path("back")), "remember the milk\n");
}

#[test]
fn without_a_configuration_too() {
    let server = moto();
    let (bucket, app) = kept(&server);
    let before = moment();
    app.backup();
    let (point, signer) = point_and_signer(&app);
    let whole = moment();
    attack(&server, &bucket);
    let mut machine = Machine::new();
    machine.env("AWS_ACCESS_KEY_ID", &server.access_key);
    machine.env("AWS_SECRET_ACCESS_KEY", &server.secret_key);
    let url = format!(
        "s3://{NAME}?region=us-east-1&endpoint={}",
        server.endpoint()
    );
    let cold = ["--store-url", &url, "--trust-signer", &signer];
    machine.exits(2, &[&["points"][..], &cold].concat());
    let (past, early) = (["--as-of", &whole], ["--as-of", &before]);
    let points = machine.json(&[&["points"][..], &cold, &past].concat());
    assert_eq!(ids(&points), [&point]);
    let verified = machine.json(&[&["verify", "--all"][..], &cold, &past].concat());
    assert_eq!(verified["outcome"], "intact", "{verified:#}");
    let restore = ["restore", "latest", "--to", "back"];
    machine.exits(0, &[&restore[..], &cold, &past].concat());
    let target = machine.path("here/back");
    assert_eq!(notes(&app, &target), "remember the milk\n");
    machine
        .exits(2, &[&["points"][..], &cold, &early].concat())
        .says(&["nothing was in store"]);
}

#[test]
fn points_come_back_into_the_store_that_lost_them() {
    let server = moto();
    let (bucket, app) = kept(&server);
    let first = app.backup();
    app.write("data/notes.txt", b"remember the bread\n");
    let second = app.backup();
    let whole = moment();
    attack(&server, &bucket);
    let third = app.backup();
    app.ok(&["copy", &first, "--as-of", &whole, "--to", "disk"]);
    app.ok(&["verify", &first, "--store", "disk"]);
    let copied = app.json(&["copy", "--as-of", &whole, "--to", "cloud"]);
    let copied = copied["copied"].as_array().unwrap();
    assert_eq!(copied.len(), 2, "{copied:#?}");
    let points = app.json(&["points"]);
    assert_eq!(ids(&points), [&first, &second, &third]);
    let verified = app.json(&["verify", "--all"]);
    assert_eq!(verified["outcome"], "intact", "{verified:#}");
    app.ok(&["restore", &second, "--to", "back"]);
    assert_eq!(notes(&app, &app.path("back")), "remember the bread\n");
    let again = ["copy", "--as-of", &whole, "--to", "cloud"];
    app.ok(&again).says(&["store cloud lacks nothing"]);
}

#[test]
fn the_live_application_is_restored_from_the_past_and_recorded_now() {
    let server = moto();
    let (bucket, app) = kept(&server);
    let point = app.backup();
    let whole = moment();
    attack(&server, &bucket);
    app.write("data/notes.txt", b"pay us\n");
    let as_of = ["restore", &point, "--as-of", &whole];
    let again = format!("lifeboat restore {point} --as-of {whole} --live");
    app.exits(7, &as_of)
        .says(&[&again, &format!("as it stood at {whole}")]);
    let live = ["--live", "--confirm", "crm/test", "--reason", "an attack"];
    let report = app.json(&[&as_of[..], &live].concat());
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(
        std::fs::read(app.path("data/notes.txt")).unwrap(),
        b"remember the milk\n"
    );
    let limits = report["limits"].to_string();
    let said = format!("{point} was read from store cloud as it stood at {whole}");
    assert!(limits.contains(&said), "{limits}");
    // The evidence and the safety point are where they can be found.
    let there = keys(&server, NAME);
    let held = |part: &str| there.iter().any(|key| key.contains(part));
    assert!(held("lifeboat/evidence/"), "{there:?}");
    let safety = report["safety_points"][0].as_str().unwrap();
    assert!(held(&format!("lifeboat/points/{safety}.json")), "{there:?}");
    let records = app.json(&["evidence", "list"]);
    let record = &records["evidence"][0];
    assert_eq!(record["outcome"], "verified", "{records:#}");
}

#[test]
fn an_artifact_that_was_overwritten_is_read_in_the_version_of_its_manifest() {
    let server = moto();
    let (bucket, app) = kept(&server);
    let point = app.backup();
    let shown = app.json(&["show", &point]);
    let details = shown["details"]["key"].as_str().unwrap();
    assert!(shown["details"]["version"].is_string(), "{shown:#}");
    bucket.put(details, b"pay us");
    let artifacts = shown["artifacts"].as_array().unwrap();
    for artifact in artifacts {
        assert!(artifact["version"].is_string(), "{artifact:#}");
        bucket.put(artifact["key"].as_str().unwrap(), b"pay us");
    }
    bucket.delete(artifacts[0]["key"].as_str().unwrap());
    let verified = app.json(&["verify", &point]);
    assert_eq!(verified["outcome"], "intact", "{verified:#}");
    app.ok(&["drill"]).says(&["verified"]);
    app.ok(&["restore", &point, "--to", "back"]);
    assert_eq!(notes(&app, &app.path("back")), "remember the milk\n");
    app.ok(&["copy", &point, "--to", "disk"]);
    app.ok(&["verify", &point, "--store", "disk"]);

    // Without the version, what is under the key now is read, and compared.
    let artifact = &artifacts[1];
    let (key, version) = (
        artifact["key"].as_str().unwrap(),
        artifact["version"].as_str().unwrap(),
    );
    let path = format!("/{NAME}/{key}?versionId={version}");
    let answer = server.request("DELETE", &path, &[], b"");
    assert_eq!(answer.status, 204, "{}", answer.text());
    let verified = app.json_exits(4, &["verify", &point, "--store", "cloud"]);
    assert_eq!(verified["outcome"], "damaged", "{verified:#}");
}

#[test]
fn a_bucket_that_was_copied_elsewhere_is_read_although_its_versions_are_others() {
    let server = moto();
    let (_, app) = kept(&server);
    let point = app.backup();
    let mut configured = NAME;
    for (name, versioned) in [("plain", false), ("other", true)] {
        let copy = Bucket::of_moto(&server, name);
        if versioned {
            server.version(name);
        }
        for key in keys(&server, NAME) {
            let answer = server.request("GET", &format!("/{NAME}/{key}"), &[], b"");
            copy.put(&key, &answer.body);
        }
        let bucket = |name: &str| format!("bucket = \"{name}\"");
        app.edit(&bucket(configured), &bucket(name));
        configured = name;
        app.ok(&["verify", &point]);
        app.ok(&["restore", &point, "--to", name]);
        assert_eq!(notes(&app, &app.path(name)), "remember the milk\n");
    }
}
