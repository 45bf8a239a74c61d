//! Restores a captured database through the client.
//!
//! Guarantees: a dump that the client did not read to its end, or that is not whole, is an error,
//! which names the statement and shows no row. What this server cannot have is
//! [`Code::ToolMissing`], so that a drill is unverifiable rather than failed. A restore touches
//! only the database it is given. It does not clean up after itself: the caller restores into a
//! database that it can drop or empty.

use super::admin::adopt_defaults;
use super::client::{self, Server, command, error_number, execute, literal, query};
use super::connection::Connection;
use super::flavor::{Flavor, release_of};
use super::rewrite::{Account, Events, Heads, Rewriter, SLEEPS, is_insert};
use crate::error::{Code, Error, Result};
use crate::fingerprint::{Inventory, Proof};
use crate::secret::Scrubber;
use crate::source::{Onto, RestoreOptions};
use std::collections::BTreeSet;
use std::io::Read;

/// The warning for a copy whose events sleep; the swap of a database that goes live wakes them.
const EVENTS_SLEEP: &str =
    "its events are disabled there; where they shall run: ALTER EVENT NAME ENABLE";

/// Restores a dump into an existing empty database. Returns warnings.
pub fn restore_dump(
    input: &mut dyn Read,
    target: &Connection,
    options: &RestoreOptions<'_>,
    scrubber: &Scrubber,
) -> Result<Vec<String>> {
    let server = Server::ask(target, scrubber).map_err(of_target)?;
    let mut warnings = Vec::new();
    let scratch = options.onto == Onto::Scratch;
    let events = match scratch {
        true => Events::AsTheyAre,
        false => {
            refuse_missing(target, options.captured, scrubber)?;
            if options.onto == Onto::Given
                && options
                    .captured
                    .is_some_and(|proof| proof.has_objects("event"))
            {
                warnings.push(EVENTS_SLEEP.into());
            }
            Events::Asleep(sleep(&server))
        }
    };
    let adopted = match scratch {
        true => None,
        false => adopt_defaults(target, options.captured, scrubber)?,
    };
    let mut known = BTreeSet::new();
    let mut on_definer = |account: &Account| match scratch && known.insert(account.clone()) {
        true => make_account(target, account, scrubber),
        false => Ok(()),
    };
    if let Err(error) = feed(input, target, events, true, &mut on_definer, scrubber) {
        adopted
            .iter()
            .for_each(|adopted| adopted.undo(target, scrubber));
        return Err(error);
    }
    warnings.extend(adopted.map(|adopted| adopted.warning));
    Ok(warnings)
}

/// The server's notation for a sleeping event.
pub fn sleep(server: &Server) -> &'static str {
    match server.flavor {
        Flavor::Mysql if server.release >= [8, 2] => SLEEPS[1],
        _ => SLEEPS[0],
    }
}

/// Feeds a dump, or definitions from one, to the client. With `whole`, it must end as a dump does.
pub fn feed<'a>(
    input: &'a mut dyn Read,
    target: &Connection,
    events: Events,
    whole: bool,
    on_definer: &'a mut super::rewrite::OnDefiner<'a>,
    scrubber: &Scrubber,
) -> Result<()> {
    let command = command(target, scrubber)?.args(["--max-allowed-packet=1G", "--unbuffered"]);
    let running = target.transport().spawn(&command)?;
    let mut rewriter = Rewriter::new(input, events, on_definer);
    let heads = rewriter.heads();
    let (status, said) = running.feed(&mut rewriter)?;
    if !status.success() {
        return Err(not_restored(target, &said, &heads));
    }
    if whole && !rewriter.completed() {
        return Err(Error::new(
            Code::NotProved,
            "the dump is truncated: it lacks the line that ends a whole one",
        )
        .hint("choose another point or another copy (--store)"));
    }
    Ok(())
}

/// Creates an account that definitions name. Nobody can log in as it.
fn make_account(target: &Connection, account: &Account, scrubber: &Scrubber) -> Result<()> {
    let user = literal(&account.user);
    let Some(host) = &account.host else {
        let sql = format!("CREATE ROLE IF NOT EXISTS {user}; GRANT ALL ON *.* TO {user}");
        return execute(target, &sql, scrubber).map_err(of_target);
    };
    let name = format!("{user}@{}", literal(host));
    // An existing account, such as the administrator's, stays as it is.
    let count = format!(
        "SELECT COUNT(*) FROM mysql.user WHERE User = {user} AND Host = {}",
        literal(host)
    );
    if query(target, &count, scrubber).map_err(of_target)? != "0" {
        return Ok(());
    }
    let sql = format!("CREATE USER {name} ACCOUNT LOCK; GRANT ALL ON *.* TO {name}");
    execute(target, &sql, scrubber).map_err(of_target)
}

