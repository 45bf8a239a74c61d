//! The probe that proves a store usable, shared by all stores. It shows that an object can be put,
//! read back and listed now; it cannot show that a large object fits. The object always has the
//! same key and is replaced each time, so that a store that never deletes does not fill with
//! probes.

use crate::{PutOptions, Store, StoreError};
use std::io::Read;
use std::time::Duration;

/// The object's key.
const KEY: &str = "lifeboat/probe";

/// The number of attempts if another process may be probing at the same time.
const ATTEMPTS: usize = 5;

/// Implements [`Store::probe`].
pub(crate) fn probe(store: &dyn Store) -> Result<(), StoreError> {
    let mut proved = attempt(store);
    for _ in 1..ATTEMPTS {
        if matches!(proved, Ok(None)) || proved.is_err() {
            break;
        }
        proved = attempt(store);
    }
    let proved = proved.and_then(|differs| differs.map_or(Ok(()), Err));
    match store.delete(KEY) {
        // A store that refuses deletion is a good store for backups.
        Err(StoreError::Denied { .. } | StoreError::ReadOnly { .. }) => proved,
        Err(error) => proved.and(Err(error)),
        Ok(()) => proved,
    }
}

/// Makes one attempt. An outcome that another process may have caused, by replacing or removing the
/// probe, is returned as a value and not as an error.
fn attempt(store: &dyn Store) -> Result<Option<StoreError>, StoreError> {
    let location = store.location();
    let failed = |detail: String| StoreError::Other {
        location: location.clone(),
        detail,
    };
    let content = format!("lifeboat probe {}\n", random_name(&location)?);
    let put = store.put(KEY, &mut content.as_bytes(), &PutOptions::default());
    let reader = match put.and_then(|_| store.open(KEY, 0)) {
        Err(error @ (StoreError::Unconfirmed { .. } | StoreError::NotFound { .. })) => {
            return Ok(Some(error));
        }
        other => other?,
    };
    let mut observed = String::new();
    reader
        .take(4096)
        .read_to_string(&mut observed)
        .map_err(|e| failed(format!("the probe {KEY:?} cannot be read back: {e}")))?;
    if observed != content {
        return Ok(Some(StoreError::Unconfirmed {
            location: location.clone(),
            key: KEY.to_owned(),
            expected: format!("{content:?}"),
            observed: format!("{observed:?}"),
        }));
    }
    let listed = store.list(KEY)?;
    let is_listed = listed.iter().any(|o| o.key == KEY);
    Ok((!is_listed).then(|| failed(format!("the probe {KEY:?} is not in a listing"))))
}

/// Returns sixteen random hex digits.
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

/// Shortens a delay by up to half, at random, so that many clients do not return at once.
pub(crate) fn jittered(delay: Duration) -> Duration {
    let share = random_name("").ok().and_then(|name| {
        let byte = u8::from_str_radix(name.get(..2)?, 16).ok()?;
        Some(f64::from(byte) / 255.0)
    });
    delay.mul_f64(1.0 - share.unwrap_or_default() / 2.0)
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
    fn every_fault_is_found_and_no_probe_is_left() {
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
    fn a_store_that_forbids_deletion_passes() {
        assert!(matches!(probed("delete"), (Ok(()), 1)));
    }

    #[test]
    fn without_deletion_the_same_probe_object_is_replaced() {
        let store = Faulty {
            inner: MemoryStore::new(),
            fault: "delete",
        };
        for _ in 0..3 {
            store.probe().unwrap();
        }
        let keys: Vec<_> = store
            .inner
            .list("")
            .unwrap()
            .into_iter()
            .map(|o| o.key)
            .collect();
        assert_eq!(keys, ["lifeboat/probe"]);
    }
}
