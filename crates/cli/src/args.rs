//! The command line, defined once: parsing, help, completions and man pages come from here.

mod cost;
pub mod exits;
mod policy;
mod posture;
pub mod repo;
mod report;
mod restores;
mod shared;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
pub use cost::Cost;
pub use policy::{Policy, PolicyFormat};
pub use posture::Posture;
pub use report::{ReportArgs, ReportForm};
pub use restores::RestoresCommand;
pub use shared::{AsOf, Cold};
use shared::{FromStore, InStore, POINT, Trust};
use std::path::PathBuf;

/// A backup system that proves it can restore.
#[derive(Debug, Parser)]
#[command(
    name = "lifeboat",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Configuration file [default: $LIFEBOAT_CONFIG, ./lifeboat.toml, /etc/lifeboat/lifeboat.toml]
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print one JSON document on standard output
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Say more: -v, -vv
    #[arg(short, long, global = true, help_heading = "Everywhere", action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say only what failed
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// How messages are written
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "text|json", value_enum, default_value_t = LogFormat::Text, hide_possible_values = true)]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

/// The command line, with the exit codes of each command in its help.
pub fn command() -> clap::Command {
    exits::tell(Cli::command(), "")
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look for databases, applications and secrets on this host, and write a commented configuration
    Init(Init),
    /// Reach every source, store, key and tool, and say what is unsafe and how to mend it
    Doctor,
    /// Look whether the buckets are what they should be, and mend what can be mended
    Posture(Posture),
    /// Print the policy that the credentials of the buckets need, or lifecycle rules that do no harm
    Policy(Policy),
    /// Look at the configuration alone
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Take a restore point
    Backup(Backup),
    /// List restore points
    Points(Points),
    /// Show one restore point: artifacts, fingerprints, copies, proof
    Show(Show),
    /// Say what changed from one restore point to another, by table and file
    Diff(Diff),
    /// Re-read what is stored and compare it with the manifest
    Verify(Verify),
    /// Give a store the copies it lacks
    Copy(Copy),
    /// Delete what no rule keeps, in two steps, and say why each point stays or goes
    Prune(Prune),
    /// Keep a point, whatever the rules
    Pin(PinArgs),
    /// Take the pin off a point
    Unpin(PinArgs),
    /// Restore into throwaway targets, compare, check, and record signed evidence
    Drill(Drill),
    /// Bring a restore point back: into a directory, another database, or onto the live application
    Restore(Restore),
    /// Live restores that are open: go on with one, take it back, or let go of what was live before
    Restores {
        #[command(subcommand)]
        command: RestoresCommand,
    },
    /// Do whatever is due, then exit: what cron or a systemd timer calls
    Run(RunDue),
    /// Stay, and do what is due when it is due; or ask the daemon that runs
    Daemon(Daemon),
    /// List the jobs of this host, or show one
    Jobs(Jobs),
    /// Say how fresh every plan is, what was proved, and when what runs next
    Status(StatusArgs),
    /// Print the status and the last jobs as metrics, in the text format of OpenMetrics
    Metrics,
    /// Exit with 5 unless each source of each scheduled plan was verified recently enough
    Gate(GateArgs),
    /// Tell what ran in a period, what was proved and what was not, with the operator's checklists
    Report(ReportArgs),
    /// Say what the backups cost in a month, now and at steady state, and what would cost less
    Cost(Cost),
    /// List what is wrong and who was told of it, and how the channels fare
    Alarms,
    /// Say that you take care of an alarm: until then it is not repeated and does not escalate
    Ack(AckArgs),
    /// Channels that tell people what is wrong
    Notify {
        #[command(subcommand)]
        command: NotifyCommand,
    },
    /// The signed record of drills and restores
    Evidence {
        #[command(subcommand)]
        command: EvidenceCommand,
    },
    /// The recovery kit: configuration, keys and instructions for the day this host is gone
    Kit {
        #[command(subcommand)]
        command: KitCommand,
    },
    /// Use a repository of the restic format directly, with lifeboat's engine
    Repo(Box<repo::Repo>),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the man page of the program or of a command, or write all of them
    Man(Man),
    /// Build a small real application, protect, drill, break and restore it, and show the evidence
    Demo(Demo),
}

