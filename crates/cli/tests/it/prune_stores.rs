//! Pruning in each kind of store: repositories, packs of a bucket, versions, and stores that refuse
//! or lie; and beside everything else that reads and writes the same points.

use crate::bucket::{Live, packs};
use crate::layout;
use crate::prune::{command_on, fates, held, json_on, killed_on, ok_on, on, points};
use crate::support::{App, HEAD, in_namespace, noise};
use lifeboat_testkit::privilege::needs_mounts;
use lifeboat_testkit::restic::Restic;
use lifeboat_testkit::s3::{Fault, FaultyProxy, MotoServer, Way};
use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An application that keeps its last point in a bucket of this server.
pub fn in_bucket(server: &MotoServer, endpoint: &str) -> App {
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

[plan.main]
sources = ["db"]
stores = ["disk"]
keep = {{ last = 1 }}
"#
    ));
    app.env("S3_ACCESS", &server.access_key);
    app.env("S3_SECRET", &server.secret_key);
    app
}

/// What is in a bucket, by what the server says of all versions and delete markers.
fn versions(server: &MotoServer) -> Vec<String> {
    let answer = server.request("GET", "/backup?versions", &[], b"");
    let text = answer.text();
    let keys = text.split("<Key>").skip(1);
    let keys = keys.filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned()));
    assert!(!text.contains("<DeleteMarker>"), "{text}");
    keys.collect()
}

fn of_points(server: &MotoServer) -> Vec<String> {
    let mut keys = versions(server);
    keys.retain(|key| key.starts_with("lifeboat/points/") || key.starts_with("crm/"));
    keys
}

#[test]
fn a_versioned_bucket_is_left_without_versions_and_markers() {
    let server = MotoServer::start();
    server.create_bucket("backup");
    server.version("backup");
    let app = in_bucket(&server, &server.endpoint());
    let taken = points(&app, 1..=3);
    assert_eq!(of_points(&server).len(), 3 * 4);
    ok_on(&app, 3, "04:00:00", &["prune"]);
    let report = json_on(&app, 4, "04:00:01", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["deleted", "deleted", "kept"]);
    let left = of_points(&server);
    assert_eq!(left.len(), 4, "{left:#?}");
    assert!(
        left.iter()
            .all(|key| key.contains(&taken[2]) || key.starts_with("crm/"))
    );
    let intents = versions(&server).into_iter();
    assert_eq!(intents.filter(|key| key.contains("intents")).count(), 0);
    ok_on(&app, 4, "05:00:00", &["verify", "--all"]);
}

