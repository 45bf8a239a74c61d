//! What one release captured is restored on another.

use crate::support::*;
use lifeboat_core::fingerprint::unproven;
use lifeboat_testkit::mariadb::older_mariadb;

const SCHEMA: &str = "CREATE DATABASE d; USE d;
    CREATE TABLE client (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) CHARACTER SET utf8mb3,
      born DATE, seen DATETIME(3), spent DECIMAL(9,2) DEFAULT 0, packed VARCHAR(40) COMPRESSED,
      KEY by_name (name), CHECK (spent >= 0));
    INSERT INTO client (name, seen) VALUES ('a', NOW(3)), ('b', NULL);
    CREATE TABLE invoice (id INT PRIMARY KEY, client INT, FOREIGN KEY (client) REFERENCES client (id))
      PAGE_CHECKSUM=1 ROW_FORMAT=COMPRESSED;
    CREATE VIEW names AS SELECT name FROM client WHERE spent > 0;
    CREATE TRIGGER t BEFORE INSERT ON client FOR EACH ROW SET NEW.spent = 1;
    CREATE FUNCTION one() RETURNS INT DETERMINISTIC RETURN 1;
    CREATE SEQUENCE s; CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1";

#[test]
fn patch_releases_restore_each_other() {
    let older = older_mariadb();
    let (older, newer) = (
        Server::start_program(older.to_str().unwrap(), &[]),
        Server::start(),
    );
    for (from, to) in [(&older, &newer), (&newer, &older)] {
        from.sql("", SCHEMA);
        let (captured, dump) = capture(from, "d");
        restore(to, "restored", &captured, &dump);
        let restored = observed(to, "restored", &captured);
        assert_eq!(differences(proof(&captured), &restored), []);
        assert_eq!(unproven(proof(&captured), &restored), Vec::<String>::new());
    }
}

#[test]
fn the_format_of_columns_on_disk_is_no_difference() {
    let server = Server::start();
    server.sql(
        "",
        "SET GLOBAL mysql56_temporal_format = OFF; CREATE DATABASE d; USE d;
         CREATE TABLE t (a DATETIME(3), b TIME, c TIMESTAMP NULL);
         INSERT INTO t VALUES ('2020-01-02 03:04:05.678', '01:02:03', '2021-01-02 03:04:05');
         SET GLOBAL mysql56_temporal_format = ON",
    );
    let said = server.sql("d", "SHOW CREATE TABLE t");
    assert!(said.contains("mariadb-5.3"), "{said}");
    let (captured, dump) = capture(&server, "d");
    restore(&server, "restored", &captured, &dump);
    let restored = observed(&server, "restored", &captured);
    assert_eq!(differences(proof(&captured), &restored), []);
    server.sql("restored", "ALTER TABLE t MODIFY a DATETIME(2)");
    let restored = observed(&server, "restored", &captured);
    assert_ne!(differences(proof(&captured), &restored), []);
}

/// The catalog describes some objects differently when they are first created and after a restore.
#[test]
fn what_the_catalog_says_in_two_ways_is_no_difference() {
    let server = Server::start();
    server.sql(
        "",
        &"CREATE DATABASE d; USE d;
         CREATE TABLE sizes AS SELECT TABLE_NAME, TABLE_ROWS, TABLE_COMMENT, CREATE_TIME FROM information_schema.TABLES LIMIT 2;
         CREATE TABLE a (n INT); CREATE TABLE b (n INT);
         CREATE VIEW listed AS SELECT a.n, q.most FROM a, (SELECT MAX(n) AS most FROM b) q, b o WHERE a.n = o.n;
         CREATE VIEW named AS WITH w AS (SELECT 1 AS one) SELECT one, b.n FROM w, b;
         CREATE VIEW within AS SELECT n FROM a WHERE n IN (SELECT b.n FROM b, (SELECT 2 AS two) t);
         CREATE VIEW joined AS SELECT a.n, '{long}' AS t FROM (a LEFT JOIN b ON a.n = b.n), (SELECT 3 AS three) t;
         CREATE TABLE counted (id INT AUTO_INCREMENT NULL, a VARCHAR(9) DEFAULT 'NULL', KEY (id))"
            .replace("{long}", &"long ".repeat(200)),
    );
    let (captured, dump) = capture(&server, "d");
    restore(&server, "restored", &captured, &dump);
    let restored = observed(&server, "restored", &captured);
    assert_eq!(differences(proof(&captured), &restored), []);
    server.sql(
        "restored",
        "ALTER TABLE sizes MODIFY TABLE_ROWS BIGINT UNSIGNED DEFAULT 7;
         ALTER TABLE counted MODIFY a VARCHAR(9);
         CREATE OR REPLACE VIEW named AS WITH w AS (SELECT 1 AS one) SELECT one, b.n FROM b, w",
    );
    let restored = observed(&server, "restored", &captured);
    let found = differences(proof(&captured), &restored);
    let subjects: Vec<_> = found.iter().map(|d| d.subject.as_str()).collect();
    assert_eq!(
        subjects,
        ["column counted.a", "column sizes.TABLE_ROWS", "view named"]
    );
}

