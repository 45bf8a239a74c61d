//! Repairs snapshots that need what is lost. Afterwards restic's own check and restore succeed.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use common::watched::{Call, Watched, unreachable};
use common::{back_up, create, difference, listing, noise};
use lifeboat_repository::check::{self, Depth};
use lifeboat_repository::pack::BlobKind;
use lifeboat_repository::repair::snapshots::{self, Look, Report, What};
use lifeboat_repository::rewrite::{Became, Deed};
use lifeboat_repository::saver::with_saver;
use lifeboat_repository::time::Time;
use lifeboat_repository::tree::{Node, NodeKind, TreeBuilder, mode};
use lifeboat_repository::{Author, Error, FileKind, Id, Repository, repair};
use lifeboat_store::LocalStore;
use lifeboat_testkit::restic::Restic;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const FORGET: Deed = Deed {
    forget: true,
    dry_run: false,
};
const KEEP: Deed = Deed {
    forget: false,
    dry_run: false,
};

fn mend(repository: &Repository, look: Look, deed: Deed) -> lifeboat_repository::Result<Report> {
    let (all, _) = repository.snapshots().unwrap();
    let (index, _) = repository.load_index().unwrap();
    let wanted: Vec<_> = all.iter().collect();
    snapshots::run(repository, &index, (&all, &wanted), look, deed)
}

fn repair_index(repository: &Repository) {
    repair::index(
        repository,
        check::Depth::Structure,
        Duration::ZERO,
        &Author::default(),
    )
    .unwrap();
}

/// The packs that hold blobs of one kind.
fn packs(repository: &Repository, kind: BlobKind) -> BTreeSet<Id> {
    let (index, _) = repository.load_index().unwrap();
    let of_kind = index.blobs().filter(|(_, place)| place.kind == kind);
    of_kind.map(|(_, place)| place.pack).collect()
}

fn pack_path(repository: &Path, id: &Id) -> PathBuf {
    repository.join(FileKind::Pack.key(id))
}

fn told(report: &Report) -> Vec<(String, String)> {
    let one = |mended: &snapshots::Mended| {
        let path = mended.path.display().to_string();
        (path, mended.what.to_string())
    };
    report.mended.iter().map(one).collect()
}

/// Asserts that both programs find the repository whole after a repair, and restores its newest
/// snapshot with restic.
fn is_whole(path: &Path, repository: &Repository, back: &Path) {
    let checked = check::run(repository, Depth::Structure).unwrap();
    assert!(checked.errors.is_empty(), "{:?}", checked.errors);
    let restic = Restic::current();
    restic.ok(path, "x", &["check"]);
    let target = back.display().to_string();
    restic.ok(path, "x", &["restore", "latest", "--target", &target]);
}

