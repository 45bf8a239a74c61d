//! Takes blobs from many threads and stores those that the repository lacks.
//!
//! A blob is reserved before it is compressed, so it is never sealed twice. The thread that brings
//! it compresses it, seals it and opens it again, in buffers of its own. Then the blob joins the
//! one open pack of its kind. Full packs go to [`Storing`], several at a time. The last full pack
//! waits here: it is hashed while the next blobs get their ids, or at the latest when another pack
//! is full.
//!
//! Apart from those buffers, memory does not grow with the number of threads: packs of data are
//! filled in a fixed number of buffers, and a thread that opens the next pack waits until one was
//! stored.

mod tree_writer;

pub(crate) use tree_writer::TreeWriter;

use crate::buffer::room_for;
use crate::chunker::ZEROS;
use crate::crypto::{IV_BYTES, Key, OVERHEAD_BYTES};
use crate::error::{Damage, Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::pack::{BlobKind, ClosedPack, PACK_BYTES, PackBuilder, PackedBlob};
use crate::recheck::{Recheck, Sum};
use crate::repository::Repository;
use crate::storing::{Storing, gone};
use crate::sync::lock;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::HashSet;
use std::io::Cursor;
use std::sync::{Mutex, OnceLock};
use zstd::zstd_safe::CParameter;

/// The number of sets over which new blobs are spread, so that threads seldom wait.
const SHARDS: usize = 16;
/// The compression level, restic's default.
const LEVEL: i32 = 3;

/// From this size on, zstd's tables for this level are two to four times as large as fits well in
/// the cache.
const LONG_BYTES: usize = 256 << 10;
/// The parameters for long blobs instead: a tenth faster on SQL text and on source code, and at
/// most 1.3 % longer.
const LONG: [CParameter; 3] = [
    CParameter::HashLog(16),
    CParameter::ChainLog(15),
    CParameter::MinMatch(6),
];
/// The parameters of the level itself.
const SHORT: [CParameter; 3] = [
    CParameter::HashLog(0),
    CParameter::ChainLog(0),
    CParameter::MinMatch(0),
];

/// The blobs that a run added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Added {
    /// New blobs of data.
    pub data_blobs: u64,
    /// New trees.
    pub tree_blobs: u64,
    /// Bytes of their plaintext.
    pub bytes: u64,
    /// Bytes that were stored for them.
    pub stored_bytes: u64,
}

/// Stores blobs; see the module.
pub struct Saver<'r> {
    repository: &'r Repository,
    index: &'r Index,
    /// Blobs that are in the index but cannot be read.
    lost: &'r HashSet<Id>,
    reserved: [Mutex<HashSet<Id>>; SHARDS],
    open_data: Mutex<Option<PackBuilder>>,
    open_trees: Mutex<Option<PackBuilder>>,
    sealers: Mutex<Vec<Sealer>>,
    /// A full pack that is hashed while the next blobs get their ids.
    hashing: Mutex<Option<ClosedPack>>,
    /// The chunk that zeros are cut into, once it was stored.
    zeros: OnceLock<Id>,
    packs: Sender<ClosedPack>,
    rooms: Receiver<Vec<u8>>,
    added: Mutex<Added>,
}

impl std::fmt::Debug for Saver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Saver")
    }
}

