//! Backs up directories: walks them on all cores, stores what is new, and commits a snapshot.
//!
//! The tree of a directory is made when all its entries are stored, so trees are made from the
//! leaves up. A file whose metadata matches the parent snapshot is not read again. What cannot be
//! read is left out and reported; it never ends the backup.

mod content;
mod counts;
mod directory;
mod node;
mod targets;
#[cfg(test)]
pub(crate) mod tests;

pub use node::Names;

use crate::chunker::Input;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::mounts::Mounts;
use crate::pack::BlobKind;
use crate::pattern::Patterns;
use crate::pipeline::Pipeline;
use crate::repository::Repository;
use crate::requests;
use crate::saver::{Added, Saver, with_pretence, with_saver};
use crate::snapshot::{Snapshot, Summary};
use crate::time::Time;
use crate::tree::{Node, NodeKind};
use counts::Counts;
use jiff::tz::TimeZone;
use rustix::fs::{Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use targets::{Target, Targets};

pub use targets::absolute;

/// The paths to back up, and the description of the snapshot.
#[derive(Debug, Clone)]
pub struct Options {
    /// Paths to back up. A relative path keeps its own components in the snapshot, as in restic.
    pub paths: Vec<PathBuf>,
    /// The absolute directory from which relative paths start.
    pub directory: PathBuf,
    /// The snapshot to compare with: unchanged files are not read.
    pub parent: Option<Id>,
    /// When the backup began.
    pub time: Time,
    /// The time zone in which the times of files are written, as restic does.
    pub zone: TimeZone,
    /// The host named in the snapshot.
    pub hostname: String,
    /// The user named in the snapshot.
    pub username: String,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// Do not cross into other file systems.
    pub one_file_system: bool,
    /// The files and directories to leave out.
    pub excludes: Excludes,
    /// The name and version of the program that makes the snapshot.
    pub program: String,
    /// The longest wait for an answer from a file system that depends on a server or another
    /// process.
    pub patience: Duration,
    /// Departures from the usual procedure.
    pub how: How,
}

/// How a backup differs from the usual one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct How {
    /// Find out what would be added, and store nothing.
    pub dry_run: bool,
    /// Make no snapshot if the tree equals that of the parent.
    pub skip_if_unchanged: bool,
    /// Ignore ctime when deciding whether a file is unchanged.
    pub ignore_ctime: bool,
    /// Ignore the inode number when deciding whether a file is unchanged.
    pub ignore_inode: bool,
}

/// The outcome of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A new snapshot.
    Stored,
    /// Nothing changed since the parent, and [`How::skip_if_unchanged`] was set.
    Unchanged,
    /// The backup was a dry run.
    Tried,
}

/// The files and directories that a backup leaves out without reporting them.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    /// Patterns; a path that matches is left out with everything below it.
    pub patterns: Patterns,
    /// The patterns as text, recorded in the snapshot.
    pub texts: Vec<String>,
    /// Marker files, each a name and the bytes its content must begin with. Of a directory that
    /// holds one, only the marker file is backed up.
    pub if_present: Vec<(OsString, Vec<u8>)>,
    /// The size limit in bytes: longer files are left out.
    pub larger_than: Option<u64>,
}

impl Options {
    /// The paths as a snapshot names them.
    pub fn absolute_paths(&self) -> Vec<String> {
        let absolute = |path: &PathBuf| targets::absolute(&self.directory, path);
        let paths = self.paths.iter().map(absolute);
        paths
            .map(|path| path.to_string_lossy().into_owned())
            .collect()
    }
}

impl Excludes {
    /// The marker file of a cache directory and its first bytes: <https://bford.info/cachedir>.
    pub const CACHE: (&'static str, &'static [u8]) = (
        "CACHEDIR.TAG",
        b"Signature: 8a477f597d28d172789f06886806bc55",
    );