#[test]
fn a_lost_directory_becomes_empty_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let repository = create(&at("r"));
    for name in ["tree/lost/deep", "tree/stays"] {
        fs::create_dir_all(at(name)).unwrap();
        fs::write(at(name).join("file"), noise(3000, 1)).unwrap();
    }
    let first = back_up(&repository, &at("tree/lost"), None).snapshot;
    let lost = packs(&repository, BlobKind::Tree);
    let second = back_up(&repository, &at("tree"), None).snapshot;
    for pack in &lost {
        fs::remove_file(pack_path(&at("r"), pack)).unwrap();
    }
    repair_index(&repository);
    assert!(
        !check::run(&repository, Depth::Structure)
            .unwrap()
            .errors
            .is_empty()
    );

    let dry = Deed {
        dry_run: true,
        ..FORGET
    };
    let before = listing(&at("r"));
    let tried = mend(&repository, Look::Index, dry).unwrap();
    assert_eq!(
        tried.snapshots,
        [(first, Became::Nothing), (second, Became::New(None))]
    );
    assert_eq!(listing(&at("r")), before, "a dry run writes nothing");

    let kept = mend(&repository, Look::Index, KEEP).unwrap();
    let [(_, Became::Nothing), (_, Became::New(Some(new)))] = kept.snapshots[..] else {
        panic!("{:?}", kept.snapshots);
    };
    let emptied = at("tree/lost").display().to_string();
    let paths: Vec<String> = told(&kept).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["/", emptied.as_str()]);
    let (old, made) = (
        repository.snapshot(&second).unwrap(),
        repository.snapshot(&new).unwrap(),
    );
    assert_eq!(made.original, Some(second));
    assert_eq!(
        made.tags,
        Some(vec!["tag".to_owned(), "repaired".to_owned()])
    );
    assert_eq!(
        (made.time, &made.paths, &made.hostname),
        (old.time, &old.paths, &old.hostname)
    );
    let again = mend(&repository, Look::Index, KEEP).unwrap();
    let became: Vec<Became> = again.snapshots.iter().map(|(_, became)| *became).collect();
    assert!(became.contains(&Became::Earlier(new)), "{became:?}");
    assert!(became.contains(&Became::Same), "{became:?}");

    let last = mend(&repository, Look::Index, FORGET).unwrap();
    assert_eq!(last.mended.len(), 2);
    let (left, _) = repository.snapshots().unwrap();
    let left: Vec<Id> = left.into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [new], "what was made earlier does");
    is_whole(&at("r"), &repository, &at("back"));
    let back = at("back").join(at("tree").strip_prefix("/").unwrap());
    fs::remove_dir_all(at("tree/lost/deep")).unwrap();
    let different = difference(&at("tree"), &back);
    // Only its time differs, since something in it was removed here.
    assert!(
        different.iter().all(|line| line.starts_with("\"lost\":")),
        "{different:?}"
    );
    assert!(fs::read_dir(back.join("lost")).unwrap().next().is_none());
}

#[test]
fn a_file_keeps_the_parts_that_are_left() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let repository = create(&at("r"));
    fs::create_dir(at("tree")).unwrap();
    fs::write(at("tree/whole"), b"whole").unwrap();
    // Longer than any chunk, so that there are several chunks, and later new ones.
    fs::write(at("tree/grown"), noise(9 << 20, 2)).unwrap();
    fs::write(at("tree/gone"), noise(1 << 20, 3)).unwrap();
    back_up(&repository, &at("tree"), None);
    let lost = packs(&repository, BlobKind::Data);
    let grown = noise(18 << 20, 2);
    fs::write(at("tree/grown"), &grown).unwrap();
    fs::write(at("tree/whole"), b"whole again").unwrap();
    back_up(&repository, &at("tree"), None);
    let before = packs(&repository, BlobKind::Data);
    assert!(before.len() > lost.len());
    for pack in &lost {
        fs::remove_file(pack_path(&at("r"), pack)).unwrap();
    }
    repair_index(&repository);
    let report = mend(&repository, Look::Index, FORGET).unwrap();
    assert!(
        report
            .snapshots
            .iter()
            .all(|(_, became)| matches!(became, Became::New(Some(_)))),
        "{:?}",
        report.snapshots
    );
    for (path, text) in told(&report) {
        assert!(path.starts_with(at("tree").to_str().unwrap()), "{path}");
        assert!(text.contains("are lost"), "{text}");
    }
    is_whole(&at("r"), &repository, &at("back"));
    let back = at("back").join(at("tree").strip_prefix("/").unwrap());
    let left = fs::read(back.join("grown")).unwrap();
    assert!(!left.is_empty() && left.len() < grown.len());
    assert!(grown.ends_with(&left));
    assert_eq!(fs::read(back.join("gone")).unwrap(), b"");
    assert_eq!(fs::read(back.join("whole")).unwrap(), b"whole again");
    let same = mend(&repository, Look::Index, KEEP).unwrap();
    assert!(same.mended.is_empty());
    assert!(
        same.snapshots
            .iter()
            .all(|(_, became)| *became == Became::Same)
    );
}

