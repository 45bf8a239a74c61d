//! Something that lies ready beside a live thing, swapped in, and swapped back.

use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::place;
use crate::removal::Stays;
use crate::secret::Scrubber;
use crate::source::Database;
use crate::source::bucket::put;
use crate::staging;
use std::path::{Path, PathBuf};

/// Something that lies ready beside the live thing.
pub(super) struct PreparedSwap {
    /// Of which source.
    pub source: Name,
    /// The private directory it lies in.
    pub staging: Option<PathBuf>,
    /// What goes where.
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

    /// The live path that it goes to, if it goes to one.
    pub fn live_path(&self) -> Option<&Path> {
        match &self.what {
            What::Path { live, .. } => Some(live),
            What::Database { .. } | What::Bucket(_) => None,
        }
    }

    /// Removes what is left aside: nothing of value once the swap is done, and all of it when it
    /// failed. Returns what of it stays.
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

/// Something that was swapped in, and can be swapped back.
pub(super) enum Swapped {
    Path(place::Swap),
    Database {
        admin: Database,
        live: String,
        aside: String,
        /// What was live before; `None` when there was nothing.
        keep: Option<String>,
    },
    Bucket(put::Swapped),
}

impl Swapped {
    /// Where what was live before is now, if there was anything.
    pub fn kept(&self) -> Option<String> {
        match self {
            Swapped::Path(swap) => swap.existed().then(|| swap.keep().display().to_string()),
            Swapped::Bucket(swapped) => swapped.kept(),
            Swapped::Database { keep, .. } => keep.as_ref().map(|keep| format!("database {keep}")),
        }
    }

    /// Makes live again what was live before.
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

/// Swapping is a rename, which stays within one file system.
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
