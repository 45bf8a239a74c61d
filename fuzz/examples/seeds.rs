//! Writes what a backup really makes, opened, into `corpus/`: where the fuzzers start.
//!
//! `fuzz/run` does it first.

use lifeboat_fuzz::place;
use lifeboat_repository::backup::{self, Options};
use lifeboat_repository::lock::{Lock, Mode};
use lifeboat_repository::time::Time;
use lifeboat_repository::{Author, FileKind, Id};
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn write(to: &Path, target: &str, bytes: &[u8]) {
    let directory = to.join(target);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(Id::of(bytes).to_string()), bytes).unwrap();
}

/// A tree with something of each kind in it.
fn example(root: &Path) {
    fs::create_dir_all(root.join("d/empty")).unwrap();
    fs::write(root.join("d/file"), "text\n".repeat(1000)).unwrap();
    fs::write(root.join("d/none"), "").unwrap();
    fs::write(root.join("n\u{fe}\n\"q\\<&>\u{2028}"), "odd").unwrap();
    fs::hard_link(root.join("d/file"), root.join("again")).unwrap();
    symlink("../nowhere", root.join("link")).unwrap();
}

fn main() {
    let to = PathBuf::from(std::env::args_os().nth(1).expect("a directory"));
    let place = place();
    let repository = &place.repository;
    let directory = tempfile::tempdir().unwrap();
    example(directory.path());
    let (index, _) = repository.load_index().unwrap();
    let options = Options {
        paths: vec![directory.path().to_owned()],
        parent: None,
        time: Time::default(),
        zone: jiff::tz::TimeZone::UTC,
        hostname: "here".into(),
        username: "me".into(),
        tags: vec!["tag".into()],
        one_file_system: false,
        excludes: backup::Excludes::default(),
        program: "lifeboat".into(),
        how: Default::default(),
    };
    backup::run(repository, &index, &options).unwrap();
    let lock = Lock::take(repository, Mode::Shared, Duration::ZERO, &Author::default()).unwrap();
    let documents = [
        (FileKind::Index, "index"),
        (FileKind::Snapshot, "snapshot"),
        (FileKind::Lock, "lock"),
    ];
    for (kind, target) in documents {
        for (id, _) in repository.list(kind).unwrap() {
            let document = repository.read_document(kind, &id).unwrap();
            write(&to, target, &document);
            let mut packed = vec![2];
            packed.extend(zstd::bulk::compress(&document, 3).unwrap());
            write(&to, target, &packed);
        }
    }
    lock.release().unwrap();
    let (index, _) = repository.load_index().unwrap();
    for (id, at) in index.blobs() {
        let blob = repository.read_blob(&id, &at).unwrap();
        if at.kind == lifeboat_repository::pack::BlobKind::Tree {
            write(&to, "tree", &blob);
            write(&to, "restore", &[b"r", blob.as_slice()].concat());
        }
    }
    write(&to, "restore", &(0..160).collect::<Vec<u8>>());
    for info in place.store.list("").unwrap() {
        let mut bytes = Vec::new();
        let mut object = place.store.open(&info.key, 0).unwrap();
        object.read_to_end(&mut bytes).unwrap();
        match info.key.split('/').next() {
            Some("keys") => write(&to, "key", &bytes),
            Some("config") => {
                let config = repository.key().open(bytes).unwrap();
                write(&to, "config", &config);
            }
            Some("data") => {
                let tail = bytes.last_chunk::<4>().unwrap();
                let header = u32::from_le_bytes(*tail) as usize;
                let start = bytes.len() - 4 - header;
                let sealed = bytes[start..bytes.len() - 4].to_vec();
                let header = repository.key().open(sealed).unwrap();
                let said = u32::try_from(start).unwrap().to_le_bytes();
                write(&to, "pack", &[&said[..], &header].concat());
            }
            _ => {}
        }
    }
}
