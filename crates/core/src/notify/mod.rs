//! What a person is told, and the channels that carry it.

mod mail;
mod message;
mod program;
pub mod render;
mod send;
mod test;

pub use message::{Body, Event, Item, Message};
pub use send::{Again, Delivered, SendError, send};
pub use test::{Outcome, TestReport, Tested, run as test};
