//! A live restore of a MariaDB or MySQL database that is killed: between any two statements of the
//! swap, the next command finds the journal, and makes it whole.
//!
//! The client that Lifeboat finds is a script: it gives a part of a session to the real one, and
//! stays there.

use crate::crash::{Started, make_gate, reached};
use crate::drill_mariadb::{LIVE, SCHEMA, application, databases};
use crate::support::App;
use lifeboat_testkit::mariadb::{MariadbServer, MysqlServer, mysql_path, sid};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const UNDO: &[&str] = &["restore", "--undo", "--confirm", "crm/test"];

/// What happens to the live database after the point was taken.
const ACCIDENT: &str = "
DELETE FROM invoice; DROP VIEW a_view_of_it; DROP TRIGGER keep_log; DROP EVENT never;
CREATE TABLE later (id INT); INSERT INTO later VALUES (5);
CREATE TRIGGER later_one BEFORE INSERT ON later FOR EACH ROW SET NEW.id = 1;
CREATE PROCEDURE later_too() SELECT 1;
CREATE VIEW later_view AS SELECT * FROM later";

/// Where a run is killed: in the session whose statements are like this, after so many lines.
struct Stop {
    session: &'static str,
    /// `all`, `half`, or a number; a session of a swap begins with two of no account.
    lines: &'static str,
}

const fn stop(session: &'static str, lines: &'static str) -> Stop {
    Stop { session, lines }
}

const STOPS: &[Stop] = &[
    stop("CREATE TABLE*lifeboat_swap_under_way", "2"),
    stop("CREATE TABLE*lifeboat_swap_under_way", "all"),
    stop("INSERT INTO*lifeboat_swap_under_way", "4"),
    stop("INSERT INTO*lifeboat_swap_under_way", "all"),
    stop("ALTER DATABASE `crm_before", "all"),
    stop("DROP TRIGGER IF EXISTS `crm`.", "4"),
    stop("DROP TRIGGER IF EXISTS `crm_restored", "all"),
    stop("RENAME TABLE", "2"),
    stop("RENAME TABLE", "all"),
    stop("CREATE*TRIGGER*later_one", "half"),
    stop("CREATE*TRIGGER*keep_log", "half"),
    stop("SET finished = 1", "2"),
];
/// From here on what was restored is live.
const DONE: &[Stop] = &[
    stop("SET finished = 1", "all"),
    stop("DROP TABLE*lifeboat_swap_under_way", "all"),
];

struct Swapping {
    server: MariadbServer,
    app: App,
    dump: PathBuf,
}

impl Swapping {
    /// A captured database, to which the accident has happened.
    fn new(kind: &str) -> (Swapping, String) {
        let (server, client, dump) = match kind {
            "mysql" => {
                let bin = sid().join("usr/bin");
                (
                    MysqlServer::start(),
                    bin.join("mysql"),
                    bin.join("mysqldump"),
                )
            }
            _ => (
                MariadbServer::start(),
                "/usr/bin/mariadb".into(),
                "/usr/bin/mariadb-dump".into(),
            ),
        };
        let mut app = application(&server, kind, SCHEMA);
        make_gate(&app.path("gate"));
        app.script(
            &format!("bin/{}", client.file_name().unwrap().display()),
            &format!(
                r#"case "$*" in *--version*) exec '{client}' "$@";; esac
[ -e '{root}/stop' ] || exec '{client}' "$@"
. '{root}/stop'
input=$(cat)
if [ -e '{root}/lost' ]; then case "$input" in *GET_LOCK*) echo lost >&2; exit 1;; esac; fi
case "$input" in
  *GET_LOCK*$session*)
    count=$(printf '%s\n' "$input" | wc -l)
    case $lines in half) lines=$((count / 2));; all) lines=$count;; esac
    printf '%s\n' "$input" | head -n "$lines" | '{client}' "$@"
    [ "${{then-}}" != fail ] || {{ touch '{root}/lost'; echo lost >&2; exit 1; }}
    exec cat '{root}/gate';;
