//! Every kind of damage to every kind of file. What is damaged is named, everything else is
//! restored, no later operation loses more, and what can be repaired is repaired.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
mod victim;

use common::{Objects, back_up};
use jiff::SignedDuration;
use lifeboat_repository::check::{self, Depth};
use lifeboat_repository::lock::{self, Lock, Mode};
use lifeboat_repository::pack::BlobKind;
use lifeboat_repository::restore::{self, Options, Source};
use lifeboat_repository::{Author, Error, FileKind, Id, Repository, Result, prune, repair};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use victim::*;

/// The files and blobs that the errors of a check name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    files: BTreeSet<(FileKind, Id)>,
    blobs: BTreeSet<Id>,
}

fn named(repository: &Repository) -> Named {
    let mut named = Named::default();
    for error in check::run(repository, Depth::Data).unwrap().errors {
        match error {
            Error::Damaged { kind, id, .. } | Error::Missing { kind, id } => {
                named.files.insert((kind, id));
            }
            Error::Blob { id, .. } | Error::UnknownBlob { id } => drop(named.blobs.insert(id)),
            other => panic!("{other}"),
        }
    }
    named
}

/// The blobs that can be read.
fn readable(base: &Base, repository: &Repository) -> BTreeSet<(BlobKind, Id)> {
    let (index, _) = repository.load_index().unwrap();
    let read = |(kind, id): &(BlobKind, Id)| repository.load_blob(&index, *kind, id).is_ok();
    base.blobs().into_iter().filter(read).collect()
}

/// Restores a directory that was backed up, and returns the paths that failed.
fn failed(base: &Base, repository: &Repository, tree: &Id) -> BTreeSet<PathBuf> {
    let (index, _) = repository.load_index().unwrap();
    let back = tempfile::tempdir().unwrap();
    let options = Options::new(Source::Tree(*tree), &back.path().join("back"));
    let report = restore::run(repository, &index, &options).unwrap();
    let failed: BTreeSet<PathBuf> = report.failed.iter().map(|f| f.path.clone()).collect();
    // Everything that is not named must be there, and right.
    let mut wanted = base.costs(tree, Path::new("/"), &BTreeSet::new());
    for (id, kind) in base.index.blobs().map(|(id, at)| (id, at.kind)) {
        if kind == BlobKind::Data {
            wanted.extend(base.costs(tree, Path::new("/"), &[id].into()));
        }
    }
    for path in wanted {
        let below = path.strip_prefix("/").unwrap();
        let there = fs::read(back.path().join("back").join(below)).ok();
        let is_failed = failed.iter().any(|failed| path.starts_with(failed));
        let original = fs::read(base.tree().join(below)).unwrap();
        assert_eq!(there, (!is_failed).then_some(original), "{path:?}");
    }
    failed
}

fn do_prune(repository: &Repository) -> Result<prune::Report> {
    let options = prune::Options {
        grace: SignedDuration::ZERO,
        max_unused: 0.0,
        ..Default::default()
    };
    prune::run(repository, &options)
}

/// Runs `cell` for each kind of damage, all at once: most of the time they wait for locks to
/// settle.
fn each(cell: impl Fn(&Base, Hit) + Sync) {
    let base = Base::new();
    std::thread::scope(|scope| {
        let (base, cell) = (&base, &cell);
        let cells = HITS.map(|hit| (hit, scope.spawn(move || cell(base, hit))));
        for (hit, cell) in cells {
            assert!(cell.join().is_ok(), "{hit:?}");
        }
    });
}

/// A damaged repository, and the damage.
struct Cell<'a> {
    base: &'a Base,
    hit: Hit,
    objects: Objects,
    /// The id of the file that was added.
    copy: Option<Id>,
}

