//! Packs: sealed blobs one after the other, then a sealed header that lists them, then the header's
//! length.
//!
//! The entries of a header are in the order of the blobs and imply their offsets. In format 2 a
//! pack holds only trees or only data; reading does not rely on that.

use crate::crypto::{IV_BYTES, Key, OVERHEAD_BYTES};
use crate::error::{Damage, Result};
use crate::hash::{Hashing, update_both};
use crate::id::Id;
use serde::{Deserialize, Serialize};

/// The two kinds of blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// A part of a file.
    Data,
    /// A directory.
    Tree,
}

/// The place of a blob in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackedBlob {
    /// SHA-256 of the plaintext.
    pub id: Id,
    /// The kind of blob.
    pub kind: BlobKind,
    /// The offset of its sealed bytes.
    pub offset: u32,
    /// The number of sealed bytes.
    pub length: u32,
    /// The length of the plaintext if the blob is compressed.
    pub uncompressed: Option<u32>,
}

impl PackedBlob {
    /// The offset in the pack at which the blob ends.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }

    /// The length of the plaintext.
    pub fn plain_bytes(&self) -> u64 {
        let stored = (self.length as usize).saturating_sub(OVERHEAD_BYTES);
        self.uncompressed.map_or(stored as u64, u64::from)
    }
}

/// The length at which a pack is closed.
pub(crate) const PACK_BYTES: usize = 16 << 20;
/// A pack below this length is closed only when nothing more comes.
pub(crate) const PACK_BYTES_MIN: usize = PACK_BYTES / 2;
/// The longest header, in bytes.
pub const HEADER_BYTES_MAX: usize = 16 << 20;
/// Bytes of the field at the end of a pack that holds the header's length.
const LENGTH_BYTES: usize = 4;
const PLAIN_ENTRY_BYTES: usize = 1 + 4 + Id::BYTES;
const COMPRESSED_ENTRY_BYTES: usize = PLAIN_ENTRY_BYTES + 4;

/// A pack that is being filled in memory.
#[derive(Debug)]
pub struct PackBuilder {
    bytes: Vec<u8>,
    blobs: Vec<PackedBlob>,
}

/// A pack that is complete except for its name, whose hash is still being computed.
#[derive(Debug)]
pub(crate) struct ClosedPack {
    bytes: Vec<u8>,
    blobs: Vec<PackedBlob>,
    hash: Hashing,
    hashed: usize,
}

/// A complete pack.
#[derive(Debug)]
pub struct Pack {
    /// The name: the hash of the bytes.
    pub id: Id,
    /// The bytes to store.
    pub bytes: Vec<u8>,
    /// The blobs in the pack.
    pub blobs: Vec<PackedBlob>,
}

impl Default for PackBuilder {
    fn default() -> Self {
        PackBuilder::new(Vec::new())
    }
}

impl PackBuilder {
    /// An empty pack in the buffer `room`, whose content is discarded.
    pub fn new(mut room: Vec<u8>) -> Self {
        room.clear();
        PackBuilder {
            bytes: room,
            blobs: Vec::new(),
        }
    }

    /// The length so far, without the header.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether the pack has no blob.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Returns whether a blob of `bytes` sealed bytes should go to another pack: a pack that is
    /// long enough is closed rather than made too long.
    pub fn is_full(&self, bytes: usize) -> bool {
        let header = (self.blobs.len() + 1) * COMPRESSED_ENTRY_BYTES;
        let long = self.bytes.len() + bytes;
        (self.bytes.len() >= PACK_BYTES_MIN && long > PACK_BYTES)
            || header + OVERHEAD_BYTES > HEADER_BYTES_MAX
            || u32::try_from(long).is_err()
    }

    /// Adds a blob. `content` is its plaintext; or, if `uncompressed` gives the plaintext's length,
    /// its compressed form.
    pub fn add(
        &mut self,
        key: &Key,
        id: Id,
        kind: BlobKind,
        content: &[u8],
        uncompressed: Option<u32>,
    ) -> Result<()> {
        let start = self.bytes.len();
        key.seal_into(content, &mut self.bytes)?;
        self.note(id, kind, start, uncompressed)
    }

