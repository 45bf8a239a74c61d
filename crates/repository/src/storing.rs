//! Stores full packs, several at a time, and the index files that name them.
//!
//! An index file names a pack only once the pack is durable, and [`Storing::finish`] returns only
//! when all packs are named. Most are named long before, so that little is stored again after a run
//! that was killed. After the first failure nothing more is stored. What was stored until then is
//! still named if possible, so that the next run need not store it again.

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

/// The packs that are stored at a time on a disk: one is hashed and written while the other is
/// synced.
const LOCAL: usize = 2;
/// The packs that are stored at a time over a network, which is mostly waiting.
const REMOTE: usize = 3;
// A thread that waits for a buffer may hold a full pack, and another pack is held to be hashed. So
// there must be a third that is stored and gives its buffer back.
const _: () = assert!(LOCAL >= 2 && REMOTE >= 2);
/// The size of a buffer: a pack of chunks and its header, which is short.
const ROOM_BYTES: usize = PACK_BYTES + (1 << 20);

/// Stores packs; see the module.
pub(crate) struct Storing<'r> {
    repository: &'r Repository,
    /// True if nothing is really stored.
    pretended: bool,
    index: IndexWriter<'r>,
    failed: Mutex<Option<Error>>,
}

/// The bytes of a pack while they are read. After that their buffer may be reused for another
/// pack.
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
            // It fails if nobody opens packs any more.
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

    /// Makes one that discards the packs it is given.
    pub(crate) fn pretended(repository: &'r Repository) -> Self {
        Storing {
            pretended: true,
            ..Storing::new(repository)
        }
    }

    /// Stores the packs that arrive until there are no more, on threads of its own. Returns the
    /// source of buffers for packs of data: one for each pack that is stored at a time, and one
    /// that is being filled.
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
            // Reserved in full at once: what is not filled takes no memory.
            let mut bytes = Vec::new();
            let reserved = bytes.try_reserve_exact(ROOM_BYTES);
            reserved.map_err(|_| Error::Memory { bytes: ROOM_BYTES })?;
            // This cannot fail, since it fits.
            let _ = room.try_send(bytes);
        }
        for number in 0..threads {
            let (incoming, room) = (incoming.clone(), room.clone());
            let work = move || self.run(&incoming, &room);
            match Builder::new().spawn_scoped(scope, work) {
                // A single thread is slower, but still works.
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

    /// Stores the last index file. Returns the first error of all. Call it when all threads have
    /// ended.
    pub(crate) fn finish(self) -> Result<()> {
        let named = self.index.finish();
        into_inner(self.failed).map_or(named, Err)
    }
}
