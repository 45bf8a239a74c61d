//! Signatures inside messages: their check by `gpg`, the key that signs, and refusals.

use super::*;
use crate::archive::{MessageKey, MessageSigner};
use pgp::composed::MessageBuilder;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::{KeyDetails, Password, SignatureBytes, SigningKey};

const PASSPHRASE: &str = "correct horse";

fn signer(bytes: &[u8], passphrase: &str, now: Timestamp) -> MessageSigner {
    let (bytes, passphrase) = (secret(bytes), passphrase.to_owned());
    MessageSigner::new("a key", move || {
        let passphrase = (!passphrase.is_empty()).then(|| secret(passphrase.as_bytes()));
        MessageKey::parse(&bytes, passphrase.as_ref(), now)
    })
}

fn by_agent(home: &GpgHome, fingerprint: &str) -> MessageSigner {
    let (path, key) = (home.path().to_owned(), fingerprint.to_owned());
    MessageSigner::new("an agent", move || {
        MessageKey::of_gpg(&Gpg::new(&path).unwrap(), &key, Timestamp::now())
    })
}

fn signing(certificates: &Certificates, signer: &MessageSigner) -> Sealing {
    Sealing {
        signer: Some(signer.clone()),
        ..sealing(certificates)
    }
}

fn seal_signed(data: &[u8], certificates: &Certificates, signer: &MessageSigner) -> Vec<u8> {
    let mut sealer = Sealer::new(&signing(certificates, signer), Vec::new()).unwrap();
    sealer.write_all(data).unwrap();
    sealer.finish().unwrap()
}

/// The data that `gpg` decrypts, and its status lines.
fn decrypted(home: &GpgHome, message: &[u8], passphrase: &str) -> (Vec<u8>, String) {
    let args = ["--passphrase", passphrase, "--status-fd", "2", "--decrypt"];
    let output = home.run(args, message);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.stdout, said)
}

/// The key whose signature `gpg` reports as good.
fn good(said: &str) -> &str {
    assert!(said.contains("[GNUPG:] GOODSIG "), "{said}");
    let valid = said
        .lines()
        .find_map(|l| l.strip_prefix("[GNUPG:] VALIDSIG "));
    valid.unwrap().split(' ').next().unwrap()
}

/// The key that `gpg` itself signs with.
fn choice_of_gpg(home: &GpgHome, user: &str) -> String {
    let signed = home.ok(&["--local-user", user, "--sign"], b"x");
    let (_, said) = decrypted(home, &signed, "");
    good(&said).to_owned()
}

fn believed(identities: &Identities, signer: &MessageSigner) -> Identities {
    let fingerprint = signer.fingerprint();
    let identities = identities.clone().believing(None, Some(signer));
    identities.expecting(fingerprint.as_deref())
}

#[test]
fn gpg_says_who_signed() {
    let home = GpgHome::new();
    // A recipient who does not know the signer.
    let stranger = GpgHome::new();
    home.key("ops@example.org", "ed25519", "cv25519", "");
    let ops = home.export_secret("--armor", "ops@example.org", "");
    stranger.ok(&["--import"], &ops);
    let now = Timestamp::now();
    let to = read(&[&home.export("ops.asc", &["ops@example.org"])], now);
    let in_memory = keys(&ops, "").unwrap();
    let gpg = |home: &GpgHome| Identities::default().with_gpg(Gpg::new(home.path()).unwrap());
    for (user, algorithm) in [
        ("rsa@example.org", "rsa2048"),
        ("ed@example.org", "ed25519"),
        ("nist@example.org", "nistp256"),
    ] {
        let fingerprint = home.primary(user, algorithm, "never", PASSPHRASE, "");
        let armored = home.export_secret("--armor", user, PASSPHRASE);
        // Gives the agent the passphrase.
        home.ok(&["--passphrase", PASSPHRASE, "-u", user, "--sign"], b"x");
        let file = signer(&armored, PASSPHRASE, Timestamp::now());
        for (by, size) in [
            (&file, 0),
            (&file, 1),
            (&file, 1_500_000),
            (&by_agent(&home, &fingerprint), 700_000),
        ] {
            by.usable().unwrap();
            let data = sample(size);
            let sealed = seal_signed(&data, &to, by);
            let (clear, said) = decrypted(&home, &sealed, "");
            assert!(clear == data, "{user} {size}");
            assert_eq!(good(&said), fingerprint, "{user} {size}");
            for identities in [&in_memory, &gpg(&home), &gpg(&stranger)] {
                assert!(unseal(&sealed, identities).unwrap() == data, "{user}");
                let believed = believed(identities, by);
                assert!(unseal(&sealed, &believed).unwrap() == data, "{user}");
            }
        }
    }
}

