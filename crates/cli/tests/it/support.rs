//! A temporary application with its configuration, and the program run on it.
//!
//! Nothing of the environment that could change what the program does reaches it; every path is
//! below one directory that goes with the value.

#![allow(dead_code, reason = "each topic uses a part")]

use lifeboat_testkit::privilege::mount_namespace;
use lifeboat_testkit::tree::privileged;
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program under test.
pub const LIFEBOAT: &str = env!("CARGO_BIN_EXE_lifeboat");

/// `[app]` of every configuration that [`App::with`] writes.
pub const HEAD: &str = r#"version = 1

[app]
name = "crm"
environment = "test"
state = "{root}/state"
"#;

/// The configuration of an application with files and a machine in one plan: the keys of the machine, and what
/// stands behind the plan.
pub fn with_machine(machine: &str, rest: &str) -> String {
    format!(
        r#"{HEAD}
[source.data]
kind = "files"
paths = ["{{root}}/data"]

[source.machine]
{machine}

[store.here]
kind = "local"
path = "{{root}}/store"

[plan.daily]
schedule = "0 6 * * *"
sources = ["data", "machine"]
stores = ["here"]
keep = {{ last = 10 }}

{rest}
"#
    )
}

/// A files source and a SQLite source, one local store, one plan, one drill.
pub const BASIC: &str = r#"
[source.files]
kind = "files"
paths = ["{root}/data"]

[source.db]
kind = "sqlite"
path = "{root}/live/app.db"

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
sources = ["files", "db"]
stores = ["disk"]

[drill.main]
plans = ["main"]
checks = [{ sql = "db", query = "select count(*) from client", expect = "same" }]
"#;

/// A temporary application: its data, its stores, its state and its `lifeboat.toml`.
pub struct App {
    root: tempfile::TempDir,
    env: BTreeMap<String, String>,
}

impl App {
    /// The configuration [`BASIC`] with a few files, a link and a small database.
    pub fn basic() -> Self {
        Self::with(BASIC)
    }

    /// [`HEAD`] and then `rest`; `{root}` in it is the application's directory.
    pub fn with(rest: &str) -> Self {
        let app = App {
            root: tempfile::tempdir().unwrap(),
            env: BTreeMap::new(),
        };
        app.write("data/notes.txt", b"remember the milk\n");
        app.write("data/deep/er/photo.bin", &noise(100_000, 7));
        std::os::unix::fs::symlink("notes.txt", app.path("data/link")).unwrap();
        app.database("live/app.db", 50);
        app.configure(&format!("{HEAD}{rest}"));
        app
    }

    /// Replaces the configuration; `{root}` in it is the application's directory.
    pub fn configure(&self, text: &str) {
        let root = self.root.path().display().to_string();
        self.write("lifeboat.toml", text.replace("{root}", &root).as_bytes());
    }

    /// Appends to the configuration.
    pub fn configure_also(&self, text: &str) {
        let old = std::fs::read_to_string(self.path("lifeboat.toml")).unwrap();
        self.configure(&format!("{old}\n{text}"));
    }

    /// Replaces a part of the configuration, which must be there.
    pub fn edit(&self, from: &str, to: &str) {
        let old = std::fs::read_to_string(self.path("lifeboat.toml")).unwrap();
        let root = self.root.path().display().to_string();
        let from = &from.replace("{root}", &root);
        assert!(old.contains(from), "the configuration has no {from:?}");
        self.configure(&old.replace(from, to));
    }

    /// Restores the newest point onto the live application, which must be verified.
    pub fn restore_live(&self) {
        let live = ["restore", "latest", "--live", "--confirm", "crm/test"];
        let report = self.json(&[&live[..], &["--reason", "a test"]].concat());
        assert_eq!(report["outcome"], "verified", "{report:#}");
    }

