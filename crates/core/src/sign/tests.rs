//! Cross-checks with the real `ssh-keygen`, and every way in which a signature is refused.

use super::*;
use crate::transport::{Command, Transport};
use jiff::Timestamp;
use std::io::Write;
use std::path::Path;

const MESSAGE: &[u8] = b"{\"point\":\"20261120T060000Z-7f3a\"}\n";

fn signer() -> Signer {
    Signer::generate().unwrap()
}

fn now() -> Timestamp {
    "2026-11-20T06:00:00Z".parse().unwrap()
}

fn trusting(line: &str) -> TrustedSigners {
    TrustedSigners::parse(line).unwrap()
}

fn refused(trusted: &TrustedSigners, message: &[u8], signature: &str) -> Error {
    let error = trusted
        .verify("crm", message, signature, now())
        .unwrap_err();
    assert_eq!(error.code, Code::Untrusted);
    assert!(error.hint.is_some(), "{error:?}");
    error
}

/// Runs `ssh-keygen` with the message on its standard input. Returns its success and its output.
fn keygen(args: &[&str], message: &[u8]) -> (bool, String) {
    // Standard output goes to standard error, which is read to its end.
    let command = Command::new("sh")
        .args(["-c", "exec ssh-keygen \"$@\" >&2", "sh"])
        .args(args)
        .stdin_piped();
    let running = Transport::Local.spawn(&command).unwrap();
    let (status, said) = running.feed(&mut &message[..]).unwrap();
    (status.success(), said)
}

/// Makes a key with `ssh-keygen`. Returns the path of its private half.
fn make_key(directory: &Path, kind: &str, passphrase: &str) -> String {
    let path = directory.join(kind).to_str().unwrap().to_owned();
    let (made, said) = keygen(&["-q", "-t", kind, "-N", passphrase, "-f", &path], b"");
    assert!(made, "{said}");
    path
}

fn secret_of(path: &str) -> Secret {
    // As a reference resolves it: without the final newline.
    Secret::new(std::fs::read(path).unwrap().trim_ascii_end().to_vec())
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn ssh_keygen_accepts_what_is_signed_here() {
    let directory = tempfile::tempdir().unwrap();
    let signer = signer();
    let signature = signer.sign(MESSAGE).unwrap();
    let sig = write(directory.path(), "m.sig", &signature);
    let allowed = write(
        directory.path(),
        "allowed",
        &signer.public().line_for("crm"),
    );
    let check = ["-Y", "check-novalidate", "-n", "lifeboat", "-s", &sig];
    assert!(keygen(&check, MESSAGE).0);
    let verify = |principal, namespace, message| {
        let args = [
            "-Y", "verify", "-f", &allowed, "-I", principal, "-n", namespace, "-s", &sig,
        ];
        keygen(&args, message)
    };
    assert!(
        verify("crm", "lifeboat", MESSAGE).0,
        "{:?}",
        verify("crm", "lifeboat", MESSAGE)
    );
    assert!(!verify("other", "lifeboat", MESSAGE).0);
    assert!(!verify("crm", "git", MESSAGE).0);
    assert!(!verify("crm", "lifeboat", b"changed").0);
}

#[test]
fn what_ssh_keygen_signs_is_accepted_here() {
    let directory = tempfile::tempdir().unwrap();
    let key = make_key(directory.path(), "ed25519", "");
    let message = write(directory.path(), "m", std::str::from_utf8(MESSAGE).unwrap());
    let sign = |namespace| {
        let (made, said) = keygen(&["-Y", "sign", "-f", &key, "-n", namespace, &message], b"");
        assert!(made, "{said}");
        let path = format!("{message}.sig");
        let signature = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        signature
    };
    let public = std::fs::read_to_string(format!("{key}.pub")).unwrap();
    let trusted = trusting(&format!("crm {public}"));
    let id = trusted
        .verify("crm", MESSAGE, &sign("lifeboat"), now())
        .unwrap();
    let signer = Signer::from_openssh(&secret_of(&key)).unwrap();
    assert_eq!(id, signer.id());
    // The id is what ssh-keygen -l shows.
    let listed = Transport::Local
        .output(&Command::new("ssh-keygen").args(["-l", "-f", &key]))
        .unwrap();
    assert!(
        String::from_utf8(listed.stdout)
            .unwrap()
            .contains(id.as_str())
    );
    let error = refused(&trusted, MESSAGE, &sign("file"));
    assert!(error.message.contains("\"file\""), "{error}");
}

#[test]
fn a_generated_key_is_read_by_ssh_keygen_and_by_us() {
    let directory = tempfile::tempdir().unwrap();
    let signer = Signer::from_random(&Zeroizing::new([7; 32]));
    let path = write(directory.path(), "key", &signer.to_openssh().unwrap());
    let shown = Transport::Local
        .output(&Command::new("ssh-keygen").args(["-y", "-f", &path]))
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.trim(), signer.public_openssh());
    let again = Signer::from_openssh(&secret_of(&path)).unwrap();
    assert_eq!(again.sign(MESSAGE).unwrap(), signer.sign(MESSAGE).unwrap());
    assert_ne!(signer.id(), Signer::generate().unwrap().id());
    assert!(!format!("{signer:?}").contains("PRIVATE"));
}

