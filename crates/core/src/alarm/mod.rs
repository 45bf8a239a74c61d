//! Who is told of what is wrong, when, and how often.
//!
//! [`conditions`] says what is wrong now; [`step`] goes from one ledger of alarms to the next, and says
//! what is told. Both are pure. The [`Outbox`] writes a ledger and its messages in one transaction, so
//! that a run that is killed tells nothing twice and loses nothing; a [`Courier`] sends what waits there.

mod condition;
mod courier;
mod document;
mod ledger;
mod metrics;
mod outbox;

pub use condition::{Condition, conditions};
pub use courier::{Send, deliver};
pub use document::{Alarms, ChannelDocument, OpenAlarm, acknowledge, of_channel, open_alarms};
pub use ledger::{
    Acknowledged, Alarm, Escalation, Known, Ledger, Listener, Outgoing, Whose, Wrong, next_change,
    step,
};
pub use metrics::metrics;
pub use outbox::{Attempt, ChannelState, KEPT_DAYS, Outbox, Waiting};

#[cfg(test)]
mod tests;
