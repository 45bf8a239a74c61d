//! `lifeboat repo ls`, `find`, `diff` and `stats`.

use super::backup::bad_pattern;
use super::{Open, find as find_snapshot, local, meant, part};
use crate::args::repo;
use crate::output;
use lifeboat_core::explain::explain;
use lifeboat_core::{Code, Error, Exit, Result};
use lifeboat_repository::Id;
use lifeboat_repository::browse::{self, Change, Found, Then};
use lifeboat_repository::index::Index;
use lifeboat_repository::pattern::Patterns;
use lifeboat_repository::snapshot::Filter;
use lifeboat_repository::tree::{Node, NodeKind, mode};
use serde_json::{Value, json};
use std::collections::HashSet;

/// A path as text: what would spoil a line is escaped.
pub fn text(path: &[u8]) -> String {
    let mut out = String::new();
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character.is_control() {
                true => out.extend(character.escape_default()),
                false => out.push(character),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

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

fn value(path: &[u8], node: &Node) -> Value {
    json!({
        "path": text(path),
        "name": text(&node.name),
        "type": node.kind.name(),
        "mode": format!("{:04o}", mode::permissions(node.mode)),
        "uid": node.uid,
        "gid": node.gid,
        "size": node.size,
        "mtime": node.mtime.to_string(),
        "link_target": (node.kind == NodeKind::Symlink).then(|| text(&node.link_target)),
    })
}

/// The tree that `SNAPSHOT:PATH` names, and the path.
pub fn tree(open: &Open<'_>, index: &Index, filter: &Filter, given: &str) -> Result<(Id, Vec<u8>)> {
    let (name, within) = part(given);
    let all = open.snapshots()?;
    let (_, snapshot) = find_snapshot(&all, filter, name)?;
    let path = within.trim_matches('/');
    let found = browse::find(&open.repository, index, &snapshot.tree, path.as_bytes());
    match found.map_err(explain)? {
        Found::Root(tree) => Ok((tree, Vec::new())),
        Found::Entry(node) => match node.subtree {
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
    let mut listed = Vec::new();
    for ((tree, at), deep) in starts {
        let mut show = |path: &[u8], node: &Node| {
            match (open.json(), args.long) {
                (true, _) => listed.push(value(path, node)),
                (false, true) => open.run.out.line(long(node, &text(path))),
                (false, false) => open.run.out.line(text(path)),
            }
            Ok(if deep { Then::Enter } else { Then::Skip })
        };
        browse::walk(&open.repository, &index, &tree, &at, &mut show).map_err(explain)?;
    }
    if open.json() {
        open.run
            .out
            .json(&json!({ "schema": 1, "entries": listed }))?;
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
    let (mut found, mut count) = (Vec::new(), 0);
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
                let mut value = value(path, node);
                if let Value::Object(map) = &mut value {
                    map.insert("snapshot".into(), json!(id));
                }
                found.push(value);
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
        true => open.run.out.json(&json!({ "schema": 1, "found": found }))?,
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
    let (mut listed, mut counts) = (Vec::new(), [0_u64; 5]);
    let mut tell = |path: &[u8], change: Change, node: &Node| {
        let (place, letter, name) = match change {
            Change::Added => (0, '+', "added"),
            Change::Removed => (1, '-', "removed"),
            Change::Modified => (2, 'M', "modified"),
            Change::Metadata => (3, 'U', "metadata"),
            Change::Kind => (4, 'T', "type"),
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
            true => {
                listed.push(json!({ "path": text(path), "change": name, "type": node.kind.name() }))
            }
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
        true => open
            .run
            .out
            .json(&json!({ "schema": 1, "changes": listed }))?,
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
    let (mut files, mut bytes) = (0_u64, 0_u64);
    let (mut trees, mut blobs) = (HashSet::new(), HashSet::new());
    for (_, snapshot) in &wanted {
        trees.insert(snapshot.tree);
        let mut count = |_: &[u8], node: &Node| {
            if node.kind == NodeKind::File {
                files += 1;
                bytes += node.size;
            }
            trees.extend(node.subtree);
            blobs.extend(node.content.iter().flatten().copied());
            Ok(Then::Enter)
        };
        browse::walk(&open.repository, &index, &snapshot.tree, b"", &mut count).map_err(explain)?;
    }
    let (mut plain, mut stored) = (0, 0);
    let mut seen = HashSet::new();
    for (id, place) in index.blobs() {
        if (blobs.contains(&id) || trees.contains(&id)) && seen.insert((id, place.kind)) {
            plain += u64::from(place.plain_bytes);
            stored += u64::from(place.length);
        }
    }
    open.run.results();
    match open.json() {
        true => open.run.out.json(&json!({
            "schema": 1,
            "snapshots": wanted.len(),
            "files": files,
            "restored_bytes": bytes,
            "blobs": seen.len(),
            "blob_bytes": plain,
            "stored_bytes": stored,
        }))?,
        false => {
            let snapshots = output::count(wanted.len(), "snapshot");
            open.run
                .out
                .line(format!("{snapshots}, {}", output::count(files, "file")));
            open.run.out.line(format!(
                "restored, all of them take {}",
                output::bytes(bytes)
            ));
            open.run.out.line(format!(
                "stored, they take {}: {} of {}",
                output::bytes(stored),
                output::count(seen.len(), "different blob"),
                output::bytes(plain)
            ));
        }
    }
    Ok(Exit::Done)
}
