//! What `lifeboat posture` is asked.

use clap::Args;

/// Look whether the buckets are what they should be.
#[derive(Debug, Args)]
pub struct Posture {
    /// Stores and names of [posture.NAME]; all when none is given
    #[arg(value_name = "NAME", conflicts_with = "fix")]
    pub names: Vec<String>,
    /// Say which calls would mend what can be mended of a bucket; make them with --yes
    #[arg(long, value_name = "NAME")]
    pub fix: Option<String>,
    /// Try in each store whether its credentials can destroy what is there, with an object for that alone
    #[arg(long = "try", conflicts_with = "fix")]
    pub attempt: bool,
    /// Make the calls
    #[arg(long, requires = "fix")]
    pub yes: bool,
}
