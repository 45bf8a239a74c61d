//! Runs commands on this host, on another host or in a container; the only part of this crate that
//! starts a process.
//!
//! Guarantees: arguments never carry a secret (there is no way to put a [`Secret`] among them).
//! Standard error is read to its end, bounded, and scrubbed. A child never outlives the thread that
//! started it by accident: it is killed on drop, and by the kernel if this process dies. A command
//! elsewhere ends when its connection does, and it is an error if its exit status did not arrive.

mod container;
mod keep;
mod remote;
mod running;
pub mod ssh;
mod via;

pub use running::Running;
pub(crate) use via::is_name;
pub use via::{Copy, Login, Via};

use crate::cancel;
use crate::error::{Code, Error, Fact, Result};
use crate::secret::{Scrubber, Secret};
use crate::thread;
use container::Container;
use remote::Far;
use running::Drain;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

/// Number of bytes that are kept of a child's standard error: one half from its start and one from
/// its end.
const STDERR_BYTES_MAX: usize = 16 << 10;

/// Where a command runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Transport {
    /// On this host.
    #[default]
    Local,
    /// Elsewhere: see [`Transport::open`].
    Remote(Reach),
}

/// The way another place is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Ssh(Box<ssh::Host>),
    Container(Container),
}

impl Reach {
    /// The place, for messages: `user@host`, `container web`, `pod shop/db-0`.
    pub fn place(&self) -> String {
        match &self.0 {
            Kind::Ssh(host) => host.display(),
            Kind::Container(container) => container.place(),
        }
    }

    /// The client that starts a shell there and passes our input to it.
    fn client(&self) -> Result<Command> {
        Ok(match &self.0 {
            Kind::Ssh(host) => Command::new("ssh")
                .args(host.connect()?)
                .arg(format!("exec sh -c '{}'", remote::READ))
                .env("SSH_ASKPASS", "/bin/false")
                .env("SSH_ASKPASS_REQUIRE", "force"),
            Kind::Container(container) => Command::new(container.client())
                .args(container.words())
                .args(["sh", "-c", remote::READ]),
        })
    }

    /// The error for a command whose exit status did not arrive.
    fn broken(&self, program: &str, status: ExitStatus, said: &str) -> Error {
        let refused = match &self.0 {
            Kind::Ssh(host) => host.refused(said),
            Kind::Container(container) => container.refused(said),
        };
        refused.unwrap_or_else(|| {
            let place = self.place();
            let message =
                format!("the connection to {place} ended before {program} did ({status})");
            Error::new(Code::SourceFailed, message)
                .cause(said)
                .hint("nothing of it is kept; check the network and that place, then run again")
        })
    }
}

/// A command to run.
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    secrets: Vec<(OsString, Secret)>,
    directory: Option<PathBuf>,
    user: Option<(u32, u32)>,
    stdin: bool,
    cleanup: bool,
    clean_env: bool,
    group: bool,
    scrubber: Scrubber,
}

impl Command {
    /// A command that runs `program`, looked up in `PATH` unless it has a slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Command {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            secrets: Vec::new(),
            directory: None,
            user: None,
            stdin: false,
            cleanup: false,
            clean_env: false,
            group: false,
            scrubber: Scrubber::default(),
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args
            .extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable of the child.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Passes the child a secret in an environment variable, and scrubs it from the child's output.
    pub fn secret_env(mut self, name: impl AsRef<OsStr>, value: &Secret) -> Self {
        self.scrubber.learn(value);
        self.secrets.push((name.as_ref().to_owned(), value.clone()));
        self
    }

    /// Passes the child nothing of this process's environment but `PATH`.
    pub fn clean_env(mut self) -> Self {
        self.clean_env = true;
        self
    }

    /// Runs in `directory`.
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Runs as another user and group (only root can).
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// Marks a command that cleans up: it is started, and continues, even if the run was
    /// interrupted.
    pub fn cleanup(mut self) -> Self {
        self.cleanup = true;
        self
    }

    /// Opens a pipe to its standard input; otherwise its input is empty.
    pub fn stdin_piped(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Puts it into a process group of its own, so that killing it also kills what it started.
    pub fn own_group(mut self) -> Self {
        self.group = true;
        self
    }

    /// Also scrubs the secrets that this scrubber knows.
    pub fn scrub_with(mut self, scrubber: &Scrubber) -> Self {
        for (_, secret) in &self.secrets {
            scrubber.learn(secret);
        }
        self.scrubber = scrubber.clone();
        self
    }

    /// The program's name, for messages.
    pub fn program(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }
}

/// The result of a finished command.
#[derive(Debug)]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output, whole.
    pub stdout: Vec<u8>,
    /// Its standard error, bounded and scrubbed.
    pub stderr: String,
}

