//! The settings of a bucket: what the server says of them, and the few that Lifeboat sets.
//!
//! Each question is one request. A server that does not know a question, and credentials that may not
//! ask it, are answers; only a server that cannot be asked is an error.

mod parse;

pub use parse::{Expiry, Grant, Rule, Transition};

use super::{Ask, Bucket, status};
use crate::StoreError;
use crate::lock::LockSettings;
use crate::s3::refusal::refusal;
use base64ct::{Base64, Encoding};
use bytes::Bytes;
use http::{HeaderMap, Method};
use md5::{Digest, Md5};

/// A request about a bucket, with the action that a policy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each has the name of its operation in the API")]
pub enum Setting {
    Location,
    Versioning,
    ObjectLock,
    PublicAccessBlock,
    PolicyStatus,
    Policy,
    Acl,
    Encryption,
    Lifecycle,
    Replication,
    Logging,
}

impl Setting {
    /// Every setting.
    pub const ALL: [Setting; 11] = [
        Setting::Location,
        Setting::Versioning,
        Setting::ObjectLock,
        Setting::PublicAccessBlock,
        Setting::PolicyStatus,
        Setting::Policy,
        Setting::Acl,
        Setting::Encryption,
        Setting::Lifecycle,
        Setting::Replication,
        Setting::Logging,
    ];

    /// The parameter that asks for it.
    pub(in crate::s3) fn parameter(self) -> &'static str {
        match self {
            Setting::Location => "location",
            Setting::Versioning => "versioning",
            Setting::ObjectLock => "object-lock",
            Setting::PublicAccessBlock => "publicAccessBlock",
            Setting::PolicyStatus => "policyStatus",
            Setting::Policy => "policy",
            Setting::Acl => "acl",
            Setting::Encryption => "encryption",
            Setting::Lifecycle => "lifecycle",
            Setting::Replication => "replication",
            Setting::Logging => "logging",
        }
    }

    /// The action that a policy must allow for asking. Source: "Actions, resources, and condition keys
    /// for Amazon S3" of the service authorization reference.
    pub fn action(self) -> &'static str {
        match self {
            Setting::Location => "s3:GetBucketLocation",
            Setting::Versioning => "s3:GetBucketVersioning",
            Setting::ObjectLock => "s3:GetBucketObjectLockConfiguration",
            Setting::PublicAccessBlock => "s3:GetBucketPublicAccessBlock",
            Setting::PolicyStatus => "s3:GetBucketPolicyStatus",
            Setting::Policy => "s3:GetBucketPolicy",
            Setting::Acl => "s3:GetBucketAcl",
            Setting::Encryption => "s3:GetEncryptionConfiguration",
            Setting::Lifecycle => "s3:GetLifecycleConfiguration",
            Setting::Replication => "s3:GetReplicationConfiguration",
            Setting::Logging => "s3:GetBucketLogging",
        }
    }

    /// The action that a policy must allow for setting it.
    pub fn put_action(self) -> &'static str {
        match self {
            Setting::Location => "s3:CreateBucket",
            Setting::Versioning => "s3:PutBucketVersioning",
            Setting::ObjectLock => "s3:PutBucketObjectLockConfiguration",
            Setting::PublicAccessBlock => "s3:PutBucketPublicAccessBlock",
            Setting::Policy | Setting::PolicyStatus => "s3:PutBucketPolicy",
            Setting::Acl => "s3:PutBucketAcl",
            Setting::Encryption => "s3:PutEncryptionConfiguration",
            Setting::Lifecycle => "s3:PutLifecycleConfiguration",
            Setting::Replication => "s3:PutReplicationConfiguration",
            Setting::Logging => "s3:PutBucketLogging",
        }
    }

    /// The code with which servers say that a bucket has no such setting.
    fn absence(self) -> &'static str {
        match self {
            Setting::ObjectLock => "ObjectLockConfigurationNotFoundError",
            Setting::PublicAccessBlock => "NoSuchPublicAccessBlockConfiguration",
            Setting::Policy | Setting::PolicyStatus => "NoSuchBucketPolicy",
            Setting::Encryption => "ServerSideEncryptionConfigurationNotFoundError",
            Setting::Lifecycle => "NoSuchLifecycleConfiguration",
            Setting::Replication => "ReplicationConfigurationNotFoundError",
            Setting::Location | Setting::Versioning | Setting::Acl | Setting::Logging => "",
        }
    }
}

