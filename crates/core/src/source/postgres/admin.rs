//! Creates, swaps and drops whole databases, for restores beside and onto a live one.
//!
//! Guarantees: a swap ends either done or undone. The live name is never left without a database
//! unless the server itself goes away in the middle; the error then gives the name of each
//! database.

use super::connection::Connection;
use super::session::{Session, identifier, literal};
use crate::cancel;
use crate::error::{Code, Error, Fact, Result};
use crate::fingerprint::{DatabaseInventory, Inventory, Proof};
use crate::secret::Scrubber;
use crate::source::database::on;
use serde::Deserialize;
use std::time::Duration;

/// How often a rename is tried while sessions end.
const RENAMES_MAX: u32 = 50;

/// The locale of a captured database, as the inventory's kind `database` has it.
#[derive(Debug, Deserialize)]
struct Locale {
    encoding: String,
    collate: String,
    ctype: String,
    provider: String,
    locale: Option<String>,
}

/// The statement that creates a database with the encoding and locale of the inventory, and the
/// locale's name; `None` if they cannot be read.
pub fn creation(name: &str, locale: &str) -> Option<(String, String)> {
    let locale: Locale = serde_json::from_str(locale).ok()?;
    let mut sql = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        identifier(name),
        literal(&locale.encoding),
        literal(&locale.collate),
        literal(&locale.ctype)
    );
    let named = literal(locale.locale.as_deref().unwrap_or_default());
    match locale.provider.as_str() {
        "i" => sql.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {named}")),
        "b" => sql.push_str(&format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {named}")),
        _ => {}
    }
    Some((sql, locale.collate))
}

/// The database inventory of a proof, when it has one.
pub fn captured_inventory(proof: Option<&Proof>) -> Option<&DatabaseInventory> {
    match proof.map(|proof| &proof.inventory) {
        Some(Inventory::Database(inventory)) => Some(inventory),
        _ => None,
    }
}

/// What makes `createdb` take the encoding and locale of the captured database.
pub fn createdb_options(captured: &Proof) -> Vec<String> {
    let known = captured_inventory(Some(captured))
        .and_then(|inventory| inventory.objects.get("database")?.get("locale"))
        .and_then(|text| serde_json::from_str::<Locale>(text).ok());
    let Some(locale) = known else {
        return Vec::new();
    };
    let mut options = vec![
        format!("--encoding={}", locale.encoding),
        format!("--lc-collate={}", locale.collate),
        format!("--lc-ctype={}", locale.ctype),
    ];
    let named = locale.locale.unwrap_or_default();
    match locale.provider.as_str() {
        "i" => options.extend([
            "--locale-provider=icu".into(),
            format!("--icu-locale={named}"),
        ]),
        "b" => options.extend([
            "--locale-provider=builtin".into(),
            format!("--builtin-locale={named}"),
        ]),
        _ => {}
    }
    options
}

/// Creates a database with the encoding and collation of the captured one (or of the server's
/// template, if they are unknown). `admin` is connected to another database of the server.
pub fn create_database(
    admin: &Connection,
    name: &str,
    captured: Option<&Proof>,
    scrubber: &Scrubber,
) -> Result<()> {
    let known = captured_inventory(captured)
        .and_then(|inventory| inventory.objects.get("database")?.get("locale"))
        .and_then(|locale| creation(name, locale));
    let (sql, locale) = match known {
        Some((sql, locale)) => (sql, Some(locale)),
        None => {
            let sql = format!("CREATE DATABASE {} TEMPLATE template0", identifier(name));
            (sql, None)
        }
    };
    let mut session = Session::open(admin, scrubber).map_err(on(name))?;
    session.run(&sql).map(drop).map_err(|error| {
        let cause = error.cause.clone().unwrap_or_default();
        match locale {
            Some(locale) if cause.contains("locale") => Error::new(
                Code::ToolMissing,
                format!("the locale {locale} is not installed for this server"),
            )
            .cause(cause)
            .hint("install it: apt-get install locales-all"),
            _ => on(name)(error),
        }
    })
}

