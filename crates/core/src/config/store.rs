//! The tables `[store.NAME]`.

use super::{
    BucketServer, DecryptConfig, EncryptConfig, ObjectLockConfig, Requirement, SshConfig, text,
};
use crate::compress::Compress;
use crate::secret::Reference;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Fields of every store, and those of its kind.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StoreConfig {
    /// `archive`: one object per artifact; `repository`: one snapshot per point in a repository that
    /// restic reads.
    #[serde(default)]
    pub layout: Layout,
    /// Key template; an extension for compression and encryption is added.
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
    /// Private keys; set them only where drills and restores run.
    #[serde(default)]
    pub decrypt: Option<DecryptConfig>,
    /// `lifeboat`, or `elsewhere` where another host or the bucket's lifecycle rules delete points.
    #[serde(default)]
    pub pruned_by: PrunedBy,
    /// Time without progress after which the store is given up for the run.
    #[serde(default = "default_stall")]
    pub stall_timeout: Span,
    /// Kind of the store, with its own fields.
    #[serde(flatten)]
    pub kind: StoreKind,
}

fn default_stall() -> Span {
    Span { seconds: 300 }
}

/// Key template used when none is given.
pub const KEY_DEFAULT: &str = "{app}/{source}/{artifact}/{date}/{hour}";

fn default_key() -> String {
    KEY_DEFAULT.into()
}

/// Who deletes the points that no rule keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PrunedBy {
    /// This configuration.
    #[default]
    Lifeboat,
    /// Somebody else, who says nothing: a point that is gone is not missing there.
    Elsewhere,
}

/// Layout of stored objects.
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
    S3(Box<S3Config>),
    /// A directory of another host, over SSH.
    Sftp(Box<SftpConfig>),
}

impl StoreKind {
    /// Name of the kind in the configuration.
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
    /// Absolute path; the directory is created if missing, but its parent must exist.
    #[schemars(with = "text::AbsolutePath")]
    pub path: PathBuf,
}

/// A directory of another host, over SSH.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SftpConfig {
    /// Host name, address or alias in the `ssh` configuration.
    pub host: String,
    /// User to log in as; `ssh` decides when absent.
    #[serde(default)]
    pub user: Option<String>,
    /// TCP port; `ssh` decides when absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// Absolute path on that host; the directory is created if missing, but its parent must exist.
    #[schemars(with = "text::RemotePath")]
    pub path: PathBuf,
    /// Login settings.
    #[serde(default)]
    pub ssh: Option<SshConfig>,
}

impl SftpConfig {
    /// Location as messages show it: `sftp://user@host:port/path`.
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

    /// The host in the form required before a colon: IPv6 addresses in brackets.
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
    /// Prefix of all keys.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Its server.
    #[serde(flatten)]
    pub server: BucketServer,
    /// Storage class of S3: `STANDARD_IA`, `GLACIER_IR`, …
    #[serde(default)]
    pub storage_class: Option<String>,
    /// `AES256` or `aws:kms`.
    #[serde(default)]
    pub server_side_encryption: Option<String>,
    /// KMS key id or ARN for `aws:kms`.
    #[serde(default)]
    pub kms_key_id: Option<String>,
    /// Makes the bucket when it is missing: private, versioned and encrypted.
    #[serde(default)]
    pub create: bool,
    /// What the bucket must be; what is not is an error.
    #[serde(default)]
    pub require: Vec<Requirement>,
    /// Locks what belongs to points, so that nobody can delete it before its date.
    #[serde(default)]
    pub object_lock: Option<ObjectLockConfig>,
}
