//! Counts what a backup has seen so far, the way restic does.

use super::{Skipped, Unread};
use crate::error::Error;
use crate::saver::Added;
use crate::snapshot::Summary;
use crate::sync::lock;
use crate::time::Time;
use crate::tree::{Node, NodeKind};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one kind of entry, compared with the parent snapshot.
#[derive(Default)]
struct Kinds {
    new: AtomicU64,
    changed: AtomicU64,
    unmodified: AtomicU64,
}

impl Kinds {
    fn note(&self, was: Option<&Node>, is: &Node) {
        count(match was {
            None => &self.new,
            Some(was) if was.is_same(is) => &self.unmodified,
            Some(_) => &self.changed,
        });
    }

    fn all(&self) -> u64 {
        get(&self.new) + get(&self.changed) + get(&self.unmodified)
    }
}

pub(super) struct Counts {
    begun: Timestamp,
    files: Kinds,
    directories: Kinds,
    bytes: AtomicU64,
    /// Files that were not read, because they are unchanged.
    unread: AtomicU64,
    skipped: Mutex<Vec<Skipped>>,
    set_aside: Mutex<Vec<PathBuf>>,
    /// The parts of the parent snapshot that could not be read.
    unreadable: Mutex<Option<Unread>>,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counts {
    /// Counters that all begin at zero.
    pub(super) fn begin() -> Self {
        Counts {
            begun: Timestamp::now(),
            files: Kinds::default(),
            directories: Kinds::default(),
            bytes: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            skipped: Mutex::default(),
            set_aside: Mutex::default(),
            unreadable: Mutex::default(),
        }
    }

    /// Counts an entry of the new snapshot. `was` is the parent snapshot's entry of that name.
    pub(super) fn note(&self, was: Option<&Node>, is: &Node) {
        match is.kind {
            NodeKind::File => {
                self.files.note(was, is);
                self.bytes.fetch_add(is.size, Ordering::Relaxed);
            }
            NodeKind::Directory => self.directories.note(was, is),
            _ => {}
        }
    }

    /// Counts an unchanged file, which is not read.
    pub(super) fn unread(&self) {
        count(&self.unread);
    }

    /// Notes that a part of the parent snapshot cannot be read.
    pub(super) fn unreadable(&self, error: Error) {
        let mut noted = lock(&self.unreadable);
        noted.get_or_insert(Unread { count: 0, error }).count += 1;
    }

    pub(super) fn take_unread(&self) -> Option<Unread> {
        lock(&self.unreadable).take()
    }

    pub(super) fn set_aside(&self, path: PathBuf) {
        lock(&self.set_aside).push(path);
    }

    /// Takes the paths that a restore had set aside, sorted.
    pub(super) fn take_set_aside(&self) -> Vec<PathBuf> {
        let mut paths = std::mem::take(&mut *lock(&self.set_aside));
        paths.sort_unstable();
        paths
    }

    pub(super) fn skip(&self, skipped: Skipped) {
        lock(&self.skipped).push(skipped);
    }

    pub(super) fn files_unread(&self) -> u64 {
        get(&self.unread)
    }

    pub(super) fn directories(&self) -> u64 {
        self.directories.all()
    }

    pub(super) fn take_skipped(&self) -> Vec<Skipped> {
        std::mem::take(&mut *lock(&self.skipped))
    }

    /// The summary, at the end of a backup.
    pub(super) fn summary(&self, zone: &TimeZone, added: Added) -> Summary {
        Summary {
            backup_start: Time::new(self.begun, zone),
            backup_end: Time::new(Timestamp::now(), zone),
            files_new: get(&self.files.new),
            files_changed: get(&self.files.changed),
            files_unmodified: get(&self.files.unmodified),
            dirs_new: get(&self.directories.new),
            dirs_changed: get(&self.directories.changed),
            dirs_unmodified: get(&self.directories.unmodified),
            data_blobs: added.data_blobs,
            tree_blobs: added.tree_blobs,
            data_added: added.bytes,
            data_added_packed: added.stored_bytes,
            total_files_processed: self.files.all(),
            total_bytes_processed: get(&self.bytes),
        }
    }
}
