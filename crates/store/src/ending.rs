//! The end of every wait for a store, once its job was asked to end.
//!
//! Guarantees: after [`Ending::end_waits`], what waits for a store that was opened with it goes on for
//! the grace period, so that an answer that is on its way is still heard; then it fails with
//! [`crate::StoreError::Interrupted`], and so does whatever is asked of that store later. Removing
//! what is unfinished may take a moment longer. It does not end a system call that hangs, as those on
//! a dead network mount do.

use crate::StoreError;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How much longer than other work the removal of what is unfinished may take.
const CLEAN_UP: Duration = Duration::from_millis(600);

/// How often a thread that waits looks whether it should go on.
const LOOK: Duration = Duration::from_millis(50);

/// Ends the waits of the stores that were opened with it or a clone of it. By default nothing does.
#[derive(Debug, Clone)]
pub struct Ending(Arc<watch::Sender<Option<Instant>>>);

impl Default for Ending {
    fn default() -> Self {
        Ending(Arc::new(watch::Sender::new(None)))
    }
}

impl Ending {
    /// Ends every wait after `grace`, and all later ones at once. The first call counts.
    pub fn end_waits(&self, grace: Duration) {
        self.0.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert_with(|| Instant::now() + grace);
            is_first
        });
    }

    /// A wait for anything that a caller asked for.
    pub(crate) fn work(&self) -> Wait {
        Wait {
            ending: self.clone(),
            longer: Duration::ZERO,
        }
    }

    /// A wait for the removal of what is unfinished.
    pub(crate) fn clean_up(&self) -> Wait {
        Wait {
            ending: self.clone(),
            longer: CLEAN_UP,
        }
    }
}

/// What is waited for.
#[derive(Debug, Clone)]
pub(crate) struct Wait {
    ending: Ending,
    /// How much longer than other work.
    longer: Duration,
}

impl Wait {
    fn end(&self) -> Option<Instant> {
        self.ending.0.borrow().map(|end| end + self.longer)
    }

    /// Whether there is no more waiting.
    pub(crate) fn is_over(&self) -> bool {
        self.end().is_some_and(|end| Instant::now() >= end)
    }

    /// Comes when there is no more waiting.
    pub(crate) async fn over(self) {
        let mut changes = self.ending.0.subscribe();
        loop {
            if let Some(end) = self.end() {
                return tokio::time::sleep_until(end.into()).await;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Sleeps, unless there is no more waiting.
    pub(crate) fn sleep(&self, delay: Duration) {
        let until = Instant::now() + delay;
        while !self.is_over() {
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(LOOK)),
                _ => return,
            }
        }
    }

    /// Waits for a message for so long at most.
    pub(crate) fn receive<T>(
        &self,
        receiver: &Receiver<T>,
        timeout: Duration,
    ) -> Result<T, NothingCame> {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left.min(LOOK)) {
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Disconnected) => return Err(NothingCame::Closed),
                Err(RecvTimeoutError::Timeout) if self.is_over() => return Err(NothingCame::Over),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    return Err(NothingCame::TimedOut);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Wait {
    /// Waits until a message is taken, for so long at most.
    pub(crate) fn send<T>(
        &self,
        sender: &Sender<T>,
        mut message: T,
        timeout: Duration,
    ) -> Result<(), NothingCame> {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            message = match sender.send_timeout(message, left.min(LOOK)) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Disconnected(_)) => return Err(NothingCame::Closed),
                Err(SendTimeoutError::Timeout(_)) if self.is_over() => {
                    return Err(NothingCame::Over);
                }
                Err(SendTimeoutError::Timeout(_)) if left.is_zero() => {
                    return Err(NothingCame::TimedOut);
                }
                Err(SendTimeoutError::Timeout(message)) => message,
            }
        }
    }
}

/// Why no message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NothingCame {
    /// It took too long.
    TimedOut,
    /// Nobody is left who could send one.
    Closed,
    /// There is no more waiting.
    Over,
}

/// The error of a wait that is over.
pub(crate) fn interrupted(location: &str) -> StoreError {
    StoreError::Interrupted {
        location: location.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    #[test]
    fn waits_end_after_the_grace_period_and_clean_up_later() {
        let (ending, other) = (Ending::default(), Ending::default());
        let (sender, receiver) = bounded::<()>(1);
        let brief = Duration::from_millis(1);
        let came = ending.work().receive(&receiver, brief);
        assert_eq!(came, Err(NothingCame::TimedOut));
        assert!(!ending.work().is_over());

        let long = Duration::from_secs(60);
        let begun = Instant::now();
        let waiting = std::thread::spawn({
            let (receiver, wait) = (receiver.clone(), ending.work());
            move || wait.receive(&receiver, long)
        });
        ending.end_waits(Duration::from_millis(100));
        ending.end_waits(long);
        assert_eq!(waiting.join().unwrap(), Err(NothingCame::Over));
        assert!(begun.elapsed() >= Duration::from_millis(100));
        assert!(ending.work().is_over());
        // That of another job goes on.
        assert!(!other.work().is_over());
        ending.work().sleep(long);
        futures::executor::block_on(async {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_time()
                .build()
                .unwrap();
            let clean_up = ending.clean_up();
            runtime.spawn(clean_up.over()).await.unwrap();
            std::mem::forget(runtime);
        });
        assert!(begun.elapsed() >= CLEAN_UP);
        assert!(begun.elapsed() < long);
        // What came is still heard.
        sender.send(()).unwrap();
        assert_eq!(ending.work().receive(&receiver, long), Ok(()));
    }
}
