//! The proof of a directory tree: what is hashed, and how.
//!
//! The capture (over bytes on their way into the archive) and the observer (over a restored tree)
//! both use it, so that they cannot differ in definition. It does not cover access and change
//! times, modification times of directories and links, attributes of links, inode numbers, and
//! where the holes of a sparse file lie.
//!
//! **Content hash of a file**: xxh3-128 over, for each 4 KiB-aligned block that is not all zeros
//! (the last one may be short), the block's index as 8 bytes little-endian and then its bytes; and
//! at the end the length of the file as 8 bytes little-endian. A hole and a run of zeros therefore
//! hash alike, and a hole of a terabyte costs nothing.
//!
//! `content` is the sum over (path, type, content hash or link target), `metadata` over (path,
//! mode, modification time of a file, `user.*` attributes and access control lists), `ownership`
//! over (path, owner, group, `security.*` and `trusted.*` attributes): the part that only a
//! privileged user can restore.

use super::acl;
use crate::fingerprint::{
    FileEntry, FileKind, FilesFingerprint, Fingerprint, Inventory, Packer, Proof, RowSum,
};
use std::fmt::Write as _;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Block size of the hash: blocks of zeros are skipped.
const BLOCK: usize = 4096;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// The content hash of a file, fed in order.
pub(crate) struct ContentHash {
    hasher: Xxh3,
    /// The block being filled; always shorter than a whole one between calls.
    partial: Vec<u8>,
    index: u64,
    length: u64,
}

impl ContentHash {
    pub(crate) fn new() -> Self {
        ContentHash {
            hasher: Xxh3::new(),
            partial: Vec::with_capacity(BLOCK),
            index: 0,
            length: 0,
        }
    }

    fn block(&mut self, bytes: &[u8]) {
        let zeros = ZEROS.get(..bytes.len()).unwrap_or_default();
        if bytes != zeros {
            self.hasher.update(&self.index.to_le_bytes());
            self.hasher.update(bytes);
        }
        self.index += 1;
    }

    fn end_partial(&mut self) {
        let block = std::mem::take(&mut self.partial);
        self.block(&block);
        self.partial = block;
        self.partial.clear();
    }

    pub(crate) fn data(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.partial.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - self.partial.len()));
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() < BLOCK {
                return;
            }
            self.end_partial();
        }
        let mut blocks = bytes.chunks_exact(BLOCK);
        for block in &mut blocks {
            self.block(block);
        }
        self.partial.extend_from_slice(blocks.remainder());
    }

    /// Adds `count` zero bytes, at the cost of two blocks at most.
    pub(crate) fn zeros(&mut self, count: u64) {
        let block = BLOCK as u64;
        let head = if self.partial.is_empty() {
            0
        } else {
            count.min(block - self.partial.len() as u64)
        };
        self.data(part_of_zeros(head));
        let whole = (count - head) / block;
        self.index += whole;
        self.length += whole * block;
        self.data(part_of_zeros((count - head) % block));
    }

    /// Returns length and hash.
    pub(crate) fn finish(mut self) -> (u64, u128) {
        if !self.partial.is_empty() {
            self.end_partial();
        }
        self.hasher.update(&self.length.to_le_bytes());
        (self.length, self.hasher.digest128())
    }
}

/// Fewer than [`BLOCK`] zeros.
fn part_of_zeros(count: u64) -> &'static [u8] {
    let count = usize::try_from(count).unwrap_or(0);
    ZEROS.get(..count).unwrap_or_default()
}

/// The extended attributes of an entry, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(pub(crate) Vec<(Vec<u8>, Vec<u8>)>);

impl Attributes {
    /// Returns true if only a privileged user can set this attribute.
    pub(crate) fn privileged(name: &[u8]) -> bool {
        name.starts_with(b"security.") || name.starts_with(b"trusted.")
    }

    /// Hash of the privileged attributes, or of the others; `None` if there are none.
    fn hash(&self, privileged: bool) -> Option<u128> {
        let mut row = Vec::new();
        for (name, value) in &self.0 {
            if Self::privileged(name) != privileged {
                continue;
            }
            put(&mut row, name);
            if acl::is_acl(name) {
                put(&mut row, &acl::canonical(value));
            } else {
                put(&mut row, value);
            }
        }
        (!row.is_empty()).then(|| xxh3_128(&row))
    }
}

/// Appends a length and the bytes.
fn put(row: &mut Vec<u8>, bytes: &[u8]) {
    row.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    row.extend_from_slice(bytes);
}

/// The kind of an entry, with what is hashed of it.
pub(crate) enum What<'a> {
    Directory,
    File {
        bytes: u64,
        hash: u128,
    },
    Symlink {
        target: &'a [u8],
    },
    /// A further name of `first`.
    Hardlink {
        first: &'a [u8],
    },
}

/// Metadata that every entry has.
pub(crate) struct Meta<'a> {
    /// Its path as in the archive, without a trailing slash.
    pub(crate) path: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) attributes: &'a Attributes,
}

/// Sums over the entries of a tree, and their list.
pub(crate) struct FilesSums {
    content: RowSum,
    metadata: RowSum,
    ownership: RowSum,
    fingerprint: FilesFingerprint,
    entries: Packer,
}

impl FilesSums {
    pub(crate) fn new() -> Self {
        FilesSums {
            content: RowSum::new("files content"),
            metadata: RowSum::new("files metadata"),
            ownership: RowSum::new("files ownership"),
            fingerprint: FilesFingerprint::default(),
            entries: Packer::default(),
        }
    }

