//! An open repository: its config, its key, and its files.

use crate::chunker::{Chunker, Polynomial};
use crate::crypto::{Key, random};
use crate::document;
use crate::error::{Damage, Error, FileKind, Result};
use crate::id::Id;
use crate::index::{Index, IndexBuilder, IndexFile, Location};
use crate::keyfile::{Cost, KeyFile};
use crate::lock::Hold;
use crate::pack::{self, BlobKind, PackedBlob};
use crate::read_ahead::ReadAhead;
use crate::requests;
use crate::snapshot::Snapshot;
use crate::sync::{into_inner, lock};
use crate::time::Time;
use crate::tree::{self, Node, Nodes, Text};
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_store::{ObjectInfo, PutOptions, Store, StoreError};
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

/// The `config` file: settings on which all programs that use a repository must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The format: 1, or 2 with compression.
    pub version: u32,
    /// The repository's id.
    pub id: String,
    /// The polynomial that determines where streams are cut.
    pub chunker_polynomial: Polynomial,
}

const CONFIG: &str = "config";
/// The longest file read here: config, keys, locks and snapshots are small, but an index may be
/// long.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Index files of at most this size on average are read many at a time over a network.
const SHORT_INDEX_BYTES: u64 = 256 << 10;
/// The longest pack: offsets in a pack are 32 bits.
const PACK_BYTES_MAX: u64 = 1 << 32;
/// The longest blob in a pack, sealed.
const BLOB_BYTES_MAX: usize = u32::MAX as usize;

/// The maker of a key or a snapshot, for people.
#[derive(Debug, Clone, Default)]
pub struct Author {
    /// The user.
    pub user: String,
    /// The host.
    pub host: String,
    /// The current time.
    pub now: Time,
}

/// A snapshot and its id.
pub type Named = (Id, Snapshot);

/// An open repository. It may be shared by threads.
pub struct Repository {
    store: Arc<dyn Store>,
    prefix: String,
    key: Key,
    config: Config,
    chunker: OnceLock<Chunker>,
    hold: Arc<Hold>,
    read_ahead: ReadAhead,
    /// The key file that the password opened.
    opened_by: Option<Id>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository at {}", self.location())
    }
}

impl Repository {
    /// Creates a repository of format 2 below `prefix`, which is empty or ends in `/`. The key file
    /// is written before `config`, so a repository that is incomplete has no `config`.
    pub fn create(
        store: Arc<dyn Store>,
        prefix: &str,
        password: &[u8],
        author: &Author,
    ) -> Result<Self> {
        requests::share_threads()?;
        let mut repository = Repository {
            prefix: prefix.to_owned(),
            key: Key::random()?,
            config: Config {
                version: 2,
                id: String::new(),
                chunker_polynomial: random_polynomial()?,
            },
            chunker: OnceLock::new(),
            hold: Arc::default(),
            read_ahead: ReadAhead::default(),
            opened_by: None,
            store,
        };
        if repository.store.stat(&repository.path(CONFIG))?.is_some() {
            return Err(Error::Exists {
                location: repository.location(),
            });
        }
        let mut id = [0; Id::BYTES];
        random(&mut id)?;
        repository.config.id = Id::new(id).to_string();
        repository.opened_by = Some(repository.add_key(password, Cost::default(), author)?);
        let json = json(&repository.config)?;
        let sealed = document::seal(&repository.key, &json, false)?;
        match repository.put(CONFIG, sealed) {
            Err(Error::Store(StoreError::AlreadyExists { .. })) => Err(Error::Exists {
                location: repository.location(),
            }),
            other => other.map(|()| repository),
        }
    }

