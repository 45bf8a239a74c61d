//! Passes a dump on its way to the client, and changes what must not reach it as it is.
//!
//! Guarantees: rows pass untouched, and so does the number of lines. What changes: the line that
//! puts a client into its sandbox, which older ones choke on; dates such as February 30th, which
//! stay what they were; the database that a trigger's statement names, and, where it is the dump's
//! own, that a default value or a view names before a sequence or a function, which would reach into
//! another database than the one that is restored; and whether events run. It holds no more than the head of one statement.

use crate::error::{Code, Error, Result};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// How much of a line is looked at at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// How long the head of a trigger's statement may be, in bytes.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// How many beginnings of statements are remembered: the client lags behind what it was fed.
const HEADS_MAX: usize = 4096;
/// How long the line of a view may be, in bytes.
const VIEW_BYTES_MAX: usize = 64 << 20;
/// How the line begins that says what a view is.
const VIEW: &[u8] = b"/*!50001 VIEW ";
/// How much of a statement's beginning is remembered, in bytes.
const HEAD_BYTES: usize = 100;

/// What becomes of the events in a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// They stay as they are.
    AsTheyAre,
    /// Those that run are put to sleep: a copy must not do a live database's work. The text is how
    /// the server writes it.
    Asleep(&'static str),
    /// Those that were put to sleep run again.
    Awake,
}

/// How a server writes that an event sleeps here and runs elsewhere; what we put to sleep is
/// marked so, to be told from what its owner disabled.
pub const SLEEPS: [&str; 2] = ["DISABLE ON SLAVE", "DISABLE ON REPLICA"];

/// `` `user`@`host` ``, or a role, which has no host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// The user or role.
    pub user: String,
    /// Where from.
    pub host: Option<String>,
}

/// Where each statement begins, by line.
#[derive(Debug, Clone, Default)]
pub struct Heads(Arc<Mutex<VecDeque<(u64, String)>>>);

impl Heads {
    /// The beginning of the statement at a line, without rows.
    pub fn at(&self, line: u64) -> Option<String> {
        let heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = heads.iter().rev().skip_while(|(start, _)| *start > line);
        before.next().map(|(_, head)| head.clone())
    }

    fn push(&self, line: u64, head: &[u8]) {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.len() == HEADS_MAX {
            heads.pop_front();
        }
        heads.push_back((line, without_rows(head)));
    }
}

/// What to do with the account that something runs as, once for each place that names one.
pub type OnDefiner<'a> = dyn FnMut(&Account) -> Result<()> + 'a;

/// A dump on its way.
pub struct Rewriter<'a> {
    input: BufReader<&'a mut dyn Read>,
    events: Events,
    on_definer: &'a mut OnDefiner<'a>,
    heads: Heads,
    out: Vec<u8>,
    taken: usize,
    line: u64,
    delimiter: Vec<u8>,
    /// The database that was dumped, once the dump has said it.
    database: Option<Vec<u8>>,
    /// The next piece begins a line; a statement.
    line_begins: bool,
    statement_begins: bool,
    /// The line is one of a `CREATE TABLE`.
    in_table: bool,
    /// The last bytes of the line so far.
    tail: Vec<u8>,
    completed: bool,
}

impl<'a> Rewriter<'a> {
    /// Reads a dump from `input`.
    pub fn new(input: &'a mut dyn Read, events: Events, on_definer: &'a mut OnDefiner<'a>) -> Self {
        Rewriter {
            input: BufReader::with_capacity(256 << 10, input),
            events,
            on_definer,
            heads: Heads::default(),
            out: Vec::new(),
            taken: 0,
            line: 0,
            delimiter: b";".to_vec(),
            database: None,
            line_begins: true,
            statement_begins: true,
            in_table: false,
            tail: Vec::new(),
            completed: false,
        }
    }

    /// Where each statement begins; filled while it is read.
    pub fn heads(&self) -> Heads {
        self.heads.clone()
    }

    /// Whether the line that ends a whole dump was seen.
    pub fn completed(&self) -> bool {
        self.completed
    }

