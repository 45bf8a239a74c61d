//! `lifeboat doctor`, and how findings are shown.

use super::Run;
use crate::output::{self, line};
use lifeboat_core::Result;
use lifeboat_core::doctor;
use lifeboat_core::source::{Finding, Severity};

pub fn run(run: &Run<'_>) -> Result<u8> {
    let config = run.config()?;
    let unsound = config.check().iter().any(|f| f.severity == Severity::Error);
    let context = run.context_of(config)?;
    let findings = doctor::examine(&context);
    run.results();
    let code = show(run, &findings)?;
    Ok(match (code, unsound) {
        (0, _) => 0,
        (_, true) => 2,
        (_, false) => 1,
    })
}

/// Shows findings; 1 when one is an error.
pub fn show(run: &Run<'_>, findings: &[Finding]) -> Result<u8> {
    let failed = findings.iter().any(|f| f.severity == Severity::Error);
    if run.cli.json {
        let outcome = if failed { "error" } else { "ok" };
        output::json(
            &serde_json::json!({ "schema": 1, "outcome": outcome, "findings": findings }),
        )?;
        return Ok(u8::from(failed));
    }
    for finding in findings {
        let mark = match finding.severity {
            Severity::Ok => "\x1b[32mok\x1b[0m     ",
            Severity::Warning => "\x1b[33mwarning\x1b[0m",
            Severity::Error => "\x1b[31merror\x1b[0m  ",
        };
        line(format!("{mark} {}: {}", finding.subject, finding.message));
        if let Some(hint) = &finding.hint {
            line(format!("        hint: {hint}"));
        }
    }
    Ok(u8::from(failed))
}
