//! Locks: what the bucket says of them, and the retention of one object.

use super::{Ask, Bucket, Inner, status, xml};
use crate::StoreError;
use crate::lock::{LockMode, LockSettings, Retained};
use crate::s3::retain::content_md5;
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;

/// Days of a year, as S3 counts the years of a default retention.
const YEAR_DAYS: u64 = 365;

impl Bucket {
    /// What the bucket says about locks; `None` if these credentials may not ask. A server that does
    /// not know the question locks nothing.
    pub(in crate::s3) fn lock_settings(&self) -> Result<Option<LockSettings>, StoreError> {
        self.wait(b"", |inner| async move {
            let ask = Ask {
                method: Method::GET,
                query: vec![("object-lock", Vec::new())],
                ..Ask::default()
            };
            match inner.ask(&ask).await {
                Ok((_, body)) => {
                    let settings = settings(&String::from_utf8_lossy(&body));
                    Ok(Some(settings.unwrap_or_default()))
                }
                Err(error) => match status(&error) {
                    Some(401 | 403) => Ok(None),
                    Some(400 | 404 | 405 | 501) => Ok(Some(LockSettings::default())),
                    _ => Err(error),
                },
            }
        })
    }

    /// The retention of an object, or of a version of it. `None` if the server says of none.
    pub(in crate::s3) fn retention(
        &self,
        key: &[u8],
        version: Option<&str>,
    ) -> Result<Option<Retained>, StoreError> {
        let ask = Ask {
            method: Method::GET,
            key: key.to_vec(),
            query: query(version),
            ..Ask::default()
        };
        self.wait(key, move |inner| {
            let ask = ask.clone();
            async move {
                match inner.ask(&ask).await {
                    Ok((_, body)) => Ok(retained(&String::from_utf8_lossy(&body))),
                    Err(error) => match status(&error) {
                        Some(400 | 404 | 405 | 501) => Ok(None),
                        _ => Err(error),
                    },
                }
            }
        })
    }

    /// Sets the retention of an object, or of a version of it. It asks for no bypass: a lock is never
    /// shortened.
    pub(in crate::s3) fn put_retention(
        &self,
        key: &[u8],
        version: Option<&str>,
        lock: &Retained,
    ) -> Result<(), StoreError> {
        let body = Bytes::from(format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>",
            lock.mode.as_str(),
            lock.date()
        ));
        let ask = Ask {
            method: Method::PUT,
            key: key.to_vec(),
            query: query(version),
            headers: vec![("content-md5".to_owned(), content_md5([&body]))],
            body,
        };
        self.wait(key, move |inner: std::sync::Arc<Inner>| {
            let ask = ask.clone();
            async move { inner.ask(&ask).await.map(drop) }
        })
    }
}

fn query(version: Option<&str>) -> Vec<(&'static str, Vec<u8>)> {
    let version = version.map(|version| ("versionId", version.as_bytes().to_vec()));
    let retention = [("retention", Vec::new())];
    retention.into_iter().chain(version).collect()
}

/// Reads what a bucket answers about its locks.
pub(super) fn settings(text: &str) -> Result<LockSettings, String> {
    let mut settings = LockSettings::default();
    let (mut mode, mut days) = (None, 0_u64);
    let read = xml::read(text, |path, text| {
        let text = text.map(str::trim);
        let number = || text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        match path.last().map(String::as_str) {
            Some("ObjectLockEnabled") => settings.enabled |= text == Some("Enabled"),
            Some("Mode") => mode = text.and_then(LockMode::parse),
            Some("Days") => days = days.saturating_add(number()),
            Some("Years") => days = days.saturating_add(number().saturating_mul(YEAR_DAYS)),
            _ => {}
        }
    });
    settings.default = mode.filter(|_| days > 0).map(|mode| (mode, days));
    read.map(|()| settings)
}

/// Reads a retention. A server that does not know the question may send the object itself.
fn retained(text: &str) -> Option<Retained> {
    let (mut mode, mut until) = (None, None::<Timestamp>);
    let read = xml::read(text, |path, text| {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["Retention", "Mode"] => mode = text.and_then(|text| LockMode::parse(text.trim())),
            ["Retention", "RetainUntilDate"] => {
                until = text.and_then(|text| text.trim().parse().ok());
            }
            _ => {}
        }
    });
    read.ok()?;
    Some(Retained {
        mode: mode?,
        until: until?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_enabled_only_where_the_answer_says_so() {
        let answer = |text: &str| {
            settings(&format!(
                "<ObjectLockConfiguration><ObjectLockEnabled>{text}</ObjectLockConfiguration>"
            ))
            .unwrap_or_default()
        };
        assert!(answer("Enabled</ObjectLockEnabled>").enabled);
        assert!(!answer("Disabled</ObjectLockEnabled>").enabled);
        assert!(settings("<html>Enabled").is_err());
        let rule = |length: &str| {
            let rule = format!(
                "Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode>{length}</DefaultRetention></Rule>"
            );
            answer(&rule).default
        };
        let default = |days| Some((LockMode::Compliance, days));
        assert_eq!(rule("<Days>40</Days>"), default(40));
        assert_eq!(rule("<Days>0</Days><Years>2</Years>"), default(730));
        assert_eq!(rule("<Days>0</Days>"), None);
        assert_eq!(answer("Enabled</ObjectLockEnabled>").default, None);
    }

    #[test]
    fn a_retention_is_read_and_nothing_else_is_taken_for_one() {
        let text = "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2026-12-31T00:00:00.000Z</RetainUntilDate></Retention>";
        let read = retained(text).unwrap();
        assert_eq!(read.to_string(), "GOVERNANCE until 2026-12-31T00:00:00Z");
        for other in [
            "the object",
            "",
            &text.replace("GOVERNANCE", "SOME"),
            &text.replace("2026", "soon"),
            &text.replace("Retention>", "Other>"),
        ] {
            assert_eq!(retained(other), None, "{other}");
        }
    }
}
