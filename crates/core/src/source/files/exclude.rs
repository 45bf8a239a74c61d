//! Patterns that leave parts of a directory tree out.
//!
//! Patterns are those of `.gitignore` without negation. One without a slash matches a name at any
//! depth; one that begins with a slash matches a whole absolute path; one with a slash further in
//! matches the end of a path, whole names only; one that ends in a slash matches directories only.

use crate::error::{Code, Error, Result};
use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Compiled patterns.
#[derive(Debug, Default)]
pub(super) struct Excludes {
    names: GlobSet,
    paths: GlobSet,
    directory_names: GlobSet,
    directory_paths: GlobSet,
}

impl Excludes {
    pub(super) fn new(patterns: &[String]) -> Result<Self> {
        let mut sets = [(); 4].map(|()| GlobSetBuilder::new());
        let [names, paths, directory_names, directory_paths] = &mut sets;
        for pattern in patterns {
            let bare = pattern.trim_end_matches('/');
            let only_directories = bare.len() < pattern.len();
            let set = match (bare.contains('/'), only_directories) {
                (false, false) => &mut *names,
                (false, true) => &mut *directory_names,
                (true, false) => &mut *paths,
                (true, true) => &mut *directory_paths,
            };
            let whole = if bare.contains('/') && !bare.starts_with('/') {
                format!("**/{bare}")
            } else {
                bare.to_owned()
            };
            let glob = GlobBuilder::new(&whole).literal_separator(true).build();
            set.add(glob.map_err(|error| bad(pattern, &error))?);
        }
        let [a, b, c, d] = sets.map(|set| set.build());
        let whole = |built: Result<GlobSet, globset::Error>| {
            built.map_err(|error| bad("of this source", &error))
        };
        Ok(Excludes {
            names: whole(a)?,
            paths: whole(b)?,
            directory_names: whole(c)?,
            directory_paths: whole(d)?,
        })
    }

    /// Returns true if the entry at `path` (relative to `/`) is left out.
    pub(super) fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.names.is_empty()
            && self.paths.is_empty()
            && self.directory_names.is_empty()
            && self.directory_paths.is_empty()
        {
            return false;
        }
        let mut absolute = Vec::with_capacity(path.len() + 1);
        absolute.push(b'/');
        absolute.extend_from_slice(path);
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let name = Candidate::new(Path::new(OsStr::from_bytes(name)));
        let path = Candidate::new(Path::new(OsStr::from_bytes(&absolute)));
        self.names.is_match_candidate(&name)
            || self.paths.is_match_candidate(&path)
            || (is_directory
                && (self.directory_names.is_match_candidate(&name)
                    || self.directory_paths.is_match_candidate(&path)))
    }
}

fn bad(pattern: &str, error: &globset::Error) -> Error {
    Error::new(
        Code::Configuration,
        format!("the exclude pattern {pattern:?} is not understood"),
    )
    .cause(error)
    .hint("write it as in .gitignore, without negation")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(pattern: &str, path: &str) -> bool {
        let excludes = Excludes::new(&[pattern.to_owned()]).unwrap();
        excludes.matches(path.as_bytes(), false)
    }

    #[test]
    fn patterns_match_as_documented() {
        for (pattern, path, expected) in [
            ("node_modules", "opt/bot/node_modules", true),
            ("node_modules", "opt/bot/node_modules2", false),
            ("*.log", "opt/bot/a.log", true),
            ("*.log", "opt/bot/a.log/b", false),
            ("/opt/*/x", "opt/bot/x", true),
            ("/opt/*/x", "opt/a/b/x", false),
            ("/opt/**/x", "opt/a/b/x", true),
            ("/bot/x", "opt/bot/x", false),
            ("bot/x", "opt/bot/x", true),
            ("bot/x", "opt/robot/x", false),
            ("cache/", "opt/cache", false),
        ] {
            assert_eq!(excluded(pattern, path), expected, "{pattern} on {path}");
        }
        let excludes = Excludes::new(&["cache/".into(), "x/y/".into()]).unwrap();
        assert!(excludes.matches(b"opt/cache", true));
        assert!(excludes.matches(b"opt/x/y", true));
        assert!(!excludes.matches(b"opt/x/y", false));
    }

    #[test]
    fn a_bad_pattern_is_a_configuration_error() {
        let error = Excludes::new(&["a[".into()]).unwrap_err();
        assert_eq!(error.code, Code::Configuration);
        assert!(error.message.contains("a["));
    }

    #[test]
    fn names_that_are_not_utf8_match_too() {
        let excludes = Excludes::new(&["*.tmp".into()]).unwrap();
        assert!(excludes.matches(b"opt/\xff\xfe.tmp", false));
    }
}
