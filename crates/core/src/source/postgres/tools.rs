//! Finds the PostgreSQL programs where they run, and chooses those that fit a server.
//!
//! `pg_dump` refuses a server newer than itself, and an archive is best restored by the tools that
//! made it. The programs of the server's own major version are chosen, else those of the lowest
//! newer one.

use crate::error::{Code, Error, Result};
use crate::transport::{Command, Transport};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The directory in which Debian and its derivatives install each major version. `/usr/bin` there
/// holds wrappers that choose a version by rules of their own, so these come first.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The programs of one major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    directory: PathBuf,
    /// Its major version.
    pub major: u32,
    transport: Transport,
}

impl Tools {
    /// The path of one of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The version that `program --version` prints: `15.18`.
    pub fn version(&self, program: &str) -> Result<String> {
        version(&self.program(program), &self.transport)
    }

    /// The client programs that fit a server of this major version.
    pub fn for_server(server_major: u32, transport: &Transport) -> Result<Self> {
        let found = installed_at(transport, "pg_dump")?;
        choose(&found, server_major).cloned().ok_or_else(|| {
            let error = match found.iter().map(|tools| tools.major).max() {
                None => absent("pg_dump", transport),
                Some(client) => Error::new(
                    Code::ToolMissing,
                    format!(
                        "the client{} is older than the server: pg_dump {client} cannot dump PostgreSQL {server_major}",
                        on(transport)
                    ),
                ),
            };
            error.hint(format!(
                "install it{}: apt-get install postgresql-client-{server_major}",
                match transport {
                    Transport::Local => "",
                    Transport::Remote(_) => " there",
                }
            ))
        })
    }

    /// The newest client programs, for asking a server its version.
    pub fn newest(transport: &Transport) -> Result<Self> {
        let found = installed_at(transport, "psql")?
            .into_iter()
            .max_by_key(|tools| tools.major);
        found.ok_or_else(|| absent("psql", transport))
    }

    /// The server programs of this major version, or the newest.
    pub fn server(major: Option<u32>) -> Result<Self> {
        let found = installed("initdb")
            .into_iter()
            .filter(|tools| tools.program("postgres").is_file())
            .filter(|tools| major.is_none_or(|major| tools.major == major))
            .max_by_key(|tools| tools.major);
        found.ok_or_else(|| match major {
            Some(major) => Error::new(
                Code::ToolMissing,
                format!("the PostgreSQL {major} server is not installed here"),
            )
            .hint(format!("install it: apt-get install postgresql-{major}")),
            None => Error::new(Code::ToolMissing, "no PostgreSQL server is installed here")
                .hint("install it: apt-get install postgresql"),
        })
    }
}

fn absent(program: &str, transport: &Transport) -> Error {
    let message = format!("{program} is not installed{}", on(transport));
    let there = match transport {
        Transport::Local => "",
        Transport::Remote(_) => " there",
    };
    Error::new(Code::ToolMissing, message).hint(format!(
        "install it{there}: apt-get install postgresql-client"
    ))
}

/// ` on user@host`; empty for this host.
fn on(transport: &Transport) -> String {
    let place = transport.place();
    place
        .map(|place| format!(" on {place}"))
        .unwrap_or_default()
}

fn choose(found: &[Tools], server_major: u32) -> Option<&Tools> {
    found
        .iter()
        .filter(|tools| tools.major >= server_major)
        .min_by_key(|tools| tools.major)
}

/// Installations found elsewhere, by place and program: every query needs them, and they do not
/// change.
static ELSEWHERE: Mutex<Vec<(Transport, String, Vec<Tools>)>> = Mutex::new(Vec::new());

/// A script that prints every installation that has the program `$1`: `debian DIRECTORY`, or `path
/// DIRECTORY` followed by the program's version line.
const LOOK: &str = "for p in /usr/lib/postgresql/*/bin/\"$1\"; do \
    test -x \"$p\" && printf 'debian %s\\n' \"${p%/*}\"; done; \
    IFS=:; for d in $PATH; do p=$d/$1; test -x \"$p\" || continue; \
    case $(readlink -f \"$p\" 2>/dev/null) in */pg_wrapper) continue ;; esac; \
    printf 'path %s\\n' \"$d\"; \"$p\" --version </dev/null; done; true";

