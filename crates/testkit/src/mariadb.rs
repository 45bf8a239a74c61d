//! A real, temporary MariaDB or MySQL server for tests, reached with a password over TCP.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// SQL that makes one of everything that a MariaDB database can hold, in an empty database.
pub const EVERYTHING: &str = include_str!("../../core/tests/mariadb/zoo.sql");
/// The account of [`MariadbServer::url`], which has all privileges.
pub const USER: &str = "keeper";
/// The password of [`USER`]; it needs percent-encoding in a URL.
pub const PASSWORD: &str = "pass/word @1";

/// A running server. Dropping it stops it and removes its files.
pub struct MariadbServer {
    directory: tempfile::TempDir,
    client: PathBuf,
    port: u16,
    child: Child,
}

/// Starts real MySQL servers, which `scripts/tools` provides.
pub struct MysqlServer;

impl MysqlServer {
    /// Makes and starts a server.
    pub fn start() -> MariadbServer {
        MariadbServer::start_from(&Programs::mysql())
    }
}

/// The directory where `scripts/tools` unpacks servers that Debian's stable release does not have.
pub fn sid() -> PathBuf {
    unpacked("sid")
}

/// The directory where `scripts/tools` unpacks older patch releases of MariaDB and PostgreSQL.
fn older() -> PathBuf {
    unpacked("older")
}

fn unpacked(name: &str) -> PathBuf {
    let tools = std::env::var_os("LIFEBOAT_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools"),
        PathBuf::from,
    );
    let directory = tools.join(name).canonicalize();
    directory.expect("tests need the servers that scripts/tools unpacks")
}

/// A `PATH` in which MySQL's programs come first.
pub fn mysql_path() -> String {
    let sid = sid();
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{0}/usr/bin:{0}/usr/sbin:{path}", sid.display())
}

/// The path of a program of the current `age`, or of one of its plugins.
pub fn current_age(program: &str) -> PathBuf {
    sid().join("usr/bin").join(program)
}

/// A `PATH` in which PostgreSQL 18 comes first.
pub fn postgres_18_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", postgres_18().display())
}

/// The programs of PostgreSQL 18, for `PostgresServer::start_from`.
pub fn postgres_18() -> PathBuf {
    sid().join("usr/lib/postgresql/18/bin")
}

/// The programs of an older patch release of PostgreSQL, for `PostgresServer::start_from`.
pub fn older_postgres() -> PathBuf {
    let major = crate::postgres::newest_bin();
    let major = major.strip_prefix("/").unwrap();
    older().join(major)
}

/// The server program of an older patch release of MariaDB.
pub fn older_mariadb() -> PathBuf {
    older().join("usr/sbin/mariadbd")
}

struct Programs {
    name: &'static str,
    server: PathBuf,
    client: PathBuf,
    install: PathBuf,
    install_options: &'static [&'static str],
    options: &'static [&'static str],
}

impl Programs {
    fn mariadb() -> Self {
        Programs {
            name: "mariadb",
            server: "/usr/sbin/mariadbd".into(),
            client: "mariadb".into(),
            install: "mariadb-install-db".into(),
            install_options: &[
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-log-file-size=4M",
            ],
            options: &["--innodb-log-file-size=64M"],
        }
    }

    fn mysql() -> Self {
        let server = sid().join("usr/sbin/mysqld");
        Programs {
            name: "mysql",
            client: sid().join("usr/bin/mysql"),
            install: server.clone(),
            server,
            install_options: &["--initialize-insecure", "--innodb-redo-log-capacity=32M"],
            options: &[
                "--mysqlx=OFF",
                "--secure-file-priv=NULL",
                "--log-error-verbosity=1",
            ],
        }
    }
}

/// A command that runs as the user of the servers, killed when the thread that starts it ends.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid", "mysql", "--regid", "mysql", "--clear-groups"]);
    }
    command.arg(program).arg("--no-defaults").current_dir("/");
    command
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Makes the user of the servers the owner of a directory.
fn give(directory: &Path) {
    if rustix::process::geteuid().is_root() {
        succeed(
            Command::new("chown")
                .args(["-R", "mysql:mysql"])
                .arg(directory),
        );
    }
}

