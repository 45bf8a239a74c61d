//! Mistakes that backup programs have made before, one test for each. Tests of damage, full disks
//! and hostile trees are in `damage.rs` and `matrix`.

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

use common::{back_up, create};
use lifeboat_repository::backup::{self, Report};
use lifeboat_repository::browse::{self, Found};
use lifeboat_repository::check::{self, Depth};
use lifeboat_repository::forget::{Count, Period, Policy};
use lifeboat_repository::index::{Index, IndexFile, IndexPack};
use lifeboat_repository::pack::{BlobKind, PackBuilder};
use lifeboat_repository::pattern::Patterns;
use lifeboat_repository::restore::{self, Options, Source};
use lifeboat_repository::saver::with_saver;
use lifeboat_repository::time::Time;
use lifeboat_repository::tree::{Node, NodeKind, TreeBuilder};
use lifeboat_repository::{Error, FileKind, Id, Repository, Snapshot};
use lifeboat_testkit::privilege::needs_root;
use lifeboat_testkit::tree::set_attribute;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// A directory that is removed with the test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The entry at a path in a snapshot.
fn entry(repository: &Repository, snapshot: &Id, path: &Path) -> Node {
    let (index, _) = repository.load_index().unwrap();
    let tree = repository.snapshot(snapshot).unwrap().tree;
    match browse::find(repository, &index, &tree, path.as_os_str().as_bytes()).unwrap() {
        Found::Entry(node) => *node,
        Found::Root(_) => panic!("{path:?} is the root"),
    }
}

fn restore_tree(repository: &Repository, tree: Id, target: &Path) -> restore::Report {
    let (index, _) = repository.load_index().unwrap();
    restore::run(
        repository,
        &index,
        &Options::new(Source::Tree(tree), target),
    )
    .unwrap()
}

fn failed(report: &restore::Report) -> Vec<&Path> {
    let failed = report.failed.iter();
    failed.map(|failed| failed.path.as_path()).collect()
}

/// Stores the JSON of a tree as it is, and content.
fn store(repository: &Repository, json: &[u8], content: &[&[u8]]) -> Id {
    let stored = with_saver(repository, &Index::default(), |saver| {
        for content in content {
            saver.save(BlobKind::Data, content)?;
        }
        saver.save(BlobKind::Tree, json)
    });
    stored.unwrap().0
}

fn file(name: &[u8], content: &[u8]) -> Node {
    let mut node = Node::new(name, NodeKind::File);
    node.mode = 0o644;
    node.content = Some(vec![Id::of(content)]);
    node.size = content.len() as u64;
    node
}

/// Backs up paths that are mostly not writable.
fn back_up_paths(repository: &Repository, paths: &[&Path]) -> Report {
    let (index, _) = repository.load_index().unwrap();
    let mut options = common::options(Path::new("/"), None);
    options.paths = paths.iter().map(|path| path.to_path_buf()).collect();
    backup::run(repository, &index, &options).unwrap()
}

#[test]
fn duplicate_and_unsorted_names_are_restored_or_reported() {
    let place = Place::new();
    let repository = create(&place.at("r"));
    let entry = |name: &str, content: &str| {
        let id = Id::of(content.as_bytes());
        format!(
            "{{\"name\":\"{name}\",\"type\":\"file\",\"mode\":420,\"size\":3,\"content\":[\"{id}\"]}}"
        )
    };
    let nodes = [
        entry("c", "one"),
        entry("a", "two"),
        entry("b", "one"),
        entry("a", "one"),
    ];
    let json = format!("{{\"nodes\":[{}]}}", nodes.join(","));
    let tree = store(&repository, json.as_bytes(), &[b"one", b"two"]);
    let report = restore_tree(&repository, tree, &place.at("back"));
    assert_eq!(failed(&report), [Path::new("/a")]);
    for (name, content) in [("a", "two"), ("b", "one"), ("c", "one")] {
        let there = fs::read_to_string(place.at("back").join(name)).unwrap();
        assert_eq!(there, content);
    }
}

