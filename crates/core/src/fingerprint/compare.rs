//! The one comparison of captured and restored content.
//!
//! It reports every difference it finds, by table, object or path. It says nothing about what the
//! fingerprint's `limits` name.

use super::objects::{EVENT_STATE, Verdict, judge_each};
use super::{
    DatabaseInventory, Entries, FileEntry, FileKind, FilesFingerprint, Fingerprint, Inventory,
    ObjectsFingerprint, Proof, TablesFingerprint,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One difference between two proofs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its subject: `table public.users`, `file opt/bot/config/app.toml`.
    pub subject: String,
    /// Value as captured.
    pub expected: String,
    /// Value as restored.
    pub observed: String,
}

impl Difference {
    /// Returns whether rows or the counters beside them differ, and no definition.
    pub fn is_of_rows(&self) -> bool {
        // As [`rows`] writes it: the definition of a table is compared under the same name.
        let counted = |text: &str| {
            let words = text.split_once(' ');
            words.is_some_and(|(count, rest)| {
                count.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with("row")
            })
        };
        let table = self.subject.starts_with("table ");
        table && counted(&self.expected) && counted(&self.observed)
            || self.subject.starts_with("sequence ")
    }

    fn new(subject: String, expected: impl Into<String>, observed: impl Into<String>) -> Self {
        Difference {
            subject,
            expected: expected.into(),
            observed: observed.into(),
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [expected, observed] = shortened([&self.expected, &self.observed]);
        write!(
            f,
            "{}: {expected} was captured, {observed} came back",
            self.subject
        )
    }
}

/// What the names of counters of `AUTO_INCREMENT` end with, among sequences.
pub const COUNTER: &str = ".AUTO_INCREMENT";

/// Extent of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Compares owners and groups of files, which an unprivileged restore cannot set.
    pub ownership: bool,
    /// Compares whether events of a database are enabled; a restored copy disables them.
    pub event_states: bool,
    /// Compares the counters of `AUTO_INCREMENT`, which a server that has just started takes anew from its
    /// tables.
    pub counters: bool,
}

impl Scope {
    /// Compares everything.
    pub const ALL: Scope = Scope {
        ownership: true,
        event_states: true,
        counters: true,
    };
}

/// Returns every difference between captured and restored content; none means equal.
pub fn compare(captured: &Proof, restored: &Proof, scope: Scope) -> Vec<Difference> {
    match scope.event_states {
        true => compare_all(captured, restored, scope),
        false => compare_all(
            &without_event_states(captured),
            &without_event_states(restored),
            scope,
        ),
    }
}

/// A proof without the state of events.
fn without_event_states(proof: &Proof) -> Proof {
    let mut proof = proof.clone();
    if let Inventory::Database(inventory) = &mut proof.inventory {
        inventory.objects.remove(EVENT_STATE);
    }
    if let Fingerprint::Tables(tables) = &mut proof.fingerprint {
        tables.objects.remove(EVENT_STATE);
    }
    proof
}

fn compare_all(captured: &Proof, restored: &Proof, scope: Scope) -> Vec<Difference> {
    let mut found = Vec::new();
    match (&captured.inventory, &restored.inventory) {
        (Inventory::Database(left), Inventory::Database(right)) => {
            databases(left, right, scope, &mut found)
        }
        (Inventory::Files { entries: left }, Inventory::Files { entries: right }) => {
            entries(left, right, scope, &mut found);
        }
        (Inventory::None, Inventory::None) => {}
        _ => found.push(Difference::new(
            "inventory".into(),
            "one kind",
            "another kind",
        )),
    }
    match (&captured.fingerprint, &restored.fingerprint) {
        (Fingerprint::Tables(left), Fingerprint::Tables(right)) => {
            tables(left, right, &mut found);
            let listed = [&captured.inventory, &restored.inventory];
            object_counts([left, right], listed, &mut found);
        }
        (Fingerprint::Files(left), Fingerprint::Files(right)) => {
            files(left, right, scope, &mut found);
        }
        (Fingerprint::Objects(left), Fingerprint::Objects(right)) => {
            objects(left, right, &mut found);
        }
        (Fingerprint::Bytes(left), Fingerprint::Bytes(right)) if left != right => {
            let describe =
                |b: &super::BytesFingerprint| format!("{} bytes, SHA-256 {}", b.length, b.sha256);
            found.push(Difference::new(
                "content".into(),
                describe(left),
                describe(right),
            ));
        }
        (Fingerprint::Bytes(_), Fingerprint::Bytes(_)) => {}
        _ => found.push(Difference::new(
            "fingerprint".into(),
            "one kind",
            "another kind",
        )),
    }
    found
}

