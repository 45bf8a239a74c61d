//! Examines one file of a restored tree, and never anything outside the tree.
//!
//! A restored tree holds links that point to absolute paths of the host it came from. They are
//! resolved as if the tree were `/`. A check therefore neither reads this host's own file by
//! accident nor is led out by a planted link.

use super::{CheckOutcome, CheckResult, Subject};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

/// The number of links that Linux follows.
const LINKS_MAX: u32 = 40;

/// Checks that `path` exists and, with `contains`, that it is a file that holds this text.
///
/// `root` is where the source was restored, with the whole path of every entry beneath it;
/// `configured` are the `paths` (and `optional`) of the source. An absolute `path` is one of the
/// host; a relative one is taken from `root`, then from the parent of each configured path.
pub fn check_file(
    root: &Path,
    configured: &[PathBuf],
    path: &str,
    contains: Option<&str>,
) -> CheckResult {
    let name = Subject::word("file");
    let expected = match contains {
        Some(text) => format!("contains {text:?}"),
        None => "is there".to_owned(),
    };
    let unknown =
        |error: io::Error| CheckResult::unknown(name.clone(), expected.as_str(), error.to_string());
    let found = match locate(root, configured, Path::new(path)) {
        Ok(Some(found)) => found,
        Ok(None) => {
            return CheckResult::new(name, expected, "it is missing", CheckOutcome::Failed);
        }
        Err(error) => return unknown(error),
    };
    let Some(text) = contains else {
        return CheckResult::new(name, expected, "is there", CheckOutcome::Passed);
    };
    // A pipe would block, and a directory has no text.
    match std::fs::symlink_metadata(&found) {
        Ok(metadata) if !metadata.is_file() => {
            return CheckResult::new(name, expected, "it is no file", CheckOutcome::Failed);
        }
        Ok(_) => {}
        Err(error) => return unknown(error),
    }
    match open(&found).and_then(|file| holds(file, text.as_bytes())) {
        Ok(true) => CheckResult::new(
            name,
            expected.as_str(),
            expected.as_str(),
            CheckOutcome::Passed,
        ),
        Ok(false) => CheckResult::new(name, expected, "does not contain it", CheckOutcome::Failed),
        Err(error) => unknown(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// The place of `path` in the restored tree, free of links; `None` if it does not exist.
fn locate(root: &Path, configured: &[PathBuf], path: &Path) -> io::Result<Option<PathBuf>> {
    let mut candidates = vec![path.to_owned()];
    if path.is_relative() {
        candidates.extend(
            configured
                .iter()
                .filter_map(|c| Some(c.parent()?.join(path))),
        );
    }
    for candidate in candidates {
        if let Some(found) = resolve(root, &candidate)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Follows `path` beneath `root` as if `root` were `/`.
fn resolve(root: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let mut ahead: VecDeque<OsString> = VecDeque::new();
    queue(&mut ahead, path);
    let (mut walked, mut links): (Vec<OsString>, u32) = (Vec::new(), 0);
    while let Some(step) = ahead.pop_front() {
        if step == OsStr::new("..") {
            walked.pop();
            continue;
        }
        walked.push(step);
        let here = below(root, &walked);
        let metadata = match std::fs::symlink_metadata(&here) {
            Ok(metadata) => metadata,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if metadata.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(io::Error::other("too many symbolic links"));
            }
            let target = std::fs::read_link(&here)?;
            walked.pop();
            if target.is_absolute() {
                walked.clear();
            }
            queue(&mut ahead, &target);
        }
    }
    Ok(Some(below(root, &walked)))
}

/// Puts the steps of `path` before those that are still to be walked.
fn queue(ahead: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(_) | Component::ParentDir => {
                ahead.push_front(component.as_os_str().to_owned());
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

fn below(root: &Path, steps: &[OsString]) -> PathBuf {
    let mut path = root.to_owned();
    path.extend(steps);
    path
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Returns true if the stream holds `text`. Memory is bounded.
fn holds(mut input: impl Read, text: &[u8]) -> io::Result<bool> {
    if text.is_empty() {
        return Ok(true);
    }
    // One byte less than the text is kept from one read to the next, so that a text that spans two
    // reads is found.
    let (mut window, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        window.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if window.windows(text.len()).any(|piece| piece == text) {
            return Ok(true);
        }
        let excess = window.len().saturating_sub(text.len() - 1);
        window.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A reader that returns one byte a read, so that every text spans reads.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn a_text_is_found_across_reads() {
        for (input, text, found) in [
            ("aab", "ab", true),
            ("aaab", "aab", true),
            ("listening", "listen", true),
            ("lis ten", "listen", false),
            ("", "x", false),
            ("", "", true),
            ("x", "xx", false),
        ] {
            assert_eq!(
                holds(Drops(input.as_bytes()), text.as_bytes()).unwrap(),
                found,
                "{input} {text}"
            );
            assert_eq!(
                holds(input.as_bytes(), text.as_bytes()).unwrap(),
                found,
                "{input} {text}"
            );
        }
    }

    /// A restored tree of `/opt/bot/config` and `/opt/bot/data`, beside a file outside of it.
    fn tree() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("restored");
        let config = root.join("opt/bot/config");
        fs::create_dir_all(&config).unwrap();
        fs::create_dir_all(root.join("opt/bot/data")).unwrap();
        fs::write(config.join("app.toml"), "listen = 80\n").unwrap();
        fs::write(directory.path().join("secret"), "listen to this").unwrap();
        symlink(
            "/opt/bot/config/app.toml",
            root.join("opt/bot/data/absolute"),
        )
        .unwrap();
        symlink("../config", root.join("opt/bot/data/relative")).unwrap();
        symlink("../../../../secret", root.join("opt/bot/data/escape")).unwrap();
        symlink(
            directory.path().join("secret"),
            root.join("opt/bot/data/host"),
        )
        .unwrap();
        symlink("loop", root.join("opt/bot/data/loop")).unwrap();
        (directory, root)
    }

    #[test]
    fn files_are_looked_up_as_if_the_tree_were_the_host() {
        use CheckOutcome::{Failed, Passed, Unknown};
        let (_directory, root) = tree();
        let configured = ["/opt/bot/config".into(), "/opt/bot/data".into()];
        let listen = Some("listen");
        let table = [
            (
                "/opt/bot/config/app.toml",
                listen,
                Passed,
                "contains \"listen\"",
            ),
            (
                "opt/bot/config/app.toml",
                listen,
                Passed,
                "contains \"listen\"",
            ),
            ("config/app.toml", listen, Passed, "contains \"listen\""),
            (
                "config/app.toml",
                Some("bind"),
                Failed,
                "does not contain it",
            ),
            ("config/app.toml", None, Passed, "is there"),
            ("config", None, Passed, "is there"),
            ("config", listen, Failed, "it is no file"),
            ("app.toml", None, Failed, "it is missing"),
            ("config/app.toml/x", None, Failed, "it is missing"),
            ("data/absolute", listen, Passed, "contains \"listen\""),
            (
                "data/relative/app.toml",
                listen,
                Passed,
                "contains \"listen\"",
            ),
            ("data/escape", listen, Failed, "it is missing"),
            ("data/host", listen, Failed, "it is missing"),
            ("/../secret", None, Failed, "it is missing"),
            ("data/loop", None, Unknown, "too many symbolic links"),
        ];
        for (path, contains, outcome, observed) in table {
            let result = check_file(&root, &configured, path, contains);
            assert_eq!(
                (result.outcome, result.observed()),
                (outcome, observed),
                "{path}"
            );
        }
    }
}
