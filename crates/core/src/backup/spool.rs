//! The streams of a run that may turn out to have found nothing new.
//!
//! Guarantees: what a source gives is on disk only encrypted, under a key that is in memory and
//! nowhere else, in a scratch directory that goes with the run. A stream comes out as it went in, or
//! with an error.

use crate::archive::{self, Identities, Recipients, Sealer, Sealing, Tally, Tap, TapReader};
use crate::compress::Compress;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::scratch;
use crate::secret::Secret;
use crate::source::ArtifactSpec;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Largest size of all streams of a source, in bytes.
pub(super) const SOURCE_BYTES_MAX: u64 = 64 << 20;
/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Sealed streams on disk.
pub(super) struct Spool {
    directory: scratch::Directory,
    sealing: Sealing,
    identities: Identities,
    streams: Vec<Spooled>,
    /// Number of files that were made.
    files: usize,
}

/// One sealed stream.
pub(super) struct Spooled {
    /// Its source.
    pub source: Name,
    /// The artifact that it is.
    pub artifact: ArtifactSpec,
    file: PathBuf,
    tally: Tally,
}

impl Spool {
    /// Makes an empty spool in a directory, with a key of its own.
    pub fn create(scratch: &Path) -> Result<Self> {
        let key = Identities::generate();
        let secret = Secret::new(key.secret.to_vec());
        Ok(Spool {
            directory: scratch::Directory::create(scratch, "spool")?,
            sealing: Sealing {
                compress: Compress::None,
                recipients: Some(Recipients::parse(&[key.recipient])?),
                signer: None,
            },
            identities: Identities::parse(&secret, None)?,
            streams: Vec::new(),
            files: 0,
        })
    }

    /// The whole streams, in the order in which they were captured.
    pub fn streams(&self) -> &[Spooled] {
        &self.streams
    }

    /// Seals what `capture` writes. Fails, and keeps nothing of it, if the capture does, and if the
    /// source becomes larger than it may be.
    pub fn take<T>(
        &mut self,
        source: &Name,
        artifact: &ArtifactSpec,
        capture: impl FnOnce(&mut dyn Write) -> Result<T>,
    ) -> Result<(T, Tally)> {
        let path = self.directory.path().join(self.files.to_string());
        self.files += 1;
        let taken = self.take_into(&path, source, capture);
        match &taken {
            Ok((_, tally)) => self.streams.push(Spooled {
                source: source.clone(),
                artifact: artifact.clone(),
                file: path,
                tally: tally.clone(),
            }),
            // It goes with the directory, if not now.
            Err(_) => drop(std::fs::remove_file(&path)),
        }
        taken
    }

    fn take_into<T>(
        &self,
        path: &Path,
        source: &Name,
        capture: impl FnOnce(&mut dyn Write) -> Result<T>,
    ) -> Result<(T, Tally)> {
        let failed = |error| Error::io(format!("{} cannot be written", path.display()), &error);
        let before = self.streams.iter().filter(|s| s.source == *source);
        let before: u64 = before.map(|stream| stream.tally.bytes).sum();
        let mut options = std::fs::OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let file = options.open(path).map_err(failed)?;
        let mut output = Tap::new(Limited {
            inner: Sealer::new(&self.sealing, file)?,
            left: SOURCE_BYTES_MAX.saturating_sub(before),
            exceeded: false,
        });
        let captured = capture(&mut output);
        let (limited, tally) = output.finish();
        // A source may tell the failed write in words of its own.
        if limited.exceeded {
            return Err(too_large());
        }
        let captured = captured?;
        limited.inner.finish().map_err(failed)?;
        Ok((captured, tally))
    }

    /// Writes a stream to `output`. Fails, perhaps after all of it was written, unless it is the one
    /// that was captured.
    pub fn give(&self, stream: &Spooled, output: &mut dyn Write) -> Result<()> {
        let unread = |error| Error::from_io(Code::State, "the spool cannot be read", error);
        let file = File::open(&stream.file).map_err(unread)?;
        let encrypt = self.sealing.encrypt_name();
        let opened = archive::open(file, "none", encrypt, Some(&self.identities))?;
        let mut opened = TapReader::new(opened);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = opened.read(&mut buffer).map_err(unread)?;
            let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else {
                break;
            };
            let undelivered = |e| Error::from_io(Code::Store, "the stream was given up", e);
            output.write_all(read).map_err(undelivered)?;
        }
        let (_, tally) = opened.finish();
        if tally != stream.tally {
            let message = "what is in the spool is not what was captured";
            return Err(Error::new(Code::State, message));
        }
        Ok(())
    }
}

fn too_large() -> Error {
    let mib = SOURCE_BYTES_MAX >> 20;
    let message = format!(
        "it is larger than the {mib} MiB of a source whose plan has skip_unchanged = true; a store with layout = \"repository\" stores only what changed"
    );
    Error::new(Code::SourceFailed, message).hint("leave skip_unchanged out, or exclude something")
}

/// Passes on a limited number of bytes.
struct Limited<W> {
    inner: W,
    left: u64,
    /// True once more was offered.
    exceeded: bool,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.len() as u64 > self.left {
            self.exceeded = true;
            return Err(io::Error::other(too_large()));
        }
        let count = self.inner.write(buffer)?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Extension;

    fn artifact() -> ArtifactSpec {
        ArtifactSpec {
            name: Name::own("output"),
            extension: Extension::own("out"),
        }
    }

    fn put(spool: &mut Spool, bytes: &[u8]) -> Result<((), Tally)> {
        let written = |output: &mut dyn Write| {
            output
                .write_all(bytes)
                .map_err(|error| Error::io("a word of its own", &error))
        };
        spool.take(&Name::own("s"), &artifact(), written)
    }

    fn given(spool: &Spool) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        spool.give(&spool.streams()[0], &mut out)?;
        Ok(out)
    }

    #[test]
    fn a_stream_comes_out_as_it_went_in_and_lies_there_sealed() {
        let base = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(base.path()).unwrap();
        let text = b"the marker in the middle of a stream".repeat(10_000);
        let ((), tally) = put(&mut spool, &text).unwrap();
        assert_eq!(tally, Tally::of(&text));
        let file = spool.streams()[0].file.clone();
        let stored = std::fs::read(&file).unwrap();
        assert!(stored.len() > text.len());
        assert!(!stored.windows(10).any(|part| part == b"the marker"));
        assert!(given(&spool).unwrap() == text);
        drop(spool);
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_stream_that_was_changed_or_cut_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(base.path()).unwrap();
        put(&mut spool, &b"x".repeat(200_000)).unwrap();
        let file = spool.streams()[0].file.clone();
        let whole = std::fs::read(&file).unwrap();
        let write = |bytes: &[u8]| {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&file);
            file.unwrap().write_all(bytes).unwrap();
        };
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        for bytes in [&changed[..], &whole[..whole.len() / 2]] {
            write(bytes);
            given(&spool).unwrap_err();
        }
        write(&whole);
        given(&spool).unwrap();
        spool.streams[0].tally.sha256 = Tally::of(b"y").sha256;
        assert_eq!(given(&spool).unwrap_err().code, Code::State);
    }

    #[test]
    fn all_streams_of_a_source_together_are_limited() {
        let base = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(base.path()).unwrap();
        let half = vec![0; 32 << 20];
        put(&mut spool, &half).unwrap();
        put(&mut spool, &half).unwrap();
        let error = put(&mut spool, b"x").unwrap_err();
        assert_eq!(error.message, too_large().message);
        assert_eq!(spool.streams().len(), 2);
    }
}
