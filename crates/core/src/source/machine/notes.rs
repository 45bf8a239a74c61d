//! Notes of what must not be forgotten if this process is killed: a JSON file each, in one directory.

use crate::error::{Code, Error, Result};
use crate::place;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Writes a note durably.
pub(super) fn write(note: &impl Serialize, path: &Path) -> Result<()> {
    let text = serde_json::to_vec_pretty(note)
        .map_err(|e| Error::new(Code::State, "a note cannot be written").cause(e))?;
    place::replace_file(&mut text.as_slice(), path, 0o600)?;
    Ok(())
}

/// The notes of one form in a directory, with their paths.
pub(super) fn all<T: DeserializeOwned>(directory: &Path) -> Vec<(PathBuf, T)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let note = |path: PathBuf| {
        let text = std::fs::read(&path).ok()?;
        Some((path, serde_json::from_slice(&text).ok()?))
    };
    entries.filter_map(|entry| note(entry.path())).collect()
}

/// Removes a note. One that stays is looked at again, and what it names is found to be in order.
pub(super) fn forget(path: &Path) {
    let _ = std::fs::remove_file(path);
}
