//! The tables `[source.NAME]`.

use super::{
    AccountConfig, BucketServer, Ec2Config, ExternalConfig, LightsailConfig, SnapshotConfig,
    SshConfig, text,
};
use crate::error::{Code, Error, Result};
use crate::http::is_loopback;
use crate::kind::Kind;
use crate::name::Extension;
use crate::secret::Reference;
use crate::span::Span;
use crate::transport::{Copy, Transport, Via};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Fields of every source, and those of its kind.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SourceConfig {
    /// True for sensitive data; refused by a store that does not encrypt.
    #[serde(default)]
    pub sensitive: bool,
    /// True for data that must be kept separate; refused by a store whose bucket or disk also
    /// receives other data.
    #[serde(default)]
    pub separate: bool,
    /// Key template of its artifacts; the store's template when absent.
    #[serde(default)]
    pub key: Option<String>,
    /// Kind of the source, with its own fields.
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
    Mariadb(ServerConfig),
    /// One MySQL database.
    Mysql(ServerConfig),
    /// An S3 bucket.
    Bucket(BucketConfig),
    /// The standard output of a command.
    Command(CommandConfig),
    /// An instance of Amazon Lightsail.
    Lightsail(LightsailConfig),
    /// An instance of Amazon EC2.
    Ec2(Ec2Config),
    /// A machine, of which commands take snapshots.
    External(ExternalConfig),
}

impl SourceKind {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            SourceKind::Files(_) => Kind::Files,
            SourceKind::Sqlite(_) => Kind::Sqlite,
            SourceKind::Postgres(_) => Kind::Postgres,
            SourceKind::Mariadb(_) => Kind::Mariadb,
            SourceKind::Mysql(_) => Kind::Mysql,
            SourceKind::Bucket(_) => Kind::Bucket,
            SourceKind::Command(_) => Kind::Command,
            SourceKind::Lightsail(_) => Kind::Lightsail,
            SourceKind::Ec2(_) => Kind::Ec2,
            SourceKind::External(_) => Kind::External,
        }
    }

    /// Name of the kind in the configuration and in manifests.
    pub fn name(&self) -> &'static str {
        self.kind().as_str()
    }

    /// Its snapshots, which somebody else keeps, if it is a machine.
    pub fn snapshots(&self) -> Option<&SnapshotConfig> {
        match self {
            SourceKind::Lightsail(lightsail) => Some(&lightsail.snapshots),
            SourceKind::Ec2(ec2) => Some(&ec2.snapshots),
            SourceKind::External(external) => Some(&external.snapshots),
            SourceKind::Files(_)
            | SourceKind::Sqlite(_)
            | SourceKind::Postgres(_)
            | SourceKind::Mariadb(_)
            | SourceKind::Mysql(_)
            | SourceKind::Bucket(_)
            | SourceKind::Command(_) => None,
        }
    }

    /// The account that it is in, if it is a machine of Amazon.
    pub fn account(&self) -> Option<&AccountConfig> {
        match self {
            SourceKind::Lightsail(LightsailConfig { account, .. })
            | SourceKind::Ec2(Ec2Config { account, .. }) => Some(account),
            _ => None,
        }
    }

    /// Where the programs of a database run, if that is another host that is reached over SSH.
    pub fn host_by_ssh(&self) -> Option<&PlaceConfig> {
        let server = self.server()?;
        matches!(server.place.via, Some(Via::Ssh { .. })).then_some(&server.place)
    }

    /// The database of a server, if it is one.
    fn server(&self) -> Option<&ServerConfig> {
        match self {
            SourceKind::Postgres(postgres) => Some(&postgres.server),
            SourceKind::Mariadb(server) | SourceKind::Mysql(server) => Some(server),
            SourceKind::Files(_)
            | SourceKind::Sqlite(_)
            | SourceKind::Bucket(_)
            | SourceKind::Command(_)
            | SourceKind::Lightsail(_)
            | SourceKind::Ec2(_)
            | SourceKind::External(_) => None,
        }
    }

    /// Why it cannot be asked on a machine that was made of a snapshot of the one that it lives on; `None` if it
    /// can. `has_path` says whether files of that machine may be seen on this host.
    pub fn is_out_of_sight(&self, has_path: bool) -> Option<&'static str> {
        let server = match (self.server(), self) {
            (Some(server), _) => server,
            (None, SourceKind::Sqlite(_)) if has_path => return None,
            (None, SourceKind::Sqlite(_)) => {
                return Some("its file is found only where `restore` prints a `path`");
            }
            (None, _) => return Some("it is no database"),
        };
        match (&server.place.via, &server.host, &server.url) {
            (Some(Via::Ssh { .. }), Some(host), _) if !is_loopback(host) => {
                Some("its `host` is not that machine, but a server that it leads to")
            }
            (Some(Via::Ssh { .. }), _, _) => None,
            (Some(Via::Docker { .. } | Via::Kubectl { .. }), _, _) => {
                Some("it is reached in a container, which is not that of the new machine")
            }
            (None, Some(_), None) if server.socket.is_none() => None,
            (None, _, _) => Some("it needs `via = \"ssh:…\"`, or a `host` that can be another one"),
        }
    }

    /// Least content; with less, a point is an anomaly. A command that prints too little fails.
    pub fn least(&self) -> LeastRows {
        match self {
            SourceKind::Files(files) => files.least.into(),
            SourceKind::Sqlite(sqlite) => sqlite.least,
            SourceKind::Postgres(postgres) => postgres.server.least,
            SourceKind::Mariadb(server) | SourceKind::Mysql(server) => server.least,
            SourceKind::Bucket(bucket) => bucket.least.into(),
            SourceKind::Command(_)
            | SourceKind::Lightsail(_)
            | SourceKind::Ec2(_)
            | SourceKind::External(_) => LeastRows::default(),
        }
    }

    /// Absolute paths that it takes files from.
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
            | SourceKind::Command(_)
            | SourceKind::Lightsail(_)
            | SourceKind::Ec2(_)
            | SourceKind::External(_) => vec![],
        }
    }
}

