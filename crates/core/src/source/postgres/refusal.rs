//! Explains what a server refuses in a restore, and what to do about it.
//!
//! It reads the messages of `pg_restore` and of the server, which are asked to use English. Unknown
//! messages are passed on unchanged, with a hint to read them.

use super::connection::Connection;
use super::session::{Server, identifier};
use crate::error::{Code, Error};
use crate::fingerprint::DatabaseInventory;
use std::collections::BTreeSet;

/// The error of a restore that `pg_restore` did not finish. `captured` tells in which schemas the
/// names are that a function does not find.
pub fn not_restored(
    target: &Connection,
    server: &Server,
    said: &str,
    captured: Option<&DatabaseInventory>,
) -> Error {
    let place = target.display();
    if let Some(extension) = missing_extension(said) {
        return Error::new(
            Code::ToolMissing,
            format!(
                "extension {extension} is not installed for PostgreSQL {}",
                server.major
            ),
        )
        .cause(said)
        .hint(format!(
            "install it where this runs: apt-cache search postgresql-{} {extension}",
            server.major
        ));
    }
    let newer = said.contains("unsupported version") && said.contains("in file header");
    if newer || said.contains("unrecognized configuration parameter") {
        return Error::new(
            Code::ToolMissing,
            format!("the dump is of a PostgreSQL newer than {}", server.major),
        )
        .cause(said)
        .hint("install the server and client of the major version that was dumped");
    }
    let error = |why: &str| {
        let message = format!("the dump could not be restored into {place}{why}");
        Error::new(Code::Target, message).cause(said)
    };
    match unqualified(said, captured) {
        Some(Unqualified { function, path }) => error(&format!(
            ": function {function} names something without its schema, and a restore runs without a search_path"
        ))
        .hint(format!(
            "on the live database: ALTER FUNCTION {function} SET search_path = {path}; then back up again"
        )),
        None => error("").hint(
            "read the cause: it says what keeps the dump from being restored there; nothing that was there before was changed",
        ),
    }
}

/// The extension (or library) that the server reports missing.
fn missing_extension(said: &str) -> Option<String> {
    let quoted = |before: &str| {
        let (_, rest) = said.split_once(before)?;
        rest.split('"').next().map(str::to_owned)
    };
    if let Some(path) = quoted("could not open extension control file \"") {
        let name = path.rsplit('/').next().unwrap_or(&path);
        return Some(name.trim_end_matches(".control").to_owned());
    }
    if said.contains("\" is not available")
        && let Some(name) = quoted("extension \"")
    {
        return Some(name);
    }
    quoted("could not access file \"$libdir/").or_else(|| {
        said.contains("has no installation script")
            .then(|| quoted("extension \""))
            .flatten()
    })
}

/// A function that works only with a search path that a restore does not have.
#[derive(Debug, PartialEq, Eq)]
struct Unqualified {
    /// The function, as `ALTER FUNCTION` takes it.
    function: String,
    /// The search path that it needs.
    path: String,
}

/// The function that uses a name without its schema, if that ended a restore: it runs while an
/// index, a generated column, a check or a materialized view is created or filled.
fn unqualified(said: &str, captured: Option<&DatabaseInventory>) -> Option<Unqualified> {
    let (what, _) = said.split_once(" does not exist")?;
    let (_, error) = what.rsplit_once("ERROR:  ")?;
    let mut quoted = NAMED_WITHOUT_SCHEMA.iter();
    let named = quoted
        .find_map(|kind| error.strip_prefix(kind)?.strip_prefix('"'))
        .map(|rest| rest.trim_end_matches('"'));
    let called = error
        .strip_prefix("function ")
        .and_then(|rest| rest.split('(').next());
    let missing = named.or(called)?;
    if missing.contains('.') {
        return None;
    }
    let function = failing_function(said)?;
    let all = captured
        .into_iter()
        .flat_map(|inventory| &inventory.objects);
    let routines = captured.and_then(|inventory| inventory.objects.get("routine"));
    let routines = routines.into_iter().flatten().map(|(name, _)| name);
    let bare = |signature: &str| signature.split('(').next().unwrap_or_default().to_owned();
    let is_it = |name: &&String| last_name(&bare(name)) == last_name(&bare(&function));
    let mut known = routines.filter(is_it);
    // An SQL function appears by name only: its signature is known if no other function has the
    // name.
    let signature = match (known.next(), known.next()) {
        (Some(one), None) => one.clone(),
        _ => function,
    };
    let schemas: BTreeSet<&str> = all
        .filter(|(kind, _)| HAVE_SCHEMAS.contains(&kind.as_str()))
        .flat_map(|(_, objects)| objects.keys())
        .filter_map(|name| {
            let name = name.split('(').next()?;
            let (schema, last) = name.rsplit_once('.')?;
            (last == missing || last == identifier(missing)).then_some(schema)
        })
        .collect();
    let path = match schemas.is_empty() {
        true => "…".to_owned(),
        false => schemas.into_iter().collect::<Vec<_>>().join(", "),
    };
    Some(Unqualified {
        function: signature,
        path,
    })
}

