//! Private directories that know their owner.
//!
//! A directory is marked with the process that made it: its id, its start time and the boot it runs
//! in, which together are a permanent name. While that process lives it also holds a lock on the
//! mark, which other containers of this host can see. [`sweep`] removes directories whose process
//! is gone. A directory is renamed before it is cleared, and its mark is removed last, so that the
//! next sweep resumes a removal that was killed. What cannot be removed is reported.

use super::PREFIX;
use super::elsewhere;
use crate::digest::hex;
use crate::error::{Code, Error, Result};
use crate::ownership;
use crate::process::ProcessName;
use crate::removal::{self, Stays};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How a name goes on once its directory is being removed.
const REMOVING: &str = "being-removed-";
const MARK: &CStr = c".lifeboat-owner";
/// How often another directory is made when one was swept away before it had its mark.
const TRIES: u32 = 100;
/// How long a leftover server may take to die.
const DEATH: Duration = Duration::from_secs(10);
/// Minimum age at which a directory without a mark counts as the remains of a killed removal.
const UNMARKED_AGE: Duration = Duration::from_secs(5 * 60);
/// Upper limit of a mark's size, in bytes.
const MARK_BYTES_MAX: u64 = 4096;

/// A private directory (0700), removed with everything in it when dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Holds the lock that shows that this process lives.
    mark: Option<File>,
}

impl Directory {
    /// Makes `base/lifeboat-scratch-<label>-<random>`. `base` must exist, and nobody else may be
    /// able to replace it.
    pub fn create(base: &Path, label: &str) -> Result<Self> {
        ownership::shared_directory(base).map_err(|error| Error {
            message: format!("the scratch directory {}", error.message),
            ..error
        })?;
        let failed = |error: std::io::Error| {
            Error::new(
                Code::State,
                format!("a scratch directory cannot be made in {}", base.display()),
            )
            .cause(error)
            .hint("make the directory, and let this user write there")
        };
        let owner = serde_json::to_vec(&ProcessName::this()?).unwrap_or_default();
        let handle = open_base(base).ok();
        for attempt in 0..TRIES {
            // Keeps out of step with a process that sweeps again and again.
            std::thread::sleep(Duration::from_micros(50) * attempt);
            // While this is held, nobody takes the directory for a leftover. Without it, a
            // directory that was swept away is made again.
            let _held = handle.as_ref().and_then(Held::shared);
            let path = base.join(format!("{PREFIX}{label}-{}", random()?));
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .map_err(failed)?;
            match mark(&path, &owner) {
                Ok(mark) => {
                    let mark = Some(mark);
                    return Ok(Directory { path, mark });
                }
                // Another process swept it away while it was empty.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    drop(Directory { path, mark: None });
                    return Err(failed(error));
                }
            }
        }
        Err(failed(std::io::ErrorKind::NotFound.into()))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it, as private as itself.
    pub fn subdirectory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Error::io(format!("{} cannot be made", path.display()), &error))?;
        Ok(path)
    }

    /// Removes it with everything in it. Returns what could not be removed.
    pub fn remove(mut self) -> Vec<Stays> {
        self.clear()
    }

    fn clear(&mut self) -> Vec<Stays> {
        let path = std::mem::take(&mut self.path);
        if path.as_os_str().is_empty() {
            return Vec::new();
        }
        let stays = dispose(&path);
        self.mark = None;
        stays
    }
}

/// A lock on a base, if one could be taken; released when dropped.
struct Held<'a>(&'a OwnedFd);

impl<'a> Held<'a> {
    /// Takes a shared lock, for making a directory there.
    fn shared(base: &'a OwnedFd) -> Option<Self> {
        let locked = flock(base, FlockOperation::NonBlockingLockShared);
        locked.is_ok().then_some(Held(base))
    }

