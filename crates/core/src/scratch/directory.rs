//! Private directories that know their owner.
//!
//! A directory is marked with the process that made it: its id, its start time and the boot it runs
//! in, which together name a process for good. [`sweep`] removes directories whose process is gone,
//! and never one without a mark.

use crate::error::{Code, Error, Result};
use crate::process::ProcessName;
use rustix::process::{Pid, Signal};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PREFIX: &str = "lifeboat-scratch-";
const MARK: &str = ".lifeboat-owner";
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
        let mut bytes = [0; 6];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| Error::io("no random bytes", &error.into()))?;
        let random: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = base.join(format!("{PREFIX}{label}-{random}"));
        let failed = |error: std::io::Error| {
            Error::new(
                Code::State,
                format!("a scratch directory cannot be made in {}", base.display()),
            )
            .cause(error)
            .hint("make the directory, and let this user write there")
        };
        let owner = ProcessName::this()?;
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(failed)?;
        let directory = Directory { path };
        let mut mark = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(directory.path.join(MARK))
            .map_err(failed)?;
        mark.write_all(&serde_json::to_vec(&owner).unwrap_or_default())
            .map_err(failed)?;
        Ok(directory)
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
        if is_ours && is_directory && owner_is_gone(&path) {
            end_server(&path)?;
            std::fs::remove_dir_all(&path).map_err(|error| {
                Error::io(format!("{} cannot be removed", path.display()), &error)
            })?;
            removed.push(path.display().to_string());
        }
    }
    Ok(removed)
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
        assert_eq!(sweep_in(base.path()).unwrap().len(), 1);
        assert!(!directory.path().exists());
        assert!(unmarked.exists());
    }
}
