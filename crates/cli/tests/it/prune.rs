//! What no rule keeps goes in two steps, and nothing else ever does.

use crate::support::{App, Output, library, run};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

pub const HEAD: &str = r#"
[source.files]
kind = "files"
paths = ["{root}/data"]

[source.db]
kind = "sqlite"
path = "{root}/live/app.db"

[store.disk]
kind = "local"
path = "{root}/store"

[store.other]
kind = "local"
path = "{root}/other"
"#;

pub const PLAN: &str = r#"
[plan.main]
sources = ["files", "db"]
stores = ["disk", "other"]
keep = { last = 2 }
keep_in.other = { last = 3 }
"#;

pub fn application() -> App {
    App::with(&format!("{HEAD}{PLAN}"))
}

/// Runs the program on a day of December 2026 at a time. Files keep their own times.
pub fn on(app: &App, day: u32, time: &str, args: &[&str]) -> Output {
    run(&mut command_on(app, day, time, args))
}

pub fn command_on(app: &App, day: u32, time: &str, args: &[&str]) -> std::process::Command {
    let mut command = app.command(args);
    command
        .env("LD_PRELOAD", library())
        .env("NO_FAKE_STAT", "1")
        .env("FAKETIME", {
            let first = jiff::civil::date(2026, 12, 1);
            let date = first + jiff::Span::new().days(i64::from(day) - 1);
            format!("@{date} {time}")
        });
    command
}

pub fn ok_on(app: &App, day: u32, time: &str, args: &[&str]) -> Output {
    let output = on(app, day, time, args);
    assert_eq!(output.code, 0, "{output}");
    output
}

pub fn json_on(app: &App, day: u32, time: &str, args: &[&str]) -> Value {
    ok_on(app, day, time, &[&["--json"][..], args].concat()).json()
}

/// A point at three o'clock on each of these days.
pub fn points(app: &App, days: impl IntoIterator<Item = u32>) -> Vec<String> {
    let taken = days.into_iter().map(|day| {
        app.write("data/notes.txt", format!("day {day}\n").as_bytes());
        let report = json_on(app, day, "03:00:00", &["backup"]);
        report["point"].as_str().unwrap().to_owned()
    });
    taken.collect()
}

/// What was decided about the points of a store: `kept`, `announced`, and so on, the oldest first.
pub fn fates(report: &Value, store: &str) -> Vec<String> {
    let stores = report["stores"].as_array().unwrap();
    let store = stores.iter().find(|found| found["store"] == store).unwrap();
    let points = store["points"].as_array().unwrap();
    let fates = points.iter().map(|point| point["fate"].as_str().unwrap());
    fates.map(ToOwned::to_owned).collect()
}

/// The points that a store holds, by its listing alone.
pub fn held(app: &App, store: &str) -> Vec<String> {
    let names = app.listing(store).into_iter();
    let held = names.filter_map(|name| {
        let point = name.strip_prefix("lifeboat/points/")?;
        let point = point.strip_suffix(".json")?;
        (!point.ends_with(".details")).then(|| point.to_owned())
    });
    held.collect()
}

/// Every object of a store belongs to a manifest that is there, or is none of a point.
pub fn assert_no_orphan(app: &App, store: &str) {
    let mut named: BTreeSet<String> = BTreeSet::new();
    for point in held(app, store) {
        let key = format!("lifeboat/points/{point}.json");
        let path = app.path(store).join(&key);
        let manifest: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let artifacts = manifest["artifacts"].as_array().unwrap();
        let keys = artifacts.iter().chain([&manifest["details"]]);
        named.extend(keys.map(|object| object["key"].as_str().unwrap().to_owned()));
        named.insert(format!("{key}.sig"));
        named.insert(key);
    }
    for name in app.listing(store) {
        let whole = app.path(store).join(&name);
        let own = ["lifeboat/locks/", "lifeboat/restore/", "lifeboat/RESTORE"];
        let own = own
            .iter()
            .chain(&["lifeboat/pruned/", "lifeboat/intents/", "lifeboat/pins/"]);
        let mut own = own.chain(&["lifeboat/evidence/", ".incoming", "repository/"]);
        let known = named.contains(&name) || own.any(|prefix| name.starts_with(prefix));
        assert!(known || whole.is_dir(), "nothing names {name}: {named:#?}");
    }
}

