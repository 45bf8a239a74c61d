//! Restores of what we and restic have backed up: everything comes back, over whatever is there, and
//! whatever is damaged costs itself alone.

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

mod common;

use common::{back_up, create, difference, noise, open, restic};
use lifeboat_repository::chunker::Chunks;
use lifeboat_repository::pattern::Patterns;
use lifeboat_repository::restore::{self, Action, Observer, Options, Overwrite, Report, Source};
use lifeboat_repository::{Error, FileKind, Id, Repository};
use lifeboat_testkit::tree::{awkward, set_attribute, set_mtime};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A repository and a few directories beside it.
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

    /// The tree to back up.
    fn tree(&self) -> PathBuf {
        self.path("tree")
    }

    fn back(&self) -> PathBuf {
        self.path("back")
    }

    /// All of the tree, to `back`.
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

/// Restores everything, which must succeed to the last attribute.
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

/// Every kind of entry and much that is easily lost.
fn everything(tree: &Path) {
    awkward(tree);
    // Larger than a backup of files should ever read.
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

    // Once more over itself: nothing is fetched but trees, and nothing changes.
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
fn holes_are_left_where_they_are_wanted() {
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
    // A hole leaves nothing behind of what was there.
    let over = place.back().join("sparse/many holes");
    fs::write(&over, vec![1; 5 << 20]).unwrap();
    run_well(&repository, &options);
    assert_same(&place.tree(), &place.back());
}

#[test]
fn what_restic_backed_up_comes_back() {
    for version in ["1", "2"] {
        let place = Place::new();
        everything(&place.tree());
        // restic 0.14 loses what is not UTF-8 in the target of a link.
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
fn restic_restores_ours_as_we_do() {
    let place = Place::new();
    everything(&place.tree());
    fs::remove_file(place.tree().join("odd link")).unwrap();
    // restic 0.14 wants an entry of the snapshot to lead to every one it restores.
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
    // It sets attributes before the owner, which clears capabilities.
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

#[test]
fn a_part_of_a_snapshot_is_restored() {
    let place = Place::new();
    fs::create_dir_all(place.tree().join("a/b")).unwrap();
    fs::write(place.tree().join("a/b/file"), "one").unwrap();
    fs::write(place.tree().join("a/other"), "two").unwrap();
    fs::write(place.tree().join("top"), "three").unwrap();
    let repository = create(&place.path("r"));
    let backup = back_up(&repository, &place.tree(), None);
    let mut options = place.options(backup.snapshot);
    options.within = place.tree().join("a");
    run_well(&repository, &options);
    assert_same(&place.tree().join("a"), &place.back());

    options.within = place.tree().join("a/b/file");
    options.target = place.path("one");
    let report = run_well(&repository, &options);
    assert_eq!(report.files, 1);
    assert_same(&place.tree().join("a/b"), &place.path("one"));

    for absent in ["a/x", "a/b/file/x", "../tree"] {
        options.within = place.tree().join(absent);
        let (index, _) = repository.load_index().unwrap();
        let error = restore::run(&repository, &index, &options).unwrap_err();
        assert!(matches!(error, Error::NotInSnapshot { .. }), "{error}");
    }
}

#[test]
fn only_what_is_included_and_not_excluded_is_restored() {
    let place = Place::new();
    for path in [
        "a/keep.txt",
        "a/drop.bin",
        "b/c/keep.txt",
        "b/c/KEEP.TXT2",
        "empty/x",
    ] {
        let path = place.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    set_mtime(&place.tree().join("b"), 7, 7);
    let repository = create(&place.path("r"));
    let backup = back_up(&repository, &place.tree(), None);
    let mut options = place.options(backup.snapshot);
    options.include = Patterns::new(&["*.txt"], &["keep.t*2"]).unwrap();
    options.exclude = Patterns::new(&["/a"], &[]).unwrap();
    let report = run_well(&repository, &options);
    assert_eq!((report.files, report.directories), (2, 2));
    let mut there: Vec<PathBuf> = common::listing(&place.back()).into_keys().collect();
    there.sort();
    let expected = ["b", "b/c", "b/c/KEEP.TXT2", "b/c/keep.txt"];
    assert_eq!(there, expected.map(PathBuf::from));
    // A directory that only leads to what was wanted has its metadata, too.
    assert_eq!(fs::metadata(place.back().join("b")).unwrap().mtime(), 7);
}

/// A tree that was backed up, and a target that differs from it in every way.
fn changed() -> (Place, Repository, Id) {
    let place = Place::new();
    let (tree, back) = (place.tree(), place.back());
    let write = |path: &Path, content: &[u8], time: i64| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        set_mtime(path, time, 0);
    };
    let large = noise(5 << 20, 5);
    let mut changed = large.clone();
    changed[3 << 20] ^= 1;
    for (name, content, old, time) in [
        ("same", &b"same"[..], Some(&b"same"[..]), 1000),
        ("older there", b"new", Some(b"old"), 500),
        ("newer there", b"new", Some(b"old"), 2000),
        ("same time", b"new", Some(b"old"), 1000),
        ("same time other size", b"new", Some(b"older"), 1000),
        ("absent", b"new", None, 0),
        ("dir/longer", b"new", Some(b"new and more"), 500),
        ("large", &large, Some(&changed), 500),
        ("large cut", &large, Some(&large[..2 << 20]), 500),
    ] {
        write(&tree.join(name), content, 1000);
        if let Some(old) = old {
            write(&back.join(name), old, time);
        }
    }
    symlink("there", tree.join("link")).unwrap();
    symlink("elsewhere", back.join("link")).unwrap();
    set_mtime(&back.join("link"), 500, 0);
    set_mtime(&tree.join("link"), 1000, 0);
    write(&back.join("extra"), b"extra", 1000);
    write(&back.join("dir/extra/deep"), b"extra", 1000);
    set_attribute(&back.join("same"), "user.stale", b"x");
    let repository = create(&place.path("r"));
    let backup = back_up(&repository, &tree, None);
    (place, repository, backup.snapshot)
}

/// The content of each file that can differ, in the order of `names`.
fn contents(place: &Place, names: &[&str]) -> Vec<String> {
    let read = |name: &&str| fs::read(place.back().join(name)).unwrap_or_default();
    let text = |content: Vec<u8>| String::from_utf8_lossy(&content).into_owned();
    names.iter().map(read).map(text).collect()
}

const NAMES: [&str; 6] = [
    "older there",
    "newer there",
    "same time",
    "same time other size",
    "absent",
    "dir/longer",
];

#[test]
fn what_is_there_becomes_what_the_snapshot_has() {
    let (place, repository, snapshot) = changed();
    let mut options = place.options(snapshot);
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    options.observer = Observer(Some(Arc::new(move |path: &Path, action| {
        hears.lock().unwrap().push((path.to_owned(), action));
    })));
    let inode = |name: &str| fs::metadata(place.back().join(name)).unwrap().ino();
    let (same, large) = (inode("same"), inode("large"));
    let report = run_well(&repository, &options);
    assert_eq!(contents(&place, &NAMES), ["new"; 6]);
    assert_eq!((report.unchanged, report.files, report.specials), (1, 8, 1));
    assert_eq!(same, inode("same"));
    // A new file took the place of the other one, so that whoever reads it is not disturbed.
    assert_ne!(large, inode("large"));
    assert!(place.back().join("extra").exists());
    let told = told.lock().unwrap();
    assert!(told.contains(&("/same".into(), Action::Unchanged)));
    assert!(told.contains(&("/dir/longer".into(), Action::Restored)));
    assert_eq!(told.len(), 10);

    options.delete = true;
    options.observer = Observer::default();
    let report = run_well(&repository, &options);
    assert_eq!(report.deleted, 3);
    assert_same(&place.tree(), &place.back());
}

#[test]
fn parts_that_are_right_are_not_fetched() {
    // Where files are cut is chance: in one of these repositories it is in good places.
    let most_is_reused = |_| {
        let (place, repository, snapshot) = changed();
        let report = run_well(&repository, &place.options(snapshot));
        report.bytes_reused > 2 << 20 && report.bytes_read < 5 << 20
    };
    assert!((0..8).any(most_is_reused));
}

#[test]
fn each_way_to_overwrite_is_restics() {
    let (place, repository, snapshot) = changed();
    let mut options = place.options(snapshot);
    options.overwrite = Overwrite::Never;
    let report = run_well(&repository, &options);
    let expected = ["old", "old", "old", "older", "new", "new and more"];
    assert_eq!(contents(&place, &NAMES), expected);
    assert_eq!((report.files, report.skipped), (1, 9));
    assert_eq!(
        fs::read_link(place.back().join("link")).unwrap(),
        Path::new("elsewhere")
    );

    let (place, repository, snapshot) = changed();
    let mut options = place.options(snapshot);
    options.overwrite = Overwrite::IfNewer;
    let report = run_well(&repository, &options);
    let expected = ["new", "old", "old", "older", "new", "new"];
    assert_eq!(contents(&place, &NAMES), expected);
    assert_eq!((report.files, report.skipped, report.specials), (5, 4, 1));

    let (place, repository, snapshot) = changed();
    let mut options = place.options(snapshot);
    options.overwrite = Overwrite::IfChanged;
    let report = run_well(&repository, &options);
    let expected = ["new", "new", "old", "new", "new", "new"];
    assert_eq!(contents(&place, &NAMES), expected);
    assert_eq!((report.files, report.unchanged), (7, 2));
    // What was taken to be right has its metadata all the same.
    assert!(
        xattr::get(place.back().join("same"), "user.stale")
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let (place, repository, snapshot) = changed();
    let before = common::listing(&place.back());
    let mut options = place.options(snapshot);
    options.dry_run = true;
    options.delete = true;
    let report = run_well(&repository, &options);
    assert_eq!((report.files, report.unchanged, report.specials), (8, 1, 1));
    assert_eq!(report.deleted, 2);
    assert_eq!(before, common::listing(&place.back()));
    options.target = place.path("nowhere");
    let report = run_well(&repository, &options);
    assert_eq!((report.files, report.unchanged, report.specials), (9, 0, 1));
    assert!(!place.path("nowhere").exists());
}

#[test]
fn deleting_is_bounded_by_the_patterns_and_never_all_of_root() {
    let (place, repository, snapshot) = changed();
    let mut options = place.options(snapshot);
    options.delete = true;
    options.include = Patterns::new(&["/dir"], &[]).unwrap();
    fs::write(place.back().join("dir/mine.keep"), "x").unwrap();
    options.exclude = Patterns::new(&["*.keep"], &[]).unwrap();
    let report = run_well(&repository, &options);
    assert_eq!(report.deleted, 2);
    assert!(!place.back().join("dir/extra").exists());
    for kept in ["extra", "dir/mine.keep"] {
        assert!(place.back().join(kept).exists(), "{kept}");
    }
    assert_eq!(fs::read(place.back().join("same time")).unwrap(), b"old");

    let mut options = Options::new(Source::Snapshot(snapshot), Path::new("/."));
    options.delete = true;
    options.dry_run = true;
    let (index, _) = repository.load_index().unwrap();
    let error = restore::run(&repository, &index, &options).unwrap_err();
    assert!(matches!(error, Error::DeletesAll), "{error}");
}

#[test]
fn what_is_in_the_way_gives_way_and_links_lead_nowhere() {
    let place = Place::new();
    let (tree, back) = (place.tree(), place.back());
    fs::create_dir_all(tree.join("dir")).unwrap();
    for name in ["dir/file", "file", "emptied", "full"] {
        fs::write(tree.join(name), "restored").unwrap();
    }
    symlink("target", tree.join("link")).unwrap();
    let outside = place.path("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("file"), "mine").unwrap();
    fs::create_dir_all(back.join("full/of")).unwrap();
    fs::create_dir_all(back.join("emptied")).unwrap();
    fs::create_dir_all(back.join("link")).unwrap();
    symlink(&outside, back.join("dir")).unwrap();
    symlink(outside.join("file"), back.join("file")).unwrap();
    let repository = create(&place.path("r"));
    let snapshot = back_up(&repository, &tree, None).snapshot;
    let mut options = place.options(snapshot);

    options.overwrite = Overwrite::Never;
    let report = run(&repository, &options);
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    assert_eq!(report.failed[0].path, Path::new("/dir"));

    options.overwrite = Overwrite::Always;
    let report = run(&repository, &options);
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    assert_eq!(report.failed[0].path, Path::new("/full"));
    assert!(back.join("full/of").exists());
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);

    options.delete = true;
    run_well(&repository, &options);
    assert_same(&tree, &back);
}

#[test]
fn a_file_that_others_link_to_is_replaced_and_they_keep_it() {
    let place = Place::new();
    let (tree, back) = (place.tree(), place.back());
    for root in [&tree, &back] {
        fs::create_dir_all(root).unwrap();
        fs::write(root.join("one"), "content").unwrap();
    }
    fs::hard_link(back.join("one"), place.path("elsewhere")).unwrap();
    let repository = create(&place.path("r"));
    let snapshot = back_up(&repository, &tree, None).snapshot;
    let report = run_well(&repository, &place.options(snapshot));
    assert_eq!((report.files, report.bytes_reused), (1, 7));
    assert_same(&tree, &back);
    assert_eq!(fs::metadata(place.path("elsewhere")).unwrap().nlink(), 1);
}

#[test]
fn a_restore_that_was_broken_off_goes_on() {
    let place = Place::new();
    let (tree, back) = (place.tree(), place.back());
    fs::create_dir_all(&tree).unwrap();
    fs::create_dir_all(&back).unwrap();
    let content = noise(9 << 20, 9);
    fs::write(tree.join("large"), &content).unwrap();
    let repository = create(&place.path("r"));
    let snapshot = back_up(&repository, &tree, None).snapshot;
    let mut half = content.clone();
    half[5 << 20..].fill(0);
    fs::write(back.join("large.lifeboat-partial"), &half).unwrap();
    let mut options = place.options(snapshot);
    options.sparse = true;
    let report = run_well(&repository, &options);
    // Only what is not wholly in the part that was right is fetched.
    let (mut right, mut buffer) = (0, Vec::new());
    let mut chunks = Chunks::new(repository.chunker(), content.as_slice(), &mut buffer);
    while let Some(chunk) = chunks.next().unwrap() {
        if right + chunk.len() > 5 << 20 {
            break;
        }
        right += chunk.len();
    }
    let rest = (content.len() - right) as u64;
    assert!(report.bytes_read < rest + 200_000, "{}", report.bytes_read);
    assert_same(&tree, &back);

    // Under that name may also be something else, which stays.
    for other in ["link", "linked"] {
        fs::remove_file(back.join("large")).unwrap();
        let partial = back.join("large.lifeboat-partial");
        fs::write(place.path("mine"), "mine").unwrap();
        match other {
            "link" => symlink(place.path("mine"), &partial).unwrap(),
            _ => fs::hard_link(place.path("mine"), &partial).unwrap(),
        }
        run_well(&repository, &options);
        assert_eq!(fs::read(&partial).unwrap(), b"mine");
        fs::remove_file(partial).unwrap();
        assert_same(&tree, &back);
    }
    fs::remove_file(place.path("mine")).unwrap();
}

#[test]
fn a_file_of_the_snapshot_may_have_the_name_of_a_partial_one() {
    let place = Place::new();
    fs::create_dir_all(place.tree()).unwrap();
    let content = noise(5 << 20, 9);
    fs::write(place.tree().join("x"), &content).unwrap();
    for name in ["x.lifeboat-partial", "x.lifeboat-partial-1"] {
        fs::write(place.tree().join(name), noise(5 << 20, 10)).unwrap();
    }
    let long = "l".repeat(255);
    fs::write(place.tree().join(&long), &content).unwrap();
    let repository = create(&place.path("r"));
    let snapshot = back_up(&repository, &place.tree(), None).snapshot;
    for _ in 0..2 {
        run_well(&repository, &place.options(snapshot));
        assert_same(&place.tree(), &place.back());
        fs::write(place.back().join("x"), "changed").unwrap();
        fs::write(place.back().join(&long), "changed").unwrap();
    }
}

#[test]
fn patterns_mean_what_they_mean_to_restic() {
    let place = Place::new();
    for path in [
        "a/b/c.txt",
        "a/b/d.TXT",
        "a/e/c.txt",
        "foo/bar/x",
        "foo/x/bar",
        "x/foo/bar/y",
        "[a]/b",
        "st*r/q",
        "é/ü",
        "-dash/^",
        "foo",
        "a.b/c",
    ] {
        let path = place.tree().join(path);
        if path.is_dir() {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    fs::write(place.tree().join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    let repository = create(&place.path("r"));
    let tree = back_up(&repository, &place.tree(), None).tree;
    let root = place.tree().to_str().unwrap().to_owned();
    let rooted = |pattern: &str| format!("{root}{pattern}");
    let lists: Vec<Vec<String>> = [
        &["c.txt"][..],
        &["*.txt"],
        &["*.[a-z][^a-z][a-z]"],
        &["foo/bar"],
        &["foo/**/bar"],
        &["**/bar"],
        &["b/**"],
        &["?"],
        &["[^a-z]*"],
        &["[é-ü]"],
        &[r"\[a\]"],
        &[r"st\*r"],
        &["st*r/"],
        &["./a//b/../e"],
        &["a.*"],
        &["bad?"],
        &["bad[^x]"],
        &["*", "!b"],
        &["*", "!*.txt", "c.txt"],
        &["x", "!bar"],
        &["/"],
        &["**"],
        &["tree"],
        &["../a"],
        &["TREE", "!B"],
        &["É"],
        &["*.Txt"],
        &["!a"],
    ]
    .iter()
    .map(|list| list.iter().map(|pattern| (*pattern).to_owned()).collect())
    .chain([
        vec![rooted("/a")],
        vec![rooted("/a/*/c.txt")],
        vec![rooted("/**/c.txt")],
        vec![rooted("/foo/bar/nothing")],
        vec![rooted("/a"), format!("!{}", rooted("/a/b"))],
        vec![rooted("/*"), "!c.txt".to_owned()],
        vec![rooted("/a/b/"), rooted("/x/**/y")],
    ])
    .collect();
    for (number, list) in lists.iter().enumerate() {
        for (flag, exclude, insensitive) in [
            ("--include", false, false),
            ("--exclude", true, false),
            ("--iinclude", false, true),
            ("--iexclude", true, true),
        ] {
            let cased = list.iter().any(|p| p.chars().any(char::is_uppercase));
            if insensitive && !cased || exclude && number % 2 == 1 {
                continue;
            }
            let theirs = place.path("theirs");
            let ours = place.back();
            let mut args = vec!["restore", "latest", "--target", theirs.to_str().unwrap()];
            list.iter().for_each(|pattern| args.extend([flag, pattern]));
            restic(&place.path("r"), "x", &args);
            let mut options = Options::new(Source::Tree(tree), &ours);
            let patterns = match insensitive {
                true => Patterns::new(&[], list),
                false => Patterns::new(list, &[]),
            };
            match exclude {
                true => options.exclude = patterns.unwrap(),
                false => options.include = patterns.unwrap(),
            }
            run_well(&repository, &options);
            let there = |root: &Path| match root.exists() {
                true => common::listing(root).into_keys().collect(),
                false => Vec::new(),
            };
            assert_eq!(there(&ours), there(&theirs), "{flag} {list:?}");
            let _ = fs::remove_dir_all(&theirs);
            fs::remove_dir_all(&ours).unwrap();
        }
    }
}
