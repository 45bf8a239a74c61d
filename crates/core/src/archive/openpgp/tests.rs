#![allow(clippy::disallowed_methods, clippy::cast_possible_truncation)]
//! Against the real `gpg`, both ways: what it reads, what it makes, and which key it chooses.

use super::*;
use crate::archive::{Identities, Recipients, Sealer, Sealing, open};
use crate::compress::Compress;
use crate::error::{Code, Error, Result};
use crate::secret::Secret;
use jiff::Timestamp;
use lifeboat_testkit::gpg::GpgHome;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

mod signing;

fn sample(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn read(paths: &[&Path], now: Timestamp) -> Certificates {
    let paths: Vec<PathBuf> = paths.iter().map(|p| p.to_path_buf()).collect();
    Certificates::read(&paths, now)
}

fn sealing(certificates: &Certificates) -> Sealing {
    Sealing {
        compress: Compress::None,
        recipients: Some(Recipients::OpenPgp(certificates.clone())),
        signer: None,
    }
}

fn seal(data: &[u8], certificates: &Certificates) -> Vec<u8> {
    let mut sealer = Sealer::new(&sealing(certificates), Vec::new()).unwrap();
    sealer.write_all(data).unwrap();
    sealer.finish().unwrap()
}

fn secret(bytes: &[u8]) -> Secret {
    // Removes a final newline, as resolving a reference does.
    Secret::new(bytes.strip_suffix(b"\n").unwrap_or(bytes).to_vec())
}

fn keys(bytes: &[u8], passphrase: &str) -> Result<Identities> {
    let passphrase = (!passphrase.is_empty()).then(|| secret(passphrase.as_bytes()));
    Identities::parse_any(&secret(bytes), passphrase.as_ref())
}

fn unseal(stored: &[u8], identities: &Identities) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    open(stored, "none", Some("openpgp"), Some(identities))?.read_to_end(&mut data)?;
    Ok(data)
}

/// The error of reading to the end.
fn refused(stored: &[u8], identities: &Identities) -> Error {
    let error = unseal(stored, identities).unwrap_err();
    error.downcast::<Error>().unwrap()
}

/// Three kinds of key, the last of which has a passphrase.
fn three_keys() -> (GpgHome, [(&'static str, &'static str); 3]) {
    let home = GpgHome::new();
    let users = [
        ("rsa@example.org", ""),
        ("curve@example.org", ""),
        ("nist@example.org", "correct horse"),
    ];
    home.key(users[0].0, "rsa3072", "rsa3072", users[0].1);
    home.key(users[1].0, "ed25519", "cv25519", users[1].1);
    home.key(users[2].0, "nistp256", "nistp256", users[2].1);
    (home, users)
}

#[test]
fn gpg_reads_ours_and_we_read_it_with_every_kind_of_key() {
    let (home, users) = three_keys();
    let paths = users.map(|(user, _)| home.export(&format!("{user}.asc"), &[user]));
    let together = home.export("all.gpg", &users.map(|(user, _)| user));
    let now = Timestamp::now();
    let all = read(&[&paths[0], &paths[1], &paths[2]], now);
    assert_eq!(all, read(&[&together], now));
    assert_eq!(all.names().len(), 3);
    let secrets =
        users.map(|(user, pass)| keys(&home.export_secret("--armor", user, pass), pass).unwrap());
    for size in [0, 1, 511, 512 * 1024 - 30, 3 * 1024 * 1024 + 7] {
        let data = sample(size);
        let sealed = seal(&data, &all);
        for identities in &secrets {
            assert!(unseal(&sealed, identities).unwrap() == data, "{size}");
        }
        assert!(home.ok(&["--decrypt"], &sealed) == data, "{size}");
    }
    // Each key alone, in a keyring without any other.
    for (user, pass) in users {
        let data = sample(100_000);
        let one = read(&[&home.export("one.gpg", &[user])], now);
        let sealed = seal(&data, &one);
        let clear = home.ok(&["--passphrase", pass, "--decrypt"], &sealed);
        assert!(clear == data, "{user}");
    }
}

