//! The result of a probe, split into what anybody may read and what was observed.
//!
//! Observed text may hold people's data: a row in the words of a database, a file's name, the
//! answer to a query. [`Observed`] can be shown to the operator and cannot be serialised, so that
//! none of it reaches a document in clear by accident. A [`Subject`] is made only of words of this
//! program and names of the configuration.

use crate::error::Error;
use crate::fingerprint::Difference;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Observed text that may hold data. It can be read from records that older versions wrote in
/// clear, and leaves only through [`Observed::reveal`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Observed(String);

impl Observed {
    /// The text, for the operator and for what is encrypted.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Observed {
    fn from(text: String) -> Self {
        Observed(text)
    }
}

impl From<&str> for Observed {
    fn from(text: &str) -> Self {
        Observed(text.to_owned())
    }
}

/// The subject of a check, without anything that may be data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(String);

impl Subject {
    /// A word of this program: `command`, `undo`.
    pub fn word(word: &'static str) -> Self {
        Subject(word.to_owned())
    }

    /// `sql db`, `point 20261120T060000Z-7f3a`: a kind, and a source of the configuration or the id of
    /// a point.
    pub fn of(kind: &'static str, name: impl fmt::Display) -> Self {
        Subject(format!("{kind} {name}"))
    }

    /// `db on machine: content`, of two sources of the configuration.
    pub fn held(source: &str, machine: &str) -> Self {
        Subject(format!("{source} on {machine}: content"))
    }

    /// `db: content`, of a source of the configuration.
    pub fn content(source: &str) -> Self {
        Subject(format!("{source}: content"))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// The observation is as expected.
    Passed,
    /// The observation is not as expected.
    Failed,
    /// The check could not be made.
    Unknown,
}

/// Number of differences that the text of a result shows.
pub const DIFFERENCES_SHOWN: usize = 20;

/// Limits on the differences that a result holds: their number and their bytes, so that a record's
/// detail can be read again.
const DIFFERENCES_MAX: usize = 10_000;
const DIFFERENCES_BYTES_MAX: usize = 8 << 20;

/// Placeholder for text that cannot be decrypted here.
pub const SEALED: &str = "sealed";

/// One check and its result. Serialised, it holds only what anybody may read; the rest goes into
/// the encrypted detail of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Its subject, without data: `sql db`. Records of older versions have the whole question here.
    pub name: Subject,
    /// The whole question: `sql db: select count(*) from clients`.
    #[serde(default, skip_serializing)]
    pub asked: Option<Observed>,
    /// What was expected; absent if it is sealed.
    #[serde(default, skip_serializing)]
    pub expected: Option<Observed>,
    /// What was observed; absent if it is sealed.
    #[serde(default, skip_serializing)]
    pub observed: Option<Observed>,
    /// The outcome.
    pub outcome: CheckOutcome,
    /// The code of the error that it failed with, if it failed with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Number of differences, if they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<u64>,
    /// The differences one by one, up to a bound; empty if they are sealed or were not counted.
    #[serde(skip)]
    pub listed: Vec<Difference>,
}

impl CheckResult {
    /// A check with its result.
    pub fn new(
        name: Subject,
        expected: impl Into<Observed>,
        observed: impl Into<Observed>,
        outcome: CheckOutcome,
    ) -> Self {
        CheckResult {
            name,
            asked: None,
            expected: Some(expected.into()),
            observed: Some(observed.into()),
            outcome,
            code: None,
            differences: None,
            listed: Vec::new(),
        }
    }

    /// A comparison that found differences. `line` renders one of them.
    pub fn differing(
        name: Subject,
        expected: impl Into<Observed>,
        differences: &[Difference],
        line: impl Fn(&Difference) -> String,
    ) -> Self {
        let mut lines: Vec<String> = differences
            .iter()
            .take(DIFFERENCES_SHOWN)
            .map(line)
            .collect();
        let more = differences.len().saturating_sub(DIFFERENCES_SHOWN);
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        let count = match differences.len() {
            1 => "1 difference".to_owned(),
            n => format!("{n} differences"),
        };
        let observed = format!("{count}: {}", lines.join("; "));
        let mut bytes = 0;
        let listed = differences.iter().take(DIFFERENCES_MAX).take_while(|d| {
            bytes += d.subject.len() + d.expected.len() + d.observed.len();
            bytes <= DIFFERENCES_BYTES_MAX
        });
        CheckResult {
            differences: Some(differences.len() as u64),
            listed: listed.cloned().collect(),
            ..CheckResult::new(name, expected, observed, CheckOutcome::Failed)
        }
    }

    /// Number of differences that are not listed; 0 if none is listed.
    pub fn unlisted(&self) -> u64 {
        let listed = self.listed.len() as u64;
        let all = self.differences.unwrap_or_default();
        match listed {
            0 => 0,
            listed => all.saturating_sub(listed),
        }
    }

    /// A check that failed with an error.
    pub fn failed(name: Subject, expected: &str, error: &Error) -> Self {
        CheckResult {
            code: Some(error.code.as_str().to_owned()),
            ..CheckResult::new(name, expected, error.to_string(), CheckOutcome::Failed)
        }
    }

    /// A check that could not be made, and the reason.
    pub fn unknown(name: Subject, expected: impl Into<Observed>, why: impl Into<Observed>) -> Self {
        CheckResult::new(name, expected, why, CheckOutcome::Unknown)
    }

    /// A check that ended in an error. It failed if the error concerns what was restored; otherwise
    /// it could not be made. `ours` is the argument of [`Error::blames_content`].
    pub fn from_error(name: Subject, expected: &str, error: &Error, ours: bool) -> Self {
        let result = CheckResult::failed(name, expected, error);
        match error.blames_content(ours) {
            true => result,
            false => CheckResult {
                outcome: CheckOutcome::Unknown,
                ..result
            },
        }
    }

    /// The whole question, as far as it is known here.
    pub fn question(&self) -> String {
        match &self.asked {
            Some(asked) => asked.reveal().to_owned(),
            None => self.name.to_string(),
        }
    }

    /// What was expected, for the operator; [`SEALED`] if it cannot be decrypted here.
    pub fn expected(&self) -> &str {
        self.expected.as_ref().map_or(SEALED, Observed::reveal)
    }

    /// What was observed, for the operator; [`SEALED`] if it cannot be decrypted here.
    pub fn observed(&self) -> &str {
        self.observed.as_ref().map_or(SEALED, Observed::reveal)
    }
}