    /// Takes an exclusive lock, for removing a directory without a mark. Fails while somebody makes
    /// one; on a file system without locks it succeeds.
    fn alone(base: &'a OwnedFd) -> Result<Self, Errno> {
        match flock(base, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Errno::WOULDBLOCK),
            _ => Ok(Held(base)),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

fn random() -> Result<String> {
    let mut bytes = [0; 6];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::io("no random bytes", &error.into()))?;
    Ok(hex(&bytes))
}

/// Makes the locked mark of a directory. If the file system allows it, the mark appears complete.
fn mark(directory: &Path, owner: &[u8]) -> std::io::Result<File> {
    let mode = Mode::from_raw_mode(0o600);
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let path = directory.join(OsStr::from_bytes(MARK.to_bytes()));
    // Without locks, the name of the process remains, which is enough.
    let lock = |file: &File| {
        let _ = flock(file, FlockOperation::NonBlockingLockExclusive);
    };
    match rustix::fs::open(directory, flags, mode) {
        Ok(unnamed) => {
            let mut file = File::from(unnamed);
            file.write_all(owner)?;
            lock(&file);
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, link, CWD, &path, AtFlags::SYMLINK_FOLLOW)?;
            Ok(file)
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let mut options = std::fs::OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(&path)?;
            lock(&file);
            file.write_all(owner)?;
            Ok(file)
        }
        Err(errno) => Err(errno.into()),
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for stays in self.clear() {
            tracing::error!("what was restored stays behind in clear: {stays}");
        }
    }
}

/// Renames a directory, clears it, and removes its mark and itself. Returns what could not be
/// removed, which the next sweep tries again.
fn dispose(path: &Path) -> Vec<Stays> {
    let failed = |error: Errno| {
        let (path, why) = (path.to_owned(), error.to_string());
        vec![Stays { path, why }]
    };
    let (Some(base), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let base = match open_base(base) {
        Ok(base) => base,
        Err(error) => return failed(error),
    };
    let name = CString::new(name.as_bytes()).unwrap_or_default();
    match removal::open_directory(&base, &name) {
        Ok(directory) => take_away(&base, &directory, &name, path),
        Err(Errno::NOENT) => Vec::new(),
        Err(Errno::ACCESS) => removal::remove_at(&base, &name, path),
        Err(error) => failed(error),
    }
}

fn open_base(base: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, base, flags, Mode::empty())
}

/// Does the work of [`dispose`] through handles.
fn take_away(base: &OwnedFd, directory: &OwnedFd, name: &CStr, path: &Path) -> Vec<Stays> {
    // The user of a scratch server, to whom it was given, must not use it any more.
    let me = (rustix::process::geteuid(), rustix::process::getegid());
    let _ = rustix::fs::fchown(directory, Some(me.0), Some(me.1));
    let text = name.to_string_lossy();
    let rest = text.strip_prefix(PREFIX).unwrap_or(&text);
    let removing = match rest.starts_with(REMOVING) {
        true => text.to_string(),
        false => format!("{PREFIX}{REMOVING}{rest}"),
    };
    let renamed = removal::rename_at(base, name, &removing);
    let (name, path) = match (renamed, CString::new(removing.clone())) {
        (Ok(()), Ok(new)) => (new, path.with_file_name(removing)),
        _ => (name.to_owned(), path.to_owned()),
    };
    let stays = removal::empty(directory, &path, MARK);
    if !stays.is_empty() {
        return stays;
    }
    let _ = unlinkat(directory, MARK, AtFlags::empty());
    removal::remove_at(base, &name, &path)
}

/// The result of a sweep.
#[derive(Debug, Default)]
pub struct Swept {
    /// The directories that were removed.
    pub removed: Vec<String>,
    /// What could not be removed of directories whose process is gone.
    pub stays: Vec<Stays>,
}

/// Removes the directories of dead processes in `base`, in the system's temporary directories, and
/// wherever else a run with this base made some. Ends servers that still run in them.
pub fn sweep(base: &Path) -> Swept {
    let mut swept = Swept::default();
    sweep_in(base, &mut swept);
    for other in elsewhere::places(base) {
        sweep_in(&other, &mut swept);
    }
    swept
}

fn sweep_in(base: &Path, swept: &mut Swept) {
    let Ok(handle) = open_base(base) else {
        return;
    };
    // Everything in a private directory of ours is ours.
    let private = rustix::fs::fstat(&handle).is_ok_and(|stat| {
        stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0
    });
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.as_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let Ok(name) = CString::new(name.as_bytes()) else {
            continue;
        };
        let Ok(directory) = removal::open_directory(&handle, &name) else {
            continue;
        };
        let facts = Facts::of(&directory, &name, private);
        let emptied = !facts.has_owner() && facts.mine;
        let remove = || {
            let _held = Held::alone(&handle)?;
            unlinkat(&handle, &*name, AtFlags::REMOVEDIR)
        };
        if emptied && remove().is_ok() {
            swept.removed.push(path.display().to_string());
            continue;
        }
        if !is_abandoned(&facts) {
            continue;
        }
        if let Err(error) = end_server(&path) {
            let why = error.to_string();
            swept.stays.push(Stays { path, why });
            continue;
        }
        let stays = take_away(&handle, &directory, &name, &path);
        match stays.is_empty() {
            true => swept.removed.push(path.display().to_string()),
            false => swept.stays.extend(stays),
        }
    }
}

