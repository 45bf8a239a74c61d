//! Sealed data are read by stock tools and by Lifeboat; incomplete data by neither.

use super::*;
use crate::compress::Compress;
use crate::error::{Code, Error};
use crate::secret::Secret;
use crate::transport::{Command, Transport};
use std::io::{self, Read, Write};

/// Text that compresses about as well as SQL, followed by data that do not compress.
fn sample(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut data = Vec::with_capacity(bytes + 64);
    while data.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if data.len() % 700_000 < 600_000 {
            write!(
                data,
                "({},'user{}@example.org',NULL),",
                state >> 40,
                state % 977
            )
            .unwrap();
        } else {
            data.extend(state.to_le_bytes());
        }
    }
    data.truncate(bytes);
    data
}

fn sealing(compress: Compress, recipients: Option<&Recipients>) -> Sealing {
    Sealing {
        compress,
        recipients: recipients.cloned(),
        signer: None,
    }
}

fn seal(data: &[u8], sealing: &Sealing) -> Vec<u8> {
    let mut sealer = Sealer::new(sealing, Vec::new()).unwrap();
    sealer.write_all(data).unwrap();
    sealer.finish().unwrap()
}

fn unseal(
    stored: &[u8],
    sealing: &Sealing,
    identities: Option<&Identities>,
) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    open(
        stored,
        sealing.compress_name(),
        sealing.encrypt_name(),
        identities,
    )?
    .read_to_end(&mut data)?;
    Ok(data)
}

/// Runs a tool on a file that holds `input`; returns its output if it succeeded.
fn tool(program: &str, args: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(input).unwrap();
    let path = file.path().to_str().unwrap();
    let line = format!("{program} {} < {path}", args.join(" "));
    let output = Transport::Local
        .output(&Command::new("sh").args(["-c", &line]))
        .unwrap();
    output
        .status
        .success()
        .then_some(output.stdout)
        .ok_or(output.stderr)
}

/// A new age key in a file: recipient, identities, and the file.
fn age_key() -> (Recipients, Identities, tempfile::NamedTempFile) {
    let identity = age::x25519::Identity::generate();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
    writeln!(file, "# a key\n\n{text}").unwrap();
    let recipients = Recipients::parse(&[identity.to_public().to_string()]).unwrap();
    let identities =
        Identities::parse(&Secret::new(std::fs::read(file.path()).unwrap()), None).unwrap();
    (recipients, identities, file)
}

const MIB: usize = 1 << 20;
const ALL: [Compress; 4] = [
    Compress::None,
    Compress::Gzip(2),
    Compress::Gzip(9),
    Compress::Zstd(3),
];

#[test]
fn every_size_around_the_borders_comes_back() {
    let (recipients, identities, _file) = age_key();
    let data = sample(5 * MIB + 7);
    let borders = [0, 1, 2, 65_535, 65_536, 65_537, 131_072];
    let blocks = [MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 1, 5 * MIB + 7];
    for size in borders.into_iter().chain(blocks) {
        for compress in ALL {
            for recipients in [None, Some(&recipients)] {
                let sealing = sealing(compress, recipients);
                let stored = seal(&data[..size], &sealing);
                let back = unseal(&stored, &sealing, Some(&identities)).unwrap();
                assert!(back == data[..size], "{sealing:?} {size}");
            }
        }
    }
}

#[test]
fn the_pieces_it_is_written_in_do_not_matter() {
    let data = sample(3 * MIB + 11);
    for compress in [Compress::Gzip(2), Compress::None] {
        let sealing = sealing(compress, None);
        let whole = seal(&data, &sealing);
        for piece in [997, 65_536, MIB + 1] {
            let mut sealer = Sealer::new(&sealing, Vec::new()).unwrap();
            for chunk in data.chunks(piece) {
                sealer.write_all(chunk).unwrap();
            }
            assert!(sealer.finish().unwrap() == whole, "{piece}");
        }
    }
}

