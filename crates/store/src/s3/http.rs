//! HTTP for the S3 client. Every wait is bounded: to connect, to send, for an answer, and for each
//! piece of it. A refusal keeps the code that the server gave. Redirects are not followed, because
//! a signature is valid for one host only.

use super::call::Call;
use super::refusal::{Broken, Refusal};
use super::wire::{Unanswered, Wire, is_proxied};
use crate::aws::Credentials;
use crate::health::{Health, Patience};
use crate::sign::{self, Signer};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The time for which an idle connection is kept.
const POOL_TIMEOUT: Duration = Duration::from_secs(20);
/// The time between checks for progress.
const TICK: Duration = Duration::from_millis(200);
/// The attempts to connect to a server that never answered.
const FIRST_CONNECTS_MAX: u32 = 2;
/// The size of the pieces in which a body is sent; each one sent is progress.
const PIECE_BYTES: usize = 128 << 10;
/// The longest error document that is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// The longest answer that is kept in memory: anything but the content of an object. A page of a
/// thousand objects is far below it.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// The longest such answer if the request names a page size: fifty thousand objects with the
/// longest keys.
const LARGE_PAGE_BYTES_MAX: u64 = 192 << 20;

/// Marks an object that the server encrypted so that its ETag is not an MD5. It is added to the
/// user metadata from response headers; it is never sent or stored.
pub(super) const OPAQUE_ETAG: &str = "lifeboat-opaque-etag";
/// The time until which an object is locked, passed on in the same way.
pub(super) const LOCKED_UNTIL: &str = "lifeboat-locked-until";
/// The mode of that lock, in the same way.
pub(super) const LOCK_MODE: &str = "lifeboat-lock-mode";
/// Marks an object that is under a legal hold, in the same way.
pub(super) const LEGAL_HOLD: &str = "lifeboat-legal-hold";

/// The HTTP transport beneath OpenDAL.
pub(super) struct Http {
    client: Client,
    /// True once this server has answered.
    reached: Arc<AtomicBool>,
    failed_connects: AtomicU32,
    patience: Patience,
    health: Arc<Mutex<Health>>,
    /// What signs the requests; `None` for somebody without credentials.
    signing: Option<Signing>,
}

/// What signs requests.
#[derive(Clone)]
pub(super) struct Signing {
    pub(super) credentials: Credentials,
    pub(super) region: String,
    /// The path of the bucket: `/bucket`, or empty if the host names the bucket.
    pub(super) bucket: String,
    pub(super) service: &'static str,
}

impl Signing {
    /// Signs a request that is in the table of calls, and says which it is.
    async fn admit(&self, parts: &mut Parts) -> Result<Call, Error> {
        let call = Call::of(&parts.method, &parts.uri, &self.bucket);
        let call = call.ok_or_else(|| {
            let what = format!("{} of that kind is no call of Lifeboat", parts.method);
            Error::new(ErrorKind::Unsupported, what)
        })?;
        self.sign(parts).await?;
        Ok(call)
    }

    /// Adds the signature. A body whose SHA-256 is not among the headers is not signed: the connection
    /// and the check of what was stored protect it.
    async fn sign(&self, parts: &mut Parts) -> Result<(), Error> {
        let keys = self.credentials.current().await.map_err(|error| {
            Error::new(ErrorKind::Unexpected, error.to_string()).set_source(error)
        })?;
        if let Some(uri) = sign::canonical(&parts.uri) {
            parts.uri = uri;
        }
        let known = parts.headers.get("x-amz-content-sha256").cloned();
        let payload = known.as_ref().and_then(|value| value.to_str().ok());
        let signed = sign::Parts {
            method: &parts.method,
            host: sign::host_of(&parts.uri),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            payload: payload.unwrap_or(sign::UNSIGNED),
        };
        let signer = Signer::new(&keys, &self.region, self.service);
        signer.sign(&signed, &mut parts.headers, jiff::Timestamp::now());
        Ok(())
    }
}

enum Client {
    Direct(Wire),
    /// For environments that name a proxy, which [`Wire`] does not support.
    Proxied(reqwest::Client),
}

