//! Logins: keys, passphrases and host keys.

use super::{processes_with, transport, until, with};
use lifeboat_core::config::SshConfig;
use lifeboat_core::secret::Reference;
use lifeboat_core::transport::ssh::Sessions;
use lifeboat_core::transport::{Command, Copy, Transport, Via};
use lifeboat_core::{Code, Error};
use lifeboat_testkit::ssh::SshServer;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

fn file(path: &Path) -> Option<Reference> {
    Some(Reference::File(path.display().to_string()))
}

fn refused(transport: &Transport) -> Error {
    transport.output(&Command::new("true")).unwrap_err()
}

/// Allows only the key of the test to log in: no configuration, agent or default key of the user.
fn with_key(server: &SshServer, key: &Path, passphrase: Option<&Path>) -> SshConfig {
    let empty = server.sftp_root().join("empty");
    std::fs::write(&empty, "").unwrap();
    SshConfig {
        key: file(key),
        passphrase: passphrase.and_then(file),
        known_hosts: Some(server.known_hosts_path()),
        config: Some(empty),
    }
}

#[test]
fn a_key_by_reference_logs_in_and_its_agent_goes() {
    let server = SshServer::start();
    let word = server.sftp_root().join("word");
    std::fs::write(&word, "open sesame\n").unwrap();
    for (kind, passphrase) in [
        ("ed25519", "open sesame"),
        ("ecdsa", "open sesame"),
        ("rsa", "open sesame"),
        ("ed25519", ""),
    ] {
        let sessions = Sessions::hold();
        let name = format!("by-{kind}-{}", passphrase.len());
        let key = server.user_key(&name, kind, passphrase);
        let word = Some(word.as_path()).filter(|_| !passphrase.is_empty());
        let ssh = with(&server, &with_key(&server, &key.path, word));
        let output = ssh.output(&Command::new("echo").arg("here")).unwrap();
        assert_eq!(output.stdout, b"here\n", "{kind}");
        let agents = processes_with("ssh-agent -D -a");
        assert!(!agents.is_empty(), "no agent holds the key");
        drop(sessions);
        until("the agent ends", || {
            agents.iter().all(|agent| processes_with(agent).is_empty())
        });
    }
}

#[test]
fn an_older_key_works_without_a_passphrase_and_is_explained_with_one() {
    let server = SshServer::start();
    let _sessions = Sessions::hold();
    let key = server.user_key("old", "rsa", "");
    let convert = |passphrase: &str| {
        let done = std::process::Command::new("ssh-keygen")
            .args(["-q", "-p", "-m", "PEM", "-P", "", "-N", passphrase, "-f"])
            .arg(&key.path)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    convert("");
    let ssh = with(&server, &with_key(&server, &key.path, None));
    assert!(ssh.output(&Command::new("true")).unwrap().status.success());
    convert("sesame");
    let word = server.sftp_root().join("word");
    std::fs::write(&word, "sesame").unwrap();
    let error = refused(&with(&server, &with_key(&server, &key.path, Some(&word))));
    assert_eq!(error.code, Code::Secret);
    assert!(error.hint.unwrap().contains("ssh-keygen -p -f"));
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    let server = SshServer::start();
    let key = server.user_key("locked", "ed25519", "sesame");
    let word = server.sftp_root().join("word");
    std::fs::write(&word, "simsim").unwrap();
    let public = key.path.with_extension("pub");
    let damaged = server.sftp_root().join("damaged");
    std::fs::write(&damaged, key.private.replace("AAA", "ABA")).unwrap();
    let stranger = server.stranger_key("stranger", "ed25519", "");
    for (path, word, code, says) in [
        (
            &key.path,
            Some(word.as_path()),
            Code::Secret,
            "does not open",
        ),
        (&key.path, None, Code::Secret, "has a passphrase"),
        (&public, None, Code::Secret, "is no private key"),
        (&damaged, None, Code::Secret, "cannot be used"),
        (
            &stranger.path,
            None,
            Code::SourceDenied,
            "refused the login",
        ),
    ] {
        let error = refused(&with(&server, &with_key(&server, path, word)));
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.message.contains(says), "{error:?}");
        assert!(error.hint.is_some());
        let told = format!("{error:?}");
        assert!(
            !told.contains("simsim") && !told.contains("sesame"),
            "{told}"
        );
    }
}

