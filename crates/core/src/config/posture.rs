//! The tables `[posture.NAME]`, and what a bucket is required to be.

use super::BucketServer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A bucket that is no store and is watched all the same: that of the state of an infrastructure, or of a
/// website.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct PostureConfig {
    /// What it is.
    pub kind: PostureKind,
    /// Name of the bucket.
    pub bucket: String,
    /// Its server.
    #[serde(flatten)]
    pub server: BucketServer,
    /// What must be so; what is not is an error.
    #[serde(default)]
    pub require: Vec<Requirement>,
}

/// Kind of what is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PostureKind {
    /// A bucket.
    Bucket,
}

/// Something that a bucket may be required to be.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// It keeps versions.
    Versioning,
    /// It can lock objects.
    ObjectLock,
    /// It blocks all public access.
    PublicAccessBlock,
    /// The server encrypts what is put.
    Encryption,
    /// Its policy refuses what comes without TLS.
    TlsOnly,
    /// Versions are deleted with a second factor only.
    MfaDelete,
    /// It is replicated.
    Replication,
    /// It logs who reads and writes.
    Logging,
    /// These credentials cannot destroy what is in it, which is tried.
    Undeletable,
}

impl Requirement {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Requirement::Versioning => "versioning",
            Requirement::ObjectLock => "object-lock",
            Requirement::PublicAccessBlock => "public-access-block",
            Requirement::Encryption => "encryption",
            Requirement::TlsOnly => "tls-only",
            Requirement::MfaDelete => "mfa-delete",
            Requirement::Replication => "replication",
            Requirement::Logging => "logging",
            Requirement::Undeletable => "undeletable",
        }
    }
}
