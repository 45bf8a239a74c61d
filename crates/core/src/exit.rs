//! Exit codes: how the program ends, as whoever started it reads it.
//!
//! Every report says how it ends the program, and every error does by its code, so that no caller
//! judges a second time.

use serde::Serialize;

/// An exit code of the program. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line or the configuration asks for something that cannot be.
    Usage = 2,
    /// It is done in part: something was skipped, or could not be read.
    Partial = 3,
    /// Something is damaged, missing or not to be trusted, or was not proved.
    NotProved = 4,
    /// A target of the configuration has passed.
    Overdue = 5,
    /// Another run holds it.
    Busy = 6,
    /// Nothing was done, for want of a confirmation.
    NeedsConfirmation = 7,
}

impl Exit {
    /// Every one, by its number.
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
    fn the_numbers_are_those_of_the_interface() {
        for (place, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), place, "{exit:?}");
        }
        assert_eq!(Exit::NotProved.code(), 4);
        assert_eq!(Exit::NeedsConfirmation.code(), 7);
    }
}