#[test]
fn an_invalid_or_missing_signature_is_refused() {
    let home = GpgHome::new();
    let user = "ops@example.org";
    let fingerprint = home.key(user, "ed25519", "cv25519", "");
    let other = home.primary("other@example.org", "ed25519", "never", "", "");
    let now = Timestamp::now();
    let to = read(&[&home.export("ops.asc", &[user])], now);
    let armored = home.export_secret("--armor", user, "");
    let in_memory = keys(&armored, "").unwrap();
    let through_gpg = Identities::default().with_gpg(Gpg::new(home.path()).unwrap());
    let by = signer(&armored, "", now);
    let data = sample(300_000);
    let forged = {
        let hand = by.hand().unwrap();
        let key = Forger(hand.key());
        let mut builder = MessageBuilder::from_bytes("", data.clone())
            .seipd_v1(rand::rngs::OsRng, SymmetricKeyAlgorithm::AES256);
        for part in to.recipients().unwrap() {
            match part {
                certificate::Part::Primary(key) => builder.encrypt_to_key(rand::rngs::OsRng, &key),
                certificate::Part::Subkey(key) => builder.encrypt_to_key(rand::rngs::OsRng, &key),
            }
            .unwrap();
        }
        builder.sign(&key, Password::empty(), key.hash_alg());
        builder.to_vec(rand::rngs::OsRng).unwrap()
    };
    assert!(decrypted(&home, &forged, "").1.contains("BADSIG"));
    // Here nobody knows the claimed signer.
    assert!(unseal(&forged, &in_memory).unwrap() == data);
    let known = in_memory.clone().believing(None, Some(&by));
    let recipients = Recipients::OpenPgp(to.clone());
    let of_recipients = in_memory.clone().believing(Some(&recipients), None);
    for identities in [&known, &of_recipients, &through_gpg] {
        let error = refused(&forged, identities);
        assert_eq!(error.code, Code::Untrusted, "{error:?}");
        assert!(error.message.contains("does not hold"), "{error}");
        assert!(error.message.contains(&fingerprint[24..]), "{error}");
        assert!(error.hint.is_some());
    }
    // The manifest says that an object is signed, but it is unsigned or signed by another key.
    let unsigned = seal(&data, &to);
    let by_other = seal_signed(
        &data,
        &to,
        &signer(
            &home.export_secret("--armor", "other@example.org", ""),
            "",
            now,
        ),
    );
    for identities in [&in_memory, &through_gpg] {
        let expecting = identities.clone().expecting(Some(&fingerprint));
        for (message, cause) in [(&unsigned, "no signature"), (&by_other, other.as_str())] {
            assert!(unseal(message, identities).unwrap() == data);
            let error = refused(message, &expecting);
            assert_eq!(error.code, Code::Untrusted, "{error:?}");
            assert!(error.message.contains(&fingerprint), "{error}");
            assert!(error.cause.unwrap().contains(cause));
        }
    }
    // Damage is reported as damage, whoever signed.
    let sealed = seal_signed(&data, &to, &by);
    for identities in [&believed(&in_memory, &by), &believed(&through_gpg, &by)] {
        for position in [sealed.len() / 2, sealed.len() - 1, sealed.len() - 60] {
            let mut flipped = sealed.clone();
            flipped[position] ^= 1;
            let code = refused(&flipped, identities).code;
            // gpg does not check the integrity code when a signature is bad.
            let by_gpg = identities.gpg().is_some() && code == Code::Untrusted;
            assert!(code == Code::ObjectDamaged || by_gpg, "{code:?}");
        }
        let cut = &sealed[..sealed.len() - 100];
        assert_eq!(refused(cut, identities).code, Code::ObjectDamaged);
    }
}

