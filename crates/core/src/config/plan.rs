//! The tables `[plan.NAME]`.

use super::text;
use crate::name::Name;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which sources go where, and when.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// Cron, five fields, UTC.
    #[serde(default)]
    #[schemars(with = "Option<text::Cron>")]
    pub schedule: Option<String>,
    /// Names of sources, in the order they are captured.
    #[schemars(with = "Vec<text::Name>")]
    pub sources: Vec<Name>,
    /// Names of stores.
    #[schemars(with = "Vec<text::Name>")]
    pub stores: Vec<Name>,
    /// Which points are kept.
    #[serde(default)]
    pub keep: Option<Keep>,
    /// Commands before the first source; one that fails fails the backup.
    #[serde(default)]
    pub before: Vec<Vec<String>>,
    /// Commands after the last source, whatever happened.
    #[serde(default)]
    pub finally: Vec<Vec<String>>,
}

/// Which points are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Keep {
    /// `"forever"`.
    Word(KeepWord),
    /// By rules.
    Rules(KeepRules),
}

/// The one word `keep` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeepWord {
    /// Nothing is ever deleted.
    Forever,
}

/// Retention rules.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeepRules {
    /// The last so many.
    pub last: Option<u32>,
    /// One for each of so many hours.
    pub hourly: Option<u32>,
    /// Days.
    pub daily: Option<u32>,
    /// Weeks.
    pub weekly: Option<u32>,
    /// Months.
    pub monthly: Option<u32>,
    /// Years.
    pub yearly: Option<u32>,
    /// Everything younger.
    pub within: Option<Span>,
    /// Which point of a period is kept.
    pub of_period: OfPeriod,
}

/// Which point of a period is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OfPeriod {
    /// The oldest.
    First,
    /// The newest, as restic does.
    #[default]
    Last,
}
