//! `lifeboat doctor`, and how findings are shown.

use super::Run;
use crate::output::{self, Printer};
use lifeboat_core::config::Config;
use lifeboat_core::doctor;
use lifeboat_core::finding::{Finding, Findings, Severity};
use lifeboat_core::job;
use lifeboat_core::{Exit, Result};

pub fn run(run: &Run<'_>) -> Result<Exit> {
    let config = run.config()?;
    // Where the configuration itself cannot hold, the rest follows from that.
    let unsound = Findings::new(config.check());
    let context = run.context_of(config)?;
    let findings = Findings::new(doctor::examine(&context));
    run.answer(&findings, |out| {
        tell(run, out, &findings);
        match findings.count(Severity::Error) {
            0 if run.cli.quiet => {}
            0 if !job::begun(&context).backed_up => run.next(out, &backup(&context.config)),
            0 => {}
            _ => out.line("next: mend what is wrong, and run lifeboat doctor again"),
        }
    })?;
    let error = match unsound.exit(Exit::Usage) {
        Exit::Done => Exit::Failed,
        unsound => unsound,
    };
    Ok(findings.exit(error))
}

/// The words of a backup: of the first plan, where there are several.
fn backup(config: &Config) -> String {
    let mut plans = config.plan.keys();
    match (plans.next(), plans.next()) {
        (Some(first), Some(_)) => format!("backup {first}"),
        _ => "backup".to_owned(),
    }
}

/// Prints findings and how many there are, or with `--quiet` only what is wrong.
pub fn tell(run: &Run<'_>, out: &Printer, findings: &Findings) {
    if !run.cli.quiet {
        show(out, findings);
        return out.line(summary(findings));
    }
    let mut wrong = findings.all().to_vec();
    wrong.retain(|finding| finding.severity != Severity::Ok);
    show(out, &Findings::new(wrong));
}

/// Prints findings: what is wrong stands last, where it is seen.
pub fn show(out: &Printer, findings: &Findings) {
    let mut gravest_last: Vec<&Finding> = findings.all().iter().collect();
    gravest_last.sort_by_key(|finding| finding.severity);
    for finding in gravest_last {
        let mark = match finding.severity {
            Severity::Ok if finding.is_advice() => "note   ",
            Severity::Ok => "\x1b[32mok\x1b[0m     ",
            Severity::Warning => "\x1b[33mwarning\x1b[0m",
            Severity::Error => "\x1b[31merror\x1b[0m  ",
        };
        out.line(format!(
            "{mark} {}: {}",
            finding.subject,
            output::joined(&finding.message)
        ));
        if let Some(hint) = &finding.hint {
            out.line(format!("        hint: {hint}"));
        }
    }
}

/// How much is wrong, in a line.
fn summary(findings: &Findings) -> String {
    let count = |severity, what| match findings.count(severity) {
        0 => None,
        number => Some(output::count(number, what)),
    };
    let wrong = [
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning"),
    ];
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    let advice = findings.all().iter().filter(|f| f.is_advice()).count();
    let fine = match findings.count(Severity::Ok) - advice {
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
            summary(&Findings::new(findings.collect()))
        };
        let advice = Finding::new("x", Severity::Ok, "y", Some("z".to_owned()));
        assert_eq!(
            summary(&Findings::new(vec![advice])),
            "0 things are as they should be"
        );
        use Severity::{Error, Ok, Warning};
        assert_eq!(of(&[Ok, Ok]), "2 things are as they should be");
        assert_eq!(of(&[Ok, Warning]), "1 warning; 1 thing is as it should be");
        assert_eq!(
            of(&[Error, Warning, Error, Ok]),
            "2 errors and 1 warning; 1 thing is as it should be"
        );
    }
}
