//! Windows of the week, in UTC, in which scheduled work waits.
//!
//! Pure: the time comes from the caller.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use std::fmt;
use std::str::FromStr;

/// Minutes of a week.
const WEEK: u32 = 7 * DAY;
/// Minutes of a day.
const DAY: u32 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A window that returns every week: `Mon-Fri 08:00-18:00`, `Sat,Sun 00:00-24:00`, `22:00-06:00`. It
/// includes its first minute and excludes its last. One that ends no later than it begins ends on
/// the next day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    text: String,
    /// First minute and the one after the last, in minutes since Monday 00:00. The end may lie in
    /// the next week.
    spans: Vec<(u32, u32)>,
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |cause: &str| {
            format!(
                "{text:?} is no window of the week: {cause}; write one as \"Mon-Fri 08:00-18:00\" or \"22:00-06:00\", in UTC"
            )
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, hours) = match words.as_slice() {
            [hours] => ("Mon-Sun", *hours),
            [days, hours] => (*days, *hours),
            _ => return Err(wrong("it has neither hours alone nor days and hours")),
        };
        let (from, to) = hours
            .split_once('-')
            .and_then(|(from, to)| Some((minute(from)?, minute(to)?)))
            .filter(|(from, _)| *from < DAY)
            .ok_or_else(|| wrong(&format!("{hours:?} are no hours")))?;
        let length = match to > from {
            true => to - from,
            false => to + DAY - from,
        };
        let spans = weekdays(days).ok_or_else(|| wrong(&format!("{days:?} are no days")))?;
        let spans = spans.into_iter().map(|day| {
            let begin = day * DAY + from;
            (begin, begin + length)
        });
        Ok(Window {
            text: words.join(" "),
            spans: spans.collect(),
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Minutes since midnight: `08:00`, `24:00`.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| match text.len() {
        1 | 2 if text.bytes().all(|b| b.is_ascii_digit()) => text.parse::<u32>().ok(),
        _ => None,
    };
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    let whole = hour * 60 + minute;
    (minute < 60 && whole <= DAY).then_some(whole)
}

/// The days of `Mon-Fri,Sun`, from 0 for Monday. `Sat-Mon` goes over the end of the week.
fn weekdays(text: &str) -> Option<Vec<u32>> {
    let day = |word: &str| {
        let found = DAYS.iter().position(|day| word.eq_ignore_ascii_case(day))?;
        u32::try_from(found).ok()
    };
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + 7 - first) % 7;
        days.extend((0..=count).map(|step| (first + step) % 7));
    }
    Some(days)
}

/// Minutes since Monday 00:00 UTC, and the seconds of the minute.
fn minute_of_week(time: Timestamp) -> (u32, i64) {
    let civil = time.to_zoned(TimeZone::UTC).datetime();
    let day = match civil.weekday() {
        Weekday::Monday => 0,
        Weekday::Tuesday => 1,
        Weekday::Wednesday => 2,
        Weekday::Thursday => 3,
        Weekday::Friday => 4,
        Weekday::Saturday => 5,
        Weekday::Sunday => 6,
    };
    let part = |n: i8| u32::try_from(n).unwrap_or(0);
    let minute = day * DAY + part(civil.hour()) * 60 + part(civil.minute());
    (minute, i64::from(civil.second()))
}

/// The end, in minutes since Monday 00:00, of a window that covers this minute.
fn covered_until(windows: &[Window], minute: u32) -> Option<u32> {
    let spans = windows.iter().flat_map(|window| &window.spans);
    let ends = spans.filter_map(|(from, to)| {
        // A window of the week before may reach into this one.
        if (*from..*to).contains(&minute) {
            Some(*to)
        } else if (*from..*to).contains(&(minute + WEEK)) {
            Some(*to - WEEK)
        } else {
            None
        }
    });
    ends.max()
}

/// The first time from `time` on that no window covers; `None` if they cover the whole week.
pub fn free_from(windows: &[Window], time: Timestamp) -> Option<Timestamp> {
    let (begin, second) = minute_of_week(time);
    let mut minute = begin;
    while let Some(end) = covered_until(windows, minute % WEEK) {
        minute = minute - minute % WEEK + end;
        if minute >= begin + WEEK {
            return None;
        }
    }
    if minute == begin {
        return Some(time);
    }
    let seconds = i64::from(minute - begin) * 60 - second;
    Timestamp::from_second(time.as_second() + seconds).ok()
}

