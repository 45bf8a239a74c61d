//! `lifeboat repo`: names and meanings of options as restic has them.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The repository engine.
#[derive(Debug, Args)]
pub struct Repo {
    #[command(flatten)]
    pub at: At,
    #[command(subcommand)]
    pub command: RepoCommand,
}

/// Which repository, and how to open it.
#[derive(Debug, Clone, Args)]
pub struct At {
    /// Where the repository is: a path, s3://BUCKET/PREFIX?endpoint=URL, sftp://USER@HOST:PORT/PATH,
    /// or as restic writes it [default: $RESTIC_REPOSITORY]
    #[arg(short, long, global = true, value_name = "PLACE")]
    pub repo: Option<String>,
    /// Where its password is: file:PATH, env:NAME, cmd:PROGRAM ARGS [default: $RESTIC_PASSWORD_FILE,
    /// $RESTIC_PASSWORD_COMMAND, $RESTIC_PASSWORD]
    #[arg(long, global = true, value_name = "REFERENCE")]
    pub password: Option<String>,
    /// Where the S3 access key is [default: env:AWS_ACCESS_KEY_ID]
    #[arg(long, global = true, value_name = "REFERENCE", requires = "secret_key")]
    pub access_key: Option<String>,
    /// Where the S3 secret key is [default: env:AWS_SECRET_ACCESS_KEY]
    #[arg(long, global = true, value_name = "REFERENCE", requires = "access_key")]
    pub secret_key: Option<String>,
    /// While somebody else is at work, wait for as long as this: 30s, 10m
    #[arg(long, global = true, value_name = "SPAN", default_value = "0s")]
    pub retry_lock: String,
    /// Take no lock; only for reading
    #[arg(long, global = true)]
    pub no_lock: bool,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
pub enum RepoCommand {
    /// Make a repository
    Init,
    /// Back up files and directories
    Backup(Backup),
    /// List snapshots
    Snapshots(Snapshots),
    /// Say whether everything that the snapshots need is there, and whole
    Check(Check),
    /// Remove snapshots that no rule keeps
    Forget(Forget),
    /// Free what no snapshot needs
    Prune(Prune),
    /// The passwords that open the repository
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Remove locks that nobody holds any more
    Unlock {
        /// All of them, also those that look held
        #[arg(long)]
        remove_all: bool,
    },
}

/// Back up.
#[derive(Debug, Args)]
pub struct Backup {
    /// Files and directories
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// A tag of the snapshot; several with commas (repeatable)
    #[arg(long, value_name = "TAG[,TAG]", value_delimiter = ',')]
    pub tag: Vec<String>,
    /// The host that the snapshot names
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Compare with this snapshot [default: the newest of this host and these paths]
    #[arg(long, value_name = "SNAPSHOT")]
    pub parent: Option<String>,
    /// Read every file, as if there were no snapshot yet
    #[arg(short, long)]
    pub force: bool,
    /// Do not cross into other file systems
    #[arg(short = 'x', long)]
    pub one_file_system: bool,
}

/// Which snapshots.
#[derive(Debug, Clone, Args)]
pub struct Filter {
    /// Only those of this host (repeatable)
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// Only those with all of these tags (repeatable)
    #[arg(long, value_name = "TAG[,TAG]")]
    pub tag: Vec<String>,
    /// Only those of this path (repeatable)
    #[arg(long, value_name = "PATH")]
    pub path: Vec<String>,
}

/// List snapshots.
#[derive(Debug, Args)]
pub struct Snapshots {
    /// These, by id or its beginning; latest
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub filter: Filter,
    /// Only the newest so many of each group of host and paths
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
}

/// Check.
#[derive(Debug, Args)]
pub struct Check {
    /// Read every byte of every pack, too
    #[arg(long)]
    pub read_data: bool,
}

/// Forget snapshots.
#[derive(Debug, Args)]
pub struct Forget {
    /// Remove these, whatever the rules say
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub filter: Filter,
    /// Keep the newest N; unlimited for all
    #[arg(short = 'l', long, value_name = "N")]
    pub keep_last: Option<String>,
    /// Keep the newest of each of the newest N hours
    #[arg(short = 'H', long, value_name = "N")]
    pub keep_hourly: Option<String>,
    /// … days
    #[arg(short = 'd', long, value_name = "N")]
    pub keep_daily: Option<String>,
    /// … weeks
    #[arg(short = 'w', long, value_name = "N")]
    pub keep_weekly: Option<String>,
    /// … months
    #[arg(short = 'm', long, value_name = "N")]
    pub keep_monthly: Option<String>,
    /// … years
    #[arg(short = 'y', long, value_name = "N")]
    pub keep_yearly: Option<String>,
    /// Keep all that are at most so much older than the newest: 1y5m7d2h
    #[arg(long, value_name = "SPAN")]
    pub keep_within: Option<String>,
    /// Keep the newest of each hour of that time
    #[arg(long, value_name = "SPAN")]
    pub keep_within_hourly: Option<String>,
    /// … day
    #[arg(long, value_name = "SPAN")]
    pub keep_within_daily: Option<String>,
    /// … week
    #[arg(long, value_name = "SPAN")]
    pub keep_within_weekly: Option<String>,
    /// … month
    #[arg(long, value_name = "SPAN")]
    pub keep_within_monthly: Option<String>,
    /// … year
    #[arg(long, value_name = "SPAN")]
    pub keep_within_yearly: Option<String>,
    /// Keep those with all of these tags (repeatable)
    #[arg(long, value_name = "TAG[,TAG]")]
    pub keep_tag: Vec<String>,
    /// Apply the rules to each group by itself: host, paths, tags
    #[arg(short, long, value_name = "GROUP", default_value = "host,paths")]
    pub group_by: String,
    /// Say what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Free at once what only they needed
    #[arg(long)]
    pub prune: bool,
}

/// Free what no snapshot needs.
#[derive(Debug, Args)]
pub struct Prune {
    /// How much rubbish may stay in packs that are partly needed, of what is needed
    #[arg(long, value_name = "PERCENT", default_value = "5%")]
    pub max_unused: String,
    /// Delete packs only so long after nothing needed them any more: longer than a backup takes;
    /// 0s only when nothing else uses the repository
    #[arg(long, value_name = "SPAN", default_value = "23h")]
    pub grace: String,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// The passwords.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys
    List,
    /// Let another password open the repository
    Add {
        /// Where the new password is: file:PATH, env:NAME, cmd:PROGRAM ARGS
        #[arg(long, value_name = "REFERENCE")]
        new_password: String,
    },
    /// Let a key open it no more
    Remove {
        /// Its id, or the beginning
        key: String,
    },
    /// Replace the password that opens it now
    Passwd {
        /// Where the new password is: file:PATH, env:NAME, cmd:PROGRAM ARGS
        #[arg(long, value_name = "REFERENCE")]
        new_password: String,
    },
}
