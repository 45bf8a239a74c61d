//! A store over a network, where every request takes time. Several packs are under way at once, an
//! index names only packs that are stored, and trees are not requested one by one.

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

use common::watched::{Call, Verdict, Watch, Watched, unreachable};
use common::{back_up, cheaply, noise, try_back_up};
use lifeboat_repository::check::{self, Depth};
use lifeboat_repository::{Author, Error, FileKind, Id, Repository};
use lifeboat_store::StoreError;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Far longer than it takes until the next pack is full.
const PATIENCE: Duration = Duration::from_secs(60);

/// The fate of packs that are put.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Fate {
    #[default]
    Stored,
    /// Each waits until this many are under way; it fails if they do not come.
    StoredTogether(usize),
    /// When this many are under way, the first of them fails; the others are stored after that.
    FirstFails(usize),
}

#[derive(Default)]
struct State {
    fate: Fate,
    /// Packs whose upload began, in order.
    begun: Vec<String>,
    failed: bool,
    stored: HashSet<String>,
    /// Packs that were stored before each index file.
    before_index: Vec<HashSet<String>>,
}

#[derive(Default)]
struct Network {
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

    /// Applies the fate of a pack, which may mean to wait.
    fn meet(&self, key: &str) -> Verdict {
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
            return Err(unreachable("no answer"));
        }
        if let Fate::FirstFails(_) = fate {
            if self.state.lock().unwrap().begun[0] == key {
                self.state.lock().unwrap().failed = true;
                self.changed.notify_all();
                return Err(unreachable("no answer"));
            }
            assert!(self.wait(|state| state.failed));
        }
        Ok(())
    }
}

impl Watch for Network {
    fn before(&self, call: Call, key: &str) -> Verdict {
        match call {
            Call::Put(_) if key.starts_with("data/") => return self.meet(key),
            Call::Open if key.starts_with("data/") => self.reads.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        Ok(())
    }

    fn after(&self, call: Call, key: &str) -> Verdict {
        let mut state = self.state.lock().unwrap();
        if let Call::Put(_) = call {
            if key.starts_with("data/") {
                state.stored.insert(key.to_owned());
            }
            if key.starts_with("index/") {
                let stored = state.stored.clone();
                state.before_index.push(stored);
            }
        }
        Ok(())
    }

    fn is_remote(&self) -> bool {
        true
    }
}

fn create() -> (Arc<Watched<Network>>, Repository) {
    let store = Arc::new(Watched::<Network>::default());
    let repository = Repository::create(store.clone(), "", b"x", &Author::default()).unwrap();
    cheaply(&repository);
    (store, repository)
}

/// Writes one file that does not compress.
fn write(tree: &Path, bytes: usize) {
    fs::create_dir_all(tree).unwrap();
    fs::write(tree.join("noise"), noise(bytes, 1)).unwrap();
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
fn several_packs_are_stored_at_a_time_and_named_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("t");
    // More than three packs of at most 16 MiB.
    write(&tree, 40 << 20);
    let (store, repository) = create();
    store.watch.set(Fate::StoredTogether(3));
    let report = try_back_up(&repository, &tree, None).unwrap();
    assert!(report.skipped.is_empty());
    let packs = named(&repository);
    assert!(packs.len() >= 4, "{packs:?}");
    let before = store.watch.state.lock().unwrap().before_index.clone();
    // Some are named early, in case the run is killed; the last index file comes after all packs.
    assert!(before.len() < packs.len(), "{before:?}");
    assert!(before.iter().all(|stored| !stored.is_empty()), "{before:?}");
    assert_eq!(before.last(), Some(&packs));
    assert_eq!(
        check::run(&repository, Depth::Data).unwrap().errors.len(),
        0
    );
}

#[test]
fn a_pack_that_fails_is_named_by_no_index() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("t");
    write(&tree, 40 << 20);
    let (store, repository) = create();
    store.watch.set(Fate::FirstFails(3));
    match try_back_up(&repository, &tree, None) {
        Err(Error::Store(StoreError::Unreachable { .. })) => {}
        other => panic!("{other:?}"),
    }
    let stored = store.watch.state.lock().unwrap().stored.clone();
    let begun = store.watch.state.lock().unwrap().begun.clone();
    // The packs under way beside it are not lost.
    assert!(stored.len() >= 2, "{stored:?}");
    assert!(!stored.contains(&begun[0]));
    assert_eq!(named(&repository), stored);
    assert_eq!(repository.list(FileKind::Snapshot).unwrap(), []);
    // The next run uses them.
    store.watch.set(Fate::Stored);
    let report = try_back_up(&repository, &tree, None).unwrap();
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
        store.watch.reads.store(0, Ordering::Relaxed);
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
        let reads = store.watch.reads.load(Ordering::Relaxed);
        assert!(reads <= 4, "{work}: {reads} reads of packs");
    }
}
