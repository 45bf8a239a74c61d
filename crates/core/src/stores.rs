//! Stores, open: with how artifacts are sealed for them, and what opens them.

use crate::archive::{Gpg, Identities, Sealing, SecretKeys};
use crate::cancel::Cancel;
use crate::config::{S3Config, SftpConfig, StoreConfig, StoreKind};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::secret::{Reference, Scrubber, Secret};
use crate::sftp::Logins;
use crate::snapshot::{Deposit, Snapshots};
use crate::transport::resolve;
use lifeboat_repository::Id;
use lifeboat_store::{LocalStore, S3Options, S3Store, SftpOptions, SftpStore, Store};
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A store, open.
#[derive(Clone)]
pub struct OpenStore {
    /// Its name in the configuration.
    pub name: Name,
    /// Its configuration.
    pub config: StoreConfig,
    /// The store itself.
    pub store: Arc<dyn Store>,
    /// How artifacts are sealed for it.
    pub sealing: Sealing,
    /// Its repository, where it has a password for one.
    pub snapshots: Option<Arc<Snapshots>>,
    pub(crate) scrubber: Scrubber,
    pub(crate) opened: Arc<OnceLock<Option<Identities>>>,
}

impl OpenStore {
    /// The keys that decrypt what is here; `None` when none are configured. A secret key with a
    /// passphrase takes a while to unlock, so that they are kept.
    pub fn identities(&self) -> Result<Option<Identities>> {
        if let Some(known) = self.opened.get() {
            return Ok(known.clone());
        }
        let identities = self.read_identities().map_err(|error| Error {
            code: Code::Decryption,
            message: format!(
                "the decryption key of store {}: {}",
                self.name, error.message
            ),
            ..error
        })?;
        Ok(self.opened.get_or_init(|| identities).clone())
    }

    /// Its repository; an error where it has no password for one.
    pub(crate) fn snapshots(&self) -> Result<&Arc<Snapshots>> {
        self.snapshots.as_ref().ok_or_else(|| {
            let name = &self.name;
            Error::new(
                Code::Decryption,
                format!(
                    "the point is in a repository of store {name}, whose password is not known"
                ),
            )
            .hint(format!("add password = \"file:PATH\" to [store.{name}]"))
        })
    }

    /// Begins a snapshot, where points go into a repository. Blobs among `bad` are stored again.
    pub(crate) fn deposit(&self, bad: HashSet<Id>) -> Result<Option<Arc<Deposit>>> {
        let repository = self.config.is_repository();
        let snapshots = self.snapshots.as_ref().filter(|_| repository);
        snapshots
            .map(|snapshots| Deposit::begin(snapshots, bad))
            .transpose()
    }

    fn read_identities(&self) -> Result<Option<Identities>> {
        let Some(decrypt) = &self.config.decrypt else {
            return Ok(None);
        };
        let resolve = |reference: &Reference| -> Result<Secret> {
            let secret = resolve(reference)?;
            self.scrubber.learn(&secret);
            Ok(secret)
        };
        let passphrase = decrypt.passphrase.as_ref().map(resolve).transpose()?;
        let mut identities = match &decrypt.age {
            Some(reference) => Identities::parse(&resolve(reference)?, passphrase.as_ref())?,
            None => Identities::default(),
        };
        if let Some(reference) = &decrypt.openpgp {
            let secret = resolve(reference)?;
            identities = identities.with_openpgp(SecretKeys::parse(&secret, passphrase.as_ref())?);
        } else if let Some(home) = &decrypt.gpg {
            identities = identities.with_gpg(Gpg::new(home)?);
        }
        let Sealing {
            recipients, signer, ..
        } = &self.sealing;
        Ok(Some(
            identities.believing(recipients.as_ref(), signer.as_ref()),
        ))
    }
}

/// Opens the place of a store; with `create`, a directory that is not there is made.
pub(crate) fn open_store(
    config: &StoreConfig,
    create: bool,
    scrubber: &Scrubber,
) -> Result<Arc<dyn Store>> {
    let stall = Duration::from_secs(config.stall_timeout.seconds.max(1));
    Ok(match &config.kind {
        StoreKind::Local(local) => Arc::new(match create {
            true => LocalStore::create(&local.path)?,
            false => LocalStore::open(&local.path)?,
        }),
        StoreKind::S3(s3) => Arc::new(S3Store::open(s3_options(s3, stall, scrubber)?)?),
        StoreKind::Sftp(sftp) => Arc::new(sftp_store(sftp, stall, create, scrubber)),
    })
}

fn sftp_store(sftp: &SftpConfig, stall: Duration, create: bool, scrubber: &Scrubber) -> SftpStore {
    let options = SftpOptions {
        location: sftp.location(),
        path: sftp.path.to_string_lossy().into_owned(),
        create,
        stall,
        ending: Cancel::current().ending(),
    };
    SftpStore::open(Box::new(Logins::new(sftp, scrubber)), options)
}

fn s3_options(s3: &S3Config, stall: Duration, scrubber: &Scrubber) -> Result<S3Options> {
    let resolve = |reference: &Reference| -> Result<String> {
        let secret = resolve(reference)?;
        scrubber.learn(&secret);
        Ok(secret.expose_str()?.to_owned())
    };
    Ok(S3Options {
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone().unwrap_or_default(),
        region: Some(s3.region.clone()),
        endpoint: s3.endpoint.clone(),
        access_key: Some(resolve(&s3.access_key)?),
        secret_key: Some(resolve(&s3.secret_key)?),
        session_token: s3.session_token.as_ref().map(resolve).transpose()?,
        storage_class: s3.storage_class.clone(),
        server_side_encryption: s3.server_side_encryption.clone(),
        kms_key_id: s3.kms_key_id.clone(),
        virtual_host_style: s3.virtual_host_style,
        stall,
        ending: Cancel::current().ending(),
    })
}
