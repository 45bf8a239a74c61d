//! Compares the definitions of two inventories.
//!
//! Guarantees: an object that is on one side only is a difference; so is a different definition if
//! both servers use the same wording. What a dump does not carry is no difference, and neither is
//! the wording of another release: [`unproven`] names both.

use super::{DatabaseInventory, Inventory, Proof, nested_joins, settled};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Kind under which an inventory lists the owner and privileges of the database itself. Older
/// captures lack it.
pub const DATABASE_PROPERTY: &str = "database property";

/// Kind under which an inventory lists whether events are enabled.
pub const EVENT_STATE: &str = "event state";

/// Kind under which an inventory lists when events end, as `1764415208 NOT PRESERVE`: seconds since
/// 1970, and whether the server keeps an event that ended. It is no object; older captures lack it.
pub const EVENT_END: &str = "event end";

/// Second part of such a value when the event is dropped at its end.
pub const NOT_PRESERVED: &str = "NOT PRESERVE";

/// Returns whether the entries of a kind are objects in the database, which are counted.
pub fn are_objects(kind: &str) -> bool {
    kind != DATABASE_PROPERTY && kind != EVENT_END
}

/// Result of comparing two definitions of one object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are equal, or differ in nothing that matters.
    Same,
    /// They differ.
    Different,
    /// They differ in something that a dump does not carry, as this text says.
    NotCarried(String),
    /// Two releases wrote them with different wording.
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
            let verdict = match judge(kind, name, both, other_release) {
                Verdict::Different if is_same_in_mariadb(left, right, kind, both) => Verdict::Same,
                Verdict::Different => ended(left, right, kind, name).unwrap_or(Verdict::Different),
                verdict => verdict,
            };
            take(kind, name, both, verdict);
        }
    }
}

fn union<'a, T>(a: &'a BTreeMap<String, T>, b: &'a BTreeMap<String, T>) -> BTreeSet<&'a String> {
    a.keys().chain(b.keys()).collect()
}

/// Returns whether two different definitions mean the same in MariaDB, whose catalog describes two
/// things in two ways: a column of a table that was made from a query of the catalog, or of a
/// counter declared `NULL`; and a view over a list of tables, in older captures.
fn is_same_in_mariadb(
    left: &DatabaseInventory,
    right: &DatabaseInventory,
    kind: &str,
    both: [Option<&String>; 2],
) -> bool {
    let is_mariadb = |of: &DatabaseInventory| {
        let release = of.release.as_deref();
        release.is_some_and(|release| release.starts_with("MariaDB"))
    };
    let [Some(a), Some(b)] = both else {
        return false;
    };
    let same = match kind {
        "column" => plain_column(a) == plain_column(b),
        "view" => nested_view(a) == nested_view(b),
        _ => false,
    };
    same && is_mariadb(left) && is_mariadb(right)
}

/// Nests the joins in the query of a view, which its definition begins with.
fn nested_view(text: &str) -> String {
    const NEXT: &str = ", check_option: ";
    let (query, rest) = text.split_at(text.rfind(NEXT).unwrap_or(text.len()));
    nested_joins(query) + rest
}

fn plain_column(text: &str) -> String {
    const NO_DEFAULT: &str = ", column_default: NULL";
    let text = match text.strip_suffix(NO_DEFAULT) {
        Some(text) => text.to_owned(),
        None => text.replace(", column_default: NULL, ", ", "),
    };
    match text.contains(", extra: auto_increment") {
        true => text.replace("is_nullable: YES", "is_nullable: NO"),
        false => text,
    }
}

/// The verdict on an event that ended between capture and restore: a server drops or disables such
/// an event when it is created.
fn ended(
    left: &DatabaseInventory,
    right: &DatabaseInventory,
    kind: &str,
    name: &str,
) -> Option<Verdict> {
    if kind == EVENT_END {
        return Some(Verdict::Same);
    }
    let (seconds, kept) = left.objects.get(EVENT_END)?.get(name)?.split_once(' ')?;
    let seconds: i64 = seconds.parse().ok()?;
    let is_there = |kind| {
        right
            .objects
            .get(kind)
            .is_some_and(|o| o.contains_key(name))
    };
    if right.asked? < seconds {
        return None;
    }
    let when = Timestamp::from_second(seconds).ok()?;
    let what = match (kind, kept == NOT_PRESERVED, is_there("event")) {
        ("event", true, false) => "a server keeps none that ended, so it did not come back",
        // The entry of the event itself reports it.
        (EVENT_STATE, true, false) => return Some(Verdict::Same),
        (EVENT_STATE, _, true) => "a server disables one that ended",
        _ => return None,
    };
    Some(Verdict::NotCarried(format!(
        "event {name}: it ended at {when}: {what}"
    )))
}

