//! Files that set variables: `.env` files, environment files of units, `wp-config.php` and
//! `database.yml`. Their values are secrets, or next to some, and are wiped.

use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// The variables of one file.
pub(super) struct Environment {
    pub(super) path: PathBuf,
    variables: Vec<(String, Zeroizing<String>)>,
}

impl Environment {
    /// Reads a file; `None` when it cannot be read, is too long, or sets nothing.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = text_of(path)?;
        let name = path.file_name()?.to_string_lossy();
        let variables = match name.as_ref() {
            "wp-config.php" => of_php(&text),
            "database.yml" => of_yaml(&text),
            _ => of_shell(&text),
        };
        (!variables.is_empty()).then(|| Environment {
            path: path.to_owned(),
            variables,
        })
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let mut all = self.variables.iter();
        let (_, value) = all.find(|(known, _)| known == key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// Finds the first of these keys that is set, and its value.
    pub(super) fn first<'a>(&self, keys: &[&'a str]) -> Option<(&'a str, &str)> {
        keys.iter().find_map(|key| Some((*key, self.get(key)?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.variables.iter();
        all.map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Reads the text of a small file.
pub(super) fn text_of(path: &Path) -> Option<Zeroizing<String>> {
    let metadata = path.symlink_metadata().ok()?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return None;
    }
    crate::plain::read_to_string(path).ok().map(Zeroizing::new)
}

type Variables = Vec<(String, Zeroizing<String>)>;

/// Parses `KEY=value` and `export KEY='value'`, with comments.
fn of_shell(text: &str) -> Variables {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let key = key.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if key.is_empty() || !key.chars().all(fits) {
            continue;
        }
        found.push((
            key.to_owned(),
            Zeroizing::new(unquoted(value.trim()).to_owned()),
        ));
    }
    found
}

/// The text in quotes, or up to a comment.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or_default();
        }
    }
    value.split(" #").next().unwrap_or_default().trim_end()
}

/// Parses `define('DB_NAME', 'value');`.
fn of_php(text: &str) -> Variables {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("define") else {
            continue;
        };
        let mut parts = rest.split(['\'', '"']);
        if let (Some(_), Some(key), Some(_), Some(value)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        {
            found.push((key.to_owned(), Zeroizing::new(value.to_owned())));
        }
    }
    found
}

/// Reads the section `production` of a Rails `database.yml` as `DB_…`; skips computed values.
fn of_yaml(text: &str) -> Variables {
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            inside = line.starts_with("production:");
            continue;
        }
        let Some((key, value)) = line.trim().split_once(':') else {
            continue;
        };
        let key = match key {
            "adapter" => "DB_CONNECTION",
            "database" => "DB_DATABASE",
            "username" => "DB_USERNAME",
            "password" => "DB_PASSWORD",
            "host" => "DB_HOST",
            "port" => "DB_PORT",
            _ => continue,
        };
        let value = unquoted(value.trim());
        if inside && !value.contains("<%") {
            found.push((key.to_owned(), Zeroizing::new(value.to_owned())));
        }
    }
    found
}
