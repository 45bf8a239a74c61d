//! A store in an S3 bucket, of Amazon or another provider, through OpenDAL.
//!
//! Guarantees: an object appears complete or not at all, and only after what the server reports
//! about it (its size, and its ETag if that is an MD5) agrees with what was sent. Memory is bounded
//! whatever an object's size. Every wait and every retry is bounded. It does not guarantee
//! `if_absent` against racing writers on servers without conditional requests, and an upload whose
//! process is killed leaves parts that only the bucket's lifecycle rules remove.

pub mod bucket;
mod call;
mod confirm;
mod download;
mod http;
mod refusal;
mod retain;
mod stranger;
mod upload;
mod versions;
mod wire;

use self::http::Signing;
use crate::aws::Credentials;
use crate::ending::Ending;
use crate::listed::{LISTED_MAX, check_listed};
use crate::probe::{probe, random_name};
use crate::runtime;
use crate::{
    Exposure, Lock, LockSettings, ObjectInfo, ObjectLock, PutOptions, Receipt, Store, StoreError,
    check_key,
};
use bucket::Bucket;
use bytes::Bytes;
pub use call::Call;
use futures::TryStreamExt;
use jiff::Timestamp;
use opendal::layers::RetryLayer;
use opendal::{ErrorKind, HttpTransporter, Metadata, OperationContext, Operator, services};
use refusal::{refusal, store_error};
use retain::Retaining;
use std::fmt;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use versions::HeadError;

/// The most repeats of a request whose failure may be temporary, and the delays between them.
const RETRIES_MAX: usize = 6;
const RETRY_DELAY_MIN: Duration = Duration::from_millis(250);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(8);

/// The objects requested per page of a listing. Most servers return a thousand at most. For servers
/// that walk a directory for each page, a listing is feasible only with large pages.
const PAGE_OBJECTS: u32 = 50_000;

/// The location of a bucket, and how to use it.
#[derive(Clone)]
pub struct S3Options {
    /// The name of the bucket.
    pub bucket: String,
    /// The prefix of every key, used as a directory; empty for none.
    pub prefix: String,
    /// The region to sign for. It may be omitted if an endpoint is given.
    pub region: Option<String>,
    /// The URL of the server; if omitted, Amazon's for the region.
    pub endpoint: Option<String>,
    /// What signs the requests.
    pub credentials: Credentials,
    /// The storage class, such as `STANDARD_IA` or `GLACIER_IR`.
    pub storage_class: Option<String>,
    /// The server-side encryption: `AES256` or `aws:kms`.
    pub server_side_encryption: Option<String>,
    /// The key for `aws:kms`; if omitted, the account's default key.
    pub kms_key_id: Option<String>,
    /// The locks of the objects that are put; `None` locks nothing.
    pub object_lock: Option<ObjectLock>,
    /// Use `https://bucket.server/key` rather than `https://server/bucket/key`.
    pub virtual_host_style: bool,
    /// The time for which a server may be silent or keep failing before it is given up.
    pub stall: Duration,
    /// Ends the waits for this store.
    pub ending: Ending,
}

impl Default for S3Options {
    /// Sets nothing; a server may stall for five minutes.
    fn default() -> Self {
        S3Options {
            bucket: String::new(),
            prefix: String::new(),
            region: None,
            endpoint: None,
            credentials: Credentials::given("", "", None),
            storage_class: None,
            server_side_encryption: None,
            kms_key_id: None,
            object_lock: None,
            virtual_host_style: false,
            stall: Duration::from_secs(300),
            ending: Ending::default(),
        }
    }
}

