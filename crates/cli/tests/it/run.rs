//! `run`, `jobs`, `status` and `gate`: what is due is done, and everybody is told the same of it.

use crate::cold::Machine;
use crate::support::{App, BASIC, Output, at, run};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// [`BASIC`] with schedules of times that no test meets: each is due once, and then in January.
fn scheduled() -> App {
    let plan = "[plan.main]\nschedule = \"0 3 1 1 *\"\n";
    let drill = "[drill.main]\nschedule = \"0 4 1 1 *\"\n";
    App::with(
        &BASIC
            .replace("[plan.main]\n", plan)
            .replace("[drill.main]\n", drill),
    )
}

/// A plan whose only source fails until `{root}/vault` is there.
const FAILING: &str = r#"
[source.vault]
kind = "command"
command = ["cat", "{root}/vault"]
extension = "json"

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
schedule = "0 3 1 1 *"
retry = { attempts = 3, wait = "1s" }
sources = ["vault"]
stores = ["disk"]
"#;

/// Each job with its kind, subject and state, in the order of the document.
fn told(document: &Value) -> Vec<(String, String, String)> {
    let word = |job: &Value, key: &str| job[key].as_str().unwrap().to_owned();
    let jobs = document["jobs"].as_array().unwrap().iter();
    jobs.map(|job| (word(job, "kind"), word(job, "subject"), word(job, "state")))
        .collect()
}

fn expect(document: &Value, expected: &[(&str, &str, &str)]) {
    let found = told(document);
    let found: Vec<(&str, &str, &str)> = found
        .iter()
        .map(|(kind, subject, state)| (kind.as_str(), subject.as_str(), state.as_str()))
        .collect();
    assert_eq!(found, expected, "{document:#}");
}

