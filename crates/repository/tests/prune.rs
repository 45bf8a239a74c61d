//! Tests what forgetting and pruning leave: everything needed, even after an interruption at any
//! point, and less of the rest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests fail by panicking"
)]

mod common;

use common::watched::{Call, Verdict, Watch, Watched};
use common::{cheaply, noise, objects};
use jiff::{SignedDuration, Timestamp};
use lifeboat_repository::index::Index;
use lifeboat_repository::lock::{self, Lock, Mode};
use lifeboat_repository::prune::{self, Options};
use lifeboat_repository::saver::with_saver;
use lifeboat_repository::{Author, Error, FileKind, Id, Repository, check, forget};
use lifeboat_store::{LocalStore, MemoryStore, Store, StoreError};
use lifeboat_testkit::restic::Restic;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

fn create(store: Arc<dyn Store>) -> Repository {
    let repository = Repository::create(store, "", b"x", &Author::default()).unwrap();
    cheaply(&repository);
    repository
}

fn back_up(repository: &Repository, tree: &Path) -> Id {
    let report = common::try_back_up(repository, tree, None);
    report.unwrap().snapshot
}

/// Writes one state of a directory: files that no other state has, and one that all have.
fn state(tree: &Path, number: u64) {
    let _ = std::fs::remove_dir_all(tree);
    std::fs::create_dir_all(tree.join("dir")).unwrap();
    std::fs::write(tree.join("common"), noise(300_000, 7)).unwrap();
    for file in 0..4 {
        let content = noise(150_000, number * 10 + file);
        std::fs::write(tree.join(format!("dir/{file}")), content).unwrap();
    }
    std::fs::write(tree.join("dir/number"), number.to_string()).unwrap();
}

fn options() -> Options {
    Options {
        max_unused: 0.0,
        ..Options::default()
    }
}

fn later(hours: i64) -> Options {
    Options {
        now: Timestamp::now() + SignedDuration::from_hours(hours),
        ..options()
    }
}

fn stored(repository: &Repository) -> u64 {
    let packs = repository.list(FileKind::Pack).unwrap();
    packs.iter().map(|(_, bytes)| bytes).sum()
}

fn whole(repository: &Repository) {
    let report = check::run(repository, check::Depth::Data).unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
}

#[test]
fn only_what_no_snapshot_needs_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let (tree, path) = (directory.path().join("t"), directory.path().join("r"));
    let repository = create(Arc::new(LocalStore::create(&path).unwrap()));
    let snapshots: Vec<Id> = (0..3)
        .map(|number| {
            state(&tree, number);
            back_up(&repository, &tree)
        })
        .collect();
    // Nothing is rubbish yet, and the small packs are too few to be combined.
    let report = prune::run(&repository, &options()).unwrap();
    let all = repository.list(FileKind::Pack).unwrap().len() as u64;
    assert_eq!((report.kept.count, report.marked.count), (all, 0));

    forget::remove(&repository, &snapshots[..2]).unwrap();
    let before = stored(&repository);
    let files = repository.list(FileKind::Index).unwrap();
    let dry = Options {
        dry_run: true,
        ..options()
    };
    let planned = prune::run(&repository, &dry).unwrap();
    assert_eq!(repository.list(FileKind::Index).unwrap(), files);
    let report = prune::run(&repository, &options()).unwrap();
    assert_eq!(report, planned);
    // The first pack has the file that all states share; that file is kept.
    let marked = report.marked.count;
    assert!(
        report.repacked.count == 1 && marked >= 4 && marked < all,
        "{report:?}"
    );
    assert!(stored(&repository) > before);
    whole(&repository);
    for restic in Restic::all() {
        restic.ok(&path, "x", &["check", "--read-data"]);
    }

    let unknown = check::run(&repository, check::Depth::Structure)
        .unwrap()
        .unknown_packs;
    assert_eq!(unknown, [], "those that are to be deleted are known");
    let waiting = prune::run(&repository, &later(22)).unwrap();
    assert_eq!((waiting.waiting.count, waiting.deleted.count), (marked, 0));
    let deleted = prune::run(&repository, &later(24)).unwrap();
    assert_eq!((deleted.waiting.count, deleted.deleted.count), (0, marked));
    assert_eq!(deleted.deleted.bytes, report.marked.bytes);
    let after = stored(&repository);
    assert!(after < 920_000, "{after} of {before} bytes are left");
    whole(&repository);
    for restic in Restic::all() {
        restic.ok(&path, "x", &["check", "--read-data"]);
        // restic finds nothing that we left.
        let said = restic.ok(&path, "x", &["prune", "--max-unused=0", "--dry-run"]);
        let total = said.lines().find(|line| line.starts_with("total prune:"));
        assert!(total.unwrap().contains(" 0 blobs / 0 B"), "{said}");
    }
    let back = directory.path().join("back");
    let target = back.to_str().unwrap();
    Restic::installed().ok(&path, "x", &["restore", "latest", "--target", target]);
    let number = back
        .join(tree.strip_prefix("/").unwrap())
        .join("dir/number");
    assert_eq!(std::fs::read_to_string(number).unwrap(), "2");
    assert_eq!(repository.list(FileKind::Lock).unwrap(), []);
}

