use super::*;

const TAIL: &str = "-- Dump completed on 2026-11-21 11:31:51\n";

fn read_in(pieces: &[&[u8]]) -> Result<Contents> {
    let orders = ColumnOrders::default();
    let mut reader = Reader::new(&orders);
    for piece in pieces {
        reader.feed(piece)?;
    }
    reader.finish()
}

fn read(text: &str) -> Result<Contents> {
    read_in(&[text.as_bytes()])
}

/// The sum of a table with these rows.
fn rows_of(table: &str, rows: &[&str]) -> String {
    let mut sum = crate::fingerprint::RowSum::new(table);
    rows.iter().for_each(|row| sum.add(row.as_bytes()));
    sum.hex()
}

/// MariaDB 10.11's layout: rows a line each, binlog position, sandbox line, sequences, versions.
const LINES: &str = r#"/*M!999999\- enable the sandbox mode */ 
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
/*!40101 SET NAMES utf8mb4 */;

-- CHANGE MASTER TO MASTER_LOG_FILE='bin.000001', MASTER_LOG_POS=473;

DROP SEQUENCE IF EXISTS `sq`;
CREATE SEQUENCE `sq` start with 5 minvalue 1 ENGINE=InnoDB;
DO SETVAL(`sq`, 2005, 0);
DROP TABLE IF EXISTS `v`;
/*!50001 DROP VIEW IF EXISTS `v`*/;
/*!50001 CREATE VIEW `v` AS SELECT
 NULL AS `id` */;
DROP TABLE IF EXISTS `we.ird ``tab le`;
CREATE TABLE `we.ird ``tab le` (
  `col.a` int(11) DEFAULT NULL COMMENT 'a;',
  `col``b ä` text DEFAULT NULL
) ENGINE=InnoDB;
LOCK TABLES `we.ird ``tab le` WRITE;
/*!40000 ALTER TABLE `we.ird ``tab le` DISABLE KEYS */;
INSERT INTO `we.ird ``tab le` (`col.a`, `col``b ä`) VALUES (1,'it\'s (a) \\'),
(-2.5e-30,NULL),
(0x00FF,'),\n(');
INSERT INTO `we.ird ``tab le` (`col.a`, `col``b ä`) VALUES (3,'');
/*!40000 ALTER TABLE `we.ird ``tab le` ENABLE KEYS */;
UNLOCK TABLES;
CREATE TABLE `empty` (
  `x` int(11) DEFAULT NULL
) ENGINE=InnoDB;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER tr BEFORE INSERT ON par FOR EACH ROW BEGIN
INSERT INTO `empty` VALUES (1);
DELIMITER ;
CREATE TABLE `in_a_body` (x int);
-- Dump completed
END */;;
DELIMITER ;
INSERT INTO `ver` (`x`, row_start, row_end) VALUES (2,'2026-11-21 11:31:51.683019','2038-01-19 03:14:07.999999'),
(1,'2026-11-21 11:31:51.682838','2026-11-21 11:31:51.683019');
-- SET GLOBAL gtid_slave_pos='0-1-33';
"#;

/// The layout of MySQL and older programs: rows one after another, with or without a list of
/// columns.
const PACKED: &str = r#"-- MySQL dump 10.13  Distrib 9.1.0, for Linux (x86_64)
-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='binlog.000002', SOURCE_LOG_POS=157;
SET @MYSQLDUMP_TEMP_LOG_BIN = @@SESSION.SQL_LOG_BIN;
SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ 'a:1-5,
b:1-3';
CREATE TABLE `t
-- CREATE TABLE 'x` (
  `id` int
) ENGINE=InnoDB;
INSERT INTO `t
-- CREATE TABLE 'x` VALUES (1,'a),(\'b'),(2,_binary '\0''\\'),(3,b'101'),(4,NULL);
INSERT INTO `u` (`a`, `b(`, `VALUES (`) VALUES (1,2,3),(4,5,'
');
"#;

#[test]
fn rows_on_lines() {
    let contents = read(&format!("{LINES}{TAIL}")).unwrap();
    let names: Vec<_> = contents.tables.keys().map(String::as_str).collect();
    assert_eq!(names, ["empty", "ver", "we.ird `tab le"]);
    let weird = &contents.tables["we.ird `tab le"];
    assert_eq!(weird.rows, 4);
    assert_eq!(weird.columns, ["col.a", "col`b ä"]);
    let rows = [
        r"1,'it\'s (a) \\'",
        "-2.5e-30,NULL",
        r"0x00FF,'),\n('",
        "3,''",
    ];
    assert_eq!(weird.hash, rows_of("we.ird `tab le", &rows));
    assert_eq!(contents.tables["empty"].rows, 0);
    assert_eq!(
        contents.tables["ver"].columns,
        ["x", "row_start", "row_end"]
    );
    assert_eq!(contents.binlog.as_deref(), Some("bin.000001:473"));
    assert_eq!(contents.gtid.as_deref(), Some("0-1-33"));
    let (table, bytes) = contents.longest.unwrap();
    let last = LINES.find("INSERT INTO `ver`").unwrap()..LINES.rfind(";\n--").unwrap() + 1;
    assert_eq!((table.as_str(), bytes), ("ver", last.len() as u64));
}

#[test]
fn rows_one_after_another() {
    let contents = read(&format!("{PACKED}{TAIL}")).unwrap();
    let first = &contents.tables["t\n-- CREATE TABLE 'x"];
    let rows = [r"1,'a),(\'b'", r"2,_binary '\0''\\'", "3,b'101'", "4,NULL"];
    assert_eq!(first.hash, rows_of("t\n-- CREATE TABLE 'x", &rows));
    assert_eq!(first.rows, 4);
    let second = &contents.tables["u"];
    assert_eq!(second.columns, ["a", "b(", "VALUES ("]);
    assert_eq!(second.hash, rows_of("u", &["1,2,3", "4,5,'\n'"]));
    assert_eq!(contents.binlog.as_deref(), Some("binlog.000002:157"));
}

#[test]
fn pieces_do_not_matter() {
    for text in [LINES, PACKED] {
        let text = format!("{text}{TAIL}");
        let bytes = text.as_bytes();
        let whole = read(&text).unwrap();
        for at in 0..bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(read_in(&[left, right]).unwrap(), whole, "cut at {at}");
        }
        for size in [1, 2, 3, 7] {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(read_in(&pieces).unwrap(), whole, "pieces of {size}");
        }
    }
}

