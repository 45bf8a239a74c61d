//! Stores the chunks of streams on all threads of the pool. One thread cuts, the others store; when
//! they do not keep up, the first stores a chunk itself. The ids come back in the order of the
//! chunks.
//!
//! Memory is bounded by the bytes that may wait, apart from the ids. Cutting ends after the first
//! failure, which [`Pipeline::finish`] returns. Nothing is durable before the [`Saver`] has
//! finished.

use crate::chunker::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, Chunks, Input, ZEROS};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::pack::BlobKind;
use crate::saver::Saver;
use crate::sync::{into_inner, lock};
use rayon::Scope;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// The most bytes of a buffer that are kept: most chunks are shorter, and there are several
/// buffers.
const KEPT_BYTES: usize = 3 << 20;
/// The bytes per thread that may wait or be on their way to the store; at least one chunk in total.
const WAITING_BYTES: usize = 4 << 20;

/// Stores chunks on several threads; see the module.
pub(crate) struct Pipeline<'a> {
    saver: &'a Saver<'a>,
    limit: usize,
    /// Bytes of chunks that are not stored yet.
    waiting: AtomicUsize,
    /// Buffers that are free for reuse.
    rooms: Mutex<Vec<Vec<u8>>>,
    ids: Mutex<Ids>,
    /// Notified of every id, and of a failure.
    changed: Condvar,
    failed: Mutex<Option<Error>>,
}

/// The ids that were not taken yet, in the order of the chunks.
#[derive(Default)]
struct Ids {
    taken: usize,
    ids: VecDeque<Option<Id>>,
    /// The number of leading ids that are known without a gap.
    known: usize,
}

/// The totals of what was cut.
#[derive(Default)]
pub(crate) struct Cut {
    pub(crate) chunks: usize,
    pub(crate) bytes: u64,
}

impl<'a> Pipeline<'a> {
    /// A pipeline that stores on all threads of the pool.
    pub(crate) fn new(saver: &'a Saver<'a>) -> Self {
        let all = rayon::current_num_threads() * WAITING_BYTES;
        Pipeline {
            limit: all.max(CHUNK_BYTES_MAX),
            ..Pipeline::alone(saver)
        }
    }

    /// A pipeline that stores on the thread that cuts.
    pub(crate) fn alone(saver: &'a Saver<'a>) -> Self {
        Pipeline {
            saver,
            limit: 0,
            waiting: AtomicUsize::new(0),
            rooms: Mutex::default(),
            ids: Mutex::default(),
            changed: Condvar::new(),
            failed: Mutex::default(),
        }
    }

    /// Cuts the stream until its end, or until a chunk cannot be stored.
    pub(crate) fn cut<'s>(
        &'s self,
        scope: &Scope<'s>,
        chunks: &mut Chunks<'_, Input<'_>>,
    ) -> io::Result<Cut> {
        let mut cut = Cut::default();
        loop {
            let zeros = chunks.skip_zeros()?;
            self.add_zeros(zeros, &mut cut);
            let Some(chunk) = chunks.next()? else {
                return Ok(cut);
            };
            if self.has_failed() {
                return Ok(cut);
            }
            if *chunk == ZEROS {
                self.add_zeros(1, &mut cut);
                continue;
            }
            let bytes = chunk.len();
            cut.chunks += 1;
            cut.bytes += bytes as u64;
            let place = self.places(1);
            match self.room(bytes) {
                Some(room) => self.spawn(scope, place, chunks.give_away(room), bytes),
                None => self.store(place, chunk),
            }
        }
    }

    /// Stores one chunk.
    pub(crate) fn add<'s>(&'s self, scope: &Scope<'s>, chunk: &[u8]) {
        let place = self.places(1);
        match self.room(chunk.len()) {
            Some(mut room) => {
                room.clear();
                room.extend_from_slice(chunk);
                self.spawn(scope, place, room, chunk.len());
            }
            None => self.store(place, chunk),
        }
    }

    /// Takes the ids of the next `count` chunks; `None` if one of them is not stored yet.
    pub(crate) fn take(&self, count: usize) -> Option<Vec<Id>> {
        let mut ids = lock(&self.ids);
        // Then there are at least `count` ids, since the known ones are among them.
        ids.known = ids.known.checked_sub(count)?;
        ids.taken += count;
        Some(ids.ids.drain(..count).flatten().collect())
    }

    /// Waits until the next ids can be taken, or a failure means they never will be. Must not run
    /// on a thread of the pool, which would be missing there.
    pub(crate) fn wait(&self, count: usize) {
        let mut ids = lock(&self.ids);
        while ids.known < count && !self.has_failed() {
            let waited = self.changed.wait(ids);
            ids = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns whether something failed, after which not all ids will come.
    pub(crate) fn has_failed(&self) -> bool {
        lock(&self.failed).is_some()
    }

    /// The ids that nobody took, or the first failure. Call it when the scope has ended.
    pub(crate) fn finish(self) -> Result<Vec<Id>> {
        match into_inner(self.failed) {
            Some(error) => Err(error),
            None => Ok(into_inner(self.ids).ids.into_iter().flatten().collect()),
        }
    }

    /// Adds the next `count` chunks, all of them zeros.
    fn add_zeros(&self, count: u64, cut: &mut Cut) {
        if count == 0 {
            return;
        }
        let times = usize::try_from(count).unwrap_or(usize::MAX);
        self.put(self.places(times), times, self.saver.save_zeros());
        cut.chunks += times;
        cut.bytes += count * ZEROS.len() as u64;
    }

    /// Reserves places for the next ids, and returns the first place.
    fn places(&self, count: usize) -> usize {
        let mut ids = lock(&self.ids);
        let length = ids.ids.len();
        ids.ids.resize(length + count, None);
        ids.taken + length
    }

    /// A buffer for a chunk; `None` if so much waits that the chunk must be stored at once.
    fn room(&self, bytes: usize) -> Option<Vec<u8>> {
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let fits = waiting + bytes <= self.limit;
        fits.then(|| lock(&self.rooms).pop().unwrap_or_default())
    }

    /// Stores the first `bytes` of a buffer on another thread.
    fn spawn<'s>(&'s self, scope: &Scope<'s>, place: usize, mut own: Vec<u8>, bytes: usize) {
        scope.spawn(move |_| {
            self.store(place, own.get(..bytes).unwrap_or_default());
            own.truncate(KEPT_BYTES);
            own.shrink_to(KEPT_BYTES);
            let mut rooms = lock(&self.rooms);
            // As many as long files need. Short files may need more at a time.
            if rooms.len() < self.limit / CHUNK_BYTES_MIN {
                rooms.push(own);
            }
        });
    }

    fn store(&self, place: usize, chunk: &[u8]) {
        if !self.has_failed() {
            self.put(place, 1, self.saver.save(BlobKind::Data, chunk));
        }
        self.waiting.fetch_sub(chunk.len(), Ordering::Relaxed);
    }

    fn put(&self, place: usize, times: usize, saved: Result<Id>) {
        match saved {
            Ok(id) => lock(&self.ids).fill(place, times, id),
            Err(error) => {
                lock(&self.failed).get_or_insert(error);
                // A thread that is about to wait now either sees the failure or is notified.
                drop(lock(&self.ids));
            }
        }
        self.changed.notify_all();
    }
}

