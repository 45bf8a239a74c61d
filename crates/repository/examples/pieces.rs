//! Times what every byte goes through, alone, in processor time of one core: `pieces [MIB]`, the best of
//! five runs over as much data. Beside it, where the best known implementation stands: `openssl speed -evp sha256`,
//! `-evp aes-256-ctr`, `-mac poly1305`, each with `-bytes 1048576`, and `zstd -b3`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use aes::cipher::{KeyIvInit, StreamCipher};
use lifeboat_repository::Id;
use lifeboat_repository::chunker::{Chunker, Polynomial};
use lifeboat_repository::crypto::{Key, random};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use sha2::{Digest, Sha256};
use std::hint::black_box;

const BLOB_BYTES: usize = 1 << 20;

fn processor_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Prints MB a second of what `work` does with each blob.
fn time(name: &str, data: &[u8], mut work: impl FnMut(&[u8])) {
    let run = |_| {
        let begun = processor_seconds();
        data.chunks(BLOB_BYTES).for_each(&mut work);
        processor_seconds() - begun
    };
    let best = (0..5).map(run).fold(f64::INFINITY, f64::min);
    println!("{name:42} {:6.0} MB/s", data.len() as f64 / 1e6 / best);
}

fn main() {
    let mib: usize = std::env::args().nth(1).map_or(128, |n| n.parse().unwrap());
    let mut noise = vec![0; mib << 20];
    random(&mut noise).unwrap();
    let line = |n: usize| {
        format!(
            "INSERT INTO t VALUES ({n}, 'name {}', {});\n",
            n % 997,
            n * n
        )
    };
    let mut text: Vec<u8> = (0..)
        .flat_map(|n| line(n).into_bytes())
        .take(mib << 20)
        .collect();
    text.truncate(mib << 20);

    let mut copy = vec![0; BLOB_BYTES];
    time("copy, from memory", &noise, |blob| {
        copy.copy_from_slice(blob)
    });
    let chunker = Chunker::new(Polynomial::random(|| {
        let mut bytes = [0; 8];
        random(&mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }));
    let mut found = Vec::new();
    time("chunker", &noise, |blob| {
        chunker.candidates(blob, 0, blob.len(), &mut found);
    });
    time("SHA-256", &noise, |blob| {
        black_box(Id::of(blob));
    });
    let other = noise.iter().rev().copied().collect::<Vec<u8>>();
    let mut others = other.chunks(BLOB_BYTES).cycle();
    time("SHA-256 of two in turn, of each", &noise, |blob| {
        let (mut a, mut b) = (Sha256::new(), Sha256::new());
        let blocks = blob.chunks(64).zip(others.next().unwrap().chunks(64));
        for (x, y) in blocks {
            a.update(x);
            b.update(y);
        }
        black_box((a.finalize(), b.finalize()));
    });
    let mut room = vec![0; BLOB_BYTES];
    time("AES-256-CTR", &noise, |blob| {
        let mut cipher = ctr::Ctr128BE::<aes::Aes256>::new(&[1; 32].into(), &[2; 16].into());
        cipher.apply_keystream_b2b(blob, &mut room).unwrap();
    });
    time("Poly1305", &noise, |blob| {
        let tag = Poly1305::new(&[3; 32].into()).compute_unpadded(blob);
        black_box(tag);
    });
    let key = Key::random().unwrap();
    let mut sealed = Vec::new();
    time("AES-256-CTR and Poly1305: sealing", &noise, |blob| {
        sealed.clear();
        key.seal_into(blob, &mut sealed).unwrap();
    });
    let mut room = Vec::new();
    time("sealed, opened again", &noise, |blob| {
        room.clear();
        key.seal_into(blob, &mut room).unwrap();
        black_box(key.open_in_place(&mut room).unwrap());
    });
    let mut zstd = zstd::bulk::Compressor::new(3).unwrap();
    let mut packed = Vec::with_capacity(2 * BLOB_BYTES);
    for (name, data) in [("zstd 3, text", &text), ("zstd 3, random bytes", &noise)] {
        time(name, data, |blob| {
            packed.clear();
            zstd.compress_to_buffer(blob, &mut packed).unwrap();
        });
    }
    let blobs: Vec<Vec<u8>> = text
        .chunks(BLOB_BYTES)
        .map(|blob| zstd.compress(blob).unwrap())
        .collect();
    let mut context = zstd::bulk::Decompressor::new().unwrap();
    let mut next = blobs.iter().cycle();
    time("zstd 3, text, unpacking", &text, |_| {
        let packed = next.next().unwrap();
        room.clear();
        room.reserve(BLOB_BYTES);
        context.decompress_to_buffer(packed, &mut room).unwrap();
    });
}
