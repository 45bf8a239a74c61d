//! Tests with what grows in a repository: many snapshots, and very large files and directories.

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
use common::{back_up, cheaply, noise, restic};
use lifeboat_repository::check::{self, Depth};
use lifeboat_repository::index::{IndexFile, IndexPack};
use lifeboat_repository::pack::{BlobKind, PackBuilder};
use lifeboat_repository::time::Time;
use lifeboat_repository::{Author, Error, FileKind, Id, Repository, forget};
use lifeboat_store::MemoryStore;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The number of requests for snapshots that must wait at once before any goes on.
const TOGETHER: usize = 8;
/// Far longer than it takes until that many wait.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Meeting {
    waiting: Mutex<usize>,
    came: Condvar,
}

impl Meeting {
    fn part(&self) {
        *self.waiting.lock().unwrap() = 0;
    }
}

impl Watch for Meeting {
    /// Waits for the other requests; fails if they do not come.
    fn before(&self, call: Call, key: &str) -> Verdict {
        if !matches!(call, Call::Open | Call::Delete) || !key.starts_with("snapshots/") {
            return Ok(());
        }
        let mut waiting = self.waiting.lock().unwrap();
        *waiting += 1;
        self.came.notify_all();
        let alone = |waiting: &mut usize| *waiting < TOGETHER;
        let waited = self.came.wait_timeout_while(waiting, PATIENCE, alone);
        match waited.unwrap().1.timed_out() {
            true => Err(unreachable("one after the other")),
            false => Ok(()),
        }
    }
}

/// A remote store answers each request late, and many at once.
#[test]
fn many_snapshots_are_read_and_removed_at_once() {
    let store = Arc::new(Watched::<Meeting>::default());
    let repository = Repository::create(store.clone(), "", b"x", &Author::default()).unwrap();
    let mut ids = Vec::new();
    for number in 0..TOGETHER * 3 {
        let snapshot = common::snapshot(Time::default(), Id::of(&number.to_le_bytes()));
        ids.push(repository.save_snapshot(&snapshot).unwrap());
    }
    let (snapshots, errors) = repository.snapshots().unwrap();
    assert_eq!((snapshots.len(), errors.len()), (ids.len(), 0));
    store.watch.part();
    forget::remove(&repository, &ids).unwrap();
    assert!(repository.list(FileKind::Snapshot).unwrap().is_empty());
}

/// The size and content of the files in a tree, in order of name.
fn contents(repository: &Repository, tree: &Id) -> Vec<(u64, Vec<Id>)> {
    let (index, _) = repository.load_index().unwrap();
    let mut contents = Vec::new();
    for node in repository.tree(&index, tree).unwrap() {
        match node.content {
            Some(content) => contents.push((node.size, content)),
            None => contents.extend(self::contents(repository, &node.subtree.unwrap())),
        }
    }
    contents
}

/// restic reads the whole file and cuts it in the same places.
#[test]
fn a_sparse_file_makes_the_same_tree_as_with_restic() {
    let directory = tempfile::tempdir().unwrap();
    let (tree, path) = (directory.path().join("t"), directory.path().join("r"));
    std::fs::create_dir(&tree).unwrap();
    for (name, bytes) in [("huge", 90_000_001_u64), ("large", 20 << 20)] {
        let file = File::create(tree.join(name)).unwrap();
        file.set_len(bytes).unwrap();
        for (number, at) in [0, 7 << 20, 8_000_777, 14 << 20].into_iter().enumerate() {
            let island = noise(300_000 * number, number as u64);
            file.write_all_at(&island, at).unwrap();
        }
    }
    restic(&path, "x", &["init", "--repository-version", "2"]);
    restic(&path, "x", &["backup", tree.to_str().unwrap()]);
    let repository = common::open(&path, "x").unwrap();
    cheaply(&repository);
    let (snapshots, _) = repository.snapshots().unwrap();
    let report = back_up(&repository, &tree, None);
    assert_eq!(report.added.data_blobs, 0);
    assert_eq!(
        contents(&repository, &report.tree),
        contents(&repository, &snapshots[0].1.tree)
    );
}

#[test]
fn a_blob_longer_than_any_chunk_is_checked() {
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::create(store, "", b"x", &Author::default()).unwrap();
    let plain = b"a line of a long tree\n".repeat(500_000);
    let packed = zstd::bulk::compress(&plain, 3).unwrap();
    let length = u32::try_from(plain.len()).unwrap();
    for (id, claimed, wrong) in [
        (Id::of(&plain), length, false),
        (Id::of(b"another"), length, true),
        (Id::of(&plain), length - 1, true),
    ] {
        let mut pack = PackBuilder::default();
        let key = repository.key();
        pack.add(key, id, BlobKind::Tree, &packed, Some(claimed))
            .unwrap();
        let pack = pack.finish(key).unwrap();
        repository.save_pack(&pack.id, pack.bytes).unwrap();
        let errors = check::run(&repository, Depth::Data).unwrap().errors;
        assert!(
            errors.is_empty(),
            "what no index knows is not read: {errors:?}"
        );
        let mut file = IndexFile::default();
        file.packs.push(IndexPack {
            id: pack.id,
            blobs: pack.blobs.iter().map(Into::into).collect(),
            time: None,
        });
        let index = repository.save_index(&file).unwrap();
        let errors = check::run(&repository, Depth::Data).unwrap().errors;
        let about = matches!(&errors[..], [Error::Blob { id: about, .. }] if *about == id);
        assert_eq!((about, errors.is_empty()), (wrong, !wrong), "{errors:?}");
        repository.delete(FileKind::Index, &index).unwrap();
        repository.delete(FileKind::Pack, &pack.id).unwrap();
    }
}
