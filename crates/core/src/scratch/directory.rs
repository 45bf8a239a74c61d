//! Private directories that know their owner.
//!
//! A directory is marked with the process that made it: its id, its start time and the boot it runs
//! in, which together name a process for good. [`sweep`] removes directories whose process is gone.
//! Of those without a mark it removes only empty ones, which a process left that was killed before
//! it made the mark; one that is about to make it then takes another directory.

use crate::error::{Code, Error, Result};
use crate::process::ProcessName;
use rustix::fs::{AtFlags, CWD, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PREFIX: &str = "lifeboat-scratch-";
const MARK: &str = ".lifeboat-owner";
/// How often another directory is taken when one was swept away before it had its mark.
const TRIES: usize = 16;
/// How long a leftover server may take to die.
const DEATH: Duration = Duration::from_secs(10);

/// A private directory (0700), removed with all that is in it when dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes `base/lifeboat-scratch-<label>-<random>`. `base` must be there.
    pub fn create(base: &Path, label: &str) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::new(
                Code::State,
                format!("a scratch directory cannot be made in {}", base.display()),
            )
            .cause(error)
            .hint("make the directory, and let this user write there")
        };
        let owner = serde_json::to_vec(&ProcessName::this()?).unwrap_or_default();
        for _ in 0..TRIES {
            let path = base.join(format!("{PREFIX}{label}-{}", random()?));
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .map_err(failed)?;
            match mark(&path, &owner) {
                Ok(()) => return Ok(Directory { path }),
                // Another process swept it away while it was empty.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    drop(Directory { path });
                    return Err(failed(error));
                }
            }
        }
        Err(failed(std::io::ErrorKind::NotFound.into()))
    }

    /// Where it is.
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
}

fn random() -> Result<String> {
    let mut bytes = [0; 6];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::io("no random bytes", &error.into()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Makes the mark of a directory. It appears with all that it says, where the file system can.
fn mark(directory: &Path, owner: &[u8]) -> std::io::Result<()> {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let path = directory.join(MARK);
    match rustix::fs::open(directory, flags, mode) {
        Ok(unnamed) => {
            let mut file = std::fs::File::from(unnamed);
            file.write_all(owner)?;
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(rustix::fs::linkat(
                CWD,
                link,
                CWD,
                &path,
                AtFlags::SYMLINK_FOLLOW,
            )?)
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let mut options = std::fs::OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o600);
            options.open(&path)?.write_all(owner)
        }
        Err(errno) => Err(errno.into()),
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a scratch directory stays behind");
        }
    }
}

/// Removes, in `base` and in the system's temporary directory, the directories of processes that
/// are gone, ending servers that still run in them. Returns what was removed.
pub fn sweep(base: &Path) -> Result<Vec<String>> {
    let mut removed = sweep_in(base)?;
    let temporary = std::env::temp_dir();
    if temporary != base {
        removed.extend(sweep_in(&temporary)?);
    }
    Ok(removed)
}

fn sweep_in(base: &Path) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let entries = match std::fs::read_dir(base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(removed),
        Err(error) => {
            return Err(Error::io(
                format!("{} cannot be listed", base.display()),
                &error,
            ));
        }
    };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let path = entry.path();
        if !is_ours || !is_directory {
            continue;
        }
        if is_unmarked(&path) {
            // Only when it is empty; whatever is the matter else, it stays.
            if std::fs::remove_dir(&path).is_ok() {
                removed.push(path.display().to_string());
            }
        } else if owner_is_gone(&path) {
            end_server(&path)?;
            std::fs::remove_dir_all(&path).map_err(|error| {
                Error::io(format!("{} cannot be removed", path.display()), &error)
            })?;
            removed.push(path.display().to_string());
        }
    }
    Ok(removed)
}

/// Whether a directory of this user has no mark.
fn is_unmarked(directory: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let mine = std::fs::symlink_metadata(directory).is_ok_and(|m| m.is_dir() && m.uid() == me);
    let found = std::fs::symlink_metadata(directory.join(MARK));
    mine && found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Whether the mark, which must be this user's own, names a process that is gone.
fn owner_is_gone(directory: &Path) -> bool {
    let mark = directory.join(MARK);
    let me = rustix::process::geteuid().as_raw();
    let mine = std::fs::symlink_metadata(&mark).is_ok_and(|m| m.is_file() && m.uid() == me);
    let owner = std::fs::read(&mark)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<ProcessName>(&bytes).ok());
    mine && owner.is_some_and(|owner| !owner.is_alive())
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

    #[test]
    fn a_directory_is_private_and_gone_when_dropped() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::create(base.path(), "t").unwrap();
        let path = directory.path().to_owned();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // Its owner lives: it stays.
        assert!(sweep_in(base.path()).unwrap().is_empty());
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn only_what_a_dead_process_left_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::create(base.path(), "t").unwrap();
        let mut owner = ProcessName::this().unwrap();
        owner.started += 1; // the same id, used again by a later process
        let mark = directory.path().join(MARK);
        std::fs::write(&mark, serde_json::to_vec(&owner).unwrap()).unwrap();
        let unmarked = base.path().join(format!("{PREFIX}unmarked"));
        std::fs::create_dir(&unmarked).unwrap();
        std::fs::write(unmarked.join("x"), "x").unwrap();
        let empty = base.path().join(format!("{PREFIX}empty"));
        std::fs::create_dir(&empty).unwrap();
        assert_eq!(sweep_in(base.path()).unwrap().len(), 2);
        assert!(!directory.path().exists());
        assert!(
            !empty.exists(),
            "its process was killed before it made the mark"
        );
        assert!(unmarked.exists());
    }

    #[test]
    fn one_that_is_swept_away_before_its_mark_is_made_is_made_again() {
        let base = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let sweeping = scope.spawn(|| {
                for _ in 0..3000 {
                    sweep_in(base.path()).unwrap();
                }
            });
            while !sweeping.is_finished() {
                let directory = Directory::create(base.path(), "t").unwrap();
                assert!(directory.path().join(MARK).is_file());
            }
        });
    }
}
