//! Interprets the refusals of S3 servers for the caller. Codes are those of the S3 API and of
//! servers that implement it; an unknown code is judged by its HTTP status.

use super::call::Call;
use crate::StoreError;
use crate::aws::CredentialError;
use crate::error::EXPIRED;
use crate::lock::Unlocked;
use crate::sign::between;
use opendal::{Error, ErrorKind};
use std::error::Error as _;
use std::fmt;

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The error code; empty if there was none, as in every answer to HEAD.
    pub(super) code: String,
    message: String,
    /// The action that a policy must allow, where that may be the reason.
    action: Option<&'static str>,
}

/// No answer came, or only half of one.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

/// Waiting ended before the answer came.
#[derive(Debug)]
struct Stopped;

/// The error of work whose wait was ended.
pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Unexpected, "interrupted").set_source(Stopped)
}

impl Refusal {
    /// Parses the server's XML, which is too small to need a parser and may be damaged or HTML.
    pub(super) fn new(status: u16, text: &str, region: Option<&str>) -> Self {
        let mut message = between(text, "Message");
        if let Some(region) = region.filter(|_| matches!(status, 301 | 307 | 400)) {
            message = format!("{message} (the bucket is in region {region})");
        }
        Refusal {
            status,
            code: between(text, "Code"),
            message: message.trim().to_owned(),
            action: None,
        }
    }

    /// Says which call was refused. Only a refusal for want of rights names its action.
    pub(super) fn of(mut self, call: Option<Call>) -> Self {
        let by_right = self.status == 403 && matches!(self.code.as_str(), "" | "AccessDenied");
        self.action = call.filter(|_| by_right).map(Call::action);
        self
    }

    /// The answer that a server with conditional requests gives when the object has been replaced.
    pub(super) fn changed() -> Self {
        Refusal {
            status: 412,
            code: "PreconditionFailed".to_owned(),
            message: "another object has its key now".to_owned(),
            action: None,
        }
    }

    pub(super) fn into_error(self) -> Error {
        let kind = match (self.status, self.code.as_str()) {
            (_, "NoSuchBucket") => ErrorKind::ConfigInvalid,
            (404, _) => ErrorKind::NotFound,
            (412, _) => ErrorKind::ConditionNotMatch,
            (401 | 403, _) => ErrorKind::PermissionDenied,
            (429, _) => ErrorKind::RateLimited,
            _ => ErrorKind::Unexpected,
        };
        let temporary = self.is_temporary();
        Error::new(kind, self.to_string())
            .with_temporary(temporary)
            .set_source(self)
    }

    fn is_temporary(&self) -> bool {
        let code = matches!(
            self.code.as_str(),
            "RequestTimeout"
                | "InternalError"
                | "SlowDown"
                | "ServiceUnavailable"
                | "TooManyRequests"
                | "OperationAborted"
                // The body was cut off or damaged on its way.
                | "IncompleteBody"
                | "BadDigest"
        );
        code || matches!(self.status, 408 | 429 | 499 | 500 | 502 | 503 | 504)
    }

