//! Reads one `INSERT` statement: its table, its columns, its rows.
//!
//! Newer programs write one row a line, and a newline in a value as `\n`; rows are then found by
//! newlines, at the speed of memory. Older ones, and MySQL's, write rows one after another; quotes
//! are then followed. The layout shows after the first row.

use super::super::rows::Rows;
use super::{ColumnOrders, HELD_BYTES_MAX, identifier, not_understood};
use crate::error::{Error, Result};
use memchr::{memchr, memchr2};
use std::collections::BTreeMap;

/// The layout of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Not known before the second row.
    Unknown,
    /// One row a line.
    Lines,
    /// Rows one after another.
    Packed,
}

/// What the reader expects next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// More of the text before the first row.
    Head,
    /// The parenthesis that opens a row.
    Open,
    /// More of a row, outside quotes.
    Row,
    /// More of a row, in quotes.
    Quoted,
    /// In quotes, the character after a backslash.
    Escaped,
    /// The separator after a row: `,` or `;`.
    Separator,
    /// What follows a comma: a newline or a row.
    Comma,
    /// Nothing.
    Nothing,
}

/// An `INSERT` read so far, from what follows `INSERT INTO `.
#[derive(Debug)]
pub struct Insert {
    next: Next,
    layout: Layout,
    head: Vec<u8>,
    in_name: bool,
    table: String,
    bytes: u64,
}

impl Default for Insert {
    fn default() -> Self {
        Insert {
            next: Next::Head,
            layout: Layout::Unknown,
            head: Vec::new(),
            in_name: false,
            table: String::new(),
            bytes: super::INSERT.len() as u64,
        }
    }
}

