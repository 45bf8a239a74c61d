//! The proof that a store can be used, written once for every store. It shows that an object can
//! be put, read back and listed now; it cannot show that a large one fits.

use crate::{PutOptions, Store, StoreError};
use std::io::Read;

/// See [`Store::probe`].
pub(crate) fn probe(store: &dyn Store) -> Result<(), StoreError> {
    let location = store.location();
    let name = random_name(&location)?;
    let key = format!("lifeboat/probe-{name}");
    let content = format!("lifeboat probe {name}\n");
    store.put(&key, &mut content.as_bytes(), &PutOptions::default())?;
    let proved = read_back(store, &key, &content);
    match store.delete(&key) {
        // A store that keeps what it has is a good store for backups.
        Err(StoreError::Denied { .. } | StoreError::ReadOnly { .. }) => proved,
        Err(error) => proved.and(Err(error)),
        Ok(()) => proved,
    }
}

fn read_back(store: &dyn Store, key: &str, content: &str) -> Result<(), StoreError> {
    let failed = |detail: String| StoreError::Other {
        location: store.location(),
        detail,
    };
    let mut observed = String::new();
    store
        .open(key, 0)?
        .take(4096)
        .read_to_string(&mut observed)
        .map_err(|e| failed(format!("the probe {key:?} cannot be read back: {e}")))?;
    if observed != content {
        return Err(StoreError::Unconfirmed {
            location: store.location(),
            key: key.to_owned(),
            expected: format!("{content:?}"),
            observed: format!("{observed:?}"),
        });
    }
    let listed = store.list(key)?;
    if listed.iter().any(|o| o.key == key) {
        return Ok(());
    }
    Err(failed(format!("the probe {key:?} is not in a listing")))
}

/// Sixteen random hexadecimal digits.
pub(crate) fn random_name(location: &str) -> Result<String, StoreError> {
    let mut bytes = [0_u8; 8];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(8) => Ok(format!("{:016x}", u64::from_ne_bytes(bytes))),
        Ok(_) => Err(rustix::io::Errno::IO),
        Err(errno) => Err(errno),
    }
    .map_err(|errno| StoreError::Other {
        location: location.to_owned(),
        detail: format!("this host gives no random numbers: {errno}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, ObjectInfo, Receipt};
    use std::io;

    /// A store with one fault.
    struct Faulty {
        inner: MemoryStore,
        fault: &'static str,
    }

    impl Faulty {
        fn denied<T>(&self, key: &str) -> Result<T, StoreError> {
            Err(StoreError::Denied {
                location: self.location(),
                key: key.to_owned(),
                detail: self.fault.to_owned(),
            })
        }
    }

    impl Store for Faulty {
        fn location(&self) -> String {
            "faulty".to_owned()
        }

        fn put(
            &self,
            key: &str,
            body: &mut (dyn Read + Send),
            options: &PutOptions,
        ) -> Result<Receipt, StoreError> {
            match self.fault {
                "put" => self.denied(key),
                "content" => self.inner.put(key, &mut &b"other"[..], options),
                _ => self.inner.put(key, body, options),
            }
        }

        fn open(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>, StoreError> {
            match self.fault {
                "open" => self.denied(key),
                "read" => Ok(Box::new(io::Read::chain(&b"life"[..], Broken))),
                _ => self.inner.open(key, offset),
            }
        }

        fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
            self.inner.stat(key)
        }

        fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
            match self.fault {
                "list" => Ok(Vec::new()),
                _ => self.inner.list(prefix),
            }
        }

        fn delete(&self, key: &str) -> Result<(), StoreError> {
            match self.fault {
                "delete" => self.denied(key),
                _ => self.inner.delete(key),
            }
        }

        fn probe(&self) -> Result<(), StoreError> {
            probe(self)
        }
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }

    fn probed(fault: &'static str) -> (Result<(), StoreError>, usize) {
        let store = Faulty {
            inner: MemoryStore::new(),
            fault,
        };
        let result = store.probe();
        (result, store.inner.list("").unwrap().len())
    }

    #[test]
    fn each_fault_shows_and_no_probe_is_left() {
        assert!(matches!(probed("none"), (Ok(()), 0)));
        assert!(matches!(probed("put"), (Err(StoreError::Denied { .. }), 0)));
        assert!(matches!(
            probed("open"),
            (Err(StoreError::Denied { .. }), 0)
        ));
        assert!(matches!(probed("read"), (Err(StoreError::Other { .. }), 0)));
        assert!(matches!(probed("list"), (Err(StoreError::Other { .. }), 0)));
        assert!(matches!(
            probed("content"),
            (Err(StoreError::Unconfirmed { .. }), 0)
        ));
    }

    #[test]
    fn a_store_that_forbids_deletion_is_good() {
        assert!(matches!(probed("delete"), (Ok(()), 1)));
    }
}
