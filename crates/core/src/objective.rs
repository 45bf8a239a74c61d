//! Recovery objectives, and signs that a point is not what its operator wants. Pure: the caller
//! supplies the time and the facts.

use crate::fingerprint::{Fingerprint, Proof};
use crate::name::Name;
use crate::point::PointId;
use crate::span::Span;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Returns true if a measured time is longer than the objective. Both are in seconds.
pub fn missed(measured: f64, objective: Option<u64>) -> bool {
    objective.is_some_and(|objective| measured > objective as f64)
}

/// Returns a message for each plan whose newest complete point is older than `rpo`. `newest` holds
/// that point for every plan. While no plan has one, there is nothing to report.
pub fn overdue(
    newest: &BTreeMap<Name, Option<PointId>>,
    rpo: Option<Span>,
    now: Timestamp,
) -> Vec<(Name, String)> {
    let Some(rpo) = rpo.filter(|_| newest.values().any(Option::is_some)) else {
        return Vec::new();
    };
    let text = |newest: &Option<PointId>| {
        let Some(point) = newest else {
            return Some(format!(
                "it has no complete point, and the objective (app.rpo) is one of the last {rpo}"
            ));
        };
        let age = now.as_second() - point.time().as_second();
        let age = u64::try_from(age).unwrap_or(0);
        (age > rpo.seconds).then(|| {
            format!(
                "its newest complete point, {point}, is {} old; the objective (app.rpo) is {rpo}",
                whole(age)
            )
        })
    };
    let plans = newest.iter();
    plans
        .filter_map(|(plan, newest)| Some((plan.clone(), text(newest)?)))
        .collect()
}

/// A span in its largest whole unit, rounded down.
fn whole(seconds: u64) -> Span {
    let unit = [86_400, 3600, 60, 1].into_iter().find(|u| seconds >= *u);
    let unit = unit.unwrap_or(1);
    Span {
        seconds: seconds / unit * unit,
    }
}

/// Returns what is suspicious about a capture that holds nothing: it is a backup of the wrong
/// place, or was taken after the loss. `before` is the proof of the previous point.
pub fn emptied(proof: &Proof, before: Option<&Proof>) -> Option<String> {
    let (held, what) = held(&proof.fingerprint);
    if held > 0 {
        return None;
    }
    let earlier = before.map(|before| self::held(&before.fingerprint));
    Some(match earlier.filter(|(held, _)| *held > 0) {
        Some((held, what)) => {
            format!(
                "it is empty, and had {held} {what} in the point before; look whether it is lost"
            )
        }
        None => format!("it holds no {what}; look whether it is what you mean to back up"),
    })
}

/// Amount of content in a fingerprint, and the noun it is counted in.
fn held(fingerprint: &Fingerprint) -> (u64, &'static str) {
    match fingerprint {
        Fingerprint::Tables(tables) => (tables.tables.values().map(|t| t.rows).sum(), "rows"),
        Fingerprint::Files(files) => (files.files + files.links, "files"),
        Fingerprint::Objects(objects) => (objects.objects, "objects"),
        Fingerprint::Bytes(bytes) => (bytes.length, "bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::{BytesFingerprint, Inventory};

    #[test]
    fn an_objective_is_missed_by_more_than_itself() {
        for (measured, objective, expected) in [
            (3.1, Some(1), true),
            (1.0, Some(1), false),
            (0.4, Some(1), false),
            (3.1, None, false),
        ] {
            assert_eq!(missed(measured, objective), expected, "{measured}");
        }
    }

    #[test]
    fn a_plan_whose_newest_point_is_too_old_is_overdue() {
        let now = "2026-11-20T06:00:00Z".parse().unwrap();
        let plan = |name: &str, point: Option<&str>| {
            let complete = point.map(|id| PointId::parse(id).unwrap());
            (Name::parse(name).unwrap(), complete)
        };
        let newest = BTreeMap::from([
            plan("fresh", Some("20261120T000000Z-aaaa")),
            plan("old", Some("20261118T040000Z-bbbb")),
            plan("none", None),
        ]);
        let day = Some(Span { seconds: 86_400 });
        let said = overdue(&newest, day, now);
        let said: Vec<_> = said.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        assert_eq!(
            said,
            [
                (
                    "none",
                    "it has no complete point, and the objective (app.rpo) is one of the last 1d"
                ),
                (
                    "old",
                    "its newest complete point, 20261118T040000Z-bbbb, is 2d old; the objective (app.rpo) is 1d"
                ),
            ]
        );
        assert_eq!(overdue(&newest, None, now), []);
        assert_eq!(overdue(&BTreeMap::from([plan("none", None)]), day, now), []);
    }

    #[test]
    fn nothing_is_strange_where_something_was() {
        let proof = |length| Proof {
            fingerprint: Fingerprint::Bytes(BytesFingerprint {
                length,
                sha256: String::new(),
            }),
            inventory: Inventory::None,
        };
        assert_eq!(emptied(&proof(1), None), None);
        assert_eq!(emptied(&proof(1), Some(&proof(0))), None);
        let lost = emptied(&proof(0), Some(&proof(500))).unwrap();
        assert!(lost.contains("had 500 bytes in the point before"), "{lost}");
        for before in [None, Some(proof(0))] {
            let empty = emptied(&proof(0), before.as_ref()).unwrap();
            assert!(empty.contains("holds no bytes"), "{empty}");
        }
    }
}
