//! The entries of a directory tree in little memory.
//!
//! Entries are kept in compressed blocks, about 30 bytes an entry, and are unpacked one block at a
//! time. Where a block ends depends only on the paths in it: two lists that share a stretch of
//! entries share its blocks, byte for byte. The form of a block is not a stored format: only a
//! cache of this host keeps it.

use super::{FileEntry, FileKind};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::cmp::Ordering;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Average number of entries in a block.
const BLOCK_ENTRIES: u64 = 512;
/// Size at which a block ends, in bytes before compression.
const BLOCK_BYTES: usize = 256 << 10;
/// zstd's default.
const LEVEL: i32 = 3;

/// Entries of a directory tree, in the order in which they were added. A clone shares its blocks.
#[derive(Clone, Default)]
pub struct Entries {
    blocks: Vec<Arc<[u8]>>,
    count: usize,
    unordered: bool,
}

impl Entries {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = FileEntry> {
        // Blocks were either made here or checked when they were read, so that all can be unpacked.
        let blocks = self.blocks.iter().map_while(|block| unpack(block));
        blocks.flatten()
    }

    /// The entries in the order of [`path_order`], in which a walk adds them, each path once.
    fn in_order(&self) -> Box<dyn Iterator<Item = FileEntry> + '_> {
        if !self.unordered {
            return Box::new(self.iter());
        }
        let mut sorted: Vec<FileEntry> = self.iter().collect();
        sorted.sort_by(|a, b| path_order(&a.path, &b.path));
        // Of two entries with one path, the later one counts.
        sorted.reverse();
        sorted.dedup_by(|a, b| a.path == b.path);
        Box::new(sorted.into_iter().rev())
    }

    /// Walks two lists side by side, in the order of [`path_order`], so that neither is held whole.
    /// `visit` gets the entries of each path: of `self`, and of `other`. If the lists are equal, it
    /// may get none.
    pub(crate) fn beside(
        &self,
        other: &Entries,
        mut visit: impl FnMut(Option<&FileEntry>, Option<&FileEntry>),
    ) {
        // Usually the blocks are equal, and none need be unpacked.
        if self.blocks == other.blocks {
            return;
        }
        let (mut left, mut right) = (self.in_order(), other.in_order());
        let (mut a, mut b) = (left.next(), right.next());
        loop {
            let order = match (&a, &b) {
                (Some(a), Some(b)) => path_order(&a.path, &b.path),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            visit(
                a.as_ref().filter(|_| order != Ordering::Greater),
                b.as_ref().filter(|_| order != Ordering::Less),
            );
            if order != Ordering::Greater {
                a = left.next();
            }
            if order != Ordering::Less {
                b = right.next();
            }
        }
    }

    /// The blocks, for a cache.
    pub(crate) fn blocks(&self) -> &[Arc<[u8]>] {
        &self.blocks
    }

    /// Makes a list from its blocks; `None` when one cannot be unpacked.
    pub(crate) fn from_blocks(blocks: Vec<Arc<[u8]>>) -> Option<Self> {
        let mut entries = Entries {
            blocks,
            ..Entries::default()
        };
        let mut last: Option<String> = None;
        for block in &entries.blocks {
            for entry in unpack(block)? {
                entries.count += 1;
                entries.unordered |= last.is_some_and(|last| !follows(&last, &entry.path));
                last = Some(entry.path);
            }
        }
        Some(entries)
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.blocks == other.blocks || self.iter().eq(other.iter())
    }
}

