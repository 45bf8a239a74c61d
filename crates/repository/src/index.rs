//! Tells where each blob is: index files, and all of them together in memory.
//!
//! In memory a blob takes 45 bytes; blobs are sorted by id. A blob may be in several packs, and a
//! pack in several index files; all places are kept.

use crate::encoding::or_default;
use crate::error::Damage;
use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob};
use crate::time::Time;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::HashMap;

/// An index file as it is stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct IndexFile {
    /// Index files that this one replaces. Old versions of restic wrote the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Vec<Id>>,
    /// Packs, and the blobs in them.
    #[serde(default, deserialize_with = "or_default")]
    pub packs: Vec<IndexPack>,
    /// Packs that nothing needed when they were removed from `packs`, recorded as rustic does. They
    /// are deleted some time later, unless a snapshot turns out to need them.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub packs_to_delete: Vec<IndexPack>,
}

/// A pack in an index file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexPack {
    /// The pack.
    pub id: Id,
    /// The blobs in it.
    #[serde(default, deserialize_with = "or_default")]
    pub blobs: Vec<IndexBlob>,
    /// The time at which the pack was marked for deletion, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// A blob in an index file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexBlob {
    /// SHA-256 of the plaintext.
    pub id: Id,
    /// The kind of blob.
    #[serde(rename = "type")]
    pub kind: BlobKind,
    /// The offset of its sealed bytes in the pack.
    pub offset: u32,
    /// The number of sealed bytes.
    pub length: u32,
    /// The length of the plaintext if the blob is compressed, else 0.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_zero"
    )]
    pub uncompressed_length: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde requires this signature"
)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl IndexPack {
    /// A pack that holds these blobs.
    pub(crate) fn new(id: Id, blobs: &[PackedBlob]) -> Self {
        IndexPack {
            id,
            blobs: blobs.iter().map(Into::into).collect(),
            time: None,
        }
    }
}

impl From<&IndexBlob> for PackedBlob {
    fn from(blob: &IndexBlob) -> Self {
        PackedBlob {
            id: blob.id,
            kind: blob.kind,
            offset: blob.offset,
            length: blob.length,
            uncompressed: (blob.uncompressed_length != 0).then_some(blob.uncompressed_length),
        }
    }
}

impl From<&PackedBlob> for IndexBlob {
    fn from(blob: &PackedBlob) -> Self {
        IndexBlob {
            id: blob.id,
            kind: blob.kind,
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.uncompressed.unwrap_or(0),
        }
    }
}

impl IndexFile {
    /// Parses the JSON of an index file.
    pub fn parse(json: &[u8]) -> Result<Self, Damage> {
        // The oldest repositories store a bare list of packs.
        let parsed = match json.first() {
            Some(b'[') => serde_json::from_slice(json).map(|packs| IndexFile {
                supersedes: None,
                packs,
                packs_to_delete: Vec::new(),
            }),
            _ => serde_json::from_slice(json),
        };
        parsed.map_err(|error| Damage::Format(format!("it is no index: {error}")))
    }
}

/// A blob in memory. The number of its shard is the first byte of its id.
#[derive(Clone, Copy)]
struct Entry {
    rest_of_id: [u8; Id::BYTES - 1],
    /// The number of the pack, and a flag.
    pack: [u8; 4],
    offset: [u8; 4],
    /// The number of sealed bytes, or [`LONG`].
    length: [u8; 3],
    /// The length of the plaintext if the blob is compressed, else 0.
    uncompressed: [u8; 3],
}

impl Entry {
    fn pack(&self) -> u32 {
        u32::from_le_bytes(self.pack)
    }

    fn offset(&self) -> u32 {
        u32::from_le_bytes(self.offset)
    }
}

const TREE: u32 = 1 << 31;
/// The bytes that sealing adds to a blob.
const SEAL_BYTES: u32 = 32;
/// The number of shards: ids with the same first byte share one.
const SHARDS: usize = 256;
/// Stands for lengths that are this or more, which do not fit in three bytes. They are kept in
/// [`Index::long`].
const LONG: u32 = 0xff_ffff;

fn three(value: u32) -> [u8; 3] {
    let [a, b, c, _] = value.to_le_bytes();
    [a, b, c]
}

fn number(three: [u8; 3]) -> u32 {
    let [a, b, c] = three;
    u32::from_le_bytes([a, b, c, 0])
}

