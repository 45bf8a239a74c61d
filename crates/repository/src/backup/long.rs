//! Stores a long stream on all threads of the pool: one cuts it into chunks, the others store them,
//! and when they do not keep up the first stores one itself.

use super::Backup;
use super::content::{Content, ZEROS};
use crate::chunker::{CHUNK_BYTES_MAX, Chunks, Input};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::pack::BlobKind;
use crate::sync::{into_inner, lock};
use rayon::Scope;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So much is kept of a buffer that was longer: most chunks are shorter, and there are several.
const KEPT_BYTES: usize = 3 << 20;
/// For each thread, so much may wait to be stored or be on its way; in all at least one chunk.
const WAITING_BYTES: usize = 4 << 20;

impl Backup<'_> {
    /// Cuts a stream and stores the chunks, on all threads. `buffer` is room to work in.
    pub(super) fn huge(&self, input: Input<'_>, buffer: &mut Vec<u8>) -> Result<Content> {
        let storing = Storing {
            backup: self,
            limit: (rayon::current_num_threads() * WAITING_BYTES).max(CHUNK_BYTES_MAX),
            waiting: AtomicUsize::new(0),
            rooms: Mutex::default(),
            ids: Mutex::default(),
            failed: Mutex::default(),
        };
        let mut chunks = Chunks::new(self.repository.chunker(), input, buffer);
        let read = rayon::scope(|scope| storing.cut(scope, &mut chunks));
        match into_inner(storing.failed) {
            Some(error) => Err(error),
            None => Ok(read.map(|bytes| (into_inner(storing.ids), bytes))),
        }
    }
}

struct Storing<'a> {
    backup: &'a Backup<'a>,
    limit: usize,
    /// Bytes of chunks that are not stored yet.
    waiting: AtomicUsize,
    /// Buffers that are free again.
    rooms: Mutex<Vec<Vec<u8>>>,
    /// In the order of the stream.
    ids: Mutex<Vec<Id>>,
    failed: Mutex<Option<Error>>,
}

impl Storing<'_> {
    /// Cuts up to the end or to what cannot be stored, and returns how much that was, in bytes.
    fn cut<'s>(&'s self, scope: &Scope<'s>, chunks: &mut Chunks<'_, Input<'_>>) -> io::Result<u64> {
        let mut read = 0;
        loop {
            let zeros = chunks.skip_zeros()?;
            read += self.zeros(zeros);
            let Some(chunk) = chunks.next()? else {
                return Ok(read);
            };
            if lock(&self.failed).is_some() {
                return Ok(read);
            }
            if *chunk == ZEROS {
                read += self.zeros(1);
                continue;
            }
            let bytes = chunk.len();
            read += bytes as u64;
            let place = self.places(1);
            let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed);
            if waiting + bytes > self.limit {
                self.store(place, chunk);
                continue;
            }
            let room = lock(&self.rooms).pop().unwrap_or_default();
            let mut own = chunks.give_away(room);
            scope.spawn(move |_| {
                self.store(place, own.get(..bytes).unwrap_or_default());
                own.truncate(KEPT_BYTES);
                own.shrink_to(KEPT_BYTES);
                lock(&self.rooms).push(own);
            });
        }
    }

    /// Makes places for the next chunks, and returns the first.
    fn places(&self, count: usize) -> usize {
        let mut ids = lock(&self.ids);
        let first = ids.len();
        ids.resize(first + count, Id::default());
        first
    }

    fn store(&self, place: usize, chunk: &[u8]) {
        let saved = self.backup.saver.save(BlobKind::Data, chunk);
        self.put(place, 1, saved);
        self.waiting.fetch_sub(chunk.len(), Ordering::Relaxed);
    }

    /// So many chunks of zeros come next; how long they are, in bytes.
    fn zeros(&self, count: u64) -> u64 {
        if count > 0 {
            let times = usize::try_from(count).unwrap_or(usize::MAX);
            self.put(self.places(times), times, self.backup.zeros());
        }
        count * ZEROS.len() as u64
    }

    fn put(&self, place: usize, times: usize, saved: Result<Id>) {
        match saved {
            Ok(id) => {
                if let Some(places) = lock(&self.ids).get_mut(place..place + times) {
                    places.fill(id);
                }
            }
            Err(error) => {
                lock(&self.failed).get_or_insert(error);
            }
        }
    }
}
