//! Decryption by the user's `gpg`, whose agent or card has the secret key.
//!
//! Output of `gpg` is trusted once it has reported a valid integrity code, ended well, and taken
//! every byte; until then, it is treated like any content that may turn out to be damaged.

use super::signatures::{MessageSigners, bad};
use super::{hex, packets};
use crate::archive::damage::DAMAGED_HINT;
use crate::error::{Code, Error, Result};
use crate::transport::{Command, Running, Transport};
use pgp::composed::{PublicOrSecret, SignedPublicKey};
use pgp::types::KeyDetails;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes handed to `gpg` at a time.
const BLOCK_BYTES: usize = 64 << 10;

/// The user's GnuPG.
#[derive(Debug, Clone)]
pub struct Gpg {
    home: PathBuf,
}

impl Gpg {
    /// Makes GnuPG with this home directory.
    pub fn new(home: &Path) -> Result<Self> {
        if !home.is_dir() {
            return Err(Error::new(
                Code::Decryption,
                format!("GnuPG's home directory {} is not there", home.display()),
            )
            .hint("name the directory that `gpg --version` shows as Home for the user that has the key"));
        }
        Ok(Gpg {
            home: home.to_owned(),
        })
    }

    /// Fails unless it can be started and has a secret key.
    pub fn examine(&self) -> Result<()> {
        let command = self.command().args(["--list-secret-keys", "--with-colons"]);
        let output = Transport::Local.output(&command)?;
        let listed = String::from_utf8_lossy(&output.stdout);
        let decrypts = |line: &str| {
            let mut fields = line.split(':');
            let kind = fields.next();
            matches!(kind, Some("sec" | "ssb")) && fields.nth(10).is_some_and(|f| f.contains('e'))
        };
        if output.status.success() && listed.lines().any(decrypts) {
            return Ok(());
        }
        Err(Error::new(
            Code::Decryption,
            format!(
                "gpg has no secret key that decrypts in {}",
                self.home.display()
            ),
        )
        .cause(plain(&output.stderr))
        .hint("import it there: gpg --import KEYFILE"))
    }

    /// The home directory.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// The public key of this fingerprint.
    pub(super) fn certificate(&self, fingerprint: &str) -> Result<SignedPublicKey> {
        let output = Transport::Local.output(&self.command().args(["--export", fingerprint]))?;
        let keys = packets::keys(&output.stdout).unwrap_or_default();
        let mut keys = keys.into_iter().filter_map(|key| match key {
            PublicOrSecret::Public(key) => Some(key),
            PublicOrSecret::Secret(_) => None,
        });
        let found = keys.find(|key| hex(key.fingerprint().as_bytes()) == fingerprint);
        found.ok_or_else(|| self.no_key(fingerprint).cause(plain(&output.stderr)))
    }

    /// Keygrips of the parts of a key whose secrets the agent has or can reach, by their
    /// fingerprints.
    pub(super) fn keygrips(&self, fingerprint: &str) -> Result<BTreeMap<String, String>> {
        let command = self.command().args([
            "--with-colons",
            "--with-keygrip",
            "--list-secret-keys",
            fingerprint,
        ]);
        let output = Transport::Local.output(&command)?;
        let listed = String::from_utf8_lossy(&output.stdout);
        let (mut grips, mut here, mut part) = (BTreeMap::new(), false, String::new());
        for line in listed.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
            match field(1) {
                // A hash sign marks a secret that is elsewhere.
                "sec" | "ssb" => here = field(15) != "#",
                "fpr" => part = field(10).to_owned(),
                "grp" if here => drop(grips.insert(part.clone(), field(10).to_owned())),
                _ => {}
            }
        }
        if !output.status.success() || listed.is_empty() {
            return Err(self.no_key(fingerprint).cause(plain(&output.stderr)));
        }
        Ok(grips)
    }

    fn no_key(&self, fingerprint: &str) -> Error {
        Error::new(
            Code::Secret,
            format!(
                "gpg has no secret key {fingerprint} in {}",
                self.home.display()
            ),
        )
        .hint("import it there (gpg --import KEYFILE), or correct `key` of `sign`: the fingerprint that `gpg --list-secret-keys` shows")
    }

    fn command(&self) -> Command {
        Command::new("gpg")
            .args(["--batch", "--no-tty", "--status-fd", "2", "--homedir"])
            .arg(&self.home)
            .env("LC_ALL", "C.UTF-8")
    }

    /// Starts to decrypt `input`; fails when `gpg` has no key for it.
    pub(in crate::archive) fn decrypt<R: Read>(
        &self,
        input: R,
        signers: &MessageSigners,
    ) -> Result<Decrypting<R>> {
        let command = self.command().arg("--decrypt").stdin_piped();
        let running = Transport::Local.spawn(&command)?;
        if let Some(stdin) = &running.stdin {
            let nonblocking =
                fcntl_getfl(stdin).and_then(|f| fcntl_setfl(stdin, f | OFlags::NONBLOCK));
            nonblocking.map_err(|error| Error::io("cannot talk to gpg", &error.into()))?;
        }
        let mut reader = Decrypting {
            input,
            input_ended: false,
            block: Vec::new(),
            position: 0,
            running: Some(running),
            signers: signers.clone(),
            first: Vec::new(),
            ended: false,
        };
        let mut first = vec![0; BLOCK_BYTES];
        let count = reader
            .read(&mut first)
            .map_err(crate::archive::open::explain)?;
        first.truncate(count);
        reader.first = first;
        Ok(reader)
    }
}

