//! Decides whether a server is still worth a request. The decisions are pure: the time is passed
//! in.
//!
//! Guarantees: a request that fails is repeated for as long as a store may stall and no longer,
//! however many requests fail. A server that was silent for that long is not asked for a while, so
//! a thousand objects cost no more time than one. A complete answer ends the trouble.

use std::time::{Duration, Instant};

/// The longest silence on a connection before it counts as dead.
const IDLE: Duration = Duration::from_secs(60);
/// The longest silence until the first answer of all: a wrong endpoint must not cost minutes.
const FIRST_IDLE: Duration = Duration::from_secs(12);
/// The time limit for opening a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// The time for which a silent server is not asked.
const REST: Duration = Duration::from_secs(60);
/// The bytes after which a broken answer still counts as progress.
const PROGRESS_BYTES: u64 = 1 << 20;

/// The time limits for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// For one request, all attempts together.
    pub(crate) stall: Duration,
}

impl Patience {
    /// For opening a connection.
    pub(crate) fn connect(self) -> Duration {
        self.stall.min(CONNECT)
    }

    /// For the next sign of life on one connection. Dead connections are common, so this leaves
    /// time for three attempts if possible.
    pub(crate) fn idle(self) -> Duration {
        self.stall.min(IDLE).max(self.stall / 3)
    }

    /// For the first answer of all.
    pub(crate) fn first(self) -> Duration {
        self.stall.min(FIRST_IDLE)
    }
}

/// The failures since the last complete answer.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    since: Instant,
    last: Instant,
    last_silence: Option<Instant>,
    /// Bytes received since the last failure.
    received: u64,
}

/// The recent behaviour of a server.
#[derive(Debug)]
pub(crate) struct Health {
    stall: Duration,
    trouble: Option<Trouble>,
}

impl Health {
    pub(crate) fn new(patience: Patience) -> Self {
        Health {
            stall: patience.stall,
            trouble: None,
        }
    }

    /// Records a complete answer.
    pub(crate) fn answered(&mut self) {
        self.trouble = None;
    }

    /// Records a piece of an answer.
    pub(crate) fn received(&mut self, bytes: u64) {
        if let Some(trouble) = &mut self.trouble {
            trouble.received += bytes;
            if trouble.received >= PROGRESS_BYTES {
                self.trouble = None;
            }
        }
    }

    /// Records a failure that may be temporary. Returns whether there is time for another attempt.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        self.note(now, now)
    }

    /// Records a silence of `waited`. Returns whether there is time for another attempt.
    pub(crate) fn was_silent(&mut self, now: Instant, waited: Duration) -> bool {
        let again = self.note(now.checked_sub(waited).unwrap_or(now), now);
        if let Some(trouble) = &mut self.trouble {
            trouble.last_silence = Some(now);
        }
        again
    }

    /// Returns whether the server must not be asked now, because it was silent for too long just
    /// before.
    pub(crate) fn is_given_up(&self, now: Instant) -> bool {
        self.trouble.is_some_and(|trouble| {
            trouble.last_silence.is_some_and(|silence| {
                silence.saturating_duration_since(trouble.since) >= self.stall
                    && now.saturating_duration_since(silence) < REST
            })
        })
    }

    /// The time to wait when the server asks for `wanted`: never longer than the time that is left.
    pub(crate) fn pause(&self, now: Instant, wanted: Duration) -> Duration {
        let spent = self.trouble.map_or(Duration::ZERO, |trouble| {
            now.saturating_duration_since(trouble.since)
        });
        wanted.min(self.stall.saturating_sub(spent))
    }

    fn note(&mut self, began: Instant, now: Instant) -> bool {
        // Failures long ago are unrelated.
        let forgotten = self.stall.max(REST);
        let earlier = self
            .trouble
            .filter(|t| began.saturating_duration_since(t.last) < forgotten);
        let since = earlier.map_or(began, |t| t.since);
        self.trouble = Some(Trouble {
            since,
            last: now,
            last_silence: earlier.and_then(|t| t.last_silence),
            received: 0,
        });
        now.saturating_duration_since(since) < self.stall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn patience(seconds: u32) -> Patience {
        Patience {
            stall: seconds * SECOND,
        }
    }

    #[test]
    fn no_single_wait_is_longer_than_a_store_may_stall() {
        let waits = |p: Patience| [p.connect(), p.first(), p.idle()].map(|w| w.as_secs());
        assert_eq!(waits(patience(4)), [4, 4, 4]);
        assert_eq!(waits(patience(60)), [5, 12, 60]);
        assert_eq!(waits(patience(300)), [5, 12, 100]);
    }

    #[test]
    fn a_server_is_asked_again_while_there_is_time() {
        let begin = Instant::now();
        let mut health = Health::new(patience(4));
        assert!(health.failed(begin));
        assert!(health.failed(begin + 3 * SECOND));
        assert!(!health.failed(begin + 4 * SECOND));
        // Refusals come at once, so the server may be asked again, but without repeats.
        assert!(!health.is_given_up(begin + 4 * SECOND));
        health.answered();
        assert!(health.failed(begin + 5 * SECOND));
    }

    #[test]
    fn a_server_that_was_silent_for_too_long_is_left_alone_for_a_while() {
        let begin = Instant::now();
        let mut health = Health::new(patience(4));
        assert!(health.was_silent(begin + 3 * SECOND, 3 * SECOND));
        assert!(!health.is_given_up(begin + 3 * SECOND));
        let end = begin + 7 * SECOND;
        assert!(!health.was_silent(end, 4 * SECOND));
        assert!(health.is_given_up(end));
        assert!(health.is_given_up(end + 59 * SECOND));
        assert!(!health.is_given_up(end + 60 * SECOND));
        // Much later it is a new trouble.
        assert!(health.was_silent(end + 200 * SECOND, 3 * SECOND));
    }

    #[test]
    fn a_little_of_an_answer_does_not_count_as_progress() {
        let begin = Instant::now();
        let mut health = Health::new(patience(4));
        assert!(health.failed(begin));
        health.received(PROGRESS_BYTES - 1);
        assert!(!health.failed(begin + 4 * SECOND));
        health.received(PROGRESS_BYTES);
        assert!(health.failed(begin + 8 * SECOND));
    }

    #[test]
    fn a_server_may_ask_for_a_pause_within_bounds() {
        let begin = Instant::now();
        let mut health = Health::new(patience(4));
        assert_eq!(health.pause(begin, 2 * SECOND), 2 * SECOND);
        assert_eq!(health.pause(begin, 600 * SECOND), 4 * SECOND);
        health.failed(begin);
        assert_eq!(health.pause(begin + 3 * SECOND, 2 * SECOND), SECOND);
        assert_eq!(health.pause(begin + 5 * SECOND, 2 * SECOND), Duration::ZERO);
    }
}
