//! What `pg_dump` leaves out is no difference.

use crate::support::*;
use lifeboat_core::fingerprint::{Difference, Proof, Scope, compare, unproven};
use lifeboat_core::observe::Silent;
use lifeboat_core::secret::Scrubber;
use lifeboat_core::source::Captured;
use lifeboat_core::source::postgres::{RestoreOptions, observe, query, restore_dump};
use lifeboat_testkit::mariadb::older_postgres;
use lifeboat_testkit::postgres::PostgresServer;

fn compared(captured: &Captured, restored: &Proof) -> Vec<Difference> {
    let captured = captured.proof.as_ref().unwrap();
    compare(captured, restored, Scope { ownership: true })
}

/// Options of columns, tables and views; comments and operators that outlived what they were of.
const LEFT_OVER: &str = "
    CREATE TABLE client (id integer PRIMARY KEY, name text NOT NULL) WITH (fillfactor = 70);
    INSERT INTO client SELECT i, 'client ' || i FROM generate_series(1, 40) i;
    ALTER TABLE client ALTER COLUMN name SET (n_distinct = -0.5);
    CREATE VIEW checked WITH (check_option = local, security_barrier = true) AS SELECT * FROM client WHERE id > 0;
    CREATE MATERIALIZED VIEW kept WITH (fillfactor = 80) AS SELECT * FROM client;
    CREATE SUBSCRIPTION gone CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false, slot_name = none);
    COMMENT ON SUBSCRIPTION gone IS 'feeds the old warehouse';
    DROP SUBSCRIPTION gone;
    CREATE SUBSCRIPTION there CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false, slot_name = none);
    COMMENT ON SUBSCRIPTION there IS 'feeds the new one';
    CREATE FUNCTION same(boolean, boolean) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 = $2';
    CREATE OPERATOR ==== (FUNCTION = same, LEFTARG = boolean, RIGHTARG = boolean, NEGATOR = !====);
    DROP OPERATOR ==== (boolean, boolean);
    CREATE INDEX broken ON client (name);
    COMMENT ON INDEX broken IS 'made while somebody was impatient';
    UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass;";

#[test]
fn what_the_server_keeps_for_itself_is_no_difference() {
    let server = PostgresServer::start();
    server.create_database("d");
    server.psql("d", LEFT_OVER);
    let (captured, dump) = capture(&server.url("d"));
    // What a materialized view held is gone with a restore, so it is no part of the proof.
    let named =
        "public.kept: a materialized view; its rows are computed anew by a restore, not compared";
    let limits = &tables(captured.proof.as_ref().unwrap()).limits;
    assert!(limits.iter().any(|l| l == named), "{limits:#?}");
    let restored = restore(&captured, &dump, None);
    assert_eq!(compared(&captured, &observed(&restored, &captured)), []);
    let changes = "ALTER TABLE client ALTER COLUMN name RESET (n_distinct);
        ALTER VIEW checked RESET (security_barrier);
        ALTER MATERIALIZED VIEW kept RESET (fillfactor)";
    query(&restored.connection, changes, &Scrubber::default()).unwrap();
    let found = compared(&captured, &observed(&restored, &captured));
    let subjects: Vec<&str> = found.iter().map(|d| d.subject.as_str()).collect();
    let expected = [
        "materialized view public.kept",
        "table public.client",
        "view public.checked",
    ];
    assert_eq!(subjects, expected);
}

#[test]
fn an_option_that_is_not_known_is_a_limit() {
    let server = PostgresServer::start();
    server.create_database("d");
    server.psql(
        "d",
        "CREATE TABLE t (a integer, b integer) WITH (fillfactor = 70);
         UPDATE pg_attribute SET attoptions = '{pg_future=7}' WHERE attrelid = 't'::regclass AND attname = 'a';
         UPDATE pg_class SET reloptions = reloptions || '{row_number=8}' WHERE oid = 't'::regclass",
    );
    let (captured, _) = capture(&server.url("d"));
    let proof = captured.proof.as_ref().unwrap();
    assert_eq!(
        tables(proof).limits,
        [
            "public.t.a: the option pg_future is not known, and not compared",
            "public.t: the option row_number is not known, and not compared"
        ]
    );
    let definition = &inventory(proof).objects["table"]["public.t"];
    assert_eq!(
        definition,
        "plain (a integer, b integer) with fillfactor=70"
    );
}

#[test]
fn patch_releases_restore_each_other() {
    let (older, current) = (
        PostgresServer::start_from(&older_postgres()),
        PostgresServer::start(),
    );
    for (from, to) in [(&older, &current), (&current, &older)] {
        from.create_database("d");
        from.psql(
            "d",
            "CREATE TABLE client (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
               name text NOT NULL DEFAULT 'x', CHECK (name <> ''));
             INSERT INTO client (name) VALUES ('a'), ('b');
             ALTER TABLE client ALTER COLUMN name SET (n_distinct = -0.5);
             CREATE INDEX lower ON client (lower(name));
             CREATE VIEW named AS SELECT * FROM client WHERE id > 0;
             CREATE MATERIALIZED VIEW kept AS SELECT * FROM client;
             CREATE TYPE pair AS (a integer, b text);
             CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER t BEFORE UPDATE ON client FOR EACH ROW EXECUTE FUNCTION touch();
             CREATE TABLE part (a integer NOT NULL) PARTITION BY RANGE (a);
             CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (1) TO (10);
             GRANT SELECT ON client TO PUBLIC",
        );
        let (captured, dump) = capture(&from.url("d"));
        let proof = captured.proof.as_ref().unwrap();
        to.create_database("restored");
        let target = connection(&to.url("restored"));
        let options = RestoreOptions {
            scratch: false,
            captured: Some(proof),
        };
        let scrubber = Scrubber::default();
        restore_dump(&mut &dump[..], &target, &options, &scrubber).unwrap();
        let restored = observe(&target, proof, &scrubber, &Silent).unwrap();
        assert_eq!(compared(&captured, &restored), []);
        assert_eq!(unproven(proof, &restored), Vec::<String>::new());
    }
}