impl Transport {
    /// The transport to where `via` leads, or to this host. Nothing is contacted yet.
    pub fn open(via: Option<&Via>, ssh: Option<Login>) -> Self {
        let kind = match via {
            None => return Transport::Local,
            Some(Via::Ssh { user, host, port }) => {
                Kind::Ssh(Box::new(ssh::Host::new(user.as_deref(), host, *port, ssh)))
            }
            Some(Via::Docker { container }) => Kind::Container(Container::Docker {
                name: container.clone(),
            }),
            Some(Via::Kubectl {
                namespace,
                pod,
                container,
            }) => Kind::Container(Container::Pod {
                namespace: namespace.clone(),
                pod: pod.clone(),
                container: container.clone(),
            }),
        };
        Transport::Remote(Reach(kind))
    }

    /// The text of a `known_hosts` file in which the host there has these keys and no others; `None` if it has one
    /// of them already, or if it is not reached over SSH.
    pub fn with_host_keys(&self, file: &Path, keys: &[String]) -> Result<Option<Vec<u8>>> {
        match self {
            Transport::Remote(Reach(Kind::Ssh(host))) => ssh::with_keys(host, file, keys),
            Transport::Remote(Reach(Kind::Container(_))) | Transport::Local => Ok(None),
        }
    }

    /// The place where it leads, for messages; `None` on this host.
    pub fn place(&self) -> Option<String> {
        match self {
            Transport::Local => None,
            Transport::Remote(reach) => Some(reach.place()),
        }
    }

    /// Starts the command with its standard output as a pipe.
    pub fn spawn(&self, command: &Command) -> Result<Running> {
        match self {
            Transport::Local => spawn_here(command),
            Transport::Remote(reach) => spawn_there(reach, command),
        }
    }

    /// Runs the command to its end and returns its whole output.
    pub fn output(&self, command: &Command) -> Result<Output> {
        self.output_of(command, Vec::new())
    }

    /// Does what [`Self::output`] does, and writes `input` to its standard input, which must be
    /// piped.
    pub fn output_of(&self, command: &Command, input: Vec<u8>) -> Result<Output> {
        let mut running = self.spawn(command)?;
        if let Some(mut stdin) = running.stdin.take() {
            // On a thread of its own: the child may print before it has read everything. If it
            // closed the pipe early, its exit status tells.
            thread::start(move || stdin.write_all(&input))?;
        }
        let stdout = running
            .stdout
            .take()
            .map(|pipe| Drain::start(pipe, usize::MAX / 2))
            .transpose()?;
        let (status, stderr) = running.wait()?;
        let stdout = stdout.map(Drain::take).unwrap_or_default();
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

fn spawn_there(reach: &Reach, command: &Command) -> Result<Running> {
    if command.user.is_some() {
        let message = format!("a command cannot become another user on {}", reach.place());
        return Err(Error::new(Code::Usage, message));
    }
    if !command.cleanup {
        cancel::check()?;
    }
    let far = Far::new(reach.clone(), command)?;
    let prologue = zeroize::Zeroizing::new(far.prologue(command)?);
    // A group of its own: an interrupt from the terminal is meant for us, and we end it in order.
    let mut client = reach.client()?.stdin_piped().own_group();
    client.cleanup = command.cleanup;
    client.scrubber = command.scrubber.clone();
    let mut running = spawn_here(&client)?;
    if let Some(stdin) = &mut running.stdin {
        // A client that is gone reports the reason at its end.
        let _ = stdin.write_all(&prologue);
    }
    if let Some(stdout) = &mut running.stdout {
        far.skip_greeting(stdout);
    }
    if !command.stdin {
        running.hold_input();
    }
    running.is_far(far);
    Ok(running)
}

fn spawn_here(command: &Command) -> Result<Running> {
    #[expect(
        clippy::disallowed_types,
        reason = "the one place that starts processes"
    )]
    let mut process = std::process::Command::new(&command.program);
    process.args(&command.args);
    if command.clean_env {
        process.env_clear();
        process.env(
            "PATH",
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()),
        );
    }
    process.envs(command.env.iter().map(|(k, v)| (k, v)));
    process.envs(
        command
            .secrets
            .iter()
            .map(|(k, v)| (k, OsStr::from_bytes(v.expose()))),
    );
    if let Some(directory) = &command.directory {
        process.current_dir(directory);
    }
    if let Some((uid, gid)) = command.user {
        process.uid(uid).gid(gid);
    }
    if command.group {
        process.process_group(0);
    }
    process.stdin(if command.stdin {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    process.stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_parent(&mut process);
    if !command.cleanup {
        cancel::check()?;
    }
    let mut child = process
        .spawn()
        .map_err(|error| not_started(command, &error))?;
    let stderr = child.stderr.take();
    // Whatever happens from here on, the child ends.
    let mut running = Running::new(command, child);
    if let Some(pipe) = stderr {
        running.drain(pipe)?;
    }
    Ok(running)
}

fn not_started(command: &Command, error: &io::Error) -> Error {
    let program = command.program();
    let base = Error::new(Code::ToolMissing, format!("{program} cannot be started")).cause(error);
    if error.kind() != io::ErrorKind::NotFound {
        return base;
    }
    let base = base.about(Fact::NotInstalled);
    match debian_package(&program) {
        Some(package) => base.hint(format!("install it: apt-get install {package}")),
        None => base.hint(format!("install {program}, or correct the command")),
    }
}

/// The Debian package that ships a program Lifeboat may call.
pub fn debian_package(program: &str) -> Option<&'static str> {
    Some(match program.rsplit('/').next().unwrap_or(program) {
        "pg_dump" | "pg_dumpall" | "pg_restore" | "psql" => "postgresql-client",
        "postgres" | "initdb" | "pg_ctl" => "postgresql",
        "mariadb" | "mariadb-dump" => "mariadb-client",
        "mysql" | "mysqldump" => "default-mysql-client",
        "mariadbd" | "mariadb-install-db" => "mariadb-server",
        "mysqld" => "default-mysql-server",
        "sqlite3" => "sqlite3",
        "ssh" | "ssh-keygen" | "ssh-agent" | "ssh-add" => "openssh-client",
        "docker" => "docker.io",
        "kubectl" => "kubernetes-client",
        "gpg" => "gnupg",
        "gpg-connect-agent" => "gpgconf",
        "age" => "age",
        "restic" => "restic",
        _ => return None,
    })
}

