//! Failures are distinguished, and nothing incomplete counts as whole.

use crate::support::*;
use lifeboat_core::finding::Severity;
use lifeboat_core::{Code, Error};

fn refused(url: &str) -> Error {
    capture_into(&source_with(url, 5), &mut Vec::new(), &[]).unwrap_err()
}

#[test]
fn refusals_are_told_apart() {
    let server = Server::start();
    server.sql("", "CREATE DATABASE d; CREATE USER u@localhost IDENTIFIED BY 'right'; GRANT ALL ON d.* TO u@localhost");
    let wrong = refused(&server.url("u", "wr0ngsecret", "d"));
    assert_eq!(wrong.code, Code::SourceDenied, "{wrong:?}");
    assert!(!format!("{wrong:?}").contains("wr0ngsecret"));
    let missing = refused(&root(&server, "nowhere"));
    assert_eq!(missing.code, Code::SourceMissing, "{missing:?}");
    let unreachable = refused("mysql://u:pw@127.0.0.1:1/d");
    assert_eq!(unreachable.code, Code::SourceUnreachable, "{unreachable:?}");
    for error in [wrong, missing, unreachable] {
        assert!(error.hint.is_some(), "{error:?}");
    }
    server.sql("d", "CREATE VIEW broken AS SELECT 1 AS a; CREATE TABLE t (a INT); CREATE OR REPLACE VIEW broken AS SELECT a FROM t; DROP TABLE t");
    let broken = refused(&root(&server, "d"));
    assert_eq!(broken.code, Code::SourceFailed, "{broken:?}");
    assert!(broken.message.contains("broken"), "{broken:?}");
}

/// Without one of its privileges, an account sees less than there is; that must not make a smaller
/// dump.
#[test]
fn an_account_that_does_not_see_everything_is_refused() {
    let server = Server::start();
    server.sql(
        "",
        "CREATE DATABASE my_d; USE my_d; CREATE TABLE t (a INT); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT * FROM t;
         CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET @a = 1;
         CREATE EVENT ev ON SCHEDULE EVERY 1 DAY DO SET @a = 1; CREATE PROCEDURE pr() SELECT 1;
         CREATE USER u@localhost IDENTIFIED BY 'pw'",
    );
    let needed = [
        ("SELECT", "`my\\_d`.*"),
        ("SHOW VIEW", "`my\\_d`.*"),
        ("TRIGGER", "`my\\_d`.*"),
        ("EVENT", "`my\\_d`.*"),
        ("SELECT", "mysql.proc"),
    ];
    let url = server.url("u", "pw", "my_d");
    for (left_out, (privilege, object)) in needed.iter().enumerate() {
        server.sql("", "DROP USER u@localhost; CREATE USER u@localhost IDENTIFIED BY 'pw'; GRANT SELECT ON my_d.t TO u@localhost");
        for (at, (privilege, object)) in needed.iter().enumerate() {
            if at != left_out {
                server.sql("", &format!("GRANT {privilege} ON {object} TO u@localhost"));
            }
        }
        let error = refused(&url);
        assert_eq!(error.code, Code::SourceDenied, "{privilege}: {error:?}");
        let cause = error.cause.clone().unwrap_or_default();
        assert!(
            cause.contains(&format!("GRANT {privilege} ON {object}")),
            "{privilege}: {error:?}"
        );
        let findings = examine(&source_with(&url, 5));
        let told = findings
            .iter()
            .any(|f| f.severity == Severity::Error && f.message.contains(privilege));
        assert!(told, "{privilege}: {findings:?}");
    }
    for (privilege, object) in needed {
        server.sql("", &format!("GRANT {privilege} ON {object} TO u@localhost"));
    }
    let captured = capture_into(&source_with(&url, 5), &mut Vec::new(), &[]).unwrap();
    for (kind, count) in [("trigger", 1), ("event", 1), ("routine", 1), ("view", 1)] {
        assert_eq!(objects(proof(&captured), kind).len(), count, "{kind}");
    }

    // All of the database, but not the bodies of others' routines, which 11.3 made a right of its own.
    server.sql("", "DROP USER u@localhost; CREATE USER u@localhost IDENTIFIED BY 'pw'; GRANT ALL ON my_d.* TO u@localhost; \
        /*M!110300 REVOKE SHOW CREATE ROUTINE ON my_d.* FROM u@localhost */;");
    let error = refused(&url);
    assert_eq!(error.code, Code::SourceDenied, "{error:?}");
    assert!(error.message.contains("PROCEDURE pr"), "{error:?}");
    server.sql("my_d", "DROP PROCEDURE pr");
    capture_into(&source_with(&url, 5), &mut Vec::new(), &[]).unwrap();

    // Through a role.
    server.sql("", "DROP USER u@localhost; CREATE USER u@localhost IDENTIFIED BY 'pw'; CREATE ROLE keeper;
        GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO keeper; GRANT keeper TO u@localhost; SET DEFAULT ROLE keeper FOR u@localhost");
    capture_into(&source_with(&url, 5), &mut Vec::new(), &[]).unwrap();
}

#[test]
fn a_dump_program_that_is_killed_makes_no_dump() {
    let server = Server::start();
    server.sql("", LONG);
    server.sql(
        "",
        "CREATE USER u@localhost IDENTIFIED BY 'hunter2'; GRANT ALL ON *.* TO u@localhost",
    );
    let socket = server.socket().display().to_string();
    let mut output = After {
        left: 1 << 20,
        act: Some(|| {
            let mut killed = 0;
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let arguments = String::from_utf8_lossy(&arguments);
                if arguments.starts_with("mariadb-dump\0") && arguments.contains(&socket) {
                    assert!(!arguments.contains("hunter2"), "{arguments}");
                    let pid = entry.file_name().into_string().unwrap();
                    let status = std::process::Command::new("kill")
                        .args(["-9", &pid])
                        .status();
                    assert!(status.unwrap().success());
                    killed += 1;
                }
            }
            assert_eq!(killed, 1);
        }),
    };
    let source = source_with(&server.url("u", "hunter2", "d"), 5);
    let error = capture_into(&source, &mut output, &[]).unwrap_err();
    assert_eq!(error.code, Code::SourceFailed, "{error:?}");
    assert!(error.message.contains("did not end well"), "{error:?}");
}

