//! Positions in a configuration file, and the problems there.

use crate::error::{Code, Error};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest number of problems in one error.
const PROBLEMS_MAX: usize = 50;

/// A problem that prevents a configuration from being used.
#[derive(Debug)]
pub(super) struct Problem {
    /// Byte offset into the text.
    pub(super) offset: usize,
    /// One sentence, without any value that may be a secret.
    pub(super) message: String,
    /// Remedy.
    pub(super) hint: Option<String>,
    /// True when the message is known not to quote the value.
    pub(super) discreet: bool,
}

/// Byte offset of each key and list item, by its path (`plan.hourly.sources[1]`).
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<String, usize>);

impl Places {
    pub(super) fn note(&mut self, path: &str, offset: usize) {
        self.0.insert(path.to_owned(), offset);
    }

    /// Offset of `path`, or of the nearest table or list around it.
    pub(super) fn find(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(offset) = self.0.get(path) {
                return *offset;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return 0,
            }
        }
    }
}

/// Path of `key` in the table at `path`, quoted if TOML requires it.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let key = match !key.is_empty() && key.chars().all(bare) {
        true => key.to_owned(),
        false => format!("{key:?}"),
    };
    match path.is_empty() {
        true => key,
        false => format!("{path}.{key}"),
    }
}

/// Converts a byte offset to `LINE:COLUMN`, both from 1; columns count characters.
fn line_and_column(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    format!("{line}:{column}")
}

/// Combines all problems in one error: the first is the message, the others the cause, a line each.
pub(super) fn error(origin: &Path, text: &str, mut problems: Vec<Problem>) -> Error {
    problems.sort_by_key(|problem| problem.offset);
    let told = |problem: &Problem| {
        let place = line_and_column(text, problem.offset);
        format!("{}:{place}: {}", origin.display(), problem.message)
    };
    let Some((first, others)) = problems.split_first() else {
        return Error::new(
            Code::Configuration,
            format!("{} cannot be used", origin.display()),
        );
    };
    let mut lines: Vec<String> = others
        .iter()
        .take(PROBLEMS_MAX)
        .map(|problem| match &problem.hint {
            Some(hint) => format!("{} ({hint})", told(problem)),
            None => told(problem),
        })
        .collect();
    if let Some(more @ 1..) = others.len().checked_sub(PROBLEMS_MAX) {
        lines.push(format!("and {more} more"));
    }
    let error = Error::new(Code::Configuration, told(first)).cause(lines.join("\n"));
    match &first.hint {
        Some(hint) => error.hint(hint),
        None => error.hint("correct it there; `lifeboat config schema` describes every key"),
    }
}

/// Finds the candidate that a mistyped word most likely means.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let bound = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        .filter(|(distance, candidate)| {
            let begins = lower.len() >= 3 && candidate.starts_with(&lower);
            *distance <= bound || begins
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Makes the hint for a word that is not among `known`.
pub(super) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(nearest) = nearest(word, known.clone()) {
        return Some(format!("did you mean {nearest:?}?"));
    }
    let mut known: Vec<_> = known.into_iter().collect();
    known.sort_unstable();
    (!known.is_empty()).then(|| format!("known here: {}", known.join(", ")))
}

/// The path of a table and something in it.
pub(super) fn path_of(subject: &str, at: &str) -> String {
    let (table, name) = subject.split_once('.').unwrap_or((subject, ""));
    let subject = match name {
        "" => table.to_owned(),
        name => join(table, name),
    };
    match at {
        "" => subject,
        at if at.starts_with('[') => format!("{subject}{at}"),
        at => format!("{subject}.{at}"),
    }
}
