//! One connection. Requests are sent in order, answers arrive in any order, and many requests are
//! under way at once. Every wait is bounded: the connection ends when the server is silent for as
//! long as a store may stall, and when it violates the protocol.

use super::link::{Connect, Link, LinkError, Pipes};
use super::wire::{self, Attributes, Builder, Extensions, Parser, Reply, kind, status};
use crate::ending::{Ending, NothingCame, Wait};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest packet that a server may send. OpenSSH's are up to 256 KiB.
const PACKET_BYTES_MAX: usize = 512 << 10;

/// The size of a read or write if the server states no limit.
const CHUNK_BYTES_DEFAULT: usize = 32 << 10;

/// The largest size of a read or write: more is no faster.
const CHUNK_BYTES_MAX: usize = 128 << 10;

/// The packets that may wait for the pipe.
const OUTBOX_PACKETS: usize = 8;

/// The time limit for the last output of a connection that ended.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The reason why a connection can no longer be used.
#[derive(Debug, Clone)]
pub(super) enum Cut {
    /// The connection beneath ended.
    Link(LinkError),
    /// The server was silent for this long.
    Stalled(Duration),
    /// The server violated the protocol.
    Garbage(String),
    /// This process was asked to end, and waits no more.
    Over,
}

impl Cut {
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Cut::Link(LinkError { may_pass: true, .. }))
    }
}

/// The reason why a request failed.
#[derive(Debug, Clone)]
pub(super) enum Fail {
    /// The connection ended, so it is unknown whether the request was carried out.
    Cut(Cut),
    /// The server reported a failure.
    Status { code: u32, message: String },
}

impl Fail {
    pub(super) fn is(&self, wanted: u32) -> bool {
        matches!(self, Fail::Status { code, .. } if *code == wanted)
    }
}

/// The handle of a file or directory that the server holds open.
pub(super) type Handle = Vec<u8>;

/// A chunk of an object that is being sent. It is kept until it is known to be on the disk.
pub(super) type Chunk = Arc<Vec<u8>>;

struct Outgoing {
    header: Vec<u8>,
    chunk: Option<Chunk>,
}

#[derive(Default)]
struct State {
    next: u32,
    waiting: HashMap<u32, Sender<Reply>>,
    ended: Option<Cut>,
}

struct Shared {
    state: Mutex<State>,
    heard: Mutex<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Records why the connection ended, unless that is known, and wakes all waiting threads.
    fn end(&self, why: impl FnOnce() -> Cut) {
        if lock(&self.state).ended.is_none() {
            // It may take a moment, but answers can no longer come anyway.
            let why = why();
            let mut state = lock(&self.state);
            state.ended.get_or_insert(why);
        }
        lock(&self.state).waiting.clear();
    }
}

/// A request that was sent and may be waited for.
pub(super) struct Ticket {
    reply: Receiver<Reply>,
    sent: Instant,
}

fn start(work: impl FnOnce() + Send + 'static) -> Result<(), Cut> {
    let started = std::thread::Builder::new().spawn(work);
    started.map(drop).map_err(|error| {
        Cut::Link(LinkError {
            may_pass: false,
            reason: Arc::new(error),
        })
    })
}

/// One connection.
pub(super) struct Session {
    outbox: Sender<Outgoing>,
    shared: Arc<Shared>,
    /// Disconnected once nothing more will be read.
    over: Receiver<()>,
    link: Arc<dyn Link>,
    stall: Duration,
    ending: Ending,
    pub(super) can: Extensions,
    pub(super) read_bytes: usize,
    pub(super) write_bytes: usize,
}