#[test]
fn small_packs_are_combined_once() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("t");
    let repository = create(Arc::new(MemoryStore::new()));
    for number in 0..4 {
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join(number.to_string()), noise(6 << 20, number)).unwrap();
        back_up(&repository, &tree);
    }
    let prune_on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().unwrap();
        pool.install(|| prune::run(&repository, &options()))
            .unwrap()
    };
    // However many threads copy, at most one small pack is left, so this ends.
    assert!(prune_on(64).repacked.count >= 4);
    assert_eq!(prune_on(64).repacked.count, 0);
    whole(&repository);
}

#[test]
fn we_and_restic_prune_what_the_other_forgot() {
    for restic in Restic::all() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, path) = (directory.path().join("t"), directory.path().join("r"));
        restic.ok(&path, "x", &["init", "--repository-version", "2"]);
        for number in 0..3 {
            state(&tree, number);
            restic.ok(&path, "x", &["backup", tree.to_str().unwrap()]);
        }
        restic.ok(&path, "x", &["forget", "--group-by=", "--keep-last", "1"]);
        let store = Arc::new(LocalStore::create(&path).unwrap());
        let repository = Repository::open(store, "", b"x").unwrap();
        let at_once = Options {
            grace: SignedDuration::ZERO,
            ..options()
        };
        let report = prune::run(&repository, &at_once).unwrap();
        assert!(report.deleted.count >= 4, "{report:?}");
        restic.ok(&path, "x", &["check", "--read-data"]);

        // The other way round, with packs to be deleted in the index.
        state(&tree, 7);
        let ours = back_up(&repository, &tree);
        restic.ok(&path, "x", &["forget", "--group-by=", "--keep-last", "1"]);
        prune::run(&repository, &options()).unwrap();
        state(&tree, 8);
        back_up(&repository, &tree);
        forget::remove(&repository, &[ours]).unwrap();
        restic.ok(&path, "x", &["prune", "--max-unused=0"]);
        restic.ok(&path, "x", &["check", "--read-data"]);
        whole(&repository);
        assert!(stored(&repository) < 920_000);
    }
}

#[test]
fn a_pack_that_a_snapshot_turns_out_to_need_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("t");
    let repository = create(Arc::new(MemoryStore::new()));
    state(&tree, 0);
    let first = back_up(&repository, &tree);
    let snapshot = repository.snapshot(&first).unwrap();
    state(&tree, 1);
    back_up(&repository, &tree);
    forget::remove(&repository, &[first]).unwrap();
    let report = prune::run(&repository, &options()).unwrap();
    assert!(report.marked.count >= 2, "{report:?}");
    // A backup that took no lock finishes after all.
    repository.save_snapshot(&snapshot).unwrap();
    let errors = check::run(&repository, check::Depth::Structure)
        .unwrap()
        .errors;
    let told = |error: &Error| matches!(error, Error::ToDelete { .. });
    assert!(!errors.is_empty() && errors.iter().all(told), "{errors:?}");
    let report = prune::run(&repository, &later(24)).unwrap();
    assert!(report.recovered.count >= 1, "{report:?}");
    whole(&repository);
    let (index, _) = repository.load_index().unwrap();
    assert!(index.has(lifeboat_repository::pack::BlobKind::Tree, &snapshot.tree));
}

#[test]
fn packs_of_an_interrupted_backup_are_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("t");
    let store = Arc::new(MemoryStore::new());
    let repository = create(store.clone());
    state(&tree, 0);
    back_up(&repository, &tree);
    let packs: BTreeSet<Id> = ids(&repository, FileKind::Pack);
    let files = ids(&repository, FileKind::Index);
    state(&tree, 1);
    let cut = back_up(&repository, &tree);
    // As if it had been killed before it wrote its index.
    repository.delete(FileKind::Snapshot, &cut).unwrap();
    for file in ids(&repository, FileKind::Index).difference(&files) {
        repository.delete(FileKind::Index, file).unwrap();
    }
    let unknown = ids(&repository, FileKind::Pack).len() - packs.len();
    let report = prune::run(&repository, &options()).unwrap();
    assert_eq!(report.marked.count, unknown as u64, "{report:?}");
    assert!(unknown >= 2);
    prune::run(&repository, &later(24)).unwrap();
    assert_eq!(ids(&repository, FileKind::Pack), packs);
    whole(&repository);
}