fn tables(left: &TablesFingerprint, right: &TablesFingerprint, found: &mut Vec<Difference>) {
    if left.algorithm != right.algorithm {
        found.push(Difference::new(
            "algorithm".into(),
            &left.algorithm,
            &right.algorithm,
        ));
        return;
    }
    for name in left
        .tables
        .keys()
        .chain(right.tables.keys())
        .collect::<BTreeSet<_>>()
    {
        let subject = format!("table {name}");
        match (left.tables.get(name), right.tables.get(name)) {
            (Some(a), Some(b)) if a.rows != b.rows => {
                found.push(Difference::new(subject, rows(a.rows), rows(b.rows)));
            }
            (Some(a), Some(b)) if a.hash != b.hash || a.bytes != b.bytes => {
                let describe = |hash: &str, n| format!("{} with hash {hash}", rows(n));
                found.push(Difference::new(
                    subject,
                    describe(&a.hash, a.rows),
                    describe(&b.hash, b.rows),
                ));
            }
            (Some(a), None) => found.push(Difference::new(subject, rows(a.rows), "no such table")),
            (None, Some(b)) => found.push(Difference::new(subject, "no such table", rows(b.rows))),
            _ => {}
        }
    }
}

/// Reports counts of objects that differ by more than the listed objects do. Those are compared by
/// name.
fn object_counts(
    counted: [&TablesFingerprint; 2],
    listed: [&Inventory; 2],
    found: &mut Vec<Difference>,
) {
    let [left, right] = counted;
    for kind in left
        .objects
        .keys()
        .chain(right.objects.keys())
        .collect::<BTreeSet<_>>()
    {
        let [a, b] = counted.map(|side| side.objects.get(kind).copied().unwrap_or(0));
        let [names_a, names_b] = listed.map(|side| match side {
            Inventory::Database(side) => side.objects.get(kind).map_or(0, |o| o.len() as u64),
            _ => 0,
        });
        if a != b && a.wrapping_sub(names_a) != b.wrapping_sub(names_b) {
            let subject = format!("number of objects of kind {kind}");
            found.push(Difference::new(subject, a.to_string(), b.to_string()));
        }
    }
}

fn rows(count: u64) -> String {
    if count == 1 {
        "1 row".into()
    } else {
        format!("{count} rows")
    }
}

fn databases(
    left: &DatabaseInventory,
    right: &DatabaseInventory,
    scope: Scope,
    found: &mut Vec<Difference>,
) {
    judge_each(left, right, |kind, name, [expected, observed], verdict| {
        if verdict == Verdict::Different {
            let text = |d: Option<&String>| d.map_or_else(|| "nothing".into(), |d| one_line(d));
            let subject = format!("{kind} {name}");
            found.push(Difference::new(subject, text(expected), text(observed)));
        }
    });
    for name in left
        .sequences
        .keys()
        .chain(right.sequences.keys())
        .collect::<BTreeSet<_>>()
    {
        if !scope.counters && name.ends_with(COUNTER) {
            continue;
        }
        let text =
            |v: Option<&i64>| v.map_or_else(|| "no such sequence".into(), |v| format!("value {v}"));
        let (a, b) = (left.sequences.get(name), right.sequences.get(name));
        // Sequences ignore snapshots, so a restored value may be ahead of the captured one, but not
        // behind.
        if !matches!((a, b), (Some(a), Some(b)) if b >= a) {
            found.push(Difference::new(
                format!("sequence {name}"),
                text(a),
                text(b),
            ));
        }
    }
}

