//! Arranges the paths to back up as a tree, so that a directory above several of them occurs once.
//!
//! Their places in the snapshot follow restic. An absolute path starts at the root. A relative path
//! keeps its own components, without those that lead out of its starting directory. A path without
//! a name of its own (`/`, `.`, `..`) puts its entries at the top.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The wanted entries of a directory, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Targets {
    pub(super) children: BTreeMap<OsString, Target>,
}

/// A wanted entry, or a directory that holds some.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its absolute path on this host.
    pub(super) path: PathBuf,
    /// The wanted entries in it; `None` if all of it is wanted.
    pub(super) inner: Option<Targets>,
    /// The device of its directory, if the operator named that directory and not this entry.
    pub(super) device: Option<u64>,
}

impl Targets {
    /// Returns the targets, and separately the directories without a name of their own. Relative
    /// paths start at `directory`.
    pub(super) fn new(paths: &[PathBuf], directory: &Path) -> (Self, Vec<PathBuf>) {
        let (mut targets, mut whole) = (Targets::default(), Vec::new());
        for path in paths {
            let absolute = absolute(directory, path);
            let names = names(path);
            match names.is_empty() {
                true => whole.push(absolute),
                false => targets.add(&names, &absolute),
            }
        }
        (targets, whole)
    }

    /// Adds an entry of a directory that has no name of its own.
    pub(super) fn add_entry(&mut self, directory: &Path, device: u64, name: OsString) {
        let path = directory.join(&name);
        let name = self.free(&name, &path);
        // Anything else that is wanted of it lies within.
        let whole = Target {
            path,
            inner: None,
            device: Some(device),
        };
        self.children.insert(name, whole);
    }

    /// Adds a path whose place in the snapshot is `names`. The absolute path ends in the same
    /// names.
    fn add(&mut self, names: &[OsString], absolute: &Path) {
        let Some((first, rest)) = names.split_first() else {
            return;
        };
        let path = absolute.ancestors().nth(rest.len()).unwrap_or(absolute);
        let target = self
            .children
            .entry(self.free(first, path))
            .or_insert_with(|| Target {
                path: path.to_owned(),
                inner: Some(Targets::default()),
                device: None,
            });
        match (rest.is_empty(), &mut target.inner) {
            (true, inner) => (*inner, target.device) = (None, None),
            (false, Some(inner)) => inner.add(rest, absolute),
            // All of it is wanted already.
            (false, None) => {}
        }
    }

    /// Returns the name; if it stands for another path already, the name with the first free number
    /// appended.
    fn free(&self, name: &OsString, path: &Path) -> OsString {
        let numbered = |number: u32| {
            let mut numbered = name.clone();
            numbered.push(format!("-{number}"));
            numbered
        };
        let mut all = std::iter::once(name.clone()).chain((1..).map(numbered));
        let is_free = |name: &OsString| self.children.get(name).is_none_or(|t| t.path == path);
        all.find(is_free).unwrap_or_default()
    }
}

/// The absolute form of a path, without `.` and `..`; a relative path starts at `directory`. Works
/// on names alone and does not follow links.
pub fn absolute(directory: &Path, path: &Path) -> PathBuf {
    let names = names(&directory.join(path));
    Path::new("/").join(names.iter().collect::<PathBuf>())
}

fn names(path: &Path) -> Vec<OsString> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => {
                names.pop();
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats the targets: their names in the snapshot, and in brackets their paths on this host.
    fn shown(paths: &[&str]) -> String {
        fn show(targets: &Targets) -> String {
            let one = |(name, target): (&OsString, &Target)| match &target.inner {
                Some(inner) => format!("{}/{{{}}}", name.display(), show(inner)),
                None => format!("{}[{}]", name.display(), target.path.display()),
            };
            let all: Vec<_> = targets.children.iter().map(one).collect();
            all.join(" ")
        }
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let (targets, whole) = Targets::new(&paths, Path::new("/srv/web"));
        let whole: Vec<_> = whole.iter().map(|p| format!(" {}", p.display())).collect();
        show(&targets) + &whole.concat()
    }

    #[test]
    fn a_path_inside_another_occurs_once() {
        for (paths, expected) in [
            (&["/a/b", "/a/b/c"][..], "a/{b[/a/b]}"),
            (&["/a/b/c", "/a/b"], "a/{b[/a/b]}"),
            (&["/a/./x/../b/"], "a/{b[/a/b]}"),
            (&["/a/b", "/a/c", "/d"], "a/{b[/a/b] c[/a/c]} d[/d]"),
        ] {
            assert_eq!(shown(paths), expected);
        }
    }

    #[test]
    fn a_relative_path_keeps_its_own_components() {
        for (paths, expected) in [
            (&["data"][..], "data[/srv/web/data]"),
            (&["a/b", "a/c"], "a/{b[/srv/web/a/b] c[/srv/web/a/c]}"),
            (&["../db", "./x/../y"], "db[/srv/db] y[/srv/web/y]"),
            (&["."], " /srv/web"),
            (&["..", "/"], " /srv /"),
            (
                &["/srv/web", "srv"],
                "srv/{web[/srv/web]} srv-1[/srv/web/srv]",
            ),
            (
                &["etc", "/etc", "../etc"],
                "etc[/srv/web/etc] etc-1[/etc] etc-2[/srv/etc]",
            ),
        ] {
            assert_eq!(shown(paths), expected);
        }
    }

    #[test]
    fn an_entry_is_whole_and_numbered_beside_a_namesake() {
        let (mut targets, _) = Targets::new(&["etc/a".into()], Path::new("/srv"));
        targets.add_entry(Path::new("/"), 7, "etc".into());
        targets.add_entry(Path::new("/srv"), 8, "etc".into());
        let shown = targets.children.into_iter().map(|(name, target)| {
            let name = name.into_string().unwrap();
            (name, target.path, target.inner, target.device)
        });
        let expected = [
            ("etc".to_owned(), "/srv/etc".into(), None, Some(8)),
            ("etc-1".to_owned(), "/etc".into(), None, Some(7)),
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }
}
