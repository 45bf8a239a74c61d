//! The config, sealed by whoever can, and as anybody can write it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_fuzz::place;
use lifeboat_repository::Repository;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let place = place();
    for config in [data.to_vec(), place.seal(data)] {
        place.put("config", &config);
        let opened = Repository::open(Arc::clone(&place.store), "", b"x");
        if let Ok(repository) = opened {
            let _ = repository.chunker();
        }
    }
});
