//! Queries a server through `psql`: one query at a time, or several in one session.
//!
//! Guarantees: a failing statement is an [`Error`] in the server's words, with a code that
//! distinguishes refused credentials, an unreachable server, a missing object and other failures.
//! Codes are recognised by English messages; a server that speaks another language gets coarser
//! codes.

use super::connection::Connection;
use super::tools::{Tools, major_of};
use crate::error::{Code, Error, Result};
use crate::secret::Scrubber;
use crate::transport::{Command, Running};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};

/// Settings of every session: no timeouts that would end a long dump, qualified names in
/// definitions, and the shortest exact form of floating point. Waiting for a lock soon fails: while
/// a dump is held back, the holder of the lock may be waiting for that dump.
const SETTINGS: &str = "SET statement_timeout = 0; SET lock_timeout = '3s'; \
    SET idle_in_transaction_session_timeout = 0; SET search_path = ''; \
    SET DateStyle = ISO; SET IntervalStyle = postgres; SET TimeZone = 'UTC'; \
    SET extra_float_digits = 3; SET quote_all_identifiers = off";

/// Separates fields and rows of an answer, so that more than one value is noticed.
const FIELD: char = '\u{1f}';
const ROW: char = '\u{1e}';

/// Facts about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its version in its own words: `15.18 (Debian …)`.
    pub version: String,
    /// Its major version: 15.
    pub major: u32,
    /// Encoding of the connected database: `UTF8`.
    pub encoding: String,
}

impl Server {
    /// Asks the server.
    pub fn ask(connection: &Connection, scrubber: &Scrubber) -> Result<Self> {
        let sql = "SELECT current_setting('server_version') || E'\\t' || current_setting('server_encoding')";
        let answer = query(connection, sql, scrubber)?;
        let (version, encoding) = answer.split_once('\t').unwrap_or((&answer, "UTF8"));
        let major = major_of(version).ok_or_else(|| {
            Error::new(
                Code::SourceFailed,
                format!("{} tells no version", connection.display()),
            )
            .cause(&answer)
        })?;
        Ok(Server {
            version: version.to_owned(),
            major,
            encoding: encoding.to_owned(),
        })
    }
}

fn psql(connection: &Connection, scrubber: &Scrubber) -> Result<Command> {
    let tools = Tools::newest(connection.transport())?;
    Ok(connection
        .command(tools.program("psql"), scrubber)
        .args(["-X", "-A", "-t", "-q", "-w"]))
}

/// Runs a statement and returns its single value as text; empty if it returns none.
pub fn query(connection: &Connection, sql: &str, scrubber: &Scrubber) -> Result<String> {
    one_shot(connection, &[sql], scrubber)
}

/// Does what [`query`] does, read-only and as of a snapshot that another session exported.
pub fn query_in_snapshot(
    connection: &Connection,
    snapshot: &str,
    sql: &str,
    scrubber: &Scrubber,
) -> Result<String> {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let import = format!("SET TRANSACTION SNAPSHOT {}", literal(snapshot));
    one_shot(connection, &[begin, &import, sql], scrubber)
}

