//! The tables `[plan.NAME]`.

use super::text;
use super::when::When;
use crate::name::Name;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sources to capture, stores to receive them, and when.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PlanConfig {
    /// When it runs.
    #[serde(flatten)]
    pub when: When,
    /// Names of sources, in the order they are captured.
    #[schemars(with = "Vec<text::Name>")]
    pub sources: Vec<Name>,
    /// Names of stores.
    #[schemars(with = "Vec<text::Name>")]
    pub stores: Vec<Name>,
    /// Points that are kept.
    #[serde(default)]
    pub keep: Option<Keep>,
    /// Commands before the first source; if one fails, the backup fails.
    #[serde(default)]
    pub before: Vec<Vec<String>>,
    /// Commands after the last source, whatever happened.
    #[serde(default)]
    pub finally: Vec<Vec<String>>,
}

/// Retention: the points that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Keep {
    /// `"forever"`.
    Word(KeepWord),
    /// Retention rules.
    Rules(KeepRules),
}

/// The word that `keep` may be.
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
    /// Number of newest points.
    pub last: Option<u32>,
    /// Number of hours for each of which one point is kept.
    pub hourly: Option<u32>,
    /// Number of days for each of which one point is kept.
    pub daily: Option<u32>,
    /// Number of weeks for each of which one point is kept.
    pub weekly: Option<u32>,
    /// Number of months for each of which one point is kept.
    pub monthly: Option<u32>,
    /// Number of years for each of which one point is kept.
    pub yearly: Option<u32>,
    /// Age up to which every point is kept.
    pub within: Option<Span>,
    /// Point of a period that is kept.
    pub of_period: OfPeriod,
}

/// Point of a period that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OfPeriod {
    /// The oldest.
    First,
    /// The newest, as restic does.
    #[default]
    Last,
}
