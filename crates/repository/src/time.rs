//! Times as Go's JSON encodes them: RFC 3339 with nanoseconds, without trailing zeros, and with the
//! offset of their time zone. The offset is kept because a tree's id depends on it.

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// An instant, and the offset from UTC with which it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// The instant.
    pub at: Timestamp,
    /// The offset east of UTC, in whole minutes.
    pub offset: Offset,
}

/// The text that Go writes for no time.
const ZERO: &str = "0001-01-01T00:00:00Z";

impl Time {
    /// An instant with the offset that it has in `zone`.
    pub fn new(at: Timestamp, zone: &TimeZone) -> Self {
        Time {
            at,
            offset: whole(zone.to_offset(at)),
        }
    }

    /// An instant in UTC.
    pub const fn utc(at: Timestamp) -> Self {
        Time {
            at,
            offset: Offset::UTC,
        }
    }

    /// Text for people: to the second, in the time's own offset, which is shown too.
    pub fn to_the_second(&self) -> String {
        let there = self.at.to_zoned(TimeZone::fixed(self.offset));
        there.strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
    }

    /// Text for people: to the second, in `zone`.
    pub fn in_zone(&self, zone: &TimeZone) -> String {
        let local = zone.to_datetime(self.at);
        local.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// The instant, in seconds and nanoseconds since 1970. Only years of four digits can be written;
/// for any other, the nearest instant whose year has four digits in every zone.
pub fn nearest(seconds: i64, nanoseconds: i32) -> Timestamp {
    /// 0000-01-02T00:00:00Z.
    const FIRST: i64 = -62_167_132_800;
    match Timestamp::new(seconds, nanoseconds) {
        Ok(at) if seconds >= FIRST => at,
        _ if seconds > 0 => Timestamp::MAX,
        _ => Timestamp::from_second(FIRST).unwrap_or(Timestamp::MIN),
    }
}

/// Rounds to whole minutes, since no others can be written. Before there were time zones, each town
/// had its own offset; an instant stays the same with another offset.
fn whole(offset: Offset) -> Offset {
    Offset::from_seconds(offset.seconds() / 60 * 60).unwrap_or(offset)
}

impl Default for Time {
    /// Go's zero time.
    fn default() -> Self {
        ZERO.parse().unwrap_or(Time::utc(Timestamp::UNIX_EPOCH))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.offset.to_datetime(self.at);
        write!(f, "{local}")?;
        match self.offset.seconds() / 60 {
            0 => f.write_str("Z"),
            minutes => {
                let sign = if minutes < 0 { '-' } else { '+' };
                let minutes = minutes.abs();
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

impl FromStr for Time {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        let at: Timestamp = text.parse()?;
        let offset = match text.ends_with(['Z', 'z']) {
            true => Offset::UTC,
            false => {
                let pieces = jiff::fmt::temporal::DateTimeParser::new().parse_pieces(text)?;
                pieces.to_numeric_offset().unwrap_or(Offset::UTC)
            }
        };
        Ok(Time {
            at,
            offset: whole(offset),
        })
    }
}

impl From<&Zoned> for Time {
    fn from(zoned: &Zoned) -> Self {
        Time {
            at: zoned.timestamp(),
            offset: whole(zoned.offset()),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let texts = [
            "2026-11-21T11:42:32.916742786Z",
            "2026-11-21T11:42:32.9Z",
            "2026-11-21T11:42:32Z",
            "2026-11-21T13:42:32.000000001+02:00",
            "1969-12-31T20:00:00-03:30",
            "1601-01-01T00:00:00Z",
            ZERO,
        ];
        for text in texts {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
        assert_eq!(Time::default().to_string(), ZERO);
        assert!("yesterday".parse::<Time>().is_err());
    }

    #[test]
    fn a_time_that_cannot_be_written_becomes_the_nearest_that_can() {
        let east = TimeZone::fixed(Offset::from_hours(14).unwrap());
        let west = TimeZone::fixed(Offset::from_hours(-12).unwrap());
        for (seconds, expected) in [
            (0, "1970-01-01T14:00:00+14:00"),
            (253_402_300_800, "9999-12-31T12:00:00.999999999+14:00"),
            (i64::MAX, "9999-12-31T12:00:00.999999999+14:00"),
            (-62_167_219_200, "0000-01-02T14:00:00+14:00"),
            (i64::MIN, "0000-01-02T14:00:00+14:00"),
        ] {
            let text = Time::new(nearest(seconds, 0), &east).to_string();
            assert_eq!(text, expected);
            assert_eq!(text.parse::<Time>().unwrap().at, nearest(seconds, 0));
        }
        let text = Time::new(nearest(i64::MIN, 0), &west).to_string();
        assert_eq!(text, "0000-01-01T12:00:00-12:00");
    }

    #[test]
    fn an_offset_with_seconds_is_the_same_instant() {
        let old: Time = "1900-01-01T00:19:32+00:19:32".parse().unwrap();
        assert_eq!(old.to_string(), "1900-01-01T00:19:00+00:19");
        assert_eq!(old.to_string().parse::<Time>().unwrap(), old);
        let town = TimeZone::fixed(Offset::from_seconds(-32_522).unwrap());
        let there = Time::new(old.at, &town);
        assert_eq!(there.to_string().parse::<Time>().unwrap(), there);
        assert_eq!(there.at, old.at);
    }
}
