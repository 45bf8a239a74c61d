//! A throwaway MariaDB or MySQL server on a private socket.
//!
//! Guarantees: it listens on no network, nobody but this user (and the one it runs as) reaches its
//! socket, and it ends with this process, however that ends. It is fast because it may lose
//! everything, and because a new server is a copy of a template: initialising one takes seconds. An
//! unfinished template is never used.

use crate::error::{Code, Error, Fact, Result};
use crate::scratch::Directory;
use crate::secret::Scrubber;
use crate::servers::{Server, as_user, give, socket_directory, unprivileged, workplace};
use crate::source::mariadb::{Connection, Flavor, Program, ask_program, query};
use crate::transport::{Command, Running, Transport};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The administrator of every scratch server; it has no password.
pub const SCRATCH_ADMIN: &str = "root";
/// The file that marks a template as complete.
const COMPLETE: &str = "complete";

/// Settings for speed, and to accept any dump. Losing everything in a crash is fine here, and only
/// here.
const SETTINGS: &[&str] = &[
    "--skip-networking",
    "--event-scheduler=OFF",
    "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=OFF",
    "--innodb-buffer-pool-size=256M",
    // A table created while this was off must be created again.
    "--innodb-strict-mode=OFF",
    "--max-allowed-packet=1G",
    // Allows zero dates and whatever else the source once accepted.
    "--sql-mode=",
    "--local-infile=OFF",
    "--skip-name-resolve",
    "--performance-schema=OFF",
    "--max-connections=50",
    "--lock-wait-timeout=60",
];
/// Settings that only MariaDB has.
const MARIADB_SETTINGS: &[&str] = &["--innodb-log-file-size=256M", "--skip-slave-start"];
/// Settings that only MySQL has.
const MYSQL_SETTINGS: &[&str] = &[
    "--innodb-redo-log-capacity=256M",
    "--mysqlx=OFF",
    "--secure-file-priv=NULL",
    "--log-error-verbosity=1",
    "--skip-replica-start",
    "--auto-generate-certs=OFF",
    "--caching-sha2-password-auto-generate-rsa-keys=OFF",
];

/// A running scratch server. Dropping it ends it and removes everything.
#[derive(Debug)]
pub struct ScratchMariadb {
    flavor: Flavor,
    socket: PathBuf,
    version: String,
    // Dropped in this order: the directories after the server has ended.
    server: Server,
    _socket_directory: Option<Directory>,
    _directory: Directory,
}

impl ScratchMariadb {
    /// Creates and starts a server of this flavor in `base`, or in the system's temporary directory
    /// if the unprivileged user it runs as cannot reach `base`. Templates are kept in `templates`,
    /// which is made if missing.
    pub fn start(base: &Path, templates: &Path, flavor: Flavor) -> Result<Self> {
        let program = find(flavor)?;
        let user = unprivileged(flavor.title(), "mysql")?;
        let directory = Directory::create(&workplace(base, user)?, flavor.name())?;
        let (socket, socket_directory) = socket_directory(&directory, user)?;
        let data = directory.path().join("data");
        let template = Template {
            program: &program,
            user,
            directory: templates.join(format!("{}-{}", flavor.name(), program.version)),
        };
        template.copy_to(&directory, &data)?;
        let socket = socket.join("socket");
        let command = server_command(&program, &data, &socket);
        let server = ScratchMariadb {
            flavor,
            socket,
            version: program.version.clone(),
            server: Server::start(as_user(command, user), Running::kill)?,
            _socket_directory: socket_directory,
            _directory: directory,
        };
        let connection = server.connection("");
        let name = format!("the scratch {} {} server", flavor.title(), program.version);
        server.server.wait_until_ready(&name, || {
            // Before that, a client is of no use.
            match server.socket.exists() {
                true => query(&connection, "SELECT 1", &Scrubber::default()).map(drop),
                false => Err(Error::new(Code::State, "there is no socket")),
            }
        })?;
        Ok(server)
    }

    /// An administrator's connection to one of its databases, or to none.
    pub fn connection(&self, database: &str) -> Connection {
        Connection::on_socket(self.flavor, &self.socket, SCRATCH_ADMIN, database)
    }

    /// Its version: `10.11.6`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Ends it and removes everything.
    pub fn stop(self) {
        drop(self);
    }
}

