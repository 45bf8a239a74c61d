//! Cron expressions of five fields, in UTC.
//!
//! Pure: the time comes from the caller. A schedule that parses runs some day, and the longest gap
//! between two of its runs is known ([`Schedule::gap_max`]), so it can be compared with a recovery
//! point objective. It does not know what runs, nor whether it ran.

use crate::error::{Code, Error, Result};
use crate::span::Span;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// First of the days in which the longest gap is sought: ten years with two leap days, so that `29
/// 2` shows its four years.
const GAP_FROM: Date = date(2026, 1, 1);
const GAP_UNTIL: Date = date(2036, 1, 1);

/// A cron expression: minute, hour, day of month, month, day of week; in UTC.
#[derive(Clone)]
pub struct Schedule {
    text: String,
    cron: Arc<Cron>,
    gap_max: Arc<OnceLock<Span>>,
}

/// The schedules that were parsed: a configuration has few, and every look asks for their gaps.
static KNOWN: Mutex<BTreeMap<String, Schedule>> = Mutex::new(BTreeMap::new());
/// Schedules that are remembered.
const KNOWN_MAX: usize = 256;

impl Schedule {
    /// Parses five fields. Names of days and months, lists, ranges and steps are allowed. If both
    /// day fields are restricted, a day that fits either one runs, as in every cron.
    pub fn parse(text: &str) -> Result<Self> {
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schedule) = known().get(text) {
            return Ok(schedule.clone());
        }
        let schedule = Self::parse_new(text)?;
        let mut known = known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(text.to_owned(), schedule.clone());
        Ok(schedule)
    }

    fn parse_new(text: &str) -> Result<Self> {
        let wrong = |cause: &str| {
            Error::new(Code::Configuration, format!("{text:?} is no schedule"))
                .cause(cause.trim_end_matches('.'))
                .hint(
                    "write minute, hour, day of month, month and day of week, in UTC: \
                     \"7 * * * *\" is 7 minutes past every hour, \"0 3 * * 0\" is Sundays at 03:00",
                )
        };
        let fields = text.split_whitespace().count();
        if fields != 5 {
            return Err(wrong(&format!("expected 5 fields, found {fields}")));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(text)
            .map_err(|error| wrong(&error.to_string()))?;
        let schedule = Schedule {
            text: text.to_owned(),
            cron: Arc::new(cron),
            gap_max: Arc::default(),
        };
        match schedule.next_civil(GAP_FROM.at(0, 0, 0, 0), true) {
            Some(first) if first.date() < GAP_UNTIL => Ok(schedule),
            _ => Err(wrong("no such day exists, so that it would never run")),
        }
    }

    /// The first run strictly after `time`.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let civil = time.to_zoned(TimeZone::UTC).datetime();
        let next = self.next_civil(civil, false)?;
        Some(next.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }

    /// The last run at `time` or before it.
    pub fn last_until(&self, time: Timestamp) -> Option<Timestamp> {
        let civil = time.to_zoned(TimeZone::UTC).datetime();
        let last = self.cron.find_previous_occurrence(&civil, true).ok()?;
        Some(last.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }

    /// The longest time between two consecutive runs.
    ///
    /// Every day that has a run has the same ones (UTC has no summer time). One day is therefore
    /// walked run by run, and the others only from first run to first run.
    pub fn gap_max(&self) -> Span {
        *self.gap_max.get_or_init(|| self.find_gap_max())
    }

    fn find_gap_max(&self) -> Span {
        let mut longest = 0;
        let Some(mut day_first) = self.next_civil(GAP_FROM.at(0, 0, 0, 0), true) else {
            return Span { seconds: longest };
        };
        let mut day_last = day_first;
        while let Some(next) = self.next_civil(day_last, false)
            && next.date() == day_first.date()
        {
            longest = longest.max(seconds_between(day_last, next));
            day_last = next;
        }
        let last_run: Time = day_last.time();
        while let Ok(midnight) = day_first.date().tomorrow().map(|d| d.at(0, 0, 0, 0))
            && let Some(next) = self.next_civil(midnight, true)
            && next.date() < GAP_UNTIL
        {
            let previous = day_first.date().to_datetime(last_run);
            longest = longest.max(seconds_between(previous, next));
            day_first = next;
        }
        Span { seconds: longest }
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn next_civil(&self, time: DateTime, inclusive: bool) -> Option<DateTime> {
        self.cron.find_next_occurrence(&time, inclusive).ok()
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({:?})", self.text)
    }
}

fn seconds_between(from: DateTime, to: DateTime) -> u64 {
    let seconds = to.duration_since(from).as_secs();
    u64::try_from(seconds).unwrap_or(0)
}

/// Suggests a schedule that runs at least every `seconds`. `None` for less than a minute.
pub fn suggestion(seconds: u64) -> Option<String> {
    // Only steps that divide the hour or the day leave no longer gap at its end.
    const MINUTES: [u64; 10] = [30, 20, 15, 12, 10, 6, 5, 4, 3, 2];
    const HOURS: [u64; 7] = [12, 8, 6, 4, 3, 2, 1];
    if seconds >= 86_400 {
        return Some("0 3 * * *".into());
    }
    match HOURS.iter().find(|hours| *hours * 3600 <= seconds) {
        Some(1) => return Some("7 * * * *".into()),
        Some(hours) => return Some(format!("7 */{hours} * * *")),
        None => {}
    }
    match MINUTES.iter().find(|minutes| *minutes * 60 <= seconds) {
        Some(minutes) => Some(format!("*/{minutes} * * * *")),
        None => (seconds >= 60).then(|| "* * * * *".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_run_is_strictly_after() {
        let table = [
            ("7 * * * *", "2026-11-20T06:07:00Z", "2026-11-20T07:07:00Z"),
            ("7 * * * *", "2026-11-20T06:06:59Z", "2026-11-20T06:07:00Z"),
            ("0 3 * * 0", "2026-11-20T06:00:00Z", "2026-11-22T03:00:00Z"),
            (
                "0 3 * * SUN",
                "2026-11-20T06:00:00Z",
                "2026-11-22T03:00:00Z",
            ),
            (
                "*/15 * * * *",
                "2026-12-31T23:50:00Z",
                "2027-01-01T00:00:00Z",
            ),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // Either day field fits when both are restricted.
            ("0 0 13 * 5", "2026-11-14T00:00:00Z", "2026-11-20T00:00:00Z"),
            (
                "30 1 1 JAN *",
                "2026-11-20T00:00:00Z",
                "2027-01-01T01:30:00Z",
            ),
        ];
        for (text, after, next) in table {
            let schedule = Schedule::parse(text).unwrap();
            assert_eq!(schedule.next_after(at(after)), Some(at(next)), "{text}");
            assert_eq!(schedule.text(), text);
        }
    }

    #[test]
    fn the_last_run_is_at_the_time_or_before() {
        let table = [
            ("7 * * * *", "2026-11-20T06:07:00Z", "2026-11-20T06:07:00Z"),
            ("7 * * * *", "2026-11-20T06:07:59Z", "2026-11-20T06:07:00Z"),
            ("7 * * * *", "2026-11-20T06:06:59Z", "2026-11-20T05:07:00Z"),
            ("0 3 * * 0", "2026-11-20T06:00:00Z", "2026-11-15T03:00:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2024-02-29T00:00:00Z"),
            ("0 0 13 * 5", "2026-11-19T00:00:00Z", "2026-11-13T00:00:00Z"),
        ];
        for (text, time, last) in table {
            let schedule = Schedule::parse(text).unwrap();
            assert_eq!(schedule.last_until(at(time)), Some(at(last)), "{text}");
        }
    }

    #[test]
    fn the_longest_gap_is_found() {
        let hour = 3600;
        let day = 86_400;
        let table = [
            ("* * * * *", 60),
            ("7 * * * *", hour),
            ("*/7 * * * *", 7 * 60),
            ("*/50 * * * *", 50 * 60),
            ("0 8-18 * * *", 14 * hour),
            ("0 3 * * *", day),
            ("0 3 * * 1-5", 3 * day),
            ("0 9,17 * * 1-5", 2 * day + 16 * hour),
            ("0 3 * * 0", 7 * day),
            ("0 3 1 * *", 31 * day),
            ("0 3 31 * *", 61 * day),
            ("0 0 1 1 *", 366 * day),
            ("0 0 29 2 *", 1461 * day),
        ];
        for (text, gap) in table {
            let schedule = Schedule::parse(text).unwrap();
            assert_eq!(schedule.gap_max().seconds, gap, "{text}");
        }
    }

    /// The shortcut over days finds what walking every run finds.
    #[test]
    fn the_shortcut_finds_the_gap_that_walking_every_run_finds() {
        for text in [
            "13 */5 * * 2,6",
            "5 4 */9 * *",
            "0 22,23 28-31 * *",
            "1 1 13 * 5",
        ] {
            let schedule = Schedule::parse(text).unwrap();
            let mut time = at("2026-01-01T00:00:00Z");
            let (mut longest, mut previous) = (0, None);
            while let Some(next) = schedule.next_after(time)
                && next < at("2036-01-01T00:00:00Z")
            {
                if let Some(previous) = previous {
                    longest = longest.max(next.as_second() - previous);
                }
                (previous, time) = (Some(next.as_second()), next);
            }
            assert_eq!(
                i64::try_from(schedule.gap_max().seconds),
                Ok(longest),
                "{text}"
            );
        }
    }

    #[test]
    fn an_invalid_schedule_says_why() {
        let table = [
            ("", "expected 5 fields, found 0"),
            ("@daily", "expected 5 fields, found 1"),
            ("0 7 * * * *", "expected 5 fields, found 6"),
            (
                "0 0 30 2 *",
                "no such day exists, so that it would never run",
            ),
        ];
        for (text, cause) in table {
            let error = Schedule::parse(text).unwrap_err();
            assert_eq!(error.message, format!("{text:?} is no schedule"));
            assert_eq!(error.cause.as_deref(), Some(cause), "{text}");
        }
        for text in [
            "61 * * * *",
            "* 25 * * *",
            "* * 0 * *",
            "x * * * *",
            "5-1 * * * *",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_suggestion_runs_often_enough() {
        assert_eq!(suggestion(59), None);
        for seconds in [
            60,
            90,
            600,
            3599,
            3600,
            5 * 3600,
            86_399,
            86_400,
            9 * 86_400,
        ] {
            let text = suggestion(seconds).unwrap();
            let gap = Schedule::parse(&text).unwrap().gap_max();
            assert!(gap.seconds <= seconds, "{text} for {seconds}");
        }
    }
}
