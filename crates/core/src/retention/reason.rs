//! What is decided about a point, and why, as values and as words.

use crate::name::Name;
use jiff::Timestamp;
use lifeboat_repository::forget;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// What is decided about a point in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It stays, for each of these reasons.
    Keep(Vec<Reason>),
    /// Nothing keeps it.
    Delete(Why),
    /// Nothing keeps it, and it cannot be deleted yet.
    Wait {
        /// When it can be; `None` where somebody has to lift a lock.
        until: Option<Timestamp>,
        /// What forbids it.
        hold: Hold,
        /// Why nothing keeps it.
        why: Why,
    },
}

/// Why a point stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The plan keeps everything.
    Forever,
    /// It is the newest complete point.
    NewestComplete,
    /// It is the newest point that this drill proved.
    Proven(Name),
    /// It is the newest point that was proved at all.
    ProvenLast,
    /// Somebody pinned it, for this reason.
    Pinned(String),
    /// It was taken before a live restore, and stays until then.
    Safety(Timestamp),
    /// It was taken for a reason, and stays until then.
    Manual(Timestamp),
    /// It is one of so many newest sound points.
    Minimum(u32),
    /// A rule about periods or numbers.
    Rule(forget::Reason),
    /// It is dated in the future, so that its age is unknown.
    Ahead,
    /// Something of it is missing in the store, so that somebody has to look at it.
    NotWhole,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Forever => f.write_str("kept forever"),
            Reason::NewestComplete => f.write_str("newest complete"),
            Reason::Proven(drill) => write!(f, "last proved by drill {drill}"),
            Reason::ProvenLast => f.write_str("last proved"),
            Reason::Pinned(reason) => write!(f, "pinned: {reason}"),
            Reason::Safety(until) => {
                write!(f, "safety point, until one is newer than {}", date(*until))
            }
            Reason::Manual(until) => write!(
                f,
                "taken for a reason, until one is newer than {}",
                date(*until)
            ),
            Reason::Minimum(count) => write!(f, "one of the newest {count}"),
            Reason::Rule(reason) => write!(f, "{reason}"),
            Reason::Ahead => f.write_str("dated in the future"),
            Reason::NotWhole => f.write_str("not whole, until it is healed"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why nothing keeps a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// No rule keeps it.
    NoRule,
    /// It is not sound, and no rule needs it for want of a sound one.
    Unsound,
    /// It was taken for a reason, and has stayed as long as such points do.
    ManualOver,
    /// It was taken before a live restore, and has stayed as long as such points do.
    SafetyOver,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::NoRule => "no rule keeps it",
            Why::Unsound => "not sound, and no rule needs it",
            Why::ManualOver => "keep_manual is over",
            Why::SafetyOver => "keep_safety is over",
        })
    }
}

/// What forbids to delete a point that nothing keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// It was announced not long ago, and others may be reading it.
    Grace,
    /// The store locks it until then.
    Locked,
    /// The store locks it until somebody lifts the lock.
    Held,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Keep(reasons) => {
                let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
                f.write_str(&reasons.join(", "))
            }
            Decision::Delete(why) => write!(f, "{why}"),
            Decision::Wait {
                until: Some(until),
                hold: Hold::Grace,
                why,
            } => write!(f, "{why}; leaves {}", minute(*until)),
            Decision::Wait {
                until: Some(until),
                why,
                ..
            } => write!(f, "{why}; waits for its lock until {}", date(*until)),
            Decision::Wait {
                until: None, why, ..
            } => write!(f, "{why}; locked until somebody lifts the lock"),
        }
    }
}

fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}
