//! Stores a point in a repository: its artifacts, one after the other, then one snapshot of all.
//!
//! One thread does everything. It has the repository open and locked while the point is taken. What
//! was stored for a point that is given up is used by the next one, or pruned.

use super::tape::{self, Register};
use super::{ENCRYPTION, Snapshots, WAIT};
use crate::archive::Tap;
use crate::document;
use crate::error::{Code, Error, Result};
use crate::explain;
use crate::name::StoredKey;
use crate::point::{Details, ManifestArtifact, PointId, StoredDetails};
use crate::thread;
use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Timestamp;
use lifeboat_repository as engine;
use lifeboat_repository::assemble::{Assembled, Assembly, assemble, save_tree};
use lifeboat_repository::browse::{self, Found};
use lifeboat_repository::examine;
use lifeboat_repository::index::Index;
use lifeboat_repository::lock::{Lock, Mode};
use lifeboat_repository::saver::{Saver, with_saver_beside};
use lifeboat_repository::time::Time;
use lifeboat_repository::tree::{Node, NodeKind, mode};
use lifeboat_repository::{Id, Repository, Snapshot};
use std::collections::{BTreeMap, HashSet};
use std::io::{PipeReader, Read, pipe};
use std::sync::Arc;
use std::time::Duration;

/// The directory of the details and skeletons in a snapshot.
const OWN: &str = ".lifeboat";
/// The name of the details in that directory.
const DETAILS: &str = "details.json";

/// An artifact's place in a point.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub source: String,
    pub artifact: String,
    pub extension: String,
    /// True if its stream is an archive of files, which become visible one by one.
    pub is_tree: bool,
}

impl Slot {
    /// Its path in the snapshot.
    pub fn path(&self) -> String {
        match self.is_tree {
            true => format!("/{}", self.source),
            false => format!("/{}/{}.{}", self.source, self.artifact, self.extension),
        }
    }
}

/// The path in the snapshot of an archive's skeleton.
pub(super) fn skeleton_path(source: &str, artifact: &str) -> String {
    format!("/{OWN}/{source}/{artifact}.skeleton")
}

/// The description of the snapshot.
struct Description {
    time: Timestamp,
    host: String,
    user: String,
    tags: Vec<String>,
    /// The details, as text: they may be too long to be held at once.
    details: PipeReader,
}

/// An artifact of a point, and its place in an older snapshot if it was not put.
struct Wanted {
    name: Name,
    before: Option<(String, String)>,
}

/// Source and artifact.
type Name = (String, String);

/// A point that is in the repository.
struct Committed {
    /// The id of its snapshot.
    snapshot: String,
    /// Stored bytes that were added for each artifact that was put.
    added: BTreeMap<Name, u64>,
}

enum Request {
    Put {
        slot: Slot,
        body: Box<dyn Read + Send>,
        reply: Sender<Result<u64>>,
    },
    Commit {
        wanted: Vec<Wanted>,
        description: Description,
        reply: Sender<Result<Committed>>,
    },
}

/// A point on its way into a repository: see the module. One that is dropped leaves no snapshot.
pub(crate) struct Deposit {
    name: String,
    requests: Option<Sender<Request>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
    stall: Duration,
}

impl Drop for Deposit {
    fn drop(&mut self) {
        self.requests = None;
        // Waits so that no lock is left; but a store that hangs must not hold up everything.
        let _ = self.ended.recv_timeout(self.stall);
    }
}

/// What a snapshot says of the point that it is.
pub(crate) struct About<'a> {
    /// Which point.
    pub point: &'a PointId,
    /// By which plan.
    pub plan: &'a str,
    /// When the capture began.
    pub time: Timestamp,
    /// On which host.
    pub host: &'a str,
    /// By whom.
    pub author: &'a str,
}

