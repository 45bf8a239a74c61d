//! Sources: databases, directory trees, buckets and outputs of commands that are backed up.
//!
//! A capture writes one artifact as a stream, once, and returns the proof of its content. It
//! returns `Ok` only if the stream is known to be whole. Anything else is an error, and the caller
//! discards what was written so far.

pub mod bucket;
pub mod command;
mod database;
mod descriptor;
pub mod files;
mod incoming;
pub mod machine;
pub mod mariadb;
mod placed;
pub mod postgres;
#[cfg(test)]
pub(crate) mod simulated;
pub mod sqlite;
mod tee;
mod throwaway;

pub use database::{Database, Ended, is_server_url};
pub use descriptor::{Descriptor, StockArtifact, StockSource};
pub use incoming::{Incoming, OpenArtifact};
pub use placed::{Arrived, Limit, Live, Placed, Target};
pub use throwaway::ScratchServers;

use crate::config::{BucketConfig, SnapshotConfig, SourceKind};
use crate::error::{Code, Error, Result};
use crate::finding::Finding;
use crate::fingerprint::Proof;
use crate::kind::Kind;
use crate::name::{Extension, Name};
use crate::observe::Reporter;
use crate::point::{Consistency, External, FileAttributes, Skipped};
use crate::secret::Scrubber;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// A stream that a source makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactSpec {
    /// Its name within the source: `dump`, `globals`, `files`, `database`, `output`.
    pub name: Name,
    /// The file name extension of the plain stream, without a dot: `dump`, `sql`, `tar`, `sqlite`.
    pub extension: Extension,
}

/// What a capture may use.
pub struct CaptureContext<'a> {
    /// A private directory (0700) for spools; empty again after the capture.
    pub scratch: &'a Path,
    /// Removes known secrets from the output of tools.
    pub scrubber: &'a Scrubber,
    /// Reports progress.
    pub reporter: &'a Reporter,
    /// Makes a name of a template, as keys are made.
    pub render: &'a dyn Fn(&str) -> Result<String>,
    /// Queries whose answers are kept with the capture, as of its instant (for drill checks with
    /// `expect = "same"`).
    pub queries: &'a [String],
}

impl CaptureContext<'_> {
    /// A name from a template: `{app}-backup-{date}`.
    pub(crate) fn named(&self, template: &str) -> Result<String> {
        (self.render)(template)
    }
}

/// The result of a capture besides its stream.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The proof of the content, to be compared with a restore. `None` if nothing is known of the
    /// stream but its bytes, which the receiver hashes anyway.
    pub proof: Option<Proof>,
    /// The consistency of the artifact in itself.
    pub consistency: Consistency,
    /// Entries that were left out.
    pub skipped: Vec<Skipped>,
    /// Warnings for an operator.
    pub warnings: Vec<String>,
    /// Client and server versions: `pg_dump` → `15.18`.
    pub tools: BTreeMap<String, String>,
    /// Answers to [`CaptureContext::queries`]; only the queries that could be asked.
    pub answers: BTreeMap<String, String>,
    /// The identity of the server, if servers have one.
    pub identity: Option<String>,
    /// The position in its log at which it was captured, if it is known.
    pub position: Option<String>,
    /// What somebody else keeps of it, and the stream only refers to.
    pub external: Option<External>,
}

impl Captured {
    /// A stream of which nothing is known but its bytes.
    pub(crate) fn of_bytes() -> Self {
        Captured {
            proof: None,
            consistency: Consistency::Unknown,
            skipped: Vec::new(),
            warnings: Vec::new(),
            tools: BTreeMap::new(),
            answers: BTreeMap::new(),
            identity: None,
            position: None,
            external: None,
        }
    }
}

/// The artifact that holds a database of a server.
pub(crate) const DUMP: &str = "dump";

/// The kind of database a dump is restored into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// A database on a throwaway server, on which the roles and accounts that the dump needs are
    /// created.
    Scratch,
    /// A database created for this restore beside live ones. It takes over all properties of the
    /// captured one.
    Made,
    /// An empty database that somebody created, choosing its owner and privileges.
    Given,
}

/// Options for restoring a dump.
#[derive(Debug, Clone, Copy)]
pub struct RestoreOptions<'a> {
    /// The kind of the target database. On a throwaway server, roles and accounts that the dump
    /// needs are created. Elsewhere they must exist, and events of MariaDB and MySQL are put to
    /// sleep, because a copy must not do a live database's work.
    pub onto: Onto,
    /// The proof from the capture.
    pub captured: Option<&'a Proof>,
}