#[test]
fn what_gpg_made_is_read() {
    let (home, users) = three_keys();
    let data = [sample(70_000), vec![b'x'; 300_000]].concat();
    for (user, pass) in users {
        let armored = keys(&home.export_secret("--armor", user, pass), pass).unwrap();
        let binary = keys(&home.export_secret("--no-armor", user, pass), pass).unwrap();
        let to = ["--encrypt", "--recipient", user];
        let hidden = ["--encrypt", "--hidden-recipient", user];
        let signed = [
            "--passphrase",
            pass,
            "--local-user",
            user,
            "--sign",
            "--encrypt",
            "-r",
            user,
        ];
        // Newer versions make it only if they are asked twice.
        let old = ["--allow-old-cipher-algos", "--cipher-algo", "3DES"];
        let is_new = home.run(["--allow-old-cipher-algos", "--version"], b"");
        let old = if is_new.status.success() {
            &old[..]
        } else {
            &old[1..]
        };
        for (options, command) in [
            (&["--compress-algo", "none"][..], &to[..]),
            (&["--compress-algo", "zip"], &to),
            (&["--compress-algo", "zlib", "--armor"], &to),
            (&["--compress-algo", "bzip2"], &to),
            (old, &to),
            (&[], &hidden),
            (&[], &signed),
        ] {
            let args = [options, command].concat();
            let made = home.ok(&args, &data);
            assert!(unseal(&made, &armored).unwrap() == data, "{user} {args:?}");
            assert!(unseal(&made, &binary).unwrap() == data, "{user} {args:?}");
        }
    }
}

/// Id of the key that `gpg` encrypts to.
fn choice_of_gpg(home: &GpgHome, user: &str) -> Option<String> {
    let made = home.run(["--encrypt", "--recipient", user], b"x");
    let listed = home.run(["--list-packets", "--list-only"], &made.stdout);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let id = text
        .lines()
        .find_map(|l| l.split_once("keyid "))
        .map(|(_, id)| id.trim().to_owned());
    id.filter(|_| made.status.success())
}

#[test]
fn the_same_subkey_is_chosen_as_by_gpg() {
    let home = GpgHome::new();
    let user = "ops@example.org";
    let check = |what: &str| {
        let ours = read(&[&home.export("ops.gpg", &[user])], Timestamp::now());
        let chosen = ours
            .usable()
            .ok()
            .map(|()| ours.names()[0][24..].to_owned());
        assert_eq!(chosen, choice_of_gpg(&home, user), "{what}");
        chosen
    };
    let primary = home.primary(
        user,
        "rsa2048 sign,cert,encr",
        "never",
        "",
        "20200101T000000",
    );
    assert_eq!(check("the primary key alone").unwrap(), primary[24..]);
    let first = home.subkey(&primary, "cv25519", "never", "", "20200201T000000");
    assert_eq!(
        check("a subkey rather than the primary key").unwrap(),
        first[24..]
    );
    home.subkey(&primary, "ed25519 sign", "never", "", "20200901T000000");
    home.subkey(&primary, "ed25519 auth", "never", "", "20200902T000000");
    assert_eq!(check("one that encrypts").unwrap(), first[24..]);
    let newest = home.subkey(&primary, "nistp256", "never", "", "20210101T000000");
    assert_eq!(check("the newest").unwrap(), newest[24..]);
    home.subkey(&primary, "cv25519", "1y", "", "20220101T000000");
    assert_eq!(check("not one that has expired").unwrap(), newest[24..]);
    home.revoke_subkey(&primary, 4, "");
    assert_eq!(check("not one that is revoked").unwrap(), first[24..]);
    home.ok(&["--quick-set-expire", &primary, "1d"], b"");
    let ours = read(&[&home.export("ops.gpg", &[user])], Timestamp::now());
    let notice = |hours| ours.expiring(Timestamp::now(), jiff::SignedDuration::from_hours(hours));
    assert_eq!((notice(30 * 24).len(), notice(1).len()), (1, 0));
    assert_eq!(notice(30 * 24)[0].fingerprint, primary);
    home.revoke(&primary);
    assert_eq!(check("nothing of a revoked key"), None);
}

