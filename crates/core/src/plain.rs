//! Opens files that an operator named: regular files only, and without blocking.
//!
//! In a directory that others may write to, a named pipe in place of a file would block its reader
//! for ever; it is refused instead. A file that this process inherited open, such as `/dev/stdin`
//! or the `/dev/fd/63` that a shell writes for `<(…)`, may be of any kind and is waited for.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Opens a file for reading.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let path = path.as_ref();
    if is_given(path) {
        return File::open(path);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    // `/dev/null` is the usual name of an empty file.
    let is_null = metadata.rdev() == rustix::fs::makedev(1, 3);
    if !metadata.is_file() && !is_null {
        return Err(io::Error::other("it is a pipe, a socket or a device"));
    }
    Ok(file)
}

/// Reads a whole file.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a whole file of UTF-8 text.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

fn is_given(path: &Path) -> bool {
    let directories = ["/dev/fd", "/proc/self/fd"];
    path == Path::new("/dev/stdin")
        || directories
            .iter()
            .any(|given| path.parent() == Some(Path::new(given)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, mknodat};
    use std::os::fd::AsRawFd;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a file to be read")]
    fn a_pipe_is_refused_and_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let (pipe, file) = (place.path().join("pipe"), place.path().join("file"));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::write(&file, "text").unwrap();
        let error = read(&pipe).unwrap_err();
        assert!(error.to_string().contains("pipe"), "{error}");
        assert!(read("/dev/zero").is_err());
        assert_eq!(read(&file).unwrap(), b"text");
        assert_eq!(read_to_string("/dev/null").unwrap(), "");
        let error = read(place.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        let error = read(place.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_inherited_file_may_be_a_pipe() {
        let (from, to) = io::pipe().unwrap();
        let writing = std::thread::spawn(move || io::Write::write_all(&mut { to }, b"secret"));
        let path = format!("/dev/fd/{}", from.as_raw_fd());
        let mut file = open(path).unwrap();
        let mut start = [0; 6];
        file.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"secret");
        writing.join().unwrap().unwrap();
    }
}
