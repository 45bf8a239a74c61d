//! Trees: the entries of a directory, encoded exactly as restic would write them, so that the same
//! directory has the same id whoever stored it.

mod quote;
mod reader;
mod split;
mod text;

pub use text::read_stream;
pub(crate) use text::{LONG_BYTES, Nodes, Text, check_packed};

use crate::encoding;
use crate::error::Damage;
use crate::id::Id;
use crate::time::Time;
use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A type that restic does not distinguish.
    Irregular,
}

impl NodeKind {
    const NAMES: [(NodeKind, &'static str); 8] = [
        (NodeKind::File, "file"),
        (NodeKind::Directory, "dir"),
        (NodeKind::Symlink, "symlink"),
        (NodeKind::BlockDevice, "dev"),
        (NodeKind::CharDevice, "chardev"),
        (NodeKind::Fifo, "fifo"),
        (NodeKind::Socket, "socket"),
        (NodeKind::Irregular, "irregular"),
    ];

    /// The name of the type in a tree.
    pub fn name(self) -> &'static str {
        let mut names = NodeKind::NAMES.iter();
        names
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }

    fn from_name(name: &str) -> Option<Self> {
        let mut names = NodeKind::NAMES.iter();
        names
            .find(|(_, known)| *known == name)
            .map(|(kind, _)| *kind)
    }
}

/// The bits of a mode besides the nine permission bits, as in Go's `os.FileMode`.
pub mod mode {
    /// A directory.
    pub const DIRECTORY: u32 = 1 << 31;
    /// A symbolic link.
    pub const SYMLINK: u32 = 1 << 27;
    /// A device.
    pub const DEVICE: u32 = 1 << 26;
    /// A named pipe.
    pub const FIFO: u32 = 1 << 25;
    /// A socket.
    pub const SOCKET: u32 = 1 << 24;
    /// Set-user-id.
    pub const SETUID: u32 = 1 << 23;
    /// Set-group-id.
    pub const SETGID: u32 = 1 << 22;
    /// A character device, beside [`DEVICE`].
    pub const CHAR_DEVICE: u32 = 1 << 21;
    /// Sticky.
    pub const STICKY: u32 = 1 << 20;
    /// Anything else.
    pub const IRREGULAR: u32 = 1 << 19;

    /// Converts `st_mode`.
    pub fn from_unix(st_mode: u32) -> u32 {
        let kind = match st_mode & 0o170_000 {
            0o040_000 => DIRECTORY,
            0o120_000 => SYMLINK,
            0o060_000 => DEVICE,
            0o020_000 => DEVICE | CHAR_DEVICE,
            0o010_000 => FIFO,
            0o140_000 => SOCKET,
            0o100_000 => 0,
            _ => IRREGULAR,
        };
        let extra = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];
        let extra = extra.iter().filter(|(bit, _)| st_mode & bit != 0);
        extra.fold(st_mode & 0o777 | kind, |mode, (_, bit)| mode | bit)
    }

    /// The permission bits of `chmod`, with set-user-id, set-group-id and sticky.
    pub fn permissions(mode: u32) -> u32 {
        let extra = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];
        let extra = extra.iter().filter(|(_, bit)| mode & bit != 0);
        extra.fold(mode & 0o777, |mode, (bit, _)| mode | bit)
    }
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The name: any bytes.
    pub name: Vec<u8>,
    /// The type.
    pub kind: NodeKind,
    /// The mode as Go's `os.FileMode`; see [`mode`].
    pub mode: u32,
    /// The time of the last modification.
    pub mtime: Time,
    /// The time of the last access; restic writes the modification time unless told otherwise.
    pub atime: Time,
    /// The time of the last change, ctime.
    pub ctime: Time,
    /// The user id of the owner.
    pub uid: u32,
    /// The id of the group.
    pub gid: u32,
    /// The name of the owner, if known.
    pub user: String,
    /// The name of the group, if known.
    pub group: String,
    /// The inode number.
    pub inode: u64,
    /// The device of the inode, only for files with several links.
    pub device_id: u64,
    /// The size of a file in bytes.
    pub size: u64,
    /// The number of links, for files and symbolic links.
    pub links: u64,
    /// The target of a symbolic link.
    pub link_target: Vec<u8>,
    /// Extended attributes, in order of name.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// Attributes of other systems, kept but not interpreted.
    pub generic: BTreeMap<String, String>,
    /// The device number of a device; 0 for anything else.
    pub device: u64,
    /// The blobs of a file; `None` for anything else.
    pub content: Option<Vec<Id>>,
    /// The tree of a directory.
    pub subtree: Option<Id>,
    /// The error that occurred when it was stored, if any.
    pub error: String,
}

