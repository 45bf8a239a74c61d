//! Positive controls: a drill verifies whatever comes back as it was, and does not say of a point what
//! lies outside it. The negative ones are in `drill_controls`.

use crate::crash::Started;
use crate::drill_controls::{encrypted, found, must_fail};
use crate::forge::manifest_path;
use crate::support::{App, BASIC, in_namespace, noise};
use lifeboat_testkit::privilege::needs_mounts;
use rustix::process::Signal;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn each_way_to_name_a_point_is_drilled() {
    let app = App::basic();
    let first = app.backup();
    let one = app.json(&["drill", "--point", "random"]);
    assert_eq!(
        (&one["outcome"], &one["point"]),
        (&Value::from("verified"), &Value::from(first.as_str()))
    );
    for selector in [
        "latest",
        "latest:main",
        "before:2999-01-01",
        "random:0s..1h",
        &first,
        &first[..20],
    ] {
        let report = app.json(&["drill", "--point", selector]);
        assert_eq!(report["outcome"], "verified", "{selector}: {report:#}");
        assert_eq!(report["point"], first.as_str(), "{selector}");
    }
    app.exits(2, &["drill", "--point", "before:2001-01-01"])
        .says(&["no restore point before"]);
    assert_eq!(app.json(&["points"])["points"][0]["proof"], "verified");
}

#[test]
fn several_plans_are_drilled_as_one_application() {
    let app = App::with(&BASIC.replace("sources = [\"files\", \"db\"]", "sources = [\"files\"]").replace(
        "plans = [\"main\"]\nchecks = [",
        "plans = [\"main\", \"data\"]\nchecks = [{ file = \"files\", path = \"data/notes.txt\" }, { command = [\"{root}/both\"] }, ",
    ).replace("[drill.main]", "[plan.data]\nsources = [\"db\"]\nstores = [\"disk\"]\n\n[drill.main]"));
    app.script("both", "test -f \"$LIFEBOAT_PATH_DB\" && test -d \"$LIFEBOAT_PATH_FILES\" && ls \"$LIFEBOAT_RESTORED\"");
    let files = app.json(&["backup", "main"])["point"].clone();
    let data = app.json(&["backup", "data"])["point"].clone();
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(
        (&report["points"][0]["point"], &report["points"][1]["point"]),
        (&files, &data)
    );
    assert_eq!(report["checks"].as_array().unwrap().len(), 5, "{report:#}");
    // A plan without a point is no proved application.
    std::fs::remove_file(manifest_path(&app, data.as_str().unwrap())).unwrap();
    app.exits(2, &["drill"])
        .says(&["plan data: there is no restore point"]);
}

/// Plans that share a source are one application with one of it: the newest.
#[test]
fn a_source_of_two_plans_is_drilled_once() {
    let app = App::with(
        &BASIC
            .replace("plans = [\"main\"]", "plans = [\"main\", \"often\"]")
            .replace(
                "[drill.main]",
                "[plan.often]\nsources = [\"db\"]\nstores = [\"disk\"]\n\n[drill.main]",
            ),
    );
    let main = app.json(&["backup", "main"])["point"]
        .as_str()
        .unwrap()
        .to_owned();
    let begun = std::time::SystemTime::now();
    let mut often = main.clone();
    while often[..16] <= main[..16] {
        assert!(begun.elapsed().unwrap().as_secs() < 10);
        often = app.json(&["backup", "often"])["point"]
            .as_str()
            .unwrap()
            .to_owned();
    }
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(
        report["points"][0]["sources"],
        serde_json::json!(["files"]),
        "{report:#}"
    );
    assert_eq!(
        report["points"][1]["sources"],
        serde_json::json!(["db"]),
        "{report:#}"
    );
    assert!(
        report["limits"]
            .to_string()
            .contains(&format!("drilled as in {often}")),
        "{report:#}"
    );
}

#[test]
fn without_the_key_nothing_is_proved_and_nothing_failed() {
    let app = encrypted();
    app.backup();
    app.edit("decrypt = { age = ", "#");
    let report = app.json_exits(4, &["drill"]);
    assert_eq!(report["outcome"], "unverifiable", "{report:#}");
    assert!(found(&report).contains("key"), "{report:#}");
    // Nor does a host that may only write need it to verify what it stored.
    app.ok(&["verify"]);
}

