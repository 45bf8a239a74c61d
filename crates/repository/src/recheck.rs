//! Opens again what was just sealed, before it is stored. A blob that was corrupted by bad memory
//! or a faulty processor must end the backup, and not be found when it is needed.
//!
//! It compares a checksum that was taken before the blob's id was computed, so a match also shows
//! that the id is right. The checksum does not protect against deliberate forgery.

use crate::buffer::room_for;
use crate::chunker::CHUNK_BYTES_MAX;
use crate::crypto::Key;
use crate::error::{Error, Result};
use crate::id::Id;
use std::io::{self, Write};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Blobs longer than any chunk are decompressed piece by piece.
const LONG_BYTES: usize = CHUNK_BYTES_MAX;

/// A checksum of a plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum(u64);

impl Sum {
    pub(crate) fn of(plain: &[u8]) -> Self {
        Sum(xxh3_64(plain))
    }
}

/// The checksum of a plaintext that arrives in pieces.
#[derive(Default)]
pub(crate) struct RunningSum(Xxh3);

impl RunningSum {
    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    pub(crate) fn finish(&self) -> Sum {
        Sum(self.0.digest())
    }
}

impl Write for RunningSum {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.update(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The buffers in which blobs are opened, reused from blob to blob.
#[derive(Default)]
pub(crate) struct Recheck {
    context: zstd::bulk::Decompressor<'static>,
    opened: Vec<u8>,
    unpacked: Vec<u8>,
}

impl Recheck {
    /// Returns whether the sealed bytes open to the blob with this checksum.
    pub(crate) fn check(
        &mut self,
        key: &Key,
        id: Id,
        sealed: &[u8],
        uncompressed: Option<u32>,
        expected: Sum,
    ) -> Result<()> {
        let found = match uncompressed {
            None => {
                let mut sum = RunningSum::default();
                key.reveal(sealed, |_, piece| sum.update(piece));
                Some(sum.finish())
            }
            Some(bytes) if bytes as usize > LONG_BYTES => in_pieces(key, sealed).ok(),
            Some(bytes) => {
                room_for(&mut self.opened, sealed.len());
                key.reveal(sealed, |_, piece| self.opened.extend_from_slice(piece));
                self.unpack(bytes as usize)
            }
        };
        match found == Some(expected) {
            true => Ok(()),
            false => Err(Error::Spoilt { id }),
        }
    }

    fn unpack(&mut self, bytes: usize) -> Option<Sum> {
        room_for(&mut self.unpacked, bytes);
        let unpacked = self
            .context
            .decompress_to_buffer(&self.opened, &mut self.unpacked);
        unpacked.ok().map(|_| Sum::of(&self.unpacked))
    }
}

/// The checksum of a long blob, which is never decompressed whole.
fn in_pieces(key: &Key, sealed: &[u8]) -> io::Result<Sum> {
    let mut unpacked = zstd::stream::write::Decoder::new(RunningSum::default())?;
    let mut written = Ok(());
    key.reveal(sealed, |_, piece| {
        if written.is_ok() {
            written = unpacked.write_all(piece);
        }
    });
    written.and_then(|()| unpacked.flush())?;
    Ok(unpacked.into_inner().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bit_that_flipped_before_it_is_stored_is_found() {
        let key = Key::random().unwrap();
        let plain = b"some lines of text\n".repeat(20);
        let packed = zstd::bulk::compress(&plain, 3).unwrap();
        let length = u32::try_from(plain.len()).unwrap();
        let (id, sum) = (Id::of(&plain), Sum::of(&plain));
        let mut recheck = Recheck::default();
        for (content, uncompressed) in [(&plain, None), (&packed, Some(length))] {
            let mut sealed = Vec::new();
            key.seal_into(content, &mut sealed).unwrap();
            recheck.check(&key, id, &sealed, uncompressed, sum).unwrap();
            // Flip a bit in what was sealed, except for its tag.
            for bit in 0..(sealed.len() - crate::crypto::TAG_BYTES) * 8 {
                let mut flipped = sealed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let checked = recheck.check(&key, id, &flipped, uncompressed, sum);
                // A zstd frame has a bit or two without meaning.
                let harmless = || {
                    let mut opened = Vec::new();
                    key.reveal(&flipped, |_, piece| opened.extend_from_slice(piece));
                    zstd::bulk::decompress(&opened, plain.len()).is_ok_and(|got| got == plain)
                };
                assert!(checked.is_err() || harmless(), "bit {bit}");
            }
        }
        // Flip a bit in what was read, after its checksum was taken and before it was sealed.
        let mut flipped = plain.clone();
        flipped[7] ^= 4;
        let mut sealed = Vec::new();
        key.seal_into(&flipped, &mut sealed).unwrap();
        let error = recheck.check(&key, id, &sealed, None, sum).unwrap_err();
        assert!(matches!(error, Error::Spoilt { .. }), "{error}");
    }
}
