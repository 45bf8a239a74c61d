//! The table `[restore]`.

use super::CheckConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What surrounds a live restore.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestoreConfig {
    /// Commands that stop what writes.
    pub stop: Vec<Vec<String>>,
    /// Commands between the swap and the start: clear caches, rebuild an index.
    pub prepare: Vec<Vec<String>>,
    /// Commands that start it again.
    pub start: Vec<Vec<String>>,
    /// Commands after a start that succeeded.
    pub after: Vec<Vec<String>>,
    /// What must hold afterwards; the restore is undone when it does not.
    pub checks: Vec<CheckConfig>,
}