fn judge(kind: &str, name: &str, both: [Option<&String>; 2], other_release: bool) -> Verdict {
    if both[0] == both[1] {
        return Verdict::Same;
    }
    // Older captures list such comments; drills leave subscriptions out.
    if kind == "comment" && name.starts_with("subscription ") {
        return Verdict::Same;
    }
    // PostgreSQL fixes the locale when a database is created: an existing one keeps its own.
    if kind == DATABASE_PROPERTY || kind == "database" && name == "locale" {
        let of_database = kind == DATABASE_PROPERTY || both.iter().all(Option::is_some);
        return match (both[0], of_database) {
            (None, true) => Verdict::Same,
            (Some(was), true) => {
                let is = both[1].map_or("nothing", String::as_str);
                Verdict::NotCarried(format!(
                    "database: its {name} was {was} at capture, and is {is}: a dump does not carry it"
                ))
            }
            (_, false) => Verdict::Different,
        };
    }
    let (Some(a), Some(b)) = (both[0], both[1]) else {
        // PostgreSQL 18 also keeps them as constraints; the table's definition contains them, too.
        let not_null = |text: &String| text.starts_with("NOT NULL");
        let said_twice = kind == "constraint" && both.into_iter().flatten().all(not_null);
        return match other_release && said_twice {
            true => Verdict::Same,
            false => Verdict::Different,
        };
    };
    // Older captures hold expressions as they were first parsed.
    let (a, b) = (
        settled(&without_bookkeeping(a)),
        settled(&without_bookkeeping(b)),
    );
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
        true if without_release_wording(kind, &a) == without_release_wording(kind, &b) => {
            Verdict::Same
        }
        true if WRITTEN_BY_SERVER.contains(&kind) => Verdict::OtherWords,
        _ => Verdict::Different,
    }
}

/// Kinds whose definitions a server writes from its internal form.
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

/// Removes the numbers that PostgreSQL has kept among the options of columns since 15.20, which
/// older captures contain.
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

/// Removes differences in wording between releases that do not differ in meaning.
fn without_release_wording(kind: &str, text: &str) -> String {
    if kind == "grant" || kind == "default privilege" {
        // PostgreSQL 17 made a privilege of something that only owners could do before.
        return text
            .replace(",MAINTAIN*", "")
            .replace(",MAINTAIN", "")
            .replace("=MAINTAIN*,", "=")
            .replace("=MAINTAIN,", "=");
    }
    // What older MariaDB and MySQL leave unsaid still holds; their utf8 is now called utf8mb3.
    text.replace("utf8mb3", "utf8")
        .replace(", ignored: NO", "")
        .replace(", is_visible: YES", "")
        .replace("; enforced: YES", "")
        .replace(", enforced: YES", "")
}