/// Objects that a server no longer creates at a restore, or creates in another state. The events
/// are created at a time in the past, as far as the session knows; nothing runs them.
#[test]
fn events_that_ended_since_the_capture_are_a_limit() {
    let server = Server::start();
    server.sql(
        "",
        &format!(
            "CREATE DATABASE d; USE d; CREATE TABLE t (a INT); SET timestamp = 1700000000;
             CREATE EVENT once ON SCHEDULE AT NOW() + INTERVAL 4 SECOND DO INSERT INTO t VALUES (1) /* {} */;
             CREATE EVENT until ON SCHEDULE EVERY 1 DAY ENDS NOW() + INTERVAL 4 SECOND DO DELETE FROM t;
             CREATE EVENT kept ON SCHEDULE AT NOW() + INTERVAL 4 SECOND ON COMPLETION PRESERVE DO DELETE FROM t;
             CREATE EVENT later ON SCHEDULE AT '2035-01-01 00:00:00' DO DELETE FROM t",
            "long ".repeat(200)
        ),
    );
    let (captured, dump) = capture(&server, "d");
    server.sql("", "DROP DATABASE d");
    restore(&server, "d", &captured, &dump);
    let restored = observed(&server, "d", &captured);
    assert_eq!(differences(proof(&captured), &restored), []);
    let limits = unproven(proof(&captured), &restored);
    let begin = |limit: &String| limit.split(':').next().unwrap().to_owned();
    let named: Vec<_> = limits.iter().map(begin).collect();
    assert_eq!(
        named,
        ["event once", "event until", "event kept"],
        "{limits:?}"
    );
    server.sql("d", "DROP EVENT later");
    let restored = observed(&server, "d", &captured);
    let found = differences(proof(&captured), &restored);
    let subjects: Vec<_> = found.iter().map(|d| d.subject.as_str()).collect();
    assert_eq!(subjects, ["event later", "event state later"]);
}

#[test]
fn momentary_values_are_a_limit_and_names_may_have_line_breaks() {
    let server = Server::start();
    server.sql(
        "",
        "CREATE DATABASE d; USE d;
         CREATE TABLE invoice (id INT PRIMARY KEY, due DATE, next BIGINT AS (id + 1) VIRTUAL,
           left_over BIGINT AS (TIMESTAMPDIFF(MICROSECOND, NOW(6), due)) VIRTUAL, who VARCHAR(99) AS (USER()) VIRTUAL);
         INSERT INTO invoice (id, due) VALUES (1, '2030-01-01'), (2, '2031-01-01');
         CREATE TABLE `c\nd` (x INT); INSERT INTO `c\nd` VALUES (1);
         CREATE VIEW `a\nb` AS SELECT * FROM `c\nd`; CREATE SEQUENCE `e\n\nf`",
    );
    let (captured, dump) = capture(&server, "d");
    let limits = tables(proof(&captured)).limits.join("\n");
    for column in ["invoice.left_over: ", "invoice.who: "] {
        assert!(limits.contains(column), "{limits}");
    }
    assert!(!limits.contains("invoice.next"), "{limits}");
    restore(&server, "restored", &captured, &dump);
    let restored = observed(&server, "restored", &captured);
    assert_eq!(differences(proof(&captured), &restored), []);
    server.sql(
        "restored",
        "UPDATE invoice SET due = '2030-01-02' WHERE id = 1",
    );
    let restored = observed(&server, "restored", &captured);
    assert_eq!(differences(proof(&captured), &restored).len(), 1);
}
