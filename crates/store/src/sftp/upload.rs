//! Sends an object: into a file of `.incoming`, with many pieces under way at once, then to the
//! disk, then to its name. Bytes are kept here until the server has confirmed that they are on its
//! disk. So a broken connection, and even a restart of the server, costs only time.

use super::incoming;
use super::session::{Chunk, Fail, Handle, Session, Ticket};
use super::wire::{kind, open, status};
use super::{IN_FLIGHT, Inner};
use crate::key::INCOMING;
use crate::read::fill;
use crate::{Receipt, StoreError};
use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The bytes after which the server is asked to sync the file to its disk.
const SYNC_BYTES: u64 = 16 << 20;

/// The most bytes of one upload that are kept.
const KEPT_BYTES_MAX: u64 = 48 << 20;

/// A piece of the object, and its offset.
struct Piece {
    offset: u64,
    chunk: Chunk,
}

/// A request under way. Requests are answered in order.
enum Flight {
    Write(Piece, Ticket),
    /// Syncs everything before this offset to the disk.
    Sync(u64, Ticket),
}

/// Implements [`crate::Store::put`].
pub(super) fn put(
    inner: &Inner,
    key: &str,
    body: &mut (dyn Read + Send),
    if_absent: bool,
) -> Result<Receipt, StoreError> {
    let mut upload = Upload::begin(inner, key)?;
    loop {
        let mut bytes = upload.room();
        let most = upload.session.write_bytes;
        fill(body, &mut bytes, most).map_err(|source| StoreError::Body {
            key: key.to_owned(),
            source,
        })?;
        let last = bytes.len() < most;
        if !bytes.is_empty() {
            upload.send(bytes)?;
        }
        if last {
            break;
        }
    }
    upload.finish(if_absent)
}

/// An object that has no name yet. Its file is removed when this is dropped.
struct Upload<'a> {
    inner: &'a Inner,
    key: &'a str,
    path: String,
    session: Arc<Session>,
    handle: Handle,
    flying: VecDeque<Flight>,
    /// Pieces that the server received but may not have on its disk.
    unsynced: VecDeque<Piece>,
    kept_bytes: u64,
    /// The offsets up to which the object was sent, and up to which a sync was requested.
    sent: u64,
    asked: u64,
    /// Failed attempts to resume since the last success.
    attempt: u32,
    /// Buffers of pieces that are on the disk.
    rooms: Vec<Vec<u8>>,
    placed: bool,
}

impl<'a> Upload<'a> {
    fn begin(inner: &'a Inner, key: &'a str) -> Result<Self, StoreError> {
        let mut attempt = 0;
        loop {
            // A new name each time: if the answer was lost, it is unknown who made a file of the
            // old name.
            let name = format!("{INCOMING}/{}", incoming::name(&inner.location())?);
            let path = inner.path(&name);
            let opened = inner.session().and_then(|session| {
                let handle = create(inner, &session, &path)?;
                Ok((session, handle))
            });
            match opened {
                Ok((session, handle)) => {
                    sweep_once(inner, &session, &handle);
                    return Ok(Upload {
                        inner,
                        key,
                        path,
                        session,
                        handle,
                        flying: VecDeque::new(),
                        unsynced: VecDeque::new(),
                        kept_bytes: 0,
                        sent: 0,
                        asked: 0,
                        attempt: 0,
                        rooms: Vec::new(),
                        placed: false,
                    });
                }
                Err(fail) => inner
                    .before_retry(fail, &mut attempt)
                    .map_err(|fail| inner.error(key, fail))?,
            }
        }
    }

    /// A buffer for the next piece.
    fn room(&mut self) -> Vec<u8> {
        let mut room = self.rooms.pop().unwrap_or_default();
        room.clear();
        room
    }

    /// Sends the next bytes of the object.
    fn send(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        while self.flying.len() >= IN_FLIGHT || self.kept_bytes >= KEPT_BYTES_MAX {
            self.settle()?;
        }
        let count = bytes.len() as u64;
        let piece = Piece {
            offset: self.sent,
            chunk: Arc::new(bytes),
        };
        self.kept_bytes += count;
        self.sent += count;
        self.launch(piece)?;
        if self.sent - self.asked >= SYNC_BYTES {
            self.ask_sync()?;
        }
        Ok(())
    }

    fn launch(&mut self, piece: Piece) -> Result<(), StoreError> {
        match self.session.write(&self.handle, piece.offset, &piece.chunk) {
            Ok(ticket) => {
                self.flying.push_back(Flight::Write(piece, ticket));
                Ok(())
            }
            Err(fail) => {
                // It is kept, so resuming sends it.
                self.unsynced.push_back(piece);
                self.resume(fail)
            }
        }
    }

