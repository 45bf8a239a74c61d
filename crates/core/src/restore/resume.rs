//! Resumes a restore to a directory that was killed.
//!
//! Guarantees: while a restore runs, a mark in its target names the point and the sources. Only a
//! run for the same ones resumes there, and only if the target holds nothing else. The mark is
//! removed last. Its list of placed sources is a claim: a resuming run compares each with what was
//! captured.

use super::{Restored, application};
use crate::error::{Code, Error, Result};
use crate::kind::Kind;
use crate::name::Name;
use crate::place;
use crate::point::PointId;
use crate::source::{Limit, Placed};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name of the mark; no source can have it.
const MARK: &str = ".lifeboat-restore.json";
/// Version of the mark's format. A mark of another format was made by another version of the
/// program.
const SCHEMA: u32 = 3;
/// Prefix of a mark that is still being written.
const MARK_ASIDE: &str = "..lifeboat-restore.json.";
/// Upper limit of a mark's size, in bytes.
const MARK_BYTES_MAX: u64 = 16 << 20;

/// The contents of the mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    schema: u32,
    points: Vec<PointId>,
    sources: Vec<Name>,
    placed: BTreeMap<Name, Note>,
}

/// A source that was restored whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// The name of its file; `None` for a tree.
    file: Option<String>,
    limits: Vec<Limit>,
    warnings: Vec<String>,
}

/// A restore to a directory that can be resumed if it is killed. Nobody else restores there at the
/// same time.
#[derive(Debug)]
pub(super) struct Resumable {
    directory: PathBuf,
    mark: Mark,
    /// True if an earlier run for the same points and sources began it.
    pub resumed: bool,
    /// True if this run made the directory.
    pub is_new: bool,
    /// The lock on the directory.
    _lock: File,
}

impl Resumable {
    /// Begins a restore, or resumes one of the same points and sources. Fails unless the directory
    /// is new, empty, or bears the mark of that restore.
    pub fn begin(directory: &Path, points: Vec<PointId>, sources: &[Name]) -> Result<Self> {
        let there = std::fs::symlink_metadata(directory.join(MARK)).is_ok();
        let is_new = !directory.exists();
        if !there {
            place::ensure_empty_or_new(directory)?;
        }
        let lock = lock(directory)?;
        let asked = Mark {
            schema: SCHEMA,
            points,
            sources: sources.to_vec(),
            placed: BTreeMap::new(),
        };
        let found = read(directory)?;
        let resumed = found.is_some();
        let mark = match found {
            None => {
                place::ensure_empty_or_new(directory)?;
                asked
            }
            Some(found) => {
                fits(directory, &found, &asked)?;
                only_ours(directory, &found)?;
                found
            }
        };
        let resumable = Resumable {
            directory: directory.to_owned(),
            mark,
            resumed,
            is_new,
            _lock: lock,
        };
        resumable.write()?;
        Ok(resumable)
    }

    /// A source that an earlier run claims to have placed. The caller must still compare it.
    pub fn placed(&self, source: &Name, kind: Kind) -> Option<Restored> {
        let note = self.mark.placed.get(source)?;
        let own = self.directory.join(source.as_str());
        let placed = match &note.file {
            None => Placed::Tree(own),
            Some(name) => {
                let name = Path::new(Path::new(name).file_name()?);
                Placed::File(own.join(name))
            }
        };
        Some(Restored {
            source: source.clone(),
            kind,
            placed,
            differences: None,
            limits: note.limits.clone(),
            warnings: note.warnings.clone(),
            summary: String::new(),
        })
    }

    /// Notes a source that was placed and equals what was captured. `limits` are those of placing
    /// it.
    pub fn note(&mut self, restored: &Restored, limits: Vec<Limit>) -> Result<()> {
        let file = match &restored.placed {
            Placed::Tree(_) => None,
            Placed::File(path) => path.file_name().and_then(|name| name.to_str()),
            Placed::Database(_) | Placed::Bucket(_) | Placed::Machine(_) => return Ok(()),
        };
        if file.is_none() && !matches!(restored.placed, Placed::Tree(_)) {
            return Ok(());
        }
        let note = Note {
            file: file.map(ToOwned::to_owned),
            limits,
            warnings: restored.warnings.clone(),
        };
        self.mark.placed.insert(restored.source.clone(), note);
        self.write()
    }