impl Node {
    /// The tree of a directory; `None` for anything else. A directory without a tree is damage.
    pub fn directory(&self) -> Result<Option<Id>, Damage> {
        let is_directory = self.kind == NodeKind::Directory;
        directory(
            is_directory,
            self.subtree,
            &String::from_utf8_lossy(&self.name),
        )
    }

    /// Returns whether two entries are equal, whatever zones their times are written in.
    pub fn is_same(&self, other: &Node) -> bool {
        let utc = |node: &Node| Node {
            mtime: Time::utc(node.mtime.at),
            atime: Time::utc(node.atime.at),
            ctime: Time::utc(node.ctime.at),
            ..node.clone()
        };
        self == other || utc(self) == utc(other)
    }

    /// An entry of which only the name and type are known.
    pub fn new(name: &[u8], kind: NodeKind) -> Self {
        Node {
            name: name.to_vec(),
            kind,
            mode: 0,
            mtime: Time::default(),
            atime: Time::default(),
            ctime: Time::default(),
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            size: 0,
            links: 0,
            link_target: Vec::new(),
            xattrs: Vec::new(),
            generic: BTreeMap::new(),
            device: 0,
            content: None,
            subtree: None,
            error: String::new(),
        }
    }
}

fn directory(is_one: bool, subtree: Option<Id>, name: &str) -> Result<Option<Id>, Damage> {
    match (is_one, subtree) {
        (true, None) => Err(Damage::Format(format!(
            "the directory {name:?} in it has no tree"
        ))),
        (true, tree) => Ok(tree),
        (false, _) => Ok(None),
    }
}

/// Writes the tree of a directory, entry by entry.
#[derive(Debug)]
pub struct TreeBuilder {
    json: Vec<u8>,
    last: Option<Vec<u8>>,
}

/// The error for an entry that does not sort after the one before it: a tree is strictly sorted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} does not come after the entry before it", String::from_utf8_lossy(.name))]
pub struct NotSorted {
    /// The name of the later entry.
    pub name: Vec<u8>,
}

impl Default for TreeBuilder {
    fn default() -> Self {
        TreeBuilder {
            json: b"{\"nodes\":[".to_vec(),
            last: None,
        }
    }
}

impl TreeBuilder {
    /// Adds an entry. Its name must sort after the last one's in byte order.
    pub fn add(&mut self, node: &Node) -> Result<(), NotSorted> {
        if self.last.as_ref().is_some_and(|last| *last >= node.name) {
            return Err(NotSorted {
                name: node.name.clone(),
            });
        }
        if self.last.is_some() {
            self.json.push(b',');
        }
        write_node(node, &mut self.json);
        self.last = Some(node.name.clone());
        Ok(())
    }

    /// The bytes written since [`TreeBuilder::forget_written`].
    pub(crate) fn written(&self) -> &[u8] {
        &self.json
    }

    /// Discards the bytes written so far, so that [`TreeBuilder::finish`] does not return them.
    pub(crate) fn forget_written(&mut self) {
        self.json.clear();
    }

    /// Finishes the tree and returns its bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.json.extend_from_slice(b"]}\n");
        self.json
    }
}

