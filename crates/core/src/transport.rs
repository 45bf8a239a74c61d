//! Runs commands; the only place of this crate that starts a process.
//!
//! Guarantees: arguments never carry a secret (there is no way to put a [`Secret`] among them);
//! standard error is read to its end, bounded, and scrubbed; a child never outlives the thread
//! that started it by accident (it is killed on drop, and by the kernel should this process die).

use crate::error::{Code, Error, Result};
use crate::interrupt;
use crate::secret::{Scrubber, Secret};
use crossbeam_channel::{Receiver, bounded};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How much of a child's standard error is kept, in bytes: its first and its last half.
const STDERR_BYTES_MAX: usize = 16 << 10;

/// Where a command runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Transport {
    /// On this host.
    #[default]
    Local,
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
    /// Runs `program`, looked up in `PATH` unless it has a slash.
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

    /// Hands the child a secret in an environment variable, and scrubs it from what it says.
    pub fn secret_env(mut self, name: impl AsRef<OsStr>, value: &Secret) -> Self {
        self.scrubber.learn(value);
        self.secrets.push((name.as_ref().to_owned(), value.clone()));
        self
    }

    /// Gives the child nothing of this process's environment but `PATH`.
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

    /// Marks a command that puts things back in order: it is started, and goes on, also when the
    /// run was interrupted.
    pub fn cleanup(mut self) -> Self {
        self.cleanup = true;
        self
    }

    /// Opens a pipe to its standard input; otherwise it reads nothing.
    pub fn stdin_piped(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Puts it into a process group of its own, so that killing it kills what it started too.
    pub fn own_group(mut self) -> Self {
        self.group = true;
        self
    }

    /// Also scrubs what this scrubber knows.
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

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, whole.
    pub stdout: Vec<u8>,
    /// Its standard error, bounded and scrubbed.
    pub stderr: String,
}

impl Transport {
    /// Starts the command with its standard output as a pipe.
    pub fn spawn(&self, command: &Command) -> Result<Running> {
        let Transport::Local = self;
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
            interrupt::check()?;
        }
        let mut child = process
            .spawn()
            .map_err(|error| not_started(command, &error))?;
        let stderr = child
            .stderr
            .take()
            .map(|pipe| Drain::start(pipe, STDERR_BYTES_MAX / 2));
        Ok(Running {
            _registered: (!command.cleanup).then(|| interrupt::register(child.id())),
            program: command.program(),
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            child,
            stderr,
            group: command.group,
            scrubber: command.scrubber.clone(),
        })
    }

    /// Runs the command to its end and returns all it printed.
    pub fn output(&self, command: &Command) -> Result<Output> {
        self.output_of(command, Vec::new())
    }

    /// The same, with `input` written to its standard input, which must be piped.
    pub fn output_of(&self, command: &Command, input: Vec<u8>) -> Result<Output> {
        let mut running = self.spawn(command)?;
        if let Some(mut stdin) = running.stdin.take() {
            // On a thread of its own: the child may print before it has read everything. A pipe
            // that it closed early is left to its exit status to tell.
            std::thread::spawn(move || stdin.write_all(&input));
        }
        let stdout = running
            .stdout
            .take()
            .map(|pipe| Drain::start(pipe, usize::MAX / 2));
        let (status, stderr) = running.wait()?;
        let stdout = stdout.map(Drain::take).unwrap_or_default();
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

fn not_started(command: &Command, error: &io::Error) -> Error {
    let program = command.program();
    let base = Error::new(Code::ToolMissing, format!("{program} cannot be started")).cause(error);
    if error.kind() != io::ErrorKind::NotFound {
        return base;
    }
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
        "ssh" | "ssh-keygen" => "openssh-client",
        "gpg" => "gnupg",
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

/// How long a pipe may stay open after the child has ended: a daemon that the child started may
/// hold it for good.
const PIPE_PATIENCE: Duration = Duration::from_secs(3);

/// Reads a pipe on a thread, keeping its first and its last bytes.
#[derive(Debug)]
struct Drain {
    kept: Arc<Mutex<(Vec<u8>, Vec<u8>)>>,
    ended: Receiver<()>,
}

impl Drain {
    /// Keeps `half` bytes of either end.
    fn start(mut pipe: impl Read + Send + 'static, half: usize) -> Self {
        let kept = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let shared = Arc::clone(&kept);
        let (end, ended) = bounded(1);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                keep(&mut kept, buffer.get(..count).unwrap_or_default(), half);
            }
            let _ = end.send(());
        });
        Drain { kept, ended }
    }

    /// What was read; waits for the pipe's end, within bounds.
    fn take(self) -> Vec<u8> {
        let _ = self.ended.recv_timeout(PIPE_PATIENCE);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut head, tail) = std::mem::take(&mut *kept);
        head.extend_from_slice(&tail);
        head
    }
}

