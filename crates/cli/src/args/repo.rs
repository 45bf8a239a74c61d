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
    #[arg(
        short,
        long,
        global = true,
        help_heading = "Repository",
        value_name = "PLACE"
    )]
    pub repo: Option<String>,
    /// Where its password is: file:PATH, env:NAME, cmd:PROGRAM ARGS [default: $RESTIC_PASSWORD_FILE,
    /// $RESTIC_PASSWORD_COMMAND, $RESTIC_PASSWORD]
    #[arg(
        long,
        global = true,
        help_heading = "Repository",
        value_name = "REFERENCE"
    )]
    pub password: Option<String>,
    /// Where the S3 access key is [default: env:AWS_ACCESS_KEY_ID]
    #[arg(
        long,
        global = true,
        help_heading = "Repository",
        value_name = "REFERENCE",
        requires = "secret_key"
    )]
    pub access_key: Option<String>,
    /// Where the S3 secret key is [default: env:AWS_SECRET_ACCESS_KEY]
    #[arg(
        long,
        global = true,
        help_heading = "Repository",
        value_name = "REFERENCE",
        requires = "access_key"
    )]
    pub secret_key: Option<String>,
    /// While somebody else is at work, wait for as long as this: 30s, 10m
    #[arg(
        long,
        global = true,
        help_heading = "Repository",
        value_name = "SPAN",
        default_value = "0s"
    )]
    pub retry_lock: String,
    /// Take no lock; only for reading
    #[arg(long, global = true, help_heading = "Repository")]
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
    /// List what is in a snapshot
    Ls(Ls),
    /// Look for files in snapshots
    Find(Find),
    /// Show what is different in two snapshots
    Diff(Diff),
    /// Write the content of a file, or a directory as an archive, to standard output
    Dump(Dump),
    /// Show snapshots as directories, until Ctrl-C or `umount`
    Mount(Mount),
    /// Restore a snapshot, or a part of one, into a directory
    Restore(Restore),
    /// Say whether everything that the snapshots need is there, and whole
    Check(Check),
    /// Copy snapshots into another repository
    Copy(Copy),
    /// Change the tags of snapshots
    Tag(Tag),
    /// Make new snapshots of old ones, without some of their files, or of another host or time
    Rewrite(Rewrite),
    /// Say how much snapshots hold, and how much of it is stored
    Stats(Stats),
    /// Mend what can be mended
    Repair {
        #[command(subcommand)]
        command: RepairCommand,
    },
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

impl RepoCommand {
    /// Whether it is run for what it does, and not for what it says.
    pub fn acts(&self) -> bool {
        match self {
            RepoCommand::Snapshots(_) | RepoCommand::Ls(_) | RepoCommand::Find(_) => false,
            RepoCommand::Diff(_) | RepoCommand::Dump(_) | RepoCommand::Stats(_) => false,
            RepoCommand::Key { command } => !matches!(command, KeyCommand::List),
            _ => true,
        }
    }
}