/// Signs other data than it was asked to.
#[derive(Debug)]
struct Forger<'a>(&'a dyn SigningKey);

impl SigningKey for Forger<'_> {
    fn sign(
        &self,
        password: &Password,
        hash: HashAlgorithm,
        data: &[u8],
    ) -> pgp::errors::Result<SignatureBytes> {
        let mut other = data.to_vec();
        other[7] ^= 1;
        self.0.sign(password, hash, &other)
    }

    fn hash_alg(&self) -> HashAlgorithm {
        self.0.hash_alg()
    }
}

impl KeyDetails for Forger<'_> {
    fn version(&self) -> pgp::types::KeyVersion {
        self.0.version()
    }
    fn legacy_key_id(&self) -> pgp::types::KeyId {
        self.0.legacy_key_id()
    }
    fn fingerprint(&self) -> pgp::types::Fingerprint {
        self.0.fingerprint()
    }
    fn algorithm(&self) -> pgp::crypto::public_key::PublicKeyAlgorithm {
        self.0.algorithm()
    }
    fn created_at(&self) -> pgp::types::Timestamp {
        self.0.created_at()
    }
    fn legacy_v3_expiration_days(&self) -> Option<u16> {
        self.0.legacy_v3_expiration_days()
    }
    fn public_params(&self) -> &pgp::types::PublicParams {
        self.0.public_params()
    }
}

#[test]
fn the_part_that_signs_is_the_one_gpg_would_take() {
    let home = GpgHome::new();
    let user = "a@example.org";
    let fingerprint_of = |now: Timestamp| {
        let by = signer(&home.export_secret("--armor", user, ""), "", now);
        by.usable().map(|()| by.fingerprint().unwrap())
    };
    let check = |what: &str, expected: &str| {
        assert_eq!(
            fingerprint_of(Timestamp::now()).unwrap(),
            expected,
            "{what}"
        );
        assert_eq!(choice_of_gpg(&home, user), expected, "{what}");
        let by = by_agent(&home, &primary_of(&home, user));
        assert_eq!(by.fingerprint().unwrap(), expected, "{what}");
    };
    let primary = home.primary(user, "ed25519", "never", "", "20200101T000000");
    home.subkey(&primary, "cv25519", "never", "", "20200102T000000");
    check("the primary key", &primary);
    let first = home.subkey(&primary, "ed25519 sign", "never", "", "20200103T000000");
    check("a subkey", &first);
    let second = home.subkey(&primary, "rsa2048 sign", "never", "", "20210103T000000");
    check("the newest subkey", &second);
    home.subkey(&primary, "ed25519 sign", "1y", "", "20220103T000000");
    check("not an expired one", &second);
    home.subkey(&primary, "ed25519 auth", "never", "", "20230103T000000");
    check("not one for something else", &second);
    home.revoke_subkey(&primary, 3, "");
    check("not a revoked one", &first);
    // First the secret of the primary key is absent, then those of the subkeys.
    let subkeys = home.ok(&["--export-secret-subkeys", user], b"");
    let by = signer(&subkeys, "", Timestamp::now());
    assert_eq!(by.fingerprint(), Some(first));
}

fn primary_of(home: &GpgHome, user: &str) -> String {
    let listed = home.ok(&["--list-keys", "--with-colons", user], b"");
    let listed = String::from_utf8(listed).unwrap();
    let line = listed.lines().find_map(|l| l.strip_prefix("fpr:")).unwrap();
    line.trim_matches(':').to_owned()
}

