//! A lock, sealed by whoever can.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_fuzz::place;
use lifeboat_repository::{FileKind, lock};

fuzz_target!(|data: &[u8]| {
    place().with_document(FileKind::Lock, data, |repository, _| {
        let found = lock::find(repository, None).unwrap();
        assert_eq!(found.len(), 1);
        if let Ok(file) = &found[0].file {
            let _ = file.to_string();
            let json = serde_json::to_vec(file).unwrap();
            let again: lock::LockFile = serde_json::from_slice(&json).unwrap();
            assert_eq!(again, *file);
        }
    });
});
