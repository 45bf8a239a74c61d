//! A real, temporary PostgreSQL server for tests, reached with a password over TCP.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot have its server fails"
)]

mod tls;

pub use tls::Authority;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// SQL that makes one of everything, for a superuser's `PostgresServer::psql` in an empty database.
pub const EVERYTHING: &str = include_str!("postgres/everything.sql");
/// The superuser of [`PostgresServer::url`].
pub const USER: &str = "keeper";
/// The password of [`USER`]; it needs percent-encoding in a URL.
pub const PASSWORD: &str = "pass/word @1";

/// A running server. Dropping it stops it and removes its files.
pub struct PostgresServer {
    directory: tempfile::TempDir,
    bin: PathBuf,
    port: u16,
    pid: u32,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

/// The directory of the newest installed server's programs.
pub fn newest_bin() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, bin)| bin.join("postgres").is_file())
        .collect();
    found.sort();
    found
        .pop()
        .expect("tests need apt-get install postgresql")
        .1
}

/// A command that runs as the user of PostgreSQL, killed when the thread that starts it ends.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        command.args([
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--clear-groups",
        ]);
    }
    command.arg(program);
    command.current_dir("/");
    command
}

impl PostgresServer {
    /// Makes and starts a server of the newest installed version.
    pub fn start() -> Self {
        Self::start_from(&newest_bin())
    }

    /// Makes and starts a server that shows a certificate for this name, and lets nobody in over the
    /// network without encryption.
    pub fn start_with_tls(authority: &Authority, name: &str) -> Self {
        let server = Self::start();
        let hba = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(server.directory.path().join("data/pg_hba.conf"), hba).unwrap();
        server.show_certificate(authority, name);
        server.psql("postgres", "ALTER SYSTEM SET ssl = on");
        server.psql("postgres", "SELECT pg_reload_conf()");
        server.wait_until_ready();
        server
    }

    /// Lets the server show a certificate of this authority for this name from now on.
    pub fn show_certificate(&self, authority: &Authority, name: &str) {
        let data = self.directory.path().join("data");
        authority.issue(name, &data.join("server.crt"), &data.join("server.key"));
        if rustix::process::geteuid().is_root() {
            succeed(
                Command::new("chown")
                    .arg("postgres:postgres")
                    .arg(data.join("server.key")),
            );
        }
        self.psql("postgres", "SELECT pg_reload_conf()");
    }

    /// Makes and starts a server with the programs in this directory.
    pub fn start_from(bin: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("lbpg")
            .tempdir_in("/tmp")
            .unwrap();
        if rustix::process::geteuid().is_root() {
            succeed(
                Command::new("chown")
                    .arg("postgres:postgres")
                    .arg(directory.path()),
            );
        }
        let data = directory.path().join("data");
        succeed(
            unprivileged(&bin.join("initdb"))
                .args([
                    "-A",
                    "trust",
                    "-U",
                    "postgres",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    "--no-sync",
                    "-D",
                ])
                .arg(&data),
        );
        let hba = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), hba).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let (pid, stop, keeper) = keep(bin, directory.path(), port);
        let server = PostgresServer {
            directory,
            bin: bin.to_owned(),
            port,
            pid,
            stop: Some(stop),
            keeper: Some(keeper),
        };
        server.wait_until_ready();
        let password = PASSWORD.replace('\'', "''");
        server.psql(
            "postgres",
            &format!("CREATE ROLE {USER} SUPERUSER LOGIN PASSWORD '{password}'"),
        );
        server
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.try_psql("postgres", "SELECT 1").status.success() {
            assert!(Instant::now() < deadline, "the test server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of a database for the superuser, with the password, over TCP.
    pub fn url(&self, database: &str) -> String {
        self.url_as(USER, "pass%2Fword%20%401", database)
    }

    /// The URL of a database for another user. The caller percent-encodes user and password.
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the unix socket, on which every user is trusted.
    pub fn socket(&self) -> &Path {
        self.directory.path()
    }

    /// The process id of the main process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A `psql` command for the superuser that reads standard input.
    pub fn psql_command(&self, database: &str) -> Command {
        let mut command = Command::new(self.bin.join("psql"));
        command
            .args([
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                database,
            ])
            .arg("-h")
            .arg(self.directory.path())
            .args(["-p", &self.port.to_string()]);
        command
    }

    /// Runs a script as the superuser and returns what it printed. Panics if it fails.
    pub fn psql(&self, database: &str, script: &str) -> String {
        let output = self.try_psql(database, script);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Runs a script as the superuser and returns the result, even a failure.
    pub fn try_psql(&self, database: &str, script: &str) -> Output {
        use std::io::Write as _;
        let mut command = self.psql_command(database);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let script = script.to_owned();
        let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join();
        output
    }

    /// Makes an empty database.
    pub fn create_database(&self, name: &str) {
        self.psql(
            "postgres",
            &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"),
        );
    }

    /// Stops the server at once, cutting every connection.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            keeper.join().unwrap();
        }
    }
}

/// Starts the server from a thread that lives as long as the server should.
fn keep(bin: &Path, directory: &Path, port: u16) -> (u32, Sender<()>, JoinHandle<()>) {
    let mut command = unprivileged(&bin.join("postgres"));
    command
        .arg("-D")
        .arg(directory.join("data"))
        .arg("-k")
        .arg(directory);
    command.args(["-p", &port.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "fsync=off",
        "full_page_writes=off",
        "log_destination=stderr",
        "logging_collector=off",
        "max_connections=50",
        "wal_level=logical",
    ] {
        command.args(["-c", setting]);
    }
    let (stop, stopped) = channel::<()>();
    let (tell, told) = channel();
    let keeper = std::thread::spawn(move || {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("postgres starts");
        let _ = tell.send(child.id());
        let _ = stopped.recv();
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        let _ = child.wait();
    });
    (told.recv().expect("postgres starts"), stop, keeper)
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}