#[test]
fn batches_and_the_order_of_rows_do_not_matter() {
    let dump = |rows: &str| {
        read(&format!("CREATE TABLE `t` (\n);\n{rows}{TAIL}"))
            .unwrap()
            .tables
    };
    let lines = dump("INSERT INTO `t` VALUES\n(1,'a'),\n(2,'b'),\n(3,'c');\n");
    assert_eq!(
        dump("INSERT INTO `t` VALUES (3,'c'),(1,'a'),(2,'b');\n"),
        lines
    );
    let single = "INSERT INTO `t` VALUES (2,'b');\nINSERT INTO `t` VALUES (1,'a'),\n(3,'c');\n";
    assert_eq!(dump(single), lines);
    assert_ne!(
        dump("INSERT INTO `t` VALUES (3,'c'),(1,'a'),(2,'B');\n"),
        lines
    );
}

#[test]
fn a_dump_without_its_end_is_refused() {
    let whole = format!("{LINES}{TAIL}");
    let end = whole.len() - TAIL.len() + "-- Dump completed".len();
    for cut in 0..whole.len() {
        let result = read_in(&[&whole.as_bytes()[..cut]]);
        assert_eq!(result.is_ok(), cut >= end, "cut at {cut}");
        if let Err(error) = result {
            assert_eq!(error.code, Code::SourceFailed);
        }
    }
    assert!(read(&format!("{TAIL}INSERT INTO `t` VALUES (1);\n")).is_err());
    assert!(read(&format!("{TAIL}DROP TABLE `t`;\n")).is_err());
    assert!(read(&format!("{TAIL}\n\n")).is_ok());
}

#[test]
fn what_is_not_understood_is_refused() {
    for text in [
        "INSERT INTO `t` SELECT 1;\n",
        // MySQL 9.7 writes such rows for a table with only computed columns.
        "INSERT INTO `c` () VALUES ),)),)));\n",
        "INSERT INTO `t` VALUES (1) ON DUPLICATE KEY UPDATE x=1;\n",
        "INSERT INTO `t` VALUES (1),\n(2\n),(3);\n",
        "INSERT INTO `t` (`a` `b`) VALUES (1);\n",
        "INSERT INTO `t` VALUES (1),\n2),\n",
    ] {
        assert!(read(&format!("{text}{TAIL}")).is_err(), "{text}");
    }
}

#[test]
fn a_captured_column_order_is_kept() {
    let captured = read(&format!(
        "INSERT INTO `t` (`a`, `b`) VALUES (1,'x');\n{TAIL}"
    ))
    .unwrap();
    let columns = vec!["a".to_owned(), "b".to_owned()];
    let orders = ColumnOrders {
        orders: BTreeMap::from([("t".to_owned(), columns)]),
        ..ColumnOrders::default()
    };
    let mut reader = Reader::new(&orders);
    let text = format!("INSERT INTO `t` (`b`, `a`) VALUES ('x',1);\n{TAIL}");
    reader.feed(text.as_bytes()).unwrap();
    assert_eq!(reader.finish().unwrap().tables, captured.tables);
}
