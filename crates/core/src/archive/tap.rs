//! Counts and hashes bytes as they pass, in either direction.

use crate::digest::hex;
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};

/// Size and hash of the bytes that passed a tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Number of bytes.
    pub bytes: u64,
    /// Their SHA-256, 64 hex digits.
    pub sha256: String,
}

impl Tally {
    /// Tallies bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut meter = Meter::default();
        meter.add(bytes);
        meter.finish()
    }
}

#[derive(Debug, Default)]
struct Meter {
    hash: Sha256,
    bytes: u64,
}

impl Meter {
    fn add(&mut self, passed: &[u8]) {
        self.hash.update(passed);
        self.bytes += passed.len() as u64;
    }

    fn finish(self) -> Tally {
        let digest = self.hash.finalize();
        Tally {
            bytes: self.bytes,
            sha256: hex(&digest),
        }
    }
}

/// Passes what is written on to another writer, and tallies what that writer accepts.
#[derive(Debug)]
pub struct Tap<W> {
    inner: W,
    meter: Meter,
}

impl<W: Write> Tap<W> {
    /// Starts with an empty tally.
    pub fn new(inner: W) -> Self {
        Tap {
            inner,
            meter: Meter::default(),
        }
    }

    /// Bytes that passed so far.
    pub fn bytes(&self) -> u64 {
        self.meter.bytes
    }

    /// Returns the writer, not flushed, and the tally of what it accepted.
    pub fn finish(self) -> (W, Tally) {
        (self.inner, self.meter.finish())
    }
}

impl<W: Write> Write for Tap<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(buffer)?;
        self.meter.add(buffer.get(..taken).unwrap_or(buffer));
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Tallies what is read from another reader.
#[derive(Debug)]
pub struct TapReader<R> {
    inner: R,
    meter: Meter,
}

impl<R: Read> TapReader<R> {
    /// Starts with an empty tally.
    pub fn new(inner: R) -> Self {
        TapReader {
            inner,
            meter: Meter::default(),
        }
    }

    /// Bytes that passed so far.
    pub fn bytes(&self) -> u64 {
        self.meter.bytes
    }

    /// Returns the reader and the tally of what was read so far; read it to its end first.
    pub fn finish(self) -> (R, Tally) {
        (self.inner, self.meter.finish())
    }
}

impl<R: Read> Read for TapReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.meter.add(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes at a time.
    struct Slow(Vec<u8>);

    impl Write for Slow {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            let count = buffer.len().min(3);
            self.0.extend_from_slice(&buffer[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_tap_tallies_what_was_taken_not_what_was_offered() {
        let mut tap = Tap::new(Slow(Vec::new()));
        assert_eq!(tap.write(b"abcdef").unwrap(), 3);
        let (inner, tally) = tap.finish();
        assert_eq!(inner.0, b"abc");
        // FIPS 180-2, the first example.
        assert_eq!(
            tally.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(tally.bytes, 3);
    }

    #[test]
    fn both_directions_agree() {
        let data: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let mut reader = TapReader::new(&data[..]);
        let mut writer = Tap::new(Vec::new());
        io::copy(&mut reader, &mut writer).unwrap();
        assert_eq!(reader.finish().1, Tally::of(&data));
        let (written, tally) = writer.finish();
        assert_eq!(written, data);
        assert_eq!(tally, Tally::of(&data));
    }
}
