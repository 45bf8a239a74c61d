//! Lists a bucket page by page. The next page is requested while one is used.

use super::{Ask, Bucket, Inner, persist, status, xml};
use crate::StoreError;
use crate::runtime::within;
use crate::s3::PAGE_OBJECTS;
use crate::s3::refusal::stopped;
use crate::{runtime, sign};
use http::Method;
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, channel};

/// The pages that may wait to be used.
const PAGES_AHEAD: usize = 1;

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// The key.
    pub key: Vec<u8>,
    /// The size in bytes.
    pub bytes: u64,
    /// The ETag without quotes; empty if the server gives none.
    pub etag: String,
    /// The time of the last modification, in seconds since 1970.
    pub modified: i64,
}

/// A listing, in the server's order (on most servers, the byte order of keys).
pub struct Listing {
    pages: Receiver<Result<Vec<Listed>, StoreError>>,
    ended: bool,
}

struct Page {
    objects: Vec<Listed>,
    next: Option<String>,
}

impl Bucket {
    /// Lists all objects whose keys begin with `prefix`.
    pub fn list(&self, prefix: &[u8]) -> Result<Listing, StoreError> {
        let (sender, pages) = channel(PAGES_AHEAD);
        let (inner, prefix) = (Arc::clone(&self.inner), prefix.to_vec());
        runtime::start(&self.inner.location, async move {
            let (mut token, mut most) = (None, Some(PAGE_OBJECTS));
            loop {
                let asking = persist(|| inner.page(&prefix, token.as_deref(), most));
                let answer = within(inner.ending.work(), asking)
                    .await
                    .unwrap_or_else(|| Err(stopped()));
                let page = match answer {
                    Ok(page) => page,
                    // Perhaps the server refuses requests for more objects than it returns.
                    Err(error) if most.is_some() && matches!(status(&error), Some(400 | 501)) => {
                        most = None;
                        continue;
                    }
                    Err(error) => {
                        let error = inner.error(&error, &prefix);
                        // If the receiver is gone, the error no longer matters.
                        let _ = sender.send(Err(error)).await;
                        return;
                    }
                };
                let next = page.next;
                if sender.send(Ok(page.objects)).await.is_err() {
                    return;
                }
                match next {
                    None => {
                        // An empty page marks the end: a channel that merely closes does not.
                        let _ = sender.send(Ok(Vec::new())).await;
                        return;
                    }
                    next => token = next,
                }
            }
        })?;
        Ok(Listing {
            pages,
            ended: false,
        })
    }

    /// Returns the first objects; fails if the bucket cannot be listed.
    pub fn peek(&self, prefix: &[u8]) -> Result<Vec<Listed>, StoreError> {
        let wanted = prefix.to_vec();
        self.wait(prefix, move |inner| {
            let prefix = wanted.clone();
            async move { Ok(inner.page(&prefix, None, None).await?.objects) }
        })
    }
}

impl Iterator for Listing {
    type Item = Result<Vec<Listed>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match futures::executor::block_on(self.pages.recv()) {
                Some(Ok(page)) if page.is_empty() => self.ended = true,
                Some(Ok(page)) => return Some(Ok(page)),
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                None => {
                    self.ended = true;
                    return Some(Err(StoreError::Other {
                        location: String::new(),
                        detail: "the listing ended early".into(),
                    }));
                }
            }
        }
        None
    }
}

impl Inner {
    async fn page(
        &self,
        prefix: &[u8],
        token: Option<&str>,
        most: Option<u32>,
    ) -> Result<Page, opendal::Error> {
        let mut query: Vec<(&'static str, Vec<u8>)> = Vec::new();
        if let Some(token) = token {
            query.push(("continuation-token", token.as_bytes().to_vec()));
        }
        query.push(("encoding-type", b"url".to_vec()));
        query.push(("list-type", b"2".to_vec()));
        if let Some(most) = most {
            query.push(("max-keys", most.to_string().into_bytes()));
        }
        if !prefix.is_empty() {
            query.push(("prefix", prefix.to_vec()));
        }
        let ask = Ask {
            method: Method::GET,
            query,
            ..Ask::default()
        };
        let (_, body) = self.ask(&ask).await?;
        parse(&String::from_utf8_lossy(&body), token).map_err(|what| {
            let what = format!("the server's listing cannot be read: {what}");
            opendal::Error::new(opendal::ErrorKind::Unexpected, what).set_temporary()
        })
    }
}

fn parse(text: &str, asked: Option<&str>) -> Result<Page, String> {
    let (mut objects, mut current) = (Vec::new(), Listed::default());
    let (mut encoded, mut truncated, mut next) = (false, false, None);
    let mut wrong = None;
    xml::read(text, |path, text| {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (path.as_slice(), text) {
            ([_, "Contents"], None) => objects.push(std::mem::take(&mut current)),
            ([_, "Contents", "Key"], Some(text)) => current.key = text.as_bytes().to_vec(),
            ([_, "Contents", "Size"], Some(text)) => match text.trim().parse() {
                Ok(bytes) => current.bytes = bytes,
                Err(_) => wrong = Some(format!("the size {text:?}")),
            },
            ([_, "Contents", "ETag"], Some(text)) => {
                current.etag = text.trim().trim_matches('"').to_owned();
            }
            ([_, "Contents", "LastModified"], Some(text)) => {
                match text.trim().parse::<Timestamp>() {
                    Ok(at) => current.modified = at.as_second(),
                    Err(_) => wrong = Some(format!("the time {text:?}")),
                }
            }
            ([_, "EncodingType"], Some(text)) => encoded = text.trim() == "url",
            ([_, "IsTruncated"], Some(text)) => truncated = text.trim() == "true",
            ([_, "NextContinuationToken"], Some(text)) => next = Some(text.to_owned()),
            _ => {}
        }
    })?;
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    if encoded {
        for object in &mut objects {
            object.key = sign::decode(&String::from_utf8_lossy(&object.key));
        }
    }
    match (truncated, next) {
        (false, _) => Ok(Page {
            objects,
            next: None,
        }),
        (true, Some(next)) if Some(next.as_str()) != asked => Ok(Page {
            objects,
            next: Some(next),
        }),
        (true, _) => Err("it goes on, and does not say where".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_its_encoding_and_its_end() {
        let text = "<ListBucketResult><IsTruncated>true</IsTruncated>\
            <NextContinuationToken>t</NextContinuationToken><EncodingType>url</EncodingType>\
            <Contents><Key>a%0Ab+c%2B</Key><Size>3</Size><ETag>&quot;e-2&quot;</ETag>\
            <LastModified>2026-11-20T06:00:00.500Z</LastModified><Owner><ID>x</ID></Owner></Contents>\
            <Contents><Key>d</Key><Size>0</Size></Contents></ListBucketResult>";
        let page = parse(text, None).unwrap();
        assert_eq!(page.next.as_deref(), Some("t"));
        assert_eq!(page.objects.len(), 2);
        assert_eq!(page.objects[0].key, b"a\nb c+");
        assert_eq!(
            (page.objects[0].bytes, page.objects[0].etag.as_str()),
            (3, "e-2")
        );
        assert_eq!(page.objects[0].modified, 1_795_154_400);
        assert!(
            parse(text, Some("t")).is_err(),
            "the same page again is no progress"
        );
        assert!(parse(&text.replace("<Size>3", "<Size>x"), None).is_err());
    }
}
