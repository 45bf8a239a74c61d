//! A bucket as it is: keys of any bytes, metadata, tags and versions, which a [`crate::Store`] has
//! none of. For reading what others put there, and for putting it back.
//!
//! Guarantees: requests are signed over the very bytes of a key; every wait and every retry is
//! bounded; a listing ends in an error, never early; a piece of an object is whole, and of the
//! version that was asked for. It holds no more of an object than one piece.

mod list;
mod objects;
mod put;
mod xml;

pub use list::{Listed, Listing};
pub use objects::{Attributes, Fetched, Head, Piece, Pieces, Wanted};
pub use put::Putting;

use super::http::Http;
use super::refusal::{refusal, store_error};
use super::sign::{self, Parts, Signer};
use super::{RETRIES_MAX, RETRY_DELAY_MAX, RETRY_DELAY_MIN, S3Options, address, location, runtime};
use crate::StoreError;
use crate::ending::{Ending, Wait};
use crate::probe::jittered;
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
    signer: Signer,
    /// `https://host:port`.
    base: String,
    host: String,
    /// `/bucket`, or nothing where the host names the bucket.
    path: String,
    location: String,
    ending: Ending,
}

/// One request, before it is signed.
#[derive(Clone, Default)]
struct Ask {
    method: Method,
    key: Vec<u8>,
    /// In the order of the names; values are not encoded yet.
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
    /// Prepares a client; no request is sent. The options' prefix takes part in the location only:
    /// keys here are whole. Both keys must be given.
    pub fn open(options: &S3Options) -> Result<Self, StoreError> {
        let location = location(options);
        let other = |detail: String| StoreError::Other {
            location: location.clone(),
            detail,
        };
        let at = address(options, &location)?;
        let (Some(access_key), Some(secret_key)) = (&options.access_key, &options.secret_key)
        else {
            return Err(other("an access key and a secret key are needed".into()));
        };
        let http = Http::new(Arc::default(), options.stall).map_err(other)?;
        Ok(Bucket {
            inner: Arc::new(Inner {
                http,
                signer: Signer {
                    region: at.region,
                    access_key: access_key.clone(),
                    secret_key: secret_key.clone(),
                    session_token: options.session_token.clone(),
                },
                base: format!("{}://{}", at.scheme, at.host),
                host: at.host,
                path: at.path,
                location,
                ending: options.ending.clone(),
            }),
        })
    }

    /// Where it is, for people.
    pub fn location(&self) -> &str {
        &self.inner.location
    }

    /// Waits for something asked of the server, tried again while its failure may pass.
    fn wait<T, F, W>(&self, key: &[u8], work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, opendal::Error>> + Send + 'static,
        W: Fn(Arc<Inner>) -> F + Send + Sync + 'static,
    {
        self.wait_for(self.inner.ending.work(), key, work)
    }

    /// The same for work of either kind.
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
    /// Signs and sends a request; an answer that is no success is an error.
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
        let payload = sign::payload(&ask.body);
        let parts = Parts {
            method: &ask.method,
            host: &self.host,
            path: &path,
            query: &query,
            payload: &payload,
        };
        self.signer
            .sign(&parts, &mut headers, jiff::Timestamp::now());
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

    /// Sends a request and reads its answer whole; for small answers.
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

/// Tries again, a few times and ever later, what fails in a way that may pass.
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

/// Whether the way to the key survives a URL: a component of dots alone is taken for a step.
fn has_no_steps(key: &[u8]) -> bool {
    !key.split(|b| *b == b'/')
        .any(|part| part == b"." || part == b"..")
}
