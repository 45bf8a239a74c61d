//! Ends every wait for a store once its job was asked to end.
//!
//! Guarantees: after [`Ending::end_waits`], waits for the stores that were opened with it go on for
//! the grace period, so that an answer on its way still arrives. Then they fail with
//! [`crate::StoreError::Interrupted`], and so does every later call to such a store. Removing
//! unfinished objects may take a moment longer. It does not end a system call that hangs, as on a
//! dead network mount.

use crate::StoreError;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The extra time for removing unfinished objects.
const CLEAN_UP: Duration = Duration::from_millis(600);

/// The time after which a waiting thread checks again whether to go on.
const LOOK: Duration = Duration::from_millis(50);

/// Ends the waits of all stores that were opened with it or a clone of it. By default nothing ends
/// them.
#[derive(Debug, Clone)]
pub struct Ending(Arc<watch::Sender<Option<Instant>>>);

impl Default for Ending {
    fn default() -> Self {
        Ending(Arc::new(watch::Sender::new(None)))
    }
}

impl Ending {
    /// Ends current waits after `grace`, and later ones at once. Only the first call has an effect.
    pub fn end_waits(&self, grace: Duration) {
        self.0.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert_with(|| Instant::now() + grace);
            is_first
        });
    }

    /// A wait for anything that a caller requested.
    pub(crate) fn work(&self) -> Wait {
        Wait {
            ending: self.clone(),
            longer: Duration::ZERO,
        }
    }

    /// A wait for the removal of unfinished objects.
    pub(crate) fn clean_up(&self) -> Wait {
        Wait {
            ending: self.clone(),
            longer: CLEAN_UP,
        }
    }
}

/// A wait that an [`Ending`] can end.
#[derive(Debug, Clone)]
pub(crate) struct Wait {
    ending: Ending,
    /// The time by which it outlasts other work.
    longer: Duration,
}

impl Wait {
    fn end(&self) -> Option<Instant> {
        self.ending.0.borrow().map(|end| end + self.longer)
    }

    /// Returns whether waiting has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.end().is_some_and(|end| Instant::now() >= end)
    }

    /// Completes when waiting has ended.
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

    /// Sleeps for this long, or until waiting has ended.
    pub(crate) fn sleep(&self, delay: Duration) {
        let until = Instant::now() + delay;
        while !self.is_over() {
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(LOOK)),
                _ => return,
            }
        }
    }

    /// Waits for a message, for at most this long.
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
    /// Waits until a message is accepted, for at most this long.
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

/// The reason why no message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NothingCame {
    /// It took too long.
    TimedOut,
    /// Nobody is left to send one.
    Closed,
    /// Waiting has ended.
    Over,
}

/// The error of a wait that was ended.
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
        // A wait of another job goes on.
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
        // A message that has arrived is still received.
        sender.send(()).unwrap();
        assert_eq!(ending.work().receive(&receiver, long), Ok(()));
    }
}
