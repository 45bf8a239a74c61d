//! Plans that take no point when nothing changed: what counts as unchanged, what is noted then, and
//! what the streams of such a run leave on the way.

use crate::crash::{Started, left, make_gate, reached};
use crate::forge;
use crate::support::{App, age_key, at};
use lifeboat_core::copies;
use lifeboat_core::marks::{Intent, Leaving};
use lifeboat_core::point::{PointId, manifest_key};
use lifeboat_core::retention::Why;
use lifeboat_core::sign::Signer;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Two sources and two stores.
const PLAN: &str = r#"
[source.files]
kind = "files"
paths = ["{root}/data"]

[source.db]
kind = "sqlite"
path = "{root}/live/app.db"

[store.disk]
kind = "local"
path = "{root}/store"

[store.nas]
kind = "local"
path = "{root}/nas"

[plan.main]
schedule = "0 * * * *"
sources = ["files", "db"]
stores = ["disk", "nas"]
skip_unchanged = true

[drill.main]
plans = ["main"]
"#;

const NOTE: &str = "lifeboat/unchanged/crm/test/main.json";

/// A backup: whether it found nothing new, and the point.
fn backup(app: &App) -> (bool, String) {
    told(&app.json(&["backup"]))
}

fn told(report: &Value) -> (bool, String) {
    let unchanged = report["unchanged"].as_bool().unwrap();
    (unchanged, report["point"].as_str().unwrap().to_owned())
}

/// Takes a point, which must be a new one, and looks again, which must find nothing new.
fn taken(app: &App) -> String {
    let before = app.listing("store/lifeboat/points").concat();
    let (unchanged, point) = backup(app);
    assert!(!unchanged && !before.contains(&point), "{before}");
    assert_eq!(backup(app), (true, point.clone()));
    point
}

/// The status of the plan.
fn plan(app: &App) -> Value {
    app.json(&["status"])["plans"][0].clone()
}

fn note(app: &App, store: &str) -> PathBuf {
    app.path(store).join(NOTE)
}

/// Puts a note in the place of another: its text as changed, with a signature of this key.
fn forge_note(path: &Path, signer: &Signer, change: &dyn Fn(&mut Value)) {
    let enclosed: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut text: Value = serde_json::from_str(enclosed["note"].as_str().unwrap()).unwrap();
    change(&mut text);
    let text = serde_json::to_string(&text).unwrap();
    let signature = signer.sign(text.as_bytes()).unwrap();
    let enclosed = json!({ "note": text, "signature": signature });
    std::fs::write(path, enclosed.to_string()).unwrap();
}

#[test]
fn what_was_noted_of_a_plan_holds_while_its_stores_do_not_answer() {
    let app = App::with(PLAN);
    taken(&app);
    let at = |app: &App| app.json(&["status"])["plans"][0]["unchanged_at"].clone();
    let noted = at(&app);
    assert!(noted.is_string(), "{noted}");
    for store in ["store", "nas"] {
        std::fs::rename(app.path(store), app.path(&format!("{store}.away"))).unwrap();
        app.write(store, b"no directory");
    }
    assert_eq!(
        at(&app),
        noted,
        "it is what they said when they were asked last"
    );
}

