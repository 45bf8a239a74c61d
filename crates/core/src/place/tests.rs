#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use super::*;
use crate::observe::Reporter;
use lifeboat_testkit::tree::{archive, hostile, member, pax};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

fn extract(input: &mut dyn Read, directory: &Path, reporter: &Reporter) -> Result<Extracted> {
    super::extract(input, &Within::open(directory)?, reporter)
}

/// Everything below a directory: paths, kinds, contents.
fn listing(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        let content = if data.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        found.push(format!("{} {:o} {content:?}", path.display(), data.mode()));
        if data.is_dir() {
            found.extend(listing(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn hostile_archives_are_errors_that_touch_nothing_outside() {
    let top = tempfile::tempdir().unwrap();
    let outside = top.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), b"untouched").unwrap();
    let before = listing(&outside);
    for (what, bytes) in hostile(&outside) {
        let target = top.path().join("target");
        fs::create_dir(&target).unwrap();
        let error = match extract(&mut &bytes[..], &target, &Reporter::silent()) {
            Err(error) => error,
            Ok(extracted) => panic!("{what} was extracted: {extracted:?}"),
        };
        // A size that the file system refuses is an error of the file system, not a sign of damage.
        let code = if what == "an absurd sparse size" {
            Code::Target
        } else {
            Code::ObjectDamaged
        };
        assert_eq!(error.code, code, "{what}: {error}");
        assert!(error.hint.is_some(), "{what}");
        assert_eq!(listing(&outside), before, "{what}");
        let mut beside: Vec<_> = fs::read_dir(top.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        beside.sort();
        assert_eq!(beside, ["outside", "target"], "{what}");
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn what_exists_in_the_target_is_never_followed() {
    let top = tempfile::tempdir().unwrap();
    let outside = top.path().join("outside");
    let target = top.path().join("target");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(&target).unwrap();
    symlink(&outside, target.join("d")).unwrap();
    for bytes in [
        archive(&[member(b'0', b"d/x", b"", b"evil")]),
        archive(&[member(b'5', b"d", b"", b"")]),
        archive(&[member(b'5', b"d/e", b"", b"")]),
        archive(&[
            member(b'0', b"y", b"", b""),
            member(b'1', b"d/x", b"y", b""),
        ]),
    ] {
        let error = extract(&mut &bytes[..], &target, &Reporter::silent()).unwrap_err();
        assert_eq!(error.code, Code::ObjectDamaged);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        let _ = fs::remove_file(target.join("y"));
    }
}

#[test]
fn honest_oddities_are_content() {
    let target = tempfile::tempdir().unwrap();
    let bytes = archive(&[
        member(b'5', b"./", b"", b""),
        member(b'0', b"./a//b/./c", b"", b"parents are made"),
        member(b'2', b"abs", b"/etc/localtime", b""),
        member(b'2', b"up", b"../../..", b""),
        member(b'1', b"hard", b"./a/b/c", b""),
        member(b'6', b"pipe", b"", b""),
        member(0, b"old/", b"", b""),
        member(0, b"older", b"", b"v7"),
        member(b'g', b"global", b"", b"20 comment=whatever\n"),
        pax(&[
            ("path", "lång".as_bytes()),
            ("mtime", b"-1.5"),
            ("unknown", b"x=y\n"),
        ]),
        member(b'0', b"short", b"", b"pax"),
    ]);
    let extracted = extract(&mut &bytes[..], target.path(), &Reporter::silent()).unwrap();
    assert_eq!(
        (extracted.files, extracted.directories, extracted.links),
        (4, 1, 2)
    );
    assert_eq!(extracted.bytes, 16 + 2 + 3);
    assert_eq!(extracted.skipped.len(), 1);
    assert!(extracted.owners_restored && extracted.warnings.is_empty());
    assert_eq!(
        fs::read_link(target.path().join("abs")).unwrap(),
        Path::new("/etc/localtime")
    );
    assert_eq!(
        fs::read(target.path().join("hard")).unwrap(),
        b"parents are made"
    );
    let data = fs::metadata(target.path().join("lång")).unwrap();
    assert_eq!((data.mtime(), data.mtime_nsec()), (-2, 500_000_000));
}

#[test]
fn an_archive_truncated_or_damaged_anywhere_is_an_error() {
    let whole = archive(&[
        member(b'0', b"one", b"", &[b'1'; 700]),
        pax(&[("path", b"two")]),
        member(b'0', b"x", b"", b"2"),
    ]);
    for length in 0..whole.len() {
        let target = tempfile::tempdir().unwrap();
        let error = extract(&mut &whole[..length], target.path(), &Reporter::silent()).unwrap_err();
        assert_eq!(error.code, Code::ObjectDamaged, "cut at {length}");
    }
    for place in (0..512).step_by(3) {
        let target = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        assert!(
            extract(&mut &bytes[..], target.path(), &Reporter::silent()).is_err(),
            "flipped at {place}"
        );
    }
    let target = tempfile::tempdir().unwrap();
    let mut bytes = whole.clone();
    bytes.push(1);
    assert_eq!(
        extract(&mut &bytes[..], target.path(), &Reporter::silent())
            .unwrap_err()
            .code,
        Code::ObjectDamaged
    );
    let mut bytes = whole;
    bytes.resize(10_240, 0);
    let target = tempfile::tempdir().unwrap();
    extract(&mut &bytes[..], target.path(), &Reporter::silent()).unwrap();
}

/// The members of a tree that many threads make: 40 directories of 50 files, one in ten larger than
/// one thread is given.
fn many() -> Vec<Vec<u8>> {
    let mut members = Vec::new();
    for directory in 0..40 {
        let above = format!("d{directory:02}");
        members.push(member(b'5', above.as_bytes(), b"", b""));
        for file in 0..50 {
            let path = format!("{above}/f{file:02}");
            let length = if file % 10 == 9 { 70_000 } else { file * 20 };
            let content = vec![b'a' + u8::try_from(directory % 26).unwrap(); length];
            members.push(member(b'0', path.as_bytes(), b"", &content));
        }
        // A hard link waits for everything before it.
        if directory % 8 == 0 {
            let first = format!("{above}/f49");
            let link = format!("{above}/hard");
            members.push(member(b'1', link.as_bytes(), first.as_bytes(), b""));
        }
        members.push(member(
            b'2',
            format!("{above}/soft").as_bytes(),
            b"f00",
            b"",
        ));
    }
    members
}

#[test]
fn several_threads_extract_a_large_tree() {
    let target = tempfile::tempdir().unwrap();
    let extracted = extract(
        &mut &archive(&many())[..],
        target.path(),
        &Reporter::silent(),
    )
    .unwrap();
    assert_eq!(
        (extracted.files, extracted.directories, extracted.links),
        (40 * 50 + 5, 40, 40)
    );
    assert_eq!(listing(target.path()).len(), 40 * 52 + 5);
    for directory in 0..40 {
        let above = target.path().join(format!("d{directory:02}"));
        for (name, length) in [("f07", 140), ("f49", 70_000), ("hard", 70_000)] {
            if name == "hard" && directory % 8 != 0 {
                continue;
            }
            let content = fs::read(above.join(name)).unwrap();
            let letter = b'a' + u8::try_from(directory % 26).unwrap();
            assert_eq!(content, vec![letter; length], "{directory} {name}");
        }
    }
}

#[test]
fn the_first_of_several_errors_is_reported_and_what_precedes_it_is_made() {
    let mut members = many();
    // A name that is taken in the middle, a device later, and then the archive is cut.
    members.insert(1000, member(b'0', b"d03/f01", b"", b"again"));
    members.insert(1772, member(b'3', b"d04/device", b"", b""));
    let mut bytes = archive(&members);
    bytes.truncate(bytes.len() - 100_000);
    let target = tempfile::tempdir().unwrap();
    let error = extract(&mut &bytes[..], target.path(), &Reporter::silent()).unwrap_err();
    assert!(error.message.contains("d03/f01"), "{error}");
    members.remove(1000);
    let mut bytes = archive(&members);
    bytes.truncate(bytes.len() - 100_000);
    let target = tempfile::tempdir().unwrap();
    let error = extract(&mut &bytes[..], target.path(), &Reporter::silent()).unwrap_err();
    assert!(error.message.contains("d04/device"), "{error}");
    // The entry before the error.
    assert!(target.path().join("d33/f48").exists());
}

/// A reader that fails at its end, like a decompressor whose checksum is wrong.
struct FailsAtTheEnd<'a>(&'a [u8]);

impl Read for FailsAtTheEnd<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(Error::new(Code::Decryption, "the last block is forged").into()),
            count => Ok(count),
        }
    }
}

#[test]
fn the_input_is_read_to_its_own_end() {
    let bytes = archive(&[member(b'0', b"x", b"", b"x")]);
    let target = tempfile::tempdir().unwrap();
    let error = extract(
        &mut FailsAtTheEnd(&bytes),
        target.path(),
        &Reporter::silent(),
    )
    .unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::Decryption, "the last block is forged")
    );
    let path = target.path().join("file");
    let error = write_file(&mut FailsAtTheEnd(b"x"), &path, 0o600).unwrap_err();
    assert_eq!(error.code, Code::Decryption);
    assert!(!path.exists());
    assert_eq!(
        fs::read_dir(target.path()).unwrap().count(),
        1,
        "nothing is left aside"
    );
}

