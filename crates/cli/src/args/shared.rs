//! Arguments that several commands have, each said once.

use clap::Args;
use std::path::PathBuf;

/// The forms of POINT, for its help.
pub const POINT: &str =
    "An id, its beginning, latest, latest:PLAN, before:TIME, random, random:14d..21d";

/// The time as of which stores are read.
#[derive(Debug, Clone, Args)]
pub struct AsOf {
    /// Read what stood in the stores at this time, as 2026-11-20T06:00:00Z or 2026-11-20: they must
    /// keep versions, as a bucket with versioning does
    #[arg(id = "as_of", long = "as-of", value_name = "TIME")]
    pub time: Option<String>,
}

/// The store that something is read from.
#[derive(Debug, Clone, Args)]
pub struct FromStore {
    /// From which store; the first with a sound copy when not given
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
}

/// The store that alone is looked at.
#[derive(Debug, Clone, Args)]
pub struct InStore {
    /// Only what this store holds
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
}

/// Whom to believe beside the configured signers.
#[derive(Debug, Clone, Args)]
pub struct Trust {
    /// Also believe this signer, in this run (repeatable)
    #[arg(long = "trust-signer", value_name = "SHA256:…")]
    pub signers: Vec<String>,
}

/// A store that no configuration names, for a machine that has nothing else.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Without a configuration")]
pub struct Cold {
    /// Read this store and no configuration: file:///PATH, s3://BUCKET/PREFIX?region=…&endpoint=…,
    /// sftp://USER@HOST:PORT/PATH?key=REFERENCE&known_hosts=PATH
    #[arg(long, value_name = "URL")]
    pub store_url: Option<String>,
    /// Where the key is that decrypts it, age or OpenPGP: env:NAME, file:PATH, cmd:PROGRAM ARGS
    #[arg(long, value_name = "REFERENCE", requires = "store_url")]
    pub identity: Option<String>,
    /// Where the passphrase of that key is
    #[arg(long, value_name = "REFERENCE", requires = "identity")]
    pub passphrase: Option<String>,
    /// Where the password of its repository is, for points that are in one
    #[arg(long, value_name = "REFERENCE", requires = "store_url")]
    pub password: Option<String>,
    /// Where the S3 access key is [default: env:AWS_ACCESS_KEY_ID]
    #[arg(long, value_name = "REFERENCE", requires_all = ["store_url", "secret_key"])]
    pub access_key: Option<String>,
    /// Where the S3 secret key is [default: env:AWS_SECRET_ACCESS_KEY]
    #[arg(long, value_name = "REFERENCE", requires_all = ["store_url", "access_key"])]
    pub secret_key: Option<String>,
    /// Which application, where the store holds several
    #[arg(long, value_name = "APP[/ENVIRONMENT]", requires = "store_url")]
    pub app: Option<String>,
    /// Believe the signers of this file, as `allowed_signers` of a recovery kit
    #[arg(long, value_name = "FILE", requires = "store_url")]
    pub trusted_signers: Option<PathBuf>,
}
