//! Reads many blobs: neighbouring blobs of a pack in one request, several packs at a time, and each
//! blob once however often it is wanted.
//!
//! A blob is handed out only if its tag and its SHA-256 are right. A damaged blob is read from any
//! other pack that the index names for it; only if all fail is there an error, for that blob alone.
//! Memory is bounded by a budget of bytes; a blob larger than the budget is read alone.

use crate::chunker::CHUNK_BYTES_MAX;
use crate::crypto::{IV_BYTES, Key, TAG_BYTES};
use crate::error::{Damage, Error, Result};
use crate::hash::{Hashing, update_both};
use crate::id::Id;
use crate::index::{Index, Location};
use crate::pack::PackedBlob;
use crate::repository::Repository;
use crate::tree::check_packed;
use lifeboat_store::StoreError;
use rayon::ThreadPool;
use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The longest gap between two wanted blobs that is read along with them.
const GAP_BYTES: u64 = 256 << 10;
/// The approximate bytes of a job: few, so that threads end at about the same time.
const JOB_BYTES: u64 = 4 << 20;
/// The bytes of blobs, sealed and plain, that are in memory at a time.
const BUDGET_BYTES: usize = 48 << 20;
/// Buffers above this size are not reused for the next blob.
const KEPT_BYTES: usize = 4 << 20;
/// After this many jobs in a row at which the store itself failed, reading is given up.
const FAILURES_MAX: usize = 64;

/// A wanted blob, with the place where it is read first.
pub(crate) struct Want<T> {
    pub(crate) id: Id,
    pub(crate) at: Location,
    /// The purpose of the blob, handed to the [`Sink`].
    pub(crate) to: T,
}

/// Receives blobs, from several threads.
pub(crate) trait Sink<T>: Sync {
    /// Returns whether the blob is still wanted.
    fn wanted(&self, to: &T) -> bool;
    /// Receives a blob, or the error that kept it from being read. It is called once for each blob
    /// that was still wanted.
    fn take(&self, to: &T, blob: std::result::Result<&[u8], &Arc<Error>>);
}

/// Reads the wanted blobs; see the module.
pub(crate) struct Fetcher<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) index: &'a Index,
    pub(crate) pool: &'a ThreadPool,
    budget: Budget,
    read_bytes: AtomicU64,
    failures: AtomicUsize,
}

impl<'a> Fetcher<'a> {
    pub(crate) fn new(repository: &'a Repository, index: &'a Index, pool: &'a ThreadPool) -> Self {
        Fetcher {
            repository,
            index,
            pool,
            budget: Budget::default(),
            read_bytes: AtomicU64::new(0),
            failures: AtomicUsize::new(0),
        }
    }

