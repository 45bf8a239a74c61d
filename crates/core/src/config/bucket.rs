//! What of a bucket is left out.

use super::BucketConfig;
use crate::error::{Code, Error, Result};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

impl BucketConfig {
    /// The keys that are left out.
    pub fn excludes(&self) -> Result<GlobSet> {
        let mut set = GlobSetBuilder::new();
        for pattern in &self.exclude {
            let glob = GlobBuilder::new(pattern)
                .literal_separator(true)
                .build()
                .map_err(|e| {
                    Error::new(
                        Code::Configuration,
                        format!("the pattern {pattern:?} cannot be used"),
                    )
                    .cause(e)
                    .hint("write a glob over whole keys: tmp/**, **/*.log")
                })?;
            set.add(glob);
        }
        set.build().map_err(|e| {
            Error::new(
                Code::Configuration,
                "the patterns of exclude cannot be used",
            )
            .cause(e)
        })
    }
}