/// A backup without a lock stores its packs before a prune looks, and ends before the prune
/// deletes.
#[test]
fn packs_of_a_backup_that_ends_meanwhile_stay() {
    let directory = tempfile::tempdir().unwrap();
    let (tree, path) = (directory.path().join("t"), directory.path().join("r"));
    let store = || LocalStore::create(&path).unwrap();
    let repository = create(Arc::new(store()));
    state(&tree, 0);
    back_up(&repository, &tree);
    let first = objects(&store());
    state(&tree, 1);
    let second = back_up(&repository, &tree);
    let at_the_end: Vec<(String, Vec<u8>)> = objects(&store())
        .into_iter()
        .filter(|(key, _)| !first.contains_key(key) && !key.starts_with("data/"))
        .collect();
    assert_eq!(at_the_end.len(), 2, "an index file and a snapshot");
    for (key, _) in &at_the_end {
        store().delete(key).unwrap();
    }
    let (looks, beside) = (AtomicI64::new(0), store());
    let watch = move |call: Call, key: &str| -> Verdict {
        if call == Call::List && key == "index/" && looks.fetch_add(1, Ordering::Relaxed) == 1 {
            for (key, bytes) in &at_the_end {
                common::put(&beside, key, bytes);
            }
        }
        Ok(())
    };
    let watched = Watched {
        inner: store(),
        watch,
    };
    let opened = Repository::open(Arc::new(watched), "", b"x").unwrap();
    let at_once = Options {
        grace: SignedDuration::ZERO,
        ..options()
    };
    prune::run(&opened, &at_once).unwrap();
    assert!(repository.snapshot(&second).is_ok());
    whole(&repository);
}

fn ids(repository: &Repository, kind: FileKind) -> BTreeSet<Id> {
    let listed = repository.list(kind).unwrap();
    listed.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn a_damaged_repository_is_not_pruned() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("t");
    let repository = create(Arc::new(MemoryStore::new()));
    let snapshots: Vec<Id> = (0..2)
        .map(|number| {
            state(&tree, number);
            back_up(&repository, &tree)
        })
        .collect();
    forget::remove(&repository, &snapshots[..1]).unwrap();
    let (index, _) = repository.load_index().unwrap();
    let tree = repository.snapshot(&snapshots[1]).unwrap().tree;
    let kind = lifeboat_repository::pack::BlobKind::Tree;
    let pack = index.locations(kind, &tree).next().unwrap().pack;
    repository.delete(FileKind::Pack, &pack).unwrap();
    let before = ids(&repository, FileKind::Pack);
    let error = prune::run(&repository, &options()).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert_eq!(ids(&repository, FileKind::Pack), before);
    assert!(ids(&repository, FileKind::Lock).is_empty());
}

/// Stores every blob a second time, as two concurrent backups do.
fn store_again(repository: &Repository) {
    let (index, _) = repository.load_index().unwrap();
    let all: Vec<_> = index
        .blobs()
        .map(|(id, at)| (id, at.kind, repository.read_blob(&id, &at).unwrap()))
        .collect();
    with_saver(repository, &Index::default(), |saver| {
        for (id, kind, content) in &all {
            assert_eq!(saver.save(*kind, content)?, *id);
        }
        Ok(())
    })
    .unwrap();
}

/// Cuts the last byte off packs, or removes them.
fn spoil(repository: &Repository, store: &MemoryStore, packs: &BTreeSet<Id>, gone: bool) {
    for pack in packs {
        let key = FileKind::Pack.key(pack);
        if gone {
            repository.delete(FileKind::Pack, pack).unwrap();
            continue;
        }
        let mut bytes = common::read(store, &key);
        bytes.pop();
        common::put(store, &key, &bytes);
    }
}

#[test]
fn if_two_packs_share_a_blob_the_intact_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("t");
    state(&tree, 0);
    // Which of the two is damaged, and whether an earlier prune removed one from the index.
    for (first, gone, pruned) in [
        (true, false, false),
        (false, false, false),
        (true, true, false),
        (false, true, false),
        (true, false, true),
        (true, true, true),
    ] {
        let store = Arc::new(MemoryStore::new());
        let repository = create(store.clone());
        back_up(&repository, &tree);
        let mut hit = ids(&repository, FileKind::Pack);
        store_again(&repository);
        if pruned {
            let report = prune::run(&repository, &options()).unwrap();
            assert!(report.marked.count >= 2, "{report:?}");
            let (index, _) = repository.load_index().unwrap();
            let kept = index.blobs().filter(|(_, at)| !at.to_delete);
            hit = kept.map(|(_, at)| at.pack).collect();
        } else if !first {
            let all = ids(&repository, FileKind::Pack);
            hit = all.difference(&hit).copied().collect();
        }
        spoil(&repository, &store, &hit, gone);
        prune::run(&repository, &options()).unwrap();
        prune::run(&repository, &later(24)).unwrap();
        assert!(ids(&repository, FileKind::Pack).is_disjoint(&hit));
        whole(&repository);
    }
}

