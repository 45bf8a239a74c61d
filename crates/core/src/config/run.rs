//! The table `[run]`.

use super::text;
use crate::name::Name;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How `run` and `daemon` work.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Jobs of this application that run at a time.
    pub parallel: u32,
    /// Store that keeps the end of the job history, for a runner that is thrown away after each
    /// run.
    #[schemars(with = "Option<text::Name>")]
    pub memory: Option<Name>,
    /// File that is replaced with the metrics after each run, in the text format of Prometheus.
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub metrics_file: Option<PathBuf>,
    /// Time that running jobs are given to end when the daemon is stopped.
    pub stop_timeout: Span,
    /// Give a store the copies it missed.
    pub heal: bool,
}

impl Default for RunConfig {
    fn default() -> Self {
        RunConfig {
            parallel: 1,
            memory: None,
            metrics_file: None,
            stop_timeout: Span { seconds: 60 },
            heal: true,
        }
    }
}
