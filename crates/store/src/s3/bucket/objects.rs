//! Reads objects piece by piece, with several requests at a time, in the order of the requests.

use super::{Ask, Bucket, Inner, persist, status, xml};
use crate::StoreError;
use crate::runtime::{self, within};
use crate::s3::refusal::{refusal, stopped};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, header};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, channel};

/// The attributes of an object besides its bytes and tags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Those of `content-type`, `cache-control`, `content-encoding`, `content-disposition`,
    /// `content-language`, `expires` and `x-amz-website-redirect-location` that are set.
    pub headers: BTreeMap<String, String>,
    /// User metadata, by the part of the name after `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

/// The facts that a server reports about an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The size of the whole object.
    pub bytes: u64,
    /// The ETag, without quotes.
    pub etag: String,
    /// The modification time, in seconds since 1970.
    pub modified: i64,
    /// The version, in a bucket that keeps versions.
    pub version: Option<String>,
    /// The attributes.
    pub attributes: Attributes,
    /// The number of tags.
    pub tags: u32,
}

/// A request for a piece of an object.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The key.
    pub key: Vec<u8>,
    /// The ETag of the only acceptable version.
    pub etag: Option<String>,
    /// The first byte and the length; `None` for the whole object.
    pub range: Option<(u64, u64)>,
    /// The longest acceptable answer. A longer one counts as changed.
    pub bytes_max: u64,
}

/// A piece of an object.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The object to which it belongs.
    pub head: Head,
    /// The tags, requested with the first piece only.
    pub tags: BTreeMap<String, String>,
    /// The bytes.
    pub bytes: Bytes,
}

/// The outcome of a request for a piece.
#[derive(Debug)]
pub enum Fetched {
    /// The piece.
    Piece(Piece),
    /// The object has been replaced by another.
    Changed,
    /// The object no longer exists.
    Gone,
    /// The server refused this object, with this text; others may be readable.
    Refused(String),
    /// The bucket cannot be read.
    Failed(StoreError),
}

/// The requested pieces, in order.
pub struct Pieces {
    receiver: Receiver<Fetched>,
}

impl Iterator for Pieces {
    type Item = Fetched;

    fn next(&mut self) -> Option<Fetched> {
        futures::executor::block_on(self.receiver.recv())
    }
}

impl Bucket {
    /// Requests pieces, `parallel` at a time, and returns them in order. Memory is bounded by
    /// `parallel` times the longest piece.
    pub fn fetch(
        &self,
        wanted: impl Iterator<Item = Wanted> + Send + 'static,
        parallel: usize,
    ) -> Result<Pieces, StoreError> {
        let (sender, receiver) = channel(1);
        let inner = Arc::clone(&self.inner);
        runtime::start(&self.inner.location, async move {
            let asked = futures::stream::iter(wanted).map(|wanted| {
                let inner = Arc::clone(&inner);
                // A separate task, so that two processors share the work.
                let task = tokio::spawn(async move { inner.piece(&wanted).await });
                async move {
                    task.await.unwrap_or_else(|e| {
                        Fetched::Failed(StoreError::Other {
                            location: String::new(),
                            detail: format!("a request was given up: {e}"),
                        })
                    })
                }
            });
            let mut asked = std::pin::pin!(asked.buffered(parallel.max(1)));
            while let Some(fetched) = asked.next().await {
                if sender.send(fetched).await.is_err() {
                    return;
                }
            }
        })?;
        Ok(Pieces { receiver })
    }