impl Deposit {
    /// Opens or makes the repository, and locks it. Blobs among `bad`, and blobs whose pack is
    /// missing, are stored again although the index lists them.
    pub fn begin(snapshots: &Arc<Snapshots>, bad: HashSet<Id>) -> Result<Arc<Self>> {
        let (requests, incoming) = bounded(0);
        let (ready, begun) = bounded(1);
        let (end, ended) = bounded::<()>(0);
        let (name, stall) = (snapshots.name.clone(), snapshots.stall);
        let snapshots = Arc::clone(snapshots);
        thread::start(move || {
            run(&snapshots, bad, &incoming, &ready);
            drop(end);
        })?;
        begun.recv().map_err(|_| gone(&name))??;
        Ok(Arc::new(Deposit {
            name,
            requests: Some(requests),
            ended,
            stall,
        }))
    }

    /// Stores an artifact; it replaces one of the same name. Returns the length of `body`, in
    /// bytes, if all of it was taken.
    pub fn put(&self, slot: Slot, body: Box<dyn Read + Send>) -> Result<u64> {
        let (reply, answer) = bounded(1);
        let request = Request::Put { slot, body, reply };
        self.ask(request, &answer)
    }

    /// Makes a snapshot of the artifacts of a manifest, and of the details, once everything is
    /// durable; says of the artifacts where they are, and returns where the details are.
    pub(crate) fn commit_point(
        &self,
        about: &About<'_>,
        artifacts: &mut [ManifestArtifact],
        details: &Details,
    ) -> Result<StoredDetails> {
        let wanted = artifacts.iter().map(|artifact| {
            let before = artifact.snapshot.clone();
            Wanted {
                name: (artifact.source.to_string(), artifact.name.to_string()),
                before: before.map(|snapshot| (snapshot, artifact.key.to_string())),
            }
        });
        let failed = |error| Error::io("a pipe cannot be made", &error);
        let (reader, writer) = pipe().map_err(failed)?;
        let description = Description {
            time: about.time,
            host: about.host.to_owned(),
            user: about.author.to_owned(),
            tags: vec![about.point.to_string(), about.plan.to_owned()],
            details: reader,
        };
        let (reply, answer) = bounded(1);
        let request = Request::Commit {
            wanted: wanted.collect(),
            description,
            reply,
        };
        self.send(request)?;
        // Ends early if the other side does, which then reports the reason.
        let mut writer = Tap::new(writer);
        let written = document::write_json(&mut writer, details);
        let bytes = writer.bytes();
        drop(writer);
        let Committed { snapshot, added } = self.hear(&answer)?;
        written?;
        for artifact in artifacts {
            let name = (artifact.source.to_string(), artifact.name.to_string());
            artifact.bytes = added.get(&name).copied().unwrap_or(artifact.bytes);
            artifact.sha256.clone_from(&snapshot);
            artifact.snapshot = Some(snapshot.clone());
            artifact.encrypt = Some(ENCRYPTION.into());
        }
        Ok(StoredDetails {
            key: StoredKey::made(format!("/{OWN}/{DETAILS}"))?,
            bytes,
            sha256: snapshot,
            encrypt: Some(ENCRYPTION.into()),
            openpgp_signer: None,
            version: None,
        })
    }

    fn ask<T>(&self, request: Request, answer: &Receiver<Result<T>>) -> Result<T> {
        self.send(request)?;
        self.hear(answer)
    }

    fn send(&self, request: Request) -> Result<()> {
        let requests = self.requests.as_ref().ok_or_else(|| gone(&self.name))?;
        requests.send(request).map_err(|_| gone(&self.name))
    }

    fn hear<T>(&self, answer: &Receiver<Result<T>>) -> Result<T> {
        answer.recv().map_err(|_| gone(&self.name))?
    }
}

fn gone(name: &str) -> Error {
    let message = format!("the repository of store {name} was given up after an error");
    Error::new(Code::Store, message)
}

/// The request that waits for the error which ended the work.
enum Waiting {
    Put(Sender<Result<u64>>),
    Commit(Sender<Result<Committed>>),
}

