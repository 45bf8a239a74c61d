//! A source is something that is backed up: a database, a directory tree, a command's output.
//!
//! A capture writes one artifact as a stream, once, and returns the proof of what was in it. It
//! returns `Ok` only when the stream is known to be whole; anything else is an error, and what was
//! written so far is thrown away by the caller.

pub mod bucket;
pub mod command;
pub mod files;
pub mod mariadb;
pub mod postgres;
pub mod sqlite;
mod tee;

use crate::config::SourceKind;
use crate::error::Result;
use crate::finding::Finding;
use crate::fingerprint::Proof;
use crate::name::{Extension, Name};
use crate::observe::Observer;
use crate::secret::Scrubber;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

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
    /// Hears of progress.
    pub observer: &'a dyn Observer,
    /// SQL whose answer is to be kept with the capture, taken at its consistency point
    /// (drill checks that `expect = "same"`).
    pub queries: &'a [String],
}

/// How consistent a captured artifact is in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// One instant: a snapshot or transaction.
    Snapshot,
    /// Each file by itself; the tree over a span of time.
    PerFile,
    /// Whatever the command guarantees.
    Unknown,
}

/// Something a capture left out, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The path or name, with bytes that are not UTF-8 as `\xNN`.
    pub name: String,
    /// Why, in a few words.
    pub reason: String,
    /// Whether this makes the point partial. A socket does not; a file that could not be read does.
    pub partial: bool,
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

/// The absolute paths that a source takes files from, for messages and checks.
pub fn roots(kind: &SourceKind) -> Vec<String> {
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    match kind {
        SourceKind::Files(config) => config
            .paths
            .iter()
            .chain(&config.optional)
            .map(text)
            .collect(),
        SourceKind::Sqlite(config) => vec![text(&config.path)],
        SourceKind::Postgres(_)
        | SourceKind::Mariadb(_)
        | SourceKind::Mysql(_)
        | SourceKind::Bucket(_)
        | SourceKind::Command(_) => Vec::new(),
    }
}