/// Runs statements with `-c`, which sends them to the server unchanged: `psql` does not look for
/// its own commands or variables in them. (A first character `\` would be one, hence the space.)
fn one_shot(connection: &Connection, statements: &[&str], scrubber: &Scrubber) -> Result<String> {
    let mut command = psql(connection, scrubber)?.args(["-v", "ON_ERROR_STOP=1"]);
    command = command.arg(format!("-F{FIELD}")).arg(format!("-R{ROW}"));
    for statement in statements {
        command = command.arg("-c").arg(format!(" {statement}"));
    }
    let output = connection.transport().output(&command)?;
    if !output.status.success() {
        return Err(refused(connection, &output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    if text.contains([FIELD, ROW]) {
        return Err(
            Error::new(Code::SourceFailed, "a query returned more than one value")
                .hint("select one column of one row"),
        );
    }
    Ok(text.to_owned())
}

/// A session that stays open; it ends, and its transaction with it, when dropped.
pub struct Session {
    running: Option<Running>,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    marker: String,
    connection: Connection,
    scrubber: Scrubber,
}

impl Session {
    /// Connects. A refused connection shows at the first statement.
    pub fn open(connection: &Connection, scrubber: &Scrubber) -> Result<Self> {
        let command = psql(connection, scrubber)?.stdin_piped();
        let mut running = connection.transport().spawn(&command)?;
        let (Some(input), Some(output)) = (running.stdin.take(), running.stdout.take()) else {
            return Err(Error::new(Code::Io, "psql was started without pipes"));
        };
        let mut session = Session {
            running: Some(running),
            input,
            output: BufReader::new(output),
            marker: marker()?,
            connection: connection.clone(),
            scrubber: scrubber.clone(),
        };
        session.run(SETTINGS)?;
        Ok(session)
    }

    /// Runs statements of our own and returns their output. (Their text goes through `psql`, in
    /// which a backslash or a colon outside quotes has a meaning.)
    pub fn run(&mut self, sql: &str) -> Result<String> {
        let marker = self.marker.clone();
        let script = format!(
            "{sql};\n\\echo {marker} :ERROR\n\\echo :LAST_ERROR_MESSAGE\n\\echo {marker} end\n"
        );
        if self.input.write_all(script.as_bytes()).is_err() {
            return Err(self.ended());
        }
        let (mut answer, mut message, mut failed) = (Vec::new(), Vec::new(), None);
        loop {
            let mut line = Vec::new();
            match self.output.read_until(b'\n', &mut line) {
                Ok(count) if count > 0 => {}
                _ => return Err(self.ended()),
            }
            match line.strip_prefix(marker.as_bytes()) {
                Some(b" end\n") => break,
                Some(b" true\n") => failed = Some(true),
                Some(b" false\n") => failed = Some(false),
                Some(_) => {
                    return Err(
                        Error::new(Code::ToolMissing, "psql is older than version 11")
                            .hint("install a newer one: apt-get install postgresql-client"),
                    );
                }
                None if failed.is_none() => answer.extend_from_slice(&line),
                None => message.extend_from_slice(&line),
            }
        }
        if failed == Some(true) {
            let message = String::from_utf8_lossy(&message).into_owned();
            return Err(refused(&self.connection, &self.scrubber.scrub(&message)));
        }
        let text = String::from_utf8_lossy(&answer);
        Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    fn ended(&mut self) -> Error {
        let said = match self.running.take().map(Running::wait) {
            Some(Ok((_, said))) => said,
            Some(Err(error)) => return error,
            None => String::from("the session had ended before"),
        };
        refused(&self.connection, &said)
    }
}

/// A line that no answer contains by accident.
fn marker() -> Result<String> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::io("no random bytes", &error.into()))?;
    Ok(format!("lifeboat-{:032x}", u128::from_ne_bytes(bytes)))
}

/// Quotes `'text'` for SQL.
pub fn literal(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Quotes `"name"` for SQL.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Converts the output of a client program into an error with the fitting code.
pub fn refused(connection: &Connection, said: &str) -> Error {
    let place = connection.display();
    let has = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    let error =
        |code, message: String, hint: &str| Error::new(code, message).cause(said).hint(hint);
    if has(&["row-level security policy", "row security"]) {
        return error(
            Code::SourceDenied,
            format!(
                "{place}: row-level security hides rows from this role{}",
                of_table(said)
            ),
            "dump as the owner of the tables, or as a role with BYPASSRLS: ALTER ROLE … BYPASSRLS",
        );
    }
    if has(&["permission denied for"]) && !has(&["permission denied for database"]) {
        return error(
            Code::SourceDenied,
            format!(
                "{place}: this role may not read everything{}",
                of_object(said)
            ),
            "grant it: GRANT pg_read_all_data TO … (PostgreSQL 14 and later), or GRANT SELECT on it and USAGE on its schema",
        );
    }
    if said.contains("does not exist") && has(&["FATAL:  database", "database \""]) {
        return error(
            Code::SourceMissing,
            format!("{place}: the database does not exist"),
            "correct the database's name in the configuration, or create it",
        );
    }
    if has(REFUSALS) {
        return error(
            Code::SourceDenied,
            format!("{place}: the server refused the credentials"),
            "check user and password (or pg_hba.conf) by hand: psql with the same host, user and database",
        );
    }
    if has(UNREACHABLE) {
        return error(
            Code::SourceUnreachable,
            format!("{place}: the server cannot be reached"),
            "check that it runs and listens there, and the network between; then run again",
        );
    }
    error(
        Code::SourceFailed,
        format!("{place}: the server reported an error"),
        "read the cause; run again when it is mended",
    )
}

/// Messages of libpq and the server for a refused login.
const REFUSALS: &[&str] = &[
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "is not permitted to log in",
    "permission denied for database",
    "FATAL:  role",
    "certificate verify failed",
    "root certificate file",
    "server does not support SSL",
];

/// Messages for a server that does not answer, or for a lost connection.
const UNREACHABLE: &[&str] = &[
    "Connection refused",
    "could not connect",
    "could not translate host name",
    "timeout expired",
    "No route to host",
    "Network is unreachable",
    "No such file or directory",
    "Is the server running",
    "the database system is",
    "terminating connection",
    "server closed the connection",
    "connection to server was lost",
    "too many clients",
    "remaining connection slots",
];

/// `: table "x"` from `permission denied for table x`.
fn of_object(said: &str) -> String {
    said.split_once("permission denied for ")
        .and_then(|(_, rest)| rest.lines().next())
        .map(|object| format!(": {}", object.trim()))
        .unwrap_or_default()
}

/// `: "x"` from `query would be affected by row-level security policy for table "x"`.
fn of_table(said: &str) -> String {
    said.split_once("for table ")
        .and_then(|(_, rest)| rest.lines().next())
        .map(|table| format!(": table {}", table.trim()))
        .unwrap_or_default()
}

/// Rows of (name, definition). A row without a name is of a thing that is gone.
pub fn listed(session: &mut Session, sql: &str) -> Result<Vec<(String, String)>> {
    let wrapped = format!(
        "SELECT coalesce(json_agg(json_build_array(q.name, coalesce(q.definition, ''))), '[]') \
         FROM ({sql}) AS q(name, definition) WHERE q.name IS NOT NULL"
    );
    let answer = session.run(&wrapped)?;
    serde_json::from_str(&answer).map_err(|error| {
        Error::new(Code::SourceFailed, "the catalog's answer is not understood").cause(error)
    })
}