/// A place of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: Id,
    /// The kind of blob.
    pub kind: BlobKind,
    /// The offset of the sealed bytes in the pack.
    pub offset: u32,
    /// The number of sealed bytes.
    pub length: u32,
    /// True if the blob is compressed.
    pub compressed: bool,
    /// True if the pack is to be deleted. Such a place is read only if there is no other, and
    /// nothing new may rely on it.
    pub to_delete: bool,
    /// The length of the plaintext according to the index.
    pub plain_bytes: u32,
}

impl Location {
    /// The offset at which the sealed bytes end.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }

    /// The entry for the blob `id` in the header of its pack.
    pub(crate) fn blob(&self, id: Id) -> PackedBlob {
        PackedBlob {
            id,
            kind: self.kind,
            offset: self.offset,
            length: self.length,
            uncompressed: self.compressed.then_some(self.plain_bytes),
        }
    }
}

/// All index files in memory.
#[derive(Default)]
pub struct Index {
    packs: Vec<Id>,
    /// The number of the first pack that is to be deleted. All later ones are, too.
    to_delete: usize,
    /// The shards, by the first byte of the id. Each is sorted by the rest of the id.
    shards: Vec<Shard>,
    /// Both lengths of blobs that are too long for an entry, by pack and offset.
    long: HashMap<(u32, u32), (u32, u32)>,
}

/// The blobs whose ids begin with one byte.
#[derive(Default)]
struct Shard {
    entries: Vec<Entry>,
    /// The number of blobs in earlier shards.
    before: usize,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index of {} blobs", self.len())
    }
}

/// Collects index files; [`IndexBuilder::finish`] makes them searchable.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    index: Index,
    to_delete: Vec<IndexPack>,
}

/// The least bytes that an index file has for each blob: those of its id, which cannot be
/// compressed.
const FILE_BYTES_A_BLOB: u64 = Id::BYTES as u64;
/// The least bytes for each blob in an index file that is not compressed: the id in hexadecimal, and
/// the field names.
const PLAIN_FILE_BYTES_A_BLOB: u64 = 100;

impl IndexBuilder {
    /// A builder with capacity for everything that index files of this many bytes can hold: growing
    /// by copies would leave gaps in memory. Capacity that stays unused takes up no memory.
    pub fn for_files(bytes: u64, compressed: bool) -> Self {
        let a_blob = match compressed {
            true => FILE_BYTES_A_BLOB,
            false => PLAIN_FILE_BYTES_A_BLOB,
        };
        let each = usize::try_from(bytes / a_blob).unwrap_or(0) / SHARDS;
        // Some shards are larger than others.
        let each = each + 4 * each.isqrt();
        let mut builder = IndexBuilder::default();
        builder.index.shards.resize_with(SHARDS, || {
            let mut entries = Vec::new();
            // If memory is short, that shows when it is needed.
            let _ = entries.try_reserve_exact(each);
            Shard { entries, before: 0 }
        });
        builder
    }

    /// Adds a pack of an index file and its blobs. A pack beyond the highest possible number is left
    /// out.
    pub fn add(&mut self, pack: &IndexPack) {
        let Some(number) = u32::try_from(self.index.packs.len())
            .ok()
            .filter(|number| *number < TREE)
        else {
            return;
        };
        self.index.packs.push(pack.id);
        for blob in &pack.blobs {
            let mut flags = number;
            if blob.kind == BlobKind::Tree {
                flags |= TREE;
            }
            let (mut length, mut uncompressed) = (blob.length, blob.uncompressed_length);
            if length >= LONG || uncompressed >= LONG {
                let key = (number, blob.offset);
                self.index.long.insert(key, (length, uncompressed));
                (length, uncompressed) = (LONG, LONG);
            }
            let (first, rest_of_id) = blob.id.split();
            let entry = Entry {
                rest_of_id,
                pack: flags.to_le_bytes(),
                offset: blob.offset.to_le_bytes(),
                length: three(length),
                uncompressed: three(uncompressed),
            };
            let shards = &mut self.index.shards;
            if shards.is_empty() {
                shards.resize_with(SHARDS, Shard::default);
            }
            if let Some(shard) = shards.get_mut(usize::from(first)) {
                shard.entries.push(entry);
            }
        }
    }

