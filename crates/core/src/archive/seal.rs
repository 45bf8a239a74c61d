//! Writing of stored bytes: compresses, then encrypts, streaming into any writer.

use super::gzip;
use super::keys::{AgeRecipients, Recipients};
use super::openpgp::{self, MessageSigner};
use crate::compress::Compress;
use crate::digest::sha256_hex;
use crate::error::{Error, Result};
use crate::pool;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Processing of an artifact before it is stored. Stores with equal sealings share one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealing {
    /// Compression.
    pub compress: Compress,
    /// Keys to encrypt to, if any.
    pub recipients: Option<Recipients>,
    /// Signer inside the message, if any; only messages for `gpg` are signed.
    pub signer: Option<MessageSigner>,
}

impl Sealing {
    /// Suffix that this adds to a key: `.gz.age`, `.zst`, or nothing.
    pub fn suffix(&self) -> String {
        let compress = match self.compress {
            Compress::None => "",
            Compress::Gzip(_) => ".gz",
            Compress::Zstd(_) => ".zst",
        };
        let encrypt = match &self.recipients {
            None => "",
            Some(Recipients::Age(_)) => ".age",
            Some(Recipients::OpenPgp(_)) => ".gpg",
        };
        format!("{compress}{encrypt}")
    }

    /// The compression as the manifest names it: `gzip`, `zstd` or `none`.
    pub fn compress_name(&self) -> &'static str {
        match self.compress {
            Compress::None => "none",
            Compress::Gzip(_) => "gzip",
            Compress::Zstd(_) => "zstd",
        }
    }

    /// The encryption as the manifest names it: `age` or `openpgp`, if any.
    pub fn encrypt_name(&self) -> Option<&'static str> {
        self.recipients.as_ref().map(|recipients| match recipients {
            Recipients::Age(_) => "age",
            Recipients::OpenPgp(_) => openpgp::NAME,
        })
    }

    /// SHA-256 over the public keys that it encrypts to, hex; `None` if it does not encrypt.
    pub fn recipients_sha256(&self) -> Option<String> {
        let names = self.recipients.as_ref()?.names();
        Some(sha256_hex(names.join("\n").as_bytes()))
    }

    /// Fails with the reason if nothing can be sealed like this now, because an OpenPGP key has
    /// expired, say. Objects sealed before can still be opened.
    pub fn usable(&self) -> Result<()> {
        match (&self.recipients, &self.signer) {
            (Some(Recipients::OpenPgp(certificates)), None) => certificates.usable(),
            (Some(Recipients::OpenPgp(certificates)), Some(signer)) => {
                certificates.usable()?;
                signer.usable()
            }
            (Some(Recipients::Age(keys)), _) => keys.usable(),
            (None, _) => Ok(()),
        }
    }

    /// Fingerprint of the OpenPGP key that signs inside, if any.
    pub fn signed_by(&self) -> Option<String> {
        match &self.recipients {
            Some(Recipients::OpenPgp(_)) => self.signer.as_ref()?.fingerprint(),
            Some(Recipients::Age(_)) | None => None,
        }
    }
}

/// Compresses and encrypts what is written, and passes it to another writer.
///
/// Errors of that writer come out of `write` and [`Sealer::finish`] unchanged; after one, every
/// further call fails. Without a call of [`Sealer::finish`], the stream lacks its end, and every
/// reader (`gunzip`, `zstd`, `age`, `gpg` and [`super::open`]) reports that.
pub struct Sealer<W: Write + Send> {
    stage: Stage<Envelope<W>>,
    failed: bool,
}

