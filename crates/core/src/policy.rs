//! The policy of exactly the calls that a configuration makes of its buckets, for each role, from the table
//! of [`Call`]s that the stores go through. Pure.
//!
//! What the calls are is held against a server that judges actions and resources; conditions, keys of KMS
//! and roles are not, and are written from the documentation.

mod machines;

use crate::config::{BucketServer, Config, Layout, SourceKind, StoreConfig, StoreKind};
use crate::error::{Code, Error, Result};
use crate::secret::Reference;
use lifeboat_store::Call;
use lifeboat_store::bucket::control::Setting;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// What somebody does with the buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Takes points, and copies none: it reads no artifact of an archive, and destroys none.
    Backup,
    /// Reads points again, and puts evidence.
    Drill,
    /// Reads points.
    Restore,
    /// Deletes what no rule keeps.
    Prune,
    /// Looks at the settings.
    Posture,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [
        Role::Backup,
        Role::Drill,
        Role::Restore,
        Role::Prune,
        Role::Posture,
    ];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Backup => "backup",
            Role::Drill => "drill",
            Role::Restore => "restore",
            Role::Prune => "prune",
            Role::Posture => "posture",
        }
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Role::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| {
            let all: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
            Error::new(Code::Usage, format!("there is no role {text:?}"))
                .hint(format!("use one of {}", all.join(", ")))
        })
    }
}

/// Who judges the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Amazon.
    Aws,
    /// MinIO, which refuses a policy with actions that it does not know.
    Minio,
}

/// Actions on resources: a call, and the keys that it is about; none for the bucket itself.
type Needs = BTreeMap<String, BTreeSet<&'static str>>;

/// The policy for these roles. Fails if the configuration has no bucket.
pub fn policy(config: &Config, roles: &[Role], format: Format) -> Result<Value> {
    let mut all = Collected {
        needs: Needs::new(),
        conditional: Vec::new(),
        format,
    };
    for store in config.store.values() {
        if let StoreKind::S3(s3) = &store.kind {
            for role in roles {
                all.of_store(*role, store);
            }
            all.of_server(&s3.server, s3.kms_key_id.as_deref());
        }
    }
    for role in roles {
        all.of_sources(*role, config);
        all.of_machines(*role, config);
        if *role == Role::Posture {
            for posture in config.posture.values() {
                all.settings(&posture.bucket);
            }
        }
    }
    if all.needs.is_empty() {
        return Err(Error::new(Code::Usage, "the configuration has no bucket")
            .hint("a policy is for stores of kind \"s3\", sources of kind \"bucket\", \"lightsail\" or \"ec2\", and [posture.NAME]"));
    }
    all.of_secrets(config);
    Ok(all.document())
}

struct Collected {
    needs: Needs,
    /// What is allowed under a condition.
    conditional: Vec<Conditional>,
    format: Format,
}

/// An action on resources that is allowed if something has one of these values.
#[derive(PartialEq)]
struct Conditional {
    action: &'static str,
    resources: Vec<String>,
    key: &'static str,
    values: &'static [&'static str],
}

impl Collected {
    fn add(&mut self, action: &'static str, resource: String) {
        self.needs.entry(resource).or_default().insert(action);
    }

    fn bucket(&mut self, bucket: &str, call: Call) {
        if self.format == Format::Aws || is_known_to_minio(call) {
            self.add(call.action(), format!("arn:aws:s3:::{bucket}"));
        }
    }

    fn keys(&mut self, bucket: &str, pattern: &str, calls: &[Call]) {
        for call in calls {
            self.add(call.action(), format!("arn:aws:s3:::{bucket}/{pattern}"));
        }
    }

    fn settings(&mut self, bucket: &str) {
        for setting in Setting::ALL {
            self.bucket(bucket, Call::Get(setting));
        }
    }

    /// What a role does with a store.
    fn of_store(&mut self, role: Role, store: &StoreConfig) {
        let StoreKind::S3(s3) = &store.kind else {
            return;
        };
        let prefix = s3.prefix.as_deref().unwrap_or_default().trim_matches('/');
        let below = |keys: &str| match prefix {
            "" => keys.to_owned(),
            prefix => format!("{prefix}/{keys}"),
        };
        let bucket = s3.bucket.as_str();
        let is_repository = store.layout == Layout::Repository;
        let all = below("*");
        let notes = below("lifeboat/*");
        let put = [Call::PutObject, Call::AbortMultipartUpload];
        let lock = [Call::PutObjectRetention, Call::GetObjectRetention];
        if s3.object_lock.is_some() && matches!(role, Role::Backup | Role::Prune) {
            self.keys(bucket, &all, &lock);
        }
        self.bucket(bucket, Call::ListBucket);
        self.keys(bucket, &notes, &[Call::GetObject]);
        match role {
            Role::Backup => {
                self.keys(bucket, &all, &put);
                if is_repository {
                    self.keys(bucket, &below("repository/*"), &[Call::GetObject]);
                    self.keys(bucket, &below("repository/locks/*"), &[Call::DeleteObject]);
                }
            }
            Role::Drill | Role::Restore => {
                self.keys(bucket, &all, &[Call::GetObject, Call::GetObjectVersion]);
                self.keys(bucket, &below("lifeboat/evidence/*"), &[Call::PutObject]);
                if is_repository {
                    self.keys(
                        bucket,
                        &below("repository/locks/*"),
                        &[Call::PutObject, Call::DeleteObject],
                    );
                }
            }
            Role::Prune => {
                self.bucket(bucket, Call::Get(Setting::ObjectLock));
                let versions = [Call::GetObjectVersion, Call::DeleteObjectVersion];
                self.keys(bucket, &all, &versions);
                self.keys(bucket, &all, &[Call::GetObject, Call::DeleteObject]);
                self.keys(bucket, &notes, &[Call::PutObject]);
                if is_repository {
                    self.keys(bucket, &below("repository/*"), &put);
                }
            }
            Role::Posture => self.settings(bucket),
        }
    }