/// A store of objects in a bucket.
#[derive(Clone)]
pub struct S3Store {
    operator: Operator,
    /// Puts the objects that are locked.
    retaining: Option<Operator>,
    /// Asks what OpenDAL does not; `None` for an endpoint that is not plain.
    bucket: Option<Bucket>,
    location: String,
    place: S3Options,
    /// True if the server's ETags are not MD5, whatever they look like.
    opaque_etags: bool,
    /// True once the server has answered.
    reached: Arc<AtomicBool>,
    /// True once the bucket was seen to exist, so that only the object can be missing.
    bucket_seen: Arc<AtomicBool>,
    /// True once the server said that it does not support conditional requests.
    unconditional: Arc<AtomicBool>,
    /// False if the bucket locks no objects; empty until that is asked.
    locks: Arc<OnceLock<bool>>,
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
        let signing = signing(&options, endpoint_of(&options, &location)?.0);
        let transport = http::Http::new(Arc::clone(&reached), options.stall, Some(signing));
        let transport = HttpTransporter::new(transport.map_err(other)?);
        let retry = RetryLayer::new()
            .with_jitter()
            .with_factor(2.0)
            .with_min_delay(RETRY_DELAY_MIN)
            // Keeps the last pause from dominating the total.
            .with_max_delay(RETRY_DELAY_MAX.min(options.stall / 4).max(RETRY_DELAY_MIN))
            .with_max_times(RETRIES_MAX)
            .with_notify(|_: opendal::layers::RetryEvent<'_>| {});
        let operator = |transport: HttpTransporter| {
            let context = OperationContext::new().with_http_transport(transport);
            let operator = Operator::new(service(&options, &location)?);
            let operator = operator.map_err(|e| store_error(&e, &location, ""))?;
            Ok::<_, StoreError>(operator.with_context(context).layer(retry.clone()))
        };
        let with_lock = |lock: Option<ObjectLock>| {
            let below = transport.clone();
            operator(HttpTransporter::new(Retaining { below, lock }))
        };
        let (operator, retaining) = match options.object_lock {
            Some(lock) => (with_lock(None)?, Some(with_lock(Some(lock))?)),
            None => (operator(transport)?, None),
        };
        let kms = options.server_side_encryption.as_deref() == Some("aws:kms");
        Ok(S3Store {
            operator,
            retaining,
            bucket: Bucket::open(&options).ok(),
            // Directory buckets have a different kind of ETag.
            opaque_etags: kms || is_directory(&options.bucket),
            location,
            place: options,
            reached,
            bucket_seen: Arc::default(),
            unconditional: Arc::default(),
            locks: Arc::default(),
        })
    }

    fn error(&self, error: &opendal::Error, key: &str) -> StoreError {
        store_error(error, &self.location, key)
    }

    /// The error of a failed listing. Even if no key begins with `prefix`, a listing is never a
    /// missing object.
    fn unlisted(&self, error: &opendal::Error, prefix: &str) -> StoreError {
        self.as_listing(self.error(error, prefix))
    }