/// Writes a definition on one line.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.is_empty() {
        true => "an empty definition".into(),
        false => line,
    }
}

/// Cuts two texts to the length of a message, around the first place where they differ.
fn shortened(both: [&str; 2]) -> [String; 2] {
    const CHARS_MAX: usize = 160;
    const CHARS_BEFORE: usize = 40;
    let [a, b] = both;
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    both.map(|text| {
        let count = text.chars().count();
        if count <= CHARS_MAX {
            return text.to_owned();
        }
        // Start early enough to show the full length.
        let from = same.saturating_sub(CHARS_BEFORE).min(count - CHARS_MAX);
        let shown = text.chars().skip(from).take(CHARS_MAX);
        let mark = |cut: bool| cut.then_some('…');
        let ends = mark(from + CHARS_MAX < count);
        mark(from > 0)
            .into_iter()
            .chain(shown)
            .chain(ends)
            .collect()
    })
}

/// Compares both lists entry by entry, so that neither is held whole.
fn entries(left: &Entries, right: &Entries, scope: Scope, found: &mut Vec<Difference>) {
    left.beside(right, |a, b| match (a, b) {
        (Some(a), Some(b)) => entry(a, b, scope, found),
        (Some(a), None) => found.push(Difference::new(subject(a), "present", "missing")),
        (None, Some(b)) => found.push(Difference::new(subject(b), "not there", "present")),
        (None, None) => {}
    });
}

fn subject(entry: &FileEntry) -> String {
    let kind = match entry.kind {
        FileKind::File | FileKind::Hardlink => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "link",
    };
    format!("{kind} {}", entry.path)
}

fn entry(x: &FileEntry, y: &FileEntry, scope: Scope, found: &mut Vec<Difference>) {
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            found.push(Difference::new(format!("{what} of {}", subject(x)), a, b));
        }
    };
    // The order of two names of one file is not content; that they are one file is.
    differ(
        "type",
        format!("{:?}", x.kind).to_lowercase(),
        format!("{:?}", y.kind).to_lowercase(),
    );
    if x.kind != y.kind {
        return;
    }
    let link = |e: &FileEntry| e.link.clone().unwrap_or_else(|| "none".into());
    differ("target", link(x), link(y));
    differ("size", x.bytes.to_string(), y.bytes.to_string());
    if x.kind != FileKind::Symlink {
        differ("mode", format!("{:04o}", x.mode), format!("{:04o}", y.mode));
        differ("content", x.hash.clone(), y.hash.clone());
    }
    if matches!(x.kind, FileKind::File | FileKind::Hardlink) {
        differ(
            "modification time",
            x.mtime.to_string(),
            y.mtime.to_string(),
        );
    }
    let xattrs = |e: &FileEntry| e.xattrs.clone().unwrap_or_else(|| "none".into());
    differ("extended attributes", xattrs(x), xattrs(y));
    if scope.ownership {
        differ(
            "owner",
            format!("{}:{}", x.uid, x.gid),
            format!("{}:{}", y.uid, y.gid),
        );
    }
}

/// Compares the totals, which differ without a difference of entries only if an inventory was
/// tampered with.
fn files(
    left: &FilesFingerprint,
    right: &FilesFingerprint,
    scope: Scope,
    found: &mut Vec<Difference>,
) {
    if !found.is_empty() {
        return;
    }
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            found.push(Difference::new(what.into(), a, b));
        }
    };
    let counts = |f: &FilesFingerprint| {
        format!(
            "{} files, {} directories, {} links, {} bytes",
            f.files, f.directories, f.links, f.bytes
        )
    };
    differ("numbers of entries", counts(left), counts(right));
    differ("content hash", left.content.clone(), right.content.clone());
    differ(
        "metadata hash",
        left.metadata.clone(),
        right.metadata.clone(),
    );
    if scope.ownership {
        differ(
            "ownership hash",
            left.ownership.clone(),
            right.ownership.clone(),
        );
    }
}

