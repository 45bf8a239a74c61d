//! How results and errors are shown: tables and sentences for people, one JSON document for
//! programs.

use comfy_table::{ContentArrangement, Table, presets};
use lifeboat_core::{Code, Error, Result};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lines that are held back until it is known whether anything failed.
static HELD: Mutex<Option<Vec<String>>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<Vec<String>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds back every line from now on.
pub fn hold() {
    *held() = Some(Vec::new());
}

/// Ends [`hold`]: prints what was held back, or forgets it.
pub fn release(print: bool) {
    let lines = held().take().unwrap_or_default();
    if print {
        lines.iter().for_each(line);
    }
}

/// Prints a line of results.
pub fn line(text: impl AsRef<str>) {
    if let Some(lines) = held().as_mut() {
        lines.push(text.as_ref().to_owned());
        return;
    }
    // A closed pipe (`| head`) is no error of ours.
    let _ = writeln!(anstream::stdout(), "{}", text.as_ref());
}

/// Prints the one JSON document of a run.
pub fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::new(Code::Io, "the result cannot be written as JSON").cause(e))?;
    line(text);
    Ok(())
}

/// A plain table with a header.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().map(|h| h.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    table
        .lines()
        .map(|l| l.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Prints an error: to standard error for people, on standard output as JSON.
pub fn error(error: &Error, as_json: bool) {
    if as_json {
        let document = json!({ "schema": 1, "error": error_value(error) });
        line(serde_json::to_string_pretty(&document).unwrap_or_default());
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

/// An error as JSON.
pub fn error_value(error: &Error) -> Value {
    json!({
        "code": error.code.as_str(),
        "message": error.message,
        "cause": error.cause,
        "hint": error.hint,
    })
}

/// Bytes for people: `1.2 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!(
        "{value:.1} {}",
        UNITS.get(unit).copied().unwrap_or_default()
    )
}

/// So many of something, for people: `1 file`, `2 entries`.
pub fn count(number: impl TryInto<u64>, what: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {what}s"),
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

    #[test]
    fn amounts_are_readable() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
        assert_eq!(count(1_u64, "entry"), "1 entry");
        assert_eq!(count(0_usize, "directory"), "0 directories");
        assert_eq!(count(2_u64, "file"), "2 files");
        assert_eq!(seconds(0.44), "0.4 s");
        assert_eq!(seconds(200.0), "3 min 20 s");
        assert_eq!(seconds(7500.0), "2 h 5 min");
        assert_eq!(seconds(273_600.0), "3 d 4 h");
    }
}
