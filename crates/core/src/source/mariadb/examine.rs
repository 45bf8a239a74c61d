//! Examines a database without capturing anything, and reports obstacles to a capture.

use super::capture::{
    LimitAbout, binlog, checked_views, dumpable_history, limits, missing, refuse_hidden,
    refuse_interrupted, skew, tables_without_transactions,
};
use super::client::{Server, query, rows};
use super::connection::Connection;
use super::grants::{self, Grants};
use super::inventory::{Catalog, Dictionary};
use super::programs::Tool;
use super::stream::dumps_history;
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::secret::Scrubber;
use crate::source::CaptureContext;
use std::collections::BTreeSet;

/// Findings for the doctor about this database.
pub fn examine(
    connection: &Connection,
    subject: &str,
    context: &CaptureContext<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = look(connection, subject, context.scrubber, &mut findings) {
        findings.push(wrong(subject, error));
    }
    findings
}

fn wrong(subject: &str, error: Error) -> Finding {
    Finding::new(
        subject,
        Severity::Error,
        error.to_string(),
        error.hint.clone(),
    )
}

fn look(
    connection: &Connection,
    subject: &str,
    scrubber: &Scrubber,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let server = Server::ask(connection, scrubber)?;
    let dictionary = Dictionary::ask(connection, scrubber)?;
    let catalog = Catalog::take(connection, &dictionary, scrubber)?;
    let grants = Grants::ask(connection, &server, scrubber)?;
    let mut warn = |message: String, hint: Option<&str>| {
        let hint = hint.map(str::to_owned);
        findings.push(Finding::new(subject, Severity::Warning, message, hint));
    };
    let program = connection.program(Tool::Dump);
    if let Ok(program) = &program {
        if let Some(skew) = skew(program, &server) {
            warn(skew, Some("install the client of the server's own version"));
        }
        let history = dumpable_history(&catalog) && dumps_history(program, &server);
        let limits = limits(&catalog, program, history);
        for limit in limits
            .iter()
            .filter(|limit| limit.about != LimitAbout::Generated)
        {
            warn(format!("a proof cannot cover {}", limit.text), None);
        }
    }
    for warning in checked_views(&catalog) {
        warn(warning, None);
    }
    let unsteady: Vec<String> = tables_without_transactions(&catalog)
        .map(|(name, table)| format!("{name} ({})", table.engine))
        .collect();
    if !unsteady.is_empty() {
        warn(
            format!(
                "tables of engines without transactions are not part of the dump's snapshot: {}",
                unsteady.join(", ")
            ),
            Some(
                "convert them (ALTER TABLE … ENGINE=InnoDB), or stop what writes to them with the plan's before and after",
            ),
        );
    }
    if let Err(why) = binlog(connection, &server, &grants, scrubber) {
        warn(
            format!("the position of the binary log is {why}"),
            Some("grant it, if the dump is to begin a replica or a recovery to a point in time"),
        );
    }
    let strangers = missing_definers(connection, &catalog, scrubber);
    if !strangers.is_empty() {
        warn(
            format!(
                "views, triggers, routines or events are defined by accounts that are not there: {}",
                strangers.join(", ")
            ),
            Some("they fail when they are used; create the accounts, or define the objects anew"),
        );
    }
    if let Err(error) = program {
        findings.push(wrong(subject, error));
    }
    for refusal in [
        grants::refuse(connection, &missing(&grants, &server, connection, &catalog)),
        refuse_hidden(connection, &catalog),
        refuse_interrupted(connection, &catalog),
    ] {
        findings.extend(refusal.err().map(|error| wrong(subject, error)));
    }
    let size = "SELECT CONCAT(COUNT(*), ' tables, ', ROUND(COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) / 1048576), \
        ' MiB') FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE <> 'VIEW'";
    let message = format!(
        "{} answers: {} {}, {}",
        connection.display(),
        server.flavor.title(),
        server.version,
        query(connection, size, scrubber)?
    );
    findings.push(Finding::new(subject, Severity::Ok, message, None));
    Ok(())
}

/// Accounts that definitions name and the server does not have, if this account may see that.
fn missing_definers(
    connection: &Connection,
    catalog: &Catalog,
    scrubber: &Scrubber,
) -> Vec<String> {
    let Some(definers) = catalog.inventory.objects.get("definer") else {
        return Vec::new();
    };
    let sql = "SELECT CONCAT(User, '@', Host) FROM mysql.user";
    let Ok(accounts) = rows(connection, sql, scrubber) else {
        return Vec::new();
    };
    let accounts: BTreeSet<String> = accounts.into_iter().flatten().collect();
    definers
        .keys()
        .filter(|definer| !accounts.contains(*definer))
        .cloned()
        .collect()
}