/// What a server answers about a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// The setting.
    Is(T),
    /// These credentials may not ask.
    Denied,
    /// The server does not know the question, or its answer is not understood.
    Unknown(String),
}

impl<T> Answer<T> {
    /// The setting, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Answer::Is(setting) => Some(setting),
            Answer::Denied | Answer::Unknown(_) => None,
        }
    }
}

/// Whether a bucket keeps versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    Off,
    /// It does.
    On,
    /// It did, and keeps those that there are.
    Suspended,
}

/// Which public access a bucket blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each has its name in the API")]
#[expect(clippy::struct_excessive_bools, reason = "they are four switches")]
pub struct PublicAccessBlock {
    pub block_public_acls: bool,
    pub ignore_public_acls: bool,
    pub block_public_policy: bool,
    pub restrict_public_buckets: bool,
}

impl PublicAccessBlock {
    /// Returns whether all of it is blocked.
    pub fn is_complete(self) -> bool {
        self.block_public_acls
            && self.ignore_public_acls
            && self.block_public_policy
            && self.restrict_public_buckets
    }
}

/// How a bucket encrypts what says nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// `AES256` or `aws:kms`.
    pub algorithm: String,
    /// The key of the latter, if it is named.
    pub key: Option<String>,
}

/// All settings of a bucket, as the server says them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The region.
    pub region: Answer<String>,
    /// Whether it keeps versions, and whether their deletion needs a second factor.
    pub versioning: Answer<(Versioning, bool)>,
    /// Whether it can lock objects, and how it does by itself.
    pub object_lock: Answer<LockSettings>,
    /// The public access that it blocks; `None` if it says nothing of it.
    pub public_access: Answer<Option<PublicAccessBlock>>,
    /// Whether its policy makes it public, in the server's judgement.
    pub is_public: Answer<bool>,
    /// The text of its policy.
    pub policy: Answer<Option<String>>,
    /// Its access control list.
    pub acl: Answer<Vec<Grant>>,
    /// How it encrypts.
    pub encryption: Answer<Option<Encryption>>,
    /// Its lifecycle rules.
    pub lifecycle: Answer<Vec<Rule>>,
    /// The number of its enabled replication rules.
    pub replication: Answer<usize>,
    /// Whether it logs who reads and writes.
    pub logging: Answer<bool>,
}

/// Something that Lifeboat sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mend {
    /// Versions are kept.
    Versioning,
    /// All public access is blocked.
    PublicAccess,
    /// What says nothing of it is encrypted with a key of the server.
    Encryption,
}

impl Mend {
    /// The action that a policy must allow.
    pub fn action(self) -> &'static str {
        self.setting().put_action()
    }

    fn setting(self) -> Setting {
        match self {
            Mend::Versioning => Setting::Versioning,
            Mend::PublicAccess => Setting::PublicAccessBlock,
            Mend::Encryption => Setting::Encryption,
        }
    }

    /// The document that is put.
    fn document(self) -> &'static str {
        match self {
            Mend::Versioning => {
                "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status></VersioningConfiguration>"
            }
            Mend::PublicAccess => {
                "<PublicAccessBlockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>"
            }
            Mend::Encryption => {
                "<ServerSideEncryptionConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
            }
        }
    }

    /// The request, for people: what is put where.
    pub fn call(self) -> &'static str {
        match self {
            Mend::Versioning => "PutBucketVersioning Status=Enabled",
            Mend::PublicAccess => {
                "PutPublicAccessBlock BlockPublicAcls, IgnorePublicAcls, BlockPublicPolicy and RestrictPublicBuckets = true"
            }
            Mend::Encryption => "PutBucketEncryption SSEAlgorithm=AES256",
        }
    }
}

/// What an answer says: the document, or that there is no such setting.
type Document = Option<String>;

impl Bucket {
    /// Asks for all settings. Fails if the bucket is missing, or its server cannot be asked.
    pub fn settings(&self) -> Result<Settings, StoreError> {
        let versioning = self.read(Setting::Versioning, parse::versioning)?;
        Ok(Settings {
            versioning,
            region: self.read(Setting::Location, parse::region)?,
            object_lock: self.read(Setting::ObjectLock, parse::object_lock)?,
            public_access: self.read(Setting::PublicAccessBlock, parse::public_access)?,
            is_public: self.read(Setting::PolicyStatus, parse::is_public)?,
            policy: self.read(Setting::Policy, Ok)?,
            acl: self.read(Setting::Acl, parse::acl)?,
            encryption: self.read(Setting::Encryption, parse::encryption)?,
            lifecycle: self.read(Setting::Lifecycle, parse::lifecycle)?,
            replication: self.read(Setting::Replication, parse::replication)?,
            logging: self.read(Setting::Logging, parse::logging)?,
        })
    }

