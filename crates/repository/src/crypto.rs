//! Seals bytes so that nobody can read them, or change them unnoticed: AES-256 in counter mode, and
//! Poly1305-AES over the ciphertext, laid out as `IV ‖ ciphertext ‖ tag`.
//!
//! The ciphers are those of the RustCrypto project. A key is wiped when dropped.

use crate::error::{Damage, Error, Result};
use aes::cipher::{BlockEncrypt, KeyInit, KeyIvInit, StreamCipher};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of the IV, before the ciphertext.
pub const IV_BYTES: usize = 16;
/// Length of the tag, after the ciphertext.
pub const TAG_BYTES: usize = 16;
/// The bytes that sealing adds.
pub const OVERHEAD_BYTES: usize = IV_BYTES + TAG_BYTES;

/// The bytes processed at a time, few enough to stay in the cache.
const PIECE_BYTES: usize = 8 << 10;

type Counter = ctr::Ctr128BE<aes::Aes256>;

/// The keys of a repository, or the keys derived from a password.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Key {
    pub(crate) encrypt: [u8; 32],
    pub(crate) mac_k: [u8; 16],
    pub(crate) mac_r: [u8; 16],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Makes a key from 64 bytes: 32 for AES, and twice 16 for the tag.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut key = Key {
            encrypt: [0; 32],
            mac_k: [0; 16],
            mac_r: [0; 16],
        };
        let (encrypt, mac) = bytes.split_at(32);
        let (k, r) = mac.split_at(16);
        key.encrypt.copy_from_slice(encrypt);
        key.mac_k.copy_from_slice(k);
        key.mac_r.copy_from_slice(r);
        mask(&mut key.mac_r);
        key
    }

    /// Makes a new random key.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 64];
        random(&mut bytes)?;
        let key = Key::from_bytes(&bytes);
        bytes.zeroize();
        Ok(key)
    }

    /// Appends the sealed form of `plain` to `out`.
    pub fn seal_into(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut iv = [0; IV_BYTES];
        random(&mut iv)?;
        out.reserve(plain.len() + OVERHEAD_BYTES);
        out.extend_from_slice(&iv);
        let start = out.len();
        let mut stream = self.stream(&iv);
        for piece in plain.chunks(PIECE_BYTES) {
            let from = out.len();
            out.resize(from + piece.len(), 0);
            encrypt(&mut stream, piece, out.get_mut(from..).unwrap_or_default());
        }
        let tag = self.tag(&iv, out.get(start..).unwrap_or_default());
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Seals what `buffer` holds from `start` on, in place: space for the IV, then the plaintext.
    pub fn seal_tail(&self, buffer: &mut Vec<u8>, start: usize) -> Result<()> {
        let tail = buffer.get_mut(start..).unwrap_or_default();
        let Some((iv, text)) = tail.split_first_chunk_mut::<IV_BYTES>() else {
            return Err(Error::Random(std::io::ErrorKind::UnexpectedEof.into()));
        };
        random(iv)?;
        self.stream(iv).apply_keystream(text);
        let tag = self.tag(iv, text);
        buffer.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens sealed bytes in place and returns the plaintext, which is a part of them.
    pub fn open_in_place<'a>(
        &self,
        sealed: &'a mut [u8],
    ) -> std::result::Result<&'a mut [u8], Damage> {
        self.check(sealed)?;
        let parts = sealed.split_first_chunk_mut().and_then(|(iv, rest)| {
            let (text, _) = rest.split_last_chunk_mut::<TAG_BYTES>()?;
            Some((iv, text))
        });
        // The check above has shown that there are enough bytes for a tag.
        let (iv, text) = parts.ok_or(Damage::Tag)?;
        self.stream(iv).apply_keystream(text);
        Ok(text)
    }

    /// Checks the tag of sealed bytes without decrypting them.
    pub(crate) fn check(&self, sealed: &[u8]) -> std::result::Result<(), Damage> {
        let parts = sealed.split_first_chunk().and_then(|(iv, rest)| {
            let (text, tag) = rest.split_last_chunk()?;
            Some((iv, text, tag))
        });
        match parts {
            None => Err(Damage::Short {
                bytes: sealed.len() as u64,
            }),
            Some((iv, text, tag)) if equal(&self.tag(iv, text), tag) => Ok(()),
            Some(_) => Err(Damage::Tag),
        }
    }

    /// Decrypts sealed bytes without checking the tag, for bytes that were just sealed or checked
    /// here. `take` receives pieces that fit in the cache: first the ciphertext, then its
    /// plaintext.
    pub(crate) fn reveal(&self, sealed: &[u8], mut take: impl FnMut(&[u8], &[u8])) {
        let Some((iv, rest)) = sealed.split_first_chunk::<IV_BYTES>() else {
            return;
        };
        let text = rest.get(..rest.len().saturating_sub(TAG_BYTES));
        let mut stream = self.stream(iv);
        let mut room = [0; PIECE_BYTES];
        for sealed in text.unwrap_or_default().chunks(PIECE_BYTES) {
            let piece = room.get_mut(..sealed.len()).unwrap_or_default();
            encrypt(&mut stream, sealed, piece);
            take(sealed, piece);
        }
    }

    /// Opens sealed bytes and returns the plaintext.
    pub fn open(&self, mut sealed: Vec<u8>) -> std::result::Result<Vec<u8>, Damage> {
        let length = self.open_in_place(&mut sealed)?.len();
        sealed.copy_within(IV_BYTES..IV_BYTES + length, 0);
        sealed.truncate(length);
        Ok(sealed)
    }

    fn stream(&self, iv: &[u8; IV_BYTES]) -> Counter {
        Counter::new(&self.encrypt.into(), iv.into())
    }

    fn tag(&self, iv: &[u8; IV_BYTES], text: &[u8]) -> [u8; TAG_BYTES] {
        let mut nonce = (*iv).into();
        aes::Aes128::new(&self.mac_k.into()).encrypt_block(&mut nonce);
        let mut key = [0; 32];
        let (r, s) = key.split_at_mut(16);
        r.copy_from_slice(&self.mac_r);
        s.copy_from_slice(&nonce);
        let tag = Poly1305::new(&key.into()).compute_unpadded(text);
        key.zeroize();
        tag.into()
    }
}

