//! A live restore that ends anywhere, by whatever: it can be gone on with or taken back, to exactly one of two states.

use crate::crash::{Started, make_gate, reached};
use crate::live::LIVE;
use crate::support::{App, HEAD, Output, at, run};
use lifeboat_testkit::postgres::PostgresServer;
use std::hash::{Hash, Hasher};
use std::process::Command;
use std::time::Duration;

/// The calls of the system by which a restore notes and swaps.
const CALLS: [&str; 3] = ["rename", "renameat", "renameat2"];

/// Two directories, a database of PostgreSQL and one of SQLite, and what befell them after a point was taken.
struct Site {
    server: PostgresServer,
    app: App,
    captured: String,
    broken: String,
}

impl Site {
    fn new() -> Self {
        let server = PostgresServer::start();
        server.create_database("crm");
        server.psql(
            "crm",
            "CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 100)",
        );
        let mut app = App::with("");
        app.configure(&format!(
            r#"{HEAD}
[source.files]
kind = "files"
paths = ["{{root}}/data", "{{root}}/more"]

[source.db]
kind = "postgres"
url = "env:DATABASE_URL"

[source.small]
kind = "sqlite"
path = "{{root}}/live/app.db"

[store.disk]
kind = "local"
path = "{{root}}/store"

[plan.main]
sources = ["files", "db", "small"]
stores = ["disk"]

[restore]
stop = [["sh", "-c", "echo stop >> {{root}}/log; cat {{root}}/stop"]]
start = [["sh", "-c", "echo start >> {{root}}/log; cat {{root}}/start"]]
"#
        ));
        app.env("DATABASE_URL", server.url("crm"));
        for gate in ["start", "stop"] {
            app.write(gate, b"");
        }
        app.write("data/notes.txt", b"captured");
        app.write("more/deep/it is \"quoted\"", b"captured, too");
        app.backup();
        let mut site = Site {
            server,
            app,
            captured: String::new(),
            broken: String::new(),
        };
        site.captured = site.looks();
        site.app.write("data/notes.txt", b"changed");
        std::fs::remove_dir_all(site.app.path("more/deep")).unwrap();
        site.sqlite("DELETE FROM client WHERE id > 1");
        site.server.psql("crm", "DELETE FROM t WHERE i > 7");
        site.broken = site.looks();
        assert_ne!(site.captured, site.broken);
        site
    }

    /// All that is live.
    fn looks(&self) -> String {
        let mut text = String::new();
        for directory in ["data", "more"] {
            for name in self.app.listing(directory) {
                let path = self.app.path(directory).join(&name);
                let bytes = std::fs::read(&path).unwrap_or_default();
                let mut hash = std::hash::DefaultHasher::new();
                bytes.hash(&mut hash);
                text += &format!("{directory}/{name} {:016x}\n", hash.finish());
            }
        }
        text += &self.sqlite(".dump");
        text + &self.server.psql("crm", "SELECT * FROM t ORDER BY i")
    }

    fn sqlite(&self, command: &str) -> String {
        let mut sqlite = Command::new("sqlite3");
        let output = run(sqlite.arg(self.app.path("live/app.db")).arg(command));
        assert_eq!(output.code, 0, "{output}");
        output.stdout
    }

    /// The restores that are open: the state and the id of each.
    fn open(&self) -> Vec<(String, String)> {
        let listed = self.app.json(&["restores", "list"]);
        let all = listed["restores"].as_array().unwrap().iter();
        let text = |one: &serde_json::Value, key: &str| one[key].as_str().unwrap().to_owned();
        all.map(|one| (text(one, "state"), text(one, "id")))
            .collect()
    }

    fn on(&self, verb: &str, id: &str) -> Output {
        self.app
            .ok(&["restores", verb, id, "--confirm", "crm/test"])
    }

    /// Databases whose names begin with that of the live one.
    fn databases(&self) -> String {
        let sql = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname LIKE 'crm%'";
        self.server.psql("postgres", sql)
    }

    /// Nothing of a restore is left beside what is live.
    fn is_tidy(&self) {
        assert_eq!(self.databases(), "crm");
        assert_eq!(self.app.listing(".lifeboat-aside"), [""; 0]);
        assert_eq!(self.app.listing("live/.lifeboat-aside"), [""; 0]);
    }

