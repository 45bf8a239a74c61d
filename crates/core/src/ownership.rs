//! Finds out whether other users of this host can replace or change what a path leads to.
//!
//! Guarantees: every directory and link of the path is examined from the root on, without following
//! it, as `sshd` and `sudo` do. Trusted are root, this user, and the owner of the root directory
//! (which is how root appears in a user namespace that does not map it). A directory that everybody
//! may write to is accepted within a path if it is sticky, as `/tmp` is. Not examined: who may
//! become another user, and what a file server lets its clients do.

use crate::error::{Code, Error, Result};
use crate::host::user_name;
use crate::shell::quote;
use rustix::fs::FileType;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The largest number of links that a path may lead through.
const LINKS_MAX: usize = 40;
/// The extended attribute that holds an access control list.
const ACL: &str = "system.posix_acl_access";

/// Ownership and rights at one step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    path: PathBuf,
    kind: FileType,
    uid: u32,
    gid: u32,
    mode: u32,
    /// True if the file has an access control list, which may give the rights of the group to
    /// others.
    has_acl: bool,
}

/// The user whose trust is being judged.
#[derive(Debug, Clone, Copy)]
struct Viewer {
    uid: u32,
    gid: u32,
    /// The owner of the root directory.
    system: u32,
    /// Another trusted user: the owner of the configuration decides what runs anyway.
    also: Option<u32>,
}

/// A step of a path that others can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file or directory.
    pub path: PathBuf,
    kind: FaultKind,
    viewer_uid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    Owner(u32),
    LinkOwner(u32),
    Group(u32),
    Everybody,
}

/// The rule for the last step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nobody else may write to it.
    Private,
    /// It may be a sticky directory, as the steps before it may.
    Shared,
}

impl Fault {
    /// Returns true if every user of this host can change it.
    pub fn is_everybody(&self) -> bool {
        self.kind == FaultKind::Everybody
    }

    /// The command that repairs it.
    pub fn mend(&self) -> String {
        let path = quote(&self.path.to_string_lossy());
        match self.kind {
            FaultKind::Owner(_) => match self.viewer_uid {
                0 => format!("chown root: {path}"),
                uid => format!("sudo chown {}: {path}", user_name(uid)),
            },
            FaultKind::LinkOwner(_) => {
                format!("rm {path}; or name what it leads to, without the link")
            }
            FaultKind::Group(_) => format!("chmod g-w {path}"),
            FaultKind::Everybody => format!("chmod go-w {path}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.kind {
            FaultKind::Owner(uid) => write!(f, "{path} belongs to {}", describe(uid)),
            FaultKind::LinkOwner(uid) => write!(f, "{path} is a link of {}", describe(uid)),
            FaultKind::Group(gid) => write!(f, "{path} can be written to by group {gid}"),
            FaultKind::Everybody => write!(f, "{path} can be written to by everybody"),
        }
    }
}

fn describe(uid: u32) -> String {
    match user_name(uid) {
        name if name == uid.to_string() => format!("user {uid}"),
        name => format!("user {name} ({uid})"),
    }
}

/// Returns what others can do with one step of a path, if anything.
fn fault(facts: &Facts, viewer: Viewer, shared: bool) -> Option<FaultKind> {
    let believed =
        [0, viewer.uid, viewer.system].contains(&facts.uid) || viewer.also == Some(facts.uid);
    if facts.kind == FileType::Symlink {
        return (!believed).then_some(FaultKind::LinkOwner(facts.uid));
    }
    if !believed {
        return Some(FaultKind::Owner(facts.uid));
    }
    let sticky = facts.kind == FileType::Directory && facts.mode & 0o1000 != 0;
    if shared && sticky {
        return None;
    }
    if facts.mode & 0o002 != 0 {
        return Some(FaultKind::Everybody);
    }
    // Many systems give each user a group of the same number, and let it write.
    let own = viewer.gid == viewer.uid && facts.gid == viewer.gid;
    let harmless = (facts.gid == 0 || own) && !facts.has_acl;
    (facts.mode & 0o020 != 0 && !harmless).then_some(FaultKind::Group(facts.gid))
}

fn viewer() -> Viewer {
    let system = std::fs::metadata("/").map_or(0, |metadata| metadata.uid());
    Viewer {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        system,
        also: None,
    }
}

fn look(path: &Path) -> io::Result<Facts> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok(Facts {
        path: path.to_owned(),
        kind: FileType::from_raw_mode(metadata.mode()),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.mode() & 0o7777,
        has_acl: rustix::fs::lgetxattr_query(path, ACL).is_ok_and(|size| size > 0),
    })
}