    /// Returns whether a path is left out by its name alone, so that nothing needs to be asked of
    /// the file system.
    fn excludes_path(&self, path: &Path) -> bool {
        !self.patterns.is_empty() && self.patterns.matches(path.as_os_str().as_bytes())
    }

    fn excludes_by_size(&self, metadata: &Metadata) -> bool {
        let too_long = |limit| metadata.is_file() && metadata.len() > limit;
        self.larger_than.is_some_and(too_long)
    }

    /// Keeps only the marker file among the names in a directory, if there is one.
    fn keep_only_marker(&self, mounts: &Mounts, path: &Path, names: &mut Vec<OsString>) {
        let begins = |name: &OsString, with: &[u8]| {
            let with = with.to_vec();
            with.is_empty()
                || mounts
                    .ask(&path.join(name), move |path| begins(path, &with))
                    .unwrap_or(false)
        };
        let marks = self.if_present.iter();
        let found = marks
            .filter(|(name, with)| names.contains(name) && begins(name, with))
            .map(|(name, _)| name)
            .next();
        if let Some(found) = found {
            names.retain(|name| name == found);
        }
    }
}

/// Returns whether the content of a regular file begins with these bytes.
fn begins(path: &Path, with: &[u8]) -> io::Result<bool> {
    let (mut file, _) = open(path)?;
    let mut start = vec![0; with.len()];
    file.read_exact(&mut start)?;
    Ok(start == with)
}

/// A path that was left out.
#[derive(Debug)]
pub struct Skipped {
    /// The path.
    pub path: PathBuf,
    /// The reason.
    pub error: io::Error,
}

/// The result of a backup.
#[derive(Debug)]
pub struct Report {
    /// The outcome.
    pub outcome: Outcome,
    /// The snapshot that holds the data: the new one; the parent if nothing changed; after a dry
    /// run none, which is an id of zeros.
    pub snapshot: Id,
    /// Its root tree.
    pub tree: Id,
    /// The blobs that were new.
    pub added: Added,
    /// The summary recorded in the snapshot.
    pub summary: Summary,
    /// Files in the snapshot.
    pub files: u64,
    /// Files in the snapshot that are unchanged since the parent, and so were not read.
    pub files_unmodified: u64,
    /// Directories in the snapshot.
    pub directories: u64,
    /// Bytes of all files in the snapshot.
    pub bytes: u64,
    /// Paths that were left out because they could not be read.
    pub skipped: Vec<Skipped>,
    /// Paths that were left out because a restore had set them aside: see [`crate::aside`].
    pub set_aside: Vec<PathBuf>,
    /// The snapshot it was compared with.
    pub parent: Option<Id>,
    /// The parts of the parent that could not be read, if any. Files in them were read instead.
    pub unread: Option<Unread>,
}

/// The parts of the parent snapshot that could not be read: the snapshot itself, or directories in
/// it.
#[derive(Debug)]
pub struct Unread {
    /// The number of such parts.
    pub count: u64,
    /// The first error.
    pub error: Error,
}

/// Backs up the paths of `options`. An error means that no snapshot was made.
pub fn run(repository: &Repository, index: &Index, options: &Options) -> Result<Report> {
    let counts = Counts::begin();
    let parent = match options.parent.map(|id| (id, repository.snapshot(&id))) {
        None => None,
        Some((id, Ok(parent))) => Some((id, parent)),
        // The parent was forgotten since it was chosen, or is damaged. It only saves work, so go on
        // without it.
        Some((_, Err(error))) if error.is_damage() => {
            counts.unreadable(error);
            None
        }
        Some((_, Err(error))) => return Err(error),
    };
    let alike = parent.as_ref().is_some_and(|(_, parent)| {
        let program = parent.others.get("program_version");
        parent.uid == rustix::process::getuid().as_raw()
            && program.and_then(|program| program.as_str()) == Some(&options.program)
    });
    let parent = parent.map(|(id, parent)| (id, parent.tree));
    let pool = requests::pool(0, Some(STACK_BYTES))?;
    let work = |saver: &Saver<'_>| {
        let mut backup = Backup::new(repository, index, saver, options, &counts);
        backup.alike = alike;
        let tree = pool.install(|| backup.root(parent.map(|(_, tree)| tree)))?;
        match backup.taken.load(Ordering::Relaxed) {
            true => Ok(tree),
            false => Err(Error::NothingTaken {
                skipped: counts.take_skipped(),
            }),
        }
    };
    let (tree, added) = match options.how.dry_run {
        true => with_pretence(repository, index, work)?,
        false => with_saver(repository, index, work)?,
    };
    commit(repository, options, parent, (tree, added), &counts)
}

