//! Key files: the repository's key, sealed with a key that scrypt derives from a password. They are
//! plain JSON. A repository may have several, one for each password.

use crate::Id;
use crate::crypto::{Key, random};
use crate::encoding::{Base64, or_default};
use crate::error::{Damage, Error, Result};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// A key file as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyFile {
    /// The time at which it was made.
    #[serde(default, deserialize_with = "or_default")]
    pub created: String,
    /// The user who made it.
    #[serde(default, deserialize_with = "or_default")]
    pub username: String,
    /// The host on which it was made.
    #[serde(default, deserialize_with = "or_default")]
    pub hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
    salt: Base64,
    data: Base64,
}

#[derive(Serialize, Deserialize)]
struct MasterKey {
    mac: MacKey,
    encrypt: Base64,
}

#[derive(Serialize, Deserialize)]
struct MacKey {
    k: Base64,
    r: Base64,
}

/// The cost of trying a password. The memory is `128 · N · r` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// log2 of scrypt's N.
    pub log_n: u8,
    /// scrypt's block size r.
    pub r: u32,
    /// scrypt's parallelism p.
    pub p: u32,
}

impl Default for Cost {
    /// 32 MiB and about a tenth of a second.
    fn default() -> Self {
        Cost {
            log_n: 15,
            r: 8,
            p: 1,
        }
    }
}

/// The most memory that a key file may require: 1 GiB.
const SCRYPT_BYTES_MAX: u64 = 1 << 30;
/// The most work that a key file may require, at about 300 MB a second.
const SCRYPT_WORK_BYTES_MAX: u64 = 4 << 30;

impl KeyFile {
    /// Seals `master` with a password.
    pub fn create(
        master: &Key,
        password: &[u8],
        cost: Cost,
        (created, username, hostname): (String, String, String),
    ) -> Result<Self> {
        let mut salt = vec![0; 64];
        random(&mut salt)?;
        let file = KeyFile {
            created,
            username,
            hostname,
            kdf: "scrypt".into(),
            n: 1 << cost.log_n.min(30),
            r: cost.r,
            p: cost.p,
            salt: Base64(salt),
            data: Base64(Vec::new()),
        };
        file.check_room()?;
        let user = file.stretch(password).map_err(Error::Config)?;
        let secret = MasterKey {
            mac: MacKey {
                k: Base64(master.mac_k.to_vec()),
                r: Base64(master.mac_r.to_vec()),
            },
            encrypt: Base64(master.encrypt.to_vec()),
        };
        let plain = serde_json::to_vec(&secret)
            .map(Zeroizing::new)
            .map_err(|error| Error::Config(Damage::Format(error.to_string())))?;
        let mut sealed = Vec::new();
        user.seal_into(&plain, &mut sealed)?;
        Ok(KeyFile {
            data: Base64(sealed),
            ..file
        })
    }

    /// Parses the key file named `id`, whose hash must be `id`.
    pub fn parse(id: Id, bytes: &[u8]) -> std::result::Result<Self, Damage> {
        let found = Id::of(bytes);
        if found != id {
            return Err(Damage::Hash { found });
        }
        KeyFile::read(bytes)
    }

    /// Parses a key file without checking its name: everything that matters in it is sealed.
    pub(crate) fn read(bytes: &[u8]) -> std::result::Result<Self, Damage> {
        serde_json::from_slice(bytes).map_err(|error| Damage::Format(error.to_string()))
    }

    /// Returns the repository's key; `None` if the password does not fit.
    pub fn open(&self, password: &[u8]) -> std::result::Result<Option<Key>, Damage> {
        let user = self.stretch(password)?;
        let plain = match user.open(self.data.0.clone()) {
            Ok(plain) => Zeroizing::new(plain),
            Err(Damage::Tag) => return Ok(None),
            Err(damage) => return Err(damage),
        };
        let format = |error: String| Damage::Format(error);
        let secret: MasterKey =
            serde_json::from_slice(&plain).map_err(|error| format(error.to_string()))?;
        let joined = [&secret.encrypt.0[..], &secret.mac.k.0, &secret.mac.r.0].concat();
        let joined = Zeroizing::new(joined);
        let bytes: &[u8; 64] = joined
            .as_slice()
            .try_into()
            .map_err(|_| format("the key in it has a wrong length".into()))?;
        Ok(Some(Key::from_bytes(bytes)))
    }

