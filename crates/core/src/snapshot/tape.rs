//! Splits an archive of a `files` source into a tree and a skeleton, and joins them again, byte for
//! byte.
//!
//! The skeleton is the archive without the content of its files: headers, maps of sparse files, and
//! padding of blocks. Together with the tree it holds all that the archive held, so that the proof
//! of the archive is also valid for the two joined.

use crate::error::{Code, Error, Result};
use crate::place::{Member, TapeReader};
use crate::tree::{acl, escape};
use lifeboat_repository as engine;
use lifeboat_repository::assemble::Assembly;
use lifeboat_repository::backup::Names;
use lifeboat_repository::time::{self, Time};
use lifeboat_repository::tree::{Node, NodeKind, mode};
use std::collections::HashMap;
use std::io::{self, Read};
use tar::EntryType;

/// A reader that keeps what is read, except the content of files.
struct Recorder<R> {
    inner: R,
    is_content: bool,
    raw: Vec<u8>,
    /// Total number of bytes read.
    bytes: u64,
}

impl<R: Read> Recorder<R> {
    fn new(inner: R) -> TapeReader<Self> {
        TapeReader::new(Recorder {
            inner,
            is_content: false,
            raw: Vec::new(),
            bytes: 0,
        })
    }
}

impl<R: Read> Read for Recorder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        if !self.is_content {
            let read = buffer.get(..count).unwrap_or_default();
            self.raw.extend_from_slice(read);
        }
        Ok(count)
    }
}

/// The source of inode numbers and names for entries.
pub(super) struct Register {
    names: Names,
    /// The last number given to a file with several names.
    inode: u64,
}

impl Register {
    pub(super) fn new() -> Self {
        Register {
            names: Names::of_this_host(),
            inode: 0,
        }
    }
}

fn unknown(path: &[u8], what: &str) -> Error {
    let message = format!("{} cannot be put into a repository: {what}", escape(path));
    Error::new(Code::Io, message)
}

/// Wraps an error of an archive for its way through the engine.
fn through(error: Error) -> engine::Error {
    engine::Error::Read {
        key: "the archive".into(),
        source: error.into(),
    }
}

/// Splits an archive: its entries go into the assembly, its skeleton into the stream beside them.
/// Returns the lengths of the archive and of the skeleton, in bytes.
pub(super) fn split(
    input: &mut dyn Read,
    assembly: &mut Assembly<'_, '_>,
    register: &mut Register,
) -> engine::Result<(u64, u64)> {
    let mut tape = Recorder::new(input);
    let mut skeleton = 0;
    let mut open: Vec<Vec<u8>> = Vec::new();
    // Numbers of files that may occur again under other names.
    let mut linked: HashMap<Vec<u8>, (u64, u64)> = HashMap::new();
    loop {
        let member = tape.next().map_err(through)?;
        let raw = std::mem::take(&mut tape.input_mut().raw);
        assembly.aside(&raw)?;
        skeleton += raw.len() as u64;
        let Some(member) = member else {
            for _ in open {
                assembly.leave()?;
            }
            return Ok((tape.input_mut().bytes, skeleton));
        };
        let path = member.path.strip_suffix(b"/").unwrap_or(&member.path);
        let slash = path.iter().rposition(|b| *b == b'/');
        let (parent, name) = path.split_at(slash.unwrap_or(0));
        while open.pop_if(|directory| directory != parent).is_some() {
            assembly.leave()?;
        }
        if open.last().map_or(b"".as_slice(), Vec::as_slice) != parent {
            let what = "it does not follow the directory that it is in";
            return Err(through(unknown(path, what)));
        }
        let mut node = describe(&member, &register.names).map_err(through)?;
        node.name = name.strip_prefix(b"/").unwrap_or(name).to_vec();
        match member.kind {
            EntryType::Directory => {
                open.push(path.to_vec());
                assembly.enter(node)?;
            }
            EntryType::Symlink => assembly.add(node)?,
            EntryType::Link => {
                let what = "it is another name of a file that has one";
                let first = linked.get(&member.link).copied();
                let (inode, links) = first.ok_or_else(|| through(unknown(path, what)))?;
                (node.inode, node.links, node.device_id) = (inode, links, 1);
                assembly.link(node)?;
            }
            EntryType::Regular => {
                if member.links > 1 {
                    register.inode += 1;
                    (node.inode, node.device_id) = (register.inode, 1);
                    linked.insert(path.to_vec(), (register.inode, member.links));
                }
                tape.input_mut().is_content = true;
                let mut content = Content {
                    tape: &mut tape,
                    pieces: pieces(&member),
                    at: 0,
                    size: member.size,
                };
                assembly.file(node, &mut content, &escape(path))?;
                tape.input_mut().is_content = false;
            }
            kind => {
                let what = format!("it is of kind {kind:?}");
                return Err(through(unknown(path, &what)));
            }
        }
    }
}

