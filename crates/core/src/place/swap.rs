//! Swaps restored data with what is live, and back.
//!
//! Guarantees: at every instant the live path holds the old content or the new one, if the file
//! system can exchange two names (otherwise it is missing between two renames); the old content is
//! kept whole. Data is moved and never copied: everything must be on one file system.

use super::{parent, rename, sync_directory, sync_tree};
use crate::error::{Code, Error, Fact, Result};
use crate::sqlite::{COMPANIONS, companion};
use rustix::fs::{CWD, FileType, RenameFlags, Stat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// A completed swap that can be undone.
#[derive(Debug)]
#[must_use = "the old content is kept until the swap is undone or its keep path removed"]
pub struct Swap {
    aside: PathBuf,
    live: PathBuf,
    keep: PathBuf,
    existed: bool,
    /// True if a file is swapped; it may be a database.
    file: bool,
    /// Companions of a database that were moved with it: (live, kept).
    companions: Vec<(PathBuf, PathBuf)>,
}

/// Puts `aside` in the place of `live`, whose content moves to `keep` (which must not exist). Works
/// if there is nothing at `live`.
///
/// If `live` is a file, its SQLite companions (`-wal`, `-shm`, `-journal`) move with it before the
/// new file comes: SQLite would apply them to the new one. Whatever uses `live` must be stopped.
/// All that was written to the file system of `aside` is synced first. If it
/// fails, everything is as it was, or the error is about [`Fact::HalfSwapped`].
pub fn swap_in(aside: &Path, live: &Path, keep: &Path) -> Result<Swap> {
    sync_tree(parent(aside))?;
    let stat = look(live)?;
    let existed = stat.is_some();
    let mut swap = Swap {
        aside: aside.to_owned(),
        live: live.to_owned(),
        keep: keep.to_owned(),
        existed,
        file: false,
        companions: Vec::new(),
    };
    if look(keep)?.is_some() {
        return Err(
            Error::new(Code::Target, format!("{} is there already", keep.display()))
                .hint("it is what an earlier restore replaced: move it away first"),
        );
    }
    let is_directory = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    // Without a live file, its companions are stale as well.
    swap.file = !stat.is_some_and(is_directory) && !look(aside)?.is_some_and(is_directory);
    if swap.file {
        swap.move_companions()?;
    }
    if let Err(error) = swap.exchange() {
        return Err(swap.back_out(error));
    }
    let synced = sync_directory(parent(live)).and_then(|()| sync_directory(parent(keep)));
    match synced {
        Ok(()) => Ok(swap),
        Err(error) => Err(match swap.undo() {
            Ok(()) => error,
            Err(_) => error.about(Fact::HalfSwapped),
        }),
    }
}

fn look(path: &Path) -> Result<Option<Stat>> {
    match rustix::fs::lstat(path) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::new(
            Code::Target,
            format!("{} cannot be reached", path.display()),
        )
        .cause(error)),
    }
}

impl Swap {
    /// The path of the old content. Nothing is there if nothing was live.
    pub fn keep(&self) -> &Path {
        &self.keep
    }

    /// Returns true if something was live.
    pub fn existed(&self) -> bool {
        self.existed
    }

    fn move_companions(&mut self) -> Result<()> {
        for ending in COMPANIONS {
            let live = companion(&self.live, ending);
            let kept = companion(&self.keep, ending);
            match rename(&live, &kept, RenameFlags::NOREPLACE) {
                Ok(()) => self.companions.push((live, kept)),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(self.back_out(refused(&live, &kept, error))),
            }
        }
        Ok(())
    }

    fn exchange(&self) -> Result<()> {
        let (aside, live, keep) = (&self.aside, &self.live, &self.keep);
        let none = RenameFlags::NOREPLACE;
        if !self.existed {
            return rename(aside, live, none).map_err(|error| refused(aside, live, error));
        }
        match rustix::fs::renameat_with(CWD, aside, CWD, live, RenameFlags::EXCHANGE) {
            Ok(()) => {
                // The old content is now where the new one was.
                let Err(error) = rename(aside, keep, none) else {
                    return Ok(());
                };
                let back = rustix::fs::renameat_with(CWD, aside, CWD, live, RenameFlags::EXCHANGE);
                let error = refused(live, keep, error);
                Err(match back {
                    Ok(()) => error,
                    Err(_) => half(error, aside),
                })
            }
            // The file system cannot exchange names.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rename(live, keep, none).map_err(|error| refused(live, keep, error))?;
                let Err(error) = rename(aside, live, none) else {
                    return Ok(());
                };
                let error = refused(aside, live, error);
                Err(match rename(keep, live, none) {
                    Ok(()) => error,
                    Err(_) => half(error, keep),
                })
            }
            Err(error) => Err(refused(aside, live, error)),
        }
    }

    /// Puts the companions back after a failed swap.
    fn back_out(&mut self, error: Error) -> Error {
        for (live, kept) in self.companions.drain(..).rev() {
            if rename(&kept, &live, RenameFlags::NOREPLACE).is_err() {
                let hint = format!("move {} back to {}", kept.display(), live.display());
                return error.hint(hint).about(Fact::HalfSwapped);
            }
        }
        error
    }

    /// Puts the old content back. The new content returns to where it was before.
    pub fn undo(mut self) -> Result<()> {
        let (aside, live, keep) = (&self.aside, &self.live, &self.keep);
        let none = RenameFlags::NOREPLACE;
        // Companions of the new database must not meet the old one.
        let endings = if self.file { &COMPANIONS[..] } else { &[] };
        for ending in endings {
            let (from, to) = (companion(live, ending), companion(aside, ending));
            match rename(&from, &to, RenameFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(refused(&from, &to, error)),
            }
        }
        if self.existed {
            match rustix::fs::renameat_with(CWD, keep, CWD, live, RenameFlags::EXCHANGE) {
                Ok(()) => rename(keep, aside, none).map_err(|e| refused(keep, aside, e))?,
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    rename(live, aside, none).map_err(|e| refused(live, aside, e))?;
                    rename(keep, live, none).map_err(|e| refused(keep, live, e))?;
                }
                Err(error) => return Err(refused(keep, live, error)),
            }
        } else {
            rename(live, aside, none).map_err(|e| refused(live, aside, e))?;
        }
        for (live, kept) in self.companions.drain(..) {
            rename(&kept, &live, none).map_err(|error| refused(&kept, &live, error))?;
        }
        sync_directory(parent(&self.live))?;
        sync_directory(parent(&self.keep))
    }
}

/// The error of a swap that failed and could not be undone.
fn half(error: Error, old: &Path) -> Error {
    error
        .hint(format!("the old content is at {}", old.display()))
        .about(Fact::HalfSwapped)
}

fn refused(from: &Path, to: &Path, error: Errno) -> Error {
    let hint = match error {
        Errno::XDEV => "both must be on one file system",
        Errno::BUSY => "it is a mount point: restore what is in it instead",
        Errno::ACCESS | Errno::PERM => "run as a user who may write to both directories",
        _ => "nothing was exchanged; mend the cause and run again",
    };
    Error::new(
        Code::Target,
        format!("{} cannot be moved to {}", from.display(), to.display()),
    )
    .cause(error)
    .hint(hint)
}
