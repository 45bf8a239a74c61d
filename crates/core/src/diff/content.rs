//! The comparison of one source in two points.

use super::Side;
use super::document::{
    BytesChange, Change, DiffSource, Entries, Entry, ObjectKind, ObjectsDiff, TableChange, Totals,
};
use crate::error::{Code, Error, Result};
use crate::fetch;
use crate::fingerprint::{
    self, BytesFingerprint, DatabaseInventory, FileEntry, FileKind, FilesFingerprint, Fingerprint,
    Inventory, ObjectsFingerprint, TableFingerprint, TablesFingerprint, are_objects,
};
use crate::kind::StoredKind;
use crate::name::Name;
use crate::point::DetailsArtifact;
use crate::source::bucket::index::{Entry as IndexEntry, Lines};
use crate::source::bucket::{INDEX, is_pack};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// Compares a source that both points have. Lists have at most `most` entries.
pub(super) fn source(source: &Name, before: &Side, after: &Side, most: usize) -> DiffSource {
    let mut sources = after.manifest().sources.iter();
    let of = sources.find(|of| of.name == *source);
    let mut found = Found {
        source: DiffSource {
            source: source.clone(),
            kind: of.map_or(StoredKind::Unknown(Name::own("unknown")), |of| {
                of.kind.clone()
            }),
            equal: false,
            tables: None,
            files: None,
            objects: None,
            streams: BTreeMap::new(),
            limits: Vec::new(),
        },
        most,
    };
    let (old, new) = (artifacts(before, source), artifacts(after, source));
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        found.artifact(name, [old.get(name).copied(), new.get(name).copied()]);
    }
    if let Some(objects) = &mut found.source.objects
        && !objects.equal
    {
        match list_objects(source, before, after, most) {
            Ok(entries) => objects.entries = entries,
            Err(error) => {
                let text = format!("the objects are not listed: {error}");
                found.source.limits.push(text);
            }
        }
    }
    found.finish()
}

/// Artifacts of a source by name, without the packs of a bucket, which its index names.
fn artifacts<'s>(side: &'s Side, source: &Name) -> BTreeMap<&'s Name, &'s DetailsArtifact> {
    let artifacts = side.details.artifacts.iter();
    let of_source = artifacts.filter(|a| a.source == *source && !is_pack(&a.name));
    of_source
        .map(|artifact| (&artifact.name, artifact))
        .collect()
}

/// What was found of a source so far.
struct Found {
    source: DiffSource,
    most: usize,
}

impl Found {
    /// Compares an artifact; one of the two may be absent.
    fn artifact(&mut self, name: &Name, both: [Option<&DetailsArtifact>; 2]) {
        let prints = both.map(|artifact| artifact.map(|a| &a.proof.fingerprint));
        match prints {
            [
                None | Some(Fingerprint::Tables(_)),
                None | Some(Fingerprint::Tables(_)),
            ] => {
                let empty = TablesFingerprint::default();
                let [a, b] = prints.map(|print| match print {
                    Some(Fingerprint::Tables(tables)) => tables,
                    _ => &empty,
                });
                self.tables(a, b);
                self.kinds([a, b], both.map(database));
            }
            [
                None | Some(Fingerprint::Files(_)),
                None | Some(Fingerprint::Files(_)),
            ] => {
                let empty = FilesFingerprint::default();
                let [a, b] = prints.map(|print| match print {
                    Some(Fingerprint::Files(files)) => files,
                    _ => &empty,
                });
                self.files(a, b, both);
            }
            [
                None | Some(Fingerprint::Objects(_)),
                None | Some(Fingerprint::Objects(_)),
            ] => {
                let totals = |of: fn(&ObjectsFingerprint) -> u64| {
                    let [before, after] = prints.map(|print| match print {
                        Some(Fingerprint::Objects(objects)) => of(objects),
                        _ => 0,
                    });
                    Totals { before, after }
                };
                self.source.objects = Some(ObjectsDiff {
                    entries: Entries::default(),
                    objects: totals(|objects| objects.objects),
                    bytes: totals(|objects| objects.bytes),
                    equal: prints[0] == prints[1],
                });
            }
            [
                None | Some(Fingerprint::Bytes(_)),
                None | Some(Fingerprint::Bytes(_)),
            ] => {
                let [a, b] = prints.map(|print| match print {
                    Some(Fingerprint::Bytes(bytes)) => Some(bytes),
                    _ => None,
                });
                self.source.streams.insert(name.clone(), bytes(a, b));
            }
            _ => self.limit(format!("{name} is of another kind: it was not compared")),
        }
    }

    fn limit(&mut self, text: String) {
        self.source.limits.push(text);
    }

