//! What `pg_dump` leaves out is not a difference.

use crate::support::*;
use lifeboat_core::fingerprint::{Difference, Proof, Scope, compare, unproven};
use lifeboat_core::observe::Reporter;
use lifeboat_core::secret::Scrubber;
use lifeboat_core::source::postgres::{observe, query, restore_dump};
use lifeboat_core::source::{Captured, Onto, RestoreOptions};
use lifeboat_testkit::mariadb::older_postgres;
use lifeboat_testkit::postgres::PostgresServer;

fn compared(captured: &Captured, restored: &Proof) -> Vec<Difference> {
    let captured = captured.proof.as_ref().unwrap();
    compare(captured, restored, Scope::ALL)
}

/// Options of columns, tables and views; comments and operators that outlived their objects.
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
    CREATE TABLE part (a integer, b integer) PARTITION BY LIST (a);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
    CREATE INDEX outlived ON ONLY part (a);
    DROP TABLE part_1;
    CREATE TABLE member (a integer); INSERT INTO member VALUES (1); ALTER EXTENSION plpgsql ADD TABLE member;
    CREATE TABLE bare (a integer); ALTER EXTENSION plpgsql ADD TABLE bare;
    CREATE TABLE information_schema.\"mis placed\" (a integer);
    CREATE FUNCTION pg_catalog.misplaced(a integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
    CREATE TABLE half (a integer) PARTITION BY LIST (a);
    CREATE TABLE half_1 PARTITION OF half FOR VALUES IN (1);
    CREATE INDEX halved ON ONLY half (a);
    UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass;";

/// Expressions that the server parses differently when it reads back what it wrote, in every place
/// that may hold one. Each one that is not handled adds a difference.
const READ_BACK: &str = "
    CREATE TABLE booking (day integer, room integer, note text, busy boolean,
      PRIMARY KEY (day), CONSTRAINT checked CHECK (day BETWEEN 1 AND 31 AND room > 0),
      CONSTRAINT apart CHECK (day NOT BETWEEN 40 AND 50 OR room = 0),
      CONSTRAINT pair CHECK ((day, room) = (1, 2) AND note = 'x' OR true),
      CONSTRAINT other CHECK ((day, room) IS DISTINCT FROM (7, 8) OR busy),
      doubled boolean GENERATED ALWAYS AS (day BETWEEN 1 AND 5 AND room > 0) STORED);
    INSERT INTO booking VALUES (3, 1, 'first', true), (4, 2, 'second', false);
    ALTER TABLE booking ALTER COLUMN busy SET DEFAULT (length(current_user) BETWEEN 1 AND 5 AND true);
    CREATE INDEX open_ones ON booking (room) WHERE day BETWEEN 1 AND 5 AND NOT busy;
    CREATE STATISTICS stats ON (day BETWEEN 1 AND 5 AND busy), room FROM booking;
    CREATE DOMAIN weekday AS integer CHECK (VALUE BETWEEN 1 AND 7 AND VALUE <> 4);
    CREATE VIEW between_view AS SELECT b.*, day BETWEEN 1 AND 5 AND room > 1 AS it FROM booking b
      WHERE day BETWEEN 1 AND 9 AND busy AND EXISTS (SELECT FROM booking o WHERE o.day BETWEEN 1 AND 5 AND o.room > 0);
    CREATE VIEW unjoined AS SELECT * FROM (SELECT 1 AS a) l NATURAL LEFT JOIN (SELECT 2 AS b) r;
    CREATE MATERIALIZED VIEW between_kept AS SELECT * FROM booking WHERE day BETWEEN 1 AND 5 AND busy;
    CREATE RULE quiet AS ON DELETE TO booking WHERE old.day BETWEEN 1 AND 5 AND old.busy DO INSTEAD NOTHING;
    CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER seen BEFORE UPDATE ON booking FOR EACH ROW
      WHEN (new.day BETWEEN 1 AND 5 AND new.busy) EXECUTE FUNCTION see();
    CREATE POLICY mine ON booking USING (day BETWEEN 1 AND 5 AND busy);
    CREATE FUNCTION atomic(d integer) RETURNS boolean LANGUAGE sql
      BEGIN ATOMIC SELECT d BETWEEN 1 AND 5 AND d <> 3; END;
    CREATE PUBLICATION feed FOR TABLE booking WHERE (day BETWEEN 1 AND 5 AND day <> 3);";

#[test]
fn what_the_server_keeps_for_itself_is_no_difference() {
    let server = PostgresServer::start();
    server.create_database("d");
    server.psql("d", LEFT_OVER);
    server.psql("d", READ_BACK);
    let (captured, dump) = capture(&server.url("d"));
    // What is not part of the proof is named.
    let limits = &tables(captured.proof.as_ref().unwrap()).limits;
    for named in [
        "public.kept: a materialized view; its rows are computed anew by a restore, not compared",
        "public.member: a table of extension plpgsql; its rows are not in the dump, and a restore has those that CREATE EXTENSION makes",
        "information_schema.\"mis placed\": a table in a schema of the server's own; it is not in the dump",
        "pg_catalog.misplaced(a integer): a routine in a schema of the server's own; it is not in the dump",
    ] {
        assert!(limits.iter().any(|l| l == named), "no {named}: {limits:#?}");
    }
    assert!(!limits.iter().any(|l| l.contains("bare")), "{limits:#?}");
    let restored = restore(&captured, &dump, None);
    assert_eq!(compared(&captured, &observed(&restored, &captured)), []);
    let changes = "ALTER TABLE client ALTER COLUMN name RESET (n_distinct);
        ALTER VIEW checked RESET (security_barrier);
        ALTER MATERIALIZED VIEW kept RESET (fillfactor);
        CREATE INDEX half_1_a ON half_1 (a); ALTER INDEX halved ATTACH PARTITION half_1_a;
        ALTER TABLE booking DROP CONSTRAINT apart; ALTER TABLE booking ADD CONSTRAINT apart CHECK (day NOT BETWEEN 40 AND 50 OR room = 1)";
    query(&restored.connection, changes, &Scrubber::default()).unwrap();
    let found = compared(&captured, &observed(&restored, &captured));
    let subjects: Vec<&str> = found.iter().map(|d| d.subject.as_str()).collect();
    let expected = [
        "constraint public.booking.apart",
        "index public.half_1_a",
        "index public.halved",
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
            onto: Onto::Given,
            captured: Some(proof),
        };
        let scrubber = Scrubber::default();
        restore_dump(&mut &dump[..], &target, &options, &scrubber).unwrap();
        let restored = observe(&target, proof, &scrubber, &Reporter::silent()).unwrap();
        assert_eq!(compared(&captured, &restored), []);
        assert_eq!(unproven(proof, &restored), Vec::<String>::new());
    }
}