impl Insert {
    /// Returns true once its `;` was read.
    pub fn ended(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Returns its table and its length in bytes.
    pub fn table_and_bytes(self) -> (String, u64) {
        (self.table, self.bytes)
    }

    /// Takes the next piece, and returns the part after the statement.
    pub fn feed<'p>(
        &mut self,
        piece: &'p [u8],
        tables: &mut BTreeMap<String, Rows>,
        orders: &ColumnOrders,
    ) -> Result<&'p [u8]> {
        let mut rest = piece;
        if self.next == Next::Head {
            rest = self.head(rest)?;
            if self.next == Next::Head {
                self.bytes += piece.len() as u64;
                return Ok(rest);
            }
            self.end_head(tables, orders)?;
        }
        let Some(rows) = tables.get_mut(&self.table) else {
            return Err(not_understood("a table has rows and no definition"));
        };
        while !rest.is_empty() && self.next != Next::Nothing {
            rest = match (self.next, self.layout) {
                (Next::Row, Layout::Lines) => self.lines(rest, rows)?,
                (Next::Row | Next::Quoted | Next::Escaped, _) => self.packed(rest, rows)?,
                _ => self.between(rest)?,
            };
        }
        self.bytes += (piece.len() - rest.len()) as u64;
        Ok(rest)
    }

    /// Collects text up to the parenthesis of the first row.
    fn head<'p>(&mut self, piece: &'p [u8]) -> Result<&'p [u8]> {
        for (at, byte) in piece.iter().enumerate() {
            if *byte == b'`' {
                self.in_name = !self.in_name;
            }
            if *byte == b'\n' && !self.in_name && !self.head.ends_with(b"VALUES") {
                return Err(self.unknown_head());
            }
            if *byte == b'(' && !self.in_name && self.head.trim_ascii_end().ends_with(b"VALUES") {
                self.next = Next::Row;
                return Ok(piece.get(at + 1..).unwrap_or_default());
            }
            self.head.push(*byte);
        }
        match self.head.len() > HELD_BYTES_MAX {
            true => Err(self.unknown_head()),
            false => Ok(&[]),
        }
    }

    /// The error for a head that is not understood. MySQL's program, for one, writes rows that no
    /// server reads for a table with only computed columns.
    fn unknown_head(&self) -> Error {
        let head = String::from_utf8_lossy(&self.head);
        let begin: String = head.chars().take(120).collect();
        not_understood(&format!("a statement is INSERT INTO {begin}"))
    }

    fn end_head(
        &mut self,
        tables: &mut BTreeMap<String, Rows>,
        orders: &ColumnOrders,
    ) -> Result<()> {
        let (table, columns) = parse_head(&self.head).ok_or_else(|| self.unknown_head())?;
        self.head = Vec::new();
        let rows = tables
            .entry(table.clone())
            .or_insert_with(|| Rows::new(&table));
        let order = orders.of(&table, &columns);
        rows.set_columns(columns, order.as_deref());
        self.table = table;
        Ok(())
    }

    /// Reads rows in lines, each without its first parenthesis: up to `),` or `);`.
    fn lines<'p>(&mut self, mut piece: &'p [u8], rows: &mut Rows) -> Result<&'p [u8]> {
        loop {
            let Some(end) = memchr(b'\n', piece) else {
                rows.push(piece)?;
                return Ok(&[]);
            };
            let (row, rest) = piece.split_at(end);
            match rows.end(row, 2, &[b"),", b");"])? {
                Some(0) => {}
                // The newline is not part of a row.
                Some(_) => {
                    self.next = Next::Nothing;
                    return Ok(rest);
                }
                None => return Err(not_understood("a row does not end with its line")),
            }
            match rest.get(1) {
                Some(b'(') => piece = rest.get(2..).unwrap_or_default(),
                Some(_) => return Err(not_understood("a row does not begin with its line")),
                None => {
                    self.next = Next::Open;
                    return Ok(&[]);
                }
            }
            if piece.is_empty() {
                return Ok(&[]);
            }
        }
    }

    /// Reads a row up to its closing parenthesis, and past whatever is in quotes.
    fn packed<'p>(&mut self, piece: &'p [u8], rows: &mut Rows) -> Result<&'p [u8]> {
        let mut at = 0;
        while let Some(left) = piece.get(at..).filter(|left| !left.is_empty()) {
            let found = match self.next {
                Next::Escaped => Some(0),
                Next::Quoted => memchr2(b'\'', b'\\', left),
                _ => memchr2(b'\'', b')', left),
            };
            let Some(found) = found else { break };
            at += found;
            self.next = match (self.next, piece.get(at)) {
                (Next::Escaped, _) => Next::Quoted,
                (Next::Quoted, Some(b'\\')) => Next::Escaped,
                (Next::Quoted, _) => Next::Row,
                (_, Some(b'\'')) => Next::Quoted,
                _ => {
                    let (row, rest) = piece.split_at(at);
                    rows.end(row, 0, &[])?;
                    self.next = Next::Separator;
                    return Ok(rest.get(1..).unwrap_or_default());
                }
            };
            at += 1;
        }
        rows.push(piece)?;
        Ok(&[])
    }

    /// Reads one byte between two rows.
    fn between<'p>(&mut self, piece: &'p [u8]) -> Result<&'p [u8]> {
        let Some((byte, rest)) = piece.split_first() else {
            return Ok(piece);
        };
        (self.next, self.layout) = match (self.next, byte, self.layout) {
            (Next::Separator, b',', layout) => (Next::Comma, layout),
            (Next::Separator, b';', layout) => (Next::Nothing, layout),
            (Next::Comma, b'\n', Layout::Unknown) => (Next::Open, Layout::Lines),
            (Next::Comma, b'(', Layout::Unknown | Layout::Packed) => (Next::Row, Layout::Packed),
            (Next::Open, b'(', layout) => (Next::Row, layout),
            _ => return Err(not_understood("what follows a row is no row")),
        };
        Ok(rest)
    }
}

/// Parses `` `table` (`column`, …) VALUES `` into the table and its columns; there are none if the
/// program was not asked to list them.
fn parse_head(head: &[u8]) -> Option<(String, Vec<String>)> {
    let (table, rest) = identifier(head)?;
    let mut columns = Vec::new();
    let rest = rest.trim_ascii();
    let Some(mut rest) = rest.strip_prefix(b"(") else {
        return (rest == b"VALUES").then_some((table, columns));
    };
    loop {
        let (column, after) = identifier(rest.trim_ascii_start())?;
        columns.push(column);
        let (byte, after) = after.trim_ascii_start().split_first()?;
        match byte {
            b',' => rest = after,
            b')' => return (after.trim_ascii() == b"VALUES").then_some((table, columns)),
            _ => return None,
        }
    }
}
