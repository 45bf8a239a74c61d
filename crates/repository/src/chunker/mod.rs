//! Cuts a stream into chunks at places that its content determines, exactly as restic does: a Rabin
//! fingerprint over the last 64 bytes, a cut where its low 20 bits are zero, chunks of 512 KiB to 8
//! MiB.
//!
//! The fingerprint at a place depends only on the 64 bytes before it. So places can be found in any
//! order and in many lanes at once ([`Chunker::candidates`]), and the limits on a chunk's length
//! are applied afterwards. Every implementation finds the same places; a test compares each with
//! the plain definition.

#[cfg(target_arch = "x86_64")]
mod gfni;
mod input;
mod polynomial;
mod scalar;
mod stream;

pub use input::Input;
pub use polynomial::{DEGREE, Polynomial};
pub use stream::Chunks;

use scalar::Tables;

/// The shortest chunk in bytes; only the last of a stream may be shorter.
pub const CHUNK_BYTES_MIN: usize = 512 << 10;
/// The longest chunk in bytes.
pub const CHUNK_BYTES_MAX: usize = 8 << 20;
/// The bytes that the fingerprint covers.
pub const WINDOW_BYTES: usize = 64;
/// The bits of the fingerprint that are zero at a cut: every 1 MiB on average.
const MASK: u64 = (1 << 20) - 1;

/// Finds the places where a stream may be cut. It is made once for a repository and may be shared.
#[derive(Debug)]
pub struct Chunker {
    tables: Box<Tables>,
    #[cfg(target_arch = "x86_64")]
    gfni: Option<gfni::Lanes>,
}

impl Chunker {
    /// Makes a chunker that uses the fastest instructions of this processor.
    pub fn new(polynomial: Polynomial) -> Self {
        Chunker {
            tables: Box::new(Tables::new(polynomial)),
            #[cfg(target_arch = "x86_64")]
            gfni: gfni::Lanes::new(polynomial),
        }
    }

    /// Appends to `found`, in ascending order, every place `p` with `from <= p <= to` where a chunk
    /// may end according to the 64 bytes before it, `data[p - 64..p]`. Places before 64 have no
    /// window and are left out.
    pub fn candidates(&self, data: &[u8], from: usize, to: usize, found: &mut Vec<usize>) {
        let from = from.max(WINDOW_BYTES);
        let to = to.min(data.len());
        if from > to {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(lanes) = &self.gfni {
            let next = lanes.candidates(data, from, to, found);
            if next <= to {
                self.tables.one_lane(data, next, to, found);
            }
            return;
        }
        self.tables.four_lanes(data, from, to, found);
    }
}

/// The chunk that zeros are cut into: their fingerprint is zero, so they are cut at the shortest
/// length.
pub(crate) static ZEROS: [u8; CHUNK_BYTES_MIN] = [0; CHUNK_BYTES_MIN];

/// Returns whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    let clear = |word: &[u8; 64]| word.iter().fold(0, |all, byte| all | byte) == 0;
    words.iter().all(clear) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
