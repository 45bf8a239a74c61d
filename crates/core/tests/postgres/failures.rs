//! Failures are distinguished, and nothing incomplete counts as whole.

use crate::support::*;
use lifeboat_core::source::postgres::archive;
use lifeboat_core::{Code, Error};
use lifeboat_testkit::postgres::PostgresServer;
use std::io::{self, Write};

fn refused(url: &str) -> Error {
    capture_into(&source_with(url, 5), "dump", &mut Vec::new(), &[]).unwrap_err()
}

#[test]
fn refusals_are_told_apart() {
    let server = PostgresServer::start();
    server.create_database("d");
    server.psql(
        "d",
        "CREATE ROLE weak LOGIN PASSWORD 'weakpass'; CREATE TABLE open_to_all (a int);
         GRANT SELECT ON open_to_all TO weak; CREATE TABLE closed (a int);",
    );
    let wrong = refused(&server.url_as("keeper", "wr0ngsecret", "d"));
    assert_eq!(wrong.code, Code::SourceDenied, "{wrong:?}");
    assert!(!format!("{wrong:?}").contains("wr0ngsecret"));
    let missing = refused(&server.url("nowhere"));
    assert_eq!(missing.code, Code::SourceMissing, "{missing:?}");
    let unreachable = refused("postgres://keeper:pw@127.0.0.1:1/d");
    assert_eq!(unreachable.code, Code::SourceUnreachable, "{unreachable:?}");
    let denied = refused(&server.url_as("weak", "weakpass", "d"));
    assert_eq!(denied.code, Code::SourceDenied, "{denied:?}");
    assert!(denied.message.contains("public.closed"), "{denied:?}");
    for error in [wrong, missing, unreachable, denied] {
        assert!(error.hint.is_some(), "{error:?}");
    }

    server.psql(
        "d",
        "GRANT SELECT ON closed TO weak; CREATE TABLE rows_hidden (a int); GRANT SELECT ON rows_hidden TO weak;
         ALTER TABLE rows_hidden ENABLE ROW LEVEL SECURITY;",
    );
    let hidden = refused(&server.url_as("weak", "weakpass", "d"));
    assert_eq!(hidden.code, Code::SourceDenied, "{hidden:?}");
    assert!(hidden.message.contains("public.rows_hidden"), "{hidden:?}");
    assert!(hidden.hint.unwrap().contains("BYPASSRLS"));

    // An ordinary role can back up what it may see, including roles.
    server.psql("d", "DROP TABLE rows_hidden");
    let url = server.url_as("weak", "weakpass", "d");
    let (captured, _) = capture(&url);
    assert_eq!(tables(captured.proof.as_ref().unwrap()).tables.len(), 2);
    let mut globals = Vec::new();
    capture_into(&source_with(&url, 5), "globals", &mut globals, &[]).unwrap();
    assert!(
        String::from_utf8(globals)
            .unwrap()
            .contains("CREATE ROLE weak")
    );
}

/// A writer that does something once a given number of bytes went through.
struct After<F: FnMut()> {
    left: usize,
    act: Option<F>,
}

impl<F: FnMut()> Write for After<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.saturating_sub(bytes.len());
        if self.left == 0
            && let Some(mut act) = self.act.take()
        {
            act();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn big() -> PostgresServer {
    let server = PostgresServer::start();
    server.create_database("big");
    server.psql("big", "CREATE TABLE b AS SELECT i, repeat(md5(i::text), 20) AS t FROM generate_series(1, 200000) i");
    server
}

#[test]
fn a_pg_dump_that_is_killed_is_no_dump() {
    let server = big();
    let port = server.port().to_string();
    let mut output = After {
        left: 5 << 20,
        act: Some(|| {
            // The pg_dump of this very server, found by its environment.
            let mut killed = 0;
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                let path = entry.path();
                let is_dump = std::fs::read(path.join("comm")).is_ok_and(|c| c == b"pg_dump\n");
                let environ = std::fs::read(path.join("environ")).unwrap_or_default();
                let wanted = format!("PGPORT={port}\0");
                let ours = environ
                    .windows(wanted.len())
                    .any(|part| part == wanted.as_bytes());
                if is_dump && ours {
                    // The password is in the environment, never in the arguments.
                    let arguments = std::fs::read(path.join("cmdline")).unwrap();
                    assert!(!String::from_utf8_lossy(&arguments).contains("pass/word"));
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
    let error = capture_into(
        &source_with(&server.url("big"), 5),
        "dump",
        &mut output,
        &[],
    )
    .unwrap_err();
    assert_eq!(error.code, Code::SourceFailed, "{error:?}");
    assert!(error.message.contains("did not end well"), "{error:?}");
}

#[test]
fn a_server_that_stops_midway_gives_no_dump() {
    let mut server = big();
    let url = server.url("big");
    let mut output = After {
        left: 5 << 20,
        act: Some(|| server.stop()),
    };
    let error = capture_into(&source_with(&url, 5), "dump", &mut output, &[]).unwrap_err();
    assert_eq!(error.code, Code::SourceFailed, "{error:?}");
    assert!(error.cause.is_some());
}

#[test]
fn a_failing_output_shows_as_itself() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(Error::new(Code::Store, "the disk is full").into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let server = PostgresServer::start();
    let error = capture_into(
        &source_with(&server.url("postgres"), 5),
        "dump",
        &mut Full,
        &[],
    )
    .unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::Store, "the disk is full")
    );
}

#[test]
fn damaged_archives_are_refused() {
    let server = server_with_everything();
    let (captured, dump) = capture(&server.url("all"));
    let orders = archive::ColumnOrders::new();
    let whole = archive::read(&dump[..], &orders).unwrap();
    assert_eq!(
        &whole.tables,
        &tables(captured.proof.as_ref().unwrap()).tables
    );
    assert_eq!(whole.bytes, dump.len() as u64);
    // Truncated anywhere, it is not whole.
    let step = dump.len() / 400 + 1;
    for at in (0..dump.len())
        .step_by(step)
        .chain(dump.len() - 40..dump.len())
    {
        let error = archive::read(&dump[..at], &orders).expect_err("a cut archive passed");
        assert_eq!(error.code, Code::SourceFailed);
    }
    let mut longer = dump.clone();
    longer.push(1);
    assert!(archive::read(&longer[..], &orders).is_err());
    // Flipped bytes anywhere cause neither a panic nor unbounded memory.
    let mut seed = 1_u64;
    for _ in 0..300 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut bad = dump.clone();
        let at = (seed >> 33) as usize % bad.len();
        bad[at] ^= (seed >> 8) as u8 | 1;
        let _ = archive::read(&bad[..], &orders);
    }
}
