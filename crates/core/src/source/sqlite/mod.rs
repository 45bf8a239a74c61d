//! A SQLite database as a source, and the proof of a restored one.
//!
//! Guarantees: the captured artifact is the database at one instant, opens by itself, and passed
//! `quick_check`. A missing file is an error, never an empty database. Virtual tables are proved
//! only through their shadow tables, and what only an application can order or compute is not
//! proved.

mod descriptor;
#[cfg(test)]
mod tests;

pub use descriptor::OfSqlite;

use super::{ArtifactSpec, CaptureContext, Captured, Live, Source, no_artifact};
use crate::config::SqliteConfig;
use crate::error::{Code, Error, Result};
use crate::finding::{Finding, Severity};
use crate::name::{Extension, Name};
use crate::observe::Reporter;
use crate::point::{Consistency, FileAttributes};
use crate::sqlite as database;
use crate::sqlite::{Spool, ask, assert_library, backup, check, damaged_hint, open_still};
use crate::staging;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The one artifact of a database.
const ARTIFACT: &str = "database";

/// A SQLite database as a source.
#[derive(Debug)]
pub struct SqliteSource {
    path: PathBuf,
}

impl SqliteSource {
    /// Checks the configuration; touches nothing.
    pub fn new(config: SqliteConfig) -> Result<Self> {
        if !config.path.is_absolute() {
            return Err(Error::new(
                Code::Configuration,
                format!(
                    "the database path {} is not absolute",
                    config.path.display()
                ),
            )
            .hint("write it from the root: path = \"/…\""));
        }
        Ok(SqliteSource { path: config.path })
    }

    /// Refuses a path that cannot be a database before a spool is made for it.
    fn check(&self) -> Result<std::fs::Metadata> {
        let path = self.path.display();
        match std::fs::metadata(&self.path) {
            Ok(data) if data.is_file() => Ok(data),
            Ok(_) => Err(
                Error::new(Code::SourceFailed, format!("{path} is not a regular file")).hint(
                    "name the database file itself; a directory is a source of kind \"files\"",
                ),
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::new(
                Code::SourceMissing,
                format!("the database {path} is missing"),
            )
            .hint("correct the source's path, or take the source out of the plan")),
            Err(error) => Err(Error::new(
                Code::SourceDenied,
                format!("the database {path} cannot be reached"),
            )
            .cause(error)
            .hint("run as its owner or as root")),
        }
    }

    fn capture_spool(
        &self,
        spool: &Path,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured> {
        let live_bytes = self.check()?.len();
        context
            .reporter
            .step("copying the database", Some(live_bytes));
        let mut warnings = backup(&self.path, spool)?;
        let failed = |error: rusqlite::Error| database::explain(&self.path, &error);
        let checked = check(spool, "quick_check").map_err(failed)?;
        if let Some(problem) = checked.problem {
            return Err(Error::new(
                Code::SourceFailed,
                format!("the database {} is damaged", self.path.display()),
            )
            .cause(problem)
            .hint(damaged_hint(&self.path)));
        }
        let proof = database::proof(spool, checked.limits).map_err(failed)?;
        let database = open_still(spool).map_err(failed)?;
        let mut answers = BTreeMap::new();
        for sql in context.queries {
            match ask(&database, sql) {
                Ok(answer) => {
                    answers.insert(sql.clone(), answer);
                }
                Err(error) => warnings.push(format!("the query {sql:?} has no answer: {error}")),
            }
        }
        drop(database);
        stream(spool, output, context.reporter)?;
        if live_bytes == 0 {
            let path = self.path.display();
            warnings.push(format!("the database {path} is empty: it holds no table"));
        }
        Ok(Captured {
            proof: Some(proof),
            consistency: Consistency::Snapshot,
            skipped: Vec::new(),
            warnings,
            tools: BTreeMap::from([("sqlite".to_owned(), rusqlite::version().to_owned())]),
            answers,
            identity: None,
            position: None,
            external: None,
        })
    }
}

impl Source for SqliteSource {
    fn live(&self) -> Live {
        Live::File(self.path.clone())
    }

    fn attributes(&self) -> Option<FileAttributes> {
        staging::attributes(&self.path)
    }

    fn artifacts(&self) -> Vec<ArtifactSpec> {
        vec![ArtifactSpec {
            name: Name::own(ARTIFACT),
            extension: Extension::own("sqlite"),
        }]
    }

    fn capture(
        &self,
        artifact: &str,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured> {
        if artifact != ARTIFACT {
            return Err(no_artifact(artifact));
        }
        assert_library()?;
        let spool = Spool::new(context.scratch);
        self.capture_spool(spool.path(), output, context)
    }

    fn examine(&self, subject: &str, _context: &CaptureContext<'_>) -> Vec<Finding> {
        let finding =
            |severity, message: String, hint| Finding::new(subject, severity, message, hint);
        let examined = assert_library()
            .and_then(|()| self.check())
            .and_then(|data| Ok((data.len(), database::examine(&self.path)?)));
        match examined {
            Ok((0, _)) => vec![finding(
                Severity::Warning,
                format!("the database {} is empty", self.path.display()),
                Some("check that this is the file the application writes".into()),
            )],
            Ok((bytes, mode)) => vec![finding(
                Severity::Ok,
                format!(
                    "{} can be read: {bytes} bytes, journal mode {mode}",
                    self.path.display()
                ),
                None,
            )],
            Err(error) => vec![finding(Severity::Error, error.to_string(), error.hint)],
        }
    }
}

/// Copies the spool to `output`.
fn stream(spool: &Path, output: &mut dyn Write, reporter: &Reporter) -> Result<()> {
    let unreadable = |error| Error::io(format!("{} cannot be read", spool.display()), &error);
    let mut file = std::fs::File::open(spool).map_err(unreadable)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        output
            .write_all(buffer.get(..count).unwrap_or_default())
            .map_err(|error| Error::from_io(Code::Io, "the copy cannot be handed on", error))?;
        reporter.advance(count as u64);
    }
    output
        .flush()
        .map_err(|error| Error::from_io(Code::Io, "the copy cannot be handed on", error))
}
