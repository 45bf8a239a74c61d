//! Runs that die, are told to end, or meet each other: no point that is not whole is ever visible,
//! and the next run needs nobody's help.

use crate::support::{App, Output, noise};
use lifeboat_testkit::postgres::PostgresServer;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Three sources in a row, of which the second is whatever comes out of a pipe, and commands
/// around them; all but the sources named in `blocked` are quick.
fn app(blocked: &str) -> App {
    let gate = |name: &str| match blocked == name {
        true => "[\"cat\", \"{root}/gate\"]",
        false => "[\"echo\", \"open\"]",
    };
    let app = App::with(&format!(
        r#"
[source.files]
kind = "files"
paths = ["{{root}}/data"]

[source.pipe]
kind = "command"
command = {}

[source.db]
kind = "sqlite"
path = "{{root}}/live/app.db"

[store.disk]
kind = "local"
path = "{{root}}/store"
key = "{{app}}/{{source}}/{{artifact}}"

[plan.main]
sources = ["files", "pipe", "db"]
stores = ["disk"]
before = [{}, ["sh", "-c", "echo before >> {{root}}/log"]]
finally = [["sh", "-c", "echo after >> {{root}}/log"], {}]
"#,
        gate("pipe"),
        gate("before"),
        gate("after"),
    ));
    make_gate(&app.path("gate"));
    app
}

pub fn make_gate(path: &Path) {
    let status = std::process::Command::new("mkfifo")
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}

/// A run under way; killed when dropped.
pub struct Started(Child);

