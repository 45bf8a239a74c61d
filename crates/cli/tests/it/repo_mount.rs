//! `lifeboat repo mount`: snapshots as directories, read by ordinary programs.
//!
//! Where there is no `/dev/fuse`, or no right to mount, there is nothing to test.

use crate::repo::Desk;
use crate::support::{listing, noise};
use lifeboat_testkit::privilege::needs_root;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running mount, which ends with the value.
struct Mounted {
    child: Child,
    at: PathBuf,
}

impl Mounted {
    fn new(desk: &Desk) -> Option<Mounted> {
        let at = desk.app.path("mnt");
        if needs_root("mount a repository") {
            return None;
        }
        if !Path::new("/dev/fuse").exists() {
            eprintln!("left out: there is no /dev/fuse");
            return None;
        }
        std::fs::create_dir_all(&at).unwrap();
        let mut command = desk
            .app
            .command(&["repo", "mount", &at.display().to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut said).unwrap();
        assert!(
            said.contains(" at ") && said.contains("until Ctrl-C"),
            "{said:?}"
        );
        Some(Mounted { child, at })
    }

    fn path(&self, below: &str) -> PathBuf {
        self.at.join(below)
    }

    fn ended(mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        assert!(std::fs::read_dir(&self.at).unwrap().next().is_none());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn names(at: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(at).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn snapshots_are_looked_at_with_ordinary_programs() {
    let desk = Desk::new();
    desk.app.write("tree/large", &noise(3_000_000, 60));
    for number in 0..2000 {
        desk.app.write(&format!("tree/many/{number}"), b"");
    }
    std::fs::hard_link(desk.app.path("tree/large"), desk.app.path("tree/dir/large")).unwrap();
    let file = std::fs::File::open(desk.app.path("tree/dir/one.log")).unwrap();
    let _ = rustix::fs::fsetxattr(&file, "user.k", b"v", rustix::fs::XattrFlags::CREATE);
    let first = desk.back_up(&["--tag", "a/b", "--time", "2020-02-03 04:05:06"]);
    desk.app.write("tree/later", b"later");
    desk.back_up(&["--host", "other"]);
    let Some(mounted) = Mounted::new(&desk) else {
        return;
    };
    assert_eq!(names(&mounted.at), ["hosts", "ids", "snapshots", "tags"]);
    assert!(names(&mounted.path("ids")).contains(&first[..8].to_owned()));
    assert_eq!(names(&mounted.path("snapshots")).len(), 3);
    assert_eq!(names(&mounted.path("hosts/other")).len(), 2);
    assert_eq!(names(&mounted.path("tags"))[..], ["a_b"]);
    let tree = desk.path("tree");
    let inside = |of: &str| mounted.path(of).join(tree.trim_start_matches('/'));
    let latest = inside("snapshots/latest");
    assert_eq!(listing(&latest), listing(&desk.app.path("tree")));
    let earlier = inside("tags/a_b/latest");
    assert!(!earlier.join("later").exists());
    assert_eq!(names(&earlier.join("many")).len(), 2000);
    // Somewhere in the middle, over the ends of parts.
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(latest.join("large")).unwrap();
    let whole = noise(3_000_000, 60);
    for (offset, bytes) in [(0, 1), (499_999, 1_100_000), (2_999_990, 10)] {
        let mut part = vec![0; bytes];
        file.read_exact_at(&mut part, offset).unwrap();
        let from = usize::try_from(offset).unwrap();
        assert!(part == whole[from..from + bytes], "{offset}");
    }
    assert_eq!(file.read_at(&mut [0; 10], 3_000_000).unwrap(), 0);
    drop(file);
    // Nothing can be changed.
    for result in [
        std::fs::write(latest.join("new"), b"x"),
        std::fs::remove_file(latest.join("later")),
        std::fs::create_dir(mounted.path("ids/x")),
    ] {
        let error = result.unwrap_err();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::ReadOnlyFilesystem,
            "{error}"
        );
    }
    assert_eq!(
        std::fs::metadata(&mounted.at).unwrap().mode() & 0o777,
        0o555
    );
    // Somebody looks: what removes something has to wait.
    desk.refuses(6, "busy", &["forget", "--keep-last", "1"]);
    let status = Command::new("umount").arg(&mounted.at).status().unwrap();
    assert!(status.success());
    mounted.ended();
    desk.ok(&["unlock"]).says(&["no lock was to be removed"]);
}

#[test]
fn what_is_damaged_is_an_error_of_its_own_and_a_signal_unmounts() {
    let desk = Desk::new();
    desk.back_up(&[]);
    let largest = desk.largest_pack();
    let mut bytes = std::fs::read(&largest).unwrap();
    for byte in bytes.iter_mut().take(60_000) {
        *byte ^= 1;
    }
    std::fs::write(&largest, bytes).unwrap();
    let file = desk.path("no directory");
    desk.app.write("no directory", b"");
    desk.refuses(1, "target", &["mount", &file])
        .names(&["no directory"]);
    let Some(mounted) = Mounted::new(&desk) else {
        return;
    };
    let tree = desk.path("tree");
    let inside = mounted
        .path("snapshots/latest")
        .join(tree.trim_start_matches('/'));
    let read = ["big", "dir/one.log", "dir/two.txt"].map(|name| std::fs::read(inside.join(name)));
    let wrong = read.iter().flatten().filter(|content| {
        ![1, 2, 3]
            .iter()
            .any(|seed| **content == noise(50_000, *seed))
    });
    assert_eq!(wrong.count(), 0, "nothing wrong is read");
    assert!(read.iter().any(Result::is_err));
    assert!(read.iter().any(Result::is_ok));
    let child = rustix::process::Pid::from_child(&mounted.child);
    rustix::process::kill_process(child, rustix::process::Signal::TERM).unwrap();
    mounted.ended();
}
