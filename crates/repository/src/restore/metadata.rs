//! Gives a restored entry its owner, mode, attributes and times, never through a symbolic link.
//!
//! The order matters. Changing the owner clears set-user-id and capabilities, so it comes first. An
//! access control list gives the group bits of the mode a new meaning, so it comes after the mode.
//! Times come last.

use crate::time::Time;
use crate::tree::{Node, mode};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// Extended attributes by name.
type Xattrs = [(String, Vec<u8>)];

/// The metadata of a node, without its content.
pub(super) struct Meta {
    mode: u32,
    uid: u32,
    gid: u32,
    pub(super) mtime: Timespec,
    atime: Timespec,
    xattrs: Option<Box<Xattrs>>,
}

/// The entry that metadata is set on.
#[derive(Clone, Copy)]
pub(super) enum On<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// An entry that is better not opened: a pipe, a device, a symbolic link.
    Named {
        directory: BorrowedFd<'a>,
        name: &'a [u8],
        link: bool,
    },
}

/// Metadata that could not be set.
pub(super) struct Missed {
    pub(super) what: String,
    pub(super) error: io::Error,
}

/// The result of setting metadata.
#[derive(Default)]
pub(super) struct Applied {
    /// True if the system refused to change the owner, which only root may do.
    pub(super) owner_refused: bool,
    pub(super) missed: Vec<Missed>,
}

const ACL: &str = "system.posix_acl_";
const LIST_BYTES_MAX: usize = 64 << 10;

fn timespec(time: Time) -> Timespec {
    let (seconds, nanoseconds) = (time.at.as_second(), i64::from(time.at.subsec_nanosecond()));
    match nanoseconds {
        0.. => Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        },
        _ => Timespec {
            tv_sec: seconds - 1,
            tv_nsec: nanoseconds + 1_000_000_000,
        },
    }
}

impl Meta {
    pub(super) fn of(node: &mut Node) -> Self {
        let xattrs = std::mem::take(&mut node.xattrs);
        Meta {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            mtime: timespec(node.mtime),
            atime: timespec(node.atime),
            xattrs: (!xattrs.is_empty()).then(|| xattrs.into_boxed_slice()),
        }
    }

    /// Sets all metadata. With `inherited`, there may be attributes to remove.
    pub(super) fn apply(&self, on: On<'_>, privileged: bool, inherited: bool) -> Applied {
        let mut applied = Applied::default();
        let owned = self.own(on, privileged, &mut applied);
        // A path that leads to exactly this inode, even if the name means something else by now.
        let pinned = match on {
            On::Named { link: false, .. } => match pin(on) {
                Ok(file) => Some(file),
                Err(error) => {
                    applied.miss("mode", error);
                    return applied;
                }
            },
            _ => None,
        };
        let path = match (on, &pinned) {
            (_, Some(file)) => Some(format!("/proc/self/fd/{}", file.as_raw_fd()).into_bytes()),
            (
                On::Named {
                    directory, name, ..
                },
                None,
            ) => {
                let directory = format!("/proc/self/fd/{}/", directory.as_raw_fd());
                Some([directory.as_bytes(), name].concat())
            }
            (On::Open(_), None) => None,
        };
        let at = Attributes { on, path };
        if inherited {
            at.strip(self.xattrs());
        }
        let (lists, plain): (Vec<_>, Vec<_>) = self
            .xattrs()
            .iter()
            .partition(|(name, _)| name.starts_with(ACL));
        for (name, value) in plain {
            applied.note(&format!("attribute {name}"), at.set(name, value));
        }
        applied.note("mode", self.permit(on, &at, owned));
        for (name, value) in lists {
            applied.note(&format!("attribute {name}"), at.set(name, value));
        }
        applied.note("times", self.times(on));
        applied
    }

    fn xattrs(&self) -> &Xattrs {
        self.xattrs.as_deref().unwrap_or_default()
    }

    /// Sets the owner. Returns whether it is the right one now.
    fn own(&self, on: On<'_>, privileged: bool, applied: &mut Applied) -> bool {
        // The value of all ones would mean: leave it as it is.
        let uid = (self.uid != u32::MAX).then(|| Uid::from_raw(self.uid));
        let gid = (self.gid != u32::MAX).then(|| Gid::from_raw(self.gid));
        let chown = |uid, gid| match on {
            On::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            On::Named {
                directory, name, ..
            } => rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        };
        let Err(error) = chown(uid, gid) else {
            return true;
        };
        // The group may be allowed all the same, if we belong to it.
        let _ = chown(None, gid);
        match privileged {
            true => applied.miss("owner", error.into()),
            false => applied.owner_refused = true,
        }
        false
    }

