//! Exit codes: how the program ends, as whoever started it reads it.
//!
//! Every report and every error code determines its exit code, so that callers need not judge
//! again.

use serde::Serialize;

/// An exit code of the program. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is done.
    Done = 0,
    /// The run failed.
    Failed = 1,
    /// The command line or the configuration asks for something impossible.
    Usage = 2,
    /// Part was done: something was skipped or could not be read.
    Partial = 3,
    /// Something is damaged, missing, untrusted or unproved.
    NotProved = 4,
    /// An objective of the configuration was missed.
    Overdue = 5,
    /// Another run holds the lock.
    Busy = 6,
    /// Nothing was done because confirmation is missing.
    NeedsConfirmation = 7,
}

impl Exit {
    /// Every status in the order of its number.
    pub const ALL: [Exit; 8] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Partial,
        Exit::NotProved,
        Exit::Overdue,
        Exit::Busy,
        Exit::NeedsConfirmation,
    ];

    /// The exit code.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_match_the_interface() {
        for (place, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), place, "{exit:?}");
        }
        assert_eq!(Exit::NotProved.code(), 4);
        assert_eq!(Exit::NeedsConfirmation.code(), 7);
    }
}