    /// Adds a blob that is already sealed. The offset in `blob` is ignored.
    pub fn add_sealed(&mut self, blob: &PackedBlob, sealed: &[u8]) -> Result<()> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(sealed);
        self.note(blob.id, blob.kind, start, blob.uncompressed)
    }

    fn note(
        &mut self,
        id: Id,
        kind: BlobKind,
        start: usize,
        uncompressed: Option<u32>,
    ) -> Result<()> {
        let long = |_| crate::Error::Blob {
            id,
            damage: Damage::Format("a pack is at most 4 GiB long".into()),
        };
        self.blobs.push(PackedBlob {
            id,
            kind,
            offset: u32::try_from(start).map_err(long)?,
            length: u32::try_from(self.bytes.len() - start).map_err(long)?,
            uncompressed,
        });
        Ok(())
    }

    /// Finishes the pack: adds the header and computes the name.
    pub fn finish(self, key: &Key) -> Result<Pack> {
        Ok(self.close(key)?.finish())
    }

    /// Adds the header, but leaves the name to be computed.
    pub(crate) fn close(mut self, key: &Key) -> Result<ClosedPack> {
        let start = self.bytes.len();
        self.bytes.resize(start + IV_BYTES, 0);
        for blob in &self.blobs {
            let kind = match (blob.kind, blob.uncompressed.is_some()) {
                (BlobKind::Data, false) => 0,
                (BlobKind::Tree, false) => 1,
                (BlobKind::Data, true) => 2,
                (BlobKind::Tree, true) => 3,
            };
            self.bytes.push(kind);
            self.bytes.extend_from_slice(&blob.length.to_le_bytes());
            if let Some(length) = blob.uncompressed {
                self.bytes.extend_from_slice(&length.to_le_bytes());
            }
            self.bytes.extend_from_slice(blob.id.bytes());
        }
        key.seal_tail(&mut self.bytes, start)?;
        let header = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&header.to_le_bytes());
        Ok(ClosedPack {
            bytes: self.bytes,
            blobs: self.blobs,
            hash: Hashing::default(),
            hashed: 0,
        })
    }
}

impl ClosedPack {
    /// Computes the id of a blob, and at the same time hashes as many bytes of the pack.
    pub(crate) fn hash_beside(&mut self, blob: &[u8]) -> Id {
        let rest = self.bytes.get(self.hashed..).unwrap_or_default();
        let now = rest.get(..blob.len()).unwrap_or(rest);
        let mut id = Hashing::default();
        update_both(&mut id, blob, &mut self.hash, now);
        self.hashed += now.len();
        id.finish()
    }

    /// Returns whether the whole pack is hashed.
    pub(crate) fn is_hashed(&self) -> bool {
        self.hashed == self.bytes.len()
    }

    /// Hashes the rest of the pack.
    pub(crate) fn finish(mut self) -> Pack {
        let rest = self.bytes.get(self.hashed..);
        self.hash.update(rest.unwrap_or_default());
        Pack {
            id: self.hash.finish(),
            bytes: self.bytes,
            blobs: self.blobs,
        }
    }
}

/// The number of bytes at the end of a pack of `pack_bytes` that hold the header and its length.
/// `tail` is the end of the pack, at least four bytes.
pub fn header_bytes(tail: &[u8], pack_bytes: u64) -> std::result::Result<usize, Damage> {
    let Some(length) = tail.last_chunk::<LENGTH_BYTES>() else {
        return Err(Damage::Short { bytes: pack_bytes });
    };
    let length = u32::from_le_bytes(*length) as usize;
    let format = |text: String| Err(Damage::Format(text));
    if length < OVERHEAD_BYTES + PLAIN_ENTRY_BYTES {
        return format(format!("its header is said to be {length} bytes long"));
    }
    if length > HEADER_BYTES_MAX || (length + LENGTH_BYTES) as u64 > pack_bytes {
        return format(format!(
            "its header is said to be {length} bytes long, in a pack of {pack_bytes}"
        ));
    }
    Ok(length + LENGTH_BYTES)
}

/// The blobs listed in the header at the end of `tail`. `tail` is the end of a pack of
/// `pack_bytes`, at least as long as [`header_bytes`] returns.
pub fn parse_tail(
    key: &Key,
    tail: &[u8],
    pack_bytes: u64,
) -> std::result::Result<Vec<PackedBlob>, Damage> {
    let header = header_bytes(tail, pack_bytes)?;
    let sealed = tail.len().checked_sub(header);
    let sealed = sealed.and_then(|start| tail.get(start..tail.len() - LENGTH_BYTES));
    let short = Damage::Short {
        bytes: tail.len() as u64,
    };
    parse_header(key, sealed.ok_or(short)?, pack_bytes)
}

