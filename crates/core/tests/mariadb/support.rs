//! Helpers that the tests share.

pub use crate::server::Server;
use lifeboat_core::config::{PlaceConfig, ServerConfig};
use lifeboat_core::finding::Finding;
use lifeboat_core::fingerprint::{
    Difference, Fingerprint, Inventory, Proof, Scope, TablesFingerprint, compare,
};
use lifeboat_core::observe::Reporter;
use lifeboat_core::secret::{Reference, Scrubber};
use lifeboat_core::source::mariadb::{
    Connection, Flavor, MariadbSource, defaults, observe, restore_dump,
};
use lifeboat_core::source::{CaptureContext, Captured, Onto, RestoreOptions, Source};
use lifeboat_core::span::Span;
use std::collections::BTreeMap;
use std::io::Write;

pub fn source_with(url: &str, lock_timeout_seconds: u64) -> MariadbSource {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    std::fs::write(&file, url).unwrap();
    let config = ServerConfig {
        url: Some(Reference::File(file.display().to_string())),
        lock_timeout: Span {
            seconds: lock_timeout_seconds,
        },
        ..config()
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
        render: &|template| Ok(template.to_owned()),
        scratch: scratch.path(),
        scrubber: &Scrubber::default(),
        reporter: &Reporter::silent(),
        queries: &queries,
    };
    source.capture("dump", output, &context)
}

pub fn examine(source: &MariadbSource) -> Vec<Finding> {
    let scratch = tempfile::tempdir().unwrap();
    let context = CaptureContext {
        render: &|template| Ok(template.to_owned()),
        scratch: scratch.path(),
        scrubber: &Scrubber::default(),
        reporter: &Reporter::silent(),
        queries: &[],
    };
    source.examine("source.db", &context)
}

pub fn root(server: &Server, database: &str) -> String {
    server.url("root", "", database)
}

pub fn capture(server: &Server, database: &str) -> (Captured, Vec<u8>) {
    capture_of(server, &server.connection(database), &[])
}

/// Captures a database of any name; in a URL, the name would have to be encoded.
pub fn capture_of(
    server: &Server,
    connection: &Connection,
    queries: &[&str],
) -> (Captured, Vec<u8>) {
    let mut bytes = Vec::new();
    let config = ServerConfig {
        socket: Some(server.socket()),
        user: Some("root".into()),
        database: connection.database().map(str::to_owned),
        ..config()
    };
    let source = MariadbSource::new(&config, connection.flavor()).unwrap();
    let captured = capture_into(&source, &mut bytes, queries).unwrap();
    (captured, bytes)
}

fn config() -> ServerConfig {
    ServerConfig {
        url: None,
        host: None,
        port: None,
        socket: None,
        user: None,
        password: None,
        database: None,
        lock_timeout: Span { seconds: 60 },
        least: Default::default(),
        place: PlaceConfig::default(),
    }
}

/// Restores a dump into a new database, as a person would by hand.
pub fn restore(server: &Server, database: &str, captured: &Captured, dump: &[u8]) {
    let defaults = defaults(proof(captured)).unwrap();
    let sql = format!("CREATE DATABASE `{database}`{}", defaults.clauses());
    server.sql("", &sql);
    server.sql(database, std::str::from_utf8(dump).unwrap());
}

/// Restores a dump into a new database, as the program does.
pub fn bring_back(server: &Server, database: &str, dump: &[u8]) -> lifeboat_core::Result<()> {
    server.sql("", &format!("CREATE DATABASE `{database}`"));
    let options = RestoreOptions {
        onto: Onto::Scratch,
        captured: None,
    };
    let target = server.connection(database);
    restore_dump(&mut &dump[..], &target, &options, &Scrubber::default()).map(drop)
}

/// Restores a dump into a database `restored` as the program does, and asserts that it equals the
/// capture.
pub fn comes_back(server: &Server, captured: &Captured, dump: &[u8]) {
    bring_back(server, "restored", dump).unwrap();
    let restored = observed(server, "restored", captured);
    assert_eq!(differences(proof(captured), &restored), []);
}

pub fn proof(captured: &Captured) -> &Proof {
    captured.proof.as_ref().unwrap()
}

pub fn observed(server: &Server, database: &str, captured: &Captured) -> Proof {
    let connection = server.connection(database);
    observe(
        &connection,
        proof(captured),
        &Scrubber::default(),
        &Reporter::silent(),
    )
    .unwrap()
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
    compare(captured, restored, Scope::ALL)
}

/// A writer that does something once a given number of bytes went through.
pub struct After<F: FnMut()> {
    pub left: usize,
    pub act: Option<F>,
}

impl<F: FnMut()> Write for After<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.left = self.left.saturating_sub(bytes.len());
        if self.left == 0
            && let Some(mut act) = self.act.take()
        {
            act();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A database `d` whose dump is long, with a table `a_big` that comes first and others that come
/// after it.
pub const LONG: &str = "CREATE DATABASE d; USE d; CREATE TABLE a (a INT);
    CREATE TABLE a_big AS SELECT seq, REPEAT(MD5(seq), 20) AS t FROM seq_1_to_40000;
    CREATE TABLE z_last (a INT AUTO_INCREMENT PRIMARY KEY, b INT);
    INSERT INTO z_last (b) SELECT seq FROM seq_1_to_1000;
    CREATE TABLE spare (a INT, b INT); INSERT INTO spare VALUES (7, 7);
    CREATE TABLE isam (a INT) ENGINE=MyISAM;
    CREATE VIEW v AS SELECT * FROM z_last;";