#[test]
fn stock_tools_read_it() {
    for size in [0, 1, MIB, 4 * MIB + 3] {
        let data = sample(size);
        let gzip = seal(&data, &sealing(Compress::Gzip(2), None));
        assert!(tool("gunzip", &["-c"], &gzip).unwrap() == data);
        assert!(tool("zcat", &[], &gzip).unwrap() == data);
        assert!(tool("pigz", &["-dc"], &gzip).unwrap() == data);
        let python = "'import gzip,sys,shutil;shutil.copyfileobj(gzip.open(sys.stdin.buffer),sys.stdout.buffer)'";
        assert!(tool("python3", &["-c", python], &gzip).unwrap() == data);
        let zstd = seal(&data, &sealing(Compress::Zstd(3), None));
        assert!(tool("zstd", &["-dc"], &zstd).unwrap() == data);
        assert!(tool("zstd", &["-lv"], &zstd).is_err() || !zstd.is_empty());
        let (recipients, _, file) = age_key();
        let key = file.path().to_str().unwrap();
        for compress in ALL {
            let sealed = seal(&data, &sealing(compress, Some(&recipients)));
            let clear = tool("age", &["-d", "-i", key], &sealed).unwrap();
            let back = match compress {
                Compress::None => clear,
                Compress::Gzip(_) => tool("gunzip", &["-c"], &clear).unwrap(),
                Compress::Zstd(_) => tool("zstd", &["-dc"], &clear).unwrap(),
            };
            assert!(back == data, "{compress} {size}");
        }
    }
}

#[test]
fn output_of_stock_tools_is_read() {
    let data = sample(2 * MIB + 5);
    let one = tool("gzip", &["-c"], &data).unwrap();
    let gzip = sealing(Compress::Gzip(2), None);
    assert!(unseal(&one, &gzip, None).unwrap() == data);
    let two = [one.clone(), one.clone()].concat();
    assert!(unseal(&two, &gzip, None).unwrap() == [data.clone(), data.clone()].concat());
    let zstd = sealing(Compress::Zstd(3), None);
    assert!(unseal(&tool("zstd", &["-c"], &data).unwrap(), &zstd, None).unwrap() == data);
    for cut in [0, 5, 17, 18, one.len() / 2, one.len() - 1] {
        damaged(unseal(&one[..cut], &gzip, None));
    }
    damaged(unseal(
        &[&one[..], b"garbage garbage garbage"].concat(),
        &gzip,
        None,
    ));
}

#[test]
fn ssh_keys_are_recipients_and_identities() {
    let directory = tempfile::tempdir().unwrap();
    let data = sample(100_000);
    for kind in ["ed25519", "rsa"] {
        let path = directory.path().join(kind);
        let key = path.to_str().unwrap();
        let made = Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f", key]);
        assert!(Transport::Local.output(&made).unwrap().status.success());
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        let sealing = sealing(
            Compress::Gzip(2),
            Some(&Recipients::parse(&[public]).unwrap()),
        );
        let stored = seal(&data, &sealing);
        let clear = tool("age", &["-d", "-i", key], &stored).unwrap();
        assert!(tool("gunzip", &["-c"], &clear).unwrap() == data);
        let text = std::fs::read(&path).unwrap();
        let trimmed = Secret::new(text.trim_ascii_end().to_vec());
        let identities = Identities::parse(&trimmed, None).unwrap();
        assert!(unseal(&stored, &sealing, Some(&identities)).unwrap() == data);
    }
    let path = directory.path().join("locked");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "secret", "-f"])
        .arg(&path);
    assert!(Transport::Local.output(&made).unwrap().status.success());
    let error = Identities::parse(&Secret::new(std::fs::read(&path).unwrap()), None).unwrap_err();
    assert!(error.message.contains("passphrase"), "{error}");
    // With its passphrase it opens, and with another it does not.
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    let to = Recipients::parse(&[public]).unwrap();
    let sealing = sealing(Compress::None, Some(&to));
    let stored = seal(b"data", &sealing);
    let key = Secret::new(std::fs::read(&path).unwrap());
    let passphrase = |text: &str| Secret::new(text.as_bytes().to_vec());
    let identities = Identities::parse(&key, Some(&passphrase("secret"))).unwrap();
    assert!(unseal(&stored, &sealing, Some(&identities)).unwrap() == b"data");
    let error = Identities::parse(&key, Some(&passphrase("other"))).unwrap_err();
    assert!(error.message.contains("does not open it"), "{error}");
}