    fn permit(&self, on: On<'_>, at: &Attributes<'_>, owned: bool) -> io::Result<()> {
        let bits = match owned {
            true => mode::permissions(self.mode),
            // Without the owner, set-user-id and set-group-id would run as the wrong user.
            false => mode::permissions(self.mode) & 0o1777,
        };
        let bits = Mode::from_raw_mode(bits);
        match (on, &at.path) {
            (On::Open(fd), _) => rustix::fs::fchmod(fd, bits)?,
            (On::Named { link: false, .. }, Some(path)) => {
                rustix::fs::chmod(OsStr::from_bytes(path), bits)?;
            }
            // Links have no mode.
            _ => {}
        }
        Ok(())
    }

    fn times(&self, on: On<'_>) -> io::Result<()> {
        let times = Timestamps {
            last_access: self.atime,
            last_modification: self.mtime,
        };
        match on {
            On::Open(fd) => rustix::fs::futimens(fd, &times)?,
            On::Named {
                directory, name, ..
            } => {
                rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(())
    }
}

impl Applied {
    fn miss(&mut self, what: &str, error: io::Error) {
        self.missed.push(Missed {
            what: what.to_owned(),
            error,
        });
    }

    fn note(&mut self, what: &str, done: io::Result<()>) {
        if let Err(error) = done {
            self.miss(what, error);
        }
    }
}

/// Opens a handle to what a name means, without opening the file itself.
fn pin(on: On<'_>) -> io::Result<File> {
    let On::Named {
        directory, name, ..
    } = on
    else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?.into())
}

/// Gives us access to a directory that we own.
pub(super) fn admit(directory: BorrowedFd<'_>, name: &[u8], st_mode: u32) -> io::Result<()> {
    let link = false;
    let pinned = pin(On::Named {
        directory,
        name,
        link,
    })?;
    let path = format!("/proc/self/fd/{}", pinned.as_raw_fd());
    let bits = Mode::from_raw_mode((st_mode & 0o7777) | 0o700);
    Ok(rustix::fs::chmod(path, bits)?)
}

/// Removes the access control lists that a new directory inherited from its parent.
pub(super) fn disinherit(directory: impl AsFd) {
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        // Most directories have none, and some file systems support none.
        let _ = rustix::fs::fremovexattr(directory.as_fd(), name);
    }
}

/// The extended attributes of an entry.
struct Attributes<'a> {
    on: On<'a>,
    /// A path for an entry that is not open. It is safe to follow.
    path: Option<Vec<u8>>,
}

impl Attributes<'_> {
    fn set(&self, name: &str, value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        match (self.on, &self.path) {
            (On::Open(fd), _) => rustix::fs::fsetxattr(fd, name, value, flags)?,
            (On::Named { link: true, .. }, Some(path)) => {
                rustix::fs::lsetxattr(OsStr::from_bytes(path), name, value, flags)?;
            }
            (_, Some(path)) => {
                rustix::fs::setxattr(OsStr::from_bytes(path), name, value, flags)?;
            }
            (_, None) => {}
        }
        Ok(())
    }

    /// Removes unwanted attributes as far as possible. Labels that the system itself sets stay.
    fn strip(&self, wanted: &Xattrs) {
        let On::Open(fd) = self.on else {
            return;
        };
        let mut few = [0; 512];
        let mut many = Vec::new();
        let listed = match rustix::fs::flistxattr(fd, &mut few[..]) {
            Ok(length) => few.get(..length),
            Err(Errno::RANGE) => {
                many.resize(LIST_BYTES_MAX, 0);
                let length = rustix::fs::flistxattr(fd, &mut many[..]);
                length.ok().and_then(|length| many.get(..length))
            }
            Err(_) => None,
        };
        for name in listed.unwrap_or_default().split(|byte| *byte == 0) {
            let of_the_system = name.starts_with(b"security.") && name != b"security.capability";
            let known = wanted.iter().any(|(wanted, _)| wanted.as_bytes() == name);
            if !name.is_empty() && !of_the_system && !known {
                let _ = rustix::fs::fremovexattr(fd, name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_have_nanoseconds_that_count_up() {
        let cases = [
            ("1969-12-31T23:59:59.25Z", (-1, 250_000_000)),
            ("1970-01-01T00:00:00Z", (0, 0)),
            ("1901-01-01T00:00:00.000000001Z", (-2_177_452_800, 1)),
            (
                "2100-01-01T00:00:00.999999999Z",
                (4_102_444_800, 999_999_999),
            ),
        ];
        for (text, expected) in cases {
            let time = timespec(text.parse().unwrap());
            assert_eq!((time.tv_sec, time.tv_nsec), expected, "{text}");
        }
    }
}
