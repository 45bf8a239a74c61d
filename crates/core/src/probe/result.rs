//! The answer to a probe: what may be told to anybody, and what was observed.
//!
//! What was observed may hold people's data: a row in the words of a database, a file's name, the
//! answer to a query. [`Observed`] can be shown to the operator and cannot be serialised, so that
//! none of it reaches a document in clear by accident. A [`Subject`] is made of words of this program
//! and names of the configuration alone.

use crate::error::Error;
use crate::fingerprint::Difference;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Text that was observed, and may hold data. It is read back from records that older versions
/// wrote in clear; it goes out only by [`Observed::reveal`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Observed(String);

impl Observed {
    /// The text: for the operator, and for what is sealed.
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

/// What a check is about, without anything that may be data.
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

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// What was expected was seen.
    Passed,
    /// Something else was seen.
    Failed,
    /// It could not be asked.
    Unknown,
}

/// How many differences the text of a result shows.
pub const DIFFERENCES_SHOWN: usize = 20;

/// How many differences a result holds, and how many bytes they may have, so that a record's detail
/// can be read again.
const DIFFERENCES_MAX: usize = 10_000;
const DIFFERENCES_BYTES_MAX: usize = 8 << 20;

/// What is shown in place of text that cannot be opened here.
pub const SEALED: &str = "sealed";

/// One check and its answer. Serialised, it holds only what anybody may read; the rest goes into the
/// sealed detail of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// What was asked, without data: `sql db`. Records of older versions have the whole question.
    pub name: Subject,
    /// The whole question: `sql db: select count(*) from clients`.
    #[serde(default, skip_serializing)]
    pub asked: Option<Observed>,
    /// What should be seen; absent when it is sealed.
    #[serde(default, skip_serializing)]
    pub expected: Option<Observed>,
    /// What was seen; absent when it is sealed.
    #[serde(default, skip_serializing)]
    pub observed: Option<Observed>,
    /// What became of it.
    pub outcome: CheckOutcome,
    /// The code of the error that it failed with, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How many things differed, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<u64>,
    /// The differences one by one, up to a bound; empty when they are sealed or were not counted.
    #[serde(skip)]
    pub listed: Vec<Difference>,
}

impl CheckResult {
    /// A check and its answer.
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

    /// A comparison that found differences. `line` is how one of them is shown.
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

    /// How many differences there are beside those that are listed; 0 when none is listed.
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

    /// A check that could not be asked, and why.
    pub fn unknown(name: Subject, expected: impl Into<Observed>, why: impl Into<Observed>) -> Self {
        CheckResult::new(name, expected, why, CheckOutcome::Unknown)
    }

    /// A check that ended in an error. It failed if the error shows something of what was restored;
    /// otherwise it could not be asked. `ours` is as in [`Error::blames_content`].
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

    /// What should be seen, for the operator; [`SEALED`] where that cannot be opened here.
    pub fn expected(&self) -> &str {
        self.expected.as_ref().map_or(SEALED, Observed::reveal)
    }

    /// What was seen, for the operator; [`SEALED`] where that cannot be opened here.
    pub fn observed(&self) -> &str {
        self.observed.as_ref().map_or(SEALED, Observed::reveal)
    }
}
