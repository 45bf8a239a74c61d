//! A running command: its pipes, its exit status and its output.

use super::remote::Far;
use super::{Command, STDERR_BYTES_MAX};
use crate::cancel::{self, Cancel};
use crate::error::{Code, Error, Result};
use crate::secret::Scrubber;
use crossbeam_channel::{Receiver, bounded};
use std::io::{self, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a pipe may stay open after the child has ended: a daemon that the child started may
/// hold it for ever.
const PIPE_PATIENCE: Duration = Duration::from_secs(3);

/// Reads a pipe on a thread, keeping its first and its last bytes.
#[derive(Debug)]
pub(super) struct Drain {
    kept: Arc<Mutex<(Vec<u8>, Vec<u8>)>>,
    ended: Receiver<()>,
}

impl Drain {
    /// Starts reading, and keeps `half` bytes of either end.
    pub(super) fn start(mut pipe: impl Read + Send + 'static, half: usize) -> Result<Self> {
        let kept = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let shared = Arc::clone(&kept);
        let (end, ended) = bounded(1);
        crate::thread::start(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                keep(&mut kept, buffer.get(..count).unwrap_or_default(), half);
            }
            let _ = end.send(());
        })?;
        Ok(Drain { kept, ended })
    }

    /// Returns what was read; waits for the pipe's end, within bounds.
    pub(super) fn take(self) -> Vec<u8> {
        let _ = self.ended.recv_timeout(PIPE_PATIENCE);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut head, tail) = std::mem::take(&mut *kept);
        head.extend_from_slice(&tail);
        head
    }
}

pub(super) fn keep((head, tail): &mut (Vec<u8>, Vec<u8>), bytes: &[u8], half: usize) {
    let room = half.saturating_sub(head.len()).min(bytes.len());
    let (first, rest) = bytes.split_at(room);
    head.extend_from_slice(first);
    tail.extend_from_slice(rest);
    if tail.len() / 2 > half {
        tail.drain(..tail.len() - half);
    }
}

/// A running command. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    program: String,
    /// Its standard input, if a pipe was asked for. Take and drop it to end the input.
    pub stdin: Option<ChildStdin>,
    /// Its standard output.
    pub stdout: Option<ChildStdout>,
    child: Child,
    stderr: Option<Drain>,
    _registered: Option<cancel::Registered>,
    group: bool,
    scrubber: Scrubber,
    /// The held input of a command elsewhere that has none of its own: closing it ends the command.
    held: Option<ChildStdin>,
    far: Option<Far>,
}

impl Running {
    pub(super) fn new(command: &Command, mut child: Child) -> Self {
        Running {
            _registered: (!command.cleanup).then(|| Cancel::current().register(child.id())),
            program: command.program(),
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            child,
            stderr: None,
            group: command.group,
            scrubber: command.scrubber.clone(),
            held: None,
            far: None,
        }
    }

    /// Begins to read its standard error.
    pub(super) fn drain(&mut self, stderr: ChildStderr) -> Result<()> {
        self.stderr = Some(Drain::start(stderr, STDERR_BYTES_MAX / 2)?);
        Ok(())
    }

    /// Holds the input open until the command ends.
    pub(super) fn hold_input(&mut self) {
        self.held = self.stdin.take();
    }

    /// Declares that the command runs on the other side of a connection.
    pub(super) fn is_far(&mut self, far: Far) {
        self.far = Some(far);
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns true if it has ended. Does not wait.
    pub fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Closes its input, waits for its end, and returns the exit status and its standard error.
    /// Fails if the exit status of a command elsewhere did not arrive, or if there is no such
    /// program.
    pub fn wait(mut self) -> Result<(ExitStatus, String)> {
        drop(self.stdin.take());
        drop(self.stdout.take());
        let status = self
            .child
            .wait()
            .map_err(|error| Error::io(format!("cannot wait for {}", self.program), &error))?;
        let said = self.all_said();
        match &self.far {
            Some(far) => far.conclude(status, &said),
            None => Ok((status, said)),
        }
    }

    /// Kills it and returns its standard error.
    pub fn kill(mut self) -> String {
        self.kill_group();
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stderr_text()
    }

    /// Kills its process group if it has one of its own. This comes before waiting for the child,
    /// so that the group's number cannot have been reused.
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
        let said = self.all_said();
        match &self.far {
            Some(far) => far.spoken(&said),
            None => said,
        }
    }

    fn all_said(&mut self) -> String {
        let bytes = self.stderr.take().map(Drain::take).unwrap_or_default();
        self.scrubber
            .scrub(String::from_utf8_lossy(&bytes).trim_end())
    }

    /// Writes `input` to its standard input, on this thread, then waits. An error of `input` kills
    /// the child and is returned. If the child closed the pipe early, its exit status tells.
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
