//! Starts threads, which may fail where processes or memory are limited.
//!
//! A thread belongs to the job of the thread that starts it: it is cancelled with that job.

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use std::io;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// Starts a thread.
pub fn start<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    spawn(Builder::new(), work).map_err(|error| refused(&error))
}

/// Starts a thread with a name, for debuggers.
pub fn start_named<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    spawn(Builder::new().name(name.to_owned()), work)
}

/// Starts a thread that ends with the scope.
pub fn start_in<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let job = Cancel::current();
    let started = Builder::new().spawn_scoped(scope, move || job.run(work));
    started.map_err(|error| refused(&error))
}

fn spawn<T: Send + 'static>(
    builder: Builder,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let job = Cancel::current();
    builder.spawn(move || job.run(work))
}

fn refused(error: &io::Error) -> Error {
    Error::io("a thread cannot be started", error)
        .hint("raise the limit of processes or of memory (ulimit -u, ulimit -v, pids.max), and run it again")
}
