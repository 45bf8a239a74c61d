//! Backs up directories: compares their entries with those in the parent snapshot, and stores their
//! trees.
//!
//! Entries are processed in batches. So for a very large directory, only its names and its
//! compressed tree take memory that grows with the number of entries.

use super::Backup;
use crate::aside;
use crate::error::{Damage, Error, Result};
use crate::id::Id;
use crate::pack::BlobKind;
use crate::saver::TreeWriter;
use crate::tree::{Node, Nodes, Text};
use rayon::prelude::*;
use rustix::fs::CWD;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Entries of a directory in one batch.
const WINDOW_ENTRIES: usize = if cfg!(test) { 50 } else { 8 << 10 };

/// A directory in the parent snapshot, read beside the one on disk.
#[derive(Default)]
pub(super) struct Before {
    /// Its tree, as long as the tree is in order and every entry in it was taken.
    tree: Option<Id>,
    rest: Option<Nodes>,
    /// The text of a long tree, from which its entries can be read again.
    long: Option<Text>,
    /// The next entry.
    next: Option<Node>,
    /// The reason why the rest cannot be read.
    damage: Option<Damage>,
}

impl Before {
    fn new(tree: Id, text: Text) -> std::result::Result<Self, Damage> {
        let mut before = Before {
            tree: Some(tree),
            rest: Some(text.nodes()?),
            long: matches!(text, Text::Packed(_)).then_some(text),
            next: None,
            damage: None,
        };
        before.step();
        Ok(before)
    }

    /// Advances to the next entry, and returns the one before it.
    fn step(&mut self) -> Option<Node> {
        let next = match self.rest.as_mut().and_then(Nodes::next) {
            Some(Ok(node)) => Some(node),
            Some(Err(damage)) => {
                (self.tree, self.damage) = (None, Some(damage));
                None
            }
            None => None,
        };
        let last = std::mem::replace(&mut self.next, next);
        if let (Some(last), Some(next)) = (&last, &self.next)
            && last.name >= next.name
        {
            self.tree = None;
        }
        last
    }

    /// Takes the entry of this name. Callers ask for names in order: entries with earlier names are
    /// skipped.
    pub(super) fn take(&mut self, name: &[u8]) -> Option<Node> {
        while self
            .next
            .as_ref()
            .is_some_and(|next| next.name.as_slice() < name)
        {
            self.tree = None;
            self.step();
        }
        match &self.next {
            Some(next) if next.name == name => self.step(),
            _ => None,
        }
    }

    /// Writes the first `count` entries to `tree` again.
    fn repeat(&self, count: usize, tree: &mut TreeWriter<'_>) -> Result<()> {
        let Some(text) = self.long.as_ref().filter(|_| count > 0) else {
            return Ok(());
        };
        for node in text.nodes().map_err(Error::Config)?.take(count) {
            tree.add(&node.map_err(Error::Config)?)?;
        }
        Ok(())
    }

    /// The id of the tree, if the tree is in order and every entry in it was taken.
    fn tree(&self) -> Option<Id> {
        self.tree.filter(|_| self.next.is_none())
    }
}

impl Backup<'_> {
    /// Stores a directory and everything below it. With an inner error the directory is left out.
    pub(super) fn directory(
        &self,
        path: &Path,
        parent: Option<Id>,
        device: u64,
    ) -> Result<io::Result<Id>> {
        let names = match self.wanted_in(path) {
            Ok(names) => names,
            Err(error) => return Ok(Err(error)),
        };
        let mut before = self.before(parent);
        let mut names = names.into_iter().peekable();
        let mut tree = TreeWriter::new(self.saver);
        // For a long tree: `repeated` counts the leading entries that are unchanged, and so are not
        // written yet. `nodes` are those of the last batch.
        let (mut same, mut repeated, mut nodes) = (true, 0, Vec::new());
        loop {
            let some = names.by_ref().take(WINDOW_ENTRIES);
            let entries: Vec<(OsString, Option<Node>)> = some
                .map(|name| {
                    let was = before.take(name.as_bytes());
                    (name, was)
                })
                .collect();
            let found = entries
                .par_iter()
                .map(|(name, was)| self.entry_in(path, name, was.as_ref(), device))
                .collect::<Result<Vec<Option<Node>>>>()?;
            same &= found.iter().zip(&entries).all(|(is, (_, was))| is == was);
            nodes.extend(found.into_iter().flatten());
            if names.peek().is_none() {
                break;
            }
            if same && before.tree.is_some() && before.long.is_some() {
                repeated += nodes.len();
                nodes.clear();
                continue;
            }
            before.repeat(std::mem::take(&mut repeated), &mut tree)?;
            for node in nodes.drain(..) {
                tree.add(&node)?;
            }
        }
        if let (Some(damage), Some(id)) = (before.damage.take(), parent) {
            self.counts.unreadable(Error::Blob { id, damage });
        }
        match before.tree() {
            Some(tree) if same && self.index.has(BlobKind::Tree, &tree) => Ok(Ok(tree)),
            _ => {
                before.repeat(repeated, &mut tree)?;
                nodes.iter().try_for_each(|node| tree.add(node))?;
                tree.finish().map(Ok)
            }
        }
    }

    fn entry_in(
        &self,
        path: &Path,
        name: &OsString,
        was: Option<&Node>,
        device: u64,
    ) -> Result<Option<Node>> {
        self.entry_at(path.join(name), name, was, device)
    }

    /// Backs up an entry of a directory; `None` if it is left out.
    pub(super) fn entry_at(
        &self,
        path: PathBuf,
        name: &OsString,
        was: Option<&Node>,
        device: u64,
    ) -> Result<Option<Node>> {
        if self.options.excludes.excludes_path(&path) {
            return Ok(None);
        }
        if aside::is_set_aside(CWD, &path, name) {
            self.counts.set_aside(path);
            return Ok(None);
        }
        match self.mounts.ask(&path, |path| path.symlink_metadata()) {
            Ok(metadata) if self.options.excludes.excludes_by_size(&metadata) => Ok(None),
            Ok(metadata) => self.entry(path, name, &metadata, was, device),
            Err(error) => {
                self.skip(path, error);
                Ok(None)
            }
        }
    }

    pub(super) fn save_tree(&self, nodes: impl IntoIterator<Item = Node>) -> Result<Id> {
        let mut tree = TreeWriter::new(self.saver);
        for node in nodes {
            tree.add(&node)?;
        }
        tree.finish()
    }

    /// The parent snapshot's entries of a directory; none if they cannot be read.
    pub(super) fn before(&self, tree: Option<Id>) -> Before {
        let Some(id) = tree else {
            return Before::default();
        };
        let read = self
            .repository
            .tree_text(self.index, &id)
            .and_then(|text| Before::new(id, text).map_err(|damage| Error::Blob { id, damage }));
        read.unwrap_or_else(|error| {
            self.counts.unreadable(error);
            Before::default()
        })
    }

    /// The names in a directory, sorted. If a marker file excludes the directory, only the marker
    /// is returned.
    pub(super) fn wanted_in(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = self.mounts.names(path)?;
        names.sort_unstable();
        self.options
            .excludes
            .keep_only_marker(&self.mounts, path, &mut names);
        Ok(names)
    }
}
