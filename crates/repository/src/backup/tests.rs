//! Tests of directories that need several batches, and of long trees. Both limits are small in
//! tests.

use super::{Excludes, Options, Report, run};
use crate::browse::{self, Change};
use crate::error::Error;
use crate::pack::BlobKind;
use crate::pattern::Patterns;
use crate::prune::{self, Options as Prune};
use crate::restore;
use crate::time::Time;
use crate::tree::{LONG_BYTES, Node, NodeKind, Text, TreeBuilder, parse};
use crate::{Author, Id, Repository};
use jiff::SignedDuration;
use lifeboat_store::MemoryStore;
use lifeboat_testkit::silent::Silent;
use rustix::fs::{FileType, Mode};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const FILES: usize = 420;

fn repository() -> Repository {
    let store = Arc::new(MemoryStore::new());
    Repository::create(store, "", b"x", &Author::default()).unwrap()
}

pub(crate) fn back_up(repository: &Repository, tree: &Path, parent: Option<Id>) -> Report {
    let (index, _) = repository.load_index().unwrap();
    run(repository, &index, &options(tree, parent)).unwrap()
}

fn options(tree: &Path, parent: Option<Id>) -> Options {
    Options {
        paths: vec![tree.to_owned()],
        directory: "/".into(),
        parent,
        time: Time::default(),
        zone: jiff::tz::TimeZone::UTC,
        hostname: String::new(),
        username: String::new(),
        tags: Vec::new(),
        one_file_system: false,
        program: String::new(),
        patience: crate::mounts::PATIENCE,
        how: Default::default(),
        excludes: Excludes::default(),
    }
}

#[allow(clippy::disallowed_methods, reason = "a test may write files directly")]
fn fill(directory: &Path) {
    fs::create_dir_all(directory.join("n0123 is a directory")).unwrap();
    for number in 0..FILES {
        let content = format!("{}", number / 2);
        fs::write(directory.join(format!("n{number:04}")), content).unwrap();
    }
    // This sorts after what is restored first, and has the name of a partial file.
    fs::write(directory.join("n0099.lifeboat-partial"), "mine").unwrap();
}

/// The tree of the innermost directory.
fn innermost(repository: &Repository, root: Id, tree: &Path) -> Id {
    let (index, _) = repository.load_index().unwrap();
    tree.components().skip(1).fold(root, |at, _| {
        let nodes = repository.tree(&index, &at).unwrap();
        nodes[0].subtree.unwrap()
    })
}

#[test]
fn a_long_tree_is_the_same_as_one_written_whole() {
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("d");
    fill(&tree);
    let repository = repository();
    let report = back_up(&repository, &tree, None);
    assert_eq!(report.files, FILES as u64 + 1);
    let (index, _) = repository.load_index().unwrap();
    let id = innermost(&repository, report.tree, &tree);
    let json = repository.load_blob(&index, BlobKind::Tree, &id).unwrap();
    assert!(json.len() > 4 * LONG_BYTES, "{}", json.len());
    let nodes = parse(&json).unwrap();
    let mut whole = TreeBuilder::default();
    nodes.iter().for_each(|node| whole.add(node).unwrap());
    assert!(whole.finish() == json);
    assert_eq!(nodes.len(), FILES + 2);

    let text = repository.tree_text(&index, &id).unwrap();
    assert!(matches!(text, Text::Packed(_)));
    let read: Vec<_> = text.nodes().unwrap().map(Result::unwrap).collect();
    assert_eq!(read, nodes);
    let mut told = Vec::new();
    text.read(|node| told.push(node.unwrap())).unwrap();
    assert_eq!(told, nodes);
    let mut contents = 0;
    text.read_needs(|needs| contents += needs.content.map_or(0, |content| content.len()))
        .unwrap();
    assert_eq!(contents, FILES + 1);
}