/// The error for keys that cannot be encrypted to.
fn refusal(path: &Path) -> Error {
    let error = read(&[path], Timestamp::now()).usable().unwrap_err();
    assert_eq!(error.code, Code::Configuration, "{error}");
    assert!(error.message.contains(path.to_str().unwrap()), "{error}");
    error
}

#[test]
fn keys_that_cannot_be_encrypted_to_are_refused_by_name_and_reason() {
    let home = GpgHome::new();
    let early = "20200101T000000";
    let expired = home.primary("expired@example.org", "ed25519", "1y", "", early);
    let file = home.export("expired.asc", &["expired@example.org"]);
    let error = refusal(&file);
    for part in [
        &expired[24..],
        "expired@example.org",
        "expired on 2020-12-31",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
    assert!(error.hint.unwrap().contains("gpg --quick-set-expire"));
    // Before that day, and after an extension, it is refused because it cannot encrypt at all.
    let before = read(&[&file], at("2020-06-01T00:00:00Z"))
        .usable()
        .unwrap_err();
    assert!(
        before
            .message
            .contains("no part that is meant for encryption"),
        "{before}"
    );
    assert!(before.hint.unwrap().contains("--quick-add-key"));
    let young = read(&[&file], at("2019-06-01T00:00:00Z"))
        .usable()
        .unwrap_err();
    assert!(
        young.message.contains("only valid from 2020-01-01"),
        "{young}"
    );

    let primary = home.primary("sub@example.org", "ed25519", "never", "", early);
    let subkey = home.subkey(&primary, "cv25519", "1y", "", early);
    let error = refusal(&home.export("sub.asc", &["sub@example.org"]));
    for part in [
        &subkey[24..],
        &primary[24..],
        "subkey",
        "expired on 2020-12-31",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
    assert!(error.hint.unwrap().contains("'*'"));

    let primary = home.key("revoked@example.org", "ed25519", "cv25519", "");
    home.revoke_subkey(&primary, 1, "");
    let error = refusal(&home.export("revoked.asc", &["revoked@example.org"]));
    assert!(error.message.contains("was revoked: replaced"), "{error}");
    home.revoke(&primary);
    let error = refusal(&home.export("revoked.asc", &["revoked@example.org"]));
    assert!(
        error.message.contains(&primary[24..]) && error.message.contains("revoked"),
        "{error}"
    );

    for (user, primary) in [
        ("pool@example.org", "brainpoolP384r1"),
        ("mixed@example.org", "rsa2048"),
    ] {
        home.key(user, primary, "brainpoolP384r1", "");
        let error = refusal(&home.export("pool.asc", &[user]));
        for part in [user, "cannot be encrypted to: its curve is brainpoolP384r1"] {
            assert!(error.message.contains(part), "{error}");
        }
    }

    // One bad key among good ones is refused: otherwise not everybody could open the backup.
    home.key("good@example.org", "ed25519", "cv25519", "");
    let both = home.export("both.gpg", &["good@example.org", "expired@example.org"]);
    assert!(refusal(&both).message.contains("expired on"));
}

#[test]
fn files_that_hold_no_whole_public_key_are_refused() {
    let home = GpgHome::new();
    home.key("good@example.org", "ed25519", "cv25519", "");
    let good = home.export("good.asc", &["good@example.org"]);
    read(&[&good], Timestamp::now()).usable().unwrap();
    let armor = std::fs::read_to_string(&good).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let twice = file(
        "twice.asc",
        format!("# the team\n{armor}\n{armor}").as_bytes(),
    );
    assert_eq!(read(&[&twice], Timestamp::now()).names().len(), 1);
    for (name, bytes, said) in [
        ("empty.asc", &b""[..], "holds no OpenPGP public key"),
        ("text.asc", b"hello", "holds no OpenPGP public key"),
        (
            "noise.gpg",
            &sample(400).iter().map(|b| b | 0x80).collect::<Vec<_>>(),
            "no OpenPGP public key",
        ),
        (
            "cut.asc",
            &armor.as_bytes()[..armor.len() / 2],
            "no OpenPGP public key",
        ),
        (
            "secret.asc",
            &home.export_secret("--armor", "good@example.org", ""),
            "holds a private key",
        ),
        (
            "secret.gpg",
            &home.export_secret("--no-armor", "good@example.org", ""),
            "holds a private key",
        ),
    ] {
        let error = refusal(&file(name, bytes));
        assert!(error.message.contains(said), "{name}: {error}");
        assert!(error.hint.is_some());
    }
    assert!(
        refusal(Path::new("/nowhere/ops.asc"))
            .cause
            .unwrap()
            .contains("No such file")
    );
    // With a flipped bit in its signature, the key is no longer bound together.
    let mut binary = std::fs::read(home.export("good.gpg", &["good@example.org"])).unwrap();
    let last = binary.len() - 1;
    binary[last] ^= 1;
    let error = refusal(&file("flipped.gpg", &binary));
    assert!(error.message.contains("no part that is meant"), "{error}");
}

#[test]
fn every_cut_and_every_flipped_bit_is_found() {
    let home = GpgHome::new();
    home.key("a@example.org", "ed25519", "cv25519", "");
    let identities = keys(&home.export_secret("--armor", "a@example.org", ""), "").unwrap();
    let certificates = read(
        &[&home.export("a.gpg", &["a@example.org"])],
        Timestamp::now(),
    );
    let data = sample(600);
    let gpg = home.ok(&["--encrypt", "-r", "a@example.org"], &data);
    for message in [seal(&data, &certificates), gpg] {
        for cut in 0..message.len() {
            refused(&message[..cut], &identities);
        }
        for position in 0..message.len() {
            let mut changed = message.clone();
            changed[position] ^= 1 << (position % 8);
            if let Ok(clear) = unseal(&changed, &identities) {
                panic!(
                    "byte {position} of {}: {} bytes",
                    message.len(),
                    clear.len()
                );
            }
        }
        for tail in [&b"x"[..], &message] {
            let error = refused(&[&message[..], tail].concat(), &identities);
            assert_eq!(error.code, Code::ObjectDamaged, "{error}");
        }
    }
    // Many blocks, with the change in the last of them.
    let data = sample(1_500_000);
    let mut message = seal(&data, &certificates);
    let last = message.len() - 1;
    assert_eq!(
        refused(&message[..last], &identities).code,
        Code::ObjectDamaged
    );
    message[last] ^= 1;
    assert_eq!(refused(&message, &identities).code, Code::ObjectDamaged);
    for nothing in [&b""[..], b"hello", &home.ok(&["--store"], b"in clear")] {
        assert_eq!(refused(nothing, &identities).code, Code::ObjectDamaged);
    }
}

#[test]
fn secret_keys_that_do_not_help_say_why() {
    let (home, users) = three_keys();
    let (locked, pass) = users[2];
    let armored = home.export_secret("--armor", locked, pass);
    let said = |result: Result<Identities>| {
        let error = result.unwrap_err();
        assert_eq!(error.code, Code::Decryption, "{error}");
        let hint = error.hint.clone().unwrap();
        assert!(!format!("{error:?}").contains("horse"), "{error:?}");
        format!("{} / {hint}", error.message)
    };
    assert!(said(keys(&armored, "")).contains("protected by a passphrase / add passphrase"));
    assert!(said(keys(&armored, "wrong horse")).contains("the passphrase does not open"));
    let public = std::fs::read(home.export("public.asc", &[locked])).unwrap();
    assert!(said(keys(&public, "")).contains("a public key, and no secret key"));
    let broken = &armored[..armored.len() / 2];
    assert!(said(keys(broken, pass)).contains("cannot be read as an OpenPGP secret key"));
    // The primary key may be offline, and so may the subkey.
    let offline = home.ok(&["--export-secret-subkeys", users[1].0], b"");
    let offline = keys(&offline, "").unwrap();
    let fingerprint = home.primary("sign@example.org", "ed25519", "never", "", "");
    let signs = home.export_secret("--armor", &fingerprint, "");
    assert!(said(keys(&signs, "")).contains("can only sign"));

    let now = Timestamp::now();
    let sealed = seal(b"data", &read(&[&home.export("b.gpg", &[users[1].0])], now));
    assert_eq!(unseal(&sealed, &offline).unwrap(), b"data");
    let error = refused(&sealed, &keys(&armored, pass).unwrap());
    assert_eq!(error.code, Code::Decryption);
    assert!(
        error.message.contains("no OpenPGP secret key given here"),
        "{error}"
    );
    let certificate = read(&[&home.export("b.gpg", &[users[1].0])], now);
    let cause = error.cause.unwrap();
    assert!(cause.contains(&certificate.names()[0][24..]), "{cause}");
    let hidden = home.ok(&["--encrypt", "--hidden-recipient", users[1].0], b"data");
    assert_eq!(
        refused(&hidden, &keys(&armored, pass).unwrap()).code,
        Code::Decryption
    );
    let symmetric = home.ok(&["--passphrase", "x", "--symmetric"], b"data");
    assert!(
        refused(&symmetric, &offline)
            .message
            .contains("to a passphrase")
    );
    // No key at all, and one for age only.
    let age = Identities::generate();
    let age = Identities::parse(&Secret::new(age.secret.to_vec()), None).unwrap();
    for identities in [None, Some(&age)] {
        let error = open(&sealed[..], "none", Some("openpgp"), identities)
            .err()
            .unwrap();
        assert_eq!(error.code, Code::Decryption);
        assert!(error.hint.unwrap().contains("openpgp = "));
    }
}

#[test]
fn a_binary_secret_key_whose_last_byte_was_taken_for_a_newline_is_read() {
    let home = GpgHome::new();
    home.key("a@example.org", "ed25519", "cv25519", "");
    let mut bytes = home.export_secret("--no-armor", "a@example.org", "");
    // A packet of private use that ends in the newline that resolving a reference removes.
    bytes.extend(b"\xff\x04abc\n");
    keys(&bytes, "").unwrap();
}

#[test]
fn the_users_gpg_decrypts() {
    let (home, users) = three_keys();
    let other = GpgHome::new();
    other.key("other@example.org", "ed25519", "cv25519", "");
    let now = Timestamp::now();
    let certificates = read(&[&home.export("b.gpg", &[users[1].0])], now);
    let by = |home: &GpgHome| {
        let gpg = Gpg::new(home.path()).unwrap();
        gpg.examine().unwrap();
        Identities::default().with_gpg(gpg)
    };
    let (good, bad) = (by(&home), by(&other));
    for size in [0, 1, 3_000_000] {
        let data = sample(size);
        let sealed = seal(&data, &certificates);
        assert!(unseal(&sealed, &good).unwrap() == data, "{size}");
        let error = refused(&sealed, &bad);
        assert_eq!(error.code, Code::Decryption, "{error}");
        assert!(
            error.message.contains(&certificates.names()[0][24..]),
            "{error}"
        );
    }
    let sealed = seal(&sample(300_000), &certificates);
    let mut flipped = sealed.clone();
    flipped[200_000] ^= 1;
    for damaged in [
        &flipped[..],
        &sealed[..sealed.len() - 1],
        &sealed[..150_000],
        b"",
        b"nothing of the kind",
        &[&sealed[..], b"x"].concat(),
        &home.ok(&["--store"], b"in clear"),
    ] {
        let error = refused(damaged, &good);
        assert_eq!(
            error.code,
            Code::ObjectDamaged,
            "{} {error:?}",
            damaged.len()
        );
    }
    // The agent does not know the passphrase, and nobody can be asked.
    home.ok(&["--encrypt", "-r", users[2].0], b"x");
    let locked = home.ok(&["--encrypt", "-r", users[2].0], b"x");
    let pinentry = home.path().join("gpg-agent.conf");
    std::fs::write(pinentry, "pinentry-program /bin/false\nmax-cache-ttl 0\n").unwrap();
    lifeboat_testkit::gpg::reload(&home);
    let error = refused(&locked, &good);
    assert_eq!(error.code, Code::Decryption, "{error:?}");
    assert!(
        error.message.contains("cannot use the secret key"),
        "{error}"
    );
    let empty = GpgHome::new();
    let error = Gpg::new(empty.path()).unwrap().examine().unwrap_err();
    assert!(
        error.message.contains("no secret key that decrypts"),
        "{error}"
    );
    assert!(
        Gpg::new(Path::new("/nowhere/gnupg"))
            .unwrap_err()
            .message
            .contains("/nowhere/gnupg")
    );
}

/// A reader that fails at its end: its bytes, and how many were read.
struct Broken(Vec<u8>, usize);
impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&self.0[self.1..]).read(buffer)?;
        self.1 += count;
        match count {
            0 => Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the network",
            )),
            count => Ok(count),
        }
    }
}

