//! Lists the versions of a bucket's objects, and asks whether the bucket locks objects.

use super::{Ask, Bucket, Inner, persist, status, xml};
use crate::StoreError;
use crate::listed::LISTED_MAX;
use crate::past::{Standing, Version};
use crate::s3::PAGE_OBJECTS;
use crate::{runtime, sign};
use http::Method;
use jiff::Timestamp;

/// The id of a version that was stored while the bucket kept none.
pub(in crate::s3) const UNVERSIONED: &str = "null";

/// A page of a listing of versions.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    /// The versions and deletions, in the order of the answer.
    versions: Vec<Version>,
    next: Option<Marker>,
}

/// The last version of a page, after which the next page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marker {
    key: String,
    version: String,
}

impl Bucket {
    /// Finds what stood at a time among the objects whose complete keys start with `prefix`. Keys
    /// that are not text, and folders made by a console, are left out. It has seen all versions
    /// unless there are more than a listing may have.
    pub(in crate::s3) fn standing(
        &self,
        prefix: &str,
        at: Timestamp,
    ) -> Result<Standing, StoreError> {
        self.each_page(prefix, Standing::new(at), |standing, page| {
            page.into_iter().for_each(|version| standing.add(version));
            true
        })
    }

    /// Returns whether the bucket keeps versions below `prefix`, or did at any time. A server that
    /// cannot list versions keeps none.
    pub(in crate::s3) fn keeps_versions(&self, prefix: &str) -> Result<bool, StoreError> {
        self.each_page(prefix, false, |keeps, page| {
            *keeps = page.iter().any(|version| version.id != UNVERSIONED);
            !*keeps
        })
    }