/// Every point that is there can be read to the last byte.
pub fn assert_whole(app: &App, day: u32) {
    let verified = json_on(app, day, "20:00:00", &["verify", "--all"]);
    assert_eq!(verified["outcome"], "intact", "{verified:#}");
}

#[test]
fn what_no_rule_keeps_goes_in_two_steps() {
    let app = application();
    let taken = points(&app, 1..=5);
    let before = [app.listing("store"), app.listing("other")];
    let dry = json_on(&app, 5, "04:00:00", &["prune", "--dry-run"]);
    let going = ["announced", "announced", "announced", "kept", "kept"];
    assert_eq!(fates(&dry, "disk"), going);
    assert_eq!(before, [app.listing("store"), app.listing("other")]);

    let report = json_on(&app, 5, "04:00:00", &["prune"]);
    assert_eq!(fates(&report, "disk"), going);
    assert_eq!(
        fates(&report, "other"),
        ["announced", "announced", "kept", "kept", "kept"]
    );
    assert_eq!(held(&app, "store"), taken);
    // Within the grace period nothing happens, and it says until when.
    let early = json_on(&app, 6, "03:59:59", &["prune"]);
    assert_eq!(fates(&early, "disk")[0], "waiting");
    let point = &early["stores"][0]["points"][0];
    assert_eq!(point["until"], "2026-12-06T04:00:00Z", "{point:#}");
    assert_eq!(point["why"], "no-rule", "{point:#}");
    assert_eq!(held(&app, "store"), taken);

    let report = json_on(&app, 6, "04:00:01", &["prune"]);
    assert_eq!(
        fates(&report, "disk"),
        ["deleted", "deleted", "deleted", "kept", "kept"]
    );
    assert!(report["stores"][0]["freed_bytes"].as_u64().unwrap() > 100_000);
    assert_eq!(held(&app, "store"), taken[3..]);
    assert_eq!(held(&app, "other"), taken[2..]);
    for store in ["store", "other"] {
        assert_no_orphan(&app, store);
        let intents = app.listing(store);
        assert!(
            !intents
                .iter()
                .any(|name| name.starts_with("lifeboat/intents/2"))
        );
    }
    assert_whole(&app, 6);
    // What went is not missing: not here, and not where nothing but the key is known.
    ok_on(&app, 6, "05:00:00", &["points"]);
    app.forget_state_but_key();
    let listed = json_on(&app, 6, "05:00:00", &["points", "--rescan"]);
    for point in listed["points"].as_array().unwrap() {
        assert_eq!(point["missing_copies"], json!([]), "{point:#}");
    }
    assert_eq!(listed["points"].as_array().unwrap().len(), 3);
    // Nor does anything give it back.
    let planned = json_on(&app, 6, "05:00:00", &["run", "--dry-run"]);
    assert_eq!(planned["now"], json!([]), "{planned:#}");
    let copied = json_on(&app, 6, "05:00:00", &["copy", "--to", "disk"]);
    assert_eq!(copied["copied"], json!([]), "{copied:#}");
}

#[test]
fn a_leaving_point_is_chosen_by_its_id_alone() {
    let app = App::with(&format!(
        "{HEAD}\n[plan.main]\nsources = [\"files\"]\nstores = [\"disk\"]\nkeep = {{ last = 1 }}\n"
    ));
    let taken = points(&app, 1..=3);
    ok_on(&app, 3, "04:00:00", &["prune"]);
    let before = "before:2026-12-03".to_owned();
    let out = app.path("out").display().to_string();
    let refused = on(&app, 3, "05:00:00", &["restore", &before, "--to", &out]);
    assert_eq!(refused.code, 2, "{refused}");
    let shown = on(&app, 3, "05:00:00", &["verify", "random:1d..9d"]);
    assert_eq!(shown.code, 2, "{shown}");
    ok_on(&app, 3, "05:00:00", &["restore", &taken[0], "--to", &out]);
    let back = app.path("out/files");
    assert!(back.exists());
}

