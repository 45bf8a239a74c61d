//! `lifeboat doctor`, and how findings are shown.

use super::Run;
use crate::output::{self, line};
use lifeboat_core::Result;
use lifeboat_core::doctor;
use lifeboat_core::finding::{Finding, Severity};

pub fn run(run: &Run<'_>) -> Result<u8> {
    let config = run.config()?;
    let unsound = config.check().iter().any(|f| f.severity == Severity::Error);
    let context = run.context_of(config)?;
    let findings = doctor::examine(&context);
    run.results();
    let code = show(run, &findings)?;
    if !run.cli.json {
        line(summary(&findings));
    }
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
    // What is wrong stands last, where it is seen.
    let mut gravest_last: Vec<&Finding> = findings.iter().collect();
    gravest_last.sort_by_key(|finding| finding.severity);
    for finding in gravest_last {
        let mark = match finding.severity {
            Severity::Ok => "\x1b[32mok\x1b[0m     ",
            Severity::Warning => "\x1b[33mwarning\x1b[0m",
            Severity::Error => "\x1b[31merror\x1b[0m  ",
        };
        line(format!(
            "{mark} {}: {}",
            finding.subject,
            output::joined(&finding.message)
        ));
        if let Some(hint) = &finding.hint {
            line(format!("        hint: {hint}"));
        }
    }
    Ok(u8::from(failed))
}

/// How much is wrong, in a line.
fn summary(findings: &[Finding]) -> String {
    let of = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let count = |severity, what| match of(severity) {
        0 => None,
        number => Some(output::count(number, what)),
    };
    let wrong = [
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning"),
    ];
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    let fine = match of(Severity::Ok) {
        1 => "1 thing is as it should be".to_owned(),
        fine => format!("{fine} things are as they should be"),
    };
    match wrong.is_empty() {
        true => fine,
        false => format!("{}; {fine}", wrong.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_is_wrong() {
        let of = |severities: &[Severity]| {
            let findings = severities.iter().map(|s| Finding::new("x", *s, "y", None));
            summary(&findings.collect::<Vec<_>>())
        };
        use Severity::{Error, Ok, Warning};
        assert_eq!(of(&[Ok, Ok]), "2 things are as they should be");
        assert_eq!(of(&[Ok, Warning]), "1 warning; 1 thing is as it should be");
        assert_eq!(
            of(&[Error, Warning, Error, Ok]),
            "2 errors and 1 warning; 1 thing is as it should be"
        );
    }
}