#[test]
fn a_long_tree_that_does_not_match_its_id_is_damage() {
    let json = [b"{\"nodes\":[".as_slice(), &[b' '; 5000], b"]}\n"].concat();
    let packed = zstd::bulk::compress(&json, 3).unwrap();
    let id = Id::of(&json);
    let bytes = json.len() as u64;
    assert!(Text::packed(&id, packed.clone(), bytes).is_ok());
    assert!(Text::packed(&Id::of(b"another"), packed.clone(), bytes).is_err());
    assert!(Text::packed(&id, packed.clone(), bytes - 1).is_err());
    assert!(Text::packed(&id, packed[..packed.len() / 2].to_vec(), bytes).is_err());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may write files directly")]
fn a_huge_directory_makes_the_same_tree_with_or_without_a_parent() {
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("d");
    fill(&tree);
    let repository = repository();
    // The directories above belong to others too, and may change meanwhile.
    let inner = |report: &Report| innermost(&repository, report.tree, &tree);
    let mut parent = back_up(&repository, &tree, None);
    let same = back_up(&repository, &tree, Some(parent.snapshot));
    assert_eq!(inner(&same), inner(&parent));
    assert!(same.added.bytes < LONG_BYTES as u64);
    assert_eq!(same.files_unmodified, FILES as u64 + 1);
    let name = |number: usize| tree.join(format!("n{number:04}"));
    let changes: [&dyn Fn(); 6] = [
        &|| fs::write(name(FILES - 1), "longer than before").unwrap(),
        &|| fs::write(name(0), "longer than before").unwrap(),
        &|| fs::remove_file(name(200)).unwrap(),
        &|| fs::write(name(200), "there again").unwrap(),
        &|| fs::remove_file(name(FILES - 1)).unwrap(),
        &|| fs::write(tree.join("z"), "one more").unwrap(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        change();
        let with = back_up(&repository, &tree, Some(parent.snapshot));
        let without = back_up(&repository, &tree, None);
        assert_eq!(inner(&with), inner(&without), "change {number}");
        assert_ne!(inner(&with), inner(&parent), "change {number}");
        assert!(with.files - with.files_unmodified <= 1, "change {number}");
        let (index, _) = repository.load_index().unwrap();
        let mut told = Vec::new();
        let mut tell = |path: &[u8], _: Change, _: &Node| {
            told.push(String::from_utf8_lossy(path).into_owned());
            Ok(())
        };
        let trees = (&parent.tree, &with.tree);
        browse::diff(&repository, &index, trees, false, &mut tell).unwrap();
        assert!(matches!(&told[..], [_]), "change {number}: {told:?}");
        parent = with;
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may write files directly")]
fn a_huge_directory_is_restored_in_several_rounds_and_pruned() {
    let place = tempfile::tempdir().unwrap();
    let (tree, back) = (place.path().join("d"), place.path().join("back"));
    fill(&tree);
    let repository = repository();
    let report = back_up(&repository, &tree, None);
    let check = crate::check::run(&repository, crate::check::Depth::Data).unwrap();
    assert!(check.errors.is_empty(), "{:?}", check.errors);
    let (index, _) = repository.load_index().unwrap();
    let mut options = restore::Options::new(restore::Source::Snapshot(report.snapshot), &back);
    options.within.clone_from(&tree);
    options.delete = true;
    let restored = restore::run(&repository, &index, &options).unwrap();
    assert_eq!(restored.files, FILES as u64 + 1);
    fs::write(back.join("n0099"), "not this").unwrap();
    fs::write(back.join("surplus"), "nor this").unwrap();
    let again = restore::run(&repository, &index, &options).unwrap();
    assert!(
        again.failed.is_empty() && again.unset.is_empty(),
        "{again:?}"
    );
    assert_eq!(
        (again.files, again.unchanged, again.deleted),
        (1, FILES as u64, 1)
    );
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    for (is, was) in names(&back).iter().zip(names(&tree)) {
        assert_eq!(is.file_name(), was.file_name());
        assert!(was.is_dir() || fs::read(is).unwrap() == fs::read(was).unwrap());
    }

    crate::forget::remove(&repository, &[report.snapshot]).unwrap();
    fs::remove_file(tree.join("n0000")).unwrap();
    let report = back_up(&repository, &tree, None);
    let prune = Prune {
        grace: SignedDuration::ZERO,
        max_unused: 0.0,
        ..Prune::default()
    };
    prune::run(&repository, &prune).unwrap();
    let check = crate::check::run(&repository, crate::check::Depth::Data).unwrap();
    assert!(check.errors.is_empty(), "{:?}", check.errors);
    let (index, _) = repository.load_index().unwrap();
    let mut entries = 0;
    crate::browse::walk(&repository, &index, &report.tree, b"", &mut |_, node| {
        entries += usize::from(node.kind == NodeKind::File);
        Ok(crate::browse::Then::Enter)
    })
    .unwrap();
    assert_eq!(entries, FILES);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may write files directly")]
fn a_silent_mount_is_reported_and_the_rest_is_backed_up() {
    let place = tempfile::tempdir().unwrap();
    let (tree, mount) = (place.path().join("d"), place.path().join("d/m"));
    fs::create_dir_all(&mount).unwrap();
    fs::write(tree.join("a"), "a").unwrap();
    fs::write(tree.join("z"), "z").unwrap();
    // Without /dev/fuse, or the permission to mount, there is nothing to test.
    let Some(_silent) = Silent::mount(&mount) else {
        return;
    };
    let repository = repository();
    let (index, _) = repository.load_index().unwrap();
    let mut options = options(&tree, None);
    options.patience = Duration::from_millis(200);
    let report = run(&repository, &index, &options).unwrap();
    assert_eq!(report.files, 2);
    let [skipped] = report.skipped.as_slice() else {
        panic!("{:?}", report.skipped);
    };
    assert_eq!(skipped.path, mount);
    assert_eq!(skipped.error.kind(), std::io::ErrorKind::TimedOut);
    options.paths = vec![mount.clone()];
    let error = run(&repository, &index, &options).unwrap_err();
    assert!(matches!(error, Error::NothingTaken { .. }), "{error}");
    // What is left out is not accessed at all.
    options.paths = vec![tree];
    options.patience = Duration::from_secs(3600);
    let pattern = mount.display().to_string();
    options.excludes.patterns = Patterns::new(&[pattern], &[]).unwrap();
    let report = run(&repository, &index, &options).unwrap();
    assert_eq!((report.files, report.skipped.len()), (2, 0));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may write files directly")]
fn a_pipe_named_like_a_marker_file_is_not_read() {
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("d");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("kept"), "kept").unwrap();
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("TAG"), FileType::Fifo, mode, 0).unwrap();
    let repository = repository();
    let (index, _) = repository.load_index().unwrap();
    let mut options = options(&tree, None);
    for (header, files) in [("head", 1), ("", 0)] {
        options.excludes.if_present = vec![("TAG".into(), header.into())];
        let report = run(&repository, &index, &options).unwrap();
        assert_eq!((report.files, report.skipped.len()), (files, 0), "{header}");
    }
}