/// Back up.
#[derive(Debug, Args)]
pub struct Backup {
    /// Files and directories
    #[arg(required_unless_present_any = ["stdin", "files_from", "files_from_verbatim", "files_from_raw"])]
    pub paths: Vec<PathBuf>,
    /// Also those that the patterns in this file stand for, a line each; # begins a comment, and - is
    /// standard input (repeatable)
    #[arg(long, value_name = "FILE")]
    pub files_from: Vec<PathBuf>,
    /// Also those that this file names, a line each, as they stand (repeatable)
    #[arg(long, value_name = "FILE")]
    pub files_from_verbatim: Vec<PathBuf>,
    /// Also those that this file names, with a zero byte after each (repeatable)
    #[arg(long, value_name = "FILE")]
    pub files_from_raw: Vec<PathBuf>,
    /// Back up standard input
    #[arg(long, conflicts_with_all = ["paths", "files_from", "files_from_verbatim", "files_from_raw"])]
    pub stdin: bool,
    /// What the file is called that standard input makes
    #[arg(long, value_name = "NAME", default_value = "stdin", requires = "stdin")]
    pub stdin_filename: String,
    #[command(flatten)]
    pub exclude: Exclude,
    /// A tag of the snapshot; several with commas (repeatable)
    #[arg(long, value_name = "TAG[,TAG]", value_delimiter = ',')]
    pub tag: Vec<String>,
    /// The host that the snapshot names [default: $RESTIC_HOST, or this one]
    #[arg(short = 'H', long, value_name = "NAME")]
    pub host: Option<String>,
    /// The time that the snapshot names: 2026-03-29 02:30:00, as this host has it, or with an offset
    /// [default: now]
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,
    /// Compare with this snapshot [default: the newest of the same group that is not newer]
    #[arg(long, value_name = "SNAPSHOT")]
    pub parent: Option<String>,
    /// What that snapshot has in common with this: host, paths, tags
    #[arg(short, long, value_name = "GROUP", default_value = "host,paths")]
    pub group_by: String,
    /// Read every file, as if there were no snapshot yet
    #[arg(short, long)]
    pub force: bool,
    /// Do not read a file again because of its time of change alone
    #[arg(long)]
    pub ignore_ctime: bool,
    /// Do not read a file again because of its inode or its time of change alone
    #[arg(long)]
    pub ignore_inode: bool,
    /// Make no snapshot when it would be as the one it is compared with
    #[arg(long)]
    pub skip_if_unchanged: bool,
    /// Do not cross into other file systems
    #[arg(short = 'x', long)]
    pub one_file_system: bool,
    /// Say what would be added, and write nothing: not even a lock
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Which snapshots.
#[derive(Debug, Clone, Args)]
pub struct Filter {
    /// Only those of this host (repeatable) [default: $RESTIC_HOST, or all]
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
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Read some packs: 2/5 the second of five parts, 10% or 50G so many chosen at random
    #[arg(long, value_name = "SUBSET")]
    pub read_data_subset: Option<String>,
    /// Of these, only packs that were not found whole within this time, as was noted on this host:
    /// so a check that was cut off goes on where it was
    #[arg(long, value_name = "SPAN")]
    pub not_verified_since: Option<String>,
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

/// Patterns of what to leave out.
#[derive(Debug, Clone, Args)]
pub struct ExcludePatterns {
    /// Leave out what matches: *.log, /srv/*/cache, **/tmp (repeatable)
    #[arg(short, long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// The same, whatever the case of letters (repeatable)
    #[arg(long, value_name = "PATTERN")]
    pub iexclude: Vec<String>,
    /// Patterns in a file, a line each; # begins a comment, and $NAME stands for a variable of the
    /// environment, $$ for a dollar (repeatable)
    #[arg(long, value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,
    /// The same, whatever the case of letters (repeatable)
    #[arg(long, value_name = "FILE")]
    pub iexclude_file: Vec<PathBuf>,
}

/// What to leave out.
#[derive(Debug, Clone, Args)]
pub struct Exclude {
    #[command(flatten)]
    pub patterns: ExcludePatterns,
    /// Of a directory with a file of this name, leave out the rest; FILE:HEADER for one that begins
    /// so (repeatable)
    #[arg(long, value_name = "FILE[:HEADER]")]
    pub exclude_if_present: Vec<String>,
    /// Leave out directories that are marked as caches
    #[arg(long)]
    pub exclude_caches: bool,
    /// Leave out files longer than this: 500k, 10M, 2G
    #[arg(long, value_name = "SIZE")]
    pub exclude_larger_than: Option<String>,
}

/// List what is in a snapshot.
#[derive(Debug, Args)]
pub struct Ls {
    /// An id, its beginning, or latest; with :PATH what is below that
    pub snapshot: String,
    /// Only what is directly in these directories
    pub directories: Vec<String>,
    /// With mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    /// Also what is further below the directories
    #[arg(long)]
    pub recursive: bool,
    #[command(flatten)]
    pub filter: Filter,
}

/// Look for files.
#[derive(Debug, Args)]
pub struct Find {
    /// Patterns of names or paths
    #[arg(required = true)]
    pub patterns: Vec<String>,
    /// Whatever the case of letters
    #[arg(short, long)]
    pub ignore_case: bool,
    /// Only in these snapshots (repeatable)
    #[arg(short, long, value_name = "SNAPSHOT")]
    pub snapshot: Vec<String>,
    #[command(flatten)]
    pub filter: Filter,
}

/// Compare two snapshots.
#[derive(Debug, Args)]
pub struct Diff {
    /// The earlier one; with :PATH a part of it
    pub first: String,
    /// The later one; with :PATH a part of it
    pub second: String,
    /// Also those of metadata alone
    #[arg(long)]
    pub metadata: bool,
}

/// Write out a file or a directory.
#[derive(Debug, Args)]
pub struct Dump {
    /// An id, its beginning, or latest; with :PATH what is below that
    pub snapshot: String,
    /// The file, or the directory; / for all of it
    pub file: String,
    /// What a directory is written as
    #[arg(short, long, value_enum, default_value_t = Archive::Tar)]
    pub archive: Archive,
    /// Write to this file, which must not be there yet; it shows when all of it is written
    #[arg(short, long, value_name = "FILE")]
    pub target: Option<PathBuf>,
    #[command(flatten)]
    pub filter: Filter,
}

/// Forms of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Archive {
    /// With modes, owners, times, links, devices, extended attributes and access lists
    Tar,
}

/// Show snapshots as directories.
#[derive(Debug, Args)]
pub struct Mount {
    /// Where; an empty directory
    pub directory: PathBuf,
    /// Let other users look, too: each at what its modes allow
    #[arg(long)]
    pub allow_other: bool,
    #[command(flatten)]
    pub filter: Filter,
}

/// Restore.
#[derive(Debug, Args)]
pub struct Restore {
    /// An id, its beginning, or latest; with :PATH what is below that
    pub snapshot: String,
    /// Whereto; it is made when it is missing
    #[arg(short, long, value_name = "DIR")]
    pub target: PathBuf,
    /// Only what matches, with all below it (repeatable)
    #[arg(short, long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// The same, whatever the case of letters (repeatable)
    #[arg(long, value_name = "PATTERN")]
    pub iinclude: Vec<String>,
    /// Not what matches (repeatable)
    #[arg(short, long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// The same, whatever the case of letters (repeatable)
    #[arg(long, value_name = "PATTERN")]
    pub iexclude: Vec<String>,
    /// What to do with files that are there
    #[arg(long, value_enum, default_value_t = Overwrite::Always)]
    pub overwrite: Overwrite,
    /// Remove what is there and not in the snapshot
    #[arg(long)]
    pub delete: bool,
    /// Leave holes where files have zeros
    #[arg(long)]
    pub sparse: bool,
    /// Read each file again before it takes its name
    #[arg(long)]
    pub verify: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub filter: Filter,
}

/// What to do with files that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Overwrite {
    /// Make them what the snapshot has
    Always,
    /// The same, but take a file of the same size and time to be right
    IfChanged,
    /// Replace those that are older than in the snapshot
    IfNewer,
    /// Leave them
    Never,
}

