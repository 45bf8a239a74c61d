//! Errors of `ssh`, converted into errors that say what to do.
//!
//! They are recognised by OpenSSH's English words; unknown output is passed on unchanged.

use super::Host;
use crate::error::{Code, Error, Fact};
use ssh_key::{HashAlg, PublicKey};

/// The error for a connection that was not made.
pub(super) fn not_connected(host: &Host, said: &str) -> Error {
    refused(host, said).unwrap_or_else(|| {
        Error::new(
            Code::SourceUnreachable,
            format!("{} cannot be reached over SSH", host.display()),
        )
        .cause(spoken(said))
        .hint(by_hand(host))
    })
}

/// The error for a connection that was refused, if the output shows it.
pub(super) fn refused(host: &Host, said: &str) -> Option<Error> {
    let place = host.display();
    let has = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    if has(&["HOST IDENTIFICATION HAS CHANGED", "host key has changed"]) {
        return Some(changed(host, said).about(Fact::HostKey));
    }
    if has(&["REVOKED HOST KEY"]) {
        return Some(
            error(
                Code::SourceUnreachable,
                format!("the host key of {place} is marked as revoked"),
                said,
                "somebody else may answer there: do not go on; ask its administrator".into(),
            )
            .about(Fact::HostKey),
        );
    }
    if has(&["host key is known for", "Host key verification failed"]) {
        return Some(unknown(host, said).about(Fact::HostKey));
    }
    let told = |code, message: &str, hint: &str| {
        Some(error(code, format!("{place} {message}"), said, hint.into()))
    };
    if has(&[
        "Bad configuration option",
        "Can't open user config file",
        "Bad owner or permissions",
        "terminating, ",
    ]) {
        return told(
            Code::Configuration,
            "cannot be reached: the ssh configuration is wrong",
            "correct the ssh configuration that the cause names, or give another one: ssh = { config = \"/PATH\" }",
        );
    }
    if has(&["Permission denied (", "Too many authentication failures"]) {
        let hint = match &host.config.key {
            Some(reference) => format!(
                "let the public half of {reference} log in: add it to ~/.ssh/authorized_keys of that user there (ssh-keygen -y -f KEYFILE prints it)"
            ),
            None => format!(
                "name the key that may log in, ssh = {{ key = \"file:PATH\" }}, or set it up for the user that runs lifeboat; {}",
                by_hand(host)
            ),
        };
        return Some(error(
            Code::SourceDenied,
            format!("{place} refused the login"),
            said,
            hint,
        ));
    }
    if has(&["Could not resolve hostname"]) {
        return told(
            Code::SourceUnreachable,
            "cannot be reached: its name is not known",
            "correct the host's name in the configuration, or the name service of this host",
        );
    }
    if has(&["Connection refused"]) {
        return told(
            Code::SourceUnreachable,
            "cannot be reached: nothing listens on that port",
            "check that sshd runs there, and the port in the configuration",
        );
    }
    if has(&[
        "timed out",
        "No route to host",
        "Network is unreachable",
        "not responding",
    ]) {
        return told(
            Code::SourceUnreachable,
            "cannot be reached: it does not answer",
            "check that the host runs, and the network and firewalls between; then run again",
        );
    }
    None
}

fn error(code: Code, message: String, said: &str, hint: String) -> Error {
    Error::new(code, message).cause(spoken(said)).hint(hint)
}

/// The output without progress messages, frames of warnings, and line ends.
fn spoken(said: &str) -> String {
    let work = |line: &&str| {
        !line.starts_with("debug")
            && !line.starts_with("OpenSSH_")
            && !line.starts_with("@@@@")
            && !line.trim().is_empty()
    };
    let lines: Vec<&str> = said.lines().map(str::trim_end).filter(work).collect();
    lines.join("\n")
}