impl<'a> Cell<'a> {
    /// Copies the repository without its lock, unless the lock is the victim.
    fn new(base: &'a Base, victim: &Victim, hit: Hit) -> Cell<'a> {
        let mut objects = base.objects.clone();
        let copy = self::hit(base, &mut objects, victim, hit);
        if victim.kind != FileKind::Lock {
            objects.remove(&FileKind::Lock.key(&base.lock));
        }
        Cell {
            base,
            hit,
            objects,
            copy,
        }
    }

    fn open(&self) -> Repository {
        Repository::open(Bounded::new(&self.objects), "", b"x").unwrap()
    }

    /// Asserts that a check names the right file: the victim, or the file added under a wrong name.
    fn assert_names(&self, victim: &Victim) -> Named {
        let named = named(&self.open());
        let mut files = BTreeSet::new();
        if self.hit.shows() {
            files.insert((victim.kind, victim.id));
        }
        files.extend(self.copy.map(|id| (victim.kind, id)));
        assert_eq!(named.files, files, "{:?}", self.hit);
        named
    }

    /// Asserts that no operation loses what could be read; with `refuses`, also that prune refuses.
    fn assert_no_more_is_lost(&self, refuses: bool) {
        let base = self.base;
        let before = readable(base, &self.open());
        let whole = |repository: &Repository, what: &str| {
            let now = readable(base, repository);
            let lost: Vec<_> = before.difference(&now).collect();
            assert!(lost.is_empty(), "{what} after {:?}: {lost:?}", self.hit);
        };
        let repository = self.open();
        let pruned = do_prune(&repository);
        assert!(!refuses || pruned.is_err(), "{:?}: {pruned:?}", self.hit);
        whole(&repository, "prune");
        let repository = self.open();
        let made = back_up(&repository, &base.tree(), None);
        assert!(made.skipped.is_empty());
        whole(&repository, "backup");
        let _ = do_prune(&repository);
        whole(&repository, "backup and prune");
        let repository = self.open();
        repair::index(
            &repository,
            Depth::Structure,
            Duration::ZERO,
            &Author::default(),
        )
        .unwrap();
        whole(&repository, "repair");
        let _ = do_prune(&repository);
        whole(&repository, "repair and prune");
    }

    /// Repairs the repository and makes a new backup, which must be whole. Returns what a check
    /// then names.
    fn mend(&self) -> (Repository, Named) {
        let base = self.base;
        let before = readable(base, &self.open());
        let repository = self.open();
        repair::index(&repository, Depth::Data, Duration::ZERO, &Author::default()).unwrap();
        back_up(&repository, &base.tree(), None);
        let _ = do_prune(&repository);
        let now = readable(base, &repository);
        assert!(before.is_subset(&now), "{:?}", self.hit);
        assert_eq!(failed(base, &repository, &base.snapshots[1].1), [].into());
        let named = named(&repository);
        (repository, named)
    }
}

/// The blobs of a pack that are lost.
fn gone(base: &Base, victim: &Victim, blob: Id, hit: Hit) -> BTreeSet<Id> {
    let in_it = base.index.blobs().filter(|(_, at)| at.pack == victim.id);
    let middle = victim.at.unwrap();
    in_it
        .filter(|(id, at)| match hit {
            Hit::Flipped => *id == blob,
            Hit::Truncated => (at.offset + at.length) as usize > middle,
            hit => hit.destroys(),
        })
        .map(|(id, _)| id)
        .collect()
}

fn assert_pack(base: &Base, hit: Hit, path: &str) -> Named {
    let (victim, blob) = Victim::pack(base, path);
    let gone = gone(base, &victim, blob, hit);
    let cell = Cell::new(base, &victim, hit);
    let mut named = named(&cell.open());
    // The copy of a pack is in no index, so it is rubbish.
    let report = check::run(&cell.open(), Depth::Data).unwrap();
    assert_eq!(report.unknown_packs, Vec::from_iter(cell.copy));
    let hit_files = match hit.destroys() {
        true => [(FileKind::Pack, victim.id)].into(),
        false => BTreeSet::new(),
    };
    assert_eq!(std::mem::take(&mut named.files), hit_files, "{hit:?}");
    assert!(named.blobs.is_subset(&gone), "{hit:?}");
    if hit == Hit::Flipped {
        assert_eq!(named.blobs, gone);
    }
    let repository = cell.open();
    for (_, tree) in &base.snapshots {
        let costs = base.costs(tree, Path::new("/"), &gone);
        assert_eq!(failed(base, &repository, tree), costs, "{hit:?}");
    }
    // Prune notices wrong content of a pack only if it copies from it.
    let is_tree = base.blob(path).1 == BlobKind::Tree;
    let refuses = hit.destroys() && is_tree || matches!(hit, Hit::Missing | Hit::Truncated);
    cell.assert_no_more_is_lost(refuses);
    cell.mend().1
}

#[test]
fn data_packs() {
    each(|base, hit| {
        assert_eq!(
            assert_pack(base, hit, "/beta/1"),
            Named::default(),
            "{hit:?}"
        );
    });
}

#[test]
fn tree_packs() {
    each(|base, hit| {
        let (victim, blob) = Victim::pack(base, "/beta");
        let gone = gone(base, &victim, blob, hit);
        let left = assert_pack(base, hit, "/beta");
        // Directories above the one that was backed up have other times now.
        assert_eq!(left.files, [].into(), "{hit:?}");
        assert!(left.blobs.is_subset(&gone), "{hit:?}");
        assert!(!left.blobs.contains(&blob));
    });
}

#[test]
fn index_files() {
    each(|base, hit| {
        let (pack, _) = Victim::pack(base, "/beta/1");
        let victim = Victim {
            kind: FileKind::Index,
            id: base.index_of(&pack.id),
            at: None,
        };
        let cell = Cell::new(base, &victim, hit);
        let in_it = base.repository.index_file(&victim.id).unwrap().packs;
        let unknown: BTreeSet<Id> = match hit.destroys() {
            true => in_it
                .iter()
                .flat_map(|pack| &pack.blobs)
                .map(|blob| blob.id)
                .collect(),
            false => BTreeSet::new(),
        };
        let named = cell.assert_names(&victim);
        assert!(named.blobs.is_subset(&unknown));
        assert_eq!(named.blobs.is_empty(), !hit.destroys(), "{hit:?}");
        for (_, tree) in &base.snapshots {
            let costs = base.costs(tree, Path::new("/"), &unknown);
            assert_eq!(failed(base, &cell.open(), tree), costs, "{hit:?}");
        }
        cell.assert_no_more_is_lost(hit.destroys() || cell.copy.is_some());
        // Everything can be read again, without a new backup.
        let repository = cell.open();
        repair::index(
            &repository,
            Depth::Structure,
            Duration::ZERO,
            &Author::default(),
        )
        .unwrap();
        assert_eq!(self::named(&repository), Named::default(), "{hit:?}");
        assert_eq!(readable(base, &repository), base.blobs());
    });
}

#[test]
fn snapshots() {
    each(|base, hit| {
        let [(first, tree), (second, _)] = base.snapshots;
        let victim = Victim {
            kind: FileKind::Snapshot,
            id: second,
            at: None,
        };
        let cell = Cell::new(base, &victim, hit);
        let named = cell.assert_names(&victim);
        assert_eq!(named.blobs, [].into());
        let (there, errors) = cell.open().snapshots().unwrap();
        assert_eq!(
            errors.len(),
            usize::from(hit.shows() || cell.copy.is_some())
        );
        assert!(there.iter().any(|(id, _)| *id == first));
        assert_eq!(failed(base, &cell.open(), &tree), [].into());
        let repository = cell.open();
        let back = tempfile::tempdir().unwrap();
        let options = Options::new(Source::Snapshot(second), &back.path().join("back"));
        let restored = restore::run(&repository, &base.index, &options);
        assert_eq!(restored.is_err(), hit.destroys(), "{hit:?}: {restored:?}");
        if let Err(error) = restored {
            assert!(error.to_string().contains(&second.to_string()), "{error}");
            assert!(!back.path().join("back").exists());
        }
        // If it is gone without a trace, what only it needed is rubbish.
        if hit != Hit::Missing {
            cell.assert_no_more_is_lost(hit.destroys() || cell.copy.is_some());
        }
        for id in cell.copy.into_iter().chain(hit.shows().then_some(second)) {
            repository.delete(FileKind::Snapshot, &id).unwrap();
        }
        do_prune(&repository).unwrap();
        assert_eq!(self::named(&repository), Named::default());
        assert_eq!(failed(base, &repository, &tree), [].into());
    });
}

#[test]
fn keys() {
    each(|base, hit| {
        let listed = base.repository.list(FileKind::Key).unwrap();
        let [(id, _), (other, _)] = listed[..] else {
            panic!("{listed:?}");
        };
        // The middle of the file is the salt or the sealed key.
        let victim = Victim {
            kind: FileKind::Key,
            id,
            at: None,
        };
        let mut cell = Cell::new(base, &victim, hit);
        assert_eq!(cell.assert_names(&victim).blobs, [].into());
        assert_eq!(failed(base, &cell.open(), &base.snapshots[1].1), [].into());
        cell.assert_no_more_is_lost(false);
        // Without the other key nothing opens the repository, unless only the name is wrong.
        cell.objects.remove(&FileKind::Key.key(&other));
        let opened = Repository::open(Bounded::new(&cell.objects), "", b"x");
        match (hit, opened) {
            (Hit::Flipped | Hit::Truncated | Hit::Garbage, Err(error)) => {
                assert!(
                    error.to_string().contains(&format!("key {id} is damaged")),
                    "{error}"
                );
            }
            (Hit::Missing, Err(error)) => assert!(matches!(error, Error::Password { keys: 0 })),
            (_, opened) => {
                let repository = opened.unwrap();
                assert_eq!(readable(base, &repository), base.blobs());
            }
        }
    });
}

#[test]
fn a_key_file_with_harmless_damage_opens() {
    let base = Base::new();
    let mut objects = base.objects.clone();
    objects.remove(&FileKind::Lock.key(&base.lock));
    for (id, _) in base.repository.list(FileKind::Key).unwrap() {
        let key = objects.get_mut(&FileKind::Key.key(&id)).unwrap();
        let text = String::from_utf8(key.clone()).unwrap();
        *key = text.replace("created", "created_").into_bytes();
    }
    let repository = Repository::open(Bounded::new(&objects), "", b"x").unwrap();
    assert_eq!(readable(&base, &repository), base.blobs());
    assert_eq!(named(&repository).files.len(), 2);
    let refused = Repository::open(Bounded::new(&objects), "", b"y").unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Damaged {
                kind: FileKind::Key,
                ..
            }
        ),
        "{refused}"
    );
}