#[test]
fn a_huge_directory_is_one_tree_like_any_other() {
    const FILES: u64 = 20_000;
    let place = Place::new();
    let repository = create(&place.at("r"));
    let mut builder = TreeBuilder::default();
    for number in 0..FILES {
        let name = format!("a file with a name of some length, number {number:08}");
        builder.add(&file(name.as_bytes(), b"x")).unwrap();
    }
    let json = builder.finish();
    assert!(json.len() > 5 << 20, "{}", json.len());
    let tree = store(&repository, &json, &[b"x"]);
    let (index, _) = repository.load_index().unwrap();
    let mut options = Options::new(Source::Tree(tree), &place.at("back"));
    options.dry_run = true;
    let report = restore::run(&repository, &index, &options).unwrap();
    assert_eq!((report.files, report.failed.len()), (FILES, 0));
    // One in a hundred of the files.
    (options.dry_run, options.include) = (false, Patterns::new(&["*00"], &[]).unwrap());
    let report = restore::run(&repository, &index, &options).unwrap();
    assert_eq!((report.files, report.failed.len()), (FILES / 100, 0));
    let there = fs::read_dir(place.at("back")).unwrap().count() as u64;
    assert_eq!(there, FILES / 100);
}

#[test]
fn devices_are_noted_only_where_hard_links_need_them() {
    let place = Place::new();
    let tree = place.at("tree");
    fs::create_dir_all(tree.join("directory")).unwrap();
    fs::write(tree.join("alone"), "x").unwrap();
    fs::write(tree.join("one"), "y").unwrap();
    fs::hard_link(tree.join("one"), tree.join("other")).unwrap();
    let repository = create(&place.at("r"));
    let made = back_up(&repository, &tree, None).snapshot;
    let device = |name: &str| entry(&repository, &made, &tree.join(name)).device_id;
    assert_eq!((device("alone"), device("directory")), (0, 0));
    let here = fs::metadata(tree.join("one")).unwrap().dev();
    assert_eq!((device("one"), device("other")), (here, here));
}

