//! A store in an S3 bucket, Amazon's or another's, through OpenDAL.
//!
//! Guarantees: an object appears whole or not at all, and only after the server's own word of it
//! (its size, and its ETag where that is an MD5) agrees with what was sent; memory stays bounded
//! whatever an object's size; every wait and every retry is bounded. It does not guarantee
//! `if_absent` against writers that race on servers without conditional requests, and an upload
//! whose process is killed leaves parts behind that only the bucket's lifecycle rules remove.

pub mod bucket;
mod confirm;
mod download;
mod http;
mod refusal;
mod runtime;
mod sign;
mod stranger;
mod upload;
mod wire;

use crate::ending::Ending;
use crate::listed::{LISTED_MAX, check_listed};
use crate::memory::beyond;
use crate::probe::{probe, random_name};
use crate::read::Exact;
use crate::{Exposure, ObjectInfo, PutOptions, Receipt, Store, StoreError, check_key};
use bytes::Bytes;
use futures::TryStreamExt;
use opendal::layers::RetryLayer;
use opendal::{ErrorKind, HttpTransporter, Metadata, OperationContext, Operator, services};
use refusal::{refusal, store_error};
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a request is repeated when its failure may pass, and how long between.
const RETRIES_MAX: usize = 6;
const RETRY_DELAY_MIN: Duration = Duration::from_millis(250);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(8);

/// Where a bucket is and how to use it.
#[derive(Clone)]
pub struct S3Options {
    /// Its name.
    pub bucket: String,
    /// What every key begins with, taken as a directory; none when empty.
    pub prefix: String,
    /// The region to sign for. It may be left out where an endpoint is given.
    pub region: Option<String>,
    /// The server, as a URL; Amazon's for the region when left out.
    pub endpoint: Option<String>,
    /// Without keys, they are taken from where the AWS tools find them; with keys, nothing in the
    /// environment, no file and no metadata service is consulted.
    pub access_key: Option<String>,
    /// Goes with the access key.
    pub secret_key: Option<String>,
    /// For temporary keys.
    pub session_token: Option<String>,
    /// `STANDARD_IA`, `GLACIER_IR`, …
    pub storage_class: Option<String>,
    /// `AES256` or `aws:kms`.
    pub server_side_encryption: Option<String>,
    /// The key for `aws:kms`; the account's default key when left out.
    pub kms_key_id: Option<String>,
    /// `https://bucket.server/key` rather than `https://server/bucket/key`.
    pub virtual_host_style: bool,
    /// A server that says nothing for so long, or keeps failing for so long, is given up.
    pub stall: Duration,
    /// Ends what waits for it.
    pub ending: Ending,
}

impl Default for S3Options {
    /// Nothing is set, and a server may stall for five minutes.
    fn default() -> Self {
        S3Options {
            bucket: String::new(),
            prefix: String::new(),
            region: None,
            endpoint: None,
            access_key: None,
            secret_key: None,
            session_token: None,
            storage_class: None,
            server_side_encryption: None,
            kms_key_id: None,
            virtual_host_style: false,
            stall: Duration::from_secs(300),
            ending: Ending::default(),
        }
    }
}

/// Objects in a bucket.
pub struct S3Store {
    operator: Operator,
    location: String,
    /// Where it is, without keys.
    place: S3Options,
    /// The server makes ETags that are no MD5, whatever they look like.
    opaque_etags: bool,
    /// The server answered at least once.
    reached: Arc<AtomicBool>,
    /// The bucket was seen to exist, so that a missing object is just that.
    bucket_seen: Arc<AtomicBool>,
    /// The server said that it does not know conditional requests.
    unconditional: Arc<AtomicBool>,
}

