//! Runs `pg_dump`, hands its output on, and fingerprints it on a second thread as it passes.
//!
//! Guarantees: `Ok` only when `pg_dump` ended well *and* the archive it printed is whole. Buffers in
//! flight are bounded; a failing output ends the dump and shows as itself.

use super::archive::{self, ColumnOrders, Contents};
use super::connection::Connection;
use super::session::{Server, refused};
use super::tools::Tools;
use crate::error::{Code, Error, Result};
use crate::observe::Observer;
use crate::secret::Scrubber;
use crate::transport::Running;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, BufRead, Read, Write};
use std::process::ExitStatus;
use std::sync::Arc;

/// A buffer between `pg_dump` and its readers.
const PIECE_BYTES: usize = 256 << 10;
/// How many pieces may wait for the fingerprint.
const PIECES_MAX: usize = 16;

/// A dump that has begun: its first bytes are here, so `pg_dump` holds all its locks.
pub struct Dump {
    running: Running,
    first: Vec<u8>,
    connection: Connection,
}

/// How a dump did not begin.
pub struct NotBegun {
    /// What `pg_dump` said.
    pub said: String,
    /// The same as an error.
    pub error: Error,
}

impl Dump {
    /// Starts `pg_dump` and waits for its first bytes, which come after it has read the catalog and
    /// locked every table.
    pub fn begin(
        connection: &Connection,
        server: &Server,
        tools: &Tools,
        snapshot: Option<&str>,
        lock_timeout_seconds: u64,
        scrubber: &Scrubber,
    ) -> Result<Result<Self, NotBegun>> {
        let mut command = connection
            .command(tools.program("pg_dump"), scrubber)
            .args(["--format=custom", "--compress=0", "--no-password"]);
        let milliseconds = lock_timeout_seconds.max(1).saturating_mul(1000);
        command = command.arg(format!("--lock-wait-timeout={milliseconds}"));
        if let Some(snapshot) = snapshot {
            command = command.arg(format!("--snapshot={snapshot}"));
        }
        if server.encoding == "SQL_ASCII" {
            // Bytes of no known encoding: they pass as they are.
            command = command.env("PGCLIENTENCODING", "SQL_ASCII");
        }
        let mut running = connection.transport().spawn(&command)?;
        let mut first = vec![0; PIECE_BYTES];
        let count = match &mut running.stdout {
            Some(pipe) => read_some(pipe, &mut first)?,
            None => 0,
        };
        first.truncate(count);
        if count == 0 {
            let (status, said) = running.wait()?;
            let error = failed(connection, status, &said);
            return Ok(Err(NotBegun { said, error }));
        }
        Ok(Ok(Dump {
            running,
            first,
            connection: connection.clone(),
        }))
    }

    /// Hands everything to `output` and returns what was in it.
    pub fn stream(
        mut self,
        output: &mut dyn Write,
        orders: &ColumnOrders,
        observer: &dyn Observer,
    ) -> Result<Contents> {
        let (send, receive) = bounded::<Arc<Vec<u8>>>(PIECES_MAX);
        let (parsed, pumped) = std::thread::scope(|scope| {
            let parser = scope.spawn(move || archive::read(Pieces::new(receive), orders));
            let pumped = self.pump(output, send, observer);
            (parser.join(), pumped)
        });
        let parsed = parsed.unwrap_or_else(|_| {
            Err(Error::new(
                Code::SourceFailed,
                "the reader of the dump failed",
            ))
        });
        match pumped? {
            // The parser gave up before the end: what it says is the reason.
            Pumped::Refused => {
                let said = self.running.kill();
                parsed.map_err(|error| match error.cause {
                    None => error.cause(said),
                    Some(_) => error,
                })
            }
            Pumped::Whole => {
                let (status, said) = self.running.wait()?;
                if !status.success() {
                    return Err(failed(&self.connection, status, &said));
                }
                parsed
            }
        }
    }

    fn pump(
        &mut self,
        output: &mut dyn Write,
        parser: Sender<Arc<Vec<u8>>>,
        observer: &dyn Observer,
    ) -> Result<Pumped> {
        let Some(mut pipe) = self.running.stdout.take() else {
            return Err(Error::new(Code::Io, "pg_dump was started without a pipe"));
        };
        let mut piece = Arc::new(std::mem::take(&mut self.first));
        let mut spare: Vec<Arc<Vec<u8>>> = Vec::new();
        loop {
            output
                .write_all(&piece)
                .map_err(|error| Error::from_io(Code::Io, "the dump cannot be written", error))?;
            observer.advance(piece.len() as u64);
            if parser.send(Arc::clone(&piece)).is_err() {
                return Ok(Pumped::Refused);
            }
            spare.push(piece);
            let mut next = take_free(&mut spare);
            next.resize(PIECE_BYTES, 0);
            let count = read_some(&mut pipe, &mut next)?;
            if count == 0 {
                return Ok(Pumped::Whole);
            }
            next.truncate(count);
            piece = Arc::new(next);
        }
    }
}

/// How the pump ended.
enum Pumped {
    /// At the end of the output.
    Whole,
    /// The parser wanted no more.
    Refused,
}

/// A buffer that the parser has done with, or a new one.
fn take_free(spare: &mut Vec<Arc<Vec<u8>>>) -> Vec<u8> {
    let free = spare.iter().position(|piece| Arc::strong_count(piece) == 1);
    let free = free.map(|at| spare.swap_remove(at));
    free.and_then(|piece| Arc::try_unwrap(piece).ok())
        .unwrap_or_default()
}

/// Fills the buffer as far as one or more reads give without an end.
fn read_some(pipe: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match pipe.read(buffer) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("the output of pg_dump cannot be read", &error)),
        }
    }
}

fn failed(connection: &Connection, status: ExitStatus, said: &str) -> Error {
    let error = refused(connection, said);
    if error.code != Code::SourceFailed && error.code != Code::SourceUnreachable {
        return error;
    }
    let place = connection.display();
    Error::new(
        Code::SourceFailed,
        format!("pg_dump of {place} did not end well ({status})"),
    )
    .cause(said)
    .hint("the dump is not whole and is thrown away; run again when the cause is mended")
}

/// The pieces that come through a channel, as something to read.
struct Pieces {
    receive: Receiver<Arc<Vec<u8>>>,
    current: Arc<Vec<u8>>,
    at: usize,
}

impl Pieces {
    fn new(receive: Receiver<Arc<Vec<u8>>>) -> Self {
        Pieces {
            receive,
            current: Arc::default(),
            at: 0,
        }
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.current.len() {
            // Give the finished piece back before waiting for the next.
            self.current = Arc::default();
            self.at = 0;
            if let Ok(next) = self.receive.recv() {
                self.current = next;
            }
        }
        Ok(self.current.get(self.at..).unwrap_or_default())
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
