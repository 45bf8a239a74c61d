//! Lengths of time as a configuration writes them.

use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// A length of time: `90s`, `15m`, `36h`, `9d`, `2w`, `1y`; whole seconds. A year has 365
/// days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Its length.
    pub seconds: u64,
}

impl Span {
    /// The time that lies so long after `at`; the last that there is, if none does.
    pub fn after(self, at: Timestamp) -> Timestamp {
        at.checked_add(self.duration()).unwrap_or(Timestamp::MAX)
    }

    /// The time that lies so long before `at`; the first that there is, if none does.
    pub fn before(self, at: Timestamp) -> Timestamp {
        at.checked_sub(self.duration()).unwrap_or(Timestamp::MIN)
    }

    fn duration(self) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.seconds).unwrap_or(i64::MAX))
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no length of time; write one as 90s, 15m, 36h, 9d, 2w or 1y");
        let unit = text.chars().last().ok_or_else(wrong)?;
        let factor: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            'y' => 31_536_000,
            _ => return Err(wrong()),
        };
        let count: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
        let seconds = count.checked_mul(factor).ok_or_else(wrong)?;
        Ok(Span { seconds })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds {
            0 => f.write_str("0s"),
            s if s % 86_400 == 0 => write!(f, "{}d", s / 86_400),
            s if s % 3600 == 0 => write!(f, "{}h", s / 3600),
            s if s % 60 == 0 => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}
