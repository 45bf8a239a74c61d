//! How a MariaDB or MySQL database is restored: into a throwaway server, into an empty database, or
//! as the file of its dump.

use super::{Connection, DUMP, Flavor, create_database, defaults, flavor_of, skew};
use crate::error::Result;
use crate::fingerprint::{Difference, Proof};
use crate::observe::Reporter;
use crate::point::DetailsArtifact;
use crate::secret::Scrubber;
use crate::shell::quote;
use crate::source::descriptor::{
    dump_as_files, in_parentheses, new_name, observe_database, receive,
};
use crate::source::{
    Arrived, Descriptor, Incoming, Limit, Onto, Placed, ScratchServers, StockArtifact, StockSource,
    Target,
};
use std::fmt::Write;
use std::path::Path;

/// The descriptor of databases of either flavor.
pub struct OfMariadb(pub Flavor);

impl Descriptor for OfMariadb {
    fn main_artifact(&self) -> &'static str {
        DUMP
    }

    /// Accepts `mysql://` too, which most drivers use for both flavors.
    fn takes_url(&self, url: &str) -> bool {
        Connection::is_url(url)
    }

    fn place(
        &self,
        incoming: &Incoming<'_>,
        directory: &Path,
        target: &mut Target<'_>,
    ) -> Result<Arrived> {
        match target {
            Target::Scratch(servers) => to_scratch(self.0, incoming, servers),
            Target::Given(database) => receive(database, incoming, Onto::Given),
            Target::Made(database) => receive(database, incoming, Onto::Made),
            Target::Bucket(_) | Target::Files => dump_as_files(incoming, directory, self.0.kind()),
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
        observe_database(self.0.name(), placed, captured, scrubber, reporter)
    }

    fn packages(&self) -> &'static [&'static str] {
        match self.0 {
            Flavor::Mariadb => &["mariadb-client"],
            Flavor::Mysql => &["mysql-client"],
        }
    }

    fn stock(&self, out: &mut String, stock: &StockSource<'_>) -> std::fmt::Result {
        for artifact in &stock.artifacts {
            write_database(self.0, out, stock, artifact)?;
        }
        Ok(())
    }
}

/// Restores into a throwaway server for this source alone: its database keeps its name, which
/// definitions may contain.
fn to_scratch(
    flavor: Flavor,
    incoming: &Incoming<'_>,
    servers: &mut ScratchServers,
) -> Result<Arrived> {
    let captured = incoming.captured(DUMP);
    let version = captured.and_then(|d| d.tools.get("server"));
    // The configuration does not always give the server's true flavor.
    let flavor = version.map_or(flavor, |version| flavor_of(version, flavor));
    let server = servers.mariadb(flavor, incoming.source)?;
    let skew = version.and_then(|version| skew(version, server.version()));
    let proof = captured.map(|d| &d.proof);
    let name = captured.and_then(|d| d.tools.get("database"));
    let name = name.map_or("drill", String::as_str).to_owned();
    let admin = server.connection("");
    create_database(&admin, &name, proof, incoming.scrubber)?;
    let mut arrived = receive(&server.connection(&name).into(), incoming, Onto::Scratch)?;
    arrived.limits.extend(skew.map(Limit::Said));
    Ok(arrived)
}

fn write_database(
    flavor: Flavor,
    out: &mut String,
    stock: &StockSource<'_>,
    artifact: &StockArtifact<'_>,
) -> std::fmt::Result {
    let (source, open) = (stock.source, &artifact.open);
    let database = new_name("restored", source);
    let captured = stock.details.and_then(|d| d.artifact(source, DUMP));
    let versions: Vec<_> = captured
        .into_iter()
        .flat_map(|d| &d.tools)
        // The name of the database is only for those who can decrypt the details.
        .filter(|(what, _)| *what != "database")
        .map(|(k, v)| format!("{k} {v}"))
        .collect();
    let defaults = captured
        .and_then(|d| defaults(&d.proof))
        // Its comment is only for those who can decrypt the details.
        .map(|defaults| defaults.character_set());
    let create = quote(&format!(
        "CREATE DATABASE {database}{}",
        defaults.unwrap_or_default()
    ));
    let (title, client) = (flavor.title(), flavor.name());
    writeln!(
        out,
        "{title} database of source `{source}`{}, into a new database. `SQL_CLIENT` says how to reach the server, as in `SQL_CLIENT='{client} -h db.example.org -u admin -p'`;",
        in_parentheses(&versions)
    )?;
    writeln!(
        out,
        "the accounts that its views, triggers, routines and events run as must be there. Its events begin to run, and a trigger, a view or a default value that names the old database still means that one: on the same server, restore with Lifeboat.\n"
    )?;
    if captured.is_none() {
        writeln!(
            out,
            "The default character set of the original was not known when this was written: see the details of the point, and set it on the new database.\n"
        )?;
    }
    writeln!(out, "```sh\nSQL_CLIENT=\"${{SQL_CLIENT:-{client}}}\"")?;
    writeln!(out, "$SQL_CLIENT -e {create}")?;
    // Older clients and those of the other flavor fail on the first of these lines. Without the
    // second, invalid dates become zeros.
    writeln!(
        out,
        "{open} | sed -e '/^\\/\\*M*!999999.- enable the sandbox mode/d' -e '/^\\/\\*!40101 SET @OLD_SQL_MODE=/s/NO_AUTO_VALUE_ON_ZERO/&,ALLOW_INVALID_DATES/' | $SQL_CLIENT --comments --binary-mode --max-allowed-packet=1G --default-character-set=utf8mb4 {database}\n```\n"
    )
}
