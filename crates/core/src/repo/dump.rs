//! Writes a directory of a snapshot as a tar archive. `tar` unpacks it to what a restore would have
//! made.
//!
//! Damage ends the archive with an error: it contains nothing wrong, and without its end nobody
//! takes it for whole. Sockets and entries of unknown types cannot be stored in a tar archive.

use crate::tree::sums::Attributes;
use crate::tree::tape::{Body, Head, TapeWriter};
use lifeboat_repository::browse::{self, Then};
use lifeboat_repository::index::Index;
use lifeboat_repository::pack::BlobKind;
use lifeboat_repository::tree::{Node, NodeKind, mode};
use lifeboat_repository::{Error, Id, Repository, Result};
use rustix::fs::{major, minor};
use std::collections::HashMap;
use std::io::{self, Write};
use tar::EntryType;

/// Writes a tree whose path is `at`. Entries have their paths in the snapshot, without the leading
/// slash. Returns the paths that were left out.
pub fn tar(
    (repository, index): (&Repository, &Index),
    (tree, at): (&Id, &[u8]),
    to: &mut dyn Write,
) -> Result<Vec<Vec<u8>>> {
    let mut archive = Archive {
        repository,
        index,
        tape: TapeWriter::new(to),
        names: HashMap::new(),
        left_out: Vec::new(),
    };
    let mut add = |path: &[u8], node: &Node| archive.add(path, node).map(|()| Then::Enter);
    browse::walk(repository, index, tree, at, &mut add)?;
    archive.tape.finish().map_err(Error::Output)?;
    Ok(archive.left_out)
}

/// Identity of a file that has several names.
#[derive(PartialEq, Eq, Hash)]
struct Inode {
    device: u64,
    inode: u64,
    content: Vec<Id>,
}

struct Archive<'a> {
    repository: &'a Repository,
    index: &'a Index,
    tape: TapeWriter<'a>,
    /// First names of files that have several.
    names: HashMap<Inode, Vec<u8>>,
    left_out: Vec<Vec<u8>>,
}

impl Archive<'_> {
    fn add(&mut self, path: &[u8], node: &Node) -> Result<()> {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let xattrs = node.xattrs.iter();
        let xattrs = xattrs.map(|(name, value)| (name.as_bytes().to_vec(), value.clone()));
        let attributes = Attributes(xattrs.collect());
        // As the system keeps it: whole seconds rounded down, and nanoseconds after them.
        let since_1970 = node.mtime.at.as_nanosecond();
        let seconds = since_1970.div_euclid(1_000_000_000);
        let nanoseconds = since_1970.rem_euclid(1_000_000_000);
        let mut head = Head {
            path,
            kind: EntryType::Regular,
            link: b"",
            mode: mode::permissions(node.mode),
            uid: node.uid,
            gid: node.gid,
            mtime: i64::try_from(seconds).unwrap_or(0),
            mtime_nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
            device: (major(node.device), minor(node.device)),
            attributes: &attributes,
            links: 1,
        };
        head.kind = match node.kind {
            NodeKind::File => return self.file(head, node),
            NodeKind::Symlink => {
                head.link = &node.link_target;
                EntryType::Symlink
            }
            NodeKind::Directory => EntryType::Directory,
            NodeKind::BlockDevice => EntryType::Block,
            NodeKind::CharDevice => EntryType::Char,
            NodeKind::Fifo => EntryType::Fifo,
            NodeKind::Socket | NodeKind::Irregular => {
                self.left_out.push(path.to_vec());
                return Ok(());
            }
        };
        self.whole(&head)
    }

    /// An entry without data.
    fn whole(&mut self, head: &Head<'_>) -> Result<()> {
        self.tape
            .begin(head, &Body::Plain(0))
            .and_then(|()| self.tape.end())
            .map_err(Error::Output)
    }

    fn file(&mut self, head: Head<'_>, node: &Node) -> Result<()> {
        let content = node.content.as_deref().unwrap_or_default();
        if node.links > 1 {
            let inode = Inode {
                device: node.device_id,
                inode: node.inode,
                content: content.to_vec(),
            };
            if let Some(first) = self.names.get(&inode).cloned() {
                return self.whole(&Head {
                    kind: EntryType::Link,
                    link: &first,
                    ..head
                });
            }
            self.names.insert(inode, head.path.to_vec());
        }
        let mut size = 0;
        for id in content {
            let place = self.index.locations(BlobKind::Data, id).next();
            size += u64::from(place.ok_or(Error::UnknownBlob { id: *id })?.plain_bytes);
        }
        self.tape
            .begin(&head, &Body::Plain(size))
            .map_err(Error::Output)?;
        let mut data = Data(&mut self.tape);
        browse::dump(self.repository, self.index, node, &mut data)?;
        self.tape.end().map_err(Error::Output)
    }
}

/// The data of the current entry.
struct Data<'t, 'a>(&'t mut TapeWriter<'a>);

impl Write for Data<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.data(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
