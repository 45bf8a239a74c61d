//! Reading of stored bytes: decrypts, then decompresses, and refuses what is not whole.

use super::damage::{DAMAGED_HINT, Input, InputFailed};
use super::gzip;
use super::keys::{Identities, OpenPgpIdentity};
use super::openpgp;
use super::seal::{Sealer, Sealing};
use crate::compress::Compress;
use crate::error::{Code, Error, Result};
use crate::thread;
use age::DecryptError;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::io::{self, BufRead, BufReader, Read, Write};

/// Buffer between the stages, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// Opens what [`super::Sealer`] made, with `compress` and `encrypt` as the manifest names them.
///
/// Reading fails with [`Code::ObjectDamaged`] when the object is cut, changed or followed by
/// anything; opening fails with [`Code::Decryption`] when no key fits. Errors of `input` are passed
/// on unchanged. Data read before an error must not be used: read to the end first, or write to a
/// temporary place.
pub fn open<'a>(
    input: impl Read + Send + 'a,
    compress: &str,
    encrypt: Option<&str>,
    identities: Option<&Identities>,
) -> Result<Box<dyn Read + Send + 'a>> {
    let input = BufReader::with_capacity(BUFFER_BYTES, Input(input));
    let clear: Box<dyn BufRead + Send + 'a> = match encrypt {
        None => Box::new(input),
        Some("age") => Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            decrypt(input, identities)?,
        )),
        Some(openpgp::NAME) => Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            decrypt_openpgp(input, identities)?,
        )),
        Some(other) => return Err(unknown("encryption", other)),
    };
    let plain: Box<dyn Read + Send + 'a> = match compress {
        "none" => clear,
        "gzip" => gzip::reader(clear).map_err(explain)?,
        "zstd" => zstd_reader(clear).map_err(explain)?,
        other => return Err(unknown("compression", other)),
    };
    Ok(Box::new(Opened {
        inner: plain,
        failed: false,
    }))
}

/// Checks that these keys open what is sealed like this: seals a few bytes, unsigned, and opens
/// them. Fails with [`Code::Decryption`] when they do not.
pub fn rehearse(sealing: &Sealing, identities: &Identities) -> Result<()> {
    const CLEAR: &[u8] = b"lifeboat";
    let sealing = Sealing {
        compress: Compress::None,
        signer: None,
        ..sealing.clone()
    };
    let failed = |error| Error::io("what was sealed for a try cannot be opened", &error);
    let mut sealer = Sealer::new(&sealing, Vec::new())?;
    sealer.write_all(CLEAR).map_err(failed)?;
    let sealed = sealer.finish().map_err(failed)?;
    let opened = open(
        sealed.as_slice(),
        "none",
        sealing.encrypt_name(),
        Some(identities),
    );
    let mut clear = Vec::new();
    let read = opened.and_then(|mut opened| opened.read_to_end(&mut clear).map_err(failed));
    match read {
        Ok(_) if clear == CLEAR => Ok(()),
        Ok(_) => Err(Error::new(
            Code::Decryption,
            "what was opened is not what was sealed",
        )),
        Err(error) => Err(error),
    }
}

fn unknown(what: &str, name: &str) -> Error {
    Error::new(
        Code::ObjectDamaged,
        format!("the manifest names the {what} {name:?}, which this version does not know"),
    )
    .hint("restore with the newest version of lifeboat")
}

fn decrypt<R: BufRead>(
    input: R,
    identities: Option<&Identities>,
) -> Result<age::stream::StreamReader<R>> {
    let identities = identities
        .filter(|identities| identities.has_age())
        .ok_or_else(|| no_key("age = \"file:…\""))?;
    age::Decryptor::new_buffered(input)
        .and_then(|decryptor| decryptor.decrypt(identities.as_age()))
        .map_err(decryption_error)
}

fn no_key(form: &str) -> Error {
    Error::new(
        Code::Decryption,
        "the object is encrypted, and there is no key to decrypt it here",
    )
    .hint(format!(
        "set `decrypt = {{ {form} }}` for this store where drills and restores run"
    ))
}

fn decrypt_openpgp<'a>(
    input: impl BufRead + Send + 'a,
    identities: Option<&Identities>,
) -> Result<Box<dyn Read + Send + 'a>> {
    match identities.and_then(Identities::openpgp) {
        None => Err(no_key(
            "openpgp = \"file:…\", passphrase = \"file:…\" } or { gpg = \"/root/.gnupg\"",
        )),
        Some((OpenPgpIdentity::Keys(keys), signers)) => {
            Ok(Box::new(openpgp::Decrypting::new(input, keys, signers)?))
        }
        Some((OpenPgpIdentity::Gpg(gpg), signers)) => Ok(Box::new(gpg.decrypt(input, signers)?)),
    }
}

