//! The paths to back up as a tree, so that a directory above several of them is there once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// What is wanted of a directory: by name, `None` all of it, else some of what is in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Targets {
    pub(super) children: BTreeMap<OsString, Option<Targets>>,
}

impl Targets {
    pub(super) fn new(paths: &[PathBuf]) -> Self {
        let mut root = Targets::default();
        for path in paths {
            let names: Vec<OsString> = names(path);
            root.add(&names);
        }
        root
    }

    fn add(&mut self, names: &[OsString]) {
        let Some((first, rest)) = names.split_first() else {
            return;
        };
        if rest.is_empty() {
            self.children.insert(first.clone(), None);
            return;
        }
        let child = self
            .children
            .entry(first.clone())
            .or_insert_with(|| Some(Targets::default()));
        // All of it is wanted already.
        if let Some(targets) = child {
            targets.add(rest);
        }
    }
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

    #[test]
    fn what_lies_in_another_is_there_once() {
        let targets = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            Targets::new(&paths)
        };
        assert_eq!(targets(&["/a/b", "/a/b/c"]), targets(&["/a/b"]));
        assert_eq!(targets(&["/a/b/c", "/a/b"]), targets(&["/a/b"]));
        assert_eq!(targets(&["/a/./x/../b/"]), targets(&["/a/b"]));
        let two = targets(&["/a/b", "/a/c", "/d"]);
        assert_eq!(two.children.len(), 2);
        assert_eq!(
            two.children["a".as_ref() as &std::ffi::OsStr]
                .as_ref()
                .unwrap()
                .children
                .len(),
            2
        );
    }
}
