//! Whether the instructions in a store can be followed: they are there, someone we trust signed
//! them, and what they fetch is what a point of that store says.
//!
//! Old instructions that were put back are as true as on their first day, and are not told from
//! the newest.

use super::{KEY, NAME};
use crate::context::{Context, OpenStore};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::point::PointId;
use crate::point::copies::{self, PointCopy, read_optional};
use std::collections::BTreeSet;

/// What mends every fault of them.
const HINT: &str = "do not follow them; the next backup to this store writes them again";

/// Checks the instructions of every store that holds one of these copies, signed by someone we trust:
/// where nobody is, nobody would follow them.
pub fn check_all<'a>(
    context: &Context,
    copies: impl Iterator<Item = &'a (Name, PointCopy)>,
) -> Vec<Error> {
    let believed = copies.filter(|(_, copy)| copy.check_trust(context).is_ok());
    let stores: BTreeSet<&Name> = believed.map(|(name, _)| name).collect();
    let wrong = |name: &Name| check(context, &context.store(name).ok()?).err();
    stores.into_iter().filter_map(wrong).collect()
}

/// Checks the instructions in a store that holds points. The error says what is wrong with them.
pub fn check(context: &Context, store: &OpenStore) -> Result<()> {
    let wrong = |code, message: String| Error::new(code, message).hint(HINT);
    let name = &store.name;
    let text = read_optional(store, KEY)?;
    let Some(bytes) = text else {
        let message = format!("{KEY} is not in store {name}, which holds points");
        let hint = "the next backup to this store writes it again";
        return Err(Error::new(Code::ObjectMissing, message).hint(hint));
    };
    let Some(signature) = read_optional(store, &format!("{KEY}.sig"))? else {
        let message = format!("{KEY} in store {name} has no signature");
        return Err(wrong(Code::Untrusted, message));
    };
    let text = String::from_utf8_lossy(&bytes);
    let Some(point) = named_point(&text) else {
        let message = format!("{KEY} in store {name} names no point");
        return Err(wrong(Code::ObjectDamaged, message));
    };
    let copy = copies::read(store, &point)
        .and_then(|copy| copy.check_trust(context).map(|()| copy))
        .map_err(|error| {
            let message =
                format!("{KEY} in store {name} is of point {point}, which cannot be used");
            let code = match error.code {
                Code::ObjectMissing => Code::ObjectMissing,
                Code::ObjectDamaged | Code::Untrusted => Code::ObjectDamaged,
                code => code,
            };
            wrong(code, message).cause(error)
        })?;
    let signature = String::from_utf8_lossy(&signature);
    let manifest = &copy.manifest;
    context
        .trusted
        .verify(&manifest.app, &bytes, &signature, manifest.finished)
        .map_err(|error| {
            let message = format!("{KEY} in store {name} cannot be trusted: {}", error.message);
            let changed = wrong(Code::Untrusted, message);
            match &error.cause {
                Some(cause) => changed.cause(cause),
                None => changed,
            }
        })?;
    if let Some(other) = named_store(&text).filter(|n| !context.is_cold() && store.name != **n) {
        let message =
            format!("{KEY} in store {name} is that of store {other}, and fetches from there");
        return Err(wrong(Code::ObjectDamaged, message));
    }
    match fetches_what_is_there(&text, &copy) {
        true => Ok(()),
        false => {
            let message =
                format!("{KEY} in store {name} has other hashes than the manifest of {point}");
            Err(wrong(Code::ObjectDamaged, message))
        }
    }
}

/// The store that instructions are of; older ones do not name it.
fn named_store(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(NAME[0])?;
    rest.split_once(NAME[1]).map(|(name, _)| name)
}

/// The point that instructions are of: the first one that they name.
fn named_point(text: &str) -> Option<PointId> {
    text.split('`').find_map(PointId::parse)
}

/// Whether each hash in the text is one of the manifest, and each object's hash is in the text.
fn fetches_what_is_there(text: &str, copy: &PointCopy) -> bool {
    let artifacts = &copy.manifest.artifacts;
    let known: BTreeSet<&str> = artifacts
        .iter()
        .flat_map(|a| [Some(a.sha256.as_str()), a.snapshot.as_deref()])
        .flatten()
        .collect();
    let named: BTreeSet<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()))
        .collect();
    let mut needed = artifacts
        .iter()
        .map(|a| a.snapshot.as_deref().unwrap_or(&a.sha256));
    needed.all(|hash| named.contains(hash)) && named.is_subset(&known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_name_their_store() {
        let text = format!("in this store{}disk{}, `2026", NAME[0], NAME[1]);
        assert_eq!(named_store(&text), Some("disk"));
        assert_eq!(named_store("in this store, `2026"), None);
    }

    #[test]
    fn instructions_are_of_the_first_point_they_name() {
        let point = |text| named_point(text).map(|p| p.to_string());
        let text = "# How to restore `x`\n\nin this store, `20261120T060000Z-7f3a`, begun `20261121T060000Z-7f3a`";
        assert_eq!(point(text).as_deref(), Some("20261120T060000Z-7f3a"));
        assert_eq!(point("nothing"), None);
    }
}