impl Command {
    /// Says if a store is given instead of a configuration.
    pub fn is_cold(&self) -> bool {
        let cold = match self {
            Command::Points(a) => &a.cold,
            Command::Show(a) => &a.cold,
            Command::Diff(a) => &a.cold,
            Command::Verify(a) => &a.cold,
            Command::Restore(a) => &a.cold,
            Command::Status(a) => &a.cold,
            Command::Evidence {
                command: EvidenceCommand::Verify { cold, .. },
            } => cold,
            _ => return false,
        };
        cold.store_url.is_some()
    }

    /// Says if it is run for what it does, and not for what it says: then `--quiet` says nothing
    /// unless something failed.
    pub fn acts(&self) -> bool {
        match self {
            Command::Init(_) | Command::Backup(_) | Command::Verify(_) | Command::Copy(_) => true,
            Command::Drill(_) | Command::Restore(_) => true,
            Command::Restores { command } => !matches!(command, RestoresCommand::List),
            Command::Pin(_) | Command::Unpin(_) => true,
            Command::Prune(args) => !args.dry_run && args.simulate.is_none(),
            Command::Run(args) => !args.dry_run,
            Command::Posture(args) => args.fix.is_some(),
            Command::Policy(_) | Command::Cost(_) => false,
            Command::Gate(_) | Command::Notify { .. } | Command::Ack(_) => true,
            Command::Status(args) => args.check,
            Command::Jobs(_) | Command::Metrics | Command::Alarms => false,
            Command::Report(args) => args.output.is_some(),
            Command::Daemon(daemon) => match &daemon.command {
                None | Some(DaemonCommand::Status | DaemonCommand::Metrics) => false,
                Some(_) => true,
            },
            Command::Config { command } => matches!(command, ConfigCommand::Check),
            Command::Evidence { command } => matches!(command, EvidenceCommand::Verify { .. }),
            Command::Kit { command } => match command {
                KitCommand::Export(_) | KitCommand::Test(_) | KitCommand::Unpack(_) => true,
            },
            Command::Repo(repo) => repo.command.acts(),
            Command::Doctor | Command::Points(_) | Command::Show(_) | Command::Diff(_) => false,
            Command::Completions { .. } | Command::Man(_) | Command::Demo(_) => false,
        }
    }

    /// Says if it stays until it is told to end.
    pub fn stays(&self) -> bool {
        matches!(self, Command::Daemon(daemon) if daemon.command.is_none())
    }

    /// Whom to believe beside the configured signers, where the command has the option.
    pub fn trust(&self) -> &[String] {
        match self {
            Command::Points(a) => &a.trust.signers,
            Command::Show(a) => &a.trust.signers,
            Command::Diff(a) => &a.trust.signers,
            Command::Verify(a) => &a.trust.signers,
            Command::Drill(a) => &a.trust.signers,
            Command::Restore(a) => &a.trust.signers,
            Command::Status(a) => &a.trust.signers,
            Command::Evidence {
                command: EvidenceCommand::Verify { trust, .. },
            } => &trust.signers,
            _ => &[],
        }
    }
}

/// The configuration alone.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// Say whether the configuration is valid, and which targets it cannot meet
    Check,
    /// Print the configuration as resolved; secrets stay references
    Show,
    /// Print the JSON Schema of the configuration, for editors
    Schema,
}

