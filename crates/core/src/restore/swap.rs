//! Swaps in data that is staged beside something live, and swaps it back.

use crate::config::SourceKind;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::place;
use crate::removal::{Stays, remove_tree};
use crate::secret::Scrubber;
use crate::source::bucket::{connect, put};
use crate::source::{Database, live_database};
use crate::sqlite::{COMPANIONS, companion};
use crate::staging;
use lifeboat_store::bucket::Bucket;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Data that is staged beside what is live.
pub(super) struct PreparedSwap {
    /// Its source.
    pub source: Name,
    /// The private directory it is staged in.
    pub staging: Option<PathBuf>,
    /// What is swapped, and where to.
    pub what: What,
}

pub(super) enum What {
    Path {
        aside: PathBuf,
        live: PathBuf,
        keep: PathBuf,
    },
    Database {
        admin: Database,
        live: String,
        aside: String,
        keep: String,
    },
    Bucket(put::Aside),
}

impl PreparedSwap {
    /// Swaps it in.
    pub fn carry_out(&self, scrubber: &Scrubber) -> Result<Swapped> {
        match &self.what {
            What::Path { aside, live, keep } => {
                place::swap_in(aside, live, keep).map(Swapped::Path)
            }
            What::Bucket(aside) => aside.carry_out().map(Swapped::Bucket),
            What::Database {
                admin,
                live,
                aside,
                keep,
            } => {
                let existed = admin.exists(live, scrubber)?;
                admin.swap(live, aside, keep, scrubber)?;
                Ok(Swapped::Database {
                    admin: admin.clone(),
                    live: live.clone(),
                    aside: aside.clone(),
                    keep: existed.then(|| keep.clone()),
                })
            }
        }
    }

    /// The live path that it replaces, if it replaces a path.
    pub fn live_path(&self) -> Option<&Path> {
        match &self.what {
            What::Path { live, .. } => Some(live),
            What::Database { .. } | What::Bucket(_) => None,
        }
    }

    /// Removes what is left of the staging: nothing of value after a swap, and everything after a
    /// failure. Returns what could not be removed.
    pub fn clean(&self, failed: bool, scrubber: &Scrubber) -> Vec<Stays> {
        let stays = self.staging.as_deref().map(staging::remove);
        if let Some(aside) = self.staging.as_deref().and_then(Path::parent) {
            place::aside::forget_empty(aside);
        }
        if let What::Path { live, .. } = &self.what {
            place::aside::forget_empty(live);
        }
        if failed && let What::Database { admin, aside, .. } = &self.what {
            let _ = admin.drop(aside, scrubber);
        }
        stays.unwrap_or_default()
    }
}

/// A swap, as the journal of a restore has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NotedSwap {
    pub source: Name,
    /// The private directory that it is staged in.
    pub staging: Option<PathBuf>,
    pub done: Done,
    what: NotedWhat,
}

/// How far a swap came, as far as it is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// It was not begun, or is undone.
    Not,
    /// It was begun, in either direction.
    Begun,
    /// It was made.
    Whole,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum NotedWhat {
    Path(place::Noted),
    Database {
        live: String,
        aside: String,
        keep: String,
        existed: bool,
    },
    Bucket {
        prefix: String,
        own: PathBuf,
        keep: PathBuf,
    },
}

impl PreparedSwap {
    /// Sees to it that what the journal names is there after a power cut, too. While the application is down there is
    /// little left to write then.
    pub fn sync(&self) -> Result<()> {
        match &self.what {
            What::Path { aside, .. } => place::sync_tree(aside.parent().unwrap_or(aside)),
            What::Database { .. } | What::Bucket(_) => Ok(()),
        }
    }

    /// Notes it, before it is made.
    pub fn note(&self, scrubber: &Scrubber) -> Result<NotedSwap> {
        let what = match &self.what {
            What::Path { aside, live, keep } => {
                NotedWhat::Path(place::Noted::of(aside, live, keep)?)
            }
            What::Database {
                admin,
                live,
                aside,
                keep,
            } => NotedWhat::Database {
                live: live.clone(),
                aside: aside.clone(),
                keep: keep.clone(),
                existed: admin.exists(live, scrubber)?,
            },
            What::Bucket(put::Aside {
                prefix, own, keep, ..
            }) => NotedWhat::Bucket {
                prefix: prefix.clone(),
                own: own.clone(),
                keep: keep.clone(),
            },
        };
        Ok(NotedSwap {
            source: self.source.clone(),
            staging: self.staging.clone(),
            done: Done::Not,
            what,
        })
    }
}

impl NotedSwap {
    /// The swap.
    pub fn prepared(&self, context: &Context) -> Result<PreparedSwap> {
        let what = match &self.what {
            NotedWhat::Path(noted) => What::Path {
                aside: noted.aside().to_owned(),
                live: noted.live().to_owned(),
                keep: noted.planned_keep().to_owned(),
            },
            NotedWhat::Database {
                live, aside, keep, ..
            } => What::Database {
                admin: self.admin(context)?,
                live: live.clone(),
                aside: aside.clone(),
                keep: keep.clone(),
            },
            NotedWhat::Bucket { prefix, own, keep } => What::Bucket(put::Aside {
                bucket: self.bucket(context)?,
                prefix: prefix.clone(),
                own: own.clone(),
                keep: keep.clone(),
                scratch: context.state.scratch(),
            }),
        };
        Ok(PreparedSwap {
            source: self.source.clone(),
            staging: self.staging.clone(),
            what,
        })
    }