    /// Fails if the memory that scrypt needs cannot be allocated. Without this check, scrypt would
    /// end the process.
    pub(crate) fn check_room(&self) -> Result<()> {
        let wanted = (128 * u64::from(self.n)).saturating_mul(self.r.into());
        // `stretch` refuses more than this.
        let bytes = usize::try_from(wanted.min(SCRYPT_BYTES_MAX)).unwrap_or(usize::MAX);
        let reserved = Vec::<u8>::new().try_reserve_exact(bytes);
        reserved.map_err(|_| Error::Memory { bytes })
    }

    fn stretch(&self, password: &[u8]) -> std::result::Result<Key, Damage> {
        let wrong = |what: &str| Damage::Format(format!("scrypt: {what}"));
        if self.kdf != "scrypt" {
            return Err(Damage::Format(format!(
                "unknown key derivation {:?}",
                self.kdf
            )));
        }
        if !self.n.is_power_of_two() || self.n < 2 {
            return Err(wrong("N is no power of two"));
        }
        // Anybody who can write to the store can write a key file, so its parameters are bounded.
        let room = (128 * u64::from(self.n)).saturating_mul(self.r.into());
        if room > SCRYPT_BYTES_MAX {
            return Err(wrong("it asks for more than a GiB of memory"));
        }
        if room.saturating_mul(self.p.into()) > SCRYPT_WORK_BYTES_MAX {
            return Err(wrong("it asks for too much to be computed"));
        }
        let log_n = u8::try_from(self.n.ilog2()).map_err(|_| wrong("N"))?;
        let params = scrypt::Params::new(log_n, self.r, self.p)
            .map_err(|_| wrong("the parameters are not valid"))?;
        let mut bytes = [0; 64];
        scrypt::scrypt(password, &self.salt.0, &params, &mut bytes)
            .map_err(|_| wrong("the parameters are not valid"))?;
        let key = Key::from_bytes(&bytes);
        bytes.zeroize();
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A master key, and a key file that holds it and has the password `x`.
    fn made() -> (Key, KeyFile) {
        let master = Key::random().unwrap();
        let cost = Cost {
            log_n: 4,
            ..Cost::default()
        };
        let by = (String::new(), String::new(), String::new());
        let file = KeyFile::create(&master, b"x", cost, by).unwrap();
        (master, file)
    }

    #[test]
    fn a_key_file_may_omit_who_made_it() {
        let (master, file) = made();
        let mut value = serde_json::to_value(&file).unwrap();
        let fields = value.as_object_mut().unwrap();
        fields.remove("created");
        fields.insert("username".into(), serde_json::Value::Null);
        let bytes = serde_json::to_vec(&value).unwrap();
        let read = KeyFile::parse(Id::of(&bytes), &bytes).unwrap();
        assert!(read.open(b"x").unwrap() == Some(master));
        assert!(read.open(b"y").unwrap().is_none());
    }

    #[test]
    fn a_key_that_asks_for_too_much_is_refused() {
        let (_, file) = made();
        for (n, r, p) in [
            (0, 8, 1),
            (1, 8, 1),
            (3, 8, 1),
            (16, 0, 1),
            (16, 8, 0),
            (1 << 31, 8, 1),
            // The product of these is 0 in 64 bits.
            (1 << 31, 1 << 26, 1),
            (1 << 31, u32::MAX, u32::MAX),
            (1 << 20, 8, 64),
            (2, 1, u32::MAX),
        ] {
            let asks = KeyFile {
                n,
                r,
                p,
                ..file.clone()
            };
            assert!(asks.open(b"x").is_err(), "{n} {r} {p}");
        }
    }
}