    /// Runs a command that is killed before a call, the counted one of its kind. Returns whether it came that far.
    fn killed(&self, args: &[&str], (call, at): (&str, usize)) -> bool {
        let inner = self.app.command(args);
        let mut command = Command::new("strace");
        command.args([
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
            "-e",
        ]);
        command.arg(format!("inject={call}:signal=SIGKILL:when={at}"));
        command.arg(inner.get_program()).args(inner.get_args());
        if let Some(directory) = inner.get_current_dir() {
            command.current_dir(directory);
        }
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = run(&mut command);
        match output.code {
            0 => false,
            -9 | 137 => true,
            code => panic!("it ended with {code}: {output}"),
        }
    }
}

#[test]
fn a_restore_that_is_killed_at_any_step_is_gone_on_with_or_taken_back() {
    let site = Site::new();
    let (mut resumed, mut undone) = (0, 0);
    for call in CALLS {
        // The last one is not killed.
        let kills = (1..).take_while(|at| site.killed(LIVE, (call, *at)));
        for at in kills {
            ended_somewhere(&site, &format!("{call} {at}"), (&mut resumed, &mut undone));
        }
        assert_eq!(site.looks(), site.captured);
        let open = site.open();
        assert_eq!(open.len(), 1, "{open:?}");
        site.on("undo", &open[0].1);
        assert_eq!(site.looks(), site.broken);
    }
    assert!(resumed > 10 && undone > 10, "{resumed} and {undone}");
    site.app.ok(&["evidence", "verify"]);
}

/// Looks what a restore that was killed left, and makes it whole: in turn by going on and by taking it back.
fn ended_somewhere(site: &Site, place: &str, (resumed, undone): (&mut usize, &mut usize)) {
    let open = site.open();
    let place = format!("killed at {place}: {open:?}");
    match open.as_slice() {
        [] => assert_eq!(site.looks(), site.broken, "{place}"),
        [(state, id)] if state == "ended" => {
            assert_eq!(site.looks(), site.broken, "{place}");
            site.on("undo", id);
            site.is_tidy();
        }
        [(state, id)] if state == "interrupted" => {
            if (*resumed + *undone).is_multiple_of(2) {
                site.app
                    .exits(6, &["backup"])
                    .says(&["was interrupted", id]);
                site.on("resume", id).says(&["verified"]);
                assert_eq!(site.looks(), site.captured, "{place}");
                assert_eq!(site.open(), [("kept".to_owned(), id.clone())], "{place}");
                *resumed += 1;
            } else {
                *undone += 1;
            }
            site.on("undo", id);
            assert_eq!(site.looks(), site.broken, "{place}");
            site.is_tidy();
        }
        // It was killed once all was done.
        [(state, id)] if state == "kept" => {
            assert_eq!(site.looks(), site.captured, "{place}");
            site.on("undo", id);
        }
        _ => panic!("{place}"),
    }
    assert_eq!(site.open(), [], "{place}");
    assert_eq!(site.looks(), site.broken, "{place}");
}