#[test]
fn a_server_that_dies_midway_gives_no_dump() {
    let mut server = Server::start();
    server.sql("", LONG);
    let source = source_with(&root(&server, "d"), 5);
    let mut output = After {
        left: 1 << 20,
        act: Some(|| server.kill()),
    };
    let error = capture_into(&source, &mut output, &[]).unwrap_err();
    assert_eq!(error.code, Code::SourceFailed, "{error:?}");
    assert!(error.message.contains("did not end well"), "{error:?}");
    assert!(error.cause.unwrap().contains("2013"));
}

#[test]
fn the_doctor_tells_what_a_backup_would_meet() {
    let server = Server::start_with(&["--log-bin=binlog", "--server-id=1"]);
    server.sql(
        "",
        "CREATE DATABASE d; USE d; CREATE TABLE isam (f FLOAT) ENGINE=MyISAM;
         CREATE DEFINER=ghost@nowhere VIEW v AS SELECT 1 AS a; CREATE TABLE t (a INT); CREATE VIEW w AS SELECT f FROM isam; CREATE VIEW checked AS SELECT * FROM w WITH CHECK OPTION; CREATE VIEW broken AS SELECT a FROM t; DROP TABLE t;
         CREATE USER u@localhost IDENTIFIED BY 'pw'; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO u@localhost",
    );
    let findings = examine(&source_with(&server.url("u", "pw", "d"), 5));
    let has = |severity, text: &str| {
        let found = findings
            .iter()
            .any(|f| f.severity == severity && f.message.contains(text));
        assert!(found, "{text}: {findings:#?}");
    };
    has(Severity::Warning, "isam (MyISAM)");
    has(Severity::Warning, "isam.f: FLOAT");
    has(Severity::Warning, "ghost@nowhere");
    has(Severity::Warning, "BINLOG MONITOR");
    has(Severity::Warning, "view checked has a CHECK OPTION");
    has(Severity::Error, "broken");
    has(Severity::Ok, "MariaDB 1");
    let findings = examine(&source_with("mysql://u:pw@127.0.0.1:1/d", 5));
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Error);
}
