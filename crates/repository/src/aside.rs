//! Recognises what Lifeboat sets aside beside the things it restores, so that backups leave it out.
//!
//! What is set aside may hold secrets under names that no exclusion of the operator foresees. So no
//! backup takes it, and each backup reports what it left out. A directory counts only if it holds
//! the mark that Lifeboat puts into it: a directory of somebody else that has the same name is
//! backed up like any other.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The directory into which a restore moves what it replaces. It lies beside what was replaced.
pub const DIRECTORY: &str = ".lifeboat-aside";
/// The file in [`DIRECTORY`] that marks it as made by Lifeboat.
pub const MARK: &str = ".made-by-lifeboat";
/// The prefix of the names of scratch directories.
pub const SCRATCH: &str = "lifeboat-scratch-";
/// The file in a scratch directory that names the process that owns it.
pub const SCRATCH_MARK: &str = ".lifeboat-owner";
/// The reason shown to people when a backup leaves such an entry out.
pub const REASON: &str = "was set aside by a restore, and no backup takes it";

/// The conclusion that can be drawn from a name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Not made by Lifeboat.
    Other,
    /// Made by Lifeboat if it is a directory that holds this file.
    IfMarked(&'static str),
    /// Made by Lifeboat: older versions set things aside under such names, right beside what they
    /// replaced.
    Ours,
}

/// Returns whether Lifeboat set aside the directory entry `name`, whose path relative to `at` is
/// `place`. The file system is asked only if the name matches.
pub fn is_set_aside(at: impl AsFd, place: &Path, name: &OsStr) -> bool {
    let mark = match verdict(name.as_bytes()) {
        Verdict::Other => return false,
        Verdict::Ours => return true,
        Verdict::IfMarked(mark) => mark,
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, place, flags, Mode::empty())
        .and_then(|opened| rustix::fs::statat(&opened, mark, AtFlags::SYMLINK_NOFOLLOW))
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

fn verdict(name: &[u8]) -> Verdict {
    if name == DIRECTORY.as_bytes() {
        return Verdict::IfMarked(MARK);
    }
    if name.starts_with(SCRATCH.as_bytes()) {
        return Verdict::IfMarked(SCRATCH_MARK);
    }
    match was_kept(name) || was_placed(name) {
        true => Verdict::Ours,
        false => Verdict::Other,
    }
}

/// Matches `NAME.before-POINT`, `NAME.before-POINT-2`, and the side files that SQLite keeps beside
/// a database of such a name.
fn was_kept(name: &[u8]) -> bool {
    let Some((kept, rest)) = after_last(name, b".before-") else {
        return false;
    };
    let Some(rest) = point_at_start(rest) else {
        return false;
    };
    let companions: [&[u8]; 3] = [b"-wal", b"-shm", b"-journal"];
    let number = companions
        .iter()
        .find_map(|ending| rest.strip_suffix(*ending))
        .unwrap_or(rest);
    let numbered = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    !kept.is_empty() && (number.is_empty() || number.strip_prefix(b"-").is_some_and(numbered))
}

/// Matches `.NAME.lifeboat-POINT-SOURCE`, and `.NAME.lifeboat-` with 16 hex digits, the name of a
/// file under construction.
fn was_placed(name: &[u8]) -> bool {
    let Some(hidden) = name.strip_prefix(b".") else {
        return false;
    };
    let Some((of, rest)) = after_last(hidden, b".lifeboat-") else {
        return false;
    };
    let random = rest.len() == 16 && rest.iter().all(is_hexadecimal);
    let staged = point_at_start(rest).is_some_and(|source| source.starts_with(b"-"));
    !of.is_empty() && (random || staged)
}

/// Splits a name at its last `marker`, which is in neither part.
fn after_last<'a>(name: &'a [u8], marker: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = name
        .windows(marker.len())
        .rposition(|found| found == marker)?;
    Some((name.get(..at)?, name.get(at + marker.len()..)?))
}

/// Returns what follows the id of a restore point such as `20261120T060000Z-7f3a`.
fn point_at_start(text: &[u8]) -> Option<&[u8]> {
    let (id, rest) = text.split_at_checked(21)?;
    let fits = id.iter().enumerate().all(|(index, byte)| match index {
        8 => *byte == b'T',
        15 => *byte == b'Z',
        16 => *byte == b'-',
        17.. => is_hexadecimal(byte),
        _ => byte.is_ascii_digit(),
    });
    fits.then_some(rest)
}

fn is_hexadecimal(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_older_versions_are_known_and_no_others() {
        for ours in [
            ".env.before-20261120T060000Z-7f3a",
            "data.before-20261120T060000Z-7f3a-2",
            "app.db.before-20261120T060000Z-7f3a-wal",
            "app.db.before-20261120T060000Z-7f3a-12-shm",
            "..env.lifeboat-20261120T060000Z-7f3a-files",
            ".data.lifeboat-20261120T060000Z-7f3a-files-2",
            ".kit.age.lifeboat-0123456789abcdef",
        ] {
            assert_eq!(verdict(ours.as_bytes()), Verdict::Ours, "{ours}");
        }
        for others in [
            "",
            ".env",
            "notes.before-2026",
            "data.before-20261120T060000Z-7f3",
            "data.before-20261120T060000Z-7f3a.txt",
            "data.before-20261120T060000Z-7f3a-",
            ".before-20261120T060000Z-7f3a",
            "data.lifeboat-20261120T060000Z-7f3a-files",
            ".data.lifeboat-20261120T060000Z-7f3a",
            ".data.lifeboat-partial",
            ".data.lifeboat-0123456789abcdeg",
            "lifeboat.toml",
            ".lifeboat-aside.txt",
        ] {
            assert_eq!(verdict(others.as_bytes()), Verdict::Other, "{others}");
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn a_directory_counts_only_with_its_mark() {
        let base = tempfile::tempdir().unwrap();
        let is_ours = |name: &str| {
            let place = base.path().join(name);
            is_set_aside(rustix::fs::CWD, &place, OsStr::new(name))
        };
        for (name, mark) in [(DIRECTORY, MARK), ("lifeboat-scratch-x", SCRATCH_MARK)] {
            let directory = base.path().join(name);
            assert!(!is_ours(name), "it is not there");
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("theirs"), "x").unwrap();
            assert!(!is_ours(name), "it is somebody's");
            std::fs::write(directory.join(mark), "").unwrap();
            assert!(is_ours(name));
            std::fs::rename(&directory, base.path().join("moved")).unwrap();
            std::os::unix::fs::symlink("moved", &directory).unwrap();
            assert!(!is_ours(name), "a link is content");
            std::fs::remove_dir_all(base.path().join("moved")).unwrap();
        }
    }
}
