//! A record on this host of packs that were found whole, and when. A check that is done in parts,
//! or was interrupted, goes on from there.
//!
//! There is one file for each repository, with a line for each pack: its id and a time, or
//! `damaged`. The last line of a pack counts. A line is written as soon as its pack was read; a
//! truncated line is ignored. Losing the file costs no more than reading everything again.

use crate::error::{Code, Error, Result};
use crate::ownership;
use crate::place;
use jiff::Timestamp;
use lifeboat_repository::Id;
use std::collections::{BTreeMap, HashSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Written instead of a time for a damaged pack.
const DAMAGED: &str = "damaged";

/// The record of one repository.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    file: File,
    whole: BTreeMap<Id, Timestamp>,
}

/// The directory of this host's records: `$XDG_STATE_HOME/lifeboat`, else `/var/lib/lifeboat` for
/// root and `~/.local/state/lifeboat` for others.
pub fn directory() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let absolute = |path: &PathBuf| path.is_absolute();
    let given = set("XDG_STATE_HOME").filter(absolute);
    let own = || {
        set("HOME")
            .filter(absolute)
            .map(|home| home.join(".local/state"))
    };
    match (given, rustix::process::geteuid().is_root()) {
        (Some(given), _) => Ok(given.join("lifeboat")),
        (None, true) => Ok("/var/lib/lifeboat".into()),
        (None, false) => own().map(|own| own.join("lifeboat")).ok_or_else(|| {
            Error::new(Code::State, "this user has no directory for what is noted")
                .hint("set HOME or XDG_STATE_HOME")
        }),
    }
}

impl Record {
    /// Opens the record of the repository with this id, and reads what it says of `packs`, the
    /// packs that exist.
    pub fn open(state: &Path, repository: &str, packs: &[Id]) -> Result<Self> {
        let directory = state.join("checked");
        let failed = |error: std::io::Error| {
            let message = format!("{} cannot be written to", directory.display());
            Error::new(Code::State, message)
                .cause(error)
                .hint("make it writable, or set XDG_STATE_HOME to another directory")
        };
        // Whoever can write there decides which packs are not read.
        ownership::private_directory(&directory, &[]).map_err(|error| Error {
            message: format!("the record of checks {}", error.message),
            ..error
        })?;
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed)?;
        let name: String = repository
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let path = directory.join(format!("{name}.packs"));
        let text = match crate::plain::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(failed)?,
        };
        let text = String::from_utf8_lossy(&text);
        let there: HashSet<&Id> = packs.iter().collect();
        let (whole, lines) = parse(&text, &there);
        let unfinished = !text.is_empty() && !text.ends_with('\n');
        if unfinished || lines > 2 * whole.len() + 1000 {
            let lines = whole.iter().map(|(id, at)| format!("{id} {at}\n"));
            let anew = lines.collect::<String>();
            place::replace_file(&mut anew.as_bytes(), &path, 0o600)?;
        }
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        Ok(Record { path, file, whole })
    }

    /// Returns true if a pack was found whole at `since` or later. A time in the future does not
    /// count.
    pub fn is_fresh(&self, pack: &Id, since: Timestamp, now: Timestamp) -> bool {
        let at = self.whole.get(pack);
        at.is_some_and(|at| (since..=now).contains(at))
    }

    /// Records whether a pack is whole. Several threads may do so at once.
    pub fn note(&self, pack: &Id, is_whole: bool, now: Timestamp) -> Result<()> {
        let line = match is_whole {
            true => format!("{pack} {now}\n"),
            false => format!("{pack} {DAMAGED}\n"),
        };
        // Written in one piece, so that lines do not mix.
        (&self.file).write_all(line.as_bytes()).map_err(|error| {
            let message = format!("{} cannot be written to", self.path.display());
            Error::new(Code::State, message)
                .cause(error)
                .hint("see whether its disk is full, and run it again")
        })
    }
}

/// The last entry of each pack that exists, and the number of lines.
fn parse(text: &str, there: &HashSet<&Id>) -> (BTreeMap<Id, Timestamp>, usize) {
    let (mut whole, mut count) = (BTreeMap::new(), 0);
    for line in text.split_inclusive('\n') {
        count += 1;
        let words = line
            .strip_suffix('\n')
            .and_then(|line| line.split_once(' '));
        let Some((Ok(id), when)) = words.map(|(id, when)| (id.parse::<Id>(), when)) else {
            continue;
        };
        match when.parse::<Timestamp>() {
            Ok(at) if there.contains(&id) => drop(whole.insert(id, at)),
            _ => drop(whole.remove(&id)),
        }
    }
    (whole, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_last_line_of_a_pack_counts() {
        let directory = tempfile::tempdir().unwrap();
        let packs = [Id::of(b"a"), Id::of(b"b"), Id::of(b"c")];
        let open = |packs: &[Id]| Record::open(directory.path(), "ab12", packs).unwrap();
        let record = open(&packs);
        record.note(&packs[0], true, at(1000)).unwrap();
        record.note(&packs[1], true, at(1000)).unwrap();
        record.note(&packs[1], false, at(1500)).unwrap();
        record.note(&packs[2], true, at(1000)).unwrap();
        record.note(&packs[2], true, at(2000)).unwrap();
        let record = open(&packs);
        let fresh = |record: &Record, since, now| {
            packs.map(|pack| record.is_fresh(&pack, at(since), at(now)))
        };
        assert_eq!(fresh(&record, 900, 3000), [true, false, true]);
        assert_eq!(fresh(&record, 1500, 3000), [false, false, true]);
        assert_eq!(fresh(&record, 900, 1800), [true, false, false]);
        let record = open(&packs[..1]);
        assert_eq!(fresh(&record, 900, 3000), [true, false, false]);
    }

    #[test]
    fn a_truncated_line_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let packs = [Id::of(b"a"), Id::of(b"b")];
        let record = Record::open(directory.path(), "ab12", &packs).unwrap();
        record.note(&packs[0], true, at(1000)).unwrap();
        let cut = format!("{} 1970-01-01T00:16:4", packs[1]);
        (&record.file).write_all(cut.as_bytes()).unwrap();
        let record = Record::open(directory.path(), "ab12", &packs).unwrap();
        assert_eq!(record.whole.len(), 1);
        record.note(&packs[1], true, at(2000)).unwrap();
        let record = Record::open(directory.path(), "ab12", &packs).unwrap();
        assert_eq!(record.whole.len(), 2);
    }

    #[test]
    fn a_long_record_is_rewritten() {
        let directory = tempfile::tempdir().unwrap();
        let pack = [Id::of(b"a")];
        let record = Record::open(directory.path(), "ab12", &pack).unwrap();
        for second in 0..1100 {
            record.note(&pack[0], true, at(second)).unwrap();
        }
        let record = Record::open(directory.path(), "ab12", &pack).unwrap();
        assert!(std::fs::read(&record.path).unwrap().len() < 200);
        assert!(record.is_fresh(&pack[0], at(1099), at(1099)));
    }
}
