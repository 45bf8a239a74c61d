//! The header of a pack, by whoever can seal, and the end of one by anybody.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_fuzz::place;
use lifeboat_repository::pack;
use lifeboat_repository::{FileKind, Id};

fuzz_target!(|data: &[u8]| {
    let place = place();
    let key = place.repository.key();
    let _ = pack::parse_tail(key, data, data.len() as u64);
    let Some((bytes, header)) = data.split_first_chunk() else {
        return;
    };
    let said = u64::from(u32::from_le_bytes(*bytes));
    let sealed = place.seal(header);
    for pack_bytes in [said, said + sealed.len() as u64 + 4] {
        if let Ok(blobs) = pack::parse_header(key, &sealed, pack_bytes) {
            let mut end = 0;
            for blob in &blobs {
                assert_eq!(u64::from(blob.offset), end);
                end += u64::from(blob.length);
            }
            assert_eq!(end + sealed.len() as u64 + 4, pack_bytes);
        }
    }
    // As it is in a store: read from its end.
    let mut whole = vec![0; usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))];
    whole.extend_from_slice(&sealed);
    whole.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
    let id = Id::of(&whole);
    place.put(&FileKind::Pack.key(&id), &whole);
    for length in [whole.len() as u64, said] {
        let _ = place.repository.pack_header(&id, length);
    }
    place.repository.delete(FileKind::Pack, &id).unwrap();
});
