//! `lifeboat repo dump`.

use super::Open;
use super::browse::tree;
use crate::args::repo::{Archive, Dump};
use lifeboat_core::explain::explain;
use lifeboat_core::place;
use lifeboat_core::repo::document::text;
use lifeboat_core::repo::dump;
use lifeboat_core::{Code, Error, Exit, Result};
use lifeboat_repository::browse::{self, Found};
use lifeboat_repository::index::Index;
use lifeboat_repository::snapshot::Filter;
use lifeboat_repository::tree::NodeKind;
use lifeboat_repository::{Error as EngineError, Id};
use std::io::{self, PipeReader, Read, Write};
use std::path::Path;
use std::thread::ScopedJoinHandle;

pub fn run(open: &Open<'_>, args: &Dump) -> Result<Exit> {
    let _lock = open.read_lock()?;
    let index = open.index()?;
    let filter = Filter::from(&args.filter);
    let (tree, _) = tree(open, &index, &filter, &args.snapshot)?;
    let found = browse::find(&open.repository, &index, &tree, args.file.as_bytes());
    let found = found.map_err(explain)?;
    if let Found::Entry(node) = &found
        && !matches!(node.kind, NodeKind::File | NodeKind::Directory)
    {
        let message = format!("{} is neither a file nor a directory", args.file);
        return Err(Error::new(Code::Usage, message)
            .hint("restore it: lifeboat repo restore SNAPSHOT:PATH --target DIR"));
    }
    let what = What {
        open,
        index: &index,
        found,
        at: args.file.trim_matches('/'),
        archive: args.archive,
    };
    match &args.target {
        Some(path) => to_file(&what, path)?,
        None => {
            open.run.results();
            to_output(&what)?;
        }
    }
    Ok(Exit::Done)
}

/// What is written.
struct What<'a> {
    open: &'a Open<'a>,
    index: &'a Index,
    found: Found,
    at: &'a str,
    archive: Archive,
}

impl What<'_> {
    fn write(&self, to: &mut dyn Write) -> std::result::Result<(), EngineError> {
        let repository = &self.open.repository;
        let directory: Id = match &self.found {
            Found::Root(tree) => *tree,
            Found::Entry(node) => match node.kind {
                NodeKind::Directory => node.subtree.ok_or_else(|| EngineError::NotInSnapshot {
                    path: self.at.into(),
                })?,
                _ => return browse::dump(repository, self.index, node, to),
            },
        };
        let Archive::Tar = self.archive;
        let at = format!("/{}", self.at);
        let left_out = dump::tar((repository, self.index), (&directory, at.as_bytes()), to)?;
        for path in left_out {
            let path = text(&path);
            self.open
                .warn(&format!("left out {path}: an archive cannot hold it"));
        }
        Ok(())
    }
}

fn to_output(what: &What<'_>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = what.write(&mut out);
    match written.and_then(|()| out.flush().map_err(EngineError::Output)) {
        // Who reads it has had enough.
        Err(EngineError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(explain),
    }
}

/// Writes to a new file, which is there only when all of it is.
fn to_file(what: &What<'_>, path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        let message = format!("{} is there already", path.display());
        return Err(Error::new(Code::Target, message).hint("name a file that is not there yet"));
    }
    let (from, mut to) = io::pipe().map_err(|error| explain(EngineError::Output(error)))?;
    std::thread::scope(|scope| {
        let writing = lifeboat_core::thread::start_in(scope, move || what.write(&mut to))?;
        let mut whole = Whole {
            from,
            writing: Some(writing),
            failed: None,
        };
        let placed = place::write_file(&mut whole, path, 0o600);
        match whole.failed {
            Some(error) => Err(explain(error)),
            None => placed.map(|_| ()),
        }
    })
}

/// A pipe that ends well only when who writes to it does.
struct Whole<'scope> {
    from: PipeReader,
    writing: Option<ScopedJoinHandle<'scope, std::result::Result<(), EngineError>>>,
    failed: Option<EngineError>,
}

impl Read for Whole<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        if read > 0 || into.is_empty() {
            return Ok(read);
        }
        match self.writing.take().map(ScopedJoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(0),
            Some(Ok(Err(error))) => {
                let told = io::Error::other(error.to_string());
                self.failed = Some(error);
                Err(told)
            }
            Some(Err(_)) => Err(io::Error::other("the thread that writes ended")),
        }
    }
}
