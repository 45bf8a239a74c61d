//! What `lifeboat cost` is asked.

use clap::Args;
use lifeboat_core::cost::Money;
use std::path::PathBuf;

/// Say what backups cost.
#[derive(Debug, Args)]
pub struct Cost {
    /// Take the prices from this file instead of the table that ships
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Print the table of prices that ships, to begin a file with
    #[arg(long, conflicts_with_all = ["prices", "runner_minute"])]
    pub print_prices: bool,
    /// Plans run on a runner that costs this much by the minute; on a runner of GitHub, the table says it
    #[arg(long, value_name = "PRICE")]
    pub runner_minute: Option<Money>,
}
