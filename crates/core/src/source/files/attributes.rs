//! Reads the extended attributes of a file or directory.

use crate::tree::sums::Attributes;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{Mode, OFlags, fgetxattr, flistxattr, getxattr, listxattr, openat};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};

/// Linux's limit on lists and values.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// All attributes of an open file, sorted by name, including access control lists. On a file system
/// without attributes there are none. An attribute that vanishes between listing and reading is
/// left out.
pub(super) fn read(file: impl AsFd, buffer: &mut Vec<u8>) -> Result<Attributes, Errno> {
    collect(
        buffer,
        |list| flistxattr(&file, list),
        |name, value| fgetxattr(&file, name, value),
    )
}

/// Reads attributes without opening the file for reading: locks on it, if it is a database, are
/// kept.
pub(super) fn read_unopened(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    buffer: &mut Vec<u8>,
) -> Result<Attributes, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(directory, name, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    collect(
        buffer,
        |list| listxattr(&path, list),
        |name, value| getxattr(&path, name, value),
    )
}

fn collect(
    buffer: &mut Vec<u8>,
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&CStr, &mut [u8]) -> Result<usize, Errno>,
) -> Result<Attributes, Errno> {
    buffer.resize(VALUE_BYTES_MAX, 0);
    let names = match list(buffer) {
        Ok(0) => return Ok(Attributes::default()),
        Ok(length) => buffer.get(..length).unwrap_or_default().to_vec(),
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::BADF) => return Ok(Attributes::default()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let Ok(c_name) = CString::new(name) else {
            continue;
        };
        match get(&c_name, buffer) {
            Ok(length) => {
                let value = buffer.get(..length).unwrap_or_default().to_vec();
                found.push((name.to_vec(), value));
            }
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    Ok(Attributes(found))
}