/// Backs up a stream as a file of this name in the root directory. After an error, which may come
/// from the stream, there is no snapshot.
pub fn run_stream(
    repository: &Repository,
    index: &Index,
    options: &Options,
    name: &str,
    stream: &mut (dyn Read + Send),
) -> Result<Report> {
    let pool = requests::pool(0, Some(STACK_BYTES))?;
    let counts = Counts::begin();
    let work = |saver: &Saver<'_>| {
        let backup = Backup::new(repository, index, saver, options, &counts);
        let stored = pool.install(|| {
            let pipeline = Pipeline::new(saver);
            backup.stream(pipeline, Input::stream(stream), &mut Vec::new())
        })?;
        let (content, size) = stored.map_err(|source| Error::Read {
            key: name.to_owned(),
            source,
        })?;
        let mut node = Node::new(name.as_bytes(), NodeKind::File);
        node.mode = 0o644;
        (node.mtime, node.atime, node.ctime) = (options.time, options.time, options.time);
        node.uid = rustix::process::getuid().as_raw();
        node.gid = rustix::process::getgid().as_raw();
        node.size = size;
        node.content = Some(content);
        counts.note(None, &node);
        backup.save_tree([node])
    };
    let (tree, added) = match options.how.dry_run {
        true => with_pretence(repository, index, work)?,
        false => with_saver(repository, index, work)?,
    };
    commit(repository, options, None, (tree, added), &counts)
}

fn commit(
    repository: &Repository,
    options: &Options,
    parent: Option<(Id, Id)>,
    (tree, added): (Id, Added),
    counts: &Counts,
) -> Result<Report> {
    let summary = counts.summary(&options.zone, added);
    let mut snapshot = Snapshot {
        time: options.time,
        parent: parent.map(|(id, _)| id),
        tree,
        paths: options.absolute_paths(),
        hostname: options.hostname.clone(),
        username: options.username.clone(),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        excludes: (!options.excludes.texts.is_empty()).then(|| options.excludes.texts.clone()),
        tags: (!options.tags.is_empty()).then(|| options.tags.clone()),
        original: None,
        others: [("program_version".to_owned(), options.program.clone().into())]
            .into_iter()
            .collect(),
    };
    snapshot.set_summary(&summary);
    let (outcome, snapshot) = match parent {
        Some((id, before)) if before == tree && options.how.skip_if_unchanged => {
            (Outcome::Unchanged, id)
        }
        _ if options.how.dry_run => (Outcome::Tried, Id::default()),
        _ => (Outcome::Stored, repository.save_snapshot(&snapshot)?),
    };
    Ok(Report {
        outcome,
        snapshot,
        tree,
        added,
        summary,
        files: summary.total_files_processed,
        files_unmodified: counts.files_unread(),
        directories: counts.directories(),
        bytes: summary.total_bytes_processed,
        skipped: counts.take_skipped(),
        set_aside: counts.take_set_aside(),
        parent: parent.map(|(id, _)| id),
        unread: counts.take_unread(),
    })
}

