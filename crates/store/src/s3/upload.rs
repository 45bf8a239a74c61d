//! Sends an object: in one request if it is small, otherwise in equal parts, each hashed on its
//! way. Nothing is visible until the last request succeeds. Any earlier failure also removes the
//! parts that were sent.

use super::S3Store;
use super::confirm::{Sent, TICKET};
use super::refusal::refusal;
use crate::ending::interrupted;
use crate::lock::{Retained, Unlocked};
use crate::read::fill;
use crate::runtime::{self, within};
use crate::{PutOptions, Receipt, StoreError};
use bytes::Bytes;
use opendal::{Metadata, Writer};
use std::io::Read;
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// The size of a part, unless the object would then need too many parts.
const PART_BYTES: usize = 16 << 20;
/// Objects expected to be at most this large are sent in smaller parts, with less memory: packs
/// are, one after another, while other work needs memory too.
const MODEST_BYTES: u64 = 128 << 20;
/// The size of those parts, and the number in flight.
const MODEST: Plan = Plan {
    part_bytes: 8 << 20,
    in_flight: 2,
};
/// The most parts that an object may have; a limit of S3.
const PARTS_MAX: usize = 10_000;
/// The most parts planned for the hinted size; the rest is for hints that are too small.
const PARTS_PLANNED: u64 = 8_000;
/// The memory for parts: those in flight, one that OpenDAL holds back, and the one being filled.
const MEMORY_BYTES: usize = 64 << 20;

/// The most bytes sent in one request when they are in memory anyway.
pub(super) const WHOLE_BYTES_MAX: usize = 64 << 20;

/// The way in which an object is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    part_bytes: usize,
    in_flight: usize,
}

impl Plan {
    fn new(bytes_hint: Option<u64>) -> Self {
        if bytes_hint.is_some_and(|bytes| bytes <= MODEST_BYTES) {
            return MODEST;
        }
        let needed = bytes_hint.unwrap_or(0).div_ceil(PARTS_PLANNED);
        let needed = needed.next_multiple_of(1 << 20);
        let part_bytes = usize::try_from(needed).unwrap_or(PART_BYTES);
        let part_bytes = part_bytes.max(PART_BYTES);
        let in_flight = (MEMORY_BYTES / part_bytes).saturating_sub(2).max(1);
        Plan {
            part_bytes,
            in_flight,
        }
    }
}

/// Sends `body` as the object `key`, and has the server confirm it.
pub(super) fn put(
    store: &S3Store,
    key: &str,
    body: &mut (dyn Read + Send),
    options: &PutOptions,
    ticket: Option<String>,
) -> Result<Receipt, StoreError> {
    let plan = Plan::new(options.bytes_hint);
    let pool = Pool::default();
    let mut sent = Sent::new(store.opaque_etags, ticket);
    let first = next_part(key, body, &pool, plan, &mut sent)?;
    let whole = first.len() < plan.part_bytes;
    let conditional = options.if_absent && !store.unconditional.load(Ordering::Relaxed);
    let mut sink = Sink::open(store, key, plan, conditional, &sent)?;
    sink.write(first.clone())?;
    if !whole {
        drop(first);
        send_rest(&mut sink, key, body, &pool, plan, &mut sent)?;
        return sink.finish(&sent);
    }
    match sink.finish(&sent) {
        Err(_) if conditional && store.unconditional.load(Ordering::Relaxed) => {
            // The server has just said that it does not support conditions; the check before is all
            // there is.
            let mut sink = Sink::open(store, key, plan, false, &sent)?;
            sink.write(first)?;
            sink.finish(&sent)
        }
        other => other,
    }
}

/// Sends bytes that are in memory in one request. They are hashed while they are sent.
pub(super) fn put_whole(
    store: &S3Store,
    key: &str,
    body: Bytes,
    ticket: Option<String>,
) -> Result<Receipt, StoreError> {
    let mut sent = Sent::new(store.opaque_etags, ticket);
    let mut sink = Sink::open(store, key, MODEST, false, &sent)?;
    sink.write(body.clone())?;
    let answer = sink.close(|| {
        if !body.is_empty() {
            sent.part(&body);
        }
    })?;
    // Frees the memory before the server is asked what it has.
    drop(body);
    sink.settle(&sent, answer)
}