    /// Removes the mark: the restore is complete.
    pub fn finish(self) -> Result<()> {
        let path = self.directory.join(MARK);
        std::fs::remove_file(&path).map_err(|error| {
            Error::new(
                Code::Target,
                format!("{} cannot be removed", path.display()),
            )
            .cause(error)
            .hint("what was restored is whole; remove that file by hand")
        })
    }

    fn write(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.mark).unwrap_or_default();
        let path = self.directory.join(MARK);
        place::replace_file(&mut text.as_slice(), &path, 0o600).map(drop)
    }
}

fn unusable(directory: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(
        Code::Target,
        format!(
            "the target {} cannot be used as a directory",
            directory.display()
        ),
    )
    .cause(why)
    .hint("name a directory that is empty or does not exist yet")
}

fn lock(directory: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle =
        openat(CWD, directory, flags, Mode::empty()).map_err(|e| unusable(directory, e))?;
    match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(Error::new(
            Code::Busy,
            format!("another restore to {} is running", directory.display()),
        )
        .hint("wait until it has ended, or name another directory")),
        // Not every file system has locks.
        _ => Ok(File::from(handle)),
    }
}

/// The mark in a directory. One that this user does not own is ignored.
fn read(directory: &Path) -> Result<Option<Mark>> {
    let path = directory.join(MARK);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(CWD, &path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(_) => return Ok(None),
    };
    let me = rustix::process::geteuid().as_raw();
    let own = |metadata: &std::fs::Metadata| metadata.uid() == me && metadata.mode() & 0o022 == 0;
    let metadata = file.metadata().map_err(|e| unusable(directory, e))?;
    if !metadata.is_file() || !own(&metadata) {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(MARK_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|e| unusable(directory, e))?;
    let mark = serde_json::from_slice(&text).ok();
    Ok(mark.filter(|mark: &Mark| mark.schema == SCHEMA))
}

/// Fails if another restore was begun there.
fn fits(directory: &Path, found: &Mark, asked: &Mark) -> Result<()> {
    if (&found.points, &found.sources) == (&asked.points, &asked.sources) {
        return Ok(());
    }
    Err(Error::new(
        Code::Target,
        format!(
            "the target {} holds a part of another restore, which was ended: of {} of point {}",
            directory.display(),
            found.sources.join(", "),
            application::join_ids(&found.points)
        ),
    )
    .hint("run that one again with the same --to; or remove the directory, or name another one"))
}

/// Fails if anything else was put into the directory meanwhile. Nobody's data is lost, and none of
/// it is taken for a part of the point.
fn only_ours(directory: &Path, mark: &Mark) -> Result<()> {
    let entries = std::fs::read_dir(directory).map_err(|e| unusable(directory, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| unusable(directory, e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(MARK_ASIDE) {
            std::fs::remove_file(entry.path()).map_err(|e| unusable(directory, e))?;
        } else if name != MARK && !mark.sources.iter().any(|source| source.as_str() == name) {
            return Err(Error::new(
                Code::Target,
                format!(
                    "the target {} is not empty: the restore that was ended did not make {name}",
                    directory.display()
                ),
            )
            .hint("move that away and run it again, or name another directory"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn names(names: &[&str]) -> Vec<Name> {
        names
            .iter()
            .map(|name| Name::parse(name).unwrap())
            .collect()
    }

    #[test]
    fn only_the_same_restore_resumes() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("out");
        let clock = Clock::fixed("2026-11-20T06:00:00Z".parse().unwrap());
        let point = PointId::new(&clock);
        let sources = names(&["db", "files"]);
        let begin = |sources: &[Name]| Resumable::begin(&target, vec![point.clone()], sources);
        let first = begin(&sources).unwrap();
        assert!(!first.resumed);
        assert_eq!(begin(&sources).unwrap_err().code, Code::Busy);
        drop(first); // as a kill does
        std::fs::create_dir(target.join("files")).unwrap();
        let error = begin(&names(&["files"])).unwrap_err();
        assert!(error.message.contains("another restore"), "{error}");
        let second = begin(&sources).unwrap();
        assert!(second.resumed);
        drop(second);
        let strange = target.join("mine");
        std::fs::create_dir(&strange).unwrap();
        assert_eq!(begin(&sources).unwrap_err().code, Code::Target);
        assert!(strange.exists());
        std::fs::remove_dir(&strange).unwrap();
        begin(&sources).unwrap().finish().unwrap();
        let error = begin(&sources).unwrap_err();
        assert!(error.message.contains("not empty"), "{error}");
    }
}