#[test]
fn damaged_content_is_found_only_by_reading_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let repository = create(&at("r"));
    fs::create_dir(at("tree")).unwrap();
    fs::write(at("tree/hit"), noise(400_000, 4)).unwrap();
    back_up(&repository, &at("tree"), None);
    let hit = packs(&repository, BlobKind::Data);
    fs::write(at("tree/other"), noise(400_000, 5)).unwrap();
    let second = back_up(&repository, &at("tree"), None).snapshot;
    for pack in &hit {
        let path = pack_path(&at("r"), pack);
        let mut bytes = fs::read(&path).unwrap();
        bytes[1000] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let unread = mend(&repository, Look::Index, FORGET).unwrap();
    assert!(
        unread
            .snapshots
            .iter()
            .all(|(_, became)| *became == Became::Same)
    );
    let read = mend(&repository, Look::Data, FORGET).unwrap();
    assert!(
        read.snapshots
            .iter()
            .all(|(_, became)| matches!(became, Became::New(_)))
    );
    assert_eq!(read.mended.len(), 1, "once for both: {:?}", read.mended);
    assert!(matches!(
        read.mended[0].what,
        What::Shortened {
            parts: 1,
            was: 400_000,
            is: 0
        }
    ));
    assert!(repository.snapshot(&second).is_err(), "it is forgotten");
    is_whole(&at("r"), &repository, &at("back"));
    let back = at("back").join(at("tree").strip_prefix("/").unwrap());
    assert_eq!(fs::read(back.join("other")).unwrap(), noise(400_000, 5));
}

#[test]
fn a_damaged_tree_that_is_made_again_is_stored_again() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let repository = create(&at("r"));
    fs::create_dir_all(at("tree/empty")).unwrap();
    back_up(&repository, &at("tree/empty"), None);
    let hit = packs(&repository, BlobKind::Tree);
    fs::write(at("tree/file"), b"file").unwrap();
    let second = back_up(&repository, &at("tree"), None).snapshot;
    for pack in &hit {
        let path = pack_path(&at("r"), pack);
        let bytes = fs::read(&path).unwrap().len();
        fs::write(&path, vec![7; bytes]).unwrap();
    }
    let report = mend(&repository, Look::Index, FORGET).unwrap();
    // The empty directory was lost, and a lost directory becomes empty.
    assert_eq!(report.snapshots[1], (second, Became::Same));
    assert_eq!(report.snapshots[0].1, Became::Nothing);
    let checked = check::run(&repository, Depth::Structure).unwrap();
    assert!(checked.errors.is_empty(), "{:?}", checked.errors);
    let target = at("back").display().to_string();
    Restic::current().ok(&at("r"), "x", &["restore", "latest", "--target", &target]);
    let back = at("back").join(at("tree").strip_prefix("/").unwrap());
    assert_eq!(difference(&at("tree"), &back), Vec::<String>::new());
}

/// The JSON of an entry.
fn entry(node: &Node) -> String {
    let mut builder = TreeBuilder::default();
    builder.add(node).unwrap();
    let json = String::from_utf8(builder.finish()).unwrap();
    let inner = json.trim_end().strip_prefix("{\"nodes\":[").unwrap();
    inner.strip_suffix("]}").unwrap().to_owned()
}

fn file(name: &[u8], content: &[u8], size: u64) -> Node {
    let mut node = Node::new(name, NodeKind::File);
    node.mode = 0o644;
    node.content = Some(vec![Id::of(content)]);
    node.size = size;
    node
}