#[test]
fn files_are_written_whole_and_not_over_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    assert_eq!(write_file(&mut &b"first"[..], &path, 0o640).unwrap(), 5);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o640
    );
    assert_eq!(
        write_file(&mut &b"second"[..], &path, 0o640)
            .unwrap_err()
            .code,
        Code::Target
    );
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(replace_file(&mut &b"second"[..], &path, 0o600).unwrap(), 6);
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    let nowhere = directory.path().join("no/such/f");
    assert_eq!(
        write_file(&mut &b""[..], &nowhere, 0o600).unwrap_err().code,
        Code::Target
    );
}

#[test]
fn a_target_directory_must_be_empty() {
    let directory = tempfile::tempdir().unwrap();
    ensure_empty_or_new(directory.path()).unwrap();
    let new = directory.path().join("a/b");
    ensure_empty_or_new(&new).unwrap();
    assert_eq!(
        fs::metadata(&new).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let error = ensure_empty_or_new(directory.path()).unwrap_err();
    assert_eq!(error.code, Code::Target);
    assert!(error.hint.is_some());
    fs::write(directory.path().join("file"), b"").unwrap();
    assert_eq!(
        ensure_empty_or_new(&directory.path().join("file"))
            .unwrap_err()
            .code,
        Code::Target
    );
}

struct Place {
    directory: tempfile::TempDir,
    live: PathBuf,
    aside: PathBuf,
    keep: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let live = directory.path().join("app");
    Place {
        aside: directory.path().join(".app.restored"),
        keep: directory.path().join("app.before"),
        live,
        directory,
    }
}

#[test]
fn a_directory_is_swapped_in_and_back() {
    let p = place();
    assert_eq!(p.aside.parent(), p.live.parent());
    fs::create_dir(&p.live).unwrap();
    fs::write(p.live.join("old"), b"").unwrap();
    fs::create_dir(&p.aside).unwrap();
    fs::write(p.aside.join("new"), b"").unwrap();
    let swap = swap_in(&p.aside, &p.live, &p.keep).unwrap();
    assert!(swap.existed() && p.live.join("new").exists() && p.keep.join("old").exists());
    assert!(!p.aside.exists());
    swap.undo().unwrap();
    assert!(p.live.join("old").exists() && p.aside.join("new").exists() && !p.keep.exists());
}

#[test]
fn something_is_swapped_in_where_nothing_was() {
    let p = place();
    fs::write(&p.aside, b"new").unwrap();
    let swap = swap_in(&p.aside, &p.live, &p.keep).unwrap();
    assert!(!swap.existed() && !p.keep.exists());
    assert_eq!(fs::read(&p.live).unwrap(), b"new");
    swap.undo().unwrap();
    assert!(!p.live.exists() && p.aside.exists());
}

#[test]
fn a_swap_that_cannot_be_made_changes_nothing() {
    let p = place();
    fs::write(&p.live, b"old").unwrap();
    fs::write(companion_of(&p.live), b"log").unwrap();
    let refuse = |aside: &Path, keep: &Path| {
        let before = listing(p.directory.path());
        let error = swap_in(aside, &p.live, keep).unwrap_err();
        assert_eq!(error.code, Code::Target);
        assert!(error.hint.is_some(), "{error}");
        assert_eq!(listing(p.directory.path()), before);
    };
    refuse(&p.aside, &p.keep);
    fs::write(&p.aside, b"new").unwrap();
    refuse(&p.aside, &p.directory.path().join("no/such/keep"));
    fs::write(&p.keep, b"kept before").unwrap();
    refuse(&p.aside, &p.keep);
    refuse(&p.aside, Path::new("/dev/shm/lifeboat-test-keep"));
}

fn companion_of(path: &Path) -> PathBuf {
    crate::sqlite::companion(path, "-wal")
}

#[test]
fn the_log_of_a_database_is_swapped_with_it() {
    let p = place();
    let old = rusqlite::Connection::open(&p.live).unwrap();
    old.pragma_update(None, "journal_mode", "wal").unwrap();
    old.execute_batch("create table t (x); insert into t values ('in the log')")
        .unwrap();
    // As a killed process leaves it.
    let crashed = place();
    fs::copy(&p.live, &crashed.live).unwrap();
    fs::copy(companion_of(&p.live), companion_of(&crashed.live)).unwrap();
    drop(old);
    let p = crashed;
    let new = rusqlite::Connection::open(&p.aside).unwrap();
    new.execute_batch("create table t (x); insert into t values ('restored')")
        .unwrap();
    drop(new);
    let ask = |path: &Path| {
        let database = rusqlite::Connection::open(path).unwrap();
        database
            .query_row("select x from t", [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    let swap = swap_in(&p.aside, &p.live, &p.keep).unwrap();
    assert!(!companion_of(&p.live).exists() && companion_of(&p.keep).exists());
    assert_eq!(ask(&p.live), "restored");
    swap.undo().unwrap();
    assert_eq!(ask(&p.live), "in the log");
    assert_eq!(ask(&p.aside), "restored");
}

#[test]
fn a_mount_point_is_refused_with_a_hint() {
    let p = place();
    fs::create_dir(&p.live).unwrap();
    let file = fs::File::create(p.directory.path().join("f")).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    let mount = |arguments: &[&str]| {
        std::process::Command::new(arguments[0])
            .args(&arguments[1..])
            .arg(&p.live)
            .status()
    };
    let mounted = mount(&["mount", "-t", "tmpfs", "tmpfs"]).is_ok_and(|status| status.success());
    if !mounted {
        return;
    }
    fs::create_dir(&p.aside).unwrap();
    let result = swap_in(&p.aside, &p.live, &p.keep);
    mount(&["umount"]).unwrap();
    let error = result.unwrap_err();
    assert_eq!(error.code, Code::Target);
    assert!(
        error
            .hint
            .is_some_and(|hint| hint.contains("mount point") || hint.contains("file system"))
    );
    assert!(p.aside.exists() && !p.keep.exists());
}
