//! A store over a network, where every request takes its time: several packs are under way at once,
//! an index names none that is not stored, and trees are not asked for one by one.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use common::{back_up, cheaply};
use lifeboat_repository::backup;
use lifeboat_repository::check::{self, Depth};
use lifeboat_repository::time::Time;
use lifeboat_repository::{Author, Error, FileKind, Id, Repository, Result};
use lifeboat_store::{MemoryStore, ObjectInfo, PutOptions, Receipt, Store, StoreError};
use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// By far longer than it takes until the next pack is full.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to packs that are put.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Fate {
    #[default]
    Stored,
    /// Each waits until so many are under way; fails when they do not come.
    StoredTogether(usize),
    /// So many are under way; then the one that came first fails, and the others are stored after it.
    FirstFails(usize),
}

#[derive(Default)]
struct State {
    fate: Fate,
    /// Packs that were begun, in order.
    begun: Vec<String>,
    failed: bool,
    stored: HashSet<String>,
    /// Packs that were stored before each index file.
    before_index: Vec<HashSet<String>>,
}

#[derive(Default)]
struct Network {
    inner: MemoryStore,
    state: Mutex<State>,
    changed: Condvar,
    reads: AtomicUsize,
}

impl Network {
    fn set(&self, fate: Fate) {
        *self.state.lock().unwrap() = State {
            fate,
            ..State::default()
        };
    }

    fn wait(&self, until: impl Fn(&State) -> bool) -> bool {
        let state = self.state.lock().unwrap();
        let not_yet = |state: &mut State| !until(state);
        let waited = self.changed.wait_timeout_while(state, PATIENCE, not_yet);
        !waited.unwrap().1.timed_out()
    }

    fn broken(&self) -> StoreError {
        StoreError::Unreachable {
            location: self.location(),
            detail: "no answer".to_owned(),
        }
    }

    /// What the fate of a pack is; waits for it.
    fn meet(&self, key: &str) -> std::result::Result<(), StoreError> {
        let fate = {
            let mut state = self.state.lock().unwrap();
            state.begun.push(key.to_owned());
            state.fate
        };
        self.changed.notify_all();
        let (Fate::StoredTogether(count) | Fate::FirstFails(count)) = fate else {
            return Ok(());
        };
        if !self.wait(|state| state.begun.len() >= count) {
            return Err(self.broken());
        }
        if let Fate::FirstFails(_) = fate {
            if self.state.lock().unwrap().begun[0] == key {
                self.state.lock().unwrap().failed = true;
                self.changed.notify_all();
                return Err(self.broken());
            }
            assert!(self.wait(|state| state.failed));
        }
        Ok(())
    }
}