/// A data directory that is made once and then copied. A lock keeps two processes from making it.
fn template(programs: &Programs) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    let base = std::env::temp_dir().join(format!("lifeboat-test-servers-{user}"));
    std::fs::create_dir_all(&base).unwrap();
    let lock = File::create(base.join(format!("{}.lock", programs.name))).unwrap();
    lock.lock().unwrap();
    let version = Command::new(&programs.server)
        .args(["--no-defaults", "--version"])
        .output()
        .expect("tests need mariadb-server and scripts/tools");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let template = base.join(programs.name);
    let stamp = base.join(format!("{}.version", programs.name));
    if std::fs::read_to_string(&stamp).ok().as_deref() != Some(&version) {
        let _ = std::fs::remove_dir_all(&template);
        std::fs::create_dir(&template).unwrap();
        give(&template);
        // The servers run as another user, which must be able to enter it.
        succeed(Command::new("chmod").arg("755").arg(&base));
        let mut install = unprivileged(&programs.install);
        install
            .args(programs.install_options)
            .arg(format!("--datadir={}/data", template.display()))
            .arg(format!("--tmpdir={}", template.display()));
        succeed(&mut install);
        std::fs::write(&stamp, &version).unwrap();
    }
    template.join("data")
}

impl MariadbServer {
    /// Makes and starts a MariaDB server.
    pub fn start() -> Self {
        Self::start_from(&Programs::mariadb())
    }

    fn start_from(programs: &Programs) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("lbmy")
            .tempdir_in("/tmp")
            .unwrap();
        let data = directory.path().join("data");
        succeed(
            Command::new("cp")
                .args(["-R", "--sparse=always"])
                .arg(template(programs))
                .arg(&data),
        );
        give(directory.path());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut command = unprivileged(&programs.server);
        command
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", directory.path().display()))
            .arg(format!("--pid-file={}/pid", directory.path().display()))
            .arg(format!("--socket={}/socket", directory.path().display()))
            .arg(format!("--port={port}"))
            .args([
                "--bind-address=127.0.0.1",
                "--innodb-flush-log-at-trx-commit=0",
            ])
            .args(["--innodb-doublewrite=OFF", "--max-allowed-packet=256M"])
            .args(["--performance-schema=OFF", "--skip-name-resolve"])
            .args(programs.options);
        let log = File::create(directory.path().join("log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("tests need apt-get install mariadb-server");
        let mut server = MariadbServer {
            directory,
            client: programs.client.clone(),
            port,
            child,
        };
        server.wait_until_ready();
        server.sql(
            "",
            &format!(
                "CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
                 GRANT ALL ON *.* TO {USER}@'127.0.0.1' WITH GRANT OPTION"
            ),
        );
        server
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.try_sql("", "SELECT 1").status.success() {
            let log = || std::fs::read_to_string(self.directory.path().join("log"));
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the test server ended: {}", log().unwrap());
            assert!(
                Instant::now() < deadline,
                "the test server does not start: {}",
                log().unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of a database for [`USER`], with the password, over TCP.
    pub fn url(&self, database: &str) -> String {
        self.url_as(USER, "pass%2Fword%20%401", database)
    }

    /// The URL of a database for another user. The caller percent-encodes user and password.
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "mysql://{user}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The unix socket, on which `root` needs no password.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs statements as `root` and returns what they printed. Panics if they fail.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.try_sql(database, sql);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Runs statements as `root` and returns the result, even a failure.
    pub fn try_sql(&self, database: &str, sql: &str) -> Output {
        use std::io::Write as _;
        let mut command = Command::new(&self.client);
        command
            .args([
                "--no-defaults",
                "--default-character-set=utf8mb4",
                "-N",
                "-B",
            ])
            .args(["--binary-mode", "--comments", "--user=root"])
            .arg(format!("--socket={}", self.socket().display()))
            .args((!database.is_empty()).then(|| format!("--database={database}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("tests need mariadb-client");
        let mut input = child.stdin.take().unwrap();
        let sql = sql.to_owned();
        let writer = std::thread::spawn(move || input.write_all(sql.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join();
        output
    }

    /// Stops the server at once, cutting every connection.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for MariadbServer {
    fn drop(&mut self) {
        self.stop();
    }
}
