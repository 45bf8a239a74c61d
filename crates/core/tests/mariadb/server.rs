//! A real server for a test, on a socket.

use lifeboat_core::source::mariadb::{Connection, Flavor};
use lifeboat_testkit::tree::privileged;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub struct Server {
    directory: tempfile::TempDir,
    child: Child,
}

fn unprivileged(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if privileged() {
        command.args(["--reuid", "mysql", "--regid", "mysql", "--clear-groups"]);
    }
    command.arg(program).current_dir("/");
    command
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(options: &[&str]) -> Self {
        Self::start_program("mariadbd", options)
    }

    /// Starts this program of a server.
    pub fn start_program(program: &str, options: &[&str]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("lbmy")
            .tempdir_in("/tmp")
            .unwrap();
        if privileged() {
            let owner = Command::new("chown")
                .arg("mysql:mysql")
                .arg(directory.path())
                .status();
            assert!(owner.unwrap().success());
        }
        let data = format!("--datadir={}/data", directory.path().display());
        // Two servers with one temporary directory remove each other's files.
        let temporary = format!("--tmpdir={}", directory.path().display());
        let made = unprivileged("mariadb-install-db")
            .arg("--no-defaults")
            .arg(&temporary)
            .args([
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                &data,
            ])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let child = unprivileged(program)
            .args([
                "--no-defaults",
                "--skip-networking",
                "--innodb-flush-log-at-trx-commit=0",
            ])
            .args([
                "--skip-innodb-doublewrite",
                "--max-allowed-packet=1G",
                "--innodb-log-file-size=256M",
            ])
            .arg(&data)
            .arg(&temporary)
            .arg(format!("--socket={}/socket", directory.path().display()))
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { directory, child };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !server.try_sql("", "SELECT 1").status.success() {
            assert!(Instant::now() < deadline, "the test server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        // setpriv became the server.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub fn connection(&self, database: &str) -> Connection {
        Connection::on_socket(Flavor::Mariadb, &self.socket(), "root", database)
    }

    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "mysql://{user}:{password}@localhost/{database}?socket={}",
            self.socket().display()
        )
    }

    pub fn try_sql(&self, database: &str, sql: &str) -> Output {
        let mut client = Command::new("mariadb");
        client
            .args([
                "--no-defaults",
                "--default-character-set=utf8mb4",
                "-NB",
                "-uroot",
                "--comments",
            ])
            .arg("--max-allowed-packet=1G")
            .arg(format!("--socket={}", self.socket().display()));
        if !database.is_empty() {
            client.arg(format!("--database={database}"));
        }
        let mut child = client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let sql = sql.as_bytes().to_vec();
        let writer = std::thread::spawn(move || drop(input.write_all(&sql)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.try_sql(database, sql);
        assert!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
