//! Helpers that several tests of repositories share.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, and not every one needs everything"
)]

pub mod watched;

use lifeboat_repository::backup::{self, Report};
use lifeboat_repository::keyfile::Cost;
use lifeboat_repository::time::Time;
use lifeboat_repository::{Author, FileKind, Id, Repository, Result, Snapshot};
use lifeboat_store::{LocalStore, MemoryStore, PutOptions, Store};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Runs restic, which must succeed, and returns what it printed.
pub fn restic(repository: &Path, password: &str, args: &[&str]) -> String {
    let output = Command::new("restic")
        .args(["--no-cache", "-r"])
        .arg(repository)
        .args(args)
        .env("RESTIC_PASSWORD", password)
        .output()
        .expect("restic is installed: scripts/tools");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "restic {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn open(path: &Path, password: &str) -> Result<Repository> {
    let store = Arc::new(LocalStore::create(path).unwrap());
    Repository::open(store, "", password.as_bytes())
}

/// Bytes that do not compress. The same seed gives the same bytes.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// Makes a tree with entries that are easily handled wrongly.
pub fn example(root: &Path) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    std::fs::create_dir_all(root.join("dir/empty")).unwrap();
    std::fs::write(root.join("big"), noise(5_600_000, 0)).unwrap();
    std::fs::write(root.join("dir/empty file"), b"").unwrap();
    std::fs::write(root.join("dir/text"), b"text\n".repeat(50_000)).unwrap();
    std::fs::hard_link(root.join("dir/text"), root.join("dir/text again")).unwrap();
    std::fs::write(
        root.join(OsStr::from_bytes(b"n\xfe\n\"q\\<&>\xe2\x80\xa8")),
        b"odd",
    )
    .unwrap();
    std::fs::write(root.join("dir/\u{a0}x"), b"nbsp").unwrap();
    symlink("../nowhere", root.join("dir/link")).unwrap();
    std::fs::create_dir(root.join("odd")).unwrap();
    symlink(OsStr::from_bytes(b"x\xff"), root.join("odd/link")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o4711);
    std::fs::set_permissions(root.join("big"), mode).unwrap();
}

/// Makes a new repository whose password is `x`.
pub fn create(path: &Path) -> Repository {
    let store = Arc::new(LocalStore::create(path).unwrap());
    let repository = Repository::create(store, "", b"x", &Author::default()).unwrap();
    cheaply(&repository);
    repository
}

/// Adds a key that is fast to open to a repository whose password is `x`, since tests and restic
/// open it so often.
pub fn cheaply(repository: &Repository) {
    let slow = repository.list(FileKind::Key).unwrap();
    let cost = Cost {
        log_n: 4,
        ..Cost::default()
    };
    repository.add_key(b"x", cost, &Author::default()).unwrap();
    for (id, _) in slow {
        repository.delete(FileKind::Key, &id).unwrap();
    }
}

/// The usual options to back up a tree.
pub fn options(tree: &Path, parent: Option<Id>) -> backup::Options {
    let zone = jiff::tz::TimeZone::system();
    backup::Options {
        paths: vec![tree.to_owned()],
        directory: "/".into(),
        parent,
        time: Time::new(jiff::Timestamp::now(), &zone),
        zone,
        hostname: "here".into(),
        username: "me".into(),
        tags: vec!["tag".into()],
        one_file_system: false,
        patience: lifeboat_repository::mounts::PATIENCE,
        excludes: Default::default(),
        program: "lifeboat test".into(),
        how: Default::default(),
    }
}

/// Backs a directory up even if the index is damaged.
pub fn back_up(repository: &Repository, tree: &Path, parent: Option<Id>) -> Report {
    let (index, _) = repository.load_index().unwrap();
    backup::run(repository, &index, &options(tree, parent)).unwrap()
}

/// Backs a directory up. Fails, for example, if the index is damaged.
pub fn try_back_up(repository: &Repository, tree: &Path, parent: Option<Id>) -> Result<Report> {
    let (index, errors) = repository.load_index()?;
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => backup::run(repository, &index, &options(tree, parent)),
    }
}

/// Objects by key.
pub type Objects = BTreeMap<String, Vec<u8>>;

pub fn put(store: &dyn Store, key: &str, bytes: &[u8]) {
    let mut body = bytes;
    store.put(key, &mut body, &PutOptions::default()).unwrap();
}

pub fn read(store: &dyn Store, key: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open(key, 0).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// All objects in a store.
pub fn objects(store: &dyn Store) -> Objects {
    let all = store.list("").unwrap().into_iter();
    all.map(|info| (info.key.clone(), read(store, &info.key)))
        .collect()
}

/// A store in memory that holds these objects.
pub fn stored(objects: &Objects) -> MemoryStore {
    let store = MemoryStore::new();
    for (key, bytes) in objects {
        put(&store, key, bytes);
    }
    store
}

/// Everything below a directory that a restore must bring back (so no sockets), as text by path.
pub fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut listing = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let kind = metadata.file_type();
            if kind.is_socket() {
                continue;
            }
            let mut text = format!(
                "mode {:o} owner {}:{} time {}.{:09}",
                metadata.mode(),
                metadata.uid(),
                metadata.gid(),
                metadata.mtime(),
                metadata.mtime_nsec()
            );
            if kind.is_dir() {
                open.push(path.clone());
            } else {
                text += &format!(" links {} size {}", metadata.nlink(), metadata.len());
            }
            if kind.is_symlink() {
                text += &format!(" to {:?}", std::fs::read_link(&path).unwrap());
            }
            if kind.is_char_device() || kind.is_block_device() {
                text += &format!(" device {:x}", metadata.rdev());
            }
            if kind.is_file() {
                text += &format!(" content {}", Id::of(&std::fs::read(&path).unwrap()));
            }
            let mut names: Vec<_> = xattr::list(&path).unwrap().collect();
            names.sort();
            for name in names {
                let value = xattr::get(&path, &name).unwrap();
                text += &format!(" {name:?}={value:?}");
            }
            listing.insert(path.strip_prefix(root).unwrap().to_owned(), text);
        }
    }
    listing
}

/// Every difference between the contents of two directories.
pub fn difference(one: &Path, two: &Path) -> Vec<String> {
    let (one, two) = (listing(one), listing(two));
    let mut lines = Vec::new();
    for (path, text) in &one {
        match two.get(path) {
            Some(other) if other == text => {}
            Some(other) => lines.push(format!("{path:?}:\n  {text}\n  {other}")),
            None => lines.push(format!("{path:?} is missing")),
        }
    }
    let more = two.keys().filter(|path| !one.contains_key(*path));
    lines.extend(more.map(|path| format!("{path:?} is too much")));
    lines
}

/// A snapshot that has only a time and a tree.
pub fn snapshot(time: Time, tree: Id) -> Snapshot {
    Snapshot {
        time,
        parent: None,
        tree,
        paths: Vec::new(),
        hostname: String::new(),
        username: String::new(),
        uid: 0,
        gid: 0,
        excludes: None,
        tags: None,
        original: None,
        others: Default::default(),
    }
}
