//! Repairs snapshots that need something that is lost, by making new ones without it.
//!
//! A directory that cannot be read becomes empty, a file loses the parts that are lost, and an
//! entry that cannot be used is left out. Only what is certainly lost counts: when the store fails,
//! so does the repair.

use crate::error::{Damage, Error, FileKind, Result};
use crate::id::Id;
use crate::index::Index;
use crate::pack::BlobKind;
use crate::repository::{Named, Repository};
use crate::rewrite::{Became, Deed, Edit, Entries, Rule, remake, replace, with};
use crate::saver::Added;
use crate::sync::{into_inner, lock};
use crate::tree::{self, Node, NodeKind};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Mutex;

/// The tag of repaired snapshots, the same as restic's.
const TAG: &str = "repaired";

/// The depth to which content is examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Check that it is where the index says.
    Index,
    /// Read every byte that the snapshots need, and check that it is intact.
    Data,
}

/// A repair that was made, or would be.
#[derive(Debug)]
pub struct Mended {
    /// The path in the snapshot.
    pub path: PathBuf,
    /// The damage, and the repair.
    pub what: What,
}

/// The damage that was found, and the repair.
#[derive(Debug)]
pub enum What {
    /// A directory could not be read, and is empty now.
    Emptied(Error),
    /// The root could not be read: nothing is left of the snapshot.
    Root(Error),
    /// Parts of a file were lost.
    Shortened {
        /// The number of lost parts.
        parts: usize,
        /// The former length in bytes.
        was: u64,
        /// The present length in bytes.
        is: u64,
    },
    /// The size of a file differed from the size of its content.
    Size {
        /// The size that was recorded.
        was: u64,
        /// The size of its content.
        is: u64,
    },
    /// An entry of a directory could not be used.
    Entry(Damage),
    /// An entry was of no known type.
    Irregular,
    /// A directory had two entries of this name; the first is kept.
    Twice,
    /// The entries of a directory were out of order.
    Order,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Emptied(error) => write!(f, "the directory is made empty: {error}"),
            What::Root(error) => write!(f, "nothing below it can be read: {error}"),
            What::Shortened { parts, was, is } => {
                write!(
                    f,
                    "{parts} parts of the file are lost: {is} of {was} bytes are left"
                )
            }
            What::Size { was, is } => write!(f, "its size is put right: {is}, not {was}"),
            What::Entry(damage) => write!(f, "an entry is left out: {damage}"),
            What::Irregular => f.write_str("it is left out: it is of no known type"),
            What::Twice => f.write_str("a second entry of the name is left out"),
            What::Order => f.write_str("the entries of the directory are put in order"),
        }
    }
}

/// The result of a repair of snapshots, or what it would be.
#[derive(Debug, Default)]
pub struct Report {
    /// The fate of each snapshot.
    pub snapshots: Vec<(Id, Became)>,
    /// The repairs by path, each listed once for all snapshots that have it there.
    pub mended: Vec<Mended>,
    /// The blobs that were stored.
    pub added: Added,
}

/// Repairs these snapshots. `all` are all snapshots of the repository. If `deed.forget` is set, the
/// caller must hold an exclusive lock.
pub fn run(
    repository: &Repository,
    index: &Index,
    (all, wanted): (&[Named], &[&Named]),
    look: Look,
    deed: Deed,
) -> Result<Report> {
    let mend = Mend {
        repository,
        index,
        stored: repository.list(FileKind::Pack)?.into_iter().collect(),
        look,
        parts: Mutex::default(),
        mended: Mutex::default(),
    };
    let (made, added) = remake(repository, index, &mend, wanted, deed)?;
    let changes = wanted.iter().zip(made).map(|(named, made)| {
        let changed = made.map(|made| with(named.1.clone(), made));
        (*named, changed)
    });
    let mut mended = into_inner(mend.mended);
    let text = |mended: &Mended| (mended.path.clone(), mended.what.to_string());
    mended.sort_by_cached_key(text);
    mended.dedup_by(|second, first| text(second) == text(first));
    Ok(Report {
        snapshots: replace(repository, all, changes.collect(), TAG, deed)?,
        mended,
        added,
    })
}

/// Gives up snapshots that cannot be read, of which nothing is left. Before one is removed, it is
/// read again, and kept if that succeeds.
pub fn give_up(repository: &Repository, ids: &[Id], deed: Deed) -> Result<Vec<(Id, Became)>> {
    let mut given_up = Vec::new();
    for id in ids {
        match repository.snapshot(id) {
            Err(Error::Damaged { .. }) => {}
            Ok(_) | Err(Error::Missing { .. }) => continue,
            Err(error) => return Err(error),
        }
        if deed.forget && !deed.dry_run {
            repository.delete(FileKind::Snapshot, id)?;
        }
        given_up.push((*id, Became::Nothing));
    }
    Ok(given_up)
}

