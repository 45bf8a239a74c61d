//! File systems that depend on a server or on another process.
//!
//! Every question about a path on such a file system is asked on a thread of its own. If no answer
//! comes in time, the thread is given up and the file system counts as silent. Nothing more is
//! asked of it, so a whole run waits for it about once. Questions about any other path are answered
//! on the calling thread, without a time limit. A path that leads to such a file system through a
//! symbolic link in its middle is not recognised.

use crate::sync::lock;
use crossbeam_channel::{Sender, bounded};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The usual time limit for an answer. A server that restarts is back within it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The types of file systems in the memory or on the disks of this host.
const NEAR: [&[u8]; 32] = [
    b"bcachefs",
    b"binfmt_misc",
    b"bpf",
    b"btrfs",
    b"cgroup",
    b"cgroup2",
    b"configfs",
    b"debugfs",
    b"devpts",
    b"devtmpfs",
    b"efivarfs",
    b"erofs",
    b"exfat",
    b"ext2",
    b"ext3",
    b"ext4",
    b"f2fs",
    b"hugetlbfs",
    b"iso9660",
    b"jfs",
    b"mqueue",
    b"overlay",
    b"proc",
    b"ramfs",
    b"securityfs",
    b"squashfs",
    b"sysfs",
    b"tmpfs",
    b"tracefs",
    b"vfat",
    b"xfs",
    b"zfs",
];

/// The number of names per step of listing a directory.
const NAMES: usize = 4096;
/// The bytes that are read at a time.
const READ_BYTES: usize = 1 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// The mount points of this process at the time this was made.
#[derive(Debug)]
pub struct Mounts {
    far: Vec<Far>,
    patience: Duration,
    /// Threads that wait for the next question.
    idle: Mutex<Vec<Sender<Job>>>,
}

#[derive(Debug)]
struct Far {
    at: PathBuf,
    device: u64,
    silent: AtomicBool,
}

impl Mounts {
    /// Reads the mount points. Without `/proc` there are none.
    pub fn of_this_process(patience: Duration) -> Self {
        let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        Mounts {
            far: far(&table),
            patience,
            idle: Mutex::default(),
        }
    }

    fn of(&self, path: &Path) -> Option<&Far> {
        self.far.iter().find(|far| path.starts_with(&far.at))
    }

    /// Returns whether an absolute path lies on a file system that may stop answering.
    pub fn is_far(&self, path: &Path) -> bool {
        self.of(path).is_some()
    }

    /// Returns whether such a file system, other than the one on `device`, is mounted exactly at
    /// this path. The file system is not accessed.
    pub fn is_another(&self, path: &Path, device: u64) -> bool {
        let mut here = self.far.iter().filter(|far| far.at == path);
        here.next_back().is_some_and(|far| far.device != device)
    }

    /// Asks about an absolute path. Fails with the kind `TimedOut` if no answer comes in time, or
    /// if the file system counts as silent already.
    pub fn ask<T: Send + 'static>(
        &self,
        path: &Path,
        question: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match self.of(path) {
            None => question(path),
            Some(_) => self.ask_anyway(path, question),
        }
    }

    /// Asks with a time limit whatever the path is: it may be a link to anywhere.
    pub fn ask_anyway<T: Send + 'static>(
        &self,
        path: &Path,
        question: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let far = self.of(path);
        if far.is_some_and(|far| far.silent.load(Ordering::Relaxed)) {
            // The question may own a file, and closing it could block, too.
            std::mem::forget(question);
            return Err(silent());
        }
        let thread = match (self.thread(), far) {
            (Ok(thread), _) => thread,
            (Err(error), Some(_)) => return Err(error),
            // If no thread can be started, file systems that hardly ever hang are asked without a
            // time limit.
            (Err(_), None) => return question(path),
        };
        let own = path.to_owned();
        let answer = self.patiently(thread, move || question(&own));
        if let (Some(far), Err(error)) = (far, &answer)
            && error.kind() == io::ErrorKind::TimedOut
        {
            far.silent.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Returns an idle thread, or a new one.
    fn thread(&self) -> io::Result<Sender<Job>> {
        let idle = lock(&self.idle).pop();
        idle.map_or_else(start, Ok)
    }

    fn patiently<T: Send + 'static>(
        &self,
        thread: Sender<Job>,
        question: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (tell, told) = bounded(1);
        let job: Job = Box::new(move || drop(tell.send(question())));
        let ended = || io::Error::other("the thread that asks ended");
        thread.send(job).map_err(|_| ended())?;
        match told.recv_timeout(self.patience) {
            Ok(answer) => {
                lock(&self.idle).push(thread);
                answer
            }
            Err(error) if error.is_timeout() => Err(silent()),
            Err(_) => Err(ended()),
        }
    }

    /// The names in a directory, in no particular order.
    pub fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        let mut listing = self.ask(directory, |path| std::fs::read_dir(path))?;
        loop {
            let step = move |_: &Path| {
                let some: io::Result<Vec<OsString>> = listing
                    .by_ref()
                    .take(NAMES)
                    .map(|entry| Ok(entry?.file_name()))
                    .collect();
                Ok((listing, some?))
            };
            let (rest, mut some) = self.ask(directory, step)?;
            let is_last = some.len() < NAMES;
            names.append(&mut some);
            if is_last {
                return Ok(names);
            }
            listing = rest;
        }
    }

    /// Reads an open file that lies at this path.
    pub fn reader(&self, path: &Path, file: File) -> Reader<'_> {
        Reader {
            mounts: self,
            path: path.to_owned(),
            file: Some(Arc::new(file)),
            buffer: Vec::new(),
        }
    }
}

