//! Sums the hashes of a table's rows, as a dump writes them.
//!
//! A row is the text between its parentheses. Guarantees: pieces, batches and the order of rows do
//! not matter. A row in the dump's own column order is never held beyond [`CARRY_BYTES_MAX`]; one
//! that must be reordered is held whole.

use crate::error::{Code, Error, Result};
use crate::fingerprint::{RowSum, TableFingerprint};
use memchr::memchr2;
use xxhash_rust::xxh3::Xxh3;

/// How much of an unfinished row is kept before it is hashed piece by piece.
const CARRY_BYTES_MAX: usize = 64 << 10;
/// Longest row that is held to be reordered; a server accepts no longer one.
const ROW_BYTES_MAX: usize = 2 << 30;
/// Number of last bytes that may turn out not to belong to the row.
const HELD_BYTES: usize = 2;

/// The rows of one table so far.
pub struct Rows {
    sum: RowSum,
    columns: Vec<String>,
    /// The place in the row of each value to hash; `None` if rows are hashed as they are.
    order: Option<Vec<usize>>,
    /// Number of values in a row.
    values: usize,
    /// The beginning of a row whose end was not read yet.
    carry: Vec<u8>,
    /// The hash of a long row so far, and the number of bytes in it.
    hashing: Option<(Box<Xxh3>, u64)>,
    reordered: Vec<u8>,
}

impl Rows {
    /// Rows of a table of which only the name is known.
    pub fn new(table: &str) -> Self {
        Rows {
            sum: RowSum::new(table),
            columns: Vec::new(),
            order: None,
            values: 0,
            carry: Vec::new(),
            hashing: None,
            reordered: Vec::new(),
        }
    }

    /// Sets the columns of the next rows and, if all of them are there, the columns to hash in
    /// order.
    pub fn set_columns(&mut self, columns: Vec<String>, order: Option<&[String]>) {
        let places = order
            .filter(|order| *order != columns && !order.is_empty())
            .and_then(|order| {
                let place = |name: &String| columns.iter().position(|column| column == name);
                order.iter().map(place).collect::<Option<Vec<usize>>>()
            });
        self.values = columns.len();
        self.columns = match (&places, order) {
            (Some(_), Some(order)) => order.to_vec(),
            _ => columns,
        };
        self.order = places;
    }

    /// Takes a piece of a row that goes on.
    pub fn push(&mut self, piece: &[u8]) -> Result<()> {
        self.carry.extend_from_slice(piece);
        if self.carry.len() <= CARRY_BYTES_MAX {
            return Ok(());
        }
        if self.order.is_some() {
            return match self.carry.len() > ROW_BYTES_MAX {
                true => Err(Error::new(Code::SourceFailed, "a row is longer than 2 GiB")),
                false => Ok(()),
            };
        }
        let certain = self.carry.len().saturating_sub(HELD_BYTES);
        let (hasher, bytes) = self
            .hashing
            .get_or_insert_with(|| (Box::new(self.sum.hasher()), 0));
        hasher.update(self.carry.get(..certain).unwrap_or_default());
        *bytes += certain as u64;
        self.carry.drain(..certain);
        Ok(())
    }

    /// Takes the last piece of a row. Its last `surplus` bytes (at most two) do not belong to the
    /// row. Returns true if those are `expected`.
    pub fn end(
        &mut self,
        tail: &[u8],
        surplus: usize,
        expected: &[&[u8]],
    ) -> Result<Option<usize>> {
        if self.carry.is_empty() && self.hashing.is_none() {
            return self.add(tail, surplus, expected);
        }
        let mut row = std::mem::take(&mut self.carry);
        row.extend_from_slice(tail);
        let found = match self.hashing.take() {
            None => self.add(&row, surplus, expected),
            Some((mut hasher, bytes)) => {
                let (rest, end) = row.split_at(row.len().saturating_sub(surplus));
                hasher.update(rest);
                self.sum.add_hashed(&hasher, bytes + rest.len() as u64);
                Ok(expected.iter().position(|text| *text == end))
            }
        };
        row.clear();
        self.carry = row;
        found
    }

