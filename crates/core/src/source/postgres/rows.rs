//! Splits COPY text into rows and sums their hashes.
//!
//! Guarantees: rows are found whatever the pieces they come in. Data without the final `\.`, or
//! with anything but blank lines after it, is an error. A row that is hashed in the dump's own
//! column order is never held beyond [`CARRY_BYTES_MAX`]; one that must be reordered is held whole.

use crate::error::{Code, Error, Result};
use crate::fingerprint::{RowSum, TableFingerprint};
use xxhash_rust::xxh3::Xxh3;

/// How much of an unfinished row is kept before it is hashed piece by piece.
const CARRY_BYTES_MAX: usize = 64 << 10;
/// Longest row that is held to be reordered; PostgreSQL cannot send a longer one.
const ROW_BYTES_MAX: usize = 2 << 30;

/// The beginning of a row whose end was not read yet.
enum Carry {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// Its hash so far, and the number of bytes in it.
    Hash(Box<Xxh3>, u64),
}

/// The sum of one table's rows.
pub struct Rows {
    sum: RowSum,
    columns: Vec<String>,
    /// The place in the row of each field to hash; `None` if rows are hashed as they are.
    order: Option<Vec<usize>>,
    carry: Carry,
    ended: bool,
    reordered: Vec<u8>,
}

impl Rows {
    /// Rows of a table with `columns`, hashed in `order` if that names the same columns.
    pub fn new(table: &str, columns: &[String], order: Option<&[String]>) -> Self {
        let places = order
            .filter(|order| *order != columns && order.len() == columns.len())
            .and_then(|order| {
                let place = |name: &String| columns.iter().position(|column| column == name);
                order.iter().map(place).collect::<Option<Vec<usize>>>()
            });
        let columns = match (&places, order) {
            (Some(_), Some(order)) => order.to_vec(),
            _ => columns.to_vec(),
        };
        Rows {
            sum: RowSum::new(table),
            columns,
            order: places,
            carry: Carry::Bytes(Vec::new()),
            ended: false,
            reordered: Vec::new(),
        }
    }

    /// Takes the next piece of COPY text.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<()> {
        while let Some(end) = position(piece) {
            let (row, rest) = piece.split_at(end);
            piece = rest.get(1..).unwrap_or_default();
            self.end_row(row)?;
        }
        if !piece.is_empty() {
            self.keep(piece)?;
        }
        Ok(())
    }

    fn end_row(&mut self, tail: &[u8]) -> Result<()> {
        match &mut self.carry {
            Carry::Bytes(kept) if kept.is_empty() => self.add(tail),
            Carry::Bytes(kept) => {
                let mut row = std::mem::take(kept);
                row.extend_from_slice(tail);
                let added = self.add(&row);
                row.clear();
                self.carry = Carry::Bytes(row);
                added
            }
            Carry::Hash(hasher, bytes) => {
                hasher.update(tail);
                let bytes = *bytes + tail.len() as u64;
                self.sum.add_hashed(hasher, bytes);
                self.carry = Carry::Bytes(Vec::new());
                Ok(())
            }
        }
    }

    fn keep(&mut self, piece: &[u8]) -> Result<()> {
        match &mut self.carry {
            Carry::Hash(hasher, bytes) => {
                hasher.update(piece);
                *bytes += piece.len() as u64;
            }
            Carry::Bytes(kept) => {
                kept.extend_from_slice(piece);
                if self.order.is_some() && kept.len() > ROW_BYTES_MAX {
                    return Err(Error::new(Code::SourceFailed, "a row is longer than 2 GiB"));
                }
                if self.order.is_none() && kept.len() > CARRY_BYTES_MAX {
                    let mut hasher = Box::new(self.sum.hasher());
                    hasher.update(kept);
                    self.carry = Carry::Hash(hasher, kept.len() as u64);
                }
            }
        }
        Ok(())
    }

    /// Adds a whole row, or notes the end of the data. (In a row, a backslash is written `\\`.)
    fn add(&mut self, row: &[u8]) -> Result<()> {
        if self.ended {
            return if row.is_empty() {
                Ok(())
            } else {
                Err(Error::new(
                    Code::SourceFailed,
                    "a table's data goes on after its end mark",
                ))
            };
        }
        if row == b"\\." {
            self.ended = true;
            return Ok(());
        }
        let Some(order) = &self.order else {
            self.sum.add(row);
            return Ok(());
        };
        let fields: Vec<&[u8]> = row.split(|byte| *byte == b'\t').collect();
        self.reordered.clear();
        for (index, place) in order.iter().enumerate() {
            if index > 0 {
                self.reordered.push(b'\t');
            }
            let field = fields.get(*place).filter(|_| fields.len() == order.len());
            let field = field.ok_or_else(|| {
                Error::new(
                    Code::SourceFailed,
                    "a row has not as many fields as its table",
                )
            })?;
            self.reordered.extend_from_slice(field);
        }
        self.sum.add(&self.reordered);
        Ok(())
    }

    /// Returns the fingerprint. Fails unless the end mark was read.
    pub fn finish(self, table: &str) -> Result<TableFingerprint> {
        let whole = self.ended && matches!(&self.carry, Carry::Bytes(kept) if kept.is_empty());
        if !whole {
            return Err(Error::new(
                Code::SourceFailed,
                format!("the dump has no end of the data of {table}"),
            )
            .hint("the dump was cut short; run again"));
        }
        Ok(self.into_fingerprint())
    }

    /// Returns the fingerprint of the rows so far.
    pub fn into_fingerprint(self) -> TableFingerprint {
        TableFingerprint {
            rows: self.sum.rows,
            bytes: self.sum.bytes,
            hash: self.sum.hex(),
            columns: self.columns,
        }
    }

    /// Begins a large object, which counts as a row of its number and its content.
    pub fn begin_object(&mut self, oid: i64) {
        let mut hasher = Box::new(self.sum.hasher());
        hasher.update(&oid.to_le_bytes());
        self.carry = Carry::Hash(hasher, 0);
    }

    /// Takes the next piece of a large object.
    pub fn feed_object(&mut self, piece: &[u8]) {
        if let Carry::Hash(hasher, bytes) = &mut self.carry {
            hasher.update(piece);
            *bytes += piece.len() as u64;
        }
    }

    /// Ends a large object.
    pub fn end_object(&mut self) {
        if let Carry::Hash(hasher, bytes) = &self.carry {
            self.sum.add_hashed(hasher, *bytes);
        }
        self.carry = Carry::Bytes(Vec::new());
    }
}

