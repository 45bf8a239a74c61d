//! Where scratch directories were made outside their base, such as in a temporary directory that the
//! user of a scratch server can reach.
//!
//! A note beside the base keeps each such place, because the next run may be given another
//! temporary directory. Losing the note means that what a killed run left there is not found.

use crate::error::{Code, Error, Result};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What lies beside the base, a path to a line.
const NOTE: &str = "scratch-elsewhere";
/// What short-lived sockets always use.
const TEMPORARY: &str = "/tmp";
/// More places than a host has, in bytes.
const NOTE_BYTES_MAX: usize = 64 << 10;

/// Notes a place, before something is made there.
pub fn note(base: &Path, place: &Path) -> Result<()> {
    if places(base).contains(place) {
        return Ok(());
    }
    let path = base.with_file_name(NOTE);
    let mut line = place.as_os_str().as_bytes().to_vec();
    line.push(b'\n');
    let mut options = OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(&line))
        .map_err(|error| {
            Error::new(
                Code::State,
                format!("{} cannot be written to", path.display()),
            )
            .cause(error)
            .hint("make the state directory writable for this user")
        })
}

/// Every place beside `base` where something may have been made.
pub fn places(base: &Path) -> BTreeSet<PathBuf> {
    let mut text = std::fs::read(base.with_file_name(NOTE)).unwrap_or_default();
    text.truncate(NOTE_BYTES_MAX);
    let lines = text.split(|byte| *byte == b'\n');
    let noted = lines.map(|line| PathBuf::from(std::ffi::OsStr::from_bytes(line)));
    let always = [std::env::temp_dir(), TEMPORARY.into()];
    noted
        .chain(always)
        .filter(|place| place.is_absolute() && place != base)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_noted_once() {
        let state = tempfile::tempdir().unwrap();
        let base = state.path().join("scratch");
        note(&base, Path::new("/large")).unwrap();
        note(&base, Path::new("/large")).unwrap();
        let text = std::fs::read_to_string(state.path().join(NOTE)).unwrap();
        assert_eq!(text, "/large\n");
        assert!(places(&base).contains(Path::new("/large")));
        assert!(places(&base).contains(Path::new("/tmp")));
        assert!(!places(Path::new("/tmp")).contains(Path::new("/tmp")));
    }
}
