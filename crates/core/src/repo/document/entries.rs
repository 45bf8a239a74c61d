//! Documents of the entries of snapshots.

use lifeboat_repository::Id;
use lifeboat_repository::browse::Change;
use lifeboat_repository::tree::{Node, NodeKind, mode};
use serde::Serialize;

/// A path as text, with characters escaped that would break a line.
pub fn text(path: &[u8]) -> String {
    let mut out = String::new();
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character.is_control() {
                true => out.extend(character.escape_default()),
                false => out.push(character),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// The document of `ls`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Entries {
    /// Each entry, in the order of the walk.
    pub entries: Vec<Entry>,
}

/// A file, directory, link or other entry of a snapshot.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    path: String,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: String,
    link_target: Option<String>,
}

impl Entry {
    /// The entry at a path.
    pub fn new(path: &[u8], node: &Node) -> Self {
        let is_link = node.kind == NodeKind::Symlink;
        Entry {
            path: text(path),
            name: text(&node.name),
            kind: node.kind.name(),
            mode: format!("{:04o}", mode::permissions(node.mode)),
            uid: node.uid,
            gid: node.gid,
            size: node.size,
            mtime: node.mtime.to_string(),
            link_target: is_link.then(|| text(&node.link_target)),
        }
    }
}

/// The document of `find`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Found {
    /// Each entry that was found.
    pub found: Vec<FoundEntry>,
}

/// An entry, and the snapshot that holds it.
#[derive(Debug, Clone, Serialize)]
pub struct FoundEntry {
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
    /// The snapshot.
    pub snapshot: Id,
}

/// The document of `diff`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Changes {
    changes: Vec<Changed>,
}

/// An entry that differs between the two snapshots.
#[derive(Debug, Clone, Serialize)]
struct Changed {
    path: String,
    change: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Changes {
    /// Adds a difference.
    pub fn add(&mut self, path: &[u8], change: Change, node: &Node) {
        self.changes.push(Changed {
            path: text(path),
            change: match change {
                Change::Added => "added",
                Change::Removed => "removed",
                Change::Modified => "modified",
                Change::Metadata => "metadata",
                Change::Kind => "type",
            },
            kind: node.kind.name(),
        });
    }
}
