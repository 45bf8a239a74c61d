//! A source is something that is backed up: a database, a directory tree, a command's output.
//!
//! A capture writes one artifact as a stream, once, and returns the proof of what was in it. It
//! returns `Ok` only when the stream is known to be whole; anything else is an error, and what was
//! written so far is thrown away by the caller.

pub mod bucket;
pub mod command;
mod database;
mod descriptor;
pub mod files;
mod incoming;
pub mod mariadb;
mod placed;
pub mod postgres;
pub mod sqlite;
mod tee;
mod throwaway;

pub use database::{Database, is_server_url};
pub use descriptor::{Descriptor, StockArtifact, StockSource};
pub use incoming::{Incoming, OpenArtifact};
pub use placed::{Arrived, Limit, Live, Placed, Target};
pub use throwaway::ScratchServers;

use crate::config::{BucketConfig, SourceKind};
use crate::error::Result;
use crate::finding::Finding;
use crate::fingerprint::Proof;
use crate::kind::Kind;
use crate::name::{Extension, Name};
use crate::observe::Reporter;
use crate::point::{Consistency, FileAttributes, Skipped};
use crate::secret::Scrubber;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// One stream that a source makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactSpec {
    /// Its name within the source: `dump`, `globals`, `files`, `database`, `output`.
    pub name: Name,
    /// The file name extension of the bare stream, without a dot: `dump`, `sql`, `tar`, `sqlite`.
    pub extension: Extension,
}

/// What a capture may use.
pub struct CaptureContext<'a> {
    /// A private directory (0700) for spools; empty again after the capture.
    pub scratch: &'a Path,
    /// Removes known secrets from what tools say.
    pub scrubber: &'a Scrubber,
    /// Tells of progress.
    pub reporter: &'a Reporter,
    /// SQL whose answer is to be kept with the capture, taken at its consistency point
    /// (drill checks that `expect = "same"`).
    pub queries: &'a [String],
}

/// What one capture yields beside its stream.
#[derive(Debug, Clone)]
pub struct Captured {
    /// What was there: compared with what a restore brings back. `None` where nothing is known of
    /// the stream but its bytes, which whoever takes it hashes anyway.
    pub proof: Option<Proof>,
    /// How consistent it is in itself.
    pub consistency: Consistency,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// Client and server versions: `pg_dump` → `15.18`.
    pub tools: BTreeMap<String, String>,
    /// Answers to [`CaptureContext::queries`]; only the queries that could be asked.
    pub answers: BTreeMap<String, String>,
    /// Which server it is, where servers tell.
    pub identity: Option<String>,
    /// Where in its log it was captured, where that shows.
    pub position: Option<String>,
}

/// The artifact that holds a database of a server.
pub(crate) const DUMP: &str = "dump";

/// What kind of database a dump is restored into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// One of a throwaway server, on which what the dump needs (roles, accounts) is made.
    Scratch,
    /// One that was made for this restore beside live ones: it becomes in everything what the
    /// captured one was.
    Made,
    /// An empty one that somebody made, who chose its owner and privileges.
    Given,
}

/// How a dump is restored.
#[derive(Debug, Clone, Copy)]
pub struct RestoreOptions<'a> {
    /// What kind of database it is restored into. On a throwaway server, roles and accounts that
    /// the dump needs are made; anywhere else they must be there, and events of MariaDB and MySQL
    /// are put to sleep, for a copy must not do a live database's work.
    pub onto: Onto,
    /// What was captured.
    pub captured: Option<&'a Proof>,
}

/// How a source is captured.
pub enum Shape<'a> {
    /// Each of its artifacts as a stream.
    Streams,
    /// A bucket, in packs that later points name again.
    Packs(&'a BucketConfig),
}

/// What an account lacks for a live restore of its database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreRights {
    /// The account, as SQL names it.
    pub account: String,
    /// Statements that an administrator would run to give it what it lacks, without semicolons.
    pub grants: Vec<String>,
    /// What only an administrator can do, in words; with it, no grants are enough.
    pub limits: Vec<String>,
}

impl RestoreRights {
    /// What would stop a live restore, in a sentence; `None` when nothing would.
    pub fn lack(&self) -> Option<String> {
        let account = &self.account;
        match (self.grants.is_empty(), self.limits.is_empty()) {
            (true, true) => None,
            (_, false) => Some(format!(
                "{account} cannot restore it live: {}",
                self.limits.join("; ")
            )),
            (false, true) => Some(format!("{account} lacks the rights for a live restore")),
        }
    }