#[test]
fn with_the_wrong_key_nothing_is_proved_and_what_was_stays() {
    let app = encrypted();
    let point = app.backup();
    app.ok(&["drill"]);
    let (other, _) = crate::roundtrip::age_key();
    let own = app.path("identity.txt");
    let identity = std::fs::read(&own).unwrap();
    std::fs::write(&own, other.as_bytes()).unwrap();
    let report = app.json_exits(4, &["drill"]);
    assert_eq!(report["outcome"], "unverifiable", "{report:#}");
    assert!(found(&report).contains("decrypt"), "{report:#}");
    let proved = proof(&app, &point);
    assert_eq!(proved["proof"], "verified", "{proved:#}");
    assert_eq!(proved["proof_tried"]["outcome"], "unverifiable");
    app.ok(&["show", &point])
        .says(&["proof: verified; tried again", ": unverifiable"]);

    // What is damaged where it says whose it is, is damaged, although no key fits it.
    for key in app
        .listing("store")
        .iter()
        .filter(|k| k.starts_with("crm/"))
    {
        let path = app.path("store").join(key);
        let mut bytes = std::fs::read(&path).unwrap();
        let header = b"-> X25519 ";
        let at = bytes.windows(header.len()).position(|w| w == header);
        bytes[at.unwrap() + header.len()] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::write(&own, identity).unwrap();
    must_fail(&app, &point, &["is damaged"]);
    assert_eq!(proof(&app, &point)["proof_tried"], Value::Null);
}

/// What the list of points says of one.
fn proof(app: &App, point: &str) -> Value {
    let listed = app.json(&["points"]);
    let mut points = listed["points"].as_array().unwrap().iter();
    points.find(|p| p["point"] == point).unwrap().clone()
}

#[test]
fn what_lies_outside_a_point_takes_nothing_from_its_proof() {
    let app = App::basic();
    let point = app.backup();
    app.ok(&["drill"]);
    app.configure_also(
        "[drill.slow]\nplans = [\"main\"]\nchecks = [{ command = [\"sh\", \"-c\", \"[ -e {root}/asleep ] || { touch {root}/asleep; sleep 120; }\"] }]\n",
    );

    // Someone ends it.
    let run = Started::new(&app, &["--json", "drill", "slow"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !app.path("asleep").exists() {
        assert!(Instant::now() < deadline, "the check never runs");
        std::thread::sleep(Duration::from_millis(10));
    }
    run.signal(Signal::TERM);
    let output = run.end();
    assert_eq!(output.code, 1, "{output}");
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["outcome"], "interrupted", "{report:#}");
    assert_eq!(proof(&app, &point)["proof"], "verified");
    assert_eq!(proof(&app, &point)["proof_tried"]["outcome"], "interrupted");

    // The scratch directory is full.
    let setup = format!(
        "mkdir -p {0} && mount -t tmpfs -o size=64k,mode=700 tmpfs {0}",
        app.path("state/scratch").display()
    );
    app.write("data/large.bin", &noise(1 << 20, 3));
    app.backup();
    if needs_mounts() {
        return;
    }
    let drilled = in_namespace(&app, &setup, &["--json", "drill", "slow"], "true");
    let report: Value = serde_json::from_str(&drilled.stdout).unwrap();
    assert_eq!(report["outcome"], "unverifiable", "{report:#}");
    assert!(found(&report).contains("No space left"), "{report:#}");
}

/// Files of many owners, drilled by a user who owns none of them.
#[test]
fn a_drill_without_privilege_names_ownership_as_a_limit() {
    if lifeboat_testkit::privilege::needs_root("give files to many owners") {
        return;
    }
    let app = App::basic();
    for (name, owner) in [("one", 1), ("two", 33), ("three", 65_534)] {
        let path = app.write(&format!("data/owned/{name}"), name.as_bytes());
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    }
    let point = app.backup();
    let by_root = app.json(&["drill"]);
    assert_eq!(by_root["outcome"], "verified", "{by_root:#}");
    assert!(
        !by_root["limits"].to_string().contains("ownership"),
        "{by_root:#}"
    );

    // The same store, read by another user with a state of its own and the same key.
    let key = app.path("state/signing.key");
    app.edit(
        "state = \"",
        &format!(
            "signing_key = \"file:{}\"\nstate = \"",
            app.path("key").display()
        ),
    );
    std::fs::copy(key, app.path("key")).unwrap();
    std::fs::remove_dir_all(app.path("state")).unwrap();
    let given = Command::new("chown")
        .args(["-R", "--no-dereference", "65534:65534"])
        .arg(app.root())
        .status()
        .unwrap();
    assert!(given.success());
    let mut drill = Command::new("setpriv");
    drill.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let binary = readable_binary(&app);
    drill
        .arg(binary)
        .args(["--json", "drill", "--point", &point]);
    drill
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", app.root());
    drill
        .env("LIFEBOAT_CONFIG", app.path("lifeboat.toml"))
        .current_dir(app.root());
    let output = crate::support::run(&mut drill);
    assert_eq!(output.code, 0, "{output}");
    let report = output.json();
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert!(
        report["limits"].to_string().contains("ownership"),
        "{report:#}"
    );
}

/// A copy of the program where every user can run it.
fn readable_binary(app: &App) -> PathBuf {
    let copy = app.path("lifeboat");
    std::fs::copy(crate::support::LIFEBOAT, &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    copy
}
