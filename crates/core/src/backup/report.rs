//! What a backup is asked, what it would do, and what it did.

use crate::error::{Code, Error};
use crate::exit::Exit;
use crate::fingerprint::Fingerprint;
use crate::name::Name;
use crate::point::{Outcome, PointId};
use jiff::Timestamp;
use serde::Serialize;

/// What a backup is asked.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which plan; the only one when absent.
    pub plan: Option<String>,
    /// Why it is taken.
    pub reason: Option<String>,
    /// Whether it is taken before a live restore, of what is to be replaced.
    pub safety: bool,
    /// The time of the plan's schedule that it is taken for.
    pub slot: Option<Timestamp>,
}

/// The steps of a backup; the document of a dry run.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// The plan's name.
    pub plan: String,
    /// What will be done, in order, a line each.
    pub steps: Vec<String>,
}

/// The document of `backup`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this format: 1.
    pub schema: u32,
    /// The point, which is only there when the outcome is not `failed`.
    pub point: PointId,
    /// Of which application.
    pub app: String,
    /// By which plan.
    pub plan: String,
    /// How much of it succeeded.
    pub outcome: Outcome,
    /// Why it was taken.
    pub reason: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// What was captured.
    pub artifacts: Vec<ReportArtifact>,
    /// Stores that hold a whole copy.
    pub stores: Vec<Name>,
    /// Stores that should and do not.
    pub missing_copies: Vec<Name>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// What failed.
    pub errors: Vec<String>,
    /// The first error, when nothing was committed.
    #[serde(rename = "error", skip_serializing_if = "Option::is_none")]
    pub failure: Option<Error>,
}

impl Report {
    /// Returns the error that nothing was committed for, if nothing was.
    pub fn refusal(&self) -> Option<Error> {
        let nothing = || Error::new(Code::SourceFailed, "nothing was captured");
        (self.outcome == Outcome::Failed).then(|| self.failure.clone().unwrap_or_else(nothing))
    }

    /// Returns the exit code of the backup.
    pub fn exit(&self) -> Exit {
        match (self.refusal(), self.outcome, self.missing_copies.is_empty()) {
            (Some(error), _, _) => error.code.exit(),
            (None, Outcome::Complete, true) => Exit::Done,
            (None, _, _) => Exit::Partial,
        }
    }
}

/// One captured artifact.
#[derive(Debug, Clone, Serialize)]
pub struct ReportArtifact {
    /// Of which source.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Bytes of the bare stream.
    pub bytes: u64,
    /// SHA-256 of the bare stream.
    pub sha256: String,
    /// Where it is.
    pub stored: Vec<ReportStored>,
    /// What was in it.
    pub fingerprint: Fingerprint,
}

/// One stored object.
#[derive(Debug, Clone, Serialize)]
pub struct ReportStored {
    /// In which store.
    pub store: String,
    /// Under which key; at which path where it is in a snapshot.
    pub key: String,
    /// Stored bytes; those that were added where it is in a snapshot.
    pub bytes: u64,
    /// SHA-256 of the stored bytes; the snapshot's id where it is in one.
    pub sha256: String,
    /// The snapshot that it is in, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

#[cfg(test)]
mod tests;
