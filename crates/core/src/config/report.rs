//! The tables `[report.NAME]`.

use super::text;
use super::when::When;
use crate::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A report that is written and sent by itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ReportConfig {
    /// When it is written.
    #[serde(flatten)]
    pub when: When,
    /// The period that it tells of.
    #[serde(default)]
    pub period: Period,
    /// The form that is sent beside plain text.
    #[serde(default)]
    pub format: ReportFormat,
    /// Channels that receive it.
    #[schemars(with = "Vec<text::Name>")]
    pub to: Vec<Name>,
}

/// Length of the period of a report.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// A day.
    Day,
    /// Seven days.
    #[default]
    Week,
    /// A month of the calendar.
    Month,
    /// Three months of the calendar.
    Quarter,
    /// A year of the calendar.
    Year,
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Period; 5] = [
        Period::Day,
        Period::Week,
        Period::Month,
        Period::Quarter,
        Period::Year,
    ];

    /// The name in the configuration and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
            Period::Quarter => "quarter",
            Period::Year => "year",
        }
    }
}

/// The form of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReportFormat {
    /// Markdown.
    Md,
    /// A page for a browser or a mail program.
    #[default]
    Html,
    /// The document as JSON.
    Json,
}