/// Stops a store after this many changes, like a process that is killed.
struct Mortal {
    left: AtomicI64,
}

impl Watch for Mortal {
    fn before(&self, call: Call, key: &str) -> Verdict {
        let changes = matches!(call, Call::Put(_) | Call::Delete);
        match changes && self.left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            true => Err(StoreError::Denied {
                location: "mortal".to_owned(),
                key: key.to_owned(),
                detail: "killed".into(),
            }),
            false => Ok(()),
        }
    }
}

/// Copies a repository into a store that can be stopped.
fn copy(base: &MemoryStore) -> (Arc<Watched<Mortal>>, Repository) {
    let store = Arc::new(Watched {
        inner: common::stored(&objects(base)),
        watch: Mortal {
            left: AtomicI64::new(i64::MAX),
        },
    });
    let repository = Repository::open(store.clone(), "", b"x").unwrap();
    (store, repository)
}

#[test]
fn a_killed_prune_loses_nothing_and_the_next_run_finishes_it() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("t");
    let base = Arc::new(MemoryStore::new());
    let repository = create(base.clone());
    let snapshots: Vec<Id> = (0..4)
        .map(|number| {
            state(&tree, number);
            back_up(&repository, &tree)
        })
        .collect();
    forget::remove(&repository, &[snapshots[0], snapshots[2]]).unwrap();
    // Killed once while it marks, once while it deletes, and in its second run, too.
    let (marked, repository) = copy(&base);
    prune::run(&repository, &options()).unwrap();
    let (_, repository) = copy(&marked.inner);
    prune::run(&repository, &later(24)).unwrap();
    let expected = ids(&repository, FileKind::Pack).len();
    for (base, hours) in [(&*base, 0), (&marked.inner, 24)] {
        let (store, repository) = copy(base);
        let before = store.watch.left.load(Ordering::Relaxed);
        prune::run(&repository, &later(hours)).unwrap();
        let changes = before - store.watch.left.load(Ordering::Relaxed);
        assert!(changes > 8, "{changes}");
        std::thread::scope(|scope| {
            for number in 0..changes {
                scope.spawn(move || {
                    let (store, repository) = copy(base);
                    store.watch.left.store(number, Ordering::Relaxed);
                    let ended = prune::run(&repository, &later(hours));
                    // It may succeed if only its lock could not be removed.
                    assert!(
                        ended.is_err() || number + 2 > changes,
                        "{number}: {ended:?}"
                    );
                    store.watch.left.store(i64::MAX, Ordering::Relaxed);
                    // The process that held them is gone.
                    lock::unlock(&repository, true).unwrap();
                    whole(&repository);
                    // What was copied just before the interruption may exist twice until it is
                    // pruned.
                    for hours in [hours, hours + 24, hours + 48] {
                        prune::run(&repository, &later(hours)).unwrap();
                    }
                    whole(&repository);
                    assert_eq!(ids(&repository, FileKind::Pack).len(), expected, "{number}");
                });
            }
        });
    }
}

#[test]
fn backups_and_a_prune_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let repository = create(Arc::new(MemoryStore::new()));
    let trees: Vec<_> = (0..2)
        .map(|n| directory.path().join(format!("{n}")))
        .collect();
    let wait = Duration::from_mins(2);
    let lock = || Lock::take(&repository, Mode::Shared, wait, &Author::default()).unwrap();
    std::thread::scope(|scope| {
        for (tree, which) in trees.iter().zip(0..) {
            let (repository, lock) = (&repository, &lock);
            scope.spawn(move || {
                let mut before = None;
                for number in 0..5 {
                    // Every other state occurs again, after it was forgotten.
                    state(tree, which * 100 + number % 2);
                    let lock = lock();
                    let made = back_up(repository, tree);
                    drop(lock);
                    if let Some(before) = before.replace(made) {
                        forget::remove(repository, &[before]).unwrap();
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..4 {
                let waiting = Options { wait, ..options() };
                match prune::run(&repository, &waiting) {
                    // A snapshot was forgotten while it was read, or the index was rewritten.
                    Ok(_) | Err(Error::Changed | Error::Missing { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    });
    whole(&repository);
    prune::run(&repository, &later(24)).unwrap();
    whole(&repository);
    assert_eq!(ids(&repository, FileKind::Snapshot).len(), 2);
}