#[test]
fn more_than_the_limit_takes_a_yes() {
    let app = App::with(&format!(
        "{HEAD}\n[plan.main]\nsources = [\"db\"]\nstores = [\"disk\"]\nkeep = {{ last = 2 }}\n"
    ));
    let taken = points(&app, 1..=10);
    let refused = on(&app, 10, "04:00:00", &["prune"]);
    assert_eq!(refused.code, 7, "{refused}");
    refused.says(&["8 of 10 points", "prune_limit = 50%", "--yes"]);
    assert!(!app.path("store/lifeboat/intents").exists());
    ok_on(&app, 10, "04:00:00", &["prune", "--yes"]);
    // What was announced needs no second yes.
    ok_on(&app, 11, "04:00:01", &["prune"]);
    assert_eq!(held(&app, "store"), taken[8..]);
}

/// Killed at each of its calls that change anything, the next run ends it.
#[test]
fn a_prune_that_is_killed_anywhere_is_ended_by_the_next() {
    let app = App::with(&format!(
        "{HEAD}\n[plan.main]\nsources = [\"db\"]\nstores = [\"disk\"]\nkeep = {{ last = 1 }}\n"
    ));
    let mut taken = points(&app, 1..=2);
    let (mut day, mut kills) = (3, 0);
    // Each day a point comes, one is announced, and one that was announced goes.
    for call in 1.. {
        taken.extend(points(&app, [day]));
        let killed = killed_on(&app, day, "04:00:00", call);
        kills += usize::from(killed);
        // No point is half there, whatever was cut off.
        let listed = on(&app, day, "05:00:00", &["--json", "verify", "--all"]);
        assert_eq!(listed.json()["outcome"], "intact", "call {call}: {listed}");
        let newest = taken.last().unwrap();
        assert!(held(&app, "store").contains(newest), "call {call}");
        ok_on(&app, day, "06:00:00", &["prune"]);
        assert_no_orphan(&app, "store");
        if !killed {
            break;
        }
        day += 1;
        if day > 28 {
            // Begin the month anew, with the calls that are left.
            day = 3;
            for name in ["store", "state"] {
                std::fs::remove_dir_all(app.path(name)).unwrap();
            }
            taken = points(&app, 1..=2);
        }
    }
    assert!(kills > 20, "{kills} kills");
    // One intent at most, and nothing of those before.
    let intents = app.listing("store").into_iter();
    let intents = intents.filter(|name| name.starts_with("lifeboat/intents/2"));
    assert!(intents.count() <= 2);
}

/// Kills a prune at the so many-th of its calls that change files. Returns false if it ended before.
pub fn killed_on(app: &App, day: u32, time: &str, call: u32) -> bool {
    let known = command_on(app, day, time, &["prune"]);
    let calls = "unlink,unlinkat,rename,renameat,renameat2,link,linkat,fsync";
    let mut command = std::process::Command::new("strace");
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={calls}"))
        .arg("-e")
        .arg(format!("inject={calls}:signal=KILL:when={call}"));
    for (name, value) in known.get_envs() {
        command.arg("-E").arg(match value {
            Some(value) => format!("{}={}", name.display(), value.display()),
            None => name.display().to_string(),
        });
    }
    command.arg(known.get_program()).args(known.get_args());
    command.current_dir(known.get_current_dir().unwrap_or(Path::new(".")));
    let output = run(&mut command);
    match output.code {
        0 => false,
        code => {
            assert!(code == -9 || code == 137, "{output}");
            true
        }
    }
}