#[test]
fn locks() {
    each(|base, hit| {
        let victim = Victim {
            kind: FileKind::Lock,
            id: base.lock,
            at: None,
        };
        let cell = Cell::new(base, &victim, hit);
        assert_eq!(cell.assert_names(&victim).blobs, [].into());
        let repository = cell.open();
        let bad = cell.copy.or(hit.shows().then_some(base.lock));
        for mode in [Mode::Shared, Mode::Exclusive] {
            let taken = Lock::take(&repository, mode, Duration::ZERO, &Author::default());
            match bad {
                Some(bad) => {
                    let error = taken.map(drop).unwrap_err().to_string();
                    // Either of the two locks may be read first.
                    let named = error.contains(&format!("lock {bad} is damaged"));
                    assert!(named || error.contains("is locked"), "{error}");
                }
                None => {
                    let free = mode == Mode::Shared || hit == Hit::Missing;
                    assert_eq!(taken.is_ok(), free, "{hit:?}");
                }
            }
        }
        // A reader that takes no lock restores everything.
        assert_eq!(failed(base, &repository, &base.snapshots[1].1), [].into());
        assert_eq!(do_prune(&repository).is_err(), bad.is_some());
        let removed = lock::unlock(&repository, true).unwrap();
        let expected = match hit {
            Hit::Missing => 0,
            Hit::Duplicate | Hit::Twice => 2,
            _ => 1,
        };
        assert_eq!(removed.len(), expected);
        do_prune(&repository).unwrap();
        assert_eq!(named(&repository), Named::default());
        assert_eq!(readable(base, &repository), base.blobs());
    });
}