/// Facts about a directory whose name is one of ours.
#[derive(Debug, Clone, Copy)]
struct Facts {
    /// True if it is this user's, or lies where only this user makes anything.
    mine: bool,
    /// True if the process of its mark lives; `None` if it has no readable mark of this user's.
    owner_lives: Option<bool>,
    /// True if its removal was begun.
    removing: bool,
    /// Time since an entry of it was last made or removed.
    age: Duration,
}

impl Facts {
    fn of(directory: &OwnedFd, name: &CStr, private: bool) -> Self {
        let me = rustix::process::geteuid().as_raw();
        let stat = rustix::fs::fstat(directory).ok();
        let text = name.to_string_lossy();
        let rest = text.strip_prefix(PREFIX).unwrap_or_default();
        let changed = std::fs::metadata(format!("/proc/self/fd/{}", directory.as_raw_fd()))
            .and_then(|metadata| metadata.modified());
        let age = changed.map(|changed| SystemTime::now().duration_since(changed));
        Facts {
            mine: private || stat.is_some_and(|stat| stat.st_uid == me),
            owner_lives: owner_lives(directory),
            removing: rest.starts_with(REMOVING),
            age: age.ok().and_then(|age| age.ok()).unwrap_or_default(),
        }
    }

    fn has_owner(&self) -> bool {
        self.owner_lives.is_some()
    }
}

/// Returns true if nobody needs the directory any more.
fn is_abandoned(facts: &Facts) -> bool {
    match facts.owner_lives {
        Some(lives) => !lives,
        None => facts.mine && (facts.removing || facts.age >= UNMARKED_AGE),
    }
}

/// Returns true if the process that the mark names lives. `None` if there is no mark of this user's
/// own.
fn owner_lives(directory: &OwnedFd) -> Option<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(directory, MARK, flags, Mode::empty()).ok()?);
    let stat = rustix::fs::fstat(&file).ok()?;
    let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    if !is_file || stat.st_uid != rustix::process::geteuid().as_raw() {
        return None;
    }
    let mut text = Vec::new();
    (&file).take(MARK_BYTES_MAX).read_to_end(&mut text).ok()?;
    let owner = serde_json::from_slice::<ProcessName>(&text).ok()?;
    let locked = flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
    Some(owner.is_alive() || locked)
}

