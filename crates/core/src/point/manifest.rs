//! What a manifest and its details say.

use super::PointId;
use crate::fingerprint::Proof;
use crate::kind::StoredKind;
use crate::name::{Extension, Name, StoredKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much of what a plan names a point holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything.
    Complete,
    /// Something was skipped, and is named.
    Partial,
    /// Nothing that could be restored.
    Failed,
}

impl Outcome {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Complete => "complete",
            Outcome::Partial => "partial",
            Outcome::Failed => "failed",
        }
    }
}

/// How consistent a captured artifact is in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// One instant: a snapshot or transaction.
    Snapshot,
    /// Each file by itself; the tree over a span of time.
    PerFile,
    /// Whatever the command guarantees.
    Unknown,
}

/// Something a capture left out, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The path or name, with bytes that are not UTF-8 as `\xNN`.
    pub name: String,
    /// Why, in a few words.
    pub reason: String,
    /// Whether this makes the point partial. A socket does not; a file that could not be read does.
    pub partial: bool,
}

/// Commits one store's copy of a restore point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format: 1.
    pub schema: u32,
    /// Which point.
    pub point: PointId,
    /// Of which application.
    pub app: Name,
    /// In which environment.
    pub environment: Name,
    /// By which plan.
    pub plan: Name,
    /// On which host.
    pub host: String,
    /// Who ran it: the user, and who became it with sudo.
    pub author: String,
    /// Why, where someone said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What made it be taken. Older manifests lack it, and so all that is optional below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// What was promised of recovery when it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Targets>,
    /// Which machine took it, as [`crate::host::machine`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// SHA-256 of the manifest of the plan's point before it in this store, hex. Absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Taken before a live restore, of what was to be replaced: perhaps of something broken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub safety: bool,
    /// Version of the program.
    pub lifeboat: String,
    /// How much of what the plan names it holds.
    pub outcome: Outcome,
    /// When the capture began.
    pub started: Timestamp,
    /// When the last source was captured.
    pub finished: Timestamp,
    /// The store this copy is in.
    pub store: Name,
    /// Every store that was to receive a copy.
    pub stores: Vec<Name>,
    /// The sources, in the order they were captured.
    pub sources: Vec<ManifestSource>,
    /// What is stored here.
    pub artifacts: Vec<ManifestArtifact>,
    /// Where the details are, and their hash.
    pub details: StoredDetails,
    /// The newest record of each evidence chain, so that a cut tail shows.
    pub evidence: BTreeMap<Name, Head>,
    /// Id of the key that signs this.
    pub signer: String,
}

impl Manifest {
    /// What a partial point lacks: `bot, part of files`; `None` of a complete one.
    pub fn lacks(&self) -> Option<String> {
        let lacking = lacking(self.sources.iter());
        match (self.outcome, lacking) {
            (Outcome::Complete, None) => None,
            (_, None) => Some("something".to_owned()),
            (_, lacking) => lacking,
        }
    }

    /// The same of some of its sources.
    pub fn lacks_of(&self, sources: &[String]) -> Option<String> {
        let wanted = |s: &&ManifestSource| sources.iter().any(|name| *name == s.name);
        lacking(self.sources.iter().filter(wanted))
    }
}

fn lacking<'a>(sources: impl Iterator<Item = &'a ManifestSource>) -> Option<String> {
    let lacking = sources.filter_map(|s| match s.outcome {
        Outcome::Complete => None,
        Outcome::Partial => Some(format!("part of {}", s.name)),
        Outcome::Failed => Some(s.name.to_string()),
    });
    let lacking: Vec<String> = lacking.collect();
    (!lacking.is_empty()).then(|| lacking.join(", "))
}

/// One source of a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestSource {
    /// Its name in the configuration.
    pub name: Name,
    /// What kind of source it is.
    pub kind: StoredKind,
    /// How much of it is here.
    pub outcome: Outcome,
    /// How consistent it is in itself; absent when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// When its capture began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Which server it was taken from, where servers tell: PostgreSQL's system identifier, MySQL's
    /// `server_uuid`, MariaDB's `server_uid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Where in the source's log it was taken: PostgreSQL's log sequence number; file and offset of
    /// the binary log, or its GTID, of MariaDB and MySQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