#[test]
fn config() {
    each(|base, hit| {
        let mut objects = base.objects.clone();
        let config = objects["config"].clone();
        let snapshot = FileKind::Snapshot.key(&base.snapshots[0].0);
        let middle = config.len() / 2;
        let bytes = match hit {
            Hit::Flipped => {
                let mut config = config.clone();
                config[middle] ^= 1;
                Some(config)
            }
            Hit::Truncated => Some(config[..middle].to_vec()),
            Hit::Missing => None,
            Hit::Duplicate => {
                objects.insert("config again".into(), config.clone());
                Some(config)
            }
            Hit::Twice => {
                let mut again = Vec::new();
                let plain = base.repository.key().open(config).unwrap();
                base.repository.key().seal_into(&plain, &mut again).unwrap();
                Some(again)
            }
            Hit::WrongHash => Some(objects[&snapshot].clone()),
            Hit::Garbage => Some(vec![7; config.len()]),
        };
        match bytes {
            Some(bytes) => objects.insert("config".into(), bytes),
            None => objects.remove("config"),
        };
        let store = Bounded::new(&objects);
        let opened = Repository::open(store.clone(), "", b"x");
        match (hit, opened) {
            (Hit::Missing, Err(error)) => assert!(matches!(error, Error::NoRepository { .. })),
            (hit, Err(error)) if hit.destroys() => {
                assert!(matches!(error, Error::Config(_)), "{error}");
            }
            (hit, opened) => {
                assert!(!hit.destroys());
                assert_eq!(named(&opened.unwrap()), Named::default());
            }
        }
        assert_eq!(common::objects(&store.inner), objects);
    });
}