#[test]
fn unusable_entries_are_left_out_and_the_rest_is_sorted() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let repository = create(&at("r"));
    let mut bare = Node::new(b"bare", NodeKind::Directory);
    bare.mode = mode::DIRECTORY | 0o755;
    let mut nonsense = bare.clone();
    (nonsense.name, nonsense.subtree) = (b"nonsense".to_vec(), Some(Id::of(b"no tree")));
    let nodes = [
        entry(&file(b"z", b"one", 3)),
        entry(&file(b"a", b"one", 3)),
        entry(&file(b"a", b"two", 3)),
        entry(&file(b"size", b"two", 77)),
        entry(&bare),
        entry(&nonsense),
        entry(&Node::new(b"irregular", NodeKind::Irregular)),
        entry(&file(b"name", b"one", 3)).replace("\"name\":\"name\"", "\"name\":\"../up\""),
        entry(&file(b"type", b"one", 3)).replace("\"file\"", "\"unheard\""),
    ];
    let json = format!("{{\"nodes\":[{}]}}\n", nodes.join(","));
    let (index, _) = repository.load_index().unwrap();
    let (tree, _) = with_saver(&repository, &index, |saver| {
        for content in ["one", "two", "no tree"] {
            saver.save(BlobKind::Data, content.as_bytes())?;
        }
        saver.save(BlobKind::Tree, b"no tree, though stored as one")?;
        saver.save(BlobKind::Tree, json.as_bytes())
    })
    .unwrap();
    fs::create_dir(at("any")).unwrap();
    let report = back_up(&repository, &at("any"), None);
    let mut snapshot = repository.snapshot(&report.snapshot).unwrap();
    repository
        .delete(FileKind::Snapshot, &report.snapshot)
        .unwrap();
    (snapshot.tree, snapshot.time) = (tree, Time::default());
    repository.save_snapshot(&snapshot).unwrap();

    let report = mend(&repository, Look::Index, FORGET).unwrap();
    let mut said = told(&report);
    said.sort();
    let beginnings = [
        (
            "/",
            "an entry is left out: it is no tree: an entry of the unknown type",
        ),
        (
            "/",
            "an entry is left out: it is no tree: an entry with the name",
        ),
        ("/", "the entries of the directory are put in order"),
        ("/a", "a second entry of the name is left out"),
        ("/bare", "the directory is made empty"),
        ("/irregular", "it is left out: it is of no known type"),
        ("/nonsense", "the directory is made empty"),
        ("/size", "its size is put right: 3, not 77"),
    ];
    assert_eq!(said.len(), beginnings.len(), "{said:?}");
    for ((path, text), (expected, beginning)) in said.iter().zip(beginnings) {
        assert!(
            path == expected && text.starts_with(beginning),
            "{path}: {text}"
        );
    }
    is_whole(&at("r"), &repository, &at("back"));
    let restored: Vec<PathBuf> = listing(&at("back")).into_keys().collect();
    assert_eq!(
        restored,
        ["a", "bare", "nonsense", "size", "z"].map(PathBuf::from)
    );
    assert_eq!(fs::read(at("back/a")).unwrap(), b"one");
}

#[test]
fn a_failing_store_does_not_count_as_loss() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    create(&at("r"));
    fs::create_dir(at("tree")).unwrap();
    fs::write(at("tree/file"), noise(1000, 6)).unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let store = Watched {
        inner: LocalStore::open(&at("r")).unwrap(),
        // It fails to read packs while told to.
        watch: move |call, key: &str| match call == Call::Open && key.starts_with("data/") {
            true if failing.load(Ordering::Relaxed) => Err(unreachable("made to fail")),
            _ => Ok(()),
        },
    };
    let repository = Repository::open(Arc::new(store), "", b"x").unwrap();
    back_up(&repository, &at("tree"), None);
    let (before, _) = repository.snapshots().unwrap();
    fails.store(true, Ordering::Relaxed);
    let failed = mend(&repository, Look::Index, FORGET);
    assert!(matches!(failed, Err(Error::Store(_))), "{failed:?}");
    fails.store(false, Ordering::Relaxed);
    assert_eq!(repository.snapshots().unwrap().0, before);
    let same = mend(&repository, Look::Data, FORGET).unwrap();
    assert_eq!(same.snapshots, [(before[0].0, Became::Same)]);
}
