//! Brings a restore point back: the one path that drills and real restores share.
//!
//! [`bring_back`] places one source somewhere that is not live, reads it back from there, and
//! compares it with what was captured. A drill gives it throwaway targets; a restore to a
//! directory or another database gives it those; a live restore ([`live`]) gives it places beside
//! the live ones, and swaps them in only when everything came back whole.

mod bucket;
mod carry_out;
pub mod checks;
pub(crate) mod database;
mod half_filled;
pub mod half_way;
pub mod left_aside;
pub mod live;
mod objects;
mod swap;
pub mod together;
mod under_way;

pub use database::{Database, Onto, fits, is_server_kind, is_server_url};

use crate::archive;
use crate::config::SourceKind;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::evidence::Phase;
use crate::fetch::{Fetched, open_artifact};
use crate::fingerprint::{Difference, Inventory, Proof, Scope, compare, unproven};
use crate::name::Name;
use crate::observe::Observer;
use crate::place::{self, Within};
use crate::point::{DetailsArtifact, ManifestArtifact, ManifestSource, Outcome};
use crate::secret::Scrubber;
use crate::servers::{ScratchMariadb, ScratchPostgres};
use crate::source::bucket::INDEX;
use crate::source::mariadb::{self, Flavor};
use crate::source::{files, postgres, sqlite};
use crate::staging;
pub use bucket::BucketPlace;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Where databases of servers go.
pub enum DatabaseTarget<'a> {
    /// A throwaway server that this holds, started at the first need.
    Scratch(&'a mut ScratchServers),
    /// This database, which must be empty.
    Given(Database),
    /// This database, which was made for the restore.
    Made(Database),
    /// This place for the objects of a bucket, where nothing is yet.
    Bucket(BucketPlace),
    /// Nowhere: their dumps are written as files.
    Dump,
}

/// Throwaway servers of one drill: PostgreSQL's by major version, the others' by source.
pub struct ScratchServers {
    base: PathBuf,
    running: BTreeMap<u32, ScratchPostgres>,
    mariadb: BTreeMap<(Flavor, String), ScratchMariadb>,
}

impl ScratchServers {
    /// None is started yet; they will live under `base`.
    pub fn new(base: &Path) -> Self {
        ScratchServers {
            base: base.to_owned(),
            running: BTreeMap::new(),
            mariadb: BTreeMap::new(),
        }
    }

    fn postgres(&mut self, major: Option<u32>) -> Result<&ScratchPostgres> {
        let key = major.unwrap_or(0);
        if !self.running.contains_key(&key) {
            self.running
                .insert(key, ScratchPostgres::start(&self.base, major)?);
        }
        self.running
            .get(&key)
            .ok_or_else(|| Error::new(Code::Io, "the scratch server is gone"))
    }

    fn mariadb(&mut self, flavor: Flavor, source: &str) -> Result<&ScratchMariadb> {
        let templates = self.base.with_file_name("templates");
        let server = ScratchMariadb::start(&self.base, &templates, flavor)?;
        let key = (flavor, source.to_owned());
        self.mariadb.insert(key.clone(), server);
        self.mariadb
            .get(&key)
            .ok_or_else(|| Error::new(Code::Io, "the scratch server is gone"))
    }
}

/// Where a source was placed.
#[derive(Clone)]
pub enum Placed {
    /// A directory that holds its tree.
    Tree(PathBuf),
    /// A file.
    File(PathBuf),
    /// A database.
    Database(Database),
    /// A bucket.
    Bucket(BucketPlace),
}

impl Placed {
    /// Where a source is live, as checks ask it; `None` of one that has no such place.
    fn live(kind: &SourceKind) -> Option<Self> {
        Some(match kind {
            SourceKind::Files(_) => Placed::Tree("/".into()),
            SourceKind::Sqlite(sqlite) => Placed::File(sqlite.path.clone()),
            kind => Placed::Database(Database::of_source(kind)?.ok()?),
        })
    }

    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Placed::Tree(path) | Placed::File(path) => path.display().to_string(),
            Placed::Database(database) => database.display(),
            Placed::Bucket(place) => place.describe(),
        }
    }
}