/// Kills the server whose working directory is `directory/data`, and waits for its end.
fn end_server(directory: &Path) -> Result<()> {
    let data = directory.join("data");
    let files = ["postmaster.pid", "server.pid"].iter();
    let Some(text) = files
        .map(|name| data.join(name))
        .find_map(|path| std::fs::read_to_string(path).ok())
    else {
        return Ok(());
    };
    let Some(raw) = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok())
    else {
        return Ok(());
    };
    let is_it = || {
        let working = std::fs::read_link(format!("/proc/{raw}/cwd"));
        let here = std::fs::canonicalize(&data);
        matches!((working, here), (Ok(working), Ok(here)) if working == here)
    };
    let deadline = Instant::now() + DEATH;
    while is_it() {
        if let Some(pid) = Pid::from_raw(raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        if Instant::now() > deadline {
            return Err(Error::new(
                Code::State,
                format!("a leftover server, process {raw}, does not end"),
            )
            .hint("end it by hand, then run again"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn swept(base: &Path) -> Swept {
        let mut swept = Swept::default();
        sweep_in(base, &mut swept);
        swept
    }

    #[allow(clippy::disallowed_methods)]
    fn write(path: &Path, text: impl AsRef<[u8]>) {
        std::fs::write(path, text).unwrap();
    }

    /// A directory of a dead process, with a restored file in it.
    fn left(base: &Path) -> PathBuf {
        let mut directory = Directory::create(base, "t").unwrap();
        let mut owner = ProcessName::this().unwrap();
        owner.started += 1; // the same id, used again by a later process
        let path = std::mem::take(&mut directory.path);
        write(&path.join("restored"), "in clear");
        let owner = serde_json::to_vec(&owner).unwrap();
        write(&path.join(MARK.to_str().unwrap()), owner);
        path
    }

    #[test]
    fn a_directory_is_private_and_gone_when_dropped() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::create(base.path(), "t").unwrap();
        let path = directory.path().to_owned();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // Its owner lives: it stays.
        assert!(swept(base.path()).removed.is_empty());
        std::fs::create_dir(path.join("locked")).unwrap();
        write(&path.join("locked/file"), "in clear");
        let mode = std::fs::Permissions::from_mode(0o500);
        std::fs::set_permissions(path.join("locked"), mode).unwrap();
        drop(directory);
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn which_directories_are_abandoned() {
        let (young, old) = (Duration::ZERO, UNMARKED_AGE);
        let table = [
            // mine, owner lives, removing, age, abandoned
            (true, Some(true), true, old, false),
            (true, Some(false), false, young, true),
            // It was given to the user of a server.
            (false, Some(false), false, young, true),
            (true, None, false, young, false),
            (true, None, false, old, true),
            (true, None, true, young, true),
            (false, None, true, old, false),
        ];
        for (mine, owner_lives, removing, age, expected) in table {
            let facts = Facts {
                mine,
                owner_lives,
                removing,
                age,
            };
            assert_eq!(is_abandoned(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn what_a_dead_process_left_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let marked = left(base.path());
        let young = base.path().join(format!("{PREFIX}young"));
        std::fs::create_dir(&young).unwrap();
        write(&young.join("x"), "x");
        let empty = base.path().join(format!("{PREFIX}empty"));
        std::fs::create_dir(&empty).unwrap();
        assert_eq!(swept(base.path()).removed.len(), 2);
        assert!(!marked.exists());
        assert!(!empty.exists(), "its process was killed before its mark");
        assert!(young.exists(), "it may be about to get its mark");
        let long_ago = SystemTime::now() - UNMARKED_AGE;
        File::open(&young).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(swept(base.path()).removed.len(), 1);
        assert!(!young.exists());
    }

    #[test]
    fn a_killed_removal_is_resumed() {
        let base = tempfile::tempdir().unwrap();
        let begun = base.path().join(format!("{PREFIX}{REMOVING}t-1"));
        std::fs::create_dir(&begun).unwrap();
        write(&begun.join("restored"), "in clear");
        assert_eq!(swept(base.path()).removed.len(), 1);
        assert!(!begun.exists());
    }

    #[test]
    fn a_directory_of_an_invisible_process_is_recognised_by_its_lock() {
        let base = tempfile::tempdir().unwrap();
        let path = left(base.path());
        let elsewhere = File::open(path.join(MARK.to_str().unwrap())).unwrap();
        flock(&elsewhere, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(swept(base.path()).removed.is_empty());
        drop(elsewhere);
        assert_eq!(swept(base.path()).removed.len(), 1);
    }

    #[test]
    fn a_link_that_bears_our_name_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let live = tempfile::tempdir().unwrap();
        write(&live.path().join("x"), "x");
        let link = base.path().join(format!("{PREFIX}{REMOVING}link"));
        std::os::unix::fs::symlink(live.path(), link).unwrap();
        assert!(swept(base.path()).removed.is_empty());
        assert!(live.path().join("x").exists());
    }

    #[test]
    fn a_directory_that_is_being_made_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let handle = open_base(base.path()).unwrap();
        let held = Held::shared(&handle).unwrap();
        let unmarked = base.path().join(format!("{PREFIX}t-unmarked"));
        std::fs::create_dir(&unmarked).unwrap();
        assert!(swept(base.path()).removed.is_empty());
        assert!(unmarked.exists());
        drop(held);
        assert_eq!(swept(base.path()).removed.len(), 1);
        assert!(!unmarked.exists());
    }

    #[test]
    fn a_directory_that_is_swept_away_before_its_mark_is_made_again() {
        let base = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let sweeping = scope.spawn(|| {
                for _ in 0..3000 {
                    swept(base.path());
                }
            });
            while !sweeping.is_finished() {
                let directory = Directory::create(base.path(), "t").unwrap();
                assert!(directory.path().join(MARK.to_str().unwrap()).is_file());
            }
        });
    }
}
