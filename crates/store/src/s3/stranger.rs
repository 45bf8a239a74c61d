//! Finds out what somebody without credentials sees of a bucket, with requests that are not signed,
//! as a browser would send them.

use super::bucket::persist;
use super::http::Http;
use super::refusal::{refusal, store_error};
use super::{S3Options, address};
use crate::ending::Ending;
use crate::{Exposure, ObjectInfo, StoreError};
use crate::{runtime, sign};
use http::{Method, Request, header};
use opendal::{Buffer, HttpTransport};
use std::sync::Arc;
use std::time::Duration;

/// A client that addresses the bucket without credentials.
#[derive(Clone)]
pub(super) struct Stranger {
    /// The URL of the bucket: `https://host:port/bucket`, or without the path if the host names the
    /// bucket.
    base: String,
    /// The prefix of every key, with a slash at its end; may be empty.
    prefix: String,
    location: String,
    stall: Duration,
    ending: Ending,
}

impl Stranger {
    pub(super) fn new(options: &S3Options, location: &str) -> Result<Self, StoreError> {
        let at = address(options, location)?;
        let mut prefix = options.prefix.trim_matches('/').to_owned();
        if !prefix.is_empty() {
            prefix.push('/');
        }
        Ok(Stranger {
            base: format!("{}://{}{}", at.scheme, at.host, at.path),
            prefix,
            location: location.to_owned(),
            stall: options.stall,
            ending: options.ending.clone(),
        })
    }

    /// Tests the bucket, and `objects`, some that exist in it.
    pub(super) fn look(&self, objects: &[ObjectInfo]) -> Result<Exposure, StoreError> {
        let http =
            Http::new(Arc::default(), self.stall, None).map_err(|detail| StoreError::Other {
                location: self.location.clone(),
                detail,
            })?;
        let prefix = sign::encode(self.prefix.as_bytes(), false);
        let list = format!("{}/?list-type=2&max-keys=1&prefix={prefix}", self.base);
        let url = |object: &ObjectInfo| {
            let key = format!("{}{}", self.prefix, object.key);
            let key = sign::encode(key.as_bytes(), true);
            (format!("{}/{key}", self.base), object.bytes)
        };
        let gets: Vec<(String, u64)> = objects.iter().map(url).collect();
        let answers = runtime::run(self.ending.work(), &self.location, async move {
            let is_listed = persist(|| listed(&http, &list)).await?;
            let mut any_read = false;
            for (url, bytes) in &gets {
                any_read = any_read || persist(|| is_read(&http, url, *bytes)).await?;
            }
            let is_read = any_read;
            Ok::<_, opendal::Error>(Exposure { is_listed, is_read })
        })?;
        answers.map_err(|e| store_error(&e, &self.location, ""))
    }
}

fn request(url: &str) -> http::request::Builder {
    Request::builder().method(Method::GET).uri(url)
}

/// Sends a request; `None` if it was refused.
async fn answered(
    http: &Http,
    request: http::request::Builder,
) -> Result<Option<http::Response<opendal::HttpBody>>, opendal::Error> {
    let wrong = |e: http::Error| {
        opendal::Error::new(opendal::ErrorKind::ConfigInvalid, "no request can be made")
            .set_source(e)
    };
    let request = request.body(Buffer::new()).map_err(wrong)?;
    match http.fetch(request).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_temporary() || refusal(&error).is_none() => Err(error),
        Err(_) => Ok(None),
    }
}

async fn listed(http: &Http, url: &str) -> Result<bool, opendal::Error> {
    let Some(mut answer) = answered(http, request(url)).await? else {
        return Ok(false);
    };
    let body = answer.body_mut().to_buffer().await?.to_bytes();
    // A page that asks to log in is not a listing.
    Ok(String::from_utf8_lossy(&body).contains("<ListBucketResult"))
}

async fn is_read(http: &Http, url: &str, bytes: u64) -> Result<bool, opendal::Error> {
    let asked = request(url).header(header::RANGE, "bytes=0-0");
    let Some(answer) = answered(http, asked).await? else {
        return Ok(false);
    };
    let text = |name| answer.headers().get(name).and_then(|v| v.to_str().ok());
    let whole = match text(header::CONTENT_RANGE) {
        Some(range) => range.rsplit('/').next(),
        None => text(header::CONTENT_LENGTH),
    };
    // A body of another size is some other page.
    Ok(whole.and_then(|w| w.parse().ok()) == Some(bytes))
}
