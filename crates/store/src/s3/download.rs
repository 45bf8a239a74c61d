//! Receives an object. A task fetches pieces ahead of the reader, a few at a time. After a broken
//! connection it resumes at the same byte of the same version of the object; if that fails, the
//! reader gets the error.

use super::S3Store;
use super::refusal::stopped;
use crate::StoreError;
use crate::ending::Ending;
use crate::runtime::{self, within};
use bytes::Buf;
use futures::TryStreamExt;
use opendal::{Buffer, Operator};
use std::io::{self, Read};
use std::ops::Range;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// The pieces that are fetched ahead; each has at most about 400 KiB.
const PIECES_AHEAD: usize = 8;

type Piece = Result<Buffer, opendal::Error>;

/// An object, or a version of it, that is fetched.
pub(super) struct Of<'a> {
    pub(super) key: &'a str,
    pub(super) version: Option<&'a str>,
}

/// The same, owned, with the ETag that it must have.
struct Wanted {
    path: String,
    version: Option<String>,
    etag: Option<String>,
}

/// Starts to fetch a range, and returns when its first bytes have arrived.
pub(super) fn start(
    store: &S3Store,
    of: &Of<'_>,
    range: Range<u64>,
    etag: Option<&str>,
) -> Result<Download, StoreError> {
    let (sender, receiver) = channel(PIECES_AHEAD);
    let operator = store.operator.clone();
    let wanted = Wanted {
        path: of.key.to_owned(),
        version: of.version.map(str::to_owned),
        etag: etag.map(str::to_owned),
    };
    let wait = store.place.ending.work();
    runtime::start(&store.location, async move {
        let fetching = fetch(&operator, &wanted, range, &sender);
        let fetched = within(wait, fetching).await;
        if let Err(error) = fetched.unwrap_or_else(|| Err(stopped())) {
            // If the reader is gone, the error no longer matters.
            let _ = sender.send(Err(error)).await;
        }
    })?;
    let mut download = Download {
        receiver,
        current: Buffer::new(),
        location: store.location.clone(),
        key: of.key.to_owned(),
    };
    download.next()?;
    Ok(download)
}

/// Starts to fetch a part of an object that nobody replaces, without asking for its version first,
/// or of a version.
pub(super) fn part(store: &S3Store, of: &Of<'_>, range: Range<u64>) -> Result<Part, StoreError> {
    Ok(Part {
        at: range.start,
        end: range.end,
        download: start(store, of, range, None)?,
        version: of.version.map(str::to_owned),
        operator: store.operator.clone(),
        ending: store.place.ending.clone(),
    })
}

async fn fetch(
    operator: &Operator,
    wanted: &Wanted,
    range: Range<u64>,
    sender: &Sender<Piece>,
) -> Result<(), opendal::Error> {
    let mut reading = operator.reader_with(&wanted.path);
    if let Some(version) = &wanted.version {
        reading = reading.version(version);
    }
    if let Some(etag) = &wanted.etag {
        reading = reading.if_match(etag);
    }
    let mut pieces = reading.await?.into_stream(range).await?;
    while let Some(piece) = pieces.try_next().await? {
        if sender.send(Ok(piece)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A reader of a range.
pub(super) struct Download {
    receiver: Receiver<Piece>,
    current: Buffer,
    location: String,
    key: String,
}

impl Download {
    /// Makes the next piece current. Returns false at the end.
    fn next(&mut self) -> Result<bool, StoreError> {
        match futures::executor::block_on(self.receiver.recv()) {
            Some(Ok(piece)) => {
                self.current = piece;
                Ok(true)
            }
            Some(Err(error)) => Err(super::store_error(&error, &self.location, &self.key)),
            None => Ok(false),
        }
    }
}

/// A reader of a range that may go beyond the end of the object.
pub(super) struct Part {
    download: Download,
    /// The version that is read, if one was asked for.
    version: Option<String>,
    operator: Operator,
    ending: Ending,
    /// The offset of the next byte in the object.
    at: u64,
    end: u64,
}

impl Part {
    /// Returns whether the object has ended, as opposed to the connection.
    fn is_at_end(&self) -> bool {
        let (operator, path) = (self.operator.clone(), self.download.key.clone());
        let version = self.version.clone();
        let answer = runtime::run(self.ending.work(), &self.download.location, async move {
            match version {
                Some(version) => operator.stat_with(&path).version(&version).await,
                None => operator.stat(&path).await,
            }
        });
        let known = answer.ok().and_then(Result::ok);
        known.is_some_and(|metadata| metadata.content_length() == self.at)
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.download.read(buffer) {
            Ok(count) => {
                self.at += count as u64;
                if count > 0 || buffer.is_empty() || self.at >= self.end {
                    return Ok(count);
                }
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Err(error) => Err(error),
        };
        // The server has sent everything there is, so the connection did not fail.
        if self.is_at_end() { Ok(0) } else { read }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if !self.next().map_err(io::Error::other)? {
                return Ok(0);
            }
        }
        let chunk = self.current.chunk();
        let n = chunk.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), chunk.get(..n)) {
            to.copy_from_slice(from);
        }
        self.current.advance(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that a reader gets if twenty bytes of an object of ten are requested, and the
    /// connection delivers these pieces.
    fn read(pieces: Vec<Piece>) -> io::Result<Vec<u8>> {
        let operator = Operator::new(opendal::services::Memory::default()).unwrap();
        let ten = operator.clone();
        runtime::run(Ending::default().work(), "here", async move {
            ten.write("k", "0123456789").await
        })
        .unwrap()
        .unwrap();
        let (sender, receiver) = channel(PIECES_AHEAD);
        for piece in pieces {
            sender.try_send(piece).unwrap();
        }
        drop(sender);
        let download = Download {
            receiver,
            current: Buffer::new(),
            location: "here".to_owned(),
            key: "k".to_owned(),
        };
        let mut part = Part {
            download,
            version: None,
            operator,
            ending: Ending::default(),
            at: 0,
            end: 20,
        };
        let mut out = Vec::new();
        part.read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn a_part_ends_where_the_object_does_and_not_where_the_connection_does() {
        let cut = || opendal::Error::new(opendal::ErrorKind::Unexpected, "cut");
        let half = || Ok(Buffer::from("01234"));
        let rest = || Ok(Buffer::from("56789"));
        assert_eq!(read(vec![half(), rest()]).unwrap(), b"0123456789");
        assert_eq!(
            read(vec![half(), rest(), Err(cut())]).unwrap(),
            b"0123456789"
        );
        assert!(read(vec![half(), Err(cut())]).is_err());
        assert!(read(vec![Err(cut())]).is_err());
        assert!(read(vec![half()]).is_err());
    }
}