#[test]
fn a_run_that_finds_nothing_new_takes_no_point_and_moves_the_recovery_point() {
    let app = App::with(PLAN);
    let json_at = |time: &str, args: &[&str]| {
        let output = at(&app, &format!("@2030-02-01 {time}"), args);
        assert_eq!(output.code, 0, "{output}");
        output.json()
    };
    let first = json_at("06:10:00", &["--json", "run"]);
    assert_eq!(first["jobs"][0]["state"], "done", "{first:#}");
    let stored = (app.listing("store"), app.listing("nas"));
    let taken = json_at("06:30:00", &["--json", "status"])["plans"][0].clone();
    assert_eq!(taken["unchanged_at"], Value::Null);

    let report = json_at("06:50:00", &["--json", "backup"]);
    assert_eq!(
        told(&report),
        (true, taken["point"].as_str().unwrap().to_owned())
    );
    assert_eq!(report["outcome"], "complete");
    assert_eq!(report["stores"], json!(["disk", "nas"]));
    assert_eq!(report["artifacts"].as_array().unwrap().len(), 2);
    assert_eq!(report["artifacts"][0]["stored"], json!([]));
    // The schedule asks again; the note in each store is replaced.
    let second = json_at("09:10:00", &["--json", "run"]);
    assert_eq!(second["jobs"][0]["state"], "done", "{second:#}");
    let message = second["jobs"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("unchanged since "), "{message}");
    assert_eq!(second["jobs"][0]["point"], Value::Null);
    for (store, before) in [("store", stored.0), ("nas", stored.1)] {
        let mut expected = before;
        expected.push(NOTE.to_owned());
        expected.sort();
        assert_eq!(app.listing(store), expected);
    }
    let none = json_at("09:40:00", &["--json", "run"]);
    assert_eq!(none["jobs"], json!([]), "{none:#}");

    let status = json_at("09:40:00", &["--json", "status"])["plans"][0].clone();
    assert_eq!(status["point"], taken["point"]);
    let age = status["age_seconds"].as_u64().unwrap();
    assert!((1790..1830).contains(&age), "{status:#}");
    assert_eq!(status["freshness"], "fresh");
    assert!(
        status["unchanged_at"]
            .as_str()
            .unwrap()
            .starts_with("2030-02-01T09:1")
    );
    let says = ["plan main is unchanged since ", "last looked "];
    let at_ten = "@2030-02-01 09:40:00";
    at(&app, at_ten, &["status"]).says(&says);
    at(&app, at_ten, &["points"]).says(&says);
    at(&app, at_ten, &["metrics"]).says(&["lifeboat_point_age_seconds{"]);
    let drilled = json_at("09:40:00", &["--json", "drill"]);
    let seconds = drilled["rpo_seconds"].as_f64().unwrap();
    assert!((1790.0..1860.0).contains(&seconds), "{drilled:#}");
    // A host that knows nothing but the store is told the same.
    app.forget_state_but_key();
    let anew = json_at("09:40:00", &["--json", "status"])["plans"][0].clone();
    assert_eq!(anew["unchanged_at"], status["unchanged_at"]);
    // Nothing is said of later times.
    let late = json_at("12:00:00", &["--json", "status"])["plans"][0].clone();
    assert_eq!(late["freshness"], "overdue");
}