/// Appends an entry with its fields in restic's order.
fn write_node(node: &Node, out: &mut Vec<u8>) {
    let string = |out: &mut Vec<u8>, field: &str, text: &[u8]| {
        out.extend_from_slice(field.as_bytes());
        quote::json_string(text, out);
    };
    let number = |out: &mut Vec<u8>, field: &str, value: u64| {
        if value != 0 {
            out.extend_from_slice(format!("{field}{value}").as_bytes());
        }
    };
    string(out, "{\"name\":", quote::quote(&node.name).as_bytes());
    string(out, ",\"type\":", node.kind.name().as_bytes());
    number(out, ",\"mode\":", u64::from(node.mode));
    let times = [
        ("mtime", node.mtime),
        ("atime", node.atime),
        ("ctime", node.ctime),
    ];
    for (field, time) in times {
        out.extend_from_slice(format!(",\"{field}\":\"{time}\"").as_bytes());
    }
    out.extend_from_slice(format!(",\"uid\":{},\"gid\":{}", node.uid, node.gid).as_bytes());
    for (field, text) in [(",\"user\":", &node.user), (",\"group\":", &node.group)] {
        if !text.is_empty() {
            string(out, field, text.as_bytes());
        }
    }
    number(out, ",\"inode\":", node.inode);
    number(out, ",\"device_id\":", node.device_id);
    number(out, ",\"size\":", node.size);
    number(out, ",\"links\":", node.links);
    if !node.link_target.is_empty() {
        string(out, ",\"linktarget\":", &node.link_target);
        if std::str::from_utf8(&node.link_target).is_err() {
            string(
                out,
                ",\"linktarget_raw\":",
                encoding::encode(&node.link_target).as_bytes(),
            );
        }
    }
    let mut before = ",\"extended_attributes\":[";
    for (name, value) in &node.xattrs {
        string(out, &format!("{before}{{\"name\":"), name.as_bytes());
        string(out, ",\"value\":", encoding::encode(value).as_bytes());
        out.push(b'}');
        before = ",";
    }
    if !node.xattrs.is_empty() {
        out.push(b']');
    }
    let mut before = ",\"generic_attributes\":{";
    for (name, raw) in &node.generic {
        string(out, before, name.as_bytes());
        out.push(b':');
        out.extend_from_slice(raw.as_bytes());
        before = ",";
    }
    if !node.generic.is_empty() {
        out.push(b'}');
    }
    number(out, ",\"device\":", node.device);
    match &node.content {
        None => out.extend_from_slice(b",\"content\":null"),
        Some(ids) => {
            out.extend_from_slice(b",\"content\":[");
            for (i, id) in ids.iter().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                out.extend_from_slice(format!("{comma}\"{id}\"").as_bytes());
            }
            out.push(b']');
        }
    }
    if let Some(subtree) = &node.subtree {
        out.extend_from_slice(format!(",\"subtree\":\"{subtree}\"").as_bytes());
    }
    if !node.error.is_empty() {
        string(out, ",\"error\":", node.error.as_bytes());
    }
    out.push(b'}');
}

#[derive(Deserialize)]
struct RawNode<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    mode: u32,
    #[serde(default)]
    mtime: Time,
    #[serde(default)]
    atime: Time,
    #[serde(default)]
    ctime: Time,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    #[serde(default)]
    linktarget: String,
    #[serde(default)]
    linktarget_raw: Option<encoding::Base64>,
    #[serde(default)]
    extended_attributes: Option<Vec<RawXattr>>,
    #[serde(default, borrow)]
    generic_attributes: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(default)]
    device: u64,
    #[serde(default)]
    content: Option<Vec<Id>>,
    #[serde(default)]
    subtree: Option<Id>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct RawXattr {
    name: String,
    #[serde(default)]
    value: Option<encoding::Base64>,
}

/// Parses the entries of a tree. Duplicate or unsorted entries are returned as they are.
pub fn parse(json: &[u8]) -> Result<Vec<Node>, Damage> {
    let (mut nodes, mut refused) = (Vec::new(), None);
    read(json, |node| match node {
        Ok(node) => nodes.push(node),
        Err(damage) => refused = refused.take().or(Some(damage)),
    })?;
    refused.map_or(Ok(nodes), Err)
}

