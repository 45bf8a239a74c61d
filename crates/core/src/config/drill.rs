//! The tables `[drill.NAME]`.

use super::{CheckConfig, text};
use crate::name::Name;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rehearsed restore.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillConfig {
    /// Cron, five fields, UTC.
    #[serde(default)]
    #[schemars(with = "Option<text::Cron>")]
    pub schedule: Option<String>,
    /// The plans whose points are drilled as one application.
    #[schemars(with = "Vec<text::Name>")]
    pub plans: Vec<Name>,
    /// Which copy is proved; the plan's first store when absent.
    #[serde(default)]
    #[schemars(with = "Option<text::Name>")]
    pub store: Option<Name>,
    /// Which point: any POINT expression.
    #[serde(default = "latest")]
    pub point: String,
    /// Overdue after this.
    #[serde(default)]
    pub max_age: Option<Span>,
    /// What is asked of the restored application.
    #[serde(default)]
    pub checks: Vec<CheckConfig>,
}

fn latest() -> String {
    "latest".into()
}
