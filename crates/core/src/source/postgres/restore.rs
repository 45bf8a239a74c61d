//! Restores a captured database, and observes the result.
//!
//! Guarantees: a restore that `pg_restore` did not finish is an error. What this server cannot have
//! (an extension, a major version, a locale) is [`Code::ToolMissing`] and is named, so that a drill
//! is unverifiable rather than failed. [`observe`] reads the restored, running server in the same
//! way as the capture read the source. Nothing is cleaned up: the caller restores into a database
//! it can drop.

use super::admin::{captured_inventory, creation};
use super::archive::ColumnOrders;
use super::capture::proof;
use super::connection::Connection;
use super::globals::{make_missing_roles, setting_statement};
use super::inventory::{self, own_relations};
use super::name::qualified;
use super::properties;
use super::refusal::not_restored;
use super::session::{Server, Session, identifier, listed};
use super::stream::Dump;
use super::tools::Tools;
use crate::error::{Code, Error, Result};
use crate::fingerprint::{DatabaseInventory, Fingerprint, Proof};
use crate::observe::Reporter;
use crate::secret::Scrubber;
use crate::source::{Onto, RestoreOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, sink};

/// How long [`observe`] waits for a lock, in seconds.
const LOCK_SECONDS: u64 = 60;

/// Restores an archive into an existing empty database. Returns warnings. On a throwaway server,
/// missing roles are created without rights, and subscriptions are left out, so that it does not
/// contact a publisher. A database created for the restore takes over all properties of the
/// captured one; any other keeps its owner and privileges.
pub fn restore_dump(
    input: &mut dyn Read,
    target: &Connection,
    options: &RestoreOptions<'_>,
    scrubber: &Scrubber,
) -> Result<Vec<String>> {
    let server = Server::ask(target, scrubber).map_err(of_target)?;
    let tools = Tools::for_server(server.major, target.transport())?;
    let mut warnings = Vec::new();
    let mut command = target
        .command(tools.program("pg_restore"), scrubber)
        .args(["--exit-on-error", "--no-password", "--no-tablespaces"])
        .arg(format!(
            "--dbname={}",
            target.database().unwrap_or("postgres")
        ))
        .stdin_piped();
    let roles = captured_inventory(options.captured).map(|inventory| names(inventory, "role"));
    if options.onto == Onto::Scratch {
        command = command.arg("--no-subscriptions");
        let superusers = captured_inventory(options.captured)
            .map(superusers)
            .unwrap_or_default();
        let of_database = captured_inventory(options.captured).map(properties::roles);
        let roles = roles.into_iter().chain(of_database).flatten();
        let roles: BTreeSet<String> = roles.collect();
        make_missing_roles(roles, &superusers, target, scrubber)?;
    } else {
        for (flag, why) in left_out(roles, target, scrubber)? {
            command = command.arg(flag);
            warnings.push(why);
        }
    }
    let (status, said) = target.transport().spawn(&command)?.feed(input)?;
    if !status.success() {
        let inventory = captured_inventory(options.captured);
        return Err(not_restored(target, &server, &said, inventory));
    }
    warnings.extend(said.lines().map(str::to_owned));
    if let Some(inventory) = captured_inventory(options.captured) {
        warnings.extend(apply_settings(inventory, target, scrubber)?);
        match options.onto != Onto::Given {
            true => {
                let applied = properties::apply(inventory, target, scrubber);
                warnings.extend(applied.map_err(of_target)?);
            }
            false => warnings.extend(other_locale(inventory, target, scrubber)?),
        }
    }
    Ok(warnings)
}

/// The reasons to leave owners and privileges out: they can be restored only if the roles exist and
/// may be assumed.
fn left_out(
    roles: Option<BTreeSet<String>>,
    target: &Connection,
    scrubber: &Scrubber,
) -> Result<Vec<(&'static str, String)>> {
    let mut session = Session::open(target, scrubber).map_err(of_target)?;
    let present = session.run("SELECT coalesce(json_agg(rolname), '[]') FROM pg_roles")?;
    let present: BTreeSet<String> = serde_json::from_str(&present).unwrap_or_default();
    let superuser = session.run("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")?;
    let missing = match &roles {
        None => Some(String::from("it is not known which roles the dump needs")),
        Some(roles) => {
            let missing: Vec<&str> = roles.difference(&present).map(String::as_str).collect();
            (!missing.is_empty())
                .then(|| format!("roles are missing on the target: {}", missing.join(", ")))
        }
    };
    Ok(match missing {
        Some(why) => vec![
            ("--no-owner", format!("owners were not restored: {why}")),
            (
                "--no-privileges",
                format!("privileges were not restored: {why}"),
            ),
        ],
        None if superuser != "t" => vec![(
            "--no-owner",
            String::from("owners were not restored: the role on the target is no superuser"),
        )],
        None => Vec::new(),
    })
}

/// The limit for an existing database that has another encoding or locale, with how it should have
/// been created.
fn other_locale(
    captured: &DatabaseInventory,
    target: &Connection,
    scrubber: &Scrubber,
) -> Result<Option<String>> {
    let mut session = Session::open(target, scrubber).map_err(of_target)?;
    let server = Server::ask(target, scrubber).map_err(of_target)?;
    let here = listed(&mut session, &inventory::database(server.major))?;
    let here = here.into_iter().next().map(|(_, text)| text);
    let captured = captured
        .objects
        .get("database")
        .and_then(|d| d.get("locale"));
    let (Some(here), Some(captured)) = (here, captured) else {
        return Ok(None);
    };
    if here == *captured {
        return Ok(None);
    }
    let database = session.run("SELECT current_database()")?;
    Ok(creation(&database, captured).map(|(sql, _)| {
        format!(
            "the database has another encoding or locale than the captured one, and sorts and compares text by its own: to have it as captured, make it with {sql}"
        )
    }))
}

