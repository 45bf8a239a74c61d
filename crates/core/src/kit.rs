//! The recovery kit: everything needed to restore without this host, in one sealed file.
//!
//! Guarantees: a kit is a tar archive inside an age file or an OpenPGP message, so that either of
//! `age -d KIT | tar x` and `gpg -d KIT | tar x` opens it without Lifeboat. This module writes
//! nothing to disk, and memory that held the plain content is wiped. Other code decides what belongs
//! in a kit.

use crate::archive::{self, Identities, Recipients, Sealer, Sealing, decryption_error};
use crate::compress::Compress;
use crate::error::{Code, Error, Result};
use crate::secret::{AGE_FILE, Secret};
use age::secrecy::SecretString;
use std::io::{self, Read, Write};
use zeroize::Zeroizing;

/// A file of the kit: its relative path and its bytes.
pub type KitEntry = (String, Zeroizing<Vec<u8>>);

/// Key that a kit is sealed with.
#[derive(Debug, Clone)]
pub enum KitKey {
    /// A passphrase.
    Passphrase(Secret),
    /// Public keys.
    Recipients(Recipients),
}

/// Key that a kit is opened with.
#[derive(Debug, Clone)]
pub enum KitOpener {
    /// The passphrase.
    Passphrase(Secret),
    /// A private key.
    Identities(Identities),
}

/// scrypt work factor of a passphrase, as of the age command: 2^18, 256 MiB and about a second.
const WORK_FACTOR: u8 = 18;
/// Largest accepted work factor. It is fixed rather than measured, because a kit must open on any
/// slow host that is left.
const WORK_FACTOR_MAX: u8 = 20;
/// Largest size of a kit in bytes: it is held in memory.
const KIT_BYTES_MAX: u64 = 64 << 20;

/// Seals files to `key`.
pub fn pack(entries: &[KitEntry], key: &KitKey) -> Result<Vec<u8>> {
    let failed = |error: io::Error| Error::io("the recovery kit cannot be packed", &error);
    let tar = tar_of(entries)?;
    let encryptor = match key {
        KitKey::Recipients(Recipients::Age(keys)) => keys.encryptor()?,
        KitKey::Recipients(recipients @ Recipients::OpenPgp(_)) => {
            let sealing = Sealing {
                compress: Compress::None,
                recipients: Some(recipients.clone()),
                signer: None,
            };
            let mut stream = Sealer::new(&sealing, Vec::new())?;
            stream.write_all(&tar).map_err(failed)?;
            return stream.finish().map_err(failed);
        }
        KitKey::Passphrase(passphrase) => {
            let mut recipient = age::scrypt::Recipient::new(passphrase_of(passphrase)?);
            recipient.set_work_factor(WORK_FACTOR);
            age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
                .map_err(|error| {
                    Error::new(Code::Secret, "the recovery kit cannot be sealed").cause(error)
                })?
        }
    };
    let mut sealed = Vec::with_capacity(tar.len() + tar.len() / 1024 + 1024);
    let mut stream = encryptor.wrap_output(&mut sealed).map_err(failed)?;
    stream.write_all(&tar).map_err(failed)?;
    stream.finish().map_err(failed)?;
    Ok(sealed)
}