/// Drops a database, and ends every session in it. A missing one is no error.
pub fn drop_database(admin: &Connection, name: &str, scrubber: &Scrubber) -> Result<()> {
    let mut session = Session::open(admin, scrubber).map_err(on(name))?;
    let sql = format!("DROP DATABASE IF EXISTS {}", identifier(name));
    patiently(&mut session, &[name], &sql).map_err(on(name))
}

/// Returns true if the server has a database of this name.
pub fn database_exists(admin: &Connection, name: &str, scrubber: &Scrubber) -> Result<bool> {
    let mut session = Session::open(admin, scrubber).map_err(on(name))?;
    exists(&mut session, name)
}

fn exists(session: &mut Session, name: &str) -> Result<bool> {
    let sql = format!(
        "SELECT count(*) FROM pg_database WHERE datname = {}",
        literal(name)
    );
    Ok(session.run(&sql)? == "1")
}

/// Renames the database `aside` to `live`, and an existing `live` to `keep`. Ends the sessions of
/// all three. Undone if the second rename fails.
pub fn swap_databases(
    admin: &Connection,
    live: &str,
    aside: &str,
    keep: &str,
    scrubber: &Scrubber,
) -> Result<()> {
    let mut session = Session::open(admin, scrubber).map_err(on(live))?;
    if !exists(&mut session, aside)? {
        return Err(Error::new(
            Code::Target,
            format!("database {aside} is not there"),
        ));
    }
    if exists(&mut session, keep)? {
        return Err(
            Error::new(Code::Target, format!("database {keep} is there already"))
                .hint("drop it, when what it keeps is no longer needed"),
        );
    }
    let all = [live, aside, keep];
    let had_live = exists(&mut session, live)?;
    if had_live {
        let renamed = patiently(&mut session, &all, &rename(live, keep));
        renamed.map_err(|error| match exists(&mut session, live) {
            Ok(true) => on(live)(error),
            // The connection is gone: the server may have renamed it.
            _ => on(live)(error).about(Fact::HalfSwapped),
        })?;
    }
    let Err(error) = patiently(&mut session, &all, &rename(aside, live)) else {
        return Ok(());
    };
    if had_live && let Err(undo) = patiently(&mut session, &all, &rename(keep, live)) {
        return Err(Error::new(
            Code::Target,
            format!("database {live} is now called {keep}, and could not be renamed back"),
        )
        .cause(format!("{error}; then {undo}"))
        .hint(format!("as a superuser: {}", rename(keep, live)))
        .about(Fact::HalfSwapped));
    }
    Err(on(live)(error))
}

/// Renames the database `live` to `aside`, so that none is live. Ends the sessions of both.
pub fn withdraw_database(
    admin: &Connection,
    live: &str,
    aside: &str,
    scrubber: &Scrubber,
) -> Result<()> {
    let mut session = Session::open(admin, scrubber).map_err(on(live))?;
    patiently(&mut session, &[live, aside], &rename(live, aside)).map_err(on(live))
}

fn rename(from: &str, to: &str) -> String {
    let (from, to) = (identifier(from), identifier(to));
    format!("ALTER DATABASE {from} RENAME TO {to}")
}

/// Runs a statement that needs a database without sessions, ending its sessions as often as they
/// return.
fn patiently(session: &mut Session, databases: &[&str], sql: &str) -> Result<()> {
    let list: Vec<String> = databases.iter().map(|name| literal(name)).collect();
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname IN ({}) AND pid <> pg_backend_pid()",
        list.join(", ")
    );
    let mut attempt = 0;
    loop {
        attempt += 1;
        let ended = session.run(&end);
        match session.run(sql) {
            Ok(_) => return Ok(()),
            Err(error) => {
                let used = error
                    .cause
                    .as_deref()
                    .is_some_and(|c| c.contains("being accessed by other users"));
                if !used || attempt >= RENAMES_MAX {
                    // The reason why sessions could not be ended says more than the fact that they
                    // are there.
                    return Err(ended.err().unwrap_or(error));
                }
            }
        }
        cancel::wait(Duration::from_millis(100))?;
    }
}
