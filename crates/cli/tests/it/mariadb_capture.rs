//! What becomes of a backup when a MariaDB dump does not go as it should: with the real server and
//! the real dump program, behind a program of its name that cuts, slows or misleads it.

#[path = "../../../core/tests/mariadb/server.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod server;

use crate::support::App;
use server::Server;

/// A database `d` whose dump is long: a table that comes first, and one that comes last.
const LONG: &str = "CREATE DATABASE d; USE d;
    CREATE TABLE a_big AS SELECT seq, REPEAT(MD5(seq), 20) AS t FROM seq_1_to_40000;
    CREATE TABLE z_last (a INT AUTO_INCREMENT PRIMARY KEY, b INT);
    INSERT INTO z_last (b) SELECT seq FROM seq_1_to_1000;";

/// An application whose `mariadb-dump` is a script; `$real` in it is the real one.
fn app(server: &Server, script: &str) -> App {
    let mut app = App::with(&format!(
        r#"
[source.db]
kind = "mariadb"
socket = "{}"
user = "root"
database = "d"

[store.disk]
kind = "local"
path = "{{root}}/store"
compress = "none"

[plan.main]
sources = ["db"]
stores = ["disk"]
"#,
        server.socket().display()
    ));
    app.script(
        "bin/mariadb-dump",
        &format!(
            "real=/usr/bin/mariadb-dump\n\
             case \" $* \" in *' --version '*) exec $real \"$@\";; esac\n{script}"
        ),
    );
    let path = format!("{}:/usr/bin:/bin", app.path("bin").display());
    app.env("PATH", path);
    app
}

/// A script that alters a table when the dump is in the midst of the table before it. Whatever is
/// not read yet waits in the pipe, so the dump has not come to the altered table.
fn altering(server: &Server, app: &App, condition: &str) -> String {
    format!(
        "export real marker={marker} client='/usr/bin/mariadb --no-defaults -uroot -S {socket} d'\n\
         if {condition}; then : > $marker\n\
         exec bash -o pipefail -c '$real \"$@\" | (head -c 1000000; \
         $client -e \"ALTER TABLE z_last FORCE\"; cat)' -- \"$@\"\n\
         fi\nexec $real \"$@\"",
        marker = app.path("marker").display(),
        socket = server.socket().display(),
    )
}

#[test]
fn a_table_altered_during_the_dump_has_it_captured_again() {
    let server = Server::start();
    server.sql("", LONG);
    let app = app(&server, "exec $real \"$@\"");
    let real = std::fs::read_to_string(app.path("bin/mariadb-dump")).unwrap();
    let real = real.strip_prefix("#!/bin/sh\n").unwrap();
    let scripted = |condition: &str| {
        let script = altering(&server, &app, condition);
        let body = real.trim_end().strip_suffix("exec $real \"$@\"").unwrap();
        // Asking for the version ends before.
        app.script("bin/mariadb-dump", &format!("{body}{script}"));
    };

    scripted("[ ! -e $marker ]");
    let output = app.exits(0, &["--json", "backup"]);
    output.says(&["changed while it was dumped", "captured again"]);
    assert!(app.path("marker").exists(), "the table was never altered");
    let report = output.json();
    assert_eq!(report["outcome"], "complete");
    let tables = &report["artifacts"][0]["fingerprint"]["tables"];
    assert_eq!(tables["z_last"]["rows"], 1000);
    assert_eq!(tables["a_big"]["rows"], 40000);
    // The attempt that was given up left nothing.
    let dumps = app.listing("store").into_iter();
    let dumps: Vec<_> = dumps.filter(|name| name.ends_with(".sql")).collect();
    assert_eq!(dumps.len(), 1, "{dumps:?}");
    let stored = std::fs::read(app.path("store").join(&dumps[0])).unwrap();
    assert_eq!(report["artifacts"][0]["bytes"], stored.len());
    app.ok(&["verify"]);
    std::fs::remove_dir_all(app.path("store")).unwrap();

    // One who alters it every time gets no backup, and is told why.
    scripted("true");
    let refusal = app.refuses(1, "source-changed", &["backup"]);
    refusal
        .names(&["source db", "changed while it was dumped"])
        .because(&["z_last"])
        .advises(&["migration"]);
    app.holds_no_point("store");
}

#[test]
fn a_dump_that_is_cut_though_its_program_ends_well_is_no_point() {
    let server = Server::start();
    server.sql("", LONG);
    let app = app(&server, "$real \"$@\" | head -c 3000000; exit 0");
    app.refuses(1, "source-failed", &["backup"])
        .names(&["source db", "Dump completed"]);
    app.holds_no_point("store");
}

#[test]
fn a_character_set_that_the_program_does_not_know_is_named() {
    let server = Server::start();
    server.sql("", "CREATE DATABASE d");
    let script = "for a; do shift; case $a in --default-character-set=*) a=--default-character-set=utf99;; esac; \
        set -- \"$@\" \"$a\"; done; exec $real \"$@\"";
    let app = app(&server, script);
    app.refuses(1, "tool-missing", &["backup"])
        .names(&["source db", "utf99"])
        .advises(&["install"]);
    app.holds_no_point("store");
}

#[test]
fn a_dump_program_that_is_not_installed_is_named() {
    let server = Server::start();
    server.sql("", "CREATE DATABASE d");
    let mut app = app(&server, "");
    std::fs::remove_file(app.path("bin/mariadb-dump")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/mariadb", app.path("bin/mariadb")).unwrap();
    app.env("PATH", app.path("bin").display().to_string());
    app.refuses(1, "tool-missing", &["backup"])
        .advises(&["apt-get install mariadb-client"]);
    app.holds_no_point("store");
}
