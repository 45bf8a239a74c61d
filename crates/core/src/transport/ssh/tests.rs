//! Tests that need no server. For those against a real one, see `crates/core/tests/ssh`.

use super::*;

fn host(config: Login) -> Host {
    Host::new(Some("admin"), "db.example.org", Some(2222), Some(config))
}

#[test]
fn paths_with_white_space_and_percent_signs_stay_whole() {
    let option = path_option("UserKnownHostsFile", Path::new("/a b/%h"));
    assert_eq!(option, "UserKnownHostsFile=\"/a b/%%h\"");
}

#[test]
fn nothing_of_a_configuration_comes_before_what_is_always_set() {
    let config = Login {
        config: Some("/etc/other".into()),
        ..Login::default()
    };
    let words = host(config).words();
    let at = |word: &str| words.iter().position(|w| w == word).unwrap();
    assert!(at("StrictHostKeyChecking=yes") < at("-F"));
    // A dead connection ends after a minute: 15 seconds of silence, and three questions.
    assert!(at("ServerAliveInterval=15") < at("-F"));
    assert!(at("ServerAliveCountMax=3") < at("-F"));
}

#[test]
fn what_ssh_says_becomes_an_error_with_a_remedy() {
    use crate::error::Code;
    let host = host(Login::default());
    for (said, code, message, hint) in [
        (
            "debug1: Connecting to db.example.org [10.0.0.1] port 2222.\ndebug1: Server host key: ssh-ed25519 SHA256:abc\nNo ED25519 host key is known for [db.example.org]:2222 and you have requested strict checking.\nHost key verification failed.",
            Code::SourceUnreachable,
            "is not known: it shows ssh-ed25519 SHA256:abc",
            "ssh-keyscan -t ed25519 -p 2222 db.example.org >> ~/.ssh/known_hosts",
        ),
        (
            "admin@db.example.org: Permission denied (publickey).",
            Code::SourceDenied,
            "refused the login",
            "ssh -p 2222 admin@db.example.org true",
        ),
        (
            "ssh: Could not resolve hostname db.example.org: Name or service not known",
            Code::SourceUnreachable,
            "its name is not known",
            "name service",
        ),
        (
            "ssh: connect to host db.example.org port 2222: Connection timed out",
            Code::SourceUnreachable,
            "does not answer",
            "firewalls",
        ),
        (
            "/x/config: line 1: Bad configuration option: hots\n/x/config: terminating, 1 bad configuration options",
            Code::Configuration,
            "the ssh configuration is wrong",
            "correct the ssh configuration",
        ),
        (
            "something new",
            Code::SourceUnreachable,
            "cannot be reached over SSH",
            "by hand",
        ),
    ] {
        let error = refusal::not_connected(&host, said);
        assert_eq!(error.code, code, "{said}");
        assert!(error.message.contains(message), "{error:?}");
        assert!(error.hint.as_deref().unwrap().contains(hint), "{error:?}");
        assert!(!error.cause.unwrap_or_default().contains("debug1"));
    }
}