/// Every installation that has `program`, where it would run.
fn installed_at(transport: &Transport, program: &str) -> Result<Vec<Tools>> {
    if *transport == Transport::Local {
        return Ok(installed(program));
    }
    let lock = || ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner);
    let known =
        |(place, name, _): &&(Transport, String, Vec<Tools>)| place == transport && name == program;
    if let Some((_, _, found)) = lock().iter().find(known) {
        return Ok(found.clone());
    }
    let look = Command::new("sh").args(["-c", LOOK, "look", program]);
    let output = transport.output(&look)?;
    let found = parse(&String::from_utf8_lossy(&output.stdout), transport);
    if !found.is_empty() {
        lock().push((transport.clone(), program.to_owned(), found.clone()));
    }
    Ok(found)
}

fn parse(text: &str, transport: &Transport) -> Vec<Tools> {
    let mut found: Vec<Tools> = Vec::new();
    let mut add = |directory: &str, major: Option<u32>| {
        if let Some(major) = major
            && found.iter().all(|tools| tools.major != major)
        {
            found.push(Tools {
                directory: directory.into(),
                major,
                transport: transport.clone(),
            });
        }
    };
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(directory) = line.strip_prefix("debian ") {
            let major = directory.trim_end_matches("/bin").rsplit('/').next();
            add(directory, major.and_then(|name| name.parse().ok()));
        } else if let Some(directory) = line.strip_prefix("path ") {
            let version = lines.next().and_then(number);
            add(directory, version.as_deref().and_then(major_of));
        }
    }
    found
}

/// Every installation of this host that has `program`.
fn installed(program: &str) -> Vec<Tools> {
    let mut found: Vec<Tools> = Vec::new();
    for entry in std::fs::read_dir(DEBIAN).into_iter().flatten().flatten() {
        let directory = entry.path().join("bin");
        let major = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(major) = major
            && directory.join(program).is_file()
        {
            found.push(Tools {
                directory,
                major,
                transport: Transport::Local,
            });
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for directory in std::env::split_paths(&path) {
        let candidate = directory.join(program);
        if !candidate.is_file() || is_wrapper(&candidate) {
            continue;
        }
        let version = version(&candidate, &Transport::Local).ok();
        if let Some(major) = version.as_deref().and_then(major_of)
            && found.iter().all(|tools| tools.major != major)
        {
            found.push(Tools {
                directory,
                major,
                transport: Transport::Local,
            });
        }
    }
    found
}

/// Returns true for Debian's `/usr/bin/pg_dump`, a script that picks a version by the existing
/// clusters.
fn is_wrapper(program: &Path) -> bool {
    std::fs::canonicalize(program).is_ok_and(|path| path.ends_with("pg_wrapper"))
}

/// The version without a packager's additions: `pg_dump (PostgreSQL) 15.18 (Debian …)` → `15.18`.
fn version(program: &Path, transport: &Transport) -> Result<String> {
    let output = transport.output(&Command::new(program).arg("--version"))?;
    number(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| {
        Error::new(
            Code::ToolMissing,
            format!("{} does not tell its version", program.display()),
        )
        .cause(output.stderr)
    })
}

fn number(text: &str) -> Option<String> {
    text.split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
}

/// `15.18`, `16beta1` → 15, 16.
pub fn major_of(version: &str) -> Option<u32> {
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_major_or_the_lowest_newer() {
        let tools = |major| Tools {
            directory: PathBuf::new(),
            major,
            transport: Transport::Local,
        };
        let found = [tools(18), tools(14), tools(16)];
        let chosen = |server| choose(&found, server).map(|tools| tools.major);
        assert_eq!(chosen(14), Some(14));
        assert_eq!(chosen(15), Some(16));
        assert_eq!(chosen(17), Some(18));
        assert_eq!(chosen(19), None);
    }

    #[test]
    fn installations_elsewhere_are_read_from_lines() {
        let text = "debian /usr/lib/postgresql/15/bin\ndebian /usr/lib/postgresql/*/bin\n\
            path /usr/local/bin\npsql (PostgreSQL) 16.2\npath /opt/bin\npsql (PostgreSQL) 15.1\n";
        let found = parse(text, &Transport::Local);
        let told: Vec<_> = found
            .iter()
            .map(|tools| (tools.major, tools.program("psql").display().to_string()))
            .collect();
        assert_eq!(
            told,
            [
                (15, "/usr/lib/postgresql/15/bin/psql".to_owned()),
                (16, "/usr/local/bin/psql".to_owned()),
            ]
        );
    }

    #[test]
    fn a_client_older_than_the_server_names_the_package() {
        let error = Tools::for_server(99, &Transport::Local).unwrap_err();
        assert_eq!(error.code, Code::ToolMissing);
        assert!(error.message.contains("older than the server"), "{error}");
        assert!(error.hint.unwrap().contains("postgresql-client-99"));
    }
}