    pub(crate) fn add(&mut self, meta: &Meta<'_>, what: &What<'_>) {
        let (kind, letter, bytes, content) = match what {
            What::Directory => (FileKind::Directory, b'd', 0, Vec::new()),
            What::File { bytes, hash } => {
                (FileKind::File, b'f', *bytes, hash.to_le_bytes().to_vec())
            }
            What::Symlink { target } => (FileKind::Symlink, b'l', 0, target.to_vec()),
            What::Hardlink { first } => (FileKind::Hardlink, b'h', 0, first.to_vec()),
        };
        let mut row = Vec::with_capacity(meta.path.len() + content.len() + 32);
        put(&mut row, meta.path);
        let path_end = row.len();
        row.push(letter);
        put(&mut row, &content);
        self.content.add(&row);

        let is_file = matches!(kind, FileKind::File | FileKind::Hardlink);
        let mtime = if is_file { meta.mtime } else { 0 };
        // Linux gives links no mode of their own.
        let mode = if kind == FileKind::Symlink {
            0o777
        } else {
            meta.mode & 0o7777
        };
        let xattrs = meta.attributes.hash(false);
        row.truncate(path_end);
        row.extend_from_slice(&mode.to_le_bytes());
        row.extend_from_slice(&mtime.to_le_bytes());
        row.extend_from_slice(&xattrs.unwrap_or(0).to_le_bytes());
        self.metadata.add(&row);

        row.truncate(path_end);
        row.extend_from_slice(&meta.uid.to_le_bytes());
        row.extend_from_slice(&meta.gid.to_le_bytes());
        let privileged = meta.attributes.hash(true);
        row.extend_from_slice(&privileged.unwrap_or(0).to_le_bytes());
        self.ownership.add(&row);

        let totals = &mut self.fingerprint;
        match kind {
            FileKind::File | FileKind::Hardlink => totals.files += 1,
            FileKind::Directory => totals.directories += 1,
            FileKind::Symlink => totals.links += 1,
        }
        totals.bytes += bytes;
        self.entries.push(&FileEntry {
            path: escape(meta.path),
            kind,
            mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
            bytes,
            hash: match what {
                What::File { hash, .. } => format!("{hash:032x}"),
                What::Symlink { target } => format!("{:032x}", xxh3_128(target)),
                What::Directory | What::Hardlink { .. } => String::new(),
            },
            link: match what {
                What::Symlink { target } => Some(escape(target)),
                What::Hardlink { first } => Some(escape(first)),
                What::Directory | What::File { .. } => None,
            },
            xattrs: xattrs.map(|hash| format!("{hash:032x}")),
        });
    }

    pub(crate) fn finish(mut self) -> Proof {
        self.fingerprint.content = self.content.hex();
        self.fingerprint.metadata = self.metadata.hex();
        self.fingerprint.ownership = self.ownership.hex();
        Proof {
            fingerprint: Fingerprint::Files(self.fingerprint),
            inventory: Inventory::Files {
                entries: self.entries.finish(),
            },
        }
    }
}

/// Bytes as text: invalid UTF-8, control characters and backslashes become `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() || letter == '\\' {
                let mut buffer = [0; 4];
                for byte in letter.encode_utf8(&mut buffer).bytes() {
                    let _ = write!(text, "\\x{byte:02x}");
                }
            } else {
                text.push(letter);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(feed: impl FnOnce(&mut ContentHash)) -> (u64, u128) {
        let mut hash = ContentHash::new();
        feed(&mut hash);
        hash.finish()
    }

    #[test]
    fn holes_and_zeros_hash_alike_however_they_are_cut() {
        let mut content = vec![0_u8; 50_000];
        content[20_001..20_100].fill(7);
        content[49_999] = 1;
        let whole = hash(|h| h.data(&content));
        for step in [1, 7, 4095, 4096, 4097, 30_000] {
            let cut = hash(|h| content.chunks(step).for_each(|c| h.data(c)));
            assert_eq!(cut, whole, "step {step}");
        }
        let sparse = hash(|h| {
            h.zeros(20_001);
            h.data(&content[20_001..20_100]);
            h.zeros(3);
            h.zeros(49_999 - 20_103);
            h.data(&[1]);
        });
        assert_eq!(sparse, whole);
    }

    #[test]
    fn length_place_and_value_all_count() {
        let terabyte = 1 << 40;
        let base = hash(|h| h.zeros(terabyte));
        assert_ne!(base, hash(|h| h.zeros(terabyte + 1)));
        assert_eq!(base, hash(|h| (0..1024).for_each(|_| h.zeros(1 << 30))));
        let at = |offset: u64, byte: u8| {
            hash(|h| {
                h.zeros(offset);
                h.data(&[byte]);
                h.zeros(terabyte - offset - 1);
            })
        };
        assert_ne!(at(5, 1), base);
        assert_ne!(at(5, 1), at(6, 1));
        assert_ne!(at(5, 1), at(4096 + 5, 1));
        assert_ne!(at(5, 1), at(5, 2));
        assert_eq!(at(5, 0), base);
        assert_ne!(hash(|_| ()).1, hash(|h| h.zeros(1)).1);
    }

    #[test]
    fn odd_names_are_escaped_without_loss() {
        assert_eq!(escape("grüße".as_bytes()), "grüße");
        assert_eq!(escape(b"a\\b\n\xff'\"\x7f"), "a\\x5cb\\x0a\\xff'\"\\x7f");
        assert_eq!(escape("\u{85}".as_bytes()), "\\xc2\\x85");
    }
}
