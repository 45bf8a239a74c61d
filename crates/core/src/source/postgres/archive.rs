//! Reads `pg_dump`'s custom format as it passes, and fingerprints the rows in it.
//!
//! Guarantees: `Ok` means that the archive has a header, a table of contents, a data block for
//! every entry that has data, and nothing after them. Each row of each table is in its sum once,
//! however rows and chunks overlap. Lengths in the stream are never trusted: memory grows only with
//! bytes that came. Nothing is decompressed: the dump is made with `--compress=0`.
//!
//! The format is that of `pg_backup_archiver.c` and `pg_backup_custom.c`, versions 1.12 to 1.16
//! (`pg_dump` 10 to 18): a header; the table of contents; then for each entry with data a type
//! byte, the entry's id, and chunks of a length and that many bytes, the last of length 0. Integers
//! are a sign byte and `int_bytes` bytes, little-endian; a string is its length (−1: null) and
//! bytes.

use super::name::qualified;
use super::rows::Rows;
use crate::error::{Code, Error, Result};
use crate::fingerprint::TableFingerprint;
use std::collections::BTreeMap;
use std::io::{BufRead, Read};

/// Longest string of a table of contents that is accepted: a function body may be long.
const STRING_BYTES_MAX: u64 = 256 << 20;
/// Most entries of a table of contents that are accepted.
const ENTRIES_MAX: i64 = 100 << 20;
const BLOCK_DATA: u8 = 1;
const BLOCK_BLOBS: u8 = 3;
/// The name of large objects among the tables.
pub const LARGE_OBJECTS: &str = "pg_largeobject";

/// The columns of each table in the order to hash them; empty for the dump's own order.
pub type ColumnOrders = BTreeMap<String, Vec<String>>;

/// The contents of an archive.
#[derive(Debug, Default)]
pub struct Contents {
    /// Tables by `schema.table`; large objects as [`LARGE_OBJECTS`], if there are any.
    pub tables: BTreeMap<String, TableFingerprint>,
    /// The version of the server that was dumped.
    pub server: String,
    /// The version of `pg_dump`.
    pub client: String,
    /// Size of the archive, in bytes.
    pub bytes: u64,
}

/// An entry of the table of contents that has data.
struct Entry {
    description: String,
    table: String,
    columns: Vec<String>,
    seen: bool,
}

/// Reads an archive to its end.
pub fn read(input: impl BufRead, orders: &ColumnOrders) -> Result<Contents> {
    let mut reader = Reader {
        input,
        int_bytes: 4,
        offset_bytes: 8,
        version: (1, 12),
        bytes: 0,
    };
    let mut contents = Contents::default();
    reader.header(&mut contents)?;
    let mut entries = reader.table_of_contents()?;
    let mut large_objects = Rows::new(LARGE_OBJECTS, &["oid".into(), "content".into()], None);
    let mut large_objects_dumped = false;
    while let Some(kind) = reader.byte_or_end()? {
        let id = reader.integer()?;
        let entry = entries
            .get_mut(&id)
            .ok_or_else(|| malformed(format!("a data block belongs to no entry ({id})")))?;
        if std::mem::replace(&mut entry.seen, true) {
            return Err(malformed(format!("{} has two data blocks", entry.table)));
        }
        match kind {
            BLOCK_DATA => {
                let order = orders.get(&entry.table).map(Vec::as_slice);
                let mut rows = Rows::new(&entry.table, &entry.columns, order);
                reader.chunks(|bytes| rows.feed(bytes))?;
                contents
                    .tables
                    .insert(entry.table.clone(), rows.finish(&entry.table)?);
            }
            BLOCK_BLOBS => {
                large_objects_dumped = true;
                reader.blobs(&mut large_objects)?;
            }
            other => return Err(malformed(format!("unknown block type {other}"))),
        }
    }
    if let Some(missing) = entries.values().find(|entry| !entry.seen) {
        return Err(Error::new(
            Code::SourceFailed,
            format!(
                "the dump ends before the data of {} {}",
                missing.description, missing.table
            ),
        )
        .hint("the dump was cut short; run again"));
    }
    if large_objects_dumped {
        let sum = large_objects.into_fingerprint();
        contents.tables.insert(LARGE_OBJECTS.into(), sum);
    }
    contents.bytes = reader.bytes;
    Ok(contents)
}

