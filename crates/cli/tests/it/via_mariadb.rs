//! A MariaDB database of another host, over a real SSH server: what goes wrong there is told with
//! its remedy, makes no point, and leaves nothing running on either side.

use crate::drill_mariadb::{LIVE, SCHEMA, application, databases};
use crate::support::App;
use lifeboat_testkit::mariadb::{MariadbServer, PASSWORD};
use lifeboat_testkit::ssh::SshServer;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// The database, over this server; `env:CRM_URL` has its URL.
fn over_ssh(ssh: &SshServer, server: &MariadbServer) -> App {
    let mut app = application(server, "mariadb", SCHEMA);
    app.edit(
        "url = \"env:CRM_URL\"",
        &format!(
            "url = \"env:CRM_URL\"\nvia = \"ssh:{}\"\nssh = {{ config = \"{}\" }}",
            ssh.address(),
            ssh.config_path().display()
        ),
    );
    std::fs::create_dir(app.path("tmp")).unwrap();
    let temporary = app.path("tmp").display().to_string();
    app.env("TMPDIR", temporary);
    app
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(100);
    while !done() {
        assert!(Instant::now() < deadline, "it never happens: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a session of the server is like this.
fn seen(server: &MariadbServer, text: &str) -> bool {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'keeper' AND CONCAT_WS(' ', STATE, INFO) LIKE '{text}'"
    );
    server.sql("", &sql) != "0"
}

fn sessions(server: &MariadbServer) -> String {
    server.sql(
        "",
        "SELECT * FROM information_schema.PROCESSLIST WHERE USER = 'keeper'",
    )
}

/// Holds a lock until it is dropped.
struct Lock(Child, Option<ChildStdin>);

impl Lock {
    fn take(server: &MariadbServer, sql: &str) -> Lock {
        let mut holder = Command::new("mariadb")
            .args(["--no-defaults", "--user=root", "--unbuffered", "--batch"])
            .args(["--skip-column-names", "--database=crm"])
            .arg(format!("--socket={}", server.socket().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = holder.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, format!("{sql}; SELECT 'held';\n").as_bytes())
            .unwrap();
        let mut said = std::io::BufReader::new(holder.stdout.take().unwrap());
        let mut line = String::new();
        while line != "held\n" {
            line.clear();
            std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        }
        Lock(holder, Some(input))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.1.take());
        self.0.wait().unwrap();
    }
}

fn nothing_is_left(app: &App, ssh: &SshServer, server: &MariadbServer) {
    until("the dump there ends", || sessions(server).is_empty());
    until("the connection ends", || ssh.connections().is_empty());
    assert_eq!(app.points(), Vec::<String>::new());
    app.holds_no_point("store");
}

#[test]
fn what_the_server_or_the_host_refuses_is_told_and_makes_no_point() {
    let server = MariadbServer::start();
    let ssh = SshServer::start();
    let mut app = over_ssh(&ssh, &server);
    app.env("CRM_URL", server.url_as("keeper", "hunter2", "crm"));
    let refusal = app.refuses(1, "source-denied", &["backup"]);
    refusal
        .names(&["the server refused the credentials", "keeper@"])
        .because(&["Access denied"])
        .advises(&["check user, password"]);
    app.exits(1, &["doctor"])
        .says(&["the server refused the credentials"])
        .never_says(&["hunter2"]);
    app.env("CRM_URL", "mysql://keeper:hunter2@127.0.0.1:1/crm");
    app.refuses(1, "source-unreachable", &["backup"])
        .names(&["127.0.0.1:1/crm"])
        .because(&["127.0.0.1"]);
    nothing_is_left(&app, &ssh, &server);

    // Programs that are not there, on that host; here they are.
    let bare = SshServer::start_with(&["SetEnv PATH=%D/files"]);
    let place = bare.sftp_root();
    for program in ["sh", "cat", "env", "mktemp", "rm"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{program}"), place.join(program)).unwrap();
    }
    let (old, new) = (ssh.config_path(), bare.config_path());
    app.edit(&old.display().to_string(), &new.display().to_string());
    app.edit(&ssh.address(), &bare.address());
    app.env("CRM_URL", server.url("crm"));
    let no_client = format!("mariadb is not installed on {}", bare.address());
    app.refuses(1, "tool-missing", &["backup"])
        .names(&[&no_client])
        .advises(&["install it there: apt-get install mariadb-client"]);
    app.exits(1, &["doctor"]).says(&[&no_client]);
    std::os::unix::fs::symlink("/usr/bin/mariadb", place.join("mariadb")).unwrap();
    let no_dump = format!("mariadb-dump is not installed on {}", bare.address());
    app.refuses(1, "tool-missing", &["backup"])
        .names(&[&no_dump])
        .advises(&["install it there: apt-get install mariadb-client"]);
    app.exits(1, &["doctor"]).says(&[&no_dump]);
    nothing_is_left(&app, &bare, &server);
    assert_eq!(app.listing("tmp"), Vec::<String>::new());
}

#[test]
fn a_dump_that_is_cut_or_ended_or_killed_makes_no_point_and_leaves_nothing() {
    let server = MariadbServer::start();
    let ssh = SshServer::start();
    let app = over_ssh(&ssh, &server);
    // Some of the dump is there when it comes to the table that is locked.
    server.sql(
        "crm",
        "INSERT INTO client (name) SELECT 'client' FROM seq_1_to_20000",
    );
    for way in ["cut", "TERM", "KILL"] {
        let lock = Lock::take(&server, "LOCK TABLES invoice WRITE");
        let mut running = app.command(&["backup"]);
        let running = running.stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = running.spawn().unwrap();
        until("the dump waits for the lock", || {
            seen(&server, "Waiting for table metadata lock%invoice%")
        });
        let dumps = || {
            let lines = crate::crash::processes("mariadb-dump");
            let port = server.port().to_string();
            lines
                .into_iter()
                .filter(move |line| line.contains(&port))
                .collect::<Vec<_>>()
        };
        assert!(!ssh.connections().is_empty());
        match way {
            "cut" => ssh.kill_connections(),
            signal => {
                let pid = running.id().to_string();
                let sent = Command::new("kill").args(["-s", signal, &pid]).status();
                assert!(sent.unwrap().success());
            }
        }
        let output = running.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match way {
            "cut" => {
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert!(said.contains("the connection to"), "{said}");
                assert!(said.contains("hint: "), "{said}");
            }
            "TERM" => {
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert!(said.contains("interrupted"), "{said}");
            }
            _ => assert_eq!(output.status.code(), None),
        }
        assert!(!said.contains(PASSWORD), "{said}");
        // Not by being let go: the lock is still held.
        until("the program there ends", || dumps().is_empty());
        nothing_is_left(&app, &ssh, &server);
        drop(lock);
    }
    // What the killed one left here is of no account, and the next run removes it.
    app.backup();
    assert_eq!(app.listing("tmp"), Vec::<String>::new());
    app.ok(&["verify"]);
}

/// The connection is cut while the swap waits for a table: it is undone by another.
#[test]
fn a_live_restore_whose_connection_is_cut_leaves_what_was_live() {
    let server = MariadbServer::start();
    let ssh = SshServer::start();
    let app = over_ssh(&ssh, &server);
    app.backup();
    server.sql("crm", "DELETE FROM invoice");
    let objects = "SHOW FULL TABLES; SHOW EVENTS; SHOW TRIGGERS; SELECT * FROM a_view_of_it; SELECT COUNT(*) FROM invoice;
        SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()";
    let triggers = |text: String| {
        let lines = text.lines().filter(|line| !line.contains("keep_log"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = triggers(server.sql("crm", objects));
    let lock = Lock::take(&server, "START TRANSACTION; SELECT COUNT(*) FROM gone");
    let mut running = app.command(LIVE);
    let running = running.stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = running.spawn().unwrap();
    until("the swap waits for the table", || {
        seen(&server, "Waiting for table metadata lock%RENAME TABLE%")
    });
    ssh.kill_connections();
    // What undoes it may wait for the same table.
    drop(lock);
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the connection to"), "{said}");
    assert_eq!(triggers(server.sql("crm", objects)), before);
    let trigger = "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'crm'";
    assert_eq!(server.sql("", trigger), "1");
    assert_eq!(databases(&server), ["crm"]);
    let undo = ["restore", "--undo", "--confirm", "crm/test"];
    app.ok(&undo).says(&["there is nothing to undo"]);
    until("the connection ends", || ssh.connections().is_empty());
    assert_eq!(app.listing("tmp"), Vec::<String>::new());
}