    /// Adds everything in an index file.
    pub fn add_file(&mut self, file: IndexFile) {
        file.packs.iter().for_each(|pack| self.add(pack));
        self.to_delete.extend(file.packs_to_delete);
    }

    /// Sorts all entries, and returns the index.
    pub fn finish(mut self) -> Index {
        self.index.to_delete = self.index.packs.len();
        for pack in std::mem::take(&mut self.to_delete) {
            self.add(&pack);
        }
        self.index.shards.par_iter_mut().for_each(|shard| {
            let order = |a: &Entry, b: &Entry| {
                compare(&a.rest_of_id, &b.rest_of_id).then_with(|| a.pack().cmp(&b.pack()))
            };
            shard.entries.sort_unstable_by(order);
            shard.entries.shrink_to_fit();
        });
        let mut before = 0;
        for shard in &mut self.index.shards {
            shard.before = before;
            before += shard.entries.len();
        }
        self.index
    }
}

impl Index {
    /// The number of blobs; a blob in two packs counts twice.
    pub fn len(&self) -> usize {
        let last = self.shards.last();
        last.map_or(0, |shard| shard.before + shard.entries.len())
    }

    /// Returns whether the index has no blob.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All places of a blob of this kind. Packs that are to be deleted come last.
    pub fn locations(&self, kind: BlobKind, id: &Id) -> impl Iterator<Item = Location> {
        let stay = self.places(kind, id).filter(|(_, place)| !place.to_delete);
        let go = self.places(kind, id).filter(|(_, place)| place.to_delete);
        stay.chain(go).map(|(_, place)| place)
    }

    /// All places of a blob of this kind, each with its number among all entries.
    fn places(&self, kind: BlobKind, id: &Id) -> impl Iterator<Item = (usize, Location)> {
        let (first, rest) = id.split();
        let shard = self.shards.get(usize::from(first));
        let (from, after): (usize, &[Entry]) = shard.map_or((0, &[]), |shard| {
            let from = shard.lower_bound(&rest);
            let after = shard.entries.get(from..).unwrap_or_default();
            (shard.before + from, after)
        });
        let same = after
            .iter()
            .take_while(move |entry| entry.rest_of_id == rest);
        same.zip(from..)
            .filter_map(|(entry, number)| Some((number, self.location(entry)?)))
            .filter(move |(_, location)| location.kind == kind)
    }

    /// Returns whether a blob of this kind is in a pack that is not to be deleted.
    pub fn has(&self, kind: BlobKind, id: &Id) -> bool {
        self.places(kind, id).any(|(_, place)| !place.to_delete)
    }

    /// The number of the first entry of a blob of this kind. It is below [`Index::len`], and the
    /// same for all places of the blob.
    pub fn number(&self, kind: BlobKind, id: &Id) -> Option<usize> {
        self.places(kind, id).next().map(|(number, _)| number)
    }

    /// Every blob, in order of id. Entries of the same blob are adjacent.
    pub fn blobs(&self) -> impl Iterator<Item = (Id, Location)> {
        let shards = self.shards.iter().zip(0..=u8::MAX);
        shards
            .flat_map(|(shard, first)| shard.entries.iter().map(move |entry| (first, entry)))
            .filter_map(|(first, entry)| {
                Some((Id::join(first, entry.rest_of_id), self.location(entry)?))
            })
    }

    /// The distinct blobs, each with all its places and the number of the first.
    pub(crate) fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let kind = |entry: &Entry| entry.pack() & TREE;
        let shards = self.shards.iter().zip(0..=u8::MAX);
        shards.flat_map(move |(shard, first)| {
            let same =
                move |a: &Entry, b: &Entry| a.rest_of_id == b.rest_of_id && kind(a) == kind(b);
            let mut number = shard.before;
            shard.entries.chunk_by(same).map(move |entries| {
                let group = Group {
                    index: self,
                    number,
                    first,
                    entries,
                };
                number += entries.len();
                group
            })
        })
    }

    fn location(&self, entry: &Entry) -> Option<Location> {
        let pack = entry.pack() & !TREE;
        let place = usize::try_from(pack).ok()?;
        let (length, uncompressed) = match number(entry.length) {
            LONG => *self.long.get(&(pack, entry.offset()))?,
            length => (length, number(entry.uncompressed)),
        };
        Some(Location {
            pack: *self.packs.get(place)?,
            to_delete: place >= self.to_delete,
            kind: match entry.pack() & TREE {
                0 => BlobKind::Data,
                _ => BlobKind::Tree,
            },
            offset: entry.offset(),
            length,
            compressed: uncompressed != 0,
            plain_bytes: match uncompressed {
                0 => length.saturating_sub(SEAL_BYTES),
                bytes => bytes,
            },
        })
    }
}