/// Compares the totals of a bucket.
fn objects(left: &ObjectsFingerprint, right: &ObjectsFingerprint, found: &mut Vec<Difference>) {
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            found.push(Difference::new(what.into(), a, b));
        }
    };
    let counts = |f: &ObjectsFingerprint| format!("{} objects, {} bytes", f.objects, f.bytes);
    differ("number of objects", counts(left), counts(right));
    differ("content hash", left.content.clone(), right.content.clone());
    differ(
        "hash of metadata and tags",
        left.carried.clone(),
        right.carried.clone(),
    );
}

#[cfg(test)]
mod tests {
    use super::super::TableFingerprint;
    use super::*;
    use std::collections::BTreeMap;

    fn database(change: impl FnOnce(&mut TablesFingerprint, &mut DatabaseInventory)) -> Proof {
        let table = TableFingerprint {
            rows: 2,
            bytes: 9,
            hash: "aa".into(),
            columns: vec!["id".into()],
        };
        let mut fingerprint = TablesFingerprint {
            algorithm: "xxh3-128-sum/test".into(),
            tables: BTreeMap::from([("public.users".into(), table)]),
            objects: BTreeMap::from([("index".into(), 1)]),
            limits: vec![],
        };
        let mut inventory = DatabaseInventory::default();
        inventory.objects.insert(
            "index".into(),
            BTreeMap::from([("public.i".into(), "on (id)".into())]),
        );
        inventory.sequences.insert("public.s".into(), 7);
        change(&mut fingerprint, &mut inventory);
        Proof {
            fingerprint: Fingerprint::Tables(fingerprint),
            inventory: Inventory::Database(inventory),
        }
    }

    const ALL: Scope = Scope::ALL;

    #[test]
    fn equal_databases_have_no_difference_and_a_sequence_may_be_ahead() {
        let ahead = database(|_, i| {
            i.sequences.insert("public.s".into(), 8);
        });
        assert_eq!(compare(&database(|_, _| ()), &database(|_, _| ()), ALL), []);
        assert_eq!(compare(&database(|_, _| ()), &ahead, ALL), []);
        assert_eq!(
            compare(&ahead, &database(|_, _| ()), ALL)[0].subject,
            "sequence public.s"
        );
    }

    #[test]
    fn counters_that_a_server_took_anew_are_no_difference_where_they_are_left_out() {
        let counted = |next: i64| {
            database(move |_, i| {
                i.sequences.insert("orders.AUTO_INCREMENT".into(), next);
            })
        };
        let (before, after) = (counted(2048), counted(1501));
        let started = Scope {
            counters: false,
            ..ALL
        };
        assert_eq!(compare(&before, &after, started), []);
        assert_eq!(compare(&before, &after, ALL).len(), 1);
        // Other sequences are compared as ever.
        let ahead = database(|_, i| {
            i.sequences.insert("public.s".into(), 8);
        });
        assert_eq!(compare(&ahead, &database(|_, _| ()), started).len(), 1);
    }

    #[test]
    fn a_message_shows_where_long_texts_differ_and_the_difference_holds_them_whole() {
        let definition = |end: &str| format!("{} {end}", "long ".repeat(60));
        let change = |text: String| {
            database(move |_, i| {
                let index = i.objects.get_mut("index").unwrap();
                index.insert("public.i".into(), text);
            })
        };
        let (left, right) = (definition("captured"), definition("restored"));
        let found = compare(&change(left.clone()), &change(right.clone()), ALL);
        assert_eq!(one_line(&left), found[0].expected);
        assert_eq!(one_line(&right), found[0].observed);
        let shown = found[0].to_string();
        assert!(shown.contains("long captured was captured, …"), "{shown}");
        assert!(shown.ends_with("long restored came back"), "{shown}");
        assert_eq!(shortened(["short", "é"]), ["short", "é"]);
        let [a, b] = shortened([&"é".repeat(161), "x"]);
        assert_eq!((a, b), (format!("{}…", "é".repeat(160)), "x".to_owned()));
    }

    type Change = fn(&mut TablesFingerprint, &mut DatabaseInventory);

