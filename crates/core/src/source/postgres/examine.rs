//! Examines a database without capturing anything, and reports obstacles to a capture.

use super::capture::refused_tables;
use super::connection::Connection;
use super::session::{Server, Session};
use super::tools::Tools;
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::source::CaptureContext;

/// Findings for the doctor about this database.
pub fn examine(
    connection: &Connection,
    subject: &str,
    context: &CaptureContext<'_>,
) -> Vec<Finding> {
    let finding = |severity, message: String, hint: Option<String>| {
        Finding::new(subject, severity, message, hint)
    };
    let wrong = |error: Error| finding(Severity::Error, error.to_string(), error.hint.clone());
    let server = match Server::ask(connection, context.scrubber) {
        Ok(server) => server,
        Err(error) => return vec![wrong(error)],
    };
    let mut findings = Vec::new();
    match Tools::for_server(server.major, connection.transport()) {
        Err(error) => findings.push(wrong(error)),
        Ok(tools) if tools.major != server.major => findings.push(finding(
            Severity::Warning,
            format!(
                "pg_dump {} would dump PostgreSQL {}",
                tools.major, server.major
            ),
            Some(format!(
                "install the client of the same version: apt-get install postgresql-client-{}",
                server.major
            )),
        )),
        Ok(_) => {}
    }
    if Tools::server(Some(server.major)).is_err() {
        findings.push(finding(
            Severity::Warning,
            format!(
                "PostgreSQL {} is not installed here, so a drill cannot run",
                server.major
            ),
            Some(format!(
                "where drills run: apt-get install postgresql-{}",
                server.major
            )),
        ));
    }
    match look(connection, &server, context) {
        Ok((size, Some(error))) => {
            findings.push(wrong(error));
            findings.push(finding(Severity::Ok, size, None));
        }
        Ok((size, None)) => findings.push(finding(Severity::Ok, size, None)),
        Err(error) => findings.push(wrong(error)),
    }
    findings
}

fn look(
    connection: &Connection,
    server: &Server,
    context: &CaptureContext<'_>,
) -> Result<(String, Option<Error>)> {
    let mut session = Session::open(connection, context.scrubber)?;
    let size = session.run("SELECT pg_size_pretty(pg_database_size(current_database()))")?;
    let refused = refused_tables(&mut session, server)?;
    let message = format!(
        "{} answers: PostgreSQL {}, {size}",
        connection.display(),
        server.version
    );
    Ok((message, refused))
}
