//! The tables `[ping.NAME]`.

use super::text;
use crate::name::Name;
use crate::secret::Reference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A check elsewhere that is told of each backup, and raises an alarm when it hears nothing: for the
/// day on which this host is dead. It speaks the protocol of healthchecks.io.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PingConfig {
    /// Reference to the URL of the check: whoever knows it can ping.
    pub url: Reference,
    /// Plans of which it is told; every plan when empty.
    #[serde(default)]
    #[schemars(with = "Vec<text::Name>")]
    pub plans: Vec<Name>,
    /// Tells of the beginning of each backup, so that the check knows how long it takes.
    #[serde(default = "yes")]
    pub start: bool,
}

fn yes() -> bool {
    true
}
