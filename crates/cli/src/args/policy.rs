//! What `lifeboat policy` is asked.

use clap::{Args, ValueEnum};

/// Print the policy that the credentials of the buckets need.
#[derive(Debug, Args)]
pub struct Policy {
    /// What is done with them: backup, drill, restore, prune or posture; everything when not given
    #[arg(long, value_name = "ROLE", conflicts_with = "lifecycle")]
    pub role: Vec<String>,
    /// Who judges it
    #[arg(long, value_enum, default_value_t = PolicyFormat::Aws, conflicts_with = "lifecycle")]
    pub format: PolicyFormat,
    /// Print lifecycle rules for this store instead: they take only what was deleted or overwritten
    #[arg(long, value_name = "STORE")]
    pub lifecycle: Option<String>,
}

/// Who judges a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyFormat {
    /// Amazon
    Aws,
    /// MinIO
    Minio,
}