/// The error of a signer that cannot sign, with its hint and without the passphrase.
fn refused_by(home: &GpgHome, by: &MessageSigner) -> String {
    let error = by.usable().unwrap_err();
    assert!(!format!("{error:?}").contains("horse"), "{error:?}");
    let file = home.export("ops.asc", &["ops@example.org"]);
    let to = read(&[&file], Timestamp::now());
    // Nothing is sealed unsigned instead.
    assert!(Sealer::new(&signing(&to, by), Vec::new()).is_err());
    assert!(by.fingerprint().is_none());
    let hint = error.hint.clone().unwrap();
    format!("{} / {hint}", error.message)
}

/// Asserts that a secret key is refused with a message that contains each of `parts`.
fn check_refused(home: &GpgHome, key: &[u8], passphrase: &str, parts: &[&str]) {
    let said = refused_by(home, &signer(key, passphrase, Timestamp::now()));
    for part in parts {
        assert!(said.contains(part), "{part:?}: {said}");
    }
}

/// A GnuPG home with the key of a recipient.
fn home_of_ops() -> GpgHome {
    let home = GpgHome::new();
    home.key("ops@example.org", "ed25519", "cv25519", "");
    home
}

#[test]
fn keys_that_cannot_sign_are_refused_by_name_and_reason() {
    let home = home_of_ops();
    let said = |by: &MessageSigner| refused_by(&home, by);
    let check = |key: &[u8], passphrase: &str, parts: &[&str]| {
        check_refused(&home, key, passphrase, parts);
    };
    let export = |user: &str| home.export_secret("--armor", user, PASSPHRASE);
    let early = "20200101T000000";
    let expired = home.primary("expired@example.org", "ed25519", "1y", "", early);
    let parts = [
        "expired@example.org",
        "expired on 2020-12-31",
        "--quick-set-expire",
        &expired,
        "--export-secret-keys",
    ];
    check(&export("expired@example.org"), "", &parts);
    let by = by_agent(&home, &expired);
    assert!(said(&by).contains("expired on 2020-12-31"));
    // Only its subkey has expired, and the primary key only certifies.
    let primary = home.primary("sub@example.org", "ed25519 cert", "never", "", early);
    home.subkey(&primary, "ed25519 sign", "1y", "", early);
    check(
        &export("sub@example.org"),
        "",
        &["signing subkey", "expired on 2020-12-31", "'*'"],
    );
    let primary = home.primary("cert@example.org", "ed25519 cert", "never", "", "");
    home.subkey(&primary, "cv25519", "never", "", "");
    check(
        &export("cert@example.org"),
        "",
        &["no part that is meant for signing", "--quick-add-key"],
    );
    let revoked = home.primary("revoked@example.org", "ed25519", "never", "", "");
    home.revoke(&revoked);
    check(
        &export("revoked@example.org"),
        "",
        &["was revoked", "replaces it"],
    );
    assert!(said(&by_agent(&home, &revoked)).contains("was revoked"));
}

#[test]
fn files_that_hold_no_usable_secret_key_are_refused() {
    let home = home_of_ops();
    let check = |key: &[u8], passphrase: &str, parts: &[&str]| {
        check_refused(&home, key, passphrase, parts);
    };
    let export = |user: &str| home.export_secret("--armor", user, PASSPHRASE);
    home.primary("cert@example.org", "ed25519 cert", "never", "", "");
    let user = "locked@example.org";
    let locked = home.key(user, "ed25519", "cv25519", PASSPHRASE);
    let armored = export(user);
    check(
        &armored,
        "",
        &["protected by a passphrase", &locked[24..], "to `sign`"],
    );
    check(
        &armored,
        "wrong horse",
        &["the passphrase does not open", "`sign`"],
    );
    let public = std::fs::read(home.export("public.asc", &[user])).unwrap();
    check(
        &public,
        PASSPHRASE,
        &["a public key, and no secret key", "--export-secret-keys"],
    );
    check(b"hello", "", &["holds no OpenPGP secret key"]);
    check(&armored[..armored.len() / 2], "", &["cannot be read"]);
    let both = home.ok(
        &[
            "--armor",
            "--export-secret-keys",
            "ops@example.org",
            "cert@example.org",
        ],
        b"",
    );
    check(&both, "", &["holds 2 OpenPGP secret keys"]);
    let offline = home.ok(
        &["--passphrase", PASSPHRASE, "--export-secret-subkeys", user],
        b"",
    );
    check(&offline, PASSPHRASE, &["left out of the export", &locked]);
}

