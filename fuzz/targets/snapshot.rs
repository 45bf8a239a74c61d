//! A snapshot, sealed by whoever can.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_fuzz::place;
use lifeboat_repository::snapshot::{GroupBy, TagChange};
use lifeboat_repository::{FileKind, Snapshot};

fuzz_target!(|data: &[u8]| {
    place().with_document(FileKind::Snapshot, data, |repository, id| {
        let Ok(snapshot) = repository.snapshot(&id) else {
            return;
        };
        let (all, errors) = repository.snapshots().unwrap();
        assert!(all.len() == 1 && errors.is_empty());
        let _ = GroupBy::default().group(&snapshot);
        let _ = snapshot.retagged(&id, &TagChange::Add(vec!["a".into()]));
        let json = serde_json::to_vec(&snapshot).unwrap();
        let again: Snapshot = serde_json::from_slice(&json).unwrap();
        assert_eq!(again, snapshot);
    });
});