fn keep((head, tail): &mut (Vec<u8>, Vec<u8>), bytes: &[u8], half: usize) {
    let room = half.saturating_sub(head.len()).min(bytes.len());
    let (first, rest) = bytes.split_at(room);
    head.extend_from_slice(first);
    tail.extend_from_slice(rest);
    if tail.len() / 2 > half {
        tail.drain(..tail.len() - half);
    }
}

/// A command under way. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    program: String,
    /// Its standard input, when it was asked to be piped. Take and drop it to end the input.
    pub stdin: Option<ChildStdin>,
    /// Its standard output.
    pub stdout: Option<ChildStdout>,
    child: Child,
    stderr: Option<Drain>,
    _registered: Option<interrupt::Registered>,
    group: bool,
    scrubber: Scrubber,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, without waiting.
    pub fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Closes its input, waits for its end, and returns the status and its standard error.
    pub fn wait(mut self) -> Result<(ExitStatus, String)> {
        drop(self.stdin.take());
        drop(self.stdout.take());
        let status = self
            .child
            .wait()
            .map_err(|error| Error::io(format!("cannot wait for {}", self.program), &error))?;
        Ok((status, self.stderr_text()))
    }

    /// Kills it and returns its standard error.
    pub fn kill(mut self) -> String {
        self.kill_group();
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stderr_text()
    }

    /// Kills its process group when it has one of its own. Called before the child is waited for,
    /// so that the group's number cannot have passed to somebody else.
    fn kill_group(&self) {
        if self.group
            && let Ok(raw) = i32::try_from(self.child.id())
            && let Some(pid) = rustix::process::Pid::from_raw(raw)
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }

    /// Sends `SIGINT`, which PostgreSQL takes as a fast shutdown, and waits.
    pub fn interrupt(self) -> String {
        self.signal(rustix::process::Signal::INT)
    }

    /// Sends `SIGQUIT`, which PostgreSQL takes as an immediate shutdown, and waits.
    pub fn quit(self) -> String {
        self.signal(rustix::process::Signal::QUIT)
    }

    fn signal(mut self, signal: rustix::process::Signal) -> String {
        if let Ok(raw) = i32::try_from(self.child.id())
            && let Some(pid) = rustix::process::Pid::from_raw(raw)
        {
            let _ = rustix::process::kill_process(pid, signal);
        }
        let _ = self.child.wait();
        self.stderr_text()
    }

    fn stderr_text(&mut self) -> String {
        let bytes = self.stderr.take().map(Drain::take).unwrap_or_default();
        self.scrubber
            .scrub(String::from_utf8_lossy(&bytes).trim_end())
    }

    /// Feeds `input` to its standard input, on this thread, then waits. An error of `input` kills
    /// the child and is returned; a pipe that the child closed is left to its exit status to tell.
    pub fn feed(mut self, input: &mut dyn Read) -> Result<(ExitStatus, String)> {
        let Some(mut stdin) = self.stdin.take() else {
            return self.wait();
        };
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let program = self.program.clone();
                    drop(self.kill());
                    return Err(Error::from_io(
                        Code::Io,
                        format!("the input of {program} cannot be read"),
                        error,
                    ));
                }
            };
            if stdin
                .write_all(buffer.get(..count).unwrap_or_default())
                .is_err()
            {
                break;
            }
        }
        drop(stdin);
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended() {
            self.kill_group();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
