//! The way to a source on another host, or in a container.

use crate::secret::Resolvable;
use std::fmt;
use std::path::PathBuf;

/// The way to a source that is not on this host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Via {
    /// Another host, with the system's `ssh`.
    Ssh {
        /// The user to log in as; `ssh` decides if absent.
        user: Option<String>,
        /// Host name, address or alias of the `ssh` configuration.
        host: String,
        /// TCP port; `ssh` decides if absent.
        port: Option<u16>,
    },
    /// A running container, with `docker exec`.
    Docker {
        /// Its name or id.
        container: String,
    },
    /// A running pod, with `kubectl exec`.
    Kubectl {
        /// Its namespace.
        namespace: String,
        /// Its name.
        pod: String,
        /// One of its containers; `kubectl` decides if absent.
        container: Option<String>,
    },
}

/// Settings of an SSH login; the user's own `ssh` configuration supplies those that are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Login {
    /// Private key in OpenSSH or PEM format; handed to an agent of Lifeboat's own, never to a file.
    pub key: Option<Resolvable>,
    /// Passphrase of the private key.
    pub passphrase: Option<Resolvable>,
    /// Absolute path of a `known_hosts` file that alone lists the trusted host keys.
    pub known_hosts: Option<PathBuf>,
    /// Absolute path of an `ssh_config` file, instead of the user's own.
    pub config: Option<PathBuf>,
    /// Seconds of silence after which the other host is asked if it is still there; after three
    /// questions without an answer the connection is given up. The default is 15.
    pub ask_after_seconds: Option<u32>,
    /// A copy of that host, which is reached instead.
    pub instead: Option<Copy>,
}

/// A copy of a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Copy {
    /// Where it answers.
    pub address: String,
    /// The host keys that it may show, as `ssh-ed25519 AAAA…`; those of the host itself if there are none.
    pub host_keys: Vec<String>,
}

/// The forms of `via`, for errors.
const FORMS: &str =
    "write ssh:USER@HOST, ssh:USER@HOST:PORT, docker:CONTAINER or kubectl:NAMESPACE/POD";

/// Returns true if a text has only letters, digits and characters of `beside`, and no leading `-`,
/// which a client would take for an option.
pub(crate) fn is_name(text: &str, beside: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || beside.contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
}

impl std::str::FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("this is no way to a source: {why}; {FORMS}");
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| wrong("it has no colon"))?;
        match scheme {
            "ssh" => parse_ssh(rest).map_err(|why| wrong(&why)),
            "docker" if is_name(rest, "_.-") => Ok(Via::Docker {
                container: rest.to_owned(),
            }),
            "docker" => Err(wrong("it names no container")),
            "kubectl" => {
                let mut parts = rest.split('/').map(str::to_owned);
                let (namespace, pod, container) = (parts.next(), parts.next(), parts.next());
                let names = [&namespace, &pod, &container];
                let fit = names.into_iter().flatten().all(|name| is_name(name, ".-"));
                match (namespace, pod, parts.next()) {
                    (Some(namespace), Some(pod), None) if fit => Ok(Via::Kubectl {
                        namespace,
                        pod,
                        container,
                    }),
                    _ => Err(wrong("it names no namespace and pod")),
                }
            }
            _ => Err(wrong(&format!("{scheme:?} is none that is known"))),
        }
    }
}

fn parse_ssh(text: &str) -> Result<Via, String> {
    let (user, place) = match text.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, text),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err("a password is not supported, use a key".into());
    }
    if user.is_some_and(|user| !is_name(user, "_.-\\@+$")) {
        return Err("the user is no name".into());
    }
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest
                .split_once(']')
                .ok_or("an IPv6 address has no closing bracket")?;
            (address, after.strip_prefix(':'))
        }
        None if place.matches(':').count() > 1 => {
            return Err("an IPv6 address stands in brackets".into());
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if !is_name(host, "_.-:%") {
        return Err("it names no host".into());
    }
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port @ 1..)) => Some(port),
        Some(_) => return Err("the port is no number from 1 to 65535".into()),
    };
    Ok(Via::Ssh {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
    })
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Via::Ssh { user, host, port } => {
                f.write_str("ssh:")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                match (host.contains(':'), port) {
                    (true, _) => write!(f, "[{host}]")?,
                    (false, _) => f.write_str(host)?,
                }
                match port {
                    Some(port) => write!(f, ":{port}"),
                    None => Ok(()),
                }
            }
            Via::Docker { container } => write!(f, "docker:{container}"),
            Via::Kubectl {
                namespace,
                pod,
                container,
            } => {
                write!(f, "kubectl:{namespace}/{pod}")?;
                match container {
                    Some(container) => write!(f, "/{container}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_alike() {
        for text in [
            "ssh:admin@db.example.org",
            "ssh:admin@db.example.org:2222",
            "ssh:alias",
            "ssh:root@[fe80::1%eth0]:22",
            "ssh:root@[::1]",
            "docker:shop_db.1",
            "kubectl:shop/db-0",
            "kubectl:shop/db-0/postgres",
        ] {
            assert_eq!(text.parse::<Via>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_invalid_via_or_one_that_could_be_an_option_is_refused() {
        for text in [
            "",
            "db.example.org",
            "ssh:",
            "ssh:-oProxyCommand=x",
            "ssh:-l@host",
            "ssh:a b@host",
            "ssh:user:word@host",
            "ssh:user@host:0",
            "ssh:user@host:70000",
            "ssh:user@::1",
            "ssh:user@[::1",
            "ssh:user@host;reboot",
            "docker:",
            "docker:--privileged",
            "docker:a/b",
            "kubectl:pod",
            "kubectl:a/",
            "kubectl:a/b/c/d",
            "kubectl:a/-b",
            "telnet:host",
        ] {
            let error = text.parse::<Via>().unwrap_err();
            assert!(error.contains("ssh:USER@HOST"), "{text:?}: {error}");
        }
    }
}
