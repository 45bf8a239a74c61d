//! Makes snapshots whole that need something that is lost: new ones without it.
//!
//! A directory that cannot be read becomes an empty one, a file loses the parts that are lost, and an
//! entry that cannot be used is left out. Only what is lost for certain counts: when the store fails,
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

/// The tag of snapshots that were made so, as restic has it.
const TAG: &str = "repaired";

/// How much of content is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Whether it is where the index says.
    Index,
    /// Whether it can be read and is whole: every byte that the snapshots need is read.
    Data,
}

/// What was mended, or would be.
#[derive(Debug)]
pub struct Mended {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub what: What,
}

/// What was wrong, and what became of it.
#[derive(Debug)]
pub enum What {
    /// A directory could not be read, and is empty now.
    Emptied(Error),
    /// The root could not be read: nothing is left.
    Root(Error),
    /// Parts of a file were lost.
    Shortened {
        /// How many.
        parts: usize,
        /// How long it was, in bytes.
        was: u64,
        /// How long it is now.
        is: u64,
    },
    /// A file's size was not that of its content.
    Size {
        /// The size it had.
        was: u64,
        /// That of its content.
        is: u64,
    },
    /// An entry of a directory could not be used.
    Entry(Damage),
    /// An entry was of no known type.
    Irregular,
    /// A directory had two entries of this name; the first stays.
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

/// What a repair of snapshots did, or would do.
#[derive(Debug, Default)]
pub struct Report {
    /// What became of each snapshot.
    pub snapshots: Vec<(Id, Became)>,
    /// What was mended, by path; once for all snapshots that have it there.
    pub mended: Vec<Mended>,
    /// What was stored.
    pub added: Added,
}

/// Repairs these snapshots, of `all` that there are. Whoever lets them be forgotten must hold the
/// repository alone.
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

/// Gives up snapshots that cannot be read: nothing is left of them. They are removed only when they
/// still cannot be read then.
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
    /// The packs, and how long they are.
    stored: HashMap<Id, u64>,
    look: Look,
    /// Bytes of the parts that were read; none when they are lost.
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

    /// A blob; the inner error says that it is lost.
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

    /// Bytes of a part of a file; none when it is lost.
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