    /// Whether what is to be swapped in is there.
    pub fn is_staged(&self, context: &Context) -> Result<bool> {
        Ok(match &self.what {
            NotedWhat::Path(noted) => is_there(noted.aside()),
            NotedWhat::Database { aside, .. } => {
                self.admin(context)?.exists(aside, &context.scrubber)?
            }
            NotedWhat::Bucket { own, .. } => is_there(own),
        })
    }

    /// The swap, which is noted as made. Fails if it is not whole any more, and changes nothing.
    pub fn whole(&self, context: &Context) -> Result<Swapped> {
        match &self.what {
            NotedWhat::Path(noted) => noted.made().map(Swapped::Path),
            NotedWhat::Database { live, .. } => {
                let found = self.databases(context)?;
                let lost = || {
                    Error::new(
                        Code::Target,
                        format!("database {live} is not what was restored"),
                    )
                    .hint("look which databases there are: somebody renamed or dropped one of them")
                };
                found
                    .made()
                    .then(|| self.swapped(found))
                    .flatten()
                    .ok_or_else(lost)
            }
            NotedWhat::Bucket { keep, .. } => {
                let swapped = put::Swapped::noted(self.bucket(context)?, keep);
                swapped
                    .map(Swapped::Bucket)
                    .ok_or_else(|| lost(&keep.display().to_string()))
            }
        }
    }

    /// Finds how far the swap came, and makes it whole: `None` if everything is as it was before.
    pub fn settle(&self, context: &Context) -> Result<Option<Swapped>> {
        if self.done == Done::Not {
            return Ok(None);
        }
        match &self.what {
            // Whoever works with it may have replaced it.
            NotedWhat::Path(noted) if self.done == Done::Whole && is_there(noted.live()) => {
                self.whole(context).map(Some)
            }
            NotedWhat::Path(noted) => Ok(noted.settle()?.map(Swapped::Path)),
            NotedWhat::Database {
                live, aside, keep, ..
            } => {
                let found = self.databases(context)?;
                if found.existed && found.live && found.aside && found.keep {
                    let message = format!("databases {live}, {aside} and {keep} are all there");
                    return Err(Error::new(Code::Target, message)
                        .cause(format!(
                            "somebody made {live} while the swap was interrupted"
                        ))
                        .hint(format!(
                            "look what is in {live}, rename or drop it, and run this again"
                        )));
                }
                // Between two renames it has no name that anybody uses.
                if found.existed && !found.live {
                    found.admin.put_back(live, keep, &context.scrubber)?;
                    return Ok(None);
                }
                Ok(found.made().then(|| self.swapped(found)).flatten())
            }
            NotedWhat::Bucket { keep, .. } => match self.done {
                Done::Whole => self.whole(context).map(Some),
                // How much of it was done is not known; what is undone twice is undone.
                Done::Not | Done::Begun => {
                    let swapped = put::Swapped::noted(self.bucket(context)?, keep);
                    swapped
                        .map_or(Ok(()), |swapped| swapped.undo())
                        .map(|()| None)
                }
            },
        }
    }

    /// Which of its databases are there, once the server has ended what it was at.
    fn databases(&self, context: &Context) -> Result<Databases> {
        let NotedWhat::Database {
            live,
            aside,
            keep,
            existed,
        } = &self.what
        else {
            return Err(self.unconfigured("a database"));
        };
        let (admin, scrubber) = (self.admin(context)?, &context.scrubber);
        admin.recover(live, scrubber)?;
        Ok(Databases {
            existed: *existed,
            live: admin.exists(live, scrubber)?,
            aside: admin.exists(aside, scrubber)?,
            keep: admin.exists(keep, scrubber)?,
            admin,
        })
    }

    /// The swap of these databases.
    fn swapped(&self, found: Databases) -> Option<Swapped> {
        let NotedWhat::Database {
            live,
            aside,
            keep,
            existed,
        } = &self.what
        else {
            return None;
        };
        Some(Swapped::Database {
            admin: found.admin,
            live: live.clone(),
            aside: aside.clone(),
            keep: existed.then(|| keep.clone()),
        })
    }

    /// Notes anew what is there, before the swap is undone. Fails if what was live before is not kept any more.
    pub fn look_again(&mut self, context: &Context) -> Result<()> {
        let kept = match &mut self.what {
            NotedWhat::Path(noted) => return noted.look_again(),
            NotedWhat::Database { existed: false, .. } => return Ok(()),
            NotedWhat::Bucket { keep, .. } if is_there(keep) => return Ok(()),
            NotedWhat::Bucket { keep, .. } => keep.display().to_string(),
            NotedWhat::Database { keep, .. } => {
                let keep = keep.clone();
                if self.admin(context)?.exists(&keep, &context.scrubber)? {
                    return Ok(());
                }
                format!("database {keep}")
            }
        };
        Err(lost(&kept))
    }

