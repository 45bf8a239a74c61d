//! The path of one artifact: from the source, once, to every store that takes it.
//!
//! ```text
//! capture ─► tally ─► group of stores with equal sealing ─► seal ─► tally ─► store, store, …
//!                 └─► another group …
//! ```
//! Every arrow is a bounded channel. A store that fails or stalls is dropped and the others go on;
//! a source that fails ends every upload, so that nothing of it becomes visible. Nothing is written
//! to disk on the way, and no stage holds more than a few chunks.

use crate::archive::{Sealer, Sealing, Tally, Tap};
use crate::cancel;
use crate::error::{Code, Error, Result};
use crate::name::StoredKey;
use crate::snapshot::{Deposit, Slot};
use crate::stores::OpenStore;
use crate::thread;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use lifeboat_store::PutOptions;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of one message between threads.
const CHUNK_BYTES: usize = 512 << 10;
/// Messages that may wait in one channel: 2 MiB of 512 KiB each.
const CHUNKS_WAITING: usize = 4;

/// How often an artifact is begun whose source changes under it.
pub(crate) const ATTEMPTS_MAX: u32 = 4;

/// A message between threads. A sender that is dropped without `End` was cut off.
enum Message {
    Chunk(Arc<Chunk>),
    End,
}

/// Bytes whose buffer returns to the sender once the last reader is done: fresh memory for every
/// chunk costs a page fault for every page.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    home: Option<Sender<Vec<u8>>>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            // If the channel is full or closed, the buffer is freed.
            let _ = home.try_send(std::mem::take(&mut self.bytes));
        }
    }
}

/// Place of one artifact in one store.
pub(crate) struct Destination {
    pub store: OpenStore,
    pub key: StoredKey,
    pub options: PutOptions,
    /// The snapshot in preparation and the artifact's place in it, for a repository.
    pub deposit: Option<(Arc<Deposit>, Slot)>,
}

/// Result of sending an artifact to one store.
pub(crate) struct Delivered {
    pub store: String,
    pub key: StoredKey,
    pub sealing: Sealing,
    /// The object as the store confirmed it, or the error.
    pub result: Result<Stored>,
}

/// An object as a store confirmed it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// Size and hash of its bytes.
    pub tally: Tally,
    /// Version id that a versioned store gave it.
    pub version: Option<String>,
}

