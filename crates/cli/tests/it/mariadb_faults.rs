//! MariaDB restores that cannot be: a dump that is not whole, a client that is not there, a server
//! that does not take what the dump holds. Each ends in an error that says so, with nothing left
//! of it in the target and nothing changed in the live database.

use crate::drill_controls::{found, must_fail};
use crate::drill_mariadb::{LIVE, SCHEMA, application, databases};
use crate::forge::Held;
use crate::support::{App, Refusal};
use lifeboat_core::archive::{Sealer, Sealing, Tally, TapReader, open};
use lifeboat_core::compress::Compress;
use lifeboat_testkit::mariadb::{MariadbServer, MysqlServer};
use std::io::{Read, Write, copy, sink};
use std::path::{Path, PathBuf};

const TO: &[&str] = &["restore", "latest", "--to", "env:TARGET_URL"];

/// A database to restore into, which must stay empty, and the live one, which must stay as it is.
struct Targets<'a> {
    server: &'a MariadbServer,
    live: String,
}

impl<'a> Targets<'a> {
    fn new(server: &'a MariadbServer, app: &mut App) -> Self {
        server.sql(
            "",
            "CREATE DATABASE elsewhere CHARACTER SET latin1 COLLATE latin1_german2_ci",
        );
        app.env("TARGET_URL", server.url("elsewhere"));
        let live = Self::looked_at(server);
        Targets { server, live }
    }

    fn looked_at(server: &MariadbServer) -> String {
        server.sql("crm", "SHOW FULL TABLES; SHOW EVENTS; SELECT * FROM client")
    }

    /// Restored there and onto the live one, each of which must be refused like this.
    fn refuse(&self, app: &App, exit: i32, code: &str) -> [Refusal; 2] {
        let there = app.refuses(exit, code, TO);
        let objects = "SHOW TABLES; SHOW EVENTS; SHOW PROCEDURE STATUS WHERE Db = 'elsewhere'";
        assert_eq!(self.server.sql("elsewhere", objects), "");
        let defaults = "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'elsewhere'";
        assert_eq!(self.server.sql("", defaults), "latin1_german2_ci");
        let live = app.refuses(exit, code, LIVE);
        assert_eq!(Self::looked_at(self.server), self.live);
        assert_eq!(databases(self.server), ["crm"]);
        [there, live]
    }
}

/// The stored dump of a point.
fn stored(app: &App) -> PathBuf {
    let dumps = app.listing("store").into_iter();
    let mut dumps = dumps.filter(|name| name.ends_with(".sql.gz"));
    let path = app.path("store").join(dumps.next().unwrap());
    assert_eq!(dumps.next(), None);
    path
}

fn tally(bytes: &[u8]) -> Tally {
    let mut tap = TapReader::new(bytes);
    copy(&mut tap, &mut sink()).unwrap();
    tap.finish().1
}

/// The stored dump without the line that ends it, compressed again as it should be; and bare.
fn without_completion(path: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut sql = Vec::new();
    let stored = std::fs::read(path).unwrap();
    let mut opened = open(&stored[..], "gzip", None, None).unwrap();
    opened.read_to_end(&mut sql).unwrap();
    let line = b"\n-- Dump completed";
    let end = sql.windows(line.len()).rposition(|w| w == line).unwrap();
    sql.truncate(end + 1);
    let sealing = Sealing {
        compress: Compress::default(),
        recipients: None,
        signer: None,
    };
    let mut sealer = Sealer::new(&sealing, Vec::new()).unwrap();
    sealer.write_all(&sql).unwrap();
    (sealer.finish().unwrap(), sql)
}