#[test]
fn host_keys_are_checked_whatever_a_configuration_says() {
    let mut server = SshServer::start();
    let known = server.sftp_root().join("known");
    let config = server.sftp_root().join("weak");
    let weak = format!(
        "StrictHostKeyChecking no\nNoHostAuthenticationForLocalhost yes\nBatchMode no\nUserKnownHostsFile {}\nIdentityFile {}\n",
        known.display(),
        server.identity_path().display()
    );
    std::fs::write(&config, weak).unwrap();
    for known_hosts in [None, Some(known.clone())] {
        let config = SshConfig {
            config: Some(config.clone()),
            known_hosts,
            ..SshConfig::default()
        };
        let error = refused(&with(&server, &config));
        assert_eq!(error.code, Code::SourceUnreachable, "{error:?}");
        assert!(error.message.contains("is not known"), "{error:?}");
        assert!(
            error.message.contains(&server.host_fingerprint()),
            "{error:?}"
        );
        let hint = error.hint.unwrap();
        assert!(hint.contains(&format!(
            "ssh-keyscan -t ed25519 -p {} 127.0.0.1 >>",
            server.port()
        )));
        assert!(!known.exists(), "a host key was noted down");
    }

    let ssh = transport(&server);
    let sessions = Sessions::hold();
    assert!(ssh.output(&Command::new("true")).unwrap().status.success());
    drop(sessions);
    let before = server.host_fingerprint();
    server.rotate_host_key();
    let error = refused(&ssh);
    assert_eq!(error.code, Code::SourceUnreachable, "{error:?}");
    for part in ["has changed", &before, &server.host_fingerprint()] {
        assert!(error.message.contains(part), "{part}: {error:?}");
    }
    let hint = error.hint.unwrap();
    assert!(
        hint.contains(&format!("ssh-keygen -R '[127.0.0.1]:{}'", server.port())),
        "{hint}"
    );
    assert!(
        hint.contains(&server.known_hosts_path().display().to_string()),
        "{hint}"
    );
}

/// The remedy that an error prints works.
#[test]
fn the_remedy_for_an_unknown_host_key_works() {
    let server = SshServer::start();
    let _sessions = Sessions::hold();
    let known = server.sftp_root().join("known");
    let config = SshConfig {
        config: Some(server.config_path()),
        known_hosts: Some(known),
        ..SshConfig::default()
    };
    let ssh = with(&server, &config);
    let hint = refused(&ssh).hint.unwrap();
    let (_, command) = hint.split_once("if it is the same: ").unwrap();
    let done = std::process::Command::new("sh")
        .args(["-c", command])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(ssh.output(&Command::new("true")).unwrap().status.success());
}

#[test]
fn hosts_that_do_not_answer_are_distinguished() {
    let mut server = SshServer::start();
    let config = SshConfig {
        config: Some(server.config_path()),
        ..SshConfig::default()
    };
    let at = |via: &str| {
        let via: Via = via.parse().unwrap();
        refused(&Transport::open(Some(&via), Some(config.login())))
    };
    let unknown = at("ssh:root@host.invalid");
    assert_eq!(unknown.code, Code::SourceUnreachable);
    assert!(
        unknown.message.contains("its name is not known"),
        "{unknown:?}"
    );
    let wrong = SshConfig {
        config: Some("/nowhere/ssh_config".into()),
        ..SshConfig::default()
    };
    assert_eq!(refused(&with(&server, &wrong)).code, Code::Configuration);
    let address = server.address();
    server.stop();
    let down = at(&format!("ssh:{address}"));
    assert_eq!(down.code, Code::SourceUnreachable);
    assert!(down.message.contains("nothing listens"), "{down:?}");
}

/// A login that reaches the server as a copy of a host of another name.
fn copy_of(server: &SshServer, name: &str, lines: &str, host_keys: &[String]) -> Transport {
    // Each a login of its own: connections are shared.
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let known = server.sftp_root().join(format!("known-{number}"));
    std::fs::write(&known, lines).unwrap();
    let config = SshConfig {
        config: Some(server.config_path()),
        known_hosts: Some(known),
        ..SshConfig::default()
    };
    let mut login = config.login();
    login.instead = Some(Copy {
        address: "127.0.0.1".to_owned(),
        host_keys: host_keys.to_vec(),
    });
    let via: Via = format!("ssh:{}@{name}:{}", server.user(), server.port())
        .parse()
        .unwrap();
    Transport::open(Some(&via), Some(login))
}

#[test]
fn a_copy_of_a_host_shows_the_key_of_that_host_or_one_that_is_known_of_the_copy() {
    let server = SshServer::start();
    let _sessions = Sessions::hold();
    let key = server.known_hosts();
    let key = key.split_once(' ').unwrap().1.trim().to_owned();
    let (name, port) = ("helpdesk.invalid", server.port());
    let known = format!("[{name}]:{port} {key}\n");
    let ssh = copy_of(&server, name, &known, &[]);
    assert!(ssh.output(&Command::new("true")).unwrap().status.success());

    // The key of whoever is known at that address is not that of the host.
    let elsewhere = format!("[127.0.0.1]:{port} {key}\n");
    let error = refused(&copy_of(&server, name, &elsewhere, &[]));
    assert!(error.message.contains("is not known"), "{error:?}");

    // A new key is taken if it is known to be that of the copy, and then no other.
    let stranger = SshServer::start();
    let other = stranger.known_hosts();
    let other = other.split_once(' ').unwrap().1.trim().to_owned();
    let known = format!("[{name}]:{port} {other}\n");
    let error = refused(&copy_of(&server, name, &known, &[]));
    assert!(error.message.contains("changed"), "{error:?}");
    let ssh = copy_of(&server, name, &known, std::slice::from_ref(&key));
    assert!(ssh.output(&Command::new("true")).unwrap().status.success());
    let known = format!("[{name}]:{port} {key}\n");
    let error = refused(&copy_of(&server, name, &known, &[other]));
    assert!(error.message.contains("changed"), "{error:?}");
}