/// Hands out the entries of a tree one by one, so that a large tree is never entirely in memory. An
/// entry that cannot be used is passed on as damage, and does not hide the others. Bytes that are
/// not a tree are an error; entries handed out before it are not to be relied on.
pub fn read(json: &[u8], mut each: impl FnMut(Result<Node, Damage>)) -> Result<(), Damage> {
    entries(json, |raw: RawNode<'_>| {
        each(from_raw(raw).map_err(no_tree))
    })
}

/// The parts of an entry that refer to blobs.
#[derive(Deserialize)]
pub(crate) struct Needs<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    /// The blobs of a file.
    #[serde(default)]
    pub(crate) content: Option<Vec<Id>>,
    #[serde(default)]
    subtree: Option<Id>,
}

impl Needs<'_> {
    /// The tree of a directory; `None` for anything else. A directory without a tree is damage.
    pub(crate) fn directory(&self) -> Result<Option<Id>, Damage> {
        directory(
            self.kind == NodeKind::Directory.name(),
            self.subtree,
            &self.name,
        )
    }
}

/// Hands out the references to blobs in a tree's entries, faster than [`read`] parses all of them.
pub(crate) fn read_needs(json: &[u8], each: impl FnMut(Needs<'_>)) -> Result<(), Damage> {
    entries(json, each)
}

fn entries<'a, T: Deserialize<'a>>(json: &'a [u8], each: impl FnMut(T)) -> Result<(), Damage> {
    let mut json = serde_json::Deserializer::from_slice(json);
    reader::Tree::new(each)
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| no_tree(error.to_string()))
}

fn no_tree(text: String) -> Damage {
    Damage::Format(format!("it is no tree: {text}"))
}

