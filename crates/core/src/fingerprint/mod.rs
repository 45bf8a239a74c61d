//! Content hashes that survive a dump and a restore, and the one comparison of two of them.
//!
//! A [`Proof`] describes the content of an artifact: a [`Fingerprint`] (numbers and hashes) and an
//! [`Inventory`] (names), by which a difference is located. The captured side is made from the
//! stream as it passes; the restored side from the restored data themselves. Hashes guard against
//! accidents; the manifest's signature guards against people.

mod compare;
mod entries;
mod joins;
mod objects;
mod rows;
mod settled;

pub use compare::{COUNTER, Difference, Scope, compare};
pub use entries::Entries;
pub(crate) use entries::Packer;
pub use joins::nested_joins;
pub use objects::{
    DATABASE_PROPERTY, EVENT_END, EVENT_STATE, NOT_PRESERVED, are_objects, unproven,
};
pub use rows::RowSum;
pub use settled::settled;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Description of the content of an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Numbers and hashes.
    pub fingerprint: Fingerprint,
    /// Names, to locate a difference.
    pub inventory: Inventory,
}

impl Proof {
    /// The content as bytes that are equal when the content is equal. The time at which a catalog
    /// was read is left out.
    pub fn content(&self) -> Vec<u8> {
        let named = match &self.inventory {
            Inventory::Database(inventory) => Some(DatabaseInventory {
                asked: None,
                ..inventory.clone()
            }),
            // Sums in the fingerprint cover every entry.
            Inventory::Files { .. } | Inventory::None => None,
        };
        // Texts, numbers and maps with text keys can always be written as JSON.
        serde_json::to_vec(&(&self.fingerprint, &named)).unwrap_or_default()
    }

    /// Returns whether it describes a database that has objects of this kind.
    pub fn has_objects(&self, kind: &str) -> bool {
        match &self.inventory {
            Inventory::Database(inventory) => inventory
                .objects
                .get(kind)
                .is_some_and(|objects| !objects.is_empty()),
            Inventory::None | Inventory::Files { .. } => false,
        }
    }
}

/// Numbers and hashes of an artifact's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fingerprint {
    /// Fingerprint of a database.
    Tables(TablesFingerprint),
    /// Fingerprint of a directory tree.
    Files(FilesFingerprint),
    /// Fingerprint of a bucket.
    Objects(ObjectsFingerprint),
    /// Fingerprint of a stream whose content is not interpreted.
    Bytes(BytesFingerprint),
}

/// Fingerprint of a set of tables.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TablesFingerprint {
    /// Hash of the rows: `xxh3-128-sum` (see [`RowSum`]) over the row text that the name continues
    /// with, as in `xxh3-128-sum/pg-copy-text`.
    pub algorithm: String,
    /// Fingerprints by `schema.table`.
    pub tables: BTreeMap<String, TableFingerprint>,
    /// Number of objects of each kind: `index`, `trigger`, `view`, …
    pub objects: BTreeMap<String, u64>,
    /// Content that this does not prove, by table and column.
    pub limits: Vec<String>,
}

/// Fingerprint of one table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableFingerprint {
    /// Rows.
    pub rows: u64,
    /// Bytes of canonical row text.
    pub bytes: u64,
    /// The sum of the row hashes, 32 hex digits.
    pub hash: String,
    /// The columns in the order their values were hashed.
    pub columns: Vec<String>,
}

/// Fingerprint of a directory tree. Hashes are sums over entries as in [`RowSum`], 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FilesFingerprint {
    /// Regular files; a further name of a hard-linked file counts as a file.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// Hash over path, type and content (or link target).
    pub content: String,
    /// Hash over path, mode, modification time in whole seconds (not of links and directories) and
    /// extended attributes.
    pub metadata: String,
    /// Hash over path, owner, group and the attributes only a privileged user can set
    /// (`security.*`, `trusted.*`).
    pub ownership: String,
}

/// Fingerprint of a bucket. Hashes are sums over objects as in [`RowSum`], 32 hex digits. The names
/// are in the index of the point, which may be too long to be held in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ObjectsFingerprint {
    /// Number of objects.
    pub objects: u64,
    /// Bytes of all objects.
    pub bytes: u64,
    /// Hash over key, size and SHA-256 of the content.
    pub content: String,
    /// Hash over key, headers such as the content type, user metadata and tags.
    pub carried: String,
}

/// Fingerprint of a plain stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BytesFingerprint {
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

/// Names of the content of an artifact.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", try_from = "AnyInventory")]
pub enum Inventory {
    /// Nothing beyond the fingerprint.
    #[default]
    None,
    /// Objects of a database.
    Database(DatabaseInventory),
    /// Entries of a directory tree.
    Files {
        /// Entries in the order of the walk.
        entries: Entries,
    },
}

/// Fields of every kind of [`Inventory`] at once. An enum that names its kind among the fields
/// would be read into memory whole before the kind is known.
#[derive(Deserialize)]
struct AnyInventory {
    kind: InventoryKind,
    entries: Option<Entries>,
    objects: Option<BTreeMap<String, BTreeMap<String, String>>>,
    release: Option<String>,
    asked: Option<i64>,
    sequences: Option<BTreeMap<String, i64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum InventoryKind {
    None,
    Database,
    Files,
}

impl TryFrom<AnyInventory> for Inventory {
    type Error = &'static str;

    fn try_from(any: AnyInventory) -> Result<Self, Self::Error> {
        Ok(match any.kind {
            InventoryKind::None => Inventory::None,
            InventoryKind::Database => Inventory::Database(DatabaseInventory {
                objects: any.objects.ok_or("missing field `objects`")?,
                release: any.release,
                asked: any.asked,
                sequences: any.sequences.ok_or("missing field `sequences`")?,
            }),
            InventoryKind::Files => Inventory::Files {
                entries: any.entries.ok_or("missing field `entries`")?,
            },
        })
    }
}

/// The objects of a database, from its catalog.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DatabaseInventory {
    /// kind (`table`, `index`, `constraint`, `trigger`, `routine`, `view`, `policy`, …) →
    /// qualified name → definition, or a hash of it where it is long. Both sides make the same text.
    pub objects: BTreeMap<String, BTreeMap<String, String>>,
    /// The server that wrote the definitions, with the part of its version that may change their
    /// wording: `PostgreSQL 15`, `MariaDB 10.11`. Older proofs lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Time at which the catalog was read, by the server's clock, in seconds since 1970, where it
    /// matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<i64>,
    /// Sequences: qualified name → last value. They ignore snapshots, so a restored one may be
    /// ahead of the captured one, never behind.
    pub sequences: BTreeMap<String, i64>,
}

/// One entry of a directory tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path as in the archive, `/`-separated, relative; bytes that are not UTF-8, control
    /// characters and backslashes as `\xNN`.
    pub path: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: FileKind,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Bytes of content; 0 for anything but a file.
    pub bytes: u64,
    /// Hash of the content, hex, by the definition of [`crate::source::files`] (in which zeros cost
    /// nothing); xxh3-128 of the target's bytes for a symbolic link; empty for a directory and for
    /// a further name of a hard-linked file.
    pub hash: String,
    /// Target of a symbolic link, escaped as `path` is; for a further name of a hard-linked file,
    /// the path of its first name in this archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// xxh3-128 over the sorted extended attributes that need no privilege (`user.*`, ACLs), hex;
    /// absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xattrs: Option<String>,
}

/// Type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A further name of a file that precedes it.
    Hardlink,
}