    /// Opens the repository below `prefix`, which is empty or ends in `/`.
    pub fn open(store: Arc<dyn Store>, prefix: &str, password: &[u8]) -> Result<Self> {
        requests::share_threads()?;
        let unlocked = |key, config, opened_by| Repository {
            store: Arc::clone(&store),
            prefix: prefix.to_owned(),
            key,
            config,
            chunker: OnceLock::new(),
            hold: Arc::default(),
            read_ahead: ReadAhead::default(),
            opened_by: Some(opened_by),
        };
        let location = || format!("{}/{prefix}", store.location());
        let sealed = match read_whole(store.as_ref(), &format!("{prefix}{CONFIG}")) {
            Err(Error::Store(StoreError::NotFound { .. })) => {
                return Err(Error::NoRepository {
                    location: location(),
                });
            }
            other => other?,
        };
        let (mut keys, mut unusable) = (0, None);
        for info in store.list(&format!("{prefix}{}/", FileKind::Key.directory()))? {
            let Some(id) = name_of(&info.key) else {
                continue;
            };
            keys += 1;
            match try_key(store.as_ref(), &info.key, id, password) {
                Ok(Some(key)) => {
                    let config = parse_config(&key, sealed)?;
                    return Ok(unlocked(key, config, id));
                }
                Ok(None) => {}
                // Another key may fit.
                Err(error) => unusable = Some(error),
            }
        }
        Err(unusable.unwrap_or(Error::Password { keys }))
    }

    /// The location, for people.
    pub fn location(&self) -> String {
        format!("{}/{}", self.store.location(), self.prefix)
            .trim_end_matches('/')
            .to_owned()
    }

    /// The config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The chunker; its tables are computed once.
    pub fn chunker(&self) -> &Chunker {
        self.chunker
            .get_or_init(|| Chunker::new(self.config.chunker_polynomial))
    }

    /// Returns another handle of the same repository, under the same lock.
    pub fn handle(&self) -> Repository {
        Repository {
            store: Arc::clone(&self.store),
            prefix: self.prefix.clone(),
            key: self.key.clone(),
            config: self.config.clone(),
            chunker: OnceLock::new(),
            hold: Arc::clone(&self.hold),
            read_ahead: ReadAhead::default(),
            opened_by: self.opened_by,
        }
    }

    /// Makes every read or write of this repository fail with [`Error::Stopped`] as soon as `stop`
    /// returns true.
    pub fn stop_when(&self, stop: impl Fn() -> bool + Send + Sync + 'static) {
        self.hold.stop_when(stop);
    }

    /// The conditions under which writing may go on.
    pub(crate) fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Lists the files of a kind, each with the time at which the store says it was stored.
    pub(crate) fn list_times(&self, kind: FileKind) -> Result<Vec<(Id, Option<Timestamp>)>> {
        let infos = self
            .store
            .list(&self.path(&format!("{}/", kind.directory())))?;
        let known = |info: ObjectInfo| Some((name_of(&info.key)?, info.modified));
        Ok(infos.into_iter().filter_map(known).collect())
    }

    /// Returns whether every request goes over a network.
    pub(crate) fn is_remote(&self) -> bool {
        self.store.is_remote()
    }