    /// Appends the next piece of a line to `out`; whether there was one.
    fn next_piece(&mut self) -> io::Result<bool> {
        let buffer = loop {
            match self.input.fill_buf() {
                Ok(buffer) => break buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let window = buffer.get(..PIECE_BYTES).unwrap_or(buffer);
        let end = memchr(b'\n', window).map_or(window.len(), |at| at + 1);
        self.out
            .extend_from_slice(window.get(..end).unwrap_or_default());
        self.input.consume(end);
        Ok(end > 0)
    }

    /// Appends to `out` until it ends a line, `enough` of it was seen, or the dump ends.
    fn fill_line(&mut self, enough: usize) -> io::Result<()> {
        while !self.out.ends_with(b"\n") && self.out.len() < enough {
            if !self.next_piece()? {
                break;
            }
        }
        Ok(())
    }

    fn refill(&mut self) -> io::Result<()> {
        self.out.clear();
        self.taken = 0;
        if !self.next_piece()? {
            return Ok(());
        }
        if self.line_begins {
            self.line += 1;
            self.tail.clear();
            let first = self.out.first().copied().unwrap_or_default();
            if self.statement_begins || self.in_table || first == b'/' {
                self.fill_line(PIECE_BYTES)?;
                self.look()?;
            }
        }
        self.note_end();
        Ok(())
    }

    /// Looks at the beginning of a line, which is in `out`.
    fn look(&mut self) -> io::Result<()> {
        if self.statement_begins && is_sandbox(&self.out) {
            self.out.clear();
            self.out.push(b'\n');
            return Ok(());
        }
        if self.statement_begins {
            if let Some(rest) = self.out.strip_prefix(b"DELIMITER ") {
                self.delimiter = rest.trim_ascii().to_vec();
                return Ok(());
            }
            if self.out.starts_with(b"-- Dump completed") {
                self.completed = true;
            }
            if let Some(name) = dumped_database(&self.out) {
                self.database = Some(name.to_vec());
            }
            if !self.out.trim_ascii().is_empty() && !self.out.starts_with(b"--") {
                // Another dump may follow a whole one.
                self.completed = false;
                self.heads.push(self.line, &self.out);
            }
            if let Some(text) = allowing_invalid_dates(&self.out) {
                self.out = text;
            }
        }
        if self.statement_begins {
            self.in_table = self.out.starts_with(b"CREATE TABLE ");
        } else if self.in_table {
            self.unqualify_calls();
            return Ok(());
        }
        if self.out.starts_with(VIEW) {
            self.fill_line(VIEW_BYTES_MAX)?;
            self.unqualify_calls();
            return Ok(());
        }
        let of_view = self.out.starts_with(b"/*!50013 DEFINER=");
        if !self.statement_begins && !of_view {
            return Ok(());
        }
        if let Some(account) = definer(&self.out) {
            (self.on_definer)(&account)?;
        }
        match created(&self.out) {
            Some(Created::Trigger(at)) => self.unqualify_trigger(at),
            Some(Created::Event) => {
                self.set_event();
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn unqualify_calls(&mut self) {
        if let Some(text) = unqualified_calls(&self.out, self.database.as_deref()) {
            self.out = text;
        }
    }

    /// Takes the database's name out of `TRIGGER db.name … ON db.table`, which may go on over
    /// several lines.
    fn unqualify_trigger(&mut self, at: usize) -> io::Result<()> {
        loop {
            let (before, header) = self.out.split_at(at.min(self.out.len()));
            if let Some(unqualified) = unqualified(header) {
                self.out = [before, &unqualified].concat();
                return Ok(());
            }
            let length = self.out.len();
            if length > HEADER_BYTES_MAX || !self.next_piece()? {
                let error = Error::new(
                    Code::NotProved,
                    format!(
                        "the trigger at line {} of the dump is not understood",
                        self.line
                    ),
                )
                .cause(without_rows(&self.out))
                .hint("restore the dump as a file (--to DIRECTORY), and load it by hand");
                return Err(error.into());
            }
            self.line += 1;
        }
    }

    fn set_event(&mut self) {
        let text = match self.events {
            Events::AsTheyAre => return,
            Events::Asleep(how) => replaced(&self.out, &["ENABLE"], how),
            Events::Awake => replaced(&self.out, &SLEEPS, "ENABLE"),
        };
        if let Some(text) = text {
            self.out = text;
        }
    }

    /// Notes how the line in `out` ends, if it does.
    fn note_end(&mut self) {
        let keep = self.out.len().saturating_sub(8);
        self.tail
            .extend_from_slice(self.out.get(keep..).unwrap_or_default());
        self.line_begins = self.out.ends_with(b"\n");
        if !self.line_begins {
            let cut = self.tail.len().saturating_sub(8);
            self.tail.drain(..cut);
            self.statement_begins = false;
            return;
        }
        let line = self.tail.trim_ascii_end();
        let nothing = line.is_empty() || self.statement_begins && self.out.starts_with(b"--");
        self.statement_begins = self.statement_begins && nothing
            || line.ends_with(&self.delimiter)
            || self.statement_begins && self.out.starts_with(b"DELIMITER ");
    }
}

impl Read for Rewriter<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken >= self.out.len() {
            self.refill()?;
        }
        let rest = self.out.get(self.taken..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.taken += count;
        Ok(count)
    }
}

fn memchr(byte: u8, text: &[u8]) -> Option<usize> {
    text.iter().position(|b| *b == byte)
}

/// `/*M!999999\- enable the sandbox mode */`, also with a plain `!`.
fn is_sandbox(line: &[u8]) -> bool {
    line.starts_with(br"/*M!999999\-") || line.starts_with(br"/*!999999\-")
}

/// The beginning of a statement, cut before the first row.
fn without_rows(statement: &[u8]) -> String {
    let head = statement.get(..HEAD_BYTES).unwrap_or(statement);
    let text = String::from_utf8_lossy(head);
    let text = text.lines().next().unwrap_or_default();
    match text.find("VALUES").filter(|_| is_insert(text)) {
        Some(at) => text.get(..at).unwrap_or_default().trim_end().to_owned(),
        None => text.trim_end_matches(['\u{fffd}', ';', ' ']).to_owned(),
    }
}

/// Whether a statement carries rows.
pub fn is_insert(statement: &str) -> bool {
    ["INSERT", "REPLACE"]
        .iter()
        .any(|word| statement.starts_with(word))
}

/// The account of the first `DEFINER=` in the head of a statement.
fn definer(statement: &[u8]) -> Option<Account> {
    const DEFINER: &[u8] = b"DEFINER=";
    let head = statement.get(..2048).unwrap_or(statement);
    // Past what a dump writes before it, a body begins.
    let created = head.starts_with(b"CREATE") || head.starts_with(b"/*!50");
    let at = head
        .windows(DEFINER.len())
        .take(200)
        .position(|w| w == DEFINER)?;
    let rest = head.get(at + DEFINER.len()..).filter(|_| created)?;
    let (user, rest) = quoted(rest)?;
    let host = rest
        .strip_prefix(b"@")
        .and_then(quoted)
        .map(|(host, _)| host);
    Some(Account { user, host })
}

/// A name in backticks, and what follows it.
fn quoted(text: &[u8]) -> Option<(String, &[u8])> {
    let mut name = Vec::new();
    let mut rest = text.strip_prefix(b"`")?;
    loop {
        let end = memchr(b'`', rest)?;
        name.extend_from_slice(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix(b"`") {
            Some(more) => {
                name.push(b'`');
                rest = more;
            }
            None => return Some((String::from_utf8_lossy(&name).into_owned(), rest)),
        }
    }
}

enum Created {
    /// A trigger, and where the word after `TRIGGER` begins.
    Trigger(usize),
    Event,
}

/// What a statement makes, as far as it matters here. The dump programs write
/// `` /*!50003 CREATE*/ /*!50017 DEFINER=`u`@`h`*/ /*!50003 TRIGGER … `` and the like; the word
/// `TRIGGER` itself is as it was typed.
fn created(statement: &[u8]) -> Option<Created> {
    if !statement.starts_with(b"/*!50003 CREATE*/")
        && !statement.starts_with(b"/*!50106 CREATE*/")
        && !statement.starts_with(b"CREATE ")
    {
        return None;
    }
    let mut lexer = Lexer {
        text: statement,
        at: 0,
    };
    let mut after_definer = false;
    for _ in 0..24 {
        let token = lexer.next()?;
        match token.kind {
            Kind::Word if after_definer => {
                after_definer = token.text.ends_with(b"=") || token.text.ends_with(b"@");
            }
            Kind::Word if token.is("TRIGGER") => return Some(Created::Trigger(token.end)),
            Kind::Word if token.is("EVENT") => return Some(Created::Event),
            Kind::Word if token.is("CREATE") || token.is("OR") || token.is("REPLACE") => {}
            Kind::Word if token.is("AGGREGATE") => {}
            Kind::Word if token.is("DEFINER") => after_definer = true,
            Kind::Name | Kind::Sign => {}
            Kind::Word => return None,
        }
        if matches!(token.kind, Kind::Name) {
            after_definer = false;
        }
    }
    None
}

/// The head of a trigger's statement after the word `TRIGGER`, without the databases it names;
/// `None` while it goes on.
fn unqualified(header: &[u8]) -> Option<Vec<u8>> {
    let mut lexer = Lexer {
        text: header,
        at: 0,
    };
    let mut cuts = Vec::new();
    let mut token = lexer.next()?;
    if token.is("IF") {
        lexer.next()?;
        lexer.next()?;
        token = lexer.next()?;
    }
    cuts.extend(qualifier(&mut lexer, &token)?);
    loop {
        token = lexer.next()?;
        if token.kind == Kind::Word && token.is("ON") {
            break;
        }
    }
    token = lexer.next()?;
    cuts.extend(qualifier(&mut lexer, &token)?);
    let mut text = Vec::with_capacity(header.len());
    let mut from = 0;
    for (start, end) in cuts {
        text.extend_from_slice(header.get(from..start)?);
        from = end;
    }
    text.extend_from_slice(header.get(from..)?);
    Some(text)
}

/// Where `db.` stands, when `first` is `db` and a dot and a name follow. `Some(None)` when `first`
/// is the whole name; `None` while the text goes on.
#[allow(clippy::option_option, reason = "not known yet, none, some")]
fn qualifier(lexer: &mut Lexer<'_>, first: &Token<'_>) -> Option<Option<(usize, usize)>> {
    // An unquoted `db.name` is one word.
    if first.kind == Kind::Word
        && let Some(dot) = memchr(b'.', first.text)
    {
        if dot + 1 < first.text.len() {
            return Some(Some((first.start, first.start + dot + 1)));
        }
        let name = lexer.next()?;
        return Some(Some((first.start, name.start)));
    }
    let before = lexer.at;
    let second = lexer.next()?;
    if second.text == b"." || second.kind == Kind::Word && second.text.starts_with(b".") {
        let end = match second.text.len() {
            1 => lexer.next()?.start,
            _ => second.start + 1,
        };
        return Some(Some((first.start, end)));
    }
    lexer.at = before;
    Some(None)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Name,
    Sign,
}

struct Token<'a> {
    kind: Kind,
    text: &'a [u8],
    start: usize,
    end: usize,
}

impl Token<'_> {
    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word.as_bytes())
    }
}

/// Splits SQL into names, words and signs; a token is one only when something follows it.
struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank()?;
        let start = self.at;
        let rest = self.text.get(start..)?;
        let (kind, length) = match rest.first()? {
            b'`' => {
                let (_, after) = quoted(rest)?;
                // A doubled backtick may be cut in two.
                after.first()?;
                (Kind::Name, rest.len() - after.len())
            }
            byte if is_word(*byte) => (Kind::Word, rest.iter().position(|b| !is_word(*b))?),
            _ => (Kind::Sign, 1),
        };
        let end = start + length;
        self.at = end;
        Some(Token {
            kind,
            text: self.text.get(start..end)?,
            start,
            end,
        })
    }

    /// Passes white space, comments, and the marks of conditional comments.
    fn skip_blank(&mut self) -> Option<()> {
        loop {
            let rest = self.text.get(self.at..)?;
            self.at += match rest {
                [byte, ..] if byte.is_ascii_whitespace() => 1,
                [b'/', b'*', b'!', ..] => {
                    3 + rest
                        .iter()
                        .skip(3)
                        .take_while(|b| b.is_ascii_digit())
                        .count()
                }
                [b'/', b'*', b'M', b'!', ..] => {
                    4 + rest
                        .iter()
                        .skip(4)
                        .take_while(|b| b.is_ascii_digit())
                        .count()
                }
                [b'/', b'*', ..] => 2 + rest.get(2..)?.windows(2).position(|w| w == b"*/")? + 2,
                [b'*', b'/', ..] => 2,
                [b'#', ..] | [b'-', b'-', b' ' | b'\t' | b'\n', ..] => memchr(b'\n', rest)? + 1,
                _ => return Some(()),
            };
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.') || byte >= 0x80
}

/// A line of a table or a view without the database before sequences and functions, where it is
/// `own`; any database, where that is not known. `None` when it names none.
fn unqualified_calls(line: &[u8], own: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut from = 0;
    let mut at = 0;
    // Whether what follows is the name of a sequence, and whether of another name's part.
    let (mut sequence, mut part) = (false, false);
    while let Some(rest) = line.get(at..).filter(|rest| !rest.is_empty()) {
        let call = SEQUENCE_CALLS
            .iter()
            .find(|call| rest.starts_with(call.as_bytes()));
        let (length, is_sequence) = match (call, rest) {
            (Some(call), _) => (call.len(), true),
            (None, [b'`', ..]) => {
                let (name, after) = quoted(rest)?;
                let is_own = own.is_none_or(|own| own == name.as_bytes());
                if is_own && !part && names_call(after, sequence) {
                    text.extend_from_slice(line.get(from..at)?);
                    from = line.len() - after.len() + 1;
                }
                (rest.len() - after.len(), false)
            }
            (None, [b'\'', ..]) => (text_length(rest), false),
            (None, _) => (1, false),
        };
        part = rest.starts_with(b".");
        sequence = is_sequence;
        at = (at + length).max(from);
    }
    text.extend_from_slice(line.get(from..)?);
    (from > 0).then_some(text)
}

/// Whether a database's name is followed by that of a sequence that is called for a number, or of
/// a function.
fn names_call(after: &[u8], sequence: bool) -> bool {
    let Some((_, rest)) = after.strip_prefix(b".").and_then(quoted) else {
        return false;
    };
    sequence || rest.starts_with(b"(")
}

/// The database that a comment at the beginning of a dump names.
fn dumped_database(line: &[u8]) -> Option<&[u8]> {
    const BEFORE: &[u8] = b"    Database: ";
    let rest = line.strip_prefix(b"-- Host: ")?;
    let at = memchr::memmem::rfind(rest, BEFORE)?;
    let name = rest.get(at + BEFORE.len()..)?;
    Some(name.strip_suffix(b"\n").unwrap_or(name))
}

/// The statement that sets the mode in which rows are restored, with dates allowed that are in no
/// calendar: a server may hold them, and would make zeros of them.
fn allowing_invalid_dates(line: &[u8]) -> Option<Vec<u8>> {
    const MODE: &[u8] = b"SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO";
    if !line.starts_with(b"/*!40101 SET @OLD_SQL_MODE=") {
        return None;
    }
    let at = memchr::memmem::find(line, MODE)? + MODE.len();
    let (head, rest) = line.split_at(at);
    Some([head, b",ALLOW_INVALID_DATES", rest].concat())
}

/// How a number is taken from a sequence, as the server writes it.
const SEQUENCE_CALLS: [&str; 3] = ["nextval(", "lastval(", "setval("];

/// How long the text in quotes is that begins here.
fn text_length(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match text.get(at..) {
            Some([b'\\', _, ..]) => at += 2,
            Some([b'\'', ..]) => return at + 1,
            Some([_, ..]) => at += 1,
            _ => return text.len(),
        }
    }
}