    /// The sealed bytes that have been read so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Hands every wanted blob to the sink. Packs are read in the order in which they are first
    /// wanted. Each thread starts at another place in that order, so that two threads seldom write
    /// to the same file, which only one can do at a time.
    pub(crate) fn run<T: Sync>(&self, wants: &[Want<T>], sink: &impl Sink<T>) {
        let order = order(wants);
        let jobs = jobs(wants, &order);
        let share = jobs.len().div_ceil(self.pool.current_num_threads()).max(1);
        let shares: Vec<_> = jobs
            .chunks(share)
            .map(|jobs| (jobs, AtomicUsize::new(0)))
            .collect();
        self.pool.broadcast(|thread| {
            let mut opener = Opener::default();
            let (before, from) = shares.split_at(thread.index().min(shares.len()));
            for (jobs, next) in from.iter().chain(before) {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let places = order.get(job.clone()).unwrap_or_default();
                    self.job(wants, places, sink, &mut opener);
                }
            }
        });
    }

    fn job<T>(&self, wants: &[Want<T>], places: &[u32], sink: &impl Sink<T>, opener: &mut Opener) {
        let ends = places.iter().filter_map(|place| get(wants, *place));
        let mut stream = Stream {
            end: ends.map(|want| want.at.end()).max().unwrap_or(0),
            ..Stream::default()
        };
        let mut rest = places;
        while let Some(want) = rest.first().and_then(|place| get(wants, *place)) {
            let same = |place: &u32| {
                get(wants, *place).is_some_and(|other| other.id == want.id && other.at == want.at)
            };
            let count = rest.iter().take_while(|place| same(place)).count();
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = later;
            let to = now.iter().filter_map(|place| get(wants, *place));
            let to: Vec<&T> = to.map(|w| &w.to).filter(|to| sink.wanted(to)).collect();
            if to.is_empty() {
                continue;
            }
            let bytes = want.at.length as usize + want.at.plain_bytes as usize;
            let _room = self.budget.take(bytes);
            let blob = match self.blob(want, &mut stream, opener) {
                Ok(blob) => Ok(blob),
                Err(error) => self.elsewhere(want, error, opener).map_err(Arc::new),
            };
            for to in to {
                sink.take(to, blob.as_ref().map(|blob| *blob));
            }
            opener.trim();
        }
    }

    /// Reads the blob at its first place.
    fn blob<'o, T>(
        &self,
        want: &Want<T>,
        stream: &mut Stream,
        opener: &'o mut Opener,
    ) -> Result<&'o [u8]> {
        if self.failures.load(Ordering::Relaxed) > FAILURES_MAX {
            return Err(given_up(self.repository));
        }
        let read = stream.read(self.repository, &want.at, &mut opener.sealed);
        if let Err(error) = read {
            // Counted once for each job, since all of it is in one pack.
            if failed(&error) && !std::mem::replace(&mut stream.failed, true) {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
            stream.reader = None;
            stream.missing = matches!(error, Error::Missing { .. });
            return Err(error);
        }
        self.read_bytes
            .fetch_add(u64::from(want.at.length), Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        opener.open_at(self.repository.key(), &want.id, &want.at)
    }

    /// Reads the blob from any other pack; after a failure of the store also from its first place
    /// again.
    fn elsewhere<'o, T>(
        &self,
        want: &Want<T>,
        error: Error,
        opener: &'o mut Opener,
    ) -> Result<&'o [u8]> {
        let again = failed(&error);
        for at in self.index.locations(want.at.kind, &want.id) {
            if (at == want.at && !again) || self.failures.load(Ordering::Relaxed) > FAILURES_MAX {
                continue;
            }
            let read = Stream::default().read(self.repository, &at, &mut opener.sealed);
            if read.is_ok() {
                self.read_bytes
                    .fetch_add(u64::from(at.length), Ordering::Relaxed);
                if opener.open_at(self.repository.key(), &want.id, &at).is_ok() {
                    self.failures.store(0, Ordering::Relaxed);
                    return Ok(opener.opened());
                }
            }
        }
        Err(error)
    }
}

/// Returns whether the store itself failed, as opposed to damage in what it holds.
fn failed(error: &Error) -> bool {
    match error {
        Error::Store(error) => !matches!(error, StoreError::NotFound { .. }),
        Error::Read { .. } => true,
        _ => false,
    }
}

fn given_up(repository: &Repository) -> Error {
    Error::Store(StoreError::Unreachable {
        location: repository.location(),
        detail: "it failed too often in a row and was given up".to_owned(),
    })
}

fn get<T>(wants: &[Want<T>], place: u32) -> Option<&Want<T>> {
    wants.get(usize::try_from(place).ok()?)
}

/// Indices into `wants`, sorted by pack in order of first use, then by offset.
fn order<T>(wants: &[Want<T>]) -> Vec<u32> {
    let mut packs: HashMap<Id, u32> = HashMap::new();
    let mut keyed: Vec<(u32, u32, u32)> = Vec::with_capacity(wants.len());
    for (want, place) in wants.iter().zip(0_u32..) {
        let known = u32::try_from(packs.len()).unwrap_or(u32::MAX);
        let pack = *packs.entry(want.at.pack).or_insert(known);
        keyed.push((pack, want.at.offset, place));
    }
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, _, place)| place).collect()
}

/// Cuts the order into jobs: each within one pack, without long gaps, and of limited length.
fn jobs<T>(wants: &[Want<T>], order: &[u32]) -> Vec<Range<usize>> {
    let mut jobs: Vec<Range<usize>> = Vec::new();
    let mut current: Option<(Id, u64, u64)> = None;
    for (number, want) in order.iter().enumerate() {
        let Some(want) = get(wants, *want) else {
            continue;
        };
        let start = u64::from(want.at.offset);
        let end = start + u64::from(want.at.length);
        let joins = current.is_some_and(|(pack, from, to)| {
            let same = start < to;
            pack == want.at.pack && (same || (start - to <= GAP_BYTES && end - from <= JOB_BYTES))
        });
        match (jobs.last_mut(), current.as_mut(), joins) {
            (Some(job), Some((_, _, to)), true) => {
                job.end = number + 1;
                *to = end.max(*to);
            }
            _ => {
                jobs.push(number..number + 1);
                current = Some((want.at.pack, start, end));
            }
        }
    }
    jobs
}