#[test]
fn taking_a_restore_back_may_be_killed_at_any_step() {
    let site = Site::new();
    let mut kills = 0;
    for call in CALLS {
        for at in 1.. {
            site.app.ok(LIVE);
            let (_, id) = site.open().remove(0);
            let undo = ["restores", "undo", &id, "--confirm", "crm/test"];
            let came = site.killed(&undo, (call, at));
            let place = format!("killed at {call} {at}");
            match site.open().is_empty() {
                true => assert_eq!(site.looks(), site.broken, "{place}"),
                false => drop(site.on("undo", &id)),
            }
            assert_eq!(site.looks(), site.broken, "{place}");
            site.is_tidy();
            if !came {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 15, "{kills}");
}

#[test]
fn what_was_live_before_is_kept_until_it_is_put_back_or_let_go() {
    let site = Site::new();
    let app = &site.app;
    app.ok(&["restores", "list"])
        .says(&["no live restore is open"]);
    app.ok(LIVE);
    let (state, id) = site.open().remove(0);
    assert_eq!(state, "kept");
    app.ok(&["restores", "list"]).says(&[
        "is done; what was live before is kept",
        &id,
        "database crm_before_",
    ]);
    // It goes on: what is written is lost when it is taken back, and is told of before.
    site.server
        .psql("crm", "INSERT INTO t SELECT generate_series(1000, 1004)");
    app.write("data/new", b"new");
    let grown = site.looks();
    app.backup();
    let refused = app.exits(7, &["restores", "undo", &id]);
    refused.says(&[
        "nothing was done without --confirm",
        "5 rows new in public.t",
        "undoing loses what was written to",
        "put back what was live of source db",
    ]);
    assert!(site.looks().contains("1004"));
    app.exits(7, &["restores", "undo", &id, "--confirm", "crm/production"])
        .says(&["--confirm says crm/production"]);
    app.write("log", b"");
    site.on("undo", &id)
        .says(&["what was live before is live again"]);
    assert_eq!(site.looks(), site.broken);
    assert_eq!(std::fs::read(app.path("log")).unwrap(), b"stop\nstart\n");
    site.is_tidy();
    app.exits(2, &["restores", "undo", &id, "--confirm", "crm/test"])
        .says(&["is open on this host"]);
    let records = app.json(&["evidence", "list"]);
    let last = records["evidence"].as_array().unwrap().last().unwrap();
    assert_eq!(last["activity"], "undo", "{records:#}");
    // It proves nothing of a point, and nobody takes it for a restore.
    assert_eq!(app.json(&["status"])["restore"]["outcome"], "verified");

    app.ok(LIVE);
    let (_, id) = site.open().remove(0);
    app.exits(7, &["restores", "finish", &id])
        .says(&["remove db: database crm_before_"]);
    site.on("finish", &id);
    site.is_tidy();
    assert_eq!(site.looks(), grown);
}

/// The runner lets go of what was kept long enough, and tells of it days before.
#[test]
fn what_is_kept_is_let_go_in_time() {
    let site = Site::new();
    let app = &site.app;
    app.ok(LIVE);
    let (_, id) = site.open().remove(0);
    let open = &app.json(&["status"])["open_restores"][0];
    assert_eq!(open["id"], id.as_str());
    assert_eq!(open["interrupted"], false);
    at(app, "+10d", &["run"]);
    at(app, "+10d", &["alarms"]).never_says(&["what was live before restore"]);
    at(app, "+12d", &["run"]);
    at(app, "+12d", &["alarms"]).says(&["what was live before restore", "is removed at"]);
    assert_eq!(site.open(), [("kept".to_owned(), id.clone())]);
    at(app, "+15d", &["run"]).says(&["was kept long enough"]);
    assert_eq!(site.open(), []);
    site.is_tidy();
    assert_eq!(site.looks(), site.captured);
}

#[test]
fn what_is_not_kept_any_more_cannot_be_put_back() {
    let site = Site::new();
    let app = &site.app;
    app.ok(LIVE);
    let (_, id) = site.open().remove(0);
    let aside = app.path("live/.lifeboat-aside");
    std::fs::remove_dir_all(&aside).unwrap();
    app.exits(1, &["restores", "undo", &id, "--confirm", "crm/test"])
        .says(&[
            "source small",
            "what was live before is not at",
            "the safety point",
        ]);
    assert_eq!(site.looks(), site.captured, "nothing was changed");
    assert_eq!(site.open(), [("kept".to_owned(), id.clone())]);
    site.on("finish", &id);
    assert_eq!(site.open(), []);

    app.ok(LIVE);
    let (_, id) = site.open().remove(0);
    let undo = ["restores", "undo", &id, "--confirm", "crm/test"];
    let kept = site
        .databases()
        .split_whitespace()
        .last()
        .unwrap()
        .to_owned();
    site.server
        .psql("postgres", &format!("DROP DATABASE {kept}"));
    app.exits(1, &undo)
        .says(&["source db", "what was live before is not kept as database"]);
    assert_eq!(site.looks(), site.captured, "nothing was changed");
}

/// What was restored is what the next restore keeps.
#[test]
fn restores_are_taken_back_in_turn() {
    let site = Site::new();
    let app = &site.app;
    app.ok(LIVE);
    app.write("data/notes.txt", b"in between");
    let between = site.looks();
    app.ok(LIVE);
    let open = site.open();
    let [(_, first), (_, second)] = open.as_slice() else {
        panic!("{open:?}");
    };
    app.exits(1, &["restores", "undo", first, "--confirm", "crm/test"])
        .says(&["came after", "take that one back first"]);
    // Somebody removed what was restored: what is kept comes back all the same.
    std::fs::remove_dir_all(app.path("data")).unwrap();
    site.on("undo", second);
    assert_eq!(site.looks(), between);
    site.on("undo", first);
    assert_eq!(site.looks(), site.broken);
    site.is_tidy();
}

#[test]
fn two_operators_and_a_backup_at_once_are_told_of_the_one() {
    let site = Site::new();
    let app = &site.app;
    std::fs::remove_file(app.path("stop")).unwrap();
    make_gate(&app.path("stop"));
    let mut run = Started::new(app, LIVE);
    let held = reached(&app.path("stop"), &mut run);
    app.exits(6, LIVE)
        .says(&["a restore is running:", "began it at"]);
    app.exits(6, &["backup"])
        .says(&["a restore is running:", "began it at"]);
    app.ok(&["restores", "list"]).says(&["is running"]);
    std::thread::sleep(Duration::from_millis(1200));
    drop(held);
    assert_eq!(run.end().code, 0);
    assert_eq!(site.looks(), site.captured);
    app.backup();
    // It was down for as long as it was stopped.
    let records = app.json(&["evidence", "list"]);
    let down = records["evidence"][0]["downtime_seconds"].as_f64().unwrap();
    assert!((1.2..60.0).contains(&down), "{down}");
}

/// What is live is looked at once it is stopped: until then whoever works with it may replace it.
#[test]
fn what_was_stopped_may_have_replaced_its_files() {
    let site = Site::new();
    let app = &site.app;
    let root = app.root().display().to_string();
    let script = app.script(
        "replace",
        &format!("cd '{root}'; [ -e data/new ] || {{ cp -r data copy; touch copy/new; rm -r data more; mv copy data; }}"),
    );
    let stop = format!("{}; echo stop", script.display());
    app.edit("echo stop", &stop);
    app.ok(LIVE);
    let (_, id) = site.open().remove(0);
    assert_eq!(site.looks(), site.captured);
    site.on("undo", &id);
    let back = site.looks();
    assert!(back.contains("data/new"), "{back}");
    assert!(!back.contains("more/"), "{back}");
    site.is_tidy();
}

/// Somebody makes the live database while it has no name, and drops what is kept.
#[test]
fn a_database_that_somebody_made_meanwhile_is_not_taken_for_the_restored_one() {
    let site = Site::new();
    let app = &site.app;
    std::fs::remove_file(app.path("start")).unwrap();
    make_gate(&app.path("start"));
    let mut run = Started::new(app, LIVE);
    let held = reached(&app.path("start"), &mut run);
    run.kill();
    drop(held);
    std::fs::remove_file(app.path("start")).unwrap();
    app.write("start", b"");
    let (state, id) = site.open().remove(0);
    assert_eq!(state, "interrupted");
    let kept = site
        .databases()
        .split_whitespace()
        .last()
        .unwrap()
        .to_owned();
    site.server.psql(
        "postgres",
        &format!("ALTER DATABASE {kept} RENAME TO elsewhere"),
    );
    for verb in ["resume", "undo"] {
        let told = app.run(&["restores", verb, &id, "--confirm", "crm/test"]);
        assert_eq!(told.code, 1, "{told}");
        told.says(&["source db"]);
    }
    assert_eq!(site.looks(), site.captured, "nothing was changed");
    site.server.psql(
        "postgres",
        &format!("ALTER DATABASE elsewhere RENAME TO {kept}"),
    );
    site.on("undo", &id);
    assert_eq!(site.looks(), site.broken);
    site.is_tidy();
}

/// What is half removed is not put back.
#[test]
fn a_restore_that_is_let_go_in_part_cannot_be_taken_back() {
    let mut site = Site::new();
    site.app.ok(LIVE);
    let (_, id) = site.open().remove(0);
    site.server.stop();
    let app = &site.app;
    app.exits(1, &["restores", "finish", &id, "--confirm", "crm/test"])
        .says(&["source db"]);
    assert_eq!(site.open(), [("closing".to_owned(), id.clone())]);
    app.exits(1, &["restores", "undo", &id, "--confirm", "crm/test"])
        .says(&["is removed in part", "lifeboat restores finish"]);
    app.ok(&["restores", "list"]).says(&["is removed in part"]);
}
