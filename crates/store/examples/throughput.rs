//! Measures `put` and the reading back, in MiB/s, and this program's peak memory:
//!
//! ```text
//! throughput local DIRECTORY MIB
//! throughput s3 ENDPOINT BUCKET ACCESS_KEY SECRET_KEY MIB
//! ```

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

use lifeboat_store::{LocalStore, PutOptions, S3Options, S3Store, Store};
use std::io::Read;
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (store, mib): (Box<dyn Store>, &str) = match words[..] {
        ["local", directory, mib] => (
            Box::new(LocalStore::create(directory.as_ref()).unwrap()),
            mib,
        ),
        ["s3", endpoint, bucket, access_key, secret_key, mib] => {
            let options = S3Options {
                bucket: bucket.to_owned(),
                endpoint: Some(endpoint.to_owned()),
                access_key: Some(access_key.to_owned()),
                secret_key: Some(secret_key.to_owned()),
                ..S3Options::default()
            };
            (Box::new(S3Store::open(options).unwrap()), mib)
        }
        _ => panic!("usage: throughput local DIRECTORY MIB | s3 ENDPOINT BUCKET KEY SECRET MIB"),
    };
    let bytes = mib.parse::<u64>().unwrap() << 20;

    let begun = Instant::now();
    let mut body = Pattern(0).take(bytes);
    let receipt = store.put("throughput", &mut body, &PutOptions::default());
    assert_eq!(receipt.unwrap().bytes, bytes);
    report("put", bytes, begun);

    let begun = Instant::now();
    let mut reader = store.open("throughput", 0).unwrap();
    let read = std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    assert_eq!(read, bytes);
    report("get", bytes, begun);

    store.delete("throughput").unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{}", peak.unwrap());
}

fn report(what: &str, bytes: u64, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    let mib = bytes >> 20;
    println!("{what}: {:.0} MiB/s ({seconds:.2} s)", mib as f64 / seconds);
}

/// Bytes that cost nothing to make and are not all alike.
struct Pattern(u8);

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0 = self.0.wrapping_add(1);
        buffer.fill(self.0);
        Ok(buffer.len())
    }
}