fn malformed(why: impl std::fmt::Display) -> Error {
    Error::new(
        Code::SourceFailed,
        format!("the dump is not what pg_dump --format=custom makes: {why}"),
    )
    .hint("run again; if it happens twice, report the versions of pg_dump and the server")
}

struct Reader<R> {
    input: R,
    int_bytes: u8,
    offset_bytes: u8,
    version: (u8, u8),
    bytes: u64,
}

impl<R: BufRead> Reader<R> {
    fn header(&mut self, contents: &mut Contents) -> Result<()> {
        let mut magic = [0; 5];
        self.exact(&mut magic)?;
        if &magic != b"PGDMP" {
            return Err(malformed("it does not begin with PGDMP"));
        }
        self.version = (self.byte()?, self.byte()?);
        self.byte()?; // revision: no bearing on the format
        if self.version.0 != 1 || !(12..=16).contains(&self.version.1) {
            let (major, minor) = self.version;
            return Err(malformed(format!(
                "archive version {major}.{minor} is not one of 1.12 to 1.16"
            )));
        }
        self.int_bytes = self.byte()?;
        self.offset_bytes = self.byte()?;
        if !(1..=8).contains(&self.int_bytes) || !(1..=8).contains(&self.offset_bytes) {
            return Err(malformed("its integers have an unlikely size"));
        }
        if self.byte()? != 1 {
            return Err(malformed("it is not in the custom format"));
        }
        let compression = if self.version.1 >= 15 {
            i64::from(self.byte()?)
        } else {
            self.integer()?
        };
        if compression != 0 {
            return Err(malformed("it is compressed"));
        }
        for _ in 0..7 {
            self.integer()?; // the time it was made: second, minute, hour, day, month, year, DST
        }
        self.string()?; // database
        contents.server = self.string()?.unwrap_or_default();
        contents.client = self.string()?.unwrap_or_default();
        Ok(())
    }

