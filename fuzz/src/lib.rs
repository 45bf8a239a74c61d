//! What the targets share: a repository in memory, whose seal whoever attacks it is taken to have.

use lifeboat_repository::keyfile::Cost;
use lifeboat_repository::{Author, FileKind, Id, Repository};
use lifeboat_store::{MemoryStore, PutOptions, Store};
use std::sync::{Arc, OnceLock};

/// A store, and a repository in it.
pub struct Place {
    /// What holds the files.
    pub store: Arc<dyn Store>,
    /// Opened with the password `x`.
    pub repository: Repository,
}

/// The one place of a process.
pub fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let repository =
            Repository::create(Arc::clone(&store), "", b"x", &Author::default()).unwrap();
        let slow = repository.list(FileKind::Key).unwrap();
        let cost = Cost {
            log_n: 4,
            ..Cost::default()
        };
        repository.add_key(b"x", cost, &Author::default()).unwrap();
        for (id, _) in slow {
            repository.delete(FileKind::Key, &id).unwrap();
        }
        Place { store, repository }
    })
}

impl Place {
    /// Puts bytes under a key.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let mut body = bytes;
        self.store
            .put(key, &mut body, &PutOptions::default())
            .unwrap();
    }

    /// The bytes, sealed.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.repository.key().seal_into(plain, &mut sealed).unwrap();
        sealed
    }

    /// Seals a document, stores it under the name it then has, hands that to `look`, and removes it.
    pub fn with_document(&self, kind: FileKind, plain: &[u8], look: impl FnOnce(&Repository, Id)) {
        let sealed = self.seal(plain);
        let id = Id::of(&sealed);
        self.put(&kind.key(&id), &sealed);
        look(&self.repository, id);
        self.repository.delete(kind, &id).unwrap();
    }
}
