//! Stores full packs, several at a time, and the index files that name them.
//!
//! A pack is named by an index file only once it is durable, and [`Storing::finish`] returns only
//! when all of them are named. Most are named long before, so that little is stored again after a run
//! that was killed. After the first failure nothing more is stored; what was until then is
//! named all the same where that is still possible, so that the next run need not store it again.

use crate::error::{Damage, Error, Result};
use crate::index::IndexPack;
use crate::index_writer::IndexWriter;
use crate::pack::{BlobKind, ClosedPack, PACK_BYTES, Pack};
use crate::repository::Repository;
use crate::sync::{into_inner, lock};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Mutex;
use std::thread::{Builder, Scope};

/// Packs that are stored at a time on a disk: one is hashed and written while the other is synced.
const LOCAL: usize = 2;
/// And over a network, where most of the time is waited.
const REMOTE: usize = 3;
// Who waits for room may hold a full pack meanwhile, and another is held to be hashed: there must be a
// third that is stored and gives its room back.
const _: () = assert!(LOCAL >= 2 && REMOTE >= 2);
/// A pack of chunks and its header, which is short.
const ROOM_BYTES: usize = PACK_BYTES + (1 << 20);

/// See the module.
pub(crate) struct Storing<'r> {
    repository: &'r Repository,
    /// Nothing is stored.
    pretended: bool,
    index: IndexWriter<'r>,
    failed: Mutex<Option<Error>>,
}

/// The bytes of a pack while somebody reads them; after that their room may be free for another.
struct Lent {
    bytes: Vec<u8>,
    rooms: Option<Sender<Vec<u8>>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(rooms) = &self.rooms {
            // Unless nobody opens packs any more.
            let _ = rooms.try_send(std::mem::take(&mut self.bytes));
        }
    }
}

pub(crate) fn gone() -> Error {
    Error::Config(Damage::Format("the threads that store packs ended".into()))
}

impl<'r> Storing<'r> {
    pub(crate) fn new(repository: &'r Repository) -> Self {
        Storing {
            repository,
            pretended: false,
            index: IndexWriter::keeping_up(repository),
            failed: Mutex::default(),
        }
    }

    /// The same, but throws away what it is given.
    pub(crate) fn pretended(repository: &'r Repository) -> Self {
        Storing {
            pretended: true,
            ..Storing::new(repository)
        }
    }

    /// Takes packs until there are no more, on threads of its own. Returns where room for packs of
    /// data comes from: for each that is stored at a time, and for one that is being filled.
    pub(crate) fn start<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        incoming: Receiver<ClosedPack>,
    ) -> Result<Receiver<Vec<u8>>> {
        let threads = match self.repository.is_remote() {
            true => REMOTE,
            false => LOCAL,
        };
        let (room, rooms) = bounded(threads + 1);
        for _ in 0..=threads {
            // As long as it gets: what is not filled takes no memory.
            let mut bytes = Vec::new();
            let reserved = bytes.try_reserve_exact(ROOM_BYTES);
            reserved.map_err(|_| Error::Memory { bytes: ROOM_BYTES })?;
            // Cannot fail, since it fits.
            let _ = room.try_send(bytes);
        }
        for number in 0..threads {
            let (incoming, room) = (incoming.clone(), room.clone());
            let work = move || self.run(&incoming, &room);
            match Builder::new().spawn_scoped(scope, work) {
                // One is slower, not wrong.
                Err(error) if number == 0 => return Err(Error::Threads(error)),
                _ => {}
            }
        }
        Ok(rooms)
    }

    fn run(&self, incoming: &Receiver<ClosedPack>, rooms: &Sender<Vec<u8>>) {
        for pack in incoming {
            if lock(&self.failed).is_some() {
                return;
            }
            if let Err(error) = self.take(pack, rooms) {
                lock(&self.failed).get_or_insert(error);
                return;
            }
        }
    }

    fn take(&self, pack: ClosedPack, rooms: &Sender<Vec<u8>>) -> Result<()> {
        let Pack { id, bytes, blobs } = pack.finish();
        let is_data = blobs.iter().all(|blob| blob.kind == BlobKind::Data);
        let rooms = is_data.then(|| rooms.clone());
        let bytes = Bytes::from_owner(Lent { bytes, rooms });
        if self.pretended {
            return self.repository.hold().check_stop();
        }
        self.repository.save_pack(&id, bytes)?;
        self.index.add(IndexPack {
            id,
            blobs: blobs.iter().map(Into::into).collect(),
            time: None,
        })
    }

    /// Stores the last index file. Returns the first error of all. To be called when all threads
    /// have ended.
    pub(crate) fn finish(self) -> Result<()> {
        let named = self.index.finish();
        into_inner(self.failed).map_or(named, Err)
    }
}
