//! A throwaway PostgreSQL server on a private socket.
//!
//! Guarantees: it listens on no network, nobody but this user (and the one it runs as) reaches its
//! socket, and it ends with this process, however that ends. It is fast because it may lose
//! everything: nothing is synced.

use crate::error::{Code, Error, Result};
use crate::scratch::Directory;
use crate::secret::Scrubber;
use crate::servers::{Server, as_user, give, socket_directory, unprivileged, workplace};
use crate::source::postgres::{Connection, Tools, query};
use crate::transport::{Command, Running, Transport};
use std::path::{Path, PathBuf};

/// The superuser of every scratch server: a name that no restored role has.
pub const SCRATCH_USER: &str = "lifeboat_scratch";

/// Settings for speed. Losing everything in a crash is fine here, and only here.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "autovacuum=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=4GB",
    "checkpoint_timeout=1d",
    "shared_buffers=256MB",
    "maintenance_work_mem=256MB",
    "max_locks_per_transaction=1024",
    "dynamic_shared_memory_type=mmap",
    "logging_collector=off",
    "log_destination=stderr",
    "log_min_messages=fatal",
    "log_min_error_statement=panic",
];

/// A running scratch server. Dropping it ends it and removes everything.
#[derive(Debug)]
pub struct ScratchPostgres {
    socket: PathBuf,
    major: u32,
    // Dropped in this order: the directories after the server has ended.
    server: Server,
    _socket_directory: Option<Directory>,
    _directory: Directory,
}

impl ScratchPostgres {
    /// Creates and starts a server of this major version (or the newest installed) in `base`, or in
    /// the system's temporary directory if the unprivileged user it runs as cannot reach `base`.
    pub fn start(base: &Path, major: Option<u32>) -> Result<Self> {
        let tools = Tools::server(major)?;
        let user = unprivileged("PostgreSQL", "postgres")?;
        let directory = Directory::create(&workplace(base, user)?, "postgres")?;
        let data = directory.subdirectory("data")?;
        let (socket, socket_directory) = socket_directory(&directory, user)?;
        give(&data, user)?;
        initialise(&tools, &data, user)?;
        let command = server_command(&tools, &data, &socket, user);
        let server = ScratchPostgres {
            socket,
            major: tools.major,
            server: Server::start(command, Running::quit)?,
            _socket_directory: socket_directory,
            _directory: directory,
        };
        let connection = server.connection("postgres");
        let name = format!("the scratch PostgreSQL {} server", tools.major);
        server.server.wait_until_ready(&name, || {
            query(&connection, "SELECT 1", &Scrubber::default()).map(drop)
        })?;
        Ok(server)
    }

    /// A superuser's connection to one of its databases; `postgres` exists from the start.
    pub fn connection(&self, database: &str) -> Connection {
        Connection::on_socket(&self.socket, SCRATCH_USER, database)
    }

    /// Its major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Ends it and removes everything.
    pub fn stop(self) {
        drop(self);
    }
}

fn initialise(tools: &Tools, data: &Path, user: Option<(u32, u32)>) -> Result<()> {
    let command = Command::new(tools.program("initdb"))
        .clean_env()
        .env("LC_ALL", "C")
        .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .arg(format!("--username={SCRATCH_USER}"))
        .arg("--pgdata")
        .arg(data)
        .directory(data);
    let output = Transport::Local.output(&as_user(command, user))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::new(
        Code::State,
        format!(
            "a scratch PostgreSQL {} cannot be made in {}",
            tools.major,
            data.display()
        ),
    )
    .cause(output.stderr)
    .hint("free disk space there, or choose another state directory"))
}

fn server_command(tools: &Tools, data: &Path, socket: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(tools.program("postgres"))
        .clean_env()
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .arg("-D")
        .arg(data)
        .arg("-k")
        .arg(socket)
        .directory(data);
    for setting in SETTINGS {
        command = command.args(["-c", setting]);
    }
    as_user(command, user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::sweep;
    use crate::servers::tests::processes_in;
    use std::time::{Duration, Instant};

    #[test]
    fn a_server_answers_and_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        let server = ScratchPostgres::start(base.path(), None).unwrap();
        let path = server._directory.path().to_owned();
        let scrubber = Scrubber::default();
        let answer = query(&server.connection("postgres"), "SHOW fsync", &scrubber);
        assert_eq!(answer.unwrap(), "off");
        assert!(processes_in(&path) > 0);
        server.stop();
        assert!(!path.exists());
        assert_eq!(processes_in(&path), 0);
    }

    #[test]
    fn a_long_path_and_a_short_lived_thread_do_no_harm() {
        let base = tempfile::tempdir_in("/var/tmp").unwrap();
        let long = base.path().join("x".repeat(120));
        std::fs::create_dir(&long).unwrap();
        // The server's user must be able to pass through.
        for path in [base.path(), &long] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
            std::fs::set_permissions(path, mode).unwrap();
        }
        let start = move || ScratchPostgres::start(&long, None).unwrap();
        let server = std::thread::spawn(start).join().unwrap();
        assert!(server._socket_directory.is_some());
        let scrubber = Scrubber::default();
        assert!(query(&server.connection("postgres"), "SELECT 1", &scrubber).is_ok());
    }

    #[test]
    fn another_major_version_names_its_package() {
        let error = ScratchPostgres::start(&std::env::temp_dir(), Some(99)).unwrap_err();
        assert_eq!(error.code, Code::ToolMissing);
        assert!(error.hint.unwrap().contains("postgresql-99"));
    }

    const HOLD: &str = "LIFEBOAT_TEST_HOLD_SCRATCH";

    /// Not a test by itself: the process that the next test kills.
    #[test]
    fn holder() {
        let Some(base) = std::env::var_os(HOLD) else {
            return;
        };
        let server = ScratchPostgres::start(Path::new(&base), None).unwrap();
        println!("held at {}", server._directory.path().display());
        std::thread::sleep(Duration::from_secs(300));
    }

    #[test]
    #[allow(clippy::disallowed_types)]
    fn kill_9_leaves_nothing_that_a_sweep_does_not_remove() {
        use std::io::BufRead;
        let base = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "source::postgres::scratch::tests::holder",
                "--nocapture",
            ])
            .env(HOLD, base.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let held = lines
            .map_while(std::result::Result::ok)
            .find_map(|line| {
                line.split_once("held at ")
                    .map(|(_, path)| PathBuf::from(path))
            })
            .unwrap();
        assert!(processes_in(&held) > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(held.exists());
        let removed = sweep(base.path()).removed;
        assert!(removed.contains(&held.display().to_string()), "{removed:?}");
        assert!(!held.exists());
        let deadline = Instant::now() + Duration::from_secs(10);
        while processes_in(&held) > 0 {
            assert!(Instant::now() < deadline, "the server lives on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
