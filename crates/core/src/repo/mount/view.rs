//! Shows snapshots as directories of names.
//!
//! Below the root are `ids`, `snapshots`, `hosts` and `tags`, as in restic. They hold snapshots by
//! short id, by time, by host and time, and by tag and time, with a link `latest` beside the times.
//! The contents of a snapshot are read on demand, and little of them is cached.

use lifeboat_repository::index::Index;
use lifeboat_repository::pack::BlobKind;
use lifeboat_repository::time::Time;
use lifeboat_repository::tree::Node;
use lifeboat_repository::{Error, Id, Named, Repository, Result};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// A directory outside any snapshot.
    Names(Arc<Names>),
    /// A link to the newest snapshot.
    Latest(Vec<u8>),
    /// A snapshot.
    Root(Id, Time),
    /// An entry of a snapshot.
    Node(Arc<Node>),
}

/// The contents of a directory outside any snapshot.
pub(super) type Names = BTreeMap<Vec<u8>, Item>;

/// The contents of any directory, in order.
pub(super) type Entries = Vec<(Vec<u8>, Item)>;

/// The directories above the snapshots.
pub(super) fn above(snapshots: &[Named]) -> Names {
    let (mut ids, mut times) = (Names::new(), Times::default());
    let (mut hosts, mut tags) = (BTreeMap::new(), BTreeMap::new());
    for (id, snapshot) in snapshots {
        let item = Item::Root(snapshot.tree, snapshot.time);
        let mut short = id.short();
        if ids.contains_key(short.as_bytes()) {
            short = id.to_string();
        }
        ids.insert(short.into_bytes(), item.clone());
        times.add(snapshot.time, &item);
        let host: &mut Times = hosts.entry(name(&snapshot.hostname)).or_default();
        host.add(snapshot.time, &item);
        for tag in snapshot.tags.iter().flatten() {
            let tag: &mut Times = tags.entry(name(tag)).or_default();
            tag.add(snapshot.time, &item);
        }
    }
    let directory = |names| Item::Names(Arc::new(names));
    let each = |named: BTreeMap<Vec<u8>, Times>| {
        let inner = named.into_iter();
        directory(
            inner
                .map(|(name, times)| (name, directory(times.names())))
                .collect(),
        )
    };
    Names::from([
        (b"ids".to_vec(), directory(ids)),
        (b"snapshots".to_vec(), directory(times.names())),
        (b"hosts".to_vec(), each(hosts)),
        (b"tags".to_vec(), each(tags)),
    ])
}

/// Snapshots by time, oldest first.
#[derive(Default)]
struct Times {
    names: Names,
    latest: Option<Vec<u8>>,
}

impl Times {
    fn add(&mut self, time: Time, item: &Item) {
        // Down to the second, as restic has it.
        let text = time.to_string();
        let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
        let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let plain = format!("{whole}{zone}");
        let more = (1_u64..).map(|number| format!("{plain}-{number}"));
        let mut candidates = std::iter::once(plain.clone()).chain(more);
        let free = candidates.find(|name| !self.names.contains_key(name.as_bytes()));
        let name = free.unwrap_or(plain).into_bytes();
        self.latest = Some(name.clone());
        self.names.insert(name, item.clone());
    }

    fn names(mut self) -> Names {
        if let Some(latest) = self.latest {
            self.names.insert(b"latest".to_vec(), Item::Latest(latest));
        }
        self.names
    }
}

/// A host or tag as a name.
fn name(text: &str) -> Vec<u8> {
    let safe = text.replace(['/', '\0'], "_");
    match safe.as_str() {
        "" | "." | ".." => b"_".to_vec(),
        _ => safe.into_bytes(),
    }
}

/// Limit on cached entries of trees.
const TREE_ENTRIES_MAX: usize = 100_000;
/// Limit on cached bytes of content.
const CONTENT_BYTES_MAX: usize = 64 << 20;

/// The view of all snapshots: see the module.
pub(super) struct View {
    repository: Repository,
    index: Index,
    trees: Mutex<Kept<Vec<Arc<Node>>>>,
    content: Mutex<Kept<Vec<u8>>>,
}

