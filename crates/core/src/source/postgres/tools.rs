//! Finds the PostgreSQL programs of this host, and chooses those that fit a server.
//!
//! `pg_dump` refuses a server newer than itself, and an archive is best restored by the tools that
//! made it: the ones of the server's own major version are chosen, else the lowest newer.

use crate::error::{Code, Error, Result};
use crate::transport::{Command, Transport};
use std::path::{Path, PathBuf};

/// Where Debian and its kin put each major version. `/usr/bin` there holds wrappers that choose a
/// version by rules of their own, so these come first.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The programs of one major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    directory: PathBuf,
    /// Its major version.
    pub major: u32,
}

impl Tools {
    /// The path of one of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What `program --version` says: `15.18`.
    pub fn version(&self, program: &str) -> Result<String> {
        version(&self.program(program))
    }

    /// The client programs that fit a server of this major version.
    pub fn for_server(server_major: u32) -> Result<Self> {
        let found = installed("pg_dump");
        choose(&found, server_major).cloned().ok_or_else(|| {
            let error = match found.iter().map(|tools| tools.major).max() {
                None => Error::new(Code::ToolMissing, "pg_dump is not installed"),
                Some(client) => Error::new(
                    Code::ToolMissing,
                    format!(
                        "the client is older than the server: pg_dump {client} cannot dump PostgreSQL {server_major}"
                    ),
                ),
            };
            error.hint(format!(
                "install it: apt-get install postgresql-client-{server_major}"
            ))
        })
    }

    /// The newest client programs, to ask a server its version with.
    pub fn newest() -> Result<Self> {
        let found = installed("psql")
            .into_iter()
            .max_by_key(|tools| tools.major);
        found.ok_or_else(|| {
            Error::new(Code::ToolMissing, "psql is not installed")
                .hint("install it: apt-get install postgresql-client")
        })
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

fn choose(found: &[Tools], server_major: u32) -> Option<&Tools> {
    found
        .iter()
        .filter(|tools| tools.major >= server_major)
        .min_by_key(|tools| tools.major)
}

/// Every installation that has `program`.
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
            found.push(Tools { directory, major });
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for directory in std::env::split_paths(&path) {
        let candidate = directory.join(program);
        if !candidate.is_file() || is_wrapper(&candidate) {
            continue;
        }
        if let Some(major) = version(&candidate).ok().as_deref().and_then(major_of)
            && found.iter().all(|tools| tools.major != major)
        {
            found.push(Tools { directory, major });
        }
    }
    found
}

/// Debian's `/usr/bin/pg_dump` is a script that picks a version by what clusters there are.
fn is_wrapper(program: &Path) -> bool {
    std::fs::canonicalize(program).is_ok_and(|path| path.ends_with("pg_wrapper"))
}

/// The last word but what a packager adds: `pg_dump (PostgreSQL) 15.18 (Debian …)` → `15.18`.
fn version(program: &Path) -> Result<String> {
    let output = Transport::Local.output(&Command::new(program).arg("--version"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
        .ok_or_else(|| {
            Error::new(
                Code::ToolMissing,
                format!("{} does not tell its version", program.display()),
            )
            .cause(output.stderr)
        })
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
        };
        let found = [tools(18), tools(14), tools(16)];
        let chosen = |server| choose(&found, server).map(|tools| tools.major);
        assert_eq!(chosen(14), Some(14));
        assert_eq!(chosen(15), Some(16));
        assert_eq!(chosen(17), Some(18));
        assert_eq!(chosen(19), None);
    }

    #[test]
    fn a_client_older_than_the_server_names_the_package() {
        let error = Tools::for_server(99).unwrap_err();
        assert_eq!(error.code, Code::ToolMissing);
        assert!(error.message.contains("older than the server"), "{error}");
        assert!(error.hint.unwrap().contains("postgresql-client-99"));
    }
}
