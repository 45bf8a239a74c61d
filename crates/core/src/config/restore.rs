//! The table `[restore]`.

use super::CheckConfig;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Commands and checks around a live restore.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestoreConfig {
    /// Commands that stop whatever writes.
    pub stop: Vec<Vec<String>>,
    /// Commands between the swap and the start: clear caches, rebuild an index.
    pub prepare: Vec<Vec<String>>,
    /// Commands that start everything again.
    pub start: Vec<Vec<String>>,
    /// Commands after a start that succeeded.
    pub after: Vec<Vec<String>>,
    /// Checks that must pass afterwards; otherwise the restore is undone.
    pub checks: Vec<CheckConfig>,
    /// How long what was live before is kept aside: until then a restore can be taken back.
    pub keep_aside: Span,
}

impl Default for RestoreConfig {
    fn default() -> Self {
        RestoreConfig {
            stop: Vec::new(),
            prepare: Vec::new(),
            start: Vec::new(),
            after: Vec::new(),
            checks: Vec::new(),
            keep_aside: Span {
                seconds: 14 * 86_400,
            },
        }
    }
}