/// One stored artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ManifestArtifact {
    /// Of which source.
    pub source: Name,
    /// Its name within the source.
    pub name: Name,
    /// File name extension of the bare stream.
    pub extension: Extension,
    /// Key in this store; its path where it is in a snapshot.
    pub key: StoredKey,
    /// Stored bytes; those that were added for it where it is in a snapshot.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, hex; where it is in a snapshot, of that, which names by hashes all
    /// that is in it, and whose id it is.
    pub sha256: String,
    /// The id of the snapshot that it is in, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// `gzip`, `zstd` or `none`.
    pub compress: String,
    /// `age`, `openpgp` or `repository`, or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<String>,
    /// Fingerprint of the OpenPGP key that signed inside, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openpgp_signer: Option<String>,
    /// The proof of its content under a key that is derived from the signing key, hex: equal content
    /// of two points shows, also where what was captured cannot be decrypted. See
    /// [`crate::sign::Signer::proof_mac`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof_mac: Option<String>,
    /// The id that a versioned store gave the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What made a point be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Who, or what.
    pub by: TriggeredBy,
    /// The time of the schedule that it was taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Timestamp>,
}

/// Who or what made a point be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggeredBy {
    /// A person, or a program of theirs.
    Command,
    /// The schedule of the plan.
    Schedule,
    /// A live restore, which keeps what it replaces.
    Restore,
}

/// What is promised of recovery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// The recovery point objective, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_seconds: Option<u64>,
    /// The recovery time objective, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_seconds: Option<u64>,
    /// The schedule of the plan: cron, five fields, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The drills of the plan that may not be older than so many seconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drill_max_age_seconds: BTreeMap<Name, u64>,
}

/// Where the details of a point are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDetails {
    /// Key in this store; their path where they are in a snapshot.
    pub key: StoredKey,
    /// Stored bytes.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, hex; where they are in a snapshot, its id, which is one.
    pub sha256: String,
    /// `age`, `openpgp` or `repository`, or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<String>,
    /// Fingerprint of the OpenPGP key that signed inside, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openpgp_signer: Option<String>,
    /// The id that a versioned store gave the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The newest record of an evidence chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number, from 1.
    pub sequence: u64,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
    /// The same of the ends of other branches, where the chain forked and nothing joins them yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<String>,
}

/// What could tell of the content; sealed to the store's recipients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Version of this format: 1.
    pub schema: u32,
    /// Which point.
    pub point: PointId,
    /// One for each artifact of the manifest.
    pub artifacts: Vec<DetailsArtifact>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// What failed.
    pub errors: Vec<String>,
}

/// What was in one artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetailsArtifact {
    /// Of which source.
    pub source: Name,
    /// Its name within the source.
    pub name: Name,
    /// Bytes of the bare stream.
    pub bytes: u64,
    /// SHA-256 of the bare stream, hex.
    pub sha256: String,
    /// What was in it.
    pub proof: Proof,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// Client and server versions.
    pub tools: BTreeMap<String, String>,
    /// Answers to the queries of drill checks, taken at the consistency point.
    pub answers: BTreeMap<String, String>,
    /// Absolute paths a `files` source was told to take, or that of a `sqlite` database.
    pub roots: Vec<String>,
    /// Mode, owner and group of a `sqlite` database file; a tar carries its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<FileAttributes>,
}

/// Mode, owner and group of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAttributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl ManifestArtifact {
    /// How many bytes are read of it; not known of what is in a snapshot.
    pub fn stored_bytes(&self) -> Option<u64> {
        self.snapshot.is_none().then_some(self.bytes)
    }
}

impl Manifest {
    /// Bytes stored here for this point's artifacts.
    pub fn stored_bytes(&self) -> u64 {
        self.artifacts.iter().map(|a| a.bytes).sum()
    }
}

impl Details {
    /// What was in one artifact.
    pub fn artifact(&self, source: &str, name: &str) -> Option<&DetailsArtifact> {
        self.artifacts
            .iter()
            .find(|a| a.source == source && a.name == name)
    }
}
