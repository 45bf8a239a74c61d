//! The one directory beside a live file, directory or database that holds everything a restore sets
//! aside: restored data before it is swapped in, and what was live before.
//!
//! Guarantees: it is this user's alone (0700), it carries the mark by which backups leave it out,
//! and a directory of another owner with the same name is never used. It is on the file system of
//! what it lies beside, so that renaming works.

use super::{Within, parent, sync_directory};
use crate::error::{Code, Error, Result};
use lifeboat_repository::aside::{DIRECTORY, MARK};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

const TEXT: &str = "Here lies what a restore of Lifeboat set aside. No backup takes it.\n";

/// Opens the directory beside `live`, and makes it if it is missing.
pub fn beside(live: &Path) -> Result<Within> {
    within(parent(live))
}

/// Opens the directory for what is set aside within `directory`, and makes it if it is missing.
pub fn within(directory: &Path) -> Result<Within> {
    let path = directory.join(DIRECTORY);
    let failed = |doing: &str, error: Errno| {
        Error::new(
            Code::Target,
            format!("the directory {} cannot be {doing}", path.display()),
        )
        .cause(error)
        .hint("check the permissions and the space there")
    };
    match rustix::fs::mkdir(&path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failed("made", error)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|_| not_ours(&path, "it is a link or a file"))?;
    let stat = rustix::fs::fstat(&handle).map_err(|error| failed("looked at", error))?;
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
        return Err(not_ours(&path, "others may enter it"));
    }
    let names = names(&handle).map_err(|error| failed("listed", error))?;
    if !names.iter().any(|name| name == MARK) {
        if !names.is_empty() {
            return Err(not_ours(
                &path,
                "it holds things and has no mark of Lifeboat",
            ));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mark = rustix::fs::openat(&handle, MARK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed("marked", error))?;
        File::from(mark)
            .write_all(TEXT.as_bytes())
            .map_err(|error| Error::io(format!("{} cannot be marked", path.display()), &error))?;
        sync_directory(&path)?;
    }
    Ok(Within::opened(handle, path))
}

/// Removes the directory beside `live` if it holds nothing but its mark.
pub fn forget_empty(live: &Path) {
    forget_empty_in(parent(live));
}

/// Removes the directory for what is set aside within `directory` if it holds nothing but its mark.
pub fn forget_empty_in(directory: &Path) {
    let path = directory.join(DIRECTORY);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(handle) = rustix::fs::open(&path, flags, Mode::empty()) else {
        return;
    };
    if names(&handle).is_ok_and(|names| names == [MARK])
        && rustix::fs::unlinkat(&handle, MARK, AtFlags::empty()).is_ok()
    {
        let _ = rustix::fs::rmdir(&path);
    }
}

/// The entries that are set aside beside `live`; empty if there is no such directory of ours.
pub fn left(live: &Path) -> Vec<PathBuf> {
    let path = parent(live).join(DIRECTORY);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::open(&path, flags, Mode::empty()).and_then(|handle| names(&handle));
    let found = found.unwrap_or_default();
    match found.iter().any(|name| name == MARK) {
        true => {
            let others = found.iter().filter(|name| *name != MARK);
            others.map(|name| path.join(name)).collect()
        }
        false => Vec::new(),
    }
}

fn names(directory: &rustix::fd::OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn not_ours(path: &Path, why: &str) -> Error {
    Error::new(
        Code::Target,
        format!("nothing can be set aside in {}", path.display()),
    )
    .cause(why)
    .hint("it is where restores set things aside for their user alone: move what is there away")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_directory_is_private_and_marked_and_removed_when_empty() {
        let base = tempfile::tempdir().unwrap();
        let live = base.path().join("live");
        let aside = beside(&live).unwrap();
        let mode = std::fs::metadata(aside.path())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(left(&live).is_empty());
        let kept = aside.new_directory("kept").unwrap();
        // A second restore finds it, and what the first one left.
        assert_eq!(beside(&live).unwrap().path(), aside.path());
        assert_eq!(left(&live), [kept.path()]);
        forget_empty(&live);
        assert!(kept.path().exists());
        aside.remove(Path::new("kept"));
        forget_empty(&live);
        assert!(!aside.path().exists());
    }

    #[test]
    fn a_directory_of_somebody_else_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        let live = base.path().join("live");
        let theirs = base.path().join(DIRECTORY);
        let refused = || {
            assert_eq!(beside(&live).unwrap_err().code, Code::Target);
            forget_empty(&live);
            assert!(left(&live).is_empty());
        };
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), &theirs).unwrap();
        refused();
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        std::fs::remove_file(&theirs).unwrap();
        std::fs::create_dir(&theirs).unwrap();
        std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o755)).unwrap();
        refused();
        std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(theirs.join("notes"), "theirs").unwrap();
        refused();
        // A process was killed before it made the mark.
        std::fs::remove_file(theirs.join("notes")).unwrap();
        beside(&live).unwrap();
    }
}
