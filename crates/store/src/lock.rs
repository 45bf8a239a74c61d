//! Locks on objects: how long one must stay, and what keeps a store from promising that.

use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// A lock on an object, which the store enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lock {
    /// It cannot be deleted before this time.
    Until(Timestamp),
    /// It cannot be deleted until somebody lifts the lock.
    Held,
}

/// Who may lift a lock before its date. The stronger mode is the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// Those who may bypass governance.
    Governance,
    /// Nobody.
    Compliance,
}

impl LockMode {
    /// The word in requests: `COMPLIANCE`.
    pub fn as_str(self) -> &'static str {
        match self {
            LockMode::Governance => "GOVERNANCE",
            LockMode::Compliance => "COMPLIANCE",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        let modes = [LockMode::Governance, LockMode::Compliance];
        modes.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// The locks that a store puts on what it takes.
#[derive(Debug, Clone, Copy)]
pub struct ObjectLock {
    /// Who may lift them.
    pub mode: LockMode,
    /// How long an object stays locked after it was put, in seconds.
    pub seconds: u64,
    /// Returns whether the object under a key is locked.
    pub applies: fn(&str) -> bool,
}

impl ObjectLock {
    /// The lock of an object that is put at a time.
    pub(crate) fn at(&self, now: Timestamp) -> Retained {
        let seconds = SignedDuration::from_secs(i64::try_from(self.seconds).unwrap_or(i64::MAX));
        let until = now.checked_add(seconds).unwrap_or(Timestamp::MAX);
        Retained {
            mode: self.mode,
            until,
        }
    }
}

/// A mode, and the date until which it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retained {
    pub(crate) mode: LockMode,
    pub(crate) until: Timestamp,
}

impl Retained {
    /// Returns whether this lock keeps what `asked` asks for. Servers keep whole seconds.
    pub(crate) fn covers(&self, asked: &Retained) -> bool {
        self.mode >= asked.mode && self.until.as_second() >= asked.until.as_second() - 1
    }

    /// The date in requests, in whole seconds.
    pub(crate) fn date(&self) -> String {
        self.until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

impl fmt::Display for Retained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} until {}", self.mode.as_str(), self.date())
    }
}

/// The reason why an object is not locked as it should be. The texts are those of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unlocked {
    /// The store locks no objects there, and refused this one.
    Refused(String),
    /// These credentials may not lock objects, or may not see locks.
    Denied(String),
    /// The store says of no lock.
    Absent,
    /// The lock is weaker or ends earlier.
    Less {
        /// The lock that the store reports.
        is: String,
        /// The lock that was asked for.
        asked: String,
    },
}

impl fmt::Display for Unlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unlocked::Refused(detail) => write!(f, "it takes no locks ({detail})"),
            Unlocked::Denied(detail) => write!(
                f,
                "these credentials may not lock objects or see their locks ({detail})"
            ),
            Unlocked::Absent => f.write_str("it ignored the lock"),
            Unlocked::Less { is, asked } => {
                write!(f, "its lock is {is}, and {asked} was asked for")
            }
        }
    }
}

/// What a place says about locks on its objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LockSettings {
    /// True if objects can be locked there.
    pub enabled: bool,
    /// The lock of whatever is put without one of its own: its mode and its length in days.
    pub default: Option<(LockMode, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_covers_another_if_it_is_as_strong_and_as_long() {
        let lock = |mode, until: &str| Retained {
            mode,
            until: until.parse().unwrap(),
        };
        use LockMode::{Compliance, Governance};
        let asked = lock(Governance, "2026-12-31T00:00:00.9Z");
        for (mode, until, covers) in [
            (Governance, "2026-12-31T00:00:00Z", true),
            (Compliance, "2026-12-31T00:00:00Z", true),
            (Governance, "2027-12-31T00:00:00Z", true),
            (Governance, "2026-12-30T23:59:58Z", false),
        ] {
            assert_eq!(lock(mode, until).covers(&asked), covers, "{mode:?} {until}");
        }
        let asked = lock(Compliance, "2026-12-31T00:00:00Z");
        assert!(!lock(Governance, "2099-12-31T00:00:00Z").covers(&asked));
        assert_eq!(asked.to_string(), "COMPLIANCE until 2026-12-31T00:00:00Z");
    }
}
