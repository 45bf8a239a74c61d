//! What is captured comes back: hard cases, and each kind of loss noticed.

use crate::support::*;

/// One of everything that a database can hold, and a few that it should not.
const ZOO: &str = include_str!("zoo.sql");

fn zoo() -> Server {
    let server = Server::start_with(&["--log-bin=binlog", "--server-id=1"]);
    server.sql("", "CREATE DATABASE zoo CHARACTER SET utf8mb4");
    server.sql("zoo", ZOO);
    server
}

#[test]
fn everything_comes_back_under_another_name() {
    let server = zoo();
    let (captured, dump) = capture(&server, "zoo");
    let fingerprint = tables(proof(&captured));
    assert_eq!(fingerprint.tables.len(), 11);
    restore(&server, "restored", &captured, &dump);
    let restored = observed(&server, "restored", &captured);
    assert_eq!(differences(proof(&captured), &restored), []);
}