/// Reader of the content that `gpg` decrypts.
pub(in crate::archive) struct Decrypting<R> {
    input: R,
    input_ended: bool,
    block: Vec<u8>,
    position: usize,
    /// `None` after it has ended.
    running: Option<Running>,
    signers: MessageSigners,
    /// Output that was read at the start.
    first: Vec<u8>,
    ended: bool,
}

impl<R: Read> Read for Decrypting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || (self.ended && self.first.is_empty()) {
            return Ok(0);
        }
        if !self.first.is_empty() {
            let count = self.first.as_slice().read(buffer)?;
            self.first.drain(..count);
            return Ok(count);
        }
        self.feed_until_readable()?;
        let stdout = self.running.as_mut().and_then(|r| r.stdout.as_mut());
        let count = match stdout {
            Some(stdout) => stdout.read(buffer)?,
            None => return Err(io::Error::other("gpg ended before")),
        };
        if count == 0 {
            self.finish()?;
            self.ended = true;
        }
        Ok(count)
    }
}

impl<R: Read> Decrypting<R> {
    /// Feeds `gpg` until it has printed something or ended.
    fn feed_until_readable(&mut self) -> io::Result<()> {
        loop {
            self.fill()?;
            let Some(running) = &mut self.running else {
                return Ok(());
            };
            if self.position >= self.block.len() {
                drop(running.stdin.take());
            }
            let (readable, writable) = ready(running)?;
            if writable && let Some(stdin) = &mut running.stdin {
                let rest = self.block.get(self.position..).unwrap_or_default();
                match stdin.write(rest) {
                    Ok(count) => self.position += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // Its exit status tells why it takes no more.
                    Err(_) => drop(running.stdin.take()),
                }
            }
            if readable {
                return Ok(());
            }
        }
    }