/// A source that was brought back.
pub struct Restored {
    /// Its name.
    pub source: Name,
    /// Its kind.
    pub kind: String,
    /// Where it is now.
    pub placed: Placed,
    /// How it differs from what was captured; `None` when it could not be compared.
    pub differences: Option<Vec<Difference>>,
    /// What the comparison cannot prove.
    pub limits: Vec<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// In one line, what came back.
    pub summary: String,
}

impl Restored {
    /// Whether it was compared, and is equal to what was captured.
    fn is_equal(&self) -> bool {
        self.differences.as_ref().is_some_and(Vec::is_empty)
    }

    /// The limits that come from placing it, and not from what was captured.
    fn limits_of_placing(&self) -> Vec<String> {
        let of_placing =
            |limit: &&String| limit.starts_with(OWNERSHIP_LIMIT) || limit.starts_with(EVENTS_LIMIT);
        self.limits.iter().filter(of_placing).cloned().collect()
    }
}

/// Times phases as they happen.
#[derive(Debug, Default)]
pub struct Stopwatch {
    /// The phases so far.
    pub phases: Vec<Phase>,
}

impl Stopwatch {
    /// Runs a phase and notes how long it took, also when it fails.
    pub fn time<T>(&mut self, name: impl Into<String>, phase: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let value = phase();
        let seconds = (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        self.phases.push(Phase {
            name: name.into(),
            seconds,
        });
        value
    }
}

/// Places one source under `directory` (a directory of its own there) or in `databases`, and
/// compares what is there now with what was captured.
pub fn bring_back(
    context: &Context,
    fetched: &Fetched,
    source: &ManifestSource,
    directory: &Path,
    databases: &mut DatabaseTarget<'_>,
    watch: &mut Stopwatch,
) -> Result<Restored> {
    let name = &source.name;
    if source.outcome == Outcome::Failed {
        return Err(Error::new(
            Code::ObjectMissing,
            format!("source {name} is not in this point: its capture failed"),
        )
        .hint("choose another point: `lifeboat points`"));
    }
    context
        .observer
        .step(&format!("restore {name}"), stored_bytes(fetched, name));
    let placing = Placing {
        context,
        fetched,
        source: name,
    };
    let restored = watch.time(format!("restore {name}"), || {
        placing.place(&source.kind, directory, databases)
    })?;
    prove(&placing, source, restored, watch)
}

/// Compares a source that an earlier run placed with what was captured; `None` when it is not the
/// same, or cannot be compared.
fn prove_again(
    context: &Context,
    fetched: &Fetched,
    source: &ManifestSource,
    restored: Restored,
    watch: &mut Stopwatch,
) -> Option<Restored> {
    let placing = Placing {
        context,
        fetched,
        source: &source.name,
    };
    prove(&placing, source, restored, watch)
        .ok()
        .filter(Restored::is_equal)
}

/// Compares what was placed with what was captured.
fn prove(
    placing: &Placing<'_>,
    source: &ManifestSource,
    mut restored: Restored,
    watch: &mut Stopwatch,
) -> Result<Restored> {
    let (context, name) = (placing.context, &source.name);
    if matches!(restored.placed, Placed::File(_)) && is_server_kind(&source.kind) {
        restored.warnings.push(format!(
            "the dump was written as a file and not restored; use --to {}://… for a database",
            source.kind
        ));
        return Ok(restored);
    }
    let Some(captured) = placing.captured(main_artifact(&source.kind)) else {
        return Ok(restored);
    };
    context.observer.step(&format!("compare {name}"), None);
    let scope = Scope {
        ownership: !restored
            .limits
            .iter()
            .any(|l| l.starts_with(OWNERSHIP_LIMIT)),
    };
    let asleep = restored.limits.iter().any(|l| l.starts_with(EVENTS_LIMIT));
    let (observed, named) = watch.time(format!("compare {name}"), || {
        observe(
            &restored.placed,
            &source.kind,
            captured,
            &context.scrubber,
            &context.observer,
        )
    })?;
    restored.differences = Some(match asleep {
        _ if !named.is_empty() => named,
        true => compare(
            &without_event_states(&captured.proof),
            &without_event_states(&observed),
            scope,
        ),
        false => compare(&captured.proof, &observed, scope),
    });
    restored.limits.extend(limits(captured));
    restored.limits.extend(unproven(&captured.proof, &observed));
    restored.summary = summarize(&captured.proof);
    Ok(restored)
}

const OWNERSHIP_LIMIT: &str = "ownership";
const EVENTS_LIMIT: &str = "events";

fn has_events(proof: &Proof) -> bool {
    match &proof.inventory {
        Inventory::Database(inventory) => inventory
            .objects
            .get(mariadb::EVENT_STATE)
            .is_some_and(|events| !events.is_empty()),
        _ => false,
    }
}

/// Without whether events run.
fn without_event_states(proof: &Proof) -> Proof {
    let mut proof = proof.clone();
    if let Inventory::Database(inventory) = &mut proof.inventory {
        inventory.objects.remove(mariadb::EVENT_STATE);
    }
    if let crate::fingerprint::Fingerprint::Tables(tables) = &mut proof.fingerprint {
        tables.objects.remove(mariadb::EVENT_STATE);
    }
    proof
}

/// `15.18`, `16beta1` → 15, 16.
fn leading_number(version: &str) -> Option<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

fn stored_bytes(fetched: &Fetched, source: &str) -> Option<u64> {
    Some(
        fetched
            .copy
            .manifest
            .artifacts
            .iter()
            .filter(|a| a.source == source)
            .map(|a| a.bytes)
            .sum(),
    )
}

/// The artifact of a kind whose content is compared.
fn main_artifact(kind: &str) -> &'static str {
    match kind {
        "files" => "files",
        "sqlite" => "database",
        kind if is_server_kind(kind) => "dump",
        "bucket" => INDEX,
        _ => "output",
    }
}

