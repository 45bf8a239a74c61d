//! The options of a restore, and its progress as others may observe it.

use crate::id::Id;
use crate::pattern::Patterns;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The options of a restore: the source, the target, and the treatment of existing files.
#[derive(Debug, Clone)]
pub struct Options {
    /// The snapshot or tree to restore.
    pub source: Source,
    /// A path in the source. If it is a directory, only what is below it is restored, as if it were
    /// the root; otherwise it alone is restored. Empty means everything.
    pub within: PathBuf,
    /// The directory to restore to. It is made if it is missing, and may be reached through links.
    pub target: PathBuf,
    /// Restore only what these patterns select, with everything below it; everything if there are
    /// none. Paths begin with `/`, which stands for the path in [`Options::within`].
    pub include: Patterns,
    /// Leave out what these patterns select, with everything below it.
    pub exclude: Patterns,
    /// Delete what is in the target but not in the snapshot, if it is included and not excluded.
    pub delete: bool,
    /// The treatment of existing files.
    pub overwrite: Overwrite,
    /// Leave holes where a file has long runs of zeros.
    pub sparse: bool,
    /// Read every written file again before it takes its name.
    pub verify: bool,
    /// Change nothing, and report what would be done.
    pub dry_run: bool,
    /// The number of threads that read, check and write; 0 means one for each core.
    pub threads: usize,
    /// Receives each entry as it is finished.
    pub observer: Observer,
    /// Counters that another thread may read.
    pub progress: Arc<Progress>,
}

impl Options {
    /// Options that restore all of the source into a directory, replacing what is there.
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

    /// Tells whether a path is restored, and whether something below it may be.
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

/// The data to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A snapshot.
    Snapshot(Id),
    /// A tree.
    Tree(Id),
}

/// The treatment of existing files. Existing directories are always used, and get the metadata of
/// the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Make them what the snapshot has. Content that is right already is not fetched.
    Always,
    /// Do the same, but take a file of the same size and modification time to be right.
    IfChanged,
    /// Replace only those that are newer in the snapshot.
    IfNewer,
    /// Leave them as they are.
    Never,
}

/// The action taken for an entry, or in a dry run the action that would be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A file, link, pipe or device was made, or its content was replaced.
    Restored,
    /// Its content was right; its metadata was set.
    Unchanged,
    /// It was left as it is.
    Skipped,
    /// It was not in the snapshot and was removed.
    Deleted,
}

type Hears = dyn Fn(&Path, Action) + Send + Sync;

/// Receives each entry that is not a directory, from several threads: its path below the target,
/// and the action.
#[derive(Clone, Default)]
pub struct Observer(pub Option<Arc<Hears>>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Observer" } else { "none" })
    }
}

/// The progress of a restore. The totals grow while the snapshot is walked.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files that were found so far.
    pub files: AtomicU64,
    /// Their total size.
    pub bytes: AtomicU64,
    /// Files that are finished: restored, right already, skipped or failed.
    pub files_done: AtomicU64,
    /// Bytes that are in place.
    pub bytes_done: AtomicU64,
}

impl Progress {
    pub(super) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