/// A blob with all its places.
pub(crate) struct Group<'a> {
    index: &'a Index,
    /// The number of the first place, as [`Index::number`] returns it.
    pub(crate) number: usize,
    first: u8,
    entries: &'a [Entry],
}

impl Group<'_> {
    /// The id of the blob.
    pub(crate) fn id(&self) -> Id {
        let rest = self.entries.first().map(|entry| entry.rest_of_id);
        Id::join(self.first, rest.unwrap_or_default())
    }

    /// The places of the blob. A pack that is in several index files occurs several times.
    pub(crate) fn places(&self) -> impl Iterator<Item = Location> {
        let places = self.entries.iter();
        places.filter_map(|entry| self.index.location(entry))
    }
}

impl Shard {
    /// The first entry that is not below `id`. Ids are evenly spread, so two or three guesses by
    /// proportion come near; a binary search finishes.
    fn lower_bound(&self, id: &[u8; Id::BYTES - 1]) -> usize {
        let (mut low, mut high) = (0, self.entries.len());
        let target = lead(id);
        let (mut low_value, mut high_value) = (0, u64::MAX);
        for _ in 0..3 {
            let span = high - low;
            if span < 64 || high_value <= low_value {
                break;
            }
            let share = u128::from(target.saturating_sub(low_value)) * span as u128
                / u128::from(high_value - low_value);
            let guess = low + usize::try_from(share).unwrap_or(0).min(span - 1);
            let Some(entry) = self.entries.get(guess) else {
                break;
            };
            match entry.rest_of_id.cmp(id) {
                Ordering::Less => (low, low_value) = (guess + 1, lead(&entry.rest_of_id)),
                _ => (high, high_value) = (guess, lead(&entry.rest_of_id)),
            }
        }
        let between = self.entries.get(low..high).unwrap_or_default();
        low + between.partition_point(|entry| compare(&entry.rest_of_id, id).is_lt())
    }
}

/// Compares two ids; the first eight bytes nearly always decide.
fn compare(a: &[u8; Id::BYTES - 1], b: &[u8; Id::BYTES - 1]) -> Ordering {
    lead(a).cmp(&lead(b)).then_with(|| a.cmp(b))
}