/// The proof of what is there now, read from there; and differences that it could name itself,
/// where the proof has no names.
fn observe(
    placed: &Placed,
    kind: &str,
    captured: &DetailsArtifact,
    scrubber: &Scrubber,
    observer: &Arc<dyn Observer>,
) -> Result<(Proof, Vec<Difference>)> {
    let proof = match placed {
        Placed::Bucket(place) => return bucket::observe_bucket(place, observer.as_ref()),
        Placed::Tree(path) if kind == "bucket" => {
            return objects::observe_directory(path, observer.as_ref());
        }
        Placed::Tree(path) => files::observe(path, observer),
        Placed::File(path) if kind == "sqlite" => sqlite::observe(path),
        Placed::File(path) => staging::observe_file(path),
        Placed::Database(database) => {
            database.observe(&captured.proof, scrubber, observer.as_ref())
        }
    };
    proof.map(|proof| (proof, Vec::new()))
}

fn limits(captured: &DetailsArtifact) -> Vec<String> {
    let mut limits = match &captured.proof.fingerprint {
        crate::fingerprint::Fingerprint::Tables(tables) => tables.limits.clone(),
        _ => Vec::new(),
    };
    let partial = captured.skipped.iter().filter(|s| s.partial);
    limits.extend(partial.map(|s| format!("{} was not captured: {}", s.name, s.reason)));
    limits
}

/// In one line, what an artifact holds.
pub fn summarize(proof: &Proof) -> String {
    use crate::fingerprint::{Fingerprint, are_objects};
    let count = |count: u64, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    };
    match &proof.fingerprint {
        Fingerprint::Tables(tables) => {
            let rows = tables.tables.values().map(|t| t.rows).sum();
            let objects: usize = match &proof.inventory {
                Inventory::Database(inventory) => {
                    let kinds = inventory.objects.iter();
                    let counted = kinds.filter(|(kind, _)| are_objects(kind));
                    counted.map(|(_, objects)| objects.len()).sum()
                }
                _ => 0,
            };
            format!(
                "{}, {}, {}",
                count(tables.tables.len() as u64, "table", "tables"),
                count(rows, "row", "rows"),
                count(objects as u64, "object", "objects")
            )
        }
        Fingerprint::Files(files) => format!(
            "{}, {}, {}, {}",
            count(files.files, "file", "files"),
            count(files.directories, "directory", "directories"),
            count(files.links, "link", "links"),
            count(files.bytes, "byte", "bytes")
        ),
        Fingerprint::Objects(objects) => format!(
            "{}, {}",
            count(objects.objects, "object", "objects"),
            count(objects.bytes, "byte", "bytes")
        ),
        Fingerprint::Bytes(bytes) => count(bytes.length, "byte", "bytes"),
    }
}