    /// Where what was live before is kept once it is made; `None` if nothing was.
    pub fn keeps(&self) -> Option<String> {
        match &self.what {
            NotedWhat::Path(noted) => noted.keep().map(|keep| keep.display().to_string()),
            NotedWhat::Database { keep, existed, .. } => {
                existed.then(|| format!("database {keep}"))
            }
            NotedWhat::Bucket { keep, .. } => Some(keep.display().to_string()),
        }
    }

    /// Removes what was live before.
    pub fn forget_kept(&self, context: &Context) -> Result<()> {
        match &self.what {
            NotedWhat::Path(noted) => {
                let Some(keep) = noted.keep() else {
                    return Ok(());
                };
                let companions = COMPANIONS.iter().map(|ending| companion(keep, ending));
                for path in std::iter::once(keep.to_owned()).chain(companions) {
                    if let Some(stays) = remove_tree(&path).first() {
                        return Err(Error::new(Code::Target, stays.to_string())
                            .hint("remove it by hand, and finish the restore again"));
                    }
                }
                place::aside::forget_empty(noted.live());
                Ok(())
            }
            NotedWhat::Database {
                keep,
                existed: true,
                ..
            } => {
                let admin = self.admin(context)?;
                match admin.exists(keep, &context.scrubber)? {
                    true => admin.drop(keep, &context.scrubber),
                    false => Ok(()),
                }
            }
            NotedWhat::Database { .. } => Ok(()),
            NotedWhat::Bucket { keep, .. } => match staging::remove(keep).first() {
                Some(stays) => Err(Error::new(Code::Target, stays.to_string())),
                None => Ok(()),
            },
        }
    }

    fn admin(&self, context: &Context) -> Result<Database> {
        let config = context.config.source.get(&self.source);
        let database = config.and_then(|config| live_database(&config.kind));
        database
            .ok_or_else(|| self.unconfigured("a database"))?
            .map(|database| database.administrative())
    }

    fn bucket(&self, context: &Context) -> Result<Bucket> {
        match context.config.source.get(&self.source).map(|s| &s.kind) {
            Some(SourceKind::Bucket(config)) => connect(config, &context.scrubber),
            _ => Err(self.unconfigured("a bucket")),
        }
    }

    fn unconfigured(&self, what: &str) -> Error {
        let source = &self.source;
        let message = format!("source {source} is not {what} in the configuration any more");
        Error::new(Code::Configuration, message)
            .hint("put it back as it was when the restore began, and run this again")
    }
}

/// The databases of a swap, as they are there.
struct Databases {
    admin: Database,
    existed: bool,
    live: bool,
    aside: bool,
    keep: bool,
}

impl Databases {
    /// Whether what was restored is live.
    fn made(&self) -> bool {
        self.live && !self.aside && (self.keep || !self.existed)
    }
}

/// What is wrong where what was live before is gone.
fn lost(kept: &str) -> Error {
    let message = format!("what was live before is not kept as {kept} any more");
    Error::new(Code::Target, message)
        .hint("somebody removed it; a safety point of that restore has what was live before")
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Data that was swapped in, and can be swapped back.
pub(super) enum Swapped {
    Path(place::Swap),
    Database {
        admin: Database,
        live: String,
        aside: String,
        /// The place of what was live before; `None` if there was nothing.
        keep: Option<String>,
    },
    Bucket(put::Swapped),
}

impl Swapped {
    /// The place of what was live before, if there was anything.
    pub fn kept(&self) -> Option<String> {
        match self {
            Swapped::Path(swap) => swap.existed().then(|| swap.keep().display().to_string()),
            Swapped::Bucket(swapped) => swapped.kept(),
            Swapped::Database { keep, .. } => keep.as_ref().map(|keep| format!("database {keep}")),
        }
    }

    /// Makes what was live before live again.
    pub fn undo(self, scrubber: &Scrubber) -> Result<()> {
        match self {
            Swapped::Path(swap) => swap.undo(),
            Swapped::Bucket(swapped) => swapped.undo(),
            Swapped::Database {
                admin,
                live,
                aside,
                keep,
            } => admin.swap_back(&live, &aside, keep.as_deref(), scrubber),
        }
    }
}

/// Fails if these paths lie on several file systems: swapping is a rename, which stays within one.
pub(super) fn one_file_system(source: &str, roots: &[PathBuf]) -> Result<()> {
    let device = |path: &PathBuf| {
        let parent = path
            .ancestors()
            .skip(1)
            .find_map(|p| std::fs::metadata(p).ok())?;
        Some(std::os::unix::fs::MetadataExt::dev(&parent))
    };
    let devices: std::collections::BTreeSet<_> = roots.iter().map(device).collect();
    if devices.len() <= 1 {
        return Ok(());
    }
    Err(Error::new(
        Code::Target,
        format!(
            "the paths of source {source} lie on several file systems, and cannot be swapped as one"
        ),
    )
    .hint("restore it with --to DIRECTORY and move each path by hand, or make it several sources"))
}
