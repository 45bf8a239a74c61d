//! Ids of restore points: UTC time, then four random hex digits. They sort by time.

use crate::clock::Clock;
use crate::short::Short;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `20261120T060000Z-7f3a`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Short", into = "Short")]
pub struct PointId(Short);

impl PointId {
    /// A new id for the current time.
    pub fn new(clock: &Clock) -> Self {
        let at = clock
            .now()
            .to_zoned(TimeZone::UTC)
            .strftime("%Y%m%dT%H%M%SZ")
            .to_string();
        PointId(
            format!("{at}-{:04x}", clock.random() & 0xffff)
                .as_str()
                .into(),
        )
    }

    /// Returns this id or, if `newest` is of the same second and would sort after it, an id a
    /// little after `newest`. The newest point is therefore the last one taken, even if two are
    /// taken within a second. `random` is any number; it separates the remains of a killed run from
    /// a new point of the same second.
    pub fn following(self, newest: &PointId, random: u64) -> Self {
        if self.second() != newest.second() || &self > newest {
            return self;
        }
        let digits = |id: &PointId| u16::from_str_radix(id.0.split_once('-')?.1, 16).ok();
        let Some(room) = digits(newest).map(|d| u16::MAX - d).filter(|r| *r > 0) else {
            return self;
        };
        let step = 1 + random % u64::from(room.min(256));
        let next = u64::from(u16::MAX - room) + step;
        PointId(format!("{}-{next:04x}", self.second()).as_str().into())
    }

    /// The part that ids of one second share.
    pub(crate) fn second(&self) -> &str {
        self.0.split_once('-').map_or(&self.0, |(time, _)| time)
    }

    /// Parses an id; `None` if the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, random) = text.split_once('-')?;
        let hex = random.len() == 4
            && random
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let id = PointId(text.into());
        (hex && time.len() == 16 && id.parse_time().is_some()).then_some(id)
    }

    fn parse_time(&self) -> Option<Timestamp> {
        let (time, _) = self.0.split_once('-')?;
        let civil = DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }

    /// The time when the point was begun, to the second.
    pub fn time(&self) -> Timestamp {
        // `parse` and `new` make only ids whose time parses.
        self.parse_time().unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<Short> for PointId {
    type Error = String;

    fn try_from(text: Short) -> Result<Self, String> {
        PointId::parse(&text).ok_or_else(|| format!("{text:?} is no restore point id"))
    }
}

impl From<PointId> for Short {
    fn from(id: PointId) -> Short {
        id.0
    }
}

impl From<PointId> for String {
    fn from(id: PointId) -> String {
        id.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_time() {
        let clock = Clock::fixed("2026-11-20T06:00:00Z".parse().unwrap());
        let id = PointId::new(&clock);
        assert!(id.as_str().starts_with("20261120T060000Z-"), "{id}");
        assert_eq!(PointId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.time(), clock.now());
    }

    #[test]
    fn the_later_of_two_ids_in_one_second_sorts_last() {
        let id = |text: &str| PointId::parse(text).unwrap();
        let newest = id("20261120T060000Z-8fff");
        for (made, random, expected) in [
            ("20261120T060000Z-0001", 0, "20261120T060000Z-9000"),
            ("20261120T060000Z-8fff", 256, "20261120T060000Z-9000"),
            ("20261120T060000Z-8fff", 511, "20261120T060000Z-90ff"),
            ("20261120T060000Z-a001", 7, "20261120T060000Z-a001"),
            ("20261120T060001Z-0001", 7, "20261120T060001Z-0001"),
        ] {
            assert_eq!(id(made).following(&newest, random), id(expected));
        }
        let nearly = id("20261120T060000Z-fffd");
        let last = id("20261120T060000Z-ffff");
        assert_eq!(newest.clone().following(&nearly, 1), last);
        assert_eq!(newest.clone().following(&last, 1), newest);
    }

    #[test]
    fn an_invalid_id_is_refused() {
        for text in [
            "",
            "20261120T060000Z",
            "20261120T060000Z-7F3A",
            "20261320T060000Z-7f3a",
            "20261120T060000Z-7f3a/..",
            "20261120T060000Z-7f3",
            "x0261120T060000Z-7f3a",
        ] {
            assert_eq!(PointId::parse(text), None, "{text:?}");
        }
    }
}
