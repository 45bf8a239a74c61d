//! Buffers that threads keep from blob to blob.

use crate::chunker::CHUNK_BYTES_MAX;

/// Longer buffers are not kept from blob to blob: the longest chunk fits, sealed or compressed.
const KEPT_BYTES: usize = CHUNK_BYTES_MAX + (CHUNK_BYTES_MAX >> 6);

/// Empties a buffer that is kept from blob to blob, and makes room for `bytes`: at once for the longest
/// chunk, since a buffer that grows bit by bit leaves holes in memory behind, and what is not used
/// of it takes none.
pub(crate) fn room_for(buffer: &mut Vec<u8>, bytes: usize) {
    buffer.clear();
    if buffer.capacity() < bytes || buffer.capacity() > KEPT_BYTES {
        // The old one goes first.
        *buffer = Vec::new();
        buffer.reserve_exact(bytes.max(KEPT_BYTES));
    }
}
