//! Compares the definitions of two inventories.
//!
//! Guarantees: an object that is on one side only is a difference; so is one whose definition is
//! another, where both servers write definitions in the same words. What a dump does not carry is
//! no difference, and neither are the words of another release: both are named by [`unproven`].

use super::{DatabaseInventory, Inventory, Proof};
use std::collections::{BTreeMap, BTreeSet};

/// What two definitions of one object say about each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are the same, or nothing that a dump carries.
    Same,
    /// They are not.
    Different,
    /// A dump does not carry in what they differ, as this says.
    NotCarried(String),
    /// Two releases wrote them, each in its own words.
    OtherWords,
}

/// Calls `take` with the kind, the name and both definitions of each object that is on either side.
pub(super) fn judge_each(
    left: &DatabaseInventory,
    right: &DatabaseInventory,
    mut take: impl FnMut(&str, &str, [Option<&String>; 2], Verdict),
) {
    let none = BTreeMap::new();
    let other_release = match (&left.release, &right.release) {
        (Some(a), Some(b)) => a != b,
        _ => false,
    };
    for kind in union(&left.objects, &right.objects) {
        let a = left.objects.get(kind).unwrap_or(&none);
        let b = right.objects.get(kind).unwrap_or(&none);
        for name in union(a, b) {
            let both = [a.get(name), b.get(name)];
            take(kind, name, both, judge(kind, name, both, other_release));
        }
    }
}

fn union<'a, T>(a: &'a BTreeMap<String, T>, b: &'a BTreeMap<String, T>) -> BTreeSet<&'a String> {
    a.keys().chain(b.keys()).collect()
}

fn judge(kind: &str, name: &str, both: [Option<&String>; 2], other_release: bool) -> Verdict {
    if both[0] == both[1] {
        return Verdict::Same;
    }
    // Older captures list it; drills leave subscriptions out.
    if kind == "comment" && name.starts_with("subscription ") {
        return Verdict::Same;
    }
    let (Some(a), Some(b)) = (both[0], both[1]) else {
        // PostgreSQL 18 keeps them as constraints, which the table's definition says, too.
        let not_null = |text: &String| text.starts_with("NOT NULL");
        let said_twice = kind == "constraint" && both.into_iter().flatten().all(not_null);
        return match other_release && said_twice {
            true => Verdict::Same,
            false => Verdict::Different,
        };
    };
    let (a, b) = (without_bookkeeping(a), without_bookkeeping(b));
    if a == b {
        return Verdict::Same;
    }
    if kind == "extension"
        && let (Some((was, place)), Some((is, other_place))) =
            (a.split_once(" in "), b.split_once(" in "))
        && place == other_place
    {
        return Verdict::NotCarried(format!(
            "extension {name}: version {was} was captured, {is} came back: a dump does not carry versions"
        ));
    }
    match other_release {
        true if in_common_words(kind, &a) == in_common_words(kind, &b) => Verdict::Same,
        true if WRITTEN_BY_SERVER.contains(&kind) => Verdict::OtherWords,
        _ => Verdict::Different,
    }
}

/// Kinds whose definitions a server writes out of what it keeps.
const WRITTEN_BY_SERVER: &[&str] = &[
    "aggregate",
    "column",
    "constraint",
    "event",
    "index",
    "materialized view",
    "partition",
    "policy",
    "publication",
    "routine",
    "rule",
    "statistics",
    "table",
    "trigger",
    "view",
];

/// Without the numbers that PostgreSQL keeps among the options of columns since 15.20: older
/// captures hold them.
fn without_bookkeeping(text: &str) -> String {
    const KEY: &str = "pg_attver=";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(KEY) {
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let alone = before.strip_suffix(" {").zip(after.strip_prefix('}'));
        let (kept, left) = match (alone, after.strip_prefix(','), before.strip_suffix(',')) {
            (Some((kept, left)), _, _) => (kept, left),
            (None, Some(left), _) => (before, left),
            (None, None, Some(kept)) => (kept, after),
            (None, None, None) => (before, after),
        };
        out.push_str(kept);
        rest = left;
    }
    out.push_str(rest);
    out
}

/// What differs between releases by what they can say, and not by what is so.
fn in_common_words(kind: &str, text: &str) -> String {
    if kind == "grant" || kind == "default privilege" {
        // PostgreSQL 17 made a privilege out of what only owners could do.
        return text
            .replace(",MAINTAIN*", "")
            .replace(",MAINTAIN", "")
            .replace("=MAINTAIN*,", "=")
            .replace("=MAINTAIN,", "=");
    }
    // What an older MariaDB or MySQL does not say is so there; its utf8 is now called utf8mb3.
    text.replace("utf8mb3", "utf8")
        .replace(", ignored: NO", "")
        .replace(", is_visible: YES", "")
        .replace("; enforced: YES", "")
        .replace(", enforced: YES", "")
}