/// Least content of a source whose content has no tables. With less, a point is an anomaly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeastBytes {
    /// Least number of bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_bytes: Option<u64>,
}

/// Least content of a database. With less, a point is an anomaly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeastRows {
    /// Least number of bytes of its dump or file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_bytes: Option<u64>,
    /// Least number of rows in all of its tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_rows: Option<u64>,
}

impl From<LeastBytes> for LeastRows {
    fn from(least: LeastBytes) -> Self {
        LeastRows {
            min_bytes: least.min_bytes,
            min_rows: None,
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
    /// Least content.
    #[serde(flatten)]
    pub least: LeastBytes,
}

/// One SQLite database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SqliteConfig {
    /// Absolute path of the database file.
    #[schemars(with = "text::AbsolutePath")]
    pub path: PathBuf,
    /// Least content.
    #[serde(flatten)]
    pub least: LeastRows,
}

/// One PostgreSQL database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PostgresConfig {
    /// Server and database.
    #[serde(flatten)]
    pub server: ServerConfig,
    /// Also capture roles, memberships and tablespaces (never passwords).
    #[serde(default = "yes")]
    pub globals: bool,
}

fn yes() -> bool {
    true
}

/// One database of a server: a URL, or its parts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ServerConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`, `mariadb://…` or `mysql://…`.
    #[serde(default)]
    pub url: Option<Reference>,
    /// Host name or address.
    #[serde(default)]
    pub host: Option<String>,
    /// TCP port; for PostgreSQL also the number in the name of the socket.
    #[serde(default)]
    pub port: Option<u16>,
    /// The server's unix socket, instead of `host`; for PostgreSQL its directory.
    #[serde(default)]
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub socket: Option<PathBuf>,
    /// Role or account to connect as.
    #[serde(default)]
    pub user: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<Reference>,
    /// Database.
    #[serde(default)]
    pub database: Option<String>,
    /// Longest wait for the lock of a table, or of its definition, before the dump is tried again.
    #[serde(default = "default_lock_timeout")]
    pub lock_timeout: Span,
    /// Least content.
    #[serde(flatten)]
    pub least: LeastRows,
    /// Place where its client programs run.
    #[serde(flatten)]
    pub place: PlaceConfig,
}

fn default_lock_timeout() -> Span {
    Span { seconds: 60 }
}

/// Place where programs run.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlaceConfig {
    /// Place where it runs: `ssh:USER@HOST[:PORT]`, `docker:CONTAINER` or
    /// `kubectl:NAMESPACE/POD[/CONTAINER]`; this host when absent.
    #[serde(default)]
    pub via: Option<Via>,
    /// Login settings for `via = "ssh:…"`.
    #[serde(default)]
    pub ssh: Option<SshConfig>,
    /// A copy of that host, which is reached instead.
    #[serde(skip)]
    pub instead: Option<Copy>,
}

impl PlaceConfig {
    /// The transport to that place. It does not connect yet.
    pub fn transport(&self) -> Transport {
        let mut login = self.ssh.as_ref().map(SshConfig::login);
        if self.instead.is_some() {
            login
                .get_or_insert_default()
                .instead
                .clone_from(&self.instead);
        }
        Transport::open(self.via.as_ref(), login)
    }
}

/// An S3 bucket, mirrored incrementally.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BucketConfig {
    /// Name of the bucket.
    pub bucket: String,
    /// Only keys that begin with this prefix.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Its server.
    #[serde(flatten)]
    pub server: BucketServer,
    /// Glob patterns of whole keys that are left out: `tmp/**`, `**/*.log`.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Largest number of requests at a time, 1 to 64.
    #[serde(default = "default_parallel")]
    pub parallel: u8,
    /// Time for which deleted or replaced objects stay in the index, and so in the store.
    #[serde(default = "default_keep_deleted")]
    pub keep_deleted: Span,
    /// Compress objects as the store says; most objects are compressed already.
    #[serde(default)]
    pub compress: bool,
    /// Least content.
    #[serde(flatten)]
    pub least: LeastBytes,
}

impl BucketConfig {
    /// Patterns of the keys that are left out.
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
    /// File name extension of its output.
    #[serde(default = "bin")]
    #[schemars(with = "text::Extension")]
    pub extension: Extension,
    /// Environment variables of the command, each a reference.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::variables()))]
    pub env: BTreeMap<String, Reference>,
    /// Smallest valid output in bytes; a shorter one fails.
    #[serde(default = "one")]
    pub min_bytes: u64,
    /// Place where it runs.
    #[serde(flatten)]
    pub place: PlaceConfig,
}

fn bin() -> Extension {
    Extension::own("bin")
}

fn one() -> u64 {
    1
}