/// Opens a kit. Fails with [`Code::Decryption`] for a wrong key or passphrase, and with
/// [`Code::ObjectDamaged`] for damage.
pub fn unpack(sealed: &[u8], opener: &KitOpener) -> Result<Vec<KitEntry>> {
    let wrong_key = |error| {
        let error = decryption_error(error);
        match (error.code, opener) {
            (Code::Decryption, KitOpener::Passphrase(_)) => Error::new(
                Code::Decryption,
                "the passphrase does not open the recovery kit",
            )
            .cause(error.cause.unwrap_or_default())
            .hint("check the passphrase; if the kit is sealed to a public key, give that key"),
            (Code::Decryption, KitOpener::Identities(_)) => {
                Error::new(Code::Decryption, "the key does not open the recovery kit")
                    .cause(error.cause.unwrap_or_default())
                    .hint("give the private key it was sealed to, or its passphrase")
            }
            _ => Error::new(Code::ObjectDamaged, "the recovery kit is damaged")
                .cause(error.cause.unwrap_or(error.message))
                .hint("use another copy of the kit"),
        }
    };
    if let KitOpener::Identities(identities) = opener
        && identities.has_openpgp()
        && !sealed.starts_with(AGE_FILE)
    {
        let clear = archive::open(sealed, "none", Some("openpgp"), Some(identities));
        return files_of(clear?, sealed.len());
    }
    let decryptor = age::Decryptor::new_buffered(sealed).map_err(wrong_key)?;
    let stream = match opener {
        KitOpener::Identities(identities) => decryptor.decrypt(identities.as_age()),
        KitOpener::Passphrase(passphrase) => {
            let mut identity = age::scrypt::Identity::new(passphrase_of(passphrase)?);
            identity.set_max_work_factor(WORK_FACTOR_MAX);
            decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))
        }
    };
    files_of(stream.map_err(wrong_key)?, sealed.len())
}

fn passphrase_of(passphrase: &Secret) -> Result<SecretString> {
    Ok(SecretString::from(passphrase.expose_str()?.to_owned()))
}

fn tar_of(entries: &[KitEntry]) -> Result<Zeroizing<Vec<u8>>> {
    // Allocate all of it at once: a vector that grows leaves copies behind that are not wiped.
    let room: usize = entries
        .iter()
        .map(|(name, bytes)| bytes.len() + name.len() + 4 * 512)
        .sum();
    let mut tar = Zeroizing::new(Vec::with_capacity(room + 1024));
    let mut builder = tar::Builder::new(&mut *tar);
    for (name, bytes) in entries {
        lifeboat_store::check_key(name).map_err(|error| {
            let message = format!("{name:?} cannot be a name in the recovery kit");
            Error::new(Code::Usage, message).cause(error)
        })?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(bytes.len() as u64);
        builder
            .append_data(&mut header, name, bytes.as_slice())
            .map_err(|error| Error::io(format!("{name} cannot be packed"), &error))?;
    }
    builder
        .finish()
        .map_err(|error| Error::io("the recovery kit cannot be packed", &error))?;
    drop(builder);
    Ok(tar)
}

