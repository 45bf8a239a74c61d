//! OpenPGP key files: armored or binary, one key or several, in one block or several.

use memchr::memmem;
use pgp::composed::PublicOrSecret;
use std::io::Cursor;

const BEGIN: &[u8] = b"-----BEGIN PGP ";
const END: &[u8] = b"-----END PGP ";

/// Returns whether this looks like OpenPGP, armored or binary, rather than like a text file of
/// other keys.
pub(in crate::archive) fn is_openpgp(bytes: &[u8]) -> bool {
    is_binary(bytes) || memmem::find(bytes, BEGIN).is_some()
}

/// Returns whether the first bit is set, as in every packet and in no text.
fn is_binary(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|byte| byte & 0x80 != 0)
}

/// Parses every key in `bytes`; empty when there is none. The parser's error shows no key.
pub(super) fn keys(bytes: &[u8]) -> Result<Vec<PublicOrSecret>, pgp::errors::Error> {
    if is_binary(bytes) {
        return PublicOrSecret::from_bytes_many(Cursor::new(bytes))?.collect();
    }
    let mut keys = Vec::new();
    for block in blocks(bytes) {
        let (found, _) = PublicOrSecret::from_armor_many_buf(Cursor::new(block))?;
        for key in found {
            keys.push(key?);
        }
    }
    Ok(keys)
}

/// The armored blocks of a text. A block without an end reaches to the end of the text, so that the
/// parser reports what is wrong with it.
fn blocks(mut text: &[u8]) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    while let Some(begin) = memmem::find(text, BEGIN) {
        text = text.get(begin..).unwrap_or_default();
        let end = memmem::find(text, END).map_or(text.len(), |at| {
            let rest = text.get(at..).unwrap_or_default();
            at + memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1)
        });
        let (block, rest) = text.split_at(end);
        blocks.push(block);
        text = rest;
    }
    blocks
}