#[test]
fn an_agent_that_cannot_sign_is_refused_by_name_and_reason() {
    let home = home_of_ops();
    let said = |by: &MessageSigner| refused_by(&home, by);
    let user = "locked@example.org";
    let locked = home.key(user, "ed25519", "cv25519", PASSPHRASE);
    let public = std::fs::read(home.export("public.asc", &[user])).unwrap();
    // The agent does not know the passphrase, and nobody can be asked.
    std::fs::write(
        home.path().join("gpg-agent.conf"),
        "pinentry-program /bin/false\n",
    )
    .unwrap();
    lifeboat_testkit::gpg::reload(&home);
    let said_by_agent = said(&by_agent(&home, &locked));
    for part in [
        "gpg-agent does not sign",
        &locked[24..],
        "let it know the passphrase",
    ] {
        assert!(said_by_agent.contains(part), "{said_by_agent}");
    }
    let nobody = "0".repeat(40);
    assert!(said(&by_agent(&home, &nobody)).contains("gpg has no secret key 000"));
    // A public key alone.
    let other = GpgHome::new();
    other.ok(&["--import"], &public);
    assert!(said(&by_agent(&other, &locked)).contains("gpg has no secret key"));
}

#[test]
fn the_expiry_of_a_signing_key_is_reported_in_advance() {
    let home = GpgHome::new();
    let soon = home.primary("soon@example.org", "ed25519", "20d", "", "");
    let now = Timestamp::now();
    let by = signer(
        &home.export_secret("--armor", "soon@example.org", PASSPHRASE),
        "",
        now,
    );
    let hours = |hours| by.expiring(now, jiff::SignedDuration::from_hours(hours));
    assert_eq!(hours(30 * 24).unwrap().fingerprint, soon);
    assert!(hours(24).is_none());
}

#[test]
fn signing_streams_both_ways() {
    let home = GpgHome::new();
    home.key("a@example.org", "ed25519", "cv25519", "");
    let now = Timestamp::now();
    let to = read(&[&home.export("a.asc", &["a@example.org"])], now);
    let armored = home.export_secret("--armor", "a@example.org", "");
    let by = signer(&armored, "", now);
    let shared = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut sealer = Sealer::new(&signing(&to, &by), Shared(shared.clone())).unwrap();
    let most_waiting = 8 << 20;
    let (part, parts) = (sample(1 << 20), 40);
    for written in 1..=parts {
        sealer.write_all(&part).unwrap();
        let waiting = (written << 20) - shared.lock().unwrap().len().min(written << 20);
        assert!(waiting <= most_waiting, "{waiting} after {written}");
    }
    sealer.finish().unwrap();
    let sealed = std::mem::take(&mut *shared.lock().unwrap());
    let identities = believed(&keys(&armored, "").unwrap(), &by);
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Counted(&sealed, taken.clone());
    let mut opened = open(counted, "none", Some("openpgp"), Some(&identities)).unwrap();
    let mut buffer = vec![0; 1 << 20];
    for read in 1..=parts {
        opened.read_exact(&mut buffer).unwrap();
        assert!(buffer == part);
        let taken = taken.load(std::sync::atomic::Ordering::Relaxed);
        assert!(taken <= (read << 20) + most_waiting, "{taken} after {read}");
    }
    assert_eq!(opened.read(&mut buffer).unwrap(), 0);
}

struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(buffer)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Counted<'a>(&'a [u8], std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1
            .fetch_add(count, std::sync::atomic::Ordering::Relaxed);
        Ok(count)
    }
}
