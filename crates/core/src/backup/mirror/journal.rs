//! The journal of what a run has stored of a bucket so far, kept on this host, so that a killed run
//! need not be repeated from its beginning.
//!
//! It is trusted only as far as the stores confirm it: a pack that is missing or has another size
//! is ignored. Without a journal, everything is copied again.

use super::basis::{self, Pack};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::point::{DetailsArtifact, ManifestArtifact};
use crate::source::bucket::index::{Entry, Lines, to_line};
use crate::source::bucket::pack::Packed;
use crate::source::bucket::sort::{Sorted, Sorter, unusable};
use crate::stores::OpenStore;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const NAME: &str = "journal";

/// A line. The entries of a pack come first, and the line that makes them valid comes last.
#[derive(Serialize, Deserialize)]
enum Note {
    Entry(Box<Entry>),
    Pack(Box<DetailsArtifact>, BTreeMap<Name, ManifestArtifact>),
}

/// Records packs as they are confirmed.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens the journal of a source for appending.
    pub(super) fn open(state: &Path) -> Result<Self> {
        let path = state.join(NAME);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| unusable(&path, &e))?;
        let mut journal = Journal { path, file };
        // End a line that a killed run left unfinished.
        journal.write(b"\n")?;
        Ok(journal)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|e| unusable(&self.path, &e))
    }

    /// Records a pack that the stores hold.
    pub(super) fn note(&mut self, packed: &Packed, pack: &Pack) -> Result<()> {
        let mut bytes = Vec::new();
        for entry in &packed.entries {
            bytes.extend(to_line(&Note::Entry(Box::new(entry.clone())))?);
        }
        let details = Box::new(pack.details.clone());
        bytes.extend(to_line(&Note::Pack(details, pack.stored.clone()))?);
        self.write(&bytes)
    }

    /// Reads what an uncommitted run has stored, as far as all of these stores hold it.
    pub(super) fn load(state: &Path, stores: &[OpenStore], spool: &Path) -> Result<Loaded> {
        let mut loaded = Loaded {
            entries: Sorter::new(spool, "resumed"),
            packs: Vec::new(),
        };
        let Ok(file) = File::open(state.join(NAME)) else {
            return Ok(loaded);
        };
        let mut waiting: Vec<Entry> = Vec::new();
        for note in Lines::<_, Note>::new(file, "the journal of the last run") {
            match note {
                Ok(Note::Entry(entry)) => waiting.push(*entry),
                Ok(Note::Pack(details, stored)) => {
                    let entries = std::mem::take(&mut waiting);
                    let details = *details;
                    let pack = Pack { details, stored };
                    if !basis::in_all(std::slice::from_ref(&pack), stores)?.is_empty() {
                        loaded.take(entries, pack)?;
                    }
                }
                // An unfinished line, or the empty one after it.
                Err(error) if error.code == Code::ObjectDamaged => waiting.clear(),
                Err(error) => return Err(error),
            }
        }
        Ok(loaded)
    }
}

/// Objects and packs that an interrupted run stored.
pub(super) struct Loaded {
    entries: Sorter,
    packs: Vec<Pack>,
}

impl Loaded {
    fn take(&mut self, entries: Vec<Entry>, pack: Pack) -> Result<()> {
        let name = pack.details.name.clone();
        for entry in entries {
            if entry.pack != name {
                return Err(
                    Error::new(Code::State, "the journal of the last run is mixed up")
                        .hint("remove the directory `buckets` in the state directory"),
                );
            }
            let key = entry.key.bytes().to_vec();
            self.entries.push(&key, to_line(&entry)?)?;
        }
        self.packs.push(pack);
        Ok(())
    }

    /// Returns the objects in the order of their keys, and the packs that hold them.
    pub(super) fn finish(self) -> Result<(Sorted, Vec<Pack>)> {
        Ok((self.entries.finish()?, self.packs))
    }
}