    /// Returns whether a listing of the store shows everything that was stored before.
    pub(crate) fn lists_at_once(&self) -> bool {
        self.store.lists_at_once()
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Adds a key file, so that another password opens the repository too.
    pub fn add_key(&self, password: &[u8], cost: Cost, author: &Author) -> Result<Id> {
        let Author { user, host, now } = author.clone();
        let file = KeyFile::create(&self.key, password, cost, (now.to_string(), user, host))?;
        let bytes = json(&file)?;
        let id = Id::of(&bytes);
        self.put(&FileKind::Key.key(&id), bytes)?;
        Ok(id)
    }

    /// The key file that the password opened, if any.
    pub fn opened_by(&self) -> Option<Id> {
        self.opened_by
    }

    /// Reads a key file without opening it.
    pub fn key_file(&self, id: &Id) -> Result<KeyFile> {
        let key = self.path(&FileKind::Key.key(id));
        let bytes = read_whole(self.store.as_ref(), &key).map_err(|error| match error {
            Error::Store(error) => missing(FileKind::Key, id, error),
            other => other,
        })?;
        KeyFile::parse(*id, &bytes).map_err(|damage| damaged(FileKind::Key, id, damage))
    }

    /// Reads every snapshot, oldest first. Returns the errors of those that cannot be read beside
    /// them.
    pub fn snapshots(&self) -> Result<(Vec<Named>, Vec<Error>)> {
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        let listed = self.list(FileKind::Snapshot)?;
        let read = requests::each(&listed, |(id, _)| Ok((*id, self.snapshot(id))))?;
        for (id, snapshot) in read {
            match snapshot {
                Ok(snapshot) => found.push((id, snapshot)),
                // It was forgotten since it was listed.
                Err(Error::Missing { .. }) => {}
                Err(error @ Error::Damaged { .. }) => errors.push(error),
                Err(error) => return Err(error),
            }
        }
        found.sort_by_key(|(id, snapshot)| (snapshot.time.at, *id));
        Ok((found, errors))
    }

    /// Lists the files of a kind with their sizes. Files whose names are not ids are left out.
    pub fn list(&self, kind: FileKind) -> Result<Vec<(Id, u64)>> {
        let infos = self
            .store
            .list(&self.path(&format!("{}/", kind.directory())))?;
        let known = |info: ObjectInfo| Some((name_of(&info.key)?, info.bytes));
        Ok(infos.into_iter().filter_map(known).collect())
    }

    /// Reads the JSON text of an index file, a snapshot or a lock, and checks its hash and its
    /// seal.
    pub fn read_document(&self, kind: FileKind, id: &Id) -> Result<Vec<u8>> {
        let bytes = self.read_file(kind, id)?;
        document::open(&self.key, bytes).map_err(|damage| damaged(kind, id, damage))
    }

    /// Seals and stores a document, and returns its id.
    pub fn write_document(&self, kind: FileKind, document: &[u8]) -> Result<Id> {
        let sealed = document::seal(&self.key, document, self.config.version >= 2)?;
        let id = Id::of(&sealed);
        self.put(&kind.key(&id), sealed)?;
        Ok(id)
    }

    /// Deletes a file. Fails if the work is to end early.
    pub fn delete(&self, kind: FileKind, id: &Id) -> Result<()> {
        self.hold.check()?;
        self.delete_regardless(kind, id)
    }

    /// Deletes a file even if the work is to end early, so that nothing is left behind.
    pub(crate) fn delete_regardless(&self, kind: FileKind, id: &Id) -> Result<()> {
        Ok(self.store.delete(&self.path(&kind.key(id)))?)
    }

    /// Reads a snapshot.
    pub fn snapshot(&self, id: &Id) -> Result<Snapshot> {
        self.parse_document(FileKind::Snapshot, id)
    }

    /// Reads and parses a document.
    pub(crate) fn parse_document<T: DeserializeOwned>(&self, kind: FileKind, id: &Id) -> Result<T> {
        let document = self.read_document(kind, id)?;
        serde_json::from_slice(&document).map_err(|error| {
            let damage = Damage::Format(format!("it is no {kind}: {error}"));
            damaged(kind, id, damage)
        })
    }

    /// Serializes and stores a document, and returns its id.
    pub(crate) fn save(&self, kind: FileKind, value: &impl Serialize) -> Result<Id> {
        self.write_document(kind, &json(value)?)
    }

    /// Stores a snapshot: the commit of a backup.
    pub fn save_snapshot(&self, snapshot: &Snapshot) -> Result<Id> {
        self.save(FileKind::Snapshot, snapshot)
    }

    /// Reads all index files. Returns the errors of damaged files beside the index.
    pub fn load_index(&self) -> Result<(Index, Vec<Error>)> {
        let listed = self.list(FileKind::Index)?;
        let builder = Mutex::new(self.index_builder(&listed));
        let errors = self.each_index_file(&listed, |_, file| lock(&builder).add_file(file))?;
        Ok((into_inner(builder).finish(), errors))
    }

    /// A builder with capacity for the content of these index files.
    pub(crate) fn index_builder(&self, listed: &[(Id, u64)]) -> IndexBuilder {
        let bytes = listed.iter().map(|(_, bytes)| bytes).sum();
        IndexBuilder::for_files(bytes, self.config.version >= 2)
    }

    /// Reads index files on all cores, in any order. Returns the errors of damaged files.
    pub(crate) fn each_index_file(
        &self,
        listed: &[(Id, u64)],
        each: impl Fn(Id, IndexFile) + Sync,
    ) -> Result<Vec<Error>> {
        let read = |(id, _): &(Id, u64)| match self.index_file(id) {
            Ok(file) => {
                each(*id, file);
                Ok(None)
            }
            Err(error @ Error::Damaged { .. }) => Ok(Some(error)),
            Err(error) => Err(error),
        };
        let bytes: u64 = listed.iter().map(|(_, bytes)| bytes).sum();
        let short = bytes <= listed.len() as u64 * SHORT_INDEX_BYTES;
        let damaged: Vec<Option<Error>> = match self.is_remote() && short {
            true => requests::each(listed, read)?,
            false => listed.par_iter().map(read).collect::<Result<_>>()?,
        };
        Ok(damaged.into_iter().flatten().collect())
    }

    /// Reads one index file.
    pub fn index_file(&self, id: &Id) -> Result<IndexFile> {
        let document = self.read_document(FileKind::Index, id)?;
        IndexFile::parse(&document).map_err(|damage| damaged(FileKind::Index, id, damage))
    }

    /// Reads a pack's header, and returns the blobs it lists.
    pub fn pack_header(&self, id: &Id, pack_bytes: u64) -> Result<Vec<PackedBlob>> {
        let key = self.path(&FileKind::Pack.key(id));
        let about = |damage| damaged(FileKind::Pack, id, damage);
        let tail = |bytes: u64| {
            let mut tail = Vec::new();
            let mut pack = self.open_pack(id, pack_bytes - bytes..pack_bytes)?;
            match pack.read_to_end(&mut tail) {
                Ok(_) => Ok(tail),
                Err(error) => Err(self.cut(&key, error)),
            }
        };
        // Most headers fit in this; a longer one is read again whole.
        let mut end = tail(pack_bytes.min(64 << 10))?;
        let header = pack::header_bytes(&end, pack_bytes).map_err(about)?;
        if end.len() < header {
            end = tail(header as u64)?;
        }
        pack::parse_tail(&self.key, &end, pack_bytes).map_err(about)
    }

    /// Reads the blob at a place, checks it against its id, and returns its plaintext.
    pub fn read_blob(&self, id: &Id, at: &Location) -> Result<Vec<u8>> {
        open_blob(&self.key, id, self.read_sealed(at)?, at.compressed)
    }

    /// Reads the tree at a place and checks it against its id. A long tree stays compressed.
    fn read_tree(&self, id: &Id, at: &Location) -> Result<Text> {
        if !at.compressed || (at.plain_bytes as usize) < tree::LONG_BYTES {
            return self.read_blob(id, at).map(Text::Plain);
        }
        let about = |damage| Error::Blob { id: *id, damage };
        let packed = self.key.open(self.read_sealed(at)?).map_err(about)?;
        Text::packed(id, packed, at.plain_bytes.into()).map_err(about)
    }

    /// Reads the sealed bytes at a place.
    fn read_sealed(&self, at: &Location) -> Result<Vec<u8>> {
        let start = u64::from(at.offset);
        let range = start..start + u64::from(at.length);
        if at.kind == BlobKind::Tree {
            let fetch = |range| self.read_pack_part(&at.pack, range);
            let sealed = self.read_ahead.read(&at.pack, range, fetch)?;
            return match sealed.len() == at.length as usize {
                true => Ok(sealed),
                false => Err(cut_off(&at.pack)),
            };
        }
        let key = self.path(&FileKind::Pack.key(&at.pack));
        let mut sealed = vec![0; at.length as usize];
        self.open_pack(&at.pack, range)?
            .read_exact(&mut sealed)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => cut_off(&at.pack),
                _ => self.cut(&key, error),
            })?;
        Ok(sealed)
    }

    /// Opens a range of a pack for reading; it ends early where the pack does.
    pub(crate) fn open_pack(&self, id: &Id, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        self.hold.check_stop()?;
        let key = self.path(&FileKind::Pack.key(id));
        let bytes = range.end.saturating_sub(range.start);
        self.store
            .open_part(&key, range.start, bytes)
            .map_err(|error| {
                // A pack that is cut short is damaged; the store has not failed.
                match self.store.stat(&key) {
                    Ok(Some(info)) if info.bytes < range.start => cut_off(id),
                    _ => missing(FileKind::Pack, id, error),
                }
            })
    }

    /// Reads a blob from the first place where it is intact.
    pub fn load_blob(&self, index: &Index, kind: BlobKind, id: &Id) -> Result<Vec<u8>> {
        wherever(index, kind, id, |at| self.read_blob(id, at))
    }

    /// Reads the JSON of a tree from the first place where it is intact.
    pub(crate) fn tree_text(&self, index: &Index, id: &Id) -> Result<Text> {
        wherever(index, BlobKind::Tree, id, |at| self.read_tree(id, at))
    }

    /// Reads a tree, and returns an iterator over its entries in their order.
    pub(crate) fn tree_nodes(&self, index: &Index, id: &Id) -> Result<Nodes> {
        let nodes = self.tree_text(index, id)?.nodes();
        nodes.map_err(|damage| Error::Blob { id: *id, damage })
    }

    /// Reads the entries of a tree, in order of name.
    pub fn tree(&self, index: &Index, id: &Id) -> Result<Vec<Node>> {
        let nodes: std::result::Result<_, Damage> = self.tree_nodes(index, id)?.collect();
        nodes.map_err(|damage| Error::Blob { id: *id, damage })
    }

    /// Stores a pack.
    pub fn save_pack(&self, id: &Id, bytes: impl Into<Bytes>) -> Result<()> {
        self.put(&FileKind::Pack.key(id), bytes)
    }

    /// Stores an index file.
    pub fn save_index(&self, file: &IndexFile) -> Result<Id> {
        self.save(FileKind::Index, file)
    }

    /// Reads a range of a pack's bytes.
    pub(crate) fn read_pack_part(&self, id: &Id, range: Range<u64>) -> Result<Vec<u8>> {
        let key = self.path(&FileKind::Pack.key(id));
        let mut bytes = Vec::new();
        self.open_pack(id, range)?
            .read_to_end(&mut bytes)
            .map_err(|error| self.cut(&key, error))?;
        Ok(bytes)
    }

    /// Reads a whole pack as it is stored, without checking it.
    pub fn read_pack(&self, id: &Id) -> Result<Vec<u8>> {
        let key = self.path(&FileKind::Pack.key(id));
        let mut bytes = Vec::new();
        self.open_pack(id, 0..PACK_BYTES_MAX + 1)?
            .read_to_end(&mut bytes)
            .map_err(|error| self.cut(&key, error))?;
        Ok(bytes)
    }

    fn read_file(&self, kind: FileKind, id: &Id) -> Result<Vec<u8>> {
        self.hold.check_stop()?;
        let bytes = read_whole(self.store.as_ref(), &self.path(&kind.key(id))).map_err(
            |error| match error {
                Error::Store(error) => missing(kind, id, error),
                other => other,
            },
        )?;
        match Id::of(&bytes) {
            found if found == *id => Ok(bytes),
            found => Err(damaged(kind, id, Damage::Hash { found })),
        }
    }

    fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<()> {
        self.hold.check()?;
        let bytes = bytes.into();
        let options = PutOptions {
            if_absent: key == CONFIG,
            bytes_hint: Some(bytes.len() as u64),
        };
        self.store.put_whole(&self.path(key), bytes, &options)?;
        Ok(())
    }

    fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn cut(&self, key: &str, error: std::io::Error) -> Error {
        Error::Read {
            key: key.to_owned(),
            source: error,
        }
    }
}