impl Http {
    /// `stall` bounds every wait, all attempts together.
    pub(super) fn new(
        reached: Arc<AtomicBool>,
        stall: Duration,
        signing: Option<Signing>,
    ) -> Result<Self, String> {
        let patience = Patience { stall };
        // Another part of the program may have installed one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = match is_proxied() {
            true => Client::Proxied(proxied(patience)?),
            false => Client::Direct(Wire::new(patience.connect(), POOL_TIMEOUT)?),
        };
        Ok(Http {
            client,
            reached,
            failed_connects: AtomicU32::new(0),
            patience,
            health: Arc::new(Mutex::new(Health::new(patience))),
            signing,
        })
    }

    /// Returns whether the path of a URL is sent unchanged, even with `..` in it.
    pub(super) fn keeps_paths(&self) -> bool {
        matches!(self.client, Client::Direct(_))
    }

    fn unless_given_up(&self) -> Result<(), Error> {
        let stall = self.patience.stall.as_secs();
        match lock(&self.health).is_given_up(Instant::now()) {
            true => Err(broken(format!(
                "it said nothing for {stall} s, and was given up"
            ))),
            false => Ok(()),
        }
    }

    /// The error of a request without an answer. It is temporary, unless the server seems absent or
    /// has failed for too long.
    fn broken(&self, error: &Unanswered) -> Error {
        let again = lock(&self.health).failed(Instant::now());
        let absent = error.is_connect && !self.reached.load(Ordering::Relaxed) && {
            self.failed_connects.fetch_add(1, Ordering::Relaxed) + 1 >= FIRST_CONNECTS_MAX
        };
        broken(error.detail.clone()).with_temporary(again && !absent && !error.is_hopeless)
    }

    /// Sends a request by the connections that this environment asks for.
    async fn carry(
        &self,
        parts: Parts,
        sent: Option<reqwest::Body>,
        progress: &AtomicU64,
        joins_parts: bool,
    ) -> Result<reqwest::Response, Error> {
        match &self.client {
            Client::Direct(wire) => {
                let mut request = Request::new(sent.unwrap_or_else(|| Bytes::new().into()));
                *request.method_mut() = parts.method;
                *request.uri_mut() = parts.uri;
                *request.headers_mut() = parts.headers;
                self.answer(wire.send(request), progress, joins_parts).await
            }
            Client::Proxied(client) => {
                let uri = parts.uri.to_string();
                let request = client.request(parts.method, uri).headers(parts.headers);
                let request = match sent {
                    Some(body) => request.body(body),
                    None => request,
                };
                let sending = async {
                    request.send().await.map_err(|error| Unanswered {
                        detail: chain(&error),
                        is_connect: error.is_connect(),
                        is_hopeless: error.is_builder(),
                    })
                };
                self.answer(sending, progress, joins_parts).await
            }
        }
    }

    async fn answer(
        &self,
        request: impl Future<Output = Result<reqwest::Response, Unanswered>>,
        progress: &AtomicU64,
        joins_parts: bool,
    ) -> Result<reqwest::Response, Error> {
        let mut sending = std::pin::pin!(request);
        let reached = self.reached.load(Ordering::Relaxed);
        let patience = match (reached, joins_parts) {
            // Some servers join parts by copying them, and are silent meanwhile.
            (_, true) => self.patience.stall,
            (true, false) => self.patience.idle(),
            (false, false) => self.patience.first(),
        };
        let (mut seen, mut moved) = (0, Instant::now());
        loop {
            match tokio::time::timeout(TICK, &mut sending).await {
                Ok(Ok(response)) => {
                    self.reached.store(true, Ordering::Relaxed);
                    return Ok(response);
                }
                Ok(Err(error)) => return Err(self.broken(&error)),
                Err(_) => {}
            }
            let now = progress.load(Ordering::Relaxed);
            if now != seen {
                (seen, moved) = (now, Instant::now());
            } else if moved.elapsed() >= patience {
                let again = lock(&self.health).was_silent(Instant::now(), patience);
                return Err(silence(patience).with_temporary(reached && again));
            }
        }
    }

    /// Reads the reason for a refusal, and waits as long as the server requests, within bounds.
    async fn refused(
        &self,
        call: Option<Call>,
        status: StatusCode,
        headers: &header::HeaderMap,
        response: reqwest::Response,
    ) -> Error {
        let mut text = Vec::new();
        let mut body = response.bytes_stream();
        let idle = self.patience.idle();
        while let Ok(Some(Ok(piece))) = tokio::time::timeout(idle, body.next()).await {
            let room = REFUSAL_BYTES_MAX.saturating_sub(text.len());
            text.extend(piece.iter().take(room));
            if text.len() >= REFUSAL_BYTES_MAX {
                break;
            }
        }
        let region = headers
            .get("x-amz-bucket-region")
            .and_then(|v| v.to_str().ok());
        let text = String::from_utf8_lossy(&text);
        let refusal = Refusal::new(status.as_u16(), &text, region).of(call);
        let renews = match &self.signing {
            Some(Signing { credentials, .. }) if refusal.is_expired() => {
                credentials.expired().await
            }
            Some(Signing { credentials, .. }) if refusal.is_mute() => {
                credentials.may_have_expired().await
            }
            _ => false,
        };
        let error = refusal.into_error();
        if renews {
            lock(&self.health).answered();
            return error.set_temporary();
        }
        if !error.is_temporary() {
            lock(&self.health).answered();
            return error;
        }
        let now = Instant::now();
        let (again, pause) = {
            let mut health = lock(&self.health);
            (health.failed(now), health.pause(now, retry_after(headers)))
        };
        if again && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        match again {
            true => error,
            false => error.set_permanent(),
        }
    }
}