fn from_raw(raw: RawNode<'_>) -> Result<Node, String> {
    let kind = NodeKind::from_name(&raw.kind)
        .ok_or_else(|| format!("an entry of the unknown type {:?}", raw.kind))?;
    let name = quote::unquote(&raw.name);
    let unsafe_name = name.is_empty()
        || name == b"."
        || name == b".."
        || name.contains(&b'/')
        || name.contains(&0);
    if unsafe_name {
        return Err(format!("an entry with the name {:?}", raw.name));
    }
    let xattrs = raw.extended_attributes.unwrap_or_default().into_iter();
    let generic = raw.generic_attributes.unwrap_or_default().into_iter();
    Ok(Node {
        name,
        kind,
        mode: raw.mode,
        mtime: raw.mtime,
        atime: raw.atime,
        ctime: raw.ctime,
        uid: raw.uid,
        gid: raw.gid,
        user: raw.user,
        group: raw.group,
        inode: raw.inode,
        device_id: raw.device_id,
        size: raw.size,
        links: raw.links,
        link_target: match raw.linktarget_raw {
            Some(raw) => raw.0.clone(),
            None => raw.linktarget.into_bytes(),
        },
        xattrs: xattrs
            .map(|x| (x.name, x.value.map(|v| v.0.clone()).unwrap_or_default()))
            .collect(),
        generic: generic
            .map(|(name, raw)| (name, raw.get().to_owned()))
            .collect(),
        device: raw.device,
        content: match kind {
            NodeKind::File => Some(raw.content.unwrap_or_default()),
            _ => raw.content,
        },
        subtree: raw.subtree,
        error: raw.error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree that restic 0.14 wrote.
    const FROM_RESTIC: &str = concat!(
        r#"{"nodes":[{"name":"a","type":"file","mode":8389101,"mtime":"2026-11-21T11:42:32.904141564Z","atime":"2026-11-21T11:42:32.904141564Z","ctime":"2026-11-21T11:42:32.940742785Z","#,
        r#""uid":0,"gid":0,"user":"root","group":"root","inode":10756110,"device_id":65024,"size":5,"links":2,"extended_attributes":[{"name":"user.k","value":"dnY="}],"content":["2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"]},"#,
        r#"{"name":"d","type":"dir","mode":2147484141,"mtime":"2026-11-21T11:42:32.924742785Z","atime":"2026-11-21T11:42:32.924742785Z","ctime":"2026-11-21T11:42:32.924742785Z","uid":0,"gid":0,"#,
        r#""inode":10756109,"content":null,"subtree":"cc57fde7a3b2405224a1e58b4275a9feb8e2cbe52c64fafebcdc0af281a2a338"},"#,
        r#"{"name":"empty","type":"file","mode":420,"mtime":"2026-11-21T13:42:32.9+02:00","atime":"2026-11-21T11:42:32Z","ctime":"2026-11-21T11:42:32.904141564Z","uid":0,"gid":0,"links":1,"content":[]},"#,
        r#"{"name":"link","type":"symlink","mode":134218239,"mtime":"2026-11-21T11:42:32.904742786Z","atime":"2026-11-21T11:42:32.904742786Z","ctime":"2026-11-21T11:42:32.904742786Z","uid":0,"gid":0,"#,
        r#""links":1,"linktarget":"x\ufffd","linktarget_raw":"eP8=","content":null},"#,
        r#"{"name":"n\\xfe\\n\\\"q\\\\\u003c\u0026\u003e","type":"file","mode":420,"mtime":"2026-11-21T11:42:32.916742786Z","atime":"2026-11-21T11:42:32.916742786Z","ctime":"2026-11-21T11:42:32.916742786Z","#,
        r#""uid":0,"gid":0,"links":1,"generic_attributes":{"windows.x":{"a": 1}},"content":[],"error":"no"}]}"#,
        "\n"
    );

    #[test]
    fn read_and_written_byte_for_byte() {
        let nodes = parse(FROM_RESTIC.as_bytes()).unwrap();
        assert_eq!(nodes[4].name, b"n\xfe\n\"q\\<&>");
        assert_eq!(nodes[3].link_target, b"x\xff");
        assert_eq!(mode::permissions(nodes[0].mode), 0o4755);
        let mut builder = TreeBuilder::default();
        for node in &nodes {
            builder.add(node).unwrap();
        }
        assert_eq!(String::from_utf8(builder.finish()).unwrap(), FROM_RESTIC);
        assert_eq!(TreeBuilder::default().finish(), b"{\"nodes\":[]}\n");
    }

    #[test]
    fn an_entry_comes_once_and_in_order() {
        let mut builder = TreeBuilder::default();
        builder.add(&Node::new(b"b", NodeKind::File)).unwrap();
        for name in [b"a", b"b"] {
            let error = builder.add(&Node::new(name, NodeKind::File)).unwrap_err();
            assert_eq!(error.name, name);
        }
    }

    #[test]
    fn a_name_that_would_leave_its_directory_is_refused() {
        for name in ["", ".", "..", "a/b", "/etc/passwd", r"..\\x2fx", r"\\x00"] {
            let json = format!(r#"{{"nodes":[{{"name":"{name}","type":"file"}}]}}"#);
            assert!(parse(json.as_bytes()).is_err(), "{name}");
        }
        assert!(parse(br#"{"nodes":[{"name":"a","type":"portal"}]}"#).is_err());
        assert!(parse(b"{\"nodes\":").is_err());
        assert_eq!(parse(br#"{"nodes":null}"#).unwrap(), []);
    }

    #[test]
    fn modes_there_and_back() {
        let cases = [
            (0o100_644, 0o644),
            (0o104_755, mode::SETUID | 0o755),
            (0o041_777, mode::DIRECTORY | mode::STICKY | 0o777),
            (0o120_777, mode::SYMLINK | 0o777),
            (0o020_600, mode::DEVICE | mode::CHAR_DEVICE | 0o600),
            (0o060_600, mode::DEVICE | 0o600),
            (0o010_600, mode::FIFO | 0o600),
        ];
        for (unix, go) in cases {
            assert_eq!(mode::from_unix(unix), go, "{unix:o}");
            assert_eq!(mode::permissions(go), unix & 0o7777, "{unix:o}");
        }
    }
}