/// The pieces of a file that the archive holds, the last one first.
fn pieces(member: &Member) -> Vec<(u64, u64)> {
    let mut pieces = match &member.pieces {
        Some(pieces) => pieces.clone(),
        None => vec![(0, member.size)],
    };
    pieces.retain(|(_, length)| *length > 0);
    pieces.reverse();
    pieces
}

/// The node of an entry, without its name and content.
fn describe(member: &Member, names: &Names) -> Result<Node> {
    let (kind, format) = match member.kind {
        EntryType::Directory => (NodeKind::Directory, 0o040_000),
        EntryType::Symlink => (NodeKind::Symlink, 0o120_000),
        _ => (NodeKind::File, 0o100_000),
    };
    let mut node = Node::new(b"", kind);
    node.mode = mode::from_unix(member.mode | format);
    let (seconds, nanoseconds) = member.mtime;
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or(0);
    let time = Time::utc(time::nearest(seconds, nanoseconds));
    (node.mtime, node.atime, node.ctime) = (time, time, time);
    (node.uid, node.gid) = (member.uid, member.gid);
    node.user = names.user(member.uid).unwrap_or_default().to_owned();
    node.group = names.group(member.gid).unwrap_or_default().to_owned();
    let mut xattrs = member.xattrs.clone();
    for (name, text) in [
        (acl::ACCESS, &member.acl_access),
        (acl::DEFAULT, &member.acl_default),
    ] {
        if let Some(text) = text {
            let list = acl::from_text(text)
                .map_err(|line| unknown(&member.path, &format!("{line:?} is no access control")))?;
            xattrs.push((name.to_vec(), list));
        }
    }
    xattrs.sort();
    let text = |name: Vec<u8>| String::from_utf8_lossy(&name).into_owned();
    let xattrs = xattrs.into_iter().map(|(name, value)| (text(name), value));
    node.xattrs = xattrs.collect();
    match kind {
        NodeKind::Symlink => {
            node.links = 1;
            node.link_target.clone_from(&member.link);
        }
        NodeKind::File => node.links = member.links,
        _ => {}
    }
    Ok(node)
}

/// The content of a file, with zeros where the archive has holes.
struct Content<'a, R> {
    tape: &'a mut TapeReader<R>,
    pieces: Vec<(u64, u64)>,
    at: u64,
    size: u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pieces.pop_if(|e| e.0 + e.1 <= self.at);
        let (zeros, end) = match self.pieces.last() {
            Some((offset, _)) if *offset > self.at => (true, *offset),
            Some((offset, length)) => (false, offset + length),
            None => (true, self.size),
        };
        let part = at_most(buffer, end.saturating_sub(self.at));
        let count = match zeros {
            true => {
                part.fill(0);
                part.len()
            }
            false => self.tape.data(part)?,
        };
        self.at += count as u64;
        Ok(count)
    }
}

fn at_most(buffer: &mut [u8], bytes: u64) -> &mut [u8] {
    let count = usize::try_from(bytes).map_or(buffer.len(), |bytes| bytes.min(buffer.len()));
    buffer.get_mut(..count).unwrap_or_default()
}