/// Take care of an alarm.
#[derive(Debug, Args)]
pub struct AckArgs {
    /// Its id, its cause or one of its conditions, as `lifeboat alarms` shows them
    pub alarm: String,
    /// How long, as in 8h or 2d
    #[arg(long = "for", value_name = "SPAN")]
    pub span: String,
    /// Why; `lifeboat alarms` shows it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Channels.
#[derive(Debug, Clone, Subcommand)]
pub enum NotifyCommand {
    /// Send a message that says it is a test, to one channel or to all
    Test {
        /// Which channel; all when not given
        name: Option<String>,
    },
}

/// Propose a configuration.
#[derive(Debug, Args)]
pub struct Init {
    /// The file to write, with mode 0600 [default: lifeboat.toml], or the directory for the units of
    /// --systemd [default: /etc/systemd/system]; - for standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Look at the file system below this directory, as on a disk of another host
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/",
        conflicts_with = "systemd"
    )]
    pub root: PathBuf,
    /// Write units of systemd for the configuration that is there: the daemon, and a timer for those
    /// who want none
    #[arg(long)]
    pub systemd: bool,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
}

/// Take a restore point.
#[derive(Debug, Args)]
pub struct Backup {
    /// Which plan; the only one when not given
    pub plan: Option<String>,
    /// Why it is taken; kept with the point
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// List restore points.
#[derive(Debug, Args)]
pub struct Points {
    /// Only those of this plan
    #[arg(long, value_name = "PLAN")]
    pub plan: Option<String>,
    #[command(flatten)]
    pub within: InStore,
    #[command(flatten)]
    pub as_of: AsOf,
    /// Read every store anew, not the catalog, and check the instructions there
    #[arg(long)]
    pub rescan: bool,
    /// Say that a missing point may be gone; or disown one that is dated in the future, which is
    /// then chosen only by its id (repeatable)
    #[arg(
        long,
        value_name = "ID",
        requires = "reason",
        conflicts_with_all = ["plan", "store", "rescan", "store_url", "as_of"]
    )]
    pub forget: Vec<String>,
    /// Why it is forgotten; kept in the catalog
    #[arg(long, value_name = "TEXT", requires = "forget")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub trust: Trust,
    #[command(flatten)]
    pub cold: Cold,
}

/// Show one restore point.
#[derive(Debug, Args)]
pub struct Show {
    #[arg(help = POINT)]
    pub point: String,
    #[command(flatten)]
    pub from: FromStore,
    #[command(flatten)]
    pub as_of: AsOf,
    #[command(flatten)]
    pub trust: Trust,
    #[command(flatten)]
    pub cold: Cold,
}

/// Say what changed.
#[derive(Debug, Args)]
pub struct Diff {
    /// The earlier point: an id, its beginning, latest, latest:PLAN, before:TIME, random,
    /// random:14d..21d. Alone, it is compared with the complete point of its plan before it
    pub point: String,
    /// The point that is compared with it
    pub other: Option<String>,
    /// Only this source (repeatable)
    #[arg(long = "source", value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// List everything, not only the first 20 of each kind
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub from: FromStore,
    #[command(flatten)]
    pub as_of: AsOf,
    #[command(flatten)]
    pub trust: Trust,
    #[command(flatten)]
    pub cold: Cold,
}

/// Re-read what is stored.
#[derive(Debug, Args)]
pub struct Verify {
    /// Which point; the newest of each plan when not given
    pub point: Option<String>,
    #[command(flatten)]
    pub within: InStore,
    #[command(flatten)]
    pub as_of: AsOf,
    /// Every point
    #[arg(long, conflicts_with_all = ["point", "sample"])]
    pub all: bool,
    /// So many of the points, at random: 10%
    #[arg(long, value_name = "PERCENT", conflicts_with = "point")]
    pub sample: Option<String>,
    #[command(flatten)]
    pub trust: Trust,
    #[command(flatten)]
    pub cold: Cold,
}

/// Give a store the copies it lacks.
#[derive(Debug, Args)]
pub struct Copy {
    /// Which point; every one that is missing there when not given
    pub point: Option<String>,
    /// From which store; any that holds it when not given
    #[arg(long, value_name = "STORE")]
    pub from: Option<String>,
    #[command(flatten)]
    pub as_of: AsOf,
    /// Into which store
    #[arg(long, value_name = "STORE")]
    pub to: String,
}

