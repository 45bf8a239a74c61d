//! Splits a tree's JSON into its entries while it is read, so that it need not be in memory.

use super::no_tree;
use crate::error::Damage;
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::ops::Range;

/// The bytes that are read at a time.
const READ_BYTES: usize = 128 << 10;
/// The most bytes that may follow the entries.
const TAIL_BYTES_MAX: usize = 1 << 20;
/// The white space of JSON.
const SPACE: &[u8] = b" \t\n\r";
/// The beginning of every tree, whoever wrote it.
const HEAD: &[u8] = b"{\"nodes\":[";

/// The entries of a tree, each as its JSON text.
#[derive(Debug)]
pub(super) struct Split<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The end of what was handed out.
    at: usize,
    filled: usize,
    begun: bool,
    ended: bool,
}

impl<R: Read> Split<R> {
    pub(super) fn new(reader: R) -> Self {
        Split {
            reader,
            buffer: Vec::new(),
            at: 0,
            filled: 0,
            begun: false,
            ended: false,
        }
    }

    /// Returns the next entry; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Damage> {
        if self.ended {
            return Ok(None);
        }
        let range = match self.begun {
            false => self.first()?,
            true => match self.token()? {
                b',' => {
                    self.at += 1;
                    Some(self.entry()?)
                }
                b']' => None,
                _ => return Err(no_tree("its entries are not a list".to_owned())),
            },
        };
        let Some(range) = range else {
            self.tail()?;
            self.ended = true;
            return Ok(None);
        };
        self.at = range.end;
        Ok(self.buffer.get(range))
    }

    fn first(&mut self) -> Result<Option<Range<usize>>, Damage> {
        while self.filled < HEAD.len() && self.fill()? {}
        if self.buffer.get(..HEAD.len()) != Some(HEAD) {
            return Err(no_tree("it does not begin like one".to_owned()));
        }
        (self.at, self.begun) = (HEAD.len(), true);
        match self.token()? {
            b']' => Ok(None),
            _ => self.entry().map(Some),
        }
    }

    /// Returns the next byte that is not white space, without consuming it.
    fn token(&mut self) -> Result<u8, Damage> {
        loop {
            let rest = self.buffer.get(self.at..self.filled).unwrap_or_default();
            let place = rest.iter().position(|byte| !SPACE.contains(byte));
            if let Some((place, byte)) = place.and_then(|place| Some((place, *rest.get(place)?))) {
                self.at += place;
                return Ok(byte);
            }
            self.at = self.filled;
            self.more()?;
        }
    }

    /// Finds the end of the object that comes next.
    fn entry(&mut self) -> Result<Range<usize>, Damage> {
        if self.token()? != b'{' {
            return Err(no_tree("an entry of it is no object".to_owned()));
        }
        let (mut length, mut depth) = (0, 0_usize);
        let (mut quoted, mut escaped) = (false, false);
        loop {
            let rest = self.buffer.get(self.at + length..self.filled);
            for byte in rest.unwrap_or_default() {
                length += 1;
                match (quoted, byte) {
                    (true, _) if escaped => escaped = false,
                    (true, b'\\') => escaped = true,
                    (_, b'"') => quoted = !quoted,
                    (false, b'{') => depth += 1,
                    (false, b'}') => {
                        depth -= 1;
                        if depth == 0 {
                            return Ok(self.at..self.at + length);
                        }
                    }
                    _ => {}
                }
            }
            self.more()?;
        }
    }

    /// Checks that only the end of the surrounding object follows the entries.
    fn tail(&mut self) -> Result<(), Damage> {
        while self.fill()? {
            if self.filled - self.at > TAIL_BYTES_MAX {
                return Err(no_tree("too much stands after its entries".to_owned()));
            }
        }
        let tail = self.buffer.get(self.at..self.filled).unwrap_or_default();
        let text = [b"{\"nodes\":[".as_slice(), tail].concat();
        let mut json = serde_json::Deserializer::from_slice(&text);
        let ended = json.deserialize_map(OnceNodes).and_then(|()| json.end());
        ended.map_err(|error| no_tree(error.to_string()))
    }

    fn more(&mut self) -> Result<(), Damage> {
        match self.fill()? {
            true => Ok(()),
            false => Err(no_tree("it ends too early".to_owned())),
        }
    }

    /// Reads on. Returns whether there was anything to read.
    fn fill(&mut self) -> Result<bool, Damage> {
        self.buffer.copy_within(self.at..self.filled, 0);
        self.filled -= self.at;
        self.at = 0;
        if self.buffer.len() < self.filled + READ_BYTES {
            self.buffer.resize(self.filled + READ_BYTES, 0);
        }
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let count = loop {
            match self.reader.read(room) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| no_tree(error.to_string()))?,
            }
        };
        self.filled += count;
        Ok(count > 0)
    }
}

/// An object that has `nodes` exactly once, whatever else is in it.
struct OnceNodes;

impl<'de> Visitor<'de> for OnceNodes {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with nodes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(field) = map.next_key::<Cow<'de, str>>()? {
            if field == "nodes" && std::mem::replace(&mut seen, true) {
                return Err(serde::de::Error::duplicate_field("nodes"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Parses an entry's JSON as a `T`.
pub(super) fn parse<'a, T: Deserialize<'a>>(entry: &'a [u8]) -> Result<T, Damage> {
    serde_json::from_slice(entry).map_err(|error| no_tree(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Yields this many bytes at a time.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn split(json: &[u8], step: usize) -> Result<Vec<String>, Damage> {
        let mut split = Split::new(Dribble(json, step));
        let mut entries = Vec::new();
        while let Some(entry) = split.next()? {
            entries.push(String::from_utf8(entry.to_vec()).unwrap());
        }
        Ok(entries)
    }

    #[test]
    fn entries_are_split_whatever_the_read_size() {
        let entries = [
            r#"{"name":"a"}"#,
            r#"{"name":"b\"}]","x":{"y":[{},"\\"]}}"#,
            r#"{"name":"{[\\\"","z":[]}"#,
        ];
        let plain = format!("{{\"nodes\":[{}]}}\n", entries.join(","));
        let spaced = format!(
            "{{\"nodes\":[ {} ] , \"more\":[1,{{}}] }} ",
            entries.join(" ,\n")
        );
        for json in [plain, spaced] {
            for step in [1, 7, 4096] {
                assert_eq!(split(json.as_bytes(), step).unwrap(), entries);
            }
        }
        for empty in ["{\"nodes\":[]}\n", "{\"nodes\":[ ],\"more\":1}"] {
            assert!(split(empty.as_bytes(), 3).unwrap().is_empty());
        }
    }

    #[test]
    fn bytes_that_are_not_a_tree_are_an_error() {
        for json in [
            "",
            "{\"nodes\":[",
            "{\"nodes\":[{}",
            "{\"nodes\":[{}]",
            "{\"nodes\":[{},]}",
            "{\"nodes\":[{}{}]}",
            "{\"nodes\":[{},\u{c}{}]}",
            "{\"nodes\":[1]}",
            "{\"nodes\":[{}]}x",
            "{\"nodes\":[{}],\"nodes\":[]}",
            "{\"nodes\":[{\"a\":\"}]}",
            "{\"trees\":[]}",
        ] {
            assert!(split(json.as_bytes(), 5).is_err(), "{json}");
        }
    }
}
