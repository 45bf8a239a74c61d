//! Restores a point: the one path that drills and real restores share.
//!
//! [`bring_back`] places one source somewhere that is not live, reads it back from there, and
//! compares it with what was captured. A drill gives it throwaway targets; a restore to a directory
//! or another database gives it those; a live restore ([`live`]) gives it places beside the live
//! ones, and swaps them in only if everything was restored whole.

pub mod application;
mod carry_out;
pub mod checks;
mod document;
pub mod held;
pub mod interrupted;
mod journal;
pub mod leftovers;
pub mod live;
pub mod open;
mod partly_filled;
mod resume;
mod swap;
mod writes;

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::evidence::Phase;
use crate::fetch::{Fetched, open_artifact};
use crate::fingerprint::{Difference, Inventory, Proof, Scope, compare, unproven};
use crate::kind::Kind;
use crate::name::Name;
use crate::point::{DetailsArtifact, ManifestArtifact, ManifestSource, Outcome};
use crate::source::{self, Arrived, Incoming, Limit, Placed, Target};
pub use document::{PlaceDocument, PlannedDocument, ReportDocument, Undone, UndoneOutcome};
use std::path::Path;
use std::time::Instant;

/// A restored source.
pub struct Restored {
    /// Its name.
    pub source: Name,
    /// Its kind.
    pub kind: Kind,
    /// Its place now.
    pub placed: Placed,
    /// Differences from what was captured; `None` if it could not be compared.
    pub differences: Option<Vec<Difference>>,
    /// Limits: what the comparison cannot prove.
    pub limits: Vec<Limit>,
    /// Warnings for an operator.
    pub warnings: Vec<String>,
    /// A summary of what was restored, in one line.
    pub summary: String,
}

impl Restored {
    /// Returns true if it was compared, and equals what was captured.
    fn is_equal(&self) -> bool {
        self.differences.as_ref().is_some_and(Vec::is_empty)
    }

    /// A source at a place, not yet compared.
    fn at(source: Name, kind: Kind, arrived: Arrived) -> Self {
        Restored {
            source,
            kind,
            placed: arrived.placed,
            differences: None,
            limits: arrived.limits,
            warnings: arrived.warnings,
            summary: String::new(),
        }
    }

    /// The limits that come from placing it rather than from the capture.
    fn limits_of_placing(&self) -> Vec<Limit> {
        let of_placing = |limit: &&Limit| match limit {
            Limit::Ownership | Limit::EventsAsleep | Limit::Counters => true,
            Limit::Said(_) => false,
        };
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
    /// Runs a phase and records how long it took, even if it fails.
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

/// Places one source under `directory` (in a directory of its own) or in `target`, and compares it
/// with what was captured.
pub fn bring_back(
    context: &Context,
    fetched: &Fetched,
    source: &ManifestSource,
    directory: &Path,
    target: &mut Target<'_>,
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
    let kind = source.kind.known(name)?;
    context
        .reporter
        .step(&format!("restore {name}"), stored_bytes(fetched, name));
    let scratch = context.state.scratch();
    let incoming = Incoming {
        source: name,
        artifacts: artifacts(fetched, name).collect(),
        details: fetched.details.as_ref().ok(),
        open: &|artifact| open_artifact(fetched, artifact),
        configured: context.config.source.get(name).map(|source| &source.kind),
        scratch: &scratch,
        scrubber: &context.scrubber,
        reporter: &context.reporter,
    };
    let arrived = watch.time(format!("restore {name}"), || {
        source::descriptor(kind).place(&incoming, directory, target)
    })?;
    let restored = Restored::at(name.clone(), kind, arrived);
    prove(context, fetched, restored, watch)
}

/// Compares a source that an earlier run placed with what was captured. `None` if it differs or
/// cannot be compared.
fn prove_again(
    context: &Context,
    fetched: &Fetched,
    restored: Restored,
    watch: &mut Stopwatch,
) -> Option<Restored> {
    prove(context, fetched, restored, watch)
        .ok()
        .filter(Restored::is_equal)
}

/// Compares what was placed with what was captured.
fn prove(
    context: &Context,
    fetched: &Fetched,
    mut restored: Restored,
    watch: &mut Stopwatch,
) -> Result<Restored> {
    let (name, descriptor) = (restored.source.clone(), source::descriptor(restored.kind));
    if !descriptor.is_read_back(&restored.placed) {
        return Ok(restored);
    }
    let details = fetched.details.as_ref().ok();
    let Some(captured) = details.and_then(|d| d.artifact(&name, descriptor.main_artifact())) else {
        return Ok(restored);
    };
    context.reporter.step(&format!("compare {name}"), None);
    let scope = Scope {
        ownership: !restored.limits.contains(&Limit::Ownership),
        event_states: !restored.limits.contains(&Limit::EventsAsleep),
        counters: !restored.limits.contains(&Limit::Counters),
    };
    let (observed, named) = watch.time(format!("compare {name}"), || {
        descriptor.observe(
            &restored.placed,
            captured,
            &context.scrubber,
            &context.reporter,
        )
    })?;
    restored.differences = Some(match named.is_empty() {
        false => named,
        true => compare(&captured.proof, &observed, scope),
    });
    let said = limits(captured)
        .into_iter()
        .chain(unproven(&captured.proof, &observed));
    restored.limits.extend(said.map(Limit::Said));
    restored.summary = summarize(&captured.proof);
    Ok(restored)
}

/// The artifacts of one source of a point.
fn artifacts<'a>(
    fetched: &'a Fetched,
    source: &'a str,
) -> impl Iterator<Item = &'a ManifestArtifact> {
    let artifacts = fetched.copy.manifest.artifacts.iter();
    artifacts.filter(move |a| a.source == source)
}

fn stored_bytes(fetched: &Fetched, source: &str) -> Option<u64> {
    Some(artifacts(fetched, source).map(|a| a.bytes).sum())
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

/// Summarizes in one line what an artifact holds.
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