/// Sends what `capture` writes to every destination. Returns the result of the capture, the tally
/// of the bare stream, and the result of each destination.
pub(crate) fn send<T>(
    destinations: Vec<Destination>,
    capture: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> (Result<(T, Tally)>, Vec<Delivered>) {
    let mut groups: Vec<Group> = Vec::new();
    for destination in destinations {
        match groups
            .iter_mut()
            .find(|g| g.sealing == destination.store.sealing)
        {
            Some(group) => group.uploads.push(Upload::start(destination)),
            None => groups.push(Group {
                sealing: destination.store.sealing.clone(),
                uploads: vec![Upload::start(destination)],
            }),
        }
    }
    let running: Vec<RunningGroup> = groups.into_iter().map(Group::start).collect();
    let senders = running.iter().map(|g| Some(g.sender.clone())).collect();
    let mut tap = Tap::new(Splitter::new(senders, None));
    let captured = capture(&mut tap).and_then(|value| {
        tap.flush()
            .map_err(|e| Error::from_io(Code::Store, "the stream was given up", e))?;
        Ok(value)
    });
    let (splitter, tally) = tap.finish();
    // Only a whole capture is ended properly; otherwise dropped senders abort every upload.
    let captured = captured.and_then(|value| {
        splitter
            .end()
            .map_err(|e| Error::from_io(Code::Store, "the stream was given up", e))?;
        Ok((value, tally))
    });
    let delivered: Vec<_> = running.into_iter().flat_map(RunningGroup::join).collect();
    let captured = captured.map_err(|error| blame_stores(error, &delivered));
    (captured, delivered)
}

/// Returns the stores' error if the capture failed because no store accepts data, otherwise
/// `error`.
fn blame_stores(error: Error, delivered: &[Delivered]) -> Error {
    if error.code != Code::Store {
        return error;
    }
    let first = delivered
        .iter()
        .find_map(|d| d.result.as_ref().err().map(|e| (&d.store, e)));
    match first {
        Some((store, cause)) => Error {
            message: format!("no store took the stream; store {store}: {}", cause.message),
            ..cause.clone()
        },
        None => error,
    }
}

/// Cuts a stream into chunks and sends each to several receivers. Skips a receiver that is gone;
/// writing fails when none is left.
struct Splitter {
    buffer: Vec<u8>,
    senders: Vec<Option<Sender<Message>>>,
    send_timeout: Option<Duration>,
    /// Channel that returns the buffers of chunks that were read.
    rooms: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
}

impl Splitter {
    fn new(senders: Vec<Option<Sender<Message>>>, send_timeout: Option<Duration>) -> Self {
        Splitter {
            buffer: Vec::with_capacity(CHUNK_BYTES),
            senders,
            send_timeout,
            rooms: bounded(2 * CHUNKS_WAITING),
        }
    }

    fn send_buffer(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let room = self.rooms.1.try_recv();
        let mut room = room.unwrap_or_else(|_| Vec::with_capacity(CHUNK_BYTES));
        room.clear();
        let bytes = std::mem::replace(&mut self.buffer, room);
        let home = Some(self.rooms.0.clone());
        cancel::check()?;
        let chunk = Arc::new(Chunk { bytes, home });
        self.broadcast(|| Message::Chunk(Arc::clone(&chunk)))
    }

    fn broadcast(&mut self, message: impl Fn() -> Message) -> io::Result<()> {
        let mut any = false;
        for slot in &mut self.senders {
            let Some(sender) = slot else { continue };
            let sent = match self.send_timeout {
                Some(timeout) => match sender.send_timeout(message(), timeout) {
                    Ok(()) => true,
                    Err(SendTimeoutError::Timeout(_) | SendTimeoutError::Disconnected(_)) => false,
                },
                None => sender.send(message()).is_ok(),
            };
            if sent {
                any = true;
            } else {
                *slot = None;
            }
        }
        if any {
            Ok(())
        } else {
            Err(io::Error::other(Error::new(
                Code::Store,
                "no store takes the stream",
            )))
        }
    }

    /// Ends the stream and marks it as whole.
    fn end(mut self) -> io::Result<()> {
        self.send_buffer()?;
        self.broadcast(|| Message::End)
    }
}

impl Write for Splitter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES
            .saturating_sub(self.buffer.len())
            .min(bytes.len());
        let (now, _) = bytes.split_at(room);
        self.buffer.extend_from_slice(now);
        if self.buffer.len() >= CHUNK_BYTES {
            self.send_buffer()?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_buffer()
    }
}

/// Stores that receive the same bytes.
struct Group {
    sealing: Sealing,
    uploads: Vec<Upload>,
}

struct RunningGroup {
    sender: Sender<Message>,
    /// Results of its uploads if no thread could be started.
    thread: std::result::Result<JoinHandle<Vec<Delivered>>, Vec<Delivered>>,
}

impl Group {
    fn start(self) -> RunningGroup {
        let (sender, receiver) = bounded(CHUNKS_WAITING);
        let sealing = self.sealing.clone();
        let uploads = self.uploads.iter();
        let names: Vec<_> = uploads.map(|u| (u.store.clone(), u.key.clone())).collect();
        let thread = thread::start(move || self.run(&receiver)).map_err(|error| {
            let lost = |(store, key)| Delivered {
                store,
                key,
                sealing: sealing.clone(),
                result: Err(error.clone()),
            };
            names.into_iter().map(lost).collect()
        });
        RunningGroup { sender, thread }
    }

    /// Seals what arrives and passes it to the uploads, then waits for each of them.
    fn run(self, receiver: &Receiver<Message>) -> Vec<Delivered> {
        let stall = self
            .uploads
            .iter()
            .map(|u| u.stall)
            .max()
            .unwrap_or_default();
        let senders = self.uploads.iter().map(|u| Some(u.sender.clone()));
        let splitter = Splitter::new(senders.collect(), Some(stall));
        let sealed = seal(&self.sealing, receiver, splitter);
        let sealing = self.sealing;
        self.uploads
            .into_iter()
            .map(|u| u.join(&sealing, &sealed))
            .collect()
    }
}

/// Seals a stream of messages into `output`; returns the tally of the sealed bytes.
fn seal(sealing: &Sealing, receiver: &Receiver<Message>, output: Splitter) -> Result<Tally> {
    let given_up = |e| Error::from_io(Code::Store, "the stream was given up", e);
    let mut sealer = Sealer::new(sealing, Tap::new(output))?;
    loop {
        match receiver.recv() {
            Ok(Message::Chunk(chunk)) => sealer.write_all(&chunk.bytes).map_err(given_up)?,
            Ok(Message::End) => break,
            Err(_) => return Err(Error::new(Code::SourceFailed, "the source ended early")),
        }
    }
    let (splitter, tally) = sealer.finish().map_err(given_up)?.finish();
    splitter.end().map_err(given_up)?;
    Ok(tally)
}

