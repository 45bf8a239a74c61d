//! A text that needs no memory of its own if it is short.
//!
//! Lists of thousands of restore points hold the same few names again and again. Texts of up to 22
//! bytes are kept inside the value, and longer ones as a string would be.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// The most bytes that fit into the value: it then takes as much room as a `String` does.
const INSIDE_BYTES: usize = 22;

/// A text that is not changed.
#[derive(Clone)]
pub struct Short(Kept);

#[derive(Clone)]
enum Kept {
    /// A text of this program.
    Own(&'static str),
    /// The number of bytes, which are UTF-8, and the bytes.
    Inside(u8, [u8; INSIDE_BYTES]),
    Outside(Box<str>),
}

impl Short {
    /// A text of this program.
    pub const fn own(text: &'static str) -> Self {
        Short(Kept::Own(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kept::Own(text) => text,
            Kept::Inside(count, bytes) => {
                let bytes = bytes.get(..usize::from(*count)).unwrap_or_default();
                // They were a text when they were put here.
                std::str::from_utf8(bytes).unwrap_or_default()
            }
            Kept::Outside(text) => text,
        }
    }
}

impl From<&str> for Short {
    fn from(text: &str) -> Self {
        let mut bytes = [0; INSIDE_BYTES];
        let inside = bytes
            .get_mut(..text.len())
            .zip(u8::try_from(text.len()).ok());
        Short(match inside {
            Some((place, count)) => {
                place.copy_from_slice(text.as_bytes());
                Kept::Inside(count, bytes)
            }
            None => Kept::Outside(text.into()),
        })
    }
}

impl Deref for Short {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Short {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Short {}

impl PartialEq<str> for Short {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Short {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for Short {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Short {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Short {
    /// Hashes as the text does, which a map may be searched for.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Short {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Short {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AnyText)
    }
}

struct AnyText;

impl de::Visitor<'_> for AnyText {
    type Value = Short;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Short, E> {
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeSet, HashSet};

    #[test]
    fn every_text_is_kept_as_it_was_given() {
        for text in [
            "",
            "a",
            "a\u{e4}b",
            &"x".repeat(22),
            &"x".repeat(23),
            &"\u{e4}".repeat(300),
        ] {
            let short = Short::from(text);
            assert_eq!(short.as_str(), text);
            let json = serde_json::to_string(&short).unwrap();
            assert_eq!(json, serde_json::to_string(text).unwrap());
            assert_eq!(serde_json::from_str::<Short>(&json).unwrap(), short);
            let inside = matches!(short.0, Kept::Inside(..));
            assert_eq!(inside, text.len() <= INSIDE_BYTES);
        }
        assert_eq!(size_of::<Short>(), size_of::<String>());
    }

    #[test]
    fn equal_texts_are_equal_however_they_are_kept() {
        let texts = || [Short::own("tar"), Short::from("tar"), Short::from("tas")];
        assert_eq!(texts().into_iter().collect::<HashSet<_>>().len(), 2);
        let sorted: Vec<_> = texts()
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        assert_eq!(sorted, [Short::from("tar"), Short::own("tas")]);
    }
}