impl Store for Network {
    fn location(&self) -> String {
        "network".to_owned()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn put(
        &self,
        key: &str,
        body: &mut (dyn Read + Send),
        options: &PutOptions,
    ) -> std::result::Result<Receipt, StoreError> {
        if key.starts_with("data/") {
            self.meet(key)?;
        }
        let receipt = self.inner.put(key, body, options)?;
        let mut state = self.state.lock().unwrap();
        if key.starts_with("data/") {
            state.stored.insert(key.to_owned());
        }
        if key.starts_with("index/") {
            let stored = state.stored.clone();
            state.before_index.push(stored);
        }
        Ok(receipt)
    }

    fn open(
        &self,
        key: &str,
        offset: u64,
    ) -> std::result::Result<Box<dyn Read + Send>, StoreError> {
        if key.starts_with("data/") {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.open(key, offset)
    }

    fn stat(&self, key: &str) -> std::result::Result<Option<ObjectInfo>, StoreError> {
        self.inner.stat(key)
    }

    fn list(&self, prefix: &str) -> std::result::Result<Vec<ObjectInfo>, StoreError> {
        self.inner.list(prefix)
    }

    fn delete(&self, key: &str) -> std::result::Result<(), StoreError> {
        self.inner.delete(key)
    }

    fn probe(&self) -> std::result::Result<(), StoreError> {
        self.inner.probe()
    }
}

fn create() -> (Arc<Network>, Repository) {
    let store = Arc::new(Network::default());
    let repository = Repository::create(store.clone(), "", b"x", &Author::default()).unwrap();
    cheaply(&repository);
    (store, repository)
}

/// One file that does not compress.
fn write(tree: &Path, bytes: u64) {
    fs::create_dir_all(tree).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise = (0..bytes / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    fs::write(tree.join("noise"), noise.collect::<Vec<u8>>()).unwrap();
}

fn try_back_up(repository: &Repository, tree: &Path) -> Result<backup::Report> {
    let (index, _) = repository.load_index()?;
    let options = backup::Options {
        paths: vec![tree.to_owned()],
        parent: None,
        time: Time::utc(jiff::Timestamp::now()),
        zone: jiff::tz::TimeZone::UTC,
        hostname: "here".into(),
        username: String::new(),
        tags: Vec::new(),
        one_file_system: false,
        excludes: Default::default(),
        how: Default::default(),
        program: String::new(),
    };
    backup::run(repository, &index, &options)
}

/// The packs that index files name.
fn named(repository: &Repository) -> HashSet<String> {
    let files = repository.list(FileKind::Index).unwrap();
    let packs = files.iter().flat_map(|(id, _)| {
        let file = repository.index_file(id).unwrap();
        file.packs.into_iter().map(|pack| pack.id)
    });
    packs.map(|id: Id| FileKind::Pack.key(&id)).collect()
}

#[test]
fn packs_are_stored_several_at_a_time_and_named_after_that() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("t");
    // Three packs and more, of 16 MiB at most.
    write(&tree, 40 << 20);
    let (store, repository) = create();
    store.set(Fate::StoredTogether(3));
    let report = try_back_up(&repository, &tree).unwrap();
    assert!(report.skipped.is_empty());
    let packs = named(&repository);
    assert!(packs.len() >= 4, "{packs:?}");
    let before = store.state.lock().unwrap().before_index.clone();
    assert_eq!(before, [packs]);
    assert_eq!(
        check::run(&repository, Depth::Data).unwrap().errors.len(),
        0
    );
}

#[test]
fn of_packs_under_way_one_that_fails_is_named_by_no_index() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("t");
    write(&tree, 40 << 20);
    let (store, repository) = create();
    store.set(Fate::FirstFails(3));
    match try_back_up(&repository, &tree) {
        Err(Error::Store(StoreError::Unreachable { .. })) => {}
        other => panic!("{other:?}"),
    }
    let stored = store.state.lock().unwrap().stored.clone();
    let begun = store.state.lock().unwrap().begun.clone();
    // What was under way beside it is not lost.
    assert!(stored.len() >= 2, "{stored:?}");
    assert!(!stored.contains(&begun[0]));
    assert_eq!(named(&repository), stored);
    assert_eq!(repository.list(FileKind::Snapshot).unwrap(), []);
    // The next run uses it.
    store.set(Fate::Stored);
    let report = try_back_up(&repository, &tree).unwrap();
    assert!(report.added.bytes < 40 << 20, "{:?}", report.added);
    assert_eq!(
        check::run(&repository, Depth::Data).unwrap().errors.len(),
        0
    );
}

#[test]
fn an_unchanged_backup_does_not_ask_for_every_directory() {
    const DIRECTORIES: usize = 200;
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("t");
    for number in 0..DIRECTORIES {
        let inner = tree.join(number.to_string());
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), number.to_string()).unwrap();
    }
    let (store, repository) = create();
    let first = back_up(&repository, &tree, None);
    for work in ["backup", "check"] {
        store.reads.store(0, Ordering::Relaxed);
        match work {
            "backup" => {
                let second = back_up(&repository, &tree, Some(first.snapshot));
                assert_eq!(second.files_unmodified, DIRECTORIES as u64);
            }
            _ => {
                let report = check::run(&repository, Depth::Structure).unwrap();
                assert!(report.trees > DIRECTORIES as u64);
            }
        }
        let reads = store.reads.load(Ordering::Relaxed);
        assert!(reads <= 4, "{work}: {reads} reads of packs");
    }
}
