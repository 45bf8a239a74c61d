//! A repository to damage, the kinds of damage, and a store that detects endless requests.

use super::common::watched::{Call, Verdict, Watch, Watched};
use super::common::{Objects, back_up, cheaply, objects, stored};
use lifeboat_repository::browse::{self, Found};
use lifeboat_repository::index::Index;
use lifeboat_repository::pack::BlobKind;
use lifeboat_repository::saver::with_saver;
use lifeboat_repository::tree::NodeKind;
use lifeboat_repository::{Author, FileKind, Id, Repository, lock};
use lifeboat_store::MemoryStore;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// One bit in the middle is flipped.
    Flipped,
    /// The second half is missing.
    Truncated,
    Missing,
    /// The file is copied under another name.
    Duplicate,
    /// The same content is stored again, sealed anew.
    Twice,
    /// The file is replaced by one that is validly sealed but has another name.
    WrongHash,
    /// The file is replaced by meaningless bytes of the same length.
    Garbage,
}

pub const HITS: [Hit; 7] = [
    Hit::Flipped,
    Hit::Truncated,
    Hit::Missing,
    Hit::Duplicate,
    Hit::Twice,
    Hit::WrongHash,
    Hit::Garbage,
];

impl Hit {
    /// Returns whether the original content is lost.
    pub fn destroys(self) -> bool {
        !matches!(self, Hit::Duplicate | Hit::Twice)
    }

    /// Returns whether the damaged file is present.
    pub fn shows(self) -> bool {
        self.destroys() && self != Hit::Missing
    }
}

/// Counts the calls to a store and bounds them, so that an endless loop is found.
#[derive(Default)]
pub struct Bounded {
    calls: AtomicUsize,
}

pub const CALLS_MAX: usize = 3000;

impl Bounded {
    pub fn new(objects: &Objects) -> Arc<Watched<Self>> {
        Arc::new(Watched {
            inner: stored(objects),
            watch: Bounded::default(),
        })
    }
}

impl Watch for Bounded {
    fn before(&self, _: Call, _: &str) -> Verdict {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(calls < CALLS_MAX, "the store is asked again and again");
        Ok(())
    }
}

/// A repository with two snapshots, the second of more files than the first, with two keys and a
/// lock; and its content while it is intact.
pub struct Base {
    pub directory: tempfile::TempDir,
    pub objects: Objects,
    pub repository: Repository,
    pub index: Index,
    /// The id of each snapshot, and of the tree of the directory that was backed up.
    pub snapshots: [(Id, Id); 2],
    pub lock: Id,
}

impl Base {
    pub fn new() -> Base {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        let files = |name: &str| {
            fs::create_dir_all(tree.join(name)).unwrap();
            for number in 0..4 {
                // Long enough for several blobs, and different everywhere.
                let text: String = (0..400).map(|n| format!("{name} {number} {n}\n")).collect();
                fs::write(tree.join(name).join(number.to_string()), text).unwrap();
            }
        };
        let store = Arc::new(MemoryStore::new());
        let repository = Repository::create(store.clone(), "", b"x", &Author::default()).unwrap();
        cheaply(&repository);
        let cost = lifeboat_repository::keyfile::Cost {
            log_n: 4,
            ..Default::default()
        };
        repository.add_key(b"x", cost, &Author::default()).unwrap();
        files("alpha");
        let first = back_up(&repository, &tree, None).snapshot;
        files("beta");
        let second = back_up(&repository, &tree, None).snapshot;
        let held = lock::LockFile {
            time: lifeboat_repository::time::Time::utc(jiff::Timestamp::now()),
            exclusive: false,
            hostname: "elsewhere".into(),
            username: "ada".into(),
            pid: 1,
            uid: 0,
            gid: 0,
        };
        let held = serde_json::to_vec(&held).unwrap();
        let lock = repository.write_document(FileKind::Lock, &held).unwrap();
        let (index, _) = repository.load_index().unwrap();
        let backed_up = |id: Id| {
            let root = repository.snapshot(&id).unwrap().tree;
            let path = tree.as_os_str().as_bytes();
            match browse::find(&repository, &index, &root, path).unwrap() {
                Found::Entry(node) => (id, node.subtree.unwrap()),
                Found::Root(_) => panic!("it is no root"),
            }
        };
        Base {
            objects: objects(&*store),
            snapshots: [backed_up(first), backed_up(second)],
            lock,
            repository,
            index,
            directory,
        }
    }

    pub fn tree(&self) -> PathBuf {
        self.directory.path().join("tree")
    }