/// Encrypts or decrypts, which are the same in counter mode. Both slices have one length.
fn encrypt(stream: &mut Counter, from: &[u8], into: &mut [u8]) {
    // This fails if the lengths differ; otherwise only after 2^128 blocks.
    let _ = stream.apply_keystream_b2b(from, into);
}

/// Compares in constant time.
fn equal(a: &[u8; TAG_BYTES], b: &[u8; TAG_BYTES]) -> bool {
    u128::from_ne_bytes(*a) ^ u128::from_ne_bytes(*b) == 0
}

/// Clears the bits of r that Poly1305 requires to be clear.
fn mask(r: &mut [u8; 16]) {
    let clear = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff_u128;
    *r = (u128::from_le_bytes(*r) & clear).to_le_bytes();
}

/// Fills `bytes` with random bytes.
pub fn random(bytes: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| Error::Random(error.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_and_opened() {
        let key = Key::random().unwrap();
        for plain in [&b""[..], b"x", &[7; 100_000]] {
            let mut out = b"before".to_vec();
            key.seal_into(plain, &mut out).unwrap();
            assert_eq!(out.len(), 6 + plain.len() + OVERHEAD_BYTES);
            assert_eq!(key.open(out.split_off(6)).unwrap(), plain);
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn any_flipped_bit_shows() {
        let key = Key::random().unwrap();
        let mut sealed = Vec::new();
        key.seal_into(b"the quick brown fox", &mut sealed).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(changed), Err(Damage::Tag), "bit {bit}");
        }
        for length in 0..OVERHEAD_BYTES {
            let cut = sealed[..length].to_vec();
            assert!(
                matches!(key.open(cut), Err(Damage::Short { .. })),
                "{length}"
            );
        }
        assert_eq!(Key::random().unwrap().open(sealed), Err(Damage::Tag));
    }
}
