//! Amazon's services, and what speaks as they do: keys from where the AWS tools find them, whose keys
//! these are, and secrets that are kept there.
//!
//! Every wait is bounded, that for a metadata service by seconds. Nothing here shows a key.

mod chain;
mod ec2;
mod lightsail;
mod managed;
mod metadata;
mod profile;
mod regional;
mod service;
mod sts;
mod web;

pub use chain::{Chain, Role};
pub use ec2::{Ec2, Form, List, Listing};
pub use lightsail::Lightsail;
pub use managed::{Manager, managed};
pub use regional::Failed;
pub use sts::{Identity, identity};

/// Asks for a variable of the environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A variable of this process's environment that is set, and not to nothing.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    value.filter(|value| !value.trim().is_empty())
}
