//! Signatures by GnuPG's agent, which has the secret key or knows the card that has it.
//!
//! As with `gpg` itself, the agent receives only a hash and returns only a signature. The agent
//! asks for the passphrase or knows it already.

use super::certificate::Part;
use super::gpg::Gpg;
use super::hex;
use crate::error::{Code, Error, Result};
use crate::transport::{Command, Transport};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::types::{
    Fingerprint, KeyDetails, KeyId, KeyVersion, Mpi, Password, PublicParams, SignatureBytes,
    SigningKey, Timestamp,
};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A key for which the agent signs.
#[derive(Debug, Clone)]
pub(super) struct AgentKey {
    home: PathBuf,
    part: Part,
    keygrip: String,
    failed: Arc<Mutex<Option<Error>>>,
}

impl AgentKey {
    pub(super) fn new(gpg: &Gpg, part: Part, keygrip: String) -> Self {
        AgentKey {
            home: gpg.home().to_owned(),
            part,
            keygrip,
            failed: Arc::default(),
        }
    }

    /// Error of the agent, if it did not make the last signature.
    pub(super) fn failure(&self) -> Option<Error> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.clone()
    }

    fn ask(&self, hash: HashAlgorithm, digest: &[u8]) -> Result<Vec<Vec<u8>>> {
        let command = Command::new("gpg-connect-agent")
            .arg("--homedir")
            .arg(&self.home)
            .arg(format!("SIGKEY {}", self.keygrip))
            .arg(format!("SETHASH {} {}", u8::from(hash), hex(digest)))
            .args(["PKSIGN", "/bye"])
            .env("LC_ALL", "C.UTF-8");
        let output = Transport::Local.output(&command)?;
        let refused = |cause: String| {
            Error::new(
                Code::Secret,
                format!("gpg-agent does not sign with OpenPGP key {}", self.id()),
            )
            .cause(cause)
            .hint("let it know the passphrase first, or insert the card: try `gpg --sign` on anything; or give the key itself: sign = { openpgp = \"file:PATH\", passphrase = \"file:PATH\" }")
        };
        let (mut data, mut said) = (Vec::new(), Vec::new());
        for line in output.stdout.split(|byte| *byte == b'\n') {
            match line.strip_prefix(b"D ") {
                Some(part) => data.extend(unescaped(part)),
                None if line.starts_with(b"ERR ") => {
                    said.push(String::from_utf8_lossy(line).trim().to_owned());
                }
                None => {}
            }
        }
        if !said.is_empty() || !output.status.success() {
            said.push(output.stderr.trim().to_owned());
            said.retain(|text| !text.is_empty());
            return Err(refused(said.join("; ")));
        }
        numbers(&data).ok_or_else(|| refused("it answered something else".into()))
    }

    fn id(&self) -> String {
        hex(self.legacy_key_id().as_ref())
    }

    fn details(&self) -> &dyn KeyDetails {
        match &self.part {
            Part::Primary(key) => key,
            Part::Subkey(key) => key,
        }
    }
}

impl SigningKey for AgentKey {
    fn sign(
        &self,
        _: &Password,
        hash: HashAlgorithm,
        digest: &[u8],
    ) -> pgp::errors::Result<SignatureBytes> {
        match self.ask(hash, digest) {
            Ok(numbers) => {
                let numbers = numbers.iter().map(|n| Mpi::from_slice(n));
                Ok(SignatureBytes::Mpis(numbers.collect()))
            }
            Err(error) => {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                *failed = Some(error.clone());
                Err(io::Error::other(error).into())
            }
        }
    }

    fn hash_alg(&self) -> HashAlgorithm {
        self.public_params().hash_alg()
    }
}

impl KeyDetails for AgentKey {
    fn version(&self) -> KeyVersion {
        self.details().version()
    }

    fn legacy_key_id(&self) -> KeyId {
        self.details().legacy_key_id()
    }

    fn fingerprint(&self) -> Fingerprint {
        self.details().fingerprint()
    }

    fn algorithm(&self) -> PublicKeyAlgorithm {
        self.details().algorithm()
    }

    fn created_at(&self) -> Timestamp {
        self.details().created_at()
    }

    fn legacy_v3_expiration_days(&self) -> Option<u16> {
        self.details().legacy_v3_expiration_days()
    }

    fn public_params(&self) -> &PublicParams {
        self.details().public_params()
    }
}

/// Decodes a line of data in which a percent sign and two hex digits stand for a byte.
fn unescaped(line: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let escaped = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
        match escaped.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// Extracts the numbers of a signature, `r` and `s` or `s` alone, from an expression such as
/// `(7:sig-val(5:eddsa(1:r32:…)(1:s32:…)))`.
fn numbers(expression: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut atoms: Vec<&[u8]> = Vec::new();
    let mut rest = expression;
    while let Some((first, after)) = rest.split_first() {
        if matches!(first, b'(' | b')' | 0) {
            rest = after;
            continue;
        }
        let colon = rest.iter().position(|byte| *byte == b':')?;
        let (length, after) = rest.split_at_checked(colon)?;
        let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
        let (atom, after) = after.get(1..)?.split_at_checked(length)?;
        atoms.push(atom);
        rest = after;
    }
    match atoms.as_slice() {
        [b"sig-val", b"rsa", b"s", s, ..] => Some(vec![s.to_vec()]),
        [b"sig-val", _, b"r", r, b"s", s, ..] => Some(vec![r.to_vec(), s.to_vec()]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_agent() {
        assert_eq!(unescaped(b"a%0Ab%25%zz%4"), b"a\nb%%zz%4");
        let two = |r: &[u8], s: &[u8]| Some(vec![r.to_vec(), s.to_vec()]);
        let eddsa = b"(7:sig-val(5:eddsa(1:r3:(1)(1:s2:\n)))";
        assert_eq!(numbers(eddsa), two(b"(1)", b"\n)"));
        let rsa = b"(7:sig-val(3:rsa(1:s4:abcd))(4:hash6:sha512))";
        assert_eq!(numbers(rsa), Some(vec![b"abcd".to_vec()]));
        for wrong in [
            &b""[..],
            b"(",
            b"(7:sig-val",
            b"(9:sig-val)",
            b"(7:sig-val(3:rsa))",
        ] {
            assert_eq!(numbers(wrong), None);
        }
    }
}
