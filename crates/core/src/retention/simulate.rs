//! Lives through the time to come: points are taken by a schedule, and the rules decide once a day,
//! after the first of them. Pure.

use super::{Decision, Held, Rules, decide};
use crate::point::PointId;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Seconds between two prunes.
const PRUNE_SECONDS: i64 = 86_400;

/// Returns the points that are there once points were taken at all these times, the oldest first:
/// those that stay, and those that are leaving then. What somebody pins or takes by hand meanwhile
/// is not known.
pub fn simulate(
    points: Vec<Held>,
    rules: &Rules,
    times: impl IntoIterator<Item = Timestamp>,
) -> Vec<Held> {
    let mut points = points;
    let mut pruned: Option<Timestamp> = None;
    for time in times {
        points.extend(taken(time));
        let since = pruned.map(|at| time.as_second() - at.as_second());
        if since.is_none_or(|since| since >= PRUNE_SECONDS) {
            prune(&mut points, rules, time);
            pruned = Some(time);
        }
    }
    points
}

fn taken(time: Timestamp) -> Option<Held> {
    let id = time.strftime("%Y%m%dT%H%M%SZ-0000").to_string();
    Some(Held {
        point: PointId::parse(&id)?,
        sound: true,
        safety: false,
        manual: false,
        always: Vec::new(),
        lock: None,
        leaving: None,
    })
}

/// One prune: what was announced long enough ago goes, and what nothing keeps is announced.
fn prune(points: &mut Vec<Held>, rules: &Rules, now: Timestamp) {
    let decided = decide(points, rules, now);
    let mut gone = BTreeSet::new();
    for (held, decision) in points.iter_mut().zip(decided) {
        match decision {
            Decision::Keep(_) => held.leaving = None,
            Decision::Wait { .. } => {}
            Decision::Delete(_) if held.leaving.is_none() => held.leaving = Some(now),
            Decision::Delete(_) => drop(gone.insert(held.point.clone())),
        }
    }
    points.retain(|held| !gone.contains(&held.point));
}
