//! The daemon: does what is due by itself, answers, stops in order, and lets no application hold
//! another up.

use crate::support::{App, HEAD};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Longest time that anything may take here.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A daemon that is killed when it is dropped.
pub struct Daemon {
    child: Child,
    log: std::path::PathBuf,
}

impl Daemon {
    pub fn start(app: &App, config: &str) -> Self {
        Self::start_with(app, config, &[])
    }

    fn start_with(app: &App, config: &str, more: &[&str]) -> Self {
        let log = app.path(&format!("{config}.log"));
        let file = std::fs::File::create(&log).unwrap();
        let mut command = app.command(&["daemon"]);
        command.args(more).env("LIFEBOAT_CONFIG", app.path(config));
        command.stdout(Stdio::null()).stderr(file);
        Daemon {
            child: command.spawn().unwrap(),
            log,
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its log says this so many times.
    pub fn until_told(&self, text: &str, times: usize) {
        let begun = Instant::now();
        while self.log().matches(text).count() < times {
            assert!(
                begun.elapsed() < PATIENCE,
                "{text:?} is not told:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn until_over(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not end:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.until_over(), 0, "{}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A schedule whose last time was some minutes ago, and whose next one is far away: nothing becomes
/// due while a test runs.
pub fn schedule() -> String {
    let now = jiff::Timestamp::now().as_second();
    let minute = (now / 60 + 60 - 5) % 60;
    format!("{minute} * * * *")
}

const SOURCE: &str = "[source.files]\nkind = \"files\"\npaths = [\"{root}/data\"]\n";
const STORE: &str = "[store.disk]\nkind = \"local\"\npath = \"{root}/store\"\n";

fn plan(name: &str, sources: &str, more: &str) -> String {
    let schedule = schedule();
    format!(
        "[plan.{name}]\nschedule = \"{schedule}\"\nsources = [{sources}]\nstores = [\"disk\"]\n{more}\n"
    )
}

/// Files, a store, a plan and a drill, both due.
fn application() -> App {
    let app = App::with("");
    app.write("data/a", b"content");
    let drill = format!(
        "[drill.d]\nplans = [\"main\"]\nschedule = \"{}\"\n",
        schedule()
    );
    let plan = plan("main", "\"files\"", "");
    app.configure(&format!("{HEAD}{SOURCE}{STORE}{plan}{drill}"));
    app
}

fn jobs(app: &App) -> Vec<(String, String)> {
    let listed = app.json(&["jobs"]);
    let mut jobs: Vec<(String, String)> = listed["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| {
            let text = |key: &str| job[key].as_str().unwrap().to_owned();
            (text("kind"), text("state"))
        })
        .collect();
    jobs.reverse();
    jobs
}

fn pair(kind: &str, state: &str) -> (String, String) {
    (kind.to_owned(), state.to_owned())
}

/// The answer of the daemon, once a turn of its first application is over.
fn until_looked(app: &App, socket: &str) -> Value {
    let socket = socket.replace("{root}", &app.root().display().to_string());
    let begun = Instant::now();
    loop {
        // The socket is named, so that no configuration is read.
        let status = app.json(&["daemon", "status", "--socket", &socket]);
        if status["applications"][0]["status"] != Value::Null {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn it_does_what_is_due_answers_and_stops() {
    let app = application();
    let daemon = Daemon::start(&app, "lifeboat.toml");
    daemon.until_told("drill d done", 1);
    assert_eq!(jobs(&app), [pair("backup", "done"), pair("drill", "done")]);
    let socket = app.path("state/daemon.sock");
    let metadata = std::fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let status = until_looked(&app, "{root}/state/daemon.sock");
    assert_eq!(status["pid"], daemon.child.id());
    let own = &status["applications"][0];
    assert_eq!(own["app"], "crm/test");
    assert_eq!(
        own["status"]["plans"][0]["freshness"], "fresh",
        "{status:#}"
    );
    assert_eq!(own["status"]["drills"][0]["standing"], "proved");
    assert_eq!(
        own["next"],
        app.json(&["run", "--dry-run"])["later"][0]["at"]
    );
    app.ok(&["daemon", "status"]).says(&["crm/test"]);
    // It looks again when it is asked to, and finds nothing.
    app.ok(&["daemon", "wake"]).says(&["it looks what is due"]);
    app.exits(2, &["daemon", "cancel", "2026"])
        .says(&["is no job that runs here"]);
    app.exits(2, &["daemon", "status", "--app", "other"])
        .says(&["there is no application"]);
    let log = daemon.log();
    daemon.stop();
    assert!(!socket.exists());
    assert_eq!(jobs(&app).len(), 2, "{log}");
    app.exits(1, &["daemon", "status"])
        .says(&["no daemon answers on"]);
    // It is told to stop by a request, too.
    let mut daemon = Daemon::start(&app, "lifeboat.toml");
    let begun = Instant::now();
    while app.run(&["daemon", "stop"]).code != 0 {
        assert!(begun.elapsed() < PATIENCE, "{}", daemon.log());
    }
    assert_eq!(daemon.until_over(), 0);
}

#[test]
fn a_configuration_that_is_refused_leaves_the_old_one_in_force() {
    let app = application();
    let daemon = Daemon::start(&app, "lifeboat.toml");
    daemon.until_told("drill d done", 1);
    app.edit("[plan.main]", "[plan.mian]");
    daemon.signal(Signal::HUP);
    daemon.until_told("the old configuration stays in force", 1);
    let status = until_looked(&app, "{root}/state/daemon.sock");
    let own = &status["applications"][0];
    let refused = own["refused"]["message"].as_str().unwrap();
    assert!(refused.contains("there is no plan \"main\""), "{refused}");
    assert_eq!(own["status"]["plans"][0]["plan"], "main");
    // Mended, and with another plan: both are in force at once.
    app.edit("[plan.mian]", "[plan.main]");
    app.configure_also(&plan("other", "\"files\"", ""));
    app.ok(&["daemon", "reload"]).says(&["read again"]);
    daemon.until_told("backup other done", 1);
    let status = app.json(&["daemon", "status"]);
    assert_eq!(status["applications"][0]["refused"], Value::Null);
    daemon.stop();
    app.edit("[plan.main]", "[plan.mian]");
    let mut refused = Daemon::start(&app, "lifeboat.toml");
    assert_eq!(refused.until_over(), 2, "{}", refused.log());
}

#[test]
fn one_daemon_at_a_time_has_the_state_and_the_socket() {
    let app = application();
    let daemon = Daemon::start(&app, "lifeboat.toml");
    daemon.until_told("drill d done", 1);
    app.exits(6, &["daemon"])
        .says(&["another daemon is at work"]);
    // One that was killed leaves its socket, and the next one takes its place.
    daemon.signal(Signal::KILL);
    drop(daemon);
    let socket = app.path("state/daemon.sock");
    assert!(socket.exists());
    let daemon = Daemon::start(&app, "lifeboat.toml");
    let begun = Instant::now();
    while app.run(&["daemon", "status"]).code != 0 {
        assert!(begun.elapsed() < PATIENCE, "{}", daemon.log());
    }
    daemon.stop();
    // What another program listens on, and what is no socket, is left alone.
    let other = app.path("other.sock");
    let listener = UnixListener::bind(&other).unwrap();
    app.exits(6, &["daemon", "--socket", other.to_str().unwrap()])
        .says(&["another daemon answers on"]);
    drop(listener);
    let file = app.write("file", b"precious");
    app.exits(1, &["daemon", "--socket", file.to_str().unwrap()])
        .says(&["is there and is no socket"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let long = app.path(&"x".repeat(120));
    app.exits(1, &["daemon", "--socket", long.to_str().unwrap()])
        .says(&["name a short path"]);
    assert_eq!(jobs(&app).len(), 2);
}

#[test]
fn a_job_that_hangs_is_ended_and_holds_no_other_application_up() {
    let app = App::with("");
    app.write("data/a", b"content");
    let files = format!("{SOURCE}{STORE}{}", plan("main", "\"files\"", ""));
    let hangs = "[source.slow]\nkind = \"command\"\ncommand = [\"sleep\", \"600\"]\n";
    let bounded = "timeout = \"2s\"\nretry = { attempts = 1 }";
    let slow = format!(
        "{SOURCE}{hangs}{STORE}{}",
        plan("slow", "\"slow\"", bounded)
    );
    let also = plan("main", "\"files\"", "");
    let name = |name: &str| HEAD.replace("name = \"crm\"", &format!("name = \"{name}\""));
    let root = app.root().display().to_string();
    let write = |file: &str, text: &str| {
        app.private(
            &format!("conf.d/{file}"),
            text.replace("{root}", &root).as_bytes(),
        )
    };
    write("a.toml", &format!("{}{slow}{also}", name("a")));
    write("b.toml", "this = is no configuration");
    write("c.toml", &format!("{}{files}", name("c")));
    write("d.toml", &format!("{}{files}", name("c")));
    write("e.toml.disabled", "neither is this");
    let daemon = Daemon::start(&app, "conf.d");
    daemon.until_told("c/test: backup main done", 1);
    daemon.until_told("b.toml", 1);
    daemon.until_told("c/test is also the application of", 1);
    daemon.until_told("a/test: backup slow timed-out", 1);
    // The plan beside it had its turn, too.
    daemon.until_told("a/test: backup main done", 1);
    let asked = app
        .command(&["--json", "daemon", "status"])
        .env("LIFEBOAT_CONFIG", app.path("conf.d"))
        .output()
        .unwrap();
    let status: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let names: Vec<&str> = status["applications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["app"].as_str().unwrap())
        .collect();
    assert_eq!(names[0], "a/test");
    assert!(names[1].ends_with("conf.d/b.toml"), "{names:?}");
    daemon.stop();
    // Each application has its own state; they share a signing key. A verb finds both.
    assert!(app.path("state/signing.key").exists());
    assert!(app.path("state/apps/c-test/jobs.db").exists());
    let listed = app
        .command(&["--json", "jobs"])
        .env("LIFEBOAT_CONFIG", app.path("conf.d/c.toml"))
        .output()
        .unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1, "{listed:#}");
}

#[test]
fn a_daemon_that_is_killed_leaves_nothing_out_and_does_nothing_twice() {
    let app = App::with("");
    app.write("data/a", b"content");
    let slow =
        "[source.slow]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"sleep 0.7; echo done\"]\n";
    let plan = plan(
        "main",
        "\"files\", \"slow\"",
        "retry = { attempts = 20, wait = \"1s\" }",
    );
    app.configure(&format!("{HEAD}{SOURCE}{slow}{STORE}{plan}"));
    for wait in [0, 50, 150, 300, 500, 800] {
        let daemon = Daemon::start(&app, "lifeboat.toml");
        if wait > 100 {
            daemon.until_told("backup main begins", 1);
        }
        std::thread::sleep(Duration::from_millis(wait));
        daemon.signal(Signal::KILL);
    }
    let daemon = Daemon::start(&app, "lifeboat.toml");
    let begun = Instant::now();
    // What a backup writes last: before it is there, whoever lists points is told that it is missing.
    while !app.path("store/lifeboat/restore/crm/test.md").exists() {
        assert!(begun.elapsed() < PATIENCE, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(1));
    daemon.stop();
    assert_eq!(app.points().len(), 1);
    let jobs = jobs(&app);
    let interrupted = jobs.iter().filter(|job| job.1 == "interrupted").count();
    assert!(interrupted >= 2, "{jobs:?}");
    assert!(jobs.iter().all(|job| job.1 != "running"), "{jobs:?}");
    let drilled = app.run(&["drill"]);
    assert_eq!(drilled.code, 0, "{drilled}");
}

#[test]
fn two_hosts_with_one_schedule_make_one_point() {
    let app = application();
    let key = "signing_key = \"file:{root}/shared.key\"";
    app.ok(&["points"]);
    std::fs::copy(app.path("state/signing.key"), app.path("shared.key")).unwrap();
    app.edit("[app]", &format!("[app]\n{key}"));
    let text = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    let (own, other) = (app.path("state"), app.path("other"));
    let text = text.replace(own.to_str().unwrap(), other.to_str().unwrap());
    app.private("other.toml", text.as_bytes());
    for round in 1..4 {
        // Both look at the same instant, and a manual verb is called in between.
        let hosts = [
            Daemon::start(&app, "lifeboat.toml"),
            Daemon::start(&app, "other.toml"),
        ];
        let _ = app.run(&["run"]);
        hosts.iter().for_each(|host| {
            let begun = Instant::now();
            while !host.log().contains("done") && begun.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        std::thread::sleep(Duration::from_secs(1));
        let logs: Vec<String> = hosts.iter().map(Daemon::log).collect();
        hosts.into_iter().for_each(Daemon::stop);
        assert_eq!(app.points().len(), 1, "round {round}: {logs:#?}");
        let drills = app.json(&["evidence", "list"]);
        assert_eq!(
            drills["evidence"].as_array().unwrap().len(),
            1,
            "round {round}: {logs:#?}"
        );
    }
}

#[test]
fn a_job_is_ended_when_it_is_asked_to_and_when_the_daemon_stops() {
    let app = App::with("");
    app.write("data/a", b"content");
    let slow = "[source.slow]\nkind = \"command\"\ncommand = [\"sleep\", \"600\"]\n";
    let plan = plan(
        "main",
        "\"slow\"",
        "retry = { attempts = 2, wait = \"1s\" }",
    );
    app.configure(&format!(
        "{HEAD}{slow}{STORE}{plan}[run]\nstop_timeout = \"1s\"\n"
    ));
    let daemon = Daemon::start(&app, "lifeboat.toml");
    daemon.until_told("backup main begins", 1);
    let running = app.json(&["daemon", "status"])["applications"][0]["running"][0]["job"].clone();
    let shown = app.json(&["jobs", running.as_str().unwrap()]);
    assert_eq!(shown["state"], "running");
    app.ok(&["daemon", "cancel", running.as_str().unwrap()]);
    daemon.until_told("backup main interrupted", 1);
    daemon.until_told("backup main begins", 2);
    daemon.stop();
    assert_eq!(
        jobs(&app),
        [pair("backup", "interrupted"), pair("backup", "interrupted")]
    );
    assert!(app.points().is_empty());
}
