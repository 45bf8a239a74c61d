//! Reads artifacts of a snapshot, and checks that they are whole.

use super::Snapshots;
use super::deposit::skeleton_path;
use super::tape::Joined;
use crate::error::{Code, Error, Result};
use crate::point::ManifestArtifact;
use crate::tree::escape;
use lifeboat_repository as engine;
use lifeboat_repository::browse::{self, Found};
use lifeboat_repository::examine;
use lifeboat_repository::index::Index;
use lifeboat_repository::pack::BlobKind;
use lifeboat_repository::stream::{BlobReader, Contents};
use lifeboat_repository::tree::Node;
use lifeboat_repository::{Id, Repository};
use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

/// Blobs that were read, good and bad.
#[derive(Debug, Default)]
pub(crate) struct Blobs {
    pub good: HashSet<Id>,
    /// Blobs that cannot be read, or whose content is wrong.
    pub bad: HashSet<Id>,
}

impl Snapshots {
    /// The plain stream of an artifact, as it was captured. Reading fails with [`Error`]s.
    pub(crate) fn open_artifact(
        self: &Arc<Self>,
        snapshot: &str,
        artifact: &ManifestArtifact,
    ) -> Result<Box<dyn Read + Send>> {
        let at = self.at(snapshot)?;
        let node = self.node(&at, &artifact.key)?;
        let Some(tree) = node.subtree else {
            return self.content(&at, vec![node]);
        };
        let skeleton = skeleton_path(&artifact.source, &artifact.name);
        let skeleton = self.node(&at, &skeleton)?;
        let entries = at.repository.tree(&at.index, &tree);
        let entries = entries.map_err(|error| self.about(error))?;
        let skeleton = self.content(&at, vec![skeleton])?;
        let content = self.content(&at, entries)?;
        Ok(Box::new(Joined::new(skeleton, content)))
    }

    /// Opens a file of a snapshot. Fails if it has more than `bytes_max` bytes.
    pub(crate) fn open_file(
        self: &Arc<Self>,
        snapshot: &str,
        path: &str,
        bytes_max: u64,
    ) -> Result<Box<dyn Read + Send>> {
        let at = self.at(snapshot)?;
        let node = self.node(&at, path)?;
        if node.size > bytes_max {
            let message = format!("{path} of snapshot {snapshot} is larger than {bytes_max} bytes");
            return Err(Error::new(Code::ObjectDamaged, message));
        }
        self.content(&at, vec![node])
    }

    /// Returns true if a file of a snapshot exists, and the index has all of its blobs.
    pub(crate) fn has(&self, snapshot: &str, path: &str) -> Result<bool> {
        let found = self.at(snapshot).and_then(|at| {
            let node = self.node(&at, path)?;
            let mut content = node.content.iter().flatten();
            Ok(content.all(|id| at.index.has(BlobKind::Data, id)))
        });
        match found {
            Err(error) if matches!(error.code, Code::ObjectMissing | Code::ObjectDamaged) => {
                Ok(false)
            }
            other => other,
        }
    }

    /// Reads everything that a path needs, except blobs in `blobs.good`. Returns in a few words
    /// what cannot be restored; empty if everything can. `passed` is called with the number of
    /// bytes read.
    pub(crate) fn examine(
        &self,
        snapshot: &str,
        artifact: Option<&ManifestArtifact>,
        path: &str,
        blobs: &mut Blobs,
        passed: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<String>> {
        let at = self.at(snapshot)?;
        let Blobs { good, bad } = blobs;
        let mut node = |path: &str| {
            at.find(path).map_err(|error| {
                if let engine::Error::Blob { id, .. } = &error {
                    bad.insert(*id);
                }
                self.about(error)
            })
        };
        let mut nodes = vec![node(path)?];
        let is_tree = nodes.iter().any(|node| node.subtree.is_some());
        if let Some(artifact) = artifact.filter(|_| is_tree) {
            nodes.push(node(&skeleton_path(&artifact.source, &artifact.name))?);
        }
        let found = examine::run(&at.repository, &at.index, nodes, good, passed)
            .map_err(|error| self.about(error))?;
        bad.extend(found.bad);
        let Some((path, why)) = found.damaged.first_key_value() else {
            return Ok(None);
        };
        let path = escape(path);
        Ok(Some(match found.damaged.len() {
            1 => format!("{path} cannot be restored: {why}"),
            count => format!("{count} files cannot be restored; {path}: {why}"),
        }))
    }

    fn at(&self, snapshot: &str) -> Result<At> {
        let (repository, index) = self.indexed()?;
        let id = self.snapshot_id(snapshot)?;
        let tree = repository.snapshot(&id).map(|snapshot| snapshot.tree);
        Ok(At {
            tree: tree.map_err(|error| self.about(error))?,
            repository,
            index,
        })
    }

    fn node(&self, at: &At, path: &str) -> Result<Node> {
        at.find(path).map_err(|error| self.about(error))
    }

    fn content(self: &Arc<Self>, at: &At, nodes: Vec<Node>) -> Result<Box<dyn Read + Send>> {
        let contents = Contents::new(&at.repository, &at.index, nodes);
        let reader = BlobReader::new(&at.repository, &at.index, contents);
        Ok(Box::new(Explained {
            inner: reader.map_err(|error| self.about(error))?,
            snapshots: Arc::clone(self),
        }))
    }
}

/// An open snapshot.
struct At {
    repository: Arc<Repository>,
    index: Arc<Index>,
    tree: Id,
}

impl At {
    fn find(&self, path: &str) -> engine::Result<Node> {
        let found = browse::find(&self.repository, &self.index, &self.tree, path.as_bytes());
        match found? {
            Found::Entry(node) => Ok(*node),
            Found::Root(_) => Err(engine::Error::NotInSnapshot { path: path.into() }),
        }
    }
}

/// A reader that converts errors of the engine into ours.
struct Explained {
    inner: BlobReader,
    snapshots: Arc<Snapshots>,
}

impl Read for Explained {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner
            .read(buffer)
            .map_err(|error| match error.downcast::<engine::Error>() {
                Ok(error) => self.snapshots.about(error).into(),
                Err(error) => error,
            })
    }
}