/// Runs `work` with a saver, then stores the open packs and the index. Returns the result of `work`
/// and what was added. If it fails, the index names what was stored until then, so that the next
/// run need not store it again.
pub fn with_saver<T: Send>(
    repository: &Repository,
    index: &Index,
    work: impl FnOnce(&Saver<'_>) -> Result<T> + Send,
) -> Result<(T, Added)> {
    with_saver_beside(repository, index, &HashSet::new(), work)
}

/// Works like [`with_saver`], but stores the blobs in `lost` again: blobs that cannot be read where
/// the index has them.
pub fn with_saver_beside<T: Send>(
    repository: &Repository,
    index: &Index,
    lost: &HashSet<Id>,
    work: impl FnOnce(&Saver<'_>) -> Result<T> + Send,
) -> Result<(T, Added)> {
    saving((repository, index, lost), Storing::new(repository), work)
}

/// Works like [`with_saver`], but stores nothing: it only finds out what would be added.
pub(crate) fn with_pretence<T: Send>(
    repository: &Repository,
    index: &Index,
    work: impl FnOnce(&Saver<'_>) -> Result<T> + Send,
) -> Result<(T, Added)> {
    let storing = Storing::pretended(repository);
    saving((repository, index, &HashSet::new()), storing, work)
}

fn saving<T: Send>(
    (repository, index, lost): (&Repository, &Index, &HashSet<Id>),
    storing: Storing<'_>,
    work: impl FnOnce(&Saver<'_>) -> Result<T> + Send,
) -> Result<(T, Added)> {
    let (packs, incoming) = bounded(0);
    let worked = std::thread::scope(|scope| {
        let rooms = storing.start(scope, incoming)?;
        let saver = Saver {
            repository,
            index,
            lost,
            reserved: Default::default(),
            open_data: Mutex::default(),
            open_trees: Mutex::default(),
            sealers: Mutex::default(),
            hashing: Mutex::default(),
            zeros: OnceLock::new(),
            packs,
            rooms,
            added: Mutex::default(),
        };
        work(&saver).and_then(|value| Ok((value, saver.close()?)))
    });
    // An error of the store explains why the work could not go on.
    storing.finish().and(worked)
}

impl Saver<'_> {
    /// Stores a blob unless the repository has it, and returns its id.
    pub fn save(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        // Computed before the id, so that any change to the bytes between the two is found.
        let sum = Sum::of(plain);
        let id = self.id_of(plain)?;
        if self.has(kind, &id) {
            return Ok(id);
        }
        self.save_as(kind, id, sum, plain)
    }

    /// Stores a blob even if the index has it, since the stored one cannot be read.
    pub(crate) fn save_anew(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        let sum = Sum::of(plain);
        self.save_as(kind, self.id_of(plain)?, sum, plain)
    }

    /// Stores the chunk that zeros are cut into. It is hashed once, however often it is needed.
    pub(crate) fn save_zeros(&self) -> Result<Id> {
        if let Some(id) = self.zeros.get() {
            return Ok(*id);
        }
        let id = self.save(BlobKind::Data, &ZEROS)?;
        Ok(*self.zeros.get_or_init(|| id))
    }

    fn save_as(&self, kind: BlobKind, id: Id, sum: Sum, plain: &[u8]) -> Result<Id> {
        if !self.reserve(id) {
            return Ok(id);
        }
        let mut sealer = self.sealer()?;
        let key = self.repository.key();
        let shrunk = self.compresses() && may_shrink(plain) && sealer.compress(plain)?;
        match shrunk {
            true => key.seal_tail(&mut sealer.sealed, 0)?,
            false => sealer.seal(key, plain)?,
        }
        let uncompressed = match shrunk {
            true => Some(length(id, plain.len())?),
            false => None,
        };
        self.take(sealer, (kind, id, sum), uncompressed)?;
        Ok(id)
    }

    fn compresses(&self) -> bool {
        self.repository.config().version >= 2
    }

    fn sealer(&self) -> Result<Sealer> {
        let free = lock(&self.sealers).pop();
        free.map_or_else(Sealer::new, Ok)
    }

    /// Opens again what was sealed, and adds it to a pack.
    fn take(
        &self,
        mut sealer: Sealer,
        (kind, id, sum): (BlobKind, Id, Sum),
        uncompressed: Option<u32>,
    ) -> Result<()> {
        let Sealer {
            recheck, sealed, ..
        } = &mut sealer;
        recheck.check(self.repository.key(), id, sealed, uncompressed, sum)?;
        let blob = PackedBlob {
            id,
            kind,
            offset: 0,
            length: length(id, sealed.len())?,
            uncompressed,
        };
        self.add(&blob, sealed)?;
        lock(&self.sealers).push(sealer);
        Ok(())
    }

    /// Stores a blob that is sealed in another pack already, unless it was brought before.
    pub fn copy(&self, blob: &PackedBlob, sealed: &[u8]) -> Result<()> {
        match self.reserve(blob.id) {
            true => self.add(blob, sealed),
            false => Ok(()),
        }
    }

    /// Returns whether the repository has a blob, or will have it.
    pub fn has(&self, kind: BlobKind, id: &Id) -> bool {
        self.index.has(kind, id) && !self.lost.contains(id)
    }

    /// The totals of what was added so far.
    pub fn added(&self) -> Added {
        *lock(&self.added)
    }

    /// Reserves an id. Returns whether this is the first caller to do so.
    fn reserve(&self, id: Id) -> bool {
        let shard = usize::from(id.bytes()[0]) % SHARDS;
        let shard = self.reserved.get(shard);
        shard.is_none_or(|shard| lock(shard).insert(id))
    }

    /// Adds a blob to the open pack, and passes on packs that are full.
    fn add(&self, blob: &PackedBlob, sealed: &[u8]) -> Result<()> {
        for pack in self.join(blob, sealed)?.into_iter().flatten() {
            let pack = pack.close(self.repository.key())?;
            if let Some(older) = self.hash_later(pack) {
                self.send(older)?;
            }
        }
        let mut added = lock(&self.added);
        match blob.kind {
            BlobKind::Data => added.data_blobs += 1,
            BlobKind::Tree => added.tree_blobs += 1,
        }
        added.bytes += blob.plain_bytes();
        added.stored_bytes += sealed.len() as u64;
        Ok(())
    }

    /// Adds a blob to the open pack. Returns the packs that are full before or after that.
    fn join(&self, blob: &PackedBlob, sealed: &[u8]) -> Result<[Option<PackBuilder>; 2]> {
        let open = match blob.kind {
            BlobKind::Data => &self.open_data,
            BlobKind::Tree => &self.open_trees,
        };
        // Held even while waiting for a buffer: nobody else could go on either.
        let mut open = lock(open);
        let before = open.take_if(|pack| pack.is_full(sealed.len()));
        let pack = match &mut *open {
            Some(pack) => pack,
            none => none.insert(PackBuilder::new(self.room(blob.kind)?)),
        };
        pack.add_sealed(blob, sealed)?;
        let after = open.take_if(|pack| pack.len() >= PACK_BYTES);
        Ok([before, after])
    }

    /// A buffer for a pack. Packs of trees are few and mostly short, so they get a new one.
    fn room(&self, kind: BlobKind) -> Result<Vec<u8>> {
        match kind {
            BlobKind::Data => self.rooms.recv().map_err(|_| gone()),
            BlobKind::Tree => Ok(Vec::new()),
        }
    }

    /// Computes the id of a blob, and hashes a waiting pack beside it.
    fn id_of(&self, plain: &[u8]) -> Result<Id> {
        let Some(mut pack) = lock(&self.hashing).take() else {
            return Ok(Id::of(plain));
        };
        let id = pack.hash_beside(plain);
        if pack.is_hashed() {
            self.send(pack)?;
        } else if let Some(older) = self.hash_later(pack) {
            self.send(older)?;
        }
        Ok(id)
    }

    /// Leaves a pack to be hashed beside the next blobs, and returns the one that was left before.
    fn hash_later(&self, pack: ClosedPack) -> Option<ClosedPack> {
        lock(&self.hashing).replace(pack)
    }

    fn send(&self, pack: ClosedPack) -> Result<()> {
        self.packs.send(pack).map_err(|_| gone())
    }

    fn close(&self) -> Result<Added> {
        for open in [&self.open_data, &self.open_trees] {
            if let Some(pack) = lock(open).take() {
                self.send(pack.close(self.repository.key())?)?;
            }
        }
        if let Some(pack) = lock(&self.hashing).take() {
            self.send(pack)?;
        }
        Ok(self.added())
    }
}

/// A zstd context, and buffers in which a blob is sealed and opened again. It is reused from blob
/// to blob.
struct Sealer {
    context: zstd::bulk::Compressor<'static>,
    /// True if the parameters for long blobs are set.
    long: bool,
    sealed: Vec<u8>,
    recheck: Recheck,
}

impl Sealer {
    fn new() -> Result<Self> {
        Ok(Sealer {
            context: zstd::bulk::Compressor::new(LEVEL).map_err(zstd_failed)?,
            long: false,
            sealed: Vec::new(),
            recheck: Recheck::default(),
        })
    }

    /// Seals some content, and leaves the result in `sealed`.
    fn seal(&mut self, key: &Key, content: &[u8]) -> Result<()> {
        self.clear(content.len());
        key.seal_into(content, &mut self.sealed)
    }

    /// Compresses a blob, and leaves space for the IV and the result in `sealed`. Returns whether
    /// that is shorter.
    fn compress(&mut self, plain: &[u8]) -> Result<bool> {
        let long = plain.len() >= LONG_BYTES;
        if long != self.long {
            for parameter in if long { LONG } else { SHORT } {
                self.context.set_parameter(parameter).map_err(zstd_failed)?;
            }
            self.long = long;
        }
        self.clear(zstd::zstd_safe::compress_bound(plain.len()));
        self.sealed.resize(IV_BYTES, 0);
        let mut rest = Cursor::new(&mut self.sealed);
        rest.set_position(IV_BYTES as u64);
        let packed = self.context.compress_to_buffer(plain, &mut rest);
        Ok(packed.map_err(zstd_failed)? < plain.len())
    }

    /// Empties `sealed`, and reserves space for this many bytes and their seal.
    fn clear(&mut self, bytes: usize) {
        room_for(&mut self.sealed, bytes + OVERHEAD_BYTES);
    }
}

fn zstd_failed(error: std::io::Error) -> Error {
    Error::Config(Damage::Format(format!("zstd: {error}")))
}

fn length(id: Id, bytes: usize) -> Result<u32> {
    u32::try_from(bytes).map_err(|_| Error::Blob {
        id,
        damage: Damage::Format("a blob is at most 4 GiB long".into()),
    })
}

/// The size of a sample from which it is judged whether a blob is compressible.
const SAMPLE_BYTES: usize = 4096;
/// The distance from one sample to the next, for a short blob and for a long one.
const APART_BYTES: [usize; 2] = [8 << 10, 256 << 10];
/// The entropy in bits per byte below which compression is tried.
const ENTROPY_MAX: f64 = 7.8;

/// Returns whether compressing `plain` may be worth it, judging by the entropy of a few samples.
/// Very short blobs are always tried.
fn may_shrink(plain: &[u8]) -> bool {
    let [short, long] = APART_BYTES;
    let apart = (plain.len() / 4).clamp(short, long);
    let mut samples = plain
        .chunks(apart)
        .filter_map(|part| part.get(..SAMPLE_BYTES))
        .peekable();
    samples.peek().is_none() || samples.any(|sample| entropy(sample) < ENTROPY_MAX)
}

/// The entropy in bits per byte.
fn entropy(sample: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in sample {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let total = sample.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0);
    let sum: f64 = shares
        .map(|&count| f64::from(count) * f64::from(count).log2())
        .sum();
    if total == 0.0 {
        0.0
    } else {
        total.log2() - sum / total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_are_not_worth_compressing_and_text_is() {
        let mut random = vec![0; 1 << 20];
        crate::crypto::random(&mut random).unwrap();
        assert!(!may_shrink(&random));
        assert!(may_shrink(&b"the quick brown fox ".repeat(50_000)));
        assert!(may_shrink(&vec![0; 1 << 20]));
        // Only the second half is text.
        random.splice(600_000.., b"a line of a log\n".repeat(30_000));
        assert!(may_shrink(&random));
        assert!(!may_shrink(&random[..5000]));
        assert!(may_shrink(&random[..4000]), "too short to tell");
        assert!(may_shrink(&b"the quick brown fox ".repeat(250)));
        assert!(may_shrink(b"short"));
    }
}