    /// The application's directory.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A path in the application's directory.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    /// Writes a file, with the directories above it.
    pub fn write(&self, relative: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes a file for its user alone.
    pub fn private(&self, relative: &str, bytes: &[u8]) -> PathBuf {
        let path = self.write(relative, bytes);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// Writes an executable shell script.
    pub fn script(&self, relative: &str, body: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(relative, format!("#!/bin/sh\n{body}\n").as_bytes());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Makes a SQLite database with a table `client` of `rows` rows.
    pub fn database(&self, relative: &str, rows: u32) -> PathBuf {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE client (id INTEGER PRIMARY KEY, name TEXT NOT NULL, balance REAL);
                 CREATE INDEX client_name ON client (name);",
            )
            .unwrap();
        let transaction = connection.transaction().unwrap();
        for id in 0..rows {
            transaction
                .execute(
                    "INSERT INTO client VALUES (?1, ?2, ?3)",
                    rusqlite::params![id, format!("client {id}"), f64::from(id) / 3.0],
                )
                .unwrap();
        }
        transaction.commit().unwrap();
        path
    }

    /// Sets an environment variable of every later run.
    pub fn env(&mut self, name: &str, value: impl AsRef<str>) {
        self.env.insert(name.into(), value.as_ref().into());
    }

    /// The program with the application's configuration and nothing of our environment but `PATH`
    /// and a home directory; not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(LIFEBOAT);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.path())
            .env("LIFEBOAT_CONFIG", self.path("lifeboat.toml"))
            .envs(&self.env)
            .current_dir(self.root.path())
            .stdin(Stdio::null());
        command
    }

    /// Starts the program, and kills it as soon as something is so.
    pub fn kill_once(&self, args: &[&str], what: &str, mut is_so: impl FnMut() -> bool) {
        let quiet = (Stdio::null(), Stdio::null());
        let mut command = self.command(args);
        let mut child = command.stdout(quiet.0).stderr(quiet.1).spawn().unwrap();
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(240), "never: {what}");
            assert!(
                child.try_wait().unwrap().is_none(),
                "it ended before: {what}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        run(&mut self.command(args))
    }

    /// Runs the program, which must exit with `code`.
    pub fn exits(&self, code: i32, args: &[&str]) -> Output {
        let output = self.run(args);
        assert_eq!(output.code, code, "{args:?} exits with\n{output}");
        output
    }

    /// Runs the program, which must succeed.
    pub fn ok(&self, args: &[&str]) -> Output {
        self.exits(0, args)
    }

    /// Runs the program with `--json`, which must succeed; its document.
    pub fn json(&self, args: &[&str]) -> Value {
        self.json_exits(0, args)
    }

    /// Runs the program with `--json`, which must exit with `code`; its document.
    pub fn json_exits(&self, code: i32, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        self.exits(code, &all).json()
    }

    /// Takes a backup, which must be complete; the point's id.
    pub fn backup(&self) -> String {
        self.json(&["backup"])["point"].as_str().unwrap().to_owned()
    }

    /// Takes a backup of a plan, which must be complete; the point's id.
    pub fn backup_of(&self, plan: &str) -> String {
        let report = self.json(&["backup", plan]);
        report["point"].as_str().unwrap().to_owned()
    }

    /// The ids of the points there are, as `points --rescan` lists them, oldest first.
    pub fn points(&self) -> Vec<String> {
        let listed = self.json(&["points", "--rescan"]);
        let mut ids: Vec<String> = listed["points"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["point"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    }

    /// Removes the state directory, as on a runner that is thrown away.
    pub fn forget_state(&self) {
        std::fs::remove_dir_all(self.path("state")).unwrap();
    }

    /// Empties the state directory of all but the signing key.
    pub fn forget_state_but_key(&self) {
        let key = std::fs::read(self.path("state/signing.key")).unwrap();
        self.forget_state();
        self.private("state/signing.key", &key);
    }

    /// Every file below a directory, as sorted paths relative to it.
    pub fn listing(&self, relative: &str) -> Vec<String> {
        listing(&self.path(relative))
    }
}

/// Every file below a directory, as sorted paths relative to it; empty when it is not there.
pub fn listing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                waiting.push(entry.path());
            } else {
                let path = entry.path();
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The one JSON document on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("standard output is not one JSON document: {error}\n{self}")
        })
    }

    /// Standard output and standard error must between them contain each of these.
    pub fn says(&self, texts: &[&str]) -> &Self {
        for text in texts {
            let said = self.stdout.contains(text) || self.stderr.contains(text);
            assert!(said, "nothing says {text:?}\n{self}");
        }
        self
    }

    /// Neither output may contain any of these.
    pub fn never_says(&self, texts: &[&str]) -> &Self {
        for text in texts {
            let said = self.stdout.contains(text) || self.stderr.contains(text);
            assert!(!said, "something says {text:?}\n{self}");
        }
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit code {}\n--- stdout\n{}--- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }
}

/// Runs a command to its end; a death by signal N is the code -N.
pub fn run(command: &mut Command) -> Output {
    use std::os::unix::process::ExitStatusExt;
    let output = command.output().unwrap();
    let code = output.status.code();
    Output {
        code: code.unwrap_or_else(|| -output.status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// An error as a person reads it and as a program does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub message: String,
    pub cause: String,
    pub hint: String,
}

impl Refusal {
    /// The message must contain each of these.
    pub fn names(&self, texts: &[&str]) -> &Self {
        contains("message", &self.message, texts, self)
    }

    /// The cause must contain each of these.
    pub fn because(&self, texts: &[&str]) -> &Self {
        contains("cause", &self.cause, texts, self)
    }

    /// The hint must contain each of these.
    pub fn advises(&self, texts: &[&str]) -> &Self {
        contains("hint", &self.hint, texts, self)
    }
}

fn contains<'a>(part: &str, whole: &str, texts: &[&str], refusal: &'a Refusal) -> &'a Refusal {
    for text in texts {
        assert!(
            whole.contains(text),
            "the {part} does not contain {text:?}: {refusal:#?}"
        );
    }
    refusal
}