struct Backup<'a> {
    repository: &'a Repository,
    index: &'a Index,
    saver: &'a Saver<'a>,
    options: &'a Options,
    names: Names,
    counts: &'a Counts,
    /// True if this version of this program made the parent snapshot as this user, and so saw
    /// exactly the attributes that are visible now.
    alike: bool,
    /// True while all threads work on one file.
    together: AtomicBool,
    mounts: Mounts,
    /// True once any of the given paths is in the snapshot.
    taken: AtomicBool,
}

/// The stack of each thread. Directories may be nested too deep for the usual size.
const STACK_BYTES: usize = 64 << 20;

impl<'a> Backup<'a> {
    fn new(
        repository: &'a Repository,
        index: &'a Index,
        saver: &'a Saver<'a>,
        options: &'a Options,
        counts: &'a Counts,
    ) -> Self {
        Backup {
            repository,
            index,
            saver,
            options,
            names: Names::of_this_host(),
            counts,
            alike: false,
            together: AtomicBool::new(false),
            mounts: Mounts::of_this_process(options.patience),
            taken: AtomicBool::new(false),
        }
    }

    fn root(&self, parent: Option<Id>) -> Result<Id> {
        let (mut targets, whole) = Targets::new(&self.options.paths, &self.options.directory);
        for directory in whole {
            let device = |path: &Path| path.metadata().map(|metadata| metadata.dev());
            let names = self.wanted_in(&directory);
            match self
                .mounts
                .ask_anyway(&directory, device)
                .and_then(|d| Ok((d, names?)))
            {
                Ok((device, names)) => names
                    .into_iter()
                    .for_each(|name| targets.add_entry(&directory, device, name)),
                Err(error) => self.skip(directory, error),
            }
        }
        let nodes = self.some(&targets, parent)?;
        self.save_tree(nodes)
    }

    /// The entries of a directory of which only some are wanted.
    fn some(&self, targets: &Targets, parent: Option<Id>) -> Result<Vec<Node>> {
        let mut before = self.before(parent);
        let mut nodes = Vec::new();
        for (name, target) in &targets.children {
            let Target {
                path,
                inner,
                device,
            } = target;
            let was = before.take(name.as_bytes());
            let was = was.as_ref();
            if let Some(device) = device {
                let node = self.entry_at(path.clone(), name, was, *device)?;
                self.taken.fetch_or(node.is_some(), Ordering::Relaxed);
                nodes.extend(node);
                continue;
            }
            // A symbolic link on the way to a target is replaced by the directory it leads to.
            let entry = match inner {
                None => self.mounts.ask_anyway(path, |path| path.symlink_metadata()),
                Some(_) => self.mounts.ask_anyway(path, |path| match path.metadata()? {
                    metadata if metadata.is_dir() => Ok(metadata),
                    _ => Err(io::ErrorKind::NotADirectory.into()),
                }),
            };
            let node = match (entry, inner) {
                (Err(error), _) => {
                    self.skip(path.clone(), error);
                    None
                }
                (Ok(metadata), None) => {
                    let node = self.entry(path.clone(), name, &metadata, was, metadata.dev())?;
                    self.taken.fetch_or(node.is_some(), Ordering::Relaxed);
                    node
                }
                (Ok(metadata), Some(inner)) => {
                    let mut node = self.describe(path, name, &metadata, was);
                    let subtree = was.and_then(|node| node.subtree);
                    node.subtree = Some(self.save_tree(self.some(inner, subtree)?)?);
                    self.counts.note(was, &node);
                    Some(node)
                }
            };
            nodes.extend(node);
        }
        Ok(nodes)
    }