impl Ids {
    fn fill(&mut self, place: usize, times: usize, id: Id) {
        let from = place.saturating_sub(self.taken);
        for known in self.ids.iter_mut().skip(from).take(times) {
            *known = Some(id);
        }
        let rest = self.ids.iter().skip(self.known);
        self.known += rest.take_while(|id| id.is_some()).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saver::with_saver;
    use crate::{Author, Repository};
    use lifeboat_store::MemoryStore;
    use std::sync::Arc;

    /// The result of `feed`, and the ids that it did not take. `feed` runs on a thread outside the
    /// pool.
    fn fed<T: Send>(
        threads: usize,
        feed: impl for<'s> Fn(&Repository, &'s Pipeline<'s>, &Scope<'s>) -> T + Sync,
    ) -> Result<(T, Vec<Id>)> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().unwrap();
        let store = Arc::new(MemoryStore::new());
        let repository = Repository::create(store, "", b"x", &Author::default()).unwrap();
        let (index, _) = repository.load_index().unwrap();
        let work = |saver: &Saver<'_>| {
            let pipeline = pool.install(|| Pipeline::new(saver));
            let told = pool.in_place_scope(|scope| feed(&repository, &pipeline, scope));
            Ok((told, pipeline.finish()?))
        };
        with_saver(&repository, &index, work).map(|(made, _)| made)
    }

    #[test]
    fn ids_come_in_the_order_of_the_chunks() {
        let chunks: Vec<Vec<u8>> = (0..3000_usize)
            .map(|number| number.to_string().repeat(1 + number * 7 % 5000).into())
            .collect();
        for threads in [1, 4] {
            let (taken, rest) = fed(threads, |_, pipeline, scope| {
                let mut taken = Vec::new();
                for (number, chunk) in chunks.iter().enumerate() {
                    pipeline.add(scope, chunk);
                    if number % 100 == 99 && number < 2000 {
                        pipeline.wait(40);
                        taken.extend(pipeline.take(40).unwrap());
                    }
                }
                assert!(pipeline.take(3000).is_none());
                taken
            })
            .unwrap();
            assert_eq!((taken.len(), rest.len()), (800, 2200));
            let ids = taken.into_iter().chain(rest);
            assert!(ids.eq(chunks.iter().map(|chunk| Id::of(chunk))));
        }
    }

    #[test]
    fn zeros_are_in_their_places() {
        let data = vec![7; 3 * CHUNK_BYTES_MIN];
        let zeros = vec![0; 2 * CHUNK_BYTES_MIN];
        let whole = [&*zeros, &data, &zeros, &data, b"end"].concat();
        let ((cut, plain), ids) = fed(3, |repository, pipeline, scope| {
            let (mut buffer, mut stream) = (Vec::new(), whole.as_slice());
            let input = Input::stream(&mut stream);
            let mut chunks = Chunks::new(repository.chunker(), input, &mut buffer);
            let cut = pipeline.cut(scope, &mut chunks).unwrap();
            let mut chunks = Chunks::new(repository.chunker(), whole.as_slice(), &mut buffer);
            let mut plain = Vec::new();
            while let Some(chunk) = chunks.next().unwrap() {
                plain.push(Id::of(chunk));
            }
            (cut, plain)
        })
        .unwrap();
        assert_eq!((cut.chunks, cut.bytes), (plain.len(), whole.len() as u64));
        assert_eq!(ids, plain);
        assert_eq!(ids[0], Id::of(&ZEROS));
    }

    #[test]
    fn a_waiting_thread_learns_of_a_failure() {
        let failed = fed(1, |_, pipeline, scope| {
            let place = pipeline.places(1);
            scope.spawn(move |_| pipeline.put(place, 1, Err(Error::Stopped)));
            pipeline.wait(1);
            assert!(pipeline.has_failed() && pipeline.take(1).is_none());
            pipeline.add(scope, b"more");
        });
        assert!(matches!(failed, Err(Error::Stopped)));
    }
}
