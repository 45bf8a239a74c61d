//! Passes a dump on to the client, and changes what must not reach it unchanged.
//!
//! Guarantees: rows and the number of lines stay unchanged. The changes are: the line that puts a
//! client into its sandbox, on which older ones fail, is removed; invalid dates such as February
//! 30th are kept as they were; the database that a trigger's statement names is removed, and so is
//! the dump's own database before a sequence or a function in a default value or a view, which
//! would reach into another database than the restored one; events are put to sleep or woken. No
//! more than the head of one statement is held.

mod statement;

pub use statement::{Account, is_insert};

use crate::error::{Code, Error, Result};
use memchr::memchr;
use statement::{
    Created, allowing_invalid_dates, created, definer, dumped_database, is_sandbox, replaced,
    unqualified, unqualified_calls, without_rows,
};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// Number of bytes of a line that are examined at once.
const PIECE_BYTES: usize = 64 << 10;
/// Longest head of a trigger's statement, in bytes.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// Number of statement beginnings that are remembered: the client lags behind its input.
const HEADS_MAX: usize = 4096;
/// Longest line of a view, in bytes.
const VIEW_BYTES_MAX: usize = 64 << 20;
/// The beginning of the line that defines a view.
const VIEW: &[u8] = b"/*!50001 VIEW ";

/// What happens to the events in a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// They stay as they are.
    AsTheyAre,
    /// Running ones are put to sleep: a copy must not do a live database's work. The text is the
    /// server's notation.
    Asleep(&'static str),
    /// Sleeping ones run again.
    Awake,
}

/// The servers' notation for an event that sleeps here and runs elsewhere. Events that we put to
/// sleep are marked so, to distinguish them from those that their owner disabled.
pub const SLEEPS: [&str; 2] = ["DISABLE ON SLAVE", "DISABLE ON REPLICA"];

/// The beginning of each statement, by line.
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

/// A callback for each account that something runs as, called once for each place that names one.
pub type OnDefiner<'a> = dyn FnMut(&Account) -> Result<()> + 'a;

/// A dump on its way to the client.
pub struct Rewriter<'a> {
    input: BufReader<&'a mut dyn Read>,
    events: Events,
    on_definer: &'a mut OnDefiner<'a>,
    heads: Heads,
    out: Vec<u8>,
    taken: usize,
    line: u64,
    delimiter: Vec<u8>,
    /// The dumped database, once the dump has named it.
    database: Option<Vec<u8>>,
    /// True if the next piece begins a line; a statement.
    line_begins: bool,
    statement_begins: bool,
    /// True if the line is part of a `CREATE TABLE`.
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

    /// The beginnings of statements; filled while it is read.
    pub fn heads(&self) -> Heads {
        self.heads.clone()
    }

    /// Returns true if the line that ends a whole dump was read.
    pub fn completed(&self) -> bool {
        self.completed
    }

    /// Appends the next piece of a line to `out`. Returns false if there is none.
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

    /// Appends to `out` until it ends a line, holds `enough` bytes, or the dump ends.
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

    /// Examines the beginning of a line, which is in `out`.
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

    /// Removes the database's name from `TRIGGER db.name … ON db.table`, which may span several
    /// lines.
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

    /// Notes the end of the line in `out`, if it has ended.
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
        // A dump that does not name its database.
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
    fn invalid_dates_stay() {
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