esac
exec '{client}' "$@" <<END
$input
END"#,
                root = app.root().display(),
                client = client.display(),
            ),
        );
        let path = match kind {
            "mysql" => mysql_path(),
            _ => std::env::var("PATH").unwrap(),
        };
        app.env("PATH", format!("{}:{path}", app.path("bin").display()));
        app.backup();
        let swapping = Swapping { server, app, dump };
        let captured = swapping.looks();
        swapping.server.sql("crm", ACCIDENT);
        (swapping, captured)
    }

    /// Everything of the live database. A trigger that was made with the database's name comes back
    /// without it.
    fn looks(&self) -> String {
        let mut dump = Command::new(&self.dump);
        dump.args(["--no-defaults", "--user=root", "--routines", "--events"])
            .arg(format!("--socket={}", self.server.socket().display()))
            .args(["--skip-dump-date", "--skip-comments", "--hex-blob", "crm"]);
        if self.dump.ends_with("mysqldump") {
            dump.arg("--set-gtid-purged=OFF");
        }
        let output = dump.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let set = "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'crm'";
        self.server.sql("", set) + &String::from_utf8_lossy(&output.stdout).replace("crm.", "")
    }

    /// Kills a live restore there.
    fn killed(&self, at: &Stop) {
        let text = format!("session='{}'\nlines={}\n", at.session, at.lines);
        self.app.write("stop", text.as_bytes());
        let mut run = Started::new(&self.app, LIVE);
        let gate = reached(&self.app.path("gate"), &mut run);
        run.kill();
        drop(gate);
        std::fs::remove_file(self.app.path("stop")).unwrap();
    }

    /// Makes all as it was after the accident, when what was restored is live.
    fn again(&self) {
        for database in databases(&self.server) {
            if database != "crm" {
                self.server.sql("", &format!("DROP DATABASE {database}"));
            }
        }
        self.server.sql("crm", ACCIDENT);
    }

    fn undone(&self, at: &Stop, before: &str) {
        self.killed(at);
        let place = format!("{} {}", at.session, at.lines);
        let told = self.app.ok(UNDO);
        told.says(&["what was live before is live again"]);
        assert_eq!(self.looks(), before, "{place}");
    }
}

/// The server is lost within the swap: nothing is called as it was before until it is.
#[test]
fn a_swap_that_could_not_be_undone_is_not_called_undone() {
    let (swapping, _) = Swapping::new("mariadb");
    let before = swapping.looks();
    let stop = "session='RENAME TABLE'\nlines=all\nthen=fail\n";
    swapping.app.write("stop", stop.as_bytes());
    let said = swapping.app.exits(1, LIVE);
    said.says(&[
        "failed, and not all of it could be swapped back",
        "could neither be finished nor undone",
        "lifeboat restore --undo",
    ]);
    assert!(!said.to_string().contains("as it was before"), "{said}");
    assert_ne!(swapping.looks(), before, "it is half swapped");
    std::fs::remove_file(swapping.app.path("stop")).unwrap();
    let told = swapping.app.ok(UNDO);
    told.says(&["what was live before is live again"]);
    assert_eq!(swapping.looks(), before);
}

#[test]
fn a_swap_that_was_killed_anywhere_is_undone() {
    let (swapping, _) = Swapping::new("mariadb");
    let before = swapping.looks();
    for at in STOPS {
        swapping.undone(at, &before);
    }
    // Only the first left the copy behind, before there was a journal; the next restore found it.
    assert_eq!(databases(&swapping.server), ["crm"]);
}

#[test]
fn a_swap_that_was_killed_is_repeated_by_a_live_restore() {
    let (swapping, captured) = Swapping::new("mariadb");
    for at in STOPS.iter().step_by(5).chain(DONE) {
        let place = format!("{} {}", at.session, at.lines);
        swapping.killed(at);
        let report = swapping.app.json(LIVE);
        assert_eq!(report["outcome"], "verified", "{place}: {report:#}");
        assert_eq!(swapping.looks(), captured, "{place}");
        swapping.again();
    }
    // Where only tidying was left, and the journal of the restore is lost, what was restored is live.
    swapping.killed(&DONE[0]);
    for journal in swapping.app.listing("state/restores") {
        std::fs::remove_file(swapping.app.path("state/restores").join(journal)).unwrap();
    }
    let told = swapping.app.ok(UNDO);
    told.says(&["what was restored is live", "kept as database crm_before_"]);
    assert_eq!(swapping.looks(), captured);
}

