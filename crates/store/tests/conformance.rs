//! Tests that every store must pass, run against each of them, and tests for particular stores. The
//! servers are real: `s3s-fs`, `moto` and OpenSSH.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]

#[path = "conformance/faults.rs"]
mod faults;
#[path = "conformance/local.rs"]
mod local;
#[path = "conformance/locks.rs"]
mod locks;
#[path = "conformance/s3.rs"]
mod s3;
#[path = "conformance/sftp.rs"]
mod sftp;
#[path = "conformance/sftp_faults.rs"]
mod sftp_faults;
#[path = "conformance/suite.rs"]
mod suite;
#[path = "conformance/versions.rs"]
mod versions;

use lifeboat_store::aws::Credentials;
use lifeboat_store::{LocalStore, MemoryStore, S3Options, S3Store, Store};
use lifeboat_testkit::s3::{MotoServer, S3sServer};
use std::io::{self, Read};

#[test]
fn memory_conforms() {
    suite::run(&|| Box::new(MemoryStore::new()), &[]);
}

#[test]
fn local_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let mut n = 0..;
    let n = std::sync::Mutex::new(&mut n);
    suite::run(
        &|| {
            let root = directory
                .path()
                .join(n.lock().unwrap().next().unwrap().to_string());
            Box::new(LocalStore::create(&root).unwrap())
        },
        &[],
    );
}

#[test]
fn s3_on_s3s_fs_conforms() {
    let server = S3sServer::start();
    let mut n = 0..;
    let n = std::sync::Mutex::new(&mut n);
    suite::run(
        &|| {
            let bucket = format!("conformance-{}", n.lock().unwrap().next().unwrap());
            server.create_bucket(&bucket);
            Box::new(s3s(&server, &bucket, |_| {}))
        },
        // It keeps objects as files, and answers 500 if a directory is requested.
        &["has no directories"],
    );
}

#[test]
fn memory_with_versions_conforms() {
    suite::run(&|| Box::new(MemoryStore::versioned()), &[]);
}

#[test]
fn s3_on_moto_conforms() {
    let server = MotoServer::start();
    let mut n = 0..;
    let n = std::sync::Mutex::new(&mut n);
    suite::run(
        &|| {
            let bucket = format!("conformance-{}", n.lock().unwrap().next().unwrap());
            server.create_bucket(&bucket);
            // With a prefix here, without one above.
            Box::new(moto(&server, &bucket, |o| o.prefix = "deep/er".to_owned()))
        },
        &[],
    );
}

/// A store on `s3s-fs`.
fn s3s(server: &S3sServer, bucket: &str, change: impl FnOnce(&mut S3Options)) -> S3Store {
    let mut options = S3Options {
        bucket: bucket.to_owned(),
        endpoint: Some(server.endpoint()),
        credentials: Credentials::given(&server.access_key, &server.secret_key, None),
        ..S3Options::default()
    };
    change(&mut options);
    S3Store::open(options).unwrap()
}

/// A store on `moto`.
fn moto(server: &MotoServer, bucket: &str, change: impl FnOnce(&mut S3Options)) -> S3Store {
    let mut options = S3Options {
        bucket: bucket.to_owned(),
        endpoint: Some(server.endpoint()),
        region: Some("us-east-1".to_owned()),
        credentials: Credentials::given(&server.access_key, &server.secret_key, None),
        ..S3Options::default()
    };
    change(&mut options);
    S3Store::open(options).unwrap()
}

/// Pseudo-random bytes, generated as they are read, in pieces of odd sizes.
struct Noise {
    state: u64,
    left: u64,
}

impl Noise {
    fn new(seed: u64, bytes: u64) -> Self {
        Noise {
            state: seed | 1,
            left: bytes,
        }
    }

    fn all(seed: u64, bytes: u64) -> Vec<u8> {
        let mut out = Vec::new();
        Noise::new(seed, bytes).read_to_end(&mut out).unwrap();
        out
    }
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.min(37_123)).unwrap();
        let n = most.min(buffer.len());
        for byte in &mut buffer[..n] {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            *byte = self.state.to_le_bytes()[3];
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// A body that ends in an error after its bytes.
struct Breaks<R>(R);

impl<R: Read> Read for Breaks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the dump ended early")),
            n => Ok(n),
        }
    }
}

/// The rest of an object from an offset.
fn get(store: &dyn Store, key: &str, offset: u64) -> Vec<u8> {
    let mut out = Vec::new();
    store
        .open(key, offset)
        .unwrap()
        .read_to_end(&mut out)
        .unwrap();
    out
}

/// The keys of a listing.
fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let found = store.list(prefix).unwrap();
    found.into_iter().map(|object| object.key).collect()
}