impl FromIterator<FileEntry> for Entries {
    fn from_iter<I: IntoIterator<Item = FileEntry>>(entries: I) -> Self {
        let mut packer = Packer::default();
        entries.into_iter().for_each(|entry| packer.push(&entry));
        packer.finish()
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries, A::Error> {
                let mut packer = Packer::default();
                while let Some(entry) = list.next_element::<FileEntry>()? {
                    packer.push(&entry);
                }
                Ok(packer.finish())
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// Makes [`Entries`] one entry at a time.
#[derive(Default)]
pub(crate) struct Packer {
    done: Entries,
    /// The open block, not compressed.
    open: Vec<u8>,
    /// The path of the previous entry.
    last: String,
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    pub(crate) fn push(&mut self, entry: &FileEntry) {
        let begins = xxh3_64(entry.path.as_bytes()).is_multiple_of(BLOCK_ENTRIES);
        if !self.open.is_empty() && (begins || self.open.len() >= BLOCK_BYTES) {
            self.close();
        }
        let done = &mut self.done;
        done.unordered |= done.count > 0 && !follows(&self.last, &entry.path);
        done.count += 1;
        let before = match self.open.is_empty() {
            true => "",
            false => &self.last,
        };
        put_entry(&mut self.open, before, entry);
        self.last.clear();
        self.last.push_str(&entry.path);
    }

    fn close(&mut self) {
        if self.compressor.is_none() {
            self.compressor = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        let compressor = self.compressor.as_mut();
        let packed = compressor.and_then(|zstd| zstd.compress(&self.open).ok());
        // If zstd lacks memory, the block is kept uncompressed.
        let (form, bytes) = match &packed {
            Some(packed) => (ZSTD, packed),
            None => (PLAIN, &self.open),
        };
        let block = std::iter::once(form).chain(bytes.iter().copied());
        self.done.blocks.push(block.collect());
        self.open.clear();
    }

    pub(crate) fn finish(mut self) -> Entries {
        if !self.open.is_empty() {
            self.close();
        }
        self.done
    }
}

/// First byte of a block, which names its form.
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

fn unpack(block: &[u8]) -> Option<Vec<FileEntry>> {
    let (form, bytes) = block.split_first()?;
    let plain;
    let bytes = match *form {
        ZSTD => {
            plain = zstd::stream::decode_all(bytes).ok()?;
            &plain
        }
        PLAIN => bytes,
        _ => return None,
    };
    let mut rest = Rest(bytes);
    let mut entries: Vec<FileEntry> = Vec::new();
    while !rest.0.is_empty() {
        let before = entries.last().map_or("", |entry| &entry.path);
        let entry = rest.entry(before)?;
        entries.push(entry);
    }
    Some(entries)
}

/// Appends an entry; its path is written as the length shared with `before`, and the rest.
fn put_entry(to: &mut Vec<u8>, before: &str, entry: &FileEntry) {
    let (path, before) = (entry.path.as_bytes(), before.as_bytes());
    let shared = path.iter().zip(before).take_while(|(a, b)| a == b).count();
    put_number(to, shared as u64);
    put_bytes(to, path.get(shared..).unwrap_or_default());
    to.push(match entry.kind {
        FileKind::File => b'f',
        FileKind::Directory => b'd',
        FileKind::Symlink => b'l',
        FileKind::Hardlink => b'h',
    });
    put_number(to, entry.mode.into());
    put_number(to, entry.uid.into());
    put_number(to, entry.gid.into());
    to.extend_from_slice(&entry.mtime.to_le_bytes());
    put_number(to, entry.bytes);
    put_hash(to, Some(&entry.hash));
    put_option(to, entry.link.as_deref());
    put_hash(to, entry.xattrs.as_deref());
}

/// Writes seven bits a byte, the lowest first.
fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(0x80 | number.to_le_bytes()[0]);
        number >>= 7;
    }
    to.push(number.to_le_bytes()[0]);
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_number(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

fn put_option(to: &mut Vec<u8>, text: Option<&str>) {
    to.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_bytes(to, text.as_bytes());
    }
}

/// A hash is half as long as its hex digits.
const HEX: u8 = 2;

fn put_hash(to: &mut Vec<u8>, hash: Option<&str>) {
    let is_hex = |text: &&str| {
        text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let number = hash.filter(is_hex);
    match number.and_then(|text| u128::from_str_radix(text, 16).ok()) {
        Some(number) => {
            to.push(HEX);
            to.extend_from_slice(&number.to_le_bytes());
        }
        None => put_option(to, hash),
    }
}

/// The unread part of a block. Its methods return `None` when the block ends early or is invalid.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn entry(&mut self, before: &str) -> Option<FileEntry> {
        let shared = self.length()?;
        let mut path = before.as_bytes().get(..shared)?.to_vec();
        let rest = self.length()?;
        path.extend_from_slice(self.take(rest)?);
        Some(FileEntry {
            path: String::from_utf8(path).ok()?,
            kind: match self.byte()? {
                b'f' => FileKind::File,
                b'd' => FileKind::Directory,
                b'l' => FileKind::Symlink,
                b'h' => FileKind::Hardlink,
                _ => return None,
            },
            mode: self.number()?.try_into().ok()?,
            uid: self.number()?.try_into().ok()?,
            gid: self.number()?.try_into().ok()?,
            mtime: i64::from_le_bytes(self.take(8)?.try_into().ok()?),
            bytes: self.number()?,
            hash: self.hash()??,
            link: self.option()?,
            xattrs: self.hash()?,
        })
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn option(&mut self) -> Option<Option<String>> {
        match self.byte()? {
            0 => Some(None),
            1 => Some(Some(self.text()?)),
            _ => None,
        }
    }

    fn hash(&mut self) -> Option<Option<String>> {
        if self.0.first() != Some(&HEX) {
            return self.option();
        }
        self.byte()?;
        let number = u128::from_le_bytes(self.take(16)?.try_into().ok()?);
        Some(Some(format!("{number:032x}")))
    }
}

fn follows(last: &str, next: &str) -> bool {
    path_order(last, next) == Ordering::Less
}

/// Compares paths in the order of a walk: component by component by the bytes of the names, with
/// the content of a directory right after it.
fn path_order(a: &str, b: &str) -> Ordering {
    order_bytes(a).cmp(order_bytes(b))
}

/// The bytes of a path, with 0 between its components, which no name contains.
fn order_bytes(path: &str) -> impl Iterator<Item = u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut rest = path.bytes();
    std::iter::from_fn(move || {
        let byte = rest.next()?;
        if byte == b'/' {
            return Some(0);
        }
        let mut ahead = rest.clone();
        // An escaped byte: `\xNN`.
        if byte == b'\\'
            && ahead.next() == Some(b'x')
            && let Some(high) = ahead.next().and_then(digit)
            && let Some(low) = ahead.next().and_then(digit)
        {
            rest = ahead;
            return u8::try_from(high << 4 | low).ok();
        }
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn entry(path: &str, number: u64) -> FileEntry {
        FileEntry {
            path: path.to_owned(),
            kind: FileKind::File,
            mode: 0o644,
            uid: 1000,
            gid: 4_294_967_295,
            mtime: -5,
            bytes: u64::MAX - number,
            hash: format!("{:032x}", u128::from(number) << 70 | 5),
            link: None,
            xattrs: None,
        }
    }

    fn many(changed: Option<u64>) -> Vec<FileEntry> {
        let path = |n: u64| format!("srv/data/d{:03}/file{n:06}.txt", n / 100);
        let mut entries: Vec<FileEntry> = (0..20_000).map(|n| entry(&path(n), n)).collect();
        if let Some(n) = changed {
            entries[usize::try_from(n).unwrap()].mtime = 7;
        }
        entries
    }

    #[test]
    fn entries_survive_packing() {
        let mut odd = vec![
            entry("a", 0),
            FileEntry {
                kind: FileKind::Directory,
                hash: String::new(),
                ..entry("a/ü", 1)
            },
            FileEntry {
                kind: FileKind::Symlink,
                link: Some("../\\xff".into()),
                xattrs: Some("0123456789ABCDEF0123456789abcdef".into()),
                ..entry("a/û", 2)
            },
            FileEntry {
                kind: FileKind::Hardlink,
                hash: "short".into(),
                link: Some(String::new()),
                xattrs: Some(format!("{:032x}", 9)),
                mtime: i64::MIN,
                ..entry("", 3)
            },
        ];
        odd.extend(many(None));
        let packed: Entries = odd.iter().cloned().collect();
        assert_eq!(packed.len(), odd.len());
        assert!(packed.iter().eq(odd.iter().cloned()));
        let json = serde_json::to_string_pretty(&odd).unwrap();
        assert_eq!(serde_json::to_string_pretty(&packed).unwrap(), json);
        let read: Entries = serde_json::from_str(&json).unwrap();
        assert_eq!(read, packed);
        let again = Entries::from_blocks(packed.blocks().to_vec()).unwrap();
        assert_eq!((&again, again.len()), (&packed, packed.len()));
        assert_eq!(again.unordered, packed.unordered);
    }

    #[test]
    fn similar_lists_share_their_blocks() {
        let packed: Entries = many(None).into_iter().collect();
        let bytes: usize = packed.blocks().iter().map(|b| b.len()).sum();
        assert!(bytes < 40 * packed.len(), "{bytes}");
        let known: HashSet<_> = packed.blocks().iter().collect();
        assert!(known.len() > 10, "{}", known.len());
        let new = |entries: Vec<FileEntry>| {
            let packed: Entries = entries.into_iter().collect();
            let blocks = packed.blocks().iter();
            blocks.filter(|block| !known.contains(block)).count()
        };
        assert_eq!(new(many(None)), 0);
        assert_eq!(new(many(Some(9999))), 1);
        let mut more = many(None);
        more.insert(5000, entry("srv/data/d050/another", 1));
        assert!(new(more) <= 2);
        let mut fewer = many(None);
        fewer.remove(12_345);
        assert!(new(fewer) <= 2);
    }

    #[test]
    fn a_damaged_block_cannot_be_unpacked() {
        let packed: Entries = many(None).into_iter().collect();
        let block = packed.blocks()[1].clone();
        for length in [0, 1, block.len() - 1] {
            let cut: Arc<[u8]> = block[..length].into();
            assert!(Entries::from_blocks(vec![cut]).is_none(), "{length}");
        }
        let mut plain = vec![PLAIN];
        put_entry(&mut plain, "", &entry("a/b", 1));
        for length in 2..plain.len() {
            assert!(unpack(&plain[..length]).is_none(), "{length}");
        }
        assert_eq!(unpack(&plain), Some(vec![entry("a/b", 1)]));
    }

    #[test]
    fn paths_are_ordered_as_they_are_walked() {
        let walked = [
            "a", "a/b", "a/b/c", "a/b c", "a/\\xff", "a b", "a.txt", "a0", "b", "ü", "\\xff",
        ];
        for pair in walked.windows(2) {
            assert!(follows(pair[0], pair[1]), "{pair:?}");
            assert!(!follows(pair[1], pair[0]), "{pair:?}");
        }
        let mut shuffled: Vec<FileEntry> = walked.iter().map(|path| entry(path, 1)).collect();
        shuffled.swap(2, 7);
        shuffled.insert(4, entry("a", 9));
        let packed: Entries = shuffled.into_iter().collect();
        assert!(packed.unordered);
        let sorted: Vec<FileEntry> = packed.in_order().collect();
        assert!(sorted.iter().map(|e| &e.path[..]).eq(walked));
        assert_eq!(sorted[0], entry("a", 9));
    }
}
