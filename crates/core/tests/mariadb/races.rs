//! Schema changes while a dump runs: one table's rows never count as another's.

use crate::support::*;
use lifeboat_core::Code;
use lifeboat_core::source::Captured;
use std::time::Duration;

/// Captures `d`, and changes something while the dump is in the middle of its first table.
fn capture_while(server: &Server, change: &str) -> lifeboat_core::Result<Captured> {
    let mut output = After {
        left: 1 << 20,
        act: Some(|| drop(server.sql("d", change))),
    };
    let captured = capture_into(&source_with(&root(server, "d"), 60), &mut output, &[]);
    assert!(output.act.is_none(), "{change}");
    captured
}

#[test]
fn a_change_of_the_schema_while_the_dump_runs_spoils_it() {
    let server = Server::start();
    server.sql("", LONG);
    for (change, name) in [
        ("ALTER TABLE z_last FORCE", "z_last"),
        (
            "ALTER TABLE z_last ADD COLUMN c INT DEFAULT 5, ALGORITHM=INSTANT",
            "z_last",
        ),
        // The snapshot of one name shows the rows of another table, without an error.
        (
            "RENAME TABLE z_last TO old, spare TO z_last, old TO spare",
            "z_last",
        ),
        ("TRUNCATE TABLE z_last", "z_last"),
        ("DROP TABLE spare", "spare"),
        ("CREATE TABLE fresh (a INT)", "fresh"),
        (
            "CREATE TRIGGER tr BEFORE INSERT ON z_last FOR EACH ROW SET @a = 1",
            "trigger z_last.tr",
        ),
        ("CREATE OR REPLACE VIEW v AS SELECT a FROM z_last", "v.a"),
        // A table that was dumped before counts too: it is not known which of the two it was. It is
        // named as a table or, if the change fell into one second, by its definition.
        ("ALTER TABLE a COMMENT 'x'", " a"),
    ] {
        let error = capture_while(&server, change).unwrap_err();
        assert_eq!(error.code, Code::SourceChanged, "{change}: {error:?}");
        let cause = error.cause.clone().unwrap_or_default();
        let named = error.message.contains(name) || cause.contains(name);
        assert!(named || change.contains("VIEW"), "{change}: {error:?}");
        assert!(error.hint.is_some());
        server.sql("", &format!("DROP DATABASE d; {LONG}"));
    }
}

#[test]
fn writing_while_the_dump_runs_spoils_nothing() {
    let server = Server::start();
    server.sql("", LONG);
    // Its last write is then certainly not in the second in which the dump begins.
    std::thread::sleep(Duration::from_millis(1100));
    let captured = capture_while(
        &server,
        "INSERT INTO z_last (b) VALUES (1); DELETE FROM spare",
    )
    .unwrap();
    assert_eq!(tables(proof(&captured)).tables["z_last"].rows, 1000);
    assert_eq!(tables(proof(&captured)).tables["spare"].rows, 1);
    assert_eq!(tables(proof(&captured)).limits.len(), 0);
    assert!(captured.warnings.is_empty(), "{:?}", captured.warnings);

    let captured = capture_while(&server, "INSERT INTO isam VALUES (1)").unwrap();
    let warnings = captured.warnings.join("\n");
    assert!(
        warnings.contains("table isam: engine MyISAM") && warnings.contains("written to meanwhile"),
        "{warnings}"
    );
    assert_eq!(tables(proof(&captured)).limits.len(), 1);
}

#[test]
fn a_dump_that_waits_for_a_lock_gives_up() {
    let server = Server::start();
    server.sql("", LONG);
    std::thread::scope(|scope| {
        let holder =
            scope.spawn(|| server.try_sql("d", "LOCK TABLES z_last WRITE; SELECT SLEEP(30)"));
        let sleeping =
            "SELECT id FROM information_schema.processlist WHERE info = 'SELECT SLEEP(30)'";
        let thread = loop {
            match server.sql("", sleeping) {
                none if none.is_empty() => std::thread::sleep(Duration::from_millis(20)),
                thread => break thread,
            }
        };
        let source = source_with(&root(&server, "d"), 1);
        let error = capture_into(&source, &mut std::io::sink(), &[]).unwrap_err();
        server.sql("", &format!("KILL {thread}"));
        holder.join().unwrap();
        assert_eq!(error.code, Code::SourceChanged, "{error:?}");
        assert!(error.message.contains("waited for a lock"), "{error:?}");
        assert!(error.cause.unwrap().contains("z_last"));
    });
}
