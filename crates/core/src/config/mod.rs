//! The configuration: one TOML file, typed, with unknown keys refused.
//!
//! This file holds the shape; [`Config::load`] reads it, and returns a value only when every key is
//! known, every value fits and no two of them contradict each other. Every secret is a
//! [`Reference`]; nothing here is resolved, so a configuration can be printed, and checked on a
//! host that has none of the secrets. Whether what it names can be reached is not known here.

use crate::compress::Compress;
use crate::kind::Kind;
use crate::name::{Extension, Name};
use crate::secret::Reference;
use crate::span::Span;
use crate::transport::Via;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The whole file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this format; write `version = 1`.
    pub version: u32,
    /// The application that is protected.
    pub app: App,
    /// What is backed up, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub source: BTreeMap<Name, SourceConfig>,
    /// Where it goes, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub store: BTreeMap<Name, StoreConfig>,
    /// Which sources go where, and when, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub plan: BTreeMap<Name, PlanConfig>,
    /// Rehearsed restores, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub drill: BTreeMap<Name, DrillConfig>,
    /// What surrounds a live restore.
    #[serde(default)]
    pub restore: RestoreConfig,
    /// The record of drills and restores.
    #[serde(default)]
    pub evidence: EvidenceConfig,
    /// The file it was read from, absolute.
    #[serde(skip)]
    pub origin: PathBuf,
    /// The text of that file; it holds no secret.
    #[serde(skip)]
    pub text: String,
}

mod bucket;
mod checks;
mod document;
mod encryption;
mod later;
mod load;
mod places;
mod schema;
mod show;
mod ssh;
mod text;
mod validate;
mod value;

pub use checks::Check;
pub use encryption::{DecryptConfig, EncryptConfig, EvidenceConfig, SignConfig};
pub use schema::schema;
pub use ssh::SshConfig;

/// The application that is protected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Its name: letters, digits, `-`, `_` and `.`.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// `production`, `staging`, …; a live restore must name it.
    #[serde(default = "production")]
    #[schemars(with = "text::Name")]
    pub environment: Name,
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Recovery point objective: how much time of work may be lost.
    #[serde(default)]
    pub rpo: Option<Span>,
    /// Recovery time objective: how long a restore may take.
    #[serde(default)]
    pub rto: Option<Span>,
    /// Catalog and caches; rebuilt from the stores when missing.
    #[serde(default = "default_state")]
    #[schemars(with = "text::AbsolutePath")]
    pub state: PathBuf,
    /// Private Ed25519 key in OpenSSH format that signs manifests and evidence; made in the state
    /// directory when absent.
    #[serde(default)]
    pub signing_key: Option<Reference>,
    /// An `allowed_signers` file: whose manifests and evidence are believed beside our own.
    #[serde(default)]
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub trusted_signers: Option<PathBuf>,
    /// Directories that a web server publishes, beside those known by name and by the
    /// configuration of this host's web servers; no backup is kept in one.
    #[serde(default)]
    #[schemars(with = "Vec<text::AbsolutePath>")]
    pub public_dirs: Vec<PathBuf>,
}

fn production() -> Name {
    Name::own("production")
}

fn default_state() -> PathBuf {
    "/var/lib/lifeboat".into()
}

/// What every source has, and what its kind adds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SourceConfig {
    /// Refused by a store that does not encrypt.
    #[serde(default)]
    pub sensitive: bool,
    /// Refused by a store whose bucket or disk also receives other data.
    #[serde(default)]
    pub separate: bool,
    /// Key template of its artifacts; the store has the default.
    #[serde(default)]
    pub key: Option<String>,
    /// What it is.
    #[serde(flatten)]
    pub kind: SourceKind,
}

/// The kinds of source.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SourceKind {
    /// Files and directories.
    Files(FilesConfig),
    /// One SQLite database.
    Sqlite(SqliteConfig),
    /// One PostgreSQL database, and the roles of its server.
    Postgres(PostgresConfig),
    /// One MariaDB database.
    Mariadb(MariadbConfig),
    /// One MySQL database.
    Mysql(MariadbConfig),
    /// An S3 bucket.
    Bucket(BucketConfig),
    /// The standard output of a command.
    Command(CommandConfig),
}