/// What a comparison of these two cannot prove, for reasons that only both together show.
pub fn unproven(captured: &Proof, restored: &Proof) -> Vec<String> {
    let (Inventory::Database(left), Inventory::Database(right)) =
        (&captured.inventory, &restored.inventory)
    else {
        return Vec::new();
    };
    let mut limits = Vec::new();
    let mut other_words: BTreeMap<String, Vec<String>> = BTreeMap::new();
    judge_each(left, right, |kind, name, _, verdict| match verdict {
        Verdict::NotCarried(text) => limits.push(text),
        Verdict::OtherWords => {
            let named = other_words.entry(kind.to_owned()).or_default();
            named.push(name.to_owned());
        }
        Verdict::Same | Verdict::Different => {}
    });
    let release = |of: &DatabaseInventory| of.release.clone().unwrap_or_default();
    for (kind, names) in other_words {
        limits.push(format!(
            "{kind} {}: there, but {} defines it in other words than {}, so definitions were not compared",
            names.join(", "),
            release(right),
            release(left),
        ));
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    #[test]
    fn what_is_no_difference_is_told_from_what_is() {
        use Verdict::{Different, OtherWords, Same};
        let not_carried =
            "extension x: version 1.7 was captured, 1.8 came back: a dump does not carry versions";
        let owner = ["o=SELECT,TRIGGER", "o=MAINTAIN,SELECT,TRIGGER"];
        let attver = [
            "plain (a text {pg_attver=7}, b text {pg_attver=7,n_distinct=-1})",
            "plain (a text, b text {n_distinct=-1})",
        ];
        let cases: &[(&str, [&str; 2], Verdict, Verdict)] = &[
            ("view", ["select t.a", "select t.a"], Same, Same),
            ("view", ["select t.a", "select a"], Different, OtherWords),
            ("view", ["select a", ""], Different, Different),
            ("view", ["", "select a"], Different, Different),
            ("owner", ["a", "b"], Different, Different),
            ("sequence", ["bigint", "integer"], Different, Different),
            ("constraint", ["", "NOT NULL a"], Different, Same),
            ("constraint", ["CHECK (a > 0)", ""], Different, Different),
            ("grant", owner, Different, Same),
            (
                "grant",
                ["o=SELECT", "o=MAINTAIN,UPDATE"],
                Different,
                Different,
            ),
            (
                "extension",
                ["1.7 in public", "1.8 in public"],
                Verdict::NotCarried(not_carried.into()),
                Verdict::NotCarried(not_carried.into()),
            ),
            (
                "extension",
                ["1.7 in public", "1.7 in other"],
                Different,
                Different,
            ),
            ("table", attver, Same, Same),
            (
                "table",
                ["(a {n_distinct=-1,pg_attver=12})", "(a {n_distinct=-1})"],
                Same,
                Same,
            ),
            (
                "table",
                ["(a text {pg_attver=1})", "(a text {n_distinct=1})"],
                Different,
                OtherWords,
            ),
            (
                "index",
                [
                    "seq_in_index: 1, non_unique: 0",
                    "seq_in_index: 1, non_unique: 0, ignored: NO",
                ],
                Different,
                Same,
            ),
            (
                "column",
                ["collation_name: utf8_bin", "collation_name: utf8mb3_bin"],
                Different,
                Same,
            ),
        ];
        for (kind, [a, b], same_release, other_release) in cases {
            let (a, b) = (text(a), text(b));
            let both = [a.as_ref(), b.as_ref()];
            assert_eq!(&judge(kind, "x", both, false), same_release, "{both:?}");
            assert_eq!(&judge(kind, "x", both, true), other_release, "{both:?}");
        }
        let comment = [Some(&String::from("feeds")), None];
        assert_eq!(judge("comment", "subscription s", comment, false), Same);
        assert_eq!(
            judge("comment", "table public.s", comment, false),
            Different
        );
    }

    fn proof(release: Option<&str>, view: &str) -> Proof {
        let views = BTreeMap::from([("public.v".to_owned(), view.to_owned())]);
        Proof {
            fingerprint: super::super::Fingerprint::Tables(Default::default()),
            inventory: Inventory::Database(DatabaseInventory {
                objects: BTreeMap::from([("view".to_owned(), views)]),
                release: release.map(str::to_owned),
                ..DatabaseInventory::default()
            }),
        }
    }

    #[test]
    fn other_words_are_a_limit_only_where_both_releases_are_known() {
        let captured = proof(Some("PostgreSQL 15"), "select t.a");
        let limits = unproven(&captured, &proof(Some("PostgreSQL 18"), "select a"));
        assert_eq!(
            limits,
            [
                "view public.v: there, but PostgreSQL 18 defines it in other words than PostgreSQL 15, so definitions were not compared"
            ]
        );
        for release in [None, Some("PostgreSQL 15")] {
            assert_eq!(
                unproven(&captured, &proof(release, "select a")),
                Vec::<String>::new()
            );
        }
    }
}