fn run(
    snapshots: &Snapshots,
    bad: HashSet<Id>,
    requests: &Receiver<Request>,
    ready: &Sender<Result<()>>,
) {
    let begun = snapshots.repository_or_new().and_then(|repository| {
        let lock = Lock::take(&repository, Mode::Shared, WAIT, &explain::author())
            .map_err(|error| snapshots.about(error))?;
        let index = snapshots.load_index(&repository)?;
        let mut lost =
            examine::lost(&repository, &index).map_err(|error| snapshots.about(error))?;
        lost.extend(bad);
        Ok((repository, lock, index, lost))
    });
    let (repository, lock, index, lost) = match begun {
        Ok(begun) => begun,
        Err(error) => return drop(ready.send(Err(error))),
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    let mut waiting = None;
    let saved = with_saver_beside(&repository, &index, &lost, |saver| {
        let work = Work {
            repository: &repository,
            index: &index,
            saver,
            register: Register::new(),
            kept: BTreeMap::new(),
        };
        work.run(requests, &mut waiting)
    });
    let committed = saved.and_then(|(commit, _)| match commit {
        Some(commit) => commit.save(&repository).map(Some),
        None => Ok(None),
    });
    snapshots.forget_index();
    // Before anybody is answered: whatever comes next must not meet our lock.
    drop(lock);
    match (waiting, committed) {
        (Some(Waiting::Commit(reply)), Ok(Some(committed))) => drop(reply.send(Ok(committed))),
        (Some(Waiting::Commit(reply)), Err(error)) => {
            drop(reply.send(Err(snapshots.about(error))));
        }
        (Some(Waiting::Put(reply)), Err(error)) => drop(reply.send(Err(snapshots.about(error)))),
        _ => {}
    }
}

/// An artifact that was stored.
struct Kept {
    slot: Slot,
    assembled: Assembled,
    added: u64,
}

struct Work<'a> {
    repository: &'a Repository,
    index: &'a Index,
    saver: &'a Saver<'a>,
    register: Register,
    kept: BTreeMap<Name, Kept>,
}

/// A tree that is to become a snapshot.
struct Commit {
    snapshot: Snapshot,
    added: BTreeMap<Name, u64>,
}

impl Commit {
    fn save(self, repository: &Repository) -> engine::Result<Committed> {
        Ok(Committed {
            snapshot: repository.save_snapshot(&self.snapshot)?.to_string(),
            added: self.added,
        })
    }
}