    /// Returns whether the keys were valid before.
    pub(super) fn is_expired(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired"
        )
    }

    /// Returns whether no reason is given where Amazon refuses keys that have expired.
    pub(super) fn is_mute(&self) -> bool {
        self.code.is_empty() && self.status == 400
    }

    /// Returns whether the server does not support the conditions of the request.
    pub(super) fn is_unimplemented(&self) -> bool {
        self.status == 501 || self.code == "NotImplemented"
    }

    /// Returns whether the bucket locks no objects: "Bucket is missing Object Lock Configuration" is
    /// written with blanks by Amazon and without by others.
    fn is_without_locks(&self) -> bool {
        let message = self.message.replace(' ', "");
        self.code == "InvalidRequest" && message.contains("ObjectLockConfiguration")
    }

    fn into_store_error(self, location: String, key: &str) -> StoreError {
        let detail = self.to_string();
        let key = key.to_owned();
        match self.code.as_str() {
            "NoSuchBucket" | "InvalidBucketName" => StoreError::Missing { location, detail },
            "NoSuchKey" | "NoSuchVersion" => StoreError::NotFound { location, key },
            "AccessDenied" => StoreError::Denied {
                location,
                key,
                detail,
            },
            "NoSuchUpload" => StoreError::Other { location, detail },
            "PreconditionFailed" => StoreError::Other {
                location,
                detail: format!("{key:?} changed meanwhile ({detail})"),
            },
            "InvalidStorageClass" => StoreError::Other {
                location,
                detail: format!(
                    "the server does not know this storage_class: give another, or none ({detail})"
                ),
            },
            "RequestTimeTooSkewed" => StoreError::Credentials {
                location,
                detail: format!(
                    "the clock of this host differs too much from the store's ({detail})"
                ),
            },
            "InvalidObjectState" => StoreError::Archived {
                location,
                key,
                detail,
            },
            "ExpiredToken" | "TokenRefreshRequired" => StoreError::Credentials {
                location,
                detail: format!("{EXPIRED} ({detail})"),
            },
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "InvalidClientTokenId"
            | "InvalidSecurity"
            | "AuthFailure"
            | "RequestExpired"
            | "NotSignedUp"
            | "Unauthorized"
            | "MissingSecurityHeader" => StoreError::Credentials { location, detail },
            "QuotaExceeded"
            | "QuotaExceededException"
            | "InsufficientStorage"
            | "XMinioStorageFull"
            | "XMinioAdminBucketQuotaExceeded"
            | "StorageFull" => StoreError::Full { location, detail },
            // MinIO's answer for a locked version.
            "InvalidRequest" if self.message.contains("WORM protected") => StoreError::Denied {
                location,
                key,
                detail,
            },
            _ => match self.status {
                401 => StoreError::Credentials { location, detail },
                403 | 405 => StoreError::Denied {
                    location,
                    key,
                    detail,
                },
                404 => StoreError::NotFound { location, key },
                507 => StoreError::Full { location, detail },
                408 | 429 | 500..=599 if !self.is_unimplemented() => {
                    StoreError::Unreachable { location, detail }
                }
                _ => StoreError::Other { location, detail },
            },
        }
    }
}

/// The refusal inside an error, if there is one.
pub(super) fn refusal(error: &Error) -> Option<&Refusal> {
    error.source()?.downcast_ref()
}

