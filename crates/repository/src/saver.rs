//! Takes blobs from many threads and stores those that the repository lacks.
//!
//! A blob is reserved before it is compressed, so that it is never sealed twice; it is compressed
//! and sealed by the thread that brings it, into one of a few packs that are open at a time. Full
//! packs go to the store on a thread of their own, one at a time. The index is
//! written only once the packs it names are durable, and [`Saver::finish`] returns only then.

mod long;

pub(crate) use long::TreeWriter;

use crate::error::{Damage, Error, Result};
use crate::id::Id;
use crate::index::{Index, IndexFile, IndexPack};
use crate::pack::{BlobKind, Pack, PackBuilder, PackedBlob};
use crate::recheck::{Recheck, Sum};
use crate::repository::Repository;
use crate::sync::lock;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::HashSet;
use std::sync::Mutex;
use std::thread::ScopedJoinHandle;
use zstd::zstd_safe::CParameter;

/// A pack is closed when it is this long.
pub(crate) const PACK_BYTES: usize = 16 << 20;
/// An index file is written when it names so many blobs.
pub(crate) const INDEX_BLOBS: usize = 40_000;
/// The room of so many packs that were stored is kept for the next ones.
const ROOMS: usize = 2;
/// Blobs known to be new are spread over so many sets, so that threads seldom wait.
const SHARDS: usize = 16;
/// restic's default level.
const LEVEL: i32 = 3;
/// From so many bytes on, zstd's tables for this level are twice to four times as large as its cache
/// likes.
const LONG_BYTES: usize = 256 << 10;
/// What is set for long blobs instead: a tenth faster on SQL text and on source code, and less than
/// 1.3 % longer.
const LONG: [CParameter; 3] = [
    CParameter::HashLog(16),
    CParameter::ChainLog(15),
    CParameter::MinMatch(6),
];
/// As the level says.
const SHORT: [CParameter; 3] = [
    CParameter::HashLog(0),
    CParameter::ChainLog(0),
    CParameter::MinMatch(0),
];

/// What a backup has added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Added {
    /// New blobs of data.
    pub data_blobs: u64,
    /// New trees.
    pub tree_blobs: u64,
    /// Their plaintext, in bytes.
    pub bytes: u64,
    /// What was stored for them, in bytes.
    pub stored_bytes: u64,
}

/// See the module.
pub struct Saver<'r> {
    repository: &'r Repository,
    index: &'r Index,
    /// Blobs that the index knows and that cannot be read.
    lost: &'r HashSet<Id>,
    reserved: [Mutex<HashSet<Id>>; SHARDS],
    open_data: Mutex<Vec<PackBuilder>>,
    open_trees: Mutex<Vec<PackBuilder>>,
    compressors: Mutex<Vec<Compressor>>,
    rechecks: Mutex<Vec<Recheck>>,
    packs: Sender<Pack>,
    rooms: Receiver<Vec<u8>>,
    added: Mutex<Added>,
}

impl std::fmt::Debug for Saver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Saver")
    }
}

/// A zstd context and the room for what it makes.
struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    /// Whether it is set for long blobs.
    long: bool,
    packed: Vec<u8>,
}