    fn read<T>(
        &self,
        setting: Setting,
        parse: impl FnOnce(Document) -> Result<T, String>,
    ) -> Result<Answer<T>, StoreError> {
        let unclear = |why: String| format!("{} cannot be read: {why}", setting.parameter());
        Ok(match self.document(setting)? {
            Answer::Is(document) => match parse(document) {
                Ok(known) => Answer::Is(known),
                Err(why) => Answer::Unknown(unclear(why)),
            },
            Answer::Denied => Answer::Denied,
            Answer::Unknown(why) => Answer::Unknown(why),
        })
    }

    fn document(&self, setting: Setting) -> Result<Answer<Document>, StoreError> {
        self.wait(b"", move |inner| async move {
            let ask = Ask {
                method: Method::GET,
                query: vec![(setting.parameter(), Vec::new())],
                ..Ask::default()
            };
            let error = match inner.ask(&ask).await {
                Ok((_, body)) => {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    return Ok(Answer::Is(Some(text)));
                }
                Err(error) => error,
            };
            let code = refusal(&error).map_or("", |refusal| &refusal.code);
            match (status(&error), code) {
                (Some(404), "NoSuchBucket") => Err(error),
                (_, code) if !code.is_empty() && code == setting.absence() => Ok(Answer::Is(None)),
                (Some(403), "AccessDenied" | "AllAccessDisabled" | "") => Ok(Answer::Denied),
                (Some(400 | 404 | 405 | 501), _) => Ok(Answer::Unknown(format!(
                    "the server does not answer what its {} is",
                    setting.parameter()
                ))),
                _ => Err(error),
            }
        })
    }

    /// Sets one thing. Whether it is set then, [`Bucket::settings`] says.
    pub fn mend(&self, mend: Mend) -> Result<(), StoreError> {
        self.put_setting(mend.setting(), mend.document().to_owned())
    }

    fn put_setting(&self, setting: Setting, document: String) -> Result<(), StoreError> {
        self.wait(b"", move |inner| {
            let body = Bytes::from(document.clone());
            async move {
                let ask = Ask {
                    method: Method::PUT,
                    query: vec![(setting.parameter(), Vec::new())],
                    headers: vec![(
                        "content-md5".to_owned(),
                        Base64::encode_string(&Md5::digest(&body)),
                    )],
                    body,
                    ..Ask::default()
                };
                inner.ask(&ask).await.map(drop)
            }
        })
    }

    /// Returns whether the bucket exists; one of somebody else does.
    pub fn exists(&self) -> Result<bool, StoreError> {
        self.wait(b"", |inner| async move {
            let ask = Ask {
                method: Method::HEAD,
                ..Ask::default()
            };
            match inner.ask(&ask).await {
                Ok(_) => Ok(true),
                Err(error) => match status(&error) {
                    Some(404) => Ok(false),
                    Some(301 | 400 | 403) => Ok(true),
                    _ => Err(error),
                },
            }
        })
    }

    /// Makes the bucket in a region, with object lock or without. That it exists is no error if it is
    /// ours.
    pub fn create(&self, region: &str, locks: bool) -> Result<(), StoreError> {
        let body = match region {
            // The first region has no name here.
            "us-east-1" => Bytes::new(),
            region => Bytes::from(format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
                super::xml::escape(region)
            )),
        };
        self.wait(b"", move |inner| {
            let body = body.clone();
            async move {
                let lock = ("x-amz-bucket-object-lock-enabled", "true");
                let lock = Some(lock).filter(|_| locks);
                let headers = lock.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let ask = Ask {
                    method: Method::PUT,
                    headers: headers.into_iter().collect(),
                    body,
                    ..Ask::default()
                };
                let made: Result<(HeaderMap, Bytes), _> = inner.ask(&ask).await;
                match made {
                    Err(error)
                        if refusal(&error).is_some_and(|r| r.code == "BucketAlreadyOwnedByYou") =>
                    {
                        Ok(())
                    }
                    made => made.map(drop),
                }
            }
        })
    }
}
