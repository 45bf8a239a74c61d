//! The contents of a manifest and of its details.

use super::PointId;
use crate::fingerprint::Proof;
use crate::kind::StoredKind;
use crate::name::{Extension, Name, StoredKey};
use crate::short::Short;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much of its plan a point holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything.
    Complete,
    /// Something was skipped, and is listed.
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
    /// Unknown: whatever the command guarantees.
    Unknown,
}

/// Something that a capture left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The path or name, with bytes that are not UTF-8 as `\xNN`.
    pub name: String,
    /// The reason, in a few words.
    pub reason: String,
    /// True if this makes the point partial. A socket does not; a file that could not be read does.
    pub partial: bool,
}

/// A manifest: it commits one store's copy of a restore point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format: 1.
    pub schema: u32,
    /// Id of the point.
    pub point: PointId,
    /// Its application.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// The plan that took it.
    pub plan: Name,
    /// The host it was taken on.
    pub host: String,
    /// The user who ran the backup, and who became that user with sudo.
    pub author: String,
    /// The reason, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What triggered it. Older manifests lack it, and lack every optional field below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// The recovery objectives when it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Targets>,
    /// The machine that took it: see [`crate::host::machine`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// SHA-256 of the manifest of the plan's previous point in this store, hex. Absent in the
    /// first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// True if it was taken before a live restore, of what was to be replaced; that may be broken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub safety: bool,
    /// Version of the program.
    pub lifeboat: String,
    /// How much of its plan it holds.
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
    /// The artifacts stored here.
    pub artifacts: Vec<ManifestArtifact>,
    /// Key, size and hash of the details.
    pub details: StoredDetails,
    /// SHA-256 over the public keys that the artifacts are encrypted to, hex; absent where they are
    /// not, and where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients_sha256: Option<String>,
    /// The newest record of each evidence chain, so that a truncated chain shows.
    pub evidence: BTreeMap<Name, Head>,
    /// Id of the key that signs the manifest.
    pub signer: String,
}

impl Manifest {
    /// Lists what a partial point lacks: `bot, part of files`. `None` for a complete point.
    pub fn lacks(&self) -> Option<String> {
        let lacking = lacking(self.sources.iter());
        match (self.outcome, lacking) {
            (Outcome::Complete, None) => None,
            (_, None) => Some("something".to_owned()),
            (_, lacking) => lacking,
        }
    }

    /// Lists what it lacks of these sources, in the same form.
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
    /// Its kind.
    pub kind: StoredKind,
    /// How much of it was captured.
    pub outcome: Outcome,
    /// Its consistency; absent if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// When its capture began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// The server it was taken from, if servers identify themselves: PostgreSQL's system
    /// identifier, MySQL's `server_uuid`, MariaDB's `server_uid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The position in the source's log at which it was taken: PostgreSQL's log sequence number;
    /// for MariaDB and MySQL, file and offset of the binary log, or its GTID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// The snapshot that somebody else keeps of it, if it is a machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
}

/// A snapshot that somebody else keeps: the store has this reference, and not the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// What identifies it where it is.
    pub id: String,
    /// Its name there.
    pub name: String,
    /// The machine that it was taken of.
    pub machine: String,
    /// When it was taken, as its keeper says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Its size in bytes, as its keeper says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The region that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The account that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Copies of it in other regions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<External>,
}

impl External {
    /// It, and its copies.
    pub fn everywhere(&self) -> impl Iterator<Item = &External> {
        std::iter::once(self).chain(&self.copies)
    }

    /// The one of them that is in a region; it where none is said to be.
    pub fn seen_from(&self, region: Option<&str>) -> &External {
        let mut all = self.everywhere();
        let found = region.and_then(|region| all.find(|one| one.region.as_deref() == Some(region)));
        found.unwrap_or(self)
    }
}

