//! A throwaway PostgreSQL server on a private socket.
//!
//! Guarantees: it listens on no network, nobody but this user (and the one it runs as) reaches its
//! socket, and it ends with this process, by whatever means that ends. It is fast because it may
//! lose everything: nothing is synced.

use super::Directory;
use crate::error::{Code, Error, Result};
use crate::secret::Scrubber;
use crate::source::postgres::{Connection, Tools, query};
use crate::transport::{Command, Running, Transport};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The superuser of every scratch server: a name that no restored role has.
pub const SCRATCH_USER: &str = "lifeboat_scratch";
/// How long a server may take to accept connections.
const START: Duration = Duration::from_secs(60);
/// A socket's path may have 107 bytes; the name of the socket in it takes 15.
const SOCKET_DIRECTORY_BYTES_MAX: usize = 90;

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
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
    // Dropped after the server has ended, in this order.
    _socket_directory: Option<Directory>,
    _directory: Directory,
}

impl ScratchPostgres {
    /// Makes and starts a server of this major version (or the newest installed) in `base`, or in the
    /// system's temporary directory where the unprivileged user it runs as cannot reach `base`.
    pub fn start(base: &Path, major: Option<u32>) -> Result<Self> {
        let tools = Tools::server(major)?;
        let user = unprivileged()?;
        let place = match user {
            Some(user) if !reachable(base, user) => std::env::temp_dir(),
            _ => base.to_owned(),
        };
        let directory = Directory::create(&place, "postgres")?;
        let data = directory.subdirectory("data")?;
        let mut socket_directory = None;
        let mut socket = directory.path().to_owned();
        if socket.as_os_str().len() > SOCKET_DIRECTORY_BYTES_MAX {
            let short = Directory::create(Path::new("/tmp"), "s")?;
            socket = short.path().to_owned();
            socket_directory = Some(short);
        }
        give(directory.path(), user)?;
        give(&data, user)?;
        give(&socket, user)?;
        initialise(&tools, &data, user)?;
        let command = server_command(&tools, &data, &socket, user);
        let (started, stop, keeper) = keep(command);
        let mut server = ScratchPostgres {
            socket,
            major: tools.major,
            stop: Some(stop),
            keeper: Some(keeper),
            _socket_directory: socket_directory,
            _directory: directory,
        };
        server.wait_until_ready(&started)?;
        Ok(server)
    }

    /// A superuser's connection to one of its databases; `postgres` is there from the start.
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

    fn wait_until_ready(&mut self, started: &Receiver<Ended>) -> Result<()> {
        let deadline = Instant::now() + START;
        let connection = self.connection("postgres");
        loop {
            let asked = query(&connection, "SELECT 1", &Scrubber::default());
            let Err(error) = asked else { return Ok(()) };
            let ended = started.try_recv().ok();
            if ended.is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            let said = match ended {
                Some(Ended(Ok(said))) => said,
                Some(Ended(Err(error))) => return Err(error),
                None => error.to_string(),
            };
            return Err(Error::new(
                Code::State,
                format!(
                    "the scratch PostgreSQL {} server does not start",
                    self.major
                ),
            )
            .cause(said)
            .hint("free memory or disk space in the scratch directory, then run again"));
        }
    }
}

impl Drop for ScratchPostgres {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// How a server ended by itself: what it said, or why it was never there.
struct Ended(Result<String>);

/// Starts the server from a thread of its own, which lives as long as the server shall: the kernel
/// kills a child when the *thread* that started it ends, and the caller's may be a short-lived one.
fn keep(command: Command) -> (Receiver<Ended>, Sender<()>, JoinHandle<()>) {
    let (tell, ended) = bounded(1);
    let (stop, stopped) = bounded::<()>(0);
    let keeper = std::thread::spawn(move || {
        let mut running = match Transport::Local.spawn(&command) {
            Ok(running) => running,
            Err(error) => {
                let _ = tell.send(Ended(Err(error)));
                return;
            }
        };
        // Ends when the sender is dropped.
        while let Err(crossbeam_channel::RecvTimeoutError::Timeout) =
            stopped.recv_timeout(Duration::from_millis(200))
        {
            if running.ended() {
                let _ = tell.send(Ended(running.wait().map(|(_, said)| said)));
                return;
            }
        }
        end(running);
    });
    (ended, stop, keeper)
}

/// An immediate shutdown: nothing in it is worth a checkpoint, and its helpers end with it.
fn end(running: Running) {
    running.quit();
}

/// The user to run as: PostgreSQL refuses to run as root.
fn unprivileged() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")
        .map_err(|error| Error::io("/etc/passwd cannot be read", &error))?;
    let find = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .map(Some)
        .ok_or_else(|| {
            Error::new(
                Code::State,
                "PostgreSQL refuses to run as root, and there is no user postgres or nobody",
            )
            .hint("make one: useradd --system postgres")
        })
}

/// Whether this user can pass through every directory down to and with `path`.
fn reachable(path: &Path, (uid, gid): (u32, u32)) -> bool {
    let Ok(path) = std::fs::canonicalize(path) else {
        return false;
    };
    path.ancestors().all(|directory| {
        std::fs::metadata(directory).is_ok_and(|metadata| {
            let bits = match () {
                () if metadata.uid() == uid => metadata.mode() >> 6,
                () if metadata.gid() == gid => metadata.mode() >> 3,
                () => metadata.mode(),
            };
            bits & 1 == 1
        })
    })
}

fn give(path: &Path, user: Option<(u32, u32)>) -> Result<()> {
    let Some((uid, gid)) = user else {
        return Ok(());
    };
    std::os::unix::fs::chown(path, Some(uid), Some(gid))
        .map_err(|error| Error::io(format!("{} cannot be given away", path.display()), &error))
}

fn as_user(command: Command, user: Option<(u32, u32)>) -> Command {
    match user {
        Some((uid, gid)) => command.user(uid, gid),
        None => command,
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

    fn processes_in(directory: &Path) -> usize {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok())
            .filter(|cwd| cwd.starts_with(directory))
            .count()
    }

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
        let (uid, gid) = unprivileged().unwrap().unwrap_or((0, 0));
        if uid != 0 {
            std::os::unix::fs::chown(base.path(), Some(uid), Some(gid)).unwrap();
            std::os::unix::fs::chown(&long, Some(uid), Some(gid)).unwrap();
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
            .args(["--exact", "scratch::postgres::tests::holder", "--nocapture"])
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
        let removed = sweep(base.path()).unwrap();
        assert!(removed.contains(&held.display().to_string()), "{removed:?}");
        assert!(!held.exists());
        let deadline = Instant::now() + Duration::from_secs(10);
        while processes_in(&held) > 0 {
            assert!(Instant::now() < deadline, "the server lives on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
