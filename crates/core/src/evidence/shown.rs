//! Records as an operator sees them: with their observations, if they can be opened here.
//!
//! These documents may contain personal data. They are for users of this host, and are never
//! written to a store; a store receives the [`Record`] itself.

use super::{Listed, Record, list, open_detail};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::fingerprint::Difference;
use crate::probe::{CheckOutcome, CheckResult};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// A check and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct ShownCheck<'a> {
    name: String,
    expected: &'a str,
    observed: &'a str,
    outcome: CheckOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<u64>,
    #[serde(skip_serializing_if = "<[Difference]>::is_empty")]
    listed: &'a [Difference],
    #[serde(skip_serializing_if = "Option::is_none")]
    unlisted: Option<u64>,
}

impl<'a> From<&'a CheckResult> for ShownCheck<'a> {
    fn from(check: &'a CheckResult) -> Self {
        ShownCheck {
            name: check.question(),
            expected: check.expected(),
            observed: check.observed(),
            outcome: check.outcome,
            code: check.code.as_deref(),
            differences: check.differences,
            listed: &check.listed,
            unlisted: Some(check.unlisted()).filter(|more| *more > 0),
        }
    }
}

impl Record {
    /// The checks with their observations.
    pub fn shown_checks(&self) -> Vec<ShownCheck<'_>> {
        self.checks.iter().map(Into::into).collect()
    }
}

/// A record in the documents of `evidence list` and `evidence show`: as stored, but with the
/// observed answers of checks and limits, its key, and whether it is trusted.
impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        fn value(of: impl Serialize) -> std::result::Result<Value, serde_json::Error> {
            serde_json::to_value(of)
        }
        let fields = || {
            let mut record = value(&self.record)?;
            if let Value::Object(fields) = &mut record {
                // The stored form of the checks has no answers: replace it.
                fields.insert("checks".into(), value(self.record.shown_checks())?);
                fields.insert("limits".into(), value(self.record.limits())?);
                fields.insert("key".into(), value(&self.key)?);
                fields.insert("trusted".into(), self.distrust.is_none().into());
            }
            Ok(record)
        };
        fields()
            .map_err(|error: serde_json::Error| S::Error::custom(error))?
            .serialize(serializer)
    }
}

/// The document of `evidence list`.
#[derive(Debug, Clone, Serialize)]
pub struct Records {
    /// Every readable record, by time.
    pub evidence: Vec<Listed>,
    /// Errors of what could not be read.
    pub errors: Vec<Error>,
}

/// The document of `evidence show`.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// The record, which contains the version of the format.
    #[serde(flatten)]
    pub record: Listed,
    /// The reason that what was observed cannot be opened here, if it cannot.
    pub sealed: Option<Error>,
}

/// Reads every record of this application.
pub fn records(context: &Context) -> Result<Records> {
    let (evidence, errors) = list(context)?;
    Ok(Records { evidence, errors })
}

/// Reads the record whose id begins with `id`, with its observations if they can be opened here.
pub fn show(context: &Context, id: &str) -> Result<Shown> {
    let (listed, errors) = list(context)?;
    let mut record = one(listed, id).map_err(|error| match errors.first() {
        // It may be in what could not be read.
        Some(unread) => error.cause(unread),
        None => error,
    })?;
    let sealed = open_detail(context, &mut record.record).err();
    Ok(Shown { record, sealed })
}

fn one(listed: Vec<Listed>, id: &str) -> Result<Listed> {
    let mut fitting = listed
        .into_iter()
        .filter(|l| l.record.id.as_str().starts_with(id));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            let message = format!("no evidence begins with {id}");
            Err(Error::new(Code::PointUnknown, message).hint("run `lifeboat evidence list`"))
        }
        (Some(_), Some(_)) => {
            let message = format!("{id} begins several records");
            Err(Error::new(Code::PointAmbiguous, message).hint("give more of the id"))
        }
    }
}

#[cfg(test)]
mod tests;