impl Session {
    /// Connects, and agrees with the server on the protocol.
    pub(super) fn open(
        connector: &dyn Connect,
        stall: Duration,
        ending: Ending,
    ) -> Result<Session, Cut> {
        let Pipes { to, from, link } = connector.connect().map_err(Cut::Link)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            heard: Mutex::new(Instant::now()),
        });
        let (outbox, outgoing) = bounded(OUTBOX_PACKETS);
        let (greet, greeting) = bounded(1);
        let (reading, over) = bounded(0);
        start(move || write_all(to, &outgoing))?;
        let (shared_too, link_too) = (Arc::clone(&shared), Arc::clone(&link));
        start(move || {
            let why = read_all(from, &shared_too, &greet);
            drop(greet);
            shared_too.end(|| why.unwrap_or_else(|| Cut::Link(link_too.why())));
            drop(reading);
        })?;
        let mut session = Session {
            outbox,
            shared,
            over,
            link,
            stall,
            ending,
            can: Extensions::default(),
            read_bytes: CHUNK_BYTES_DEFAULT,
            write_bytes: CHUNK_BYTES_DEFAULT,
        };
        session.greet(&greeting)?;
        session.ask_limits()?;
        Ok(session)
    }

    fn greet(&mut self, greeting: &Receiver<Vec<u8>>) -> Result<(), Cut> {
        let header = Builder::new(kind::INIT).u32(3).finish(0);
        self.hand_over(Outgoing {
            header,
            chunk: None,
        })?;
        let greeted = self.ending.work().receive(greeting, self.stall);
        let packet = greeted.map_err(|why| self.gave_up(why))?;
        match wire::version(&packet) {
            Ok((3, extensions)) => {
                self.can = extensions;
                Ok(())
            }
            Ok((other, _)) => Err(Cut::Garbage(format!(
                "it speaks version {other} of SFTP, and version 3 is needed"
            ))),
            Err(wire::Malformed) => Err(Cut::Garbage(
                "its greeting is none of the SFTP protocol".to_owned(),
            )),
        }
    }

    fn ask_limits(&mut self) -> Result<(), Cut> {
        if !self.can.limits {
            return Ok(());
        }
        let answer = self.call(kind::EXTENDED, |b| b.string("limits@openssh.com"));
        let bytes = match answer {
            Ok(Reply::Extended(bytes)) => bytes,
            Err(Fail::Cut(cut)) => return Err(cut),
            _ => return Ok(()),
        };
        let mut parser = Parser::new(&bytes);
        if let (Ok(packet), Ok(read), Ok(write)) = (parser.u64(), parser.u64(), parser.u64()) {
            // Zero means no limit. A packet holds a little more than its data.
            let within = |limit: u64| match (limit, packet.saturating_sub(1024)) {
                (0, 0) => CHUNK_BYTES_MAX,
                (0, most) | (most, 0) => clamp(most),
                (limit, most) => clamp(limit.min(most)),
            };
            (self.read_bytes, self.write_bytes) = (within(read), within(write));
        }
        Ok(())
    }

    /// Returns whether the connection can still be used, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        lock(&self.shared.state).ended.is_none()
    }

    /// Sends a request without waiting for the answer.
    pub(super) fn start(
        &self,
        kind: u8,
        build: impl FnOnce(Builder) -> Builder,
    ) -> Result<Ticket, Fail> {
        self.send(kind, build, None)
    }

    /// Sends a piece of a file without waiting for the answer.
    pub(super) fn write(
        &self,
        handle: &Handle,
        offset: u64,
        chunk: &Chunk,
    ) -> Result<Ticket, Fail> {
        let count = wire::length(chunk.len());
        self.send(
            kind::WRITE,
            |b| b.string(handle).u64(offset).u32(count),
            Some(Arc::clone(chunk)),
        )
    }

    fn send(
        &self,
        kind: u8,
        build: impl FnOnce(Builder) -> Builder,
        chunk: Option<Chunk>,
    ) -> Result<Ticket, Fail> {
        let (answer, reply) = bounded(1);
        let id = {
            let mut state = lock(&self.shared.state);
            if let Some(cut) = &state.ended {
                return Err(Fail::Cut(cut.clone()));
            }
            let id = state.next;
            state.next = state.next.wrapping_add(1);
            state.waiting.insert(id, answer);
            id
        };
        let more = chunk.as_ref().map_or(0, |chunk| chunk.len());
        let header = build(Builder::new(kind).u32(id)).finish(more);
        self.hand_over(Outgoing { header, chunk })
            .map_err(Fail::Cut)?;
        Ok(Ticket {
            reply,
            sent: Instant::now(),
        })
    }

    fn hand_over(&self, outgoing: Outgoing) -> Result<(), Cut> {
        let sent = self
            .ending
            .clean_up()
            .send(&self.outbox, outgoing, self.stall);
        sent.map_err(|why| self.gave_up(why))
    }

    /// The reason for a wait that failed.
    fn gave_up(&self, why: NothingCame) -> Cut {
        match why {
            NothingCame::TimedOut => self.stalled(),
            NothingCame::Closed => self.cause(),
            NothingCame::Over => Cut::Over,
        }
    }

    /// Waits for the answer for as long as the server sends anything at all.
    pub(super) fn wait(&self, ticket: &Ticket) -> Result<Reply, Fail> {
        self.wait_for(&self.ending.work(), ticket)
    }

    /// Waits in the same way during the removal of unfinished objects.
    pub(super) fn clean_up(&self, ticket: &Ticket) -> Result<Reply, Fail> {
        self.wait_for(&self.ending.clean_up(), ticket)
    }

    fn wait_for(&self, wait: &Wait, ticket: &Ticket) -> Result<Reply, Fail> {
        loop {
            let since = (*lock(&self.shared.heard)).max(ticket.sent);
            let quiet = since.elapsed();
            let Some(left) = self.stall.checked_sub(quiet).filter(|d| !d.is_zero()) else {
                return Err(Fail::Cut(self.stalled()));
            };
            match wait.receive(&ticket.reply, left) {
                Ok(Reply::Status { code, message }) if code != status::OK => {
                    return Err(Fail::Status { code, message });
                }
                Ok(reply) => return Ok(reply),
                // Another thread may have received something meanwhile.
                Err(NothingCame::TimedOut) => {}
                Err(why) => return Err(Fail::Cut(self.gave_up(why))),
            }
        }
    }

    fn stalled(&self) -> Cut {
        self.shared.end(|| Cut::Stalled(self.stall));
        self.link.cut();
        self.cause()
    }

    /// Ends the connection because the server violated the protocol.
    fn garbage(&self, words: &str) -> Fail {
        self.shared.end(|| Cut::Garbage(words.to_owned()));
        self.link.cut();
        Fail::Cut(self.cause())
    }

    /// The reason why the connection ended, which may take a moment to find.
    fn cause(&self) -> Cut {
        if let Some(cut) = &lock(&self.shared.state).ended {
            return cut.clone();
        }
        if let Err(NothingCame::Over) = self.ending.clean_up().receive(&self.over, LAST_WORDS) {
            return Cut::Over;
        }
        let ended = lock(&self.shared.state).ended.clone();
        ended.unwrap_or_else(|| Cut::Link(LinkError::words(true, "the connection closed")))
    }

    /// Sends a request and waits for the answer.
    pub(super) fn call(
        &self,
        kind: u8,
        build: impl FnOnce(Builder) -> Builder,
    ) -> Result<Reply, Fail> {
        self.wait(&self.start(kind, build)?)
    }

    /// Sends a request and waits until it is carried out.
    pub(super) fn order(
        &self,
        kind: u8,
        build: impl FnOnce(Builder) -> Builder,
    ) -> Result<(), Fail> {
        let ticket = self.start(kind, build)?;
        self.done(&ticket)
    }

    /// Waits for the answer that a request was carried out.
    pub(super) fn done(&self, ticket: &Ticket) -> Result<(), Fail> {
        match self.wait(ticket)? {
            Reply::Status { .. } => Ok(()),
            _ => Err(self.garbage("it answered something else than was asked")),
        }
    }

    /// Waits for a handle.
    pub(super) fn handle(&self, ticket: &Ticket) -> Result<Handle, Fail> {
        match self.wait(ticket)? {
            Reply::Handle(handle) => Ok(handle),
            _ => Err(self.garbage("it answered something else than was asked")),
        }
    }

    /// Opens a file.
    pub(super) fn open_file(&self, path: &str, flags: u32) -> Result<Handle, Fail> {
        let ticket = self.start(kind::OPEN, |b| b.string(path).u32(flags).mode(0o600))?;
        self.handle(&ticket)
    }

    /// Closes a file without waiting for the answer.
    pub(super) fn close(&self, handle: &Handle) {
        // A connection that is gone has closed the file.
        let _ = self.start(kind::CLOSE, |b| b.string(handle));
    }

    /// Returns what the server reports about a path or handle; `None` if it does not exist.
    pub(super) fn attributes(
        &self,
        kind: u8,
        of: impl AsRef<[u8]>,
    ) -> Result<Option<Attributes>, Fail> {
        match self.call(kind, |b| b.string(of)) {
            Ok(Reply::Attributes(found)) => Ok(Some(found)),
            Ok(_) => Err(self.garbage("it answered something else than was asked")),
            Err(fail) if fail.is(status::NO_SUCH_FILE) => Ok(None),
            Err(fail) => Err(fail),
        }
    }

    /// Asks the server to sync a file to its disk; `None` if it does not support that.
    pub(super) fn start_sync(&self, handle: &Handle) -> Result<Option<Ticket>, Fail> {
        if !self.can.sync {
            return Ok(None);
        }
        let ticket = self.start(kind::EXTENDED, |b| {
            b.string("fsync@openssh.com").string(handle)
        })?;
        Ok(Some(ticket))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared
            .end(|| Cut::Link(LinkError::words(true, "the connection was closed")));
        self.link.cut();
    }
}