    /// Returns what the server reports about an object; `None` if there is no such object.
    pub fn head(&self, key: &[u8]) -> Result<Option<Head>, StoreError> {
        self.check_key(key)?;
        let ask = Ask {
            method: Method::HEAD,
            key: key.to_vec(),
            ..Ask::default()
        };
        let found = self.wait(key, move |inner| {
            let ask = ask.clone();
            async move {
                match inner.send(&ask).await {
                    Ok(answer) => Ok(Some(head(answer.headers()))),
                    Err(error) if status(&error) == Some(404) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        })?;
        Ok(found)
    }

    /// Returns the tags of an object.
    pub fn tags(&self, key: &[u8]) -> Result<BTreeMap<String, String>, StoreError> {
        self.check_key(key)?;
        let own = key.to_vec();
        self.wait(key, move |inner| {
            let key = own.clone();
            async move { inner.tags(&key, None).await }
        })
    }

    pub(super) fn check_key(&self, key: &[u8]) -> Result<(), StoreError> {
        if self.inner.is_addressable(key) {
            return Ok(());
        }
        Err(StoreError::InvalidKey {
            key: String::from_utf8_lossy(key).into_owned(),
            reason: DOTS,
        })
    }
}

/// The reason why a key with such components cannot be requested.
pub(super) const DOTS: &str =
    "a component of its key is `.` or `..`, which is taken for a step in the path through a proxy";

impl Inner {
    async fn piece(&self, wanted: &Wanted) -> Fetched {
        if !self.is_addressable(&wanted.key) {
            return Fetched::Refused(DOTS.to_owned());
        }
        let answer = within(self.ending.work(), persist(|| self.get(wanted))).await;
        let answer = answer.unwrap_or_else(|| Err(stopped()));
        let error = match answer {
            Ok(Some(piece)) => return Fetched::Piece(piece),
            Ok(None) => return Fetched::Changed,
            Err(error) => error,
        };
        let why = refusal(&error);
        match why.map(|r| (r.status, r.code.as_str())) {
            Some((412 | 416, _)) => Fetched::Changed,
            Some((404, code)) if code != "NoSuchBucket" => Fetched::Gone,
            Some((403, "AccessDenied" | "InvalidObjectState" | "" | "AllAccessDisabled"))
            | Some((400 | 405, _)) => {
                Fetched::Refused(why.map(ToString::to_string).unwrap_or_default())
            }
            _ => Fetched::Failed(self.error(&error, &wanted.key)),
        }
    }

    /// Gets a piece; `None` if the answer is longer than requested.
    async fn get(&self, wanted: &Wanted) -> Result<Option<Piece>, opendal::Error> {
        let mut headers = Vec::new();
        if let Some(etag) = &wanted.etag {
            headers.push(("if-match".to_owned(), format!("\"{etag}\"")));
        }
        if let Some((first, length)) = wanted.range {
            let last = (first + length).saturating_sub(1);
            headers.push(("range".to_owned(), format!("bytes={first}-{last}")));
        }
        let ask = Ask {
            method: Method::GET,
            key: wanted.key.clone(),
            headers,
            ..Ask::default()
        };
        let answer = self.send(&ask).await?;
        let (parts, mut body) = answer.into_parts();
        let head = head(&parts.headers);
        let length = content_length(&parts.headers);
        let expected = wanted.range.map_or(head.bytes, |(_, length)| length);
        if length.is_none_or(|l| l > wanted.bytes_max || l != expected) {
            return Ok(None);
        }
        let bytes = body.to_buffer().await?.to_bytes();
        let first = wanted.range.is_none_or(|(first, _)| first == 0);
        let tags = match first && head.tags > 0 {
            true => self.tags(&wanted.key, head.version.as_deref()).await?,
            false => BTreeMap::new(),
        };
        Ok(Some(Piece { head, tags, bytes }))
    }

    pub(super) async fn tags(
        &self,
        key: &[u8],
        version: Option<&str>,
    ) -> Result<BTreeMap<String, String>, opendal::Error> {
        let mut query = vec![("tagging", Vec::new())];
        if let Some(version) = version {
            query.push(("versionId", version.as_bytes().to_vec()));
        }
        let ask = Ask {
            method: Method::GET,
            key: key.to_vec(),
            query,
            ..Ask::default()
        };
        let (_, body) = self.ask(&ask).await?;
        let (mut tags, mut name, mut value) = (BTreeMap::new(), String::new(), String::new());
        xml::read(&String::from_utf8_lossy(&body), |path, text| {
            match (path.last().map(String::as_str), text) {
                (Some("Key"), Some(text)) => name = text.to_owned(),
                (Some("Value"), Some(text)) => value = text.to_owned(),
                (Some("Tag"), None) => {
                    tags.insert(std::mem::take(&mut name), std::mem::take(&mut value));
                }
                _ => {}
            }
        })
        .map_err(|what| {
            let what = format!("the tags cannot be read: {what}");
            opendal::Error::new(opendal::ErrorKind::Unexpected, what)
        })?;
        Ok(tags)
    }
}

/// The headers of an object that are kept as they are.
const KEPT: [&str; 7] = [
    "content-type",
    "cache-control",
    "content-encoding",
    "content-disposition",
    "content-language",
    "expires",
    "x-amz-website-redirect-location",
];

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn head(headers: &HeaderMap) -> Head {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
    };
    // The total size follows the slash, as in `bytes 0-9/1234`.
    let whole = text("content-range").and_then(|r| r.rsplit_once('/')?.1.parse().ok());
    let modified = text("last-modified")
        .and_then(|t| jiff::fmt::rfc2822::parse(&t).ok())
        .map_or(0, |at| at.timestamp().as_second());
    let kept = KEPT
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), text(name)?)));
    let metadata = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-amz-meta-")?;
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        Some((name.to_owned(), value))
    });
    let version = text("x-amz-version-id").filter(|v| v != "null");
    Head {
        bytes: whole.or_else(|| content_length(headers)).unwrap_or(0),
        etag: text("etag")
            .unwrap_or_default()
            .trim_matches('"')
            .to_owned(),
        modified,
        version,
        attributes: Attributes {
            headers: kept.collect(),
            metadata: metadata
                .filter(|(name, _)| name != "lifeboat-opaque-etag")
                .collect(),
        },
        tags: text("x-amz-tagging-count")
            .and_then(|c| c.parse().ok())
            .unwrap_or(0),
    }
}
