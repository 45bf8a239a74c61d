//! Writes how to restore an application from a store with stock tools alone: a page for each
//! application and environment, from the newest complete points of all its plans; and `RESTORE.md`,
//! which lists the pages.
//!
//! A page is rewritten with every point, so that its keys, hashes and commands are current. Its
//! commands are a shell script from top to bottom; the tests run them as they stand.

mod check;
mod cover;
mod put;
mod repository;
mod signature;

pub use check::{check, check_all, subjects};
pub use put::put;

use crate::config::StoreKind;
use crate::context::Context;
use crate::given::url_of;
use crate::kind::{Kind, StoredKind};
use crate::name::Name;
use crate::point::{Details, Manifest, ManifestArtifact, ManifestSource};
use crate::shell::quote;
use crate::snapshot;
use crate::source::{self, StockArtifact, StockSource};
use crate::state::State;
use crate::stores::OpenStore;
use cover::Part;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Key of the list of pages in a store. Older versions kept the instructions for one point there.
pub const INDEX: &str = "lifeboat/RESTORE.md";

/// The text around the name of the store in instructions.
const NAME: [&str; 2] = [" (`", "` in the configuration)"];

/// Prefix of the keys of all pages.
const PAGES_PREFIX: &str = "lifeboat/restore/";

/// Key of an application's page in a store.
pub fn page_key(app: &Name, environment: &Name) -> String {
    format!("{PAGES_PREFIX}{app}/{environment}.md")
}

/// Quotes a path so that `scp` takes it literally.
fn unglobbed(path: &str) -> String {
    let escape = |c: char| match c {
        '*' | '?' | '[' | ']' | '\\' => format!("\\{c}"),
        c => c.to_string(),
    };
    path.chars().map(escape).collect()
}

/// A part, and the details of its point if this host has them or can decrypt them.
type Detailed<'a> = (Option<Details>, Part<'a>);

fn render(context: &Context, store: &OpenStore, parts: &[Detailed<'_>]) -> String {
    let mut text = String::new();
    if let Some((_, newest)) = parts.first() {
        // The requirements are those of all artifacts taken together.
        let mut all = newest.manifest.clone();
        let taken = parts.iter().flat_map(|(_, part)| &part.taken);
        all.sources = taken.map(|source| (*source).clone()).collect();
        all.artifacts = parts
            .iter()
            .flat_map(|(_, p)| artifacts(p))
            .cloned()
            .collect();
        // Writing to a string does not fail.
        let _ = write_all(&mut text, context, store, parts, &all);
    }
    text
}

/// The artifacts of the sources that are taken from a point.
fn artifacts<'a>(part: &Part<'a>) -> Vec<&'a ManifestArtifact> {
    let names: BTreeSet<&Name> = part.taken.iter().map(|s| &s.name).collect();
    let artifacts = part.manifest.artifacts.iter();
    artifacts.filter(|a| names.contains(&a.source)).collect()
}