impl SourceKind {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            SourceKind::Files(_) => Kind::Files,
            SourceKind::Sqlite(_) => Kind::Sqlite,
            SourceKind::Postgres(_) => Kind::Postgres,
            SourceKind::Mariadb(_) => Kind::Mariadb,
            SourceKind::Mysql(_) => Kind::Mysql,
            SourceKind::Bucket(_) => Kind::Bucket,
            SourceKind::Command(_) => Kind::Command,
        }
    }

    /// The name in the configuration and in manifests.
    pub fn name(&self) -> &'static str {
        self.kind().as_str()
    }

    /// The absolute paths that it takes files from.
    pub fn roots(&self) -> Vec<&Path> {
        match self {
            SourceKind::Files(files) => {
                let paths = files.paths.iter().chain(&files.optional);
                paths.map(PathBuf::as_path).collect()
            }
            SourceKind::Sqlite(sqlite) => vec![&sqlite.path],
            SourceKind::Postgres(_)
            | SourceKind::Mariadb(_)
            | SourceKind::Mysql(_)
            | SourceKind::Bucket(_)
            | SourceKind::Command(_) => vec![],
        }
    }
}

/// Files and directories.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct FilesConfig {
    /// Absolute paths that must be there.
    #[serde(default)]
    #[schemars(with = "Vec<text::AbsolutePath>")]
    pub paths: Vec<PathBuf>,
    /// Absolute paths whose absence is a warning.
    #[serde(default)]
    #[schemars(with = "Vec<text::AbsolutePath>")]
    pub optional: Vec<PathBuf>,
    /// Glob patterns as in `.gitignore` without negation: one without a slash matches a name at any
    /// depth, one with a slash the whole path.
    #[serde(default)]
    #[schemars(with = "Vec<text::Pattern>")]
    pub exclude: Vec<String>,
    /// Do not cross into other file systems.
    #[serde(default)]
    pub one_file_system: bool,
}

/// One SQLite database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SqliteConfig {
    /// Absolute path of the database file.
    #[schemars(with = "text::AbsolutePath")]
    pub path: PathBuf,
}

/// One PostgreSQL database: a URL, or its parts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`.
    #[serde(default)]
    pub url: Option<Reference>,
    /// Host name or address.
    #[serde(default)]
    pub host: Option<String>,
    /// TCP port, or the number in the socket's name.
    #[serde(default)]
    pub port: Option<u16>,
    /// Directory of the server's unix socket, instead of `host`.
    #[serde(default)]
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub socket: Option<PathBuf>,
    /// Role to connect as.
    #[serde(default)]
    pub user: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<Reference>,
    /// Database.
    #[serde(default)]
    pub database: Option<String>,
    /// Also capture roles, memberships and tablespaces (never passwords).
    #[serde(default = "yes")]
    pub globals: bool,
    /// How long to wait for a table lock before the dump is tried again.
    #[serde(default = "default_lock_timeout")]
    pub lock_timeout: Span,
    /// Where its client programs run: `ssh:USER@HOST[:PORT]`, `docker:CONTAINER` or
    /// `kubectl:NAMESPACE/POD[/CONTAINER]`; on this host when absent.
    #[serde(default)]
    pub via: Option<Via>,
    /// How to log in, for `via = "ssh:…"`.
    #[serde(default)]
    pub ssh: Option<SshConfig>,
}

fn yes() -> bool {
    true
}

fn default_lock_timeout() -> Span {
    Span { seconds: 60 }
}

