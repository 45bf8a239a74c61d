//! The document of `diff`.

use crate::fingerprint::FileKind;
use crate::kind::StoredKind;
use crate::name::Name;
use crate::point::{Outcome, PointId};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// What changed from one point to another.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// The application of both.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// The point that is compared with.
    pub before: DiffPoint,
    /// The other point.
    pub after: DiffPoint,
    /// Sources that only the first point has.
    pub only_before: Vec<Name>,
    /// Sources that only the other point has.
    pub only_after: Vec<Name>,
    /// Sources that both have.
    pub sources: Vec<DiffSource>,
}

/// One of the two points.
#[derive(Debug, Clone, Serialize)]
pub struct DiffPoint {
    /// Its id.
    pub point: PointId,
    /// Its plan.
    pub plan: Name,
    /// When its capture began.
    pub started: Timestamp,
    /// How much of its plan it holds.
    pub outcome: Outcome,
    /// The store it was read from.
    pub store: Name,
    /// True if its details could not be read there, and are those that the catalog noted.
    pub from_catalog: bool,
}

/// What changed in a source.
#[derive(Debug, Clone, Serialize)]
pub struct DiffSource {
    /// The source.
    pub source: Name,
    /// Its kind in the other point.
    pub kind: StoredKind,
    /// True if all of it could be compared, and nothing differs.
    pub equal: bool,
    /// Tables, of a database.
    pub tables: Option<TablesDiff>,
    /// Files, of a tree.
    pub files: Option<FilesDiff>,
    /// Objects, of a bucket.
    pub objects: Option<ObjectsDiff>,
    /// Streams whose content is not interpreted, by artifact.
    pub streams: BTreeMap<Name, BytesChange>,
    /// What could not be compared, and why.
    pub limits: Vec<String>,
}

/// A list that may be cut short.
#[derive(Debug, Clone, Serialize)]
pub struct Listed<T> {
    /// Number of all entries.
    pub count: u64,
    /// The first of them.
    pub listed: Vec<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Listed {
            count: 0,
            listed: Vec::new(),
        }
    }
}

impl<T> Listed<T> {
    /// Counts an entry, and lists it unless the list has `most` already.
    pub(super) fn push(&mut self, most: usize, entry: impl FnOnce() -> T) {
        self.count += 1;
        if self.listed.len() < most {
            self.listed.push(entry());
        }
    }

    /// Number of entries that are not listed.
    pub fn unlisted(&self) -> u64 {
        self.count.saturating_sub(self.listed.len() as u64)
    }
}

/// What became of a table, file or object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its content is another.
    Changed,
    /// Its content is the same; its mode, owner, time or the like is another.
    Metadata,
}

impl Change {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
            Change::Metadata => "metadata",
        }
    }
}

/// Tables and objects of a database.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TablesDiff {
    /// Tables that are new.
    pub added: Listed<TableChange>,
    /// Tables that are gone.
    pub removed: Listed<TableChange>,
    /// Tables with other content.
    pub changed: Listed<TableChange>,
    /// Number of tables with the same content.
    pub equal: u64,
    /// Rows of all tables.
    pub rows: Totals,
    /// Kinds of objects of which there are more or fewer, or some are defined otherwise.
    pub kinds: Vec<ObjectKind>,
}

/// A number before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

/// A table before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableChange {
    /// Its name, `schema.table`.
    pub table: String,
    /// Its rows before; absent if it is new.
    pub rows_before: Option<u64>,
    /// Its rows after; absent if it is gone.
    pub rows_after: Option<u64>,
    /// Bytes of its rows as text, before.
    pub bytes_before: Option<u64>,
    /// Bytes of its rows as text, after.
    pub bytes_after: Option<u64>,
}

/// The objects of one kind in a database: indexes, triggers, views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectKind {
    /// The kind.
    pub kind: String,
    /// Their number before.
    pub before: u64,
    /// Their number after.
    pub after: u64,
    /// Number of those that both points have and define otherwise; absent where the definitions are
    /// worded by servers of different versions, or are not known.
    pub redefined: Option<u64>,
}

/// What became of entries of a tree, or of objects of a bucket.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Entries {
    /// Entries that are new.
    pub added: Listed<Entry>,
    /// Entries that are gone.
    pub removed: Listed<Entry>,
    /// Entries with other content, or of another type.
    pub changed: Listed<Entry>,
    /// Entries with the same content and another mode, owner, time or the like; objects with other
    /// headers, metadata or tags.
    pub metadata: Listed<Entry>,
}

impl Entries {
    /// Counts an entry, and lists it unless the list has `most` already.
    pub(super) fn push(&mut self, change: Change, most: usize, entry: impl FnOnce() -> Entry) {
        let list = match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Changed => &mut self.changed,
            Change::Metadata => &mut self.metadata,
        };
        list.push(most, entry);
    }

    /// The lists, each with what became of its entries.
    pub fn lists(&self) -> [(Change, &Listed<Entry>); 4] {
        [
            (Change::Added, &self.added),
            (Change::Removed, &self.removed),
            (Change::Changed, &self.changed),
            (Change::Metadata, &self.metadata),
        ]
    }

    /// Returns whether nothing became of any.
    pub(super) fn is_empty(&self) -> bool {
        self.lists().iter().all(|(_, list)| list.count == 0)
    }
}

/// Entries of a tree: files, directories and links.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FilesDiff {
    /// What became of them.
    #[serde(flatten)]
    pub entries: Entries,
    /// Files in the tree.
    pub files: Totals,
    /// Bytes in these files.
    pub bytes: Totals,
}

/// Objects of a bucket.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ObjectsDiff {
    /// What became of them; empty if the indexes could not be read.
    #[serde(flatten)]
    pub entries: Entries,
    /// Objects in the bucket.
    pub objects: Totals,
    /// Their bytes.
    pub bytes: Totals,
    /// True if all of them are equal.
    pub equal: bool,
}

/// An entry of a tree, or an object of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its path or key; bytes that are not UTF-8, control characters and backslashes as `\xNN`.
    pub path: String,
    /// Its type in the newest point that has it; absent for an object of a bucket.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<FileKind>,
    /// Its size before; absent if it is new.
    pub bytes_before: Option<u64>,
    /// Its size after; absent if it is gone.
    pub bytes_after: Option<u64>,
}

/// A stream whose content is not interpreted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BytesChange {
    /// True if it has the same bytes.
    pub equal: bool,
    /// Its size before; absent if it is new.
    pub bytes_before: Option<u64>,
    /// Its size after; absent if it is gone.
    pub bytes_after: Option<u64>,
    /// Its SHA-256 before.
    pub sha256_before: Option<String>,
    /// Its SHA-256 after.
    pub sha256_after: Option<String>,
}

#[cfg(test)]
mod tests;
