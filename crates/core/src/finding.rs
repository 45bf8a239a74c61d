//! What a judgement found of one thing, and how grave that is.

use serde::Serialize;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works, with a risk.
    Warning,
    /// Does not work.
    Error,
}

/// What the doctor found about one thing.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What it is about: `source.db`, `store.offsite`.
    pub subject: String,
    /// How grave.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Finding {
    /// A finding about `subject`.
    pub fn new(
        subject: &str,
        severity: Severity,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        Finding {
            subject: subject.to_owned(),
            severity,
            message: message.into(),
            hint,
        }
    }
}