#[test]
fn identity_files_that_age_encrypted_open_with_their_passphrase() {
    let new = Identities::generate();
    let recipients = Recipients::parse(std::slice::from_ref(&new.recipient)).unwrap();
    let sealing = sealing(Compress::None, Some(&recipients));
    let stored = seal(b"data", &sealing);
    let passphrase = |text: &str| Secret::new(text.as_bytes().to_vec());
    // Encrypts as `age -p` does.
    let mut scrypt = age::scrypt::Recipient::new("a pass".to_owned().into());
    scrypt.set_work_factor(10);
    for armored in [false, true] {
        let encrypted = match armored {
            true => age::encrypt_and_armor(&scrypt, &new.secret)
                .unwrap()
                .into_bytes(),
            false => age::encrypt(&scrypt, &new.secret).unwrap(),
        };
        let key = Secret::new(encrypted);
        let identities = Identities::parse(&key, Some(&passphrase("a pass"))).unwrap();
        assert!(unseal(&stored, &sealing, Some(&identities)).unwrap() == b"data");
        let error = Identities::parse(&key, Some(&passphrase("another"))).unwrap_err();
        assert!(error.message.contains("does not open it"), "{error}");
        let error = Identities::parse(&key, None).unwrap_err();
        assert!(error.hint.unwrap().contains("passphrase"));
    }
    let to_key: age::x25519::Recipient = new.recipient.parse().unwrap();
    let other = Secret::new(age::encrypt(&to_key, &new.secret).unwrap());
    let error = Identities::parse(&other, Some(&passphrase("a pass"))).unwrap_err();
    assert!(error.message.contains("takes another key"), "{error}");
}

#[test]
fn recipients_of_other_kinds_are_refused_by_name() {
    for (key, why) in [
        ("age1pq1qqqqqqqqqq", "Bech32"),
        ("ecdsa-sha2-nistp256 AAAA", "ECDSA"),
        ("sk-ssh-ed25519@openssh.com AAAA", "security keys"),
    ] {
        let error = Recipients::parse(&[key.to_owned()]).unwrap_err();
        assert!(error.cause.unwrap().contains(why), "{key}");
    }
    // A key of a plugin that no test machine has.
    let key = "age1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt";
    let sealing = Sealing {
        compress: Compress::None,
        recipients: Some(Recipients::parse(&[key.to_owned()]).unwrap()),
        signer: None,
    };
    for error in [
        sealing.usable().unwrap_err(),
        Sealer::new(&sealing, Vec::new()).err().unwrap(),
    ] {
        assert_eq!(error.code, Code::ToolMissing);
        assert!(
            error
                .message
                .contains("age-plugin-yubikey is not installed"),
            "{error}"
        );
    }
}

