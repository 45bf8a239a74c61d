//! What every verb needs: the configuration, the state directory, the signing key, whom to trust,
//! and the stores, opened when first used.

use crate::archive::{Certificates, Gpg, MessageKey, MessageSigner, Recipients, Sealing};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::compress::Compress;
use crate::config::{Config, EncryptConfig, SignConfig, StoreConfig};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::observe::Observer;
use crate::ownership;
use crate::place;
use crate::removal::Stays;
use crate::scratch::{self, Directory};
use crate::secret::{Reference, Scrubber, Secret};
use crate::shell::quote;
use crate::sign::{Signer, TrustedSigners};
use crate::snapshot::Snapshots;
use crate::stores::{OpenStore, open_store};
use crate::transport::resolve;
use crate::transport::ssh::Sessions;
use lifeboat_store::Store;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What every verb needs.
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// Where time and randomness come from.
    pub clock: Clock,
    /// Who hears of progress.
    pub observer: Arc<dyn Observer>,
    /// Removes known secrets from what tools say.
    pub scrubber: Scrubber,
    /// Signs manifests and evidence.
    pub signer: Signer,
    /// Whose manifests and evidence are believed: our own, and those configured.
    pub trusted: TrustedSigners,
    /// The index of the stores.
    pub catalog: Catalog,
    state: PathBuf,
    /// Stores, each opened once: what was learnt of one, and its connections, serve to the end.
    stores: Mutex<BTreeMap<String, Arc<dyn Store>>>,
    /// Repositories of stores, each opened once.
    snapshots: Mutex<BTreeMap<String, Arc<Snapshots>>>,
    /// Only a given store is read: what is believed, shown and written differs.
    cold: Option<Cold>,
    /// Connections to other hosts last as long as this.
    _sessions: Sessions,
}

/// Of a context without a configuration.
struct Cold {
    /// The application is chosen; otherwise those of all are shown.
    settled: bool,
    /// Everything that this machine keeps of it, removed at the end.
    _home: Directory,
}

impl Context {
    /// Opens the state directory, the signing key and the catalog. `trust` are further ids
    /// (`SHA256:…`) of signers to believe in this run.
    pub fn open(
        config: Config,
        clock: Clock,
        observer: Arc<dyn Observer>,
        trust: &[String],
    ) -> Result<Self> {
        config.check_state()?;
        let state = config.app.state.clone();
        open_state(&state)?;
        let scrubber = Scrubber::default();
        learn_environment(&config, &scrubber);
        let signer = open_signer(config.app.signing_key.as_ref(), &state, &scrubber)?;
        let mut trusted = open_trusted(&config, trust)?;
        trusted.add(&signer.public());
        let lines = trusted.lines_for(&config.app.name).into_iter();
        let lines: String = lines.map(|line| line + "\n").collect();
        keep_allowed_signers(&state, &lines)?;
        let catalog = Catalog::open(&state.join("catalog.db"))?;
        Ok(Context {
            config,
            clock,
            observer,
            scrubber,
            signer,
            trusted,
            catalog,
            state,
            stores: Mutex::default(),
            snapshots: Mutex::default(),
            cold: None,
            _sessions: Sessions::hold(),
        })
    }

    /// For a given store alone, with everything in `home`. The signing key is nobody's and is
    /// gone with the value; nobody is trusted but who is named.
    pub(crate) fn cold(
        config: Config,
        home: Directory,
        clock: Clock,
        observer: Arc<dyn Observer>,
        trust: &[String],
    ) -> Result<Self> {
        let state = home.path().to_owned();
        for part in ["locks", "scratch"] {
            make_private(&state.join(part))?;
        }
        let scrubber = Scrubber::default();
        learn_environment(&config, &scrubber);
        Ok(Context {
            signer: Signer::generate()?,
            trusted: open_trusted(&config, trust)?,
            catalog: Catalog::open(&state.join("catalog.db"))?,
            config,
            clock,
            observer,
            scrubber,
            state,
            stores: Mutex::default(),
            snapshots: Mutex::default(),
            cold: Some(Cold {
                settled: false,
                _home: home,
            }),
            _sessions: Sessions::hold(),
        })
    }

