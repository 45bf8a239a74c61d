use super::*;

const POLYNOMIAL: u64 = 0x39_b70b_b1e0_09e5;

fn polynomial() -> Polynomial {
    Polynomial::new(POLYNOMIAL).unwrap()
}

/// Bytes that are repetitive in some places, zero in some, and random in most.
fn mixed(len: usize, mut seed: u64) -> Vec<u8> {
    let mut data = Vec::with_capacity(len + 4096);
    while data.len() < len {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        match seed % 5 {
            0 => data.extend_from_slice(&[0; 3000]),
            1 => data.extend(b"INSERT INTO t VALUES (1,2,3);\n".repeat(60)),
            _ => {
                for i in 0..400_u64 {
                    let word = (seed ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    data.extend_from_slice(&(word ^ word >> 29).to_le_bytes());
                }
            }
        }
    }
    data.truncate(len);
    data
}

/// Chunk lengths by the definition: a window that starts with one byte of value 1, one byte at a
/// time, each fingerprint computed by division.
fn by_definition(data: &[u8]) -> Vec<usize> {
    let polynomial = polynomial();
    let mut lengths = Vec::new();
    let mut start = 0;
    while start < data.len() {
        let mut end = data.len().min(start + CHUNK_BYTES_MAX);
        for place in start + CHUNK_BYTES_MIN..=end {
            let mut print = 0;
            for &byte in &data[place - WINDOW_BYTES..place] {
                print = polynomial.reduce(print << 8 | u64::from(byte));
            }
            if print & MASK == 0 {
                end = place;
                break;
            }
        }
        lengths.push(end - start);
        start = end;
    }
    lengths
}

fn lengths(chunker: &Chunker, data: &[u8]) -> Vec<usize> {
    let mut buffer = Vec::new();
    let mut chunks = Chunks::new(chunker, data, &mut buffer);
    let (mut lengths, mut joined) = (Vec::new(), Vec::new());
    while let Some(chunk) = chunks.next().unwrap() {
        lengths.push(chunk.len());
        joined.extend_from_slice(chunk);
    }
    assert!(joined == data, "the chunks are not the stream");
    lengths
}

#[test]
fn cut_points_are_those_of_the_definition() {
    let data = mixed(4 << 20, 7);
    let chunker = Chunker::new(polynomial());
    let found = lengths(&chunker, &data);
    assert!(found.len() > 2, "{found:?}");
    assert_eq!(found, by_definition(&data));
}

#[test]
fn every_variant_finds_the_same_places() {
    let data = mixed(6 << 20, 3);
    let tables = Tables::new(polynomial());
    let chunker = Chunker::new(polynomial());
    let ranges = [
        (64, data.len()),
        (64, 64),
        (65, 127),
        (1000, 5095),
        (1000, 5096),
        (4097, 1 << 20),
        (524_288, 524_288 + 70_001),
    ];
    for (from, to) in ranges {
        let (mut plain, mut four, mut best) = (vec![], vec![], vec![]);
        tables.one_lane(&data, from, to, &mut plain);
        tables.four_lanes(&data, from, to, &mut four);
        chunker.candidates(&data, from, to, &mut best);
        assert_eq!(four, plain, "four lanes, {from}..={to}");
        assert_eq!(best, plain, "best, {from}..={to}");
    }
}

#[test]
fn lengths_stay_within_their_limits() {
    let chunker = Chunker::new(polynomial());
    assert!(lengths(&chunker, b"").is_empty());
    assert_eq!(lengths(&chunker, b"x"), [1]);
    // Zeros have the fingerprint zero: they are cut at the shortest length.
    let zeros = vec![0; 3 * CHUNK_BYTES_MIN + 5];
    assert_eq!(
        lengths(&chunker, &zeros),
        [CHUNK_BYTES_MIN, CHUNK_BYTES_MIN, CHUNK_BYTES_MIN, 5]
    );
    // A repeated byte has the same fingerprint everywhere, and no cut.
    let ones = vec![1; CHUNK_BYTES_MAX + CHUNK_BYTES_MIN];
    assert_eq!(lengths(&chunker, &ones), [CHUNK_BYTES_MAX, CHUNK_BYTES_MIN]);
    for len in [CHUNK_BYTES_MIN - 1, CHUNK_BYTES_MIN, CHUNK_BYTES_MIN + 1] {
        assert_eq!(lengths(&chunker, &ones[..len]), [len]);
    }
}

#[test]
fn short_reads_change_nothing_and_errors_are_returned() {
    struct Dribble<'a>(&'a [u8], usize);
    impl std::io::Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 = self.1 * 31 % 7919 + 1;
            if self.1.is_multiple_of(5) {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let data = mixed(3 << 20, 11);
    let chunker = Chunker::new(polynomial());
    let mut buffer = Vec::new();
    let mut chunks = Chunks::new(&chunker, Dribble(&data, 1), &mut buffer);
    let mut found = Vec::new();
    while let Some(chunk) = chunks.next().unwrap() {
        found.push(chunk.len());
    }
    assert_eq!(found, lengths(&chunker, &data));

    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
    }
    let error = Chunks::new(&chunker, Broken, &mut buffer)
        .next()
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn buffers_are_given_away_without_changing_what_follows() {
    let data = mixed(9 << 20, 5);
    let chunker = Chunker::new(polynomial());
    let mut buffer = Vec::new();
    let mut chunks = Chunks::new(&chunker, data.as_slice(), &mut buffer);
    let (mut whole, mut count) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().unwrap() {
        let bytes = chunk.len();
        match count % 3 {
            0 => whole.extend_from_slice(chunk),
            // The next buffer may have any content and any length.
            number => {
                let room = vec![0xaa; number << 20];
                whole.extend_from_slice(&chunks.give_away(room)[..bytes]);
            }
        }
        count += 1;
    }
    assert!(whole == data);
    assert_eq!(count, lengths(&chunker, &data).len());
}

/// Chunk lengths from all places that the plain chunker finds, which knows nothing of zeros.
fn by_places(data: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    Tables::new(polynomial()).one_lane(data, WINDOW_BYTES, data.len(), &mut places);
    let (mut lengths, mut start) = (Vec::new(), 0);
    while start < data.len() {
        let first = places.partition_point(|place| *place < start + CHUNK_BYTES_MIN);
        let end = places.get(first).copied().unwrap_or(data.len());
        let end = end.min(start + CHUNK_BYTES_MAX).min(data.len());
        lengths.push(end - start);
        start = end;
    }
    lengths
}

/// The lengths of the chunks of a file, and the number of bytes that were read. `known` is the
/// content that the chunks must have.
fn lengths_of_file(chunker: &Chunker, file: std::fs::File, known: &[u8]) -> (Vec<usize>, u64) {
    let mut buffer = Vec::new();
    let mut chunks = Chunks::new(chunker, Input::file(file).unwrap(), &mut buffer);
    let (mut lengths, mut read, mut place) = (Vec::new(), 0, 0);
    loop {
        for _ in 0..chunks.skip_zeros().unwrap() {
            let passed = known.get(place..place + CHUNK_BYTES_MIN);
            assert!(passed.is_none_or(is_zero), "no hole is at {place}");
            place += CHUNK_BYTES_MIN;
            lengths.push(CHUNK_BYTES_MIN);
        }
        match chunks.next().unwrap() {
            Some(chunk) => {
                let there = known.get(place..place + chunk.len());
                assert!(there.is_none_or(|there| there == chunk), "at {place}");
                place += chunk.len();
                read += chunk.len() as u64;
                lengths.push(chunk.len());
            }
            None => return (lengths, read),
        }
    }
}

/// A file with holes, and data at some places.
fn with_holes(islands: &[(u64, Vec<u8>)], bytes: u64) -> std::fs::File {
    use std::os::unix::fs::FileExt;
    let file = tempfile::tempfile().unwrap();
    file.set_len(bytes).unwrap();
    for (at, island) in islands {
        file.write_all_at(island, *at).unwrap();
    }
    file
}

#[test]
fn a_file_with_holes_is_cut_like_its_bytes() {
    const MIB: u64 = 1 << 20;
    let chunker = Chunker::new(polynomial());
    let half = CHUNK_BYTES_MIN as u64;
    let cases = [
        (vec![], 9 * MIB + 77),
        (vec![], 18 * half),
        (vec![(0, 300)], 8 * MIB),
        (vec![(5 * MIB + 4321, 3), (12 * MIB - 10, 20)], 17 * MIB + 1),
        (vec![(0, 700_001), (6 * MIB, 2_000_000)], 14 * MIB),
        (vec![(9 * MIB, 64 << 10), (18 * MIB - 1, 1)], 18 * MIB),
        (
            vec![(half - 32, 40), (5 * MIB + half - 64, 64)],
            11 * MIB - 63,
        ),
    ];
    let cases = (5..).zip(cases).map(|(seed, (islands, bytes))| {
        let island = |(at, length): (u64, usize)| (at, mixed(length, seed));
        (islands.into_iter().map(island).collect(), bytes)
    });
    // No cut before the zeros, many of which are searched before they are skipped.
    let late = (
        vec![
            (0, vec![1; (1 << 20) + 100]),
            (9 * MIB, mixed(2_000_000, 12)),
        ],
        12 * MIB,
    );
    for (case, (islands, bytes)) in cases.chain([late]).enumerate() {
        let mut data = vec![0; usize::try_from(bytes).unwrap()];
        for (at, island) in &islands {
            let at = usize::try_from(*at).unwrap();
            data[at..at + island.len()].copy_from_slice(island);
        }
        let plain = by_places(&data);
        assert_eq!(lengths(&chunker, &data), plain, "as a stream, {case}");
        let (found, read) = lengths_of_file(&chunker, with_holes(&islands, bytes), &data);
        assert_eq!(found, plain, "as a file, {case}");
        assert!(read < bytes, "case {case}: no hole was passed over");
    }
}

#[test]
fn holes_are_not_read() {
    let chunker = Chunker::new(polynomial());
    let bytes = (200_u64 << 30) + 12_345;
    let file = with_holes(
        &[(1 << 30, mixed(100_000, 9)), (1 << 37, vec![7; 5])],
        bytes,
    );
    let (lengths, read) = lengths_of_file(&chunker, file, &[]);
    assert_eq!(
        lengths.iter().map(|length| *length as u64).sum::<u64>(),
        bytes
    );
    assert!(read < 16 << 20, "{read} bytes were read");
}
