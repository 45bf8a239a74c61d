//! What is captured is restored.

use crate::support::*;
use lifeboat_testkit::postgres::PostgresServer;

#[test]
fn everything_comes_back_and_verifies() {
    let server = server_with_everything();
    let url = server.url("all");
    let (captured, dump) = capture(&url);
    let mut globals = Vec::new();
    capture_into(&source_with(&url, 60), "globals", &mut globals, &[]).unwrap();
    drop(server);

    let fingerprint = tables(captured.proof.as_ref().unwrap());
    assert_eq!(fingerprint.tables["app.duplicates"].rows, 7);
    assert_eq!(fingerprint.tables["app.no_columns"].rows, 2);
    assert_eq!(fingerprint.tables["app.one_text"].rows, 5);
    assert_eq!(fingerprint.tables["app.unlogged"].rows, 20);
    assert_eq!(fingerprint.tables["pg_largeobject"].rows, 3);
    assert_eq!(fingerprint.tables["pg_largeobject"].bytes, 256 + 600_000);
    assert_eq!(fingerprint.tables["\"Odd \"\"Name\"\".x\".日本語"].rows, 1);
    assert!(!fingerprint.tables.contains_key("app.events"));
    for kind in [
        "aggregate",
        "cast",
        "collation",
        "comment",
        "constraint",
        "database",
        "default privilege",
        "event trigger",
        "extension",
        "foreign data wrapper",
        "foreign server",
        "grant",
        "index",
        "large object",
        "materialized view",
        "operator",
        "owner",
        "policy",
        "publication",
        "role",
        "routine",
        "rule",
        "schema",
        "sequence",
        "setting",
        "statistics",
        "table",
        "text search configuration",
        "text search dictionary",
        "trigger",
        "type",
        "view",
    ] {
        assert!(fingerprint.objects.contains_key(kind), "no {kind}");
    }
    assert!(
        fingerprint
            .limits
            .iter()
            .any(|l| l.contains("app.generated.tax"))
    );
    assert!(fingerprint.limits.iter().any(|l| l.contains("app.far")));

    let restored = restore(&captured, &dump, Some(&globals));
    assert_eq!(restored.warnings, Vec::<String>::new());
    let proof = observed(&restored, &captured);
    assert_eq!(
        differences(captured.proof.as_ref().unwrap(), &proof),
        Vec::<String>::new()
    );
    assert_eq!(
        tables(captured.proof.as_ref().unwrap()).objects,
        tables(&proof).objects
    );
}

#[test]
fn an_empty_database_comes_back() {
    let server = PostgresServer::start();
    server.create_database("none");
    let (captured, dump) = capture(&server.url("none"));
    assert!(tables(captured.proof.as_ref().unwrap()).tables.is_empty());
    let restored = restore(&captured, &dump, None);
    assert_eq!(
        differences(
            captured.proof.as_ref().unwrap(),
            &observed(&restored, &captured)
        ),
        Vec::<String>::new()
    );
}

#[test]
fn what_is_lost_or_changed_is_noticed() {
    let server = server_with_everything();
    let (captured, dump) = capture(&server.url("all"));
    let restored = restore(&captured, &dump, None);
    assert_eq!(
        differences(
            captured.proof.as_ref().unwrap(),
            &observed(&restored, &captured)
        ),
        Vec::<String>::new()
    );
    let scrubber = lifeboat_core::secret::Scrubber::default();
    for (change, noticed) in [
        (
            "UPDATE app.duplicates SET b = 'other' WHERE ctid = (SELECT ctid FROM app.duplicates LIMIT 1)",
            "table app.duplicates",
        ),
        (
            "DELETE FROM app.one_text WHERE t IS NULL",
            "table app.one_text",
        ),
        (
            "INSERT INTO app.parent SELECT * FROM ONLY app.parent",
            "table app.parent",
        ),
        ("UPDATE app.child SET c = 4 WHERE c = 3", "table app.child"),
        (
            "SELECT lo_put(70003, 300000, 'x')::text",
            "table pg_largeobject",
        ),
        ("DROP TABLE app.wide", "table app.wide"),
        ("DROP INDEX app.every_brin", "index app.every_brin"),
        (
            "DROP TRIGGER touch_note ON app.child_of_status",
            "trigger app.child_of_status.touch_note",
        ),
        (
            "ALTER TABLE app.status ENABLE TRIGGER disabled_one",
            "trigger app.status.disabled_one",
        ),
        (
            "SELECT setval('app.plain_sequence', 16)::text",
            "sequence app.plain_sequence",
        ),
        ("DROP SEQUENCE app.never_used", "sequence app.never_used"),
        (
            "DROP POLICY own_rows ON app.private",
            "policy app.private.own_rows",
        ),
        (
            "ALTER TABLE app.private DISABLE ROW LEVEL SECURITY",
            "table app.private",
        ),
        (
            "CREATE OR REPLACE FUNCTION app.mood_to_int(app.mood) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1'",
            "routine app.mood_to_int",
        ),
        (
            "REVOKE SELECT ON app.status FROM \"app reader\"",
            "grant relation app.status",
        ),
        (
            "COMMENT ON TABLE app.status IS 'other'",
            "comment table app.status",
        ),
    ] {
        lifeboat_core::source::postgres::query(&restored.connection, change, &scrubber).unwrap();
        let found = differences(
            captured.proof.as_ref().unwrap(),
            &observed(&restored, &captured),
        );
        assert!(
            found.iter().any(|f| f.starts_with(noticed)),
            "{change}: {found:?}"
        );
    }
}

#[test]
fn answers_are_of_the_captures_instant() {
    let server = PostgresServer::start();
    server.create_database("q");
    server.psql("q", "CREATE TABLE t AS SELECT 7 AS a");
    let queries: Vec<String> = [
        "select a from t",
        "select 'x\\y :z'",
        "select no_such_thing",
        "select 1, 2",
        "drop table t",
    ]
    .map(String::from)
    .into();
    let mut bytes = Vec::new();
    let captured = capture_into(
        &source_with(&server.url("q"), 5),
        "dump",
        &mut bytes,
        &queries,
    )
    .unwrap();
    assert_eq!(captured.answers.len(), 2);
    assert_eq!(captured.answers["select a from t"], "7");
    assert_eq!(captured.answers["select 'x\\y :z'"], "x\\y :z");
    assert_eq!(captured.warnings.len(), 3, "{:?}", captured.warnings);
    let identity = captured.identity.as_deref().unwrap_or_default();
    assert!(identity.parse::<u64>().is_ok(), "{identity:?}");
    let position = captured.position.as_deref().unwrap_or_default();
    assert!(position.split_once('/').is_some(), "{position:?}");
    assert_eq!(
        captured.tools["pg_dump"].split('.').next(),
        captured.tools["server"].split('.').next()
    );
}
