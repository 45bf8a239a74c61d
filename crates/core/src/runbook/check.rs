//! Checks the instructions in a store: they exist, a trusted signer signed them, and what they
//! fetch is what a point of that store says.
//!
//! Old instructions that someone put back are as true as on their first day, and cannot be told
//! from the newest.

use super::cover::cover;
use super::put::split_signature;
use super::{INDEX, NAME, artifacts, page_key};
use crate::context::Context;
use crate::copies::{self, PointCopy, read_optional};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::point::{Manifest, PointId};
use crate::sign::TrustedSigners;
use crate::stores::OpenStore;
use std::collections::BTreeSet;

/// The remedy for every fault of instructions.
const HINT: &str = "do not follow them; the next backup to this store writes them again";

/// A store, an application and its environment, which should have instructions.
pub type Subject = (Name, Name, Name);

/// The instructions that should exist: those of every application that has points in a store signed
/// by a trusted signer. If nobody is trusted, nobody would follow them.
pub fn subjects<'a>(
    trusted: &TrustedSigners,
    copies: impl Iterator<Item = &'a (Name, PointCopy)>,
) -> BTreeSet<Subject> {
    let counts = |copy: &PointCopy| !copy.manifest.safety && copy.check_trust(trusted).is_ok();
    let believed = copies.filter(|(_, copy)| counts(copy));
    let subject = |(store, copy): &(Name, PointCopy)| {
        let m = &copy.manifest;
        (store.clone(), m.app.clone(), m.environment.clone())
    };
    believed.map(subject).collect()
}

/// Checks the instructions that should exist for these copies.
pub fn check_all<'a>(
    context: &Context,
    copies: impl Iterator<Item = &'a (Name, PointCopy)>,
) -> Vec<Error> {
    let wrong = |(store, app, environment): &Subject| {
        check(context, &context.stores.open(store).ok()?, app, environment).err()
    };
    let subjects = subjects(&context.trusted, copies);
    subjects.iter().filter_map(wrong).collect()
}

/// Checks the page of an application in a store that holds points of it. The error says what is
/// wrong with it. The index proves nothing and is not needed, so a faulty one is only a warning.
pub fn check(context: &Context, store: &OpenStore, app: &Name, environment: &Name) -> Result<()> {
    let key = page_key(app, environment);
    let Some(bytes) = read_optional(store, &key)? else {
        return check_older(context, store, app, environment);
    };
    let index = read_optional(store, INDEX)?;
    let page = Page::read(store, key, bytes)?;
    // If the text does not end in a signature, the one beside it counts.
    let beside = (page.text.as_str(), page.beside.as_str());
    let signed = split_signature(&page.text).unwrap_or(beside);
    let newest = page.check(context, app, environment, signed)?;
    let strange = index.is_none_or(|index| {
        let text = String::from_utf8_lossy(&index);
        let verified = split_signature(&text).map(|(text, signature)| {
            let at = newest.finished;
            context
                .trusted
                .verify(app, text.as_bytes(), signature, at)
                .is_ok()
        });
        verified != Some(true)
    });
    if strange {
        context.reporter.warn(&format!(
            "{INDEX} in store {} is not signed by anyone who is trusted here, as where another application wrote it; it only lists the pages, and {} does not need it",
            store.name, page.key
        ));
    }
    Ok(())
}

/// Checks instructions of a version before the pages: for one point, with the signature only beside
/// them.
fn check_older(context: &Context, store: &OpenStore, app: &Name, environment: &Name) -> Result<()> {
    let older = read_optional(store, INDEX)?;
    let of_a_point = |bytes: &Vec<u8>| !named_points(&String::from_utf8_lossy(bytes)).is_empty();
    let Some(bytes) = older.filter(of_a_point) else {
        let key = page_key(app, environment);
        let message = format!("{key} is not in store {}, which holds points", store.name);
        let hint = "the next backup to this store writes it again";
        return Err(Error::new(Code::ObjectMissing, message).hint(hint));
    };
    let page = Page::read(store, INDEX.to_owned(), bytes)?;
    let signed = (page.text.as_str(), page.beside.as_str());
    page.check(context, app, environment, signed).map(drop)
}

/// Instructions as they are in a store.
struct Page<'a> {
    store: &'a OpenStore,
    key: String,
    text: String,
    /// The signature beside the page. While both are replaced, it belongs to another text for a
    /// moment.
    beside: String,
}