    fn add(&mut self, row: &[u8], surplus: usize, expected: &[&[u8]]) -> Result<Option<usize>> {
        let (row, end) = row.split_at(row.len().saturating_sub(surplus));
        match &self.order {
            None => self.sum.add(row),
            Some(order) => {
                let values = values(row);
                if values.len() != self.values {
                    return Err(Error::new(
                        Code::SourceFailed,
                        "a row has another number of values than its table has columns",
                    ));
                }
                self.reordered.clear();
                for place in order {
                    self.reordered
                        .extend_from_slice(values.get(*place).copied().unwrap_or_default());
                    self.reordered.push(b',');
                }
                self.reordered.pop();
                self.sum.add(&self.reordered);
            }
        }
        Ok(expected.iter().position(|text| *text == end))
    }

    /// Returns the fingerprint.
    pub fn finish(self) -> TableFingerprint {
        TableFingerprint {
            rows: self.sum.rows,
            bytes: self.sum.bytes,
            hash: self.sum.hex(),
            columns: self.columns,
        }
    }
}

/// Splits a row into values at its commas, except commas in quotes.
fn values(row: &[u8]) -> Vec<&[u8]> {
    let mut values = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while let Some(found) = memchr2(b'\'', b',', row.get(at..).unwrap_or_default()) {
        at += found;
        if row.get(at) == Some(&b',') {
            values.push(row.get(begin..at).unwrap_or_default());
            at += 1;
            begin = at;
        } else {
            at = after_quoted(row, at + 1);
        }
    }
    values.push(row.get(begin..).unwrap_or_default());
    values
}

/// The offset after a quoted text that began before `at`.
fn after_quoted(row: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr2(b'\'', b'\\', row.get(at..).unwrap_or_default()) {
        at += found;
        if row.get(at) == Some(&b'\\') {
            at += 2;
        } else {
            return at + 1;
        }
    }
    row.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn sum(rows: &[&[u8]], columns: &str, order: Option<&str>) -> TableFingerprint {
        let order = order.map(names);
        let mut all = Rows::new("t");
        all.set_columns(names(columns), order.as_deref());
        for row in rows {
            all.end(row, 0, &[]).unwrap();
        }
        all.finish()
    }

    #[test]
    fn pieces_do_not_matter_however_long_the_row_is() {
        for length in [0, 1, 2, 3, 100, CARRY_BYTES_MAX, 3 * CARRY_BYTES_MAX + 7] {
            let row = vec![b'x'; length];
            let whole = sum(&[&row], "a", None);
            assert_eq!((whole.rows, whole.bytes), (1, length as u64));
            for size in [1000, 65536] {
                let mut rows = Rows::new("t");
                rows.set_columns(names("a"), None);
                let mut text = row.clone();
                text.extend_from_slice(b"),");
                let mut pieces = text.chunks(size).peekable();
                while let Some(piece) = pieces.next() {
                    match pieces.peek() {
                        Some(_) => rows.push(piece).unwrap(),
                        None => {
                            let found = rows.end(piece, 2, &[b");", b"),"]).unwrap();
                            assert_eq!(found, Some(1));
                        }
                    }
                }
                assert_eq!(rows.finish(), whole, "{length} in pieces of {size}");
            }
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_their_number_does() {
        assert_eq!(sum(&[b"1", b"2"], "a", None), sum(&[b"2", b"1"], "a", None));
        assert_ne!(sum(&[b"1", b"1"], "a", None), sum(&[b"1"], "a", None));
    }

    #[test]
    fn another_column_order_gives_the_same_sum() {
        let captured = sum(&[br"1,'it\'s, (a) ''b''',0x2C,NULL"], "a b c d", None);
        let restored = sum(
            &[br"NULL,'it\'s, (a) ''b''',1,0x2C"],
            "d b a c",
            Some("a b c d"),
        );
        assert_eq!(captured, restored);
        let wrong = sum(
            &[br"1,'it\'s, (a) ''b''',NULL,0x2C"],
            "d b a c",
            Some("a b c d"),
        );
        assert_ne!(captured, wrong);
        // Some of the columns.
        let part = sum(&[br"9,1,'x'"], "c a b", Some("a b"));
        assert_eq!(part, sum(&[br"1,'x'"], "a b", None));
        let mut rows = Rows::new("t");
        rows.set_columns(names("b a"), Some(&names("a b")));
        assert!(rows.end(b"1,2,3", 0, &[]).is_err());
    }
}
