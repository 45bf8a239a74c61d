//! How results and errors are shown: tables and sentences for people, one JSON document for
//! programs.
//!
//! A [`Printer`] is all that a run prints results through: it knows whether they are wanted as JSON,
//! how wide a table may be, whether colours are, and whether anything is to be said at all. Amounts
//! and times are put into words by the functions below it.

use anstream::AutoStream;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
pub use lifeboat_core::amount::{bytes, count};
use lifeboat_core::document::{Document, Failure};
use lifeboat_core::visible::visible;
use lifeboat_core::{Code, Error, Exit, Result};
use serde::Serialize;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Prints the results of a run.
pub struct Printer {
    json: bool,
    /// Columns of the terminal; none where it is no terminal.
    width: Option<usize>,
    paper: Mutex<Paper>,
}

/// The place that lines go to.
struct Paper {
    to: AutoStream<Box<dyn Write + Send>>,
    /// Lines that are held back until it is known whether anything failed.
    held: Option<Vec<String>>,
}

impl Printer {
    /// Prints to standard output, with colours if that is a terminal that wants them. Where `quiet`,
    /// nothing is printed until [`Printer::finish`] is told how the run ended.
    pub fn new(json: bool, quiet: bool) -> Self {
        let stdout = std::io::stdout();
        let colour = AutoStream::choice(&stdout);
        Printer {
            json,
            width: Table::new().width().map(usize::from),
            paper: Mutex::new(Paper {
                to: AutoStream::new(Box::new(stdout), colour),
                held: quiet.then(Vec::new),
            }),
        }
    }

    /// Prints without colours to where a test looks.
    #[cfg(test)]
    pub fn to(to: impl Write + Send + 'static, width: Option<usize>, quiet: bool) -> Self {
        Printer {
            json: false,
            width,
            paper: Mutex::new(Paper {
                to: AutoStream::never(Box::new(to)),
                held: quiet.then(Vec::new),
            }),
        }
    }

    fn paper(&self) -> MutexGuard<'_, Paper> {
        self.paper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says if the result is to be one JSON document.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a line of results.
    pub fn line(&self, text: impl AsRef<str>) {
        let mut paper = self.paper();
        match &mut paper.held {
            Some(lines) => lines.push(text.as_ref().to_owned()),
            // A closed pipe (`| head`) is no error of ours.
            None => drop(writeln!(paper.to, "{}", text.as_ref())),
        }
    }

    /// Prints a sentence, on several lines where the terminal is too narrow for it.
    pub fn sentence(&self, text: impl AsRef<str>) {
        match self.width {
            Some(width) => self.line(wrapped(text.as_ref(), width)),
            None => self.line(text),
        }
    }

    /// Prints a table, as [`table`] lays it out.
    pub fn table(&self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        self.line(table(header, rows.into_iter().collect(), self.width));
    }

    /// Prints the one JSON document of a run, with its schema first.
    pub fn document(&self, body: &impl Serialize) -> Result<()> {
        self.json(&Document::new(body))
    }

    /// Prints what is JSON of a form of its own.
    pub fn json(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| Error::new(Code::Io, "the result cannot be written as JSON").cause(e))?;
        self.line(text);
        Ok(())
    }

    /// Prints what was held back, unless all is done.
    pub fn finish(&self, exit: Option<Exit>) {
        let lines = self.paper().held.take().unwrap_or_default();
        if exit != Some(Exit::Done) {
            lines.iter().for_each(|text| self.line(text));
        }
    }

    /// Prints an error: to standard error for people, as the one document otherwise.
    pub fn error(&self, error: &Error) {
        if self.json {
            let document = Document::new(Failure { error });
            self.line(serde_json::to_string_pretty(&document).unwrap_or_default());
            return;
        }
        let mut out = anstream::stderr();
        let _ = writeln!(out, "\x1b[31merror:\x1b[0m {}", error.message);
        if let Some(cause) = &error.cause {
            let _ = writeln!(out, "cause: {cause}");
        }
        if let Some(hint) = &error.hint {
            let _ = writeln!(out, "\x1b[36mhint:\x1b[0m {hint}");
        }
    }
}