/// Limits of comparing two proofs that show only when both are known.
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
            (
                "index",
                ["((a AND b) AND c)", "(a AND b AND c)"],
                Same,
                Same,
            ),
            (
                "index",
                ["((a AND b) OR c)", "(a AND (b OR c))"],
                Different,
                OtherWords,
            ),
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
    }

    #[test]
    fn entries_that_older_captures_lack_are_no_difference() {
        use Verdict::{Different, Same};
        let comment = [Some(&String::from("feeds")), None];
        assert_eq!(judge("comment", "subscription s", comment, false), Same);
        // Older captures have none of these.
        let (me, you) = (String::from("me"), String::from("you"));
        let owner = |both| judge(DATABASE_PROPERTY, "owner", both, false);
        assert_eq!(owner([None, Some(&me)]), Same);
        let other = "database: its owner was me at capture, and is you: a dump does not carry it";
        assert_eq!(
            owner([Some(&me), Some(&you)]),
            Verdict::NotCarried(other.into())
        );
        let gone =
            "database: its owner was me at capture, and is nothing: a dump does not carry it";
        assert_eq!(owner([Some(&me), None]), Verdict::NotCarried(gone.into()));
        assert_eq!(
            judge("database", "locale", [None, Some(&me)], false),
            Different
        );
        assert_eq!(
            judge("comment", "table public.s", comment, false),
            Different
        );
    }

    #[test]
    fn two_descriptions_of_one_thing_by_mariadb_are_no_difference() {
        let inventory = |release: &str, kind: &str, text: &str| DatabaseInventory {
            objects: BTreeMap::from([(
                kind.to_owned(),
                BTreeMap::from([("o".to_owned(), text.to_owned())]),
            )]),
            release: Some(release.to_owned()),
            ..DatabaseInventory::default()
        };
        let view = |tables: &str| {
            format!("view_definition: select 1 from {tables}, check_option: NONE, definer: a@b")
        };
        let (bare, nested) = (view("`a` join `b`"), view("(`a` join `b`)"));
        let cases = [
            ("view", bare.as_str(), nested.as_str(), true),
            ("view", bare.as_str(), &view("(`b` join `a`)"), false),
            ("routine", bare.as_str(), nested.as_str(), false),
            (
                "column",
                "column_type: int",
                "column_type: int, column_default: NULL",
                true,
            ),
            (
                "column",
                "a: 1, column_default: NULL, extra: x",
                "a: 1, extra: x",
                true,
            ),
            ("column", "a: 1, column_default: 'NULL'", "a: 1", false),
            (
                "column",
                "is_nullable: YES, extra: auto_increment",
                "is_nullable: NO, extra: auto_increment",
                true,
            ),
            ("column", "is_nullable: YES", "is_nullable: NO", false),
        ];
        for (kind, a, b, same) in cases {
            for (release, same) in [("MariaDB 10.11", same), ("MySQL 8.4", false)] {
                let (left, right) = (inventory(release, kind, a), inventory(release, kind, b));
                judge_each(&left, &right, |_, _, _, verdict| {
                    assert_eq!(verdict == Verdict::Same, same, "{release} {kind} {a} {b}");
                });
            }
        }
    }

    #[test]
    fn an_event_that_ended_meanwhile_is_no_difference() {
        let inventory = |objects: &[(&str, &str)], asked| DatabaseInventory {
            objects: objects
                .iter()
                .map(|(kind, text)| {
                    let named = BTreeMap::from([("e".to_owned(), (*text).to_owned())]);
                    ((*kind).to_owned(), named)
                })
                .collect(),
            asked,
            ..DatabaseInventory::default()
        };
        let event = ("event", "once");
        let on = (EVENT_STATE, "status: ENABLED");
        let off = (EVENT_STATE, "status: DISABLED");
        let (dropped, kept) = ((EVENT_END, "100 NOT PRESERVE"), (EVENT_END, "100 PRESERVE"));
        let cases: [(&[_], &[_], i64, [usize; 2]); 7] = [
            // Captured and restored objects, the time, and the numbers of differences and of
            // limits.
            (&[event, on, dropped], &[], 100, [0, 1]),
            (&[event, on, dropped], &[], 99, [2, 0]),
            (&[event, on, kept], &[event, off, kept], 100, [0, 1]),
            (&[event, on, kept], &[event, off, kept], 99, [1, 0]),
            (&[event, on, kept], &[], 100, [2, 0]),
            (&[event, on], &[], 100, [2, 0]),
            (
                &[event, on, dropped],
                &[("event", "other"), on, dropped],
                100,
                [1, 0],
            ),
        ];
        for (captured, restored, asked, expected) in cases {
            let (left, right) = (inventory(captured, None), inventory(restored, Some(asked)));
            let mut found = [0, 0];
            judge_each(&left, &right, |_, _, _, verdict| match verdict {
                Verdict::Different => found[0] += 1,
                Verdict::NotCarried(_) => found[1] += 1,
                _ => {}
            });
            assert_eq!(found, expected, "{captured:?} {restored:?} {asked}");
        }
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
    fn different_wording_is_a_limit_only_if_both_releases_are_known() {
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
