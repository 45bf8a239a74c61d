//! Ending a job early on request: Ctrl-C, a service manager's `SIGTERM`, or a command.
//!
//! A [`Cancel`] belongs to one job, and nothing here is shared by the whole process: two jobs in
//! one process end independently. A job runs within [`Cancel::run`]. The threads it starts
//! ([`crate::thread`]) belong to it, and so do the processes, connections and stores that they
//! open. When the end is requested, child processes that are not marked as clean-up are terminated,
//! no new ones start, and streams fail at their next chunk. Waits for a store's answer may last
//! [`GRACE`] longer, and no more. The job then takes its ordinary way out, so that `finally`
//! commands run and throwaway targets are removed.

use crate::error::{Code, Error, Result};
use lifeboat_store::Ending;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time for which an answer of a store is still awaited after the end was requested.
pub const GRACE: Duration = Duration::from_secs(2);

/// Interval at which a wait checks whether the end was requested.
const LOOK: Duration = Duration::from_millis(50);

thread_local! {
    /// The job that this thread works for.
    static CURRENT: RefCell<Cancel> = RefCell::default();
}

/// A request to end a job early. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requested: AtomicBool,
    /// Process ids of children that are running.
    children: Mutex<Vec<u32>>,
    ending: Ending,
}

impl Cancel {
    /// The request of the job that this thread works for; where there is no job, one that is never
    /// made.
    pub fn current() -> Self {
        CURRENT.with_borrow(Cancel::clone)
    }

    /// Runs `work` as part of this job, with all that it starts.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Restores the previous job, also when the work panics.
        struct Back(Option<Cancel>);
        impl Drop for Back {
            fn drop(&mut self) {
                if let Some(before) = self.0.take() {
                    CURRENT.set(before);
                }
            }
        }
        let _back = Back(Some(CURRENT.replace(self.clone())));
        work()
    }

    /// Asks the job to end early.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
        self.0.ending.end_waits(GRACE);
        let children = self.children();
        children.iter().for_each(|child| terminate(*child));
    }

    /// Returns whether the end was requested.
    pub fn requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    /// Fails with [`Code::Interrupted`] once the end was requested.
    pub fn check(&self) -> Result<()> {
        if !self.requested() {
            return Ok(());
        }
        Err(Error::new(Code::Interrupted, "the run was interrupted")
            .hint("nothing of it is visible as a restore point; run it again"))
    }

    /// Waits for `duration`. Fails as soon as the end is requested.
    pub fn wait(&self, duration: Duration) -> Result<()> {
        let until = Instant::now() + duration;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// Handle that ends the waits of stores that are opened for the job.
    pub fn ending(&self) -> Ending {
        self.0.ending.clone()
    }

    /// Registers a child process that was started. One that was started while the end was being
    /// requested is terminated here: either [`Cancel::request`] finds it in the list, or it is
    /// added after the request became visible.
    pub(crate) fn register(&self, child: u32) -> Registered {
        let mut children = self.children();
        children.push(child);
        if self.requested() {
            terminate(child);
        }
        Registered {
            child,
            job: self.clone(),
        }
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        let children = self.0.children.lock();
        children.unwrap_or_else(PoisonError::into_inner)
    }
}

fn terminate(child: u32) {
    if let Ok(raw) = i32::try_from(child)
        && let Some(pid) = rustix::process::Pid::from_raw(raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Returns whether the end of this thread's job was requested.
pub fn requested() -> bool {
    CURRENT.with_borrow(Cancel::requested)
}

/// Fails with [`Code::Interrupted`] once the end of this thread's job was requested.
pub fn check() -> Result<()> {
    CURRENT.with_borrow(Cancel::check)
}

/// Waits for `duration`. Fails as soon as the end of this thread's job is requested.
pub fn wait(duration: Duration) -> Result<()> {
    Cancel::current().wait(duration)
}

/// Replaces an error by the interruption that caused it, if there was one: a terminated child fails
/// with an error of its own, and so does whatever it was reading or writing.
pub fn explain(error: Error) -> Error {
    match check() {
        Err(interrupted) if error.code != Code::Interrupted => interrupted.cause(error),
        _ => error,
    }
}

/// A child process that a request terminates. It is forgotten when this is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    child: u32,
    job: Cancel,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.job.children().retain(|child| *child != self.child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread;
    use crate::transport::{Command, Transport};
    use crossbeam_channel::bounded;

    #[test]
    fn two_jobs_in_one_process_end_independently() {
        let (one, other) = (Cancel::default(), Cancel::default());
        let (say, said) = bounded(2);
        let jobs: Vec<_> = [("one", one.clone()), ("other", other.clone())]
            .into_iter()
            .map(|(name, cancel)| {
                let say = say.clone();
                cancel.run(|| {
                    // Threads that the job's threads start belong to the job, too.
                    thread::start(move || {
                        thread::start(move || {
                            let sleep = Command::new("sleep").arg("60");
                            let ended = Transport::Local.output(&sleep);
                            let _ = say.send((name, ended.map(|o| o.status.success()), check()));
                        })
                    })
                    .unwrap()
                })
            })
            .collect();
        for job in jobs {
            job.join().unwrap().unwrap();
        }
        let begun = Instant::now();
        while other.children().is_empty() || one.children().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::yield_now();
        }
        one.request();
        let (name, ended, checked) = said.recv().unwrap();
        assert_eq!((name, ended.unwrap()), ("one", false));
        assert_eq!(checked.unwrap_err().code, Code::Interrupted);
        // No new child starts for the ended job; for the other one it does.
        let echo = Command::new("true");
        let refused = one.run(|| Transport::Local.output(&echo));
        assert_eq!(refused.unwrap_err().code, Code::Interrupted);
        assert!(other.run(|| Transport::Local.output(&echo)).is_ok());
        assert!(!other.requested() && said.is_empty());
        assert!(!requested());
        other.request();
        assert_eq!(said.recv().unwrap().0, "other");
    }

    #[test]
    fn a_wait_ends_when_its_job_does() {
        let cancel = Cancel::default();
        assert!(cancel.wait(Duration::from_millis(60)).is_ok());
        let waiting = cancel.run(|| thread::start(|| wait(Duration::from_secs(600))));
        cancel.request();
        let ended = waiting.unwrap().join().unwrap();
        assert_eq!(ended.unwrap_err().code, Code::Interrupted);
    }

    #[test]
    fn a_panic_restores_the_previous_job() {
        let (outer, inner) = (Cancel::default(), Cancel::default());
        inner.request();
        outer.run(|| {
            let panicked = std::panic::catch_unwind(|| inner.run(|| panic!("on purpose")));
            assert!(panicked.is_err());
            assert!(!requested());
        });
    }
}