/// Delete what no rule keeps.
#[derive(Debug, Args)]
pub struct Prune {
    /// Points of this plan; of all plans when not given
    pub plan: Option<String>,
    /// Only in this store
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Say what would be in the stores after this time, and do nothing: 400d, 7y
    #[arg(long, value_name = "SPAN", conflicts_with_all = ["dry_run", "all", "yes", "store"])]
    pub simulate: Option<String>,
    /// Also list the points that stay
    #[arg(long, conflicts_with = "dry_run")]
    pub all: bool,
    /// Go beyond prune_limit
    #[arg(long)]
    pub yes: bool,
}

/// Pin a point, or take the pin off.
#[derive(Debug, Args)]
pub struct PinArgs {
    #[arg(help = POINT)]
    pub point: String,
    /// Why; it stands in the stores beside the point
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Rehearse a restore.
#[derive(Debug, Args)]
pub struct Drill {
    /// Which drill; the only one when not given
    pub drill: Option<String>,
    /// Another point than the configured one
    #[arg(long, value_name = "POINT")]
    pub point: Option<String>,
    /// Another store than the configured one
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    #[command(flatten)]
    pub trust: Trust,
}

/// Bring a restore point back.
#[derive(Debug, Args)]
pub struct Restore {
    #[arg(required_unless_present = "undo", help = POINT)]
    pub point: Option<String>,
    /// Undo the swap of a database that a live restore was killed in: what was live before is live
    /// again
    #[arg(long, conflicts_with_all = ["point", "plan", "sources", "allow_partial", "to", "live", "reason", "store", "as_of", "store_url"])]
    pub undo: bool,
    /// Only what this plan captured; without it, POINT is looked for in each plan
    #[arg(long, value_name = "PLAN")]
    pub plan: Option<String>,
    /// Only this source (repeatable)
    #[arg(long = "source", value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// Also what there is of a point that lacks something (exit code 3)
    #[arg(long)]
    pub allow_partial: bool,
    /// Into this new or empty directory, this empty database (postgres://…, mariadb://…,
    /// mysql://… or env:NAME), or this place in a bucket (s3://BUCKET/PREFIX; on another server
    /// than the source: ?region=…&endpoint=…&access_key=REFERENCE&secret_key=REFERENCE)
    #[arg(long, value_name = "TARGET", conflicts_with = "live")]
    pub to: Option<String>,
    /// Onto the live application
    #[arg(long, conflicts_with = "store_url")]
    pub live: bool,
    /// Names the application that will be overwritten
    #[arg(long, value_name = "APP/ENVIRONMENT")]
    pub confirm: Option<String>,
    /// Why; kept in the evidence
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Also when nothing proves that it comes back as it was captured: the evidence then says
    /// `restored` and that this was asked for, never `verified`
    #[arg(long, requires = "live", conflicts_with = "to")]
    pub unproven: bool,
    #[command(flatten)]
    pub from: FromStore,
    #[command(flatten)]
    pub as_of: AsOf,
    #[command(flatten)]
    pub trust: Trust,
    #[command(flatten)]
    pub cold: Cold,
}

/// Do whatever is due.
#[derive(Debug, Args)]
pub struct RunDue {
    /// Print what is due and why, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The daemon. --config may name a directory: each *.toml in it is an application.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false)]
pub struct Daemon {
    /// Its control socket [default: daemon.sock in the state directory]
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
    /// Only this application
    #[arg(long, value_name = "APP[/ENVIRONMENT]", global = true)]
    pub app: Option<String>,
    /// Applications that are at work at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub turns: usize,
    #[command(subcommand)]
    pub command: Option<DaemonCommand>,
}

/// What the daemon that runs is asked.
#[derive(Debug, Subcommand)]
pub enum DaemonCommand {
    /// Say what it does and waits for
    Status,
    /// Print the metrics of its applications
    Metrics,
    /// Look now what is due
    Wake,
    /// Read the configuration again, as at SIGHUP
    Reload,
    /// Ask a job to end
    Cancel {
        /// Its id, or the beginning of it
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Stop, as at SIGTERM
    Stop,
}

/// List jobs.
#[derive(Debug, Args)]
pub struct Jobs {
    /// Show this job and its log: its id, the beginning of it, or latest
    #[arg(value_name = "ID")]
    pub job: Option<String>,
    /// Print the log of a job that runs until it ends
    #[arg(long, short, requires = "job")]
    pub follow: bool,
    /// List so many, the newest first
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub most: usize,
}

/// Say how fresh everything is.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Exit with 5 if anything is overdue, with 4 if the newest proof of a drill failed
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub trust: Trust,
    #[command(flatten)]
    pub cold: Cold,
}

/// Look for each source in the verified records.
#[derive(Debug, Args)]
pub struct GateArgs {
    /// Age of a record up to which it counts, where no drill of the plan has a max_age
    #[arg(long, value_name = "SPAN", default_value = "90d")]
    pub max_age: String,
    /// Only this plan, whether it has a schedule or not
    #[arg(long, value_name = "PLAN")]
    pub plan: Option<String>,
}

/// The signed record of drills and restores.
#[derive(Debug, Subcommand)]
pub enum EvidenceCommand {
    /// List records
    List,
    /// Print one record
    Show {
        /// Its id, or the beginning of one
        id: String,
    },
    /// Check every chain and signature in every store
    Verify {
        #[command(flatten)]
        trust: Trust,
        #[command(flatten)]
        cold: Box<Cold>,
    },
}

/// The recovery kit.
#[derive(Debug, Subcommand)]
pub enum KitCommand {
    /// Write the kit, encrypted to a passphrase or to public keys
    Export(KitExport),
    /// Open a kit, and try with what is in it alone whether the newest point can be read
    Test(KitFile),
    /// Write what is in a kit into a directory, with a configuration that works from there
    Unpack(KitUnpack),
}

/// Write the recovery kit.
#[derive(Debug, Args)]
pub struct KitExport {
    /// The file to write; it must not exist
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Where the passphrase is: env:NAME, file:PATH, cmd:PROGRAM ARGS
    #[arg(
        long,
        value_name = "REFERENCE",
        conflicts_with = "recipient",
        required_unless_present = "recipient"
    )]
    pub passphrase: Option<String>,
    /// An age or SSH public key to encrypt to, or the path of a file of OpenPGP keys (repeatable)
    #[arg(long, value_name = "KEY")]
    pub recipient: Vec<String>,
}

