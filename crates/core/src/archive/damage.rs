//! What is wrong when an object cannot be read: its input, which failed, or its content, which is
//! damaged.

use std::fmt;
use std::io::{self, Read};

/// What to do about a damaged object.
pub(super) const DAMAGED_HINT: &str = "run `lifeboat verify` to see which copies are whole, then restore from another store, or \
     heal this copy with `lifeboat copy`";

/// Marks errors of the input, so that they are told from errors of its content.
pub(super) struct Input<R>(pub R);

#[derive(Debug)]
pub(super) struct InputFailed(pub io::Error);

impl fmt::Display for InputFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for InputFailed {}

/// Whether the error came from below, not from what was read.
pub(super) fn is_of_input(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<InputFailed>())
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => io::Error::new(kind, InputFailed(error)),
        })
    }
}
