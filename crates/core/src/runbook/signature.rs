//! Commands of a page that check signatures: first its own, then those of the manifests. Without a
//! list of signers they show only that nothing was changed by accident.

use super::{fetch, locate, page_key};
use crate::point::{Manifest, manifest_key};
use crate::shell::quote;
use crate::stores::OpenStore;
use std::fmt::Write;

/// Writes the check that these instructions are as they were signed; it comes first.
pub(super) fn write_own(
    out: &mut String,
    store: &OpenStore,
    manifest: &Manifest,
) -> std::fmt::Result {
    writeln!(
        out,
        "First see whether these instructions are as they were signed. `ALLOWED_SIGNERS` names the list of signers that you kept **outside** this store"
    )?;
    writeln!(
        out,
        "(the recovery kit has one). Stop here unless `ssh-keygen` says `Good`; read nothing but what it checked, `restored/RESTORE.md`.\n"
    )?;
    writeln!(out, "```sh\nset -eu\n{}", locate(store))?;
    writeln!(out, "mkdir -p restored && chmod 700 restored")?;
    let page = page_key(&manifest.app, &manifest.environment);
    writeln!(out, "{}", fetch(store, &page, "restored/fetched.md"))?;
    // The page ends in its signature, so that the two are never apart.
    writeln!(
        out,
        "sed '/^-----BEGIN SSH SIGNATURE-----$/,$d' restored/fetched.md > restored/RESTORE.md\n\
         sed -n '/^-----BEGIN SSH SIGNATURE-----$/,$p' restored/fetched.md > restored/RESTORE.md.sig\n\
         rm restored/fetched.md"
    )?;
    write_check(out, "restored/RESTORE.md", &manifest.app)?;
    writeln!(out, "```\n")
}

/// The lines that check the signature of a fetched file.
fn write_check(out: &mut String, file: &str, app: &str) -> std::fmt::Result {
    writeln!(
        out,
        "if [ -n \"${{ALLOWED_SIGNERS:-}}\" ]; then\n  ssh-keygen -Y verify -f \"$ALLOWED_SIGNERS\" -I {} -n lifeboat -s {file}.sig < {file}",
        quote(app)
    )?;
    writeln!(
        out,
        "else\n  ssh-keygen -Y check-novalidate -n lifeboat -s {file}.sig < {file}\nfi"
    )
}

/// Writes the check that the manifests are as they were signed.
pub(super) fn write_of_manifests(
    out: &mut String,
    store: &OpenStore,
    manifests: &[&Manifest],
) -> std::fmt::Result {
    writeln!(out, "## 2. Check who signed them\n")?;
    for manifest in manifests {
        let (point, signer) = (&manifest.point, &manifest.signer);
        writeln!(out, "- The manifest of `{point}` is signed by `{signer}`.")?;
    }
    writeln!(
        out,
        "\nCompare that with a list of signers that you kept **outside** this store"
    )?;
    writeln!(
        out,
        "(the recovery kit has one, as `allowed_signers`); without one, this step shows only that nothing was changed by accident.\n"
    )?;
    writeln!(out, "```sh")?;
    for manifest in manifests {
        let key = manifest_key(&manifest.point);
        let file = format!("restored/{}.json", manifest.point);
        writeln!(out, "{}", fetch(store, &key, &file))?;
        let signature = format!("{file}.sig");
        writeln!(out, "{}", fetch(store, &format!("{key}.sig"), &signature))?;
        write_check(out, &file, &manifest.app)?;
    }
    writeln!(out, "```\n")
}
