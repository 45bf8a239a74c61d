//! `lifeboat repo dump`: a directory as an archive, unpacked by `tar` beside a restore of the same.

use crate::repo::Desk;
use crate::support::{listing, noise};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn unpack(archive: &Path, into: &Path) {
    std::fs::create_dir_all(into).unwrap();
    let ended = Command::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--warning=no-timestamp",
            "-xpf",
        ])
        .arg(archive)
        .arg("-C")
        .arg(into)
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");
}

/// What is easily got wrong in an archive.
fn odd(desk: &Desk) {
    let at = |name: &str| desk.app.path("tree").join(name);
    let long = "long/".repeat(30) + &"n".repeat(120);
    desk.app.write(&format!("tree/{long}"), b"long");
    std::os::unix::fs::symlink("t".repeat(150), at("long/link")).unwrap();
    std::fs::hard_link(at("big"), at("dir/big again")).unwrap();
    let bytes = std::ffi::OsStr::from_bytes(b"\xff\xfe link");
    std::os::unix::fs::symlink(bytes, at("dir").join(bytes)).unwrap();
    std::fs::set_permissions(at("big"), PermissionsExt::from_mode(0o4751)).unwrap();
    std::fs::set_permissions(at("dir"), PermissionsExt::from_mode(0o1770)).unwrap();
    desk.app.write("tree/empty", b"");
    std::fs::create_dir(at("nothing in it")).unwrap();
    let file = std::fs::File::open(at("empty")).unwrap();
    let early = std::time::UNIX_EPOCH - std::time::Duration::from_millis(86_400_300);
    file.set_modified(early).unwrap();
    use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};
    let mode = Mode::from_raw_mode(0o640);
    mknodat(CWD, at("pipe"), FileType::Fifo, mode, 0).unwrap();
    if rustix::process::geteuid().is_root() {
        mknodat(
            CWD,
            at("null"),
            FileType::CharacterDevice,
            mode,
            makedev(1, 3),
        )
        .unwrap();
        mknodat(
            CWD,
            at("loop"),
            FileType::BlockDevice,
            mode,
            makedev(7, 200),
        )
        .unwrap();
        std::os::unix::fs::lchown(at("pipe"), Some(1234), Some(4321)).unwrap();
        std::os::unix::fs::lchown(at("dir/link"), Some(3_000_000), Some(7)).unwrap();
    }
    // Not every file system has them.
    let _ = setxattr(at("big"), "user.a=b", b"v\0alue\n", XattrFlags::CREATE);
}

#[test]
fn tar_unpacks_what_a_restore_makes() {
    let desk = Desk::new();
    odd(&desk);
    desk.back_up(&[]);
    let tree = desk.path("tree");
    let within = format!("latest:{tree}");
    desk.ok(&["restore", &within, "--target", &desk.path("restored")]);
    let expected = listing(&desk.app.path("restored"));
    assert_eq!(expected, listing(&desk.app.path("tree")));

    let archive = desk.app.path("a.tar");
    let target = archive.display().to_string();
    desk.ok(&["dump", &within, "/", "--target", &target]);
    unpack(&archive, &desk.app.path("a"));
    assert_eq!(listing(&desk.app.path("a")), expected);
    // To standard output, with the whole path in front.
    let file = std::fs::File::create(desk.app.path("b.tar")).unwrap();
    let mut command = desk.app.command(&["repo", "dump", "latest", &tree]);
    assert!(command.stdout(file).status().unwrap().success());
    unpack(&desk.app.path("b.tar"), &desk.app.path("b"));
    let below = desk.app.path("b").join(tree.trim_start_matches('/'));
    assert_eq!(listing(&below), expected);
    // Of restic's own archive the names are the same.
    let names = |archive: &Path| {
        let list = Command::new("tar")
            .arg("-tf")
            .arg(archive)
            .output()
            .unwrap();
        let text = String::from_utf8(list.stdout).unwrap();
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    let (ours, theirs) = (desk.path("ours.tar"), desk.path("theirs.tar"));
    let part = format!("{tree}/long");
    desk.ok(&["dump", "latest", &part, "--target", &ours]);
    desk.restic(&["dump", "latest", &part, "--target", &theirs]);
    assert_eq!(names(ours.as_ref()), names(theirs.as_ref()));

    // A file, too, goes where it is told to, and nothing is replaced.
    let big = format!("{tree}/big");
    desk.ok(&["dump", "latest", &big, "-t", &desk.path("big")]);
    assert_eq!(
        std::fs::read(desk.app.path("big")).unwrap(),
        noise(50_000, 1)
    );
    desk.refuses(
        1,
        "target",
        &["dump", "latest", &big, "-t", &desk.path("big")],
    )
    .names(&["/big"]);
    desk.refuses(2, "usage", &["dump", "latest", &format!("{tree}/pipe")])
        .names(&["neither a file nor a directory"]);
    desk.refuses(2, "point-unknown", &["dump", "latest", "/none"]);
}

#[test]
fn a_damaged_archive_has_no_end_and_no_name() {
    let desk = Desk::new();
    desk.back_up(&[]);
    let largest = desk.largest_pack();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    let target = desk.path("a.tar");
    desk.refuses(
        4,
        "object-damaged",
        &["dump", "latest", "/", "--target", &target],
    );
    assert!(!Path::new(&target).exists());
    let beside = std::fs::read_dir(desk.app.root()).unwrap();
    let names: Vec<_> = beside.map(|entry| entry.unwrap().file_name()).collect();
    let left = |name: &std::ffi::OsString| name.to_string_lossy().contains("a.tar");
    assert!(!names.iter().any(left), "{names:?}");
    let ended = desk.app.exits(4, &["repo", "dump", "latest", "/"]);
    assert!(ended.stderr.contains("damaged"), "{ended}");
}