#[test]
fn a_database_that_is_half_way_is_told_by_every_command() {
    let (swapping, captured) = Swapping::new("mariadb");
    let app = &swapping.app;
    swapping.killed(&stop("RENAME TABLE", "2"));
    app.refuses(6, "busy", &["backup"])
        .names(&["was interrupted while something of it was live"])
        .advises(&["lifeboat restores undo"]);
    app.exits(1, &["doctor"])
        .says(&["crm is in an unfinished swap", "lifeboat restore --undo"]);
    app.exits(7, &["restore", "latest"])
        .says(&["1. take back restore"]);
    app.refuses(7, "needs-confirmation", &["restore", "--undo"])
        .because(&["database crm of source crm"])
        .advises(&["lifeboat restore --undo --confirm crm/test"]);
    let wrong = ["restore", "--undo", "--confirm", "crm/production"];
    app.refuses(7, "needs-confirmation", &wrong)
        .names(&["crm/production"]);
    // Another host's is believed to be under way, but not for long.
    let journal = "UPDATE lifeboat_swap_under_way SET journal = REPLACE(journal, '\"host\":\"', '\"host\":\"other-')";
    swapping.server.sql("crm", journal);
    app.exits(6, UNDO)
        .says(&["on host other-", "may be under way", "300 s"]);
    app.exits(6, LIVE);
    let old = "UPDATE lifeboat_swap_under_way SET begun = NOW() - INTERVAL 301 SECOND";
    swapping.server.sql("crm", old);
    let report = app.json(LIVE);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("what was live before is live again"),
        "{warnings}"
    );
    assert_eq!(swapping.looks(), captured);
    assert_eq!(app.json(UNDO)["outcome"], "nothing");
}

/// The server goes on with what a client that is gone has asked for.
#[test]
fn a_statement_that_still_waits_when_its_sender_is_gone_is_waited_for() {
    let (swapping, _) = Swapping::new("mariadb");
    let before = swapping.looks();
    let server = &swapping.server;
    let mut holder = Command::new("/usr/bin/mariadb")
        .args(["--no-defaults", "--user=root", "--unbuffered"])
        .arg(format!("--socket={}", server.socket().display()))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = holder.stdin.take().unwrap();
    std::io::Write::write_all(
        &mut input,
        b"USE crm; START TRANSACTION; SELECT COUNT(*) FROM gone;\n",
    )
    .unwrap();
    let run = Started::new(&swapping.app, LIVE);
    let seen = |text: &str| {
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND CONCAT_WS(' ', STATE, INFO) LIKE '{text}'"
        );
        server.sql("", &sql) != "0"
    };
    until(|| seen("Waiting for table metadata lock%RENAME TABLE%"));
    run.kill();
    let undo = Started::new(&swapping.app, UNDO);
    until(|| seen("User lock%GET_LOCK%") || !seen("%RENAME TABLE%"));
    drop(input);
    holder.wait().unwrap();
    let output = undo.end();
    assert_eq!(output.code, 0, "{output}");
    output.says(&["what was live before is live again"]);
    assert_eq!(swapping.looks(), before);
    assert_eq!(databases(server), ["crm"]);
}

fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(100);
    while !done() {
        assert!(Instant::now() < deadline, "it never happens");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_swap_of_mysql_that_was_killed_is_undone_and_repeated() {
    let (swapping, captured) = Swapping::new("mysql");
    let before = swapping.looks();
    let places = ["DROP TRIGGER IF EXISTS `crm`.", "CREATE*TRIGGER*keep_log"];
    for at in STOPS.iter().filter(|at| places.contains(&at.session)) {
        swapping.undone(at, &before);
    }
    swapping.killed(&stop("RENAME TABLE", "all"));
    let report = swapping.app.json(LIVE);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert_eq!(swapping.looks(), captured);
}
