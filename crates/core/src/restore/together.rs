//! An application whose sources are spread over several plans: which points are it together, and
//! which source is taken from which of them.
//!
//! Guarantees: each source comes from the newest of those points that holds it. It does not see
//! whether what they hold was captured at times that fit each other.

use super::fetch;
use crate::catalog::Survey;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::point::{Manifest, ManifestSource, OnlyPartial, Outcome, PointId, Selector};
use std::collections::{BTreeMap, BTreeSet};

/// The points that are an application together.
#[derive(Debug)]
pub struct Together {
    /// One of each plan that has one.
    pub points: Vec<PointId>,
    /// The plans that have none, and why.
    pub left_out: Vec<(Name, Error)>,
}

/// Chooses a point of each plan, as the selector says. Only a plan that has no point at all is left
/// out; where none has any, the error is of the first.
pub fn choose(
    context: &Context,
    survey: &Survey,
    selector: &Selector,
    plans: &[Name],
    store: Option<&str>,
    partial: OnlyPartial,
) -> Result<Together> {
    let mut together = Together {
        points: vec![],
        left_out: vec![],
    };
    for plan in plans {
        let only = std::slice::from_ref(plan);
        match fetch::choose_in(context, survey, selector, only, store, partial) {
            Ok(point) => together.points.push(point),
            Err(error) if error.code == Code::PointUnknown => {
                together.left_out.push((plan.clone(), error));
            }
            Err(error) => {
                return Err(Error {
                    message: format!("plan {plan}: {}", error.message),
                    ..error
                });
            }
        }
    }
    match (together.points.is_empty(), together.left_out.first()) {
        (true, Some((_, error))) => Err(error.clone()),
        _ => Ok(together),
    }
}

/// The plans of the application: those of the configuration; without one, those that points are of.
pub fn plans(context: &Context, survey: &Survey) -> Vec<Name> {
    if !context.is_cold() {
        return context.config.plan.keys().cloned().collect();
    }
    let plans: BTreeSet<&Name> = survey
        .copies
        .iter()
        .map(|(_, c)| &c.manifest.plan)
        .collect();
    plans.into_iter().cloned().collect()
}

/// Points, for a message.
pub fn named<'a>(points: impl IntoIterator<Item = &'a PointId>) -> String {
    let points = points.into_iter().map(PointId::as_str);
    points.collect::<Vec<_>>().join(" with ")
}

/// Which point each source is taken from: the newest that holds it; one whose capture of it failed
/// only where no other does.
pub fn owners<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> BTreeMap<Name, PointId> {
    let points = manifests.into_iter();
    owners_of(points.map(|m| (&m.point, m.sources.as_slice())))
}

fn owners_of<'a>(
    points: impl Iterator<Item = (&'a PointId, &'a [ManifestSource])>,
) -> BTreeMap<Name, PointId> {
    let mut owners: BTreeMap<Name, (bool, PointId)> = BTreeMap::new();
    for (point, sources) in points {
        for source in sources {
            let claim = (source.outcome != Outcome::Failed, point.clone());
            let best = owners.entry(source.name.clone()).or_insert(claim.clone());
            *best = best.clone().max(claim);
        }
    }
    let owners = owners.into_iter();
    owners.map(|(source, (_, point))| (source, point)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_taken_from_the_newest_point_that_holds_it() {
        let source = |(name, outcome): &(&str, Outcome)| ManifestSource {
            name: Name::parse(name).unwrap(),
            kind: Name::own("files"),
            outcome: *outcome,
            consistency: None,
            started: jiff::Timestamp::UNIX_EPOCH,
            finished: jiff::Timestamp::UNIX_EPOCH,
        };
        use Outcome::{Complete, Failed, Partial};
        let point = |id: &str, sources: &[(&str, Outcome)]| {
            let sources: Vec<_> = sources.iter().map(source).collect();
            (PointId::parse(id).unwrap(), sources)
        };
        let points = [
            point(
                "20261101T000000Z-aaaa",
                &[("db", Complete), ("bot", Complete), ("gone", Failed)],
            ),
            point("20261103T000000Z-cccc", &[("files", Partial)]),
            point(
                "20261102T000000Z-bbbb",
                &[("db", Complete), ("bot", Failed), ("files", Complete)],
            ),
        ];
        let owners = owners_of(points.iter().map(|(id, sources)| (id, sources.as_slice())));
        let owners: Vec<_> = owners
            .iter()
            .map(|(source, point)| (source.as_str(), &point.as_str()[17..]))
            .collect();
        let expected = [
            ("bot", "aaaa"),
            ("db", "bbbb"),
            ("files", "cccc"),
            ("gone", "aaaa"),
        ];
        assert_eq!(owners, expected);
    }
}
