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