/// Writes which points the page covers, and which sources are taken from each.
fn write_points(
    out: &mut String,
    state: &State,
    store: &OpenStore,
    parts: &[Detailed<'_>],
) -> std::fmt::Result {
    writeln!(
        out,
        "This is true for the newest complete point of each plan that was in this store{}{}{} when it was written:\n",
        NAME[0], store.name, NAME[1]
    )?;
    for (_, part) in parts {
        let m = part.manifest;
        let taken: Vec<_> = part.taken.iter().map(|s| s.name.as_str()).collect();
        let taken = match taken.is_empty() {
            true => "nothing is taken from it".to_owned(),
            false => taken.join(", "),
        };
        writeln!(
            out,
            "- plan {}: `{}`, begun {}, outcome {}: {taken}",
            m.plan,
            m.point,
            m.started,
            m.outcome.as_str()
        )?;
        for (source, point) in &part.elsewhere {
            writeln!(out, "  - {source} is taken from `{point}`")?;
        }
        let lacks = part.lacks();
        if !lacks.is_empty() {
            writeln!(out, "  - **PARTIAL: lacks {}**", lacks.join(", "))?;
        }
    }
    writeln!(
        out,
        "\nFor another point, take the keys and hashes from its manifest, `lifeboat/points/<id>.json`."
    )?;
    writeln!(
        out,
        "With Lifeboat at hand, on any host and without a configuration, as root to keep owners:\n\n```"
    )?;
    let signer = state.signer.id();
    for (_, part) in parts.iter().filter(|(_, part)| !part.taken.is_empty()) {
        let command = command(&store.config.kind, part.manifest, signer.as_str());
        writeln!(out, "{command}")?;
    }
    writeln!(
        out,
        "```\n\nbut compare `{signer}` first with a list of signers that you kept outside this store.\n"
    )
}

fn write_all(
    out: &mut String,
    context: &Context,
    store: &OpenStore,
    parts: &[Detailed<'_>],
    manifest: &Manifest,
) -> std::fmt::Result {
    writeln!(
        out,
        "# How to restore {} ({})\n",
        manifest.app, manifest.environment
    )?;
    write_points(out, &context.state, store, parts)?;
    writeln!(out, "## Without Lifeboat\n")?;
    writeln!(out, "What follows is for stock tools alone.")?;
    writeln!(
        out,
        "Nothing below touches a live system: it fetches, checks and unpacks into the directory `restored`,"
    )?;
    writeln!(
        out,
        "and restores databases into new ones. Run the blocks one after the other in one POSIX shell.\n"
    )?;
    writeln!(out, "## 1. What you need\n")?;
    writeln!(out, "- {}", access(store))?;
    if encrypted_with(manifest, "age") {
        writeln!(
            out,
            "- The decryption key, as a file: an age identity, or the OpenSSH private key it was encrypted to."
        )?;
    }
    if encrypted_with(manifest, "openpgp") {
        writeln!(
            out,
            "- The OpenPGP secret key of one of {}, known to `gpg`: import it with `gpg --import KEYFILE`, or let `GNUPGHOME` name",
            store
                .sealing
                .recipients
                .as_ref()
                .map_or_else(String::new, |r| r.names().join(", "))
        )?;
        writeln!(
            out,
            "  the directory where it is. It asks for the passphrase on the terminal; without one, `GPG_OPTIONS` can say where it is:"
        )?;
        writeln!(
            out,
            "  `GPG_OPTIONS='--batch --pinentry-mode loopback --passphrase-file FILE'`."
        )?;
    }
    let signers = message_signers(manifest);
    if !signers.is_empty() {
        writeln!(
            out,
            "- To see who made the objects, the public key of {}, known to the same `gpg`: it then says `Good signature` of each.",
            signers.iter().copied().collect::<Vec<_>>().join(", ")
        )?;
        writeln!(
            out,
            "  Without it everything is restored all the same, and each object is checked against the signed manifest."
        )?;
    }
    if snapshot(manifest).is_some() {
        writeln!(out, "- {}", repository::PASSWORD)?;
    }
    writeln!(out, "- Debian packages: {}.\n", packages(store, manifest))?;
    signature::write_own(out, store, manifest)?;
    write_keys(out, store, manifest)?;
    let used = || parts.iter().filter(|(_, part)| !part.taken.is_empty());
    let manifests: Vec<_> = used().map(|(_, part)| part.manifest).collect();
    signature::write_of_manifests(out, store, &manifests)?;
    writeln!(out, "## 3. Fetch and check\n\n```sh")?;
    for (_, part) in used() {
        write_fetch(out, store, part)?;
    }
    writeln!(
        out,
        "```\n\n## 4. Unpack\n\nSecrets first, then configuration and data, then the rest.\n"
    )?;
    for (details, part) in used() {
        for source in &part.taken {
            write_source(out, part, source, details.as_ref())?;
        }
    }
    writeln!(out, "## 5. Put it in place\n")?;
    writeln!(
        out,
        "Stop what writes, keep what is there under another name, move the restored things to their places,"
    )?;
    writeln!(
        out,
        "start, and look: does the application answer, can someone log in, are the newest records there?"
    )
}

/// Writes how to fetch what is taken from one point and compare it with its signed manifest.
fn write_fetch(out: &mut String, store: &OpenStore, part: &Part<'_>) -> std::fmt::Result {
    let artifacts = artifacts(part);
    let snapshots: BTreeSet<_> = artifacts.iter().flat_map(|a| &a.snapshot).collect();
    for snapshot in snapshots {
        let check = repository::check(snapshot, &part.manifest.point);
        writeln!(out, "{check}")?;
    }
    for artifact in artifacts.iter().filter(|a| a.snapshot.is_none()) {
        let to = local_name(artifact);
        writeln!(out, "{}", fetch(store, &artifact.key, &to))?;
        writeln!(
            out,
            "printf '%s  %s\\n' {} {} | sha256sum -c -",
            artifact.sha256,
            quote(&to)
        )?;
    }
    Ok(())
}

fn write_source(
    out: &mut String,
    part: &Part<'_>,
    source: &ManifestSource,
    details: Option<&Details>,
) -> std::fmt::Result {
    let m = part.manifest;
    writeln!(
        out,
        "### {}\n\nOf `{}`, plan {}, begun {}, outcome {}.\n",
        source.name,
        m.point,
        m.plan,
        m.started,
        source.outcome.as_str()
    )?;
    let own = m.artifacts.iter().filter(|a| a.source == source.name);
    let stock = StockSource {
        source: &source.name,
        artifacts: own.map(stock_artifact).collect(),
        details,
    };
    match &source.kind {
        StoredKind::Known(kind) => source::descriptor(*kind).stock(out, &stock),
        StoredKind::Unknown(name) => writeln!(
            out,
            "This page was written by a version that does not know sources of kind `{name}`, and cannot say how they come back.\n"
        ),
    }
}

/// An artifact, with the commands that open it.
fn stock_artifact(artifact: &ManifestArtifact) -> StockArtifact<'_> {
    let restore = |snapshot: &String| repository::restore(snapshot, &artifact.key);
    StockArtifact {
        artifact,
        open: open(artifact),
        restore_tree: artifact.snapshot.as_ref().map(restore),
    }
}

/// Writes where the keys are, if any are needed.
fn write_keys(out: &mut String, store: &OpenStore, manifest: &Manifest) -> std::fmt::Result {
    let mut lines = String::new();
    if snapshot(manifest).is_some() {
        lines += &repository::locate(&store.config.kind);
        lines += "\n";
    }
    if encrypted_with(manifest, "age") {
        lines += "IDENTITY=\"${IDENTITY:-$HOME/identity.txt}\"   # the decryption key\n";
    }
    for signer in message_signers(manifest) {
        // Without the key, gpg reports an error although it has decrypted everything.
        writeln!(
            lines,
            "gpg ${{GPG_OPTIONS:-}} --list-keys {signer} > /dev/null 2>&1 || GPG_OPTIONS=\"${{GPG_OPTIONS:-}} --skip-verify\""
        )?;
    }
    match lines.is_empty() {
        true => Ok(()),
        false => writeln!(out, "Then say where the keys are:\n\n```sh\n{lines}```\n"),
    }
}

/// The id of the snapshot that holds the point, if it is in a repository.
fn snapshot(manifest: &Manifest) -> Option<&str> {
    let mut artifacts = manifest.artifacts.iter();
    artifacts.find_map(|a| a.snapshot.as_deref())
}

fn encrypted_with(manifest: &Manifest, format: &str) -> bool {
    let mut artifacts = manifest.artifacts.iter();
    artifacts.any(|a| a.encrypt.as_deref() == Some(format))
}

fn access(store: &OpenStore) -> String {
    match &store.config.kind {
        StoreKind::Local(local) => format!(
            "This directory: it was `{}` on host `{}`.",
            local.path.display(),
            crate::host::host()
        ),
        StoreKind::Sftp(sftp) => {
            let shown = match sftp.ssh.as_ref().and_then(|ssh| ssh.known_hosts.as_ref()) {
                Some(_) => ", and the `known_hosts` file that goes with it",
                None => ", and its host key in `~/.ssh/known_hosts`",
            };
            format!(
                "A key that logs in to `{}`{shown}. Where they are elsewhere than `ssh` looks, say so: `SSH_OPTIONS='-i KEY -o UserKnownHostsFile=FILE'`.",
                sftp.location()
            )
        }
        StoreKind::S3(s3) => format!(
            "Credentials for the bucket `{}` in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and the AWS command line.",
            s3.bucket
        ),
    }
}

/// Fingerprints of the keys that signed inside objects.
fn message_signers(manifest: &Manifest) -> BTreeSet<&str> {
    let signers = manifest.artifacts.iter().map(|a| &a.openpgp_signer);
    signers.flatten().map(String::as_str).collect()
}

fn packages(store: &OpenStore, manifest: &Manifest) -> String {
    let mut needed = vec!["coreutils", "openssh-client"];
    if matches!(store.config.kind, StoreKind::S3(_)) {
        needed.push("awscli");
    }
    let any = |f: &dyn Fn(&ManifestArtifact) -> bool| manifest.artifacts.iter().any(f);
    if encrypted_with(manifest, "age") {
        needed.push("age");
    }
    if encrypted_with(manifest, "openpgp") {
        needed.push("gnupg");
    }
    if snapshot(manifest).is_some() {
        needed.push("restic");
    }
    if any(&|a| a.compress == "gzip") {
        needed.push("gzip");
    }
    if any(&|a| a.compress == "zstd") {
        needed.push("zstd");
    }
    for kind in Kind::ALL {
        let sources = manifest.sources.iter().filter(|s| s.kind.is(kind));
        let own = |a: &ManifestArtifact| sources.clone().any(|s| s.name == a.source);
        let of_kind = source::descriptor(kind);
        // restic unpacks a tree by itself.
        if any(&|a| own(a) && !(of_kind.is_tree() && a.snapshot.is_some())) {
            needed.extend(of_kind.packages());
        }
    }
    let mut seen = BTreeSet::new();
    needed.retain(|package| seen.insert(*package));
    needed.join(", ")
}

/// Sets the variables that the fetching lines use.
fn locate(store: &OpenStore) -> String {
    match &store.config.kind {
        StoreKind::Local(local) => {
            let path = local.path.to_string_lossy();
            format!(
                "STORE=\"${{STORE:-}}\"; [ -n \"$STORE\" ] || STORE={}   # this directory, wherever it is now",
                quote(&path)
            )
        }
        StoreKind::Sftp(sftp) => {
            let user = sftp.user.as_ref().map(|user| format!("{user}@"));
            let root = sftp.path.to_string_lossy();
            let place = format!(
                "{}{}:{}",
                user.unwrap_or_default(),
                sftp.bracketed(),
                unglobbed(root.trim_end_matches('/'))
            );
            format!(
                "STORE={}\nSSH_OPTIONS=\"-o Port={} ${{SSH_OPTIONS:-}}\"",
                quote(&place),
                sftp.port.unwrap_or(22)
            )
        }
        StoreKind::S3(s3) => {
            let prefix = s3
                .prefix
                .as_deref()
                .map(|p| format!("/{}", p.trim_matches('/')))
                .unwrap_or_default();
            let mut lines = format!(
                "STORE={}\nexport AWS_DEFAULT_REGION={}",
                quote(&format!("s3://{}{prefix}", s3.bucket)),
                quote(&s3.server.region)
            );
            if let Some(endpoint) = &s3.server.endpoint {
                let _ = write!(lines, "\nexport AWS_ENDPOINT_URL={}", quote(endpoint));
            }
            lines
        }
    }
}

fn fetch(store: &OpenStore, key: &str, to: &str) -> String {
    let to = quote(to);
    match &store.config.kind {
        StoreKind::Local(_) => format!("cp -- \"$STORE\"/{} {to}", quote(key)),
        StoreKind::Sftp(_) => format!(
            "scp -s -q $SSH_OPTIONS \"$STORE\"/{} {to}",
            quote(&unglobbed(key))
        ),
        StoreKind::S3(_) => format!(
            "aws s3 cp --only-show-errors \"$STORE\"/{} {to}",
            quote(key)
        ),
    }
}

fn local_name(artifact: &ManifestArtifact) -> String {
    let encrypt = match artifact.encrypt.as_deref() {
        None => "",
        Some("openpgp") => ".gpg",
        Some(_) => ".age",
    };
    let compress = match artifact.compress.as_str() {
        "gzip" => ".gz",
        "zstd" => ".zst",
        _ => "",
    };
    format!(
        "restored/{}.{}.{}{compress}{encrypt}",
        artifact.source, artifact.name, artifact.extension
    )
}

/// The commands that turn a fetched object into the plain stream on standard output.
fn open(artifact: &ManifestArtifact) -> String {
    if let Some(snapshot) = &artifact.snapshot {
        return repository::dump(snapshot, &artifact.key);
    }
    let name = quote(&local_name(artifact));
    let unpack = match artifact.compress.as_str() {
        "gzip" => Some("gunzip -c"),
        "zstd" => Some("zstd -dc"),
        _ => None,
    };
    let decrypt = match artifact.encrypt.as_deref() {
        None => None,
        Some("openpgp") => Some(format!("gpg ${{GPG_OPTIONS:-}} --decrypt {name}")),
        Some(_) => Some(format!("age -d -i \"$IDENTITY\" {name}")),
    };
    match (decrypt, unpack) {
        (Some(decrypt), Some(unpack)) => format!("{decrypt} | {unpack}"),
        (Some(decrypt), None) => decrypt,
        (None, Some(unpack)) => format!("{unpack} {name}"),
        (None, None) => format!("cat {name}"),
    }
}

/// The command that restores a point of a store on a machine that has no configuration.
fn command(kind: &StoreKind, manifest: &Manifest, signer: &str) -> String {
    let point = &manifest.point;
    let mut encrypt = manifest.artifacts.iter().map(|a| a.encrypt.as_deref());
    let key = match encrypt.find_map(|encrypt| encrypt) {
        Some(snapshot::ENCRYPTION) => " --password file:PATH",
        Some(_) => " --identity file:PATH",
        None => "",
    };
    format!(
        "lifeboat restore {point} --store-url {}{key} --trust-signer {signer} --to DIRECTORY",
        quote(&url_of(kind))
    )
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn quoted_words_survive_a_shell() {
        assert_eq!(quote("a/b-1.gz"), "a/b-1.gz");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("$(x) `y`"), "'$(x) `y`'");
    }
}