/// Copy snapshots.
#[derive(Debug, Args)]
pub struct Copy {
    /// These; all when none is named
    pub snapshots: Vec<String>,
    /// Where they are copied from
    #[arg(long, value_name = "PLACE")]
    pub from_repo: String,
    /// Where the password of that is: file:PATH, env:NAME, cmd:PROGRAM ARGS
    #[arg(long, value_name = "REFERENCE")]
    pub from_password: String,
    #[command(flatten)]
    pub filter: Filter,
}

/// Change tags.
#[derive(Debug, Args)]
#[group(required = true, multiple = false, id = "change")]
pub struct TagChange {
    /// These tags and no others; an empty one for none
    #[arg(long, value_name = "TAG[,TAG]", value_delimiter = ',')]
    pub set: Option<Vec<String>>,
    /// These tags, too
    #[arg(long, value_name = "TAG[,TAG]", value_delimiter = ',')]
    pub add: Option<Vec<String>>,
    /// Not these tags
    #[arg(long, value_name = "TAG[,TAG]", value_delimiter = ',')]
    pub remove: Option<Vec<String>>,
}

/// Change the tags of snapshots.
#[derive(Debug, Args)]
pub struct Tag {
    /// Of these; of all that fit when none is named
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub change: TagChange,
    #[command(flatten)]
    pub filter: Filter,
}

/// Make new snapshots of old ones.
#[derive(Debug, Args)]
pub struct Rewrite {
    /// Of these; of all that fit when none is named
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub exclude: ExcludePatterns,
    /// The host that the new ones name
    #[arg(long, value_name = "NAME")]
    pub new_host: Option<String>,
    /// The time that they name: 2026-03-29 02:30:00, as this host has it, or with an offset
    #[arg(long, value_name = "TIME")]
    pub new_time: Option<String>,
    #[command(flatten)]
    pub filter: Filter,
    #[command(flatten)]
    pub deed: Deed,
}

/// Say how much there is.
#[derive(Debug, Args)]
pub struct Stats {
    /// Of these; of all that fit when none is named
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub filter: Filter,
}

/// What to mend.
#[derive(Debug, Subcommand)]
pub enum RepairCommand {
    /// Make a new index from what the packs say
    Index {
        /// Read every byte of every pack, too, and copy what is whole out of those that are damaged
        #[arg(long)]
        read_data: bool,
    },
    /// Make new snapshots without what is lost of the old ones
    Snapshots(RepairSnapshots),
}

/// Make snapshots whole.
#[derive(Debug, Args)]
pub struct RepairSnapshots {
    /// These; all that fit when none is named
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub filter: Filter,
    #[command(flatten)]
    pub deed: Deed,
    /// Read all content that the snapshots need, and take for lost what is damaged
    #[arg(long)]
    pub read_data: bool,
}

/// What is done with snapshots that new ones are made of.
#[derive(Debug, Clone, Copy, Args)]
pub struct Deed {
    /// Remove the old snapshots when the new ones are stored
    #[arg(long)]
    pub forget: bool,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