impl<'a> Page<'a> {
    fn read(store: &'a OpenStore, key: String, bytes: Vec<u8>) -> Result<Self> {
        let wrong = |code, what: &str| {
            let message = format!("{key} in store {} {what}", store.name);
            Error::new(code, message).hint(HINT)
        };
        let Some(beside) = read_optional(store, &format!("{key}.sig"))? else {
            return Err(wrong(Code::Untrusted, "has no signature"));
        };
        let text = String::from_utf8(bytes)
            .map_err(|error| wrong(Code::ObjectDamaged, "is no text").cause(error))?;
        let beside = String::from_utf8_lossy(&beside).into_owned();
        Ok(Page {
            store,
            key,
            text,
            beside,
        })
    }

    fn wrong(&self, code: Code, what: &str) -> Error {
        let message = format!("{} in store {} {what}", self.key, self.store.name);
        Error::new(code, message).hint(HINT)
    }

    /// Checks that a trusted signer made this signature of this text, and that the text fetches
    /// what the manifests of its points say. Returns the newest of these manifests.
    fn check(
        &self,
        context: &Context,
        app: &Name,
        environment: &Name,
        (text, signature): (&str, &str),
    ) -> Result<Manifest> {
        let mut manifests = Vec::new();
        for point in named_points(text) {
            manifests.push(self.manifest(&context.trusted, &point)?);
        }
        let Some(newest) = manifests.iter().max_by(|a, b| a.point.cmp(&b.point)) else {
            return Err(self.wrong(Code::ObjectDamaged, "names no point"));
        };
        context
            .trusted
            .verify(app, text.as_bytes(), signature, newest.finished)
            .map_err(|error| {
                let what = format!("cannot be trusted: {}", error.message);
                let changed = self.wrong(Code::Untrusted, &what);
                match &error.cause {
                    Some(cause) => changed.cause(cause),
                    None => changed,
                }
            })?;
        let strange = |m: &&Manifest| &m.app != app || &m.environment != environment;
        if let Some(strange) = manifests.iter().find(strange) {
            let what = format!(
                "names {}, a point of {} ({})",
                strange.point, strange.app, strange.environment
            );
            return Err(self.wrong(Code::ObjectDamaged, &what));
        }
        let own = |name: &&str| context.is_cold() || self.store.name == **name;
        if let Some(other) = named_store(text).filter(|name| !own(name)) {
            let what = format!("is that of store {other}, and fetches from there");
            return Err(self.wrong(Code::ObjectDamaged, &what));
        }
        if fetches_what_is_there(text, &manifests) {
            return Ok(newest.clone());
        }
        let points: Vec<_> = manifests.iter().map(|m| m.point.as_str()).collect();
        let what = format!(
            "has other hashes than the manifest of {}",
            points.join(", ")
        );
        Err(self.wrong(Code::ObjectDamaged, &what))
    }

    /// The manifest of a point that the page names.
    fn manifest(&self, trusted: &TrustedSigners, point: &PointId) -> Result<Manifest> {
        copies::read(self.store, point)
            .and_then(|copy| copy.check_trust(trusted).map(|()| *copy.manifest))
            .map_err(|error| {
                let code = match error.code {
                    Code::Untrusted => Code::ObjectDamaged,
                    code => code,
                };
                let what = format!("is of point {point}, which cannot be used");
                self.wrong(code, &what).cause(error)
            })
    }
}

/// The store that the instructions name; older ones name none.
fn named_store(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(NAME[0])?;
    rest.split_once(NAME[1]).map(|(name, _)| name)
}

/// The points that the instructions cover: all that they name in backquotes.
fn named_points(text: &str) -> BTreeSet<PointId> {
    text.split('`').filter_map(PointId::parse).collect()
}

/// Returns true if each hash in the text is in the manifests, and the hash of each object to fetch
/// is in the text.
fn fetches_what_is_there(text: &str, manifests: &[Manifest]) -> bool {
    let all = manifests.iter().flat_map(|m| &m.artifacts);
    let known: BTreeSet<&str> = all
        .flat_map(|a| [Some(a.sha256.as_str()), a.snapshot.as_deref()])
        .flatten()
        .collect();
    let named: BTreeSet<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()))
        .collect();
    let parts = cover(manifests.iter());
    let mut needed = parts.iter().flat_map(artifacts);
    needed.all(|a| named.contains(a.snapshot.as_deref().unwrap_or(&a.sha256)))
        && named.is_subset(&known)
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
    fn instructions_cover_every_point_they_name() {
        let text = "`crm`\n- plan a: `20261121T060000Z-7f3a`, begun\n  - from `20261120T060000Z-7f3a`\n\n```\nrestore 20261119T060000Z-7f3a\n```";
        let points: Vec<_> = named_points(text).iter().map(ToString::to_string).collect();
        assert_eq!(points, ["20261120T060000Z-7f3a", "20261121T060000Z-7f3a"]);
        assert!(named_points("nothing").is_empty());
    }
}