/// An archive joined from its skeleton and the content of its files, in its order.
pub(super) struct Joined<S, D> {
    tape: TapeReader<Recorder<S>>,
    content: D,
    /// What is to be returned next, from `at` on.
    ready: Vec<u8>,
    at: usize,
    file: Option<File>,
    ended: bool,
}

/// The file whose content is being returned.
struct File {
    pieces: Vec<(u64, u64)>,
    /// The position in its content.
    at: u64,
    size: u64,
}

impl<S: Read, D: Read> Joined<S, D> {
    pub(super) fn new(skeleton: S, content: D) -> Self {
        Joined {
            tape: Recorder::new(skeleton),
            content,
            ready: Vec::new(),
            at: 0,
            file: None,
            ended: false,
        }
    }

    /// Skips content that the archive does not hold.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match io::copy(&mut self.content.by_ref().take(bytes), &mut io::sink())? {
            skipped if skipped == bytes => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads bytes of the current file; none at its end.
    fn file(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(mut file) = self.file.take() else {
            return Ok(0);
        };
        file.pieces.pop_if(|e| e.0 + e.1 <= file.at);
        let Some((offset, length)) = file.pieces.last().copied() else {
            self.skip(file.size.saturating_sub(file.at))?;
            return Ok(0);
        };
        self.skip(offset.saturating_sub(file.at))?;
        file.at = file.at.max(offset);
        let count = self
            .content
            .read(at_most(buffer, offset + length - file.at))?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.at += count as u64;
        self.file = Some(file);
        Ok(count)
    }
}

impl<S: Read, D: Read> Read for Joined<S, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let ready = self.ready.get(self.at..).unwrap_or_default();
            if !ready.is_empty() {
                let count = io::Read::read(&mut &*ready, buffer)?;
                self.at += count;
                return Ok(count);
            }
            if self.file.is_some() {
                match self.file(buffer)? {
                    0 => continue,
                    count => return Ok(count),
                }
            }
            if self.ended {
                return Ok(0);
            }
            let member = self.tape.next()?;
            (self.at, self.ready) = (0, std::mem::take(&mut self.tape.input_mut().raw));
            self.ended = member.is_none();
            if let Some(member) = member.filter(|member| member.kind == EntryType::Regular) {
                self.tape.data_is_elsewhere();
                self.file = Some(File {
                    pieces: pieces(&member),
                    at: 0,
                    size: member.size,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_archive_is_joined_byte_for_byte() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        for (name, length) in [("a", 0), ("b", 1000), ("c", 512)] {
            header.set_size(length);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            let content = io::repeat(7).take(length);
            archive.append_data(&mut header, name, content).unwrap();
        }
        let archive = archive.into_inner().unwrap();
        // By hand: everything but the content.
        let mut tape = Recorder::new(archive.as_slice());
        let (mut skeleton, mut content) = (Vec::new(), Vec::new());
        while let Some(member) = tape.next().unwrap() {
            skeleton.append(&mut tape.input_mut().raw);
            tape.input_mut().is_content = true;
            let mut bytes = vec![0; usize::try_from(member.size).unwrap()];
            assert_eq!(tape.data(&mut bytes).unwrap(), bytes.len());
            content.append(&mut bytes);
            tape.input_mut().is_content = false;
        }
        skeleton.append(&mut tape.input_mut().raw);
        assert_eq!(skeleton.len() + 1512, archive.len());
        let mut again = Vec::new();
        let mut joined = Joined::new(skeleton.as_slice(), content.as_slice());
        joined.read_to_end(&mut again).unwrap();
        assert!(again == archive);
        // Content that ends early is an error, not a shorter archive.
        let mut joined = Joined::new(skeleton.as_slice(), &content[..1511]);
        assert!(joined.read_to_end(&mut Vec::new()).is_err());
    }
}