impl View {
    pub(super) fn new(repository: Repository, index: Index) -> Self {
        View {
            repository,
            index,
            trees: Mutex::new(Kept::new(TREE_ENTRIES_MAX)),
            content: Mutex::new(Kept::new(CONTENT_BYTES_MAX)),
        }
    }

    /// The entries of a tree, by name.
    fn tree(&self, id: &Id) -> Result<Arc<Vec<Arc<Node>>>> {
        if let Some(kept) = lock(&self.trees).get(id) {
            return Ok(kept);
        }
        let nodes = self.repository.tree(&self.index, id)?;
        let mut nodes: Vec<Arc<Node>> = nodes.into_iter().map(Arc::new).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes.dedup_by(|second, first| second.name == first.name);
        let (nodes, size) = (Arc::new(nodes), 1);
        lock(&self.trees).put(*id, &nodes, size + nodes.len());
        Ok(nodes)
    }

    /// The contents of a directory; `None` if the item is not one.
    pub(super) fn list(&self, item: &Item) -> Result<Option<Entries>> {
        let tree = match item {
            Item::Names(names) => {
                let all = names
                    .iter()
                    .map(|(name, item)| (name.clone(), item.clone()));
                return Ok(Some(all.collect()));
            }
            Item::Latest(_) => return Ok(None),
            Item::Root(tree, _) => *tree,
            Item::Node(node) => match node.subtree {
                Some(tree) => tree,
                None => return Ok(None),
            },
        };
        let nodes = self.tree(&tree)?;
        let named = |node: &Arc<Node>| (node.name.clone(), Item::Node(Arc::clone(node)));
        Ok(Some(nodes.iter().map(named).collect()))
    }

    /// The item behind a name in a directory.
    pub(super) fn find(&self, item: &Item, name: &[u8]) -> Result<Option<Item>> {
        let tree = match item {
            Item::Names(names) => return Ok(names.get(name).cloned()),
            Item::Latest(_) => return Ok(None),
            Item::Root(tree, _) => *tree,
            Item::Node(node) => match node.subtree {
                Some(tree) => tree,
                None => return Ok(None),
            },
        };
        let nodes = self.tree(&tree)?;
        let at = nodes.binary_search_by(|node| node.name.as_slice().cmp(name));
        let found = at.ok().and_then(|at| nodes.get(at));
        Ok(found.map(|node| Item::Node(Arc::clone(node))))
    }

    /// Opens a file.
    pub(super) fn open(&self, node: &Node) -> Result<Content> {
        let (mut parts, mut end) = (Vec::new(), 0);
        for id in node.content.iter().flatten() {
            let place = self.index.locations(BlobKind::Data, id).next();
            end += u64::from(place.ok_or(Error::UnknownBlob { id: *id })?.plain_bytes);
            parts.push((end, *id));
        }
        Ok(Content { parts })
    }

    /// Reads a file from an offset on: as many bytes as are wanted, or up to its end.
    pub(super) fn read(&self, content: &Content, offset: u64, wanted: usize) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(wanted);
        let first = content.parts.partition_point(|(end, _)| *end <= offset);
        let mut start = match first
            .checked_sub(1)
            .and_then(|before| content.parts.get(before))
        {
            Some((end, _)) => *end,
            None => 0,
        };
        for (end, id) in content.parts.iter().skip(first) {
            let blob = self.blob(id)?;
            let from = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
            let rest = blob.get(from..).unwrap_or_default();
            let left = wanted - out.len();
            out.extend_from_slice(rest.get(..left).unwrap_or(rest));
            if out.len() == wanted {
                break;
            }
            start = *end;
        }
        Ok(out)
    }

    fn blob(&self, id: &Id) -> Result<Arc<Vec<u8>>> {
        if let Some(kept) = lock(&self.content).get(id) {
            return Ok(kept);
        }
        let blob = self.repository.load_blob(&self.index, BlobKind::Data, id)?;
        let blob = Arc::new(blob);
        lock(&self.content).put(*id, &blob, blob.len());
        Ok(blob)
    }
}

