//! Open stores, each with its encryption settings and the keys that decrypt it.
//!
//! A store is opened once in a run: its facts, its connections and the secrets fetched for it are
//! reused to the end.

use crate::archive::{
    Certificates, Gpg, Identities, MessageKey, MessageSigner, Recipients, Sealing, SecretKeys,
};
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::compress::Compress;
use crate::config::{
    Config, EncryptConfig, S3Config, SftpConfig, SignConfig, StoreConfig, StoreKind,
};
use crate::credentials;
use crate::error::{Code, Error, Fact, Result};
use crate::name::Name;
use crate::object_lock;
use crate::ownership;
use crate::pool;
use crate::resolve::resolve;
use crate::secret::{Reference, Scrubber, Secret};
use crate::sftp::Logins;
use crate::snapshot::{Deposit, Snapshots};
use jiff::Timestamp;
use lifeboat_repository::Id;
use lifeboat_store::bucket::Bucket;
use lifeboat_store::bucket::control::Mend;
use lifeboat_store::{LocalStore, S3Options, S3Store, SftpOptions, SftpStore, Store, StoreError};
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Number of small objects that are read from a remote store at a time, where waiting takes longest.
const REMOTE_READERS: usize = 16;

/// An open store.
#[derive(Clone)]
pub struct OpenStore {
    /// Its name in the configuration.
    pub name: Name,
    /// Its configuration.
    pub config: StoreConfig,
    /// The store itself.
    pub store: Arc<dyn Store>,
    /// Compression and encryption of the artifacts that go into it.
    pub sealing: Sealing,
    /// Its repository, if it has a password for one.
    pub snapshots: Option<Arc<Snapshots>>,
    scrubber: Scrubber,
    opened: Arc<OnceLock<Option<Identities>>>,
}

impl OpenStore {
    /// The keys that decrypt its objects; `None` if none are configured. They are kept, because
    /// unlocking a secret key with a passphrase takes a while.
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

    /// Opens an object that a manifest names with its version: that version, whatever is under the
    /// key now. What is under the key now is opened where there is no such version, as in a bucket
    /// whose content came from elsewhere, or where these credentials may not read versions. The
    /// caller compares the content with the manifest, so either will do.
    pub(crate) fn open_named(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        open_named(&*self.store, key, version)
    }

    /// Number of small objects that are best read at a time.
    pub(crate) fn readers(&self) -> usize {
        match self.store.is_remote() {
            true => REMOTE_READERS,
            false => pool::workers(),
        }
    }

    /// Its repository. Fails if it has no password for one.
    pub(crate) fn snapshots(&self) -> Result<&Arc<Snapshots>> {
        self.snapshots.as_ref().ok_or_else(|| {
            let name = &self.name;
            Error::new(
                Code::Decryption,
                format!(
                    "the point is in a repository of store {name}, whose password is not known"
                ),
            )
            .about(Fact::RepositoryPassword)
            .hint(format!("add password = \"file:PATH\" to [store.{name}]"))
        })
    }

    /// Begins a snapshot, if the points of this store go into a repository. Blobs among `bad` are
    /// stored again.
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

/// The stores of a run.
pub struct Stores {
    config: BTreeMap<Name, StoreConfig>,
    /// The path of the configuration, for judging the files that it names.
    origin: PathBuf,
    access: Access,
    clock: Clock,
    scrubber: Scrubber,
    open: Mutex<BTreeMap<String, OpenStore>>,
}

/// The way stores are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// They are read and written.
    Write,
    /// They are only read: nothing is made or locked there.
    Read,
    /// They are only read, as they stood at a time.
    AsOf(Timestamp),
}

impl Stores {
    /// Stores of a configuration, none of them opened yet.
    pub fn new(config: &Config, access: Access, clock: Clock, scrubber: Scrubber) -> Self {
        Stores {
            config: config.store.clone(),
            origin: config.origin.clone(),
            access,
            clock,
            scrubber,
            open: Mutex::default(),
        }
    }

