//! The commit of a copy: its details, and then its manifest, which is the last object.

use super::{Destination, Stored, send};
use crate::compress::Compress;
use crate::context::Context;
use crate::copies::{self, PointCopy};
use crate::document;
use crate::error::{Code, Error, Result};
use crate::name::StoredKey;
use crate::point::{Details, Manifest, ManifestArtifact, StoredDetails, details_key};
use crate::runbook;
use crate::sign::Signer;
use crate::snapshot::{About, Deposit};
use crate::stores::OpenStore;
use lifeboat_store::PutOptions;

/// Puts the details and the manifest of one store's copy, which commits it, and then the
/// instructions: until then those of older points stand, which are true. Where there is a deposit,
/// the details and all that it holds become a snapshot first. `draft` makes the manifest of what is
/// stored then.
pub(crate) fn commit_copy(
    context: &Context,
    store: &OpenStore,
    deposit: Option<&Deposit>,
    mut artifacts: Vec<ManifestArtifact>,
    details: &Details,
    draft: &dyn Fn(Vec<ManifestArtifact>, StoredDetails) -> Manifest,
    about: &About<'_>,
) -> Result<PointCopy> {
    note_proofs(&context.state.signer, &mut artifacts, details);
    let stored = match deposit {
        Some(deposit) => deposit.commit_point(about, &mut artifacts, details)?,
        None => put_details(store, details)?,
    };
    let mut manifest = draft(artifacts, stored);
    let (catalog, location) = (&context.state.catalog, store.store.location());
    manifest.previous = catalog.previous_of_plan(&location, &manifest);
    let (stored, copy) = copies::commit(&context.state.signer, store, &manifest)?;
    // The copy is committed, whatever becomes of the index of it, and of its instructions.
    let noted = context
        .state
        .catalog
        .note(&store.store.location(), &stored, &copy)
        .and_then(|()| context.state.catalog.note_details(details));
    if let Err(error) = noted {
        context.reporter.warn(&error.to_string());
    }
    if let Err(error) = runbook::put(context, store, &manifest) {
        context.reporter.warn(&format!(
            "store {} has point {}, but {} could not be written for it: {error}",
            store.name,
            manifest.point,
            runbook::page_key(&manifest.app, &manifest.environment)
        ));
    }
    Ok(copy)
}

/// Names the content of each artifact under the key of the signer.
fn note_proofs(signer: &Signer, artifacts: &mut [ManifestArtifact], details: &Details) {
    for artifact in artifacts {
        let captured = details.artifact(&artifact.source, &artifact.name);
        artifact.proof_mac = captured.and_then(|d| signer.proof_mac(&d.proof.content()));
        let settings = captured.and_then(|d| d.settings.as_deref());
        artifact.settings_mac = settings.and_then(|settings| signer.proof_mac(settings.as_bytes()));
    }
}

/// Seals the details to a store's recipients and puts them, as they are written; returns what its
/// manifest says of them.
pub fn put_details(store: &OpenStore, details: &Details) -> Result<StoredDetails> {
    let mut store = store.clone();
    store.sealing.compress = Compress::None;
    let sealing = store.sealing.clone();
    let key = format!("{}{}", details_key(&details.point), sealing.suffix());
    let key = StoredKey::made(key)?;
    let destination = Destination {
        store,
        key: key.clone(),
        options: PutOptions::default(),
        deposit: None,
    };
    let (sent, delivered) = send(vec![destination], |output| {
        document::write_json(output, details)
    });
    // What the store says explains why it could not be sent.
    let delivered = delivered.into_iter().next();
    let stored = delivered.map(|delivered| delivered.result).transpose()?;
    let (_, _) = sent?;
    let none = || Error::new(Code::Store, format!("{key} was not stored"));
    let Stored { tally, version } = stored.ok_or_else(none)?;
    Ok(StoredDetails {
        key,
        bytes: tally.bytes,
        sha256: tally.sha256,
        encrypt: sealing.encrypt_name().map(Into::into),
        openpgp_signer: sealing.signed_by(),
        version,
    })
}
