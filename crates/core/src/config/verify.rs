//! The tables `[verify.NAME]`.

use super::text;
use super::when::When;
use crate::name::Name;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A verification that runs by itself: what is stored is read again and compared with the
/// manifests.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VerifyConfig {
    /// When it runs.
    #[serde(flatten)]
    pub when: When,
    /// The point to verify: any POINT expression; the newest of each plan when absent.
    #[serde(default)]
    pub point: Option<String>,
    /// Share of the points to verify instead, at random: `"10%"`.
    #[serde(default)]
    pub sample: Option<String>,
    /// Store to read; every one when absent.
    #[serde(default)]
    #[schemars(with = "Option<text::Name>")]
    pub store: Option<Name>,
    /// Age of the last verification after which the next one is overdue.
    #[serde(default)]
    pub max_age: Option<Span>,
}
