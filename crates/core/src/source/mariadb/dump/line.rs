//! A line of a dump: its beginning, and enough of its end to see if a statement ends there.

use super::HELD_BYTES_MAX;

/// Number of last bytes that are kept.
const TAIL_BYTES: usize = 8;

/// A line read so far.
#[derive(Debug, Default)]
pub struct Line {
    head: Vec<u8>,
    /// Its last bytes, once it is longer than the part that is kept.
    tail: Vec<u8>,
}

impl Line {
    /// Adds more of it.
    pub fn push(&mut self, piece: &[u8]) {
        let room = HELD_BYTES_MAX
            .saturating_sub(self.head.len())
            .min(piece.len());
        let (first, rest) = piece.split_at(room);
        self.head.extend_from_slice(first);
        if !rest.is_empty() {
            let last = rest.len().saturating_sub(TAIL_BYTES);
            self.tail
                .extend_from_slice(rest.get(last..).unwrap_or_default());
            let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
            self.tail.drain(..surplus);
        }
    }

    /// Its beginning: all of it unless it is very long.
    pub fn text(&self) -> &[u8] {
        &self.head
    }

    /// Length of the part that is kept.
    pub fn len(&self) -> usize {
        self.head.len()
    }

    /// Returns true if it ends with `end` (at most a few bytes), apart from blanks.
    pub fn ends_with(&self, end: &[u8]) -> bool {
        match self.tail.is_empty() {
            true => self.head.trim_ascii_end().ends_with(end),
            false => self.tail.trim_ascii_end().ends_with(end),
        }
    }

    /// Returns true if it is empty or blank.
    pub fn is_blank(&self) -> bool {
        self.tail.is_empty() && self.head.trim_ascii().is_empty()
    }

    /// Begins the next line.
    pub fn clear(&mut self) {
        self.head.clear();
        self.tail.clear();
    }
}
