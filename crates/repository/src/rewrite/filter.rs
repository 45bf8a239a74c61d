//! Leaves entries out of trees, and changes nothing else.

use super::{Edit, Entries, Rule};
use crate::error::{Damage, Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::pack::BlobKind;
use crate::pattern::Patterns;
use crate::repository::Repository;
use crate::tree::{self, Node, TreeBuilder};

pub(super) struct Filter<'a> {
    pub(super) repository: &'a Repository,
    pub(super) index: &'a Index,
    pub(super) exclude: &'a Patterns,
}

impl Rule for Filter<'_> {
    fn read(&self, _: &[u8], id: &Id) -> Result<Option<Entries>> {
        let kind = BlobKind::Tree;
        let json = self.repository.load_blob(self.index, kind, id)?;
        let broken = |damage| Error::Blob { id: *id, damage };
        let nodes = tree::parse(&json).map_err(broken)?;
        let mut again = TreeBuilder::default();
        let same = nodes.iter().all(|node| again.add(node).is_ok()) && again.finish() == json;
        match same {
            true => Ok(Some(Entries {
                nodes,
                changed: false,
            })),
            // The tree has an unknown field, or its entries are not in order.
            false => Err(broken(Damage::Format(
                "it has content that would be lost if it were rewritten".into(),
            ))),
        }
    }

    fn edit(&self, path: &[u8], node: &mut Node) -> Result<Edit> {
        if self.exclude.matches(path) {
            return Ok(Edit::Drop);
        }
        node.directory()
            .map(|_| Edit::Keep)
            .map_err(|damage| Error::Blob {
                id: Id::default(),
                damage,
            })
    }

    fn looks_at_paths(&self) -> bool {
        true
    }
}
