//! Judges which snapshots the rules keep, group by group. Pure: nothing is removed or asked here.

use crate::error::{Code, Error, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_repository::Named;
use lifeboat_repository::forget::Policy;
use lifeboat_repository::snapshot::{Filter, Group, GroupBy, Snapshot};
use std::collections::BTreeMap;

/// A group of snapshots, sorted into kept and removed.
pub struct Judged<'s> {
    /// The host, paths and tags that they have in common.
    pub group: Group,
    /// Snapshots that are kept, and the rules that keep each.
    pub kept: Vec<(&'s Named, Vec<String>)>,
    /// Snapshots that no rule keeps.
    pub removed: Vec<&'s Named>,
}

/// Judges the snapshots that `filter` selects, as of `now`, by the calendar of `zone`. Fails if the
/// rules keep nothing of a group: to remove a whole group, an operator must name its snapshots.
pub fn judge<'s>(
    all: &'s [Named],
    filter: &Filter,
    by: GroupBy,
    policy: &Policy,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<Vec<Judged<'s>>> {
    let mut groups: BTreeMap<Group, Vec<&Named>> = BTreeMap::new();
    for entry in all.iter().filter(|(_, s)| filter.matches(s)) {
        groups.entry(by.group(&entry.1)).or_default().push(entry);
    }
    let mut judged = Vec::with_capacity(groups.len());
    for (group, entries) in groups {
        let snapshots: Vec<&Snapshot> = entries.iter().map(|(_, s)| s).collect();
        let reasons = policy.apply(&snapshots, now, zone);
        let (mut kept, mut removed) = (Vec::new(), Vec::new());
        for (entry, reasons) in entries.iter().zip(reasons) {
            match reasons.is_empty() {
                true => removed.push(*entry),
                false => kept.push((*entry, reasons.iter().map(ToString::to_string).collect())),
            }
        }
        if kept.is_empty() && !removed.is_empty() {
            let message = format!("the rules keep nothing of {}", name(&group));
            return Err(Error::new(Code::Usage, message)
                .hint("give rules that keep something, or name the snapshots to remove"));
        }
        judged.push(Judged {
            group,
            kept,
            removed,
        });
    }
    Ok(judged)
}

/// Names a group for people, by what its snapshots have in common.
pub fn name(group: &Group) -> String {
    let mut parts = Vec::new();
    if let Some(host) = &group.host {
        parts.push(format!("host {host}"));
    }
    if let Some(paths) = &group.paths {
        parts.push(paths.join(", "));
    }
    if let Some(tags) = &group.tags {
        parts.push(match tags.is_empty() {
            true => "no tags".to_owned(),
            false => format!("tags {}", tags.join(",")),
        });
    }
    match parts.is_empty() {
        true => "all snapshots".to_owned(),
        false => parts.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_repository::Id;

    fn snapshot(day: u32, host: &str) -> Named {
        let text = format!(
            r#"{{"time":"2026-11-{day:02}T00:00:00Z","tree":"{}","paths":["/srv"],"hostname":"{host}"}}"#,
            Id::default()
        );
        (Id::default(), serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn each_group_is_judged_by_itself() {
        let all = [snapshot(1, "a"), snapshot(2, "a"), snapshot(1, "b")];
        let policy = Policy {
            last: "1".parse().unwrap(),
            ..Policy::default()
        };
        let now = "2026-11-20T00:00:00Z".parse().unwrap();
        let by = GroupBy::default();
        let judged = judge(&all, &Filter::default(), by, &policy, now, &TimeZone::UTC).unwrap();
        let said = judged.iter().map(|group| {
            let (kept, removed) = (group.kept.len(), group.removed.len());
            format!("{}: {kept} kept, {removed} removed", name(&group.group))
        });
        assert_eq!(
            said.collect::<Vec<_>>(),
            [
                "host a; /srv: 1 kept, 1 removed",
                "host b; /srv: 1 kept, 0 removed"
            ]
        );
    }

    #[test]
    fn rules_that_keep_nothing_are_refused() {
        let all = [snapshot(1, "a")];
        let policy = Policy {
            tags: vec![vec!["kept".to_owned()]],
            ..Policy::default()
        };
        let now = "2026-11-20T00:00:00Z".parse().unwrap();
        let by = GroupBy::default();
        let refused = judge(&all, &Filter::default(), by, &policy, now, &TimeZone::UTC)
            .err()
            .unwrap();
        assert_eq!(refused.code, Code::Usage);
    }
}