/// Starts a thread that answers one question after another, until its sender is dropped.
fn start() -> io::Result<Sender<Job>> {
    let (ask, asked) = bounded::<Job>(1);
    let started = std::thread::Builder::new()
        .name("lifeboat-asks".into())
        .spawn(move || asked.into_iter().for_each(|job| job()));
    match started {
        Ok(_) => Ok(ask),
        Err(error) => Err(io::Error::other(format!(
            "the thread that would wait for it cannot be started: {error}"
        ))),
    }
}

fn silent() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the file system that is mounted there does not answer",
    )
}

/// Reads a file with a time limit for each piece.
#[derive(Debug)]
pub struct Reader<'a> {
    mounts: &'a Mounts,
    path: PathBuf,
    /// The file; `None` after its end.
    file: Option<Arc<File>>,
    buffer: Vec<u8>,
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(into.len().min(READ_BYTES), 0);
        let Some(file) = self.file.clone() else {
            return Ok(0);
        };
        let (buffer, count) = self.mounts.ask(&self.path, move |_| {
            let count = (&*file).read(&mut buffer)?;
            Ok((buffer, count))
        })?;
        for (to, from) in into.iter_mut().zip(buffer.iter().take(count)) {
            *to = *from;
        }
        self.buffer = buffer;
        Ok(count)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // Closing tells a file system in another process and waits for its answer.
        if let Some(file) = self.file.take() {
            let _ = self.mounts.ask(&self.path, move |_| {
                drop(file);
                Ok(())
            });
        }
    }
}

/// The mount points of file systems that depend on others.
fn far(table: &[u8]) -> Vec<Far> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(mount).collect()
}

/// Parses a line of `/proc/self/mountinfo`; see proc_pid_mountinfo(5).
fn mount(line: &[u8]) -> Option<Far> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let at = unescaped(fields.nth(1)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    if NEAR.contains(&kind) {
        return None;
    }
    Some(Far {
        at: PathBuf::from(OsString::from_vec(at)),
        device: rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?),
        silent: AtomicBool::new(false),
    })
}

/// Decodes a path in which spaces, tabs, line ends and backslashes are written like `\040`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| byte == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn mounts(table: &str, patience: Duration) -> Mounts {
        Mounts {
            far: far(table.as_bytes()),
            patience,
            idle: Mutex::default(),
        }
    }

    const TABLE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /run rw,nosuid - tmpfs tmpfs rw
40 22 0:50 / /mnt/a\\040share rw shared:7 master:2 - nfs4 host:/x rw,hard
41 22 0:51 / /home/u/.gvfs rw - fuse.gvfsd-fuse gvfsd-fuse rw
42 22 8:17 / /usb rw - fuseblk /dev/sdb1 rw
broken
";

    #[test]
    fn network_and_fuse_file_systems_are_recognised() {
        let mounts = mounts(TABLE, PATIENCE);
        for (path, expected) in [
            ("/", false),
            ("/run/x", false),
            ("/mnt", false),
            ("/mnt/a share", true),
            ("/mnt/a share/deep/er", true),
            ("/mnt/a shared", false),
            ("/home/u/.gvfs", true),
            ("/usb/x", true),
        ] {
            assert_eq!(mounts.is_far(Path::new(path)), expected, "{path}");
        }
        let device = rustix::fs::makedev(0, 50);
        assert!(mounts.is_another(Path::new("/mnt/a share"), 1));
        assert!(!mounts.is_another(Path::new("/mnt/a share"), device));
        assert!(!mounts.is_another(Path::new("/mnt/a share/x"), 1));
    }

    #[test]
    fn a_silent_file_system_is_asked_once() {
        let mounts = mounts(TABLE, Duration::from_millis(100));
        let (far, near) = (Path::new("/usb/x"), Path::new("/run/x"));
        assert_eq!(mounts.ask(far, |_| Ok(1)).unwrap(), 1);
        let (hold, held) = bounded::<()>(0);
        let begun = Instant::now();
        let hangs = mounts.ask(far, move |_| Ok(held.recv().is_ok()));
        assert_eq!(hangs.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= Duration::from_millis(100));
        let again: io::Result<()> = mounts.ask(far, |_| panic!("asked again"));
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // The other file systems are not affected.
        assert_eq!(mounts.ask(Path::new("/mnt/a share"), |_| Ok(2)).unwrap(), 2);
        assert_eq!(mounts.ask(near, |_| Ok(3)).unwrap(), 3);
        drop(hold);
    }
}
