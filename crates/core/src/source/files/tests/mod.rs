#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod chosen;
mod gnu_tar;
mod large;
mod live;
mod privilege;
mod proof;

use super::*;
use crate::fingerprint::{FileEntry, FileKind, FilesFingerprint, Fingerprint, Inventory, Proof};
use crate::observe::Reporter;
use crate::place::{self, Extracted, Within};
use crate::secret::Scrubber;
use lifeboat_testkit::privilege::needs_root;
use lifeboat_testkit::tree;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

fn extract(
    input: &mut dyn std::io::Read,
    directory: &Path,
    reporter: &Reporter,
) -> Result<Extracted> {
    place::extract(input, &Within::open(directory)?, reporter)
}

fn observe(directory: &Path) -> Result<Proof> {
    let reporter: Reporter = Reporter::silent();
    super::observe(directory, &reporter)
}

fn capture(config: FilesConfig, output: &mut dyn Write) -> Result<Captured> {
    let scratch = tempfile::tempdir().unwrap();
    let context = CaptureContext {
        render: &|template| Ok(template.to_owned()),
        scratch: scratch.path(),
        scrubber: &Scrubber::default(),
        reporter: &Reporter::silent(),
        queries: &[],
    };
    let captured = FilesSource::new(config)?.capture("files", output, &context);
    assert_eq!(
        fs::read_dir(scratch.path()).unwrap().count(),
        0,
        "scratch is empty again"
    );
    captured
}

fn config(paths: &[&Path]) -> FilesConfig {
    FilesConfig {
        paths: paths.iter().map(|path| path.to_path_buf()).collect(),
        ..FilesConfig::default()
    }
}

fn take(path: &Path) -> (Vec<u8>, Captured) {
    let mut bytes = Vec::new();
    let captured = capture(config(&[path]), &mut bytes).unwrap();
    (bytes, captured)
}

fn restored(archive: &[u8]) -> (tempfile::TempDir, Proof) {
    let target = tempfile::tempdir().unwrap();
    let extracted = extract(&mut &archive[..], target.path(), &Reporter::silent()).unwrap();
    assert_eq!(extracted.warnings, Vec::<String>::new());
    let proof = observe(target.path()).unwrap();
    (target, proof)
}

fn totals(proof: &Proof) -> &FilesFingerprint {
    match &proof.fingerprint {
        Fingerprint::Files(totals) => totals,
        other => panic!("{other:?}"),
    }
}

fn entries(proof: &Proof) -> Vec<FileEntry> {
    match &proof.inventory {
        Inventory::Files { entries } => entries.iter().collect(),
        other => panic!("{other:?}"),
    }
}

/// The totals that this user can restore: only root can set owners, and the directories above a
/// source belong to root.
fn settable(proof: &Proof) -> FilesFingerprint {
    let mut totals = totals(proof).clone();
    if !tree::privileged() {
        totals.ownership.clear();
    }
    totals
}

/// Fails with the entries that differ, rather than with two thousand lines.
fn assert_same(captured: &Proof, restored: &Proof) {
    // Times of directories and links are not part of the proof.
    let comparable = |entry: &FileEntry| {
        let timed = matches!(entry.kind, FileKind::File | FileKind::Hardlink);
        let owned = tree::privileged();
        FileEntry {
            mtime: if timed { entry.mtime } else { 0 },
            uid: if owned { entry.uid } else { 0 },
            gid: if owned { entry.gid } else { 0 },
            ..entry.clone()
        }
    };
    let (a, b) = (entries(captured), entries(restored));
    for entry in a.iter().map(comparable) {
        let other = b
            .iter()
            .find(|other| other.path == entry.path)
            .map(comparable);
        assert_eq!(Some(entry), other);
    }
    assert_eq!(a.len(), b.len());
    assert_eq!(settable(captured), settable(restored));
}

fn inside(target: &Path, source: &Path) -> PathBuf {
    target.join(source.strip_prefix("/").unwrap())
}

#[test]
fn an_awkward_tree_comes_back_as_it_was() {
    let source = tempfile::tempdir().unwrap();
    let top = source.path().join("top");
    tree::awkward(&top);
    let (archive, captured) = take(&top);
    assert!(
        archive.len() < 20 << 20,
        "holes are not stored: {}",
        archive.len()
    );
    let mut skipped: Vec<_> = captured
        .skipped
        .iter()
        .map(|s| (s.reason.as_str(), s.partial))
        .collect();
    skipped.sort_unstable();
    assert_eq!(
        skipped,
        [("is a named pipe", false), ("is a socket", false)]
    );
    let (target, proof) = restored(&archive);
    assert_same(captured.proof.as_ref().unwrap(), &proof);

    let back = inside(target.path(), &top);
    let terabyte = fs::metadata(back.join("sparse/terabyte")).unwrap();
    assert_eq!(terabyte.size(), 1 << 40);
    assert!(terabyte.blocks() * 512 < 1 << 20, "holes stay holes");
    assert_eq!(
        fs::metadata(back.join("sparse/all hole")).unwrap().blocks(),
        0
    );
    let dangling = fs::symlink_metadata(back.join("dangling")).unwrap();
    assert_eq!(
        (dangling.mtime(), dangling.mtime_nsec()),
        (1_000_000_000, 7)
    );
    let time = fs::metadata(back.join("time-3")).unwrap();
    assert_eq!((time.mtime(), time.mtime_nsec()), (-5, 300_000_000));
    let link = fs::metadata(back.join("first")).unwrap().ino();
    assert_eq!(fs::metadata(back.join("second")).unwrap().ino(), link);
    assert_eq!(
        fs::metadata(back.join("zz").join("t".repeat(150)))
            .unwrap()
            .ino(),
        link
    );
    let list = xattr::get(back.join("acl"), "system.posix_acl_access")
        .unwrap()
        .unwrap();
    assert_eq!(list, tree::ACL);
    let directory = fs::metadata(&top).unwrap();
    let directory_back = fs::metadata(&back).unwrap();
    assert_eq!(directory.mtime(), directory_back.mtime());
    assert_eq!(directory.mtime_nsec(), directory_back.mtime_nsec());
}

#[test]
fn a_failing_store_shows_as_itself() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(Error::new(Code::Store, "the store is full").into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("large"), vec![1; 1 << 20]).unwrap();
    let error = capture(config(&[source.path()]), &mut Full).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::Store, "the store is full")
    );
}

#[test]
fn many_small_files_are_quick() {
    let source = tempfile::tempdir().unwrap();
    for directory in 0..100 {
        let directory = source.path().join(format!("d{directory}"));
        fs::create_dir(&directory).unwrap();
        for file in 0..100 {
            fs::write(directory.join(format!("f{file}")), format!("{file}")).unwrap();
        }
    }
    let started = Instant::now();
    let captured = capture(config(&[source.path()]), &mut std::io::sink()).unwrap();
    assert_eq!(totals(captured.proof.as_ref().unwrap()).files, 10_000);
    let seconds = started.elapsed().as_secs_f64();
    println!("10,000 files in {seconds:.2} s");
    assert!(seconds < 20.0, "{seconds}");
}
