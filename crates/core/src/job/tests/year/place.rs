//! Stores that are away, full, closed or lying, and that note what happens to them.

use jiff::Timestamp;
use lifeboat_store::{LocalStore, MemoryStore, ObjectInfo, PutOptions, Receipt, Store, StoreError};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happened to an object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) store: String,
    pub(super) host: usize,
    pub(super) at: Timestamp,
    pub(super) key: String,
    /// What was put there; `None` where it was deleted.
    pub(super) bytes: Option<Vec<u8>>,
}

/// What is wrong with a store now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) away: bool,
    pub(super) denied: bool,
    pub(super) full: bool,
    /// What it is given is stored with a byte changed.
    pub(super) lies: bool,
}

impl Trouble {
    pub(super) fn any(self) -> bool {
        self != Trouble::default()
    }
}

/// A place that several hosts share.
pub(super) struct Place {
    pub(super) name: String,
    /// What is in it, whatever is wrong with it.
    pub(super) content: Arc<dyn Store>,
    memory: Option<MemoryStore>,
    trouble: Mutex<Trouble>,
    changes: Mutex<Vec<Change>>,
    /// Objects whose content was changed on the way.
    damaged: Mutex<Vec<String>>,
    /// When each object was put, by the time of the world.
    times: Mutex<BTreeMap<String, Timestamp>>,
    /// The hosts that put each lease last.
    leases: Mutex<BTreeMap<String, usize>>,
    now: AtomicI64,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    fn new(name: &str, content: Arc<dyn Store>, memory: Option<MemoryStore>) -> Arc<Self> {
        Arc::new(Place {
            name: name.to_owned(),
            content,
            memory,
            trouble: Mutex::default(),
            changes: Mutex::default(),
            damaged: Mutex::default(),
            times: Mutex::default(),
            leases: Mutex::default(),
            now: AtomicI64::new(0),
        })
    }

    pub(super) fn memory(name: &str) -> Arc<Self> {
        let memory = MemoryStore::new();
        Self::new(name, Arc::new(memory.clone()), Some(memory))
    }

    pub(super) fn directory(name: &str, path: &Path) -> Arc<Self> {
        std::fs::create_dir_all(path).expect("a directory");
        let store = LocalStore::open(path).expect("a directory");
        Self::new(name, Arc::new(store), None)
    }

    pub(super) fn trouble(&self) -> Trouble {
        *held(&self.trouble)
    }

    pub(super) fn set_trouble(&self, change: impl FnOnce(&mut Trouble)) {
        change(&mut held(&self.trouble));
    }

    pub(super) fn set_time(&self, now: Timestamp) {
        self.now.store(now.as_second(), Ordering::Relaxed);
        if let Some(memory) = &self.memory {
            memory.set_time(now);
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_second(self.now.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// An object as this world dates it.
    fn dated(&self, mut object: ObjectInfo) -> ObjectInfo {
        object.modified = held(&self.times).get(&object.key).copied();
        object
    }

    pub(super) fn take_changes(&self) -> Vec<Change> {
        std::mem::take(&mut *held(&self.changes))
    }

    /// The objects whose content is not what was sent; those too that were deleted since.
    pub(super) fn spoilt(&self) -> Vec<String> {
        held(&self.damaged).clone()
    }

    /// Returns whether an object is there whose content is not what was sent.
    pub(super) fn has_damage(&self) -> bool {
        let there = |key: &String| matches!(self.content.stat(key), Ok(Some(_)));
        self.spoilt().iter().any(there)
    }

    /// Somebody deletes an object, behind the back of every host.
    pub(super) fn lose(&self, key: &str) {
        let _ = self.content.delete(key);
    }

    /// Somebody changes an object, behind the back of every host.
    pub(super) fn spoil(&self, key: &str) {
        let mut bytes = Vec::new();
        let read = self.content.open(key, 0);
        let read = read.map(|mut reader| reader.read_to_end(&mut bytes).is_ok());
        if read.is_ok_and(|read| read) {
            flip(&mut bytes);
            let put = self.content.put(key, &mut &*bytes, &PutOptions::default());
            put.expect("a store in memory");
            held(&self.damaged).push(key.to_owned());
        }
    }

    /// Nobody refreshes the leases of a host whose process was killed.
    pub(super) fn orphan_leases(&self, host: usize) {
        held(&self.leases).retain(|_, holder| *holder != host);
    }

    /// Refreshes the leases that these hosts hold, as the thread of a job does every minute.
    pub(super) fn refresh(&self, holds: &dyn Fn(usize) -> bool) {
        if self.trouble().any() {
            return;
        }
        let leases = held(&self.leases).clone();
        for (key, _) in leases.into_iter().filter(|(_, host)| holds(*host)) {
            let mut text = String::new();
            let read = self.content.open(&key, 0);
            let read = read.map(|mut reader| reader.read_to_string(&mut text).is_ok());
            let note: Option<serde_json::Value> =
                serde_json::from_str(&text).ok().filter(|_| read.is_ok());
            if let Some(mut note) = note.filter(|note| note["released"] == false) {
                note["refreshed"] = self.time().to_string().into();
                let bytes = note.to_string();
                let put = self
                    .content
                    .put(&key, &mut bytes.as_bytes(), &PutOptions::default());
                put.expect("a store in memory");
            }
        }
    }

    fn note(&self, host: usize, key: &str, bytes: Option<Vec<u8>>) {
        if key.starts_with("lifeboat/locks/") {
            held(&self.leases).insert(key.to_owned(), host);
        }
        // The model judges a deletion when all of it is done, by what was known then.
        if bytes.is_some() {
            held(&self.damaged).retain(|known| known != key);
        }
        // The documents are what the model reads; of artifacts, that they were put is enough.
        let bytes = bytes.map(|bytes| match key.starts_with("lifeboat/") {
            true => bytes,
            false => Vec::new(),
        });
        let at = self.time();
        held(&self.times).insert(key.to_owned(), at);
        held(&self.changes).push(Change {
            store: self.name.clone(),
            host,
            at,
            key: key.to_owned(),
            bytes,
        });
    }
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0x55;
    }
}

/// Whether a process of a host lives, and for how many more steps.
#[derive(Debug, Default)]
pub(super) struct Life {
    dead: AtomicBool,
    /// Changes of stores that it makes before it is killed; not killed if negative.
    steps: AtomicI64,
}

impl Life {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Life {
            dead: AtomicBool::new(false),
            steps: AtomicI64::new(-1),
        })
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub(super) fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    pub(super) fn kill_after(&self, steps: i64) {
        self.steps.store(steps, Ordering::SeqCst);
    }

    pub(super) fn revive(&self) {
        self.steps.store(-1, Ordering::SeqCst);
        self.dead.store(false, Ordering::SeqCst);
    }

    /// Counts a change. Returns true if the process is killed by it.
    fn step(&self) -> bool {
        let counts = |steps: i64| (steps >= 0).then_some(steps - 1);
        let before = self
            .steps
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, counts);
        let killed = before == Ok(0);
        if killed {
            self.kill();
        }
        killed
    }
}

