//! Our locks and restic's locks exclude each other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use lifeboat_repository::lock::{Lock, Mode};
use lifeboat_repository::{Author, Error, FileKind, Repository};
use lifeboat_store::LocalStore;
use lifeboat_testkit::restic::Restic;
use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn locks_are_honoured_both_ways() {
    for restic in Restic::all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r");
        restic.ok(&path, "x", &["init", "--repository-version", "2"]);
        let store = Arc::new(LocalStore::create(&path).unwrap());
        let repository = Repository::open(store, "", b"x").unwrap();
        let author = Author {
            user: "ada".into(),
            host: "elsewhere".into(),
            ..Author::default()
        };
        let take = |mode| Lock::take(&repository, mode, Duration::ZERO, &author);

        // restic is adding: it waits for the rest of its input.
        let mut command = restic.command(&path, "x");
        command.args(["backup", "--stdin"]);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut adding = piped.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while repository.list(FileKind::Lock).unwrap().is_empty() {
            assert!(Instant::now() < deadline, "restic takes no lock");
            std::thread::sleep(Duration::from_millis(20));
        }
        let error = take(Mode::Exclusive).unwrap_err();
        let Error::Locked { lock, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(lock.pid.unsigned_abs(), adding.id());
        assert!(!lock.exclusive);
        drop(take(Mode::Shared).unwrap());
        adding.stdin.take().unwrap().write_all(b"x").unwrap();
        assert!(adding.wait().unwrap().success());
        drop(take(Mode::Exclusive).unwrap());

        let ours = take(Mode::Shared).unwrap();
        restic.ok(&path, "x", &["backup", "/etc/hostname"]);
        let refused = restic.run(&path, "x", &["prune"]);
        assert!(
            refused.code != 0 && refused.stderr.contains("elsewhere"),
            "{refused:?}"
        );
        drop(ours);
        let ours = take(Mode::Exclusive).unwrap();
        let refused = restic.run(&path, "x", &["backup", "/etc/hostname"]);
        assert!(
            refused.code != 0 && refused.stderr.contains("elsewhere"),
            "{refused:?}"
        );
        drop(ours);
        restic.ok(&path, "x", &["prune"]);
        assert_eq!(repository.list(FileKind::Lock).unwrap(), []);
    }
}
