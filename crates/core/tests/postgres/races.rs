//! Schema changes while a dump begins: an empty table never counts as complete.

use crate::support::*;
use lifeboat_core::Code;
use lifeboat_testkit::postgres::PostgresServer;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Ends the changes even when an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Captures while `change` runs again and again. Every capture is whole, or an error that names the
/// table. Returns how many were whole.
fn captures_under(change: &str, pause: Duration, lock_timeout_seconds: u64, times: u32) -> u32 {
    let server = PostgresServer::start();
    server.create_database("race");
    server.psql(
        "race",
        "CREATE TABLE victim AS SELECT i, 'row ' || i AS t FROM generate_series(1, 1000) i;
        CREATE TABLE other AS SELECT 1 AS a; CREATE TABLE spare AS SELECT * FROM victim",
    );
    let stop = AtomicBool::new(false);
    let source = source_with(&server.url("race"), lock_timeout_seconds);
    std::thread::scope(|scope| {
        let changer = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                server.psql("race", change);
                std::thread::sleep(pause);
            }
        });
        let stopper = Stop(&stop);
        let mut whole = 0;
        for _ in 0..times {
            let mut bytes = Vec::new();
            match capture_into(&source, "dump", &mut bytes, &[]) {
                Ok(captured) => {
                    assert_eq!(
                        tables(captured.proof.as_ref().unwrap()).tables["public.victim"].rows,
                        1000
                    );
                    whole += 1;
                }
                Err(error) => {
                    assert_eq!(error.code, Code::SourceFailed, "{error:?}");
                    let reasons = ["while the dump began", "schema changed", "stayed locked"];
                    assert!(
                        reasons.iter().any(|r| error.message.contains(r)),
                        "{error:?}"
                    );
                    assert!(
                        bytes.is_empty(),
                        "an attempt that failed handed on {} bytes",
                        bytes.len()
                    );
                }
            }
        }
        drop(stopper);
        changer.join().unwrap();
        whole
    })
}

const TRUNCATE: &str = "BEGIN; TRUNCATE victim; INSERT INTO victim SELECT i, 'new ' || i FROM generate_series(1, 1000) i; COMMIT";

#[test]
fn truncate_in_a_loop_never_gives_an_empty_table() {
    captures_under(TRUNCATE, Duration::ZERO, 1, 6);
}

#[test]
fn truncate_now_and_then_is_retried_until_it_works() {
    assert_eq!(
        captures_under(TRUNCATE, Duration::from_millis(700), 30, 4),
        4
    );
}

#[test]
fn a_rewriting_alter_never_gives_an_empty_table() {
    let alter = "ALTER TABLE victim ALTER i TYPE bigint; ALTER TABLE victim ALTER i TYPE integer";
    captures_under(alter, Duration::from_millis(20), 2, 5);
}

#[test]
fn a_swap_by_renaming_never_gives_the_wrong_table() {
    let swap = "BEGIN; DROP TABLE IF EXISTS old; CREATE TABLE fresh AS SELECT * FROM spare; \
        ALTER TABLE victim RENAME TO old; ALTER TABLE fresh RENAME TO victim; COMMIT";
    captures_under(swap, Duration::from_millis(20), 2, 5);
}

#[test]
fn a_table_that_stays_locked_is_named() {
    let server = PostgresServer::start();
    server.create_database("locked");
    server.psql(
        "locked",
        "CREATE TABLE held (a int); CREATE TABLE free (a int)",
    );
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            server.psql(
                "locked",
                "BEGIN; LOCK held IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(20); COMMIT",
            )
        });
        while server.psql("locked", "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'held'::regclass") != "1" {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut bytes = Vec::new();
        let error = capture_into(
            &source_with(&server.url("locked"), 1),
            "dump",
            &mut bytes,
            &[],
        )
        .unwrap_err();
        assert_eq!(error.code, Code::SourceFailed);
        assert!(error.message.contains("held stayed locked"), "{error:?}");
        assert!(bytes.is_empty());
        server.psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND pid <> pg_backend_pid()");
        let _ = holder.join();
    });
}
