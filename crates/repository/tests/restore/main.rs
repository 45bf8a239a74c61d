//! Restores of our own and restic's backups: everything comes back, whatever the target holds, and
//! damage affects only what it hits.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
mod existing;
mod patterns;

use common::{back_up, create, difference, noise, open, restic};
use lifeboat_repository::chunker::Chunks;
use lifeboat_repository::pattern::Patterns;
use lifeboat_repository::restore::{self, Action, Observer, Options, Overwrite, Report, Source};
use lifeboat_repository::{Error, FileKind, Id, Repository};
use lifeboat_testkit::tree::{awkward, set_attribute, set_mtime};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A repository, and a few directories beside it.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Place {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory of the tree to back up.
    fn tree(&self) -> PathBuf {
        self.path("tree")
    }

    fn back(&self) -> PathBuf {
        self.path("back")
    }

    /// Options that restore all of the tree to `back`.
    fn options(&self, snapshot: Id) -> Options {
        let mut options = Options::new(Source::Snapshot(snapshot), &self.back());
        options.within = self.tree();
        options
    }
}

fn run(repository: &Repository, options: &Options) -> Report {
    let (index, errors) = repository.load_index().unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    restore::run(repository, &index, options).unwrap()
}

/// Restores everything, which must succeed for every attribute.
fn run_well(repository: &Repository, options: &Options) -> Report {
    let report = run(repository, options);
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    assert!(report.unset.is_empty(), "{:#?}", report.unset);
    report
}

fn newest(repository: &Repository) -> Id {
    let snapshots = repository.list(FileKind::Snapshot).unwrap();
    let time = |id: &Id| repository.snapshot(id).unwrap().time.at;
    let ids = snapshots.into_iter().map(|(id, _)| id);
    ids.max_by_key(time).unwrap()
}

#[track_caller]
fn assert_same(one: &Path, two: &Path) {
    let difference = difference(one, two);
    assert!(difference.is_empty(), "{}", difference.join("\n"));
}

/// Makes every kind of entry, and much that is easily lost.
fn everything(tree: &Path) {
    awkward(tree);
    // Larger than a backup should ever read.
    fs::remove_file(tree.join("sparse/terabyte")).unwrap();
    fs::remove_file(tree.join("sparse/all hole")).unwrap();
    fs::write(tree.join("large"), noise(9 << 20, 1)).unwrap();
    fs::write(tree.join("text"), b"a line of text\n".repeat(200_000)).unwrap();
    set_mtime(&tree.join("large"), -86_400 * 365 * 40, 123_456_789);
    if lifeboat_testkit::tree::privileged() {
        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
        let special = tree.join("special");
        let device = |name: &str, kind, major, minor| {
            mknodat(
                CWD,
                special.join(name),
                kind,
                Mode::RUSR,
                makedev(major, minor),
            )
            .unwrap();
        };
        device("zero", FileType::CharacterDevice, 1, 5);
        device("block", FileType::BlockDevice, 259, 70_000);
    }
    set_mtime(&tree.join("special/pipe"), 5, 5);
    set_mtime(&tree.join("zz"), -1, 999_999_999);
}

#[test]
fn everything_that_was_backed_up_comes_back() {
    let place = Place::new();
    everything(&place.tree());
    let repository = create(&place.path("r"));
    let backup = back_up(&repository, &place.tree(), None);
    let mut options = place.options(backup.snapshot);
    options.verify = true;
    let report = run_well(&repository, &options);
    assert_same(&place.tree(), &place.back());
    assert_eq!(report.files + report.hard_links, backup.files);
    assert_eq!((report.files, report.hard_links), (report.verified, 2));
    assert_eq!((report.skipped, report.unchanged), (0, 0));
    let progress = &options.progress;
    let get =
        |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(get(&progress.files), get(&progress.files_done));

    // Restored again over itself: only trees are fetched, and nothing changes.
    let before = fs::metadata(place.back().join("large")).unwrap().ino();
    let again = run_well(&repository, &options);
    assert_same(&place.tree(), &place.back());
    assert_eq!((again.files, again.bytes, again.deleted), (0, 0, 0));
    assert!(again.bytes_read < 1 << 20, "{}", again.bytes_read);
    assert_eq!(
        before,
        fs::metadata(place.back().join("large")).unwrap().ino()
    );
}

#[test]
fn holes_are_left_if_requested() {
    let place = Place::new();
    everything(&place.tree());
    let repository = create(&place.path("r"));
    let backup = back_up(&repository, &place.tree(), None);
    let mut options = place.options(backup.snapshot);
    options.sparse = true;
    options.verify = true;
    run_well(&repository, &options);
    assert_same(&place.tree(), &place.back());
    for (name, blocks_max) in [
        ("small", 64),
        ("hole at end", 64),
        ("hole at start", 64),
        ("zeros", 0),
        ("many holes", 60 * 16),
    ] {
        let metadata = fs::metadata(place.back().join("sparse").join(name)).unwrap();
        assert!(
            metadata.blocks() <= blocks_max,
            "{name}: {}",
            metadata.blocks()
        );
    }
    // Nothing of the old content is left in a hole.
    let over = place.back().join("sparse/many holes");
    fs::write(&over, vec![1; 5 << 20]).unwrap();
    run_well(&repository, &options);
    assert_same(&place.tree(), &place.back());
}

#[test]
fn restics_backups_are_restored() {
    for version in ["1", "2"] {
        let place = Place::new();
        everything(&place.tree());
        // restic 0.14 loses bytes that are not UTF-8 in a link's target.
        fs::remove_file(place.tree().join("odd link")).unwrap();
        let path = place.path("r");
        restic(&path, "x", &["init", "--repository-version", version]);
        restic(&path, "x", &["backup", place.tree().to_str().unwrap()]);
        let repository = open(&path, "x").unwrap();
        let options = place.options(newest(&repository));
        run_well(&repository, &options);
        assert_same(&place.tree(), &place.back());
    }
}

#[test]
fn restic_restores_our_backups_as_we_do() {
    let place = Place::new();
    everything(&place.tree());
    fs::remove_file(place.tree().join("odd link")).unwrap();
    // restic 0.14 needs an entry for every directory above what it restores.
    let repository = create(&place.path("r"));
    let backup = back_up(&repository, &place.tree(), None);
    let mut options = Options::new(Source::Tree(backup.tree), &place.back());
    options.exclude = Patterns::new(&["*.c", "/**/special"], &["MODES"]).unwrap();
    run_well(&repository, &options);
    let theirs = place.path("theirs");
    let args = [
        "--exclude",
        "*.c",
        "--exclude",
        "/**/special",
        "--iexclude",
        "MODES",
    ];
    let target = theirs.to_str().unwrap();
    let args = [&["restore", "latest", "--target", target][..], &args].concat();
    restic(&place.path("r"), "x", &args);
    // restic sets attributes before the owner, which clears capabilities.
    let capable = |root: &Path| {
        root.join(place.tree().strip_prefix("/").unwrap())
            .join("capable")
    };
    if lifeboat_testkit::tree::privileged() {
        for root in [&place.back(), &theirs] {
            fs::remove_file(capable(root)).unwrap();
        }
    }
    let difference = difference(&place.back(), &theirs);
    let told: Vec<&String> = difference
        .iter()
        // The directory of the file that was just removed.
        .filter(|line| !line.contains("tree\":\n"))
        .collect();
    assert!(told.is_empty(), "{told:#?}");
}
