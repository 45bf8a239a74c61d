//! Findings of a check, and their severity.

use crate::condition::ConditionKind;
use crate::exit::Exit;
use serde::{Deserialize, Serialize};

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Everything is as it should be.
    Ok,
    /// Works, with a risk.
    Warning,
    /// Does not work.
    Error,
}

/// One finding about one thing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// Its subject: `source.db`, `store.offsite`.
    pub subject: String,
    /// Its severity.
    pub severity: Severity,
    /// The condition that it is, if somebody should be told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ConditionKind>,
    /// One sentence that says what was found.
    pub message: String,
    /// Remedy, if there is one.
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
            kind: None,
            message: message.into(),
            hint,
        }
    }

    /// Whether nothing is wrong, and something could be better all the same.
    pub fn is_advice(&self) -> bool {
        self.severity == Severity::Ok && self.hint.is_some()
    }

    /// Says which condition it is.
    pub fn of_kind(mut self, kind: ConditionKind) -> Self {
        self.kind = Some(kind);
        self
    }
}

/// The document of `doctor` and `config check`.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    outcome: Judgement,
    findings: Vec<Finding>,
}

/// The judgement on all findings together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// No finding is an error.
    Ok,
    /// At least one finding is an error.
    Error,
}

impl Findings {
    /// Judges these findings.
    pub fn new(findings: Vec<Finding>) -> Self {
        let failed = findings.iter().any(|f| f.severity == Severity::Error);
        let outcome = match failed {
            true => Judgement::Error,
            false => Judgement::Ok,
        };
        Findings { outcome, findings }
    }

    /// The findings.
    pub fn all(&self) -> &[Finding] {
        &self.findings
    }

    /// Counts the findings of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings.filter(|f| f.severity == severity).count()
    }

    /// Returns the exit code: `error` when one was found.
    pub fn exit(&self, error: Exit) -> Exit {
        match self.outcome {
            Judgement::Ok => Exit::Done,
            Judgement::Error => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::assert_document;

    #[test]
    fn the_document_of_findings() {
        let findings = Findings::new(vec![
            Finding::new("store.disk", Severity::Ok, "it is there", None),
            Finding::new(
                "source.db",
                Severity::Error,
                "it is not",
                Some("start it".into()),
            ),
        ]);
        assert_eq!(findings.count(Severity::Error), 1);
        assert_eq!(findings.exit(Exit::Usage), Exit::Usage);
        let expected = r#"{
  "schema": 1,
  "outcome": "error",
  "findings": [
    {
      "subject": "store.disk",
      "severity": "ok",
      "message": "it is there",
      "hint": null
    },
    {
      "subject": "source.db",
      "severity": "error",
      "message": "it is not",
      "hint": "start it"
    }
  ]
}"#;
        assert_document(findings, expected);
        let warned = vec![Finding::new("clock", Severity::Warning, "it is slow", None)];
        assert_eq!(Findings::new(warned).exit(Exit::Failed), Exit::Done);
    }
}