impl S3Store {
    /// Prepares a client. No request is sent, so a wrong bucket or key shows at the first use;
    /// [`Store::probe`] is such a use.
    pub fn open(options: S3Options) -> Result<Self, StoreError> {
        let location = location(&options);
        let other = |detail: String| StoreError::Other {
            location: location.clone(),
            detail,
        };
        let reached = Arc::<AtomicBool>::default();
        let transport = http::Http::new(Arc::clone(&reached), options.stall).map_err(other)?;
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(transport));
        let retry = RetryLayer::new()
            .with_jitter()
            .with_factor(2.0)
            .with_min_delay(RETRY_DELAY_MIN)
            // So that the last pause is not the longest part of the whole.
            .with_max_delay(RETRY_DELAY_MAX.min(options.stall / 4).max(RETRY_DELAY_MIN))
            .with_max_times(RETRIES_MAX)
            .with_notify(|_: opendal::layers::RetryEvent<'_>| {});
        let operator = Operator::new(service(&options, &location)?)
            .map_err(|e| store_error(&e, &location, ""))?
            .with_context(context)
            .layer(retry);
        let kms = options.server_side_encryption.as_deref() == Some("aws:kms");
        Ok(S3Store {
            operator,
            // Directory buckets have ETags of their own.
            opaque_etags: kms || options.bucket.ends_with("--x-s3"),
            location,
            place: S3Options {
                access_key: None,
                secret_key: None,
                session_token: None,
                ..options
            },
            reached,
            bucket_seen: Arc::default(),
            unconditional: Arc::default(),
        })
    }

    fn error(&self, error: &opendal::Error, key: &str) -> StoreError {
        store_error(error, &self.location, key)
    }

    /// Why a listing failed. What begins like `prefix` may be nothing, but it is never missing.
    fn unlisted(&self, error: &opendal::Error, prefix: &str) -> StoreError {
        match self.error(error, prefix) {
            StoreError::NotFound { location, .. } => StoreError::Other {
                location,
                detail: "it answers a listing as if nothing could be listed there (404)".into(),
            },
            error => error,
        }
    }

    /// What the server says of an object; `None` when there is none.
    fn head(&self, key: &str) -> Result<Option<Metadata>, StoreError> {
        let (operator, path) = (self.operator.clone(), key.to_owned());
        let answer = runtime::run(self.place.ending.work(), &self.location, async move {
            operator.stat(&path).await
        })?;
        match answer {
            Ok(metadata) => {
                self.bucket_seen.store(true, Ordering::Relaxed);
                Ok(Some(metadata))
            }
            Err(error) => match refusal(&error).map(|r| r.status) {
                Some(404) if self.bucket_seen.load(Ordering::Relaxed) => Ok(None),
                Some(404) => self.ask_for_bucket().map(|()| None),
                // An answer to HEAD has no words; a listing is refused with some.
                Some(300..=403) => Err(self
                    .ask_for_bucket()
                    .err()
                    .filter(|e| !matches!(e, StoreError::Denied { .. }))
                    .unwrap_or_else(|| self.error(&error, key))),
                _ => Err(self.error(&error, key)),
            },
        }
    }