/// Fails if accounts that definitions run as are missing: without them, views, triggers and
/// routines can be created but not used.
fn refuse_missing(
    target: &Connection,
    captured: Option<&Proof>,
    scrubber: &Scrubber,
) -> Result<()> {
    let Some(Inventory::Database(inventory)) = captured.map(|proof| &proof.inventory) else {
        return Ok(());
    };
    let needed = inventory.objects.get("definer").into_iter().flatten();
    // If this account may not ask, the server reports it statement by statement.
    let list = "SELECT CONCAT(User, '@', Host) FROM mysql.user";
    let Ok(present) = client::rows(target, list, scrubber) else {
        return Ok(());
    };
    let present: BTreeSet<String> = present.into_iter().flatten().collect();
    let missing: Vec<&str> = needed
        .map(|(name, _)| name.as_str())
        .filter(|name| !name.is_empty() && !present.contains(*name))
        // A role of MariaDB is listed without a host.
        .filter(|name| !present.contains(&format!("{}@", name.trim_end_matches('@'))))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let create = missing.iter().map(|name| {
        let (user, host) = name.rsplit_once('@').unwrap_or((name, "%"));
        format!(
            "CREATE USER {}@{} ACCOUNT LOCK",
            literal(user),
            literal(host)
        )
    });
    Err(Error::new(
        Code::Target,
        format!(
            "{} lacks accounts that views, triggers, routines or events run as: {}",
            target.display(),
            missing.join(", ")
        ),
    )
    .hint(format!(
        "make them there and grant them what they need, then run again: {}",
        create.collect::<Vec<_>>().join("; ")
    )))
}
/// Converts the server's error into an error of a restore.
fn not_restored(target: &Connection, said: &str, heads: &Heads) -> Error {
    let said = client::words(said);
    let line = said
        .split_once(" at line ")
        .and_then(|(_, rest)| rest.split(':').next()?.trim().parse().ok());
    let statement = line.and_then(|line| heads.at(line));
    let said = match &statement {
        Some(statement) if is_insert(statement) => without_values(said),
        _ => said.to_owned(),
    };
    let what = match &statement {
        Some(statement) => format!("{} refuses {statement:?}", target.display()),
        None => format!("the dump could not be restored into {}", target.display()),
    };
    match error_number(&said) {
        // An unknown character set, collation, engine, plugin or data type: this server differs
        // from the captured one.
        Some(1115 | 1273 | 1286 | 1524 | 4161) => {
            Error::new(Code::ToolMissing, what)
                .cause(said)
                .hint("restore with a server of the kind and version that was captured; the cause names what this one does not know")
        }
        Some(1227 | 1044 | 1142 | 1370 | 1410 | 1419) => Error::new(Code::Target, what)
            .cause(said)
            .hint("restore as an administrator, or grant what the cause names (SET USER for MariaDB, SET_ANY_DEFINER for MySQL, to make what runs as another account)"),
        Some(1153 | 2006 | 2013 | 2020) => Error::new(Code::Target, what)
            .cause(said)
            .hint("the connection was cut: if a row is longer than the server takes, raise max_allowed_packet there (SET GLOBAL max_allowed_packet = 1073741824)"),
        Some(1045 | 1698 | 1049 | 2002 | 2003 | 2005) => of_target(client::refused(target, &said)),
        _ => Error::new(Code::Target, what).cause(said).hint(
            "read the cause: it says what keeps the dump from being restored there",
        ),
    }
}

/// The server's message about a row, without the row's values.
fn without_values(said: &str) -> String {
    let mut text = said.to_owned();
    for before in ["entry '", "value: '", "near '"] {
        let Some((head, rest)) = text.split_once(before) else {
            continue;
        };
        // Up to the last quote that can end it: a value may contain quotes.
        let ends = ["' for ", "' at line", "'\n", "'"];
        let after = ends.iter().find_map(|end| {
            let at = rest.rfind(end)?;
            rest.get(at..)
        });
        text = format!("{head}{before}…{}", after.unwrap_or_default());
    }
    text
}

/// Converts an error of a server that is a target, not a source.
fn of_target(mut error: Error) -> Error {
    if matches!(
        error.code,
        Code::SourceUnreachable | Code::SourceDenied | Code::SourceMissing | Code::SourceFailed
    ) {
        error.code = Code::Target;
    }
    error
}

/// What a drill on another version does not prove.
pub fn skew(captured: &str, here: &str) -> Option<String> {
    let (was, is) = (release_of(captured)?, release_of(here)?);
    if was == is {
        return None;
    }
    let other = if is > was { "newer" } else { "older" };
    Some(format!(
        "captured from version {captured}, restored on {here}, which is {other}: what only the captured version does is not proved"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::mariadb::flavor_of;

    #[test]
    fn errors_show_no_rows() {
        for (said, expected) in [
            (
                "ERROR 1062 (23000) at line 3: Duplicate entry 'it's 'me' for key 'PRIMARY'",
                "ERROR 1062 (23000) at line 3: Duplicate entry '…' for key 'PRIMARY'",
            ),
            (
                "ERROR 1366 (22007) at line 9: Incorrect string value: '\\xF0' for column `d`.`t`.`a` at row 1",
                "ERROR 1366 (22007) at line 9: Incorrect string value: '…' for column `d`.`t`.`a` at row 1",
            ),
            (
                "ERROR 1064 (42000) at line 2: syntax to use near 'secret' at line 1",
                "ERROR 1064 (42000) at line 2: syntax to use near '…' at line 1",
            ),
        ] {
            assert_eq!(without_values(said), expected);
        }
    }

    #[test]
    fn another_version_is_a_limit() {
        assert_eq!(skew("10.11.6-MariaDB", "10.11.19"), None);
        assert!(
            skew("10.6.6-MariaDB", "10.11.19")
                .unwrap()
                .contains("newer")
        );
        assert!(
            skew("11.4.2-MariaDB", "10.11.19")
                .unwrap()
                .contains("older")
        );
        assert_eq!(
            flavor_of("10.11.6-MariaDB-log", Flavor::Mysql),
            Flavor::Mariadb
        );
        assert_eq!(flavor_of("8.0.36", Flavor::Mariadb), Flavor::Mysql);
        assert_eq!(flavor_of("10.11.6", Flavor::Mariadb), Flavor::Mariadb);
    }
}
