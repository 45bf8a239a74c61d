//! Whose credentials the buckets are reached with. Amazon is asked, by STS, about those for its own
//! buckets, and about no others.

use crate::aws::{self, Identity};
use crate::cancel::Cancel;
use crate::config::{BucketConfig, BucketServer, StoreKind};
use crate::context::Context;
use crate::credentials;
use crate::error::Result;
use crate::finding::{Finding, Severity};
use crate::name::Name;
use lifeboat_store::aws::{CredentialError, Keys};
use std::collections::BTreeMap;

/// The owners of the credentials of the stores that are buckets.
pub(crate) struct Owners(BTreeMap<Name, Result<Owner>>);

struct Owner {
    keys: Keys,
    /// True if the configuration names the keys.
    given: bool,
    /// What STS says; `None` for a server that is not Amazon's.
    identity: Option<Result<Identity, CredentialError>>,
}

impl Owner {
    fn of(context: &Context, server: &BucketServer) -> Result<Self> {
        let credentials = credentials::of(server, &context.scrubber)?;
        let keys = credentials.keys(&Cancel::current().ending())?;
        let amazon = server.endpoint.as_deref();
        let amazon = amazon.is_none_or(|endpoint| endpoint.contains(".amazonaws.com"));
        let named = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"].iter();
        let ask = amazon || named.clone().any(|name| std::env::var_os(name).is_some());
        Ok(Owner {
            identity: ask.then(|| aws::identity(&keys, &server.region)),
            given: server.access_key.is_some(),
            keys,
        })
    }

    /// The user or role, where that is known.
    fn principal(&self) -> Option<&str> {
        let identity = self.identity.as_ref()?.as_ref().ok()?;
        Some(identity.principal())
    }

    /// Returns whether whoever has the ones has the others. Sessions of a role have keys of their own.
    fn is_same(&self, other: &Self) -> bool {
        let principal = self.principal();
        self.keys.access_key == other.keys.access_key
            || principal.is_some() && principal == other.principal()
    }
}

fn finding(subject: &str, severity: Severity, message: impl Into<String>) -> Finding {
    Finding::new(subject, severity, message, None)
}

impl Owners {
    /// Whose credentials those of a store are: the user, role or key, and the account where it is known.
    pub(crate) fn whose(&self, store: &Name) -> Option<(String, Option<String>)> {
        let owner = self.0.get(store)?.as_ref().ok()?;
        let account = match &owner.identity {
            Some(Ok(identity)) => Some(identity.account.clone()),
            Some(Err(_)) | None => None,
        };
        let who = owner.principal().unwrap_or(&owner.keys.access_key);
        Some((who.to_owned(), account))
    }

    pub(crate) fn of_stores(context: &Context) -> Self {
        let stores = context.config.store.iter();
        let buckets = stores.filter_map(|(name, store)| match &store.kind {
            StoreKind::S3(s3) => Some((name.clone(), Owner::of(context, &s3.server))),
            StoreKind::Local(_) | StoreKind::Sftp(_) => None,
        });
        Owners(buckets.collect())
    }

    /// Reports whose credentials a store is reached with; nothing where they are simply given and nobody
    /// can be asked.
    pub(crate) fn of_store(&self, subject: &str, store: &Name) -> Option<Finding> {
        let owner = match self.0.get(store)? {
            Ok(owner) => owner,
            Err(error) => {
                let severity = Severity::Error;
                let hint = error.hint.clone();
                return Some(Finding::new(subject, severity, error.to_string(), hint));
            }
        };
        let from = &owner.keys.from;
        let (severity, text) = match &owner.identity {
            Some(Ok(Identity { account, arn })) => (
                Severity::Ok,
                format!("its credentials are those of {arn}, account {account}, from {from}"),
            ),
            Some(Err(error)) => (
                Severity::Warning,
                format!("it is not known whose its credentials from {from} are: {error}"),
            ),
            None if owner.given => return None,
            None => (Severity::Ok, format!("its credentials are from {from}")),
        };
        Some(finding(subject, severity, text))
    }

    /// Reports a bucket that is a source and a store that use the same credentials, under whatever names.
    pub(crate) fn shared(
        &self,
        context: &Context,
        subject: &str,
        bucket: &BucketConfig,
    ) -> Option<Finding> {
        let own = Owner::of(context, &bucket.server).ok()?;
        let mut stores = self.0.iter();
        let same = |owner: &Result<Owner>| matches!(owner, Ok(theirs) if theirs.is_same(&own));
        let (name, _) = stores.find(|(_, owner)| same(owner))?;
        Some(Finding {
            hint: Some("give the source a key that may only list and get".into()),
            ..finding(
                subject,
                Severity::Warning,
                format!(
                    "store {name} has the same credentials: whoever gets hold of them can destroy the objects and their copies"
                ),
            )
        })
    }
}