    fn ask_sync(&mut self) -> Result<(), StoreError> {
        self.asked = self.sent;
        match self.session.start_sync(&self.handle) {
            Ok(Some(ticket)) => {
                self.flying.push_back(Flight::Sync(self.sent, ticket));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(fail) => self.resume(fail),
        }
    }

    /// Waits for the oldest request under way.
    fn settle(&mut self) -> Result<(), StoreError> {
        let Some(flight) = self.flying.pop_front() else {
            // Everything was received, but buffers are still needed.
            return self.ask_sync();
        };
        let (Flight::Write(_, ticket) | Flight::Sync(_, ticket)) = &flight;
        let settled = self.session.done(ticket);
        match (flight, settled) {
            (Flight::Write(piece, _), settled) => {
                self.unsynced.push_back(piece);
                match settled {
                    Ok(()) if !self.session.can.sync => self.forget(u64::MAX),
                    Ok(()) => {}
                    Err(fail) => return self.resume(fail),
                }
            }
            (Flight::Sync(until, _), Ok(())) => self.forget(until),
            (Flight::Sync(..), Err(fail)) => return self.resume(fail),
        }
        self.attempt = 0;
        self.inner.did();
        Ok(())
    }

    /// Releases pieces before `until`, which are on the disk.
    fn forget(&mut self, until: u64) {
        while self.unsynced.front().is_some_and(|p| p.offset < until)
            && let Some(piece) = self.unsynced.pop_front()
        {
            self.kept_bytes -= piece.chunk.len() as u64;
            if let Some(room) = Arc::into_inner(piece.chunk) {
                self.rooms.push(room);
            }
        }
    }

    /// Resumes over a new connection and sends everything again that may not be on the disk; or
    /// returns the failure.
    fn resume(&mut self, fail: Fail) -> Result<(), StoreError> {
        let mut fail = fail;
        loop {
            let inner = self.inner;
            inner
                .before_retry(fail, &mut self.attempt)
                .map_err(|fail| inner.error(self.key, fail))?;
            match self.resend() {
                Ok(()) => return Ok(()),
                Err(again) => fail = again,
            }
        }
    }

    fn resend(&mut self) -> Result<(), Fail> {
        let flying = std::mem::take(&mut self.flying);
        let writes = flying.into_iter().filter_map(|flight| match flight {
            Flight::Write(piece, _) => Some(piece),
            Flight::Sync(..) => None,
        });
        self.unsynced.extend(writes);
        // The last piece settled or launched may be out of order.
        self.unsynced
            .make_contiguous()
            .sort_unstable_by_key(|piece| piece.offset);
        self.session = self.inner.session()?;
        self.handle = self.session.open_file(&self.path, open::WRITE)?;
        while let Some(piece) = self.unsynced.pop_front() {
            match self.session.write(&self.handle, piece.offset, &piece.chunk) {
                Ok(ticket) => self.flying.push_back(Flight::Write(piece, ticket)),
                Err(fail) => {
                    self.unsynced.push_front(piece);
                    return Err(fail);
                }
            }
        }
        self.asked = 0;
        Ok(())
    }

    /// Waits until everything is on the disk, checks the size, and gives the file its name.
    fn finish(mut self, if_absent: bool) -> Result<Receipt, StoreError> {
        loop {
            while !self.flying.is_empty() {
                self.settle()?;
            }
            match self.secure() {
                Ok(()) => break,
                Err(fail) => self.resume(fail)?,
            }
        }
        let found = self
            .inner
            .with(self.key, |s| s.attributes(kind::LSTAT, &self.path))?;
        let observed = found.map_or(0, |found| found.size());
        if observed != self.sent {
            return Err(StoreError::Unconfirmed {
                location: self.inner.location(),
                key: self.key.to_owned(),
                expected: format!("{} bytes", self.sent),
                observed: format!("{observed} bytes"),
            });
        }
        self.inner
            .place(&self.path, self.key, self.sent, if_absent)?;
        self.placed = true;
        Ok(Receipt {
            bytes: self.sent,
            version: None,
        })
    }

    /// Has the server sync the file to its disk and close it.
    fn secure(&self) -> Result<(), Fail> {
        if let Some(ticket) = self.session.start_sync(&self.handle)? {
            self.session.done(&ticket)?;
        }
        self.session.order(kind::CLOSE, |b| b.string(&self.handle))
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        // A file that cannot be removed now is swept later. A broken connection is not opened again
        // for that.
        if self.session.is_open() {
            self.session.close(&self.handle);
            let asked = self.session.start(kind::REMOVE, |b| b.string(&self.path));
            let _ = asked.and_then(|ticket| self.session.clean_up(&ticket));
        }
    }
}

/// Creates an empty file that only this user can access.
fn create(inner: &Inner, session: &Session, path: &str) -> Result<Handle, Fail> {
    let flags = open::WRITE | open::CREATE | open::EXCLUSIVE;
    match session.open_file(path, flags) {
        Err(fail) if fail.is(status::NO_SUCH_FILE) => {
            let directory = inner.path(INCOMING);
            let made = session.order(kind::MKDIR, |b| b.string(directory).mode(0o700));
            match made {
                // Another writer may have been first.
                Err(fail) if !fail.is(status::FAILURE) => Err(fail),
                _ => session.open_file(path, flags),
            }
        }
        other => other,
    }
}

/// Removes the leftovers of interrupted writers, when something is first written.
fn sweep_once(inner: &Inner, session: &Session, handle: &Handle) {
    if inner.swept.swap(true, Ordering::Relaxed) {
        return;
    }
    let made = session.attributes(kind::FSTAT, handle).ok().flatten();
    inner.sweep(session, made.and_then(|made| made.modified));
}