/// A pack that is being read from one blob to the next.
#[derive(Default)]
struct Stream {
    reader: Option<Box<dyn Read + Send>>,
    position: u64,
    /// The end of the stretch that is wanted.
    end: u64,
    /// True if the pack is missing.
    missing: bool,
    /// True if the store failed to read it.
    failed: bool,
}

impl Stream {
    fn read(&mut self, repository: &Repository, at: &Location, into: &mut Vec<u8>) -> Result<()> {
        let kind = crate::FileKind::Pack;
        if self.missing {
            return Err(Error::Missing { kind, id: at.pack });
        }
        let cut = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::Damaged {
                kind,
                id: at.pack,
                damage: Damage::Format("it ends before the blob does".into()),
            },
            _ => Error::Read {
                key: kind.key(&at.pack),
                source: error,
            },
        };
        let offset = u64::from(at.offset);
        if self.position > offset || offset - self.position > GAP_BYTES {
            self.reader = None;
        }
        let mut reader = match self.reader.take() {
            Some(mut reader) => {
                let gap = offset - self.position;
                let skipped = std::io::copy(&mut reader.by_ref().take(gap), &mut std::io::sink());
                skipped.map_err(cut)?;
                reader
            }
            None => repository.open_pack(&at.pack, offset..self.end.max(at.end()))?,
        };
        resize(into, at.length as usize).map_err(|damage| Error::Damaged {
            kind,
            id: at.pack,
            damage,
        })?;
        reader.read_exact(into).map_err(cut)?;
        self.position = offset + u64::from(at.length);
        self.reader = Some(reader);
        Ok(())
    }
}

/// Sets the length; the content does not matter.
fn resize(buffer: &mut Vec<u8>, bytes: usize) -> std::result::Result<(), Damage> {
    let more = bytes.saturating_sub(buffer.len());
    buffer
        .try_reserve(more)
        .map_err(|_| Damage::Format(format!("its {bytes} bytes do not fit into memory")))?;
    buffer.resize(bytes, 0);
    Ok(())
}

/// Opens blobs in buffers that are reused from one to the next.
#[derive(Default)]
pub(crate) struct Opener {
    unpacker: Unpacker,
    sealed: Vec<u8>,
    /// The decrypted bytes while they are still compressed.
    packed: Vec<u8>,
    unpacked: Vec<u8>,
    /// The range of the plaintext in its buffer.
    at: Range<usize>,
    compressed: bool,
}

impl Opener {
    /// Returns a buffer for this many sealed bytes, to be read into and then opened.
    pub(crate) fn room(&mut self, bytes: usize) -> std::result::Result<&mut [u8], Damage> {
        resize(&mut self.sealed, bytes)?;
        Ok(&mut self.sealed)
    }

    /// Opens the sealed bytes, and checks the plaintext against the id.
    pub(crate) fn open(
        &mut self,
        key: &Key,
        id: &Id,
        plain_bytes: u64,
        compressed: bool,
    ) -> Result<&[u8]> {
        let about = |damage| Error::Blob { id: *id, damage };
        let length = key.open_in_place(&mut self.sealed).map_err(about)?.len();
        let start = IV_BYTES;
        (self.at, self.compressed) = (start..start + length, compressed);
        if compressed {
            let packed = self.sealed.get(self.at.clone()).unwrap_or_default();
            self.unpacker
                .unpack(packed, plain_bytes, &mut self.unpacked)
                .map_err(about)?;
        }
        match Id::of(self.opened()) {
            found if found == *id => Ok(self.opened()),
            found => Err(about(Damage::Hash { found })),
        }
    }

