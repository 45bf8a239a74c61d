//! The one table of the calls that are made of a bucket, with the action that a policy must allow for each.
//! The transport sends no signed request that is not in it, and a refusal names the action.
//!
//! Source: "Actions, resources, and condition keys for Amazon S3" of the service authorization reference.

use super::bucket::control::Setting;
use http::{Method, Uri};

/// A call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each has the name of its action")]
pub enum Call {
    ListBucket,
    ListBucketVersions,
    GetObject,
    GetObjectVersion,
    GetObjectTagging,
    GetObjectVersionTagging,
    GetObjectRetention,
    PutObject,
    PutObjectTagging,
    PutObjectRetention,
    AbortMultipartUpload,
    DeleteObject,
    DeleteObjectVersion,
    CreateBucket,
    /// Asks for a setting of the bucket.
    Get(Setting),
    /// Sets it.
    Put(Setting),
}

impl Call {
    /// The call that a request is; `bucket` is the path of the bucket. `None` for one that Lifeboat does
    /// not make.
    pub(super) fn of(method: &Method, uri: &Uri, bucket: &str) -> Option<Self> {
        let key = uri.path().strip_prefix(bucket)?.trim_start_matches('/');
        let query = uri.query().unwrap_or_default();
        let names = || {
            query
                .split('&')
                .map(|pair| pair.split('=').next().unwrap_or_default())
        };
        let asks = |name: &str| names().any(|known| known == name);
        if key.is_empty() {
            let setting = Setting::ALL
                .into_iter()
                .find(|setting| asks(setting.parameter()));
            return Some(match (method, setting) {
                (&Method::GET, Some(setting)) => Call::Get(setting),
                (&Method::PUT, Some(setting)) => Call::Put(setting),
                (&Method::GET, None) if asks("versions") => Call::ListBucketVersions,
                (&Method::GET | &Method::HEAD, None) => Call::ListBucket,
                (&Method::PUT, None) => Call::CreateBucket,
                _ => return None,
            });
        }
        let version = asks("versionId");
        Some(match *method {
            Method::GET if asks("tagging") && version => Call::GetObjectVersionTagging,
            Method::GET if asks("tagging") => Call::GetObjectTagging,
            Method::GET if asks("retention") => Call::GetObjectRetention,
            Method::GET | Method::HEAD if version => Call::GetObjectVersion,
            Method::GET | Method::HEAD => Call::GetObject,
            Method::PUT if asks("tagging") => Call::PutObjectTagging,
            Method::PUT if asks("retention") => Call::PutObjectRetention,
            Method::PUT | Method::POST => Call::PutObject,
            Method::DELETE if asks("uploadId") => Call::AbortMultipartUpload,
            Method::DELETE if version => Call::DeleteObjectVersion,
            Method::DELETE => Call::DeleteObject,
            _ => return None,
        })
    }

    /// The action.
    pub fn action(self) -> &'static str {
        match self {
            Call::ListBucket => "s3:ListBucket",
            Call::ListBucketVersions => "s3:ListBucketVersions",
            Call::GetObject => "s3:GetObject",
            Call::GetObjectVersion => "s3:GetObjectVersion",
            Call::GetObjectTagging => "s3:GetObjectTagging",
            Call::GetObjectVersionTagging => "s3:GetObjectVersionTagging",
            Call::GetObjectRetention => "s3:GetObjectRetention",
            Call::PutObject => "s3:PutObject",
            Call::PutObjectTagging => "s3:PutObjectTagging",
            Call::PutObjectRetention => "s3:PutObjectRetention",
            Call::AbortMultipartUpload => "s3:AbortMultipartUpload",
            Call::DeleteObject => "s3:DeleteObject",
            Call::DeleteObjectVersion => "s3:DeleteObjectVersion",
            Call::CreateBucket => "s3:CreateBucket",
            Call::Get(setting) => setting.action(),
            Call::Put(setting) => setting.put_action(),
        }
    }

    /// Whether it is about the bucket, and not about an object in it.
    pub fn is_of_bucket(self) -> bool {
        matches!(
            self,
            Call::ListBucket
                | Call::ListBucketVersions
                | Call::CreateBucket
                | Call::Get(_)
                | Call::Put(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_the_call_whose_action_is_needed() {
        for (method, uri, action) in [
            ("GET", "http://h/b?list-type=2&prefix=p", "s3:ListBucket"),
            ("HEAD", "http://h/b", "s3:ListBucket"),
            (
                "GET",
                "http://h/b/?versions&prefix=p",
                "s3:ListBucketVersions",
            ),
            ("HEAD", "http://h/b/a/k", "s3:GetObject"),
            ("GET", "http://h/b/a/k?versionId=1", "s3:GetObjectVersion"),
            (
                "GET",
                "http://h/b/k?tagging&versionId=1",
                "s3:GetObjectVersionTagging",
            ),
            (
                "PUT",
                "http://h/b/k?partNumber=1&uploadId=u",
                "s3:PutObject",
            ),
            ("POST", "http://h/b/k?uploads", "s3:PutObject"),
            (
                "DELETE",
                "http://h/b/k?uploadId=u",
                "s3:AbortMultipartUpload",
            ),
            (
                "DELETE",
                "http://h/b/k?versionId=u",
                "s3:DeleteObjectVersion",
            ),
            ("PUT", "http://h/b/k?retention", "s3:PutObjectRetention"),
            ("GET", "http://h/b?policyStatus", "s3:GetBucketPolicyStatus"),
            ("PUT", "http://h/b?versioning", "s3:PutBucketVersioning"),
            ("PUT", "http://h/b", "s3:CreateBucket"),
            // A key like a setting is a key.
            ("GET", "http://h/b/versioning", "s3:GetObject"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let call = Call::of(&method, &uri.parse().unwrap(), "/b").unwrap();
            assert_eq!(call.action(), action, "{method} {uri}");
        }
        let delete = |uri: &str| Call::of(&Method::DELETE, &uri.parse().unwrap(), "/b");
        assert_eq!(delete("http://h/b"), None);
        // The host names the bucket.
        let get = |uri: &str| Call::of(&Method::GET, &uri.parse().unwrap(), "");
        assert_eq!(get("http://b.h/"), Some(Call::ListBucket));
        assert_eq!(get("http://b.h/k"), Some(Call::GetObject));
    }
}