/// The time that a busy server asks clients to wait. A date is ignored: clocks differ, and the
/// usual delay follows anyway.
fn retry_after(headers: &header::HeaderMap) -> Duration {
    let seconds = headers
        .get(header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

fn lock(health: &Mutex<Health>) -> MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpTransport for Http {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>, Error> {
        self.unless_given_up()?;
        let (mut parts, body) = request.into_parts();
        let call = match &self.signing {
            Some(signing) => Some(signing.admit(&mut parts).await?),
            None => None,
        };
        let (query, head) = (
            parts.uri.query().unwrap_or_default(),
            parts.method == Method::HEAD,
        );
        let joins_parts = parts.method == Method::POST && query.starts_with("uploadId=");
        let brings_nothing = !matches!(parts.method, Method::GET | Method::POST);
        let bytes_max = bytes_max(&parts.method, query);
        let wanted = parts.headers.get(header::IF_MATCH).cloned();
        let progress = Arc::new(AtomicU64::new(0));
        let sent = (!body.is_empty()).then(|| {
            reqwest::Body::wrap(Sending {
                current: Bytes::new(),
                rest: body,
                progress: Arc::clone(&progress),
            })
        });
        let answered = self.carry(parts, sent, &progress, joins_parts).await;
        let mut response = answered?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        if !status.is_success() {
            return Err(self.refused(call, status, &headers, response).await);
        }
        if brings_nothing {
            lock(&self.health).answered();
        }
        if wanted.is_some_and(|wanted| headers.get(header::ETAG).is_some_and(|e| *e != wanted)) {
            // A server that does not support the condition would mix two objects into one.
            return Err(Refusal::changed().into_error());
        }
        let mut out = Response::builder().status(status);
        if let Some(to) = out.headers_mut() {
            *to = headers;
            if head {
                pass_on(to);
            }
        }
        let length = out
            .headers_ref()
            .filter(|_| !head)
            .and_then(|h| h.get(header::CONTENT_LENGTH))
            .and_then(|v| v.to_str().ok()?.parse().ok());
        let answer = Incoming {
            response: Box::pin(response.bytes_stream()),
            idle: self.patience.idle(),
            health: Arc::clone(&self.health),
            room: bytes_max,
        };
        out.body(HttpBody::new(answer.receive(), length))
            .map_err(|e| broken(e.to_string()))
    }
}

/// The longest acceptable answer; `None` for the content of an object, which is read piece by
/// piece.
fn bytes_max(method: &Method, query: &str) -> Option<u64> {
    let is_object = query
        .split('&')
        .all(|part| part.is_empty() || part.starts_with("versionId="));
    match *method == Method::GET && is_object {
        true => None,
        false if query.split('&').any(|part| part.starts_with("max-keys=")) => {
            Some(LARGE_PAGE_BYTES_MAX)
        }
        false => Some(ANSWER_BYTES_MAX),
    }
}

/// A client that uses the proxies of this user's environment.
fn proxied(patience: Patience) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .connect_timeout(patience.connect())
        .pool_idle_timeout(POOL_TIMEOUT)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| chain(&e))
}

/// The body of a response.
struct Incoming<S> {
    response: Pin<Box<S>>,
    idle: Duration,
    health: Arc<Mutex<Health>>,
    /// The bytes that may still come, if that is bounded.
    room: Option<u64>,
}

impl<S> Incoming<S>
where
    S: Stream<Item = Result<Bytes, reqwest::Error>> + Send + Sync + 'static,
{
    /// Receives the pieces, waiting for each for a bounded time.
    fn receive(self) -> impl Stream<Item = Result<Buffer, Error>> + Send + Sync + Unpin + 'static {
        Box::pin(stream::unfold(Some(self), |incoming| async move {
            let mut incoming = incoming?;
            let bytes = |piece: &Bytes| piece.len() as u64;
            let next = tokio::time::timeout(incoming.idle, incoming.response.next()).await;
            let now = Instant::now();
            let mut health = lock(&incoming.health);
            let piece = match next {
                Ok(None) => {
                    health.answered();
                    return None;
                }
                Ok(Some(Ok(piece))) if incoming.room.is_some_and(|room| bytes(&piece) > room) => {
                    Err(broken(
                        "its answer has no end, or is far too long".to_owned(),
                    ))
                }
                Ok(Some(Ok(piece))) => {
                    health.received(bytes(&piece));
                    incoming.room = incoming.room.map(|room| room - bytes(&piece));
                    Ok(Buffer::from(piece))
                }
                Ok(Some(Err(error))) => {
                    Err(broken(chain(&error)).with_temporary(health.failed(now)))
                }
                Err(_) => {
                    let again = health.was_silent(now, incoming.idle);
                    Err(silence(incoming.idle).with_temporary(again))
                }
            };
            drop(health);
            let rest = piece.is_ok().then_some(incoming);
            Some((piece, rest))
        }))
    }
}

