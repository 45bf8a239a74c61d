//! Mounts snapshots as a read-only file system, for looking and copying with any program.
//!
//! It shows the snapshots that existed when it was mounted. Reading a damaged file or directory is
//! an input/output error.

mod view;

use crate::cancel;
use crate::error::{Code, Error, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyXattr, Request, SessionACL,
};
use lifeboat_repository::index::Index;
use lifeboat_repository::time::Time;
use lifeboat_repository::tree::{Node, NodeKind, mode};
use lifeboat_repository::{Id, Repository, Snapshot};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use view::{Content, Item, View, lock};

/// How long the kernel may cache answers: nothing changes.
const VALID: Duration = Duration::from_secs(3600);
/// Interval at which a request to end is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Mounts snapshots at a directory, calls `ready`, and returns when somebody has unmounted it or
/// the end was requested. With `everybody`, other users may read it, too.
pub fn run(
    (repository, index): (Repository, Index),
    snapshots: &[(Id, Snapshot)],
    at: &Path,
    everybody: bool,
    ready: impl FnOnce(),
) -> Result<()> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::DefaultPermissions,
        MountOption::FSName(format!("lifeboat:{}", repository.location()).replace(',', "_")),
        MountOption::Subtype("lifeboat".into()),
    ];
    config.acl = match everybody {
        true => SessionACL::All,
        false => SessionACL::Owner,
    };
    let failed = |error: std::io::Error| {
        Error::new(
            Code::Target,
            format!("{} cannot be mounted on", at.display()),
        )
        .cause(error)
        .hint(
            "it must be a directory; mounting needs /dev/fuse, and fusermount3 for who is not root",
        )
    };
    if !at.is_dir() {
        return Err(failed(std::io::ErrorKind::NotADirectory.into()));
    }
    let mounted = Mounted::new(View::new(repository, index), snapshots);
    let session = fuser::spawn_mount(mounted, at, &config).map_err(failed)?;
    ready();
    while !session.guard.is_finished() && !cancel::requested() {
        std::thread::sleep(LOOK);
    }
    end(session, at)
}

fn end(session: BackgroundSession, at: &Path) -> Result<()> {
    let ended = match session.guard.is_finished() {
        true => session.join(),
        false => session.umount_and_join(),
    };
    ended.map_err(|error| {
        Error::new(
            Code::Target,
            format!("{} cannot be unmounted", at.display()),
        )
        .cause(error)
        .hint("see who uses it (fuser -m DIR), and unmount it: umount DIR")
    })
}

/// An inode that the kernel knows, and how often it was told of it.
struct Known {
    item: Item,
    times: u64,
}

struct Mounted {
    view: View,
    /// Known inodes by number. The root is always known.
    known: Mutex<HashMap<u64, Known>>,
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
    root: (u32, u32),
}

/// An open file or directory.
#[derive(Clone)]
enum Open {
    File(Arc<Content>),
    Directory(Arc<Vec<Named>>),
}

/// An entry of a directory.
struct Named {
    inode: INodeNo,
    kind: FileType,
    name: Vec<u8>,
}

type Answer<T> = std::result::Result<T, Errno>;

