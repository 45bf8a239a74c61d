//! Finds the existing paths that match a pattern, as a shell does.

use super::{BadPattern, Part};
use crate::mounts::Mounts;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Returns the existing paths that a pattern matches as a whole, in order. `*`, `?` and `[…]` match
/// within a component. A directory that cannot be read counts as empty. A path on a file system
/// that does not answer counts as existing.
pub fn expand(pattern: &[u8], mounts: &Mounts) -> Result<Vec<PathBuf>, BadPattern> {
    let mut found = match pattern.first() {
        Some(b'/') => vec![PathBuf::from("/")],
        _ => vec![PathBuf::new()],
    };
    for name in super::components(pattern) {
        let part = match name {
            // Here `**` matches no more than one component.
            b"**" => Part::parse(b"*"),
            name => Part::parse(name),
        };
        let part = part.map_err(|reason| BadPattern {
            pattern: String::from_utf8_lossy(pattern).into_owned(),
            reason,
        })?;
        let each = found.iter().flat_map(|at| inside(at, &part, mounts));
        found = each.collect();
    }
    found.retain(
        |path| match mounts.ask(&absolute(path), |path| path.symlink_metadata()) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::TimedOut,
        },
    );
    Ok(found)
}

/// The entries of a directory that match.
fn inside(at: &Path, part: &Part, mounts: &Mounts) -> Vec<PathBuf> {
    if let Part::Literal(name) = part {
        return vec![at.join(OsString::from_vec(name.clone()))];
    }
    let names = mounts.names(&absolute(at)).unwrap_or_default();
    let names = names.into_iter();
    let mut names: Vec<_> = names.filter(|name| part.matches(name.as_bytes())).collect();
    names.sort_unstable();
    names.into_iter().map(|name| at.join(name)).collect()
}

fn absolute(path: &Path) -> PathBuf {
    std::env::current_dir().unwrap_or_default().join(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts::PATIENCE;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "files that are looked for")]
    fn a_pattern_expands_to_existing_paths() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["a/x.log", "a/y.txt", "b/x.log", "b/.hidden", "c*"] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink("nowhere", root.join("b/broken")).unwrap();
        let mounts = Mounts::of_this_process(PATIENCE);
        let found = |pattern: &str| {
            let pattern = root.join(pattern);
            let found = expand(pattern.as_os_str().as_bytes(), &mounts).unwrap();
            let inner = found.iter().map(|path| path.strip_prefix(root).unwrap());
            inner
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("*/*.log"), ["a/x.log", "b/x.log"]);
        assert_eq!(found("**/x.log"), ["a/x.log", "b/x.log"]);
        assert_eq!(found("[bc]"), ["b"]);
        assert_eq!(found("?/y.txt"), ["a/y.txt"]);
        assert_eq!(found("b/*"), ["b/.hidden", "b/broken", "b/x.log"]);
        assert_eq!(found(r"c\*"), ["c*"]);
        assert_eq!(found("a/./x.log"), ["a/./x.log"]);
        assert_eq!(found("none"), [""; 0]);
        assert_eq!(found("a/x.log/*"), [""; 0]);
        assert!(expand(b"/[", &mounts).is_err());
        let here = expand(b"Cargo.*", &mounts).unwrap();
        assert!(here.contains(&"Cargo.toml".into()));
    }
}