/// The server program of this flavor. The other flavor's server restores some dumps and changes
/// others: it proves nothing.
fn find(flavor: Flavor) -> Result<Program> {
    let names = match flavor {
        Flavor::Mariadb => ["mariadbd", "mysqld"],
        Flavor::Mysql => ["mysqld", "/usr/sbin/mysqld"],
    };
    // A user's PATH may lack these.
    let places = names
        .into_iter()
        .chain(["/usr/sbin/mariadbd", "/usr/libexec/mysqld"]);
    let mut other = None;
    let mut mute = None;
    for name in places {
        match ask_program(&Transport::Local, name) {
            Ok(program) if program.flavor == flavor => return Ok(program),
            Ok(program) => other = other.or(Some(program)),
            Err(error) if error.fact == Some(Fact::NotInstalled) => {}
            Err(error) => mute = mute.or(Some(error)),
        }
    }
    let message = match (mute, other) {
        // It may be the one that is looked for.
        (Some(error), _) => return Err(error),
        (None, Some(other)) => format!(
            "only {} {} is installed here, which proves nothing of a {} database",
            other.flavor.title(),
            other.version,
            flavor.title()
        ),
        (None, None) => format!("no {} server is installed here", flavor.title()),
    };
    Err(Error::new(Code::ToolMissing, message).hint(match flavor {
        Flavor::Mariadb => "install it: apt-get install mariadb-server-core mariadb-client",
        Flavor::Mysql => {
            "install mysqld and mysql of MySQL, or put them into PATH: apt-get install mysql-server-core mysql-client-core, where the distribution has them"
        }
    }))
}

/// `--name=path`, even if the path is not UTF-8.
fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push(path);
    option
}

fn server_command(program: &Program, data: &Path, socket: &Path) -> Command {
    let own = match program.flavor {
        Flavor::Mariadb => MARIADB_SETTINGS,
        Flavor::Mysql => MYSQL_SETTINGS,
    };
    Command::new(&program.name)
        .clean_env()
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .arg("--no-defaults")
        .arg(option("--datadir=", data))
        .arg(option("--socket=", socket))
        .arg(option("--pid-file=", &data.join("server.pid")))
        .arg(option("--tmpdir=", data))
        .args(SETTINGS)
        .args(own)
        .directory(data)
}

/// The data directory of a new server of one version, created once and then copied.
struct Template<'a> {
    program: &'a Program,
    user: Option<(u32, u32)>,
    directory: PathBuf,
}