    #[test]
    fn every_change_of_a_database_is_named() {
        let cases: [(Change, &str); 6] = [
            (
                |t, _| t.tables.get_mut("public.users").unwrap().rows = 3,
                "table public.users",
            ),
            (
                |t, _| t.tables.get_mut("public.users").unwrap().hash = "ab".into(),
                "table public.users",
            ),
            (|t, _| t.tables.clear(), "table public.users"),
            (|t, _| t.objects.clear(), "number of objects of kind index"),
            (|_, i| i.objects.clear(), "index public.i"),
            (|_, i| i.sequences.clear(), "sequence public.s"),
        ];
        for (change, subject) in cases {
            let found = compare(&database(|_, _| ()), &database(change), ALL);
            assert_eq!(found.len(), 1, "{subject}: {found:?}");
            assert_eq!(found[0].subject, subject);
        }
    }

    fn tree(change: impl FnOnce(&mut FileEntry)) -> Proof {
        let mut file = FileEntry {
            path: "a".into(),
            kind: FileKind::File,
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime: 3,
            bytes: 4,
            hash: "h".into(),
            link: None,
            xattrs: None,
        };
        change(&mut file);
        Proof {
            fingerprint: Fingerprint::Files(FilesFingerprint::default()),
            inventory: Inventory::Files {
                entries: [file].into_iter().collect(),
            },
        }
    }

    #[test]
    fn every_change_of_a_file_is_named_and_ownership_can_be_left_out() {
        type Change = fn(&mut FileEntry);
        let cases: [(Change, &str); 7] = [
            (|f| f.hash = "i".into(), "content of file a"),
            (|f| f.mode = 0o600, "mode of file a"),
            (|f| f.mtime = 4, "modification time of file a"),
            (
                |f| f.xattrs = Some("x".into()),
                "extended attributes of file a",
            ),
            (|f| f.link = Some("b".into()), "target of file a"),
            (|f| f.uid = 9, "owner of file a"),
            (|f| f.kind = FileKind::Directory, "type of file a"),
        ];
        for (change, subject) in cases {
            let found = compare(&tree(|_| ()), &tree(change), ALL);
            assert_eq!(found.len(), 1, "{subject}: {found:?}");
            assert_eq!(found[0].subject, subject);
        }
        let no_owners = Scope {
            ownership: false,
            ..ALL
        };
        assert_eq!(compare(&tree(|_| ()), &tree(|f| f.uid = 9), no_owners), []);
    }

    /// Holds also when a list is not in the order of a walk, or holds a path twice.
    #[test]
    fn entries_that_are_on_one_side_only_are_named() {
        let tree = |paths: &[&str]| {
            let mut proof = tree(|_| ());
            if let Inventory::Files { entries } = &mut proof.inventory {
                let file = entries.iter().next().unwrap();
                let named = |path: &&str| FileEntry {
                    path: (*path).to_owned(),
                    ..file.clone()
                };
                *entries = paths.iter().map(named).collect();
            }
            proof
        };
        let whole = ["a", "a/b", "a.txt", "c", "d"];
        let none: [&str; 0] = [];
        let cases: [(&[&str], &[&str]); 7] = [
            (&whole, &[]),
            (&["d", "c", "a", "a.txt", "c", "a/b"], &[]),
            (&["a/b", "a.txt", "c", "d"], &["a missing"]),
            (&["a", "a/b", "c", "d"], &["a.txt missing"]),
            (&["a", "a/b", "a.txt", "c"], &["d missing"]),
            (
                &["0", "a", "a.b", "a/b", "a.txt", "d", "e"],
                &["0 present", "a.b present", "c missing", "e present"],
            ),
            (
                &none,
                &[
                    "a missing",
                    "a/b missing",
                    "a.txt missing",
                    "c missing",
                    "d missing",
                ],
            ),
        ];
        for (restored, expected) in cases {
            let mut found: Vec<String> = compare(&tree(&whole), &tree(restored), ALL)
                .into_iter()
                .map(|d| format!("{} {}", d.subject.replace("file ", ""), d.observed))
                .collect();
            found.sort();
            let mut expected = expected.to_vec();
            expected.sort();
            assert_eq!(found, expected, "{restored:?}");
        }
    }
}
