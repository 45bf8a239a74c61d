//! Encryption as a version 1 integrity protected message with AES-256, which every `gpg` reads.
//!
//! The library pulls what it encrypts, and the stages around it push. It therefore works on its own
//! thread between two bounded queues, which also takes cipher and hash off the thread that
//! compresses.

use super::certificate::{Certificates, Part};
use super::signer::{Hand, MessageSigner};
use crate::error::{Code, Error, Result};
use crate::thread;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use pgp::composed::MessageBuilder;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::Password;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Bytes of a block in a queue.
const BLOCK_BYTES: usize = 256 << 10;
/// Largest number of blocks that wait in a queue.
const BLOCKS_MAX: usize = 4;
/// Length of the partial packets, a power of two.
const CHUNK_BYTES: u32 = 512 << 10;

type Outcome = std::result::Result<(), pgp::errors::Error>;

/// Encrypts what is written, and passes it to another writer. Without a call of
/// [`Encrypting::finish`], the message lacks its end and its integrity code.
pub(in crate::archive) struct Encrypting<W> {
    output: W,
    block: Vec<u8>,
    /// `None` after the end was sent.
    plain: Option<Sender<Vec<u8>>>,
    sealed: Receiver<Vec<u8>>,
    worker: Option<JoinHandle<Outcome>>,
    /// The key that signs inside, if any.
    hand: Option<Arc<Hand>>,
}

impl<W: Write> Encrypting<W> {
    /// Begins a message. Nothing is written yet.
    pub(in crate::archive) fn new(
        certificates: &Certificates,
        signer: Option<&MessageSigner>,
        output: W,
    ) -> Result<Self> {
        let recipients = certificates.recipients()?;
        let hand = signer.map(MessageSigner::hand).transpose()?;
        let signing = hand.clone();
        let (plain, from_writer) = bounded(BLOCKS_MAX);
        let (to_writer, sealed) = bounded(BLOCKS_MAX);
        let (ready, begun) = bounded(1);
        let failed = |error: &dyn std::fmt::Display| {
            Error::new(Code::Configuration, "cannot encrypt to these OpenPGP keys").cause(error)
        };
        let worker = thread::start_named("openpgp", move || {
            encrypt(
                &recipients,
                signing.as_deref(),
                from_writer,
                to_writer,
                &ready,
            )
        })
        .map_err(|error| Error::io("cannot begin the OpenPGP stream", &error))?;
        match begun.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_) => return Err(failed(&"the encrypting thread ended early")),
        }
        Ok(Encrypting {
            output,
            block: Vec::with_capacity(BLOCK_BYTES),
            plain: Some(plain),
            sealed,
            worker: Some(worker),
            hand,
        })
    }

    /// Ends the message and returns the writer. Fails only with an error of the writer.
    pub(in crate::archive) fn finish(mut self) -> io::Result<W> {
        self.hand_over()?;
        drop(self.plain.take());
        while let Ok(bytes) = self.sealed.recv() {
            self.output.write_all(&bytes)?;
        }
        self.join()?;
        Ok(self.output)
    }

    /// Passes the block to the thread, and meanwhile writes what the thread has ready.
    fn hand_over(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES));
        let Some(plain) = &self.plain else {
            return Err(io::Error::other("the message was ended before"));
        };
        let ended = loop {
            select! {
                send(plain, block) -> sent => break sent.is_err(),
                recv(self.sealed) -> bytes => match bytes {
                    Ok(bytes) => self.output.write_all(&bytes)?,
                    Err(_) => break true,
                },
            }
        };
        if !ended {
            return Ok(());
        }
        self.join()?;
        Err(io::Error::other("the encrypting thread ended early"))
    }

    fn join(&mut self) -> io::Result<()> {
        let lost = || io::Error::other("the encrypting thread ended early");
        match self.worker.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome.map_err(|error| {
                let failure = self.hand.as_ref().and_then(|hand| hand.failure());
                failure.map_or_else(|| io::Error::other(error), io::Error::from)
            }),
            Some(Err(_)) | None => Err(lost()),
        }
    }
}

impl<W: Write> Write for Encrypting<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let room = BLOCK_BYTES - self.block.len();
        let taken = buffer.get(..room.min(buffer.len())).unwrap_or_default();
        self.block.extend_from_slice(taken);
        if self.block.len() >= BLOCK_BYTES {
            self.hand_over()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn encrypt(
    recipients: &[Part],
    signing: Option<&Hand>,
    plain: Receiver<Vec<u8>>,
    sealed: Sender<Vec<u8>>,
    ready: &Sender<Outcome>,
) -> Outcome {
    let mut rng = rand::rngs::OsRng;
    let reader = Plain {
        blocks: plain,
        current: Vec::new(),
        position: 0,
    };
    let mut builder =
        MessageBuilder::from_reader("", reader).seipd_v1(&mut rng, SymmetricKeyAlgorithm::AES256);
    builder.partial_chunk_size(CHUNK_BYTES)?;
    if let Some(key) = signing.map(Hand::key) {
        builder.sign(key, Password::empty(), key.hash_alg());
    }
    for recipient in recipients {
        let added = match recipient {
            Part::Primary(key) => builder.encrypt_to_key(&mut rng, key),
            Part::Subkey(key) => builder.encrypt_to_key(&mut rng, key),
        };
        if let Err(error) = added {
            let _ = ready.send(Err(error));
            return Ok(());
        }
    }
    let _ = ready.send(Ok(()));
    let mut writer = Sealed {
        blocks: sealed,
        current: Vec::with_capacity(BLOCK_BYTES),
    };
    builder.to_writer(rng, &mut writer)?;
    Ok(writer.hand_over()?)
}

/// Reader of the written bytes, for the library. It ends when the sender is dropped.
struct Plain {
    blocks: Receiver<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position >= self.current.len() {
            match self.blocks.recv() {
                Ok(block) => (self.current, self.position) = (block, 0),
                Err(_) => return Ok(0),
            }
        }
        let mut rest = self.current.get(self.position..).unwrap_or_default();
        let count = rest.read(buffer)?;
        self.position += count;
        Ok(count)
    }
}

/// Writer of the library's output, in blocks.
struct Sealed {
    blocks: Sender<Vec<u8>>,
    current: Vec<u8>,
}

impl Sealed {
    fn hand_over(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.current, Vec::with_capacity(BLOCK_BYTES));
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.blocks.send(block).map_err(gone)
    }
}

impl Write for Sealed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.current.len() + buffer.len() > BLOCK_BYTES {
            self.hand_over()?;
        }
        self.current.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