impl Started {
    pub fn new(app: &App, args: &[&str]) -> Self {
        let mut command = app.command(args);
        Started(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Kills it as a power cut does.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Output {
        use std::os::unix::process::ExitStatusExt;
        let read = |pipe: Option<&mut dyn Read>| {
            let mut text = String::new();
            pipe.unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let stdout = read(self.0.stdout.as_mut().map(|p| p as &mut dyn Read));
        let stderr = read(self.0.stderr.as_mut().map(|p| p as &mut dyn Read));
        let status = self.0.wait().unwrap();
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
        Output {
            code,
            stdout,
            stderr,
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something reads from the gate: then the run is exactly there. What is returned
/// keeps it there; dropping it lets the run go on.
pub fn reached(gate: &Path, run: &mut Started) -> File {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match open_gate(gate) {
            Ok(file) => return file,
            Err(error) => {
                assert!(
                    Instant::now() < deadline,
                    "nobody reads from the gate: {error}"
                );
                if let Some(status) = run.0.try_wait().unwrap() {
                    panic!("the run ended before the gate: {status}");
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Opens the gate for whoever reads from it. Fails if nobody does.
fn open_gate(gate: &Path) -> std::io::Result<File> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let mut options = File::options();
    options.write(true).custom_flags(nonblocking).open(gate)
}

/// Waits until nobody reads from the gate any more: what a run that was killed had started would be
/// taken for the next one.
pub fn left(gate: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while open_gate(gate).is_ok() {
        assert!(Instant::now() < deadline, "the gate is still read from");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Processes whose command line contains a text.
pub fn processes(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(bytes) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        if line.contains(text) {
            found.push(format!("{} {line}", entry.file_name().display()));
        }
    }
    found
}

/// Waits until no process has this text in its command line.
fn none_left(text: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left = processes(text);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still running: {left:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// That nothing is visible now, and that the next run needs no help and leaves nothing behind.
fn recovers(app: &App) {
    app.holds_no_point("store");
    assert_eq!(app.points(), [""; 0]);
    // Nor does a runner that knows nothing of the one that died see anything.
    let state = app.path("state").display().to_string();
    let other = app.path("other-state").display().to_string();
    app.edit(&state, &other);
    assert_eq!(app.points(), [""; 0]);
    app.edit(&other, &state);
    app.edit("[\"cat\", ", "[\"echo\", ");
    let point = app.backup();
    assert_eq!(app.points(), [point]);
    app.ok(&["verify"]);
    let keys = app.listing("store");
    let artifacts: Vec<_> = keys.iter().filter(|k| k.starts_with("crm/")).collect();
    assert_eq!(artifacts.len(), 3, "leftovers: {keys:#?}");
    nothing_is_left(app);
}

fn nothing_is_left(app: &App) {
    let keys = app.listing("store");
    assert!(
        !keys.iter().any(|k| k.contains("incoming")),
        "half-written objects: {keys:#?}"
    );
    let scratch: Vec<_> = std::fs::read_dir(app.path("state/scratch"))
        .unwrap()
        .flatten()
        .collect();
    assert!(
        scratch.is_empty(),
        "scratch directories are left: {scratch:?}"
    );
}

#[test]
fn killed_before_the_first_source() {
    let app = app("before");
    let mut run = Started::new(&app, &["backup"]);
    let _gate = reached(&app.path("gate"), &mut run);
    run.kill();
    assert!(!app.path("log").exists());
    recovers(&app);
}

#[test]
fn killed_between_and_during_sources() {
    let app = app("pipe");
    let mut run = Started::new(&app, &["backup"]);
    let mut gate = reached(&app.path("gate"), &mut run);
    // The first source is stored by now, and of the second a part.
    gate.write_all(&noise(10_000, 1)).unwrap();
    run.kill();
    drop(gate);
    none_left(&app.path("gate").display().to_string());
    recovers(&app);
}

#[test]
fn killed_when_all_is_stored_and_nothing_committed() {
    let app = app("after");
    let mut run = Started::new(&app, &["backup"]);
    let _gate = reached(&app.path("gate"), &mut run);
    let stored = app.listing("store");
    assert_eq!(
        stored.iter().filter(|k| k.starts_with("crm/")).count(),
        3,
        "{stored:#?}"
    );
    run.kill();
    recovers(&app);
}

#[test]
fn killed_at_any_moment() {
    let app = App::basic();
    app.write("data/large.bin", &noise(3 << 20, 9));
    let begun = Instant::now();
    app.backup();
    let whole = begun.elapsed();
    let mut known = app.points();
    for step in 0..20 {
        let run = Started::new(&app, &["backup"]);
        // Spread over the length of a run, and a little beyond.
        std::thread::sleep(whole.mul_f64(f64::from(step) / 16.0));
        run.kill();
        // Whoever got as far as the commit is whole; everyone else is not there. The instructions are
        // those of before or of after, and true either way.
        let listed = app.run(&["--json", "points", "--rescan"]);
        assert_eq!(listed.code, 0, "{listed}");
        let rows = listed.json();
        let rows = rows["points"].as_array().unwrap();
        let points: Vec<String> = rows
            .iter()
            .map(|p| p["point"].as_str().unwrap().to_owned())
            .collect();
        assert!(
            known.iter().all(|p| points.contains(p)),
            "{known:?} {points:?}"
        );
        assert!(rows.iter().all(|p| p["missing"] == serde_json::json!([])));
        known = points;
        let verified = app.run(&["verify", "--all"]);
        assert_eq!(verified.code, 0, "{verified}");
    }
    let point = app.backup();
    assert!(app.points().contains(&point));
    nothing_is_left(&app);
    app.ok(&["verify", "--all"]);
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
}

#[test]
fn killed_during_a_drill_with_a_server() {
    use std::os::unix::fs::PermissionsExt;
    let server = PostgresServer::start();
    server.create_database("crm");
    server.psql(
        "crm",
        "CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 50)",
    );
    let mut app = App::with(
        r#"
[source.db]
kind = "postgres"
url = "env:DATABASE_URL"

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
sources = ["db"]
stores = ["disk"]

[drill.main]
plans = ["main"]
checks = [{ command = ["cat", "{root}/gate"] }]
"#,
    );
    // Where the user that PostgreSQL runs as can go, and no other test.
    let open = |path: PathBuf, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir(app.path("tmp")).unwrap();
    open(app.root().to_owned(), 0o755);
    open(app.path("tmp"), 0o1777);
    let temporary = app.path("tmp").display().to_string();
    app.env("TMPDIR", &temporary);
    app.env("DATABASE_URL", server.url("crm"));
    // The server of whoever is not root can go where its user can: below the state.
    let servers = match lifeboat_testkit::tree::privileged() {
        true => temporary.clone(),
        false => app.path("state").display().to_string(),
    };
    app.backup();
    make_gate(&app.path("gate"));
    let mut run = Started::new(&app, &["drill"]);
    let gate = reached(&app.path("gate"), &mut run);
    assert!(
        !processes(&servers).is_empty(),
        "the scratch server is not where it is looked for"
    );
    run.kill();
    drop(gate);
    none_left(&servers);
    app.edit("\"cat\", ", "\"echo\", ");
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().flatten().collect();
    assert!(left.is_empty(), "left after the next drill: {left:?}");
    nothing_is_left(&app);
    assert_eq!(
        app.json(&["evidence", "list"])["evidence"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_second_backup_of_the_plan_is_told_that_it_is_busy() {
    let app = app("pipe");
    let root = app.root().display().to_string();
    let mut run = Started::new(&app, &["backup"]);
    let mut gate = reached(&app.path("gate"), &mut run);
    let refusal = app.refuses(6, "busy", &["backup"]);
    refusal
        .names(&["another backup", "plan main"])
        .advises(&["wait"]);
    // A runner of its own, with another state directory, is told the same.
    app.edit(&format!("{root}/state"), &format!("{root}/other-state"));
    let refusal = app.refuses(6, "busy", &["backup"]);
    refusal.names(&["main"]);
    app.edit(&format!("{root}/other-state"), &format!("{root}/state"));
    // Reading is not held up.
    app.ok(&["points"]);
    gate.write_all(b"done").unwrap();
    drop(gate);
    let output = run.end();
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(app.points().len(), 1);
    app.edit("[\"cat\", ", "[\"echo\", ");
    app.backup();
}

/// Told to end by a signal: nothing is visible, no child is left, and `after` was run.
fn ends_in_order(signal: Signal) {
    let app = app("pipe");
    let mut run = Started::new(&app, &["backup"]);
    let mut gate = reached(&app.path("gate"), &mut run);
    gate.write_all(&noise(1000, 1)).unwrap();
    run.signal(signal);
    let output = run.end();
    assert!(output.code == 1 || output.code == 130, "{output}");
    output
        .refusal()
        .names(&["interrupted"])
        .advises(&["run it again"]);
    none_left(&app.path("gate").display().to_string());
    let log = std::fs::read_to_string(app.path("log")).unwrap();
    assert_eq!(log, "before\nafter\n", "what was quiesced is let go");
    drop(gate);
    recovers(&app);
}

#[test]
fn interrupted() {
    ends_in_order(Signal::INT);
}

#[test]
fn terminated() {
    ends_in_order(Signal::TERM);
}

/// Adds a source and commands that write down that they ran.
fn noted(before: &str, source: &str, after: &str) -> App {
    App::with(&format!(
        r#"
[source.it]
kind = "command"
command = ["sh", "-c", "echo source >> {{root}}/log; {source}"]

[store.disk]
kind = "local"
path = "{{root}}/store"

[plan.main]
sources = ["it"]
stores = ["disk"]
before = [["sh", "-c", "echo one >> {{root}}/log; {before}"], ["sh", "-c", "echo two >> {{root}}/log"]]
finally = [["sh", "-c", "echo three >> {{root}}/log; {after}"], ["sh", "-c", "echo four >> {{root}}/log"]]
"#
    ))
}

fn log(app: &App) -> Vec<String> {
    let text = std::fs::read_to_string(app.path("log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn commands_run_around_the_sources_in_order() {
    let app = noted("true", "echo data", "true");
    app.ok(&["backup", "--dry-run"]);
    assert_eq!(log(&app), [""; 0], "a dry run runs nothing");
    assert!(!app.path("store").exists(), "and makes nothing");
    app.backup();
    assert_eq!(log(&app), ["one", "two", "source", "three", "four"]);
}

#[test]
fn finally_runs_when_a_source_fails() {
    let app = noted("true", "exit 1", "true");
    app.exits(1, &["backup"]);
    assert_eq!(log(&app), ["one", "two", "source", "three", "four"]);
    app.holds_no_point("store");
}

#[test]
fn a_failing_before_means_no_point_and_finally_still_runs() {
    let app = noted("echo cannot quiesce >&2; exit 7", "echo data", "true");
    let refusal = app.exits(1, &["backup"]).refusal();
    refusal
        .names(&["before", "7"])
        .because(&["cannot quiesce"])
        .advises(&["by hand"]);
    assert_eq!(log(&app), ["one", "three", "four"]);
    app.holds_no_point("store");
}

#[test]
fn a_failing_finally_does_not_stop_the_next_and_is_told() {
    let app = noted("true", "echo data", "echo cannot start >&2; exit 7");
    let output = app.exits(3, &["backup"]);
    output.says(&["cannot start", "`finally` command"]);
    assert_eq!(log(&app), ["one", "two", "source", "three", "four"]);
    // What was captured is whole.
    assert_eq!(app.points().len(), 1);
    app.ok(&["verify"]);
}