    /// What to do about it before a live restore.
    pub fn remedy(&self) -> String {
        let how = match self.limits.is_empty() {
            true => format!(
                "run as an administrator of the database: {}",
                self.grants.join("; ")
            ),
            false => "let the source name an account that can".to_owned(),
        };
        format!("backups and drills do without; for a live restore, {how}")
    }
}

/// Something that is backed up.
pub trait Source: Send + Sync {
    /// The streams it makes, in the order to capture them.
    fn artifacts(&self) -> Vec<ArtifactSpec>;

    /// How it is captured.
    fn shape(&self) -> Shape<'_> {
        Shape::Streams
    }

    /// Where it is live.
    fn live(&self) -> Live;

    /// Mode, owner and group of the live file, where it is one whose artifact does not carry them.
    fn attributes(&self) -> Option<FileAttributes> {
        None
    }

    /// Writes one of them to `output` and returns the proof of what was in it.
    ///
    /// Errors of `output` are returned through [`crate::Error::from_io`], so that a failing store
    /// shows as itself.
    fn capture(
        &self,
        artifact: &str,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured>;

    /// Reaches it without taking anything. `subject` is `source.NAME`.
    fn examine(&self, subject: &str, context: &CaptureContext<'_>) -> Vec<Finding>;
}

/// Opens a source of the configuration. Nothing is reached yet.
pub fn open(kind: &SourceKind) -> Result<Box<dyn Source>> {
    Ok(match kind {
        SourceKind::Files(config) => Box::new(files::FilesSource::new(config.clone())?),
        SourceKind::Sqlite(config) => Box::new(sqlite::SqliteSource::new(config.clone())?),
        SourceKind::Postgres(config) => Box::new(postgres::PostgresSource::new(config.clone())?),
        SourceKind::Mariadb(config) => Box::new(mariadb::MariadbSource::new(
            config,
            mariadb::Flavor::Mariadb,
        )?),
        SourceKind::Mysql(config) => {
            Box::new(mariadb::MariadbSource::new(config, mariadb::Flavor::Mysql)?)
        }
        SourceKind::Bucket(config) => Box::new(bucket::BucketSource::new(config.clone())?),
        SourceKind::Command(config) => Box::new(command::CommandSource::new(config.clone())?),
    })
}

/// Where a source of the configuration is live.
pub fn live(kind: &SourceKind) -> Result<Live> {
    open(kind).map(|source| source.live())
}

/// The live database of a source; `None` when it is no database of a server. References to its
/// credentials are resolved.
pub fn live_database(kind: &SourceKind) -> Option<Result<Database>> {
    match live(kind) {
        Ok(Live::Database(database)) => Some(Ok(database)),
        Ok(Live::Tree { .. } | Live::File(_) | Live::Bucket(_) | Live::Nowhere(_)) => None,
        Err(error) => Some(Err(error)),
    }
}

/// What differs for a kind of source.
pub fn descriptor(kind: Kind) -> &'static dyn Descriptor {
    match kind {
        Kind::Files => &files::OfFiles,
        Kind::Bucket => &bucket::OfBucket,
        Kind::Sqlite => &sqlite::OfSqlite,
        Kind::Postgres => &postgres::OfPostgres,
        Kind::Mariadb => &mariadb::OfMariadb(mariadb::Flavor::Mariadb),
        Kind::Mysql => &mariadb::OfMariadb(mariadb::Flavor::Mysql),
        Kind::Command => &command::OfCommand,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_source_goes_into_which_database() {
        for (kind, url, expected) in [
            (Kind::Postgres, "postgresql://h/d", true),
            (Kind::Postgres, "mysql://h/d", false),
            (Kind::Mariadb, "mysql://h/d", true),
            (Kind::Mysql, "mariadb://h/d", true),
            (Kind::Mysql, "postgres://h/d", false),
            (Kind::Sqlite, "mysql://h/d", false),
            (Kind::Files, "postgres://h/d", false),
        ] {
            assert_eq!(descriptor(kind).takes_url(url), expected, "{kind} {url}");
        }
    }
}