#[test]
fn a_dump_that_is_not_whole() {
    let server = MariadbServer::start();
    let mut app = application(&server, "mariadb", SCHEMA);
    let point = app.backup();
    let targets = Targets::new(&server, &mut app);
    let path = stored(&app);
    let whole = std::fs::read(&path).unwrap();

    // Cut in the middle; and cut where only the last line is lacking.
    let (made_again, sql) = without_completion(&path);
    for bytes in [&whole[..whole.len() / 2], &made_again] {
        std::fs::write(&path, bytes).unwrap();
        for refusal in targets.refuse(&app, 4, "object-damaged") {
            refusal.names(&[".sql.gz", "damaged"]).advises(&["copy"]);
        }
        must_fail(&app, &point, &["damaged"]);
        app.exits(4, &["verify"]);
    }

    // As if it had been captured like this: every hash is right, and every signature.
    let mut held = Held::read(&app, "disk", &point);
    let artifact = &mut held.copy.manifest.artifacts[0];
    let (stored, bare) = (tally(&made_again), tally(&sql));
    (artifact.bytes, artifact.sha256) = (stored.bytes, stored.sha256);
    let artifact = &mut held.details.artifacts[0];
    (artifact.bytes, artifact.sha256) = (bare.bytes, bare.sha256);
    held.commit();
    app.forget_state_but_key();
    // Only the instructions still have the hashes of before.
    app.exits(4, &["verify"])
        .says(&["3 of 3 objects intact", "crm/test.md: damaged"]);
    for refusal in targets.refuse(&app, 4, "not-proved") {
        refusal
            .names(&["the dump is truncated"])
            .advises(&["another point"]);
    }
    must_fail(&app, &point, &["the dump is truncated"]);
}

#[test]
fn a_client_that_is_not_installed() {
    let server = MariadbServer::start();
    let mut app = application(&server, "mariadb", SCHEMA);
    let point = app.backup();
    let targets = Targets::new(&server, &mut app);
    let install = "apt-get install mariadb-client";
    // The server of a drill stays where it is, and what it begins with was made before.
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    std::fs::create_dir(app.path("few")).unwrap();
    for program in ["cp", "chown"] {
        let link = app.path("few").join(program);
        std::os::unix::fs::symlink(Path::new("/bin").join(program), link).unwrap();
    }
    app.env("PATH", app.path("few").display().to_string());
    for refusal in targets.refuse(&app, 1, "tool-missing") {
        refusal.names(&["mariadb"]).advises(&[install]);
    }
    app.refuses(1, "tool-missing", &["backup"])
        .names(&["mariadb"])
        .advises(&[install]);
    assert_eq!(app.points(), [point]);
    let drill = app.exits(4, &["--json", "drill"]);
    let report = drill.json();
    assert_eq!(report["outcome"], "unverifiable", "{report:#}");
    let found = found(&report);
    assert!(found.contains("mariadb is not installed"), "{report:#}");
    drill.says(&[install]);
    app.exits(1, &["doctor"]).says(&[install]);
}

#[test]
fn a_row_that_is_longer_than_the_target_takes() {
    let server = MariadbServer::start();
    let schema = format!(
        "{SCHEMA}\nALTER TABLE client ADD COLUMN note LONGTEXT; UPDATE client SET note = REPEAT('n', 3000000) WHERE id = 2;"
    );
    let mut app = application(&server, "mariadb", &schema);
    app.backup();
    let targets = Targets::new(&server, &mut app);
    server.sql("", "SET GLOBAL max_allowed_packet = 1048576");
    for refusal in targets.refuse(&app, 1, "target") {
        refusal.advises(&["max_allowed_packet"]);
        assert!(!format!("{refusal:?}").contains("nnnn"), "{refusal:?}");
    }
    // It is captured all the same, with a warning, and proved where it can be restored.
    app.exits(0, &["backup"])
        .says(&["table client", "max_allowed_packet"]);
    let report = app.json(&["drill"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    server.sql(
        "",
        "SET GLOBAL max_allowed_packet = 1073741824;
         DROP DATABASE elsewhere; CREATE DATABASE elsewhere CHARACTER SET latin1",
    );
    let report = app.json(TO);
    assert_eq!(report["outcome"], "verified", "{report:#}");
}

#[test]
fn a_character_set_that_the_target_does_not_know() {
    let mysql = MysqlServer::start();
    let mut app = application(
        &mysql,
        "mysql",
        "CREATE TABLE before_it (a INT); CREATE TABLE client (name VARCHAR(9)) CHARACTER SET gb18030; INSERT INTO client VALUES ('one')",
    );
    app.backup();
    let server = MariadbServer::start();
    server.sql("", "CREATE DATABASE crm; CREATE TABLE crm.client (a INT)");
    let targets = Targets::new(&server, &mut app);
    app.env("CRM_URL", server.url("crm"));
    app.env("PATH", std::env::var("PATH").unwrap());
    let refused = targets.refuse(&app, 1, "tool-missing");
    for refusal in refused {
        refusal
            .because(&["gb18030"])
            .advises(&["server of the kind and version that was captured"]);
    }
}
