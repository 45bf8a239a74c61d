//! A key file: anybody who can write to the store can make one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::Id;
use lifeboat_repository::keyfile::KeyFile;

fuzz_target!(|data: &[u8]| {
    let Ok(file) = KeyFile::parse(Id::of(data), data) else {
        return;
    };
    let json = serde_json::to_value(&file).unwrap();
    let number = |name: &str| u128::from(json[name].as_u64().unwrap());
    let cost = 128 * number("N") * number("r") * number("p");
    // What is dear and allowed would only cost time.
    if !(1 << 20..=1 << 36).contains(&cost) {
        let _ = file.open(b"x");
    }
});