    /// Returns a store by name. It is opened at its first use.
    pub fn open(&self, name: &str) -> Result<OpenStore> {
        let mut known = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = known.get(name) {
            return Ok(store.clone());
        }
        let config = self.config.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.config.keys().map(Name::as_str).collect();
            Error::new(Code::Usage, format!("there is no store named {name}"))
                .hint(format!("the configuration has: {}", known.join(", ")))
        })?;
        let store = self
            .open_new(name, config)
            .map_err(|error| about(name, error))?;
        known.insert(name.to_owned(), store.clone());
        Ok(store)
    }

    /// Opens a store that is to receive something. Fails if its keys cannot encrypt now.
    pub fn receiving(&self, name: &str) -> Result<OpenStore> {
        let store = self.open(name)?;
        let usable = store.sealing.usable();
        usable.map_err(|error| about(name, error))?;
        Ok(store)
    }

    fn open_new(&self, name: &str, config: StoreConfig) -> Result<OpenStore> {
        let recipients = match &config.encrypt {
            Some(encrypt) => Some(self.recipients(encrypt)?),
            None => None,
        };
        let writes = self.access == Access::Write;
        let store = match self.access {
            Access::Read | Access::Write => open_store(&config, writes, &self.scrubber)?,
            Access::AsOf(at) => open_past(&config, at, &self.scrubber)?,
        };
        let sealing = Sealing {
            compress: match config.is_repository() {
                true => Compress::None,
                false => config.compress,
            },
            recipients,
            signer: self.message_signer(&config),
        };
        Ok(OpenStore {
            name: Name::made(name.to_owned())?,
            snapshots: Snapshots::new(name, &config, &store, &self.scrubber, writes),
            config,
            store,
            sealing,
            scrubber: self.scrubber.clone(),
            opened: Arc::default(),
        })
    }

    fn recipients(&self, encrypt: &EncryptConfig) -> Result<Recipients> {
        if encrypt.openpgp.is_empty() {
            self.check_recipients(&encrypt.age)?;
            return Recipients::parse(&encrypt.age);
        }
        let paths = encrypt.openpgp.iter();
        let paths: Vec<String> = paths.map(|p| p.to_string_lossy().into_owned()).collect();
        self.check_recipients(&paths)?;
        let keys = Certificates::read(&encrypt.openpgp, self.clock.now());
        Ok(Recipients::OpenPgp(keys))
    }

    /// Refuses files of recipients, among `entries`, that others can change: they could make
    /// themselves readers of every later backup.
    pub(crate) fn check_recipients(&self, entries: &[String]) -> Result<()> {
        let files = entries.iter().map(|entry| Path::new(entry.trim()));
        for path in files.filter(|path| path.is_absolute()) {
            ownership::named_file(path, &self.origin).map_err(|error| Error {
                message: format!(
                    "the file of recipients {} {}",
                    path.display(),
                    error.message
                ),
                ..error
            })?;
        }
        Ok(())
    }

    fn message_signer(&self, store: &StoreConfig) -> Option<MessageSigner> {
        let sign = store.encrypt.as_ref()?.sign.clone()?;
        let (clock, scrubber) = (self.clock.clone(), self.scrubber.clone());
        let name = format!("{sign:?}");
        Some(MessageSigner::new(&name, move || {
            message_key(&sign, clock.now(), &scrubber).unwrap_or_else(MessageKey::failed)
        }))
    }
}

fn open_named(
    store: &dyn Store,
    key: &str,
    version: Option<&str>,
) -> Result<Box<dyn Read + Send>, StoreError> {
    let Some(version) = version else {
        return store.open(key, 0);
    };
    match store.open_version(key, version, 0) {
        Err(StoreError::NotFound { .. } | StoreError::Denied { .. }) => store.open(key, 0),
        opened => opened,
    }
}

fn about(name: &str, error: Error) -> Error {
    let message = match error.fact {
        Some(Fact::WithoutVersions) => format!("store {name} keeps no versions of its objects"),
        _ => format!("store {name} cannot be used: {}", error.message),
    };
    Error { message, ..error }
}

/// Opens a store as it stood at a time.
fn open_past(config: &StoreConfig, at: Timestamp, scrubber: &Scrubber) -> Result<Arc<dyn Store>> {
    if let StoreKind::Local(_) | StoreKind::Sftp(_) = config.kind {
        // It need not be reached for that.
        let location = "a directory".to_owned();
        return Err(StoreError::WithoutVersions { location }.into());
    }
    let store = open_store(config, false, scrubber)?;
    Ok(Arc::from(store.as_of(at).map_err(without_past)?))
}

/// The error of a store that does not show what stood there at a time.
fn without_past(error: StoreError) -> Error {
    let denied = matches!(error, StoreError::Denied { .. });
    let error = Error::from(error);
    match denied {
        true => error.hint(
            "let these credentials list and read versions too: s3:ListBucketVersions and s3:GetObjectVersion",
        ),
        false => error,
    }
}

