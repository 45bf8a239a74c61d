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
use serde::{Deserialize, Serialize};
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

/// A swap, as it is noted before it is made: with what tells the old content from the new one under any name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noted {
    aside: PathBuf,
    live: PathBuf,
    keep: PathBuf,
    /// The inode of the new content.
    new: u64,
    /// That of the old one; `None` if nothing was live.
    old: Option<u64>,
}

impl Noted {
    /// Notes a swap that is to be made.
    pub fn of(aside: &Path, live: &Path, keep: &Path) -> Result<Noted> {
        let new = look(aside)?.ok_or_else(|| gone(aside, "what is to be swapped in"))?;
        Ok(Noted {
            aside: aside.to_owned(),
            live: live.to_owned(),
            keep: keep.to_owned(),
            new: new.st_ino,
            old: look(live)?.map(|old| old.st_ino),
        })
    }

    /// Where the new content was staged.
    pub fn aside(&self) -> &Path {
        &self.aside
    }

    /// The live path.
    pub fn live(&self) -> &Path {
        &self.live
    }

    /// The path for the old content.
    pub fn planned_keep(&self) -> &Path {
        &self.keep
    }

    /// Where the old content is kept once the swap is made; `None` if nothing was live.
    pub fn keep(&self) -> Option<&Path> {
        self.old.map(|_| self.keep.as_path())
    }

    /// Makes a swap whole that was interrupted anywhere: `None` if everything is as it was before. Fails, and changes
    /// nothing, if either content is not where a swap could have left it.
    pub fn settle(&self) -> Result<Option<Swap>> {
        let inode = |path: &Path| Ok::<_, Error>(look(path)?.map(|stat| stat.st_ino));
        let (aside, live, keep) = (inode(&self.aside)?, inode(&self.live)?, inode(&self.keep)?);
        if live == Some(self.new) {
            if self.old.is_some() && keep != self.old {
                if aside != self.old {
                    return Err(gone(&self.keep, "what was live before"));
                }
                self.rename(&self.aside, &self.keep)?;
            }
            return self.made().map(Some);
        }
        match (live, self.old) {
            (None, Some(_)) if keep == self.old => self.rename(&self.keep, &self.live)?,
            // It was being undone: the new content stands where the old one was kept.
            (live, old) if live == old && keep == Some(self.new) => {
                super::create_directory(parent(&self.aside))?;
                self.rename(&self.keep, &self.aside)?;
            }
            (live, old) if live == old => {}
            _ => {
                let message = format!(
                    "{} is neither what was restored nor what was live before",
                    self.live.display()
                );
                return Err(Error::new(Code::Target, message)
                    .hint("somebody replaced it: look at it, and at what is kept beside it"));
            }
        }
        for ending in COMPANIONS {
            let (live, kept) = (companion(&self.live, ending), companion(&self.keep, ending));
            if look(&kept)?.is_some() {
                self.rename(&kept, &live)?;
            }
        }
        Ok(None)
    }

    /// The swap, which was made whole. Fails if the old content is not kept any more.
    pub fn made(&self) -> Result<Swap> {
        let kept = look(&self.keep)?;
        if self.old.is_some() && kept.is_none() {
            return Err(gone(&self.keep, "what was live before"));
        }
        let live = look(&self.live)?.ok_or_else(|| gone(&self.live, "what was restored"))?;
        // Where the new content returns to; what it was staged in is gone once a restore is over.
        super::create_directory(parent(&self.aside))?;
        let is_file = |stat: Stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
        let mut companions = Vec::new();
        for ending in COMPANIONS {
            let (live, kept) = (companion(&self.live, ending), companion(&self.keep, ending));
            if look(&kept)?.is_some() {
                companions.push((live, kept));
            }
        }
        Ok(Swap {
            aside: self.aside.clone(),
            live: self.live.clone(),
            keep: self.keep.clone(),
            existed: kept.is_some(),
            file: is_file(live) && kept.is_none_or(is_file),
            companions,
        })
    }

    /// Notes anew what is live and what is kept, before the swap is undone: both may have been replaced by whoever
    /// works with them.
    pub fn look_again(&mut self) -> Result<()> {
        if let Some(live) = look(&self.live)? {
            self.new = live.st_ino;
        }
        if self.old.is_some() {
            let kept = look(&self.keep)?;
            let kept = kept.ok_or_else(|| gone(&self.keep, "what was live before"))?;
            self.old = Some(kept.st_ino);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        rename(from, to, RenameFlags::NOREPLACE).map_err(|error| refused(from, to, error))?;
        sync_directory(parent(from))?;
        sync_directory(parent(to))
    }
}

fn gone(path: &Path, what: &str) -> Error {
    Error::new(
        Code::Target,
        format!("{what} is not at {} any more", path.display()),
    )
    .hint("somebody moved or removed it; the safety point of that restore has what was live before")
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
                Ok(()) => {
                    if let Err(error) = rename(keep, aside, none) {
                        let error = refused(keep, aside, error);
                        let again =
                            rustix::fs::renameat_with(CWD, keep, CWD, live, RenameFlags::EXCHANGE);
                        return Err(match again {
                            Ok(()) => error,
                            Err(_) => half(error, live),
                        });
                    }
                }
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
