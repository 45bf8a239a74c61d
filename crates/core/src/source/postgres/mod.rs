//! One PostgreSQL database, captured with `pg_dump` and proved by its rows and its catalog.
//!
//! Guarantees: a capture is of one instant, whole, and fingerprinted as it passes. A restored
//! server is fingerprinted in the same way, so the two proofs can be compared. Other databases of
//! the server, passwords of roles, rows of foreign tables, and the files of tablespaces are not
//! captured.

pub mod admin;
pub mod archive;
mod capture;
mod connection;
mod descriptor;
mod examine;
mod globals;
mod inventory;
mod name;
mod properties;
mod refusal;
mod restore;
mod rights;
mod rows;
mod scratch;
mod session;
mod stream;
mod tools;

pub use admin::{
    create_database, createdb_options, database_exists, drop_database, swap_databases,
    withdraw_database,
};
pub use connection::Connection;
pub use descriptor::OfPostgres;
pub use globals::{make_missing_roles, restore_globals};
pub use restore::{is_empty, observe, restore_dump, row_counts};
pub use rights::restore_rights;
pub use scratch::{SCRATCH_USER, ScratchPostgres};
pub use session::{Server, query};
pub use tools::Tools;

use crate::config::PostgresConfig;
use crate::error::{Code, Error, Result};
use crate::finding::Finding;
use crate::name::{Extension, Name};
use crate::point::{Consistency, Skipped};
use crate::source::{ArtifactSpec, CaptureContext, Captured, Live, Source, no_artifact};
use capture::Capture;
use std::collections::BTreeMap;
use std::io::Write;

pub(crate) use super::DUMP;
/// The artifact that holds roles and memberships.
pub const GLOBALS: &str = "globals";

/// A PostgreSQL database as a source.
#[derive(Debug)]
pub struct PostgresSource {
    connection: Connection,
    globals: bool,
    lock_timeout_seconds: u64,
}

impl PostgresSource {
    /// Resolves the references of the configuration; nothing is contacted yet.
    pub fn new(config: PostgresConfig) -> Result<Self> {
        Ok(PostgresSource {
            connection: Connection::from_config(&config.server)?,
            globals: config.globals,
            lock_timeout_seconds: config.server.lock_timeout.seconds,
        })
    }

    /// The connection to it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    fn capture_globals(
        &self,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured> {
        let server = Server::ask(&self.connection, context.scrubber)?;
        let tools = Tools::for_server(server.major, self.connection.transport())?;
        let (text, warning) = globals::capture(&self.connection, &tools, context.scrubber)?;
        output
            .write_all(&text)
            .map_err(|error| Error::from_io(Code::Io, "the roles cannot be written", error))?;
        context.reporter.advance(text.len() as u64);
        let skipped = warning.iter().map(|reason| Skipped {
            name: "role settings and tablespaces".into(),
            reason: reason.clone(),
            partial: false,
        });
        Ok(Captured {
            proof: None,
            consistency: Consistency::Snapshot,
            skipped: skipped.collect(),
            warnings: warning.into_iter().collect(),
            tools: BTreeMap::from([
                ("pg_dumpall".into(), tools.version("pg_dumpall")?),
                ("server".into(), server.version),
            ]),
            answers: BTreeMap::new(),
            identity: None,
            position: None,
            external: None,
        })
    }
}

impl Source for PostgresSource {
    fn live(&self) -> Live {
        Live::Database(self.connection.clone().into())
    }

    fn artifacts(&self) -> Vec<ArtifactSpec> {
        let spec = |name: &'static str, extension: &'static str| ArtifactSpec {
            name: Name::own(name),
            extension: Extension::own(extension),
        };
        let mut specs = vec![spec(DUMP, "dump")];
        if self.globals {
            specs.push(spec(GLOBALS, "sql"));
        }
        specs
    }

    fn capture(
        &self,
        artifact: &str,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured> {
        match artifact {
            GLOBALS => self.capture_globals(output, context),
            DUMP => {
                let server = Server::ask(&self.connection, context.scrubber)?;
                let tools = Tools::for_server(server.major, self.connection.transport())?;
                Capture {
                    connection: &self.connection,
                    server: &server,
                    tools: &tools,
                    lock_timeout_seconds: self.lock_timeout_seconds,
                    context,
                }
                .run(output)
            }
            other => Err(no_artifact(other)),
        }
    }

    fn examine(&self, subject: &str, context: &CaptureContext<'_>) -> Vec<Finding> {
        examine::examine(&self.connection, subject, context)
    }
}