#[test]
fn unreadable_attributes_lose_no_file() {
    let place = Place::new();
    let tree = place.at("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("with"), "x").unwrap();
    set_attribute(&tree.join("with"), "user.note", b"kept");
    let repository = create(&place.at("r"));
    // A file system without attributes, and files that are shorter or longer than they claim.
    let odd = [Path::new("/proc/version"), Path::new("/proc/self/stat")];
    let made = back_up_paths(&repository, &[odd[0], odd[1], &tree]);
    assert!(made.skipped.is_empty(), "{:?}", made.skipped);
    let with = entry(&repository, &made.snapshot, &tree.join("with"));
    assert_eq!(with.xattrs, [("user.note".to_owned(), b"kept".to_vec())]);
    let version = fs::read(odd[0]).unwrap();
    let node = entry(&repository, &made.snapshot, odd[0]);
    assert_eq!(node.size, version.len() as u64);
    assert_eq!(node.content, Some(vec![Id::of(&version)]));
}

#[test]
fn a_file_that_fails_while_it_is_read_is_left_out_and_reported() {
    let place = Place::new();
    let tree = place.at("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("good"), "x").unwrap();
    let repository = create(&place.at("r"));
    let gone = place.at("gone");
    // It opens like any file, but cannot be read at its beginning.
    let made = back_up_paths(&repository, &[Path::new("/proc/self/mem"), &gone, &tree]);
    let mut skipped: Vec<&Path> = made.skipped.iter().map(|s| s.path.as_path()).collect();
    skipped.sort();
    assert_eq!(skipped, [Path::new("/proc/self/mem"), &gone]);
    assert_eq!(made.files, 1);
    let check = check::run(&repository, Depth::Data).unwrap();
    assert!(check.errors.is_empty(), "{:?}", check.errors);
    entry(&repository, &made.snapshot, &tree.join("good"));
}

/// Grows, truncates, replaces and removes files until told to stop.
fn disturb(tree: &Path, stop: &AtomicBool) {
    let mut round = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let path = tree.join(format!("{}", round % 7));
        let bytes = vec![b'a'; round * 40_009 % 1_200_000];
        match round % 5 {
            0 => drop(fs::remove_file(&path)),
            1 => drop(
                fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .map(|file| file.set_len(10)),
            ),
            2 => {
                fs::write(tree.join("aside"), bytes).unwrap();
                fs::rename(tree.join("aside"), &path).unwrap();
            }
            _ => fs::write(&path, bytes).unwrap(),
        }
    }
}

#[test]
fn files_that_change_or_vanish_meanwhile_make_a_whole_snapshot() {
    let place = Place::new();
    let tree = place.at("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("quiet"), "quiet").unwrap();
    let repository = create(&place.at("r"));
    let stop = AtomicBool::new(false);
    let mut parent = None;
    let reports: Vec<Report> = std::thread::scope(|scope| {
        scope.spawn(|| disturb(&tree, &stop));
        let made = (0..12).map(|_| {
            let report = back_up(&repository, &tree, parent);
            parent = Some(report.snapshot);
            report
        });
        let made = made.collect();
        stop.store(true, Ordering::Relaxed);
        made
    });
    let check = check::run(&repository, Depth::Data).unwrap();
    assert!(check.errors.is_empty(), "{:?}", check.errors);
    let (index, _) = repository.load_index().unwrap();
    for report in reports {
        // Everything that was left out is named.
        assert!(
            report
                .skipped
                .iter()
                .all(|skipped| skipped.path.starts_with(&tree))
        );
        let back = place.at("back");
        let mut options = Options::new(Source::Snapshot(report.snapshot), &back);
        options.within = tree.clone();
        let restored = restore::run(&repository, &index, &options).unwrap();
        // No size differs from that of the content.
        assert!(
            restored.failed.is_empty() && restored.unset.is_empty(),
            "{restored:?}"
        );
        assert_eq!(fs::read(back.join("quiet")).unwrap(), b"quiet");
        fs::remove_dir_all(back).unwrap();
    }
}

#[test]
fn names_that_differ_only_in_case_do_not_overwrite_each_other() {
    if needs_root("give a directory two names") {
        return;
    }
    let place = Place::new();
    let repository = create(&place.at("r"));
    let mut builder = TreeBuilder::default();
    for (name, content) in [(b"FILE", b"one"), (b"File", b"two"), (b"else", b"one")] {
        builder.add(&file(name, content)).unwrap();
    }
    let tree = store(&repository, &builder.finish(), &[b"one", b"two"]);
    // As if the file system ignored case: either name is the same directory.
    for name in ["back", "BACK"] {
        fs::create_dir(place.at(name)).unwrap();
    }
    let bind = |verb: &[&str], at: &Path| {
        let status = Command::new(verb[0]).args(&verb[1..]).arg(at).status();
        assert!(status.unwrap().success());
    };
    let back = place.at("back").display().to_string();
    bind(&["mount", "--bind", &back], &place.at("BACK"));
    let report = restore_tree(&repository, tree, &place.at("back"));
    bind(&["umount"], &place.at("BACK"));
    assert_eq!(failed(&report), [Path::new("/File")]);
    let cause = report.failed[0].cause.to_string();
    assert!(cause.contains("differs from it only in case"), "{cause}");
    assert_eq!(fs::read(place.at("back/FILE")).unwrap(), b"one");
    assert_eq!(fs::read(place.at("back/else")).unwrap(), b"one");
}

#[test]
fn validly_sealed_content_under_a_wrong_id_is_not_restored() {
    let place = Place::new();
    let repository = create(&place.at("r"));
    let mut pack = PackBuilder::default();
    let (right, wrong) = (Id::of(b"right"), b"wrong");
    pack.add(repository.key(), right, BlobKind::Data, wrong, None)
        .unwrap();
    let pack = pack.finish(repository.key()).unwrap();
    repository.save_pack(&pack.id, pack.bytes.clone()).unwrap();
    let packs = vec![IndexPack {
        id: pack.id,
        blobs: pack.blobs.iter().map(Into::into).collect(),
        time: None,
    }];
    let names = IndexFile {
        packs,
        ..Default::default()
    };
    repository.save_index(&names).unwrap();
    let mut builder = TreeBuilder::default();
    builder.add(&file(b"bad", b"right")).unwrap();
    builder.add(&file(b"good", b"good")).unwrap();
    let tree = store(&repository, &builder.finish(), &[b"good"]);
    let report = restore_tree(&repository, tree, &place.at("back"));
    assert_eq!(failed(&report), [Path::new("/bad")]);
    assert!(!place.at("back/bad").exists());
    assert_eq!(fs::read(place.at("back/good")).unwrap(), b"good");
    let check = check::run(&repository, Depth::Data).unwrap();
    assert!(
        matches!(check.errors[..], [Error::Blob { id, .. }] if id == right),
        "{check:?}"
    );
}

/// Makes a copy of a snapshot with one entry replaced.
fn with_entry(repository: &Repository, snapshot: &Id, path: &Path, node: Node) -> Id {
    let (index, _) = repository.load_index().unwrap();
    let mut changed = node;
    let mut at = path.parent();
    let root = repository.snapshot(snapshot).unwrap().tree;
    let mut tree = None;
    while let Some(directory) = at {
        let found = browse::find(repository, &index, &root, directory.as_os_str().as_bytes());
        let (own, id) = match found.unwrap() {
            Found::Root(id) => (None, id),
            Found::Entry(node) => {
                let id = node.subtree.unwrap();
                (Some(*node), id)
            }
        };
        let mut builder = TreeBuilder::default();
        for node in repository.tree(&index, &id).unwrap() {
            let node = if node.name == changed.name {
                changed.clone()
            } else {
                node
            };
            builder.add(&node).unwrap();
        }
        let id = store(repository, &builder.finish(), &[]);
        tree = Some(id);
        if let Some(mut own) = own {
            own.subtree = Some(id);
            changed = own;
        }
        at = directory.parent();
    }
    let parent = Snapshot {
        tree: tree.unwrap(),
        ..repository.snapshot(snapshot).unwrap()
    };
    repository.save_snapshot(&parent).unwrap()
}

#[test]
fn a_file_is_read_again_when_any_of_its_metadata_differs() {
    let place = Place::new();
    let tree = place.at("tree");
    fs::create_dir(&tree).unwrap();
    let path = tree.join("file");
    fs::write(&path, "what is there").unwrap();
    let repository = create(&place.at("r"));
    let made = back_up(&repository, &tree, None).snapshot;
    let known = entry(&repository, &made, &path);
    // The parent has other content for the same file, which shows whether the file was read.
    let lie = Id::of(b"what was there");
    store(&repository, b"{\"nodes\":[]}\n", &[b"what was there"]);
    type Case = (&'static str, fn(&mut Node));
    let cases: [Case; 6] = [
        ("nothing", |_| {}),
        ("inode", |node| node.inode += 1),
        ("size", |node| node.size += 1),
        ("mtime", |node| {
            node.mtime.at += jiff::SignedDuration::from_nanos(1)
        }),
        ("ctime", |node| {
            node.ctime.at += jiff::SignedDuration::from_nanos(1)
        }),
        ("kind", |node| node.kind = NodeKind::Symlink),
    ];
    for (what, change) in cases {
        let mut other = known.clone();
        other.content = Some(vec![lie]);
        change(&mut other);
        let parent = with_entry(&repository, &made, &path, other);
        let again = back_up(&repository, &tree, Some(parent));
        let content = entry(&repository, &again.snapshot, &path).content.unwrap();
        let (expected, unmodified) = match what {
            "nothing" => (lie, 1),
            _ => (Id::of(b"what is there"), 0),
        };
        assert_eq!(
            (content, again.files_unmodified),
            (vec![expected], unmodified),
            "{what}"
        );
    }
    // If the content is in no pack any more, the file is read again, too.
    let mut lost = known;
    lost.content = Some(vec![Id::of(b"in no pack")]);
    let parent = with_entry(&repository, &made, &path, lost);
    let again = back_up(&repository, &tree, Some(parent));
    assert_eq!(again.files_unmodified, 0);
}

#[test]
fn a_path_that_leads_through_a_link_is_backed_up() {
    let place = Place::new();
    fs::create_dir_all(place.at("real/tree")).unwrap();
    fs::write(place.at("real/tree/file"), "x").unwrap();
    std::os::unix::fs::symlink("real", place.at("link")).unwrap();
    let repository = create(&place.at("r"));
    let made = back_up(&repository, &place.at("link/tree"), None);
    assert_eq!(made.files, 1);
    let (index, _) = repository.load_index().unwrap();
    let options = Options::new(Source::Snapshot(made.snapshot), &place.at("back"));
    let report = restore::run(&repository, &index, &options).unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    let there = place.at("link/tree/file");
    let below = there.strip_prefix("/").unwrap();
    assert_eq!(fs::read(place.at("back").join(below)).unwrap(), b"x");
    let again = back_up(&repository, &place.at("link/tree"), Some(made.snapshot));
    assert_eq!(again.files_unmodified, 1);
}

#[test]
fn snapshots_with_forged_times_do_not_push_out_real_ones() {
    let place = Place::new();
    fs::create_dir(place.at("tree")).unwrap();
    let repository = create(&place.at("r"));
    let made = back_up(&repository, &place.at("tree"), None).snapshot;
    let real = repository.snapshot(&made).unwrap();
    // Noon, so that a snapshot an hour old is of the same day.
    let now: jiff::Timestamp = "2026-03-04T12:00:00Z".parse().unwrap();
    let at = |hours: i64| Snapshot {
        time: Time::utc(now + jiff::SignedDuration::from_hours(hours)),
        ..real.clone()
    };
    // Ten days of real snapshots, and some of an attacker who may add but not delete: one for each
    // day of years to come, and many of today.
    let mut all: Vec<Snapshot> = (1..=10).map(|day| at(-24 * day)).collect();
    all.extend((1..2000).map(|day| at(24 * day)));
    all.extend((0..50).map(|_| at(-1)));
    let all: Vec<&Snapshot> = all.iter().collect();
    let keeps = |policy: &Policy| {
        let reasons = policy.apply(&all, now, &jiff::tz::TimeZone::UTC);
        reasons[..10]
            .iter()
            .filter(|reasons| !reasons.is_empty())
            .count()
    };
    let mut within = Policy {
        within: "30d".parse().unwrap(),
        ..Policy::default()
    };
    assert_eq!(keeps(&within), 10);
    within.within = Default::default();
    within.within_each[Period::Day as usize] = "30d".parse().unwrap();
    assert_eq!(keeps(&within), 10);
    // This is why counting is not for a store that others may add to.
    let last = Policy {
        last: Count::Some(30),
        ..Policy::default()
    };
    assert_eq!(keeps(&last), 0);
}

#[test]
fn a_backup_does_not_need_its_parent() {
    let place = Place::new();
    fs::create_dir_all(place.at("tree/dir")).unwrap();
    fs::write(place.at("tree/dir/file"), b"content").unwrap();
    fs::write(place.at("tree/other"), b"other").unwrap();
    let repository = create(&place.at("r"));
    let back_up = |parent| back_up(&repository, &place.at("tree"), Some(parent));
    let first = common::back_up(&repository, &place.at("tree"), None);
    let second = back_up(first.snapshot);
    assert_eq!(
        (second.files_unmodified, second.parent),
        (2, Some(first.snapshot))
    );
    assert!(second.unread.is_none());

    // Somebody else forgot it after it was chosen.
    repository
        .delete(FileKind::Snapshot, &first.snapshot)
        .unwrap();
    let third = back_up(first.snapshot);
    assert_eq!((third.files_unmodified, third.parent), (0, None));
    assert_eq!(third.files, 2);
    assert_eq!(repository.snapshot(&third.snapshot).unwrap().parent, None);
    let unread = third.unread.unwrap();
    assert!(matches!(unread.error, Error::Missing { .. }), "{unread:?}");

    // One of its directories cannot be read, but the others are still used.
    let dir = entry(&repository, &third.snapshot, &place.at("tree/dir"));
    let lost = Id::of(b"no tree");
    let node = Node {
        subtree: Some(lost),
        ..dir
    };
    let broken = with_entry(&repository, &third.snapshot, &place.at("tree/dir"), node);
    let fourth = back_up(broken);
    assert_eq!((fourth.files_unmodified, fourth.parent), (1, Some(broken)));
    let unread = fourth.unread.unwrap();
    assert!(
        unread.count == 1 && matches!(unread.error, Error::UnknownBlob { id } if id == lost),
        "{unread:?}"
    );
    let report = check::run(&repository, check::Depth::Data).unwrap();
    assert_eq!(report.errors.len(), 1, "{:?}", report.errors);
}
