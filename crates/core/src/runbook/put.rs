//! Writes the instructions: a page for each application, and an index of the pages of a store.
//!
//! Each file carries its own signature at its end, so that one write replaces both: a kill leaves
//! either the old text or the new one, signed. The `.sig` beside it signs the whole file.

use super::cover::cover;
use super::{INDEX, PAGES_PREFIX, page_key, render};
use crate::clock::is_ahead;
use crate::context::Context;
use crate::copies::{self, PointCopy, put_bytes};
use crate::error::Result;
use crate::point::{Details, Manifest};
use crate::state::State;
use crate::stores::OpenStore;

/// The first line of an SSH signature.
const SIGNATURE: &str = "-----BEGIN SSH SIGNATURE-----\n";

/// Rewrites the page of an application after `manifest` was committed, unless the page does not
/// cover that point; then rewrites the index.
pub fn put(context: &Context, store: &OpenStore, manifest: &Manifest) -> Result<()> {
    let copies = match context.state.catalog.sync(store) {
        Ok((copies, _)) => copies,
        Err(_) => context.state.catalog.copies(&store.store.location())?,
    };
    let disowned = context.state.catalog.disowned()?;
    let now = context.clock.now();
    let counts = |copy: &&PointCopy| {
        let m = &copy.manifest;
        let own = m.app == manifest.app && m.environment == manifest.environment;
        let true_date = !is_ahead(m.point.time(), now) && !disowned.contains(&m.point);
        own && !m.safety && true_date && copy.check_trust(&context.trusted).is_ok()
    };
    let parts = cover(copies.iter().filter(counts).map(|copy| &*copy.manifest));
    if !parts.iter().any(|p| p.manifest.point == manifest.point) {
        return Ok(());
    }
    let details = |m: &Manifest| -> Option<Details> {
        let known = context.state.catalog.described(&m.point).ok().flatten();
        known.or_else(|| copies::read_details(store, m).ok())
    };
    let parts: Vec<_> = parts
        .into_iter()
        .map(|part| (details(part.manifest), part))
        .collect();
    let page = page_key(&manifest.app, &manifest.environment);
    put_signed(
        &context.state,
        store,
        &page,
        &render(context, store, &parts),
    )?;
    put_index(context, store)
}

fn put_index(context: &Context, store: &OpenStore) -> Result<()> {
    let objects = store.store.list(PAGES_PREFIX)?;
    let pages = objects.iter().map(|o| o.key.as_str());
    let pages = pages.filter(|key| key.ends_with(".md"));
    put_signed(&context.state, store, INDEX, &index(pages))
}

/// The text of the index.
fn index<'a>(pages: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::from(
        "# How to restore what is in this store\n\n\
         There is a page for each application and environment. Each says how to restore the newest\n\
         points of all its plans, with stock tools alone, and begins by checking its own signature;\n\
         this list proves nothing.\n\n",
    );
    for key in pages {
        let name = key.strip_prefix(PAGES_PREFIX).unwrap_or(key);
        let name = name.strip_suffix(".md").unwrap_or(name);
        text += &format!("- {name}: `{key}`\n");
    }
    text + "\n"
}

/// Stores a text that ends in its signature. The old text stays, with its signature, until the new
/// one is stored.
fn put_signed(state: &State, store: &OpenStore, key: &str, text: &str) -> Result<()> {
    let signature = state.signer.sign(text.as_bytes())?;
    let whole = format!("{text}{signature}");
    let beside = state.signer.sign(whole.as_bytes())?;
    put_bytes(store, &format!("{key}.sig"), beside.as_bytes(), false)?;
    put_bytes(store, key, whole.as_bytes(), false)?;
    Ok(())
}

/// Splits a text into its body and the signature at its end; `None` if it does not end in one.
pub(super) fn split_signature(whole: &str) -> Option<(&str, &str)> {
    let at = whole.find(&format!("\n{SIGNATURE}"))? + 1;
    whole.split_at_checked(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_begins_at_the_first_line_that_says_so() {
        let text = "say '-----BEGIN SSH SIGNATURE-----'\n";
        assert_eq!(split_signature(text), None);
        let whole = format!("{text}{SIGNATURE}abc\n{SIGNATURE}");
        let (before, signature) = split_signature(&whole).unwrap();
        assert_eq!(before, text);
        assert_eq!(signature, format!("{SIGNATURE}abc\n{SIGNATURE}"));
    }

    #[test]
    fn the_index_lists_every_page() {
        let text = index(
            [
                "lifeboat/restore/crm/test.md",
                "lifeboat/restore/bot/production.md",
            ]
            .into_iter(),
        );
        assert!(
            text.contains("- crm/test: `lifeboat/restore/crm/test.md`\n"),
            "{text}"
        );
        assert!(text.contains("- bot/production: `lifeboat/restore/bot/production.md`\n"));
    }
}