    /// The entries that have data, by id.
    fn table_of_contents(&mut self) -> Result<BTreeMap<i64, Entry>> {
        let count = self.integer()?;
        if !(0..=ENTRIES_MAX).contains(&count) {
            return Err(malformed(format!("it claims {count} entries")));
        }
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            if let Some((id, entry)) = self.entry()?
                && entries.insert(id, entry).is_some()
            {
                return Err(malformed(format!("two entries have the id {id}")));
            }
        }
        Ok(entries)
    }

    fn entry(&mut self) -> Result<Option<(i64, Entry)>> {
        let id = self.integer()?;
        let has_data = self.integer()? != 0;
        self.string()?; // table oid
        self.string()?; // oid
        let tag = self.string()?.unwrap_or_default();
        let description = self.string()?.unwrap_or_default();
        self.integer()?; // section
        self.string()?; // definition
        self.string()?; // drop statement
        let copy = self.string()?;
        let namespace = self.string()?;
        self.string()?; // tablespace
        if self.version.1 >= 14 {
            self.string()?; // table access method
        }
        if self.version.1 >= 16 {
            self.integer()?; // kind of relation
        }
        self.string()?; // owner
        self.string()?; // "with oids", always false
        while self.string()?.is_some() {} // dependencies, ended by a null
        self.byte()?; // offset flag: a dump through a pipe has no offsets
        for _ in 0..self.offset_bytes {
            self.byte()?;
        }
        if !has_data {
            return Ok(None);
        }
        let columns = match (&copy, description.as_str()) {
            (Some(statement), "TABLE DATA") => copied_columns(statement)
                .ok_or_else(|| malformed(format!("its COPY of {tag} is not understood")))?,
            _ => Vec::new(),
        };
        let entry = Entry {
            description,
            table: qualified(namespace.as_deref(), &tag),
            columns,
            seen: false,
        };
        Ok(Some((id, entry)))
    }

    fn blobs(&mut self, sum: &mut Rows) -> Result<()> {
        loop {
            let oid = self.integer()?;
            if oid == 0 {
                return Ok(());
            }
            sum.begin_object(oid);
            self.chunks(|bytes| {
                sum.feed_object(bytes);
                Ok(())
            })?;
            sum.end_object();
        }
    }

    /// Passes on the bytes of a block's chunks, in whatever pieces they come.
    fn chunks(&mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        loop {
            let length = self.integer()?;
            let mut left = u64::try_from(length)
                .map_err(|_| malformed(format!("a chunk has the length {length}")))?;
            if left == 0 {
                return Ok(());
            }
            while left > 0 {
                let available = self.input.fill_buf().map_err(unreadable)?;
                if available.is_empty() {
                    return Err(cut_short());
                }
                let count = usize::try_from(left).unwrap_or(usize::MAX);
                let piece = available.get(..count).unwrap_or(available);
                take(piece)?;
                let count = piece.len();
                self.input.consume(count);
                self.bytes += count as u64;
                left -= count as u64;
            }
        }
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.input.read_exact(buffer).map_err(|error| {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                cut_short()
            } else {
                unreadable(error)
            }
        })?;
        self.bytes += buffer.len() as u64;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.exact(&mut byte)?;
        let [byte] = byte;
        Ok(byte)
    }

    fn byte_or_end(&mut self) -> Result<Option<u8>> {
        if self.input.fill_buf().map_err(unreadable)?.is_empty() {
            return Ok(None);
        }
        self.byte().map(Some)
    }

    fn integer(&mut self) -> Result<i64> {
        let mut bytes = [0; 9];
        let width = usize::from(self.int_bytes) + 1;
        let (used, _) = bytes.split_at_mut(width.min(9));
        self.exact(used)?;
        let [sign, magnitude @ ..] = bytes;
        let magnitude = i64::try_from(u64::from_le_bytes(magnitude))
            .map_err(|_| malformed("an integer is too large"))?;
        Ok(if sign == 0 { magnitude } else { -magnitude })
    }

    fn string(&mut self) -> Result<Option<String>> {
        let length = self.integer()?;
        if length == -1 {
            return Ok(None);
        }
        let length = u64::try_from(length)
            .ok()
            .filter(|length| *length <= STRING_BYTES_MAX)
            .ok_or_else(|| malformed(format!("a string has the length {length}")))?;
        let mut bytes = Vec::new();
        let count = (&mut self.input)
            .take(length)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        self.bytes += count as u64;
        if count as u64 != length {
            return Err(cut_short());
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

fn cut_short() -> Error {
    Error::new(Code::SourceFailed, "the dump ends in the middle")
        .hint("the dump was cut short; run again")
}

fn unreadable(error: std::io::Error) -> Error {
    Error::from_io(Code::SourceFailed, "the dump cannot be read", error)
}

/// The columns of `COPY schema.table (a, "B c") FROM stdin;`. A table without columns to copy has
/// no list.
fn copied_columns(statement: &str) -> Option<Vec<String>> {
    let mut rest = statement.strip_prefix("COPY ")?;
    // The table's name: identifiers and dots.
    loop {
        (_, rest) = take_identifier(rest)?;
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None => break,
        }
    }
    let mut columns = Vec::new();
    let rest = rest.trim_start();
    let Some(mut rest) = rest.strip_prefix('(') else {
        return rest.starts_with("FROM stdin").then_some(columns);
    };
    loop {
        let (column, after) = take_identifier(rest)?;
        columns.push(column);
        match after.strip_prefix(", ") {
            Some(after) => rest = after,
            None => return after.starts_with(") FROM stdin").then_some(columns),
        }
    }
}

/// One SQL identifier at the start, unquoted, and the text after it.
fn take_identifier(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end)?;
        return (!name.is_empty()).then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, after)),
        }
    }
}
