//! Reads a dump by `mariadb-dump` or `mysqldump` as it passes, in pieces of any size.
//!
//! Guarantees: every row of every `INSERT` goes into its table's sum, and text of routines, views
//! and comments into none. A stream that does not end with `-- Dump completed` is an error, and so
//! is one that is not understood. It relies on what both programs do whatever the server's
//! `sql_mode`: they write strings with backslash escapes and every newline in them as `\n`, and
//! quote names with backticks. A part of a statement that is not a row is held up to
//! [`HELD_BYTES_MAX`], and rows as [`Rows`] holds them.

mod insert;
mod line;

use super::rows::Rows;
use crate::error::{Code, Error, Result};
use crate::fingerprint::TableFingerprint;
use insert::Insert;
use line::Line;
use std::collections::{BTreeMap, BTreeSet};

/// Limit on what is held of a line or of a statement's head.
const HELD_BYTES_MAX: usize = 1 << 20;

/// The beginning of an `INSERT`.
const INSERT: &[u8] = b"INSERT INTO ";

/// The beginnings of views (first as their placeholders) and sequences.
const OTHERS: &[&[u8]] = &[
    b"/*!50001 CREATE VIEW ",
    b"/*!50001 CREATE TABLE ",
    b"CREATE SEQUENCE ",
];

/// The columns to hash, and their order, where they differ from the dump's.
#[derive(Debug, Clone, Default)]
pub struct ColumnOrders {
    /// All columns to hash, by table.
    pub orders: BTreeMap<String, Vec<String>>,
    /// Columns not to hash, by table, for tables without an order.
    pub omitted: BTreeMap<String, BTreeSet<String>>,
}

impl ColumnOrders {
    /// The columns to hash of a table that has `columns`; `None` if it is all of them in the dump's
    /// order.
    fn of(&self, table: &str, columns: &[String]) -> Option<Vec<String>> {
        if let Some(order) = self.orders.get(table) {
            return Some(order.clone());
        }
        let omitted = self.omitted.get(table)?;
        let rest = columns.iter().filter(|column| !omitted.contains(*column));
        Some(rest.cloned().collect())
    }
}

/// The contents of a dump.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    /// Every table by name, including empty ones.
    pub tables: BTreeMap<String, TableFingerprint>,
    /// Views and sequences, by name.
    pub others: BTreeSet<String>,
    /// `FILE:POSITION` of the binary log at the dump's instant.
    pub binlog: Option<String>,
    /// The global transaction ids at the dump's instant, as MariaDB writes them.
    pub gtid: Option<String>,
    /// The longest inserting statement, in bytes, and its table.
    pub longest: Option<(String, u64)>,
}

impl Contents {
    /// Adds the contents of another dump; positions remain those of this one.
    pub fn add(&mut self, other: Contents) {
        self.tables.extend(other.tables);
        self.others.extend(other.others);
        let longest = [self.longest.take(), other.longest].into_iter().flatten();
        self.longest = longest.max_by_key(|(_, bytes)| *bytes);
    }
}

/// The position of the reader in the text.
#[derive(Debug)]
enum State {
    /// In the first bytes of a line that may be an `INSERT`.
    Begin,
    /// In any other line.
    Line,
    /// In an `INSERT`.
    Insert(Box<Insert>),
}

/// The part of the dump that a line belongs to.
#[derive(Debug, PartialEq)]
enum Part {
    /// None yet: a statement or a comment may begin.
    Outside,
    /// A statement whose `;` was not read yet.
    Statement,
    /// A created object whose name has not ended.
    Name(Created, Vec<u8>),
    /// Text between `DELIMITER ;;` and `DELIMITER ;`. True if the last statement in it has ended.
    Block(bool),
}

/// The kind of object that a statement creates.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Created {
    /// A table.
    Table,
    /// A view or a sequence.
    Other,
}

