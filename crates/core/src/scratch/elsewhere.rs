//! Places outside their base where scratch directories were made, such as a temporary directory
//! that the user of a scratch server can reach.
//!
//! A note beside the base records each such place, because the next run may be given another
//! temporary directory. If the note is lost, the remains of a killed run there are not found.

use super::PREFIX;
use crate::error::{Code, Error, Result};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The name of the note beside the base, which holds a path in each line.
const NOTE: &str = "scratch-elsewhere";
/// Short-lived sockets always use this directory.
const TEMPORARY: &str = "/tmp";
/// Upper limit of the note's size, in bytes: more places than a host has.
const NOTE_BYTES_MAX: usize = 64 << 10;

/// Notes a place before something is made there. If `base` is itself a scratch directory, the note
/// lies beside the base that it was made in, which is the one that is swept.
pub fn note(base: &Path, place: &Path) -> Result<()> {
    let base = swept(base);
    if place == base || noted(base).contains(place) {
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

/// The base in which the scratch directory `base` was made, or `base` itself if it is not one.
fn swept(base: &Path) -> &Path {
    let mut ancestors = base.ancestors();
    ancestors.find(|at| !is_scratch(at)).unwrap_or(base)
}

fn is_scratch(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_bytes().starts_with(PREFIX.as_bytes())
}

/// Every place outside `base` where something may have been made.
pub fn places(base: &Path) -> BTreeSet<PathBuf> {
    let always = [std::env::temp_dir(), TEMPORARY.into()];
    let mut places = noted(base);
    places.extend(always);
    places.retain(|place| place != base);
    places
}

/// The noted places, including those in the base itself, where older versions noted the places of
/// scratch servers.
fn noted(base: &Path) -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::new();
    for path in [base.with_file_name(NOTE), base.join(NOTE)] {
        let mut text = std::fs::read(path).unwrap_or_default();
        text.truncate(NOTE_BYTES_MAX);
        let lines = text.split(|byte| *byte == b'\n');
        let lines = lines.map(|line| PathBuf::from(std::ffi::OsStr::from_bytes(line)));
        places.extend(lines.filter(|place| place.is_absolute()));
    }
    places
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

    #[test]
    fn what_a_drill_uses_is_noted_where_the_next_run_looks() {
        let state = tempfile::tempdir().unwrap();
        let base = state.path().join("scratch");
        std::fs::create_dir(&base).unwrap();
        let drill = base.join("lifeboat-scratch-drill-0123456789ab");
        note(&drill, Path::new("/large")).unwrap();
        // The usual place of this run differs from that of the next.
        note(&drill, &std::env::temp_dir()).unwrap();
        let text = std::fs::read_to_string(state.path().join(NOTE)).unwrap();
        assert_eq!(
            text,
            format!("/large\n{}\n", std::env::temp_dir().display())
        );
        assert!(places(&base).contains(Path::new("/large")));
        // Where older versions noted it.
        note(&base.join("drill"), Path::new("/older")).unwrap();
        assert!(base.join(NOTE).exists());
        assert!(places(&base).contains(Path::new("/older")));
    }
}