#[test]
fn recipients_compare_as_sets_and_name_what_is_wrong() {
    let key = || age::x25519::Identity::generate().to_public().to_string();
    let (a, b) = (key(), key());
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "# team\n{b}\n\n{a}").unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let parse = |entries: &[&str]| {
        Recipients::parse(&entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(parse(&[&a, &b, &a]).unwrap(), parse(&[&path]).unwrap());
    assert_ne!(parse(&[&a]).unwrap(), parse(&[&a, &b]).unwrap());
    for (entries, named) in [
        (&["age1qqqq"][..], "age1qqqq"),
        (&["ops.pub"], "ops.pub"),
        (&["/nowhere/ops.pub"], "/nowhere/ops.pub"),
        (&["ssh-ed25519 AAAA"], "AAAA"),
        (&[], "no recipient"),
    ] {
        let error = parse(entries).unwrap_err();
        assert_eq!(error.code, Code::Configuration);
        assert!(
            error.message.contains(named) && error.hint.is_some(),
            "{error}"
        );
    }
    writeln!(file, "nonsense").unwrap();
    let error = parse(&[&path]).unwrap_err();
    assert!(
        error.message.contains("line 5") && error.message.contains(&path),
        "{error}"
    );
    let private = "AGE-SECRET-KEY-1XYZ";
    let error = parse(&[private]).unwrap_err();
    assert!(!format!("{error:?}").contains("1XYZ"), "{error}");
    let error = Identities::parse(&Secret::new(b"hunter2".to_vec()), None).unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"), "{error}");
}

/// Asserts that reading failed because the object is damaged or does not decrypt, with a hint.
fn damaged(result: io::Result<Vec<u8>>) {
    let error = match result {
        Ok(data) => panic!("{} bytes came out of a damaged object", data.len()),
        Err(error) => Error::from_io(Code::Io, "lost its kind", error),
    };
    assert!(
        matches!(error.code, Code::ObjectDamaged | Code::Decryption),
        "{error:?}"
    );
    assert!(error.hint.is_some(), "{error:?}");
}

/// Positions to cut or flip: all near both ends, and some between.
fn places(length: usize) -> Vec<usize> {
    let ends = (0..length.min(250)).chain(length.saturating_sub(80)..length);
    ends.chain((1..40).map(|n| n * length / 40)).collect()
}

#[test]
fn a_cut_anywhere_is_found() {
    let (recipients, identities, _file) = age_key();
    for size in [0, 10, 2 * MIB + 100] {
        let data = sample(size);
        for compress in ALL {
            for recipients in [None, Some(&recipients)] {
                let sealing = sealing(compress, recipients);
                if sealing.suffix().is_empty() {
                    continue;
                }
                let stored = seal(&data, &sealing);
                for cut in places(stored.len()) {
                    damaged(unseal(&stored[..cut], &sealing, Some(&identities)));
                }
            }
        }
    }
}

#[test]
fn a_cut_between_two_members_is_found() {
    let gzip = sealing(Compress::Gzip(2), None);
    let stored = seal(&sample(3 * MIB), &gzip);
    let mut borders = Vec::new();
    let mut at = 0;
    while at < stored.len() {
        borders.push(at);
        let size: [u8; 4] = stored[at + 16..at + 20].try_into().unwrap();
        at += u32::from_le_bytes(size) as usize;
    }
    assert_eq!((borders.len(), at), (4, stored.len()));
    for border in borders {
        damaged(unseal(&stored[..border], &gzip, None));
    }
}

#[test]
fn bytes_that_follow_are_found() {
    let (recipients, identities, _file) = age_key();
    let data = sample(MIB + 1);
    for compress in ALL {
        for recipients in [None, Some(&recipients)] {
            let sealing = sealing(compress, recipients);
            if sealing.suffix().is_empty() {
                continue;
            }
            let stored = seal(&data, &sealing);
            for garbage in [&b"\0"[..], b"x", b"\x1f\x8b", &stored] {
                // A second zstd frame is valid by the format; only the manifest's hash shows it.
                if sealing.suffix() != ".zst" || garbage.len() < 10 {
                    let longer = [&stored, garbage].concat();
                    damaged(unseal(&longer, &sealing, Some(&identities)));
                }
            }
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_is_found() {
    let (recipients, identities, _file) = age_key();
    let data = sample(MIB + 5000);
    for compress in ALL {
        for recipients in [None, Some(&recipients)] {
            let sealing = sealing(compress, recipients);
            if sealing.suffix().is_empty() {
                continue;
            }
            let mut stored = seal(&data, &sealing);
            for place in places(stored.len()) {
                stored[place] ^= 0xff;
                match unseal(&stored, &sealing, Some(&identities)) {
                    // Bits without meaning (padding) may change without harm to the content.
                    Ok(back) => assert!(recipients.is_none() && back == data, "{place}"),
                    error => damaged(error),
                }
                stored[place] ^= 0xff;
            }
        }
    }
}

#[test]
fn missing_and_wrong_keys_are_told_apart() {
    let (recipients, _, _file) = age_key();
    let (_, stranger, _file) = age_key();
    let sealing = sealing(Compress::Gzip(2), Some(&recipients));
    let stored = seal(b"data", &sealing);
    let read = |identities| {
        open(&stored[..], "gzip", Some("age"), identities)
            .err()
            .unwrap()
    };
    assert_eq!(read(None).code, Code::Decryption);
    assert!(read(None).hint.unwrap().contains("decrypt"));
    assert_eq!(read(Some(&stranger)).code, Code::Decryption);
    assert!(read(Some(&stranger)).message.contains("no key"));
    assert!(open(&stored[..], "lzma", None, None).is_err());
    assert!(open(&stored[..], "gzip", Some("rot13"), None).is_err());
}

/// A writer that fails with an [`Error`] after `left` bytes.
struct Full {
    left: usize,
}

impl Write for Full {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(Error::new(Code::Store, "the disk is full").into());
        }
        let count = buffer.len().min(self.left);
        self.left -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn errors_of_the_output_are_passed_on_unchanged() {
    let (recipients, _, _file) = age_key();
    let data = sample(4 * MIB);
    for compress in ALL {
        for recipients in [None, Some(&recipients)] {
            let sealing = sealing(compress, recipients);
            // An age header has about a hundred random bytes, so its length varies.
            let margin = if recipients.is_some() { 1000 } else { 0 };
            let whole = seal(&data, &sealing).len() - margin;
            for left in [0, 1, 100, 250, whole / 3, whole / 2, whole - 9, whole - 1] {
                let mut sealer = Sealer::new(&sealing, Full { left }).unwrap();
                let error = match sealer.write_all(&data) {
                    Err(error) => {
                        assert!(sealer.write(b"more").is_err());
                        assert!(sealer.finish().is_err(), "{sealing:?} {left}");
                        error
                    }
                    Ok(()) => match sealer.finish() {
                        Ok(_) => panic!("{sealing:?} {left}"),
                        Err(error) => error,
                    },
                };
                let error = Error::from_io(Code::Io, "lost", error);
                assert_eq!(error.message, "the disk is full", "{sealing:?} {left}");
            }
        }
    }
}

/// A reader that fails with an [`Error`] after some bytes.
struct Broken<'a>(&'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(Error::new(Code::Store, "the network is down").into()),
            count => Ok(count),
        }
    }
}

#[test]
fn errors_of_the_input_are_passed_on_unchanged() {
    let (recipients, identities, _file) = age_key();
    let data = sample(3 * MIB);
    for compress in ALL {
        for recipients in [None, Some(&recipients)] {
            let sealing = sealing(compress, recipients);
            let stored = seal(&data, &sealing);
            for left in [0, 1, 20, 100, 300, stored.len() / 2, stored.len() - 1] {
                let names = (sealing.compress_name(), sealing.encrypt_name());
                let error = open(Broken(&stored[..left]), names.0, names.1, Some(&identities))
                    .and_then(|mut reader| {
                        let mut data = Vec::new();
                        let error = reader.read_to_end(&mut data).unwrap_err();
                        assert!(reader.read(&mut [0; 10]).is_err(), "stays failed");
                        Err::<(), _>(Error::from_io(Code::Io, "lost", error))
                    })
                    .unwrap_err();
                assert_eq!(error.message, "the network is down", "{sealing:?} {left}");
            }
        }
    }
}

#[test]
fn a_dropped_sealer_leaves_a_stream_that_nobody_reads() {
    /// A writer that shares what was written with the test.
    struct Shared<'a>(&'a std::sync::Mutex<Vec<u8>>);
    impl Write for Shared<'_> {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(buffer)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (recipients, identities, file) = age_key();
    let key = file.path().to_str().unwrap();
    for compress in [Compress::Gzip(2), Compress::Zstd(3)] {
        for recipients in [None, Some(&recipients)] {
            let sealing = sealing(compress, recipients);
            let written = std::sync::Mutex::new(Vec::new());
            let mut sealer = Sealer::new(&sealing, Shared(&written)).unwrap();
            sealer.write_all(&sample(40 * MIB)).unwrap();
            drop(sealer);
            let stored = written.into_inner().unwrap();
            assert!(stored.len() > 1000, "{}", stored.len());
            damaged(unseal(&stored, &sealing, Some(&identities)));
            let stock = match (recipients, compress) {
                (Some(_), _) => tool("age", &["-d", "-i", key], &stored),
                (None, Compress::Gzip(_)) => tool("gunzip", &["-c"], &stored),
                (None, _) => tool("zstd", &["-dc"], &stored),
            };
            assert!(stock.is_err(), "{sealing:?}");
        }
    }
}