/// A plain table with a header, a line for each row: no value is broken. The columns at the right
/// for which a terminal of `width` columns is too narrow are written below their row, each value with
/// its name.
fn table(header: &[&str], rows: Vec<Vec<String>>, width: Option<usize>) -> String {
    let plain = |row: Vec<String>| row.iter().map(|text| visible(text)).collect::<Vec<_>>();
    let mut rows: Vec<Vec<String>> = rows.into_iter().map(plain).collect();
    // A column that says nothing is left out.
    let says = |column: usize| {
        rows.iter()
            .any(|row| row.get(column).is_some_and(|v| !v.is_empty()))
    };
    let said: Vec<bool> = (0..header.len())
        .map(|c| rows.is_empty() || says(c))
        .collect();
    for row in &mut rows {
        let mut said = said.iter();
        row.retain(|_| said.next().copied().unwrap_or(true));
    }
    let header: Vec<&str> = header
        .iter()
        .zip(said)
        .filter_map(|(h, said)| said.then_some(*h))
        .collect();
    let mut whole = Table::new();
    whole.set_header(header.iter().map(|h| h.to_uppercase()));
    whole.add_rows(&rows);
    // A space on each side of every column, but none at the end of a line.
    let ends = whole.column_max_content_widths().into_iter();
    let ends = ends.scan(0, |end, width| {
        *end += usize::from(width) + 2;
        Some(*end - 1)
    });
    let fits = ends.take_while(|end| width.is_none_or(|width| *end <= width));
    let (beside, below) = header.split_at(fits.count().max(1).min(header.len()));
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(beside.iter().map(|h| h.to_uppercase()));
    table.add_rows(rows.iter().map(|row| row.iter().take(beside.len())));
    let mut lines = table.lines().map(|line| line.trim_end().to_owned());
    let mut text: Vec<String> = lines.next().into_iter().collect();
    for (line, row) in lines.zip(&rows) {
        text.push(line);
        let values = below.iter().zip(row.iter().skip(beside.len()));
        let values = values.filter(|(_, value)| !value.is_empty());
        text.extend(values.map(|(name, value)| format!("    {name}: {value}")));
    }
    text.join("\n")
}

/// A text of several lines, as another program may have said it, on one line.
pub fn joined(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

/// A line broken at its spaces, so that no part has more than `width` columns. What follows the first
/// part is indented by two more columns; a word that is too long stays whole.
fn wrapped(text: &str, width: usize) -> String {
    let indent = text.chars().take_while(|c| *c == ' ').count();
    let (mut out, mut column) = (" ".repeat(indent), indent);
    for (place, word) in text.split_whitespace().enumerate() {
        let length = word.chars().count();
        if place > 0 && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent + 2));
            column = indent + 2;
        } else if place > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// The reason of a point or record, for a table: one line, and its beginning when it is long.
pub fn reason(text: Option<&str>) -> String {
    const LONGEST: usize = 60;
    let line = visible(text.unwrap_or_default());
    match line.chars().count() {
        0..=LONGEST => line,
        _ => line.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

/// How long ago something was, for people, to its largest unit: `12 min`, `3 d`.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    match seconds {
        ..0 => "ahead".to_owned(),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        86_400.. => format!("{} d", seconds / 86_400),
    }
}

