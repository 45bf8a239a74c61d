//! Options, dry run and report of a backup.

use crate::error::{Code, Error};
use crate::exit::Exit;
use crate::fingerprint::Fingerprint;
use crate::name::Name;
use crate::point::{Outcome, PointId};
use jiff::Timestamp;
use serde::Serialize;

/// Options of a backup.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Plan to run; the only one when absent.
    pub plan: Option<String>,
    /// Reason for the backup.
    pub reason: Option<String>,
    /// True when a live restore takes it, of the data to be replaced.
    pub safety: bool,
    /// Scheduled time of the plan that it is taken for.
    pub slot: Option<Timestamp>,
}

/// The steps of a backup; the document of a dry run.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// The plan's name.
    pub plan: String,
    /// Steps in order, a line each.
    pub steps: Vec<String>,
}

/// The document of `backup`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this format: 1.
    pub schema: u32,
    /// The point, which exists unless the outcome is `failed`. If nothing changed, the point that
    /// holds it already.
    pub point: PointId,
    /// Name of the application.
    pub app: String,
    /// Name of the plan.
    pub plan: String,
    /// Extent to which it succeeded.
    pub outcome: Outcome,
    /// True if nothing changed since the point, so that no other was taken.
    pub unchanged: bool,
    /// Reason for the backup.
    pub reason: Option<String>,
    /// Start of the backup.
    pub started: Timestamp,
    /// End of the backup.
    pub finished: Timestamp,
    /// Duration in seconds.
    pub seconds: f64,
    /// The captured artifacts.
    pub artifacts: Vec<ReportArtifact>,
    /// Stores that hold a whole copy.
    pub stores: Vec<Name>,
    /// Stores that should hold a copy and do not.
    pub missing_copies: Vec<Name>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
    /// Failures.
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
            // A store that was not told that nothing changed knows nothing of this run.
            (None, _, _) if self.unchanged && !self.errors.is_empty() => Exit::Partial,
            (None, Outcome::Complete, true) => Exit::Done,
            (None, _, _) => Exit::Partial,
        }
    }
}

/// One captured artifact.
#[derive(Debug, Clone, Serialize)]
pub struct ReportArtifact {
    /// Name of the source.
    pub source: String,
    /// Name of the artifact.
    pub name: String,
    /// Bytes of the bare stream.
    pub bytes: u64,
    /// SHA-256 of the bare stream.
    pub sha256: String,
    /// Stored copies.
    pub stored: Vec<ReportStored>,
    /// Fingerprint of the content.
    pub fingerprint: Fingerprint,
}

/// One stored object.
#[derive(Debug, Clone, Serialize)]
pub struct ReportStored {
    /// Name of the store.
    pub store: String,
    /// Key of the object, or path in the snapshot.
    pub key: String,
    /// Stored bytes, or bytes added to the repository.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, or id of the snapshot.
    pub sha256: String,
    /// Id of the snapshot that holds it, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

#[cfg(test)]
mod tests;
