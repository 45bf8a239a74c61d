//! Reads the content of files, cuts it into chunks, and stores them.

use super::Backup;
use crate::chunker::{CHUNK_BYTES_MIN, Chunks, Input};
use crate::error::Result;
use crate::id::Id;
use crate::pack::BlobKind;
use crate::pipeline::Pipeline;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::Ordering;

/// The buffers of a thread, kept from file to file.
#[derive(Default)]
struct Buffers {
    small: Vec<u8>,
    large: Vec<u8>,
}

thread_local! {
    static BUFFERS: std::cell::RefCell<Buffers> = std::cell::RefCell::default();
}

/// A file below this size is one chunk.
const SMALL_BYTES: u64 = CHUNK_BYTES_MIN as u64;
/// A file of at least this size is huge: all threads work on it together, on one such file at a
/// time. One thread works on any smaller file. That bounds memory, since a thread that waits for
/// others takes up further files.
const HUGE_BYTES: u64 = 32 << 20;

/// The blobs of a file, and its size in bytes. With an inner error the file is left out.
pub(super) type Content = io::Result<(Vec<Id>, u64)>;

impl Backup<'_> {
    /// Stores the content of the file at this path, which is expected to have this many bytes.
    pub(super) fn content(&self, path: &Path, file: File, expected: u64) -> Result<Content> {
        // Taken, not borrowed: while this thread waits it may take up another file.
        let mut buffers = BUFFERS.take();
        let stored = match expected {
            _ if self.mounts.is_far(path) => {
                let mut reader = self.mounts.reader(path, file);
                let pipeline = Pipeline::alone(self.saver);
                self.stream(pipeline, Input::stream(&mut reader), &mut buffers.large)
            }
            0..SMALL_BYTES => self.small(file, expected, &mut buffers),
            _ => match Input::file(file) {
                Ok(input) => self.long(input, expected, &mut buffers.large),
                Err(error) => Ok(Err(error)),
            },
        };
        BUFFERS.set(buffers);
        stored
    }

    /// Stores the file as one chunk, unless it has grown.
    fn small(&self, mut file: File, expected: u64, buffers: &mut Buffers) -> Result<Content> {
        buffers.small.clear();
        let read = read_small(&mut file, expected, &mut buffers.small);
        let whole = buffers.small.as_slice();
        match read {
            Err(error) => Ok(Err(error)),
            Ok(0) => Ok(Ok((Vec::new(), 0))),
            Ok(_) if whole.len() < CHUNK_BYTES_MIN => {
                let id = self.saver.save(BlobKind::Data, whole)?;
                Ok(Ok((vec![id], whole.len() as u64)))
            }
            Ok(_) => {
                let input = &mut whole.chain(file);
                let pipeline = Pipeline::alone(self.saver);
                self.stream(pipeline, Input::stream(input), &mut buffers.large)
            }
        }
    }

    fn long(&self, input: Input<'_>, expected: u64, buffer: &mut Vec<u8>) -> Result<Content> {
        if expected < HUGE_BYTES || self.together.swap(true, Ordering::Acquire) {
            return self.stream(Pipeline::alone(self.saver), input, buffer);
        }
        let stored = self.stream(Pipeline::new(self.saver), input, buffer);
        self.together.store(false, Ordering::Release);
        stored
    }

    /// Cuts a stream and stores its chunks. `buffer` is working space.
    pub(super) fn stream(
        &self,
        pipeline: Pipeline<'_>,
        input: Input<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Content> {
        let mut chunks = Chunks::new(self.repository.chunker(), input, buffer);
        let cut = rayon::in_place_scope(|scope| pipeline.cut(scope, &mut chunks));
        let ids = pipeline.finish()?;
        Ok(cut.map(|cut| (ids, cut.bytes)))
    }
}

/// Reads a file of the expected length; if it is longer, only enough to show that it is not a
/// small one. A short read is repeated only if it ends before the expected length.
fn read_small(file: &mut File, expected: u64, into: &mut Vec<u8>) -> io::Result<usize> {
    let room = usize::try_from(expected).unwrap_or(0) + 1;
    into.resize(room, 0);
    let read = loop {
        match file.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    into.truncate(read);
    if read + 1 != room {
        file.take(SMALL_BYTES - read as u64).read_to_end(into)?;
    }
    Ok(into.len())
}
