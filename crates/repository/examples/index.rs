//! Times the index: how long so many blobs take to read from index files, and in memory.
//!
//! `index BLOBS` makes that many, writes them as index files into memory, and reads them again.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use lifeboat_repository::index::{IndexBlob, IndexFile, IndexPack};
use lifeboat_repository::pack::BlobKind;
use lifeboat_repository::{Author, FileKind, Id, Repository};
use lifeboat_store::MemoryStore;
use std::sync::Arc;
use std::time::Instant;

const PACK_BLOBS: u32 = 16;
const FILE_PACKS: u32 = 3_000;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        << 10
}

fn processor_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn id(number: u32, of: &[u8]) -> Id {
    Id::of(&[&number.to_le_bytes(), of].concat())
}

fn main() {
    let blobs: u32 = std::env::args()
        .nth(1)
        .map_or(1_000_000, |n| n.parse().unwrap());
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::create(store, "", b"x", &Author::default()).unwrap();
    let packs = blobs / PACK_BLOBS;
    let begun = Instant::now();
    for first in (0..packs).step_by(FILE_PACKS as usize) {
        let file = (first..packs.min(first + FILE_PACKS)).map(|pack| IndexPack {
            id: id(pack, b"pack"),
            blobs: (0..PACK_BLOBS)
                .map(|number| IndexBlob {
                    id: id(pack * PACK_BLOBS + number, b"blob"),
                    kind: BlobKind::Data,
                    offset: number << 20,
                    length: 1 << 20,
                    uncompressed_length: 3 << 20,
                })
                .collect(),
            time: None,
        });
        let file = IndexFile {
            packs: file.collect(),
            ..IndexFile::default()
        };
        repository.save_index(&file).unwrap();
    }
    let listed = repository.list(FileKind::Index).unwrap();
    let bytes: u64 = listed.iter().map(|(_, bytes)| bytes).sum();
    println!(
        "{:.1} bytes a blob in files",
        bytes as f64 / f64::from(blobs)
    );
    println!("made in {:.1} s", begun.elapsed().as_secs_f64());
    let (begun, before, spent) = (Instant::now(), resident(), processor_seconds());
    let (index, errors) = repository.load_index().unwrap();
    assert!(errors.is_empty());
    let took = begun.elapsed().as_secs_f64();
    let each = (resident() - before) as f64 / index.len() as f64;
    println!(
        "{} blobs read in {took:.2} s ({:.2} s of processors), {each:.1} bytes each",
        index.len(),
        processor_seconds() - spent
    );
    let begun = Instant::now();
    let wanted: Vec<Id> = (0..1_000_000).map(|n| id(n * 7 % blobs, b"blob")).collect();
    let hashed = begun.elapsed().as_secs_f64();
    let spent = processor_seconds();
    let found = wanted
        .iter()
        .filter(|id| index.has(BlobKind::Data, id))
        .count();
    let looked = processor_seconds() - spent;
    println!("{found} of a million found in {looked:.2} s of a processor (made in {hashed:.2} s)");
}
