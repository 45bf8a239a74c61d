//! Units of systemd for a configuration: the daemon, one run of what is due, and the timer that calls
//! it.
//!
//! Guarantees: the units are those that ship in `packaging/systemd`, with the paths of this program and
//! this configuration in place of the usual ones, and may write only where the configuration says that
//! Lifeboat writes. Pure: what should be there already is for the caller to look at.

mod writes;

pub use writes::Writes;

use crate::config::Config;
use crate::error::{Code, Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The units as they ship, which are right for a package and `/etc/lifeboat/lifeboat.toml`.
const SHIPPED: [(&str, &str); 3] = [
    (
        "lifeboat.service",
        include_str!("../../../packaging/systemd/lifeboat.service"),
    ),
    (
        "lifeboat-run.service",
        include_str!("../../../packaging/systemd/lifeboat-run.service"),
    ),
    (
        "lifeboat-run.timer",
        include_str!("../../../packaging/systemd/lifeboat-run.timer"),
    ),
];

/// Where `systemctl` looks for units that an operator wrote.
pub const DIRECTORY: &str = "/etc/systemd/system";
/// The configuration that the program finds without being told.
const USUAL: &str = "/etc/lifeboat/lifeboat.toml";

/// Whether a unit of this name is one of these.
pub fn is_one(name: &str) -> bool {
    SHIPPED.iter().any(|(known, _)| *known == name)
}

/// One unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Name of its file.
    pub name: &'static str,
    /// Text of its file.
    pub text: String,
}

/// The units of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    /// Each of them.
    pub units: Vec<Unit>,
    /// What they may write, and what runs inside of them.
    pub writes: Writes,
    /// The file with the environment that `env:` refers to. It need not be there.
    pub environment: PathBuf,
}

/// The document of `init --systemd`.
#[derive(Debug, Clone, Serialize)]
pub struct Document<'a> {
    /// Where the units were written; null if they were printed.
    pub directory: Option<&'a Path>,
    /// Each unit, with its text if it was printed.
    pub units: Vec<Written<'a>>,
    /// Directories that the units may write.
    pub writable: &'a [PathBuf],
    /// Those of them that are not there yet.
    pub absent: &'a [PathBuf],
    /// Keys of the configuration whose commands run inside of the units.
    pub commands: &'a [String],
    /// The file with the environment that `env:` refers to.
    pub environment: &'a Path,
}

/// A unit in the document.
#[derive(Debug, Clone, Serialize)]
pub struct Written<'a> {
    /// Name of its file.
    pub name: &'a str,
    /// Its text, if it was printed.
    pub text: Option<&'a str>,
}

/// Makes the units for these configurations, which the program at `program` reads from `given`.
pub fn units(configs: &[Config], program: &Path, given: &Path) -> Result<Units> {
    let mut writes = Writes::of(configs);
    writes.temporary |= [program, given].into_iter().any(writes::is_temporary);
    let environment = environment(given);
    let called = called(program, given)?;
    let (state, beside) = writes.state_directory();
    let mut writable: Vec<String> = Vec::new();
    for path in &beside {
        writable.push(word(&format!("-{}", text(path)?)));
    }
    let environment_value = format!("-{}", environment_file(text(&environment)?));
    let line = |line: &str| {
        let Some((key, value)) = line.split_once('=') else {
            return Some(line.to_owned());
        };
        match key {
            "ExecStart" | "ExecReload" => {
                Some(value.strip_prefix("/usr/bin/lifeboat").map_or_else(
                    || line.to_owned(),
                    |rest| format!("{key}={called}{rest}"),
                ))
            }
            "EnvironmentFile" => Some(format!("{key}={environment_value}")),
            "StateDirectory" => state.as_ref().map(|state| format!("{key}={state}")),
            "StateDirectoryMode" if state.is_none() => None,
            "ReadWritePaths" if writable.is_empty() => None,
            "ReadWritePaths" => Some(format!("{key}={}", writable.join(" "))),
            "PrivateTmp" if writes.temporary => Some(
                "# The program, the configuration or a path in it is below /tmp or /var/tmp, which would be others here.\n\
                 PrivateTmp=no"
                    .to_owned(),
            ),
            _ => Some(line.to_owned()),
        }
    };
    let units = SHIPPED.map(|(name, shipped)| Unit {
        name,
        text: shipped
            .lines()
            .filter_map(line)
            .map(|line| line + "\n")
            .collect(),
    });
    Ok(Units {
        units: units.into(),
        writes,
        environment,
    })
}

/// Makes the daemon's unit for the configurations of the directory `given`: only the daemon takes several.
pub fn several(configs: &[Config], program: &Path, given: &Path) -> Result<Units> {
    let mut units = units(configs, program, given)?;
    units.units.retain(|unit| unit.name == "lifeboat.service");
    Ok(units)
}

/// The program and the options before its command, as words of a unit.
fn called(program: &Path, given: &Path) -> Result<String> {
    let program = command_word(text(program)?);
    if given == Path::new(USUAL) {
        return Ok(program);
    }
    Ok(format!("{program} --config {}", command_word(text(given)?)))
}

/// `secrets.env` beside the configuration. Where there are several in a directory of its own, it lies
/// beside that directory.
fn environment(given: &Path) -> PathBuf {
    given.with_file_name("secrets.env")
}

/// A path as text without control characters: systemd reads their escapes in commands alone.
fn text(path: &Path) -> Result<&str> {
    let refusal = |why: &str, hint: &str| {
        let message = format!("{:?} {why}", path.display().to_string());
        Error::new(Code::Target, message).hint(hint)
    };
    let text = path
        .to_str()
        .ok_or_else(|| refusal("is not text, and a unit is", "give it a name in UTF-8"))?;
    if text.contains(char::is_control) {
        return Err(refusal(
            "has a control character, which a unit cannot name",
            "give it a name without line breaks and tabs",
        ));
    }
    Ok(text)
}

/// A text as the value of `EnvironmentFile=`: a pattern of files to the end of the line, where quotes are
/// a part of it.
fn environment_file(text: &str) -> String {
    let mut value = String::new();
    for c in text.chars() {
        match c {
            '*' | '?' | '[' | '\\' => value.extend(['\\', c]),
            '%' => value.push_str("%%"),
            c => value.push(c),
        }
    }
    value
}

/// A text as one word of a unit: `%` begins a specifier there, and a backslash an escape.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut word = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '%' => word.push_str("%%"),
            c => word.push(c),
        }
    }
    word.push('"');
    word
}

/// A text as one word of a command in a unit, where `$` begins a variable, too.
fn command_word(text: &str) -> String {
    word(text).replace('$', "$$")
}

#[cfg(test)]
mod tests;