/// Seconds for people: `0.4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub fn seconds(count: f64) -> String {
    if count < 60.0 {
        return format!("{count:.1} s");
    }
    let whole = std::time::Duration::from_secs_f64(count).as_secs();
    match whole {
        0..=3599 => format!("{} min {} s", whole / 60, whole % 60),
        3600..=86_399 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn amounts_are_readable() {
        assert_eq!(count(1_u64, "entry"), "1 entry");
        assert_eq!(count(0_usize, "directory"), "0 directories");
        assert_eq!(count(2_u64, "file"), "2 files");
        assert_eq!(seconds(0.44), "0.4 s");
        assert_eq!(seconds(200.0), "3 min 20 s");
        assert_eq!(seconds(7500.0), "2 h 5 min");
        assert_eq!(seconds(273_600.0), "3 d 4 h");
    }

    #[test]
    fn no_value_of_a_table_is_broken() {
        let header = ["point", "outcome", "stores", "reason"];
        let rows = || {
            let row = |words: [&str; 4]| words.map(str::to_owned).to_vec();
            vec![
                row([
                    "20261129T104918Z-79ff",
                    "complete",
                    "disk, offsite",
                    "two\nlines",
                ]),
                row(["20261129T104917Z-a960", "partial", "disk", ""]),
            ]
        };
        let without = rows().into_iter().skip(1).collect();
        assert_eq!(
            table(&header, without, None),
            " POINT                  OUTCOME  STORES\n 20261129T104917Z-a960  partial  disk"
        );
        let wide = "
 POINT                  OUTCOME   STORES         REASON
 20261129T104918Z-79ff  complete  disk, offsite  two\\nlines
 20261129T104917Z-a960  partial   disk";
        assert_eq!(table(&header, rows(), None), wide.trim_start_matches('\n'));
        assert_eq!(
            table(&header, rows(), Some(59)),
            table(&header, rows(), None)
        );
        let narrow = "
 POINT                  OUTCOME
 20261129T104918Z-79ff  complete
    stores: disk, offsite
    reason: two\\nlines
 20261129T104917Z-a960  partial
    stores: disk";
        assert_eq!(
            table(&header, rows(), Some(33)),
            narrow.trim_start_matches('\n')
        );
        let first = table(&header, rows(), Some(5));
        assert!(
            first.contains("\n 20261129T104917Z-a960\n    outcome: partial\n"),
            "{first}"
        );
        assert_eq!(
            table(&header, vec![], Some(80)),
            " POINT  OUTCOME  STORES  REASON"
        );
    }

    /// Keeps what is printed.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_sentence_is_broken_at_its_spaces() {
        let text = "  hint: see what is there, and whose it is";
        assert_eq!(wrapped(text, 80), text);
        let narrow = wrapped(text, 20);
        assert_eq!(
            narrow,
            "  hint: see what is\n    there, and whose\n    it is"
        );
        assert!(narrow.lines().all(|line| line.len() <= 20));
        assert_eq!(
            wrapped("a-word-that-is-long b", 5),
            "a-word-that-is-long\n  b"
        );
    }

    #[test]
    fn a_printer_has_its_width_and_strips_colours() {
        let kept = Kept::default();
        let printer = Printer::to(kept.clone(), Some(9), false);
        printer.line("\x1b[32mok\x1b[0m it is");
        let row = ["20261129", "complete"].map(str::to_owned).to_vec();
        printer.table(&["point", "outcome"], [row]);
        let expected = "ok it is\n POINT\n 20261129\n    outcome: complete\n";
        assert_eq!(kept.text(), expected);
    }

    #[test]
    fn a_quiet_printer_speaks_when_something_failed() {
        for (exit, said) in [
            (Some(Exit::Done), ""),
            (Some(Exit::Partial), "a\nb\n"),
            (None, "a\nb\n"),
        ] {
            let kept = Kept::default();
            let printer = Printer::to(kept.clone(), None, true);
            printer.line("a");
            printer.line("b");
            assert_eq!(kept.text(), "");
            printer.finish(exit);
            assert_eq!(kept.text(), said, "{exit:?}");
        }
    }

    #[test]
    fn what_other_programs_say_is_visible() {
        assert_eq!(
            joined("it failed:\n\tIs it running?\n\n"),
            "it failed:; Is it running?"
        );
        assert_eq!(joined(""), "");
    }

    #[test]
    fn reasons_and_ages_are_short() {
        assert_eq!(reason(None), "");
        assert_eq!(reason(Some("why not")), "why not");
        let long = reason(Some(&"why ".repeat(40)));
        assert_eq!((long.chars().count(), long.ends_with('…')), (60, true));
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().expect("a time");
        let ago = |text: &str| age(text.parse().expect("a time"), now);
        assert_eq!(ago("2026-11-29T11:59:01Z"), "59 s");
        assert_eq!(ago("2026-11-29T11:00:01Z"), "59 min");
        assert_eq!(ago("2026-11-28T12:00:01Z"), "23 h");
        assert_eq!(ago("2025-11-29T12:00:00Z"), "365 d");
        assert_eq!(ago("2026-11-29T12:00:01Z"), "ahead");
    }
}
