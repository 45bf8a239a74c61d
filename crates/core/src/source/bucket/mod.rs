//! An S3 bucket as a source: mirrored incrementally.
//!
//! Each run lists the bucket, and fetches what is new or changed by ETag, size and time. Fetched
//! objects lie in *packs*: tars of about 64 MiB that are written once and never changed; every
//! later point that needs a pack names it again. The *index* of a point names each object: what it
//! was, its headers, metadata and tags, and the pack and offset of its bytes. Nothing is ever
//! overwritten, so neither a versioned destination nor the right to delete there is needed. A run
//! that is killed at any instruction leaves only packs that no manifest names; the next run finds
//! them and does not fetch their objects again.
//!
//! Packs have advantages over one stored object for each object. They hold keys that no directory
//! can, two keys of which one is a directory of the other, and keys that reveal more than a
//! stranger may read. Twenty thousand small objects are a few uploads. And a manifest can name all
//! packs, with their sizes and hashes, so that the code that verifies, copies and restores
//! artifacts works here too.
//!
//! A change of tags alone is not noticed, because a listing does not show it. Older versions that a
//! bucket keeps are not followed: only the newest is taken.

mod descriptor;
pub mod index;
pub mod key;
pub mod merge;
pub mod objects;
pub mod pack;
pub mod put;
pub mod sort;

pub use descriptor::OfBucket;
pub use put::BucketPlace;

use super::{ArtifactSpec, CaptureContext, Captured, Live, Shape, Source};
use crate::cancel::Cancel;
use crate::config::BucketConfig;
use crate::credentials;
use crate::error::{Code, Error, Result, credential_hint};
use crate::finding::{Finding, Severity};
use crate::name::{Extension, Name};
use crate::secret::Scrubber;
use lifeboat_store::bucket::Bucket;
use lifeboat_store::{S3Options, StoreError};
use std::io::Write;

/// The artifact that names all objects.
pub const INDEX: &str = "index";
/// Prefix of the names of packs.
pub const PACK_PREFIX: &str = "objects-";

/// Returns true if an artifact of a bucket source is a pack.
pub fn is_pack(artifact: &str) -> bool {
    artifact.starts_with(PACK_PREFIX)
}

/// Opens the bucket of a source; no request is sent.
pub fn connect(config: &BucketConfig, scrubber: &Scrubber) -> Result<Bucket> {
    let options = S3Options {
        bucket: config.bucket.clone(),
        prefix: config.prefix.clone().unwrap_or_default(),
        region: Some(config.server.region.clone()),
        endpoint: config.server.endpoint.clone(),
        credentials: credentials::of(&config.server, scrubber)?,
        virtual_host_style: config.server.virtual_host_style,
        ending: Cancel::current().ending(),
        ..S3Options::default()
    };
    Bucket::open(&options).map_err(source_error)
}

/// Converts an error of the bucket into an error of a source.
pub fn source_error(error: StoreError) -> Error {
    let (code, hint) = match &error {
        expired if expired.is_expired_session() => (
            Code::SourceDenied,
            "get new credentials with their session_token; for runs that nobody attends give the source a key that does not expire",
        ),
        StoreError::Archived { .. } => {
            return Error {
                code: Code::SourceDenied,
                ..Error::from(error)
            };
        }
        StoreError::Credentials { .. } => (
            Code::SourceDenied,
            "check access_key and secret_key of this source, and the clock of this host",
        ),
        StoreError::NoCredentials { error, .. } => (Code::SourceDenied, credential_hint(error)),
        StoreError::Denied { .. } => (
            Code::SourceDenied,
            "let these credentials list the bucket and get its objects (s3:ListBucket, s3:GetObject, s3:GetObjectTagging), or set prefix to what they may see",
        ),
        StoreError::Missing { .. } => (
            Code::SourceMissing,
            "correct bucket, region and endpoint of this source",
        ),
        StoreError::Unreachable { .. } => (
            Code::SourceUnreachable,
            "check the endpoint and the network, then run again; what was copied so far is not copied again",
        ),
        _ => (
            Code::SourceFailed,
            "run `lifeboat doctor`, then run again; what was copied so far is not copied again",
        ),
    };
    let said = Error::from(error);
    Error {
        code,
        hint: Some(hint.into()),
        ..said
    }
}

/// A bucket.
#[derive(Debug)]
pub struct BucketSource {
    config: BucketConfig,
}

impl BucketSource {
    /// Checks the configuration; nothing is contacted or resolved.
    pub fn new(config: BucketConfig) -> Result<Self> {
        config.excludes()?;
        Ok(BucketSource { config })
    }
}

impl Source for BucketSource {
    fn live(&self) -> Live {
        Live::Bucket(Box::new(self.config.clone()))
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Packs(&self.config)
    }

    fn artifacts(&self) -> Vec<ArtifactSpec> {
        let spec = |name: &'static str, extension: &'static str| ArtifactSpec {
            name: Name::own(name),
            extension: Extension::own(extension),
        };
        vec![spec("objects", "tar"), spec(INDEX, "ndjson")]
    }

    fn capture(&self, _: &str, _: &mut dyn Write, _: &CaptureContext<'_>) -> Result<Captured> {
        // Its number of streams becomes known only during the capture: `backup` writes them one by
        // one.
        Err(Error::new(
            Code::SourceFailed,
            "a bucket is captured in packs, not as one stream",
        ))
    }

    fn examine(&self, subject: &str, context: &CaptureContext<'_>) -> Vec<Finding> {
        let found = connect(&self.config, context.scrubber).and_then(|bucket| {
            let prefix = self.config.prefix.clone().unwrap_or_default();
            let objects = bucket.peek(prefix.as_bytes()).map_err(source_error)?;
            if let Some(first) = objects.first() {
                bucket.head(&first.key).map_err(source_error)?;
            }
            Ok((bucket, objects.len()))
        });
        vec![match found {
            Ok((bucket, 0)) => Finding::new(
                subject,
                Severity::Warning,
                format!("{} can be read, and holds no object", bucket.location()),
                Some("check bucket and prefix, unless it is meant to be empty".into()),
            ),
            Ok((bucket, _)) => Finding::new(
                subject,
                Severity::Ok,
                format!("{} can be listed and read", bucket.location()),
                None,
            ),
            Err(error) => Finding::new(subject, Severity::Error, error.to_string(), error.hint),
        }]
    }
}