    /// The blob of a file or directory in the second snapshot.
    pub fn blob(&self, path: &str) -> (Id, BlobKind) {
        match browse::find(
            &self.repository,
            &self.index,
            &self.snapshots[1].1,
            path.as_bytes(),
        ) {
            Ok(Found::Entry(node)) if node.kind == NodeKind::Directory => {
                (node.subtree.unwrap(), BlobKind::Tree)
            }
            Ok(Found::Entry(node)) => (node.content.unwrap()[0], BlobKind::Data),
            other => panic!("{other:?}"),
        }
    }

    /// Every blob that the snapshots need.
    pub fn blobs(&self) -> BTreeSet<(BlobKind, Id)> {
        self.index.blobs().map(|(id, at)| (at.kind, id)).collect()
    }

    /// The index file that lists a pack.
    pub fn index_of(&self, pack: &Id) -> Id {
        let listed = self.repository.list(FileKind::Index).unwrap();
        let names = |id: &Id| {
            let file = self.repository.index_file(id).unwrap();
            file.packs.iter().any(|in_it| in_it.id == *pack)
        };
        listed.into_iter().map(|(id, _)| id).find(names).unwrap()
    }

    /// The paths that cannot be restored if these blobs are lost.
    pub fn costs(&self, tree: &Id, at: &Path, gone: &BTreeSet<Id>) -> BTreeSet<PathBuf> {
        if gone.contains(tree) {
            return [at.to_owned()].into();
        }
        let mut paths = BTreeSet::new();
        for node in self.repository.tree(&self.index, tree).unwrap() {
            let path = at.join(String::from_utf8(node.name).unwrap());
            if let Some(inner) = node.subtree {
                paths.extend(self.costs(&inner, &path, gone));
            } else if node.content.unwrap().iter().any(|id| gone.contains(id)) {
                paths.insert(path);
            }
        }
        paths
    }
}

/// The file to damage.
pub struct Victim {
    pub kind: FileKind,
    pub id: Id,
    /// The offset of the damage, if it matters.
    pub at: Option<usize>,
}

impl Victim {
    /// The pack of a blob, to be damaged in the middle of that blob.
    pub fn pack(base: &Base, path: &str) -> (Victim, Id) {
        let (blob, kind) = base.blob(path);
        let place = base.index.locations(kind, &blob).next().unwrap();
        let victim = Victim {
            kind: FileKind::Pack,
            id: place.pack,
            at: Some((place.offset + place.length / 2) as usize),
        };
        (victim, blob)
    }
}

/// Damages a file, and returns the id of the file that was added.
pub fn hit(base: &Base, objects: &mut Objects, victim: &Victim, hit: Hit) -> Option<Id> {
    let key = victim.kind.key(&victim.id);
    let directory = format!("{}/", victim.kind.directory());
    let bytes = objects[&key].clone();
    let middle = victim.at.unwrap_or(bytes.len() / 2);
    let other = Id::of(&key.clone().into_bytes());
    match hit {
        Hit::Flipped => objects.get_mut(&key).unwrap()[middle] ^= 1,
        Hit::Truncated => objects.get_mut(&key).unwrap().truncate(middle),
        Hit::Missing => drop(objects.remove(&key)),
        Hit::Duplicate => {
            objects.insert(victim.kind.key(&other), bytes);
            return Some(other);
        }
        Hit::Twice if victim.kind == FileKind::Key => {}
        Hit::Twice if victim.kind == FileKind::Pack => {
            let again: Vec<_> = base
                .index
                .blobs()
                .filter(|(_, at)| at.pack == victim.id)
                .collect();
            let store = Bounded::new(objects);
            let repository = Repository::open(store.clone(), "", b"x").unwrap();
            with_saver(&repository, &Index::default(), |saver| {
                for (id, at) in &again {
                    saver.save(at.kind, &repository.read_blob(id, at)?)?;
                }
                Ok(())
            })
            .unwrap();
            *objects = super::common::objects(&store.inner);
        }
        Hit::Twice => {
            let mut sealed = Vec::new();
            let plain = base
                .repository
                .read_document(victim.kind, &victim.id)
                .unwrap();
            base.repository
                .key()
                .seal_into(&plain, &mut sealed)
                .unwrap();
            objects.insert(victim.kind.key(&Id::of(&sealed)), sealed);
        }
        Hit::WrongHash => {
            let another = objects
                .iter()
                .find(|(name, _)| name.starts_with(&directory) && **name != key);
            // There is only one lock; any document is validly sealed.
            let another = another.or_else(|| {
                objects
                    .iter()
                    .find(|(name, _)| name.starts_with("snapshots/"))
            });
            let another = another.unwrap().1.clone();
            objects.insert(key, another);
        }
        Hit::Garbage => {
            let garbage = (0..=u8::MAX).cycle().map(|byte| byte.wrapping_mul(157));
            objects.insert(key, garbage.take(bytes.len()).collect());
        }
    }
    None
}
