//! Ending a run early because someone asked (Ctrl-C, or a service manager's `SIGTERM`).
//!
//! Whoever hears the signal calls [`request`]. Children that are not marked as clean-up are told
//! to end, no new ones start, and streams fail at their next chunk; whoever waits for a store may do
//! so for [`GRACE`] more, and not a second longer. The run then takes its ordinary way out, so that
//! `after` commands run and throwaway targets go.

use crate::error::{Code, Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

static REQUESTED: AtomicBool = AtomicBool::new(false);
/// Process ids of children that are running.
static CHILDREN: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// How long an answer of a store is still awaited once the end was asked for.
pub const GRACE: Duration = Duration::from_secs(2);

/// Asks this process to end early.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
    lifeboat_store::end_waits(GRACE);
    let children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    for child in children.iter() {
        terminate(*child);
    }
}

fn terminate(child: u32) {
    if let Ok(raw) = i32::try_from(child)
        && let Some(pid) = rustix::process::Pid::from_raw(raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Whether the end was asked for.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error once the end was asked for.
pub fn check() -> Result<()> {
    if !requested() {
        return Ok(());
    }
    Err(Error::new(Code::Interrupted, "the run was interrupted")
        .hint("nothing of it is visible as a restore point; run it again"))
}

/// What an error comes from: once the end was asked for, a child that was told to end fails in words
/// of its own, and so does what it was reading or writing.
pub fn explain(error: Error) -> Error {
    match check() {
        Err(interrupted) if error.code != Code::Interrupted => interrupted.cause(error),
        _ => error,
    }
}

/// A child that will be told to end. It is forgotten when this is dropped.
#[derive(Debug)]
pub(crate) struct Registered(u32);

/// Registers a child that was started. One that was started while the end was being asked for is
/// told here: either [`request`] finds it in the list, or it is put there after the request is
/// visible.
pub(crate) fn register(child: u32) -> Registered {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.push(child);
    if REQUESTED.load(Ordering::SeqCst) {
        terminate(child);
    }
    Registered(child)
}

impl Drop for Registered {
    fn drop(&mut self) {
        CHILDREN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|child| *child != self.0);
    }
}