/// The blobs listed in a header. `sealed` is the header without the length after it; the blobs must
/// fill the rest of the pack.
pub fn parse_header(
    key: &Key,
    sealed: &[u8],
    pack_bytes: u64,
) -> std::result::Result<Vec<PackedBlob>, Damage> {
    let mut sealed = sealed.to_vec();
    let sealed_bytes = (sealed.len() + LENGTH_BYTES) as u64;
    let mut rest: &[u8] = key.open_in_place(&mut sealed)?;
    let format = |text: &str| Damage::Format(format!("its header is wrong: {text}"));
    let mut blobs = Vec::with_capacity(rest.len() / PLAIN_ENTRY_BYTES);
    let mut offset = 0_u32;
    while let Some((&kind, after)) = rest.split_first() {
        let (kind, compressed) = match kind {
            0 => (BlobKind::Data, false),
            1 => (BlobKind::Tree, false),
            2 => (BlobKind::Data, true),
            3 => (BlobKind::Tree, true),
            _ => return Err(format("unknown type of blob")),
        };
        rest = after;
        let mut number = || {
            let (number, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u32::from_le_bytes(*number))
        };
        let cut = || format("it ends in the middle of an entry");
        let length = number().ok_or_else(cut)?;
        let uncompressed = match compressed {
            true => Some(number().ok_or_else(cut)?),
            false => None,
        };
        let (id, after) = rest.split_first_chunk().ok_or_else(cut)?;
        rest = after;
        if (length as usize) < OVERHEAD_BYTES {
            return Err(format("a blob is shorter than its seal"));
        }
        blobs.push(PackedBlob {
            id: Id::new(*id),
            kind,
            offset,
            length,
            uncompressed,
        });
        offset = offset
            .checked_add(length)
            .ok_or_else(|| format("the blobs are longer than a pack may be"))?;
    }
    match u64::from(offset) + sealed_bytes == pack_bytes {
        true => Ok(blobs),
        false => Err(format("its blobs do not fill the pack")),
    }
}

/// The bytes of a header besides its entries: its seal and its length field.
pub(crate) const HEADER_FRAME_BYTES: u64 = (OVERHEAD_BYTES + LENGTH_BYTES) as u64;

/// The bytes of a blob's entry in a header.
pub(crate) const fn entry_bytes(compressed: bool) -> u64 {
    match compressed {
        true => COMPRESSED_ENTRY_BYTES as u64,
        false => PLAIN_ENTRY_BYTES as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &Key, pack: &[u8]) -> std::result::Result<Vec<PackedBlob>, Damage> {
        parse_tail(key, pack, pack.len() as u64)
    }

    fn example(key: &Key) -> Pack {
        let mut builder = PackBuilder::default();
        let parts: [(&[u8], BlobKind, Option<u32>); 3] = [
            (b"data", BlobKind::Data, None),
            (b"packed", BlobKind::Data, Some(99)),
            (b"{}", BlobKind::Tree, Some(2)),
        ];
        for (content, kind, uncompressed) in parts {
            builder
                .add(key, Id::of(content), kind, content, uncompressed)
                .unwrap();
        }
        builder.finish(key).unwrap()
    }

    #[test]
    fn every_added_blob_is_listed() {
        let key = Key::random().unwrap();
        let Pack {
            id,
            bytes: pack,
            blobs,
        } = example(&key);
        assert_eq!(id, Id::of(&pack));
        assert_eq!(parse(&key, &pack).unwrap(), blobs);
        let second = &blobs[1];
        let sealed = &pack[second.offset as usize..][..second.length as usize];
        assert_eq!(key.open(sealed.to_vec()).unwrap(), b"packed");
    }

    #[test]
    fn a_pack_of_any_other_length_is_refused() {
        let key = Key::random().unwrap();
        let pack = example(&key).bytes;
        for length in 0..pack.len() {
            assert!(parse(&key, &pack[..length]).is_err(), "{length}");
            assert!(
                parse(&key, &pack[pack.len() - length..]).is_err(),
                "{length}"
            );
        }
        for length in [0_u32, 1, 68, 1 << 24, u32::MAX] {
            let mut pack = pack.clone();
            let at = pack.len() - LENGTH_BYTES;
            pack[at..].copy_from_slice(&length.to_le_bytes());
            assert!(parse(&key, &pack).is_err(), "{length}");
        }
    }
}
