//! Receiving an object: a task fetches pieces ahead of the reader, a few at a time. A connection
//! that breaks is taken up again where it broke, on the same version of the object; when that
//! fails, the reader gets the error.

use super::{S3Store, runtime};
use crate::StoreError;
use bytes::Buf;
use futures::TryStreamExt;
use opendal::{Buffer, Operator};
use std::io::{self, Read};
use std::ops::Range;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces fetched ahead; each is at most about 400 KiB.
const PIECES_AHEAD: usize = 8;

type Piece = Result<Buffer, opendal::Error>;

/// Starts to fetch a range, and returns when its first bytes are here.
pub(super) fn start(
    store: &S3Store,
    key: &str,
    range: Range<u64>,
    etag: Option<&str>,
) -> Result<Download, StoreError> {
    let (sender, receiver) = channel(PIECES_AHEAD);
    let (operator, path) = (store.operator.clone(), key.to_owned());
    let etag = etag.map(str::to_owned);
    runtime::start(&store.location, async move {
        if let Err(error) = fetch(&operator, &path, range, etag, &sender).await {
            // If the reader is gone, nobody wants to know.
            let _ = sender.send(Err(error)).await;
        }
    })?;
    let mut download = Download {
        receiver,
        current: Buffer::new(),
        location: store.location.clone(),
        key: key.to_owned(),
    };
    download.next()?;
    Ok(download)
}

/// Starts to fetch a part of an object that nobody replaces: without asking for its version first.
pub(super) fn part(store: &S3Store, key: &str, range: Range<u64>) -> Result<Part, StoreError> {
    Ok(Part {
        download: start(store, key, range.clone(), None)?,
        operator: store.operator.clone(),
        end: range.end,
    })
}

async fn fetch(
    operator: &Operator,
    path: &str,
    range: Range<u64>,
    etag: Option<String>,
    sender: &Sender<Piece>,
) -> Result<(), opendal::Error> {
    let mut reading = operator.reader_with(path);
    if let Some(etag) = &etag {
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

/// The bytes of a range.
pub(super) struct Download {
    receiver: Receiver<Piece>,
    current: Buffer,
    location: String,
    key: String,
}

impl Download {
    /// Makes the next piece the current one; false at the end.
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

/// The bytes of a range that may go beyond the end.
pub(super) struct Part {
    download: Download,
    operator: Operator,
    end: u64,
}

impl Part {
    /// Whether the object ends before the range does.
    fn is_short(&self) -> bool {
        let (operator, path) = (self.operator.clone(), self.download.key.clone());
        let answer = runtime::run(&self.download.location, async move {
            operator.stat(&path).await
        });
        let known = answer.ok().and_then(Result::ok);
        known.is_some_and(|metadata| metadata.content_length() < self.end)
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.download.read(buffer) {
            // The server sent all that there is, which is no failure of the connection.
            Err(_) if self.is_short() => Ok(0),
            other => other,
        }
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
