//! What the daemon is asked, and what it answers: one JSON document each, on one line.

use crate::document::Document;
use crate::error::{Code, Error};
use crate::history::{Job, JobId, JobKind};
use crate::name::Name;
use crate::status::Status;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Version of the requests.
const VERSION: u32 = 1;

/// A request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Version of this format: 1.
    pub version: u32,
    /// What it is to do.
    #[serde(flatten)]
    pub command: Command,
    /// The application that is meant, `crm` or `crm/production`; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
}

/// What the daemon can be asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Say what it does.
    Status,
    /// Print the metrics of every application.
    Metrics,
    /// Look now what is due.
    Wake,
    /// Read the configuration again.
    Reload,
    /// Ask a job to end.
    Cancel {
        /// Its id, or the beginning of it.
        job: String,
    },
    /// Stop, as at SIGTERM.
    Stop,
}

impl Request {
    /// A request about an application, or about all of them.
    pub fn new(command: Command, app: Option<String>) -> Self {
        Request {
            version: VERSION,
            command,
            app,
        }
    }

    /// Reads a request.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Error> {
        let request: Request = serde_json::from_slice(line).map_err(|error| {
            Error::new(Code::Usage, "this is no request")
                .cause(error)
                .hint("write one line: {\"version\":1,\"command\":\"status\"}")
        })?;
        match request.version {
            VERSION => Ok(request),
            other => Err(Error::new(
                Code::Usage,
                format!("version {other} of requests is not known"),
            )
            .hint("write \"version\":1")),
        }
    }

    /// Returns whether it concerns this application.
    pub(super) fn concerns(&self, name: &str) -> bool {
        self.app.as_ref().is_none_or(|app| {
            let rest = name.strip_prefix(app.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// An answer.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// What it does.
    Status(DaemonDocument),
    /// The metrics, as text.
    Metrics {
        /// In the text format of OpenMetrics.
        metrics: String,
    },
    /// What it was asked to do is done, or begun.
    Done {
        /// What was done, in a sentence.
        done: String,
    },
    /// It was not done.
    Failed {
        /// Why.
        error: Error,
    },
}

impl Answer {
    pub(super) fn done(text: impl Into<String>) -> Self {
        Answer::Done { done: text.into() }
    }

    pub(super) fn failed(error: Error) -> Self {
        Answer::Failed { error }
    }

    pub(super) fn stopping() -> Self {
        Self::failed(Error::new(Code::Busy, "the daemon is stopping"))
    }

    /// The line that is sent.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(&Document::new(self)).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// The document of `daemon status`.
#[derive(Debug, Clone, Serialize)]
pub struct DaemonDocument {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it was started.
    pub started: Timestamp,
    /// The time for which this holds.
    pub at: Timestamp,
    /// The applications.
    pub applications: Vec<ApplicationDocument>,
}

/// An application of the daemon.
#[derive(Debug, Clone, Serialize)]
pub struct ApplicationDocument {
    /// `crm/production`; the file of one that was never accepted.
    pub app: String,
    /// The file of its configuration.
    pub config: PathBuf,
    /// When it is looked at again.
    pub next: Option<Timestamp>,
    /// What runs.
    pub running: Vec<RunningDocument>,
    /// Why its file was refused when it was read last; the old configuration is in force.
    pub refused: Option<Error>,
    /// Why its last turn failed.
    pub error: Option<Error>,
    /// Its status after its last turn.
    pub status: Option<Status>,
}

/// A job that runs.
#[derive(Debug, Clone, Serialize)]
pub struct RunningDocument {
    /// Its id.
    pub job: JobId,
    /// What it does.
    pub kind: JobKind,
    /// The plan, drill, verification or store.
    pub subject: Name,
    /// When it began.
    pub started: Timestamp,
}

impl From<&Job> for RunningDocument {
    fn from(job: &Job) -> Self {
        RunningDocument {
            job: job.id.clone(),
            kind: job.kind,
            subject: job.subject.clone(),
            started: job.started,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_of_json_of_a_known_version() {
        let parse = |text: &str| Request::parse(text.as_bytes());
        let request =
            parse(r#"{"version":1,"command":"cancel","job":"2026","app":"crm"}"#).unwrap();
        let job = "2026".to_owned();
        assert_eq!(request.command, Command::Cancel { job });
        assert!(request.concerns("crm/production") && request.concerns("crm"));
        assert!(!request.concerns("crm2/production") && !request.concerns("bot/production"));
        assert_eq!(
            parse(r#"{"version":1,"command":"status"}"#)
                .unwrap()
                .command,
            Command::Status
        );
        for wrong in [
            "",
            "status",
            "{}",
            r#"{"version":2,"command":"status"}"#,
            r#"{"version":1,"command":"restore"}"#,
            r#"{"version":1,"command":"cancel"}"#,
        ] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.code, Code::Usage, "{wrong}");
            assert!(error.hint.is_some(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_one_line_with_its_schema() {
        let line = |answer: Answer| String::from_utf8(answer.line()).unwrap();
        assert_eq!(
            line(Answer::done("it stops")),
            "{\"schema\":1,\"done\":\"it stops\"}\n"
        );
        let failed = line(Answer::stopping());
        assert!(
            failed.starts_with("{\"schema\":1,\"error\":{\"code\":\"busy\""),
            "{failed}"
        );
        assert_eq!(failed.matches('\n').count(), 1);
    }
}