impl Mounted {
    fn new(view: View, snapshots: &[(Id, Snapshot)]) -> Self {
        let root = Known {
            item: Item::Names(Arc::new(view::above(snapshots))),
            times: 1,
        };
        Mounted {
            view,
            known: Mutex::new(HashMap::from([(INodeNo::ROOT.0, root)])),
            open: Mutex::default(),
            next: AtomicU64::new(1),
            root: (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
        }
    }

    fn item(&self, inode: INodeNo) -> Answer<Item> {
        let known = lock(&self.known);
        known
            .get(&inode.0)
            .map(|known| known.item.clone())
            .ok_or(Errno::ENOENT)
    }

    fn node(&self, inode: INodeNo) -> Answer<Option<Arc<Node>>> {
        Ok(match self.item(inode)? {
            Item::Node(node) => Some(node),
            _ => None,
        })
    }

    fn attributes(&self, inode: INodeNo, item: &Item) -> FileAttr {
        let mut attributes = FileAttr {
            ino: inode,
            size: 0,
            blocks: 0,
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
            crtime: SystemTime::UNIX_EPOCH,
            kind: kind(item),
            perm: 0o555,
            nlink: 1,
            uid: self.root.0,
            gid: self.root.1,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        };
        match item {
            Item::Names(_) => {}
            Item::Latest(target) => attributes.size = target.len() as u64,
            Item::Root(_, at) => attributes.mtime = time(at),
            Item::Node(node) => {
                let permissions = mode::permissions(node.mode);
                attributes.perm = u16::try_from(permissions).unwrap_or(0);
                attributes.size = match node.kind {
                    NodeKind::Symlink => node.link_target.len() as u64,
                    _ => node.size,
                };
                attributes.blocks = attributes.size.div_ceil(512);
                (attributes.uid, attributes.gid) = (node.uid, node.gid);
                attributes.nlink = u32::try_from(node.links.max(1)).unwrap_or(u32::MAX);
                // No kernel has more than 32 bits of it.
                attributes.rdev = u32::try_from(node.device).unwrap_or(0);
                attributes.mtime = time(&node.mtime);
                attributes.atime = time(&node.atime);
                attributes.ctime = time(&node.ctime);
            }
        }
        attributes
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Answer<(INodeNo, Item)> {
        let found = self.view.find(&self.item(parent)?, name.as_bytes());
        let item = found.map_err(damaged)?.ok_or(Errno::ENOENT)?;
        Ok((inode(parent, name.as_bytes()), item))
    }

    fn listed(&self, of: INodeNo) -> Answer<Vec<Named>> {
        let listed = self.view.list(&self.item(of)?).map_err(damaged)?;
        let inside = listed.ok_or(Errno::ENOTDIR)?.into_iter();
        let named = |inode, kind, name| Named { inode, kind, name };
        let dots = [&b"."[..], b".."].map(|name| named(of, FileType::Directory, name.to_vec()));
        let inside = inside.map(|(name, item)| named(inode(of, &name), kind(&item), name));
        Ok(dots.into_iter().chain(inside).collect())
    }

    fn keep_open(&self, open: Open) -> FileHandle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(handle, open);
        FileHandle(handle)
    }

    fn opened(&self, of: INodeNo) -> Answer<FileHandle> {
        let node = self.node(of)?.ok_or(Errno::EISDIR)?;
        let content = self.view.open(&node).map_err(damaged)?;
        Ok(self.keep_open(Open::File(Arc::new(content))))
    }

    fn content(&self, handle: FileHandle, offset: u64, bytes: u32) -> Answer<Vec<u8>> {
        let Some(Open::File(content)) = lock(&self.open).get(&handle.0).cloned() else {
            return Err(Errno::EBADF);
        };
        let wanted = usize::try_from(bytes).map_err(|_| Errno::EINVAL)?;
        self.view.read(&content, offset, wanted).map_err(damaged)
    }

    fn link(&self, of: INodeNo) -> Answer<Vec<u8>> {
        match self.item(of)? {
            Item::Latest(target) => Ok(target),
            Item::Node(node) if node.kind == NodeKind::Symlink => Ok(node.link_target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn xattr(&self, of: INodeNo, name: &OsStr) -> Answer<Vec<u8>> {
        let node = self.node(of)?.ok_or(Errno::NO_XATTR)?;
        let mut all = node.xattrs.iter();
        let found = all.find(|(known, _)| known.as_bytes() == name.as_bytes());
        found.map(|(_, value)| value.clone()).ok_or(Errno::NO_XATTR)
    }

    fn xattrs(&self, of: INodeNo) -> Answer<Vec<u8>> {
        let node = self.node(of)?;
        let names = node.iter().flat_map(|node| &node.xattrs);
        Ok(names
            .flat_map(|(name, _)| [name.as_bytes(), b"\0"].concat())
            .collect())
    }
}

/// The inode number of a name in a directory; it is always the same.
fn inode(parent: INodeNo, name: &[u8]) -> INodeNo {
    let hash = Id::of(&[&parent.0.to_le_bytes(), name].concat());
    let first = hash.bytes().first_chunk().copied().unwrap_or_default();
    // 0 means none, and 1 is the root.
    INodeNo(u64::from_le_bytes(first).max(2))
}

fn kind(item: &Item) -> FileType {
    match item {
        Item::Names(_) | Item::Root(..) => FileType::Directory,
        Item::Latest(_) => FileType::Symlink,
        Item::Node(node) => match node.kind {
            NodeKind::File | NodeKind::Irregular => FileType::RegularFile,
            NodeKind::Directory => FileType::Directory,
            NodeKind::Symlink => FileType::Symlink,
            NodeKind::BlockDevice => FileType::BlockDevice,
            NodeKind::CharDevice => FileType::CharDevice,
            NodeKind::Fifo => FileType::NamedPipe,
            NodeKind::Socket => FileType::Socket,
        },
    }
}

fn time(time: &Time) -> SystemTime {
    time.at.into()
}

fn damaged(_: lifeboat_repository::Error) -> Errno {
    Errno::EIO
}

/// Answers with the value or list of extended attributes, or with its length.
fn tell(reply: ReplyXattr, answer: Answer<Vec<u8>>, room: u32) {
    match answer {
        Err(error) => reply.error(error),
        Ok(bytes) => match u32::try_from(bytes.len()) {
            Ok(length) if room == 0 => reply.size(length),
            Ok(length) if length <= room => reply.data(&bytes),
            _ => reply.error(Errno::ERANGE),
        },
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent, name) {
            Ok((inode, item)) => {
                let attributes = self.attributes(inode, &item);
                let mut known = lock(&self.known);
                let entry = known.entry(inode.0).or_insert(Known { item, times: 0 });
                entry.times += 1;
                drop(known);
                reply.entry(&VALID, &attributes, Generation(0));
            }
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, inode: INodeNo, times: u64) {
        let mut known = lock(&self.known);
        if let Some(entry) = known.get_mut(&inode.0) {
            entry.times = entry.times.saturating_sub(times);
            if entry.times == 0 && inode != INodeNo::ROOT {
                known.remove(&inode.0);
            }
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.item(inode) {
            Ok(item) => reply.attr(&VALID, &self.attributes(inode, &item)),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        match self.link(inode) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.opened(inode) {
            Ok(handle) => reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.content(handle, offset, bytes) {
            Ok(content) => reply.data(&content),
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.open).remove(&handle.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.listed(inode) {
            Ok(listed) => {
                let handle = self.keep_open(Open::Directory(Arc::new(listed)));
                reply.opened(handle, FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Some(Open::Directory(all)) = lock(&self.open).get(&handle.0).cloned() else {
            return reply.error(Errno::EBADF);
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (entry, next) in all.iter().zip(1..).skip(from) {
            let name = OsStr::from_bytes(&entry.name);
            if reply.add(entry.inode, next, entry.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        lock(&self.open).remove(&handle.0);
        reply.ok();
    }

    fn getxattr(&self, _: &Request, inode: INodeNo, name: &OsStr, room: u32, reply: ReplyXattr) {
        tell(reply, self.xattr(inode, name), room);
    }

    fn listxattr(&self, _: &Request, inode: INodeNo, room: u32, reply: ReplyXattr) {
        tell(reply, self.xattrs(inode), room);
    }
}
