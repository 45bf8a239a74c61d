//! The commands of `RESTORE.md` that check signatures: its own before anything else, and that of the
//! manifest. Without a list of signers they show only that nothing was changed by accident.

use super::{KEY, fetch, locate, quote};
use crate::context::{Context, OpenStore};
use crate::point::{Manifest, manifest_key};
use std::fmt::Write;

/// Before anything else: whether these instructions are as they were signed.
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
    for name in [KEY.to_owned(), format!("{KEY}.sig")] {
        let to = name.replacen("lifeboat/", "restored/", 1);
        writeln!(out, "{}", fetch(store, &name, &to))?;
    }
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

/// Whether the manifest is as it was signed.
pub(super) fn write_of_manifest(
    out: &mut String,
    context: &Context,
    store: &OpenStore,
    manifest: &Manifest,
) -> std::fmt::Result {
    let key = manifest_key(&manifest.point);
    writeln!(out, "## 2. Check who signed it\n")?;
    writeln!(
        out,
        "The manifest is signed by `{}`. Compare that with a list of signers that you kept **outside** this store",
        context.signer.id()
    )?;
    writeln!(
        out,
        "(the recovery kit has one, as `allowed_signers`); without one, this step shows only that nothing was changed by accident.\n"
    )?;
    writeln!(out, "```sh")?;
    writeln!(out, "{}", fetch(store, &key, "restored/manifest.json"))?;
    writeln!(
        out,
        "{}",
        fetch(store, &format!("{key}.sig"), "restored/manifest.json.sig")
    )?;
    write_check(out, "restored/manifest.json", &manifest.app)?;
    writeln!(out, "```\n")
}
