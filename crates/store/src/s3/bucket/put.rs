//! Puts objects back with their attributes, in one request or in parts.

use super::objects::Attributes;
use super::{Ask, Bucket, xml};
use crate::StoreError;
use crate::ending::Wait;
use crate::read::fill;
use crate::sign;
use bytes::Bytes;
use http::Method;
use std::collections::BTreeMap;
use std::io::Read;

/// The size of a part, unless the object would then need too many parts.
const PART_BYTES: u64 = 8 << 20;
/// The most parts to plan for; S3 accepts 10,000.
const PARTS_PLANNED: u64 = 9_000;

/// An object to put, apart from its bytes.
#[derive(Debug, Clone, Default)]
pub struct Putting {
    /// The approximate number of bytes.
    pub bytes: u64,
    /// The attributes of the object.
    pub attributes: Attributes,
    /// The tags.
    pub tags: BTreeMap<String, String>,
}

impl Bucket {
    /// Stores `body`, read to its end, as the object `key`, and replaces an existing object.
    /// Nothing is visible before all of it has arrived. An error of the body aborts it.
    pub fn put(
        &self,
        key: &[u8],
        body: &mut (dyn Read + Send),
        putting: &Putting,
    ) -> Result<(), StoreError> {
        self.check_key(key)?;
        let part_bytes = putting.bytes.div_ceil(PARTS_PLANNED).max(PART_BYTES);
        let part_bytes = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        let first = next_part(key, body, part_bytes)?;
        let headers = headers(putting);
        if first.len() < part_bytes {
            let ask = Ask {
                method: Method::PUT,
                key: key.to_vec(),
                headers,
                body: first,
                ..Ask::default()
            };
            return self.tell(ask).map(drop);
        }
        let upload = self.begin(key, headers)?;
        let sent = self.send_parts(key, &upload, first, body, part_bytes);
        if sent.is_err() {
            // If this fails too, only the bucket's lifecycle rules remove the parts.
            let abort = Ask {
                method: Method::DELETE,
                key: key.to_vec(),
                query: vec![("uploadId", upload.into_bytes())],
                ..Ask::default()
            };
            let _ = self.tell_within(self.inner.ending.clean_up(), abort);
        }
        sent
    }

    /// Removes an object. It is no error if there is none.
    pub fn delete(&self, key: &[u8]) -> Result<(), StoreError> {
        self.check_key(key)?;
        self.tell(Ask {
            method: Method::DELETE,
            key: key.to_vec(),
            ..Ask::default()
        })
        .map(drop)
    }

    /// Sends a request, and returns the ETag and the body of the answer.
    fn tell(&self, ask: Ask) -> Result<(String, Bytes), StoreError> {
        self.tell_within(self.inner.ending.work(), ask)
    }

    fn tell_within(&self, wait: Wait, ask: Ask) -> Result<(String, Bytes), StoreError> {
        let key = ask.key.clone();
        self.wait_for(wait, &key, move |inner| {
            let ask = ask.clone();
            async move {
                let (headers, body) = inner.ask(&ask).await?;
                let etag = headers
                    .get("etag")
                    .and_then(|v| v.to_str().ok())
                    .unwrap_or_default();
                Ok((etag.to_owned(), body))
            }
        })
    }

    fn begin(&self, key: &[u8], headers: Vec<(String, String)>) -> Result<String, StoreError> {
        let (_, body) = self.tell(Ask {
            method: Method::POST,
            key: key.to_vec(),
            query: vec![("uploads", Vec::new())],
            headers,
            ..Ask::default()
        })?;
        let mut id = String::new();
        let read = xml::read(&String::from_utf8_lossy(&body), |path, text| {
            if let (Some("UploadId"), Some(text)) = (path.last().map(String::as_str), text) {
                id = text.to_owned();
            }
        });
        match read {
            Ok(()) if !id.is_empty() => Ok(id),
            _ => Err(self.other("the server began an upload and did not name it")),
        }
    }

    fn send_parts(
        &self,
        key: &[u8],
        upload: &str,
        first: Bytes,
        body: &mut (dyn Read + Send),
        part_bytes: usize,
    ) -> Result<(), StoreError> {
        let mut done = String::from("<CompleteMultipartUpload>");
        let (mut part, mut number) = (first, 1);
        loop {
            let last = part.len() < part_bytes;
            let (etag, _) = self.tell(Ask {
                method: Method::PUT,
                key: key.to_vec(),
                query: vec![
                    ("partNumber", number.to_string().into_bytes()),
                    ("uploadId", upload.as_bytes().to_vec()),
                ],
                body: part,
                ..Ask::default()
            })?;
            done.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>",
                xml::escape(&etag)
            ));
            if last {
                break;
            }
            part = next_part(key, body, part_bytes)?;
            if part.is_empty() {
                break;
            }
            number += 1;
        }
        done.push_str("</CompleteMultipartUpload>");
        let (_, answer) = self.tell(Ask {
            method: Method::POST,
            key: key.to_vec(),
            query: vec![("uploadId", upload.as_bytes().to_vec())],
            body: Bytes::from(done),
            ..Ask::default()
        })?;
        // The server may begin its answer before it has joined the parts, and fail after that.
        let text = String::from_utf8_lossy(&answer);
        match text.contains("<Error>") {
            true => Err(self.other(&format!("the parts could not be joined: {text}"))),
            false => Ok(()),
        }
    }

    fn other(&self, detail: &str) -> StoreError {
        StoreError::Other {
            location: self.inner.location.clone(),
            detail: detail.to_owned(),
        }
    }
}

fn next_part(
    key: &[u8],
    body: &mut (dyn Read + Send),
    part_bytes: usize,
) -> Result<Bytes, StoreError> {
    let mut part = Vec::new();
    fill(body, &mut part, part_bytes).map_err(|source| StoreError::Body {
        key: String::from_utf8_lossy(key).into_owned(),
        source,
    })?;
    Ok(Bytes::from(part))
}

fn headers(putting: &Putting) -> Vec<(String, String)> {
    let attributes = &putting.attributes;
    let own = attributes.headers.iter();
    let mut all: Vec<_> = own.map(|(n, v)| (n.clone(), v.clone())).collect();
    let metadata = attributes.metadata.iter();
    all.extend(metadata.map(|(n, v)| (format!("x-amz-meta-{n}"), v.clone())));
    if !putting.tags.is_empty() {
        let encode = |text: &str| sign::encode(text.as_bytes(), false);
        let tags = putting.tags.iter();
        let pairs: Vec<_> = tags
            .map(|(n, v)| format!("{}={}", encode(n), encode(v)))
            .collect();
        all.push(("x-amz-tagging".to_owned(), pairs.join("&")));
    }
    all
}