#[test]
fn whatever_changed_a_point_is_taken() {
    let app = App::with(PLAN);
    let first = taken(&app);
    app.ok(&["backup"])
        .says(&["unchanged since ", "nothing of it new"]);
    app.write("data/notes.txt", b"remember the silk\n");
    taken(&app);
    let database = app.path("live/app.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection
        .execute("UPDATE client SET name = 'x' WHERE id = 7", [])
        .unwrap();
    drop(connection);
    taken(&app);
    // The proof of a database does not have the mode of its file.
    std::fs::set_permissions(&database, PermissionsExt::from_mode(0o640)).unwrap();
    taken(&app);
    // A drill wants an answer that no point has.
    let check = "{ sql = \"db\", query = \"select count(*) from client\", expect = \"same\" }";
    app.edit(
        "[drill.main]\n",
        &format!("[drill.main]\nchecks = [{check}]\n"),
    );
    taken(&app);
    app.edit(
        "[source.files]\n",
        "[source.files]\nexclude = [\"*.none\"]\n",
    );
    taken(&app);
    // With a reason, a point is taken, and is the next one's measure.
    let asked = told(&app.json(&["backup", "--reason", "before the move"]));
    assert!(!asked.0);
    assert_eq!(backup(&app), (true, asked.1));
    std::fs::remove_file(app.path("data/notes.txt")).unwrap();
    let last = taken(&app);
    assert!(last > first);
    assert_eq!(app.json(&["verify", "--all"])["outcome"], "intact");
}

#[test]
fn a_point_that_is_not_whole_in_every_store_is_no_measure() {
    let app = App::with(PLAN);
    let first = taken(&app);
    // An object of one copy is gone.
    let stored = app.listing("nas");
    let object = stored.iter().find(|path| path.contains("/db/")).unwrap();
    std::fs::remove_file(app.path("nas").join(object)).unwrap();
    let second = taken(&app);
    assert!(second > first);
    // A copy is gone.
    std::fs::remove_file(
        app.path("nas")
            .join(manifest_key(&PointId::parse(&second).unwrap())),
    )
    .unwrap();
    let third = taken(&app);
    // A store does not answer.
    std::fs::rename(app.path("nas"), app.path("away")).unwrap();
    app.write("nas", b"no directory");
    let report = app.json_exits(3, &["backup"]);
    assert_eq!(report["unchanged"], false);
    assert_eq!(report["missing_copies"], json!(["nas"]));
    std::fs::remove_file(app.path("nas")).unwrap();
    std::fs::rename(app.path("away"), app.path("nas")).unwrap();
    let fourth = taken(&app);
    assert!(fourth > third);
    // Only a part was captured: the measure stays, once all of it can be.
    let hidden = app.path("live/app.db.away");
    std::fs::rename(app.path("live/app.db"), &hidden).unwrap();
    let report = app.json_exits(3, &["backup"]);
    assert_eq!(report["unchanged"], false);
    assert_eq!(report["outcome"], "partial");
    std::fs::rename(&hidden, app.path("live/app.db")).unwrap();
    assert_eq!(backup(&app), (true, fourth));
}

#[test]
fn a_point_that_goes_or_does_not_come_back_is_no_measure() {
    let app = App::with(PLAN);
    let first = taken(&app);
    let context = forge::open(&app);
    let store = context.stores.open("nas").unwrap();
    let copy = copies::read(&store, &PointId::parse(&first).unwrap()).unwrap();
    let leaving = Leaving {
        point: copy.manifest.point.clone(),
        plan: copy.manifest.plan.clone(),
        why: Why::NoRule,
        manifest_sha256: copies::manifest_sha256(&copy),
        manifest: String::new(),
        signature: None,
    };
    let intent = Intent::new(&context, &store.name, None, vec![leaving]);
    intent.put(&context, &store).unwrap();
    let second = taken(&app);
    // The note of the other store still counts, and is of another point.
    assert!(plan(&app)["unchanged_at"].is_string());

    let check = "checks = [{ sql = \"db\", query = \"select 1\", expect = \"= 2\" }]";
    app.edit("[drill.main]\n", &format!("[drill.main]\n{check}\n"));
    app.exits(4, &["drill"]);
    assert_eq!(plan(&app)["proof"], "failed");
    let looked = app.json(&["points"]);
    let points = looked["points"].as_array().unwrap();
    let noted = points.iter().filter(|p| p["unchanged_at"].is_string());
    assert_eq!(noted.count(), 0, "{looked:#}");
    let third = taken(&app);
    assert!(first < second && second < third);
}

#[test]
fn a_host_that_cannot_decrypt_compares_by_its_key_and_another_by_the_details() {
    let (recipient, secret) = age_key();
    let app = App::with(PLAN);
    for store in ["store", "nas"] {
        let path = format!("path = \"{{root}}/{store}\"\n");
        app.edit(
            &path,
            &format!("{path}encrypt = {{ age = [\"{recipient}\"] }}\n"),
        );
    }
    let point = taken(&app);
    // It knows nothing but its key.
    app.forget_state_but_key();
    assert_eq!(backup(&app), (true, point.clone()));
    // Another host cannot tell, unless it can read the details.
    let line = forge::open(&app).state.signer.public().line_for("crm");
    app.private("signers", line.as_bytes());
    app.edit("[app]\n", "[app]\ntrusted_signers = \"{root}/signers\"\n");
    let key = std::fs::read(app.path("state/signing.key")).unwrap();
    app.forget_state();
    let (unchanged, by_other) = backup(&app);
    assert!(!unchanged && by_other > point);
    // The same again, with the key that decrypts.
    app.forget_state();
    app.private("state/signing.key", &key);
    for store in ["store", "nas"] {
        std::fs::remove_dir_all(app.path(store)).unwrap();
    }
    let point = taken(&app);
    app.forget_state();
    app.private("identity.txt", secret.as_bytes());
    for store in ["store", "nas"] {
        let path = format!("path = \"{{root}}/{store}\"\n");
        app.edit(
            &path,
            &format!("{path}decrypt = {{ age = \"file:{{root}}/identity.txt\" }}\n"),
        );
    }
    assert_eq!(backup(&app), (true, point));
}

#[test]
fn other_keys_of_a_store_ask_for_a_point_that_is_sealed_to_them() {
    let (first, _) = age_key();
    let (second, _) = age_key();
    let app = App::with(PLAN);
    let path = "path = \"{root}/nas\"\n";
    let encrypt = |key: &str| format!("{path}encrypt = {{ age = [\"{key}\"] }}\n");
    let clear = taken(&app);
    app.edit(path, &encrypt(&first));
    let sealed = taken(&app);
    app.edit(&encrypt(&first), &encrypt(&second));
    let resealed = taken(&app);
    app.edit(&encrypt(&second), path);
    assert!(clear < sealed && sealed < resealed && resealed < taken(&app));
}

#[test]
fn a_source_that_is_too_large_is_refused_and_the_rest_is_taken() {
    let app = App::with(PLAN);
    app.edit(
        "sources = [\"files\", \"db\"]",
        "sources = [\"files\", \"big\"]",
    );
    app.configure_also(
        "[source.big]\nkind = \"command\"\ncommand = [\"head\", \"-c\", \"67108865\", \"/dev/zero\"]\n",
    );
    let output = app.exits(3, &["backup"]);
    output.says(&[
        "source big",
        "larger than the 64 MiB",
        "layout = \"repository\"",
    ]);
    let report = app.json_exits(3, &["backup"]);
    assert_eq!(report["outcome"], "partial");
    assert_eq!(report["artifacts"].as_array().unwrap().len(), 1);
    app.edit("67108865", "67108864");
    taken(&app);
    // Whoever gives a reason gets a point of whatever size.
    app.edit("67108864", "67108865");
    app.ok(&["backup", "--reason", "before the move"]);
}

#[test]
fn a_note_that_somebody_else_made_counts_nothing() {
    let app = App::with(PLAN);
    app.ok(&["backup"]);
    let context = forge::open(&app);
    let ours = &context.state.signer;
    let looked = |expected: bool| {
        let told = plan(&app);
        assert_eq!(told["unchanged_at"].is_string(), expected, "{told:#}");
    };
    looked(false);
    let write = |change: &dyn Fn(&mut Value), signer: &Signer| {
        assert!(backup(&app).0);
        std::fs::remove_file(note(&app, "nas")).unwrap();
        looked(true);
        forge_note(&note(&app, "store"), signer, change);
    };
    write(&|_| {}, ours);
    looked(true);
    write(&|_| {}, &Signer::generate().unwrap());
    looked(false);
    write(&|note| note["app"] = json!("other"), ours);
    looked(false);
    write(&|note| note["environment"] = json!("other"), ours);
    looked(false);
    write(&|note| note["manifest_sha256"] = json!("00"), ours);
    looked(false);
    write(&|note| note["at"] = json!("2040-01-01T00:00:00Z"), ours);
    looked(false);
    write(&|note| note["schema"] = json!(2), ours);
    looked(false);
    std::fs::write(note(&app, "store"), b"{}").unwrap();
    looked(false);
    // The note of one store says nothing in another: it names another manifest.
    assert!(backup(&app).0);
    std::fs::rename(note(&app, "nas"), note(&app, "store")).unwrap();
    looked(false);
    // Nothing of that is in the way.
    assert!(backup(&app).0);
    looked(true);
}

#[test]
fn a_run_that_ends_between_two_stores_has_told_the_first() {
    let app = App::with(PLAN);
    let point = taken(&app);
    // As after a kill: the note of each store is put in one step.
    std::fs::remove_file(note(&app, "nas")).unwrap();
    assert!(plan(&app)["unchanged_at"].is_string());
    assert_eq!(backup(&app), (true, point.clone()));
    assert!(note(&app, "nas").exists());
    // A store that cannot be told is named, and the other one is.
    let directory = app.path("nas/lifeboat/unchanged");
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::write(&directory, b"in the way").unwrap();
    let before = std::fs::read(note(&app, "store")).unwrap();
    let report = app.json_exits(3, &["backup"]);
    assert_eq!(told(&report), (true, point));
    assert!(
        report["errors"][0]
            .as_str()
            .unwrap()
            .contains("store nas was not told")
    );
    assert_ne!(std::fs::read(note(&app, "store")).unwrap(), before);
    // If none can be told, a point is taken.
    let directory = app.path("store/lifeboat/unchanged");
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::write(&directory, b"in the way").unwrap();
    let report = app.json(&["backup"]);
    assert_eq!(report["unchanged"], false, "{report:#}");
}

/// Directories of the state in which something is thrown away.
fn scratch(app: &App) -> Vec<String> {
    let state = app.listing("state").into_iter();
    state
        .filter(|path| path.contains("lifeboat-scratch"))
        .collect()
}

/// Returns whether the text is in any file below a directory.
fn holds(app: &App, directory: &str, text: &[u8]) -> bool {
    let mut files = app.listing(directory).into_iter();
    files.any(|file| {
        let bytes = std::fs::read(app.path(directory).join(file)).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text)
    })
}