impl Template<'_> {
    /// Copies it to `data`; creates it first if it is missing or incomplete. `work` is a private
    /// directory of the user that the server runs as.
    fn copy_to(&self, work: &Directory, data: &Path) -> Result<()> {
        let lock = self.lock()?;
        let held = |operation, what: &str| {
            flock(&lock, operation)
                .map_err(|error| Error::io(format!("{what} of a template"), &error.into()))
        };
        held(FlockOperation::LockShared, "the lock")?;
        if !self.is_whole() {
            held(FlockOperation::LockExclusive, "the lock")?;
            // Another run may have created it while this one waited.
            if !self.is_whole() {
                self.make(work)?;
            }
        }
        copy(&self.directory.join("data"), data)?;
        self.give_all(data)
    }

    fn is_whole(&self) -> bool {
        self.directory.join(COMPLETE).exists()
    }

    /// The lock file beside it: a shared lock allows reading, an exclusive one writing.
    fn lock(&self) -> Result<File> {
        let parent = self.directory.parent().unwrap_or(&self.directory);
        let failed = |error: std::io::Error| {
            Error::new(
                Code::State,
                format!(
                    "templates of servers cannot be kept in {}",
                    parent.display()
                ),
            )
            .cause(error)
            .hint("let this user write to the state directory")
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(failed)?;
        let mut name = self.directory.clone().into_os_string();
        name.push(".lock");
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(name)
            .map_err(failed)
    }

    fn make(&self, work: &Directory) -> Result<()> {
        let made = work.subdirectory("template")?;
        give(&made, self.user)?;
        // Not the host's: two servers created there at once remove each other's tables.
        let temporary = work.subdirectory("temporary")?;
        give(&temporary, self.user)?;
        let command = self.install_command(&made, &temporary);
        let output = Transport::Local.output(&as_user(command, self.user))?;
        if !output.status.success() {
            let said = match output.stderr.is_empty() {
                true => String::from_utf8_lossy(&output.stdout).into_owned(),
                false => output.stderr,
            };
            return Err(Error::new(
                Code::State,
                format!(
                    "a scratch {} {} cannot be made in {}",
                    self.program.flavor.title(),
                    self.program.version,
                    made.display()
                ),
            )
            .cause(said)
            .hint("free disk space there, or choose another state directory"));
        }
        let failed = |error: std::io::Error| {
            Error::io(
                format!("{} cannot be made", self.directory.display()),
                &error,
            )
        };
        // An existing one is unfinished.
        if self.directory.exists() {
            std::fs::remove_dir_all(&self.directory).map_err(failed)?;
        }
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&self.directory)
            .map_err(failed)?;
        copy(&made, &self.directory.join("data"))?;
        std::fs::remove_dir_all(&made).map_err(failed)?;
        File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(self.directory.join(COMPLETE))
            .map(drop)
            .map_err(failed)
    }

    fn install_command(&self, data: &Path, temporary: &Path) -> Command {
        let command = match self.program.flavor {
            Flavor::Mariadb => Command::new("mariadb-install-db")
                .arg("--no-defaults")
                .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
                .args(["--skip-name-resolve", "--innodb-log-file-size=4M"]),
            Flavor::Mysql => Command::new(&self.program.name)
                .arg("--no-defaults")
                .args(["--initialize-insecure", "--innodb-redo-log-capacity=32M"])
                .args(
                    MYSQL_SETTINGS
                        .iter()
                        .filter(|s| s.contains("auto-generate")),
                ),
        };
        command
            .clean_env()
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .args([
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-doublewrite=OFF",
            ])
            .arg(option("--datadir=", data))
            .arg(option("--tmpdir=", temporary))
            .directory(data)
    }

    /// Gives everything in `data` to the server's user.
    fn give_all(&self, data: &Path) -> Result<()> {
        let Some((uid, gid)) = self.user else {
            return Ok(());
        };
        run(Command::new("chown")
            .args(["-R", "-h", &format!("{uid}:{gid}")])
            .arg(data))
    }
}

/// Copies a directory with everything in it, keeping holes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp")
        .args(["-R", "--sparse=always", "--"])
        .arg(from)
        .arg(to))
}

fn run(command: Command) -> Result<()> {
    let output = Transport::Local.output(&command)?;
    if output.status.success() {
        return Ok(());
    }
    let program = command.program();
    Err(
        Error::new(Code::State, format!("{program} of a scratch server failed"))
            .cause(output.stderr)
            .hint("free disk space in the scratch directory, then run again"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::tests::processes_in;

    #[test]
    fn a_server_answers_and_leaves_nothing_but_its_template() {
        let base = tempfile::tempdir().unwrap();
        let templates = base.path().join("state/templates");
        let server = ScratchMariadb::start(base.path(), &templates, Flavor::Mariadb).unwrap();
        let path = server._directory.path().to_owned();
        let ask = |sql| query(&server.connection(""), sql, &Scrubber::default()).unwrap();
        assert_eq!(
            ask("SELECT @@skip_networking, @@sql_mode"
                .split(',')
                .next()
                .unwrap()),
            "1"
        );
        assert!(ask("SELECT VERSION()").starts_with(server.version()));
        assert!(processes_in(&path) > 0);
        server.stop();
        assert!(!path.exists());
        assert_eq!(processes_in(&path), 0);
        assert_eq!(std::fs::read_dir(&templates).unwrap().count(), 2);
    }

    #[test]
    fn two_at_once_share_a_template_and_one_that_was_not_finished_is_made_again() {
        let base = tempfile::tempdir().unwrap();
        let templates = base.path().join("templates");
        let version = find(Flavor::Mariadb).unwrap().version;
        let broken = templates.join(format!("mariadb-{version}"));
        // As a kill in the middle leaves it.
        std::fs::create_dir_all(broken.join("data/mysql")).unwrap();
        let start = || ScratchMariadb::start(base.path(), &templates, Flavor::Mariadb).unwrap();
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(start);
            (start(), other.join().unwrap())
        });
        assert_ne!(one.socket, two.socket);
        assert!(broken.join(COMPLETE).exists());
        for server in [one, two] {
            let answer = query(
                &server.connection("mysql"),
                "SELECT DATABASE()",
                &Scrubber::default(),
            );
            assert_eq!(answer.unwrap(), "mysql");
        }
    }
}