/// Converts an error of the client.
pub(super) fn store_error(error: &Error, location: &str, key: &str) -> StoreError {
    let location = location.to_owned();
    if let Some(refusal) = refusal(error) {
        if refusal.is_without_locks() {
            return StoreError::Unlocked {
                location,
                key: key.to_owned(),
                why: Unlocked::Refused(refusal.to_string()),
            };
        }
        return refusal.clone().into_store_error(location, key);
    }
    if let Some(Broken(detail)) = error.source().and_then(|e| e.downcast_ref()) {
        let detail = detail.clone();
        return StoreError::Unreachable { location, detail };
    }
    if let Some(error) = error
        .source()
        .and_then(|e| e.downcast_ref::<CredentialError>())
    {
        let error = error.clone();
        return StoreError::NoCredentials { location, error };
    }
    if error.source().is_some_and(|e| e.is::<Stopped>()) {
        return StoreError::Interrupted { location };
    }
    // `message` rather than `Display`, which adds the whole request.
    let detail = match error.source() {
        Some(source) => format!("{}: {source}", error.message()),
        None => error.message().to_owned(),
    };
    match error.kind() {
        ErrorKind::NotFound => StoreError::NotFound {
            location,
            key: key.to_owned(),
        },
        ErrorKind::PermissionDenied => StoreError::Denied {
            location,
            key: key.to_owned(),
            detail,
        },
        _ => StoreError::Other { location, detail },
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => write!(f, "it answers with status {}", self.status),
            ("", message) => write!(f, "it answers with status {}: {message}", self.status),
            (code, "") => write!(f, "{code}"),
            (code, message) => write!(f, "{code}: {message}"),
        }?;
        match self.action {
            // Amazon names it itself, sometimes.
            Some(action) if !self.message.contains(action) => write!(f, " ({action} is needed)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Stopped {}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, code: &str) -> StoreError {
        let text = format!("<Error><Code>{code}</Code><Message>a &amp; b</Message></Error>");
        let error = Refusal::new(status, &text, None).into_error();
        store_error(&error, "s3://b", "k")
    }

    #[test]
    fn every_refusal_has_a_meaning() {
        use StoreError as E;
        let is = |status, code, expected: fn(&StoreError) -> bool| {
            let error = of(status, code);
            assert!(expected(&error), "{status} {code}: {error:?}");
        };
        is(404, "NoSuchBucket", |e| matches!(e, E::Missing { .. }));
        is(404, "NoSuchKey", |e| matches!(e, E::NotFound { .. }));
        is(403, "InvalidAccessKeyId", |e| {
            matches!(e, E::Credentials { .. })
        });
        is(403, "SignatureDoesNotMatch", |e| {
            matches!(e, E::Credentials { .. })
        });
        is(403, "AccessDenied", |e| matches!(e, E::Denied { .. }));
        is(400, "NoSuchVersion", |e| matches!(e, E::NotFound { .. }));
        is(
            403,
            "RequestTimeTooSkewed",
            |e| matches!(e, E::Credentials { detail, .. } if detail.contains("clock")),
        );
        is(403, "QuotaExceeded", |e| matches!(e, E::Full { .. }));
        is(507, "Whatever", |e| matches!(e, E::Full { .. }));
        is(503, "SlowDown", |e| matches!(e, E::Unreachable { .. }));
        is(501, "NotImplemented", |e| matches!(e, E::Other { .. }));
        is(
            400,
            "InvalidStorageClass",
            |e| matches!(e, E::Other { detail, .. } if detail.contains("storage_class") && detail.contains("InvalidStorageClass: a & b")),
        );
    }

    #[test]
    fn a_lock_is_told_as_a_denial_by_every_server() {
        let minio = "<Error><Code>InvalidRequest</Code><Message>Object is WORM protected and cannot be overwritten</Message></Error>";
        for (status, text) in [
            (403, "<Error><Code>AccessDenied</Code></Error>"),
            (400, "<Error><Code>AccessDenied</Code></Error>"),
            (400, minio),
        ] {
            let error = Refusal::new(status, text, None).into_error();
            let error = store_error(&error, "s3://b", "k");
            assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
        }
        let other = of(400, "InvalidRequest");
        assert!(matches!(other, StoreError::Other { .. }), "{other:?}");
    }

    #[test]
    fn a_bucket_without_locks_says_so_with_blanks_or_without() {
        for words in ["Object Lock Configuration", "ObjectLockConfiguration"] {
            let text = format!(
                "<Error><Code>InvalidRequest</Code><Message>Bucket is missing {words}</Message></Error>"
            );
            let error = Refusal::new(400, &text, None).into_error();
            let error = store_error(&error, "s3://b", "k");
            assert!(matches!(error, StoreError::Unlocked { .. }), "{error:?}");
        }
    }

    #[test]
    fn only_temporary_failures_are_retried() {
        let temporary = |status, text| Refusal::new(status, text, None).into_error().is_temporary();
        assert!(temporary(503, "<html>busy</html>"));
        assert!(temporary(400, "<Code>RequestTimeout</Code>"));
        assert!(!temporary(403, "<Code>AccessDenied</Code>"));
        assert!(!temporary(501, "<Code>NotImplemented</Code>"));
        assert!(!temporary(412, ""));
    }
}
