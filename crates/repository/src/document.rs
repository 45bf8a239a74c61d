//! Files that hold one JSON document, sealed; in format 2 it is compressed before.

use crate::crypto::Key;
use crate::error::{Damage, Result};
use serde::de::DeserializeOwned;
use std::cell::Cell;

/// The first plaintext byte of a compressed document.
const COMPRESSED: u8 = 2;
/// The longest document, decompressed; the index of a very large repository is far below.
const DOCUMENT_BYTES_MAX: usize = 1 << 30;

/// Seals a document; with `compress`, compressed as in format 2.
pub(crate) fn seal(key: &Key, document: &[u8], compress: bool) -> Result<Vec<u8>> {
    let mut sealed = Vec::new();
    if compress {
        let mut plain = vec![COMPRESSED];
        let packed = zstd::bulk::compress(document, 3)
            .map_err(|error| crate::Error::Config(Damage::Format(error.to_string())))?;
        plain.extend_from_slice(&packed);
        key.seal_into(&plain, &mut sealed)?;
    } else {
        key.seal_into(document, &mut sealed)?;
    }
    Ok(sealed)
}

/// Opens a sealed document and returns its JSON text.
pub(crate) fn open(key: &Key, sealed: Vec<u8>) -> std::result::Result<Vec<u8>, Damage> {
    let plain = key.open(sealed)?;
    match plain.split_first() {
        Some((b'{' | b'[', _)) => Ok(plain),
        Some((&COMPRESSED, rest)) => decompress(rest, DOCUMENT_BYTES_MAX),
        Some((first, _)) => Err(Damage::Format(format!("unknown first byte {first}"))),
        None => Err(Damage::Short { bytes: 0 }),
    }
}

/// Opens and parses a sealed document.
pub(crate) fn parse<T: DeserializeOwned>(
    key: &Key,
    sealed: Vec<u8>,
) -> std::result::Result<T, Damage> {
    let document = open(key, sealed)?;
    serde_json::from_slice(&document).map_err(|error| Damage::Format(error.to_string()))
}

/// The shortest block of a zstd frame, and the most that a block can hold.
const BLOCK_BYTES_MIN: usize = 4;
const BLOCK_BYTES_MAX: usize = 128 << 10;

thread_local! {
    /// A new context for each small document would cost more than the document.
    static CONTEXT: Cell<Option<zstd::bulk::Decompressor<'static>>> = const { Cell::new(None) };
}

/// Decompresses a zstd frame, which may hold at most `limit` bytes.
pub(crate) fn decompress(packed: &[u8], limit: usize) -> std::result::Result<Vec<u8>, Damage> {
    let format = |error: std::io::Error| Damage::Format(format!("zstd: {error}"));
    let declared = zstd::zstd_safe::get_frame_content_size(packed)
        .ok()
        .flatten();
    if let Some(length) = declared.and_then(|length| usize::try_from(length).ok()) {
        // A false length must not make us reserve memory for it.
        let possible = (packed.len() / BLOCK_BYTES_MIN).saturating_mul(BLOCK_BYTES_MAX);
        if length > limit.min(possible) {
            return Err(Damage::Format(format!(
                "it says that it holds {length} bytes"
            )));
        }
        let mut context = match CONTEXT.take() {
            Some(context) => context,
            None => zstd::bulk::Decompressor::new().map_err(format)?,
        };
        let plain = context.decompress(packed, length).map_err(format);
        CONTEXT.set(Some(context));
        return plain;
    }
    use std::io::Read;
    let mut plain = Vec::new();
    let reader = zstd::stream::read::Decoder::new(packed).map_err(format)?;
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let read = reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut plain)
        .map_err(format)?;
    if read as u64 > limit {
        return Err(Damage::Format(format!("it holds more than {limit} bytes")));
    }
    Ok(plain)
}
