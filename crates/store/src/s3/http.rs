//! HTTP for the S3 client. Every wait is bounded: to connect, to send, for an answer, and for
//! each piece of it; a refusal keeps the code the server gave. Redirections are not followed,
//! because a signature holds for one host only.

use super::refusal::{Broken, Refusal};
use super::wire::{Unanswered, Wire, is_proxied};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next request.
const POOL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long nothing may move, in either direction, before a connection counts as dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The same while a server joins the parts of an upload, which some do by copying them.
const JOIN_TIMEOUT: Duration = Duration::from_secs(900);
/// How long the first answer of all may take; a wrong endpoint must not cost minutes.
const FIRST_IDLE_TIMEOUT: Duration = Duration::from_secs(12);
/// How often progress is looked at.
const TICK: Duration = Duration::from_secs(1);
/// A server that never answered is given up after this many attempts to connect.
const FIRST_CONNECTS_MAX: u32 = 2;
/// A server that answered before is given up after this many silences in a row.
const SILENCES_MAX: u32 = 3;
/// Pieces in which a body is sent; progress is seen piece by piece.
const PIECE_BYTES: usize = 128 << 10;
/// The longest answer that is read to learn why a request was refused.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Says of an object, in its user metadata as this client sees it, that the server encrypted it
/// so that its ETag is not an MD5. Made here from response headers; never sent or stored.
pub(super) const OPAQUE_ETAG: &str = "lifeboat-opaque-etag";

/// The transport under OpenDAL.
pub(super) struct Http {
    client: Client,
    /// Whether this server has answered at all.
    reached: Arc<AtomicBool>,
    failed_connects: AtomicU32,
    /// Since its last answer.
    silences: AtomicU32,
}

enum Client {
    Direct(Wire),
    /// Where the environment names a proxy, which [`Wire`] does not know.
    Proxied(reqwest::Client),
}

impl Http {
    pub(super) fn new(reached: Arc<AtomicBool>) -> Result<Self, String> {
        // Another part of the program may have chosen one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = match is_proxied() {
            true => Client::Proxied(proxied()?),
            false => Client::Direct(Wire::new(CONNECT_TIMEOUT, POOL_TIMEOUT)?),
        };
        Ok(Http {
            client,
            reached,
            failed_connects: AtomicU32::new(0),
            silences: AtomicU32::new(0),
        })
    }

    /// Whether the path of a URL goes out as it is, also with steps in it.
    pub(super) fn keeps_paths(&self) -> bool {
        matches!(self.client, Client::Direct(_))
    }

    /// A failure to get an answer. It is worth another attempt, unless the server looks absent.
    fn broken(&self, error: &Unanswered) -> Error {
        let absent = error.is_connect && !self.reached.load(Ordering::Relaxed) && {
            self.failed_connects.fetch_add(1, Ordering::Relaxed) + 1 >= FIRST_CONNECTS_MAX
        };
        broken(error.detail.clone()).with_temporary(!absent && !error.is_hopeless)
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
            (_, true) => JOIN_TIMEOUT,
            (true, false) => IDLE_TIMEOUT,
            (false, false) => FIRST_IDLE_TIMEOUT,
        };
        let (mut seen, mut moved) = (0, Instant::now());
        loop {
            match tokio::time::timeout(TICK, &mut sending).await {
                Ok(Ok(response)) => {
                    self.reached.store(true, Ordering::Relaxed);
                    self.silences.store(0, Ordering::Relaxed);
                    return Ok(response);
                }
                Ok(Err(error)) => return Err(self.broken(&error)),
                Err(_) => {}
            }
            let now = progress.load(Ordering::Relaxed);
            if now != seen {
                (seen, moved) = (now, Instant::now());
            } else if moved.elapsed() >= patience {
                let silences = self.silences.fetch_add(1, Ordering::Relaxed) + 1;
                let hope = reached && silences < SILENCES_MAX;
                return Err(silence(patience).with_temporary(hope));
            }
        }
    }
}

