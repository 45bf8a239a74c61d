//! Queries a server through the client program.
//!
//! Guarantees: a failing statement is an [`Error`] in the server's words, with a code that
//! distinguishes refused credentials, an unreachable server, a missing object and other failures.
//! Statements go through the client's standard input in its binary mode, in which it obeys no
//! command of its own but `DELIMITER`.

use super::connection::Connection;
use super::flavor::{Flavor, release_of};
use super::programs::Tool;
use crate::digest::hex;
use crate::error::{Code, Error, Result};
use crate::secret::Scrubber;
use crate::transport::Command;
use std::collections::BTreeMap;

/// Settings of every session.
const SETTINGS: &str = "SET time_zone='+00:00', lock_wait_timeout=60";

/// Facts about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its version in its own words: `10.11.6-MariaDB-0+deb12u1`, `9.1.0`.
    pub version: String,
    /// Its flavor, whatever the configuration calls it.
    pub flavor: Flavor,
    /// `[10, 11]` of `10.11.6`: formats do not change within a release.
    pub release: [u32; 2],
}

impl Server {
    /// Asks the server.
    pub fn ask(connection: &Connection, scrubber: &Scrubber) -> Result<Self> {
        let rows = rows(connection, "SELECT VERSION(), @@version_comment", scrubber)?;
        let row = rows.into_iter().next().unwrap_or_default();
        let mut fields = row.into_iter();
        let (version, comment) = (
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        let release = release_of(&version).ok_or_else(|| {
            Error::new(
                Code::SourceFailed,
                format!("{} tells no version", connection.display()),
            )
            .cause(&version)
        })?;
        let is_mariadb = [&version, &comment]
            .iter()
            .any(|text| text.to_lowercase().contains("mariadb"));
        Ok(Server {
            flavor: match is_mariadb {
                true => Flavor::Mariadb,
                false => Flavor::Mysql,
            },
            version,
            release,
        })
    }
}

/// The client, reading statements from its standard input and printing bare rows.
pub fn command(connection: &Connection, scrubber: &Scrubber) -> Result<Command> {
    Ok(connection
        .client_command(Tool::Client, scrubber)?
        .arg(format!("--init-command={SETTINGS}"))
        // Comments are part of routines, and text in one may look like a delimiter.
        .args([
            "--batch",
            "--skip-column-names",
            "--binary-mode",
            "--comments",
        ])
        .stdin_piped())
}

/// Runs statements and returns all rows that they print. `NULL` reads as the text `NULL`: where
/// that matters, ask for something else.
pub fn rows(connection: &Connection, sql: &str, scrubber: &Scrubber) -> Result<Vec<Vec<String>>> {
    let text = run(connection, sql, scrubber)?;
    let lines = text.split(|byte| *byte == b'\n');
    // Nothing after the last newline is a row.
    let rows: Vec<&[u8]> = lines.collect();
    let rows = rows.split_last().map_or(&[][..], |(_, rows)| rows);
    Ok(rows
        .iter()
        .map(|row| row.split(|byte| *byte == b'\t').map(unescape).collect())
        .collect())
}

/// Runs a statement and returns its single value as text; empty if it returns none.
pub fn query(connection: &Connection, sql: &str, scrubber: &Scrubber) -> Result<String> {
    let mut rows = rows(connection, sql, scrubber)?.into_iter();
    let mut row = rows.next().unwrap_or_default().into_iter();
    let value = row.next().unwrap_or_default();
    if rows.next().is_some() || row.next().is_some() {
        return Err(
            Error::new(Code::SourceFailed, "a query returned more than one value")
                .hint("select one column of one row"),
        );
    }
    Ok(value)
}

/// Runs statements that print nothing.
pub fn execute(connection: &Connection, sql: &str, scrubber: &Scrubber) -> Result<()> {
    run(connection, sql, scrubber).map(drop)
}

/// Runs statements and returns their output, escaped as the client does in batch mode.
fn run(connection: &Connection, sql: &str, scrubber: &Scrubber) -> Result<Vec<u8>> {
    let command = command(connection, scrubber)?;
    let input = sql.as_bytes().to_vec();
    let output = connection.transport().output_of(&command, input)?;
    if !output.status.success() {
        return Err(refused(connection, &output.stderr));
    }
    Ok(output.stdout)
}

/// Undoes the escapes of batch mode: `\t`, `\n`, `\0` and `\\`.
fn unescape(field: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b't') => bytes.push(b'\t'),
            Some(b'n') => bytes.push(b'\n'),
            Some(b'0') => bytes.push(0),
            Some(b'\\') => bytes.push(b'\\'),
            Some(other) => bytes.extend([b'\\', other]),
            None => bytes.push(b'\\'),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The exact number of rows of every table, in one snapshot, by name.
pub fn row_counts(connection: &Connection, scrubber: &Scrubber) -> Result<BTreeMap<String, u64>> {
    let list = "SELECT table_name FROM information_schema.tables \
        WHERE table_schema = DATABASE() AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')";
    let tables = rows(connection, list, scrubber)?;
    let mut sql = String::from("START TRANSACTION WITH CONSISTENT SNAPSHOT;\n");
    let names: Vec<String> = tables.into_iter().flatten().collect();
    for name in &names {
        sql.push_str(&format!("SELECT COUNT(*) FROM {};\n", identifier(name)));
    }
    let counted = rows(connection, &sql, scrubber)?;
    let counts = counted.into_iter().flatten();
    names
        .into_iter()
        .zip(counts)
        .map(|(name, count)| {
            let count = count.parse().map_err(|error| {
                Error::new(
                    Code::SourceFailed,
                    format!("table {name} cannot be counted"),
                )
                .cause(error)
            })?;
            Ok((name, count))
        })
        .collect()
}

/// Quotes `'text'` for SQL, whatever `sql_mode` says of backslashes.
pub fn literal(text: &str) -> String {
    if text.contains('\\') {
        let hex = hex(text.as_bytes());
        return format!("CONVERT(X'{hex}' USING utf8mb4)");
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// Quotes `` `name` `` for SQL.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The number of the first server error that a program reports: `ERROR 1045 (28000): …`,
/// `mysqldump: Got error: 1045: "…" when …`, `mysqldump: Error: 1412: …`, `mysqldump: Couldn't
/// execute '…': … (1146)`.
pub fn error_number(said: &str) -> Option<u32> {
    let executed = said
        .lines()
        .find(|line| line.contains("Couldn't execute '"));
    if let Some((_, number)) = executed.and_then(|line| line.trim_end().rsplit_once('('))
        && let Some(number) = number.strip_suffix(')').and_then(|n| n.parse().ok())
    {
        return Some(number);
    }
    numbered(said)
}

fn numbered(said: &str) -> Option<u32> {
    let lower = said.to_lowercase();
    let (_, rest) = lower.split_once("error")?;
    let digits = rest.trim_start_matches([':', ' ']);
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let (number, rest) = digits.split_at(end);
    match number.parse() {
        Ok(number) => Some(number),
        // `error` may have been an ordinary word.
        Err(_) => numbered(rest),
    }
}

/// The server's own words, without the statement that the client may print before them, which may
/// be full of rows.
pub fn words(said: &str) -> &str {
    match said.rfind("\nERROR ") {
        Some(at) => said.get(at + 1..).unwrap_or(said),
        None => said,
    }
}

/// Converts the output of a client program into an error with the fitting code.
pub fn refused(connection: &Connection, said: &str) -> Error {
    let said = words(said);
    let place = connection.display();
    let error =
        |code, message: String, hint: &str| Error::new(code, message).cause(said).hint(hint);
    match error_number(said) {
        Some(1044 | 1045 | 1698 | 3118 | 1862 | 1820 | 4151) => error(
            Code::SourceDenied,
            format!("{place}: the server refused the credentials"),
            "check user, password and the host that the account may come from, by hand with the same client",
        ),
        Some(1142 | 1143 | 1227 | 1370 | 1410 | 1419) => error(
            Code::SourceDenied,
            format!("{place}: this account may not do everything that is needed"),
            "grant the privilege that the cause names; `lifeboat doctor` tells which ones a backup needs",
        ),
        Some(1049) => error(
            Code::SourceMissing,
            format!("{place}: the database does not exist"),
            "correct the database's name in the configuration, or create it",
        ),
        Some(2026) => error(
            Code::SourceDenied,
            format!("{place}: the encrypted connection was refused"),
            "check ssl-mode and ssl-ca in the URL, and the server's certificate",
        ),
        Some(6561) => error(
            Code::ToolMissing,
            format!("{place}: the server does not have the masking policies that columns name"),
            "install their component there, or take the policies off the columns (ALTER TABLE … DROP MASKING POLICY)",
        ),
        Some(2059 | 2061 | 1251) => error(
            Code::ToolMissing,
            format!("{place}: the client cannot log in in the way that the server asks for"),
            "install a client of the server's own kind and version",
        ),
        Some(1040 | 1129 | 1130 | 1203 | 1053 | 2002..=2006 | 2012 | 2013 | 2055) => error(
            Code::SourceUnreachable,
            format!("{place}: the server cannot be reached"),
            "check that it runs and listens there and lets this host in, and the network between; then run again",
        ),
        _ => error(
            Code::SourceFailed,
            format!("{place}: the server reported an error"),
            "read the cause; run again when it is mended",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_are_found() {
        let cases = [
            ("ERROR 1045 (28000): Access denied for user", Some(1045)),
            (
                "mysqldump: Got error: 2002: \"Can't connect\" when trying to connect",
                Some(2002),
            ),
            (
                "mariadb-dump: Error 1412: Table definition has changed when dumping table `t` at row: 3",
                Some(1412),
            ),
            (
                "mysqldump: [Warning] some error happened\nERROR 1049 (42000): Unknown database",
                Some(1049),
            ),
            (
                "mysqldump: Couldn't execute 'SHOW CREATE TABLE `error 7 (8)`': SHOW VIEW command denied to user 'u'@'h' (1142)",
                Some(1142),
            ),
            ("nothing to see", None),
        ];
        for (said, number) in cases {
            assert_eq!(error_number(said), number, "{said}");
        }
    }

    #[test]
    fn messages_become_codes() {
        let connection = Connection::default();
        let cases = [
            ("ERROR 1045 (28000): Access denied", Code::SourceDenied),
            (
                "ERROR 1049 (42000): Unknown database 'x'",
                Code::SourceMissing,
            ),
            ("ERROR 2002 (HY000): Can't connect", Code::SourceUnreachable),
            ("ERROR 1064 (42000) at line 1: You have", Code::SourceFailed),
        ];
        for (said, code) in cases {
            let error = refused(&connection, said);
            assert_eq!(error.code, code, "{said}");
            assert_eq!(error.cause.as_deref(), Some(said));
        }
    }

    #[test]
    fn statements_are_not_repeated() {
        let said = "--------------\nINSERT INTO `t` VALUES ('secret')\n--------------\n\nERROR 1062 (23000) at line 4: Duplicate entry";
        assert_eq!(words(said), "ERROR 1062 (23000) at line 4: Duplicate entry");
        assert_eq!(words("mysqldump: Got error"), "mysqldump: Got error");
        assert!(
            !refused(&Connection::default(), said)
                .to_string()
                .contains("secret")
        );
    }

    #[test]
    fn escapes_of_batch_mode() {
        assert_eq!(unescape(br"a\tb\nc\\n\0"), "a\tb\nc\\n\0");
    }

    #[test]
    fn quoting() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("\\'"), "CONVERT(X'5c27' USING utf8mb4)");
        assert_eq!(release_of("10.11.6-MariaDB-0+deb12u1"), Some([10, 11]));
        assert_eq!(release_of("9.1.0"), Some([9, 1]));
        assert_eq!(release_of("odd"), None);
    }
}