/// One stored artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ManifestArtifact {
    /// Its source.
    pub source: Name,
    /// Its name within the source.
    pub name: Name,
    /// File name extension of the plain stream.
    pub extension: Extension,
    /// Its key in this store, or its path if it is in a snapshot.
    pub key: StoredKey,
    /// Stored bytes; if it is in a snapshot, the bytes that were added for it.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, hex. If it is in a snapshot, the SHA-256 of the snapshot, which
    /// is also its id and covers, through hashes, everything in it.
    pub sha256: String,
    /// Id of the snapshot that holds it, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// `gzip`, `zstd` or `none`.
    pub compress: Short,
    /// `age`, `openpgp` or `repository`, or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<Short>,
    /// Fingerprint of the OpenPGP key that signed inside, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openpgp_signer: Option<String>,
    /// HMAC of its proof of content under a key derived from the signing key, hex. It shows that
    /// two points have equal content even if their details cannot be decrypted. See
    /// [`crate::sign::Signer::proof_mac`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof_mac: Option<String>,
    /// HMAC, under the same key, of [`DetailsArtifact::settings`], hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_mac: Option<String>,
    /// The version id that the store gave the object, if it keeps versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The trigger of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Who or what triggered it.
    pub by: TriggeredBy,
    /// The time in the schedule for which it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Timestamp>,
}

/// Kinds of triggers.
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

/// Recovery objectives.
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
    /// Maximum age in seconds of each drill of the plan.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drill_max_age_seconds: BTreeMap<Name, u64>,
}

/// Where the details of a point are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDetails {
    /// Their key in this store, or their path if they are in a snapshot.
    pub key: StoredKey,
    /// Stored bytes.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, hex. If they are in a snapshot, the id of the snapshot, which
    /// is a SHA-256 too.
    pub sha256: String,
    /// `age`, `openpgp` or `repository`, or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<Short>,
    /// Fingerprint of the OpenPGP key that signed inside, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openpgp_signer: Option<String>,
    /// The version id that the store gave the object, if it keeps versions.
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
    /// Hashes of the ends of other branches, if the chain forked and nothing joins them yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<String>,
}

/// Details of a point: everything that could reveal its content, encrypted to the store's
/// recipients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Version of this format: 1.
    pub schema: u32,
    /// Id of the point.
    pub point: PointId,
    /// One for each artifact of the manifest.
    pub artifacts: Vec<DetailsArtifact>,
    /// Warnings for an operator.
    pub warnings: Vec<String>,
    /// Messages about what failed.
    pub errors: Vec<String>,
}

/// Details of one artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetailsArtifact {
    /// Its source.
    pub source: Name,
    /// Its name within the source.
    pub name: Name,
    /// Size of the plain stream, in bytes.
    pub bytes: u64,
    /// SHA-256 of the plain stream, hex.
    pub sha256: String,
    /// The proof of its content.
    pub proof: Proof,
    /// What was left out of it.
    pub skipped: Vec<Skipped>,
    /// Versions of clients and servers.
    pub tools: BTreeMap<String, String>,
    /// Answers to the queries of drill checks, as of the instant of the capture.
    pub answers: BTreeMap<String, String>,
    /// Absolute paths that a `files` source was told to take, or the path of a `sqlite` database.
    pub roots: Vec<String>,
    /// Mode, owner and group of a `sqlite` database file; a tar archive carries its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<FileAttributes>,
    /// SHA-256 over what it was captured with and its proof does not show, hex: its source as
    /// configured, `attributes`, and the queries that were to be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// Number of files that changed since the plan's newest complete point before it, if it is a tree
    /// and its inventory could be compared with the one of that point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<FileChanges>,
}

/// Number of files of a tree that changed since another point. Links and directories do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChanges {
    /// Number of files before.
    pub before: u64,
    /// Number of files with other content than before.
    pub changed: u64,
    /// Number of files that are new.
    pub added: u64,
    /// Number of files that are gone.
    pub removed: u64,
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
    /// Number of stored bytes that are read for it; `None` if it is in a snapshot, where this is
    /// unknown.
    pub fn stored_bytes(&self) -> Option<u64> {
        self.snapshot.is_none().then_some(self.bytes)
    }
}

impl Manifest {
    /// Number of bytes stored here for this point's artifacts.
    pub fn stored_bytes(&self) -> u64 {
        self.artifacts.iter().map(|a| a.bytes).sum()
    }
}

impl Details {
    /// The details of one artifact.
    pub fn artifact(&self, source: &str, name: &str) -> Option<&DetailsArtifact> {
        self.artifacts
            .iter()
            .find(|a| a.source == source && a.name == name)
    }
}
