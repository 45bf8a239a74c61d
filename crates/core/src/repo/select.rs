//! Finds the snapshots that an operator means. Pure.

use crate::error::{Code, Error, Result};
use lifeboat_repository::Named;
use lifeboat_repository::snapshot::{Filter, GroupBy};
use std::collections::BTreeMap;

/// Splits `SNAPSHOT:PATH` into its two parts.
pub fn part(text: &str) -> (&str, &str) {
    text.split_once(':').unwrap_or((text, ""))
}

/// The snapshots that are named, each once; if none are named, all that `filter` selects.
/// `snapshots` are sorted by time.
pub fn meant<'s>(
    snapshots: &'s [Named],
    filter: &Filter,
    named: &[String],
) -> Result<Vec<&'s Named>> {
    if named.is_empty() {
        return Ok(snapshots
            .iter()
            .filter(|(_, s)| filter.matches(s))
            .collect());
    }
    let mut found: Vec<&Named> = Vec::with_capacity(named.len());
    for text in named {
        let one = find(snapshots, filter, text)?;
        if !found.iter().any(|(id, _)| *id == one.0) {
            found.push(one);
        }
    }
    Ok(found)
}

/// The snapshot that `text` names: an id, the beginning of one, or `latest` of those that `filter`
/// selects.
pub fn find<'s>(snapshots: &'s [Named], filter: &Filter, text: &str) -> Result<&'s Named> {
    let unknown = |message: String| {
        Error::new(Code::PointUnknown, message).hint("see what there is: lifeboat repo snapshots")
    };
    if text == "latest" {
        let mut meant = snapshots.iter().filter(|(_, s)| filter.matches(s));
        return meant
            .next_back()
            .ok_or_else(|| unknown("there is no such snapshot yet".into()));
    }
    let named = |(id, _): &&Named| id.to_string().starts_with(text);
    let mut found = snapshots.iter().filter(named);
    match (found.next(), found.next()) {
        _ if text.is_empty() => Err(unknown("an empty id names no snapshot".into())),
        (Some(one), None) => Ok(one),
        (None, _) => Err(unknown(format!("no snapshot begins with {text}"))),
        (Some(_), Some(_)) => Err(Error::new(
            Code::PointAmbiguous,
            format!("{text} begins several snapshots"),
        )
        .hint("give more of the id")),
    }
}

/// Keeps the newest `count` of each group of host and paths, in their order.
pub fn newest(mut snapshots: Vec<&Named>, count: usize) -> Vec<&Named> {
    let mut seen = BTreeMap::new();
    snapshots.reverse();
    snapshots.retain(|(_, snapshot)| {
        let seen = seen
            .entry(GroupBy::default().group(snapshot))
            .or_insert(0_usize);
        *seen += 1;
        *seen <= count
    });
    snapshots.reverse();
    snapshots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(id: &str, host: &str) -> Named {
        let text = format!(
            r#"{{"time":"2026-11-20T00:00:00Z","tree":"{}","paths":["/srv"],"hostname":"{host}"}}"#,
            "0".repeat(64)
        );
        let id = format!("{id}{}", "0".repeat(64 - id.len()));
        (id.parse().unwrap(), serde_json::from_str(&text).unwrap())
    }

    fn all() -> Vec<Named> {
        vec![
            snapshot("ab", "a"),
            snapshot("ac", "a"),
            snapshot("bb", "b"),
        ]
    }

    fn ids(snapshots: &[&Named]) -> Vec<String> {
        let ids = snapshots.iter().map(|(id, _)| id.short());
        ids.map(|id| id.trim_end_matches('0').to_owned()).collect()
    }

    #[test]
    fn a_snapshot_is_named_by_its_beginning_or_as_the_latest() {
        let all = all();
        let any = Filter::default();
        let of_a = Filter {
            hosts: vec!["a".to_owned()],
            ..Filter::default()
        };
        let named = |filter: &Filter, text: &str| find(&all, filter, text).map(|one| ids(&[one]));
        assert_eq!(named(&any, "ab").unwrap(), ["ab"]);
        assert_eq!(named(&any, "latest").unwrap(), ["bb"]);
        assert_eq!(named(&of_a, "latest").unwrap(), ["ac"]);
        for (text, code) in [
            ("a", Code::PointAmbiguous),
            ("c", Code::PointUnknown),
            ("", Code::PointUnknown),
        ] {
            assert_eq!(named(&any, text).unwrap_err().code, code, "{text:?}");
        }
        let texts = ["ac", "ab", "ac"].map(str::to_owned);
        assert_eq!(ids(&meant(&all, &any, &texts).unwrap()), ["ac", "ab"]);
        assert_eq!(ids(&meant(&all, &of_a, &[]).unwrap()), ["ab", "ac"]);
        assert_eq!(part("ab:/srv"), ("ab", "/srv"));
        assert_eq!(part("ab"), ("ab", ""));
    }

    #[test]
    fn the_newest_of_each_group_are_chosen() {
        let all = all();
        let newest = newest(all.iter().collect(), 1);
        assert_eq!(ids(&newest), ["ac", "bb"]);
    }
}