/// Unpack a recovery kit.
#[derive(Debug, Args)]
pub struct KitUnpack {
    #[command(flatten)]
    pub kit: KitFile,
    /// Into this new or empty directory, which only you can read
    #[arg(long, value_name = "DIRECTORY")]
    pub to: PathBuf,
}

/// A recovery kit, and what opens it.
#[derive(Debug, Args)]
pub struct KitFile {
    /// The kit
    pub file: PathBuf,
    /// Where the passphrase is: env:NAME, file:PATH, cmd:PROGRAM ARGS
    #[arg(
        long,
        value_name = "REFERENCE",
        conflicts_with = "identity",
        required_unless_present = "identity"
    )]
    pub passphrase: Option<String>,
    /// Where the age, SSH or OpenPGP private key is
    #[arg(long, value_name = "REFERENCE")]
    pub identity: Option<String>,
    /// Where the passphrase of an OpenPGP private key is
    #[arg(long, value_name = "REFERENCE", requires = "identity")]
    pub identity_passphrase: Option<String>,
}

/// Man pages.
#[derive(Debug, Args)]
pub struct Man {
    /// The words of the command; the program itself when not given
    #[arg(value_name = "COMMAND", conflicts_with = "output")]
    pub words: Vec<String>,
    /// Write every page into this directory, which is made when it is missing
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// The demonstration.
#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the demonstration's directory instead of removing it
    #[arg(long)]
    pub keep: bool,
}
