//! Keys of objects: any bytes, with replacement names for where a key cannot be used as it is.

use crate::digest::sha256_hex;
use crate::tree::escape;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::{self, Write};
use std::path::PathBuf;

/// The longest name a tar header holds without an extension.
const MEMBER_BYTES_MAX: usize = 96;
/// The longest file name of common file systems.
const NAME_BYTES_MAX: usize = 255;

/// A key: bytes, nearly always UTF-8. In JSON it is a string, or `{"hex": …}` if it is not UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Hex { hex: String },
}

impl ObjectKey {
    /// A key of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        ObjectKey(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The object's name in a tar: the key as one component, percent-encoded except for letters,
    /// digits, `-`, `_` and inner dots. If that is too long, it is the beginning, a `~` and the
    /// SHA-256 of the key. No two keys have the same name.
    pub fn member(&self) -> String {
        let mut name = String::with_capacity(self.0.len());
        for (index, byte) in self.0.iter().enumerate() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {
                    name.push(char::from(*byte));
                }
                b'.' if index > 0 => name.push('.'),
                // Writing to a string does not fail.
                _ => drop(write!(name, "%{byte:02X}")),
            }
            if name.len() > MEMBER_BYTES_MAX {
                let head: String = name.chars().take(28).collect();
                return format!("{head}~{}", sha256_hex(&self.0));
            }
        }
        name
    }

    /// Returns true if the key can be the relative path of a file as it is.
    fn is_path(&self) -> bool {
        self.0.split(|b| *b == b'/').all(|part| {
            !matches!(part, b"" | b"." | b"..")
                && part.len() <= NAME_BYTES_MAX
                && !part.iter().any(|b| *b < 0x20 || *b == 0x7f)
        })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl Serialize for ObjectKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Written::Hex {
                hex: self.0.iter().map(|b| format!("{b:02x}")).collect(),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ObjectKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Ok(ObjectKey(text.into_bytes())),
            Written::Hex { hex } => {
                let pairs = hex.as_bytes().chunks(2);
                let bytes = pairs.map(|pair| {
                    let text = std::str::from_utf8(pair).ok()?;
                    u8::from_str_radix(text, 16).ok()
                });
                let bytes: Option<Vec<u8>> = bytes.collect();
                bytes
                    .map(ObjectKey)
                    .ok_or_else(|| serde::de::Error::custom("a key is not hexadecimal"))
            }
        }
    }
}

/// Chooses a place in a directory for each object of a bucket, so that all objects fit there at
/// once: `objects/KEY` if the key can be a path; `odd/` and its name in a tar if it cannot, or if
/// another object's key is a directory of its path. Keys must come in order.
#[derive(Debug, Default)]
pub struct Places {
    /// Earlier keys that are a prefix of the last one, outermost first.
    above: Vec<Vec<u8>>,
}

impl Places {
    /// The place of the next key.
    pub fn next(&mut self, key: &ObjectKey) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        let bytes = key.bytes();
        while self.above.last().is_some_and(|a| !bytes.starts_with(a)) {
            self.above.pop();
        }
        let beneath = |above: &Vec<u8>| bytes.get(above.len()) == Some(&b'/');
        let free = key.is_path() && !self.above.iter().any(beneath);
        self.above.push(bytes.to_vec());
        match free {
            true => {
                let path = std::ffi::OsString::from_vec(bytes.to_vec());
                PathBuf::from("objects").join(path)
            }
            false => PathBuf::from("odd").join(key.member()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &[u8]) -> ObjectKey {
        ObjectKey::new(text.to_vec())
    }

    #[test]
    fn a_key_survives_json_whatever_its_bytes() {
        for bytes in [&b"a/b c"[..], b"\xff\x00", "ü\n".as_bytes(), b""] {
            let json = serde_json::to_string(&key(bytes)).unwrap();
            assert_eq!(
                serde_json::from_str::<ObjectKey>(&json).unwrap(),
                key(bytes)
            );
        }
        assert!(serde_json::from_str::<ObjectKey>("{\"hex\":\"zz\"}").is_err());
    }

    #[test]
    fn members_are_names_of_files_and_no_two_keys_share_one() {
        let long = [b'x'; 2000];
        let keys: [&[u8]; 9] = [
            b"a",
            b"a/b",
            b"a%2Fb",
            b"..",
            b".",
            b"a/",
            b"A",
            &long,
            &long[..1999],
        ];
        let names: Vec<String> = keys.iter().map(|k| key(k).member()).collect();
        assert_eq!(names[1], "a%2Fb");
        assert_eq!(names[3], "%2E.");
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        assert!(names.iter().all(|n| n.len() <= 100 && !n.contains('/')));
    }

    #[test]
    fn every_object_has_a_place_beside_all_others() {
        let mut keys: Vec<&[u8]> = vec![
            b"a", b"a!", b"a/b", b"a/b/c", b"b/c", b"b", b"d/", b"d/e", b"/f", b"x//y", b"x/../y",
            b"g\n", b"a/b.txt",
        ];
        keys.sort_unstable();
        let mut places = Places::default();
        let found: Vec<(String, String)> = keys
            .iter()
            .map(|k| {
                let place = places.next(&key(k)).display().to_string();
                (key(k).to_string(), place)
            })
            .collect();
        let odd: Vec<_> = found
            .iter()
            .filter(|(_, place)| place.starts_with("odd/"))
            .map(|(key, _)| key.as_str())
            .collect();
        let expected = [
            "/f", "a/b", "a/b.txt", "a/b/c", "b/c", "d/", "g\\x0a", "x/../y", "x//y",
        ];
        assert_eq!(odd, expected);
    }
}
