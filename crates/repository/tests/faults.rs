//! Two concurrent backups and a prune through a store that at random fails, stalls, returns little
//! at a time, breaks off, or is full. Nothing that was committed is lost, every error says what
//! failed, and all of them end.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod common;

use common::watched::{Call, Verdict, Watch, Watched};
use common::{back_up, cheaply, noise, try_back_up};
use jiff::SignedDuration;
use lifeboat_repository::backup::Report;
use lifeboat_repository::check::{self, Depth};
use lifeboat_repository::lock::{self, Lock, Mode};
use lifeboat_repository::restore::{self, Options, Source};
use lifeboat_repository::{Author, Id, Repository, Result, forget, prune};
use lifeboat_store::{MemoryStore, StoreError};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// One in this many calls fails.
const FAILS: u64 = 60;
/// The free space while the store is full at times.
const ROOM_BYTES: u64 = 600_000;
/// The number of concurrent runs, each with its own store; most of the time they wait.
const RUNS: u64 = 10;
/// Far longer than any run takes.
const ENDS_WITHIN: Duration = Duration::from_secs(150);

struct Faulty {
    seed: AtomicU64,
    faulty: AtomicBool,
    stored_bytes: AtomicU64,
    faults: AtomicUsize,
    remote: bool,
}

impl Faulty {
    fn random(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self
            .seed
            .fetch_add(step, Ordering::Relaxed)
            .wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn happens(&self, one_in: u64) -> bool {
        let happens = self.faulty.load(Ordering::Relaxed) && self.random().is_multiple_of(one_in);
        self.faults
            .fetch_add(usize::from(happens), Ordering::Relaxed);
        happens
    }

    fn may_fail(&self, key: &str) -> Verdict {
        if !self.happens(FAILS) {
            return Ok(());
        }
        let (location, detail) = ("faulty".to_owned(), "no answer".to_owned());
        Err(match self.random() % 2 {
            0 => StoreError::Unreachable { location, detail },
            _ => StoreError::Denied {
                location,
                key: key.to_owned(),
                detail,
            },
        })
    }

    fn may_be_full(&self, bytes: u64) -> Verdict {
        let stored = self.stored_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if !self.faulty.load(Ordering::Relaxed) || stored <= ROOM_BYTES {
            return Ok(());
        }
        // Somebody frees space after a while.
        if self.random().is_multiple_of(3) {
            self.stored_bytes.store(0, Ordering::Relaxed);
        }
        Err(StoreError::Full {
            location: "faulty".to_owned(),
            detail: "no room".to_owned(),
        })
    }
}

/// A reader that returns a few bytes at a time, and may break off.
struct Slow {
    inner: Box<dyn Read + Send>,
    left: Option<u64>,
    step: usize,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let step = buffer.len().min(self.step);
        if let Some(left) = &mut self.left {
            if *left < step as u64 {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "broken off"));
            }
            *left -= step as u64;
        }
        self.inner.read(&mut buffer[..step])
    }
}

impl Watch for Faulty {
    /// Stalls at some times, fails at others.
    fn before(&self, call: Call, key: &str) -> Verdict {
        if self.happens(20) {
            std::thread::sleep(Duration::from_millis(self.random() % 40));
        }
        self.may_fail(key)?;
        match call {
            Call::Put(bytes) => self.may_be_full(bytes),
            _ => Ok(()),
        }
    }

    /// Fails after the call was carried out.
    fn after(&self, call: Call, key: &str) -> Verdict {
        match call {
            Call::Put(_) | Call::Delete => self.may_fail(key),
            _ => Ok(()),
        }
    }

    fn opened(&self, inner: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
        if !self.faulty.load(Ordering::Relaxed) {
            return inner;
        }
        let left = self.happens(FAILS).then(|| self.random() % 5000);
        let step = 1 + usize::try_from(self.random() % 5000).unwrap();
        Box::new(Slow { inner, left, step })
    }

    fn is_remote(&self) -> bool {
        self.remote
    }
}

/// Writes files, some of which change from round to round.
fn write(tree: &Path, seed: u64) {
    fs::create_dir_all(tree).unwrap();
    for number in 0..12_u64 {
        let version = if number % 3 == 0 { seed } else { 0 };
        let content = noise(15_000, number * 1_000_003 + version * 7919);
        fs::write(tree.join(number.to_string()), content).unwrap();
    }
}

fn take(repository: &Repository, mode: Mode) -> Result<Lock> {
    Lock::take(repository, mode, Duration::from_secs(2), &Author::default())
}

fn try_backup(repository: &Repository, tree: &Path, parent: Option<Id>) -> Result<Report> {
    let _lock = take(repository, Mode::Shared)?;
    try_back_up(repository, tree, parent)
}

fn try_forget(repository: &Repository, snapshot: Id) -> Result<()> {
    let _lock = take(repository, Mode::Exclusive)?;
    forget::remove(repository, &[snapshot])
}

