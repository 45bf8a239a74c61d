//! Time and randomness, passed in so that tests control them.

use crate::cancel;
use crate::error::Result;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Largest difference, in seconds, between clocks of hosts that share a store.
pub const AHEAD_SECONDS_MAX: i64 = 600;

/// Returns whether a time lies in the future by more than [`AHEAD_SECONDS_MAX`].
pub fn is_ahead(time: Timestamp, now: Timestamp) -> bool {
    time.as_second().saturating_sub(now.as_second()) > AHEAD_SECONDS_MAX
}

/// Source of the current time and of random numbers.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The host's clock and the kernel's randomness.
    #[default]
    System,
    /// A clock that a test sets, with random numbers that follow from a seed.
    Fixed(Arc<Fixed>),
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub struct Fixed {
    /// Seconds since 1970.
    at: AtomicI64,
    /// State of the random numbers.
    dice: AtomicU64,
}

impl Clock {
    /// A clock that stands still at `now`.
    pub fn fixed(now: Timestamp) -> Self {
        Self::seeded(now, now.as_second().unsigned_abs())
    }

    /// A clock that stands still at `now`, with random numbers that follow from `seed`.
    pub(crate) fn seeded(now: Timestamp, seed: u64) -> Self {
        Clock::Fixed(Arc::new(Fixed {
            at: AtomicI64::new(now.as_second()),
            dice: AtomicU64::new(seed),
        }))
    }

    /// Sets a clock that stands still.
    #[cfg(test)]
    pub(crate) fn set(&self, now: Timestamp) {
        if let Clock::Fixed(fixed) = self {
            fixed.at.store(now.as_second(), Ordering::Relaxed);
        }
    }

    /// The current time in UTC, to the second.
    pub fn now(&self) -> Timestamp {
        let second = match self {
            Clock::System => Timestamp::now().as_second(),
            Clock::Fixed(fixed) => fixed.at.load(Ordering::Relaxed),
        };
        Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Waits. The host's clock waits until the time has passed, and fails as soon as the end of the
    /// job is requested; a test's clock advances by `duration` at once.
    pub fn wait(&self, duration: Duration) -> Result<()> {
        match self {
            Clock::System => cancel::wait(duration),
            Clock::Fixed(fixed) => {
                cancel::check()?;
                let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
                fixed.at.fetch_add(seconds, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Eight random bytes as a number.
    pub fn random(&self) -> u64 {
        match self {
            Clock::System => {
                let mut bytes = [0; 8];
                // The pool of a running kernel neither blocks nor fails for eight bytes.
                let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
                u64::from_le_bytes(bytes)
            }
            Clock::Fixed(fixed) => {
                let step = 0x9e37_79b9_7f4a_7c15;
                let state = fixed.dice.fetch_add(step, Ordering::Relaxed);
                let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_advances_a_fixed_clock() {
        let now: Timestamp = "2026-11-20T06:00:00Z".parse().unwrap();
        let clock = Clock::fixed(now);
        clock.wait(Duration::from_secs(86_400 * 365)).unwrap();
        assert_eq!(clock.now().to_string(), "2027-11-20T06:00:00Z");
        let cancel = cancel::Cancel::default();
        cancel.request();
        let ended = cancel.run(|| clock.wait(Duration::from_secs(1)));
        assert_eq!(ended.unwrap_err().code, crate::Code::Interrupted);
        assert_eq!(clock.now().to_string(), "2027-11-20T06:00:00Z");
    }

    #[test]
    fn a_time_is_ahead_only_beyond_the_allowed_difference() {
        let now: Timestamp = "2026-11-20T06:00:00Z".parse().unwrap();
        for (time, expected) in [
            ("2026-11-20T05:00:00Z", false),
            ("2026-11-20T06:10:00Z", false),
            ("2026-11-20T06:10:01Z", true),
            ("2036-11-20T06:00:00Z", true),
        ] {
            assert_eq!(is_ahead(time.parse().unwrap(), now), expected, "{time}");
        }
    }
}
