//! Restore points in a repository of the restic format: `layout = "repository"`.
//!
//! Each point is one snapshot, tagged with its id. In it, `/<source>` holds the files of a `files`
//! source as they were, and the dumps of anything else as files. `/.lifeboat` holds the details and
//! the skeletons of archives, so that every artifact is read back byte for byte as it was captured;
//! the code for archives verifies, drills, restores and copies it. The manifest names the snapshot
//! by its id, a hash that covers, through further hashes, everything in it.

mod deposit;
mod orphans;
mod prune;
mod read;
mod tape;

pub(crate) use deposit::{About, Deposit, Slot};
pub(crate) use read::Blobs;

use crate::cancel::Cancel;
use crate::config::{Layout, StoreConfig};
use crate::error::{Code, Error, Result};
use crate::explain;
use crate::resolve::resolve_as_restic;
use crate::secret::{Reference, Scrubber};
use lifeboat_repository as engine;
use lifeboat_repository::index::Index;
use lifeboat_repository::lock::{Lock, Mode};
use lifeboat_repository::{Id, Repository};
use lifeboat_store::Store;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Prefix of the keys of a repository in a store.
pub const PREFIX: &str = "repository/";
/// The encryption that a manifest names for what is in a snapshot.
pub const ENCRYPTION: &str = "repository";
/// How long to wait for another process that holds an exclusive lock on the repository.
const WAIT: Duration = Duration::from_secs(60);

/// The repository of a store, opened when first used.
pub struct Snapshots {
    /// Name of the store, for messages.
    name: String,
    store: Arc<dyn Store>,
    password: Reference,
    scrubber: Scrubber,
    /// True if readers write locks.
    locks: bool,
    /// How long the store may take for any operation.
    stall: Duration,
    opened: Mutex<Opened>,
}

#[derive(Default)]
struct Opened {
    repository: Option<Arc<Repository>>,
    index: Option<Arc<Index>>,
    lock: Option<Lock>,
}

impl Snapshots {
    /// The repository of a store that has a password for one. With `locks`, readers keep `prune`
    /// out, for which they write to the store.
    pub(crate) fn new(
        name: &str,
        config: &StoreConfig,
        store: &Arc<dyn Store>,
        scrubber: &Scrubber,
        locks: bool,
    ) -> Option<Arc<Self>> {
        Some(Arc::new(Snapshots {
            name: name.to_owned(),
            store: Arc::clone(store),
            password: config.password.clone()?,
            scrubber: scrubber.clone(),
            locks,
            stall: Duration::from_secs(config.stall_timeout.seconds.max(1)),
            opened: Mutex::default(),
        }))
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The repository. Fails if there is none.
    pub fn repository(&self) -> Result<Arc<Repository>> {
        let mut opened = self.opened();
        if let Some(known) = &opened.repository {
            return Ok(Arc::clone(known));
        }
        let password = resolve_as_restic(&self.password)?;
        self.scrubber.learn(&password);
        let repository = Repository::open(Arc::clone(&self.store), PREFIX, password.expose())
            .map_err(|error| self.about(error))?;
        let job = Cancel::current();
        repository.stop_when(move || job.requested());
        let repository = Arc::new(repository);
        opened.repository = Some(Arc::clone(&repository));
        Ok(repository)
    }

    /// The repository. It is made if there is none and nothing shows that there was one.
    fn repository_or_new(&self) -> Result<Arc<Repository>> {
        match self.repository() {
            Err(error) if error.code == Code::ObjectMissing => {}
            other => return other,
        }
        if let Some(left) = self.store.list(PREFIX)?.first() {
            let message = format!("the repository of store {} has lost its config", self.name);
            return Err(Error::new(Code::ObjectDamaged, message)
                .cause(format!("there is {}, and no {PREFIX}config", left.key))
                .hint("bring `config` back from a copy of the store, or move what is left of the repository out of the way"));
        }
        let password = resolve_as_restic(&self.password)?;
        self.scrubber.learn(&password);
        let made = Repository::create(
            Arc::clone(&self.store),
            PREFIX,
            password.expose(),
            &explain::author(),
        );
        match made {
            // Another process has just made it.
            Ok(_) | Err(engine::Error::Exists { .. }) => self.repository(),
            Err(error) => Err(self.about(error)),
        }
    }

    /// The repository and its index, for reading.
    fn indexed(&self) -> Result<(Arc<Repository>, Arc<Index>)> {
        let repository = self.repository()?;
        let mut opened = self.opened();
        if let Some(index) = &opened.index {
            return Ok((repository, Arc::clone(index)));
        }
        if self.locks && opened.lock.is_none() {
            match Lock::take(&repository, Mode::Shared, WAIT, &explain::author()) {
                Ok(lock) => opened.lock = Some(lock),
                Err(error @ (engine::Error::Locked { .. } | engine::Error::Stopped)) => {
                    return Err(self.about(error));
                }
                // A user who may only read cannot lock.
                Err(_) => {}
            }
        }
        let index = Arc::new(self.load_index(&repository)?);
        opened.index = Some(Arc::clone(&index));
        Ok((repository, index))
    }

    fn load_index(&self, repository: &Repository) -> Result<Index> {
        let (index, damaged) = repository.load_index().map_err(|error| self.about(error))?;
        // What only a damaged index lists shows when it is wanted.
        drop(damaged);
        Ok(index)
    }

    /// Forgets the index, so that new blobs are looked for.
    fn forget_index(&self) {
        self.opened().index = None;
    }

    /// Converts an error of the engine. Whoever reports it adds the name of the store.
    fn about(&self, error: engine::Error) -> Error {
        let explained = match error {
            // The body of an upload, or the source of an archive.
            engine::Error::Read { source, key } => {
                Error::from_io(Code::Store, format!("{key} cannot be read"), source)
            }
            engine::Error::Store(error) => error.into(),
            error => explain::explain(error),
        };
        let name = &self.name;
        let (code, hint) = match explained.code {
            Code::PointUnknown => (Code::ObjectMissing, None),
            Code::ObjectMissing | Code::ObjectDamaged => (
                explained.code,
                Some("use another copy (--store), and heal this one with `lifeboat copy`".to_owned()),
            ),
            Code::Decryption => (
                Code::Decryption,
                Some(format!("correct `password` of [store.{name}]: it must be that of the repository that is there")),
            ),
            Code::Busy => (
                Code::Busy,
                Some("wait until that has ended; if nobody is at work there, remove the lock: lifeboat repo unlock".to_owned()),
            ),
            code => (code, None),
        };
        let hint = hint.or(explained.hint);
        let message = format!("its repository: {}", explained.message);
        Error {
            code,
            message,
            hint,
            ..explained
        }
    }

    /// Parses the id that a manifest names.
    fn snapshot_id(&self, text: &str) -> Result<Id> {
        text.parse().map_err(|_| {
            let message = format!(
                "{text:?}, which a manifest of store {} names, is no snapshot",
                self.name
            );
            Error::new(Code::ObjectDamaged, message)
        })
    }
}

impl StoreConfig {
    /// Returns true if points go into a repository there.
    pub fn is_repository(&self) -> bool {
        self.layout == Layout::Repository
    }
}