    /// Reads the next block when the last one is used up.
    fn fill(&mut self) -> io::Result<()> {
        while !self.input_ended && self.position >= self.block.len() {
            self.block.resize(BLOCK_BYTES, 0);
            self.position = 0;
            let read = self.input.read(&mut self.block);
            self.block.truncate(*read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.input_ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if let Some(running) = self.running.take() {
                        drop(running.kill());
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(running) = self.running.take() else {
            return Err(io::Error::other("gpg ended before"));
        };
        let (status, said) = running.wait()?;
        let said = Said(&said);
        let whole = said.has("GOODMDC") && !said.has("BADMDC");
        if let Some(signer) = said.ids("BADSIG").first() {
            // It then ends before it has checked the integrity code. At the end of the input, the
            // stored bytes are compared with the manifest, which shows whether they are damaged.
            io::copy(&mut self.input, &mut io::sink())?;
            return Err(bad(signer).cause(plain(said.0)).into());
        }
        if !whole || !(status.success() || said.only_signer_unknown()) {
            return Err(said.failure(&status.to_string()).into());
        }
        self.signers.complete(&said.signers())?;
        // At the end of the input, the stored bytes are compared with the manifest.
        let left = self.position < self.block.len();
        if left || io::copy(&mut self.input, &mut io::sink())? > 0 {
            return Err(
                Error::new(Code::ObjectDamaged, "something follows the OpenPGP message")
                    .hint(DAMAGED_HINT)
                    .into(),
            );
        }
        Ok(())
    }
}

/// Waits until `gpg` has printed something or takes input; returns which of the two hold.
fn ready(running: &Running) -> io::Result<(bool, bool)> {
    let mut fds = Vec::with_capacity(2);
    if let Some(stdout) = &running.stdout {
        fds.push(PollFd::new(stdout, PollFlags::IN));
    }
    if let Some(stdin) = &running.stdin {
        fds.push(PollFd::new(stdin, PollFlags::OUT));
    }
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    let readable = running.stdout.is_none() || ready.next().unwrap_or(true);
    Ok((readable, ready.next().unwrap_or(false)))
}

/// Output of `gpg` on its standard error: status lines among messages.
struct Said<'a>(&'a str);

impl<'a> Said<'a> {
    fn statuses(&self, word: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.0.lines().filter_map(|l| l.strip_prefix("[GNUPG:] "));
        lines.filter_map(move |line| {
            let rest = line.strip_prefix(word)?;
            (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim())
        })
    }

    /// Signers: fingerprints, or key ids where `gpg` reports no more.
    fn signers(&self) -> Vec<String> {
        let valid = self.ids("VALIDSIG").into_iter();
        let unknown = self.statuses("ERRSIG");
        let unknown = unknown.filter_map(|rest| rest.rsplit(' ').find(|f| f.len() >= 16));
        let ids = unknown.chain(valid).chain(self.ids("ERRSIG"));
        ids.map(str::to_owned).collect()
    }

    /// Returns whether the only problem is that the public key of a signature inside is unknown.
    fn only_signer_unknown(&self) -> bool {
        let mut errors = self.statuses("ERRSIG").peekable();
        let unknown = |rest: &str| rest.split(' ').nth(5) == Some("9");
        self.has("DECRYPTION_OKAY") && errors.peek().is_some() && errors.all(unknown)
    }

    fn has(&self, word: &'a str) -> bool {
        self.statuses(word).next().is_some()
    }

    /// The error of a failed decryption. Once the session key is known, only the object can be at
    /// fault.
    fn failure(&self, status: &str) -> Error {
        let recipients: Vec<_> = self.ids("ENC_TO");
        let missing = self.ids("NO_SECKEY");
        let cause = match plain(self.0) {
            text if text.is_empty() => format!("gpg ended with {status}"),
            text => text,
        };
        if self.has("DECRYPTION_INFO") || recipients.is_empty() {
            return Error::new(
                Code::ObjectDamaged,
                "the encrypted object is damaged, or no OpenPGP message",
            )
            .cause(cause)
            .hint(DAMAGED_HINT);
        }
        if recipients.iter().all(|id| missing.contains(id)) && !self.tried_a_key() {
            return Error::new(
                Code::Decryption,
                format!(
                    "gpg has no secret key for the object, which is encrypted to {}",
                    recipients.join(", ")
                ),
            )
            .cause(cause)
            .hint(
                "import the secret key of one of these into the GnuPG home that `decrypt` names",
            );
        }
        Error::new(
            Code::Decryption,
            format!("gpg cannot use the secret key {}", recipients.join(", ")),
        )
        .cause(cause)
        .hint("let its agent know the passphrase first, or insert the card: try `gpg --decrypt` on any message to it; or give the key itself: decrypt = { openpgp = \"file:PATH\", passphrase = \"file:PATH\" }")
    }

    /// Returns whether `gpg` had a secret key and could not use it. GnuPG 2.4 also says then that it
    /// has none.
    fn tried_a_key(&self) -> bool {
        /// `GPG_ERR_NO_SECKEY` of libgpg-error, whose codes are the low 16 bits.
        const NO_SECRET_KEY: u32 = 17;
        let errors = self.statuses("ERROR");
        let codes = errors.filter_map(|rest| {
            let code = rest.strip_prefix("pkdecrypt_failed ")?;
            code.split(' ').next()?.parse::<u32>().ok()
        });
        codes.into_iter().any(|code| code & 0xffff != NO_SECRET_KEY)
    }

    fn ids(&self, word: &'a str) -> Vec<&'a str> {
        let rests = self.statuses(word);
        rests.filter_map(|rest| rest.split(' ').next()).collect()
    }
}

/// The messages without the status lines.
fn plain(said: &str) -> String {
    let lines = said.lines().filter(|line| !line.starts_with("[GNUPG:]"));
    lines.collect::<Vec<_>>().join("; ")
}