/// Adds to the user metadata of an object what OpenDAL would drop. User metadata of these names
/// that came with the object is removed: whoever stored it could lie.
fn pass_on(headers: &mut header::HeaderMap) {
    let of_server = |name: &str| headers.get(name).cloned();
    let known = [
        (
            OPAQUE_ETAG,
            opaque_etag(headers).then(|| header::HeaderValue::from_static("true")),
        ),
        (
            LOCKED_UNTIL,
            of_server("x-amz-object-lock-retain-until-date"),
        ),
        (LOCK_MODE, of_server("x-amz-object-lock-mode")),
        (
            LEGAL_HOLD,
            of_server("x-amz-object-lock-legal-hold").filter(|v| v.as_bytes() == b"ON"),
        ),
    ];
    for (name, value) in known {
        let name = header::HeaderName::try_from(format!("x-amz-meta-{name}"));
        match (name, value) {
            (Ok(name), Some(value)) => drop(headers.insert(name, value)),
            (Ok(name), None) => drop(headers.remove(name)),
            (Err(_), _) => {}
        }
    }
}

/// Returns whether the ETag of a response is not an MD5, although it may look like one.
fn opaque_etag(headers: &header::HeaderMap) -> bool {
    let kms = headers
        .get("x-amz-server-side-encryption")
        .is_some_and(|v| v.as_bytes().starts_with(b"aws:kms"));
    kms || headers.contains_key("x-amz-server-side-encryption-customer-algorithm")
}

fn silence(timeout: Duration) -> Error {
    broken(format!("no answer for {} s", timeout.as_secs()))
}

fn broken(detail: String) -> Error {
    Error::new(ErrorKind::Unexpected, detail.clone()).set_source(Broken(detail))
}

/// The texts of an error and its sources, without the URL, which the location shows already.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(error) = next {
        words.push(error.to_string());
        next = error.source();
    }
    words.dedup();
    match words.as_slice() {
        [] => error.to_string(),
        _ => words.join(": "),
    }
}

/// A request body of known length that counts how much of it was sent.
struct Sending {
    current: Bytes,
    rest: Buffer,
    progress: Arc<AtomicU64>,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while self.current.is_empty() {
            match Iterator::next(&mut self.rest) {
                Some(bytes) => self.current = bytes,
                None => return Poll::Ready(None),
            }
        }
        let length = self.current.len().min(PIECE_BYTES);
        let piece = self.current.split_to(length);
        self.progress.fetch_add(length as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.current.is_empty() && self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.current.len() + self.rest.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(
        room: Option<u64>,
    ) -> Incoming<impl Stream<Item = Result<Bytes, reqwest::Error>> + Send + Sync + 'static> {
        let piece = Bytes::from(vec![b'A'; 1 << 20]);
        let patience = Patience {
            stall: Duration::from_secs(60),
        };
        Incoming {
            response: Box::pin(stream::repeat_with(move || Ok(piece.clone()))),
            idle: patience.idle(),
            health: Arc::new(Mutex::new(Health::new(patience))),
            room,
        }
    }

    #[test]
    fn only_an_object_may_be_longer_than_what_fits_into_memory() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listing = bytes_max(&Method::GET, "list-type=2&prefix=lifeboat%2F");
            let pieces: Vec<_> = incoming(listing).receive().take(20).collect().await;
            assert_eq!(pieces.len(), 17, "it ends with the piece that is too much");
            let error = pieces.last().unwrap().as_ref().unwrap_err();
            assert!(!error.is_temporary(), "it is not asked for again: {error}");
            let object = bytes_max(&Method::GET, "");
            let pieces: Vec<_> = incoming(object).receive().take(20).collect().await;
            assert!(pieces.iter().all(Result::is_ok));
        });
        assert_eq!(bytes_max(&Method::GET, "versionId=x"), None);
        let large = bytes_max(&Method::GET, "list-type=2&max-keys=50000");
        assert!(large > listing_max(), "{large:?}");
        for query in ["uploads=", "policyStatus"] {
            assert_eq!(bytes_max(&Method::GET, query), listing_max(), "{query}");
        }
        assert_eq!(bytes_max(&Method::PUT, ""), listing_max());
    }

    fn listing_max() -> Option<u64> {
        bytes_max(&Method::GET, "list-type=2")
    }
}
