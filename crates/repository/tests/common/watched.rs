//! A store whose calls are observed: counted, made to wait for each other, or made to fail.

use bytes::Bytes;
use lifeboat_store::{Exposure, MemoryStore, ObjectInfo, PutOptions, Receipt, Store, StoreError};
use std::io::Read;

/// The kind of a call to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// With the number of bytes, as far as it is known.
    Put(u64),
    Open,
    Stat,
    /// Here the key is a prefix.
    List,
    Delete,
}

/// `Ok` to let a call proceed, or the error that the store returns instead.
pub type Verdict = Result<(), StoreError>;

/// An observer of calls. For a store that only fails, a closure for [`Watch::before`] will do.
pub trait Watch: Send + Sync {
    /// Called before a call. If it fails, the store never sees the call.
    fn before(&self, call: Call, key: &str) -> Verdict;

    /// Called after a call that has succeeded.
    fn after(&self, _call: Call, _key: &str) -> Verdict {
        Ok(())
    }

    /// Wraps the reader of an object that was opened.
    fn opened(&self, object: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
        object
    }

    /// Returns whether the store should seem remote, with listings that may be outdated.
    fn is_remote(&self) -> bool {
        false
    }
}

impl<F: Fn(Call, &str) -> Verdict + Send + Sync> Watch for F {
    fn before(&self, call: Call, key: &str) -> Verdict {
        self(call, key)
    }
}

/// A store with an observer; see the module.
#[derive(Default)]
pub struct Watched<W, S = MemoryStore> {
    pub inner: S,
    pub watch: W,
}

impl<W: Watch, S> Watched<W, S> {
    fn watch<T>(
        &self,
        call: Call,
        key: &str,
        ask: impl FnOnce(&S) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.watch.before(call, key)?;
        let answer = ask(&self.inner)?;
        self.watch.after(call, key)?;
        Ok(answer)
    }
}

impl<W: Watch, S: Store> Store for Watched<W, S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn put(
        &self,
        key: &str,
        body: &mut (dyn Read + Send),
        options: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        let call = Call::Put(options.bytes_hint.unwrap_or(0));
        self.watch(call, key, |inner| inner.put(key, body, options))
    }

    fn put_whole(
        &self,
        key: &str,
        body: Bytes,
        options: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        let call = Call::Put(body.len() as u64);
        self.watch(call, key, |inner| inner.put_whole(key, body, options))
    }

    fn open(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        let opened = self.watch(Call::Open, key, |inner| inner.open(key, offset));
        opened.map(|object| self.watch.opened(object))
    }

    fn open_part(
        &self,
        key: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        let opened = self.watch(Call::Open, key, |inner| inner.open_part(key, offset, bytes));
        opened.map(|object| self.watch.opened(object))
    }

    fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.watch(Call::Stat, key, |inner| inner.stat(key))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.watch(Call::List, prefix, |inner| inner.list(prefix))
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.watch(Call::Delete, key, |inner| inner.delete(key))
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe()
    }

    fn is_remote(&self) -> bool {
        self.watch.is_remote() || self.inner.is_remote()
    }

    fn lists_at_once(&self) -> bool {
        !self.watch.is_remote() && self.inner.lists_at_once()
    }

    fn exposure(&self, keys: &[String]) -> Result<Exposure, StoreError> {
        self.inner.exposure(keys)
    }
}

/// The error of a store that does not answer.
pub fn unreachable(detail: &str) -> StoreError {
    StoreError::Unreachable {
        location: "watched".to_owned(),
        detail: detail.to_owned(),
    }
}