    /// Checks the sealed bytes of a blob, and adds them to the hash of its pack. Both hashes are
    /// computed together, while the bytes are in the cache.
    pub(crate) fn check(&mut self, key: &Key, blob: &PackedBlob, pack: &mut Hashing) -> Result<()> {
        let id = blob.id;
        let about = |damage| Error::Blob { id, damage };
        let long = blob.uncompressed.is_some() && blob.plain_bytes() > CHUNK_BYTES_MAX as u64;
        let prepared = self.prepare(key, blob, long);
        if long || prepared.is_err() {
            pack.update(&self.sealed);
            return prepared.map_err(about);
        }
        let mut content = Hashing::default();
        if blob.uncompressed.is_some() {
            update_both(pack, &self.sealed, &mut content, &self.unpacked);
        } else {
            let (iv, _) = self.sealed.split_at_checked(IV_BYTES).unwrap_or_default();
            pack.update(iv);
            key.reveal(&self.sealed, |sealed, plain| {
                update_both(pack, sealed, &mut content, plain);
            });
            let tag = self.sealed.len().saturating_sub(TAG_BYTES);
            pack.update(self.sealed.get(tag..).unwrap_or_default());
        }
        match content.finish() {
            found if found == id => Ok(()),
            found => Err(about(Damage::Hash { found })),
        }
    }

    /// Checks the tag of the sealed bytes and decompresses them if they are compressed. A blob
    /// longer than any chunk is decompressed piece by piece, and its id is checked here.
    fn prepare(
        &mut self,
        key: &Key,
        blob: &PackedBlob,
        long: bool,
    ) -> std::result::Result<(), Damage> {
        key.check(&self.sealed)?;
        if blob.uncompressed.is_none() {
            return Ok(());
        }
        self.packed.clear();
        key.reveal(&self.sealed, |_, piece| {
            self.packed.extend_from_slice(piece)
        });
        let bytes = blob.plain_bytes();
        match long {
            true => check_packed(&blob.id, &self.packed, bytes),
            false => self
                .unpacker
                .unpack(&self.packed, bytes, &mut self.unpacked),
        }
    }

    fn open_at(&mut self, key: &Key, id: &Id, at: &Location) -> Result<&[u8]> {
        self.open(key, id, at.plain_bytes.into(), at.compressed)
    }

    fn opened(&self) -> &[u8] {
        match self.compressed {
            true => &self.unpacked,
            false => self.sealed.get(self.at.clone()).unwrap_or_default(),
        }
    }

    /// Frees buffers that are unusually large.
    pub(crate) fn trim(&mut self) {
        for buffer in [&mut self.sealed, &mut self.packed, &mut self.unpacked] {
            if buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
    }
}

/// A decompression context that is made when it is first needed.
#[derive(Default)]
struct Unpacker(Option<zstd::bulk::Decompressor<'static>>);

impl Unpacker {
    /// Decompresses at most `bytes`, the length that the index gives.
    fn unpack(
        &mut self,
        packed: &[u8],
        bytes: u64,
        into: &mut Vec<u8>,
    ) -> std::result::Result<(), Damage> {
        let format = |error: std::io::Error| Damage::Format(format!("zstd: {error}"));
        let context = match &mut self.0 {
            Some(context) => context,
            none => none.insert(zstd::bulk::Decompressor::new().map_err(format)?),
        };
        into.clear();
        into.try_reserve_exact(usize::try_from(bytes).unwrap_or(usize::MAX))
            .map_err(|_| Damage::Format(format!("its {bytes} bytes do not fit into memory")))?;
        context.decompress_to_buffer(packed, into).map_err(format)?;
        Ok(())
    }
}

/// Counts the bytes that are in memory.
#[derive(Default)]
struct Budget {
    taken: Mutex<usize>,
    given_back: Condvar,
}

/// A part of the budget, returned when dropped.
struct Room<'b> {
    budget: &'b Budget,
    bytes: usize,
}

impl Budget {
    /// Waits until there is room. A request above the whole budget is granted to one caller at a
    /// time.
    fn take(&self, bytes: usize) -> Room<'_> {
        let mut taken = self.lock();
        while *taken > 0 && taken.saturating_add(bytes) > BUDGET_BYTES {
            let waited = self.given_back.wait(taken);
            taken = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *taken = taken.saturating_add(bytes);
        Room {
            budget: self,
            bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut taken = self.budget.lock();
        *taken = taken.saturating_sub(self.bytes);
        drop(taken);
        self.budget.given_back.notify_all();
    }
}
