//! One MariaDB or MySQL database, captured with its own dump program and restored with its own
//! client.
//!
//! Guarantees: a capture is whole, of one instant if the tables' engines have transactions, and
//! fingerprinted as it passes. A restored server is fingerprinted in the same way, so the two
//! proofs can be compared. Accounts and their privileges, and other databases of the server, are
//! not captured. The limits of the proof name what the dump programs lose.

mod admin;
mod capture;
mod client;
mod connection;
mod descriptor;
mod dump;
mod examine;
mod flavor;
mod grants;
mod inventory;
mod observe;
mod programs;
mod restore;
mod rewrite;
mod rights;
mod rows;
mod scratch;
mod stream;
mod swap;
mod unqualify;
mod url;

pub use crate::fingerprint::EVENT_STATE;
pub use admin::{
    NAME_CHARACTERS_MAX, create_database, database_exists, drop_database, empty_again, is_empty,
};
pub use client::{
    Server, command, error_number, execute, identifier, literal, query, refused, row_counts, rows,
};
pub use connection::Connection;
pub use descriptor::OfMariadb;
pub use flavor::{Flavor, flavor_of, release_of};
pub use inventory::{Defaults, defaults};
pub use observe::observe;
pub use programs::{Program, Tool, ask as ask_program};
pub use restore::{restore_dump, skew};
pub use rights::restore_rights;
pub use scratch::ScratchMariadb;
pub use swap::{Recovered, Swap, is_interrupted, recover, swap_databases, withdraw_database};

use crate::config::ServerConfig;
use crate::error::{Code, Error, Result};
use crate::finding::Finding;
use crate::name::{Extension, Name};
use crate::source::{ArtifactSpec, CaptureContext, Captured, Live, Source, no_artifact};
use capture::Capture;
use std::io::Write;

pub(crate) use super::DUMP;

/// A MariaDB or MySQL database as a source.
#[derive(Debug)]
pub struct MariadbSource {
    connection: Connection,
    lock_timeout_seconds: u64,
}

impl MariadbSource {
    /// Resolves the references of the configuration; nothing is contacted yet.
    pub fn new(config: &ServerConfig, flavor: Flavor) -> Result<Self> {
        let connection = Connection::from_config(config, flavor)?;
        if connection.database().is_none() {
            return Err(Error::new(
                Code::Configuration,
                "the URL of a database names no database",
            )
            .hint("add it after the host: mysql://user:password@host:3306/database"));
        }
        Ok(MariadbSource {
            connection,
            lock_timeout_seconds: config.lock_timeout.seconds,
        })
    }

    /// The connection to it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Source for MariadbSource {
    fn live(&self) -> Live {
        Live::Database(self.connection.clone().into())
    }

    fn artifacts(&self) -> Vec<ArtifactSpec> {
        vec![ArtifactSpec {
            name: Name::own(DUMP),
            extension: Extension::own("sql"),
        }]
    }

    fn capture(
        &self,
        artifact: &str,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured> {
        if artifact != DUMP {
            return Err(no_artifact(artifact));
        }
        let server = Server::ask(&self.connection, context.scrubber)?;
        Capture {
            connection: &self.connection,
            server: &server,
            lock_timeout_seconds: self.lock_timeout_seconds,
            context,
        }
        .run(output)
    }

    fn examine(&self, subject: &str, context: &CaptureContext<'_>) -> Vec<Finding> {
        examine::examine(&self.connection, subject, context)
    }
}