/// One MariaDB or MySQL database: a URL, or its parts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MariadbConfig {
    /// `mariadb://user:password@host:port/database` or `mysql://…`.
    #[serde(default)]
    pub url: Option<Reference>,
    /// Host name or address.
    #[serde(default)]
    pub host: Option<String>,
    /// TCP port.
    #[serde(default)]
    pub port: Option<u16>,
    /// The server's unix socket, instead of `host`.
    #[serde(default)]
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub socket: Option<PathBuf>,
    /// Account to connect as.
    #[serde(default)]
    pub user: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<Reference>,
    /// Database.
    #[serde(default)]
    pub database: Option<String>,
    /// How long to wait for the lock of a table's definition before the dump is tried again.
    #[serde(default = "default_lock_timeout")]
    pub lock_timeout: Span,
    /// Where its client programs run: `ssh:USER@HOST[:PORT]`, `docker:CONTAINER` or
    /// `kubectl:NAMESPACE/POD[/CONTAINER]`; on this host when absent.
    #[serde(default)]
    pub via: Option<Via>,
    /// How to log in, for `via = "ssh:…"`.
    #[serde(default)]
    pub ssh: Option<SshConfig>,
}

/// An S3 bucket, mirrored incrementally.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BucketConfig {
    /// Name of the bucket.
    pub bucket: String,
    /// Only keys that begin with this.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Region.
    #[serde(default = "default_region")]
    pub region: String,
    /// URL of a server that is not Amazon's.
    #[serde(default)]
    #[schemars(with = "Option<text::Url>")]
    pub endpoint: Option<String>,
    /// Access key id; better not the one of a store.
    pub access_key: Reference,
    /// Secret access key.
    pub secret_key: Reference,
    /// Session token of temporary credentials.
    #[serde(default)]
    pub session_token: Option<Reference>,
    /// Address the bucket as `https://bucket.host/` rather than `https://host/bucket/`.
    #[serde(default)]
    pub virtual_host_style: bool,
    /// Glob patterns of whole keys that are left out: `tmp/**`, `**/*.log`.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// How many requests are under way at a time, 1 to 64.
    #[serde(default = "default_parallel")]
    pub parallel: u8,
    /// For how long objects that were deleted or replaced stay in the index, and so in the store.
    #[serde(default = "default_keep_deleted")]
    pub keep_deleted: Span,
    /// Compress objects as the store says; most objects are compressed already.
    #[serde(default)]
    pub compress: bool,
}

fn default_parallel() -> u8 {
    16
}

fn default_keep_deleted() -> Span {
    Span {
        seconds: 30 * 24 * 3600,
    }
}

/// The standard output of a command.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CommandConfig {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// File name extension of what it prints.
    #[serde(default = "bin")]
    #[schemars(with = "text::Extension")]
    pub extension: Extension,
    /// Environment variables of the command, each a reference.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::variables()))]
    pub env: BTreeMap<String, Reference>,
    /// Fail when it prints fewer bytes than this.
    #[serde(default = "one")]
    pub min_bytes: u64,
    /// Where it runs: `ssh:USER@HOST[:PORT]`, `docker:CONTAINER` or
    /// `kubectl:NAMESPACE/POD[/CONTAINER]`; on this host when absent.
    #[serde(default)]
    pub via: Option<Via>,
    /// How to log in, for `via = "ssh:…"`.
    #[serde(default)]
    pub ssh: Option<SshConfig>,
}

fn bin() -> Extension {
    Extension::own("bin")
}

fn one() -> u64 {
    1
}

/// What every store has, and what its kind adds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StoreConfig {
    /// `archive`: one object per artifact; `repository`: one snapshot per point in a repository that
    /// restic reads.
    #[serde(default)]
    pub layout: Layout,
    /// Key template; an extension is added from what was done.
    #[serde(default = "default_key")]
    pub key: String,
    /// `gzip`, `zstd` or `none`, with an optional level: `zstd:9`.
    #[serde(default)]
    pub compress: Compress,
    /// Password of the repository, for `layout = "repository"`.
    #[serde(default)]
    pub password: Option<Reference>,
    /// Public keys to encrypt to.
    #[serde(default)]
    pub encrypt: Option<EncryptConfig>,
    /// Private keys, only where drills and restores run.
    #[serde(default)]
    pub decrypt: Option<DecryptConfig>,
    /// Given up for this run when it accepts no byte for so long.
    #[serde(default = "default_stall")]
    pub stall_timeout: Span,
    /// What it is.
    #[serde(flatten)]
    pub kind: StoreKind,
}