impl RunningGroup {
    fn join(self) -> Vec<Delivered> {
        drop(self.sender);
        // A panic there is a bug; its stores count as not reached.
        match self.thread {
            Ok(thread) => thread.join().unwrap_or_default(),
            Err(lost) => lost,
        }
    }
}

/// The upload of one object to one store.
struct Upload {
    store: String,
    key: StoredKey,
    stall: Duration,
    sender: Sender<Message>,
    /// Bytes that the store confirms, and the version it gave them.
    outcome: Receiver<Result<(u64, Option<String>)>>,
}

impl Upload {
    fn start(destination: Destination) -> Self {
        let (sender, receiver) = bounded(CHUNKS_WAITING);
        let (report, outcome) = bounded(1);
        let Destination {
            store,
            key,
            options,
            deposit,
        } = destination;
        let upload = Upload {
            store: store.name.to_string(),
            key: key.clone(),
            stall: Duration::from_secs(store.config.stall_timeout.seconds.max(1)),
            sender,
            outcome,
        };
        let told = report.clone();
        // Detached on purpose: a store that hangs for ever must not block the run.
        let started = thread::start(move || {
            let mut body = Box::new(ChannelReader {
                receiver,
                chunk: Arc::default(),
                at: 0,
                ended: false,
            });
            let result = match deposit {
                Some((deposit, slot)) => deposit.put(slot, body).map(|bytes| (bytes, None)),
                None => store
                    .store
                    .put(&key, &mut body, &options)
                    .map(|receipt| (receipt.bytes, receipt.version))
                    .map_err(Error::from),
            };
            let _ = report.send(result);
        });
        if let Err(error) = started {
            let _ = told.send(Err(error));
        }
        upload
    }

    /// Waits until the store has confirmed the object, failed, or stalled.
    fn join(self, sealing: &Sealing, sealed: &Result<Tally>) -> Delivered {
        let Upload {
            store,
            key,
            stall,
            sender,
            outcome,
        } = self;
        drop(sender);
        let begun = Instant::now();
        let answer = match sealed {
            Ok(_) => outcome.recv_timeout(stall),
            // The upload is being aborted; its own error, if any, comes soon.
            Err(_) => outcome.recv_timeout(stall.min(Duration::from_secs(30))),
        };
        let result = match (answer, sealed) {
            (Ok(Err(error)), _) => Err(error),
            (Ok(Ok(_)), Err(error)) => Err(error.clone()),
            (Ok(Ok((bytes, version))), Ok(tally)) if bytes == tally.bytes => Ok(Stored {
                tally: tally.clone(),
                version,
            }),
            (Ok(Ok((bytes, _))), Ok(tally)) => Err(Error::new(
                Code::Store,
                format!("store {store} confirms {bytes} bytes of {key}, {} were sent", tally.bytes),
            )),
            (Err(RecvTimeoutError::Timeout), _) => Err(Error::new(
                Code::Store,
                format!("store {store} stalled: no answer for {} s", begun.elapsed().as_secs().max(stall.as_secs())),
            )
            .hint("check the store and the network, then heal its copy with `lifeboat copy`; stall_timeout sets the bound")),
            (Err(RecvTimeoutError::Disconnected), _) => {
                Err(Error::new(Code::Store, format!("the upload to store {store} ended without an answer")))
            }
        };
        Delivered {
            store,
            key,
            sealing: sealing.clone(),
            result,
        }
    }
}

/// Reads the messages of a channel; fails unless the stream was ended properly.
struct ChannelReader {
    receiver: Receiver<Message>,
    chunk: Arc<Chunk>,
    at: usize,
    ended: bool,
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.chunk.bytes.len() && !self.ended {
            match self.receiver.recv() {
                Ok(Message::Chunk(chunk)) => (self.chunk, self.at) = (chunk, 0),
                Ok(Message::End) => self.ended = true,
                Err(_) => {
                    let message = "the stream was cut off before its end";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
            }
        }
        let rest = self.chunk.bytes.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        let (now, _) = rest.split_at(count);
        if let Some(room) = buffer.get_mut(..count) {
            room.copy_from_slice(now);
        }
        self.at += count;
        Ok(count)
    }
}
