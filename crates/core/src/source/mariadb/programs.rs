//! Finds the MariaDB and MySQL programs and their flavors.
//!
//! `mysql` may be MySQL's or another name of MariaDB's, so each program is asked.

use super::flavor::{Flavor, release_of};
use crate::error::{Code, Error, Fact, Result};
use crate::transport::{Command, Transport};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The purpose of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// Dumps a database.
    Dump,
    /// Runs statements.
    Client,
}

/// An installed program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its name, looked up in `PATH`.
    pub name: String,
    /// Its flavor.
    pub flavor: Flavor,
    /// Its version in its own words: `10.11.6`, `9.1.0`.
    pub version: String,
}

impl Program {
    /// Options that keep a dump program from writing anything about the server as a whole: a
    /// restore touches only its own database.
    pub fn database_alone(&self) -> &'static [&'static str] {
        if self.flavor == Flavor::Mariadb {
            return &[];
        }
        match release_of(&self.version).unwrap_or_default() {
            // Otherwise it would drop the masking policies of the target server and create its own.
            release if release >= [9, 7] => &[
                "--set-gtid-purged=OFF",
                "--column-statistics=0",
                "--skip-masking-policies",
            ],
            // The statistics are in a table that older servers and MariaDB do not have.
            release if release >= [8, 0] => &["--set-gtid-purged=OFF", "--column-statistics=0"],
            _ => &["--set-gtid-purged=OFF"],
        }
    }
}

/// The programs found so far.
#[derive(Debug, Default)]
pub struct Programs {
    found: Mutex<BTreeMap<(Flavor, Tool), Program>>,
}

impl Programs {
    /// The flavor's own program if it is installed, else the other flavor's.
    pub fn find(&self, transport: &Transport, flavor: Flavor, tool: Tool) -> Result<Program> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = found.get(&(flavor, tool)) {
            return Ok(program.clone());
        }
        let program = look(transport, flavor, tool)?;
        found.insert((flavor, tool), program.clone());
        Ok(program)
    }
}

