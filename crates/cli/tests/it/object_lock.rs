//! Object lock on a bucket whose server enforces it: what belongs to points is locked, longer as long
//! as it stays, and deleted after its date.
//!
//! The server goes by the true clock, so what it is to delete was put in 2025, by the clock of the
//! program.

use crate::bucket::{DENIED, Live};
use crate::layout;
use crate::prune::fates;
use crate::support::{App, HEAD, Output, library, run};
use lifeboat_testkit::s3::{Fault, FaultyProxy, MotoServer, S3sServer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

const LOCK: &str = "object_lock = { mode = \"compliance\", for = \"30d\" }";

/// A server with a bucket that locks objects, a way to it, and an application that keeps its newest
/// point there. `more` is said of the store.
struct Locked {
    server: MotoServer,
    proxy: FaultyProxy,
    app: App,
}

impl Locked {
    fn with(more: &str) -> Self {
        let server = MotoServer::start();
        server.create_locking_bucket("backup");
        let proxy = FaultyProxy::start(server.address());
        let app = application(
            &proxy.endpoint(),
            &server.access_key,
            &server.secret_key,
            more,
        );
        Locked { server, proxy, app }
    }

    /// Every version in the bucket: key, version, and the end of its lock.
    fn versions(&self) -> Vec<(String, String, Option<String>)> {
        let text = self
            .server
            .request("GET", "/backup?versions", &[], b"")
            .text();
        let mut found = Vec::new();
        for version in text.split("<Version>").skip(1) {
            let value = |name: &str| {
                let (_, rest) = version.split_once(&format!("<{name}>")).unwrap();
                rest.split_once("</").unwrap().0.to_owned()
            };
            let (key, id) = (value("Key"), value("VersionId"));
            let path = format!("/backup/{key}?versionId={id}");
            let head = self.server.request("HEAD", &path, &[], b"");
            let mode = head.header("x-amz-object-lock-mode");
            let until = head.header("x-amz-object-lock-retain-until-date");
            let is_ours = key.starts_with("crm/") && until.is_some();
            assert!(!is_ours || mode == Some("COMPLIANCE"), "{key}: {mode:?}");
            found.push((key, id, until.map(ToOwned::to_owned)));
        }
        found
    }

    /// The day on which the lock of each key ends, the latest of its versions; empty without a lock.
    fn days(&self) -> BTreeMap<String, String> {
        let mut days: BTreeMap<String, String> = BTreeMap::new();
        for (key, _, until) in self.versions() {
            let day = until.unwrap_or_default().chars().take(10).collect();
            let known = days.entry(key).or_default();
            *known = std::mem::take(known).max(day);
        }
        days
    }

    /// The days of the locks of what begins like this.
    fn days_of(&self, prefix: &str) -> Vec<String> {
        let days = self.days().into_iter();
        let days = days.filter(|(key, _)| key.starts_with(prefix));
        let mut days: Vec<String> = days.map(|(_, day)| day).collect();
        days.sort();
        days.dedup();
        days
    }

    fn on(&self, day: &str, args: &[&str]) -> Output {
        on(&self.app, day, args)
    }

    fn ok(&self, day: &str, args: &[&str]) -> Output {
        let output = self.on(day, args);
        assert_eq!(output.code, 0, "{output}");
        output
    }

    fn json(&self, day: &str, args: &[&str]) -> Value {
        self.ok(day, &[&["--json"][..], args].concat()).json()
    }

    fn backup(&self, day: &str) -> String {
        let report = self.json(day, &["backup"]);
        report["point"].as_str().unwrap().to_owned()
    }
}

/// Runs the program at a time of 2025: `02-01 03:00:00`.
fn on(app: &App, time: &str, args: &[&str]) -> Output {
    run(app
        .command(args)
        .env("LD_PRELOAD", library())
        .env("NO_FAKE_STAT", "1")
        .env("FAKETIME", format!("@2025-{time}")))
}

fn application(endpoint: &str, access: &str, secret: &str, more: &str) -> App {
    let mut app = App::with("");
    app.configure(&format!(
        r#"{HEAD}
[source.db]
kind = "sqlite"
path = "{{root}}/live/app.db"

[store.disk]
kind = "s3"
bucket = "backup"
endpoint = "{endpoint}"
access_key = "env:S3_ACCESS"
secret_key = "env:S3_SECRET"
stall_timeout = "5s"
{more}

[plan.main]
sources = ["db"]
stores = ["disk"]
keep = {{ last = 1 }}

[drill.main]
plans = ["main"]
"#
    ));
    app.env("S3_ACCESS", access);
    app.env("S3_SECRET", secret);
    app
}

#[test]
fn what_belongs_to_points_is_locked_and_nobody_can_delete_it() {
    let locked = Locked::with(LOCK);
    locked.app.backup();
    locked.app.ok(&["drill"]);
    locked.app.ok(&["pin", "latest", "--reason", "a test"]);
    let mut seen = [0, 0, 0];
    for (key, version, until) in locked.versions() {
        let path = format!("/backup/{key}?versionId={version}");
        let of_point = key.starts_with("crm/") || key.starts_with("lifeboat/points/");
        let is_evidence = key.starts_with("lifeboat/evidence/");
        assert_eq!(until.is_some(), of_point || is_evidence, "{key}: {until:?}");
        let deleted = locked.server.request("DELETE", &path, &[], b"").status;
        let counter = match (of_point, is_evidence) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        seen[counter] += 1;
        assert_eq!(deleted, if counter == 2 { 204 } else { 403 }, "{key}");
    }
    // An artifact, the details, the manifest and its signature.
    assert_eq!(seen[0], 4);
    assert!(seen[1] >= 2 && seen[2] >= 4, "{seen:?}");
    let verified = locked.app.run(&["--json", "verify", "--all"]).json();
    let objects = verified["objects"].as_array().unwrap();
    assert!(!objects.is_empty() && objects.iter().all(|object| object["outcome"] == "intact"));
}

#[test]
fn a_prune_waits_for_the_date_and_then_deletes() {
    let locked = Locked::with(LOCK);
    locked.backup("02-01 03:00:00");
    locked.backup("02-02 03:00:00");
    let report = locked.json("02-02 04:00:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["waiting", "kept"]);
    let store = &report["stores"][0];
    let point = &store["points"][0];
    assert_eq!(point["hold"], "locked");
    assert!(
        point["until"]
            .as_str()
            .unwrap()
            .starts_with("2025-03-03T03:0"),
        "{point:#}"
    );
    assert_eq!(
        (&store["errors"], &store["locks"]),
        (&Value::Array(vec![]), &4.into())
    );
    let told = locked.ok("02-02 04:01:00", &["prune"]);
    told.says(&[
        "no rule keeps it; waits for its lock until 2025-03-03",
        "1 copy waiting",
    ]);
    // The other one is locked longer meanwhile, and this one is not.
    locked.ok("02-20 04:00:00", &["prune"]);
    assert_eq!(
        locked.days_of("lifeboat/points/"),
        ["2025-03-03", "2025-03-22"]
    );
    let report = locked.json("03-03 02:59:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["waiting", "kept"]);
    let report = locked.json("03-03 04:00:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["announced", "kept"]);
    let report = locked.json("03-04 04:00:01", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["deleted", "kept"]);
    assert_eq!(locked.days_of("crm/").len(), 1);
    assert_eq!(locked.days_of("lifeboat/points/").len(), 1);
    locked.ok("03-04 05:00:00", &["verify", "--all"]);
}

/// A point that was announced before somebody locked it stays announced, and goes after the date.
#[test]
fn what_was_announced_waits_for_a_lock_that_came_later() {
    let locked = Locked::with("");
    let first = locked.backup("02-01 03:00:00");
    locked.backup("02-02 03:00:00");
    locked.ok("02-02 04:00:00", &["prune"]);
    let versions = locked.versions();
    let of_first = format!("lifeboat/points/{first}.json");
    let manifest = versions.iter().find(|(key, ..)| *key == of_first);
    let (key, version, _) = manifest.unwrap();
    let date = "2025-02-10T00:00:00Z";
    locked.server.retain("backup", key, version, date);
    let report = locked.json("02-03 04:00:01", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["waiting", "kept"]);
    let intents = |locked: &Locked| locked.days_of("lifeboat/intents/").len();
    assert_eq!(intents(&locked), 1, "it stays announced");
    let report = locked.json("02-10 04:00:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["deleted", "kept"]);
    assert_eq!(intents(&locked), 0);
}

#[test]
fn what_a_kept_point_needs_is_locked_longer_and_asked_for_only_once() {
    let locked = Locked::with(LOCK);
    locked.app.edit("keep = { last = 1 }\n", "");
    locked.backup("02-01 03:00:00");
    let asked = |day: &str| {
        locked.proxy.requests();
        let report = locked.json(day, &["prune"]);
        let requests = locked.proxy.requests().into_iter();
        let puts = requests.filter(|request| request.contains("?retention"));
        (report["stores"][0]["locks"].as_u64().unwrap(), puts.count())
    };
    assert_eq!(asked("02-01 04:00:00"), (4, 0), "they were put just now");
    assert_eq!(asked("02-02 04:00:00"), (0, 0), "that is known");
    assert_eq!(asked("02-16 02:00:00"), (0, 0), "half is left");
    assert_eq!(asked("02-16 04:00:00"), (4, 4));
    let longer = ["2025-03-18"];
    assert_eq!(locked.days_of("crm/"), longer);
    assert_eq!(locked.days_of("lifeboat/points/"), longer);
    assert_eq!(asked("02-17 04:00:00"), (0, 0));
    // Without the notes, the store is asked, and nothing is locked again.
    locked.app.forget_state_but_key();
    assert_eq!(asked("02-18 04:00:00"), (4, 0));
    assert_eq!(locked.days_of("crm/"), longer);
    // A longer lock is asked for from now on.
    locked.app.edit("30d", "90d");
    assert_eq!(asked("02-19 04:00:00"), (4, 4));
    assert_eq!(locked.days_of("crm/"), ["2025-05-20"]);
    // And a shorter one shortens nothing.
    locked.app.edit("90d", "10d");
    assert_eq!(asked("02-20 04:00:00"), (4, 0));
    assert_eq!(locked.days_of("crm/"), ["2025-05-20"]);
    assert_eq!(locked.days_of("lifeboat/locks/"), [""]);
}

/// The version that the manifest names is locked longer, whatever somebody put over it.
#[test]
fn the_version_that_a_manifest_names_is_locked_longer() {
    let locked = Locked::with(LOCK);
    locked.backup("02-01 03:00:00");
    let versions = locked.versions();
    let (key, version, _) = versions
        .iter()
        .find(|(key, ..)| key.starts_with("crm/"))
        .unwrap();
    let answer = locked
        .server
        .request("PUT", &format!("/backup/{key}"), &[], b"rubbish");
    assert_eq!(answer.status, 200);
    locked.on("02-20 04:00:00", &["prune"]);
    let now = locked.versions();
    let of_key = |id: &str| {
        let mut of_key = now.iter().filter(|(of, ..)| of == key);
        of_key
            .find(|(_, of, _)| of == id)
            .and_then(|(.., until)| until.clone())
    };
    assert!(
        of_key(version).unwrap().starts_with("2025-03-22"),
        "{now:#?}"
    );
    let rubbish = now
        .iter()
        .find(|(of, id, _)| of == key && id != version)
        .unwrap();
    assert_eq!(rubbish.2, None);
}

#[test]
fn a_repository_is_locked_but_for_its_locks_and_locked_longer() {
    let locked = Locked::with(&format!(
        "layout = \"repository\"\npassword = \"file:{{root}}/repository.key\"\n{LOCK}"
    ));
    let key = locked
        .app
        .write("repository.key", layout::PASSWORD.as_bytes());
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    locked.backup("02-01 03:00:00");
    let parts = ["config", "keys/", "data/", "index/", "snapshots/"];
    let days = |day: &[&str]| {
        for part in parts {
            assert_eq!(locked.days_of(&format!("repository/{part}")), day, "{part}");
        }
        assert_eq!(locked.days_of("lifeboat/points/"), day);
    };
    days(&["2025-03-03"]);
    locked.ok("02-02 04:00:00", &["prune"]);
    days(&["2025-03-03"]);
    locked.ok("02-20 04:00:00", &["prune"]);
    days(&["2025-03-22"]);
    for (key, _, until) in locked.versions() {
        let is_lock = key.starts_with("repository/locks/");
        assert!(until.is_none() || !is_lock, "{key}: {until:?}");
    }
    // The snapshot of a point that goes is not locked longer, and neither is its manifest.
    locked.backup("02-21 03:00:00");
    locked.ok("03-10 04:00:00", &["prune"]);
    assert_eq!(
        locked.days_of("repository/snapshots/"),
        ["2025-03-22", "2025-04-09"]
    );
    assert_eq!(
        locked.days_of("lifeboat/points/"),
        ["2025-03-22", "2025-04-09"]
    );
    let report = locked.json("03-11 04:00:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["waiting", "kept"]);
    locked.ok("03-22 05:00:00", &["prune"]);
    let report = locked.json("03-23 05:00:01", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["deleted", "kept"]);
    locked.ok("03-25 05:00:00", &["prune"]);
    locked.ok("03-25 06:00:00", &["verify", "--all"]);
    locked.ok("03-25 06:00:00", &["drill"]);
}

/// A pack that a staying point needs, too, is locked longer and holds up none that goes.
#[test]
fn packs_of_a_mirror_are_locked_as_long_as_a_point_needs_them() {
    let live = Live::with(&format!(
        "kind = \"s3\"\nbucket = \"locked\"\nendpoint = \"{{server}}\"\naccess_key = \"env:LIVE_ACCESS\"\nsecret_key = \"env:LIVE_SECRET\"\n{LOCK}"
    ));
    live.server.create_locking_bucket("locked");
    live.app.edit(
        "stores = [\"disk\"]",
        "stores = [\"disk\"]\nkeep = { last = 1 }",
    );
    let json = |day: &str, args: &[&str]| {
        let output = on(&live.app, day, &[&["--json"][..], args].concat());
        assert_eq!(output.code, 0, "{output}");
        output.json()
    };
    live.put("first", &[], b"it stays as it is");
    json("02-01 03:00:00", &["backup"]);
    live.put("second", &[], b"it comes later");
    let newest = json("02-02 03:00:00", &["backup"]);
    let newest = newest["point"].as_str().unwrap().to_owned();
    json("02-20 04:00:00", &["prune"]);
    let shown = json("02-20 05:00:00", &["show", &newest]);
    let until = |artifact: &Value| {
        let text = |name: &str| artifact[name].as_str().unwrap().to_owned();
        let path = format!("/locked/{}?versionId={}", text("key"), text("version"));
        let head = live.server.request("HEAD", &path, &[], b"");
        let until = head.header("x-amz-object-lock-retain-until-date");
        until.unwrap().get(..10).unwrap().to_owned()
    };
    let artifacts = shown["artifacts"].as_array().unwrap();
    assert!(artifacts.len() >= 3, "two packs and an index: {shown:#}");
    for artifact in artifacts {
        assert_eq!(until(artifact), "2025-03-22", "{artifact:#}");
    }
    let report = json("03-03 04:00:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["announced", "kept"]);
    let report = json("03-04 04:00:01", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["deleted", "kept"]);
    json("03-04 05:00:00", &["verify", "--all"]);
}

#[test]
fn a_bucket_that_locks_nothing_is_told_with_what_to_do() {
    let server = MotoServer::start();
    server.create_bucket("backup");
    server.version("backup");
    let (access, secret) = (&server.access_key, &server.secret_key);
    let app = application(&server.endpoint(), access, secret, LOCK);
    let told = app.run(&["backup"]);
    assert_ne!(told.code, 0, "{told}");
    told.says(&[
        "does not lock",
        "it takes no locks",
        "ObjectLockConfiguration",
        "put-object-lock-configuration",
    ]);
    assert_eq!(app.points(), [""; 0]);
    let doctor = app.run(&["--json", "doctor"]).json();
    let finding = finding(&doctor, "its bucket locks no objects");
    assert_eq!(
        (&finding["severity"], &finding["kind"]),
        (&"error".into(), &"posture".into())
    );
}

#[test]
fn a_server_that_ignores_locks_is_found_out() {
    let server = S3sServer::start();
    server.create_bucket("backup");
    let (access, secret) = (&server.access_key, &server.secret_key);
    let app = application(&server.endpoint(), access, secret, LOCK);
    let told = app.run(&["backup"]);
    assert_ne!(told.code, 0, "{told}");
    told.says(&["does not lock", "object_lock"]);
    assert_eq!(app.points(), [""; 0]);
}

#[test]
fn a_default_of_the_bucket_that_is_longer_is_told() {
    // A bucket takes a default only while nothing is in it.
    for (days, severity, message) in [
        (None, "ok", "its bucket locks objects: compliance for 30d"),
        (
            Some(20),
            "ok",
            "its bucket locks objects: compliance for 30d",
        ),
        (Some(40), "warning", "its bucket locks for 40d by default"),
    ] {
        let locked = Locked::with(LOCK);
        if let Some(days) = days {
            locked.server.lock_by_default("backup", days);
        }
        let doctor = locked.app.run(&["--json", "doctor"]).json();
        let found = finding(&doctor, message);
        assert_eq!(found["severity"], severity, "{days:?}: {found:#}");
        let is_posture = found["kind"] == "posture";
        assert_eq!(is_posture, severity == "warning", "{days:?}: {found:#}");
        // And a point has the lock that was asked for.
        locked.backup("02-01 03:00:00");
        assert_eq!(locked.days_of("crm/"), ["2025-03-03"], "{days:?}");
    }
}

/// The finding whose message begins like this.
fn finding(doctor: &Value, begins: &str) -> Value {
    let findings = doctor["findings"].as_array().unwrap().iter();
    let begins_so = |finding: &&Value| finding["message"].as_str().unwrap().starts_with(begins);
    let mut found = findings.filter(begins_so);
    found.next().unwrap_or_else(|| panic!("{doctor:#}")).clone()
}

#[test]
fn a_lock_that_cannot_be_extended_is_an_error_of_the_prune() {
    let locked = Locked::with(LOCK);
    locked.backup("02-01 03:00:00");
    locked.ok("02-02 04:00:00", &["prune"]);
    locked.proxy.set(
        Fault::Answer("?retention".into(), 403, DENIED.to_owned()),
        99,
    );
    let told = locked.on("02-20 04:00:00", &["prune"]);
    assert_ne!(told.code, 0, "{told}");
    told.says(&["4 objects of kept points in store disk could not be locked longer"]);
    told.says(&["s3:PutObjectRetention and s3:GetObjectRetention"]);
    locked
        .proxy
        .set(Fault::Answer("NOTHING".into(), 204, String::new()), 0);
    let report = locked.json("02-20 05:00:00", &["prune"]);
    assert_eq!(report["stores"][0]["locks"], 4, "{report:#}");
    assert_eq!(locked.days_of("crm/"), ["2025-03-22"]);
}

/// Where others delete, and where everything is kept, locks are extended all the same.
#[test]
fn locks_are_extended_where_nothing_is_pruned() {
    let locked = Locked::with(&format!("pruned_by = \"elsewhere\"\n{LOCK}"));
    locked.backup("02-01 03:00:00");
    let dry = locked.json("02-20 03:00:00", &["prune", "--dry-run"]);
    assert_eq!(dry["stores"][0]["locks"], 0, "{dry:#}");
    assert_eq!(locked.days_of("crm/"), ["2025-03-03"]);
    let report = locked.json("02-20 04:00:00", &["prune"]);
    assert_eq!(report["stores"][0]["elsewhere"], true, "{report:#}");
    assert_eq!(locked.days_of("crm/"), ["2025-03-22"]);
}

/// By itself, too: without a new point, and although nothing is ever deleted.
#[test]
fn the_runner_extends_locks_without_a_new_point() {
    let locked = Locked::with(LOCK);
    locked
        .app
        .edit("keep = { last = 1 }\n", "schedule = \"0 3 1 2 *\"\n");
    locked
        .app
        .edit("[drill.main]", "[drill.main]\nschedule = \"0 5 1 1 *\"");
    locked.ok("02-01 03:01:00", &["run"]);
    assert_eq!(locked.days_of("crm/"), ["2025-03-03"]);
    locked.on("02-10 03:01:00", &["run"]);
    assert_eq!(locked.days_of("crm/"), ["2025-03-03"]);
    locked.on("02-20 03:01:00", &["run"]);
    assert_eq!(locked.days_of("crm/"), ["2025-03-22"]);
}

#[test]
fn a_lock_is_refused_where_it_makes_no_sense() {
    let locked = Locked::with(LOCK);
    for (from, to, says) in [
        ("30d", "2d", "store.disk.object_lock.for: 2d is too short"),
        ("2d", "101y", "longer than S3 locks anything"),
        ("compliance", "strict", "strict"),
    ] {
        locked.app.edit(from, to);
        let told = locked.app.run(&["config", "check"]);
        assert_ne!(told.code, 0, "{told}");
        told.says(&[says]);
    }
    let local = App::with("");
    local.configure(&format!(
        "{HEAD}\n[source.db]\nkind = \"sqlite\"\npath = \"{{root}}/live/app.db\"\n[store.disk]\nkind = \"local\"\npath = \"{{root}}/store\"\n{LOCK}\n[plan.main]\nsources = [\"db\"]\nstores = [\"disk\"]\n"
    ));
    let told = local.run(&["config", "check"]);
    assert_ne!(told.code, 0, "{told}");
    told.says(&["object_lock", "local"]);
}
