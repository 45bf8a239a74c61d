//! Ending a job early because someone asked: Ctrl-C, a service manager's `SIGTERM`, or a command.
//!
//! A [`Cancel`] belongs to one job, and nothing here is of the process: two jobs beside each other end
//! independently. A job runs within [`Cancel::run`]; the threads it starts ([`crate::thread`]) belong
//! to it, and so do the processes, connections and stores that they open. When the end is asked for,
//! children that are not marked as clean-up are told to end, no new ones start, and streams fail at
//! their next chunk; whoever waits for a store may do so for [`GRACE`] more, and not a second longer.
//! The job then takes its ordinary way out, so that `finally` commands run and throwaway targets go.

use crate::error::{Code, Error, Result};
use lifeboat_store::Ending;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer of a store is still awaited once the end was asked for.
pub const GRACE: Duration = Duration::from_secs(2);

/// How often a wait looks whether it should go on.
const LOOK: Duration = Duration::from_millis(50);

thread_local! {
    /// The job that this thread works for.
    static CURRENT: RefCell<Cancel> = RefCell::default();
}

/// Whether a job is to end early. Clones are of the same job.
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
    /// The one of the job that this thread works for; one that nobody asks where there is none.
    pub fn current() -> Self {
        CURRENT.with_borrow(Cancel::clone)
    }

    /// Does work that belongs to this job. What it starts, it starts for it.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Puts back the one of before, also when the work panics.
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

    /// Whether the end was asked for.
    pub fn requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    /// An error once the end was asked for.
    pub fn check(&self) -> Result<()> {
        if !self.requested() {
            return Ok(());
        }
        Err(Error::new(Code::Interrupted, "the run was interrupted")
            .hint("nothing of it is visible as a restore point; run it again"))
    }

    /// Waits; an error as soon as the end is asked for.
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

    /// Ends the waits of stores that are opened for the job.
    pub fn ending(&self) -> Ending {
        self.0.ending.clone()
    }

    /// Registers a child that was started. One that was started while the end was being asked for
    /// is told here: either [`Cancel::request`] finds it in the list, or it is put there after the
    /// request is visible.
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

/// Whether the end of this thread's job was asked for.
pub fn requested() -> bool {
    CURRENT.with_borrow(Cancel::requested)
}

/// An error once the end of this thread's job was asked for.
pub fn check() -> Result<()> {
    CURRENT.with_borrow(Cancel::check)
}

/// Waits; an error as soon as the end of this thread's job is asked for.
pub fn wait(duration: Duration) -> Result<()> {
    Cancel::current().wait(duration)
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
    fn two_jobs_beside_each_other_end_independently() {
        let (one, other) = (Cancel::default(), Cancel::default());
        let (say, said) = bounded(2);
        let jobs: Vec<_> = [("one", one.clone()), ("other", other.clone())]
            .into_iter()
            .map(|(name, cancel)| {
                let say = say.clone();
                cancel.run(|| {
                    // Threads of the job's threads are the job's.
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
        // No new child starts for it, and for the other one does.
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
    fn work_that_panics_leaves_the_job_of_before() {
        let (outer, inner) = (Cancel::default(), Cancel::default());
        inner.request();
        outer.run(|| {
            let panicked = std::panic::catch_unwind(|| inner.run(|| panic!("on purpose")));
            assert!(panicked.is_err());
            assert!(!requested());
        });
    }
}