/// The longest time, in seconds, that work waits for the windows to end. `None` if they cover the
/// whole week.
pub fn longest_wait(windows: &[Window]) -> Option<u64> {
    let monday = Timestamp::from_second(1_767_571_200).ok()?;
    let begins = windows.iter().flat_map(|window| &window.spans);
    let mut longest = 0;
    for (from, _) in begins {
        let begin = monday.as_second() + i64::from(*from % WEEK) * 60;
        let free = free_from(windows, Timestamp::from_second(begin).ok()?)?;
        longest = longest.max(free.as_second() - begin);
    }
    u64::try_from(longest).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn windows(texts: &[&str]) -> Vec<Window> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn work_waits_until_no_window_covers_the_time() {
        // 2026-11-20 is a Friday.
        let office: &[&str] = &["Mon-Fri 08:00-18:00"];
        let table: &[(&[&str], &str, &str)] = &[
            (office, "2026-11-20T07:59:59Z", "2026-11-20T07:59:59Z"),
            (office, "2026-11-20T08:00:00Z", "2026-11-20T18:00:00Z"),
            (office, "2026-11-20T17:59:59Z", "2026-11-20T18:00:00Z"),
            (office, "2026-11-20T18:00:00Z", "2026-11-20T18:00:00Z"),
            (office, "2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z"),
            (
                &["22:00-06:00"],
                "2026-11-20T23:30:10Z",
                "2026-11-21T06:00:00Z",
            ),
            (
                &["22:00-06:00"],
                "2026-11-23T05:00:00Z",
                "2026-11-23T06:00:00Z",
            ),
            // The window of Sunday reaches into the next week.
            (
                &["Sun 22:00-06:00"],
                "2026-11-23T05:00:00Z",
                "2026-11-23T06:00:00Z",
            ),
            (
                &["sat-mon 00:00-24:00"],
                "2026-11-21T12:00:00Z",
                "2026-11-24T00:00:00Z",
            ),
            // One follows the other without a gap.
            (
                &["Fri 08:00-12:00", "Fri 12:00-20:00"],
                "2026-11-20T09:00:00Z",
                "2026-11-20T20:00:00Z",
            ),
            (
                &["Mon,Wed,Fri 0:00-24:00"],
                "2026-11-20T00:00:00Z",
                "2026-11-21T00:00:00Z",
            ),
            (&[], "2026-11-20T00:00:00Z", "2026-11-20T00:00:00Z"),
        ];
        for (texts, time, free) in table {
            let found = free_from(&windows(texts), at(time));
            assert_eq!(found, Some(at(free)), "{texts:?} {time}");
        }
    }

    #[test]
    fn windows_that_cover_the_whole_week_leave_no_time() {
        for texts in [
            &["00:00-24:00"][..],
            &["00:00-00:00"],
            &["Mon-Fri 00:00-24:00", "Sat,Sun 00:00-24:00"],
            &["06:00-22:00", "22:00-06:00"],
        ] {
            assert_eq!(
                free_from(&windows(texts), at("2026-11-20T05:00:00Z")),
                None,
                "{texts:?}"
            );
            assert_eq!(longest_wait(&windows(texts)), None, "{texts:?}");
        }
        assert_eq!(
            longest_wait(&windows(&["Mon-Fri 08:00-18:00"])),
            Some(36_000)
        );
        assert_eq!(
            longest_wait(&windows(&["22:00-06:00", "Mon 06:00-07:00"])),
            Some(9 * 3600)
        );
        assert_eq!(longest_wait(&[]), Some(0));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "Mon",
            "Mon-Fri",
            "Mon 8-18",
            "Mon 08:00",
            "Foo 08:00-18:00",
            "08:60-09:00",
            "25:00-26:00",
            "24:00-25:00",
            "24:00-08:00",
            "Mon Tue 08:00-18:00",
            "Mon- 08:00-18:00",
            "+8:00-18:00",
        ] {
            let error = text.parse::<Window>().unwrap_err();
            assert!(
                error.starts_with(&format!("{text:?} is no window of the week")),
                "{error}"
            );
        }
        let window: Window = "  Mon-Fri   08:00-18:00 ".parse().unwrap();
        assert_eq!(window.to_string(), "Mon-Fri 08:00-18:00");
    }
}
