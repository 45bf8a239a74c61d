//! Tests that apply only to a local disk.

use super::{Breaks, Noise, get, keys};
use lifeboat_store::{LocalStore, PutOptions, Store, StoreError};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn put(store: &dyn Store, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
    store
        .put(key, &mut &bytes[..], &PutOptions::default())
        .map(|_| ())
}

fn leftovers(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(".incoming")).unwrap();
    entries.map(|e| e.unwrap().path()).collect()
}

/// Runs one of the `child_` tests below in a separate process.
fn child(test: &str, root: &Path, umask: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("local::{test}"), "--nocapture"])
        .env("LIFEBOAT_TEST_ROOT", root);
    command
}

/// The root given to a child process; `None` in the test run itself, where such a test does
/// nothing.
fn child_root() -> Option<PathBuf> {
    std::env::var_os("LIFEBOAT_TEST_ROOT").map(PathBuf::from)
}

#[test]
fn everything_is_private_whatever_the_umask() {
    for umask in ["000", "022", "777"] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        let status = child("child_puts", &root, umask).status().unwrap();
        assert!(status.success(), "{umask}");
        for (path, expected) in [
            ("", 0o700),
            (".incoming", 0o700),
            ("a", 0o700),
            ("a/b", 0o700),
            ("a/b/c", 0o600),
        ] {
            assert_eq!(mode(&root.join(path)), expected, "{umask} {path}");
        }
    }
}

#[test]
fn child_puts() {
    let Some(root) = child_root() else { return };
    let store = LocalStore::create(&root).unwrap();
    put(&store, "a/b/c", b"x").unwrap();
}

#[test]
fn a_missing_root_is_made_but_not_its_parent() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("new");
    assert!(matches!(
        LocalStore::open(&root),
        Err(StoreError::Missing { .. })
    ));
    let store = LocalStore::create(&root).unwrap();
    put(&store, "k", b"x").unwrap();
    assert_eq!(get(&LocalStore::create(&root).unwrap(), "k", 0), b"x");
    let error = LocalStore::create(&directory.path().join("not/there")).unwrap_err();
    assert!(matches!(&error, StoreError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains("parent"), "{error}");
    let error = LocalStore::create(&root.join("k")).unwrap_err();
    assert!(matches!(&error, StoreError::Missing { .. }), "{error:?}");
}

#[test]
fn symbolic_links_do_not_lead_out() {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), b"secret").unwrap();
    let root = directory.path().join("store");
    let store = LocalStore::create(&root).unwrap();
    symlink(&outside, root.join("way")).unwrap();
    symlink(outside.join("secret"), root.join("file")).unwrap();

    let denied = |e: StoreError| matches!(e, StoreError::Denied { .. });
    assert!(store.open("way/secret", 0).is_err_and(denied));
    assert!(store.open("file", 0).is_err_and(denied));
    assert!(store.stat("file").is_err_and(denied));
    assert!(put(&store, "way/new", b"x").is_err_and(denied));
    assert!(store.delete("way/secret").is_err_and(denied));
    assert_eq!(keys(&store, ""), [""; 0]);
    assert!(store.list("way/").is_err_and(denied));
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);

    // The root of the store may be a link; that is its owner's choice.
    let link = directory.path().join("link");
    symlink(&root, &link).unwrap();
    put(&LocalStore::open(&link).unwrap(), "k", b"x").unwrap();
    assert_eq!(keys(&store, ""), ["k"]);
}

#[test]
fn a_link_in_place_of_an_object_is_replaced_and_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let victim = directory.path().join("victim");
    fs::write(&victim, b"untouched").unwrap();
    let root = directory.path().join("store");
    let store = LocalStore::create(&root).unwrap();
    symlink(&victim, root.join("k")).unwrap();
    put(&store, "k", b"mine").unwrap();
    assert_eq!(get(&store, "k", 0), b"mine");
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
}