/// The content of an open file: the blob of each part, and where the part ends.
#[derive(Debug)]
pub(super) struct Content {
    parts: Vec<(u64, Id)>,
}

/// A cache of what was read last, limited by size.
struct Kept<T> {
    size_max: usize,
    size: usize,
    by_id: HashMap<Id, Arc<T>>,
    order: VecDeque<(Id, usize)>,
}

impl<T> Kept<T> {
    fn new(size_max: usize) -> Self {
        Kept {
            size_max,
            size: 0,
            by_id: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    fn get(&self, id: &Id) -> Option<Arc<T>> {
        self.by_id.get(id).map(Arc::clone)
    }

    /// Adds an item, and drops those read longest ago.
    fn put(&mut self, id: Id, value: &Arc<T>, size: usize) {
        if self.by_id.insert(id, Arc::clone(value)).is_some() {
            return;
        }
        self.order.push_back((id, size));
        self.size += size;
        while self.size > self.size_max
            && self.order.len() > 1
            && let Some((oldest, size)) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
            self.size -= size;
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_repository::Snapshot;

    fn snapshot(time: &str, host: &str, tags: &[&str]) -> Named {
        let json = serde_json::json!({
            "time": time, "tree": Id::of(time.as_bytes()), "hostname": host, "tags": tags,
        });
        let snapshot: Snapshot = serde_json::from_value(json).unwrap();
        (Id::of(format!("{time}{host}").as_bytes()), snapshot)
    }

    fn paths(names: &Names, at: &str) -> Vec<String> {
        let mut all = Vec::new();
        for (name, item) in names {
            let path = format!("{at}/{}", String::from_utf8_lossy(name));
            match item {
                Item::Names(inner) => all.extend(paths(inner, &path)),
                Item::Latest(to) => all.push(format!("{path} -> {}", String::from_utf8_lossy(to))),
                _ => all.push(path),
            }
        }
        all
    }

    #[test]
    fn snapshots_are_below_their_times_hosts_and_tags() {
        let all = [
            snapshot("2020-01-02T03:04:05.6+02:00", "a/b", &["x"]),
            snapshot("2020-01-02T03:04:05.7+02:00", "c", &["x", ".."]),
            snapshot("2021-01-01T00:00:00Z", "c", &[]),
        ];
        let mut expected: Vec<String> = all
            .iter()
            .map(|(id, _)| format!("/ids/{}", id.short()))
            .collect();
        expected.sort();
        let others = [
            "/hosts/a_b/2020-01-02T03:04:05+02:00",
            "/hosts/a_b/latest -> 2020-01-02T03:04:05+02:00",
            "/hosts/c/2020-01-02T03:04:05+02:00",
            "/hosts/c/2021-01-01T00:00:00Z",
            "/hosts/c/latest -> 2021-01-01T00:00:00Z",
            "/snapshots/2020-01-02T03:04:05+02:00",
            "/snapshots/2020-01-02T03:04:05+02:00-1",
            "/snapshots/2021-01-01T00:00:00Z",
            "/snapshots/latest -> 2021-01-01T00:00:00Z",
            "/tags/_/2020-01-02T03:04:05+02:00",
            "/tags/_/latest -> 2020-01-02T03:04:05+02:00",
            "/tags/x/2020-01-02T03:04:05+02:00",
            "/tags/x/2020-01-02T03:04:05+02:00-1",
            "/tags/x/latest -> 2020-01-02T03:04:05+02:00-1",
        ];
        expected.extend(others.map(str::to_owned));
        let mut found = paths(&above(&all), "");
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_cache_drops_what_was_read_longest_ago() {
        let mut kept = Kept::new(10);
        let ids = [b"a", b"b", b"c"].map(|name| Id::of(name));
        for id in ids {
            kept.put(id, &Arc::new(()), 5);
        }
        assert_eq!(ids.map(|id| kept.get(&id).is_some()), [false, true, true]);
        kept.put(ids[0], &Arc::new(()), 500);
        assert_eq!(ids.map(|id| kept.get(&id).is_some()), [true, false, false]);
    }
}