/// The same, but stores again what is among `lost`: blobs that cannot be read where the index has
/// them.
pub fn with_saver_beside<T: Send>(
    repository: &Repository,
    index: &Index,
    lost: &HashSet<Id>,
    work: impl FnOnce(&Saver<'_>) -> Result<T> + Send,
) -> Result<(T, Added)> {
    saving(repository, index, lost, store_packs, work)
}

/// The same, but nothing is stored: only what would be added is found out.
pub(crate) fn with_pretence<T: Send>(
    repository: &Repository,
    index: &Index,
    work: impl FnOnce(&Saver<'_>) -> Result<T> + Send,
) -> Result<(T, Added)> {
    saving(repository, index, &HashSet::new(), drop_packs, work)
}

/// What is done with full packs until there are no more.
type TakePacks = fn(&Repository, &Receiver<Pack>, &Sender<Vec<u8>>) -> Result<()>;

fn saving<T: Send>(
    repository: &Repository,
    index: &Index,
    lost: &HashSet<Id>,
    take_packs: TakePacks,
    work: impl FnOnce(&Saver<'_>) -> Result<T> + Send,
) -> Result<(T, Added)> {
    let (packs, incoming) = bounded(0);
    let (room, rooms) = bounded(ROOMS);
    std::thread::scope(|scope| {
        let storing = scope.spawn(move || take_packs(repository, &incoming, &room));
        let saver = Saver {
            repository,
            index,
            lost,
            reserved: Default::default(),
            open_data: Mutex::default(),
            open_trees: Mutex::default(),
            compressors: Mutex::default(),
            rechecks: Mutex::default(),
            packs,
            rooms,
            added: Mutex::default(),
        };
        let worked = work(&saver).and_then(|value| Ok((value, saver.close()?)));
        finish(worked, saver, storing)
    })
}

/// Runs `work` with a saver, then stores what is still open and the index. Returns what `work`
/// returned, and what was added. When it fails, the index names what was stored until then, so that
/// the next run need not store it again.
pub fn with_saver<T: Send>(
    repository: &Repository,
    index: &Index,
    work: impl FnOnce(&Saver<'_>) -> Result<T> + Send,
) -> Result<(T, Added)> {
    with_saver_beside(repository, index, &HashSet::new(), work)
}

fn finish<T>(
    worked: Result<(T, Added)>,
    saver: Saver<'_>,
    storing: ScopedJoinHandle<'_, Result<()>>,
) -> Result<(T, Added)> {
    drop(saver);
    let stored = storing.join().unwrap_or_else(|_| Err(gone()));
    // What the store said explains why the work could not go on.
    stored.and(worked)
}

/// Stores packs as they come, and index files after the packs they name.
fn store_packs(
    repository: &Repository,
    incoming: &Receiver<Pack>,
    room: &Sender<Vec<u8>>,
) -> Result<()> {
    let (mut file, mut blobs) = (IndexFile::default(), 0);
    for pack in incoming {
        repository.save_pack(&pack)?;
        blobs += pack.blobs.len();
        file.packs.push(IndexPack {
            id: pack.id,
            blobs: pack.blobs.iter().map(Into::into).collect(),
            time: None,
        });
        // Whoever opens the next pack uses the room again, if anybody wants it.
        let _ = room.try_send(pack.bytes);
        if blobs >= INDEX_BLOBS {
            repository.save_index(&std::mem::take(&mut file))?;
            blobs = 0;
        }
    }
    if !file.packs.is_empty() {
        repository.save_index(&file)?;
    }
    Ok(())
}

fn drop_packs(
    repository: &Repository,
    incoming: &Receiver<Pack>,
    room: &Sender<Vec<u8>>,
) -> Result<()> {
    for pack in incoming {
        repository.hold().check_stop()?;
        let _ = room.try_send(pack.bytes);
    }
    Ok(())
}

fn gone() -> Error {
    Error::Config(Damage::Format("the thread that stores packs ended".into()))
}

impl Saver<'_> {
    /// Stores a blob unless the repository has it, and returns its id.
    pub fn save(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        // Before the id: whatever changes the bytes between the two is found, too.
        let sum = Sum::of(plain);
        let id = Id::of(plain);
        if self.has(kind, &id) {
            return Ok(id);
        }
        self.save_as(kind, id, sum, plain)
    }

    /// Stores a blob whatever the index says, since what is stored of it cannot be read.
    pub(crate) fn save_anew(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        let sum = Sum::of(plain);
        self.save_as(kind, Id::of(plain), sum, plain)
    }

    fn save_as(&self, kind: BlobKind, id: Id, sum: Sum, plain: &[u8]) -> Result<Id> {
        if !self.reserve(id) {
            return Ok(id);
        }
        let long = |_| Error::Blob {
            id,
            damage: Damage::Format("a blob is at most 4 GiB long".into()),
        };
        let length = u32::try_from(plain.len()).map_err(long)?;
        let compress = self.repository.config().version >= 2 && may_shrink(plain);
        if !compress {
            self.seal(kind, id, plain, None, (length, sum))?;
            return Ok(id);
        }
        let mut compressor = match lock(&self.compressors).pop() {
            Some(compressor) => compressor,
            None => Compressor::new()?,
        };
        compressor.compress(plain)?;
        let shrunk = compressor.packed.len() < plain.len();
        let (content, uncompressed) = match shrunk {
            true => (compressor.packed.as_slice(), Some(length)),
            false => (plain, None),
        };
        self.seal(kind, id, content, uncompressed, (length, sum))?;
        lock(&self.compressors).push(compressor);
        Ok(id)
    }

    /// Stores a blob as it is sealed in another pack, unless it was brought already.
    pub fn copy(&self, blob: &PackedBlob, sealed: &[u8]) -> Result<()> {
        if !self.reserve(blob.id) {
            return Ok(());
        }
        let plain = blob.plain_bytes();
        self.add(blob.kind, sealed.len(), plain, |pack| {
            pack.add_sealed(blob, sealed)
        })
    }

    /// Whether the repository has a blob, or will.
    pub fn has(&self, kind: BlobKind, id: &Id) -> bool {
        self.index.has(kind, id) && !self.lost.contains(id)
    }

    /// What was added so far.
    pub fn added(&self) -> Added {
        *lock(&self.added)
    }

    fn seal(
        &self,
        kind: BlobKind,
        id: Id,
        content: &[u8],
        uncompressed: Option<u32>,
        (plain_bytes, sum): (u32, Sum),
    ) -> Result<()> {
        let key = self.repository.key();
        self.add(kind, content.len(), plain_bytes.into(), |pack| {
            let start = pack.len();
            pack.add(key, id, kind, content, uncompressed)?;
            let mut recheck = lock(&self.rechecks).pop().unwrap_or_default();
            recheck.check(key, id, pack.since(start), uncompressed, sum)?;
            lock(&self.rechecks).push(recheck);
            Ok(())
        })
    }

    /// Whether this is the first to bring it.
    fn reserve(&self, id: Id) -> bool {
        let shard = usize::from(id.bytes()[0]) % SHARDS;
        let shard = self.reserved.get(shard);
        shard.is_none_or(|shard| lock(shard).insert(id))
    }

    /// Puts `bytes` of content into an open pack, as `put` does it.
    fn add(
        &self,
        kind: BlobKind,
        bytes: usize,
        plain_bytes: u64,
        put: impl FnOnce(&mut PackBuilder) -> Result<()>,
    ) -> Result<()> {
        let open = match kind {
            BlobKind::Data => &self.open_data,
            BlobKind::Tree => &self.open_trees,
        };
        let mut pack = match lock(open).pop() {
            Some(pack) => pack,
            None => PackBuilder::new(self.rooms.try_recv().unwrap_or_default()),
        };
        if pack.is_full(bytes) {
            let full = std::mem::take(&mut pack);
            self.send(full)?;
        }
        let before = pack.len();
        put(&mut pack)?;
        {
            let mut added = lock(&self.added);
            match kind {
                BlobKind::Data => added.data_blobs += 1,
                BlobKind::Tree => added.tree_blobs += 1,
            }
            added.bytes += plain_bytes;
            added.stored_bytes += (pack.len() - before) as u64;
        }
        match pack.len() >= PACK_BYTES {
            true => self.send(pack),
            false => {
                lock(open).push(pack);
                Ok(())
            }
        }
    }

    fn send(&self, pack: PackBuilder) -> Result<()> {
        let pack = pack.finish(self.repository.key())?;
        self.packs.send(pack).map_err(|_| gone())
    }

    fn close(&self) -> Result<Added> {
        for open in [&self.open_data, &self.open_trees] {
            for pack in std::mem::take(&mut *lock(open)) {
                if !pack.is_empty() {
                    self.send(pack)?;
                }
            }
        }
        Ok(self.added())
    }
}

impl Compressor {
    fn new() -> Result<Self> {
        Ok(Compressor {
            context: zstd::bulk::Compressor::new(LEVEL).map_err(zstd_failed)?,
            long: false,
            packed: Vec::new(),
        })
    }

    fn compress(&mut self, plain: &[u8]) -> Result<()> {
        let long = plain.len() >= LONG_BYTES;
        if long != self.long {
            for parameter in if long { LONG } else { SHORT } {
                self.context.set_parameter(parameter).map_err(zstd_failed)?;
            }
            self.long = long;
        }
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.context
            .compress_to_buffer(plain, &mut self.packed)
            .map_err(zstd_failed)?;
        Ok(())
    }
}

fn zstd_failed(error: std::io::Error) -> Error {
    Error::Config(Damage::Format(format!("zstd: {error}")))
}

/// How many bytes of a blob a sample is, by which it is told whether the blob may shrink.
const SAMPLE_BYTES: usize = 4096;
/// A short blob is sampled so often, in bytes from one sample to the next, and a long one so often.
const APART_BYTES: [usize; 2] = [8 << 10, 256 << 10];
/// Below this many bits a byte, compressing is worth a try.
const ENTROPY_MAX: f64 = 7.8;

/// Whether compressing `plain` may be worth it: looks at the entropy of a few samples of anything
/// that is not very short.
fn may_shrink(plain: &[u8]) -> bool {
    let [short, long] = APART_BYTES;
    let apart = (plain.len() / 4).clamp(short, long);
    let mut samples = plain
        .chunks(apart)
        .filter_map(|part| part.get(..SAMPLE_BYTES))
        .peekable();
    samples.peek().is_none() || samples.any(|sample| entropy(sample) < ENTROPY_MAX)
}

/// Bits a byte, by how often each byte occurs.
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
        // Text in the second half alone.
        random.splice(600_000.., b"a line of a log\n".repeat(30_000));
        assert!(may_shrink(&random));
        assert!(!may_shrink(&random[..5000]));
        assert!(may_shrink(&random[..4000]), "too short to tell");
        assert!(may_shrink(&b"the quick brown fox ".repeat(250)));
        assert!(may_shrink(b"short"));
    }
}
