//! Names of things in a repository: the SHA-256 of their content.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// SHA-256 of a blob's plaintext, or of a file's stored bytes. As text it is 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id([u8; Id::BYTES]);

impl Id {
    /// The length in bytes.
    pub const BYTES: usize = 32;

    /// The id made of these bytes.
    pub const fn new(bytes: [u8; Id::BYTES]) -> Self {
        Id(bytes)
    }

    /// Computes the id of `content`.
    pub fn of(content: &[u8]) -> Self {
        Id(Sha256::digest(content).into())
    }

    /// The bytes.
    pub const fn bytes(&self) -> &[u8; Id::BYTES] {
        &self.0
    }

    /// The first byte and the rest.
    pub(crate) fn split(&self) -> (u8, [u8; Id::BYTES - 1]) {
        let mut rest = [0; Id::BYTES - 1];
        let [first, tail @ ..] = &self.0;
        rest.copy_from_slice(tail);
        (*first, rest)
    }

    /// The id made of a first byte and a rest.
    pub(crate) fn join(first: u8, rest: [u8; Id::BYTES - 1]) -> Self {
        let mut bytes = [first; Id::BYTES];
        let [_, tail @ ..] = &mut bytes;
        tail.copy_from_slice(&rest);
        Id(bytes)
    }

    /// The first eight hex digits, for people.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

/// A text is not 64 hex digits, in lower or upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 64 hex digits")]
pub struct NotAnId;

/// The value of a hex digit; [`NO_DIGIT`] for any other byte.
fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => NO_DIGIT,
    }
}
const NO_DIGIT: u8 = 0xff;

fn digit(value: u8) -> u8 {
    match value {
        0..10 => b'0' + value,
        _ => b'a' + value - 10,
    }
}

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let digits = text.as_bytes();
        let mut bytes = [0; Id::BYTES];
        if digits.len() != 2 * Id::BYTES {
            return Err(NotAnId);
        }
        let (pairs, _) = digits.as_chunks::<2>();
        let mut all = 0;
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let [high, low] = pair.map(value);
            *byte = high << 4 | low & 0xf;
            all |= high | low;
        }
        match all {
            0..16 => Ok(Id(bytes)),
            _ => Err(NotAnId),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 2 * Id::BYTES];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [byte >> 4, byte & 0xf].map(digit);
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hex digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = Id::of(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        assert_eq!(id.short(), "e3b0c442");
        for wrong in [
            "",
            "e3",
            &text.replace('e', "g"),
            &format!("{text}0"),
            &"é".repeat(32),
        ] {
            assert_eq!(wrong.parse::<Id>(), Err(NotAnId), "{wrong}");
        }
    }
}