    /// Passes the pages of a listing of versions to `each`, until it returns false or has seen more
    /// versions than a listing may have.
    fn each_page<T, W>(&self, prefix: &str, state: T, each: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Fn(&mut T, Vec<Version>) -> bool + Send + 'static,
    {
        let (inner, wanted) = (self.inner.clone(), prefix.to_owned());
        let listing = async move {
            let (mut state, mut seen) = (state, 0);
            let (mut after, mut most) = (None, Some(PAGE_OBJECTS));
            loop {
                let page = match persist(|| inner.versions(&wanted, after.as_ref(), most)).await {
                    // Perhaps the server refuses requests for more objects than it returns.
                    Err(error) if most.is_some() && matches!(status(&error), Some(400 | 501)) => {
                        most = None;
                        continue;
                    }
                    // It knows nothing of versions.
                    Err(error) if matches!(status(&error), Some(405 | 501)) => return Ok(state),
                    page => page?,
                };
                seen += page.versions.len();
                let goes_on = each(&mut state, page.versions) && seen <= LISTED_MAX;
                match page.next.filter(|_| goes_on) {
                    None => return Ok(state),
                    next => after = next,
                }
            }
        };
        let inner = &self.inner;
        runtime::run(inner.ending.work(), &inner.location, listing)?
            .map_err(|error| inner.error(&error, prefix.as_bytes()))
    }
}

impl Inner {
    async fn versions(
        &self,
        prefix: &str,
        after: Option<&Marker>,
        most: Option<u32>,
    ) -> Result<Page, opendal::Error> {
        let mut query = vec![("encoding-type", b"url".to_vec())];
        if let Some(after) = after {
            query.push(("key-marker", after.key.clone().into_bytes()));
        }
        if let Some(most) = most {
            query.push(("max-keys", most.to_string().into_bytes()));
        }
        if !prefix.is_empty() {
            query.push(("prefix", prefix.as_bytes().to_vec()));
        }
        if let Some(after) = after {
            query.push(("version-id-marker", after.version.clone().into_bytes()));
        }
        query.push(("versions", Vec::new()));
        let ask = Ask {
            method: Method::GET,
            query,
            ..Ask::default()
        };
        let (_, body) = self.ask(&ask).await?;
        parse(&String::from_utf8_lossy(&body), after).map_err(|what| {
            let what = format!("the server's listing of versions cannot be read: {what}");
            opendal::Error::new(opendal::ErrorKind::Unexpected, what).set_temporary()
        })
    }
}

/// A version as it is read from an answer, in which keys may be encoded.
#[derive(Debug, Default)]
struct Entry {
    key: String,
    id: String,
    bytes: u64,
    modified: Option<Timestamp>,
}

fn parse(text: &str, asked: Option<&Marker>) -> Result<Page, String> {
    let (mut entries, mut current) = (Vec::new(), Entry::default());
    let (mut encoded, mut truncated, mut next) = (false, false, Marker::default());
    let mut wrong = None;
    let mut root = String::new();
    xml::read(text, |path, text| {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (path.as_slice(), text) {
            ([name], _) => root = (*name).to_owned(),
            ([_, kind @ ("Version" | "DeleteMarker")], None) => {
                entries.push((std::mem::take(&mut current), *kind == "DeleteMarker"));
            }
            ([_, "Version" | "DeleteMarker", field], Some(text)) => {
                if let Err(what) = current.set(field, text) {
                    wrong = Some(what);
                }
            }
            ([_, "EncodingType"], Some(text)) => encoded = text.trim() == "url",
            ([_, "IsTruncated"], Some(text)) => truncated = text.trim() == "true",
            ([_, "NextKeyMarker"], Some(text)) => next.key = text.to_owned(),
            ([_, "NextVersionIdMarker"], Some(text)) => next.version = text.to_owned(),
            _ => {}
        }
    })?;
    if root != "ListVersionsResult" {
        // A server that does not know the question lists the objects.
        return Ok(Page::default());
    }
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    let key = |key: String| match encoded {
        true => String::from_utf8(sign::decode(&key)).ok(),
        false => Some(key),
    };
    let mut versions = Vec::new();
    for (entry, is_deletion) in entries {
        if let Some(key) = key(entry.key).filter(|key| !key.ends_with('/')) {
            versions.push(Version {
                key,
                id: entry.id,
                bytes: entry.bytes,
                modified: entry.modified.ok_or("a version without its time")?,
                is_deletion,
            });
        }
    }
    next.key = key(next.key).ok_or("it goes on after a key that is no text")?;
    match truncated {
        false => Ok(Page {
            versions,
            next: None,
        }),
        true if !next.key.is_empty() && Some(&next) != asked => Ok(Page {
            versions,
            next: Some(next),
        }),
        true => Err("it goes on, and does not say where".into()),
    }
}

impl Entry {
    /// Sets a field. Fails if its value makes no sense.
    fn set(&mut self, field: &str, text: &str) -> Result<(), String> {
        match field {
            "Key" => self.key = text.to_owned(),
            "VersionId" => self.id = text.trim().to_owned(),
            "Size" => {
                let bytes = text.trim().parse();
                self.bytes = bytes.map_err(|_| format!("the size {text:?}"))?;
            }
            "LastModified" => {
                let at = text.trim().parse();
                self.modified = Some(at.map_err(|_| format!("the time {text:?}"))?);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<ListVersionsResult><EncodingType>url</EncodingType>\
        <IsTruncated>true</IsTruncated><NextKeyMarker>a%20b</NextKeyMarker>\
        <NextVersionIdMarker>1</NextVersionIdMarker>\
        <Version><Key>a%20b</Key><VersionId>2</VersionId><IsLatest>true</IsLatest>\
        <LastModified>2026-11-20T06:00:00.000Z</LastModified><Size>5</Size>\
        <Owner><ID>x</ID></Owner></Version>\
        <DeleteMarker><Key>a%20b</Key><VersionId>1</VersionId>\
        <LastModified>2026-11-19T06:00:00.000Z</LastModified></DeleteMarker>\
        <Version><Key>folder%2F</Key><VersionId>3</VersionId>\
        <LastModified>2026-11-20T06:00:00.000Z</LastModified><Size>0</Size></Version>\
        </ListVersionsResult>";

    #[test]
    fn versions_and_deletions_are_read_in_their_order() {
        let page = parse(PAGE, None).unwrap();
        let read: Vec<_> = page
            .versions
            .iter()
            .map(|v| (v.key.as_str(), v.id.as_str(), v.bytes, v.is_deletion))
            .collect();
        assert_eq!(read, [("a b", "2", 5, false), ("a b", "1", 0, true)]);
        let marker = Marker {
            key: "a b".to_owned(),
            version: "1".to_owned(),
        };
        assert_eq!(page.next.as_ref(), Some(&marker));
        // The same page again would never end.
        parse(PAGE, Some(&marker)).unwrap_err();
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_and_a_plain_listing_has_no_versions() {
        for (from, to) in [
            ("<Size>5<", "<Size>many<"),
            ("2026-11-20", "yesterday"),
            ("<LastModified>2026-11-19T06:00:00.000Z</LastModified>", ""),
            ("</ListVersionsResult>", ""),
        ] {
            parse(&PAGE.replace(from, to), None).unwrap_err();
        }
        let plain = PAGE.replace("ListVersionsResult", "ListBucketResult");
        assert_eq!(parse(&plain, None), Ok(Page::default()));
    }
}