struct Mend<'a> {
    repository: &'a Repository,
    index: &'a Index,
    /// The packs and their sizes.
    stored: HashMap<Id, u64>,
    look: Look,
    /// The length of each part that was read; `None` if it is lost.
    parts: Mutex<HashMap<Id, Option<u64>>>,
    mended: Mutex<Vec<Mended>>,
}

impl Mend<'_> {
    fn tell(&self, path: &[u8], what: What) {
        let path = match path {
            b"" => "/".into(),
            path => OsString::from_vec(path.to_vec()).into(),
        };
        lock(&self.mended).push(Mended { path, what });
    }

    /// Reads a blob. The inner error says that it is lost.
    fn load(&self, kind: BlobKind, id: &Id) -> Result<std::result::Result<Vec<u8>, Error>> {
        let (mut lost, mut failed) = (Error::UnknownBlob { id: *id }, None);
        for place in self.index.locations(kind, id) {
            match self.repository.read_blob(id, &place) {
                Ok(blob) => return Ok(Ok(blob)),
                Err(error) if error.is_damage() => lost = error,
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(Err(lost)), Err)
    }

    /// The length of a part of a file; `None` if it is lost.
    fn part(&self, id: &Id) -> Result<Option<u64>> {
        let mut places = self.index.locations(BlobKind::Data, id);
        let there = places.find(|place| {
            let stored = self.stored.get(&place.pack);
            stored.is_some_and(|bytes| *bytes >= place.end())
        });
        let bytes = there.map(|place| u64::from(place.plain_bytes));
        if bytes.is_none() || self.look == Look::Index {
            return Ok(bytes);
        }
        if let Some(known) = lock(&self.parts).get(id) {
            return Ok(*known);
        }
        let read = self
            .load(BlobKind::Data, id)?
            .ok()
            .map(|blob| blob.len() as u64);
        lock(&self.parts).insert(*id, read);
        Ok(read)
    }
}

impl Rule for Mend<'_> {
    fn read(&self, path: &[u8], id: &Id) -> Result<Option<Entries>> {
        let (mut nodes, mut unusable) = (Vec::new(), Vec::new());
        let read = self.load(BlobKind::Tree, id)?.and_then(|json| {
            tree::read(&json, |node| match node {
                Ok(node) => nodes.push(node),
                Err(damage) => unusable.push(damage),
            })
            .map_err(|damage| Error::Blob { id: *id, damage })
        });
        if let Err(error) = read {
            let what = match path {
                b"" => What::Root(error),
                _ => What::Emptied(error),
            };
            self.tell(path, what);
            return Ok(None);
        }
        let mut changed = !unusable.is_empty();
        for damage in unusable {
            self.tell(path, What::Entry(damage));
        }
        if !nodes.is_sorted_by(|a, b| a.name <= b.name) {
            changed = true;
            self.tell(path, What::Order);
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
        }
        nodes.dedup_by(|second, first| {
            let twice = second.name == first.name;
            if twice {
                changed = true;
                self.tell(&[path, b"/", &first.name].concat(), What::Twice);
            }
            twice
        });
        Ok(Some(Entries { nodes, changed }))
    }

    fn edit(&self, path: &[u8], node: &mut Node) -> Result<Edit> {
        match node.kind {
            NodeKind::Irregular => {
                self.tell(path, What::Irregular);
                return Ok(Edit::Drop);
            }
            NodeKind::Directory => {
                if let Err(damage) = node.directory() {
                    self.tell(
                        path,
                        What::Emptied(Error::Blob {
                            id: Id::default(),
                            damage,
                        }),
                    );
                }
                return Ok(Edit::Keep);
            }
            NodeKind::File => {}
            _ => return Ok(Edit::Keep),
        }
        let parts = node.content.take().unwrap_or_default();
        let (mut left, mut bytes) = (Vec::with_capacity(parts.len()), 0);
        for id in &parts {
            if let Some(length) = self.part(id)? {
                left.push(*id);
                bytes += length;
            }
        }
        let (lost, was) = (parts.len() - left.len(), node.size);
        (node.content, node.size) = (Some(left), bytes);
        match (lost, was == bytes) {
            (0, true) => return Ok(Edit::Keep),
            (0, false) => self.tell(path, What::Size { was, is: bytes }),
            (parts, _) => self.tell(
                path,
                What::Shortened {
                    parts,
                    was,
                    is: bytes,
                },
            ),
        }
        Ok(Edit::Change)
    }

    fn looks_at_paths(&self) -> bool {
        false
    }
}