fn lead(id: &[u8; Id::BYTES - 1]) -> u64 {
    id.first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(id: Id, kind: BlobKind, offset: u32) -> IndexBlob {
        IndexBlob {
            id,
            kind,
            offset,
            length: 100,
            uncompressed_length: offset % 3,
        }
    }

    #[test]
    fn an_entry_takes_45_bytes() {
        assert_eq!(size_of::<Entry>(), 45);
        assert_eq!(SEAL_BYTES as usize, crate::crypto::OVERHEAD_BYTES);
    }

    #[test]
    fn every_blob_is_found_and_no_other() {
        let ids: Vec<Id> = (0..5000_u32).map(|n| Id::of(&n.to_le_bytes())).collect();
        let mut builder = IndexBuilder::default();
        for (pack, ids) in ids.chunks(700).enumerate() {
            let blobs = ids.iter().zip(0..);
            builder.add(&IndexPack {
                id: Id::of(&pack.to_le_bytes()),
                blobs: blobs
                    .map(|(id, at)| blob(*id, BlobKind::Data, at))
                    .collect(),
                time: None,
            });
        }
        let going = IndexPack {
            id: Id::of(b"going"),
            blobs: vec![
                blob(ids[5], BlobKind::Data, 7),
                blob(Id::of(b"gone"), BlobKind::Data, 9),
            ],
            time: None,
        };
        builder.add_file(IndexFile {
            packs_to_delete: vec![going.clone()],
            ..IndexFile::default()
        });
        let twice = IndexPack {
            id: Id::of(b"another"),
            blobs: vec![
                blob(ids[3], BlobKind::Data, 7),
                blob(ids[4], BlobKind::Tree, 9),
            ],
            time: None,
        };
        builder.add(&twice);
        let index = builder.finish();
        assert_eq!(index.len(), 5004);
        let gone = Id::of(b"gone");
        assert!(!index.has(BlobKind::Data, &gone));
        let found: Vec<Location> = index.locations(BlobKind::Data, &gone).collect();
        assert!(
            matches!(&found[..], [place] if place.to_delete),
            "{found:?}"
        );
        for (number, id) in ids.iter().enumerate() {
            let found: Vec<Location> = index.locations(BlobKind::Data, id).collect();
            let expected = if number == 3 || number == 5 { 2 } else { 1 };
            assert_eq!(found.len(), expected, "{number}");
            assert!(!found[0].to_delete, "what stays comes first");
            let offset = u32::try_from(number % 700).unwrap();
            let location = found
                .iter()
                .find(|l| l.pack != twice.id && l.pack != going.id)
                .unwrap();
            assert_eq!(
                (location.offset, location.compressed),
                (offset, offset % 3 != 0)
            );
            let plain = [68, 1, 2];
            assert_eq!(location.plain_bytes, plain[offset as usize % 3]);
            assert_eq!(index.has(BlobKind::Tree, id), number == 4);
        }
        for number in 5000..6000_u32 {
            assert!(!index.has(BlobKind::Data, &Id::of(&number.to_le_bytes())));
        }
        for edge in [[0; 32], [255; 32]] {
            assert!(!index.has(BlobKind::Data, &Id::new(edge)));
        }
        assert!(!Index::default().has(BlobKind::Data, &ids[0]));
    }

    #[test]
    fn long_blobs_keep_their_lengths() {
        let mut builder = IndexBuilder::default();
        let lengths = [
            (LONG - 1, 0),
            (LONG, 0),
            (LONG + 1, 0),
            (5, LONG),
            (u32::MAX, u32::MAX - 1),
        ];
        let id = |number: usize| Id::of(&number.to_le_bytes());
        let blobs = lengths
            .iter()
            .zip(0..)
            .map(|((length, uncompressed), offset)| IndexBlob {
                length: *length,
                uncompressed_length: *uncompressed,
                ..blob(id(offset as usize), BlobKind::Data, offset)
            });
        builder.add(&IndexPack {
            id: Id::of(b"pack"),
            blobs: blobs.collect(),
            time: None,
        });
        let index = builder.finish();
        for (number, (length, uncompressed)) in lengths.into_iter().enumerate() {
            let place = index.locations(BlobKind::Data, &id(number)).next().unwrap();
            assert_eq!(
                (place.length, place.compressed),
                (length, uncompressed != 0)
            );
            let plain = if uncompressed == 0 {
                length - SEAL_BYTES
            } else {
                uncompressed
            };
            assert_eq!(place.plain_bytes, plain);
        }
        let ids: Vec<Id> = index.blobs().map(|(id, _)| id).collect();
        assert!(ids.is_sorted());
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(index.number(BlobKind::Data, id), Some(number));
        }
    }

    #[test]
    fn index_files_of_old_versions_and_other_programs_are_read() {
        let id = Id::of(b"x");
        let packs = format!(
            r#"[{{"id":"{id}","blobs":[{{"id":"{id}","type":"data","offset":0,"length":38,"new":1}}]}}]"#
        );
        let bare = IndexFile::parse(packs.as_bytes()).unwrap();
        let full = format!(r#"{{"supersedes":["{id}"],"packs":{packs},"more":{{}}}}"#);
        let full = IndexFile::parse(full.as_bytes()).unwrap();
        assert_eq!(bare.packs, full.packs);
        assert_eq!(full.supersedes, Some(vec![id]));
        assert!(IndexFile::parse(b"{\"packs\":3}").is_err());
        // rustic writes null for blobs that are not compressed, and Go for empty lists.
        let nulls = format!(
            r#"{{"packs":[{{"id":"{id}","blobs":[{{"id":"{id}","type":"data","offset":0,"length":38,"uncompressed_length":null}}]}},{{"id":"{id}","blobs":null}}],"packs_to_delete":null}}"#
        );
        let nulls = IndexFile::parse(nulls.as_bytes()).unwrap();
        assert_eq!(nulls.packs[0], full.packs[0]);
        assert!(nulls.packs[1].blobs.is_empty());
    }
}
