//! An index file, and what is made of it in memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_fuzz::place;
use lifeboat_repository::FileKind;
use lifeboat_repository::index::{IndexBuilder, IndexFile};

fuzz_target!(|data: &[u8]| {
    place().with_document(FileKind::Index, data, |repository, id| {
        let _ = repository.index_file(&id);
    });
    let Ok(file) = IndexFile::parse(data) else {
        return;
    };
    let json = serde_json::to_vec(&file).unwrap();
    assert_eq!(IndexFile::parse(&json).unwrap().packs, file.packs);
    let wanted = file.packs.clone();
    let mut builder = IndexBuilder::default();
    builder.add_file(file.clone());
    builder.add_file(file);
    let index = builder.finish();
    assert_eq!(index.blobs().count(), index.len());
    for pack in &wanted {
        for blob in &pack.blobs {
            assert!(index.has(blob.kind, &blob.id));
            let here = |at: &lifeboat_repository::index::Location| {
                at.pack == pack.id && at.offset == blob.offset
            };
            assert!(index.locations(blob.kind, &blob.id).any(|at| here(&at)));
        }
    }
});
