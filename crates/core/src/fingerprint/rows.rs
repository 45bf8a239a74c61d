//! The order-independent sum of row hashes.

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128_with_seed};

/// A sum of seeded xxh3-128 hashes of rows, modulo 2^128.
///
/// Addition makes the sum independent of order and allows parts to be summed in threads. It is
/// never XOR, by which a duplicated row would cancel out. The seed is derived from the table's
/// name, so that rows moved from one table to another do not balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSum {
    seed: u64,
    /// Rows added.
    pub rows: u64,
    /// Bytes of these rows.
    pub bytes: u64,
    sum: u128,
}

impl RowSum {
    /// Makes an empty sum for the table (or tree) of this name.
    pub fn new(name: &str) -> Self {
        RowSum {
            seed: xxh3_64(name.as_bytes()),
            rows: 0,
            bytes: 0,
            sum: 0,
        }
    }

    /// Adds a row.
    pub fn add(&mut self, row: &[u8]) {
        self.rows += 1;
        self.bytes += row.len() as u64;
        self.sum = self.sum.wrapping_add(xxh3_128_with_seed(row, self.seed));
    }

    /// Makes a hasher for a row that comes in pieces; give it to [`RowSum::add_hashed`].
    pub fn hasher(&self) -> Xxh3 {
        Xxh3::with_seed(self.seed)
    }

    /// Adds a row of `bytes` bytes that went through [`RowSum::hasher`].
    pub fn add_hashed(&mut self, hasher: &Xxh3, bytes: u64) {
        self.rows += 1;
        self.bytes += bytes;
        self.sum = self.sum.wrapping_add(hasher.digest128());
    }

    /// Adds the rows of another sum of the same table.
    pub fn merge(&mut self, other: &RowSum) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// The sum as 32 hex digits.
    pub fn hex(&self) -> String {
        format!("{:032x}", self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(name: &str, rows: &[&str]) -> String {
        let mut sum = RowSum::new(name);
        rows.iter().for_each(|row| sum.add(row.as_bytes()));
        sum.hex()
    }

    #[test]
    fn order_does_not_matter_and_duplicates_do() {
        assert_eq!(sum("t", &["a", "b", "c"]), sum("t", &["c", "a", "b"]));
        assert_ne!(sum("t", &["a", "a"]), sum("t", &[]));
        assert_ne!(sum("t", &["a", "b", "b"]), sum("t", &["a"]));
        assert_ne!(sum("t", &["a"]), sum("u", &["a"]));
    }

    #[test]
    fn pieces_and_parts_give_the_same_sum() {
        let mut whole = RowSum::new("t");
        whole.add(b"hello");
        whole.add(b"world");
        let mut part = RowSum::new("t");
        let mut hasher = part.hasher();
        hasher.update(b"hel");
        hasher.update(b"lo");
        part.add_hashed(&hasher, 5);
        let mut other = RowSum::new("t");
        other.add(b"world");
        part.merge(&other);
        assert_eq!(whole, part);
    }
}