#[test]
fn a_store_that_says_it_deleted_and_did_not_is_found_out() {
    let server = MotoServer::start();
    server.create_bucket("backup");
    let proxy = FaultyProxy::start(server.address());
    let app = in_bucket(&server, &proxy.endpoint());
    let taken = points(&app, 1..=2);
    ok_on(&app, 2, "04:00:00", &["prune"]);
    proxy.set(Fault::Answer("DELETE /".into(), 204, String::new()), 1000);
    let told = on(&app, 3, "04:00:01", &["--json", "prune"]);
    assert_eq!(told.code, 1, "{told}");
    assert_eq!(fates(&told.json(), "disk"), ["unfinished", "kept"]);
    on(&app, 3, "04:00:02", &["prune"]).says(&["says that it deleted", "and still has it"]);
    proxy.set(Fault::Answer("NOTHING".into(), 204, String::new()), 0);
    let report = json_on(&app, 3, "04:30:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["deleted", "kept"]);
    let left = of_points(&server);
    assert_eq!(left.len(), 4, "{left:#?}");
    assert_eq!(app.points(), taken[1..]);
}

/// Killed before or after each of its calls that change anything, the next run ends it.
#[test]
fn a_prune_of_a_bucket_that_is_killed_at_any_call_is_ended_by_the_next() {
    let server = MotoServer::start();
    server.create_bucket("backup");
    server.version("backup");
    let proxy = FaultyProxy::start(server.address());
    let app = in_bucket(&server, &proxy.endpoint());
    let (mut day, mut call, mut way) = (3, 1, Way::Up);
    points(&app, 1..=2);
    ok_on(&app, 2, "04:00:00", &["prune"]);
    // Every other day a point comes, one is announced, and one that was announced goes.
    loop {
        let newest = points(&app, [day]);
        let mut child = command_on(&app, day, "05:00:00", &["prune"]);
        child.stdout(Stdio::null()).stderr(Stdio::null());
        let held = proxy.done();
        proxy.set(Fault::Hold(way, call), 0);
        let mut child = child.spawn().unwrap();
        let ended = loop {
            if proxy.done() > held {
                child.kill().unwrap();
                break None;
            }
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        child.wait().unwrap();
        proxy.set(Fault::Answer("NOTHING".into(), 204, String::new()), 0);
        let listed = on(&app, day, "06:00:00", &["--json", "verify", "--all"]);
        let listed = listed.json();
        assert_eq!(
            listed["outcome"], "intact",
            "call {call} {way:?}: {listed:#}"
        );
        ok_on(&app, day, "07:00:00", &["prune"]);
        // The newest point and the one before it, which is announced.
        let left = of_points(&server);
        assert_eq!(left.len(), 8, "call {call} {way:?}: {left:#?}");
        assert!(left.iter().any(|key| key.contains(&newest[0])));
        let intents = versions(&server).into_iter();
        let intents = intents.filter(|key| key.starts_with("lifeboat/intents/"));
        assert_eq!(intents.count(), 2, "call {call} {way:?}");
        day += 2;
        match (ended, way) {
            (None, Way::Up) => way = Way::Down,
            (None, Way::Down) => (call, way) = (call + 1, Way::Up),
            (Some(status), _) => {
                assert!(status.success(), "call {call} {way:?}");
                break;
            }
        }
    }
    assert!(call > 10, "{call} calls");
}

#[test]
fn a_store_that_does_not_let_delete_keeps_its_points() {
    let server = MotoServer::start();
    server.create_bucket("backup");
    let proxy = FaultyProxy::start(server.address());
    let app = in_bucket(&server, &proxy.endpoint());
    let taken = points(&app, 1..=2);
    ok_on(&app, 2, "04:00:00", &["prune"]);
    let denied = crate::bucket::DENIED.to_owned();
    proxy.set(Fault::Answer("DELETE /".into(), 403, denied), 1000);
    let told = on(&app, 3, "04:00:01", &["prune"]);
    assert_eq!(told.code, 1, "{told}");
    told.says(&["does not let this host delete", "pruned_by = \"elsewhere\""]);
    assert_eq!(app.points(), taken);
    ok_on(&app, 3, "04:30:00", &["verify", &taken[0]]);
    // Then others delete there, and what they deleted is not missing.
    app.edit("stall_timeout", "pruned_by = \"elsewhere\"\nstall_timeout");
    let report = json_on(&app, 3, "05:00:00", &["prune"]);
    assert_eq!(report["stores"][0]["elsewhere"], true, "{report:#}");
    for key in of_points(&server)
        .iter()
        .filter(|key| key.contains(&taken[0]))
    {
        server.request("DELETE", &format!("/backup/{key}"), &[], b"");
    }
    proxy.set(Fault::Answer("NOTHING".into(), 204, String::new()), 0);
    assert_eq!(app.points(), taken[1..]);
}

#[test]
fn a_store_that_is_read_only_keeps_its_points() {
    if needs_mounts() {
        return;
    }
    let app = crate::prune::application();
    let taken = points(&app, 1..=3);
    ok_on(&app, 3, "04:00:00", &["prune", "--store", "disk"]);
    let store = app.path("store");
    let setup = format!(
        "mount --bind {0} {0}; mount -o remount,ro,bind {0}",
        store.display()
    );
    let told = in_namespace(&app, &setup, &["prune", "--store", "disk"], "");
    assert_ne!(told.code, 0, "{told}");
    assert_eq!(held(&app, "store"), taken);
}

/// An application that keeps its last point in a repository, and in a store beside it.
fn in_a_repository(source: &str) -> App {
    let app = layout::application(&format!("[source.it]\n{source}\n"), "\"it\"");
    app.edit("[drill.main]", "keep = { last = 1 }\n\n[drill.main]");
    app
}

fn snapshots(app: &App) -> usize {
    let snapshots = layout::repository(app).join("snapshots");
    std::fs::read_dir(snapshots).unwrap().count()
}

#[test]
fn snapshots_go_with_their_points_and_their_packs_a_day_later() {
    let app = in_a_repository("kind = \"files\"\npaths = [\"{root}/data\"]");
    let repository = layout::repository(&app);
    let bytes = || -> u64 {
        let packs = crate::support::listing(&repository.join("data")).into_iter();
        let packs = packs.map(|name| repository.join("data").join(name).metadata().unwrap().len());
        packs.sum()
    };
    for day in 1..=3 {
        app.write("data/large.bin", &noise(4 << 20, u64::from(day)));
        ok_on(&app, day, "03:00:00", &["backup"]);
    }
    assert_eq!(snapshots(&app), 3);
    let before = bytes();
    ok_on(&app, 3, "04:00:00", &["prune"]);
    assert_eq!(snapshots(&app), 3);
    let report = json_on(&app, 4, "04:00:01", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["deleted", "deleted", "kept"]);
    assert_eq!(fates(&report, "plain"), ["deleted", "deleted", "kept"]);
    assert_eq!(snapshots(&app), 1);
    assert!(bytes() >= before, "others may be using the packs");
    let restic = |args: &[&str]| Restic::current().ok(&repository, layout::PASSWORD, args);
    restic(&["check", "--read-data"]);
    ok_on(&app, 5, "05:00:00", &["prune"]);
    assert!(
        bytes() < before / 2,
        "{} of {before} bytes are left",
        bytes()
    );
    restic(&["check", "--read-data"]);
    ok_on(&app, 5, "06:00:00", &["verify", "--all"]);
    ok_on(&app, 5, "06:00:00", &["drill"]);
}

/// A prune that is killed between a manifest and its snapshot leaves none behind.
#[test]
fn no_snapshot_is_left_by_a_prune_that_was_killed() {
    let app = in_a_repository("kind = \"sqlite\"\npath = \"{root}/live/app.db\"");
    let repository = layout::repository(&app);
    for call in [4, 9, 14, 19, 24, 29] {
        let _ = std::fs::remove_dir_all(app.path("store/lifeboat"));
        let _ = std::fs::remove_dir_all(app.path("plain"));
        let left = std::fs::read_dir(repository.join("snapshots"));
        for snapshot in left.into_iter().flatten() {
            std::fs::remove_file(snapshot.unwrap().path()).unwrap();
        }
        if call > 4 {
            app.forget_state_but_key();
        }
        for day in 1..=3 {
            ok_on(&app, day, "03:00:00", &["backup"]);
        }
        ok_on(&app, 3, "04:00:00", &["prune"]);
        killed_on(&app, 4, "04:00:01", call);
        on(&app, 4, "05:00:00", &["prune"]);
        ok_on(&app, 4, "06:00:00", &["prune"]);
        assert_eq!(
            (held(&app, "store").len(), snapshots(&app)),
            (1, 1),
            "call {call}"
        );
    }
}

#[test]
fn packs_of_a_bucket_stay_as_long_as_a_point_needs_them() {
    let live = Live::with("kind = \"local\"\npath = \"{root}/store\"");
    let app = &live.app;
    app.edit(
        "stores = [\"disk\"]",
        "stores = [\"disk\"]\nkeep = { last = 1 }",
    );
    live.put("first", &[], &noise(200_000, 1));
    let mut taken = Vec::new();
    for day in 1..=3 {
        live.put("changing", &[], &noise(100_000, 10 + u64::from(day)));
        let report = json_on(app, day, "03:00:00", &["backup"]);
        taken.push(report["point"].as_str().unwrap().to_owned());
    }
    let before = packs(app).len();
    assert!(before >= 3, "{:?}", packs(app));
    ok_on(app, 3, "04:00:00", &["prune"]);
    let report = json_on(app, 4, "04:00:01", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["deleted", "deleted", "kept"]);
    ok_on(app, 4, "05:00:00", &["verify", "--all"]);
    let back = live.restore(&taken[2], "back");
    assert_eq!(
        std::fs::read(back.join("objects/first")).unwrap(),
        noise(200_000, 1)
    );
    assert!(packs(app).len() < before + 1, "{:?}", packs(app));
}

const SHARED: &str = r#"
[source.db]
kind = "sqlite"
path = "{root}/live/app.db"

[store.disk]
kind = "local"
path = "{root}/store"
key = "{app}/{source}/{artifact}/{hour}"

[store.other]
kind = "local"
path = "{root}/other"

[plan.main]
sources = ["db"]
stores = ["disk", "other"]
keep = { last = 3 }

[drill.main]
plans = ["main"]
"#;

/// An application on two hosts: the second has a configuration `second.toml`, a state of its own, and
/// the same signing key.
fn on_two_hosts() -> (App, String) {
    let app = App::with(SHARED);
    ok_on(&app, 1, "02:00:00", &["points"]);
    let key = std::fs::read(app.path("state/signing.key")).unwrap();
    app.private("state2/signing.key", &key);
    std::fs::set_permissions(app.path("state2"), Permissions::from_mode(0o700)).unwrap();
    let text = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    let (own, second) = (app.path("state"), app.path("state2"));
    let text = text.replace(own.to_str().unwrap(), second.to_str().unwrap());
    let config = app.private("second.toml", text.as_bytes());
    let config = config.to_str().unwrap().to_owned();
    (app, config)
}

/// Two hosts with one key and one store, a minute apart, at everything at once.
#[test]
fn nothing_is_lost_beside_other_verbs_and_another_host() {
    let (app, config) = on_two_hosts();
    let config = config.as_str();
    let failed = AtomicBool::new(false);
    for day in 1..=8 {
        points(&app, [day]);
        let again = |args: &[&str], time: &str, may: &[i32]| {
            for second in 0..3 {
                let time = format!("{time}:{:02}", second * 20);
                let done = on(&app, day, &time, args);
                if !may.contains(&done.code) {
                    eprintln!("day {day}, {args:?}: {done}");
                    failed.store(true, Ordering::SeqCst);
                }
            }
        };
        let to = app.path(&format!("out/{day}"));
        let to = to.to_str().unwrap();
        let restore = ["restore", "latest", "--overwrite", "--to", to];
        std::thread::scope(|scope| {
            scope.spawn(|| again(&["prune"], "04:00", &[0, 3, 6]));
            scope.spawn(|| again(&["--config", config, "prune"], "04:01", &[0, 3, 6]));
            scope.spawn(|| again(&["--config", config, "backup"], "04:01", &[0, 6]));
            scope.spawn(|| again(&["verify", "--store", "disk"], "04:00", &[0]));
            scope.spawn(|| again(&["drill"], "04:00", &[0, 6]));
            let copy = ["--config", config, "copy", "--to", "other"];
            scope.spawn(move || again(&copy, "04:01", &[0, 6]));
            scope.spawn(|| on(&app, day, "04:00:30", &restore));
        });
        assert!(!failed.load(Ordering::SeqCst));
    }
    for config in ["lifeboat.toml", "second.toml"] {
        let config = app.path(config).display().to_string();
        ok_on(&app, 9, "05:00:00", &["--config", &config, "prune"]);
        ok_on(&app, 10, "05:01:00", &["--config", &config, "prune"]);
    }
    for store in ["store", "other"] {
        assert!(held(&app, store).len() <= 5, "{:?}", held(&app, store));
        crate::prune::assert_no_orphan(&app, store);
    }
    let verified = json_on(&app, 10, "06:00:00", &["verify", "--all"]);
    assert_eq!(verified["outcome"], Value::from("intact"), "{verified:#}");
}

/// What a bucket locks waits for the date, and says so.
#[test]
fn a_locked_point_waits_until_its_lock_is_over() {
    let server = MotoServer::start();
    server.create_locking_bucket("backup");
    let app = in_bucket(&server, &server.endpoint());
    let taken = points(&app, 1..=3);
    let shown = json_on(&app, 3, "03:30:00", &["show", &taken[0]]);
    let artifact = &shown["artifacts"][0];
    let (key, version) = (artifact["key"].as_str(), artifact["version"].as_str());
    let (key, version) = (key.unwrap(), version.unwrap());
    server.retain("backup", key, version, "2026-12-20T00:00:00Z");
    let report = json_on(&app, 3, "04:00:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["waiting", "announced", "kept"]);
    let point = &report["stores"][0]["points"][0];
    assert_eq!(
        (&point["hold"], &point["until"]),
        (&"locked".into(), &"2026-12-20T00:00:00Z".into())
    );
    ok_on(&app, 3, "04:00:00", &["prune", "--dry-run"])
        .says(&["waits for its lock until 2026-12-20"]);
    let report = json_on(&app, 4, "04:00:01", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["waiting", "deleted", "kept"]);
    // The clock of the server decides; here nothing but ours has passed the date.
    let report = json_on(&app, 20, "04:00:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["announced", "kept"]);
    ok_on(&app, 20, "05:00:00", &["verify", "--all"]);
}
