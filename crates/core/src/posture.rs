//! Whether this is set up safely, as far as that follows from facts already at hand.
//!
//! Pure: the caller brings the time and what it found. What follows from the configuration alone
//! is [`crate::config::Config::check`]; reaching sources, stores and tools is theirs to do.

use crate::error::{Code, Error, Result};
use crate::source::{Finding, Severity};
use jiff::{Timestamp, Unit};

/// No host had this program before; a clock that says so has lost its time.
const YEAR_FIRST: &str = "2025-01-01T00:00:00Z";

/// How far hosts that share a store may differ, in seconds.
const SKEW_SECONDS_MAX: i64 = 60;

/// Refuses a clock that cannot be right: a point dated by it would sort wrongly for ever, and
/// retention would delete by it.
pub fn check_clock(now: Timestamp, newest_point: Option<Timestamp>) -> Result<()> {
    let wrong = |message: String| {
        Err(Error::new(Code::Clock, message)
            .hint("set the clock of this host (`timedatectl set-ntp true`), then run again"))
    };
    if YEAR_FIRST.parse().is_ok_and(|first| now < first) {
        return wrong(format!(
            "the clock of this host says {now}, which cannot be"
        ));
    }
    match newest_point {
        Some(newest) if newest.as_second() - now.as_second() > SKEW_SECONDS_MAX => wrong(format!(
            "the clock of this host says {now}, which is {} before the newest restore point was taken ({newest})",
            distance(now, newest)
        )),
        _ => Ok(()),
    }
}

fn distance(from: Timestamp, to: Timestamp) -> String {
    match from.until((Unit::Hour, to)) {
        Ok(span) => format!("{span:#}"),
        Err(_) => "long".into(),
    }
}

/// What [`check_clock`] says, for the doctor.
pub fn clock_findings(now: Timestamp, newest_point: Option<Timestamp>) -> Vec<Finding> {
    let (severity, message, hint) = match check_clock(now, newest_point) {
        Ok(()) => (
            Severity::Ok,
            "the clock of this host is plausible".to_owned(),
            None,
        ),
        Err(error) => (Severity::Error, error.message, error.hint),
    };
    vec![Finding {
        subject: "clock".into(),
        severity,
        message,
        hint,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_clock_is_held_against_the_calendar_and_the_newest_point() {
        let newest = Some(at("2026-11-20T06:00:00Z"));
        let table = [
            ("2026-11-20T06:00:00Z", newest, None),
            ("2026-11-20T05:59:00Z", newest, None),
            (
                "2026-11-20T04:00:00Z",
                newest,
                Some(
                    "the clock of this host says 2026-11-20T04:00:00Z, which is 2h before the \
                     newest restore point was taken (2026-11-20T06:00:00Z)",
                ),
            ),
            ("2025-01-01T00:00:00Z", None, None),
            (
                "1970-01-01T00:03:00Z",
                None,
                Some("the clock of this host says 1970-01-01T00:03:00Z, which cannot be"),
            ),
        ];
        for (now, newest, message) in table {
            let findings = clock_findings(at(now), newest);
            let [finding] = findings.as_slice() else {
                panic!("one finding")
            };
            let wrong = finding.severity == Severity::Error;
            assert_eq!(wrong.then_some(finding.message.as_str()), message, "{now}");
            let error = check_clock(at(now), newest).err();
            assert_eq!(error.map(|e| e.code), message.map(|_| Code::Clock));
        }
    }
}