/// Asserts that an error says what failed, and claims no damage, since nothing here is damaged.
fn assert_clear(error: &lifeboat_repository::Error) {
    let text = error.to_string();
    let known = [
        "faulty cannot be reached: no answer",
        "faulty denied access to",
        "faulty is full: no room",
        "cannot be read: broken off",
        "the repository is locked",
        "another process has rewritten the index meanwhile",
    ];
    let missing = text.starts_with("snapshot ") && text.ends_with(" is missing");
    assert!(
        missing || known.iter().any(|known| text.contains(known)),
        "{text}"
    );
}

/// Backs up repeatedly, and forgets every other snapshot. The snapshots that it keeps must stay.
fn backups(repository: &Repository, tree: &Path, which: u64, committed: &Mutex<Vec<Id>>) {
    let mut parent = None;
    for round in 0..4 {
        write(tree, which * 100 + round);
        match try_backup(repository, tree, parent) {
            Ok(report) => {
                assert!(report.skipped.is_empty());
                parent = Some(report.snapshot);
                match round % 2 {
                    0 => committed.lock().unwrap().push(report.snapshot),
                    _ => {
                        if let Err(error) = try_forget(repository, report.snapshot) {
                            assert_clear(&error);
                        }
                    }
                }
            }
            Err(error) => assert_clear(&error),
        }
    }
}

fn prunes(repository: &Repository) {
    for _ in 0..4 {
        let options = prune::Options {
            grace: SignedDuration::ZERO,
            max_unused: 0.0,
            wait: Duration::from_secs(2),
            ..Default::default()
        };
        if let Err(error) = prune::run(repository, &options) {
            assert_clear(&error);
        }
    }
}

fn run(seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Watched {
        inner: MemoryStore::new(),
        watch: Faulty {
            seed: AtomicU64::new(seed.wrapping_mul(0x1234_5678_9abc_def1)),
            faulty: AtomicBool::new(false),
            stored_bytes: AtomicU64::new(0),
            faults: AtomicUsize::new(0),
            remote: seed.is_multiple_of(2),
        },
    });
    let faulty = &store.watch;
    let repository = Repository::create(store.clone(), "", b"x", &Author::default()).unwrap();
    cheaply(&repository);
    let trees = [0, 1].map(|which| directory.path().join(format!("tree{which}")));
    write(&trees[0], 999);
    let committed = Mutex::new(vec![back_up(&repository, &trees[0], None).snapshot]);
    faulty.faulty.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for (tree, which) in trees.iter().zip(0..) {
            let (repository, committed) = (&repository, &committed);
            scope.spawn(move || backups(repository, tree, which, committed));
        }
        scope.spawn(|| prunes(&repository));
    });
    // A restore through the faulty store names what it could not read, and restores the rest.
    let snapshot = committed.lock().unwrap()[0];
    let back = directory.path().join("back");
    let mut options = Options::new(Source::Snapshot(snapshot), &back);
    options.within = trees[0].clone();
    let restored = repository
        .load_index()
        .and_then(|(index, _)| restore::run(&repository, &index, &options));
    match restored {
        Ok(report) => assert_eq!(report.files + report.failed.len() as u64, 12, "{report:?}"),
        Err(error) => assert_clear(&error),
    }
    assert!(faulty.faults.load(Ordering::Relaxed) > 0);

    faulty.faulty.store(false, Ordering::Relaxed);
    lock::unlock(&repository, true).unwrap();
    whole(&repository, &committed.lock().unwrap());
    write(&trees[0], 999);
    committed
        .lock()
        .unwrap()
        .push(back_up(&repository, &trees[0], None).snapshot);
    prunes(&repository);
    whole(&repository, &committed.lock().unwrap());
    let (index, _) = repository.load_index().unwrap();
    let report = restore::run(&repository, &index, &options).unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    for entry in fs::read_dir(&trees[0]).unwrap() {
        let name = entry.unwrap().file_name();
        assert_eq!(
            fs::read(back.join(&name)).unwrap(),
            fs::read(trees[0].join(&name)).unwrap()
        );
    }
}

fn whole(repository: &Repository, committed: &[Id]) {
    let report = check::run(repository, Depth::Data).unwrap();
    assert!(report.errors.is_empty(), "{:#?}", report.errors);
    let (snapshots, _) = repository.snapshots().unwrap();
    for id in committed {
        assert!(
            snapshots.iter().any(|(there, _)| there == id),
            "{id} is lost"
        );
    }
}

#[test]
fn a_faulty_store_loses_nothing_committed_and_everything_ends() {
    let (ended, ends) = mpsc::channel();
    for seed in 0..RUNS {
        let ended = ended.clone();
        std::thread::spawn(move || {
            let run = std::panic::catch_unwind(|| run(seed));
            ended.send((seed, run.is_ok())).unwrap();
        });
    }
    for _ in 0..RUNS {
        let (seed, well) = ends.recv_timeout(ENDS_WITHIN).expect("one hangs");
        assert!(well, "seed {seed}");
    }
}
