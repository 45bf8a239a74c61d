//! `object_lock = { … }` of a store in a bucket.

use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The locks of the objects that belong to points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectLockConfig {
    /// `compliance`: nobody can lift a lock before its date; `governance`: those can who may bypass
    /// governance.
    pub mode: ObjectLockMode,
    /// How long an object is locked from when it was put; what a kept point needs is locked again
    /// before that is over.
    #[serde(rename = "for")]
    pub length: Span,
}

/// Who can lift a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectLockMode {
    /// Nobody.
    Compliance,
    /// Those who may bypass governance.
    Governance,
}

impl ObjectLockMode {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectLockMode::Compliance => "compliance",
            ObjectLockMode::Governance => "governance",
        }
    }
}
