//! What the tests share.

pub use crate::server::Server;
use lifeboat_core::config::{MariadbConfig, Span};
use lifeboat_core::fingerprint::{
    Difference, Fingerprint, Inventory, Proof, Scope, TablesFingerprint, compare,
};
use lifeboat_core::observe::Silent;
use lifeboat_core::secret::{Reference, Scrubber};
use lifeboat_core::source::mariadb::{Flavor, MariadbSource, defaults, observe};
use lifeboat_core::source::{CaptureContext, Captured, Finding, Source};
use std::collections::BTreeMap;
use std::io::Write;

pub fn source_with(url: &str, lock_timeout_seconds: u64) -> MariadbSource {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    std::fs::write(&file, url).unwrap();
    let config = MariadbConfig {
        url: Some(Reference::File(file.display().to_string())),
        host: None,
        port: None,
        socket: None,
        user: None,
        password: None,
        database: None,
        lock_timeout: Span {
            seconds: lock_timeout_seconds,
        },
        via: None,
        ssh: None,
    };
    MariadbSource::new(&config, Flavor::Mariadb).unwrap()
}

pub fn capture_into(
    source: &MariadbSource,
    output: &mut dyn Write,
    queries: &[&str],
) -> lifeboat_core::Result<Captured> {
    let scratch = tempfile::tempdir().unwrap();
    let queries: Vec<String> = queries.iter().map(|sql| (*sql).to_owned()).collect();
    let context = CaptureContext {
        scratch: scratch.path(),
        scrubber: &Scrubber::default(),
        observer: &Silent,
        queries: &queries,
    };
    source.capture("dump", output, &context)
}

pub fn examine(source: &MariadbSource) -> Vec<Finding> {
    let scratch = tempfile::tempdir().unwrap();
    let context = CaptureContext {
        scratch: scratch.path(),
        scrubber: &Scrubber::default(),
        observer: &Silent,
        queries: &[],
    };
    source.examine("source.db", &context)
}

pub fn root(server: &Server, database: &str) -> String {
    server.url("root", "", database)
}

pub fn capture(server: &Server, database: &str) -> (Captured, Vec<u8>) {
    let mut bytes = Vec::new();
    let source = source_with(&root(server, database), 60);
    let captured = capture_into(&source, &mut bytes, &[]).unwrap();
    (captured, bytes)
}

/// Restores a dump into a new database, as a person would by hand.
pub fn restore(server: &Server, database: &str, captured: &Captured, dump: &[u8]) {
    let (set, collation) = defaults(proof(captured)).unwrap();
    let sql = format!("CREATE DATABASE `{database}` CHARACTER SET {set} COLLATE {collation}");
    server.sql("", &sql);
    let text = String::from_utf8_lossy(dump).into_owned();
    server.sql(database, &text);
}

pub fn proof(captured: &Captured) -> &Proof {
    captured.proof.as_ref().unwrap()
}

pub fn observed(server: &Server, database: &str, captured: &Captured) -> Proof {
    let connection = server.connection(database);
    observe(&connection, proof(captured), &Scrubber::default(), &Silent).unwrap()
}

pub fn tables(proof: &Proof) -> &TablesFingerprint {
    match &proof.fingerprint {
        Fingerprint::Tables(tables) => tables,
        other => panic!("{other:?}"),
    }
}

pub fn objects<'a>(proof: &'a Proof, kind: &str) -> &'a BTreeMap<String, String> {
    match &proof.inventory {
        Inventory::Database(inventory) => &inventory.objects[kind],
        other => panic!("{other:?}"),
    }
}

pub fn differences(captured: &Proof, restored: &Proof) -> Vec<Difference> {
    compare(captured, restored, Scope { ownership: true })
}