/// What a simulation says is what the days then bring, with nobody but the runner at work.
#[test]
fn a_simulation_agrees_with_the_days_that_follow() {
    let app = App::with(&format!(
        "{HEAD}\n[plan.main]\nsources = [\"db\"]\nstores = [\"disk\", \"other\"]\nschedule = \"0 3 * * *\"\n\
         keep = {{ daily = 3, weekly = \"15d\" }}\nkeep_in.other = {{ last = 2, of_period = \"first\" }}\n"
    ));
    ok_on(&app, 1, "03:00:00", &["run"]);
    let said = json_on(&app, 1, "04:00:00", &["prune", "--simulate", "24d"]);
    for day in 2..=25 {
        ok_on(&app, day, "03:00:00", &["run"]);
    }
    let is = json_on(&app, 25, "04:00:00", &["prune", "--simulate", "1h"]);
    for (said, is) in [(0, 0), (1, 1)].map(|(a, b)| (&said["stores"][a], &is["stores"][b])) {
        assert_eq!(
            said["then"]["points"], is["now"]["points"],
            "{said:#} {is:#}"
        );
        let then = said["ages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| &row["then"]);
        let now = is["ages"].as_array().unwrap().iter().map(|row| &row["now"]);
        assert_eq!(then.collect::<Vec<_>>(), now.collect::<Vec<_>>());
    }
    assert_eq!(is["stores"][1]["now"]["points"], 3, "{is:#}");
    for store in ["store", "other"] {
        assert_no_orphan(&app, store);
    }
    let jobs = json_on(&app, 25, "05:00:00", &["jobs"]);
    let jobs = jobs["jobs"].as_array().unwrap();
    let of = |kind: &str| jobs.iter().filter(|job| job["kind"] == kind).count();
    assert_eq!((of("backup"), of("prune")), (10, 10), "of the last twenty");
    assert!(jobs.iter().all(|job| job["state"] == "done"), "{jobs:#?}");
    ok_on(&app, 25, "05:00:00", &["prune", "--simulate", "7y"])
        .says(&["plan main in store disk:", "to 7d"]);
}

/// What a job of this host may be reading waits for its end.
#[test]
fn nothing_goes_under_a_job_that_began_before_it_was_announced() {
    let app = App::with(&format!(
        "{HEAD}\n[plan.main]\nsources = [\"db\"]\nstores = [\"disk\"]\nkeep = {{ last = 1 }}\n\
         [drill.main]\nplans = [\"main\"]\nchecks = [{{ command = [\"cat\", \"{{root}}/gate\"] }}]\n"
    ));
    let gate = app.path("gate");
    crate::crash::make_gate(&gate);
    let taken = points(&app, 1..=2);
    let mut drill = command_on(&app, 2, "03:30:00", &["drill"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Opening it waits for the reader: the drill is there then.
    let gate = std::fs::OpenOptions::new().write(true).open(&gate).unwrap();
    ok_on(&app, 2, "04:00:00", &["prune"]);
    let report = json_on(&app, 3, "04:00:01", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["waiting", "kept"]);
    assert_eq!(held(&app, "store"), taken);
    drop(gate);
    assert!(drill.wait().unwrap().success());
    let report = json_on(&app, 3, "04:00:02", &["prune"]);
    assert_eq!(fates(&report, "disk"), ["deleted", "kept"]);
}

/// A copy that is not whole never costs a whole one its place.
#[test]
fn what_is_broken_takes_no_place() {
    let app = App::with(&format!(
        "{HEAD}\n[plan.main]\nsources = [\"db\"]\nstores = [\"disk\"]\nkeep = {{ last = 2 }}\n"
    ));
    let taken = points(&app, 1..=4);
    for point in &taken[2..] {
        let shown = json_on(&app, 4, "03:30:00", &["show", point]);
        let key = shown["artifacts"][0]["key"].as_str().unwrap().to_owned();
        std::fs::remove_file(app.path("store").join(key)).unwrap();
    }
    let told = on(&app, 4, "04:00:00", &["--json", "prune"]);
    assert_eq!(fates(&told.json(), "disk")[..2], ["kept", "kept"], "{told}");
    assert_ne!(told.code, 0, "{told}");
    on(&app, 6, "04:00:00", &["prune"]).says(&[&taken[3], "is not whole"]);
    assert_eq!(held(&app, "store")[..2], taken[..2]);
}

/// What `verify` found damaged takes no place until it is found whole.
#[test]
fn what_was_found_damaged_takes_no_place() {
    let app = App::with(&format!(
        "{HEAD}\n[plan.main]\nsources = [\"db\"]\nstores = [\"disk\"]\nkeep = {{ last = 2 }}\n"
    ));
    let taken = points(&app, 1..=4);
    let shown = json_on(&app, 4, "03:30:00", &["show", &taken[3]]);
    let key = shown["artifacts"][0]["key"].as_str().unwrap();
    let path = app.path("store").join(key);
    let bytes = std::fs::read(&path).unwrap();
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let told = on(&app, 4, "03:40:00", &["verify", &taken[3]]);
    assert_eq!(told.code, 4, "{told}");
    let status = json_on(&app, 4, "03:45:00", &["status"]);
    let found = &status["stores"][0]["damaged"][0];
    assert_eq!(found["point"], taken[3].as_str(), "{status:#}");
    let check = on(&app, 4, "03:46:00", &["status", "--check"]);
    assert_eq!(check.code, 4, "{check}");
    let fate_of = |time: &str| {
        let report = json_on(&app, 4, time, &["prune", "--dry-run"]);
        fates(&report, "disk")
    };
    assert_eq!(fate_of("04:00:00"), ["announced", "kept", "kept", "kept"]);
    std::fs::write(&path, &bytes).unwrap();
    ok_on(&app, 4, "05:00:00", &["verify", "--all"]);
    assert_eq!(
        fate_of("05:30:00"),
        ["announced", "announced", "kept", "kept"]
    );
    ok_on(&app, 4, "05:40:00", &["status", "--check"]);
}

/// A point that the rules deleted is asked for in vain, and the answer says what became of it.
#[test]
fn a_point_that_was_deleted_is_remembered() {
    let app = application();
    let taken = points(&app, 1..=4);
    ok_on(&app, 4, "04:00:00", &["prune"]);
    ok_on(&app, 6, "05:00:00", &["prune"]);
    let told = on(&app, 6, "06:00:00", &["show", &taken[0]]);
    assert_eq!(told.code, 2, "{told}");
    told.says(&["was deleted from store disk", "no rule keeps it"]);
}

/// Where points are missing, nothing else is deleted: the disk may not be mounted.
#[test]
fn nothing_goes_while_points_are_missing() {
    let app = application();
    let taken = points(&app, 1..=4);
    std::fs::rename(app.path("store"), app.path("away")).unwrap();
    let told = on(&app, 4, "04:00:00", &["prune"]);
    assert_ne!(told.code, 0, "{told}");
    told.says(&["nothing is deleted in store other", "was in store disk"]);
    assert_eq!(held(&app, "other"), taken);
    std::fs::remove_dir_all(app.path("store")).unwrap();
    std::fs::rename(app.path("away"), app.path("store")).unwrap();
    ok_on(&app, 4, "05:00:00", &["prune"]);
}

/// What a store is not to hold is not missing there.
#[test]
fn a_store_that_keeps_less_is_verified_by_what_it_holds() {
    let app = application();
    points(&app, 1..=4);
    ok_on(&app, 4, "04:00:00", &["prune"]);
    for time in ["05:00:00", "06:00:00"] {
        let verified = json_on(&app, 4, time, &["verify", "--all", "--store", "disk"]);
        assert_eq!(verified["outcome"], "intact", "{verified:#}");
        assert_eq!(verified["points"].as_array().unwrap().len(), 2);
    }
    ok_on(&app, 5, "04:00:01", &["prune"]);
    ok_on(&app, 5, "05:00:00", &["verify", "--all", "--store", "disk"]);
}

/// Points of a plan that is gone are left alone, and counted.
#[test]
fn points_of_a_plan_that_is_gone_are_left_alone() {
    let app = application();
    let taken = points(&app, 1..=3);
    app.edit("[plan.main]", "[plan.other]");
    ok_on(&app, 3, "04:00:00", &["prune"]).says(&["left alone: 3 copies of plans"]);
    ok_on(&app, 9, "04:00:00", &["prune"]);
    assert_eq!(held(&app, "store"), taken);
}