#[test]
fn no_object_can_lie_in_the_incoming_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::create(&directory.path().join("s")).unwrap();
    let invalid = |e: StoreError| matches!(e, StoreError::InvalidKey { .. });
    assert!(put(&store, ".incoming/x", b"x").is_err_and(invalid));
    assert!(put(&store, ".incoming", b"x").is_err_and(invalid));
    put(&store, "a/.incoming/x", b"x").unwrap();
    let long = format!("a/{}", "x".repeat(256));
    assert!(put(&store, &long, b"x").is_err_and(invalid));
}

#[test]
fn one_key_cannot_be_file_and_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::create(&directory.path().join("s")).unwrap();
    put(&store, "a/b", b"x").unwrap();
    for key in ["a", "a/b/c"] {
        for if_absent in [false, true] {
            let options = PutOptions {
                if_absent,
                bytes_hint: None,
            };
            let error = store.put(key, &mut &b"y"[..], &options).unwrap_err();
            assert!(error.to_string().contains("both a file"), "{error}");
        }
    }
    assert_eq!(keys(&store, ""), ["a/b"]);
    assert_eq!(
        leftovers(&directory.path().join("s")),
        Vec::<PathBuf>::new()
    );
}

#[test]
fn a_truncated_file_is_an_error_and_not_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("s");
    let store = LocalStore::create(&root).unwrap();
    put(&store, "k", &Noise::all(1, 100_000)).unwrap();
    let mut reader = store.open("k", 0).unwrap();
    let mut start = [0; 1000];
    reader.read_exact(&mut start).unwrap();
    let file = fs::OpenOptions::new().write(true).open(root.join("k"));
    file.unwrap().set_len(50_000).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("50000 of 100000"), "{error}");
}

#[test]
fn exactly_one_of_racing_writers_wins() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::create(&directory.path().join("s")).unwrap();
    for round in 0..50 {
        let wins = AtomicUsize::new(0);
        let barrier = std::sync::Barrier::new(4);
        let key = format!("d{round}/k");
        std::thread::scope(|scope| {
            for n in 0..4 {
                let (store, wins, barrier, key) = (&store, &wins, &barrier, &key);
                scope.spawn(move || {
                    let options = PutOptions {
                        if_absent: true,
                        bytes_hint: None,
                    };
                    let body = [n; 100];
                    barrier.wait();
                    match store.put(key, &mut &body[..], &options) {
                        Ok(_) => {
                            wins.fetch_add(1, Ordering::SeqCst);
                            assert_eq!(get(store, key, 0), body);
                        }
                        Err(StoreError::AlreadyExists { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                });
            }
        });
        assert_eq!(wins.into_inner(), 1, "round {round}");
    }
}

#[test]
fn putting_and_deleting_in_one_directory_do_not_collide() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::create(&directory.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..200 {
                    let key = format!("shared/deep/{n}");
                    put(store, &key, b"x").unwrap();
                    store.delete(&key).unwrap();
                }
            });
        }
    });
    assert_eq!(keys(&store, ""), [""; 0]);
}

#[test]
fn a_killed_writer_leaves_no_object_and_its_leftovers_are_swept() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("s");
    let store = LocalStore::create(&root).unwrap();
    put(&store, "k", b"old").unwrap();
    let mut writer = child("child_writes_from_a_pipe", &root, "077")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = writer.stdin.take().unwrap();
    pipe.write_all(&Noise::all(5, 3 << 20)).unwrap();
    // It has taken more than a pipe holds, so the writer is in the middle of an object.
    let under_way = leftovers(&root);
    assert_eq!(under_way.len(), 1);
    assert_eq!(mode(&under_way[0]), 0o600);

    // The file of a living writer is not swept.
    LocalStore::open(&root).unwrap();
    assert_eq!(leftovers(&root), under_way);

    writer.kill().unwrap();
    writer.wait().unwrap();
    assert_eq!(leftovers(&root), under_way);
    assert_eq!(keys(&store, ""), ["k"]);
    assert_eq!(get(&store, "k", 0), b"old");
    let store = LocalStore::open(&root).unwrap();
    assert_eq!(leftovers(&root), Vec::<PathBuf>::new());
    put(&store, "k", b"new").unwrap();
    assert_eq!(get(&store, "k", 0), b"new");
}

