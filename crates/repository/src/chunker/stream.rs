//! Cuts what a reader yields into chunks.

use super::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, Chunker, Input, WINDOW_BYTES, is_zero};
use std::io::{self, Read};

/// The bytes that are read at a time, and searched while they are still in the processor's cache.
const READ_BYTES: usize = 1 << 20;

/// Yields the chunks of a stream in order, all from one buffer.
#[derive(Debug)]
pub struct Chunks<'a, R> {
    chunker: &'a Chunker,
    reader: R,
    buffer: &'a mut Vec<u8>,
    /// The end in `buffer` of the chunk that was returned last.
    consumed: usize,
    /// The bytes of `buffer` that have been filled.
    filled: usize,
    /// The place up to which `buffer` has been searched.
    scanned: usize,
    /// Possible cuts that lie after the last chunk.
    found: Vec<usize>,
    ended: bool,
}

impl<'a, R: Read> Chunks<'a, R> {
    /// Cuts what `reader` yields. `buffer` is working space, worth keeping for the next stream; it
    /// grows to 9 MiB when chunks are long.
    pub fn new(chunker: &'a Chunker, reader: R, buffer: &'a mut Vec<u8>) -> Self {
        Chunks {
            chunker,
            reader,
            buffer,
            consumed: 0,
            filled: 0,
            scanned: 0,
            found: Vec::new(),
            ended: false,
        }
    }

    /// The next chunk; `None` at the end. An empty stream has none.
    #[expect(
        clippy::should_implement_trait,
        reason = "the chunk borrows the buffer"
    )]
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.drop_consumed();
        let length = loop {
            if let Some(length) = self.cut() {
                break length;
            }
            if self.ended {
                break self.filled;
            }
            self.fill()?;
        };
        self.consumed = length;
        Ok(self.buffer.get(..length).filter(|chunk| !chunk.is_empty()))
    }

    /// Hands over the buffer, which begins with the chunk that was returned last, without copying
    /// that chunk. Reading goes on in `room`, whose content does not matter.
    pub fn give_away(&mut self, mut room: Vec<u8>) -> Vec<u8> {
        let rest = self.buffer.get(self.consumed..self.filled);
        let rest = rest.unwrap_or_default();
        if room.len() < rest.len() {
            room.resize(rest.len(), 0);
        }
        if let Some(place) = room.get_mut(..rest.len()) {
            place.copy_from_slice(rest);
        }
        std::mem::swap(self.buffer, &mut room);
        self.forget_consumed();
        room
    }

    fn drop_consumed(&mut self) {
        if self.consumed > 0 {
            self.buffer.copy_within(self.consumed..self.filled, 0);
        }
        self.forget_consumed();
    }

    fn forget_consumed(&mut self) {
        let consumed = std::mem::take(&mut self.consumed);
        if consumed == 0 {
            return;
        }
        self.filled -= consumed;
        self.scanned = self.scanned.saturating_sub(consumed);
        self.found
            .retain_mut(|place| match place.checked_sub(consumed) {
                Some(rest) => {
                    *place = rest;
                    true
                }
                None => false,
            });
    }

    /// The length of the chunk at the start of the buffer, once it is certain.
    fn cut(&mut self) -> Option<usize> {
        if self.filled < CHUNK_BYTES_MIN {
            return None;
        }
        // Zeros have the fingerprint zero, so they are cut at the shortest length.
        let window = CHUNK_BYTES_MIN - WINDOW_BYTES..CHUNK_BYTES_MIN;
        if self.buffer.get(window).is_some_and(is_zero) {
            return Some(CHUNK_BYTES_MIN);
        }
        // The first possible cut of a chunk has its whole window within the chunk: 64 is less than
        // the minimum.
        let from = self.scanned.max(CHUNK_BYTES_MIN);
        let to = self.filled.min(CHUNK_BYTES_MAX);
        if from <= to {
            self.chunker.candidates(
                self.buffer.get(..to).unwrap_or_default(),
                from,
                to,
                &mut self.found,
            );
            self.scanned = to + 1;
        }
        let place = self.found.iter().find(|&&place| place >= CHUNK_BYTES_MIN);
        match place {
            Some(&place) => Some(place),
            None => (self.filled >= CHUNK_BYTES_MAX).then_some(CHUNK_BYTES_MAX),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let until = self.filled + READ_BYTES;
        if self.buffer.len() < until {
            // Enough at once for the longest chunk: reserved space takes no memory until it is
            // filled.
            let most = until.max(CHUNK_BYTES_MAX + READ_BYTES);
            self.buffer.reserve_exact(most - self.buffer.len());
            self.buffer.resize(until, 0);
        }
        while self.filled < until {
            let room = self.buffer.get_mut(self.filled..until).unwrap_or_default();
            match self.reader.read(room) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Chunks<'_, Input<'_>> {
    /// Skips as many whole chunks as fit in the hole that comes next, and returns their number.
    /// Each is [`CHUNK_BYTES_MIN`] zeros, since zeros are cut at the shortest length.
    pub fn skip_zeros(&mut self) -> io::Result<u64> {
        self.drop_consumed();
        let ahead = self.buffer.get(..self.filled).unwrap_or_default();
        let hole = match self.ended {
            true => 0,
            false => self.reader.hole()?,
        };
        if hole == 0 || !is_zero(ahead) {
            return Ok(0);
        }
        let (ahead, each) = (ahead.len() as u64, CHUNK_BYTES_MIN as u64);
        let count = ahead.saturating_add(hole) / each;
        let Some(beyond) = (count * each)
            .checked_sub(ahead)
            .filter(|beyond| *beyond > 0)
        else {
            return Ok(0);
        };
        self.reader.skip(beyond);
        (self.filled, self.scanned) = (0, 0);
        self.found.clear();
        Ok(count)
    }
}