/// The steps of a path, as far as it exists.
fn steps(path: &Path) -> io::Result<Vec<Facts>> {
    let path = std::path::absolute(path)?;
    let mut ahead: VecDeque<OsString> = names(&path);
    let mut at = PathBuf::from("/");
    let mut found = vec![look(&at)?];
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let facts = match look(&next) {
            Ok(facts) => facts,
            // A missing part will be made by us; a part that cannot be reached fails when it is
            // used.
            Err(_) => break,
        };
        let is_link = facts.kind == FileType::Symlink;
        found.push(facts);
        if !is_link {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(rustix::io::Errno::LOOP.into());
        }
        let target = std::fs::read_link(&next)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            ahead.push_front(name);
        }
    }
    Ok(found)
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// The first step of a path that others can change, its end included.
fn first_fault(path: &Path, last: Last, viewer: Viewer) -> Option<Fault> {
    // A path that cannot be followed fails when it is used.
    let steps = steps(path).ok()?;
    // If the path does not exist yet, the last step found is on the way to it.
    let there = std::fs::metadata(path).is_ok();
    let count = steps.len();
    steps.into_iter().enumerate().find_map(|(index, facts)| {
        let is_last = there && index + 1 == count;
        let shared = !is_last || last == Last::Shared;
        fault(&facts, viewer, shared).map(|kind| Fault {
            path: facts.path,
            kind,
            viewer_uid: viewer.uid,
        })
    })
}

/// Returns the first fault that lets others change the file or directory at a path, or replace it.
pub fn exposed(path: &Path) -> Option<Fault> {
    first_fault(path, Last::Private, viewer())
}

/// Refuses a file that the configuration names and that decides who is trusted or who can read
/// backups, if others can change or replace it. The owner of the configuration may. The error
/// message has no subject; the caller adds it.
pub fn named_file(path: &Path, configuration: &Path) -> Result<()> {
    let viewer = Viewer {
        also: std::fs::metadata(configuration).ok().map(|m| m.uid()),
        ..viewer()
    };
    let fault = first_fault(path, Last::Private, viewer);
    fault.map_or(Ok(()), |fault| {
        Err(Error {
            code: Code::Configuration,
            ..refused(&fault)
        }
        .hint(format!("see what is in it, then run `{}`", fault.mend())))
    })
}

/// Refuses a place that is reached through a link of another user, unless that user owns the place:
/// writing there would hand them data that is not theirs. The error message has no subject; the
/// caller adds it.
pub fn led_astray(path: &Path) -> Result<()> {
    // A path that cannot be followed fails when it is used.
    let Ok(steps) = steps(path) else {
        return Ok(());
    };
    match astray(&steps, viewer()) {
        None => Ok(()),
        Some(link) => Err(Error::new(
            Code::Target,
            format!(
                "is reached through {}, a link of {}, who does not own what it leads to",
                link.path.display(),
                describe(link.uid)
            ),
        )
        .hint("look where it leads; remove it, or name the place without it")),
    }
}

/// The first link of another user that leads to something that user does not own.
fn astray(steps: &[Facts], viewer: Viewer) -> Option<&Facts> {
    let last = steps.iter().rev().find(|f| f.kind != FileType::Symlink)?;
    let others =
        |facts: &&Facts| fault(facts, viewer, true).is_some() && facts.kind == FileType::Symlink;
    steps
        .iter()
        .filter(others)
        .find(|link| link.uid != last.uid)
}

fn refused(fault: &Fault) -> Error {
    Error::new(Code::State, format!("is open to other users: {fault}"))
        .hint(format!("run `{}`", fault.mend()))
}

/// Refuses a directory for private things if others can replace what is made in it. The error
/// message has no subject; the caller adds it.
pub fn shared_directory(path: &Path) -> Result<()> {
    let fault = first_fault(path, Last::Shared, viewer());
    fault.map_or(Ok(()), |fault| Err(refused(&fault)))
}