    fn as_listing(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::NotFound { location, .. } => StoreError::Other {
                location,
                detail: "it answers a listing as if nothing could be listed there (404)".into(),
            },
            error => error,
        }
    }

    /// Returns what the server reports about an object; `None` if there is no such object.
    fn head(&self, key: &str) -> Result<Option<Metadata>, StoreError> {
        self.head_of(key, None).map_err(HeadError::into_store_error)
    }

    /// Returns what the server reports about an object, or about a version of it.
    fn head_of(&self, key: &str, version: Option<&str>) -> Result<Option<Metadata>, HeadError> {
        let (operator, path) = (self.operator.clone(), key.to_owned());
        let version = version.map(str::to_owned);
        let answer = runtime::run(self.place.ending.work(), &self.location, async move {
            match version {
                Some(version) => operator.stat_with(&path).version(&version).await,
                None => operator.stat(&path).await,
            }
        })?;
        match answer {
            Ok(metadata) => {
                self.bucket_seen.store(true, Ordering::Relaxed);
                Ok(Some(metadata))
            }
            Err(error) => match refusal(&error).map(|r| r.status) {
                Some(404) if self.bucket_seen.load(Ordering::Relaxed) => Ok(None),
                Some(404) => Ok(self.ask_for_bucket().map(|()| None)?),
                // An answer to HEAD has no text; the refusal of a listing has some.
                Some(status @ 300..=403) => {
                    let reason = self.ask_for_bucket().err();
                    match reason.filter(|e| !matches!(e, StoreError::Denied { .. })) {
                        Some(reason) => Err(reason.into()),
                        None => Err(HeadError::Refused(status, self.error(&error, key))),
                    }
                }
                Some(status) => Err(HeadError::Refused(status, self.error(&error, key))),
                None => Err(self.error(&error, key).into()),
            },
        }
    }

    /// Fails if the bucket is missing or the credentials are wrong. If listing is merely not
    /// permitted, neither is known, and it succeeds.
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
        if options.if_absent && self.stat(key)?.is_some() {
            return Err(self.already_exists(key));
        }
        let ticket = match options.if_absent || self.opaque_etags {
            true => Some(random_name(&self.location)?),
            false => None,
        };
        upload::put(self, key, body, options, ticket)
    }

    /// Sends the bytes in one request, unless there are very many.
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
        let metadata = self.head(key)?;
        let metadata = metadata.ok_or_else(|| self.no_such_object(key))?;
        self.reader(key, &metadata, None, offset)
    }

    fn open_part(
        &self,
        key: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        self.part(key, None, offset, bytes)
    }

    fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        check_s3_key(key)?;
        match self.head(key) {
            Ok(found) => Ok(found.map(|metadata| ObjectInfo {
                key: key.to_owned(),
                bytes: metadata.content_length(),
                modified: modified(&metadata),
                version: metadata.version().map(str::to_owned),
            })),
            // Who may only write and list sees it in a listing.
            Err(StoreError::Denied { .. }) => {
                let mut listed = self.list(key)?.into_iter();
                Ok(listed.find(|object| object.key == key))
            }
            Err(error) => Err(error),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        // OpenDAL tidies paths: it removes blanks at either end and doubled slashes. So it finds a
        // superset, unless it changed the inside of the prefix; but no key has such an inside.
        if prefix.starts_with('/') || prefix.contains("//") {
            return Ok(Vec::new());
        }
        let answer = match self.listed(prefix, Some(PAGE_OBJECTS))? {
            // Perhaps the server refuses requests for more objects than it returns.
            Err(error) if matches!(refusal(&error).map(|r| r.status), Some(400 | 501)) => {
                self.listed(prefix, None)?
            }
            answer => answer,
        };
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

    fn delete_version(&self, key: &str, version: &str) -> Result<(), StoreError> {
        self.remove_version(key, version)
    }

    fn lock(&self, key: &str, version: Option<&str>) -> Result<Option<Lock>, StoreError> {
        self.locked(key, version)
    }

    fn extend_lock(
        &self,
        key: &str,
        version: Option<&str>,
        enough: Timestamp,
        until: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        self.lock_longer(key, version, enough, until)
    }

    fn lock_settings(&self) -> Result<Option<LockSettings>, StoreError> {
        self.bucket.as_ref().map_or(Ok(None), Bucket::lock_settings)
    }

    fn open_version(
        &self,
        key: &str,
        version: &str,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        self.read_version(key, version, offset)
    }

    fn as_of(&self, at: Timestamp) -> Result<Box<dyn Store>, StoreError> {
        self.past(at)
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
    /// Lists objects as [`Store::list`] does, in the server's order; one more than allowed at most.
    fn listed(
        &self,
        prefix: &str,
        page_objects: Option<u32>,
    ) -> Result<Result<Vec<ObjectInfo>, opendal::Error>, StoreError> {
        let (operator, path) = (self.operator.clone(), prefix.trim().to_owned());
        let wanted = prefix.to_owned();
        runtime::run(self.place.ending.work(), &self.location, async move {
            let mut listing = operator.lister_with(&path).recursive(true);
            if let Some(objects) = page_objects {
                listing = listing.limit(usize::try_from(objects).unwrap_or(usize::MAX));
            }
            let mut lister = listing.await?;
            let mut found = Vec::new();
            while let Some(entry) = lister.try_next().await? {
                if found.len() > LISTED_MAX {
                    break;
                }
                // A key that ends in a slash is a folder made by a console, and not an object of
                // ours.
                if entry.path().starts_with(&wanted) && !entry.path().ends_with('/') {
                    found.push(ObjectInfo {
                        bytes: entry.metadata().content_length(),
                        modified: modified(entry.metadata()),
                        version: None,
                        key: entry.path().to_owned(),
                    });
                }
            }
            Ok::<_, opendal::Error>(found)
        })
    }

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

fn modified(metadata: &Metadata) -> Option<Timestamp> {
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

/// A URL without the user name and password that may precede an `@`.
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
    // Always set, so that none is taken from the environment.
    let endpoint = match &options.endpoint {
        Some(endpoint) => endpoint.clone(),
        None if region.starts_with("cn-") => format!("https://s3.{region}.amazonaws.com.cn"),
        None => format!("https://s3.{region}.amazonaws.com"),
    };
    Ok((region, endpoint))
}

/// The address of the bucket in requests.
struct Address {
    region: String,
    scheme: String,
    /// The host, with the port.
    host: String,
    /// The path of the bucket: `/bucket`, or empty if the host names the bucket.
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
        return Err(other(
            "the endpoint is not the plain URL of a server".into(),
        ));
    }
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

/// What signs requests to a bucket.
fn signing(options: &S3Options, region: String) -> Signing {
    Signing {
        credentials: options.credentials.clone(),
        region,
        bucket: match options.virtual_host_style {
            true => String::new(),
            false => format!("/{}", options.bucket),
        },
        service: match is_directory(&options.bucket) {
            true => "s3express",
            false => "s3",
        },
    }
}

/// Returns whether a bucket is a directory bucket, by its name.
fn is_directory(bucket: &str) -> bool {
    bucket.ends_with("--x-s3")
}

fn service(options: &S3Options, location: &str) -> Result<services::S3, StoreError> {
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
    // The transport signs.
    service = service.skip_signature();
    let kms = options.server_side_encryption.as_deref() == Some("aws:kms");
    if amazon || kms {
        // Servers that are known to support it check each part as it arrives.
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

/// Checks the rules for every key, and one of OpenDAL.
fn check_s3_key(key: &str) -> Result<(), StoreError> {
    check_key(key)?;
    // OpenDAL would silently drop the blanks, and two keys would become one.
    if key.trim() != key {
        return Err(StoreError::InvalidKey {
            key: key.to_owned(),
            reason: "it begins or ends with a blank",
        });
    }
    Ok(())
}