fn by_hand(host: &Host) -> String {
    let mut words = String::from("try it by hand, as the user that runs lifeboat: ssh");
    if let Some(config) = &host.config.config {
        words.push_str(&format!(" -F {}", config.display()));
    }
    if let Some(port) = host.port {
        words.push_str(&format!(" -p {port}"));
    }
    let user = host.user.as_ref().map(|user| format!("{user}@"));
    format!("{words} {}{} true", user.unwrap_or_default(), host.name)
}

/// The text between two others.
fn between<'a>(said: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = said.split_once(before)?;
    let (found, _) = rest.split_once(after)?;
    Some(found.trim())
}

/// The type and fingerprint of the key that the server showed: `ssh-ed25519`, `SHA256:…`.
fn shown(said: &str) -> Option<(&str, &str)> {
    between(said, "Server host key: ", "\n")?.split_once(' ')
}

/// The file of trusted host keys.
fn known_hosts(host: &Host) -> String {
    match &host.config.known_hosts {
        Some(file) => file.display().to_string(),
        None => "~/.ssh/known_hosts".into(),
    }
}

/// The real address of the server, if the configuration gave it an alias: name or address, and
/// port.
fn address(host: &Host, said: &str) -> (String, String) {
    let told = between(said, "Connecting to ", ".\n").and_then(|text| {
        let (name, rest) = text.split_once(" [")?;
        let (_, port) = rest.split_once("] port ")?;
        Some((name.to_owned(), port.to_owned()))
    });
    let port = host.port.unwrap_or(22).to_string();
    told.unwrap_or_else(|| (host.name.clone(), port))
}

fn unknown(host: &Host, said: &str) -> Error {
    let place = host.display();
    let (name, port) = address(host, said);
    let message = match shown(said) {
        Some((kind, print)) => {
            format!("the host key of {place} is not known: it shows {kind} {print}")
        }
        None => format!("the host key of {place} is not known"),
    };
    let kind = shown(said).map_or("ed25519", |(kind, _)| kind);
    let kind = kind.trim_start_matches("ssh-");
    let kind = if kind.starts_with("ecdsa") {
        "ecdsa"
    } else {
        kind
    };
    error(
        Code::SourceUnreachable,
        message,
        said,
        format!(
            "compare that with what the host itself says (there: ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub); if it is the same: ssh-keyscan -t {kind} -p {port} {name} >> {}",
            known_hosts(host)
        ),
    )
}

fn changed(host: &Host, said: &str) -> Error {
    let place = host.display();
    let now = between(said, "sent by the remote host is", ".\n")
        .or_else(|| shown(said).map(|(_, print)| print))
        .unwrap_or("another one");
    // `Offending ED25519 key in FILE:LINE`
    let known = between(said, "Offending ", "\n")
        .and_then(|text| text.split_once(" key in "))
        .and_then(|(_, place)| place.rsplit_once(':'));
    let (file, before) = match known {
        Some((file, line)) => (file.to_owned(), noted(file, line)),
        None => (known_hosts(host), None),
    };
    let before = match before {
        Some(print) => format!("{file} has {print}"),
        None => format!("{file} has another one"),
    };
    let (name, port) = address(host, said);
    let entry = match port.as_str() {
        "22" => name.clone(),
        _ => format!("[{name}]:{port}"),
    };
    error(
        Code::SourceUnreachable,
        format!("the host key of {place} has changed: it shows {now}, {before}"),
        said,
        format!(
            "somebody else may answer there; ask its administrator whether the key was changed; only then: ssh-keygen -R '{entry}' -f {file} && ssh-keyscan -p {port} {name} >> {file}"
        ),
    )
}

/// The fingerprint of a line of a `known_hosts` file.
fn noted(file: &str, line: &str) -> Option<String> {
    let number: usize = line.trim().parse().ok()?;
    let text = crate::plain::read_to_string(file).ok()?;
    let line = text.lines().nth(number.checked_sub(1)?)?;
    let fields: Vec<&str> = line.split_whitespace().collect();
    let pair = fields
        .windows(2)
        .find_map(|pair| PublicKey::from_openssh(&pair.join(" ")).ok())?;
    Some(pair.fingerprint(HashAlg::Sha256).to_string())
}