/// Refuses a directory for this host's state if others can change it or its entries. The entries of
/// its subdirectories `within` are examined too.
pub fn private_directory(path: &Path, within: &[&str]) -> Result<()> {
    let fault = exposed(path).or_else(|| {
        let below = within.iter().map(|name| path.join(name));
        std::iter::once(path.to_owned())
            .chain(below)
            .find_map(|directory| exposed_within(&directory))
    });
    let Some(fault) = fault else { return Ok(()) };
    let error = refused(&fault);
    let hint = format!(
        "see who wrote what is there, then {}; or choose another directory",
        error.hint.as_deref().unwrap_or_default()
    );
    Err(error.hint(hint))
}

/// The first entry of a directory that others can change.
fn exposed_within(directory: &Path) -> Option<Fault> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().find_map(|path| exposed(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const ME: u32 = 1000;

    #[test]
    fn what_others_can_change_is_a_fault() {
        use FileType::{Directory, RegularFile, Symlink};
        let alice = Viewer {
            uid: ME,
            gid: ME,
            system: 0,
            also: None,
        };
        let root = Viewer {
            uid: 0,
            gid: 0,
            system: 0,
            also: None,
        };
        let users = Viewer {
            uid: ME,
            gid: 100,
            system: 0,
            also: None,
        };
        let namespace = Viewer {
            uid: 0,
            gid: 0,
            system: 65534,
            also: None,
        };
        let owner = |uid| Some(FaultKind::Owner(uid));
        let group = |gid| Some(FaultKind::Group(gid));
        let everybody = Some(FaultKind::Everybody);
        let table = [
            (root, Directory, 0, 0, 0o755, true, None),
            (root, Directory, ME, ME, 0o700, true, owner(ME)),
            (alice, Directory, ME, ME, 0o700, false, None),
            (alice, Directory, 0, 0, 0o755, true, None),
            (alice, Directory, 1001, 1001, 0o755, true, owner(1001)),
            // As /tmp: on the way only.
            (root, Directory, 0, 0, 0o1777, true, None),
            (root, Directory, 0, 0, 0o1777, false, everybody),
            (root, Directory, 0, 0, 0o777, true, everybody),
            (root, RegularFile, 0, 0, 0o1666, true, everybody),
            (root, Directory, 0, 50, 0o775, true, group(50)),
            (root, Directory, 0, 0, 0o775, true, None),
            (alice, Directory, ME, ME, 0o775, true, None),
            (users, Directory, ME, 100, 0o775, true, group(100)),
            (root, Symlink, 0, 0, 0o777, true, None),
            (alice, Symlink, 0, 0, 0o777, true, None),
            (
                root,
                Symlink,
                ME,
                ME,
                0o777,
                true,
                Some(FaultKind::LinkOwner(ME)),
            ),
            (root, RegularFile, 0, 0, 0o644, false, None),
            (root, RegularFile, ME, ME, 0o600, false, owner(ME)),
            (namespace, Directory, 65534, 65534, 0o755, true, None),
        ];
        for (viewer, kind, uid, gid, mode, shared, expected) in table {
            let path = PathBuf::from("/x");
            let facts = Facts {
                path,
                kind,
                uid,
                gid,
                mode,
                has_acl: false,
            };
            let found = fault(&facts, viewer, shared);
            assert_eq!(found, expected, "{facts:?} for {viewer:?}");
        }
        let facts = Facts {
            path: "/x".into(),
            kind: Directory,
            uid: 0,
            gid: 0,
            mode: 0o770,
            has_acl: true,
        };
        assert_eq!(fault(&facts, root, true), group(0));
    }

    #[test]
    fn an_access_control_list_is_seen() {
        let home = tempfile::tempdir().unwrap();
        open_up(home.path(), 0o700);
        assert_eq!(exposed(home.path()), None);
        // The version, then tag, rights and id of each entry, as `setfacl -m u:65534:rwx` writes them.
        let mut list = 2_u32.to_le_bytes().to_vec();
        let none = u32::MAX;
        for (tag, rights, id) in [
            (1, 7, none),
            (2, 7, 65534),
            (4, 0, none),
            (16, 7, none),
            (32, 0, none),
        ] {
            list.extend(u16::to_le_bytes(tag));
            list.extend(u16::to_le_bytes(rights));
            list.extend(u32::to_le_bytes(id));
        }
        rustix::fs::setxattr(home.path(), ACL, &list, rustix::fs::XattrFlags::empty()).unwrap();
        assert!(exposed(home.path()).unwrap().to_string().contains("group"));
    }

    #[test]
    fn a_link_to_what_its_owner_does_not_own_is_refused() {
        use FileType::{Directory, Symlink};
        let step = |kind, uid| Facts {
            path: format!("/{uid}").into(),
            kind,
            uid,
            gid: uid,
            mode: 0o755,
            has_acl: false,
        };
        let root = Viewer {
            uid: 0,
            gid: 0,
            system: 0,
            also: None,
        };
        let (theirs, roots, others) = (step(Directory, ME), step(Directory, 0), step(Directory, 7));
        let (link, own) = (step(Symlink, ME), step(Symlink, 0));
        let way = |steps: &[&Facts]| {
            let steps: Vec<Facts> = steps.iter().map(|f| (*f).clone()).collect();
            astray(&steps, root).is_some()
        };
        assert!(!way(&[&roots, &theirs]));
        assert!(!way(&[&roots, &own, &theirs]));
        assert!(!way(&[&roots, &theirs, &link, &theirs]));
        assert!(way(&[&roots, &theirs, &link, &roots]));
        assert!(way(&[&roots, &theirs, &link, &others]));
        assert!(way(&[&roots, &theirs, &link, &own, &roots]));
    }

    #[test]
    fn whoever_owns_the_configuration_may_own_what_it_names() {
        let home = tempfile::tempdir().unwrap();
        let (file, configuration) = (home.path().join("list"), home.path().join("c.toml"));
        for path in [&file, &configuration] {
            std::fs::File::create_new(path).unwrap();
        }
        assert!(named_file(&file, &configuration).is_ok());
        open_up(&file, 0o666);
        let error = named_file(&file, &configuration).unwrap_err();
        assert!(error.hint.unwrap().contains("chmod go-w"));
        open_up(&file, 0o644);
        open_up(home.path(), 0o777);
        assert!(
            named_file(&file, &configuration).is_err(),
            "by its directory"
        );
        if !rustix::process::geteuid().is_root() {
            return;
        }
        open_up(home.path(), 0o755);
        std::os::unix::fs::chown(&file, Some(ME), None).unwrap();
        assert!(named_file(&file, &configuration).is_err());
        std::os::unix::fs::chown(&configuration, Some(ME), None).unwrap();
        assert!(named_file(&file, &configuration).is_ok());
    }

    fn open_up(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn each_step_is_examined_even_behind_links() {
        let home = tempfile::tempdir().unwrap();
        let (open, link) = (home.path().join("open"), home.path().join("link"));
        std::fs::create_dir_all(open.join("state")).unwrap();
        symlink("open/../open/state", &link).unwrap();
        assert_eq!(exposed(&link), None);
        open_up(&open, 0o777);
        for path in [link.clone(), open.join("state"), open.join("not/yet")] {
            let fault = exposed(&path).unwrap();
            assert_eq!(fault.path, open, "{}", path.display());
            assert!(fault.mend().starts_with("chmod go-w "));
            assert!(shared_directory(&path).is_err());
        }
        open_up(&open, 0o1777);
        assert_eq!(exposed(&link), None);
        assert!(exposed(&open).is_some(), "others can make files there");
        assert!(shared_directory(&open).is_ok());
    }

    #[test]
    fn entries_of_a_directory_are_examined() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("locks")).unwrap();
        let lock = home.path().join("locks/restore.lock");
        std::fs::File::create_new(&lock).unwrap();
        assert!(private_directory(home.path(), &["locks"]).is_ok());
        open_up(&lock, 0o666);
        let error = private_directory(home.path(), &["locks"]).unwrap_err();
        assert!(error.message.contains("restore.lock"), "{error}");
        assert!(error.hint.unwrap().contains("chmod go-w"));
    }
}
