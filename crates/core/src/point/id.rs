//! The id of a restore point: UTC time, then four random hex digits; it sorts by time.

use crate::clock::Clock;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `20261120T060000Z-7f3a`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PointId(String);

impl PointId {
    /// A new id of this moment.
    pub fn new(clock: &Clock) -> Self {
        let at = clock
            .now()
            .to_zoned(TimeZone::UTC)
            .strftime("%Y%m%dT%H%M%SZ")
            .to_string();
        PointId(format!("{at}-{:04x}", clock.random() & 0xffff))
    }

    /// This id, or, where `newest` is of the same second and would sort after it, the next one
    /// after `newest`: the newest point is the last one also when two are taken within a second.
    pub fn following(self, newest: &PointId) -> Self {
        let same_second = self.0.split('-').next() == newest.0.split('-').next();
        if !same_second || &self > newest {
            return self;
        }
        let digits = newest
            .0
            .split_once('-')
            .and_then(|(_, d)| u16::from_str_radix(d, 16).ok());
        match (
            self.0.split_once('-'),
            digits.and_then(|d| d.checked_add(1)),
        ) {
            (Some((time, _)), Some(next)) => PointId(format!("{time}-{next:04x}")),
            _ => self,
        }
    }

    /// The text, if it is an id.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, random) = text.split_once('-')?;
        let hex = random.len() == 4
            && random
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let id = PointId(text.to_owned());
        (hex && time.len() == 16 && id.parse_time().is_some()).then_some(id)
    }

    fn parse_time(&self) -> Option<Timestamp> {
        let (time, _) = self.0.split_once('-')?;
        let civil = DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }

    /// When the point was begun, to the second.
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

impl TryFrom<String> for PointId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        PointId::parse(&text).ok_or_else(|| format!("{text:?} is no restore point id"))
    }
}

impl From<PointId> for String {
    fn from(id: PointId) -> String {
        id.0
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
    fn of_two_in_one_second_the_later_sorts_last() {
        let id = |text: &str| PointId::parse(text).unwrap();
        let newest = id("20261120T060000Z-8fff");
        for (made, expected) in [
            ("20261120T060000Z-0001", "20261120T060000Z-9000"),
            ("20261120T060000Z-8fff", "20261120T060000Z-9000"),
            ("20261120T060000Z-a001", "20261120T060000Z-a001"),
            ("20261120T060001Z-0001", "20261120T060001Z-0001"),
        ] {
            assert_eq!(id(made).following(&newest), id(expected));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
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
