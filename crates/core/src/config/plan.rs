//! The tables `[plan.NAME]`.

use super::text;
use super::when::When;
use crate::expect::Percent;
use crate::name::Name;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Takes no point when nothing changed since the last one, and notes that beside it. For sources
    /// of at most 64 MiB each.
    #[serde(default)]
    pub skip_unchanged: bool,
    /// Points that are kept. Without it, nothing is deleted.
    #[serde(default)]
    pub keep: Option<Keep>,
    /// Points that are kept in a store that keeps others, by the name of the store.
    #[serde(default)]
    pub keep_in: BTreeMap<Name, Keep>,
    /// How long a point stays that was taken for a reason (`backup --reason`). It stands outside the
    /// periods.
    #[serde(default = "month")]
    pub keep_manual: Span,
    /// How long a point stays that was taken before a live restore.
    #[serde(default = "month")]
    pub keep_safety: Span,
    /// Number of the newest complete points that stay whatever the rules.
    #[serde(default = "one")]
    pub keep_minimum: u32,
    /// Largest share of the points of a store that one run gives up, where there are ten or more.
    #[serde(default = "half")]
    pub prune_limit: Percent,
    /// Time between the announcement that a point goes and its deletion. It must be longer than any
    /// restore.
    #[serde(default = "day")]
    pub prune_grace: Span,
    /// How far a point may be from the points before it. Without it, 20 % each.
    #[serde(default)]
    pub anomaly: AnomalyRule,
    /// Commands before the first source; if one fails, the backup fails.
    #[serde(default)]
    pub before: Vec<Vec<String>>,
    /// Commands after the last source, whatever happened.
    #[serde(default)]
    pub finally: Vec<Vec<String>>,
}

impl PlanConfig {
    /// A plan that says no more than what goes where.
    pub fn bare(sources: Vec<Name>, stores: Vec<Name>) -> Self {
        PlanConfig {
            when: When::default(),
            sources,
            stores,
            skip_unchanged: false,
            keep: None,
            keep_in: BTreeMap::new(),
            keep_manual: month(),
            keep_safety: month(),
            keep_minimum: one(),
            prune_limit: half(),
            prune_grace: day(),
            anomaly: AnomalyRule::default(),
            before: Vec::new(),
            finally: Vec::new(),
        }
    }

    /// The rules of what is kept in a store of the plan; `None` keeps everything.
    pub fn kept_in(&self, store: &str) -> Option<&KeepRules> {
        match self.keep_in.get(store).or(self.keep.as_ref()) {
            Some(Keep::Rules(rules)) => Some(rules),
            Some(Keep::Word(KeepWord::Forever)) | None => None,
        }
    }
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
    /// Hours for each of which one point is kept.
    pub hourly: Option<Reach>,
    /// Days for each of which one point is kept.
    pub daily: Option<Reach>,
    /// Weeks for each of which one point is kept.
    pub weekly: Option<Reach>,
    /// Months for each of which one point is kept.
    pub monthly: Option<Reach>,
    /// Years for each of which one point is kept.
    pub yearly: Option<Reach>,
    /// Age up to which every point is kept.
    pub within: Option<Span>,
    /// Point of a period that is kept.
    pub of_period: OfPeriod,
}

impl KeepRules {
    /// What is said of hours, days, weeks, months and years, in this order.
    pub fn periods(&self) -> [Option<Reach>; 5] {
        [
            self.hourly,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ]
    }

    /// Returns whether no point is kept by them.
    pub fn is_empty(&self) -> bool {
        let none = |reach: Option<Reach>| reach.is_none_or(Reach::is_zero);
        self.last.unwrap_or(0) == 0
            && self.within.is_none_or(|within| within.seconds == 0)
            && self.periods().into_iter().all(none)
    }
}

/// Anomalies: when a point is too far from the points before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AnomalyRule {
    /// `"off"`.
    Word(AnomalyWord),
    /// Limits.
    Limits(AnomalyLimits),
}

impl AnomalyRule {
    /// The limits; `None` if nothing is compared.
    pub fn limits(&self) -> Option<&AnomalyLimits> {
        match self {
            AnomalyRule::Limits(limits) => Some(limits),
            AnomalyRule::Word(AnomalyWord::Off) => None,
        }
    }
}

impl Default for AnomalyRule {
    fn default() -> Self {
        AnomalyRule::Limits(AnomalyLimits::default())
    }
}

/// The word that `anomaly` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnomalyWord {
    /// Points are not compared with those before them.
    Off,
}

/// How far a point may be from the median of the points before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnomalyLimits {
    /// For the bytes of a source.
    pub bytes: Percent,
    /// For the files or objects of a source.
    pub files: Percent,
    /// For the rows of a table.
    pub rows: Percent,
}

impl Default for AnomalyLimits {
    fn default() -> Self {
        AnomalyLimits {
            bytes: Percent::FIFTH,
            files: Percent::FIFTH,
            rows: Percent::FIFTH,
        }
    }
}

/// How far back the periods of a rule reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Reach {
    /// This many periods that have points.
    Count(u32),
    /// The periods within this time before the newest complete point.
    Span(Span),
}

impl Reach {
    /// Returns whether no period is reached.
    pub fn is_zero(self) -> bool {
        match self {
            Reach::Count(count) => count == 0,
            Reach::Span(span) => span.seconds == 0,
        }
    }
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

fn month() -> Span {
    Span {
        seconds: 30 * 86_400,
    }
}

fn day() -> Span {
    Span { seconds: 86_400 }
}

fn one() -> u32 {
    1
}

fn half() -> Percent {
    Percent::HALF
}
