//! How documents are written: manifests, details and records of evidence.

use crate::error::{Code, Error, Result};
use std::io::{self, BufWriter, Write};

/// So much is collected before it is written.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes JSON with a final newline. Other documents in a store are indented; this is for one that may list
/// a million files.
pub fn write_json(output: &mut dyn Write, value: &impl serde::Serialize) -> Result<()> {
    let mut output = BufWriter::with_capacity(BUFFER_BYTES, output);
    serde_json::to_writer(&mut output, value)
        .map_err(io::Error::from)
        .and_then(|()| output.write_all(b"\n"))
        .and_then(|()| output.flush())
        .map_err(|error| Error::from_io(Code::Store, "a document cannot be written", error))
}

/// Indented JSON with a final newline, as every document in a store is but for details.
pub fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(Code::Io, "a document cannot be written as JSON").cause(e))?;
    bytes.push(b'\n');
    Ok(bytes)
}