/// Calls `read` with one place of a blob after another, until it succeeds.
fn wherever<T>(
    index: &Index,
    kind: BlobKind,
    id: &Id,
    read: impl Fn(&Location) -> Result<T>,
) -> Result<T> {
    let mut error = Error::UnknownBlob { id: *id };
    for location in index.locations(kind, id) {
        match read(&location) {
            Ok(found) => return Ok(found),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// Opens a sealed blob, checks it against its id, and returns its plaintext.
pub fn open_blob(key: &Key, id: &Id, sealed: Vec<u8>, compressed: bool) -> Result<Vec<u8>> {
    let about = |damage| Error::Blob { id: *id, damage };
    let mut plain = key.open(sealed).map_err(about)?;
    if compressed {
        plain = document::decompress(&plain, BLOB_BYTES_MAX).map_err(about)?;
    }
    match Id::of(&plain) {
        found if found == *id => Ok(plain),
        found => Err(about(Damage::Hash { found })),
    }
}

fn parse_config(key: &Key, sealed: Vec<u8>) -> Result<Config> {
    let config: Config = document::parse(key, sealed).map_err(Error::Config)?;
    match config.version {
        1 | 2 => Ok(config),
        version => Err(Error::Version { version }),
    }
}

fn random_polynomial() -> Result<Polynomial> {
    let mut failed = None;
    let polynomial = Polynomial::random(|| {
        let mut bytes = [0; 8];
        if let Err(error) = random(&mut bytes) {
            failed = Some(error);
            // A known irreducible polynomial, so that the search ends.
            return 0x39_b70b_b1e0_09e5;
        }
        u64::from_le_bytes(bytes)
    });
    failed.map_or(Ok(polynomial), Err)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Config(Damage::Format(error.to_string())))
}

fn damaged(kind: FileKind, id: &Id, damage: Damage) -> Error {
    Error::Damaged {
        kind,
        id: *id,
        damage,
    }
}

fn cut_off(pack: &Id) -> Error {
    let damage = Damage::Format("it ends before the blob does".into());
    damaged(FileKind::Pack, pack, damage)
}

fn missing(kind: FileKind, id: &Id, error: StoreError) -> Error {
    match error {
        StoreError::NotFound { .. } => Error::Missing { kind, id: *id },
        other => Error::Store(other),
    }
}

/// Opens a key file with a password. Returns `None` if the password does not fit or the file is
/// gone. Damage outside the sealed key does not matter.
fn try_key(store: &dyn Store, key: &str, id: Id, password: &[u8]) -> Result<Option<Key>> {
    let bytes = match read_whole(store, key) {
        // It was removed since it was listed.
        Err(Error::Store(StoreError::NotFound { .. })) => return Ok(None),
        other => other?,
    };
    let about = |damage| damaged(FileKind::Key, &id, damage);
    let file = KeyFile::read(&bytes).map_err(about)?;
    file.check_room()?;
    match file.open(password).map_err(about)? {
        Some(key) => Ok(Some(key)),
        None => KeyFile::parse(id, &bytes).map(|_| None).map_err(about),
    }
}

/// The id in the last component of a store key; `None` if it is not an id.
fn name_of(key: &str) -> Option<Id> {
    key.rsplit('/').next()?.parse().ok()
}

fn read_whole(store: &dyn Store, key: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let io = |source| Error::Read {
        key: key.to_owned(),
        source,
    };
    store
        .open(key, 0)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let error = std::io::Error::new(std::io::ErrorKind::FileTooLarge, "longer than a GiB");
        return Err(io(error));
    }
    Ok(bytes)
}