/// Sends every part after the first. If it fails, dropping the sink aborts the upload.
fn send_rest(
    sink: &mut Sink<'_>,
    key: &str,
    body: &mut (dyn Read + Send),
    pool: &Pool,
    plan: Plan,
    sent: &mut Sent,
) -> Result<(), StoreError> {
    for _ in 1..PARTS_MAX {
        let part = next_part(key, body, pool, plan, sent)?;
        let last = part.len() < plan.part_bytes;
        if !part.is_empty() {
            sink.write(part)?;
        }
        if last {
            return Ok(());
        }
    }
    let mut one = [0];
    match body.read(&mut one) {
        Ok(0) => Ok(()),
        Ok(_) => Err(StoreError::Other {
            location: sink.store.location.clone(),
            detail: format!(
                "{key:?} is larger than {PARTS_MAX} parts of {} bytes; its size was expected to \
                 be smaller",
                plan.part_bytes
            ),
        }),
        Err(source) => Err(StoreError::Body {
            key: key.to_owned(),
            source,
        }),
    }
}

/// Reads and hashes a part. Only the last part of a body is shorter than planned.
fn next_part(
    key: &str,
    body: &mut (dyn Read + Send),
    pool: &Pool,
    plan: Plan,
    sent: &mut Sent,
) -> Result<Bytes, StoreError> {
    let mut part = pool.take();
    fill(body, &mut part.bytes, plan.part_bytes).map_err(|source| StoreError::Body {
        key: key.to_owned(),
        source,
    })?;
    if !part.bytes.is_empty() {
        sent.part(&part.bytes);
    }
    Ok(Bytes::from_owner(part))
}

/// The answer of the server to a complete upload.
type Answer = Result<Metadata, opendal::Error>;

/// An upload in progress.
struct Sink<'a> {
    store: &'a S3Store,
    key: &'a str,
    conditional: bool,
    /// The lock that the object gets.
    asked: Option<Retained>,
    writer: Option<Writer>,
}

impl<'a> Sink<'a> {
    fn open(
        store: &'a S3Store,
        key: &'a str,
        plan: Plan,
        conditional: bool,
        sent: &Sent,
    ) -> Result<Self, StoreError> {
        let asked = store.asked_lock(key);
        let retaining = store.retaining.as_ref().filter(|_| asked.is_some());
        let operator = retaining.unwrap_or(&store.operator).clone();
        let path = key.to_owned();
        let ticket = sent.ticket.clone();
        let writer = runtime::run(store.place.ending.work(), &store.location, async move {
            let mut writing = operator
                .writer_with(&path)
                .concurrent(plan.in_flight)
                .if_not_exists(conditional);
            if let Some(ticket) = ticket {
                writing = writing.user_metadata([(TICKET.to_owned(), ticket)]);
            }
            writing.await
        })?;
        Ok(Sink {
            store,
            key,
            conditional,
            asked,
            writer: Some(writer.map_err(|e| store.error(&e, key))?),
        })
    }

    fn write(&mut self, part: Bytes) -> Result<(), StoreError> {
        let wait = self.store.place.ending.work();
        let write = |mut writer: Writer| async move {
            let answer = within(wait, writer.write(part)).await;
            (writer, answer)
        };
        let answer = self.with(write, || ())?;
        answer.map_err(|e| self.store.error(&e, self.key))
    }

    /// Completes the upload, and asks the server what it has.
    fn finish(mut self, sent: &Sent) -> Result<Receipt, StoreError> {
        let answer = self.close(|| ())?;
        self.settle(sent, answer)
    }

    /// Completes the upload, while other work runs.
    fn close(&mut self, beside: impl FnOnce()) -> Result<Answer, StoreError> {
        let wait = self.store.place.ending.work();
        let close = |mut writer: Writer| async move {
            let answer = within(wait, writer.close()).await;
            (writer, answer)
        };
        self.with(close, beside)
    }

    /// Decides by the answer to [`Sink::close`] whether the object is stored.
    fn settle(mut self, sent: &Sent, answer: Answer) -> Result<Receipt, StoreError> {
        match answer {
            Ok(answered) => {
                // Nothing is left to abort.
                self.writer = None;
                self.confirm(sent, &answered)
            }
            Err(error) => self.judge(sent, &error),
        }
    }

    fn confirm(&self, sent: &Sent, answered: &Metadata) -> Result<Receipt, StoreError> {
        let differs = |expected, observed| StoreError::Unconfirmed {
            location: self.store.location.clone(),
            key: self.key.to_owned(),
            expected,
            observed,
        };
        match self.store.head(self.key) {
            Ok(Some(metadata)) => match sent.confirm(&metadata) {
                Ok(()) => {
                    // Some servers do not tell the version when they join parts.
                    let ours = sent.is_ours(&metadata);
                    let told = metadata.version().filter(|_| ours);
                    let version = answered.version().or(told);
                    self.receipt(sent, version, Some(&metadata))
                }
                Err((expected, observed)) => Err(differs(expected, observed)),
            },
            Ok(None) => Err(differs(format!("{} bytes", sent.bytes), "nothing".into())),
            // Keys that may only write are a good idea, and the hash in the answer is proof enough.
            Err(StoreError::Denied { .. }) if sent.hash_agrees(answered) => {
                self.receipt(sent, answered.version(), None)
            }
            Err(error) => Err(error),
        }
    }

