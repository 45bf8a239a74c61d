//! Commands of a page for points that are snapshots of a repository.

use crate::config::StoreKind;
use crate::point::PointId;
use crate::shell::quote;
use crate::snapshot;

/// The requirement that the page names.
pub(super) const PASSWORD: &str = "The password of the repository, as a file that `RESTIC_PASSWORD_FILE` names. `RESTIC_OPTIONS` may hold further options of `restic`: `--no-lock` for a store that cannot be written to.";

/// Sets the variables that the other lines use.
pub(super) fn locate(kind: &StoreKind) -> String {
    let name = snapshot::PREFIX.trim_end_matches('/');
    let place = match kind {
        StoreKind::Local(_) => format!("\"$STORE\"/{name}"),
        StoreKind::Sftp(sftp) => {
            let user = sftp.user.as_ref().map(|user| format!("{user}@"));
            let port = sftp.port.map(|port| format!(":{port}"));
            let path = sftp.path.to_string_lossy();
            quote(&format!(
                "sftp://{}{}{}/{}/{name}",
                user.unwrap_or_default(),
                sftp.bracketed(),
                port.unwrap_or_default(),
                path.trim_end_matches('/')
            ))
        }
        StoreKind::S3(s3) => {
            let amazon = "https://s3.amazonaws.com";
            let endpoint = s3.server.endpoint.as_deref().unwrap_or(amazon);
            let prefix = s3.prefix.as_deref().unwrap_or_default().trim_matches('/');
            let slash = if prefix.is_empty() { "" } else { "/" };
            quote(&format!(
                "s3:{}/{}/{prefix}{slash}{name}",
                endpoint.trim_end_matches('/'),
                s3.bucket
            ))
        }
    };
    let by_ssh = match kind {
        StoreKind::Sftp(sftp) => {
            let user = sftp.user.as_ref().map(|user| format!("{user}@"));
            format!(
                "\nrestic() {{ command restic -o \"sftp.command=ssh $SSH_OPTIONS {}{} -s sftp\" \"$@\"; }}",
                user.unwrap_or_default(),
                sftp.host
            )
        }
        StoreKind::Local(_) | StoreKind::S3(_) => String::new(),
    };
    format!(
        "export RESTIC_REPOSITORY={place}\n\
         export RESTIC_PASSWORD_FILE=\"${{RESTIC_PASSWORD_FILE:-$HOME/repository.key}}\"   # the password{by_ssh}"
    )
}

/// Checks that the signed manifest names the snapshot, whose id is the hash that covers everything
/// in it.
pub(super) fn check(snapshot: &str, point: &PointId) -> String {
    format!(
        "grep -q '\"snapshot\": \"{snapshot}\"' restored/{point}.json   # restic checks every hash below it as it reads\n\
         restic ${{RESTIC_OPTIONS:-}} cat snapshot {snapshot} > /dev/null"
    )
}

/// Writes a file of the snapshot to standard output.
pub(super) fn dump(snapshot: &str, path: &str) -> String {
    format!(
        "restic ${{RESTIC_OPTIONS:-}} dump {snapshot} {}",
        quote(path)
    )
}

/// Restores a directory of the snapshot, and all below it, into `restored`.
pub(super) fn restore(snapshot: &str, path: &str) -> String {
    format!(
        "restic ${{RESTIC_OPTIONS:-}} restore {snapshot} --include {} --target restored",
        quote(path)
    )
}