    /// Backs up one entry and everything in it; `None` if it is left out.
    fn entry(
        &self,
        path: PathBuf,
        name: &OsStr,
        metadata: &Metadata,
        was: Option<&Node>,
        device: u64,
    ) -> Result<Option<Node>> {
        let kind = node::kind_of(metadata);
        let outcome = match kind {
            // A socket cannot be restored.
            NodeKind::Socket => return Ok(None),
            NodeKind::Directory => {
                let elsewhere = self.options.one_file_system && metadata.dev() != device;
                let within = match elsewhere {
                    true => self.save_tree(Vec::new()).map(Ok),
                    false => self.directory(&path, was.and_then(|node| node.subtree), device),
                };
                within?.map(|subtree| {
                    let mut node = self.describe(&path, name, metadata, was);
                    node.subtree = Some(subtree);
                    node
                })
            }
            NodeKind::File => self.file(&path, name, metadata, was)?,
            NodeKind::Symlink => self
                .mounts
                .ask(&path, |path| path.read_link())
                .map(|target| {
                    let mut node = self.describe(&path, name, metadata, was);
                    node.link_target = target.into_os_string().into_vec();
                    node
                }),
            _ => Ok(self.describe(&path, name, metadata, was)),
        };
        match outcome {
            Ok(node) => {
                self.counts.note(was, &node);
                Ok(Some(node))
            }
            Err(error) => {
                self.skip(path, error);
                Ok(None)
            }
        }
    }

    /// Stores a file. With an inner error the file is left out.
    fn file(
        &self,
        path: &Path,
        name: &OsStr,
        metadata: &Metadata,
        was: Option<&Node>,
    ) -> Result<io::Result<Node>> {
        let node = if let Some(content) = was.and_then(|was| self.unmodified(metadata, was)) {
            self.counts.unread();
            let mut node = self.describe(path, name, metadata, was);
            node.content = Some(content);
            node
        } else {
            let (file, now) = match self.mounts.ask(path, open) {
                Ok(opened) => opened,
                Err(error) => return Ok(Err(error)),
            };
            let mut node = self.describe(path, name, &now, None);
            let (content, size) = match self.content(path, file, node.size)? {
                Ok(read) => read,
                Err(error) => return Ok(Err(error)),
            };
            node.content = Some(content);
            node.size = size;
            node
        };
        Ok(Ok(node))
    }

    /// The content recorded in the parent's entry, if the file is unchanged and its content is
    /// still stored.
    fn unmodified(&self, now: &Metadata, was: &Node) -> Option<Vec<Id>> {
        let how = self.options.how;
        let ctime = || node::time(now.ctime(), now.ctime_nsec());
        let same = was.kind == NodeKind::File
            && was.mtime.at == node::time(now.mtime(), now.mtime_nsec())
            && (how.ignore_ctime || was.ctime.at == ctime())
            && was.size == now.size()
            && (how.ignore_inode || was.inode == now.ino());
        let content = was.content.as_ref().filter(|_| same)?;
        let there = content.iter().all(|id| self.index.has(BlobKind::Data, id));
        there.then(|| content.clone())
    }

    /// The metadata of an entry, without content, subtree or link target. Extended attributes are
    /// read again only if ctime differs from the parent's entry: changing them sets ctime.
    fn describe(&self, path: &Path, name: &OsStr, metadata: &Metadata, was: Option<&Node>) -> Node {
        let mut node = node::describe(name.as_bytes(), metadata, &self.names, &self.options.zone);
        let same =
            |was: &&Node| self.alike && (was.ctime.at, was.inode) == (node.ctime.at, node.inode);
        node.xattrs = match was.filter(same) {
            Some(was) => was.xattrs.clone(),
            None => self
                .mounts
                .ask(path, |path| Ok(node::xattrs(path)))
                .unwrap_or_default(),
        };
        node
    }

    fn skip(&self, path: PathBuf, error: io::Error) {
        self.counts.skip(Skipped { path, error });
    }
}

/// Opens a regular file for reading, without following links or waiting. Where permitted, its
/// access time stays unchanged.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(rustix::io::Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
        other => other,
    };
    let file = File::from(opened?);
    match file.metadata()? {
        now if now.is_file() => Ok((file, now)),
        _ => Err(io::Error::other("it is not a file any more")),
    }
}
