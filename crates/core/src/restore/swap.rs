//! Swaps in data that is staged beside something live, and swaps it back.

use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::place;
use crate::removal::Stays;
use crate::secret::Scrubber;
use crate::source::Database;
use crate::source::bucket::put;
use crate::staging;
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