/// Asks the kernel to kill the child when the thread that started it dies.
#[expect(
    clippy::disallowed_types,
    reason = "the one place that starts processes"
)]
fn die_with_parent(process: &mut std::process::Command) {
    // SAFETY: the closure runs in the child between fork and exec and makes one system call
    // (prctl) that is async-signal-safe and allocates nothing.
    #[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
    unsafe {
        process.pre_exec(|| {
            let signal = Some(rustix::process::Signal::KILL);
            rustix::process::set_parent_process_death_signal(signal).map_err(io::Error::from)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::running::keep;
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_missing_tool_names_its_package() {
        let error = Transport::Local
            .spawn(&Command::new("/nowhere/pg_dump"))
            .unwrap_err();
        assert_eq!(error.code, Code::ToolMissing);
        assert!(error.hint.unwrap().contains("postgresql-client"));
    }

    #[test]
    fn secrets_are_scrubbed_from_standard_error() {
        let secret = Secret::new(b"hunter2".to_vec());
        let command = Command::new("sh")
            .args(["-c", "echo bad $P >&2; exit 3"])
            .secret_env("P", &secret);
        let output = Transport::Local.output(&command).unwrap();
        assert_eq!(output.stderr, "bad ***");
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn a_daemon_that_holds_the_pipes_does_not_hold_us() {
        let begun = std::time::Instant::now();
        let command = Command::new("sh").args(["-c", "sleep 60 & echo started"]);
        let output = Transport::Local.output(&command).unwrap();
        assert_eq!(output.stdout, b"started\n");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn the_ends_of_a_long_output_are_kept() {
        let mut kept = (Vec::new(), Vec::new());
        for number in 0..1000 {
            keep(&mut kept, format!("{number:04}").as_bytes(), 8);
        }
        assert_eq!(kept.0, b"00000001");
        assert!(kept.1.ends_with(b"09980999") && kept.1.len() <= 17);
    }

    #[test]
    fn a_dropped_command_is_gone() {
        let running = Transport::Local
            .spawn(&Command::new("sleep").arg("100"))
            .unwrap();
        let process = format!("/proc/{}", running.id());
        assert!(Path::new(&process).exists());
        drop(running);
        assert!(!Path::new(&process).exists());
    }
}