    fn tables(&mut self, a: &TablesFingerprint, b: &TablesFingerprint) {
        let is_hashed_alike = a.algorithm == b.algorithm;
        if !is_hashed_alike && !a.tables.is_empty() && !b.tables.is_empty() {
            self.limit("rows were hashed in another way: only their numbers were compared".into());
        }
        let most = self.most;
        let tables = self.source.tables.get_or_insert_default();
        for name in a
            .tables
            .keys()
            .chain(b.tables.keys())
            .collect::<BTreeSet<_>>()
        {
            let both = [a.tables.get(name), b.tables.get(name)];
            let list = match both {
                [None, _] => &mut tables.added,
                [_, None] => &mut tables.removed,
                [Some(a), Some(b)] => {
                    let is_same = a.rows == b.rows
                        && (!is_hashed_alike || (a.bytes, &a.hash) == (b.bytes, &b.hash));
                    if is_same {
                        tables.equal += 1;
                        continue;
                    }
                    &mut tables.changed
                }
            };
            list.push(most, || table(name, both));
        }
        let rows = |tables: &TablesFingerprint| tables.tables.values().map(|t| t.rows).sum::<u64>();
        tables.rows.before += rows(a);
        tables.rows.after += rows(b);
    }

    /// Compares the objects of a database by kind.
    fn kinds(&mut self, prints: [&TablesFingerprint; 2], listed: [Option<&DatabaseInventory>; 2]) {
        let counted = prints.iter().flat_map(|print| print.objects.keys());
        let named = listed.iter().flatten().flat_map(|l| l.objects.keys());
        let kinds: BTreeSet<&String> = counted.chain(named).collect();
        let tables = self.source.tables.get_or_insert_default();
        for kind in kinds.into_iter().filter(|kind| are_objects(kind)) {
            let number = |print: &TablesFingerprint, listed: Option<&DatabaseInventory>| {
                let names = listed.and_then(|l| l.objects.get(kind));
                let names = names.map(|names| names.len() as u64);
                print.objects.get(kind).copied().or(names).unwrap_or(0)
            };
            let [a, b] = prints;
            let (before, after) = (number(a, listed[0]), number(b, listed[1]));
            let redefined = match listed {
                [Some(a), Some(b)] if a.release == b.release => Some(redefined(kind, a, b)),
                _ => None,
            };
            if before != after || redefined.is_some_and(|count| count > 0) {
                tables.kinds.push(ObjectKind {
                    kind: kind.clone(),
                    before,
                    after,
                    redefined,
                });
            }
        }
    }

    fn files(
        &mut self,
        a: &FilesFingerprint,
        b: &FilesFingerprint,
        both: [Option<&DetailsArtifact>; 2],
    ) {
        let most = self.most;
        let files = self.source.files.get_or_insert_default();
        files.files.before += a.files;
        files.files.after += b.files;
        files.bytes.before += a.bytes;
        files.bytes.after += b.bytes;
        if a == b {
            return;
        }
        let empty = fingerprint::Entries::default();
        let listed = both.map(|artifact| match artifact.map(|a| &a.proof.inventory) {
            Some(Inventory::Files { entries }) => Some(entries),
            None => Some(&empty),
            Some(_) => None,
        });
        let [Some(old), Some(new)] = listed else {
            return self.limit("the names of its files are not known".into());
        };
        old.beside(new, |a, b| {
            if let Some(change) = file_change(a, b) {
                files.entries.push(change, most, || file(a, b));
            }
        });
    }

    /// Decides whether anything differs.
    fn finish(self) -> DiffSource {
        let source = self.source;
        let tables = source.tables.as_ref().is_none_or(|tables| {
            let lists = [&tables.added, &tables.removed, &tables.changed];
            lists.iter().all(|list| list.count == 0) && tables.kinds.is_empty()
        });
        let files = source.files.as_ref().is_none_or(|files| {
            files.entries.is_empty()
                && files.files.before == files.files.after
                && files.bytes.before == files.bytes.after
        });
        let objects = source.objects.as_ref().is_none_or(|objects| objects.equal);
        let streams = source.streams.values().all(|stream| stream.equal);
        DiffSource {
            equal: tables && files && objects && streams && source.limits.is_empty(),
            ..source
        }
    }
}

fn database(artifact: Option<&DetailsArtifact>) -> Option<&DatabaseInventory> {
    match &artifact?.proof.inventory {
        Inventory::Database(inventory) => Some(inventory),
        Inventory::None | Inventory::Files { .. } => None,
    }
}

/// Number of objects of a kind that both databases have and define otherwise.
fn redefined(kind: &str, a: &DatabaseInventory, b: &DatabaseInventory) -> u64 {
    let (Some(a), Some(b)) = (a.objects.get(kind), b.objects.get(kind)) else {
        return 0;
    };
    let differs = |(name, text): &(&String, &String)| b.get(*name).is_some_and(|b| b != *text);
    a.iter().filter(differs).count() as u64
}

