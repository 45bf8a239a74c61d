//! Stores a long stream on all threads of the pool: one cuts it into chunks, the others store them,
//! and when they do not keep up the first stores one itself.

use crate::chunker::{CHUNK_BYTES_MAX, Chunker, Chunks};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::pack::BlobKind;
use crate::saver::Saver;
use crate::sync::{into_inner, lock};
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// For each thread, so much may wait to be stored or be on its way; in all at least one chunk.
const WAITING_BYTES: usize = 4 << 20;

/// The content of a stream, and its length in bytes. The inner error is the stream's. `buffer` is
/// room to work in.
pub(super) fn store(
    chunker: &Chunker,
    saver: &Saver<'_>,
    stream: impl Read + Send,
    buffer: &mut Vec<u8>,
) -> Result<io::Result<(Vec<Id>, u64)>> {
    let limit = (rayon::current_num_threads() * WAITING_BYTES).max(CHUNK_BYTES_MAX);
    let storing = Storing {
        saver,
        waiting: AtomicUsize::new(0),
        rooms: Mutex::default(),
        ids: Mutex::default(),
        failed: Mutex::default(),
    };
    let all = &storing;
    let mut chunks = Chunks::new(chunker, stream, buffer);
    let read = rayon::scope(|scope| {
        let mut size = 0;
        while let Some(chunk) = chunks.next()? {
            let bytes = chunk.len();
            size += bytes as u64;
            let number = all.begin();
            if lock(&all.failed).is_some() {
                break;
            }
            let waiting = all.waiting.fetch_add(bytes, Ordering::Relaxed);
            if waiting + bytes > limit {
                all.store(number, chunk);
                continue;
            }
            let room = lock(&all.rooms).pop().unwrap_or_default();
            let own = chunks.give_away(room);
            scope.spawn(move |_| {
                all.store(number, own.get(..bytes).unwrap_or_default());
                lock(&all.rooms).push(own);
            });
        }
        Ok(size)
    });
    match into_inner(storing.failed) {
        Some(error) => Err(error),
        None => Ok(read.map(|size| (into_inner(storing.ids), size))),
    }
}

struct Storing<'a> {
    saver: &'a Saver<'a>,
    /// Bytes of chunks that are not stored yet.
    waiting: AtomicUsize,
    /// Buffers that are free again.
    rooms: Mutex<Vec<Vec<u8>>>,
    /// In the order of the stream.
    ids: Mutex<Vec<Id>>,
    failed: Mutex<Option<Error>>,
}

impl Storing<'_> {
    /// The place of the next chunk.
    fn begin(&self) -> usize {
        let mut ids = lock(&self.ids);
        ids.push(Id::default());
        ids.len() - 1
    }

    fn store(&self, number: usize, chunk: &[u8]) {
        match self.saver.save(BlobKind::Data, chunk) {
            Ok(id) => {
                if let Some(place) = lock(&self.ids).get_mut(number) {
                    *place = id;
                }
            }
            Err(error) => {
                lock(&self.failed).get_or_insert(error);
            }
        }
        self.waiting.fetch_sub(chunk.len(), Ordering::Relaxed);
    }
}
