//! How a PostgreSQL database is restored: into a throwaway server, into an empty database, or as
//! the files of its dump.

use super::{DUMP, GLOBALS, create_database, createdb_options, restore_globals};
use crate::error::Result;
use crate::fingerprint::{Difference, Proof};
use crate::kind::Kind;
use crate::observe::Reporter;
use crate::point::DetailsArtifact;
use crate::secret::Scrubber;
use crate::shell::quote;
use crate::source::descriptor::{
    dump_as_files, in_parentheses, new_name, observe_database, receive,
};
use crate::source::{
    Arrived, Descriptor, Incoming, Onto, Placed, ScratchServers, StockArtifact, StockSource, Target,
};
use std::fmt::Write;
use std::path::Path;

/// The descriptor of PostgreSQL databases.
pub struct OfPostgres;

impl Descriptor for OfPostgres {
    fn main_artifact(&self) -> &'static str {
        DUMP
    }

    fn takes_url(&self, url: &str) -> bool {
        super::Connection::is_url(url)
    }

    fn place(
        &self,
        incoming: &Incoming<'_>,
        directory: &Path,
        target: &mut Target<'_>,
    ) -> Result<Arrived> {
        match target {
            Target::Scratch(servers) => to_scratch(incoming, servers),
            Target::Given(database) => receive(database, incoming, Onto::Given),
            Target::Made(database) => receive(database, incoming, Onto::Made),
            Target::Bucket(_) | Target::Files => dump_as_files(incoming, directory, Kind::Postgres),
        }
    }

    fn is_read_back(&self, placed: &Placed) -> bool {
        matches!(placed, Placed::Database(_))
    }

    fn observe(
        &self,
        placed: &Placed,
        captured: &DetailsArtifact,
        scrubber: &Scrubber,
        reporter: &Reporter,
    ) -> Result<(Proof, Vec<Difference>)> {
        observe_database("postgres", placed, captured, scrubber, reporter)
    }

    fn packages(&self) -> &'static [&'static str] {
        &["postgresql-client"]
    }

    fn stock(&self, out: &mut String, stock: &StockSource<'_>) -> std::fmt::Result {
        // Roles come before the database that names them as owners.
        let (roles, rest): (Vec<_>, Vec<_>) = stock
            .artifacts
            .iter()
            .partition(|a| a.artifact.name == GLOBALS);
        for artifact in roles {
            write_roles(out, stock, artifact)?;
        }
        for artifact in rest {
            write_database(out, stock, artifact)?;
        }
        Ok(())
    }
}

fn to_scratch(incoming: &Incoming<'_>, servers: &mut ScratchServers) -> Result<Arrived> {
    let captured = incoming.captured(DUMP);
    let major = captured.and_then(|d| leading_number(d.tools.get("server")?));
    let server = servers.postgres(major)?;
    let admin = server.connection("postgres");
    if incoming.artifact(GLOBALS).is_ok() {
        restore_globals(
            &mut incoming.open(GLOBALS)?,
            &admin,
            true,
            incoming.scrubber,
        )?;
    }
    let database = new_name("drill", incoming.source);
    create_database(
        &admin,
        &database,
        captured.map(|d| &d.proof),
        incoming.scrubber,
    )?;
    receive(
        &server.connection(&database).into(),
        incoming,
        Onto::Scratch,
    )
}

/// `15.18`, `16beta1` → 15, 16.
fn leading_number(version: &str) -> Option<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

fn write_roles(
    out: &mut String,
    stock: &StockSource<'_>,
    artifact: &StockArtifact<'_>,
) -> std::fmt::Result {
    let (source, open) = (stock.source, &artifact.open);
    let directory = quote(&format!("restored/{source}"));
    writeln!(
        out,
        "Roles of the PostgreSQL server of source `{source}`, without passwords. On a server that has them already, read this file instead of running it:\n"
    )?;
    writeln!(
        out,
        "```sh\nmkdir -p {directory}\n{open} > {directory}/globals.sql"
    )?;
    writeln!(
        out,
        "if [ \"${{RESTORE_ROLES:-no}}\" = yes ]; then psql -X -d postgres -f {directory}/globals.sql; fi\n```\n"
    )
}

fn write_database(
    out: &mut String,
    stock: &StockSource<'_>,
    artifact: &StockArtifact<'_>,
) -> std::fmt::Result {
    let (source, open) = (stock.source, &artifact.open);
    let database = quote(&new_name("restored", source));
    let name = &artifact.artifact.name;
    let captured = stock.details.and_then(|d| d.artifact(source, name));
    let versions = captured.map(|d| &d.tools);
    let versions: Vec<_> = versions
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k} {v}"))
        .collect();
    writeln!(
        out,
        "PostgreSQL database of source `{source}`{}, into a new database. `PGHOST`, `PGUSER` and so on say where;",
        in_parentheses(&versions)
    )?;
    writeln!(
        out,
        "without the roles of the original, add `--no-owner --no-privileges`; without its locale, leave that out of `createdb`.\n"
    )?;
    let locale = captured.map(|d| createdb_options(&d.proof));
    let locale = locale.into_iter().flatten();
    let locale: String = locale
        .map(|option| format!(" {}", quote(&option)))
        .collect();
    writeln!(
        out,
        "```sh\ncreatedb --template=template0{locale} {database}"
    )?;
    writeln!(
        out,
        "{open} | pg_restore --exit-on-error ${{PG_RESTORE_OPTIONS:-}} -d {database}\n```\n"
    )
}
