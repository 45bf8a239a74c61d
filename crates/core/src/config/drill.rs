//! The tables `[drill.NAME]`.

use super::when::When;
use super::{CheckConfig, text};
use crate::name::Name;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rehearsed restore.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct DrillConfig {
    /// When it runs.
    #[serde(flatten)]
    pub when: When,
    /// The plans whose points are drilled as one application.
    #[schemars(with = "Vec<text::Name>")]
    pub plans: Vec<Name>,
    /// Store whose copy is proved; the plan's first store when absent.
    #[serde(default)]
    #[schemars(with = "Option<text::Name>")]
    pub store: Option<Name>,
    /// Point to restore: any POINT expression.
    #[serde(default = "latest")]
    pub point: String,
    /// Age of the last drill after which the next one is overdue.
    #[serde(default)]
    pub max_age: Option<Span>,
    /// Checks of the restored application.
    #[serde(default)]
    pub checks: Vec<CheckConfig>,
}

fn latest() -> String {
    "latest".into()
}
