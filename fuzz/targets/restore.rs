//! Hostile trees, restored: nothing outside the target is made, changed or removed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_fuzz::{Place, place};
use lifeboat_repository::index::Index;
use lifeboat_repository::pack::BlobKind;
use lifeboat_repository::restore::{self, Options, Source};
use lifeboat_repository::saver::with_saver;
use lifeboat_repository::{Id, Repository};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::OnceLock;

const NAMES: [&str; 16] = [
    "a",
    "b",
    "A",
    "..",
    ".",
    "",
    "../outside",
    "/outside",
    "a/b",
    "link",
    "out",
    r"\\x2e.",
    r"..\\x2f",
    "there",
    r"a\\x00",
    "a.lifeboat-partial",
];
const TARGETS: [&str; 6] = ["..", "../outside", "a", ".", "link", "../outside/kept"];

/// Entries as the bytes choose them.
fn nodes(data: &[u8], trees: &[Id], content: &Id) -> String {
    let one = |bytes: &[u8]| {
        let at = |place: usize| usize::from(bytes.get(place).copied().unwrap_or(0));
        let pick = |place: usize, list: &[&str]| list[at(place) % list.len()].to_owned();
        let (name, target) = (pick(0, &NAMES), pick(2, &TARGETS));
        let kind = pick(
            1,
            &[
                "file", "dir", "symlink", "symlink", "dir", "file", "fifo", "socket",
            ],
        );
        let tree = trees[at(2) % trees.len()];
        let (links, inode, mode) = (at(3) % 3, at(3) / 64, at(4) * 4099);
        format!(
            "{{\"name\":\"{name}\",\"type\":\"{kind}\",\"mode\":{mode},\"links\":{links},\"inode\":{inode},\
             \"device_id\":1,\"size\":4,\"content\":[\"{content}\"],\"subtree\":\"{tree}\",\
             \"linktarget\":\"{target}\"}}"
        )
    };
    let all: Vec<String> = data.chunks(5).take(24).map(one).collect();
    format!("{{\"nodes\":[{}]}}", all.join(","))
}

/// What is beside the target, whatever it is.
fn outside(root: &Path) -> Vec<String> {
    let about = |path: &Path| {
        let metadata = fs::symlink_metadata(path).unwrap();
        let content = fs::read(path).unwrap_or_default();
        let (mode, links) = (metadata.mode(), metadata.nlink());
        format!("{path:?} {mode:o} {links} {} {content:?}", metadata.mtime())
    };
    let mut found = Vec::new();
    for directory in [root, &root.join("outside")] {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name() != Some("target".as_ref()) {
                found.push(about(&path));
            }
        }
    }
    found.sort();
    found
}

struct Base {
    index: Index,
    leaf: Id,
    content: Id,
}

fn base(repository: &Repository) -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let ((leaf, content), _) = with_saver(repository, &Index::default(), |saver| {
            let content = saver.save(BlobKind::Data, b"evil")?;
            let json = format!(
                "{{\"nodes\":[{{\"name\":\"kept\",\"type\":\"file\",\"size\":4,\"content\":[\"{content}\"]}}]}}"
            );
            Ok((saver.save(BlobKind::Tree, json.as_bytes())?, content))
        })
        .unwrap();
        let (index, _) = repository.load_index().unwrap();
        Base {
            index,
            leaf,
            content,
        }
    })
}

/// Stores the trees of an input and returns the root.
fn store(place: &Place, base: &Base, data: &[u8]) -> Id {
    let stored = with_saver(&place.repository, &base.index, |saver| {
        match data.split_first() {
            Some((b'r', raw)) => saver.save(BlobKind::Tree, raw),
            _ => {
                let mut trees = vec![base.leaf];
                for part in data.chunks(40).take(4) {
                    let json = nodes(part, &trees, &base.content);
                    trees.push(saver.save(BlobKind::Tree, json.as_bytes())?);
                }
                Ok(*trees.last().unwrap())
            }
        }
    });
    stored.unwrap().0
}

/// The keys of all objects.
fn keys(place: &Place) -> BTreeSet<String> {
    let all = place.store.list("").unwrap().into_iter();
    all.map(|info| info.key).collect()
}

fuzz_target!(|data: &[u8]| {
    let place = place();
    let base = base(&place.repository);
    let known = keys(place);
    let root = store(place, base, data);
    let (index, _) = place.repository.load_index().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["outside", "target", "target/there"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("outside/kept"), "kept").unwrap();
    symlink("../outside", at("target/out")).unwrap();
    symlink("../outside/kept", at("target/link")).unwrap();
    let before = outside(directory.path());
    let mut options = Options::new(Source::Tree(root), &at("target"));
    options.threads = 1;
    for delete in [false, true] {
        options.delete = delete;
        let _ = restore::run(&place.repository, &index, &options);
        assert_eq!(outside(directory.path()), before);
    }
    for key in keys(place).difference(&known) {
        place.store.delete(key).unwrap();
    }
});
