//! A bucket with everything that a [`crate::Store`] does not have: keys of any bytes, metadata,
//! tags and versions. It serves to read what others put there, and to put it back.
//!
//! Guarantees: requests are signed over the exact bytes of a key. Every wait and every retry is
//! bounded. A listing that is not complete ends in an error. A piece of an object is complete, and
//! belongs to the version that was requested. No more of an object than one piece is in memory.

pub mod control;
mod list;
mod objects;
mod put;
mod retention;
pub(super) mod versions;
mod xml;

pub use list::{Listed, Listing};
pub use objects::{Attributes, Fetched, Head, Piece, Pieces, Wanted};
pub use put::Putting;

use super::http::Http;
use super::refusal::{refusal, store_error};
use super::{RETRIES_MAX, RETRY_DELAY_MAX, RETRY_DELAY_MIN, S3Options, address, location, signing};
use crate::StoreError;
use crate::ending::{Ending, Wait};
use crate::probe::jittered;
use crate::{runtime, sign};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use opendal::{Buffer, HttpBody, HttpTransport};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// A bucket.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

struct Inner {
    http: Http,
    /// The URL of the server: `https://host:port`.
    base: String,
    /// The path of the bucket: `/bucket`, or empty if the host names the bucket.
    path: String,
    location: String,
    ending: Ending,
}

/// A request.
#[derive(Clone, Default)]
struct Ask {
    method: Method,
    key: Vec<u8>,
    /// Parameters in order of name; values are not encoded yet.
    query: Vec<(&'static str, Vec<u8>)>,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("location", &self.inner.location)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    /// Prepares a client; no request is sent. The options' prefix is used for the location only:
    /// keys here are complete.
    pub fn open(options: &S3Options) -> Result<Self, StoreError> {
        let location = location(options);
        let other = |detail: String| StoreError::Other {
            location: location.clone(),
            detail,
        };
        let at = address(options, &location)?;
        let signing = signing(options, at.region.clone());
        let http = Http::new(Arc::default(), options.stall, Some(signing)).map_err(other)?;
        Ok(Bucket {
            inner: Arc::new(Inner {
                http,
                base: format!("{}://{}", at.scheme, at.host),
                path: at.path,
                location,
                ending: options.ending.clone(),
            }),
        })
    }

    /// The location, for people.
    pub fn location(&self) -> &str {
        &self.inner.location
    }

    /// Waits for a request to finish, and repeats it while its failure may be temporary.
    fn wait<T, F, W>(&self, key: &[u8], work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, opendal::Error>> + Send + 'static,
        W: Fn(Arc<Inner>) -> F + Send + Sync + 'static,
    {
        self.wait_for(self.inner.ending.work(), key, work)
    }

    /// Waits in the same way, with the kind of wait given.
    fn wait_for<T, F, W>(&self, wait: Wait, key: &[u8], work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, opendal::Error>> + Send + 'static,
        W: Fn(Arc<Inner>) -> F + Send + Sync + 'static,
    {
        let inner = Arc::clone(&self.inner);
        runtime::run(wait, &self.inner.location, async move {
            persist(|| work(Arc::clone(&inner))).await
        })?
        .map_err(|e| self.inner.error(&e, key))
    }
}

impl Inner {
    /// Sends a request. An answer that is not a success is an error.
    async fn send(&self, ask: &Ask) -> Result<Response<HttpBody>, opendal::Error> {
        let failed = |what: String| opendal::Error::new(opendal::ErrorKind::Unexpected, what);
        let mut path = self.path.clone();
        if !ask.key.is_empty() || path.is_empty() {
            path = format!("{path}/{}", sign::encode(&ask.key, true));
        }
        let query: Vec<String> = ask
            .query
            .iter()
            .map(|(name, value)| format!("{name}={}", sign::encode(value, false)))
            .collect();
        let query = query.join("&");
        let mut headers = HeaderMap::new();
        for (name, value) in &ask.headers {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|e| failed(e.to_string()))?;
            let value =
                HeaderValue::from_bytes(value.as_bytes()).map_err(|e| failed(e.to_string()))?;
            headers.insert(name, value);
        }
        if let Ok(payload) = HeaderValue::from_str(&sign::payload(&ask.body)) {
            headers.insert("x-amz-content-sha256", payload);
        }
        let mut uri = format!("{}{path}", self.base);
        if !query.is_empty() {
            uri = format!("{uri}?{query}");
        }
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(uri)
            .body(Buffer::from(ask.body.clone()))
            .map_err(|e| failed(e.to_string()))?;
        *request.headers_mut() = headers;
        self.http.fetch(request).await
    }

    /// Sends a request and reads the whole answer into memory; for small answers.
    async fn ask(&self, ask: &Ask) -> Result<(HeaderMap, Bytes), opendal::Error> {
        let answer = self.send(ask).await?;
        let (parts, mut body) = answer.into_parts();
        let body = body.to_buffer().await?;
        Ok((parts.headers, body.to_bytes()))
    }

    fn is_addressable(&self, key: &[u8]) -> bool {
        self.http.keeps_paths() || has_no_steps(key)
    }

    fn error(&self, error: &opendal::Error, key: &[u8]) -> StoreError {
        store_error(error, &self.location, &String::from_utf8_lossy(key))
    }
}

/// Repeats work whose failure may be temporary, a few times with growing delays.
pub(super) async fn persist<T, F, W>(work: W) -> Result<T, opendal::Error>
where
    F: Future<Output = Result<T, opendal::Error>>,
    W: Fn() -> F,
{
    let mut delay = RETRY_DELAY_MIN;
    for _ in 0..RETRIES_MAX {
        match work().await {
            Err(error) if error.is_temporary() => {
                tokio::time::sleep(jittered(delay)).await;
                delay = (delay * 2).min(RETRY_DELAY_MAX);
            }
            other => return other,
        }
    }
    work().await
}

/// The HTTP status of a refusal.
fn status(error: &opendal::Error) -> Option<u16> {
    refusal(error).map(|r| r.status)
}

/// Returns whether the key survives in the path of a URL: a component of dots alone would be
/// resolved.
fn has_no_steps(key: &[u8]) -> bool {
    !key.split(|b| *b == b'/')
        .any(|part| part == b"." || part == b"..")
}