impl Work<'_> {
    fn run(
        mut self,
        requests: &Receiver<Request>,
        waiting: &mut Option<Waiting>,
    ) -> engine::Result<Option<Commit>> {
        for request in requests {
            match request {
                Request::Put {
                    slot,
                    mut body,
                    reply,
                } => match self.put(slot, body.as_mut()) {
                    Ok(bytes) => drop(reply.send(Ok(bytes))),
                    // The body failed, not the repository.
                    Err(engine::Error::Read { source, .. }) => {
                        let failed = "the stream was cut off";
                        let error = Error::from_io(Code::SourceFailed, failed, source);
                        drop(reply.send(Err(error)));
                    }
                    Err(error) => {
                        *waiting = Some(Waiting::Put(reply));
                        return Err(error);
                    }
                },
                Request::Commit {
                    wanted,
                    description,
                    reply,
                } => {
                    *waiting = Some(Waiting::Commit(reply));
                    return self.commit(wanted, description).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn put(&mut self, slot: Slot, body: &mut dyn Read) -> engine::Result<u64> {
        let before = self.saver.added().stored_bytes;
        let register = &mut self.register;
        let mut length = 0;
        let assembled = assemble(
            self.repository,
            self.saver,
            |assembly: &mut Assembly<'_, '_>| {
                if slot.is_tree {
                    let (bytes, skeleton) = tape::split(body, assembly, register)?;
                    length = bytes;
                    let name = format!("{}.skeleton", slot.artifact);
                    return assembly.finish_aside(file(&name, Time::default()), skeleton);
                }
                let name = format!("{}.{}", slot.artifact, slot.extension);
                let node = file(&name, Time::default());
                length = assembly.file(node, body, &name)?;
                Ok(())
            },
        )?;
        let kept = Kept {
            assembled,
            added: self.saver.added().stored_bytes - before,
            slot,
        };
        let name = (kept.slot.source.clone(), kept.slot.artifact.clone());
        self.kept.insert(name, kept);
        Ok(length)
    }

    fn commit(
        mut self,
        wanted: Vec<Wanted>,
        mut description: Description,
    ) -> engine::Result<Commit> {
        let time = Time::utc(description.time);
        let mut sources: BTreeMap<String, Vec<Node>> = BTreeMap::new();
        let mut own: BTreeMap<String, Vec<Node>> = BTreeMap::new();
        let mut added = BTreeMap::new();
        for Wanted { name, before } in wanted {
            let Some(kept) = self.kept.remove(&name) else {
                // The manifest cannot name an artifact that is in no snapshot.
                let (snapshot, path) = before.ok_or_else(|| {
                    let path = format!("/{}/{}", name.0, name.1).into();
                    engine::Error::NotInSnapshot { path }
                })?;
                let node = self.carried(&snapshot, &path)?;
                sources.entry(name.0).or_default().push(node);
                continue;
            };
            let Assembled { nodes, aside } = kept.assembled;
            let source = sources.entry(kept.slot.source.clone()).or_default();
            source.extend(nodes.into_iter().map(|node| match kept.slot.is_tree {
                true => node,
                false => at(node, time),
            }));
            if let Some(aside) = aside {
                let own = own.entry(kept.slot.source).or_default();
                own.push(at(aside, time));
            }
            added.insert(name, kept.added);
        }
        let details = assemble(
            self.repository,
            self.saver,
            |assembly: &mut Assembly<'_, '_>| {
                let text = &mut description.details;
                assembly.file(file(DETAILS, time), text, DETAILS).map(drop)
            },
        )?;
        let paths = sources.keys().map(|name| format!("/{name}")).collect();
        let mut inner = details.nodes;
        for (name, nodes) in own {
            inner.push(self.directory(&name, nodes, time)?);
        }
        let mut root = vec![self.directory(OWN, inner, time)?];
        for (name, nodes) in sources {
            root.push(self.directory(&name, nodes, time)?);
        }
        let program = concat!("lifeboat ", env!("CARGO_PKG_VERSION"));
        let snapshot = Snapshot {
            time,
            parent: None,
            tree: save_tree(self.saver, root)?,
            paths,
            hostname: description.host,
            username: description.user,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            excludes: None,
            tags: Some(description.tags),
            original: None,
            others: [("program_version".to_owned(), program.into())]
                .into_iter()
                .collect(),
        };
        Ok(Commit { snapshot, added })
    }

    /// A file of an older snapshot that becomes one of this snapshot too.
    fn carried(&self, snapshot: &str, path: &str) -> engine::Result<Node> {
        let absent = || engine::Error::NotInSnapshot { path: path.into() };
        let id = snapshot.parse().map_err(|_| absent())?;
        let tree = self.repository.snapshot(&id)?.tree;
        match browse::find(self.repository, self.index, &tree, path.as_bytes())? {
            Found::Entry(node) => Ok(*node),
            Found::Root(_) => Err(absent()),
        }
    }

    fn directory(&self, name: &str, nodes: Vec<Node>, time: Time) -> engine::Result<Node> {
        let mut node = own_node(name, NodeKind::Directory, mode::DIRECTORY | 0o700);
        node.subtree = Some(save_tree(self.saver, nodes)?);
        Ok(at(node, time))
    }
}

/// A node for a file that this program writes.
fn file(name: &str, time: Time) -> Node {
    let mut node = own_node(name, NodeKind::File, 0o600);
    node.links = 1;
    at(node, time)
}

fn own_node(name: &str, kind: NodeKind, mode: u32) -> Node {
    let mut node = Node::new(name.as_bytes(), kind);
    node.mode = mode;
    node.uid = rustix::process::getuid().as_raw();
    node.gid = rustix::process::getgid().as_raw();
    node
}

fn at(mut node: Node, time: Time) -> Node {
    (node.mtime, node.atime, node.ctime) = (time, time, time);
    node
}
