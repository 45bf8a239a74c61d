//! Who is told of what is wrong, when, and how often.
//!
//! [`conditions`] says what is wrong now; [`step`] goes from one ledger of alarms to the next, and says
//! what is told. Both are pure. The [`Outbox`] writes a ledger and its messages in one transaction, so
//! that a run that is killed tells nothing twice and loses nothing; a [`Courier`] sends what waits there.

mod condition;
mod ledger;

pub use condition::{Condition, conditions};
pub use ledger::{
    Acknowledged, Alarm, Escalation, Ledger, Listener, Outgoing, Whose, next_change, step,
};

#[cfg(test)]
mod tests;
