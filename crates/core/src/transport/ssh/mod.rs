//! Another host, reached with the system's `ssh`, so that agents, jump hosts and aliases of the
//! user's own configuration work.
//!
//! Guarantees: a host key is always checked, whatever the configuration says, and none is ever
//! added. Nobody is asked anything. A dead connection ends in an error within a minute. One
//! connection is shared by everything on a host, and ends with this process, however that ends. A
//! key that was given as a reference is held by an agent of our own and never by a file.

mod key;
mod known;
mod refusal;
mod session;

pub use known::with_keys;

use super::{Command, Login, Transport};
use crate::error::{Error, Result};
use session::Session;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Options that are set on every connection and override any configuration: the first value wins.
const OPTIONS: &[&str] = &[
    // Host keys are known or refused, and never recorded.
    "StrictHostKeyChecking=yes",
    "NoHostAuthenticationForLocalhost=no",
    "VerifyHostKeyDNS=no",
    "UpdateHostKeys=no",
    // Nobody is there to answer, and nothing waits for ever.
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ServerAliveCountMax=3",
    // A pipe and nothing else.
    "RequestTTY=no",
    "RemoteCommand=none",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "Tunnel=no",
    "EscapeChar=none",
    "ControlPersist=no",
];

/// Ends a dead connection within a minute: the host is asked three times.
const ASK_AFTER_SECONDS: u32 = 15;

/// A host, and how to log in there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    user: Option<String>,
    name: String,
    port: Option<u16>,
    config: Login,
}

impl Host {
    /// A host; nothing is contacted yet. Neither name may begin with `-`.
    pub fn new(user: Option<&str>, name: &str, port: Option<u16>, config: Option<Login>) -> Self {
        Host {
            user: user.map(str::to_owned),
            name: name.to_owned(),
            port,
            config: config.unwrap_or_default(),
        }
    }

    /// The host, for messages: `user@host:port`.
    pub fn display(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@"));
        let port = self.port.map(|port| format!(":{port}"));
        format!(
            "{}{}{}",
            user.unwrap_or_default(),
            self.name,
            port.unwrap_or_default()
        )
    }

    /// Connects, unless there is a connection. Returns the arguments for an `ssh` that uses it, up
    /// to and including the host; a command for the shell there may follow.
    pub fn connect(&self) -> Result<Vec<OsString>> {
        let slot = slot(self);
        let mut session = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if session.as_ref().is_none_or(|session| !session.is_alive()) {
            *session = None;
            *session = Some(Session::open(self)?);
        }
        let mut words = vec!["-T".into()];
        if let Some(session) = session.as_ref() {
            words.extend(session.words());
        }
        words.extend(options(&["ControlMaster=no", "LogLevel=ERROR"]));
        words.extend(self.words());
        words.extend(self.destination());
        Ok(words)
    }

    /// The reason why a command there has no exit status: the connection broke, or was never made.
    pub(crate) fn refused(&self, said: &str) -> Option<Error> {
        refusal::refused(self, said)
    }

    /// The options of every connection.
    fn words(&self) -> Vec<OsString> {
        let mut words = options(OPTIONS);
        let silent = self.config.ask_after_seconds.unwrap_or(ASK_AFTER_SECONDS);
        words.extend(options(&[&format!("ServerAliveInterval={silent}")]));
        if let Some(config) = &self.config.config {
            words.extend(["-F".into(), config.clone().into_os_string()]);
        }
        if let Some(file) = &self.config.known_hosts {
            words.extend(options(&[
                "GlobalKnownHostsFile=/dev/null",
                "KnownHostsCommand=none",
            ]));
            words.push("-o".into());
            words.push(path_option("UserKnownHostsFile", file));
        }
        words
    }

    /// The options that lead to a copy of the host, and the name under which its host keys are known. Without
    /// keys of its own it must show one of those that the host itself is known by.
    fn instead(&self) -> Result<Option<(Vec<OsString>, String)>> {
        let Some(copy) = &self.config.instead else {
            return Ok(None);
        };
        let name = self.known_as()?;
        let words = options(&[
            &format!("HostName={}", copy.address),
            &format!("HostKeyAlias={name}"),
            "CheckHostIP=no",
        ]);
        Ok(Some((words, name)))
    }

    /// The name under which its host keys are known: `db.example.org`, `[db.example.org]:2222`.
    pub(super) fn known_as(&self) -> Result<String> {
        let mut words = vec!["-G".into()];
        words.extend(self.words());
        words.extend(self.destination());
        let output = Transport::Local.output(&Command::new("ssh").args(words))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let told = |key: &str| {
            let mut lines = said.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        };
        let name = told("hostname").unwrap_or(&self.name);
        Ok(match (told("hostkeyalias"), told("port")) {
            (Some(alias), _) => alias.to_owned(),
            (None, None | Some("22")) => name.to_owned(),
            (None, Some(port)) => format!("[{name}]:{port}"),
        })
    }

    fn destination(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(user) = &self.user {
            words.extend(["-l".into(), user.into()]);
        }
        if let Some(port) = self.port {
            words.extend(["-p".into(), port.to_string().into()]);
        }
        words.extend(["--".into(), OsString::from(&self.name)]);
        words
    }
}

fn options(list: &[&str]) -> Vec<OsString> {
    let each = list.iter().flat_map(|option| ["-o", *option]);
    each.map(OsString::from).collect()
}

/// Formats `NAME="path"` as a line of `ssh_config`: white space is kept, and `%` stands for itself.
fn path_option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(format!("{name}=\""));
    let text = path.to_string_lossy();
    option.push(OsStr::new(&text.replace('%', "%%")));
    option.push("\"");
    option
}

type Slot = Arc<Mutex<Option<Session>>>;

/// The session of each host that was connected to. Connecting to one does not hold up the others.
static SESSIONS: Mutex<Vec<(Host, Slot)>> = Mutex::new(Vec::new());
/// Number of [`Sessions`] values that exist.
static HOLDERS: AtomicUsize = AtomicUsize::new(0);

fn slot(host: &Host) -> Slot {
    let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, slot)) = sessions.iter().find(|(known, _)| known == host) {
        return Arc::clone(slot);
    }
    let slot = Slot::default();
    sessions.push((host.clone(), Arc::clone(&slot)));
    slot
}

/// Closes all connections, so that the next command finds out anew where a name leads.
pub fn reconnect() {
    let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = std::mem::take(&mut *sessions);
    drop(sessions);
    for (_, slot) in ended {
        slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Keeps connections open for the next command while it exists. Dropping the last one closes them.
#[derive(Debug)]
pub struct Sessions(());

impl Sessions {
    /// Keeps connections from now on.
    pub fn hold() -> Self {
        HOLDERS.fetch_add(1, Ordering::SeqCst);
        Sessions(())
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        if HOLDERS.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        reconnect();
    }
}

#[cfg(test)]
mod tests;