/// The way a source is captured.
pub enum Shape<'a> {
    /// Each of its artifacts as a stream.
    Streams,
    /// A bucket, in packs that later points name again.
    Packs(&'a BucketConfig),
}

/// The rights that an account lacks for a live restore of its database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreRights {
    /// The account, as SQL names it.
    pub account: String,
    /// Statements, without semicolons, with which an administrator grants what it lacks.
    pub grants: Vec<String>,
    /// What only an administrator can do, in words. If there is any, grants are not enough.
    pub limits: Vec<String>,
}

impl RestoreRights {
    /// A sentence about what would stop a live restore; `None` if nothing would.
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

    /// The remedy, to be applied before a live restore.
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
    /// The streams it makes, in the order of their capture.
    fn artifacts(&self) -> Vec<ArtifactSpec>;

    /// The way it is captured.
    fn shape(&self) -> Shape<'_> {
        Shape::Streams
    }

    /// Its live place.
    fn live(&self) -> Live;

    /// Mode, owner and group of the live file, if the source is a file whose artifact does not
    /// carry them.
    fn attributes(&self) -> Option<FileAttributes> {
        None
    }

    /// Writes an artifact to `output` and returns the proof of its content.
    ///
    /// Errors of `output` are returned through [`crate::Error::from_io`], so that an error of a
    /// store is returned as it is.
    fn capture(
        &self,
        artifact: &str,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured>;

    /// Contacts it without capturing anything. `subject` is `source.NAME`.
    fn examine(&self, subject: &str, context: &CaptureContext<'_>) -> Vec<Finding>;
}

/// Opens a source of the configuration. Nothing is contacted yet.
pub fn open(kind: &SourceKind) -> Result<Box<dyn Source>> {
    #[cfg(test)]
    if let Some(source) = simulated::at(kind) {
        return Ok(source);
    }
    let machine = |provider, snapshots: &SnapshotConfig| {
        Box::new(machine::MachineSource::new(provider, snapshots.clone()))
    };
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
        SourceKind::Lightsail(config) => machine(
            Box::new(machine::Instance::new(config.clone())),
            &config.snapshots,
        ),
        SourceKind::Ec2(config) => machine(
            Box::new(machine::Ec2Instance::new(config.clone())),
            &config.snapshots,
        ),
        SourceKind::External(config) => machine(
            Box::new(machine::Commands::new(config.clone())),
            &config.snapshots,
        ),
    })
}

/// Refuses to capture an artifact that is none of [`Source::artifacts`].
fn no_artifact(artifact: &str) -> Error {
    let message = format!("this source has no artifact {artifact:?}");
    Error::new(Code::SourceMissing, message)
}

/// The live place of a source of the configuration.
pub fn live(kind: &SourceKind) -> Result<Live> {
    open(kind).map(|source| source.live())
}

/// The live database of a source; `None` if it is not a database of a server. References to its
/// credentials are resolved.
pub fn live_database(kind: &SourceKind) -> Option<Result<Database>> {
    match kind {
        SourceKind::Postgres(_) | SourceKind::Mariadb(_) | SourceKind::Mysql(_) => {}
        SourceKind::Files(_)
        | SourceKind::Sqlite(_)
        | SourceKind::Bucket(_)
        | SourceKind::Command(_)
        | SourceKind::Lightsail(_)
        | SourceKind::Ec2(_)
        | SourceKind::External(_) => return None,
    }
    match live(kind) {
        Ok(Live::Database(database)) => Some(Ok(database)),
        Ok(Live::Tree { .. } | Live::File(_) | Live::Bucket(_) | Live::Nowhere(_)) => None,
        Err(error) => Some(Err(error)),
    }
}

/// The descriptor of a kind of source.
pub fn descriptor(kind: Kind) -> &'static dyn Descriptor {
    match kind {
        Kind::Files => &files::OfFiles,
        Kind::Bucket => &bucket::OfBucket,
        Kind::Sqlite => &sqlite::OfSqlite,
        Kind::Postgres => &postgres::OfPostgres,
        Kind::Mariadb => &mariadb::OfMariadb(mariadb::Flavor::Mariadb),
        Kind::Mysql => &mariadb::OfMariadb(mariadb::Flavor::Mysql),
        Kind::Command => &command::OfCommand,
        Kind::Lightsail => &machine::OfMachine(Kind::Lightsail),
        Kind::Ec2 => &machine::OfMachine(Kind::Ec2),
        Kind::External => &machine::OfMachine(Kind::External),
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