#[test]
fn keys_that_cannot_sign_are_refused_clearly() {
    let directory = tempfile::tempdir().unwrap();
    let locked = make_key(directory.path(), "ed25519", "secret");
    let error = Signer::from_openssh(&secret_of(&locked)).unwrap_err();
    assert!(error.message.contains("passphrase"), "{error}");
    let rsa = make_key(directory.path(), "rsa", "");
    let error = Signer::from_openssh(&secret_of(&rsa)).unwrap_err();
    assert!(error.message.contains("ssh-rsa"), "{error}");
    let error = Signer::from_openssh(&Secret::new(b"hunter2".to_vec())).unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"), "{error}");
}

#[test]
fn every_refusal_says_which_it_is() {
    let signer = signer();
    let signature = signer.sign(MESSAGE).unwrap();
    let trusted = trusting(&signer.public().line_for("crm"));
    assert_eq!(
        trusted.verify("crm", MESSAGE, &signature, now()).unwrap(),
        signer.id()
    );
    assert!(
        refused(&trusted, MESSAGE, "nonsense")
            .message
            .contains("malformed")
    );
    assert!(refused(&trusted, MESSAGE, "").message.contains("malformed"));
    assert!(
        refused(&trusted, b"changed", &signature)
            .message
            .contains("does not match")
    );
    let nobody = TrustedSigners::default();
    let error = refused(&nobody, MESSAGE, &signature);
    assert!(error.message.contains(signer.id().as_str()), "{error}");
    // The line in the hint is the one to add.
    let hint = error.hint.unwrap();
    let line = hint.split("trusted_signers: ").nth(1).unwrap();
    let line = line.split("; or, for this run").next().unwrap();
    assert!(
        trusting(line)
            .verify("crm", MESSAGE, &signature, now())
            .is_ok()
    );
    let mut own = TrustedSigners::default();
    own.add(&signer.public());
    assert!(own.verify("anything", MESSAGE, &signature, now()).is_ok());
    assert_eq!(own.lines_for("crm"), [signer.public().line_for("crm")]);
    assert_eq!(own.ids(), [signer.id()]);
}

#[test]
fn no_byte_of_a_signature_can_be_changed_unnoticed() {
    let signer = signer();
    let signature = signer.sign(MESSAGE).unwrap();
    let mut trusted = TrustedSigners::default();
    trusted.add(&signer.public());
    let lines = signature.match_indices('\n').map(|(at, _)| at);
    let ends: Vec<usize> = lines.collect();
    for at in (ends[0] + 1)..ends[ends.len() - 2] {
        let mut changed = signature.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(
            trusted.verify("crm", MESSAGE, &changed, now()).is_err(),
            "{at}"
        );
    }
}

