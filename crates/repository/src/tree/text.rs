//! The JSON of a tree. The text of a long tree, from a very large directory, stays compressed and
//! is decompressed while it is read, so that memory grows less with its length.

use super::split::{self, Split};
use super::{Needs, Node, RawNode, from_raw, no_tree};
use crate::error::Damage;
use crate::hash::Hashing;
use crate::id::Id;
use std::io::{self, Read};
use std::sync::Arc;

/// The length in bytes above which a tree stays compressed.
pub(crate) const LONG_BYTES: usize = if cfg!(test) { 16 << 10 } else { 1 << 20 };

/// The text of a tree; see the module.
#[derive(Debug)]
pub(crate) enum Text {
    Plain(Vec<u8>),
    Packed(Arc<[u8]>),
}

impl Text {
    /// Keeps a compressed tree, after checking that it matches its id and has at most `bytes_max`
    /// bytes.
    pub(crate) fn packed(id: &Id, packed: Vec<u8>, bytes_max: u64) -> Result<Text, Damage> {
        check_packed(id, &packed, bytes_max)?;
        Ok(Text::Packed(packed.into()))
    }

    /// Reads the entries as [`super::read`] does.
    pub(crate) fn read(&self, each: impl FnMut(Result<Node, Damage>)) -> Result<(), Damage> {
        match self {
            Text::Plain(json) => super::read(json, each),
            Text::Packed(packed) => read_stream(unpack(&**packed)?, each),
        }
    }

    /// Reads the references as [`super::read_needs`] does.
    pub(crate) fn read_needs(&self, mut each: impl FnMut(Needs<'_>)) -> Result<(), Damage> {
        match self {
            Text::Plain(json) => super::read_needs(json, each),
            Text::Packed(packed) => {
                let mut split = Split::new(unpack(&**packed)?);
                while let Some(entry) = split.next()? {
                    each(split::parse(entry)?);
                }
                Ok(())
            }
        }
    }

    /// Iterates over the entries. The first one that cannot be used ends the iteration.
    pub(crate) fn nodes(&self) -> Result<Nodes, Damage> {
        Ok(match self {
            Text::Plain(json) => Nodes(Form::Parsed(super::parse(json)?.into_iter())),
            Text::Packed(packed) => {
                let split = Split::new(unpack(io::Cursor::new(Arc::clone(packed)))?);
                Nodes(Form::Read(Box::new(split)))
            }
        })
    }
}

/// Reads entries as [`super::read`] does, from JSON that need not be in memory. Only a tree that
/// begins as restic writes it can be read.
pub fn read_stream(
    json: impl Read,
    mut each: impl FnMut(Result<Node, Damage>),
) -> Result<(), Damage> {
    let mut split = Split::new(json);
    while let Some(entry) = split.next()? {
        each(from_raw(split::parse::<RawNode<'_>>(entry)?).map_err(no_tree));
    }
    Ok(())
}

/// Checks that a compressed blob matches its id and has at most `bytes_max` bytes, without holding
/// all of it.
pub(crate) fn check_packed(id: &Id, packed: &[u8], bytes_max: u64) -> Result<(), Damage> {
    let mut hash = Hashing::default();
    let mut reader = unpack(packed)?.take(bytes_max.saturating_add(1));
    let mut room = vec![0; 128 << 10];
    let mut bytes = 0;
    loop {
        let count = match reader.read(&mut room) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Damage::Format(format!("zstd: {error}"))),
        };
        bytes += count as u64;
        hash.update(room.get(..count).unwrap_or_default());
    }
    if bytes > bytes_max {
        return Err(Damage::Format(format!(
            "it holds more than {bytes_max} bytes"
        )));
    }
    drop(reader);
    match hash.finish() {
        found if found == *id => Ok(()),
        found => Err(Damage::Hash { found }),
    }
}

/// An iterator over the entries of a tree, in their order.
pub(crate) struct Nodes(Form);

enum Form {
    Parsed(std::vec::IntoIter<Node>),
    Read(Box<Split<Unpacker<Held>>>),
    Ended,
}

impl From<Vec<Node>> for Nodes {
    fn from(nodes: Vec<Node>) -> Self {
        Nodes(Form::Parsed(nodes.into_iter()))
    }
}

impl Nodes {
    /// Sorts the entries by name and removes duplicate names, unless the tree is so long that it is
    /// read piece by piece.
    pub(crate) fn sorted(self) -> Nodes {
        let Form::Parsed(nodes) = self.0 else {
            return self;
        };
        let mut nodes: Vec<Node> = nodes.collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        // Of several entries with one name the last counts.
        nodes.dedup_by(|later, first| {
            let same = later.name == first.name;
            if same {
                std::mem::swap(later, first);
            }
            same
        });
        Nodes(Form::Parsed(nodes.into_iter()))
    }
}

impl Iterator for Nodes {
    type Item = Result<Node, Damage>;

    fn next(&mut self) -> Option<Result<Node, Damage>> {
        let split = match &mut self.0 {
            Form::Parsed(nodes) => return nodes.next().map(Ok),
            Form::Read(split) => split,
            Form::Ended => return None,
        };
        let node = match split.next() {
            Ok(None) => None,
            Ok(Some(entry)) => {
                let node = split::parse::<RawNode<'_>>(entry);
                Some(node.and_then(|raw| from_raw(raw).map_err(no_tree)))
            }
            Err(damage) => Some(Err(damage)),
        };
        if !matches!(node, Some(Ok(_))) {
            self.0 = Form::Ended;
        }
        node
    }
}

type Held = io::Cursor<Arc<[u8]>>;
type Unpacker<R> = zstd::stream::read::Decoder<'static, io::BufReader<R>>;

fn unpack<R: Read>(packed: R) -> Result<Unpacker<R>, Damage> {
    zstd::stream::read::Decoder::new(packed)
        .map_err(|error| Damage::Format(format!("zstd: {error}")))
}
