//! Receives an object. Pieces are requested ahead of the reader, many at a time. After a broken
//! connection it resumes where the reader is, on the same file as far as size and time can tell; if
//! that fails, the reader gets the error.

use super::session::{Fail, Handle, Session, Ticket};
use super::wire::{Attributes, Reply, kind, length, open, status};
use super::{IN_FLIGHT, Inner};
use crate::StoreError;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

/// Starts to fetch the object from an offset to its end.
pub(super) fn start(
    inner: &Arc<Inner>,
    key: &str,
    offset: u64,
    expected: Attributes,
) -> Result<Download, StoreError> {
    let (session, handle) = inner.repeat_open(key, &expected)?;
    Ok(Download {
        inner: Arc::clone(inner),
        key: key.to_owned(),
        expected,
        session,
        handle,
        asked: VecDeque::new(),
        next: offset,
        piece: Vec::new(),
        at: 0,
        attempt: 0,
    })
}

/// A requested piece that has not arrived.
struct Asked {
    offset: u64,
    bytes: usize,
    ticket: Ticket,
}

/// A reader of an object.
pub(super) struct Download {
    inner: Arc<Inner>,
    key: String,
    expected: Attributes,
    session: Arc<Session>,
    handle: Handle,
    asked: VecDeque<Asked>,
    /// The offset to request next.
    next: u64,
    /// The packet whose data is being read, and the position in it.
    piece: Vec<u8>,
    at: usize,
    /// Failed attempts to resume since the last success.
    attempt: u32,
}

impl Inner {
    /// Opens the file of an object again, which must be the file that was seen before.
    fn repeat_open(
        &self,
        key: &str,
        expected: &Attributes,
    ) -> Result<(Arc<Session>, Handle), StoreError> {
        let mut attempt = 0;
        loop {
            let opened = self.session().and_then(|session| {
                let handle = session.open_file(&self.path(key), open::READ)?;
                let found = session.attributes(kind::FSTAT, &handle)?;
                Ok((session, handle, found))
            });
            let fail = match opened {
                Ok((session, handle, found)) => {
                    let found = found.unwrap_or_default();
                    if (found.bytes, found.modified) == (expected.bytes, expected.modified) {
                        return Ok((session, handle));
                    }
                    session.close(&handle);
                    return Err(StoreError::Other {
                        location: self.location(),
                        detail: format!("{key:?} was changed meanwhile; read it again"),
                    });
                }
                Err(fail) => fail,
            };
            self.before_retry(fail, &mut attempt)
                .map_err(|fail| self.error(key, fail))?;
        }
    }
}

impl Download {
    fn end(&self) -> u64 {
        self.expected.size()
    }

    /// Requests pieces until enough are under way.
    fn ask(&mut self) -> Result<(), Fail> {
        while self.asked.len() < IN_FLIGHT && self.next < self.end() {
            let left = usize::try_from(self.end() - self.next).unwrap_or(usize::MAX);
            let bytes = left.min(self.session.read_bytes);
            let ticket = self.request(self.next, bytes)?;
            self.asked.push_back(Asked {
                offset: self.next,
                bytes,
                ticket,
            });
            self.next += bytes as u64;
        }
        Ok(())
    }

    fn request(&self, offset: u64, bytes: usize) -> Result<Ticket, Fail> {
        self.session.start(kind::READ, |b| {
            b.string(&self.handle).u64(offset).u32(length(bytes))
        })
    }

    /// Makes the next piece current. Returns false at the end of the file.
    fn advance(&mut self) -> Result<bool, Fail> {
        self.ask()?;
        let Some(asked) = self.asked.front() else {
            return Ok(false);
        };
        let (packet, begins) = match self.session.wait(&asked.ticket) {
            Ok(Reply::Data(packet, begins)) => (packet, begins),
            Ok(_) => {
                return Err(Fail::Status {
                    code: status::BAD_MESSAGE,
                    message: "it answered a request for data without any".to_owned(),
                });
            }
            // The file is shorter than the server reported; the reader is told so.
            Err(fail) if fail.is(status::EOF) => return Ok(false),
            Err(fail) => return Err(fail),
        };
        let got = packet.len() - begins;
        if got == 0 || got > asked.bytes {
            return Err(Fail::Status {
                code: status::BAD_MESSAGE,
                message: format!("it sent {got} bytes when asked for {}", asked.bytes),
            });
        }
        // A server may send less than requested, and the rest when asked again.
        let (offset, missing) = (asked.offset + got as u64, asked.bytes - got);
        let rest = match missing {
            0 => None,
            bytes => Some(Asked {
                offset,
                bytes,
                ticket: self.request(offset, bytes)?,
            }),
        };
        self.asked.pop_front();
        if let Some(rest) = rest {
            self.asked.push_front(rest);
        }
        (self.piece, self.at) = (packet, begins);
        self.attempt = 0;
        self.inner.did();
        Ok(true)
    }

    /// Resumes over a new connection, where the reader is.
    fn resume(&mut self, fail: Fail) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        inner
            .before_retry(fail, &mut self.attempt)
            .map_err(|fail| inner.error(&self.key, fail))?;
        if let Some(first) = self.asked.front() {
            self.next = first.offset;
        }
        self.asked.clear();
        (self.session, self.handle) = inner.repeat_open(&self.key, &self.expected)?;
        Ok(())
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.at >= self.piece.len() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(fail) => self.resume(fail).map_err(io::Error::other)?,
            }
        }
        let piece = self.piece.get(self.at..).unwrap_or_default();
        let n = piece.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), piece.get(..n)) {
            to.copy_from_slice(from);
        }
        self.at += n;
        Ok(n)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.session.close(&self.handle);
    }
}