fn files_of(clear: impl Read, sealed_bytes: usize) -> Result<Vec<KitEntry>> {
    let damaged = |error: &dyn std::fmt::Display| {
        Error::new(Code::ObjectDamaged, "the recovery kit is damaged")
            .cause(error)
            .hint("use another copy of the kit")
    };
    if sealed_bytes as u64 > KIT_BYTES_MAX {
        return Err(damaged(&"it is larger than a kit can be"));
    }
    // The clear text is never longer than the sealed.
    let mut tar = Zeroizing::new(Vec::with_capacity(sealed_bytes));
    clear
        .take(KIT_BYTES_MAX)
        .read_to_end(&mut tar)
        .map_err(|error| damaged(&error))?;
    let mut files = Vec::new();
    let mut archive = tar::Archive::new(tar.as_slice());
    for entry in archive.entries().map_err(|error| damaged(&error))? {
        let mut entry = entry.map_err(|error| damaged(&error))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        lifeboat_store::check_key(&name).map_err(|error| damaged(&error))?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(tar.len()));
        entry
            .read_to_end(&mut bytes)
            .map_err(|error| damaged(&error))?;
        files.push((name, bytes));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Command, Transport};

    fn entries() -> Vec<KitEntry> {
        let long = format!("keys/{}", "x".repeat(150));
        vec![
            (
                "lifeboat.toml".into(),
                Zeroizing::new(b"version = 1\n".to_vec()),
            ),
            (
                "keys/repository.key".into(),
                Zeroizing::new(vec![0, 255, 10, 13]),
            ),
            ("keys/empty".into(), Zeroizing::new(Vec::new())),
            (long, Zeroizing::new(vec![7; 100_000])),
        ]
    }

    fn passphrase(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn a_passphrase_seals_and_opens_it() {
        let sealed = pack(&entries(), &KitKey::Passphrase(passphrase("correct horse"))).unwrap();
        let open = |text| unpack(&sealed, &KitOpener::Passphrase(passphrase(text)));
        assert_eq!(open("correct horse").unwrap(), entries());
        let error = open("wrong horse").unwrap_err();
        assert_eq!(error.code, Code::Decryption);
        assert!(error.message.contains("passphrase"), "{error}");
        let (_, stranger) = key();
        let error = unpack(&sealed, &KitOpener::Identities(stranger)).unwrap_err();
        assert_eq!(error.code, Code::Decryption);
        assert!(error.hint.unwrap().contains("passphrase"));
    }

    fn key() -> (String, Identities) {
        let identity = age::x25519::Identity::generate();
        let text = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
        (
            text.clone(),
            Identities::parse(&passphrase(&text), None).unwrap(),
        )
    }

    #[test]
    fn stock_tools_open_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (text, identities) = key();
        let public = text.parse::<age::x25519::Identity>().unwrap().to_public();
        let recipients = Recipients::parse(&[public.to_string()]).unwrap();
        let sealed = pack(&entries(), &KitKey::Recipients(recipients)).unwrap();
        assert_eq!(
            unpack(&sealed, &KitOpener::Identities(identities)).unwrap(),
            entries()
        );
        let by_passphrase = pack(&entries(), &KitKey::Passphrase(passphrase("correct horse")));
        for (name, bytes) in [
            ("kit", sealed.as_slice()),
            ("locked", &by_passphrase.unwrap()),
            ("key", text.as_bytes()),
        ] {
            let mut options = std::fs::OpenOptions::new();
            let file = options.create_new(true).write(true).open(path(name));
            file.unwrap().write_all(bytes).unwrap();
        }
        // age asks on a terminal, which `script` provides.
        let script = format!(
            "cd {} && age -d -i key kit | tar xO lifeboat.toml && \
             (sleep 1; echo 'correct horse') | script -qec 'age -d -o clear locked' /dev/null >&2 && \
             tar xOf clear lifeboat.toml",
            path("")
        );
        let output = Transport::Local
            .output(&Command::new("sh").args(["-c", &script]))
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "version = 1\nversion = 1\n",
            "{}",
            output.stderr
        );
    }

    #[test]
    fn damage_is_found() {
        let (text, identities) = key();
        let public = text.parse::<age::x25519::Identity>().unwrap().to_public();
        let recipients = Recipients::parse(&[public.to_string()]).unwrap();
        let mut sealed = pack(&entries(), &KitKey::Recipients(recipients)).unwrap();
        let opener = KitOpener::Identities(identities);
        for cut in [0, 10, 100, sealed.len() / 2, sealed.len() - 1] {
            let error = unpack(&sealed[..cut], &opener).unwrap_err();
            assert_eq!(error.code, Code::ObjectDamaged, "{cut} {error:?}");
        }
        let middle = sealed.len() / 2;
        sealed[middle] ^= 1;
        assert_eq!(
            unpack(&sealed, &opener).unwrap_err().code,
            Code::ObjectDamaged
        );
    }

    #[test]
    fn a_name_that_leads_outside_the_kit_is_refused() {
        for name in ["/etc/passwd", "../x", "", "a//b"] {
            let entry = (name.to_owned(), Zeroizing::new(Vec::new()));
            let key = KitKey::Passphrase(passphrase("correct horse"));
            assert_eq!(pack(&[entry], &key).unwrap_err().code, Code::Usage);
        }
    }
}
