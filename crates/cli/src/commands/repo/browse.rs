//! `lifeboat repo ls`, `find`, `diff` and `stats`.

use super::backup::bad_pattern;
use super::{Open, find as find_snapshot, local, meant, part};
use crate::args::repo;
use crate::output;
use lifeboat_core::explain::explain;
use lifeboat_core::repo::document::{Changes, Entries, Entry, Found, FoundEntry, text};
use lifeboat_core::repo::totals;
use lifeboat_core::{Code, Error, Exit, Result};
use lifeboat_repository::Id;
use lifeboat_repository::browse::{self, Change, Found as At, Then};
use lifeboat_repository::index::Index;
use lifeboat_repository::pattern::Patterns;
use lifeboat_repository::snapshot::Filter;
use lifeboat_repository::tree::{Node, NodeKind, mode};

/// As `ls -l` shows it.
fn long(node: &Node, path: &str) -> String {
    let kind = match node.kind {
        NodeKind::Directory => 'd',
        NodeKind::Symlink => 'l',
        NodeKind::BlockDevice => 'b',
        NodeKind::CharDevice => 'c',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
        NodeKind::File | NodeKind::Irregular => '-',
    };
    let bits = mode::permissions(node.mode);
    let mut letters = String::from(kind);
    for (shift, special, (with, without)) in [
        (6, 0o4000, ('s', 'S')),
        (3, 0o2000, ('s', 'S')),
        (0, 0o1000, ('t', 'T')),
    ] {
        let three = bits >> shift;
        letters.push(if three & 4 != 0 { 'r' } else { '-' });
        letters.push(if three & 2 != 0 { 'w' } else { '-' });
        letters.push(match (bits & special != 0, three & 1 != 0) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    let link = match node.kind {
        NodeKind::Symlink => format!(" -> {}", text(&node.link_target)),
        _ => String::new(),
    };
    format!(
        "{letters} {:>5} {:>5} {:>10} {} {path}{link}",
        node.uid,
        node.gid,
        node.size,
        local(&node.mtime)
    )
}

/// The tree that `SNAPSHOT:PATH` names, and the path.
pub fn tree(open: &Open<'_>, index: &Index, filter: &Filter, given: &str) -> Result<(Id, Vec<u8>)> {
    let (name, within) = part(given);
    let all = open.snapshots()?;
    let (_, snapshot) = find_snapshot(&all, filter, name)?;
    let path = within.trim_matches('/');
    let found = browse::find(&open.repository, index, &snapshot.tree, path.as_bytes());
    match found.map_err(explain)? {
        At::Root(tree) => Ok((tree, Vec::new())),
        At::Entry(node) => match node.subtree {
            Some(tree) => Ok((tree, format!("/{path}").into_bytes())),
            None => Err(Error::new(Code::Usage, format!("/{path} is no directory"))
                .hint("name a directory")),
        },
    }
}

pub fn ls(open: &Open<'_>, args: &repo::Ls) -> Result<Exit> {
    let _lock = open.read_lock()?;
    let index = open.index()?;
    let filter = Filter::from(&args.filter);
    let mut starts = Vec::new();
    if args.directories.is_empty() {
        starts.push((tree(open, &index, &filter, &args.snapshot)?, true));
    }
    for directory in &args.directories {
        let (name, within) = part(&args.snapshot);
        let given = format!("{name}:{within}/{directory}");
        starts.push((tree(open, &index, &filter, &given)?, args.recursive));
    }
    open.run.results();
    let mut listed = Entries::default();
    for ((tree, at), deep) in starts {
        let mut show = |path: &[u8], node: &Node| {
            match (open.json(), args.long) {
                (true, _) => listed.entries.push(Entry::new(path, node)),
                (false, true) => open.run.out.line(long(node, &text(path))),
                (false, false) => open.run.out.line(text(path)),
            }
            Ok(if deep { Then::Enter } else { Then::Skip })
        };
        browse::walk(&open.repository, &index, &tree, &at, &mut show).map_err(explain)?;
    }
    if open.json() {
        open.run.out.document(&listed)?;
    }
    Ok(Exit::Done)
}

pub fn find(open: &Open<'_>, args: &repo::Find) -> Result<Exit> {
    let (sensitive, insensitive): (&[String], &[String]) = match args.ignore_case {
        true => (&[], &args.patterns),
        false => (&args.patterns, &[]),
    };
    let patterns = Patterns::new(sensitive, insensitive).map_err(bad_pattern)?;
    let _lock = open.read_lock()?;
    let all = open.snapshots()?;
    let index = open.index()?;
    open.run.results();
    let (mut found, mut count) = (Found::default(), 0);
    for (id, snapshot) in meant(&all, &Filter::from(&args.filter), &args.snapshot)? {
        let mut told = false;
        let mut look = |path: &[u8], node: &Node| {
            // What is below something that matches matches, too: only the name itself counts.
            let parent = path.len() - node.name.len() - 1;
            let above = path.get(..parent).unwrap_or_default();
            if !patterns.matches(path) || (!above.is_empty() && patterns.matches(above)) {
                return Ok(Then::Enter);
            }
            count += 1;
            if open.json() {
                found.found.push(FoundEntry {
                    entry: Entry::new(path, node),
                    snapshot: *id,
                });
                return Ok(Then::Enter);
            }
            if !told {
                let (id, at) = (id.short(), local(&snapshot.time));
                open.run.out.line(format!("in snapshot {id} of {at}:"));
                told = true;
            }
            open.run.out.line(text(path));
            Ok(Then::Enter)
        };
        browse::walk(&open.repository, &index, &snapshot.tree, b"", &mut look).map_err(explain)?;
    }
    match open.json() {
        true => open.run.out.document(&found)?,
        false if count == 0 => open.run.out.line("nothing was found"),
        false => {}
    }
    Ok(Exit::Done)
}

pub fn diff(open: &Open<'_>, args: &repo::Diff) -> Result<Exit> {
    let _lock = open.read_lock()?;
    let index = open.index()?;
    let any = Filter::default();
    let (first, _) = tree(open, &index, &any, &args.first)?;
    let (second, _) = tree(open, &index, &any, &args.second)?;
    open.run.results();
    let (mut listed, mut counts) = (Changes::default(), [0_u64; 5]);
    let mut tell = |path: &[u8], change: Change, node: &Node| {
        let (place, letter) = match change {
            Change::Added => (0, '+'),
            Change::Removed => (1, '-'),
            Change::Modified => (2, 'M'),
            Change::Metadata => (3, 'U'),
            Change::Kind => (4, 'T'),
        };
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
        let slash = if node.kind == NodeKind::Directory {
            "/"
        } else {
            ""
        };
        match open.json() {
            true => listed.add(path, change, node),
            false => open
                .run
                .out
                .line(format!("{letter}    {}{slash}", text(path))),
        }
        Ok(())
    };
    browse::diff(
        &open.repository,
        &index,
        (&first, &second),
        args.metadata,
        &mut tell,
    )
    .map_err(explain)?;
    let [added, removed, modified, metadata, kind] = counts;
    match open.json() {
        true => open.run.out.document(&listed)?,
        false => {
            let metadata = match args.metadata {
                true => format!(", {metadata} of which only the metadata is"),
                false => String::new(),
            };
            open.run.out.line(format!(
                "{added} added, {removed} removed, {modified} modified, {kind} of another type{metadata}"
            ));
        }
    }
    Ok(Exit::Done)
}

pub fn stats(open: &Open<'_>, args: &repo::Stats) -> Result<Exit> {
    let _lock = open.read_lock()?;
    let all = open.snapshots()?;
    let index = open.index()?;
    let wanted = meant(&all, &Filter::from(&args.filter), &args.snapshots)?;
    open.step("counting");
    let totals = totals::count(&open.repository, &index, &wanted)?;
    open.run.answer(&totals, |out| {
        out.line(format!(
            "{}, {}",
            output::count(totals.snapshots, "snapshot"),
            output::count(totals.files, "file")
        ));
        out.line(format!(
            "restored, all of them take {}",
            output::bytes(totals.restored_bytes)
        ));
        out.line(format!(
            "stored, they take {}: {} of {}",
            output::bytes(totals.stored_bytes),
            output::count(totals.blobs, "different blob"),
            output::bytes(totals.blob_bytes)
        ));
    })?;
    Ok(Exit::Done)
}
