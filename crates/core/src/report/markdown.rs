//! A page as Markdown that is readable as it is: 80 columns, tables aligned.

use super::page::{Block, Line, Page};
use crate::visible::visible;

/// Longest line, where words allow it.
const COLUMNS: usize = 80;

pub(super) fn render(page: &Page) -> String {
    let mut text = format!("# {}\n", escape(&page.title));
    for block in &page.lead {
        text.push('\n');
        text.push_str(&render_block(block));
    }
    for section in &page.sections {
        text.push_str(&format!("\n## {}\n", escape(section.title)));
        for block in &section.blocks {
            text.push('\n');
            text.push_str(&render_block(block));
        }
    }
    text
}

fn render_block(block: &Block) -> String {
    match block {
        Block::Heading(title) => format!("### {}\n", escape(title)),
        Block::Text(line) => wrap("", "", &words(line)),
        Block::List(lines) => lines.iter().map(|l| wrap("- ", "  ", &words(l))).collect(),
        Block::Checks(checks) => {
            let checks = checks.iter().map(|check| {
                let first = match check.done {
                    true => "- [x] ",
                    false => "- [ ] ",
                };
                let lines = check.notes.iter();
                let notes: String = lines.map(|l| wrap("  - ", "    ", &words(l))).collect();
                wrap(first, "  ", &words(&check.line)) + &notes
            });
            checks.collect()
        }
        Block::Table { head, rows } => table(head, rows),
    }
}

/// The words of a line, escaped. A command is one word.
fn words(line: &Line) -> Vec<String> {
    let text = escape(&line.text);
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    words.retain(|word| !word.is_empty());
    if let Some(code) = &line.code {
        words.push(format!("`{}`", visible(code).replace('`', "'")));
    }
    words
}

/// Lines of words: the first begins with `first`, each further one with `rest`.
fn wrap(first: &str, rest: &str, words: &[String]) -> String {
    let mut text = String::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in words {
        let length = line.chars().count() + 1 + word.chars().count();
        if !is_empty && length > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            line = rest.to_owned();
            is_empty = true;
        }
        match is_empty {
            true => line.push_str(&guard(word)),
            false => {
                line.push(' ');
                line.push_str(word);
            }
        }
        is_empty = false;
    }
    text.push_str(&line);
    text.push('\n');
    text
}

/// A word that stands at the beginning of a line, where some would begin a list, a heading or a rule.
fn guard(word: &str) -> String {
    let digits = word.chars().take_while(char::is_ascii_digit).count();
    let after = word.get(digits..).unwrap_or_default();
    if digits > 0 && (after.starts_with('.') || after.starts_with(')')) {
        let (number, rest) = word.split_at(digits);
        return format!("{number}\\{rest}");
    }
    match word.starts_with(['-', '+', '=', '#']) {
        true => format!("\\{word}"),
        false => word.to_owned(),
    }
}

/// A table, or a list where it would be too wide.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let escaped: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| escape(cell)).collect())
        .collect();
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = escaped.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
                .max(width(title))
                .max(3)
        })
        .collect();
    let whole: usize = widths.iter().map(|w| w + 3).sum::<usize>() + 1;
    if whole > COLUMNS {
        return as_list(head, rows);
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::from("|");
        for (cell, wide) in cells.zip(&widths) {
            let fill = " ".repeat(wide.saturating_sub(width(cell)));
            line.push_str(&format!(" {cell}{fill} |"));
        }
        line + "\n"
    };
    let rules: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
    let mut text = line(&mut head.iter().copied());
    text.push_str(&line(&mut rules.iter().map(String::as_str)));
    for row in &escaped {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

fn as_list(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows = rows.iter().map(|row| {
        let cells = head.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        let cells: Vec<String> = cells
            .map(|(title, cell)| format!("{title} {cell}"))
            .collect();
        let line = Line::text(cells.join("; "));
        wrap("- ", "  ", &words(&line))
    });
    rows.collect()
}

/// The text on one line, with a backslash before what could begin markup or a link.
fn escape(text: &str) -> String {
    let line = visible(text);
    let mut escaped = String::with_capacity(line.len());
    for c in line.chars() {
        if "\\`*_[]<>|~&".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    let escaped = escaped.replace("://", ":\\//");
    escaped.replace("www.", "www\\.")
}