/// Translates an error of age into one for an operator.
pub(crate) fn decryption_error(error: DecryptError) -> Error {
    let cause = error.to_string();
    let (code, message, hint) = match error {
        DecryptError::Io(error) => return explain(error),
        DecryptError::NoMatchingKeys => (
            Code::Decryption,
            "no key given here decrypts the object",
            "give the private key of one of the recipients it was encrypted to",
        ),
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => (
            Code::Decryption,
            "the object does not decrypt with this key",
            "check the passphrase or key; if it is right, the object is damaged",
        ),
        DecryptError::ExcessiveWork { .. } => (
            Code::Decryption,
            "decrypting the object would take unreasonably long",
            "it was not made by lifeboat; decrypt it with the age command",
        ),
        _ => (
            Code::ObjectDamaged,
            "the header of the encrypted object is damaged",
            DAMAGED_HINT,
        ),
    };
    Error::new(code, message).cause(cause).hint(hint)
}

/// Reads one zstd frame or more; refuses an empty object, which has none.
fn zstd_reader<'a>(
    mut input: Box<dyn BufRead + Send + 'a>,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    if input.fill_buf()?.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Box::new(zstd::Decoder::with_buffer(input)?))
}

/// The error itself, when it came from below or is one of ours already; else what it means.
fn own(error: io::Error) -> io::Error {
    match error.downcast::<InputFailed>() {
        Ok(InputFailed(original)) => original,
        Err(error) => match error.downcast::<Error>() {
            Ok(ours) => ours.into(),
            Err(error) => {
                let message = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "the stored object is truncated",
                    _ => "the stored object is damaged",
                };
                Error::new(Code::ObjectDamaged, message)
                    .cause(error)
                    .hint(DAMAGED_HINT)
                    .into()
            }
        },
    }
}

pub(super) fn explain(error: io::Error) -> Error {
    Error::from_io(Code::Io, "the stored object cannot be read", own(error))
}

/// Explains errors, and keeps failing after one: a caller that reads on must not see an end.
struct Opened<R> {
    inner: R,
    failed: bool,
}

impl<R: Read> Read for Opened<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other(
                "the object failed before and is not whole",
            ));
        }
        self.inner.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            self.failed = true;
            own(error)
        })
    }
}

/// Buffers that may wait in [`Ahead`].
const AHEAD_BUFFERS: usize = 8;

/// A reader that runs on its own thread, at most 2 MiB ahead; see [`ahead`].
#[derive(Debug)]
pub struct Ahead {
    filled: Receiver<io::Result<Vec<u8>>>,
    emptied: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    ended: bool,
}

/// Reads `reader` on its own thread, so that it works while its data are used.
///
/// The end and errors appear at their place in the data. When the result is dropped early, the
/// thread ends at its next block; it is not waited for, because `reader` may be stuck on a network.
pub fn ahead(reader: impl Read + Send + 'static) -> io::Result<Ahead> {
    let (filled, from_thread) = bounded(AHEAD_BUFFERS);
    let (emptied, to_thread) = unbounded();
    thread::start_named("read-ahead", move || {
        read_ahead(reader, &filled, &to_thread)
    })?;
    Ok(Ahead {
        filled: from_thread,
        emptied,
        current: Vec::new(),
        position: 0,
        ended: false,
    })
}

/// Sends what it reads; an empty buffer marks the end.
fn read_ahead(
    mut reader: impl Read,
    filled: &Sender<io::Result<Vec<u8>>>,
    emptied: &Receiver<Vec<u8>>,
) {
    loop {
        let mut buffer = emptied.try_recv().unwrap_or_default();
        buffer.clear();
        let read = reader
            .by_ref()
            .take(BUFFER_BYTES as u64)
            .read_to_end(&mut buffer);
        let (message, more) = match read {
            Ok(count) => (Ok(buffer), count != 0),
            Err(error) => (Err(error), false),
        };
        if filled.send(message).is_err() || !more {
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position >= self.current.len() && !self.ended && !buffer.is_empty() {
            let next = self
                .filled
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("the reading thread ended early")))?;
            self.ended = next.is_empty();
            self.position = 0;
            // The thread may be gone already, and the buffer with it.
            let _ = self
                .emptied
                .send(std::mem::replace(&mut self.current, next));
        }
        let mut rest = self.current.get(self.position..).unwrap_or_default();
        let count = rest.read(buffer)?;
        self.position += count;
        Ok(count)
    }
}