/// Errors of the input are passed on unchanged by every way to decrypt.
#[test]
fn an_error_of_the_input_is_reported_as_such() {
    let (home, users) = three_keys();
    let certificates = read(&[&home.export("b.gpg", &[users[1].0])], Timestamp::now());
    let sealed = seal(&sample(300_000), &certificates);
    let gpg = Identities::default().with_gpg(Gpg::new(home.path()).unwrap());
    let in_memory = keys(&home.export_secret("--armor", users[1].0, ""), "").unwrap();
    for identities in [&gpg, &in_memory] {
        let input = Broken(sealed[..200_000].to_vec(), 0);
        let mut opened = open(input, "none", Some("openpgp"), Some(identities)).unwrap();
        let error = io::copy(&mut opened, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    }
}

#[test]
fn errors_of_the_output_are_passed_on_and_leave_no_whole_message() {
    struct Narrow {
        taken: Vec<u8>,
        most: usize,
    }
    impl Write for Narrow {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            if self.taken.len() >= self.most {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "full"));
            }
            let count = buffer.len().min(3001);
            self.taken.extend_from_slice(&buffer[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let home = GpgHome::new();
    home.key("a@example.org", "ed25519", "cv25519", "");
    let certificates = read(
        &[&home.export("a.gpg", &["a@example.org"])],
        Timestamp::now(),
    );
    let data = sample(5_000_000);
    for most in [0, 1_000_000, 4_990_000, usize::MAX] {
        let mut output = Narrow {
            taken: Vec::new(),
            most,
        };
        let mut sealer = Sealer::new(&sealing(&certificates), &mut output).unwrap();
        let result = sealer
            .write_all(&data)
            .and_then(|()| sealer.finish().map(drop));
        match result {
            Ok(()) => {
                assert_eq!(most, usize::MAX);
                assert!(home.ok(&["--decrypt"], &output.taken) == data);
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
        }
    }
    let mut output = Vec::new();
    let mut sealer = Sealer::new(&sealing(&certificates), &mut output).unwrap();
    sealer.write_all(&data).unwrap();
    drop(sealer);
    let identities = keys(&home.export_secret("--armor", "a@example.org", ""), "").unwrap();
    assert_eq!(refused(&output, &identities).code, Code::ObjectDamaged);
}