    /// An error when the bucket is missing or the credentials are wrong. Not being allowed to
    /// list says nothing of either.
    fn ask_for_bucket(&self) -> Result<(), StoreError> {
        let operator = self.operator.clone();
        let answer = runtime::run(self.place.ending.work(), &self.location, async move {
            let mut lister = operator.lister_with("/").limit(1).await?;
            lister.try_next().await.map(|_| ())
        })?;
        match answer.map_err(|e| self.unlisted(&e, "")) {
            Ok(()) | Err(StoreError::Denied { .. }) => {
                self.bucket_seen.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl Store for S3Store {
    fn is_remote(&self) -> bool {
        true
    }

    fn makes_once(&self) -> bool {
        !self.unconditional.load(Ordering::Relaxed)
    }

    fn location(&self) -> String {
        self.location.clone()
    }

    fn put(
        &self,
        key: &str,
        body: &mut (dyn Read + Send),
        options: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        check_s3_key(key)?;
        if options.if_absent && self.head(key)?.is_some() {
            return Err(self.already_exists(key));
        }
        let ticket = match options.if_absent || self.opaque_etags {
            true => Some(random_name(&self.location)?),
            false => None,
        };
        upload::put(self, key, body, options, ticket)
    }

    /// In one request, unless it is very long.
    fn put_whole(
        &self,
        key: &str,
        body: Bytes,
        options: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        if options.if_absent || body.len() > upload::WHOLE_BYTES_MAX {
            return self.put(key, &mut body.as_ref(), options);
        }
        check_s3_key(key)?;
        let ticket = match self.opaque_etags {
            true => Some(random_name(&self.location)?),
            false => None,
        };
        upload::put_whole(self, key, body, ticket)
    }

    fn open(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        check_s3_key(key)?;
        let metadata = self.head(key)?.ok_or_else(|| StoreError::NotFound {
            location: self.location.clone(),
            key: key.to_owned(),
        })?;
        let bytes = metadata.content_length();
        if offset > bytes {
            return Err(beyond(&self.location, key, offset, bytes));
        }
        if offset == bytes {
            return Ok(Box::new(std::io::empty()));
        }
        let reader = download::start(self, key, offset..bytes, metadata.etag())?;
        let what = format!("{key:?} in {}", self.location);
        Ok(Box::new(Exact::new(reader, bytes - offset, what)))
    }

    fn open_part(
        &self,
        key: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        check_s3_key(key)?;
        if bytes == 0 {
            return Ok(Box::new(std::io::empty()));
        }
        match download::part(self, key, offset..offset.saturating_add(bytes)) {
            Ok(part) => Ok(Box::new(part)),
            // Perhaps it is not there, or not that long: this tells.
            Err(_) => Ok(Box::new(self.open(key, offset)?.take(bytes))),
        }
    }

    fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        check_s3_key(key)?;
        Ok(self.head(key)?.map(|metadata| ObjectInfo {
            key: key.to_owned(),
            bytes: metadata.content_length(),
            modified: modified(&metadata),
        }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        // OpenDAL tidies paths: blanks at either end and doubled slashes go. What it then finds is
        // a superset, unless it changed the inside of the prefix; but no key has such an inside.
        if prefix.starts_with('/') || prefix.contains("//") {
            return Ok(Vec::new());
        }
        let (operator, path) = (self.operator.clone(), prefix.trim().to_owned());
        let wanted = prefix.to_owned();
        let answer = runtime::run(self.place.ending.work(), &self.location, async move {
            let mut lister = operator.lister_with(&path).recursive(true).await?;
            let mut found = Vec::new();
            while let Some(entry) = lister.try_next().await? {
                if found.len() > LISTED_MAX {
                    break;
                }
                // A key that ends in a slash is a folder of some console, and no object of ours.
                if entry.path().starts_with(&wanted) && !entry.path().ends_with('/') {
                    found.push(ObjectInfo {
                        bytes: entry.metadata().content_length(),
                        modified: modified(entry.metadata()),
                        key: entry.path().to_owned(),
                    });
                }
            }
            Ok::<_, opendal::Error>(found)
        })?;
        let mut found = answer.map_err(|e| self.unlisted(&e, prefix))?;
        check_listed(found.len(), || self.location.clone())?;
        found.sort_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
        Ok(found)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_s3_key(key)?;
        let (operator, path) = (self.operator.clone(), key.to_owned());
        let answer = runtime::run(self.place.ending.work(), &self.location, async move {
            operator.delete(&path).await
        })?;
        match answer {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.error(&error, key)),
        }
    }

    fn probe(&self) -> Result<(), StoreError> {
        probe(self)
    }

    fn exposure(&self, keys: &[String]) -> Result<Exposure, StoreError> {
        let mut there = Vec::new();
        for key in keys {
            there.extend(self.stat(key)?);
        }
        stranger::Stranger::new(&self.place, &self.location)?.look(&there)
    }
}

impl S3Store {
    fn already_exists(&self, key: &str) -> StoreError {
        StoreError::AlreadyExists {
            location: self.location.clone(),
            key: key.to_owned(),
        }
    }
}

/// Never shows the keys.
impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint.as_deref().map(without_user))
            .field("storage_class", &self.storage_class)
            .field("server_side_encryption", &self.server_side_encryption)
            .field("virtual_host_style", &self.virtual_host_style)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

fn modified(metadata: &Metadata) -> Option<jiff::Timestamp> {
    Some(metadata.last_modified()?.into())
}

fn location(options: &S3Options) -> String {
    let mut location = format!("s3://{}", options.bucket);
    if !options.prefix.is_empty() {
        location = format!("{location}/{}", options.prefix.trim_matches('/'));
    }
    if let Some(endpoint) = &options.endpoint {
        let endpoint = without_user(endpoint);
        location = format!("{location} at {}", endpoint.trim_end_matches('/'));
    }
    location
}

/// A URL less the name and password it may carry before an `@`.
fn without_user(endpoint: &str) -> &str {
    endpoint.rsplit('@').next().unwrap_or_default()
}

/// The region to sign for, and the URL of the server.
fn endpoint_of(options: &S3Options, location: &str) -> Result<(String, String), StoreError> {
    let region = match (&options.region, &options.endpoint) {
        (Some(region), _) => region.clone(),
        (None, Some(endpoint)) if endpoint.contains(".r2.cloudflarestorage.com") => "auto".into(),
        (None, Some(_)) => "us-east-1".to_owned(),
        (None, None) => {
            return Err(StoreError::Other {
                location: location.to_owned(),
                detail: "without an endpoint, a region is needed".to_owned(),
            });
        }
    };
    // Always given, so that none is taken from the environment.
    let endpoint = match &options.endpoint {
        Some(endpoint) => endpoint.clone(),
        None if region.starts_with("cn-") => format!("https://s3.{region}.amazonaws.com.cn"),
        None => format!("https://s3.{region}.amazonaws.com"),
    };
    Ok((region, endpoint))
}

/// How requests address the bucket.
struct Address {
    region: String,
    scheme: String,
    /// With the port, unless it goes without saying.
    host: String,
    /// `/bucket`, or nothing where the host names the bucket.
    path: String,
}

fn address(options: &S3Options, location: &str) -> Result<Address, StoreError> {
    let other = |detail: String| StoreError::Other {
        location: location.to_owned(),
        detail,
    };
    let (region, endpoint) = endpoint_of(options, location)?;
    let (scheme, rest) = endpoint
        .split_once("://")
        .ok_or_else(|| other(format!("the endpoint {endpoint:?} is no URL")))?;
    let host = rest.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '@', '?', '#']) {
        return Err(other("the endpoint is no plain URL of a server".into()));
    }
    // The port that goes without saying is not in the header that is signed.
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(default_port).unwrap_or(host);
    let (host, path) = match options.virtual_host_style {
        true => (format!("{}.{host}", options.bucket), String::new()),
        false => (host.to_owned(), format!("/{}", options.bucket)),
    };
    Ok(Address {
        region,
        scheme: scheme.to_owned(),
        host,
        path,
    })
}

fn service(options: &S3Options, location: &str) -> Result<services::S3, StoreError> {
    let other = |detail: &str| StoreError::Other {
        location: location.to_owned(),
        detail: detail.to_owned(),
    };
    let amazon = options
        .endpoint
        .as_deref()
        .is_none_or(|e| e.contains(".amazonaws.com"));
    let (region, endpoint) = endpoint_of(options, location)?;
    let mut service = services::S3::default()
        .bucket(&options.bucket)
        .root(&options.prefix)
        .region(&region)
        .endpoint(&endpoint);
    match (&options.access_key, &options.secret_key) {
        (Some(access), Some(secret)) => {
            service = service
                .access_key_id(access)
                .secret_access_key(secret)
                .session_token(options.session_token.as_deref().unwrap_or_default())
                .disable_config_load()
                .disable_ec2_metadata();
        }
        (None, None) => {}
        _ => return Err(other("an access key and a secret key go together")),
    }
    let kms = options.server_side_encryption.as_deref() == Some("aws:kms");
    if amazon || kms {
        // Where it is known to work, the server checks each part as it arrives.
        service = service.checksum_algorithm("crc32c");
    }
    service = service
        .default_storage_class(options.storage_class.as_deref().unwrap_or_default())
        .server_side_encryption(
            options
                .server_side_encryption
                .as_deref()
                .unwrap_or_default(),
        )
        .server_side_encryption_aws_kms_key_id(options.kms_key_id.as_deref().unwrap_or_default());
    if options.virtual_host_style {
        service = service.enable_virtual_host_style();
    }
    Ok(service)
}

/// The rules for every key, and one of OpenDAL.
fn check_s3_key(key: &str) -> Result<(), StoreError> {
    check_key(key)?;
    // OpenDAL would silently drop the blanks, and two keys would be one.
    if key.trim() != key {
        return Err(StoreError::InvalidKey {
            key: key.to_owned(),
            reason: "it begins or ends with a blank",
        });
    }
    Ok(())
}
