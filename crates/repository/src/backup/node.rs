//! Describes the entry at a path, as restic does.

use crate::time::Time;
use crate::tree::{Node, NodeKind, mode};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::fs::{FileType, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The names of users and groups, by number.
#[derive(Debug, Default)]
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// Reads `/etc/passwd` and `/etc/group`.
    pub fn of_this_host() -> Self {
        let read = |path| table(&std::fs::read(path).unwrap_or_default());
        Names {
            users: read("/etc/passwd"),
            groups: read("/etc/group"),
        }
    }

    /// The name of a user.
    pub fn user(&self, id: u32) -> Option<&str> {
        self.users.get(&id).map(String::as_str)
    }

    /// The name of a group.
    pub fn group(&self, id: u32) -> Option<&str> {
        self.groups.get(&id).map(String::as_str)
    }
}

/// Parses lines of the form `name:x:number:…`.
fn table(text: &[u8]) -> HashMap<u32, String> {
    let text = String::from_utf8_lossy(text);
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        Some((number.parse().ok()?, name.to_owned()))
    };
    // If a number occurs twice, the first entry counts.
    text.lines().rev().filter_map(entry).collect()
}

pub(super) fn kind_of(metadata: &Metadata) -> NodeKind {
    let kind: FileType = metadata.file_type();
    match () {
        () if kind.is_file() => NodeKind::File,
        () if kind.is_dir() => NodeKind::Directory,
        () if kind.is_symlink() => NodeKind::Symlink,
        () if kind.is_fifo() => NodeKind::Fifo,
        () if kind.is_socket() => NodeKind::Socket,
        () if kind.is_block_device() => NodeKind::BlockDevice,
        () if kind.is_char_device() => NodeKind::CharDevice,
        () => NodeKind::Irregular,
    }
}

/// Converts a time reported by the system.
pub(super) fn time(seconds: i64, nanoseconds: i64) -> Timestamp {
    crate::time::nearest(seconds, i32::try_from(nanoseconds).unwrap_or(0))
}

/// The metadata of an entry, without content, subtree, link target and extended attributes.
pub(super) fn describe(name: &[u8], metadata: &Metadata, names: &Names, zone: &TimeZone) -> Node {
    let kind = kind_of(metadata);
    let time = |seconds, nanoseconds| Time::new(time(seconds, nanoseconds), zone);
    let mut node = Node::new(name, kind);
    node.mode = mode::from_unix(metadata.mode());
    node.mtime = time(metadata.mtime(), metadata.mtime_nsec());
    node.atime = node.mtime;
    node.ctime = time(metadata.ctime(), metadata.ctime_nsec());
    node.uid = metadata.uid();
    node.gid = metadata.gid();
    node.user = names.user(node.uid).unwrap_or_default().to_owned();
    node.group = names.group(node.gid).unwrap_or_default().to_owned();
    node.inode = metadata.ino();
    match kind {
        NodeKind::File => {
            node.size = metadata.size();
            node.links = metadata.nlink();
        }
        NodeKind::Symlink => node.links = metadata.nlink(),
        NodeKind::BlockDevice | NodeKind::CharDevice => {
            node.links = metadata.nlink();
            node.device = metadata.rdev();
        }
        _ => {}
    }
    // Device numbers change at each boot; only hard links need them.
    if kind != NodeKind::Directory && metadata.nlink() > 1 {
        node.device_id = metadata.dev();
    }
    node
}

/// The extended attributes of an entry. Those that cannot be read are left out; on many file
/// systems that is all of them.
pub(super) fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(names) = xattr::list(path) else {
        return Vec::new();
    };
    let mut found: Vec<_> = names
        .filter_map(|name| {
            let value = xattr::get(path, &name).ok()??;
            Some((String::from_utf8_lossy(name.as_bytes()).into_owned(), value))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts() {
        let users = table(b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\nbroken\nx:y:z\n");
        assert_eq!(users.len(), 1);
        assert_eq!(users[&0], "root");
    }
}