fn table(name: &str, [a, b]: [Option<&TableFingerprint>; 2]) -> TableChange {
    TableChange {
        table: name.to_owned(),
        rows_before: a.map(|table| table.rows),
        rows_after: b.map(|table| table.rows),
        bytes_before: a.map(|table| table.bytes),
        bytes_after: b.map(|table| table.bytes),
    }
}

fn bytes(a: Option<&BytesFingerprint>, b: Option<&BytesFingerprint>) -> BytesChange {
    BytesChange {
        equal: a == b,
        bytes_before: a.map(|a| a.length),
        bytes_after: b.map(|b| b.length),
        sha256_before: a.map(|a| a.sha256.clone()),
        sha256_after: b.map(|b| b.sha256.clone()),
    }
}

/// The change of an entry of a tree; `None` if both are equal.
fn file_change(a: Option<&FileEntry>, b: Option<&FileEntry>) -> Option<Change> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (Some(_), None) => return Some(Change::Removed),
        (None, _) => return b.map(|_| Change::Added),
    };
    if (a.kind, a.bytes, &a.hash, &a.link) != (b.kind, b.bytes, &b.hash, &b.link) {
        return Some(Change::Changed);
    }
    // Times of directories and modes of links are no part of what is proved.
    let is_file = matches!(a.kind, FileKind::File | FileKind::Hardlink);
    let is_link = a.kind == FileKind::Symlink;
    let is_same = (a.uid, a.gid, &a.xattrs) == (b.uid, b.gid, &b.xattrs)
        && (is_link || a.mode == b.mode)
        && (!is_file || a.mtime == b.mtime);
    (!is_same).then_some(Change::Metadata)
}

fn file(a: Option<&FileEntry>, b: Option<&FileEntry>) -> Entry {
    let newest = b.or(a);
    Entry {
        path: newest.map(|entry| entry.path.clone()).unwrap_or_default(),
        kind: newest.map(|entry| entry.kind),
        bytes_before: a.map(|a| a.bytes),
        bytes_after: b.map(|b| b.bytes),
    }
}

/// Compares the indexes of a mirrored bucket, which both name their objects in the order of the keys.
fn list_objects(source: &Name, before: &Side, after: &Side, most: usize) -> Result<Entries> {
    let (mut old, mut new) = (Live::open(source, before)?, Live::open(source, after)?);
    let (mut a, mut b) = (old.next()?, new.next()?);
    let mut entries = Entries::default();
    loop {
        let order = match (&a, &b) {
            (Some(a), Some(b)) => a.key.cmp(&b.key),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(entries),
        };
        let both = [
            a.as_ref().filter(|_| order != Ordering::Greater),
            b.as_ref().filter(|_| order != Ordering::Less),
        ];
        if let Some(change) = object_change(both) {
            entries.push(change, most, || object(both));
        }
        if order != Ordering::Greater {
            a = old.next()?;
        }
        if order != Ordering::Less {
            b = new.next()?;
        }
    }
}

/// The objects of a bucket that were there when its point was taken.
struct Live(Lines<Box<dyn Read + Send>, IndexEntry>);

impl Live {
    fn open(source: &Name, side: &Side) -> Result<Self> {
        let mut artifacts = side.manifest().artifacts.iter();
        let index = artifacts.find(|a| a.source == *source && a.name == INDEX);
        let index = index.ok_or_else(|| {
            let message = format!("the manifest of {} names no index", side.manifest().point);
            Error::new(Code::ObjectDamaged, message)
        })?;
        let stream = fetch::open_artifact(&side.fetched, index)?;
        Ok(Live(Lines::new(stream, index.key.to_string())))
    }

    fn next(&mut self) -> Result<Option<IndexEntry>> {
        let live = |entry: &Result<IndexEntry>| entry.as_ref().map_or(true, IndexEntry::is_live);
        self.0.find(live).transpose()
    }
}

fn object_change(both: [Option<&IndexEntry>; 2]) -> Option<Change> {
    let [a, b] = both;
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (Some(_), None) => return Some(Change::Removed),
        (None, _) => return b.map(|_| Change::Added),
    };
    if (a.bytes, &a.sha256) != (b.bytes, &b.sha256) {
        return Some(Change::Changed);
    }
    let carried = |e: &IndexEntry| (e.headers.clone(), e.metadata.clone(), e.tags.clone());
    (carried(a) != carried(b)).then_some(Change::Metadata)
}

fn object([a, b]: [Option<&IndexEntry>; 2]) -> Entry {
    Entry {
        path: b.or(a).map(|e| e.key.to_string()).unwrap_or_default(),
        kind: None,
        bytes_before: a.map(|a| a.bytes),
        bytes_after: b.map(|b| b.bytes),
    }
}
