//! One connection to a host, shared by everything that runs there, and the agent that holds its
//! key.

use super::{Host, key, options, path_option, refusal};
use crate::cancel;
use crate::error::{Code, Error, Result};
use crate::scratch::Directory;
use crate::secret::{Resolvable, Secret};
use crate::transport::keep::Kept;
use crate::transport::{Command, Transport};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a login may take, with jump hosts and slow name services; the limits of `ssh` itself
/// are shorter.
const LOGIN: Duration = Duration::from_secs(60);
/// How long the agent may take until it listens.
const AGENT: Duration = Duration::from_secs(20);
/// Limit for the directory of a control socket: its path may have 107 bytes, and while it is made
/// it has 17 more.
const DIRECTORY_BYTES_MAX: usize = 80;
/// The line that the connection prints here once it is made.
const READY: &str = "lifeboat-connected";

/// Starts an agent that ends with us. The agent is installed with a group of its own, for which the
/// kernel drops the request to kill it with its parent; so a shell that sees the end of its input
/// ends it.
const AGENT_SCRIPT: &str = "exec 3<&0; ssh-agent -D -a \"$1\" </dev/null 3<&- & p=$!; \
    (IFS= read -r x <&3; kill \"$p\") >/dev/null 2>&1 & exec 3<&-; wait \"$p\"";

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    // Dropped in this order.
    master: Kept,
    agent: Option<Kept>,
    directory: Directory,
    /// The options that lead to a copy of the host, if it is one.
    instead: Vec<OsString>,
}

impl Session {
    /// Connects to a host.
    pub(super) fn open(host: &Host) -> Result<Self> {
        cancel::check()?;
        let mut base = std::env::temp_dir();
        if base.as_os_str().len() > DIRECTORY_BYTES_MAX - 40 {
            base = "/tmp".into();
        }
        let directory = Directory::create(&base, "ssh")?;
        let agent = match &host.config.key {
            None => None,
            Some(key) => {
                let passphrase = host.config.passphrase.as_ref();
                let passphrase = passphrase.map(Resolvable::open).transpose()?;
                let key = key::opened(&key.open()?, passphrase.as_ref(), key, host)?;
                Some(start_agent(&directory, &key, host)?)
            }
        };
        let mut words = shared(directory.path(), agent.is_some());
        words.extend(options(&[
            "ControlMaster=yes",
            "LogLevel=DEBUG1",
            "PermitLocalCommand=yes",
        ]));
        words.extend(["-o".into(), format!("LocalCommand=echo {READY}").into()]);
        let mut instead = Vec::new();
        if let Some((lead, name)) = host.instead()? {
            words.extend(trust_copy(&directory, host, &name)?);
            words.extend(lead.clone());
            instead = lead;
        }
        words.extend(host.words());
        words.extend(["-N".into(), "-T".into()]);
        words.extend(host.destination());
        let command = unattended(Command::new("ssh").args(words)).own_group();
        let master = match Kept::start(command, READY, LOGIN)? {
            Ok(master) => master,
            Err(Some(said)) => return Err(refusal::not_connected(host, &said)),
            Err(None) => return Err(refusal::not_connected(host, "the login timed out")),
        };
        Ok(Session {
            master,
            agent,
            directory,
            instead,
        })
    }

    pub(super) fn is_alive(&self) -> bool {
        self.master.is_alive()
    }

    /// The options that make another `ssh` use this connection.
    pub(super) fn words(&self) -> Vec<OsString> {
        let mut words = shared(self.directory.path(), self.agent.is_some());
        words.extend(self.instead.clone());
        words
    }
}

/// The options that trust the host keys of a copy of the host, and no others, if it has its own.
fn trust_copy(directory: &Directory, host: &Host, name: &str) -> Result<Vec<OsString>> {
    let copy = host.config.instead.as_ref();
    let keys = copy
        .map(|copy| copy.host_keys.as_slice())
        .unwrap_or_default();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let lines: String = keys.iter().map(|key| format!("{name} {key}\n")).collect();
    let path = directory.path().join("known_hosts");
    // In a private directory, and gone with the connection.
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    file.and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(|error| Error::io("host keys cannot be passed to ssh", &error))?;
    let mut words = options(&["GlobalKnownHostsFile=/dev/null", "KnownHostsCommand=none"]);
    words.push("-o".into());
    words.push(path_option("UserKnownHostsFile", &path));
    Ok(words)
}

/// Keeps `ssh` and its helpers from asking anybody, including those that it starts for jump hosts.
fn unattended(command: Command) -> Command {
    let command = command.env("SSH_ASKPASS", "/bin/false");
    command.env("SSH_ASKPASS_REQUIRE", "force").cleanup()
}

fn shared(directory: &Path, agent: bool) -> Vec<OsString> {
    let mut words = vec!["-S".into(), directory.join("m").into_os_string()];
    if agent {
        words.push("-o".into());
        words.push(path_option("IdentityAgent", &agent_socket(directory)));
        words.extend(options(&["IdentitiesOnly=no", "PubkeyAuthentication=yes"]));
    }
    words
}

fn agent_socket(directory: &Path) -> PathBuf {
    directory.join("a")
}

/// Starts an agent of our own that holds this key and no other.
fn start_agent(directory: &Directory, key: &Secret, host: &Host) -> Result<Kept> {
    let socket = agent_socket(directory.path());
    let command = Command::new("sh")
        .args(["-c", AGENT_SCRIPT, "agent"])
        .arg(&socket)
        .stdin_piped();
    let agent = Kept::start(unattended(command), "SSH_AUTH_SOCK", AGENT)?.map_err(|said| {
        Error::new(Code::ToolMissing, "the ssh-agent for a key does not start")
            .cause(said.unwrap_or_default())
            .hint("install it: apt-get install openssh-client")
    })?;
    let add = Command::new("ssh-add")
        .args(["-q", "-"])
        .env("SSH_AUTH_SOCK", &socket)
        .stdin_piped();
    let running = Transport::Local.spawn(&unattended(add))?;
    let (status, said) = running.feed(&mut key.expose())?;
    if !status.success() {
        return Err(key::unusable(host, &said));
    }
    Ok(agent)
}