#[test]
fn allowed_signers_mean_what_they_mean_to_ssh_keygen() {
    let directory = tempfile::tempdir().unwrap();
    let signer = signer();
    let key = signer.public_openssh();
    let sig = write(directory.path(), "m.sig", &signer.sign(MESSAGE).unwrap());
    let cases = [
        ("crm", ""),
        ("*", ""),
        ("c?m", ""),
        ("ops,crm", ""),
        ("ops,cr*,x", ""),
        ("\"ops,crm\"", ""),
        ("*,!crm", ""),
        ("!crm,*", ""),
        ("ops", ""),
        ("CRM", ""),
        ("crm", "namespaces=\"lifeboat\""),
        ("crm", "namespaces=\"file,life*\""),
        ("crm", "NameSpaces=\"lifeboat\""),
        ("crm", "namespaces=\"file\""),
        ("crm", "namespaces=\"*,!lifeboat\""),
        ("crm", "valid-after=\"20260101Z\""),
        ("crm", "valid-after=\"20270101Z\""),
        ("crm", "valid-before=\"20270101Z\""),
        ("crm", "valid-before=\"202611200559Z\""),
        ("crm", "valid-before=\"20261120060000Z\""),
        (
            "crm",
            "valid-after=\"20261120060000Z\",valid-before=\"20261120060001Z\"",
        ),
        (
            "crm",
            "namespaces=\"lifeboat\",valid-after=\"20261120060001Z\"",
        ),
    ];
    let mut accepted = 0;
    for (index, (principals, options)) in cases.into_iter().enumerate() {
        let text = format!("# a comment\n\n{principals} {options} {key} somebody@here\n");
        let allowed = write(directory.path(), &format!("a{index}"), &text);
        let args = [
            "-Y",
            "verify",
            "-f",
            &allowed,
            "-I",
            "crm",
            "-n",
            "lifeboat",
            "-s",
            &sig,
            "-Overify-time=20261120060000Z",
        ];
        let (theirs, said) = keygen(&args, MESSAGE);
        let signature = std::fs::read_to_string(&sig).unwrap();
        let ours = trusting(&text).verify("crm", MESSAGE, &signature, now());
        assert_eq!(ours.is_ok(), theirs, "{text}: {ours:?} {said}");
        accepted += u32::from(theirs);
    }
    assert_eq!(accepted, 13);
}

#[test]
fn lines_that_are_not_understood_refuse_the_file() {
    let key = signer().public_openssh();
    for (line, says) in [
        (format!("crm cert-authority {key}"), "certificate authority"),
        (
            format!("crm cert-authority,namespaces=\"x\" {key}"),
            "certificate authority",
        ),
        (format!("crm restrict {key}"), "restrict"),
        (format!("crm namespaces=lifeboat {key}"), "without quotes"),
        (format!("crm namespaces=\"lifeboat {key}"), "unclosed quote"),
        (
            format!("crm namespaces=\"a\",namespaces=\"b\" {key}"),
            "twice",
        ),
        (format!("crm valid-after=\"2026\" {key}"), "YYYYMMDD"),
        (format!("crm valid-after=\"20261399Z\" {key}"), "YYYYMMDD"),
        (
            format!("crm valid-after=\"20260101\",valid-before=\"20260101\" {key}"),
            "never valid",
        ),
        ("crm ssh-ed25519 AAAA".to_owned(), "no valid key"),
        ("crm".to_owned(), "no valid key"),
    ] {
        let error = TrustedSigners::parse(&format!("# one\n{line}\n")).unwrap_err();
        assert_eq!(error.code, Code::Configuration, "{line}");
        assert!(error.message.starts_with("line 2 "), "{error}");
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn ids_make_key_components() {
    for _ in 0..50 {
        let component = Signer::generate().unwrap().id().key_component();
        lifeboat_store::check_key(&component).unwrap();
        assert!(!component.contains(['/', '+', ':']), "{component}");
    }
}
