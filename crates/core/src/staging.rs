//! Staging directories: private places beside live things where restored data waits to be swapped
//! in.

use crate::archive::Tally;
use crate::error::{Code, Error, Result};
use crate::fingerprint::{BytesFingerprint, Fingerprint, Inventory, Proof};
pub use crate::place::create_directory;
use crate::point::FileAttributes;
use crate::removal::{Stays, remove_tree};
use std::fs::{File, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Makes the missing directories above these paths, for this user alone. Returns those it made,
/// outermost first.
pub fn make_above(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for path in paths {
        let above: Vec<_> = path.ancestors().skip(1).collect();
        for directory in above.into_iter().rev() {
            if directory.symlink_metadata().is_err() {
                create_directory(directory)?;
                made.push(directory.to_owned());
            }
        }
    }
    Ok(made)
}

/// Removes the empty ones of these directories, innermost first.
pub fn remove_empty(directories: &[PathBuf]) {
    for directory in directories.iter().rev() {
        let _ = std::fs::remove_dir(directory);
    }
}

/// Removes a staging directory with its contents. Returns what cannot be removed, which stays
/// private and is named after the point.
pub fn remove(staging: &Path) -> Vec<Stays> {
    remove_tree(staging)
}

/// Mode, owner and group of a file, to be given to the restored file that replaces it.
pub fn attributes(path: &Path) -> Option<FileAttributes> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(FileAttributes {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

/// Gives a restored file the attributes of the captured one. Changing the owner needs root; without
/// it the file stays ours, and the returned warning says so.
pub fn apply_attributes(path: &Path, attributes: FileAttributes) -> Result<Option<String>> {
    let failed = |error: std::io::Error| {
        Error::new(
            Code::Target,
            format!("the mode of {} cannot be set", path.display()),
        )
        .cause(error)
    };
    let owner = chown(path, Some(attributes.uid), Some(attributes.gid)).err();
    std::fs::set_permissions(path, Permissions::from_mode(attributes.mode)).map_err(failed)?;
    Ok(owner.map(|error| format!("{} keeps our owner: {error}", path.display())))
}

/// The proof of a plain file, read in place.
pub fn observe_file(path: &Path) -> Result<Proof> {
    let failed =
        |error: std::io::Error| Error::io(format!("{} cannot be read", path.display()), &error);
    let mut tap = crate::archive::TapReader::new(File::open(path).map_err(failed)?);
    let mut buffer = vec![0; 256 << 10];
    while tap.read(&mut buffer).map_err(failed)? > 0 {}
    let (_, Tally { bytes, sha256, .. }) = tap.finish();
    Ok(Proof {
        fingerprint: Fingerprint::Bytes(BytesFingerprint {
            length: bytes,
            sha256,
        }),
        inventory: Inventory::None,
    })
}
