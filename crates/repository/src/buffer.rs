//! Buffers that threads reuse from blob to blob.

use crate::chunker::CHUNK_BYTES_MAX;

/// A buffer longer than this is not reused. The longest chunk fits, sealed or compressed.
const KEPT_BYTES: usize = CHUNK_BYTES_MAX + (CHUNK_BYTES_MAX >> 6);

/// Empties a buffer for reuse and makes room for `bytes`, at once enough for the longest chunk: a
/// buffer that grows bit by bit leaves gaps in memory behind, and reserved space takes none until
/// it is used.
pub(crate) fn room_for(buffer: &mut Vec<u8>, bytes: usize) {
    buffer.clear();
    if buffer.capacity() < bytes || buffer.capacity() > KEPT_BYTES {
        // The old buffer is freed first.
        *buffer = Vec::new();
        buffer.reserve_exact(bytes.max(KEPT_BYTES));
    }
}