/// One source being placed.
struct Placing<'a> {
    context: &'a Context,
    fetched: &'a Fetched,
    source: &'a Name,
}

impl<'a> Placing<'a> {
    fn artifact(&self, name: &str) -> Result<&'a ManifestArtifact> {
        let mut artifacts = self.fetched.copy.manifest.artifacts.iter();
        artifacts
            .find(|a| a.source == *self.source && a.name == name)
            .ok_or_else(|| {
                Error::new(
                    Code::ObjectMissing,
                    format!("the manifest names no {name} of source {}", self.source),
                )
            })
    }

    fn captured(&self, name: &str) -> Option<&'a DetailsArtifact> {
        self.fetched
            .details
            .as_ref()
            .ok()?
            .artifact(self.source, name)
    }

    fn open(&self, name: &str) -> Result<Box<dyn std::io::Read + Send>> {
        open_artifact(self.fetched, self.artifact(name)?)
    }

    fn restored(&self, kind: &str, placed: Placed) -> Restored {
        Restored {
            source: self.source.clone(),
            kind: kind.to_owned(),
            placed,
            differences: None,
            limits: Vec::new(),
            warnings: Vec::new(),
            summary: String::new(),
        }
    }

    fn place(
        &self,
        kind: &str,
        directory: &Path,
        databases: &mut DatabaseTarget<'_>,
    ) -> Result<Restored> {
        let made = matches!(databases, DatabaseTarget::Made(_));
        match (kind, databases) {
            ("files", _) => {
                let own = self.own(directory)?;
                let unread = |error| Error::io("the archive cannot be read ahead", &error);
                let extracted = place::extract(
                    &mut archive::ahead(self.open("files")?).map_err(unread)?,
                    &own,
                    self.context.observer.as_ref(),
                )?;
                let mut restored = self.restored(kind, Placed::Tree(own.path().to_owned()));
                if !extracted.owners_restored {
                    let limit = "owners, groups and security attributes were not restored, which needs root";
                    restored.limits.push(format!("{OWNERSHIP_LIMIT}: {limit}"));
                }
                restored.warnings = extracted.warnings;
                Ok(restored)
            }
            ("sqlite", _) => {
                let own = self.own(directory)?;
                let root = self.captured("database").and_then(|d| d.roots.first());
                let name = root.and_then(|r| Path::new(r).file_name().map(ToOwned::to_owned));
                let name = name.unwrap_or_else(|| format!("{}.sqlite", self.source).into());
                let path = own.sqlite(&mut self.open("database")?, &name)?;
                Ok(self.restored(kind, Placed::File(path)))
            }
            ("postgres", DatabaseTarget::Scratch(servers)) => self.to_scratch_postgres(servers),
            ("mariadb", DatabaseTarget::Scratch(servers)) => {
                self.to_scratch_mariadb(Flavor::Mariadb, servers)
            }
            ("mysql", DatabaseTarget::Scratch(servers)) => {
                self.to_scratch_mariadb(Flavor::Mysql, servers)
            }
            (kind, DatabaseTarget::Given(database) | DatabaseTarget::Made(database))
                if is_server_kind(kind) =>
            {
                let onto = match made {
                    true => Onto::Made,
                    false => Onto::Given,
                };
                let database = database.clone();
                if !database.is_empty(&self.context.scrubber)? {
                    return Err(Error::new(
                        Code::Target,
                        format!("the database {} is not empty", database.display()),
                    )
                    .hint(match database {
                        Database::Postgres(_) => {
                            "create a new database (createdb NAME) and name it with --to"
                        }
                        Database::Mariadb(_) => {
                            "create a new database (CREATE DATABASE NAME) and name it with --to"
                        }
                    }));
                }
                let restored = self.to_database(kind, database.clone(), onto);
                restored.map_err(|error| database.after_failure(error, &self.context.scrubber))
            }
            ("bucket", DatabaseTarget::Bucket(to)) => {
                let warnings = bucket::to_bucket(self.context, self.fetched, self.source, to)?;
                let mut restored = self.restored(kind, Placed::Bucket(to.clone()));
                restored.warnings = warnings;
                Ok(restored)
            }
            ("bucket", _) => {
                let own = self.own(directory)?;
                let warnings =
                    objects::to_directory(self.context, self.fetched, self.source, &own)?;
                let mut restored = self.restored(kind, Placed::Tree(own.path().to_owned()));
                restored.warnings = warnings;
                Ok(restored)
            }
            (_, _) => self.as_file(kind, &self.own(directory)?),
        }
    }

    /// The directory of this source, which must be new: what is there is somebody else's.
    fn own(&self, directory: &Path) -> Result<Within> {
        Within::open(directory)?.new_directory(self.source)
    }

    /// Writes an artifact as a plain file, as a command's output and an unrestored dump are.
    fn as_file(&self, kind: &str, own: &Within) -> Result<Restored> {
        let mut last = None;
        for artifact in self
            .fetched
            .copy
            .manifest
            .artifacts
            .iter()
            .filter(|a| a.source == *self.source)
        {
            let name = match artifact.name.as_str() {
                "output" | "dump" => self.source,
                other => other,
            };
            let name = format!("{name}.{}", artifact.extension);
            let mut input = open_artifact(self.fetched, artifact)?;
            own.write_file(&mut input, name.as_ref(), 0o600)?;
            let path = own.path().join(name);
            if artifact.name == main_artifact(kind) || last.is_none() {
                last = Some(path);
            }
        }
        let path = last.ok_or_else(|| {
            Error::new(
                Code::ObjectMissing,
                format!("the manifest names nothing of source {}", self.source),
            )
        })?;
        Ok(self.restored(kind, Placed::File(path)))
    }

    fn to_scratch_postgres(&self, servers: &mut ScratchServers) -> Result<Restored> {
        let captured = self.captured("dump");
        let major = captured.and_then(|d| leading_number(d.tools.get("server")?));
        let server = servers.postgres(major)?;
        let admin = server.connection("postgres");
        if self.artifact("globals").is_ok() {
            postgres::restore_globals(
                &mut self.open("globals")?,
                &admin,
                true,
                &self.context.scrubber,
            )?;
        }
        let database = format!(
            "drill_{}",
            self.source
                .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
        );
        postgres::create_database(
            &admin,
            &database,
            captured.map(|d| &d.proof),
            &self.context.scrubber,
        )?;
        let database = server.connection(&database).into();
        self.to_database("postgres", database, Onto::Scratch)
    }

    /// A server of its own for each source: it gets the name that it had, which definitions may
    /// use.
    fn to_scratch_mariadb(&self, flavor: Flavor, servers: &mut ScratchServers) -> Result<Restored> {
        let captured = self.captured("dump");
        let version = captured.and_then(|d| d.tools.get("server"));
        // Whose server it was is not always what the configuration calls it.
        let flavor = version.map_or(flavor, |version| mariadb::flavor_of(version, flavor));
        let server = servers.mariadb(flavor, self.source)?;
        let skew = version.and_then(|version| mariadb::skew(version, server.version()));
        let proof = captured.map(|d| &d.proof);
        let name = captured.and_then(|d| d.tools.get("database"));
        let name = name.map_or("drill", String::as_str).to_owned();
        let admin = server.connection("");
        mariadb::create_database(&admin, &name, proof, &self.context.scrubber)?;
        let database = server.connection(&name).into();
        let mut restored = self.to_database(flavor.name(), database, Onto::Scratch)?;
        restored.limits.extend(skew);
        Ok(restored)
    }

    /// Restores the dump into an empty database.
    fn to_database(&self, kind: &str, database: Database, onto: Onto) -> Result<Restored> {
        let captured = self.captured("dump").map(|d| &d.proof);
        let warnings = database.restore_dump(
            &mut self.open("dump")?,
            captured,
            onto,
            &self.context.scrubber,
        )?;
        let sleeps = matches!(database, Database::Mariadb(_)) && onto != Onto::Scratch;
        let mut restored = self.restored(kind, Placed::Database(database));
        restored.warnings = warnings;
        if sleeps && captured.is_some_and(has_events) {
            let limit = "whether they run was not compared: they are put to sleep in a copy";
            restored.limits.push(format!("{EVENTS_LIMIT}: {limit}"));
        }
        Ok(restored)
    }
}
