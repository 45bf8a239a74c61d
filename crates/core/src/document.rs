//! Writes documents: manifests, details and records of evidence, and the answers of verbs.
//!
//! A command's answer is a type that serialises and is defined beside what it describes.
//! [`Document`] adds the version of the format. The command line and a dashboard read the same
//! document.

use crate::error::{Code, Error, Result};
use serde::{Serialize, Serializer};
use std::io::{self, BufWriter, Write};

/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// Version of the format of every document: 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Schema;

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_u32(1)
    }
}

/// A document: the version of its format, followed by the fields of `T`.
#[derive(Debug, Clone, Serialize)]
pub struct Document<T> {
    schema: Schema,
    #[serde(flatten)]
    body: T,
}

impl<T: Serialize> Document<T> {
    /// Makes a document of `body`.
    pub const fn new(body: T) -> Self {
        let schema = Schema;
        Document { schema, body }
    }
}

/// Document of an error that ended the run.
#[derive(Debug, Clone, Serialize)]
pub struct Failure<'a> {
    /// The error.
    pub error: &'a Error,
}

/// Writes compact JSON with a final newline, for documents that may list a million files. Other
/// documents in a store are indented ([`to_json`]).
pub fn write_json(output: &mut dyn Write, value: &impl serde::Serialize) -> Result<()> {
    let mut output = BufWriter::with_capacity(BUFFER_BYTES, output);
    serde_json::to_writer(&mut output, value)
        .map_err(io::Error::from)
        .and_then(|()| output.write_all(b"\n"))
        .and_then(|()| output.flush())
        .map_err(|error| Error::from_io(Code::Store, "a document cannot be written", error))
}

/// Indented JSON with a final newline, the form of every document in a store except the details of points.
pub fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(Code::Io, "a document cannot be written as JSON").cause(e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Asserts that the document of `body` is exactly this text.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_document(body: impl Serialize, expected: &str) {
    let text = serde_json::to_string_pretty(&Document::new(body)).unwrap();
    assert_eq!(text, expected, "\n{text}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_document() {
        let error = Error::new(Code::PointUnknown, "no point begins with 1999")
            .hint("run `lifeboat points`");
        let expected = r#"{
  "schema": 1,
  "error": {
    "code": "point-unknown",
    "message": "no point begins with 1999",
    "cause": null,
    "hint": "run `lifeboat points`"
  }
}"#;
        assert_document(Failure { error: &error }, expected);
    }
}
