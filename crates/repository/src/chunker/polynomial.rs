//! Polynomials over GF(2), as far as the chunker needs them: each bit is a coefficient.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// The degree of every chunker polynomial.
pub const DEGREE: u32 = 53;

/// An irreducible polynomial of degree [`DEGREE`]. Every repository has its own, so cut points do
/// not reveal which file was stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Polynomial(u64);

impl Polynomial {
    /// The polynomial with these coefficients; `None` if it is not irreducible or not of degree
    /// [`DEGREE`].
    pub fn new(bits: u64) -> Option<Self> {
        (degree(bits) == Some(DEGREE) && is_irreducible(bits)).then_some(Polynomial(bits))
    }

    /// A random polynomial. `random` returns random numbers.
    pub fn random(mut random: impl FnMut() -> u64) -> Self {
        // About 2 in 53 of the polynomials with a constant term are irreducible, so this ends.
        loop {
            let bits = random() & ((1 << (DEGREE + 1)) - 1) | 1 << DEGREE | 1;
            if is_irreducible(bits) {
                return Polynomial(bits);
            }
        }
    }

    /// Its coefficients.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// `value` modulo this polynomial.
    pub fn reduce(self, value: u64) -> u64 {
        reduce(value, self.0)
    }

    /// `value · x^power` modulo this polynomial, for a reduced `value`.
    pub fn shift(self, mut value: u64, power: u32) -> u64 {
        for _ in 0..power {
            value <<= 1;
            if value >> DEGREE & 1 == 1 {
                value ^= self.0;
            }
        }
        value
    }
}

impl fmt::Display for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Polynomial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Polynomial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16)
            .ok()
            .and_then(Polynomial::new)
            .ok_or_else(|| de::Error::custom("not an irreducible polynomial of degree 53"))
    }
}

fn degree(bits: u64) -> Option<u32> {
    bits.checked_ilog2()
}

fn reduce(mut value: u64, modulus: u64) -> u64 {
    let Some(top) = degree(modulus) else {
        return value;
    };
    while let Some(d) = degree(value)
        && d >= top
    {
        value ^= modulus << (d - top);
    }
    value
}

fn multiply(a: u64, mut b: u64, modulus: u64) -> u64 {
    let (mut a, mut product) = (reduce(a, modulus), 0);
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        b >>= 1;
        a = reduce(a << 1, modulus);
    }
    product
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, reduce(a, b));
    }
    a
}

/// Ben-Or's test: for every i up to half the degree, x^(2^i) − x has no factor in common with the
/// polynomial.
fn is_irreducible(bits: u64) -> bool {
    let mut power = 2;
    for _ in 0..degree(bits).unwrap_or(0) / 2 {
        power = multiply(power, power, bits);
        if common_divisor(bits, power ^ 2) != 1 {
            return false;
        }
    }
    degree(bits).is_some_and(|d| d > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn irreducible_or_not() {
        // There is one of degree 2: x² + x + 1.
        let found: Vec<u64> = (4..8).filter(|&p| is_irreducible(p)).collect();
        assert_eq!(found, [0b111]);
        // There are three of degree 4.
        let found: Vec<u64> = (16..32).filter(|&p| is_irreducible(p)).collect();
        assert_eq!(found, [0b10011, 0b11001, 0b11111]);
        assert!(Polynomial::new(0x39_b70b_b1e0_09e5).is_some());
        assert!(Polynomial::new(0x39_b70b_b1e0_09e4).is_none());
        assert!(Polynomial::new(0b111).is_none());
    }

    #[test]
    fn random_ones_differ_and_are_irreducible() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let one = Polynomial::random(&mut random);
        let two = Polynomial::random(&mut random);
        assert_ne!(one, two);
        for p in [one, two] {
            assert_eq!(Polynomial::new(p.bits()), Some(p));
        }
    }
}
