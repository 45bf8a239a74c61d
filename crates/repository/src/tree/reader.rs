//! Reads a tree's JSON as a stream of entries.

use super::{Node, RawNode, from_raw, no_tree};
use crate::error::Damage;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The object around the list of entries.
pub(super) struct Tree<F>(pub(super) F);

impl<'de, F: FnMut(Result<Node, Damage>)> DeserializeSeed<'de> for Tree<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Result<Node, Damage>)> Visitor<'de> for Tree<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with nodes")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(field) = map.next_key::<Cow<'de, str>>()? {
            if field != "nodes" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if std::mem::replace(&mut seen, true) {
                return Err(A::Error::duplicate_field("nodes"));
            }
            map.next_value_seed(Nodes(&mut self.0))?;
        }
        Ok(())
    }
}

/// The list of entries, or null.
struct Nodes<'f, F>(&'f mut F);

impl<'de, F: FnMut(Result<Node, Damage>)> DeserializeSeed<'de> for Nodes<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Result<Node, Damage>)> Visitor<'de> for Nodes<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of nodes")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(raw) = list.next_element::<RawNode<'de>>()? {
            (self.0)(from_raw(raw).map_err(no_tree));
        }
        Ok(())
    }
}
