//! Passes a program's output on, and to a reader on a second thread.
//!
//! Guarantees: both get the same bytes, in order. Buffers in flight are bounded. An error of the
//! output ends it and is returned as it is. The caller must check that the program succeeded.

use crate::error::{Code, Error, Result};
use crate::observe::Reporter;
use crate::thread;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, BufRead, Read, Write};
use std::process::ChildStdout;
use std::sync::Arc;

/// Size of a buffer between the program and its readers.
const PIECE_BYTES: usize = 256 << 10;
/// Number of pieces that may wait for the reader.
const PIECES_MAX: usize = 16;
/// Pipe size that keeps the two sides from waiting for each other at every turn.
const PIPE_BYTES: usize = 1 << 20;

/// The result of passing a stream on.
pub struct Teed<T> {
    /// The reader's result.
    pub read: Result<T>,
    /// True if the stream went to its end; false if the reader wanted no more.
    pub whole: bool,
}

/// The first bytes of a program's output, as many as one read gives; empty if it printed nothing.
pub fn first(pipe: &mut ChildStdout) -> Result<Vec<u8>> {
    // A smaller pipe works as well.
    let _ = rustix::pipe::fcntl_setpipe_size(&*pipe, PIPE_BYTES);
    let mut piece = vec![0; PIECE_BYTES];
    let count = read_some(pipe, &mut piece)?;
    piece.truncate(count);
    Ok(piece)
}

/// A buffer, and how much of it is filled. It is never truncated: it would have to be cleared when
/// it is filled again.
#[derive(Default)]
struct Piece {
    room: Vec<u8>,
    filled: usize,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        self.room.get(..self.filled).unwrap_or_default()
    }
}

/// Passes `first` and everything that `pipe` still gives to `output` and to `reader`.
pub fn tee<T: Send>(
    first: Vec<u8>,
    pipe: &mut ChildStdout,
    output: &mut dyn Write,
    reporter: &Reporter,
    reader: impl FnOnce(Pieces) -> Result<T> + Send,
) -> Result<Teed<T>> {
    let (send, receive) = bounded::<Arc<Piece>>(PIECES_MAX);
    let (read, whole) = std::thread::scope(|scope| -> Result<_> {
        let reader = thread::start_in(scope, move || reader(Pieces::new(receive)))?;
        let whole = pump(first, pipe, output, &send, reporter);
        drop(send);
        Ok((reader.join(), whole))
    })?;
    let read = read.unwrap_or_else(|_| {
        Err(Error::new(
            Code::SourceFailed,
            "the reader of the dump failed",
        ))
    });
    Ok(Teed {
        read,
        whole: whole?,
    })
}

fn pump(
    first: Vec<u8>,
    pipe: &mut ChildStdout,
    output: &mut dyn Write,
    reader: &Sender<Arc<Piece>>,
    reporter: &Reporter,
) -> Result<bool> {
    let filled = first.len();
    let mut piece = Arc::new(Piece {
        room: first,
        filled,
    });
    let mut spare: Vec<Arc<Piece>> = Vec::new();
    loop {
        output
            .write_all(piece.bytes())
            .map_err(|error| Error::from_io(Code::Io, "the dump cannot be written", error))?;
        reporter.advance(piece.filled as u64);
        if reader.send(Arc::clone(&piece)).is_err() {
            return Ok(false);
        }
        spare.push(piece);
        let mut next = take_free(&mut spare);
        if next.room.len() < PIECE_BYTES {
            next.room.resize(PIECE_BYTES, 0);
        }
        next.filled = read_some(pipe, &mut next.room)?;
        if next.filled == 0 {
            return Ok(true);
        }
        piece = Arc::new(next);
    }
}

/// A buffer that the reader has finished with, or a new one.
fn take_free(spare: &mut Vec<Arc<Piece>>) -> Piece {
    let free = spare.iter().position(|piece| Arc::strong_count(piece) == 1);
    let free = free.map(|at| spare.swap_remove(at));
    free.and_then(|piece| Arc::try_unwrap(piece).ok())
        .unwrap_or_default()
}

/// Fills the buffer by one read; 0 at the end.
fn read_some(pipe: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match pipe.read(buffer) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("the output of the dump cannot be read", &error)),
        }
    }
}

/// A reader of the pieces that come through a channel.
pub struct Pieces {
    receive: Receiver<Arc<Piece>>,
    current: Arc<Piece>,
    at: usize,
}

impl Pieces {
    fn new(receive: Receiver<Arc<Piece>>) -> Self {
        Pieces {
            receive,
            current: Arc::default(),
            at: 0,
        }
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.current.filled {
            // Return the finished piece before waiting for the next.
            self.current = Arc::default();
            self.at = 0;
            if let Ok(next) = self.receive.recv() {
                self.current = next;
            }
        }
        Ok(self.current.bytes().get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
