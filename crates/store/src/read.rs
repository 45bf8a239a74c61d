//! Readers that know how many bytes must come. Fewer bytes than the store promised are an error,
//! never an end. The content is for the caller to check.

use std::io::{self, Read};

/// A reader that yields exactly `expected` bytes, or an error.
pub(crate) struct Exact<R> {
    inner: R,
    what: String,
    expected: u64,
    seen: u64,
}

impl<R: Read> Exact<R> {
    /// `what` names the object in errors.
    pub(crate) fn new(inner: R, expected: u64, what: String) -> Self {
        Exact {
            inner,
            what,
            expected,
            seen: 0,
        }
    }
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let n = self.inner.read(buffer)?;
        self.seen += n as u64;
        let (what, seen, expected) = (&self.what, self.seen, self.expected);
        if n == 0 && seen < expected {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{what} ended after {seen} of {expected} bytes"),
            ));
        }
        if seen > expected {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{what} has more than the {expected} bytes it should have"),
            ));
        }
        Ok(n)
    }
}

/// Reads until `buffer` holds `most` bytes or the body ends. The body has ended if there are fewer.
///
/// `Vec` and `Read::take` would do the same, but would let the vector grow past `most`.
pub(crate) fn fill(
    body: &mut (dyn Read + Send),
    buffer: &mut Vec<u8>,
    most: usize,
) -> io::Result<()> {
    const STEP: usize = 1 << 20;
    while buffer.len() < most {
        let room = most - buffer.len();
        let step = room.min(STEP);
        if buffer.capacity() - buffer.len() < step {
            // Doubling keeps small objects cheap and needs few copies for large ones.
            let more = buffer.capacity().max(step).min(room);
            buffer.reserve_exact(more);
        }
        let before = buffer.len();
        let limit = step as u64;
        // The explicit type keeps `take` from consuming the body.
        let mut limited = Read::take(&mut *body, limit);
        limited.read_to_end(buffer)?;
        if buffer.len() - before < step {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_bytes_are_an_error_and_so_are_too_many() {
        let mut out = Vec::new();
        let short = Exact::new(&b"abc"[..], 5, "x".into()).read_to_end(&mut out);
        assert_eq!(short.unwrap_err().to_string(), "x ended after 3 of 5 bytes");
        assert!(
            Exact::new(&b"abc"[..], 2, "x".into())
                .read_to_end(&mut out)
                .is_err()
        );
        out.clear();
        Exact::new(&b"abc"[..], 3, "x".into())
            .read_to_end(&mut out)
            .unwrap();
        assert_eq!(out, b"abc");
    }

    #[test]
    fn filling_stops_at_the_limit_or_the_end() {
        let data: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 251) as u8).collect();
        let mut body = &data[..];
        let mut buffer = Vec::new();
        fill(&mut body, &mut buffer, 3_000_000).unwrap();
        assert_eq!(buffer, data[..3_000_000]);
        assert!(buffer.capacity() <= 3_000_000 + 64);
        buffer.clear();
        fill(&mut body, &mut buffer, 3_000_000).unwrap();
        assert_eq!(buffer, data[3_000_000..]);
    }
}
