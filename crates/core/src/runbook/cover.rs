//! Decides which points the instructions of an application cover, and from which point each source
//! is taken. Pure.

use crate::name::Name;
use crate::point::{Manifest, ManifestSource, Outcome, PointId, owners};
use std::collections::BTreeMap;

/// A point, and what the instructions take from it.
#[derive(Debug, PartialEq)]
pub(super) struct Part<'a> {
    /// The manifest of the point.
    pub manifest: &'a Manifest,
    /// The sources taken from it.
    pub taken: Vec<&'a ManifestSource>,
    /// The sources taken from another point, with that point.
    pub elsewhere: Vec<(&'a Name, PointId)>,
}

impl Part<'_> {
    /// The sources that the point should hold and does not hold whole.
    pub fn lacks(&self) -> Vec<&str> {
        let sources = self.manifest.sources.iter();
        let lacking = sources.filter(|s| s.outcome != Outcome::Complete);
        lacking.map(|s| s.name.as_str()).collect()
    }
}

/// Chooses the newest complete point of each plan, or its newest partial one if it has no other.
/// Returns them newest first. A source that several of them hold is taken from the newest that
/// holds it whole.
pub(super) fn cover<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Vec<Part<'a>> {
    let rank = |m: &Manifest| (m.outcome == Outcome::Complete, m.point.clone());
    let mut chosen: Vec<&Manifest> = Vec::new();
    for manifest in manifests.filter(|m| m.outcome != Outcome::Failed) {
        match chosen.iter_mut().find(|c| c.plan == manifest.plan) {
            Some(known) if rank(known) < rank(manifest) => *known = manifest,
            Some(_) => {}
            None => chosen.push(manifest),
        }
    }
    chosen.sort_by(|a, b| b.point.cmp(&a.point));
    let owners = owners(chosen.iter().copied());
    let parts = chosen.into_iter();
    parts.map(|manifest| part(manifest, &owners)).collect()
}

fn part<'a>(manifest: &'a Manifest, owners: &BTreeMap<Name, PointId>) -> Part<'a> {
    let held = manifest.sources.iter();
    let held = held.filter(|s| s.outcome != Outcome::Failed);
    let (mut taken, mut elsewhere) = (Vec::new(), Vec::new());
    for source in held {
        match owners.get(&source.name) {
            Some(point) if point != &manifest.point => {
                elsewhere.push((&source.name, point.clone()));
            }
            _ => taken.push(source),
        }
    }
    Part {
        manifest,
        taken,
        elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A point of November 2026 from its day, plan and sources; `!` marks a failed source, `?` a
    /// partial one.
    fn manifest(day: u32, plan: &str, sources: &str) -> Manifest {
        let time = format!("2026-11-{day:02}T00:00:00Z");
        let sources: Vec<_> = sources
            .split(' ')
            .map(|s| {
                let outcome = match s.chars().last() {
                    Some('!') => "failed",
                    Some('?') => "partial",
                    _ => "complete",
                };
                json!({ "name": s.trim_end_matches(['!', '?']), "kind": "files", "outcome": outcome, "started": time, "finished": time })
            })
            .collect();
        let whole = sources.iter().all(|s| s["outcome"] == "complete");
        serde_json::from_value(json!({
            "schema": 1, "point": format!("202611{day:02}T000000Z-aaaa"), "app": "crm", "environment": "test",
            "plan": plan, "host": "h", "author": "a", "lifeboat": "0", "started": time, "finished": time,
            "outcome": if whole { "complete" } else { "partial" }, "store": "disk", "stores": [],
            "sources": sources, "artifacts": [], "evidence": {}, "signer": "s",
            "details": { "key": "lifeboat/points/x", "bytes": 0, "sha256": "" },
        }))
        .unwrap()
    }

    #[test]
    fn each_plan_is_covered_and_each_source_once() {
        for (points, expected) in [
            (vec![(1, "a", "db"), (2, "a", "db")], "2: db"),
            (
                vec![(1, "a", "db files"), (2, "b", "uploads")],
                "2: uploads; 1: db files",
            ),
            // A source of two plans is taken from the newer point.
            (
                vec![(1, "a", "db files"), (2, "b", "files")],
                "2: files; 1: db (files of 2)",
            ),
            (
                vec![(1, "a", "files"), (2, "b", "files")],
                "2: files; 1:  (files of 2)",
            ),
            // A complete point goes before a partial one, however old it is.
            (
                vec![(1, "a", "db files"), (2, "a", "db files!")],
                "1: db files",
            ),
            (
                vec![(1, "a", "db files!"), (2, "a", "db! files?")],
                "2: files? lacks db files",
            ),
            // A whole source goes before a newer part of one.
            (
                vec![(1, "a", "files"), (2, "b", "db files?")],
                "2: db (files of 1) lacks files; 1: files",
            ),
            (vec![], ""),
        ] {
            let manifests: Vec<_> = points.iter().map(|(d, p, s)| manifest(*d, p, s)).collect();
            let day = |p: &PointId| p.as_str()[6..8].trim_start_matches('0').to_owned();
            let shown: Vec<_> = cover(manifests.iter())
                .iter()
                .map(|part| {
                    let mark = |s: &&ManifestSource| match s.outcome {
                        Outcome::Partial => format!("{}?", s.name),
                        _ => s.name.to_string(),
                    };
                    let taken: Vec<_> = part.taken.iter().map(mark).collect();
                    let mut text = format!("{}: {}", day(&part.manifest.point), taken.join(" "));
                    for (source, point) in &part.elsewhere {
                        text += &format!(" ({source} of {})", day(point));
                    }
                    match part.lacks().join(" ") {
                        lacks if lacks.is_empty() => text,
                        lacks => format!("{text} lacks {lacks}"),
                    }
                })
                .collect();
            assert_eq!(shown.join("; "), expected);
        }
    }
}
