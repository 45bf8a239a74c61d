//! Observes a restored database as the capture observed the source.

use super::capture::{dumpable_history, proof, was_without_history};
use super::client::Server;
use super::connection::Connection;
use super::dump::ColumnOrders;
use super::inventory::{Catalog, Dictionary};
use super::programs::Tool;
use super::stream::{Dumping, dumps_history};
use crate::error::{Code, Error, Result};
use crate::fingerprint::{Fingerprint, Proof, TableFingerprint};
use crate::observe::Reporter;
use crate::secret::Scrubber;
use std::collections::BTreeMap;
use std::io::sink;

/// How long [`observe`] waits for a lock, in seconds.
const LOCK_SECONDS: u64 = 60;

/// The proof of a restored database: dumped by the same program with the same options, its rows
/// hashed in the captured column orders.
pub fn observe(
    connection: &Connection,
    captured: &Proof,
    scrubber: &Scrubber,
    reporter: &Reporter,
) -> Result<Proof> {
    look(connection, captured, scrubber, reporter).map_err(of_target)
}

fn look(
    connection: &Connection,
    captured: &Proof,
    scrubber: &Scrubber,
    reporter: &Reporter,
) -> Result<Proof> {
    let server = Server::ask(connection, scrubber)?;
    let program = connection.program(Tool::Dump)?;
    let dictionary = Dictionary::ask(connection, scrubber)?;
    let catalog = Catalog::take(connection, &dictionary, scrubber)?;
    let (limits, orders) = match &captured.fingerprint {
        Fingerprint::Tables(tables) => {
            let order =
                |(name, table): (&String, &TableFingerprint)| (name.clone(), table.columns.clone());
            let orders = tables.tables.iter().map(order).collect();
            let omitted = BTreeMap::new();
            (tables.limits.clone(), ColumnOrders { orders, omitted })
        }
        _ => (Vec::new(), ColumnOrders::default()),
    };
    let dumping = Dumping {
        connection,
        server: &server,
        binlog: false,
        history: dumpable_history(&catalog)
            && dumps_history(&program, &server)
            && !was_without_history(&catalog, &limits),
        by_transaction: &catalog.by_transaction,
        lock_timeout_seconds: LOCK_SECONDS,
        scrubber,
    };
    let dumped = dumping.run(&mut sink(), &orders, reporter, &mut || ())?;
    Ok(proof(dumped.contents, catalog.inventory, limits))
}

/// Converts an error of a server that is a target, not a source.
fn of_target(mut error: Error) -> Error {
    if matches!(
        error.code,
        Code::SourceUnreachable
            | Code::SourceDenied
            | Code::SourceMissing
            | Code::SourceChanged
            | Code::SourceFailed
    ) {
        error.code = Code::Target;
    }
    error
}