impl HttpTransport for Http {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>, Error> {
        let (parts, body) = request.into_parts();
        let head = parts.method == Method::HEAD;
        let query = parts.uri.query().unwrap_or_default();
        let joins_parts = parts.method == Method::POST && query.starts_with("uploadId=");
        let wanted = parts.headers.get(header::IF_MATCH).cloned();
        let progress = Arc::new(AtomicU64::new(0));
        let sent = (!body.is_empty()).then(|| {
            reqwest::Body::wrap(Sending {
                current: Bytes::new(),
                rest: body,
                progress: Arc::clone(&progress),
            })
        });
        let answered = match &self.client {
            Client::Direct(wire) => {
                let mut request = Request::new(sent.unwrap_or_else(|| Bytes::new().into()));
                *request.method_mut() = parts.method;
                *request.uri_mut() = parts.uri;
                *request.headers_mut() = parts.headers;
                self.answer(wire.send(request), &progress, joins_parts)
                    .await
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
                self.answer(sending, &progress, joins_parts).await
            }
        };
        let mut response = answered?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        if !status.is_success() {
            return Err(refused(status, &headers, response).await);
        }
        if wanted.is_some_and(|wanted| headers.get(header::ETAG).is_some_and(|e| *e != wanted)) {
            // A server that does not know the condition would mix two objects into one.
            return Err(Refusal::changed().into_error());
        }
        let mut out = Response::builder().status(status);
        if let Some(to) = out.headers_mut() {
            *to = headers;
            if head && opaque_etag(to) {
                let name = header::HeaderName::from_static("x-amz-meta-lifeboat-opaque-etag");
                to.insert(name, header::HeaderValue::from_static("true"));
            }
        }
        let length = out
            .headers_ref()
            .filter(|_| !head)
            .and_then(|h| h.get(header::CONTENT_LENGTH))
            .and_then(|v| v.to_str().ok()?.parse().ok());
        out.body(HttpBody::new(receive(response), length))
            .map_err(|e| broken(e.to_string()))
    }
}

/// A client that knows the proxies of this user's environment.
fn proxied() -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_TIMEOUT)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| chain(&e))
}

/// The body of a response, each piece of it awaited for a bounded time only.
fn receive(
    response: reqwest::Response,
) -> impl futures::Stream<Item = Result<Buffer, Error>> + Send + Sync + Unpin + 'static {
    let pieces = response.bytes_stream();
    Box::pin(stream::unfold(
        Some(Box::pin(pieces)),
        |pieces| async move {
            let mut pieces = pieces?;
            match tokio::time::timeout(IDLE_TIMEOUT, pieces.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(piece))) => Some((Ok(Buffer::from(piece)), Some(pieces))),
                Ok(Some(Err(error))) => Some((Err(broken(chain(&error)).set_temporary()), None)),
                Err(_) => Some((Err(silence(IDLE_TIMEOUT).set_temporary()), None)),
            }
        },
    ))
}

/// Whether the ETag of a response is no MD5 although it may look like one.
fn opaque_etag(headers: &header::HeaderMap) -> bool {
    let kms = headers
        .get("x-amz-server-side-encryption")
        .is_some_and(|v| v.as_bytes().starts_with(b"aws:kms"));
    kms || headers.contains_key("x-amz-server-side-encryption-customer-algorithm")
}

/// Reads why a request was refused.
async fn refused(
    status: StatusCode,
    headers: &header::HeaderMap,
    response: reqwest::Response,
) -> Error {
    let mut text = Vec::new();
    let mut body = response.bytes_stream();
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(IDLE_TIMEOUT, body.next()).await {
        let room = REFUSAL_BYTES_MAX.saturating_sub(text.len());
        text.extend(piece.iter().take(room));
        if text.len() >= REFUSAL_BYTES_MAX {
            break;
        }
    }
    let region = headers
        .get("x-amz-bucket-region")
        .and_then(|v| v.to_str().ok());
    Refusal::new(status.as_u16(), &String::from_utf8_lossy(&text), region).into_error()
}

fn silence(timeout: Duration) -> Error {
    broken(format!("no answer for {} s", timeout.as_secs()))
}

fn broken(detail: String) -> Error {
    Error::new(ErrorKind::Unexpected, detail.clone()).set_source(Broken(detail))
}

/// An error and what lies beneath it, without the URL, which the location says already.
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

/// A request body of known length that counts how much of it has gone.
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