impl Output {
    /// The error on standard error, which must have a message and a hint and nothing on standard
    /// output beside it.
    pub fn refusal(&self) -> Refusal {
        let start = self.stderr.rfind("\nerror: ").map_or(0, |at| at + 1);
        let said = format!("\n{}", &self.stderr[start..]);
        let after = |mark: &str| {
            let at = said.find(mark)?;
            let rest = &said[at + mark.len()..];
            let marks = ["\ncause: ", "\nhint: "];
            let end = marks.iter().filter_map(|m| rest.find(m)).min();
            Some(rest[..end.unwrap_or(rest.len())].trim_end().to_owned())
        };
        let message = after("\nerror: ").unwrap_or_else(|| panic!("there is no error\n{self}"));
        let hint = after("\nhint: ").unwrap_or_else(|| panic!("there is no hint\n{self}"));
        assert_eq!(
            self.stdout, "",
            "an error goes to standard error alone\n{self}"
        );
        sound(&message, self);
        Refusal {
            message,
            cause: after("\ncause: ").unwrap_or_default(),
            hint,
        }
    }

    /// The error in the JSON document, which must have a code of this name.
    pub fn json_refusal(&self, code: &str) -> Refusal {
        let document = self.json();
        let error = &document["error"];
        assert_eq!(document["schema"], 1, "{self}");
        assert_eq!(error["code"], code, "{self}");
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        let refusal = Refusal {
            message: text("message"),
            cause: text("cause"),
            hint: text("hint"),
        };
        assert!(!refusal.hint.is_empty(), "the error has no hint\n{self}");
        sound(&refusal.message, self);
        refusal
    }
}

/// A message is a lower-case sentence without a full stop. It may begin with a name.
fn sound(message: &str, output: &Output) {
    let first = message.split_whitespace().next().unwrap_or_default();
    let name = first.chars().skip(1).any(char::is_uppercase) || first.contains(['/', '-', '.']);
    let lower = !message.starts_with(char::is_uppercase) || name;
    assert!(
        lower && !message.ends_with('.'),
        "no lower-case sentence: {message:?}\n{output}"
    );
}

impl App {
    /// Runs the program twice, for people and with `--json`: both must exit with `exit` and say the
    /// same, the document with the code `code`.
    pub fn refuses(&self, exit: i32, code: &str, args: &[&str]) -> Refusal {
        let text = self.exits(exit, args).refusal();
        let mut with_json = vec!["--json"];
        with_json.extend(args);
        let json = self.exits(exit, &with_json).json_refusal(code);
        let unstable = |r: &Refusal| (r.hint.clone(), r.message.len());
        assert_eq!(unstable(&text), unstable(&json), "{text:#?}\n{json:#?}");
        text
    }

    /// That no store of this application's directory holds a point or anything that looks like one.
    pub fn holds_no_point(&self, store: &str) {
        let points = format!("{store}/lifeboat/points");
        assert_eq!(
            self.listing(&points),
            [""; 0],
            "something of a point is visible"
        );
    }
}

/// Gives a file or directory to the user that [`as_nobody`] runs the program as.
pub fn give_to_nobody(path: &Path) {
    if privileged() {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
}

/// Runs the program as a user without privileges, who must be able to enter the application's
/// directory: `nobody` where root runs the tests, and otherwise whoever runs them.
pub fn as_nobody(app: &App, args: &[&str]) -> Output {
    use std::os::unix::fs::PermissionsExt;
    if !privileged() {
        return app.run(args);
    }
    std::fs::set_permissions(app.root(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // The build directory may be closed to others.
    let copy = app.path("lifeboat-for-nobody");
    std::fs::copy(LIFEBOAT, &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    let known = app.command(args);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(args)
        .env_clear()
        .envs(known.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .current_dir(app.root())
        .stdin(Stdio::null());
    run(&mut command)
}

/// A new age key: its recipient, and the identity file.
pub fn age_key() -> (String, String) {
    let output = Command::new("age-keygen").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let public = text
        .lines()
        .find_map(|l| l.strip_prefix("# public key: "))
        .unwrap();
    (public.to_owned(), text.clone())
}

/// Debian's package libfaketime puts it under a name of the architecture.
pub fn library() -> std::path::PathBuf {
    let architectures = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut found = architectures.map(|e| e.path().join("faketime/libfaketime.so.1"));
    found
        .find(|path| path.exists())
        .expect("this test needs apt-get install libfaketime")
}

/// Runs the program with a clock that says `time`: `+10y`, or `@2030-02-01 12:00:00`.
pub fn at(app: &App, time: &str, args: &[&str]) -> Output {
    run(app
        .command(args)
        .env("LD_PRELOAD", library())
        .env("FAKETIME", time))
}

/// Runs the program in a mount namespace of its own, after `setup`, a shell script that may mount
/// what it likes; nothing of it is seen outside. Where [`needs_mounts`] does not leave it out.
pub fn in_namespace(app: &App, setup: &str, args: &[&str], then: &str) -> Output {
    let known = app.command(args);
    let mut command = Command::new("unshare");
    let script = format!("set -e\n{setup}\nset +e\n\"$@\"\ncode=$?\n{then}\nexit $code");
    command
        .args(mount_namespace())
        .args(["sh", "-c", &script, "sh", LIFEBOAT])
        .args(args)
        .env_clear()
        .envs(known.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .current_dir(app.root())
        .stdin(Stdio::null());
    run(&mut command)
}