#[test]
fn suffixes_and_names_say_what_was_done() {
    let (recipients, _, _file) = age_key();
    let age = sealing(Compress::Gzip(2), Some(&recipients));
    assert_eq!(age.suffix(), ".gz.age");
    assert_eq!(
        (age.compress_name(), age.encrypt_name()),
        ("gzip", Some("age"))
    );
    assert_eq!(sealing(Compress::Zstd(3), None).suffix(), ".zst");
    assert_eq!(sealing(Compress::None, None).suffix(), "");
    assert_eq!(age, age.clone());
    assert_ne!(age, sealing(Compress::Gzip(2), None));
}

#[test]
fn reading_ahead_changes_nothing() {
    let data = sample(3 * MIB + 5);
    let mut back = Vec::new();
    ahead(io::Cursor::new(data.clone()))
        .unwrap()
        .read_to_end(&mut back)
        .unwrap();
    assert!(back == data);
    let mut reader = ahead(Broken(b"abc")).unwrap();
    let mut back = Vec::new();
    let error = reader.read_to_end(&mut back).unwrap_err();
    assert_eq!(Error::from_io(Code::Io, "lost", error).code, Code::Store);
    // Dropped while the thread is still working: this must not hang.
    let mut endless = ahead(io::repeat(7)).unwrap();
    endless.read_exact(&mut [0; 100]).unwrap();
    drop(endless);
}