fn default_stall() -> Span {
    Span { seconds: 300 }
}

/// The template used where none is given.
pub const KEY_DEFAULT: &str = "{app}/{source}/{artifact}/{date}/{hour}";

fn default_key() -> String {
    KEY_DEFAULT.into()
}

/// How objects are laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One object per artifact.
    #[default]
    Archive,
    /// One snapshot per point, in a repository of the restic format.
    Repository,
}

/// The kinds of store.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum StoreKind {
    /// A directory of this host.
    Local(LocalConfig),
    /// An S3 bucket.
    S3(S3Config),
    /// A directory of another host, over SSH.
    Sftp(SftpConfig),
}

impl StoreKind {
    /// The name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            StoreKind::Local(_) => "local",
            StoreKind::S3(_) => "s3",
            StoreKind::Sftp(_) => "sftp",
        }
    }
}

/// A directory of this host.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LocalConfig {
    /// Absolute path; made when missing, its parent must be there.
    #[schemars(with = "text::AbsolutePath")]
    pub path: PathBuf,
}

/// A directory of another host, over SSH.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SftpConfig {
    /// Host name, address or alias of the `ssh` configuration.
    pub host: String,
    /// Whom to log in as; `ssh` decides when absent.
    #[serde(default)]
    pub user: Option<String>,
    /// TCP port; `ssh` decides when absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// Absolute path there; made when missing, its parent must be there.
    #[schemars(with = "text::AbsolutePath")]
    pub path: PathBuf,
    /// How to log in.
    #[serde(default)]
    pub ssh: Option<SshConfig>,
}

impl SftpConfig {
    /// `sftp://user@host:port/path`, for people.
    pub fn location(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@"));
        let port = self.port.map(|port| format!(":{port}"));
        format!(
            "sftp://{}{}{}{}",
            user.unwrap_or_default(),
            self.bracketed(),
            port.unwrap_or_default(),
            self.path.display()
        )
    }

    /// The host, as it stands before a colon.
    pub fn bracketed(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }
}

/// An S3 bucket.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct S3Config {
    /// Name of the bucket.
    pub bucket: String,
    /// Everything goes under this prefix.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Region.
    #[serde(default = "default_region")]
    pub region: String,
    /// URL of a server that is not Amazon's.
    #[serde(default)]
    #[schemars(with = "Option<text::Url>")]
    pub endpoint: Option<String>,
    /// Access key id.
    pub access_key: Reference,
    /// Secret access key.
    pub secret_key: Reference,
    /// Session token of temporary credentials.
    #[serde(default)]
    pub session_token: Option<Reference>,
    /// As in S3: `STANDARD_IA`, `GLACIER_IR`, …
    #[serde(default)]
    pub storage_class: Option<String>,
    /// `AES256` or `aws:kms`.
    #[serde(default)]
    pub server_side_encryption: Option<String>,
    /// KMS key id or ARN for `aws:kms`.
    #[serde(default)]
    pub kms_key_id: Option<String>,
    /// Address the bucket as `https://bucket.host/` rather than `https://host/bucket/`.
    #[serde(default)]
    pub virtual_host_style: bool,
}

fn default_region() -> String {
    "us-east-1".into()
}

/// Which sources go where, and when.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// Cron, five fields, UTC.
    #[serde(default)]
    #[schemars(with = "Option<text::Cron>")]
    pub schedule: Option<String>,
    /// Names of sources, in the order they are captured.
    #[schemars(with = "Vec<text::Name>")]
    pub sources: Vec<Name>,
    /// Names of stores.
    #[schemars(with = "Vec<text::Name>")]
    pub stores: Vec<Name>,
    /// Which points are kept.
    #[serde(default)]
    pub keep: Option<Keep>,
    /// Commands before the first source; one that fails fails the backup.
    #[serde(default)]
    pub before: Vec<Vec<String>>,
    /// Commands after the last source, whatever happened.
    #[serde(default)]
    pub finally: Vec<Vec<String>>,
}