/// What a terminal of 80 columns shows.
pub fn at_80_columns(app: &App, args: &[&str]) -> Output {
    let known = app.command(args);
    let line = format!(
        "stty cols 80; exec {} {}",
        known.get_program().display(),
        args.join(" ")
    );
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env_clear()
        .envs(known.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env("NO_COLOR", "1")
        .env("SHELL", "/bin/sh")
        .current_dir(app.root())
        .stdin(Stdio::null());
    let output = run(&mut command);
    for line in output.stdout.lines() {
        let length = line.trim_end().chars().count();
        assert!(length <= 80, "{length} columns: {line}\n{output}");
    }
    output
}

#[test]
fn the_first_run_takes_the_point_and_drills_and_the_second_finds_nothing_due() {
    let app = scheduled();
    let planned = app.json(&["run", "--dry-run"]);
    assert_eq!(planned["now"].as_array().unwrap().len(), 1, "{planned:#}");
    assert_eq!(planned["now"][0]["kind"], "backup");
    assert_eq!(planned["now"][0]["subject"], "main");
    app.ok(&["run", "--dry-run"])
        .says(&["due now: backup main: it never ran"]);
    app.holds_no_point("store");

    let ran = app.json(&["run"]);
    expect(
        &ran,
        &[("backup", "main", "done"), ("drill", "main", "done")],
    );
    let points = app.points();
    assert_eq!(points.len(), 1);
    for job in ran["jobs"].as_array().unwrap() {
        assert_eq!(job["point"], json!(points[0]));
        assert_ne!(job["slot"], Value::Null);
    }

    let again = app.json(&["run"]);
    expect(&again, &[]);
    let later: Vec<&Value> = again["later"].as_array().unwrap().iter().collect();
    assert_eq!(later.len(), 2, "{again:#}");
    assert_eq!(later[0]["kind"], "backup");
    app.ok(&["run"])
        .says(&["nothing was due", "next: backup main at 20"]);
    app.ok(&["run", "--dry-run"]).says(&["nothing is due now"]);
    assert_eq!(app.points(), points);
    assert_eq!(app.ok(&["-q", "run"]).stdout, "");
}

#[test]
fn jobs_are_listed_and_shown_with_their_logs() {
    let app = scheduled();
    app.ok(&["jobs"])
        .says(&["no job is noted on this host yet"]);
    app.ok(&["run"]);
    let listed = app.json(&["jobs"]);
    expect(
        &listed,
        &[("drill", "main", "done"), ("backup", "main", "done")],
    );
    let newest = app.json(&["jobs", "-n", "1"]);
    expect(&newest, &[("drill", "main", "done")]);
    let id = listed["jobs"][1]["job"].as_str().unwrap();
    let shown = app.json(&["jobs", id]);
    assert_eq!(shown["job"], id);
    let log = shown["log"].as_array().unwrap();
    let first = log[0].as_str().unwrap();
    assert!(first.ends_with(" backup main: it never ran"), "{first}");
    let last = log.last().unwrap().as_str().unwrap();
    assert!(last.contains(" done: complete"), "{last}");
    app.ok(&["jobs", id]).says(&["backup main: done", "log:"]);
    assert_eq!(app.json(&["jobs", "latest"])["kind"], "drill");
    app.ok(&["jobs", id, "--follow"])
        .says(&["backup main: it never ran"]);
    app.refuses(2, "usage", &["jobs", "20200101"])
        .names(&["20200101"])
        .advises(&["lifeboat jobs"]);
}

#[test]
fn a_terminal_of_80_columns_holds_what_is_said() {
    let app = scheduled();
    at_80_columns(&app, &["run", "--dry-run"]).says(&["due now"]);
    at_80_columns(&app, &["status"]).says(&["NEVER"]);
    app.ok(&["run"]);
    at_80_columns(&app, &["status"]).says(&["fresh", "proved", "answers"]);
    at_80_columns(&app, &["jobs"]).says(&["KIND", "backup", "drill"]);
    at_80_columns(&app, &["jobs", "latest"]).says(&["drill main: done"]);
    at_80_columns(&app, &["gate"]).says(&["verified", "open"]);
    at_80_columns(&app, &["run"]).says(&["nothing was due"]);
}

#[test]
fn a_failing_source_is_tried_again_after_waits_that_double() {
    let app = App::with(FAILING);
    let ran = app.json_exits(1, &["run"]);
    expect(&ran, &[("backup", "main", "failed"); 3]);
    let jobs = ran["jobs"].as_array().unwrap();
    let time =
        |job: &Value, key: &str| -> jiff::Timestamp { job[key].as_str().unwrap().parse().unwrap() };
    for (number, pair) in jobs.windows(2).enumerate() {
        assert_eq!(pair[1]["attempt"], number + 2);
        let wait = time(&pair[1], "started").as_second() - time(&pair[0], "finished").as_second();
        assert!(wait >= [1, 2][number], "{ran:#}");
    }
    let listed = app.json(&["jobs"]);
    expect(&listed, &[("backup", "main", "failed"); 3]);
    assert_eq!(listed["jobs"][0]["attempt"], 3);

    // Three attempts are all there are for this time of the schedule.
    expect(&app.json(&["run"]), &[]);
    app.ok(&["status"])
        .says(&["plan main failed", "plan main has no complete point"]);
    app.write("vault", b"{}");
    app.ok(&["backup"]);
    let status = app.json(&["status"]);
    assert_eq!(status["plans"][0]["failing"], Value::Null, "{status:#}");
}

#[test]
fn a_source_that_comes_back_is_captured_by_the_next_attempt() {
    let app = App::with(FAILING);
    app.edit("\"cat\", \"{root}/vault\"", "\"{root}/vault.sh\"");
    app.script(
        "vault.sh",
        "if test -e tried; then echo {}; else : > tried; exit 1; fi",
    );
    let ran = app.json(&["run"]);
    expect(
        &ran,
        &[("backup", "main", "failed"), ("backup", "main", "done")],
    );
}

#[test]
fn a_store_that_was_away_is_healed_by_the_next_run() {
    let app = scheduled();
    app.edit("stores = [\"disk\"]", "stores = [\"disk\", \"other\"]");
    app.configure_also("[store.other]\nkind = \"local\"\npath = \"{root}/mnt/other\"\n");
    let ran = app.exits(3, &["--json", "run"]).json();
    assert_eq!(
        told(&ran)[0],
        ("backup".into(), "main".into(), "partial".into())
    );
    let up = |status: &Value, store: usize| status["stores"][store]["error"].is_null();
    let status = app.json_exits(3, &["status", "--check"]);
    assert!(up(&status, 0) && !up(&status, 1), "{status:#}");
    assert_eq!(status["plans"][0]["missing_copies"], json!({ "other": 1 }));
    app.ok(&["status"])
        .says(&["UNREACHABLE", "lifeboat copy --to other"]);

    std::fs::create_dir(app.path("mnt")).unwrap();
    let ran = app.json(&["run"]);
    expect(&ran, &[("copy", "other", "done")]);
    let status = app.json(&["status", "--check"]);
    assert_eq!(status["plans"][0]["missing_copies"], json!({}));
    assert_eq!(status["stores"][1]["points"], 1);
    app.ok(&["verify", "--store", "other"]);
}

#[test]
fn status_and_gate_tell_what_never_ran_from_what_is_proved() {
    let app = scheduled();
    app.exits(5, &["status", "--check"]).says(&["NEVER"]);
    app.ok(&["status"])
        .says(&["plan main has no complete point", "lifeboat backup main"]);
    let closed = app.json_exits(5, &["gate"]);
    assert_eq!(closed["open"], false);
    app.backup();
    app.ok(&["status", "--check"]);
    app.exits(5, &["gate"])
        .says(&["NEVER VERIFIED", "closed: drill what"]);

    app.ok(&["run"]);
    let status = app.json(&["status", "--check"]);
    assert_eq!(status["plans"][0]["freshness"], "fresh");
    assert_eq!(status["plans"][0]["proof"], "verified");
    assert_eq!(status["drills"][0]["standing"], "proved");
    assert_eq!(status["drills"][0]["outcome"], "verified");
    assert_eq!(status["stores"][0]["points"], 1);
    let open = app.json(&["gate"]);
    assert_eq!(open["open"], true);
    assert_eq!(open["sources"].as_array().unwrap().len(), 2);
    app.ok(&["gate", "--plan", "main"]).says(&["open: each"]);
    let later = at(&app, "+2d", &["gate", "--max-age", "1d"]);
    assert_eq!(later.code, 5, "{later}");
    later.says(&["TOO OLD", "closed: drill what"]);
    app.exits(2, &["gate", "--max-age", "long"]);
    app.exits(2, &["gate", "--plan", "another"]);
}

#[test]
fn another_machine_judges_freshness_from_the_store_alone() {
    let app = scheduled();
    app.ok(&["run"]);
    let point = &app.points()[0];
    let signer = app.json(&["show", point])["signer"].clone();
    let machine = Machine::new();
    let store = format!("file://{}", app.path("store").display());
    let signer = signer.as_str().unwrap();
    let args = ["--json", "status", "--check", "--store-url", &store];
    let args = [&args[..], &["--trust-signer", signer]].concat();
    let status = machine.exits(0, &args).json();
    assert_eq!(status["app"], "crm");
    assert_eq!(status["plans"][0]["freshness"], "fresh");
    assert_eq!(status["plans"][0]["proof"], "verified");
    assert_eq!(status["plans"][0]["point"], json!(point));
}

#[test]
fn a_runner_that_is_thrown_away_remembers_in_a_store() {
    let app = scheduled();
    app.configure_also("[run]\nmemory = \"disk\"\n\n[verify.daily]\nschedule = \"0 5 * * *\"\n");
    let run_at = |time: &str| {
        let output = at(&app, time, &["--json", "run"]);
        assert_eq!(output.code, 0, "{output}");
        app.forget_state_but_key();
        output.json()
    };
    let first = run_at("@2030-02-01 12:00:00");
    assert_eq!(told(&first)[0].0, "backup", "{first:#}");
    // The first one shows that the time of the schedule passed meanwhile.
    let second = run_at("@2030-02-02 12:00:00");
    expect(&second, &[("verify", "daily", "done")]);
    expect(&run_at("@2030-02-02 13:00:00"), &[]);

    let listed = at(&app, "@2030-02-02 14:00:00", &["--json", "jobs"]).json();
    let newest = told(&listed)[0].clone();
    assert_eq!(newest, ("verify".into(), "daily".into(), "done".into()));
    assert_eq!(
        listed["jobs"].as_array().unwrap().last().unwrap()["kind"],
        "backup"
    );
    app.forget_state_but_key();
    let id = second["jobs"][0]["job"].as_str().unwrap();
    let shown = at(&app, "@2030-02-02 14:00:00", &["--json", "jobs", id]).json();
    assert_eq!(shown["kind"], "verify", "{shown:#}");
}

#[test]
fn two_runs_at_once_take_one_point() {
    let app = scheduled();
    let start = || {
        let mut command = app.command(&["run"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let codes: Vec<i32> = both.iter().map(|o| o.status.code().unwrap()).collect();
    assert!(codes.contains(&0), "{codes:?}");
    for (code, output) in codes.iter().zip(&both) {
        let said = String::from_utf8_lossy(&output.stderr);
        match code {
            0 => {}
            6 => assert!(said.contains("another runner"), "{said}"),
            code => panic!("{code}: {said}"),
        }
    }
    assert_eq!(app.points().len(), 1);
}
