//! Databases in use, and files that change while they are read.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use super::*;
use crate::observe::{Observer, TaskId};

#[test]
fn a_database_in_use_is_taken_through_sqlite() {
    for journal in ["wal", "delete"] {
        let source = tempfile::tempdir().unwrap();
        let path = source.path().join("live one.db");
        let database = tree::LiveDatabase::start(&path, journal);
        fs::write(source.path().join("empty.db"), b"").unwrap();
        fs::write(source.path().join("a.txt-wal"), b"no log of a database").unwrap();
        for _ in 0..5 {
            database.await_commits(20);
            let (archive, captured) = take(source.path());
            let (target, proof) = restored(&archive);
            assert_same(captured.proof.as_ref().unwrap(), &proof);
            let back = inside(target.path(), source.path());
            tree::LiveDatabase::check(&back.join("live one.db")).unwrap();
            assert!(
                captured.skipped.iter().all(|s| !s.partial),
                "{:?}",
                captured.skipped
            );
            assert!(
                captured
                    .warnings
                    .iter()
                    .any(|w| w.contains("backup interface"))
            );
            let listed = entries(&proof);
            let mut names: Vec<_> = listed
                .iter()
                .filter_map(|e| Some(e.path.rsplit_once('/')?.1))
                .collect();
            names.retain(|name| name.contains('.'));
            names.retain(|name| !name.starts_with(".tmp"));
            assert_eq!(names, ["a.txt-wal", "empty.db", "live one.db"]);
            if journal == "wal" {
                assert!(
                    captured
                        .skipped
                        .iter()
                        .any(|s| s.name.ends_with("live one.db-wal"))
                );
            }
        }
    }
}

#[test]
fn the_owner_mode_and_time_of_a_database_are_the_live_ones() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("app.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("create table t (x)")
        .unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    tree::set_attribute(&path, "user.note", b"n");
    if tree::privileged() {
        tree::give(&path, 1234, 4321);
    }
    tree::set_mtime(&path, 1_234_567_890, 5);
    let before = fs::metadata(&path).unwrap();
    let (archive, captured) = take(source.path());
    assert_eq!(fs::metadata(&path).unwrap().mtime(), before.mtime());
    let (target, proof) = restored(&archive);
    assert_same(captured.proof.as_ref().unwrap(), &proof);
    let back = inside(target.path(), &path);
    let after = fs::metadata(&back).unwrap();
    assert_eq!(
        (after.mode(), after.uid(), after.gid()),
        (before.mode(), before.uid(), before.gid())
    );
    assert_eq!((after.mtime(), after.mtime_nsec()), (1_234_567_890, 5));
    assert_eq!(xattr::get(&back, "user.note").unwrap().unwrap(), b"n");
}

#[test]
fn a_file_that_only_looks_like_a_database_is_captured_as_it_is_and_partial() {
    let source = tempfile::tempdir().unwrap();
    let mut fake = b"SQLite format 3\0".to_vec();
    fake.resize(5000, 0x5a);
    fs::write(source.path().join("fake.db"), &fake).unwrap();
    fs::write(source.path().join("fake.db-journal"), b"kept with it").unwrap();
    fs::write(source.path().join("fake.db-shm"), b"left out").unwrap();
    let (archive, captured) = take(source.path());
    let partial: Vec<_> = captured.skipped.iter().filter(|s| s.partial).collect();
    assert_eq!(partial.len(), 1);
    assert!(partial[0].name.ends_with("fake.db") && partial[0].reason.contains("SQLite"));
    let (target, proof) = restored(&archive);
    assert_same(captured.proof.as_ref().unwrap(), &proof);
    let back = inside(target.path(), source.path());
    assert_eq!(fs::read(back.join("fake.db")).unwrap(), fake);
    assert!(back.join("fake.db-journal").exists());
    assert!(!back.join("fake.db-shm").exists());
}

/// A writer that changes a file once the capture has read a given number of bytes.
struct Meddle {
    act: std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Observer for Meddle {
    fn advanced(&self, _task: TaskId, _bytes: u64) {
        if let Some(act) = self.act.lock().unwrap().take() {
            act();
        }
    }
}

/// Captures a directory while `act` does something with the file `large` in it.
fn take_while(directory: &Path, act: impl FnOnce(&Path) + Send + 'static) -> (Vec<u8>, Captured) {
    let large = directory.join("large");
    let scratch = tempfile::tempdir().unwrap();
    let reporter = Reporter::new(Arc::new(Meddle {
        act: std::sync::Mutex::new(Some(Box::new(move || act(&large)))),
    }));
    reporter.step("capture", None);
    let context = CaptureContext {
        render: &|template| Ok(template.to_owned()),
        scratch: scratch.path(),
        scrubber: &Scrubber::default(),
        reporter: &reporter,
        queries: &[],
    };
    let mut bytes = Vec::new();
    let source = FilesSource::new(config(&[directory])).unwrap();
    let captured = source.capture("files", &mut bytes, &context).unwrap();
    (bytes, captured)
}

#[test]
fn a_file_that_changes_while_it_is_read_is_reported_and_the_archive_is_valid() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("large");
    let fresh = || fs::write(&path, vec![b'x'; 5 << 20]).unwrap();
    let open = |path: &Path| fs::File::options().append(true).open(path).unwrap();

    fresh();
    let (archive, captured) = take_while(source.path(), move |path| {
        open(path).set_len(1 << 20).unwrap()
    });
    assert!(
        captured
            .skipped
            .iter()
            .any(|s| s.partial && s.reason.contains("changed"))
    );
    let (target, proof) = restored(&archive);
    assert_same(captured.proof.as_ref().unwrap(), &proof);
    let back = fs::read(inside(target.path(), &path)).unwrap();
    assert_eq!(back.len(), 5 << 20);
    assert!(back[..1 << 20].iter().all(|b| *b == b'x') && back[2 << 20..].iter().all(|b| *b == 0));

    fresh();
    let (archive, captured) = take_while(source.path(), move |path| {
        open(path).write_all(&[b'y'; 3 << 20]).unwrap()
    });
    assert!(captured.skipped.is_empty());
    assert!(captured.warnings.iter().any(|w| w.contains("grew")));
    let (target, _) = restored(&archive);
    assert_eq!(
        fs::read(inside(target.path(), &path)).unwrap(),
        vec![b'x'; 5 << 20]
    );

    fresh();
    let (_, captured) = take_while(source.path(), |path| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .write_all_at(b"y", 4 << 20)
            .unwrap();
    });
    assert!(
        captured
            .skipped
            .iter()
            .any(|s| s.partial && s.reason.contains("torn"))
    );

    fresh();
    let (archive, captured) = take_while(source.path(), |path| fs::remove_file(path).unwrap());
    assert!(captured.skipped.is_empty(), "{:?}", captured.skipped);
    assert_same(captured.proof.as_ref().unwrap(), &restored(&archive).1);
}
