//! The input of the chunker: a file whose holes are found without reading them, or any stream.

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

/// The unit in which the system counts the blocks of a file.
const BLOCK_BYTES: u64 = 512;
/// A file with holes of fewer bytes in total is read like any other.
const HOLES_BYTES_MIN: u64 = 4 << 20;

/// An input; see the module.
pub struct Input<'s>(Kind<'s>);

enum Kind<'s> {
    Sparse(Sparse),
    File(File),
    Stream(&'s mut dyn Read),
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Input")
    }
}

impl<'s> Input<'s> {
    /// An input from a stream of unknown content.
    pub fn stream(stream: &'s mut dyn Read) -> Self {
        Input(Kind::Stream(stream))
    }

    /// An input from a file, read from its start. Its holes are looked up only if it has fewer
    /// blocks than its length needs.
    pub fn file(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let stored = metadata.blocks().saturating_mul(BLOCK_BYTES);
        if metadata.len().saturating_sub(stored) < HOLES_BYTES_MIN {
            return Ok(Input(Kind::File(file)));
        }
        Ok(Input(Kind::Sparse(Sparse {
            file,
            at: 0,
            until: 0,
            hole: false,
        })))
    }

    /// Returns the bytes of the hole that comes next; zero if none comes next or none is known.
    pub(super) fn hole(&mut self) -> io::Result<u64> {
        match &mut self.0 {
            Kind::Sparse(sparse) => sparse.hole(),
            Kind::File(_) | Kind::Stream(_) => Ok(0),
        }
    }

    /// Skips these bytes of the hole that comes next.
    pub(super) fn skip(&mut self, bytes: u64) {
        if let Kind::Sparse(sparse) = &mut self.0 {
            sparse.at += bytes;
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Sparse(sparse) => sparse.read(buffer),
            Kind::File(file) => file.read(buffer),
            Kind::Stream(stream) => stream.read(buffer),
        }
    }
}

/// A file with holes, read at explicit offsets.
struct Sparse {
    file: File,
    at: u64,
    /// The end of the hole or stretch of data that `at` lies in.
    until: u64,
    hole: bool,
}

impl Sparse {
    /// Finds out whether `at` lies in a hole or in data.
    fn look(&mut self) -> io::Result<()> {
        if self.at < self.until {
            return Ok(());
        }
        let data = match rustix::fs::seek(&self.file, SeekFrom::Data(self.at)) {
            Ok(data) => data,
            // Only a hole is left, up to the end of the file.
            Err(Errno::NXIO) => self.file.metadata()?.len(),
            // Not every file system can tell.
            Err(_) => self.at,
        };
        self.hole = data > self.at;
        self.until = match self.hole {
            true => data,
            // At the end of the file, or if the file system cannot tell, the next read decides.
            false => rustix::fs::seek(&self.file, SeekFrom::Hole(self.at)).unwrap_or(u64::MAX),
        };
        Ok(())
    }

    fn hole(&mut self) -> io::Result<u64> {
        self.look()?;
        Ok(match self.hole {
            true => self.until.saturating_sub(self.at),
            false => 0,
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.look()?;
        let rest = usize::try_from(self.until.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let room = rest.min(buffer.len());
        let room = buffer.get_mut(..room).unwrap_or_default();
        let count = match self.hole {
            true => {
                room.fill(0);
                room.len()
            }
            false => self.file.read_at(room, self.at)?,
        };
        self.at += count as u64;
        Ok(count)
    }
}