/// A reader of a dump.
pub struct Reader<'a> {
    orders: &'a ColumnOrders,
    state: State,
    part: Part,
    line: Line,
    tables: BTreeMap<String, Rows>,
    contents: Contents,
    completed: bool,
}

impl<'a> Reader<'a> {
    /// Begins reading. Rows of tables that `orders` names are hashed in that order.
    pub fn new(orders: &'a ColumnOrders) -> Self {
        Reader {
            orders,
            state: State::Begin,
            part: Part::Outside,
            line: Line::default(),
            tables: BTreeMap::new(),
            contents: Contents::default(),
            completed: false,
        }
    }

    /// Takes the next piece.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<()> {
        while !piece.is_empty() {
            piece = match &mut self.state {
                State::Begin => self.begin(piece)?,
                State::Line => self.rest_of_line(piece)?,
                State::Insert(insert) => {
                    let rest = insert.feed(piece, &mut self.tables, self.orders)?;
                    if insert.ended() {
                        self.end_insert();
                    }
                    rest
                }
            };
        }
        Ok(())
    }

    /// Recognises an `INSERT` as soon as enough of the line was read.
    fn begin<'p>(&mut self, piece: &'p [u8]) -> Result<&'p [u8]> {
        if self.part != Part::Outside {
            self.state = State::Line;
            return Ok(piece);
        }
        let wanted = INSERT.len().saturating_sub(self.line.len());
        let (first, rest) = piece.split_at(wanted.min(piece.len()));
        if memchr::memchr(b'\n', first).is_some() {
            self.state = State::Line;
            return Ok(piece);
        }
        self.line.push(first);
        if self.line.len() < INSERT.len() {
            return Ok(rest);
        }
        self.state = if self.line.text() == INSERT {
            self.line.clear();
            self.completed = false;
            State::Insert(Box::default())
        } else {
            State::Line
        };
        Ok(rest)
    }

    fn rest_of_line<'p>(&mut self, piece: &'p [u8]) -> Result<&'p [u8]> {
        let Some(end) = memchr::memchr(b'\n', piece) else {
            self.line.push(piece);
            return Ok(&[]);
        };
        let (text, rest) = piece.split_at(end);
        self.line.push(text);
        self.end_line()?;
        self.line.clear();
        self.state = State::Begin;
        Ok(rest.get(1..).unwrap_or_default())
    }

    fn end_insert(&mut self) {
        let State::Insert(insert) = std::mem::replace(&mut self.state, State::Line) else {
            return;
        };
        let (table, bytes) = insert.table_and_bytes();
        if self
            .contents
            .longest
            .as_ref()
            .is_none_or(|(_, longest)| *longest < bytes)
        {
            self.contents.longest = Some((table, bytes));
        }
    }

    fn end_line(&mut self) -> Result<()> {
        let line = &self.line;
        match &mut self.part {
            Part::Block(ended) => {
                if *ended && line.text() == b"DELIMITER ;" {
                    self.part = Part::Outside;
                } else if !line.is_blank() {
                    *ended = line.ends_with(b";;");
                }
            }
            Part::Statement => {
                if line.ends_with(b";") {
                    self.part = Part::Outside;
                }
            }
            Part::Name(created, text) => {
                text.push(b'\n');
                text.extend_from_slice(line.text());
                let (created, text) = (*created, std::mem::take(text));
                self.create(created, text)?;
            }
            Part::Outside => return self.outside(),
        }
        Ok(())
    }

    fn outside(&mut self) -> Result<()> {
        let line = &self.line;
        if line.is_blank() {
            return Ok(());
        }
        let text = line.text();
        if text.starts_with(b"--") {
            let text = String::from_utf8_lossy(text).into_owned();
            self.comment(&text);
            return Ok(());
        }
        self.completed = false;
        if text == b"DELIMITER ;;" {
            self.part = Part::Block(true);
            return Ok(());
        }
        if let Some(rest) = text.strip_prefix(b"CREATE TABLE ") {
            return self.create(Created::Table, rest.to_vec());
        }
        let after = |begin: &&[u8]| text.strip_prefix(*begin);
        if let Some(rest) = OTHERS.iter().find_map(after) {
            return self.create(Created::Other, rest.to_vec());
        }
        if !line.ends_with(b";") {
            self.part = Part::Statement;
        }
        Ok(())
    }

    /// Notes a created object from `` `name` ( ``. The name may continue in the next line.
    fn create(&mut self, created: Created, text: Vec<u8>) -> Result<()> {
        let parsed = text
            .strip_prefix(b"IF NOT EXISTS ")
            .or(Some(&text))
            .and_then(|text| identifier(text));
        match (parsed, created) {
            (Some((name, _)), Created::Table) => {
                self.tables
                    .entry(name.clone())
                    .or_insert_with(|| Rows::new(&name));
            }
            (Some((name, _)), Created::Other) => {
                self.contents.others.insert(name);
            }
            (None, _) if text.len() <= HELD_BYTES_MAX && text.starts_with(b"`") => {
                self.part = Part::Name(created, text);
                return Ok(());
            }
            (None, _) => return Err(not_understood("what is created has no name")),
        }
        self.part = match self.line.ends_with(b";") {
            true => Part::Outside,
            false => Part::Statement,
        };
        Ok(())
    }

    fn comment(&mut self, text: &str) {
        self.completed = text.starts_with("-- Dump completed");
        let quoted = |after: &str| {
            let (_, rest) = text.split_once(after)?;
            rest.split('\'').next().map(str::to_owned)
        };
        let binlog = text.starts_with("-- CHANGE MASTER TO ")
            || text.starts_with("-- CHANGE REPLICATION SOURCE TO ");
        if binlog && let Some(file) = quoted("_LOG_FILE='") {
            let position = text.split_once("_LOG_POS=").map_or("", |(_, rest)| rest);
            let digits: String = position.chars().take_while(char::is_ascii_digit).collect();
            self.contents.binlog = Some(format!("{file}:{digits}"));
        }
        if text.starts_with("-- SET GLOBAL gtid_slave_pos=") {
            self.contents.gtid = quoted("gtid_slave_pos='");
        }
    }

    /// Returns the contents. Fails unless the dump was whole.
    pub fn finish(mut self) -> Result<Contents> {
        if matches!(self.state, State::Line | State::Begin) && self.line.len() > 0 {
            self.end_line()?;
        }
        if !self.completed || matches!(self.state, State::Insert(_)) {
            return Err(Error::new(
                Code::SourceFailed,
                "the dump ends before its line `-- Dump completed`",
            )
            .hint("it is not whole and is thrown away; look at the server's error log, then run again"));
        }
        self.contents.tables = self
            .tables
            .into_iter()
            .map(|(name, rows)| (name, rows.finish()))
            .collect();
        Ok(self.contents)
    }
}

/// The error for a dump that is not understood.
fn not_understood(why: &str) -> Error {
    Error::new(Code::SourceFailed, "the dump is not understood")
        .cause(why)
        .hint("report the versions of the dump program and the server; until then, take it with kind = \"command\"")
}

/// A name at the beginning of `text`, in backticks or bare, and the text after it.
fn identifier(text: &[u8]) -> Option<(String, &[u8])> {
    let Some(mut rest) = text.strip_prefix(b"`") else {
        let bare = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        let end = text.iter().position(|byte| !bare(byte))?;
        let (name, rest) = text.split_at(end);
        return (end > 0).then(|| (String::from_utf8_lossy(name).into_owned(), rest));
    };
    let mut name = Vec::new();
    loop {
        let end = memchr::memchr(b'`', rest)?;
        name.extend_from_slice(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix(b"`") {
            Some(after) => {
                name.push(b'`');
                rest = after;
            }
            None => return Some((String::from_utf8_lossy(&name).into_owned(), rest)),
        }
    }
}

#[cfg(test)]
mod tests;
