//! Helpers that the tests share.

use lifeboat_core::config::{PlaceConfig, PostgresConfig, ServerConfig};
use lifeboat_core::fingerprint::{
    DatabaseInventory, Fingerprint, Inventory, Proof, TablesFingerprint,
};
use lifeboat_core::observe::Reporter;
use lifeboat_core::secret::{Reference, Scrubber, Secret};
use lifeboat_core::source::postgres::{
    Connection, PostgresSource, ScratchPostgres, create_database, observe, restore_dump,
    restore_globals,
};
use lifeboat_core::source::{CaptureContext, Captured, Onto, RestoreOptions, Source};
use lifeboat_core::span::Span;
use lifeboat_testkit::postgres::PostgresServer;
use std::io::Write;

pub fn connection(url: &str) -> Connection {
    Connection::from_url(&Secret::new(url.as_bytes().to_vec())).unwrap()
}

pub fn source_with(url: &str, lock_timeout_seconds: u64) -> PostgresSource {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    std::fs::write(&file, url).unwrap();
    PostgresSource::new(PostgresConfig {
        server: ServerConfig {
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
            least: Default::default(),
            place: PlaceConfig::default(),
        },
        globals: true,
    })
    .unwrap()
}

pub fn capture_into(
    source: &PostgresSource,
    artifact: &str,
    output: &mut dyn Write,
    queries: &[String],
) -> lifeboat_core::Result<Captured> {
    let scratch = tempfile::tempdir().unwrap();
    let context = CaptureContext {
        render: &|template| Ok(template.to_owned()),
        scratch: scratch.path(),
        scrubber: &Scrubber::default(),
        reporter: &Reporter::silent(),
        queries,
    };
    source.capture(artifact, output, &context)
}

pub fn capture(url: &str) -> (Captured, Vec<u8>) {
    let mut bytes = Vec::new();
    let captured = capture_into(&source_with(url, 60), "dump", &mut bytes, &[]).unwrap();
    (captured, bytes)
}

/// A scratch server with a captured dump restored into it.
pub struct Restored {
    _server: ScratchPostgres,
    pub connection: Connection,
    pub warnings: Vec<String>,
}

pub fn restore(captured: &Captured, dump: &[u8], globals: Option<&[u8]>) -> Restored {
    let server = ScratchPostgres::start(&std::env::temp_dir(), None).unwrap();
    let (admin, connection) = (server.connection("postgres"), server.connection("restored"));
    let scrubber = Scrubber::default();
    let mut warnings = Vec::new();
    if let Some(mut globals) = globals {
        warnings.extend(restore_globals(&mut globals, &admin, true, &scrubber).unwrap());
    }
    create_database(&admin, "restored", captured.proof.as_ref(), &scrubber).unwrap();
    let options = RestoreOptions {
        onto: Onto::Scratch,
        captured: captured.proof.as_ref(),
    };
    warnings.extend(restore_dump(&mut &dump[..], &connection, &options, &scrubber).unwrap());
    Restored {
        _server: server,
        connection,
        warnings,
    }
}

pub fn observed(restored: &Restored, captured: &Captured) -> Proof {
    observe(
        &restored.connection,
        captured.proof.as_ref().unwrap(),
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

pub fn inventory(proof: &Proof) -> &DatabaseInventory {
    match &proof.inventory {
        Inventory::Database(inventory) => inventory,
        other => panic!("{other:?}"),
    }
}

/// All differences of two proofs; sequences are compared by ≥.
pub fn differences(captured: &Proof, restored: &Proof) -> Vec<String> {
    let mut found = Vec::new();
    let (a, b) = (tables(captured), tables(restored));
    for name in a.tables.keys().chain(b.tables.keys()) {
        if a.tables.get(name) != b.tables.get(name) {
            found.push(format!(
                "table {name}: {:?} {:?}",
                a.tables.get(name),
                b.tables.get(name)
            ));
        }
    }
    let (a, b) = (inventory(captured), inventory(restored));
    for kind in a.objects.keys().chain(b.objects.keys()) {
        let (left, right) = (a.objects.get(kind), b.objects.get(kind));
        let (left, right) = (
            left.cloned().unwrap_or_default(),
            right.cloned().unwrap_or_default(),
        );
        for name in left.keys().chain(right.keys()) {
            if left.get(name) != right.get(name) {
                found.push(format!(
                    "{kind} {name}: {:?} {:?}",
                    left.get(name),
                    right.get(name)
                ));
            }
        }
    }
    for (name, value) in &a.sequences {
        if b.sequences.get(name).is_none_or(|other| other < value) {
            found.push(format!(
                "sequence {name}: {value} {:?}",
                b.sequences.get(name)
            ));
        }
    }
    found.dedup();
    found
}

pub fn server_with_everything() -> PostgresServer {
    let server = PostgresServer::start();
    server.create_database("all");
    server.psql("all", lifeboat_testkit::postgres::EVERYTHING);
    server
}