fn apply_settings(
    inventory: &DatabaseInventory,
    target: &Connection,
    scrubber: &Scrubber,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let Some(settings) = inventory.objects.get("setting") else {
        return Ok(warnings);
    };
    let mut session = Session::open(target, scrubber).map_err(of_target)?;
    let database = session.run("SELECT current_database()")?;
    for (name, value) in settings {
        // Older captures keep a long value as a hash.
        if value.starts_with("xxh3:") {
            warnings.push(format!(
                "the setting {name} was not restored: the capture has a hash of it alone"
            ));
            continue;
        }
        if let Err(error) = session.run(&setting_statement(&database, name, value)) {
            warnings.push(format!("the setting {name} was not restored: {error}"));
        }
    }
    Ok(warnings)
}

fn names(inventory: &DatabaseInventory, kind: &str) -> BTreeSet<String> {
    let objects = inventory.objects.get(kind);
    objects
        .into_iter()
        .flat_map(BTreeMap::keys)
        .cloned()
        .collect()
}

/// Owners of objects that only a superuser may own.
fn superusers(inventory: &DatabaseInventory) -> BTreeSet<String> {
    let owners = inventory.objects.get("owner").into_iter().flatten();
    let privileged = |name: &str| {
        name.starts_with("event trigger ") || name.starts_with("foreign data wrapper ")
    };
    owners
        .filter(|(name, _)| privileged(name))
        .map(|(_, owner)| owner.clone())
        .collect()
}

/// An error of a server that is a target, not a source.
fn of_target(mut error: Error) -> Error {
    if matches!(
        error.code,
        Code::SourceUnreachable | Code::SourceDenied | Code::SourceMissing | Code::SourceFailed
    ) {
        error.code = Code::Target;
    }
    error
}

/// Returns true if a database holds nothing that a user made.
pub fn is_empty(connection: &Connection, scrubber: &Scrubber) -> Result<bool> {
    let mut session = Session::open(connection, scrubber).map_err(of_target)?;
    let sql = format!(
        "SELECT NOT EXISTS (SELECT FROM {}) \
         AND NOT EXISTS (SELECT FROM pg_namespace n WHERE {} AND n.nspname <> 'public') \
         AND NOT EXISTS (SELECT FROM pg_largeobject_metadata) \
         AND NOT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {} \
           WHERE NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_proc'::regclass \
             AND x.objid = p.oid AND x.deptype = 'e')) \
         AND NOT EXISTS (SELECT FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND {} \
           WHERE NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_type'::regclass \
             AND x.objid = t.oid AND x.deptype = 'e'))",
        own_relations(),
        inventory::OWN_SCHEMA,
        inventory::OWN_SCHEMA,
        inventory::OWN_SCHEMA,
    );
    Ok(session.run(&sql)? == "t")
}

/// The proof of a restored database, its rows rendered in the captured column orders.
pub fn observe(
    connection: &Connection,
    captured: &Proof,
    scrubber: &Scrubber,
    reporter: &Reporter,
) -> Result<Proof> {
    let server = Server::ask(connection, scrubber).map_err(of_target)?;
    let tools = Tools::for_server(server.major, connection.transport())?;
    let mut session = Session::open(connection, scrubber)?;
    let inventory = inventory::take(&mut session, &server)?;
    let limits = match &captured.fingerprint {
        Fingerprint::Tables(tables) => tables.limits.clone(),
        _ => Vec::new(),
    };
    let begun = Dump::begin(connection, &server, &tools, None, LOCK_SECONDS, scrubber)?;
    let dump = begun.map_err(|not| of_target(not.error))?;
    let contents = dump.stream(&mut sink(), &column_orders(captured), reporter)?;
    Ok(proof(contents, inventory, limits))
}

fn column_orders(captured: &Proof) -> ColumnOrders {
    match &captured.fingerprint {
        Fingerprint::Tables(tables) => {
            let order = |(name, table): (&String, &crate::fingerprint::TableFingerprint)| {
                (name.clone(), table.columns.clone())
            };
            tables.tables.iter().map(order).collect()
        }
        _ => ColumnOrders::new(),
    }
}

/// The exact number of rows of every table (without those that inherit from it), in one snapshot.
/// Named as in a [`crate::fingerprint::TablesFingerprint`].
pub fn row_counts(connection: &Connection, scrubber: &Scrubber) -> Result<BTreeMap<String, u64>> {
    let mut session = Session::open(connection, scrubber)?;
    session.run("SET lock_timeout = '60s'")?;
    session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    let list = session.run(&format!(
        "SELECT coalesce(json_agg(json_build_array(n.nspname, c.relname)), '[]') \
         FROM {} WHERE c.relkind = 'r'",
        own_relations()
    ))?;
    let list: Vec<(String, String)> = serde_json::from_str(&list).map_err(|error| {
        Error::new(Code::SourceFailed, "the catalog's answer is not understood").cause(error)
    })?;
    let mut counts = BTreeMap::new();
    for (schema, name) in list {
        let sql = format!(
            "SELECT count(*) FROM ONLY {}.{}",
            identifier(&schema),
            identifier(&name)
        );
        let answer = session.run(&sql)?;
        let count = answer.parse().map_err(|error| {
            Error::new(
                Code::SourceFailed,
                format!("{schema}.{name} cannot be counted"),
            )
            .cause(error)
        })?;
        counts.insert(qualified(Some(&schema), &name), count);
    }
    Ok(counts)
}