fn clamp(bytes: u64) -> usize {
    usize::try_from(bytes).map_or(CHUNK_BYTES_MAX, |bytes| bytes.clamp(1024, CHUNK_BYTES_MAX))
}

/// Sends packets until there is no sender left, or the pipe closes.
fn write_all(mut to: Box<dyn Write + Send>, outgoing: &Receiver<Outgoing>) {
    while let Ok(Outgoing { header, chunk }) = outgoing.recv() {
        let chunk = chunk.as_ref().map_or(&[][..], |chunk| chunk.as_slice());
        let sent = to
            .write_all(&header)
            .and_then(|()| to.write_all(chunk))
            .and_then(|()| to.flush());
        if sent.is_err() {
            return;
        }
    }
}

/// Hands out answers until the pipe closes. Returns the error if an answer was wrong.
fn read_all(
    mut from: Box<dyn Read + Send>,
    shared: &Shared,
    greet: &Sender<Vec<u8>>,
) -> Option<Cut> {
    let mut greeted = false;
    loop {
        let packet = match read_packet(&mut *from) {
            Ok(packet) => packet?,
            Err(garbage) => return Some(Cut::Garbage(garbage)),
        };
        *lock(&shared.heard) = Instant::now();
        if !greeted {
            greeted = true;
            let _ = greet.try_send(packet);
            continue;
        }
        let Ok((id, reply)) = wire::reply(packet) else {
            return Some(Cut::Garbage("it sent a malformed packet".to_owned()));
        };
        match lock(&shared.state).waiting.remove(&id) {
            // Perhaps nobody waits for it any more.
            Some(waiting) => drop(waiting.try_send(reply)),
            None => return Some(Cut::Garbage("it answered what was not asked".to_owned())),
        }
    }
}

/// Reads the next packet; `None` if the pipe closed. The error tells what is wrong with it.
fn read_packet(from: &mut dyn Read) -> Result<Option<Vec<u8>>, String> {
    let mut length = [0; 4];
    if from.read_exact(&mut length).is_err() {
        return Ok(None);
    }
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if bytes > PACKET_BYTES_MAX || bytes == 0 {
        let text = String::from_utf8_lossy(&length);
        return Err(match text.chars().all(|c| !c.is_control()) {
            true => format!(
                "it printed {text:?}… where the SFTP protocol should begin: let its login scripts print nothing without a terminal"
            ),
            false => format!("it announced a packet of {bytes} bytes"),
        });
    }
    let mut packet = vec![0; bytes];
    match from.read_exact(&mut packet) {
        Ok(()) => Ok(Some(packet)),
        Err(_) => Ok(None),
    }
}