#[test]
fn child_writes_from_a_pipe() {
    let Some(root) = child_root() else { return };
    let store = LocalStore::open(&root).unwrap();
    let written = store.put("k", &mut io::stdin(), &PutOptions::default());
    // The parent kills this process before its input ends.
    panic!("not killed: {written:?}");
}

#[test]
fn a_body_that_fails_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("s");
    let store = LocalStore::create(&root).unwrap();
    let mut body = Breaks(Noise::new(1, 1 << 20));
    store
        .put("k", &mut body, &PutOptions::default())
        .unwrap_err();
    assert_eq!(leftovers(&root), Vec::<PathBuf>::new());
}

/// A file system of the test's own; `None`, with a message, if none can be mounted.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str) -> Option<Mount> {
        if lifeboat_testkit::privilege::needs_root("mount a file system") {
            return None;
        }
        fs::create_dir_all(at).unwrap();
        let made = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        Some(Mount(at.to_owned()))
    }

    fn read_only(&self) {
        let status = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_reported_as_full_and_keeps_its_objects() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(&directory.path().join("m"), "size=4m") else {
        return;
    };
    let root = mount.0.join("s");
    let store = LocalStore::create(&root).unwrap();
    put(&store, "old", b"old").unwrap();
    let body = &mut Noise::new(1, 10 << 20);
    let error = store.put("new", body, &PutOptions::default()).unwrap_err();
    assert!(matches!(&error, StoreError::Full { .. }), "{error:?}");
    assert_eq!(leftovers(&root), Vec::<PathBuf>::new());
    assert_eq!(keys(&store, ""), ["old"]);
    // There is space again.
    put(&store, "fits", &Noise::all(2, 2 << 20)).unwrap();
}

#[test]
fn a_read_only_disk_can_be_read_and_refuses_writes() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(&directory.path().join("m"), "size=4m") else {
        return;
    };
    let root = mount.0.join("s");
    put(&LocalStore::create(&root).unwrap(), "k", b"x").unwrap();
    mount.read_only();
    let store = LocalStore::create(&root).unwrap();
    assert_eq!(get(&store, "k", 0), b"x");
    assert_eq!(keys(&store, ""), ["k"]);
    for error in [
        put(&store, "new", b"x").unwrap_err(),
        store.delete("k").unwrap_err(),
        store.probe().unwrap_err(),
        LocalStore::create(&mount.0.join("other")).unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::ReadOnly { .. }), "{error:?}");
        assert!(error.to_string().contains("read-only"), "{error}");
    }
}

#[test]
fn a_directory_of_another_user_denies_access() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = directory.path().join("s");
    put(&LocalStore::create(&root).unwrap(), "k", b"x").unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(root.join("k"), fs::Permissions::from_mode(0o644)).unwrap();
    if fs::metadata(&root).unwrap().uid() != 0 {
        return denied(&root);
    }
    // Root is denied nothing, so another user has to try.
    let program = directory.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let status = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&program)
        .args(["--exact", "local::child_is_denied", "--nocapture"])
        .env("LIFEBOAT_TEST_ROOT", &root)
        .current_dir("/")
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn child_is_denied() {
    if let Some(root) = child_root() {
        denied(&root);
    }
}

fn denied(root: &Path) {
    let store = LocalStore::create(root).unwrap();
    assert_eq!(get(&store, "k", 0), b"x");
    for error in [
        put(&store, "new", b"x").unwrap_err(),
        store.probe().unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Denied { .. }), "{error:?}");
    }
}