fn look(transport: &Transport, flavor: Flavor, tool: Tool) -> Result<Program> {
    let names = match tool {
        Tool::Dump => ["mariadb-dump", "mysqldump"],
        Tool::Client => ["mariadb", "mysql"],
    };
    let mut other = None;
    let mut first_error = None;
    let ordered = match flavor {
        Flavor::Mariadb => names,
        Flavor::Mysql => [names[1], names[0]],
    };
    for name in ordered {
        match ask(transport, name) {
            Ok(program) if program.flavor == flavor => return Ok(program),
            Ok(program) => other = other.or(Some(program)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    other.ok_or_else(|| match (transport, first_error) {
        // The error names the place where the program is missing.
        (Transport::Remote(_), Some(error)) => error,
        (_, first_error) => missing(flavor, ordered[0], first_error),
    })
}

fn missing(flavor: Flavor, name: &str, error: Option<Error>) -> Error {
    match error {
        // The program may be there: the way to it failed, or its answer was not understood.
        Some(error) if error.fact != Some(Fact::NotInstalled) => error,
        _ => Error::new(Code::ToolMissing, format!("{name} is not installed")).hint(match flavor {
            Flavor::Mariadb => "install it: apt-get install mariadb-client",
            Flavor::Mysql => "install it: apt-get install default-mysql-client",
        }),
    }
}

/// Asks a program for its flavor and version.
pub fn ask(transport: &Transport, name: &str) -> Result<Program> {
    let command = Command::new(name)
        .clean_env()
        .env("LC_ALL", "C")
        .arg("--no-defaults")
        .arg("--version");
    let output = transport.output(&command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(name, &text).ok_or_else(|| {
        Error::new(
            Code::ToolMissing,
            format!("{name} does not tell its version"),
        )
        .cause(output.stderr)
        .hint("see what it prints when it is run by hand with --version")
    })
}

/// Parses `mariadb  Ver 15.1 Distrib 10.11.6-MariaDB, for …`, `mariadb from 11.8.2-MariaDB, client
/// 15.2 for …`, `mariadbd  Ver 11.8.9-MariaDB from Debian for …`, `mysql  Ver 9.1.0 for Linux …`,
/// `mysqldump  Ver 10.13 Distrib 5.7.44, for …`.
fn parse(name: &str, text: &str) -> Option<Program> {
    // Each mark may also stand before another word.
    let after = |mark: &str| {
        let (_, rest) = text.split_once(mark)?;
        let version = rest.split_whitespace().next()?.trim_end_matches(',');
        version
            .starts_with(|c: char| c.is_ascii_digit())
            .then_some(version)
    };
    let version = [" Distrib ", " from ", " Ver "]
        .into_iter()
        .find_map(after)?;
    let (version, flavor) = match version.split_once("-MariaDB") {
        Some((version, _)) => (version, Flavor::Mariadb),
        None if text.contains("MariaDB") => (version, Flavor::Mariadb),
        None => (version, Flavor::Mysql),
    };
    Some(Program {
        name: name.to_owned(),
        flavor,
        version: version.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flavor_of_a_program_is_recognised() {
        let cases = [
            (
                "mysql  Ver 15.1 Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64) using  EditLine wrapper",
                Flavor::Mariadb,
                "10.11.6",
            ),
            (
                "mariadb from 11.8.2-MariaDB, client 15.2 for debian-linux-gnu (x86_64)",
                Flavor::Mariadb,
                "11.8.2",
            ),
            (
                "mysqldump  Ver 10.19 Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)",
                Flavor::Mariadb,
                "10.11.6",
            ),
            (
                "mysql  Ver 9.1.0-1 for Linux on x86_64 ((Debian))",
                Flavor::Mysql,
                "9.1.0-1",
            ),
            (
                "mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)",
                Flavor::Mysql,
                "5.7.44",
            ),
            (
                "/usr/sbin/mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)",
                Flavor::Mariadb,
                "10.11.6",
            ),
            (
                "mariadbd  Ver 11.8.9-MariaDB-0+deb13u1 from Debian for debian-linux-gnu on x86_64 (-- Please help get to 10k stars at https://github.com/MariaDB/Server)",
                Flavor::Mariadb,
                "11.8.9",
            ),
        ];
        for (text, flavor, version) in cases {
            let program = parse("x", text).unwrap();
            assert_eq!(
                (program.flavor, program.version.as_str()),
                (flavor, version)
            );
        }
        assert_eq!(parse("x", "something else"), None);
    }

    #[test]
    fn a_dump_holds_its_database_alone() {
        let count = |flavor, version: &str| {
            let (name, version) = ("x".to_owned(), version.to_owned());
            let program = Program {
                name,
                flavor,
                version,
            };
            program.database_alone().len()
        };
        assert_eq!(count(Flavor::Mariadb, "11.8.2"), 0);
        assert_eq!(count(Flavor::Mysql, "5.7.44"), 1);
        assert_eq!(count(Flavor::Mysql, "8.0.36"), 2);
        assert_eq!(count(Flavor::Mysql, "9.7.4-2"), 3);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = missing(Flavor::Mysql, "mysqldump", None);
        assert_eq!(error.code, Code::ToolMissing);
        assert!(error.hint.unwrap().contains("apt-get install"));
        let absent = Error::new(Code::ToolMissing, "no such file").about(Fact::NotInstalled);
        let error = missing(Flavor::Mysql, "mysqldump", Some(absent));
        assert_eq!(error.message, "mysqldump is not installed");
        for other in [
            Error::new(Code::SourceUnreachable, "the way is blocked"),
            Error::new(Code::ToolMissing, "mysqldump does not tell its version"),
        ] {
            let error = missing(Flavor::Mysql, "mysqldump", Some(other.clone()));
            assert_eq!((error.code, error.message), (other.code, other.message));
        }
    }
}