/// Which points are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Keep {
    /// `"forever"`.
    Word(KeepWord),
    /// By rules.
    Rules(KeepRules),
}

/// The one word `keep` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeepWord {
    /// Nothing is ever deleted.
    Forever,
}

/// Retention rules.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeepRules {
    /// The last so many.
    pub last: Option<u32>,
    /// One for each of so many hours.
    pub hourly: Option<u32>,
    /// Days.
    pub daily: Option<u32>,
    /// Weeks.
    pub weekly: Option<u32>,
    /// Months.
    pub monthly: Option<u32>,
    /// Years.
    pub yearly: Option<u32>,
    /// Everything younger.
    pub within: Option<Span>,
    /// Which point of a period is kept.
    pub of_period: OfPeriod,
}

/// Which point of a period is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OfPeriod {
    /// The oldest.
    First,
    /// The newest, as restic does.
    #[default]
    Last,
}

/// A rehearsed restore.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillConfig {
    /// Cron, five fields, UTC.
    #[serde(default)]
    #[schemars(with = "Option<text::Cron>")]
    pub schedule: Option<String>,
    /// The plans whose points are drilled as one application.
    #[schemars(with = "Vec<text::Name>")]
    pub plans: Vec<Name>,
    /// Which copy is proved; the plan's first store when absent.
    #[serde(default)]
    #[schemars(with = "Option<text::Name>")]
    pub store: Option<Name>,
    /// Which point: any POINT expression.
    #[serde(default = "latest")]
    pub point: String,
    /// Overdue after this.
    #[serde(default)]
    pub max_age: Option<Span>,
    /// What is asked of the restored application.
    #[serde(default)]
    pub checks: Vec<CheckConfig>,
}

fn latest() -> String {
    "latest".into()
}

/// One check of a restored application: exactly one of `sql`, `file`, `command`, `live` is given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckConfig {
    /// Name of a database source: ask it `query`.
    pub sql: Option<String>,
    /// One statement that returns one value.
    pub query: Option<String>,
    /// `> 0`, `>= N`, `= TEXT`, `!= TEXT`, `< N`, `<= N`, or `same`: as at capture.
    #[schemars(with = "Option<text::Expectation>")]
    pub expect: Option<String>,
    /// Name of a files source: look at `path` in it.
    pub file: Option<String>,
    /// Path in it: absolute as on the host, or relative to the parent of one of its `paths`.
    pub path: Option<String>,
    /// Text that the file must contain; without it, the file must be there.
    pub contains: Option<String>,
    /// A command that must exit 0. `LIFEBOAT_RESTORED` names the directory that holds a directory
    /// per files or sqlite source; `LIFEBOAT_URL_<SOURCE>` is the URL of each restored database.
    pub command: Option<Vec<String>>,
    /// Name of a database source: compare with the live one.
    pub live: Option<String>,
    /// How far row counts may be apart, as a share of the larger one; `5%` when absent.
    #[schemars(with = "Option<text::Tolerance>")]
    pub tolerance: Option<String>,
}

/// What surrounds a live restore.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestoreConfig {
    /// Commands that stop what writes.
    pub stop: Vec<Vec<String>>,
    /// Commands between the swap and the start: clear caches, rebuild an index.
    pub prepare: Vec<Vec<String>>,
    /// Commands that start it again.
    pub start: Vec<Vec<String>>,
    /// Commands after a start that succeeded.
    pub after: Vec<Vec<String>>,
    /// What must hold afterwards; the restore is undone when it does not.
    pub checks: Vec<CheckConfig>,
}

#[cfg(test)]
mod tests;
