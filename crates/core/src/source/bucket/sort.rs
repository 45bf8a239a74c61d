//! Sorts more records than fit in memory: by runs in a scratch directory, which are then merged.

use crate::error::{Code, Error, Result};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of records held in memory.
const RUN_BYTES: usize = 8 << 20;
/// Number of runs merged at once.
const RUNS_MAX: usize = 64;

/// A record: its sort key, and the rest.
pub type Record = (Vec<u8>, Vec<u8>);

/// A sorter that takes records in any order.
pub struct Sorter {
    directory: PathBuf,
    name: String,
    held: Vec<Record>,
    held_bytes: usize,
    runs: Vec<PathBuf>,
    count: usize,
}

/// Records in order. Those with the same key keep their original order if they were in one run.
pub struct Sorted {
    heap: BinaryHeap<Reverse<(Record, usize)>>,
    runs: Vec<BufReader<File>>,
}

impl Sorter {
    /// A sorter whose runs are files `NAME.N` in the directory.
    pub fn new(directory: &Path, name: &str) -> Self {
        Sorter {
            directory: directory.to_owned(),
            name: name.to_owned(),
            held: Vec::new(),
            held_bytes: 0,
            runs: Vec::new(),
            count: 0,
        }
    }

    /// Adds a record.
    pub fn push(&mut self, key: &[u8], value: Vec<u8>) -> Result<()> {
        self.held_bytes += key.len() + value.len() + 64;
        self.held.push((key.to_vec(), value));
        if self.held_bytes >= RUN_BYTES {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        self.held.sort_by(|a, b| a.0.cmp(&b.0));
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        self.write_run(held.into_iter().map(Ok))?;
        if self.runs.len() >= RUNS_MAX {
            let runs = std::mem::take(&mut self.runs);
            let merged = Sorted::open(&runs)?;
            self.write_run(merged)?;
            for run in runs {
                // The scratch directory is removed anyway.
                let _ = std::fs::remove_file(run);
            }
        }
        Ok(())
    }

    fn write_run(&mut self, records: impl Iterator<Item = Result<Record>>) -> Result<()> {
        let path = self.directory.join(format!("{}.{}", self.name, self.count));
        self.count += 1;
        let mut file = create(&path)?;
        for record in records {
            let (key, value) = record?;
            for part in [&key, &value] {
                let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
                file.write_all(&length.to_le_bytes())
                    .and_then(|()| file.write_all(part))
                    .map_err(|e| unusable(&path, &e))?;
            }
        }
        file.flush().map_err(|e| unusable(&path, &e))?;
        self.runs.push(path);
        Ok(())
    }

    /// Returns all records in the order of their keys.
    pub fn finish(mut self) -> Result<Sorted> {
        self.spill()?;
        Sorted::open(&self.runs)
    }
}

impl Sorted {
    fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut sorted = Sorted {
            heap: BinaryHeap::new(),
            runs: Vec::new(),
        };
        for (index, path) in paths.iter().enumerate() {
            let file = File::open(path).map_err(|e| unusable(path, &e))?;
            sorted.runs.push(BufReader::with_capacity(64 << 10, file));
            sorted.refill(index)?;
        }
        Ok(sorted)
    }

    fn refill(&mut self, index: usize) -> Result<()> {
        let Some(run) = self.runs.get_mut(index) else {
            return Ok(());
        };
        if let Some(key) = read_part(run)? {
            let value = read_part(run)?.ok_or_else(|| cut("a sorted run"))?;
            self.heap.push(Reverse(((key, value), index)));
        }
        Ok(())
    }
}

impl Iterator for Sorted {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((record, index)) = self.heap.pop()?;
        match self.refill(index) {
            Ok(()) => Some(Ok(record)),
            Err(error) => Some(Err(error)),
        }
    }
}

fn read_part(reader: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    let first = reader
        .read(&mut length)
        .map_err(|e| Error::io("a sorted run cannot be read", &e))?;
    if first == 0 {
        return Ok(None);
    }
    let rest = length.get_mut(first..).unwrap_or_default();
    reader.read_exact(rest).map_err(|_| cut("a sorted run"))?;
    let mut part = vec![0; u32::from_le_bytes(length) as usize];
    reader
        .read_exact(&mut part)
        .map_err(|_| cut("a sorted run"))?;
    Ok(Some(part))
}

fn cut(what: &str) -> Error {
    Error::new(
        Code::Io,
        format!("{what} in the scratch directory is cut off"),
    )
    .hint("check the disk of the state directory")
}

/// A new private file for a spool.
pub fn create(path: &Path) -> Result<BufWriter<File>> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(|file| BufWriter::with_capacity(128 << 10, file))
        .map_err(|e| unusable(path, &e))
}

/// The error for an unusable spool.
pub fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(
        Code::State,
        format!("the spool {} cannot be used", path.display()),
    )
    .cause(error)
    .hint("free space in the state directory, or set app.state to another one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_records_than_fit_in_memory_are_sorted() {
        let directory = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(directory.path(), "t");
        let mut expected = Vec::new();
        for i in 0..300_000_u32 {
            let key = i.wrapping_mul(2_654_435_761).to_be_bytes();
            sorter.push(&key, key.repeat(4)).unwrap();
            expected.push(key.to_vec());
        }
        assert!(sorter.runs.len() > 2);
        expected.sort();
        let found: Vec<_> = sorter.finish().unwrap().map(Result::unwrap).collect();
        assert_eq!(found.len(), expected.len());
        assert!(
            found
                .iter()
                .zip(&expected)
                .all(|(f, e)| f.0 == *e && f.1 == e.repeat(4))
        );
    }
}
