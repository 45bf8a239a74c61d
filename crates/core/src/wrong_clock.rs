//! Checks for a safe setup that need only facts already at hand.
//!
//! Pure: the caller supplies the time and its findings. Checks of the configuration alone are in
//! [`crate::config::Config::check`]; sources, stores and tools are reached by their own modules.

use crate::error::{Code, Error, Result};
use crate::finding::{Finding, Severity};
use crate::point::PointId;
use jiff::{Timestamp, Unit};
use std::collections::BTreeSet;

/// Lifeboat did not exist before; a clock that shows an earlier time has lost it.
const YEAR_FIRST: &str = "2025-01-01T00:00:00Z";

/// Refuses a clock that cannot be right: a point dated by it would sort wrongly for ever, and
/// retention would delete by it.
pub fn check_clock(now: Timestamp) -> Result<()> {
    if YEAR_FIRST.parse().is_ok_and(|first| now < first) {
        let message = format!("the clock of this host says {now}, which cannot be");
        return Err(Error::new(Code::Clock, message)
            .hint("set the clock of this host (`timedatectl set-ntp true`), then run again"));
    }
    Ok(())
}

/// What to do about points that are dated in the future.
pub const AHEAD_HINT: &str = "if the clock of this host is wrong, set it; if it is right, the point was taken while one was wrong: lifeboat points --forget POINT --reason TEXT";

/// The message about a point that is dated in the future, because one clock or another is wrong.
pub fn ahead(point: &PointId, now: Timestamp) -> String {
    let far = match now.until((Unit::Hour, point.time())) {
        Ok(span) => format!("{span:#}"),
        Err(_) => "long".into(),
    };
    format!(
        "point {point} is dated {far} after what the clock of this host says ({now}), and is set aside: nothing takes it for the newest"
    )
}

/// Findings about the clock, for the doctor: it is compared with the calendar and with the points
/// that are `ahead` of it.
pub fn clock_findings(now: Timestamp, points_ahead: &BTreeSet<PointId>) -> Vec<Finding> {
    let finding = |severity, message: String, hint| Finding::new("clock", severity, message, hint);
    if let Err(error) = check_clock(now) {
        return vec![finding(Severity::Error, error.message, error.hint)];
    }
    let findings: Vec<Finding> = points_ahead
        .iter()
        .map(|point| {
            let hint = Some(AHEAD_HINT.to_owned());
            finding(Severity::Error, ahead(point, now), hint)
        })
        .collect();
    if findings.is_empty() {
        let message = "the clock of this host is plausible".to_owned();
        return vec![finding(Severity::Ok, message, None)];
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_held_against_the_calendar_and_points_ahead_of_it() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let none = BTreeSet::new();
        let glitch = BTreeSet::from([PointId::parse("20361120T060000Z-7f3a").unwrap()]);
        let table = [
            ("2026-11-20T06:00:00Z", &none, None),
            ("2025-01-01T00:00:00Z", &none, None),
            (
                "2036-11-20T04:00:00Z",
                &glitch,
                Some(
                    "point 20361120T060000Z-7f3a is dated 2h after what the clock of this host says \
                     (2036-11-20T04:00:00Z), and is set aside: nothing takes it for the newest",
                ),
            ),
            (
                "1970-01-01T00:03:00Z",
                &glitch,
                Some("the clock of this host says 1970-01-01T00:03:00Z, which cannot be"),
            ),
        ];
        for (now, points, message) in table {
            let findings = clock_findings(at(now), points);
            let [finding] = findings.as_slice() else {
                panic!("one finding")
            };
            let wrong = finding.severity == Severity::Error;
            assert_eq!(wrong.then_some(finding.message.as_str()), message, "{now}");
        }
        let error = check_clock(at("1970-01-01T00:03:00Z")).unwrap_err();
        assert_eq!(error.code, Code::Clock);
    }
}