/// An event's statement with another state than one of `from`; `None` when it has none of them.
/// The server itself writes `ON COMPLETION … PRESERVE STATE`, so the first one is it.
fn replaced(statement: &[u8], from: &[&str], to: &str) -> Option<Vec<u8>> {
    const BEFORE: &[u8] = b" PRESERVE ";
    let at = statement.windows(BEFORE.len()).position(|w| w == BEFORE)? + BEFORE.len();
    let (head, rest) = statement.split_at(at);
    let state = from.iter().find(|state| {
        rest.strip_prefix(state.as_bytes())
            .is_some_and(|after| after.first().is_none_or(u8::is_ascii_whitespace))
    })?;
    let rest = rest.get(state.len()..)?;
    Some([head, to.as_bytes(), rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(dump: &str, events: Events) -> (String, Vec<String>, bool) {
        let mut names = Vec::new();
        let mut on_definer = |account: &Account| {
            names.push(format!(
                "{}@{}",
                account.user,
                account.host.as_deref().unwrap_or("-")
            ));
            Ok(())
        };
        let mut text = String::new();
        let mut input = dump.as_bytes();
        let completed = {
            let mut rewriter = Rewriter::new(&mut input, events, &mut on_definer);
            rewriter.read_to_string(&mut text).unwrap();
            rewriter.completed()
        };
        (text, names, completed)
    }

    #[test]
    fn rows_pass_untouched_and_lines_stay() {
        let dump = "/*M!999999\\- enable the sandbox mode */ \n-- x\nINSERT INTO `t` VALUES\n(1,'/*!50003 CREATE*/ TRIGGER a.b'),\n(2,'DEFINER=`x`@`y`');\n\nDELIMITER ;;\nCREATE DEFINER=`a``b`@`%` PROCEDURE `p`()\nbegin\nCREATE DEFINER=`no`@`no` VIEW v AS SELECT 1;\nend ;;\nDELIMITER ;\n/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`v`@`localhost` SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS select 1 */;\n-- Dump completed on 2026\n";
        let (text, names, completed) = rewritten(dump, Events::AsTheyAre);
        let (_, rest) = dump.split_once('\n').unwrap();
        assert_eq!(text, format!("\n{rest}"));
        assert_eq!(names, ["a`b@%", "v@localhost"]);
        assert!(completed);
        assert!(!rewritten(dump.split_once("-- Dump").unwrap().0, Events::AsTheyAre).2);
    }

    #[test]
    fn a_trigger_stays_in_its_database() {
        let start =
            "DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 ";
        let end = " for each row set new.a = live.f() */;;\nDELIMITER ;\n";
        for (typed, expected) in [
            (
                "trigger live.tr before insert on live.t",
                "trigger tr before insert on t",
            ),
            (
                "TRIGGER `tr` BEFORE INSERT ON `t`",
                "TRIGGER `tr` BEFORE INSERT ON `t`",
            ),
            (
                "TRIGGER IF NOT EXISTS `li``ve`.`tr`\nBEFORE INSERT\n  ON\n`live` . `t.x`",
                "TRIGGER IF NOT EXISTS `tr`\nBEFORE INSERT\n  ON\n`t.x`",
            ),
            (
                "TRIGGER tr /* on a.b */ AFTER UPDATE ON live.`t`",
                "TRIGGER tr /* on a.b */ AFTER UPDATE ON `t`",
            ),
            (
                "Trigger `live`.tr AFTER UPDATE ON tä",
                "Trigger tr AFTER UPDATE ON tä",
            ),
        ] {
            let (text, names, _) = rewritten(&format!("{start}{typed}{end}"), Events::AsTheyAre);
            assert_eq!(text, format!("{start}{expected}{end}"));
            assert_eq!(names, ["root@localhost"]);
        }
    }

    #[test]
    fn a_default_value_stays_in_its_database() {
        let dump = "-- Host: a  Database: x    Database: li`ve\nCREATE TABLE `t` (\n  `nextval(``a``.` int DEFAULT nextval(`li``ve`.`sq`) COMMENT 'it''s \\' nextval(`a`.`b`)',\n  `b` int DEFAULT (lastval(`x`.`s`) + nextval(`own`) + setval(`li``ve`.`sq`, 1))\n);\nINSERT INTO `t` VALUES (1,'nextval(`a`.`b`)');\n";
        let expected = dump.replace("`li``ve`.", "");
        assert_eq!(rewritten(dump, Events::AsTheyAre).0, expected);
        // Where the dump does not say which database it is of.
        let (_, dump) = dump.split_once('\n').unwrap();
        let expected = dump.replace("`li``ve`.", "").replace("`x`.", "");
        assert_eq!(rewritten(dump, Events::AsTheyAre).0, expected);
    }

    #[test]
    fn what_a_view_calls_stays_in_its_database() {
        let dump = |own: &str| {
            format!(
                "-- Host: h    Database: shop\n/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50001 VIEW `v` AS select nextval({own}`sq`) AS `a`,{own}`f`(`shop`.`shop`) AS `b`,`other`.`f`(1),`shop`.`id` AS `shop`,'{}' from (`shop` join `x`.`shop`.`f`) */;\nINSERT INTO `t` VALUES\n(1,'nextval(`shop`.`a`)');\n",
                "nextval(`shop`.`sq`)"
            )
        };
        assert_eq!(rewritten(&dump("`shop`."), Events::AsTheyAre).0, dump(""));
    }

    #[test]
    fn dates_of_no_calendar_stay() {
        let dump = "/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\nINSERT INTO `t` VALUES\n('/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE=\'NO_AUTO_VALUE_ON_ZERO\'');\n";
        let expected = dump.replacen("_ZERO'", "_ZERO,ALLOW_INVALID_DATES'", 1);
        assert_eq!(rewritten(dump, Events::AsTheyAre).0, expected);
    }

    #[test]
    fn a_dump_that_follows_another_must_be_whole_too() {
        let one = "/*M!999999\\- enable the sandbox mode */ \n-- x\nSET a = 1;\n-- Dump completed on 2026\n";
        let (text, _, completed) = rewritten(&one.repeat(2), Events::AsTheyAre);
        let (_, rest) = one.split_once('\n').unwrap();
        assert_eq!(text, format!("\n{rest}").repeat(2));
        assert!(completed);
        let cut = format!("{one}{}", one.split_once("-- Dump").unwrap().0);
        assert!(!rewritten(&cut, Events::AsTheyAre).2);
    }

    #[test]
    fn an_event_is_put_to_sleep_and_wakes_up() {
        let dump = |state: &str| {
            format!(
                "DELIMITER ;;\n/*!50106 CREATE*/ /*!50117 DEFINER=`r`@`h`*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY STARTS '2026-01-01 00:00:00' ON COMPLETION NOT PRESERVE {state} DO select ' PRESERVE ENABLE ' */ ;;\nDELIMITER ;\n"
            )
        };
        let sleeping = Events::Asleep(SLEEPS[0]);
        assert_eq!(
            rewritten(&dump("ENABLE"), sleeping).0,
            dump("DISABLE ON SLAVE")
        );
        assert_eq!(rewritten(&dump("DISABLE"), sleeping).0, dump("DISABLE"));
        assert_eq!(
            rewritten(&dump("DISABLE ON REPLICA"), Events::Awake).0,
            dump("ENABLE")
        );
        assert_eq!(
            rewritten(&dump("DISABLE"), Events::Awake).0,
            dump("DISABLE")
        );
        assert_eq!(
            rewritten(&dump("ENABLE"), Events::AsTheyAre).0,
            dump("ENABLE")
        );
    }

    #[test]
    fn the_statement_at_a_line_is_named_without_rows() {
        let dump = "SET x = 1;\nINSERT INTO `t` VALUES\n(1,'secret'),\n(2,'secret');\nCREATE TABLE `u` (\n  `a` int\n);\n";
        let mut input = dump.as_bytes();
        let mut nobody = |_: &Account| Ok(());
        let mut rewriter = Rewriter::new(&mut input, Events::AsTheyAre, &mut nobody);
        let heads = rewriter.heads();
        io::copy(&mut rewriter, &mut io::sink()).unwrap();
        assert_eq!(heads.at(1).as_deref(), Some("SET x = 1"));
        assert_eq!(heads.at(4).as_deref(), Some("INSERT INTO `t`"));
        assert_eq!(heads.at(6).as_deref(), Some("CREATE TABLE `u` ("));
        assert_eq!(heads.at(0), None);
    }

    #[test]
    fn a_trigger_that_never_ends_is_an_error() {
        let dump = "/*!50003 CREATE*/ /*!50003 TRIGGER a.b before insert";
        let mut input = dump.as_bytes();
        let mut nobody = |_: &Account| Ok(());
        let mut rewriter = Rewriter::new(&mut input, Events::AsTheyAre, &mut nobody);
        assert!(io::copy(&mut rewriter, &mut io::sink()).is_err());
    }
}
