//! Decides from which of several points each source of an application is taken. Pure.

use super::{Manifest, ManifestSource, Outcome, PointId};
use crate::name::Name;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The point that each source is taken from: the newest that holds it whole, else the newest that
/// holds a part of it, else one whose capture of it failed.
pub fn owners<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> BTreeMap<Name, PointId> {
    let points = manifests.into_iter();
    owners_of(points.map(|m| (&m.point, m.sources.as_slice())))
}

fn owners_of<'a>(
    points: impl Iterator<Item = (&'a PointId, &'a [ManifestSource])>,
) -> BTreeMap<Name, PointId> {
    let mut owners: BTreeMap<Name, (Reverse<Outcome>, PointId)> = BTreeMap::new();
    for (point, sources) in points {
        for source in sources {
            let claim = (Reverse(source.outcome), point.clone());
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
    fn a_source_is_taken_from_the_newest_point_that_holds_it_whole() {
        let source = |(name, outcome): &(&str, Outcome)| ManifestSource {
            name: Name::parse(name).unwrap(),
            kind: crate::kind::Kind::Files.into(),
            outcome: *outcome,
            consistency: None,
            started: jiff::Timestamp::UNIX_EPOCH,
            finished: jiff::Timestamp::UNIX_EPOCH,
            identity: None,
            position: None,
            external: None,
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
            ("files", "bbbb"),
            ("gone", "aaaa"),
        ];
        assert_eq!(owners, expected);
    }
}