    /// The receipt of an object that is stored, and locked if it should be. `seen` is what the server
    /// says of what is under the key.
    fn receipt(
        &self,
        sent: &Sent,
        version: Option<&str>,
        seen: Option<&Metadata>,
    ) -> Result<Receipt, StoreError> {
        if let Some(asked) = &self.asked {
            self.store.check_lock(self.key, version, seen, asked)?;
        }
        Ok(Receipt {
            bytes: sent.bytes,
            version: version.map(str::to_owned),
        })
    }

    /// Handles a completing request that failed: it may have been carried out, and only its answer
    /// lost.
    fn judge(self, sent: &Sent, error: &opendal::Error) -> Result<Receipt, StoreError> {
        let status = refusal(error).map(|r| r.status);
        if self.conditional && refusal(error).is_some_and(|r| r.is_unimplemented()) {
            self.store.unconditional.store(true, Ordering::Relaxed);
            return Err(self.store.error(error, self.key));
        }
        let exists = match status {
            // Refused for an unambiguous reason. With several parts, the server accepted the others
            // before; so a 403 may refer to the upload, which is complete and gone.
            Some(300..=402 | 405..=408 | 413..=499) => false,
            Some(403) if sent.is_single() => false,
            // The server never answered, and another request would only take time.
            _ if !self.store.reached.load(Ordering::Relaxed) => false,
            _ => match self.store.head(self.key) {
                Ok(Some(metadata)) if sent.is_ours(&metadata) => {
                    return self.receipt(sent, metadata.version(), Some(&metadata));
                }
                Ok(found) => found.is_some(),
                Err(_) => false,
            },
        };
        match status {
            Some(412) if self.conditional => Err(self.store.already_exists(self.key)),
            Some(409) if self.conditional && exists => Err(self.store.already_exists(self.key)),
            _ if self.asked.is_some() && refusal(error).is_some_and(|r| r.is_unimplemented()) => {
                let why =
                    Unlocked::Refused(refusal(error).map_or(String::new(), ToString::to_string));
                Err(self.store.unlocked(self.key, why))
            }
            _ => Err(self.store.error(error, self.key)),
        }
    }

    /// Lends the writer to work on the runtime, while other work runs.
    fn with<T, F, W>(&mut self, work: W, beside: impl FnOnce()) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = (Writer, Option<T>)> + Send + 'static,
        W: FnOnce(Writer) -> F,
    {
        let writer = self.writer.take().ok_or_else(|| StoreError::Other {
            location: self.store.location.clone(),
            detail: format!("the upload of {:?} was given up before", self.key),
        })?;
        let location = &self.store.location;
        let (writer, answer) = runtime::run_beside(location, work(writer), beside)?;
        self.writer = Some(writer);
        answer.ok_or_else(|| interrupted(location))
    }
}

impl Drop for Sink<'_> {
    /// Removes the parts of an upload that did not finish. If this fails too, only the bucket's
    /// lifecycle rule for incomplete uploads removes them.
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            let abort = async move { writer.abort().await };
            let _ = runtime::run(
                self.store.place.ending.clean_up(),
                &self.store.location,
                abort,
            );
        }
    }
}

/// Buffers for parts, reused so that memory neither grows nor fragments.
#[derive(Default, Clone)]
struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer that returns to its pool when its last reader is done.
struct Part {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Pool {
    fn take(&self) -> Part {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = free.pop().unwrap_or_default();
        bytes.clear();
        Part {
            bytes,
            pool: self.clone(),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(bytes);
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_with_the_object_but_memory_does_not() {
        let small = Plan::new(None);
        assert_eq!(small.part_bytes, PART_BYTES);
        assert_eq!(small.in_flight, 2);
        assert_eq!(Plan::new(Some(100 << 30)), small);
        assert_eq!(Plan::new(Some(64 << 20)), MODEST);
        let memory = MODEST.part_bytes * (MODEST.in_flight + 2);
        assert!(memory <= MEMORY_BYTES / 2);
        for gib in [200_u64, 250, 1_000, 5_000] {
            let plan = Plan::new(Some(gib << 30));
            let parts = (gib << 30).div_ceil(plan.part_bytes as u64);
            assert!(parts <= PARTS_PLANNED, "{gib} GiB in {parts} parts");
            assert!(plan.in_flight == 1 || plan.part_bytes * (plan.in_flight + 2) <= MEMORY_BYTES);
        }
    }
}
