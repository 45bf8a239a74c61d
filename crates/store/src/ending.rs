//! The end of every wait in every store, once this process was asked to end.
//!
//! Guarantees: after [`end_waits`], what waits for a store goes on for the grace period, so that an
//! answer that is on its way is still heard; then it fails with [`crate::StoreError::Interrupted`],
//! and so does whatever is asked of a store later. Removing what is unfinished may take a moment
//! longer. It does not end a system call that hangs, as those on a dead network mount do.

use crate::StoreError;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How much longer than other work the removal of what is unfinished may take.
const CLEAN_UP: Duration = Duration::from_millis(600);

/// How often a thread that waits looks whether it should go on.
const LOOK: Duration = Duration::from_millis(50);

/// When waits end.
static END: LazyLock<watch::Sender<Option<Instant>>> = LazyLock::new(|| watch::Sender::new(None));

/// Ends every wait for any store of this process after `grace`, and all later ones at once. The
/// first call counts.
pub fn end_waits(grace: Duration) {
    END.send_if_modified(|end| {
        let is_first = end.is_none();
        end.get_or_insert_with(|| Instant::now() + grace);
        is_first
    });
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Anything a caller asked for.
    Work,
    /// The removal of what is unfinished.
    CleanUp,
}

impl Wait {
    fn end(self) -> Option<Instant> {
        let end = *END.borrow();
        match self {
            Wait::Work => end,
            Wait::CleanUp => end.map(|end| end + CLEAN_UP),
        }
    }

    /// Whether there is no more waiting.
    pub(crate) fn is_over(self) -> bool {
        self.end().is_some_and(|end| Instant::now() >= end)
    }

    /// Comes when there is no more waiting.
    pub(crate) async fn over(self) {
        let mut changes = END.subscribe();
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
    pub(crate) fn sleep(self, delay: Duration) {
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
        self,
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
        self,
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

    /// One test, for the end is that of the process.
    #[test]
    fn waits_end_after_the_grace_period_and_clean_up_later() {
        let (sender, receiver) = bounded::<()>(1);
        let brief = Duration::from_millis(1);
        let came = Wait::Work.receive(&receiver, brief);
        assert_eq!(came, Err(NothingCame::TimedOut));
        assert!(!Wait::Work.is_over());

        let long = Duration::from_secs(60);
        let begun = Instant::now();
        let waiting = std::thread::spawn({
            let receiver = receiver.clone();
            move || Wait::Work.receive(&receiver, long)
        });
        end_waits(Duration::from_millis(100));
        end_waits(long);
        assert_eq!(waiting.join().unwrap(), Err(NothingCame::Over));
        assert!(begun.elapsed() >= Duration::from_millis(100));
        assert!(Wait::Work.is_over());
        Wait::Work.sleep(long);
        futures::executor::block_on(async {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_time()
                .build()
                .unwrap();
            runtime.spawn(Wait::CleanUp.over()).await.unwrap();
            std::mem::forget(runtime);
        });
        assert!(begun.elapsed() >= CLEAN_UP);
        assert!(begun.elapsed() < long);
        // What came is still heard.
        sender.send(()).unwrap();
        assert_eq!(Wait::Work.receive(&receiver, long), Ok(()));
    }
}