/// The key that signs inside messages. Its errors say what the key is for.
fn message_key(sign: &SignConfig, now: Timestamp, scrubber: &Scrubber) -> Result<MessageKey> {
    let resolve = |reference: &Reference| -> Result<Secret> {
        let secret = resolve(reference)?;
        scrubber.learn(&secret);
        Ok(secret)
    };
    let key = match (&sign.openpgp, &sign.gpg) {
        (Some(reference), _) => {
            let secret = resolve(reference)?;
            let passphrase = sign.passphrase.as_ref().map(resolve).transpose()?;
            MessageKey::parse(&secret, passphrase.as_ref(), now)
        }
        (None, Some(home)) => {
            let key = sign.key.as_deref().unwrap_or_default();
            let fingerprint = key.replace(' ', "").to_ascii_uppercase();
            let gpg = Gpg::new(home).map_err(|error| Error {
                code: Code::Secret,
                ..error
            })?;
            MessageKey::of_gpg(&gpg, &fingerprint, now)
        }
        (None, None) => {
            return Err(Error::new(Code::Configuration, "`sign` names no key"));
        }
    };
    Ok(key)
}

/// Opens the place of a store. With `create`, makes a missing directory.
pub(crate) fn open_store(
    config: &StoreConfig,
    create: bool,
    scrubber: &Scrubber,
) -> Result<Arc<dyn Store>> {
    #[cfg(test)]
    if let Some(store) = simulated::at(config) {
        return Ok(store);
    }
    let stall = Duration::from_secs(config.stall_timeout.seconds.max(1));
    Ok(match &config.kind {
        StoreKind::Local(local) => Arc::new(match create {
            true => LocalStore::create(&local.path)?,
            false => LocalStore::open(&local.path)?,
        }),
        StoreKind::S3(s3) => {
            let options = s3_options(s3, stall, scrubber)?;
            if create && s3.create {
                make_bucket(&options, &s3.server.region, s3.object_lock.is_some())?;
            }
            Arc::new(S3Store::open(options)?)
        }
        StoreKind::Sftp(sftp) => Arc::new(sftp_store(sftp, stall, create, scrubber)),
    })
}

/// Makes a bucket that is missing: versioned and encrypted, with all public access blocked. What a server
/// does not know of these, [`crate::posture`] says.
fn make_bucket(options: &S3Options, region: &str, locks: bool) -> Result<()> {
    let bucket = Bucket::open(options)?;
    if bucket.exists()? {
        return Ok(());
    }
    bucket.create(region, locks)?;
    for mend in [Mend::PublicAccess, Mend::Versioning, Mend::Encryption] {
        let made = bucket.mend(mend);
        if let Err(error @ (StoreError::Unreachable { .. } | StoreError::Credentials { .. })) = made
        {
            return Err(error.into());
        }
    }
    Ok(())
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
    Ok(S3Options {
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone().unwrap_or_default(),
        region: Some(s3.server.region.clone()),
        endpoint: s3.server.endpoint.clone(),
        credentials: credentials::of(&s3.server, scrubber)?,
        storage_class: s3.storage_class.clone(),
        server_side_encryption: s3.server_side_encryption.clone(),
        kms_key_id: s3.kms_key_id.clone(),
        object_lock: s3.object_lock.as_ref().map(object_lock::of),
        virtual_host_style: s3.server.virtual_host_style,
        stall,
        ending: Cancel::current().ending(),
    })
}

#[cfg(test)]
pub(crate) mod simulated;

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_store::{MemoryStore, PutOptions};

    fn put(store: &MemoryStore, bytes: &[u8]) -> Option<String> {
        let options = PutOptions::default();
        let receipt = store.put("k", &mut &bytes[..], &options);
        receipt.unwrap().version
    }

    fn read(store: &MemoryStore, version: Option<&str>) -> String {
        let mut text = String::new();
        let mut reader = open_named(store, "k", version).unwrap();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn an_object_is_read_in_its_version_and_else_as_it_is_now() {
        let store = MemoryStore::versioned();
        let version = put(&store, b"captured").unwrap();
        put(&store, b"rubbish");
        assert_eq!(read(&store, Some(&version)), "captured");
        assert_eq!(read(&store, None), "rubbish");
        assert_eq!(read(&store, Some("of another bucket")), "rubbish");
        store.delete("k").unwrap();
        assert_eq!(read(&store, Some(&version)), "captured");
        let gone = open_named(&store, "k", Some("of another bucket")).err();
        assert!(matches!(gone, Some(StoreError::NotFound { .. })));
        // A store that keeps no versions, filled from one that does.
        let plain = MemoryStore::new();
        assert_eq!(put(&plain, b"captured"), None);
        assert_eq!(read(&plain, Some(&version)), "captured");
    }
}