/// Messages for an object that was not found by a quoted name.
const NAMED_WITHOUT_SCHEMA: &[&str] = &[
    "relation ",
    "type ",
    "text search configuration ",
    "text search dictionary ",
];

/// Kinds of objects that a function may name without a schema.
const HAVE_SCHEMAS: &[&str] = &[
    "aggregate",
    "materialized view",
    "routine",
    "sequence",
    "table",
    "text search configuration",
    "type",
    "view",
];

/// The innermost function of an error's context.
fn failing_function(said: &str) -> Option<String> {
    let (_, context) = said.split_once("CONTEXT:")?;
    let found = context.lines().find_map(|line| {
        let line = line.trim_start();
        if let Some(rest) = line.strip_prefix("SQL function \"") {
            return rest.split_once('"').map(|(name, _)| name);
        }
        let (_, rest) = line.split_once(" function ")?;
        let end = rest.find(") line ").or_else(|| rest.rfind(')'))?;
        rest.get(..=end)
    })?;
    Some(found.to_owned())
}

fn last_name(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_function_without_a_search_path_is_reported_with_its_remedy() {
        let objects = |names: &[&str]| -> BTreeMap<String, String> {
            let owned = names.iter().map(|name| ((*name).to_owned(), String::new()));
            owned.collect()
        };
        let inventory = DatabaseInventory {
            objects: BTreeMap::from([
                ("table".into(), objects(&["app.rate", "public.other"])),
                (
                    "routine".into(),
                    objects(&["app.rated(a integer)", "app.half(integer)"]),
                ),
            ]),
            ..DatabaseInventory::default()
        };
        let cases = [
            (
                "pg_restore: error: could not execute query: ERROR:  relation \"rate\" does not exist\n\
                 LINE 1: select factor from rate\nQUERY:  select factor from rate\n\
                 CONTEXT:  SQL function \"rated\" during inlining\nCommand was: CREATE INDEX i ON t (app.rated(a));",
                Some(("app.rated(a integer)", "app")),
            ),
            (
                "ERROR:  relation \"rate\" does not exist\n\
                 CONTEXT:  PL/pgSQL function app.rated(integer) line 2 at RETURN\nSQL statement \"x\"",
                Some(("app.rated(a integer)", "app")),
            ),
            (
                "ERROR:  function half(integer) does not exist\n\
                 CONTEXT:  PL/pgSQL function unknown.f(integer) line 2 at RETURN",
                Some(("unknown.f(integer)", "app")),
            ),
            (
                "ERROR:  relation \"nowhere\" does not exist\n\
                 CONTEXT:  SQL function \"rated\" statement 1",
                Some(("app.rated(a integer)", "…")),
            ),
            // Not in a function, or qualified and gone.
            (
                "ERROR:  relation \"rate\" does not exist\nCommand was: CREATE VIEW v;",
                None,
            ),
            (
                "ERROR:  relation \"app.gone\" does not exist\nCONTEXT:  SQL function \"rated\" during startup",
                None,
            ),
            (
                "ERROR:  column \"rate\" does not exist\nCONTEXT:  SQL function \"rated\" during startup",
                None,
            ),
            (
                "ERROR:  division by zero\nCONTEXT:  SQL function \"rated\" during startup",
                None,
            ),
        ];
        for (said, expected) in cases {
            let found = unqualified(said, Some(&inventory));
            let found = found
                .as_ref()
                .map(|u| (u.function.as_str(), u.path.as_str()));
            assert_eq!(found, expected, "{said}");
        }
    }
}
