//! What a person is told, and the channels that carry it.

mod message;

pub use message::{Event, Item, Message};
