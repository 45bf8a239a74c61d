//! Keeps a helper process running. It prints one line when it is ready, and ends when its value is
//! dropped or when this process ends.

use super::{Command, Running, Transport};
use crate::cancel;
use crate::error::{Code, Error, Result};
use crate::thread;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io::{BufRead, BufReader};
use std::process::ChildStdout;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Interval at which it is polled.
const LOOK: Duration = Duration::from_millis(200);

/// A helper process that is kept running.
#[derive(Debug)]
pub(super) struct Kept {
    stop: Option<Sender<()>>,
    ended: Receiver<String>,
    keeper: Option<JoinHandle<()>>,
}

impl Kept {
    /// Starts it and waits until it has printed `ready`. The inner error is its output if it ended
    /// before that, or `None` if it did neither in time.
    pub(super) fn start(
        command: Command,
        ready: &str,
        patience: Duration,
    ) -> Result<Result<Self, Option<String>>> {
        let (tell, told) = bounded(1);
        let (end, ended) = bounded(1);
        let (stop, stopped) = bounded::<()>(0);
        // A thread of its own: the kernel kills a child when the thread that started it ends.
        let keeper = thread::start(move || match Transport::Local.spawn(&command) {
            Err(error) => drop(tell.send(Err(error))),
            Ok(mut running) => {
                let _ = tell.send(Ok(running.stdout.take()));
                keep(running, &stopped, &end);
            }
        })?;
        let lost = || Error::new(Code::Io, "a helper process was not started");
        let stdout = told.recv().map_err(|_| lost())??.ok_or_else(lost)?;
        let kept = Kept {
            stop: Some(stop),
            ended,
            keeper: Some(keeper),
        };
        let (said, deadline) = (says(stdout, ready)?, Instant::now() + patience);
        loop {
            match said.recv_timeout(LOOK) {
                Ok(true) => return Ok(Ok(kept)),
                Ok(false) => return Ok(Err(kept.ended.recv().ok())),
                Err(_) if Instant::now() > deadline => return Ok(Err(None)),
                Err(_) => cancel::check()?,
            }
        }
    }

    /// Returns true if it still runs.
    pub(super) fn is_alive(&self) -> bool {
        self.ended.is_empty() && self.keeper.as_ref().is_some_and(|k| !k.is_finished())
    }
}

/// Reports if a line that contains `ready` comes before the end of the output. The rest of the
/// output is read and dropped.
fn says(stdout: ChildStdout, ready: &str) -> Result<Receiver<bool>> {
    let (tell, told) = bounded(1);
    let ready = ready.to_owned();
    thread::start(move || {
        let mut lines = BufReader::new(stdout)
            .lines()
            .map_while(std::io::Result::ok);
        let _ = tell.send(lines.any(|line| line.contains(&ready)));
        lines.for_each(drop);
    })?;
    Ok(told)
}

/// Keeps the process until it ends, or until the sender is dropped.
fn keep(mut running: Running, stopped: &Receiver<()>, end: &Sender<String>) {
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK) {
        if running.ended() {
            let said = running.wait().map(|(_, said)| said).unwrap_or_default();
            let _ = end.send(said);
            return;
        }
    }
    // A process that has an input takes its end as the order to exit.
    if running.stdin.is_some() {
        let _ = running.wait();
    } else {
        running.kill();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}