/// A place as one host reaches it.
pub(super) struct Reached {
    pub(super) place: Arc<Place>,
    pub(super) host: usize,
    pub(super) life: Arc<Life>,
    /// Called before an artifact is read: that takes time.
    pub(super) reading: fn(usize),
}

impl Reached {
    fn check(&self, key: &str) -> Result<(), StoreError> {
        let location = self.location();
        let trouble = self.place.trouble();
        if self.life.is_dead() {
            return Err(StoreError::Other {
                location,
                detail: "the process was killed".to_owned(),
            });
        }
        if trouble.away {
            return Err(StoreError::Unreachable {
                location,
                detail: "no route to host".to_owned(),
            });
        }
        match trouble.denied {
            true => Err(StoreError::Denied {
                location,
                key: key.to_owned(),
                detail: "access denied".to_owned(),
            }),
            false => Ok(()),
        }
    }

    fn change(&self, key: &str) -> Result<(), StoreError> {
        self.check(key)?;
        match self.life.step() {
            true => self.check(key),
            false => Ok(()),
        }
    }
}

impl Store for Reached {
    fn location(&self) -> String {
        format!("simulated {}", self.place.name)
    }

    fn put(
        &self,
        key: &str,
        body: &mut (dyn Read + Send),
        options: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        self.check(key)?;
        let mut bytes = Vec::new();
        let read = body.read_to_end(&mut bytes);
        read.map_err(|source| StoreError::Body {
            key: key.to_owned(),
            source,
        })?;
        self.change(key)?;
        let is_artifact = !key.starts_with("lifeboat/");
        let trouble = self.place.trouble();
        if trouble.full {
            return Err(StoreError::Full {
                location: self.location(),
                detail: "no space left".to_owned(),
            });
        }
        let spoiled = trouble.lies && is_artifact;
        if spoiled {
            flip(&mut bytes);
        }
        let receipt = self.place.content.put(key, &mut &*bytes, options)?;
        self.place.note(self.host, key, Some(bytes));
        if spoiled {
            held(&self.place.damaged).push(key.to_owned());
        }
        Ok(receipt)
    }

    fn open(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        self.check(key)?;
        if !key.starts_with("lifeboat/") {
            (self.reading)(self.host);
            self.check(key)?;
        }
        let mut bytes = Vec::new();
        let mut reader = self.place.content.open(key, offset)?;
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| StoreError::Other {
                location: self.location(),
                detail: error.to_string(),
            })?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.check(key)?;
        let object = self.place.content.stat(key)?;
        Ok(object.map(|object| self.place.dated(object)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.check(prefix)?;
        let objects = self.place.content.list(prefix)?.into_iter();
        Ok(objects.map(|object| self.place.dated(object)).collect())
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.change(key)?;
        self.place.content.delete(key)?;
        self.place.note(self.host, key, None);
        Ok(())
    }

    fn lists_at_once(&self) -> bool {
        true
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.check("lifeboat/probe")
    }
}
