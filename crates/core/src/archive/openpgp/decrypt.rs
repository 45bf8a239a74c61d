//! Decryption in memory, with secret keys that are given.

use super::secret::SecretKeys;
use super::signatures::MessageSigners;
use crate::archive::damage::DAMAGED_HINT;
use crate::error::{Code, Error, Result};
use pgp::composed::{DecryptionOptions, Esk, Message, TheRing};
use pgp::types::{KeyId, Seipdv1ReadMode};
use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// Largest number of layers of compression and signatures around the content. `gpg` makes two.
const LAYERS_MAX: usize = 8;

/// The decrypted content of a message. It ends without an error only if the integrity code is
/// right, nothing follows, and the signatures inside are as required.
pub(in crate::archive) struct Decrypting<'a> {
    message: Message<'a>,
    signers: MessageSigners,
    failed: Failed,
    ended: bool,
}

impl<'a> Decrypting<'a> {
    pub(in crate::archive) fn new(
        input: impl BufRead + Send + 'a,
        keys: &SecretKeys,
        signers: &MessageSigners,
    ) -> Result<Self> {
        let failed = Failed::default();
        let input = Input {
            inner: input,
            failed: failed.clone(),
        };
        let message = Message::from_reader(input)
            .map(|(message, _)| message)
            .and_then(|message| Self::decrypted(message, keys))
            .map_err(|error| failed.explain(error))??;
        Ok(Decrypting {
            message,
            signers: signers.clone(),
            failed,
            ended: false,
        })
    }

    fn decrypted(
        message: Message<'a>,
        keys: &SecretKeys,
    ) -> pgp::errors::Result<Result<Message<'a>>> {
        let Message::Encrypted { esk, .. } = &message else {
            return Ok(Err(not_encrypted()));
        };
        let recipients: Vec<KeyId> = esk.iter().filter_map(recipient).collect();
        let ring = TheRing {
            secret_keys: keys.keys().iter().collect(),
            decrypt_options: DecryptionOptions::new()
                .set_seipdv1_read_mode(Seipdv1ReadMode::Streaming)
                .enable_gnupg_aead(),
            ..TheRing::default()
        };
        let mut message = match message.decrypt_the_ring(ring, true) {
            Ok((message, _)) => message,
            Err(pgp::errors::Error::MissingKey) => {
                return Ok(Err(keys.no_match(&recipients)));
            }
            Err(error) => return Err(error),
        };
        for _ in 0..LAYERS_MAX {
            match message {
                Message::Compressed { .. } => message = message.decompress()?,
                Message::Signed { .. } => return message.decompress().map(Ok),
                Message::Literal { .. } => return Ok(Ok(message)),
                Message::Encrypted { .. } => break,
            }
        }
        Ok(Err(not_encrypted()))
    }
}

fn recipient(esk: &Esk) -> Option<KeyId> {
    match esk {
        Esk::PublicKeyEncryptedSessionKey(key) => key.id().ok().copied(),
        Esk::SymKeyEncryptedSessionKey(_) => None,
    }
}

fn not_encrypted() -> Error {
    Error::new(
        Code::ObjectDamaged,
        "the object is not an OpenPGP message encrypted once",
    )
    .hint(DAMAGED_HINT)
}

impl Read for Decrypting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.message.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            self.failed.take().unwrap_or(error)
        })?;
        if count == 0 {
            self.signers.judge(&self.message)?;
            self.ended = true;
        }
        Ok(count)
    }
}

/// The first error of the input, which the library would hide in its own.
#[derive(Debug, Clone, Default)]
struct Failed(Arc<Mutex<Option<io::Error>>>);

impl Failed {
    fn note(&self, error: io::Error) -> io::Error {
        let stand_in = io::Error::new(error.kind(), "the input failed");
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(error);
        stand_in
    }

    fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn explain(&self, error: pgp::errors::Error) -> Error {
        match self.take() {
            Some(error) => crate::archive::open::explain(error),
            None => Error::new(
                Code::ObjectDamaged,
                "the encrypted object is damaged, or no OpenPGP message",
            )
            .cause(error)
            .hint(DAMAGED_HINT),
        }
    }
}

/// The stored bytes, with a record of the first error of their reader.
struct Input<R> {
    inner: R,
    failed: Failed,
}

impl<R> fmt::Debug for Input<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}

impl<R: BufRead> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                Err(self.failed.note(error))
            }
            other => other,
        }
    }
}

impl<R: BufRead> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.inner.fill_buf() {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                Err(self.failed.note(error))
            }
            other => other,
        }
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
    }
}
