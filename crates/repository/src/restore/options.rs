//! What is to be restored, and how; and what may be seen of it meanwhile.

use crate::id::Id;
use crate::pattern::Patterns;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What to restore, whereto, and what to do with what is there.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is restored.
    pub source: Source,
    /// A path in it; only what is below it is restored, as if it were the root. Empty for all. Of
    /// a path that is no directory, it alone is restored.
    pub within: PathBuf,
    /// The directory to restore to. It is made when it is missing, and may be reached through links.
    pub target: PathBuf,
    /// Only what these choose, with all below it; everything when there are none. Paths begin with `/`,
    /// which is what [`Options::within`] names.
    pub include: Patterns,
    /// Not what these choose, nor anything below it.
    pub exclude: Patterns,
    /// Remove what is in the target and not in the snapshot, where it is included and not excluded.
    pub delete: bool,
    /// What is done with files that are there.
    pub overwrite: Overwrite,
    /// Leave holes where a file has zeros.
    pub sparse: bool,
    /// Read every written file again before it takes its name.
    pub verify: bool,
    /// Change nothing, and tell what would be done.
    pub dry_run: bool,
    /// How many threads read, check and write; 0 for one a core.
    pub threads: usize,
    /// Hears of each entry.
    pub observer: Observer,
    /// Counters that another thread may read.
    pub progress: Arc<Progress>,
}

impl Options {
    /// All of a snapshot into a directory, replacing what is there.
    pub fn new(source: Source, target: &Path) -> Self {
        Options {
            source,
            within: PathBuf::new(),
            target: target.to_owned(),
            include: Patterns::default(),
            exclude: Patterns::default(),
            delete: false,
            overwrite: Overwrite::Always,
            sparse: false,
            verify: false,
            dry_run: false,
            threads: 0,
            observer: Observer::default(),
            progress: Arc::default(),
        }
    }

    /// Whether a path is restored, and whether something below it may be.
    pub(super) fn select(&self, location: impl Fn() -> Vec<u8>) -> (bool, bool) {
        if self.include.is_empty() && self.exclude.is_empty() {
            return (true, true);
        }
        let location = location();
        if self.exclude.matches(&location) {
            return (false, false);
        }
        match self.include.is_empty() {
            true => (true, true),
            false => {
                let outlook = self.include.outlook(&location);
                (outlook.here, outlook.below)
            }
        }
    }
}

/// What is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A snapshot.
    Snapshot(Id),
    /// A tree.
    Tree(Id),
}

/// What is done with files that are there. Directories are always used as they are, and get the
/// metadata of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// They become what the snapshot has. Content that is right already is not fetched.
    Always,
    /// The same, but a file of the same size and time of modification is taken to be right.
    IfChanged,
    /// Only those that the snapshot has in a newer state.
    IfNewer,
    /// They stay.
    Never,
}

/// What was done with an entry, or in a dry run would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A file, link, pipe or device was made, or its content replaced.
    Restored,
    /// Its content was right; it got its metadata.
    Unchanged,
    /// It was left as it is.
    Skipped,
    /// It is not in the snapshot and was removed.
    Deleted,
}

type Hears = dyn Fn(&Path, Action) + Send + Sync;

/// Hears of each entry that is not a directory, from several threads: its path below the target, and
/// what was done.
#[derive(Clone, Default)]
pub struct Observer(pub Option<Arc<Hears>>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Observer" } else { "none" })
    }
}

/// How far a restore has come. What is to be done grows while the snapshot is walked.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files that were found.
    pub files: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Files that are done with: restored, right already, skipped or failed.
    pub files_done: AtomicU64,
    /// Bytes that are in their places.
    pub bytes_done: AtomicU64,
}

impl Progress {
    pub(super) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