enum Stage<W: Write> {
    Plain(W),
    Gzip(gzip::Writer<W>),
    Zstd(zstd::Encoder<'static, W>),
}

/// Encryption around the compressed stream.
enum Envelope<W: Write> {
    Clear(W),
    Age(age::stream::StreamWriter<HeaderLater<W>>),
    OpenPgp(openpgp::Encrypting<W>),
}

/// Holds back the header of an age file until the stream begins. The `age` crate cannot write it to
/// a writer that takes less than it is offered, and loses the writer's error.
struct HeaderLater<W> {
    output: W,
    header: Vec<u8>,
    begun: Arc<AtomicBool>,
}

impl<W: Write> Write for HeaderLater<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if !self.begun.load(Ordering::Relaxed) {
            self.header.extend_from_slice(buffer);
            return Ok(buffer.len());
        }
        if !self.header.is_empty() {
            self.output.write_all(&self.header)?;
            self.header.clear();
        }
        self.output.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

fn encrypting<W: Write>(
    recipients: &AgeRecipients,
    output: W,
) -> Result<age::stream::StreamWriter<HeaderLater<W>>> {
    let begun = Arc::new(AtomicBool::new(false));
    let output = HeaderLater {
        output,
        header: Vec::new(),
        begun: Arc::clone(&begun),
    };
    let stage = recipients
        .encryptor()?
        .wrap_output(output)
        .map_err(|error| Error::io("cannot begin the age stream", &error))?;
    begun.store(true, Ordering::Relaxed);
    Ok(stage)
}

impl<W: Write + Send> Sealer<W> {
    /// Begins a stream. Nothing is written yet.
    pub fn new(sealing: &Sealing, output: W) -> Result<Self> {
        Self::with_workers(sealing, output, pool::workers())
    }

    fn with_workers(sealing: &Sealing, output: W, workers: usize) -> Result<Self> {
        let output = match &sealing.recipients {
            None => Envelope::Clear(output),
            Some(Recipients::Age(keys)) => Envelope::Age(encrypting(keys, output)?),
            Some(Recipients::OpenPgp(keys)) => {
                let signer = sealing.signer.as_ref();
                Envelope::OpenPgp(openpgp::Encrypting::new(keys, signer, output)?)
            }
        };
        let stage = match sealing.compress {
            Compress::None => Stage::Plain(output),
            Compress::Gzip(level) => Stage::Gzip(gzip::Writer::new(output, level, workers)),
            Compress::Zstd(level) => Stage::Zstd(
                zstd_encoder(output, level, workers)
                    .map_err(|error| Error::io("cannot begin the zstd stream", &error))?,
            ),
        };
        Ok(Sealer {
            stage,
            failed: false,
        })
    }

    /// Ends the stream and returns the writer, not flushed. Fails only with an error of the writer.
    pub fn finish(self) -> io::Result<W> {
        if self.failed {
            return Err(failed_before());
        }
        let envelope = match self.stage {
            Stage::Plain(output) => output,
            Stage::Gzip(stage) => stage.finish()?,
            Stage::Zstd(stage) => stage.finish()?,
        };
        match envelope {
            Envelope::Clear(output) => Ok(output),
            Envelope::Age(stage) => stage.finish().map(|stage| stage.output),
            Envelope::OpenPgp(stage) => stage.finish(),
        }
    }
}

fn failed_before() -> io::Error {
    io::Error::other("the stream failed before and cannot go on")
}

/// Bytes each zstd worker takes at a time: less than the library's choice at high levels, so that
/// memory stays bounded.
const ZSTD_JOB_BYTES: u32 = 4 << 20;

/// Number of threads that zstd may use. Measured, each adds 6 MB at level 3, 15 MB at 9 and 90 MB
/// at 19 to about 20 MB: six keep the default under 60 MB, two the highest level near 200 MB.
fn zstd_workers(level: u8, workers: usize) -> u32 {
    let most = if level < 10 { 6 } else { 2 };
    u32::try_from(workers).map_or(most, |workers| workers.min(most))
}

fn zstd_encoder<W: Write>(
    output: W,
    level: u8,
    workers: usize,
) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(output, i32::from(level))?;
    encoder.include_checksum(true)?;
    encoder.multithread(zstd_workers(level, workers))?;
    encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(ZSTD_JOB_BYTES))?;
    Ok(encoder)
}

impl<W: Write> Write for Envelope<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Envelope::Clear(output) => output.write(buffer),
            Envelope::Age(output) => output.write(buffer),
            Envelope::OpenPgp(output) => output.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Envelope::Clear(output) => output.flush(),
            Envelope::Age(output) => output.flush(),
            Envelope::OpenPgp(output) => output.flush(),
        }
    }
}

impl<W: Write + Send> Write for Sealer<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Err(failed_before());
        }
        let written = match &mut self.stage {
            Stage::Plain(output) => output.write(buffer),
            Stage::Gzip(output) => output.write(buffer),
            Stage::Zstd(output) => output.write(buffer),
        };
        if let Err(error) = &written {
            self.failed = error.kind() != io::ErrorKind::Interrupted;
        }
        written
    }

    /// Does nothing: forcing half-full blocks out would cost size and gain no safety.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