    /// What is read of buckets that are sources.
    fn of_sources(&mut self, role: Role, config: &Config) {
        if role != Role::Backup {
            return;
        }
        for source in config.source.values() {
            if let SourceKind::Bucket(source) = &source.kind {
                let pattern = format!("{}*", source.prefix.as_deref().unwrap_or_default());
                let read = [
                    Call::GetObject,
                    Call::GetObjectVersion,
                    Call::GetObjectTagging,
                    Call::GetObjectVersionTagging,
                ];
                self.bucket(&source.bucket, Call::ListBucket);
                self.bucket(&source.bucket, Call::ListBucketVersions);
                self.keys(&source.bucket, &pattern, &read);
                self.of_server(&source.server, None);
            }
        }
    }

    /// A role to assume, and a key to encrypt with.
    fn of_server(&mut self, server: &BucketServer, key: Option<&str>) {
        if let Some(role) = &server.role_arn {
            self.add("sts:AssumeRole", role.clone());
        }
        if let Some(key) = key {
            let key = match key.starts_with("arn:") {
                true => key.to_owned(),
                false => format!("arn:aws:kms:{}:*:key/{key}", server.region),
            };
            self.add("kms:GenerateDataKey", key.clone());
            self.add("kms:Decrypt", key);
        }
    }

    /// Secrets that Amazon keeps.
    fn of_secrets(&mut self, config: &Config) {
        for reference in config.references() {
            match reference {
                Reference::Ssm(name) => {
                    let name = name.split(':').next().unwrap_or_default();
                    let arn = format!("arn:aws:ssm:*:*:parameter/{}", name.trim_start_matches('/'));
                    self.add("ssm:GetParameter", arn);
                }
                Reference::SecretsManager { name, .. } => {
                    let arn = match name.starts_with("arn:") {
                        true => name.clone(),
                        false => format!("arn:aws:secretsmanager:*:*:secret:{name}-??????"),
                    };
                    self.add("secretsmanager:GetSecretValue", arn);
                }
                _ => {}
            }
        }
    }

    /// The document: resources with the same actions share a statement.
    fn document(self) -> Value {
        let mut shared: BTreeMap<BTreeSet<&str>, Vec<String>> = BTreeMap::new();
        for (resource, actions) in self.needs {
            shared.entry(actions).or_default().push(resource);
        }
        let statements = shared.into_iter().map(|(actions, resources)| {
            json!({ "Effect": "Allow", "Action": actions, "Resource": resources })
        });
        let conditional = self.conditional.iter().map(|one| {
            json!({
                "Effect": "Allow",
                "Action": one.action,
                "Resource": one.resources,
                "Condition": { "StringEquals": { one.key: one.values } },
            })
        });
        let all = statements.chain(conditional).collect::<Vec<_>>();
        json!({ "Version": "2012-10-17", "Statement": all })
    }
}

/// Settings that MinIO has no action for.
fn is_known_to_minio(call: Call) -> bool {
    !matches!(
        call,
        Call::Get(Setting::Acl | Setting::Logging | Setting::PublicAccessBlock)
    )
}

/// Lifecycle rules that do no harm to what is kept in the bucket of a store: what was deleted or
/// overwritten goes after 30 days, and parts of uploads that were never completed after a week.
pub fn lifecycle(config: &Config, store: &str) -> Result<Value> {
    let found = config.store.get(store).map(|store| &store.kind);
    let Some(StoreKind::S3(s3)) = found else {
        return Err(
            Error::new(Code::Usage, format!("{store} is no store of kind \"s3\""))
                .hint("name a store that is a bucket"),
        );
    };
    let prefix = match s3.prefix.as_deref().unwrap_or_default().trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    Ok(json!({ "Rules": [{
        "ID": "lifeboat",
        "Status": "Enabled",
        "Filter": { "Prefix": prefix },
        "NoncurrentVersionExpiration": { "NoncurrentDays": 30 },
        "AbortIncompleteMultipartUpload": { "DaysAfterInitiation": 7 },
    }] }))
}