    /// Chooses the application of a given store.
    pub(crate) fn settle(&mut self, app: &Name, environment: &Name) {
        self.config.app.name = app.clone();
        self.config.app.environment = environment.clone();
        if let Some(cold) = &mut self.cold {
            cold.settled = true;
        }
    }

    /// Whether there is no configuration, only a given store that is read.
    pub fn is_cold(&self) -> bool {
        self.cold.is_some()
    }

    /// Whether points of every application are shown.
    pub fn shows_every_app(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| !cold.settled)
    }

    /// The directory for spools and scratch targets, 0700.
    pub fn scratch(&self) -> PathBuf {
        self.state.join("scratch")
    }

    /// Removes what runs that were killed left in scratch directories. What cannot be removed is
    /// told as a warning, and returned.
    pub fn sweep(&self) -> Vec<Stays> {
        let stays = scratch::sweep(&self.scratch()).stays;
        for stays in &stays {
            self.observer.warn(&format!(
                "what a run that was killed had restored is there in clear: {stays}"
            ));
        }
        stays
    }

    /// A directory for what is worth keeping on this host, 0700; made when missing.
    pub fn private_directory(&self, parts: &[&str]) -> Result<PathBuf> {
        let mut path = self.state.clone();
        for part in parts {
            path.push(part);
            make_private(&path)?;
        }
        Ok(path)
    }

    /// The file that lists whom we trust, for `ssh-keygen -Y verify`.
    pub fn allowed_signers(&self) -> PathBuf {
        self.state.join("allowed_signers")
    }

    /// Opens a store by name.
    pub fn store(&self, name: &str) -> Result<OpenStore> {
        let config = self.config.store.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.config.store.keys().map(Name::as_str).collect();
            Error::new(Code::Usage, format!("there is no store named {name}"))
                .hint(format!("the configuration has: {}", known.join(", ")))
        })?;
        let about = |error: Error| Error {
            message: format!("store {name} cannot be used: {}", error.message),
            ..error
        };
        let recipients = match &config.encrypt {
            Some(encrypt) => Some(self.recipients(encrypt).map_err(about)?),
            None => None,
        };
        let store = self.open_once(name, &config).map_err(about)?;
        let sealing = Sealing {
            compress: match config.is_repository() {
                true => Compress::None,
                false => config.compress,
            },
            recipients,
            signer: self.message_signer(&config),
        };
        let scrubber = self.scrubber.clone();
        Ok(OpenStore {
            name: Name::made(name.to_owned())?,
            snapshots: self.snapshots(name, &config, &store),
            config,
            store,
            sealing,
            scrubber,
            opened: Arc::default(),
        })
    }

    fn open_once(&self, name: &str, config: &StoreConfig) -> Result<Arc<dyn Store>> {
        let mut known = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = known.get(name) {
            return Ok(Arc::clone(store));
        }
        let store = open_store(config, !self.is_cold(), &self.scrubber)?;
        known.insert(name.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    /// The repository of a store, the same one each time.
    fn snapshots(
        &self,
        name: &str,
        config: &StoreConfig,
        store: &Arc<dyn Store>,
    ) -> Option<Arc<Snapshots>> {
        let mut known = self
            .snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshots) = known.get(name) {
            return Some(Arc::clone(snapshots));
        }
        let locks = !self.is_cold();
        let snapshots = Snapshots::new(name, config, store, &self.scrubber, locks)?;
        known.insert(name.to_owned(), Arc::clone(&snapshots));
        Some(snapshots)
    }

    /// Opens a store that is to receive something, which needs keys that can be encrypted to now.
    pub fn receiving_store(&self, name: &str) -> Result<OpenStore> {
        let store = self.store(name)?;
        store.sealing.usable().map_err(|error| Error {
            message: format!("store {name} cannot be used: {}", error.message),
            ..error
        })?;
        Ok(store)
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

    /// Refuses files of recipients, among `entries`, that others can change: they would read every
    /// backup from then on.
    pub(crate) fn check_recipients(&self, entries: &[String]) -> Result<()> {
        let files = entries.iter().map(|entry| Path::new(entry.trim()));
        for path in files.filter(|path| path.is_absolute()) {
            ownership::named_file(path, &self.config.origin).map_err(|error| Error {
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

    /// Takes a lock of this host, held until the value is dropped or the process ends, however it
    /// ends. `None` when another run holds it.
    pub fn lock(&self, name: &str) -> Result<Option<File>> {
        let path = self.state.join("locks").join(format!("{name}.lock"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| state_error(&path, &e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(state_error(&path, &error.into())),
        }
    }
}

/// The key that signs inside messages. Its errors say what it was for.
fn message_key(sign: &SignConfig, now: jiff::Timestamp, scrubber: &Scrubber) -> Result<MessageKey> {
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

/// Every child inherits our environment and may print it, also before we resolve what is in it.
fn learn_environment(config: &Config, scrubber: &Scrubber) {
    for reference in config.references() {
        if let Reference::Env(_) = reference
            && let Ok(secret) = resolve(reference)
        {
            scrubber.learn(&secret);
        }
    }
}

fn state_error(path: &Path, error: &std::io::Error) -> Error {
    Error::new(
        Code::State,
        format!("the state directory cannot be used: {}", path.display()),
    )
    .cause(error)
    .hint("make it writable for the user that runs lifeboat, or set app.state to another directory")
}

/// Makes the state directory unless it is there. One that others can write to, or put another in the
/// place of, is refused: who writes there signs, and decides what is believed.
fn open_state(state: &Path) -> Result<()> {
    let safe = || {
        ownership::private_directory(state, &["locks"]).map_err(|error| Error {
            message: format!("the state directory {}", error.message),
            ..error
        })
    };
    safe()?;
    make_private(state)?;
    for part in ["locks", "scratch"] {
        make_private(&state.join(part))?;
    }
    // Others may have made it in the meantime.
    safe()
}

/// Makes a directory for this user alone, unless it is there.
fn make_private(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| state_error(path, &error))?;
    rustix::fs::access(
        path,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )
    .map_err(|error| state_error(path, &error.into()))
}

fn open_signer(reference: Option<&Reference>, state: &Path, scrubber: &Scrubber) -> Result<Signer> {
    if let Some(reference) = reference {
        let secret = resolve(reference)?;
        scrubber.learn(&secret);
        return Signer::from_openssh(&secret);
    }
    let path = state.join("signing.key");
    // Made for this user alone; an access control list shows as rights of the group.
    let mode = std::fs::metadata(&path).map_or(0, |metadata| metadata.mode());
    if mode & 0o077 != 0 {
        let path = quote(&path.to_string_lossy());
        let message = format!("the signing key {path} is open to other users");
        return Err(Error::new(Code::State, message).hint(format!(
            "they can sign as this host: find out who could read it, then run `setfacl -b {path}; chmod 600 {path}`, or remove it, to have another made"
        )));
    }
    match crate::plain::read(&path) {
        Ok(bytes) => Signer::from_openssh(&Secret::new(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let signer = Signer::generate()?;
            let text = signer.to_openssh()?;
            place::write_file(&mut text.as_bytes(), &path, 0o600).map_err(|e| Error {
                code: Code::State,
                ..e
            })?;
            Ok(signer)
        }
        Err(error) => Err(state_error(&path, &error)),
    }
}

fn open_trusted(config: &Config, trust: &[String]) -> Result<TrustedSigners> {
    let mut trusted = match &config.app.trusted_signers {
        None => TrustedSigners::default(),
        Some(path) => {
            let what = format!("trusted_signers {}", path.display());
            ownership::named_file(path, &config.origin).map_err(|error| Error {
                message: format!("{what} {}", error.message),
                ..error
            })?;
            let text = crate::plain::read_to_string(path).map_err(|error| {
                Error::new(Code::Configuration, format!("trusted_signers {} cannot be read", path.display()))
                    .cause(error)
                    .hint("create it: one line `NAME ssh-ed25519 KEY` for each signer, or remove the setting")
            })?;
            TrustedSigners::parse(&text)?
        }
    };
    for id in trust {
        trusted.add_id(id)?;
    }
    Ok(trusted)
}

/// Keeps the list of trusted signers as a file, so that stock tools can check what we signed.
fn keep_allowed_signers(state: &Path, text: &str) -> Result<()> {
    let path = state.join("allowed_signers");
    if crate::plain::read(&path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    place::replace_file(&mut text.as_bytes(), &path, 0o644)
        .map(|_| ())
        .map_err(|e| Error {
            code: Code::State,
            ..e
        })
}