fn position(piece: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn sum(pieces: &[&[u8]], columns: &str, order: Option<&str>) -> Result<TableFingerprint> {
        let order = order.map(names);
        let mut rows = Rows::new("t", &names(columns), order.as_deref());
        for piece in pieces {
            rows.feed(piece)?;
        }
        rows.finish("t")
    }

    #[test]
    fn pieces_do_not_matter() {
        let text = b"1\tone\n2\ttwo\n\\.\n\n\n";
        let whole = sum(&[text], "a b", None).unwrap();
        assert_eq!((whole.rows, whole.bytes), (2, 10));
        for at in 0..text.len() {
            let (left, right) = text.split_at(at);
            assert_eq!(sum(&[left, right], "a b", None).unwrap(), whole);
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(sum(&single, "a b", None).unwrap(), whole);
    }

    #[test]
    fn a_long_row_in_pieces_is_the_same_row() {
        let mut text = vec![b'x'; 300_000];
        text.extend_from_slice(b"\n\\.\n\n\n");
        let whole = sum(&[&text], "a", None).unwrap();
        let pieces: Vec<&[u8]> = text.chunks(1000).collect();
        assert_eq!(sum(&pieces, "a", None).unwrap(), whole);
        assert_eq!(whole.bytes, 300_000);
    }

    #[test]
    fn another_column_order_gives_the_same_sum() {
        let captured = sum(&[b"1\tone\tx\n\\.\n\n\n"], "a b c", None).unwrap();
        let restored = sum(&[b"x\t1\tone\n\\.\n\n\n"], "c a b", Some("a b c")).unwrap();
        assert_eq!(captured, restored);
        let wrong = sum(&[b"one\tx\t1\n\\.\n\n\n"], "c a b", Some("a b c")).unwrap();
        assert_ne!(captured, wrong);
        assert!(sum(&[b"1\tone\n\\.\n"], "c a b", Some("a b c")).is_err());
    }

    #[test]
    fn data_without_its_end_is_refused() {
        assert!(sum(&[b"1\n"], "a", None).is_err());
        assert!(sum(&[b"1\n\\."], "a", None).is_err());
        assert!(sum(&[b"\\.\n1\n"], "a", None).is_err());
        assert_eq!(sum(&[b"\\.\n\n\n"], "a", None).unwrap().rows, 0);
        // Rows of one empty text are empty lines.
        assert_eq!(sum(&[b"\n\n\\.\n\n\n"], "a", None).unwrap().rows, 2);
    }
}
