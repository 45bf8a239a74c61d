//! Parses statements of a dump, and changes parts of them. Pure.

use memchr::memchr;

/// Number of bytes of a statement's beginning that are remembered.
const HEAD_BYTES: usize = 100;

/// `` `user`@`host` ``, or a role, which has no host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// The user or role.
    pub user: String,
    /// The host it may connect from.
    pub host: Option<String>,
}

/// Recognises `/*M!999999\- enable the sandbox mode */`, also with a plain `!`.
pub(super) fn is_sandbox(line: &[u8]) -> bool {
    line.starts_with(br"/*M!999999\-") || line.starts_with(br"/*!999999\-")
}

/// The beginning of a statement, cut before the first row.
pub(super) fn without_rows(statement: &[u8]) -> String {
    let head = statement.get(..HEAD_BYTES).unwrap_or(statement);
    let text = String::from_utf8_lossy(head);
    let text = text.lines().next().unwrap_or_default();
    match text.find("VALUES").filter(|_| is_insert(text)) {
        Some(at) => text.get(..at).unwrap_or_default().trim_end().to_owned(),
        None => text.trim_end_matches(['\u{fffd}', ';', ' ']).to_owned(),
    }
}

/// Returns true if a statement carries rows.
pub fn is_insert(statement: &str) -> bool {
    ["INSERT", "REPLACE"]
        .iter()
        .any(|word| statement.starts_with(word))
}

/// The account of the first `DEFINER=` in the head of a statement.
pub(super) fn definer(statement: &[u8]) -> Option<Account> {
    const DEFINER: &[u8] = b"DEFINER=";
    let head = statement.get(..2048).unwrap_or(statement);
    // After the text that a dump writes before it, a body begins.
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

/// A name in backticks, and the text after it.
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

/// An object that a statement creates.
pub(super) enum Created {
    /// A trigger, with the offset of the word after `TRIGGER`.
    Trigger(usize),
    Event,
}

/// The object that a statement creates, if it matters here. The dump programs write `` /*!50003
/// CREATE*/ /*!50017 DEFINER=`u`@`h`*/ /*!50003 TRIGGER … `` and the like; the word `TRIGGER`
/// itself is as it was typed.
pub(super) fn created(statement: &[u8]) -> Option<Created> {
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
/// `None` while it is incomplete.
pub(super) fn unqualified(header: &[u8]) -> Option<Vec<u8>> {
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

/// The range of `db.`, if `first` is `db` and a dot and a name follow. `Some(None)` if `first` is
/// the whole name; `None` while the text is incomplete.
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

/// Splits SQL into names, words and signs. A token is complete only if something follows it.
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

    /// Skips white space, comments, and the marks of conditional comments.
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

/// Removes the database `own` before sequences and functions from a line of a table or a view; any
/// database, if `own` is not known. `None` if the line names none.
pub(super) fn unqualified_calls(line: &[u8], own: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut from = 0;
    let mut at = 0;
    // Whether a sequence's name follows, and whether it is part of a longer name.
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

/// Returns true if a database's name is followed by a sequence in a call for a number, or by a
/// function.
fn names_call(after: &[u8], sequence: bool) -> bool {
    let Some((_, rest)) = after.strip_prefix(b".").and_then(quoted) else {
        return false;
    };
    sequence || rest.starts_with(b"(")
}

/// The database that a comment at the beginning of a dump names.
pub(super) fn dumped_database(line: &[u8]) -> Option<&[u8]> {
    const BEFORE: &[u8] = b"    Database: ";
    let rest = line.strip_prefix(b"-- Host: ")?;
    let at = memchr::memmem::rfind(rest, BEFORE)?;
    let name = rest.get(at + BEFORE.len()..)?;
    Some(name.strip_suffix(b"\n").unwrap_or(name))
}

/// Changes the statement that sets the mode for restoring rows so that it allows invalid dates: a
/// server may hold them, and would turn them into zeros.
pub(super) fn allowing_invalid_dates(line: &[u8]) -> Option<Vec<u8>> {
    const MODE: &[u8] = b"SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO";
    if !line.starts_with(b"/*!40101 SET @OLD_SQL_MODE=") {
        return None;
    }
    let at = memchr::memmem::find(line, MODE)? + MODE.len();
    let (head, rest) = line.split_at(at);
    Some([head, b",ALLOW_INVALID_DATES", rest].concat())
}

/// Calls that take a number from a sequence, as the server writes them.
const SEQUENCE_CALLS: [&str; 3] = ["nextval(", "lastval(", "setval("];

/// Length of the quoted text that begins here.
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

/// Replaces the state of an event's statement, if it is one of `from`; `None` if it has none of
/// them. The server itself writes `ON COMPLETION … PRESERVE STATE`, so the first match is the
/// state.
pub(super) fn replaced(statement: &[u8], from: &[&str], to: &str) -> Option<Vec<u8>> {
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
