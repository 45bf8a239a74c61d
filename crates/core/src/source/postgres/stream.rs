//! Runs `pg_dump`, passes its output on, and fingerprints it on a second thread as it passes.
//!
//! Guarantees: `Ok` only if `pg_dump` succeeded *and* the archive it printed is whole. Buffers in
//! flight are bounded. An error of the output ends the dump and is returned as it is.

use super::archive::{self, ColumnOrders, Contents};
use super::connection::Connection;
use super::session::{Server, refused};
use super::tools::Tools;
use crate::error::{Code, Error, Result};
use crate::observe::Reporter;
use crate::secret::Scrubber;
use crate::source::tee;
use crate::transport::Running;
use std::io::Write;
use std::process::ExitStatus;

/// A dump that has begun: its first bytes are here, so `pg_dump` holds all its locks.
pub struct Dump {
    running: Running,
    first: Vec<u8>,
    connection: Connection,
}

/// The failure of a dump that did not begin.
pub struct NotBegun {
    /// The output of `pg_dump`.
    pub said: String,
    /// The failure as an error.
    pub error: Error,
}

impl Dump {
    /// Starts `pg_dump` and waits for its first bytes, which come after it has read the catalog and
    /// locked every table.
    pub fn begin(
        connection: &Connection,
        server: &Server,
        tools: &Tools,
        snapshot: Option<&str>,
        lock_timeout_seconds: u64,
        scrubber: &Scrubber,
    ) -> Result<Result<Self, NotBegun>> {
        let mut command = connection
            .command(tools.program("pg_dump"), scrubber)
            .args(["--format=custom", "--compress=0", "--no-password"]);
        let milliseconds = lock_timeout_seconds.max(1).saturating_mul(1000);
        command = command.arg(format!("--lock-wait-timeout={milliseconds}"));
        if let Some(snapshot) = snapshot {
            command = command.arg(format!("--snapshot={snapshot}"));
        }
        if server.encoding == "SQL_ASCII" {
            // Bytes of no known encoding: they pass unchanged.
            command = command.env("PGCLIENTENCODING", "SQL_ASCII");
        }
        let mut running = connection.transport().spawn(&command)?;
        let first = match &mut running.stdout {
            Some(pipe) => tee::first(pipe)?,
            None => Vec::new(),
        };
        if first.is_empty() {
            let (status, said) = running.wait()?;
            let error = failed(connection, status, &said);
            return Ok(Err(NotBegun { said, error }));
        }
        Ok(Ok(Dump {
            running,
            first,
            connection: connection.clone(),
        }))
    }

    /// Passes everything to `output` and returns the contents.
    pub fn stream(
        mut self,
        output: &mut dyn Write,
        orders: &ColumnOrders,
        reporter: &Reporter,
    ) -> Result<Contents> {
        let Some(mut pipe) = self.running.stdout.take() else {
            return Err(Error::new(Code::Io, "pg_dump was started without a pipe"));
        };
        let first = std::mem::take(&mut self.first);
        let teed = tee::tee(first, &mut pipe, output, reporter, move |pieces| {
            archive::read(pieces, orders)
        })?;
        if !teed.whole {
            // The parser gave up before the end: its error is the reason.
            drop(pipe);
            let said = self.running.kill();
            return teed.read.map_err(|error| match error.cause {
                None => error.cause(said),
                Some(_) => error,
            });
        }
        let (status, said) = self.running.wait()?;
        if !status.success() {
            return Err(failed(&self.connection, status, &said));
        }
        teed.read
    }
}

fn failed(connection: &Connection, status: ExitStatus, said: &str) -> Error {
    let error = refused(connection, said);
    if error.code != Code::SourceFailed && error.code != Code::SourceUnreachable {
        return error;
    }
    let place = connection.display();
    Error::new(
        Code::SourceFailed,
        format!("pg_dump of {place} did not end well ({status})"),
    )
    .cause(said)
    .hint("the dump is not whole and is thrown away; run again when the cause is mended")
}