#[test]
fn what_waits_is_sealed_and_goes_with_the_run() {
    let marker = b"a marker in clear";
    let app = App::with(PLAN);
    app.edit(
        "sources = [\"files\", \"db\"]",
        "sources = [\"secret\", \"files\", \"gate\"]",
    );
    app.configure_also(
        "[source.secret]\nkind = \"command\"\ncommand = [\"cat\", \"{root}/secret\"]\n\
         [source.gate]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"cat {root}/gate; echo open\"]\n",
    );
    app.write("secret", &marker.repeat(10_000));
    make_gate(&app.path("gate"));
    let mut run = Started::new(&app, &["backup"]);
    let gate = reached(&app.path("gate"), &mut run);
    let spooled = scratch(&app);
    assert!(
        spooled.iter().any(|path| path.contains("-spool-")),
        "{spooled:?}"
    );
    assert!(!holds(&app, "state", marker));
    // Nothing was sent yet.
    assert!(!holds(&app, "store", marker));
    run.kill();
    drop(gate);
    left(&app.path("gate"));
    assert!(scratch(&app).iter().any(|path| path.contains("-spool-")));

    let mut run = Started::new(&app, &["backup"]);
    drop(reached(&app.path("gate"), &mut run));
    let output = run.end();
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(scratch(&app), [""; 0]);
    assert!(!holds(&app, "state", marker));
    assert_eq!(app.points().len(), 1);
}
