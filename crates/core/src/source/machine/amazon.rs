//! What machines of Lightsail and of EC2 have in common: a client that is made once, and an address that leads to
//! the original or to what was restored from it.

use super::Provider;
use crate::config::AccountConfig;
use crate::credentials;
use crate::error::{Code, Error, Result};
use crate::secret::Scrubber;
use lifeboat_store::aws::Credentials;
use std::sync::OnceLock;

/// A client that is made at the first call, so that credentials are found once.
pub(super) struct Client<T>(OnceLock<T>);

impl<T> Client<T> {
    pub(super) fn new() -> Self {
        Client(OnceLock::new())
    }

    /// The client of an account.
    pub(super) fn of(
        &self,
        account: &AccountConfig,
        make: impl FnOnce(&str, Credentials) -> T,
    ) -> Result<&T> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let credentials = credentials::of(&account.server(), &Scrubber::default())?;
        let client = make(&account.region, credentials);
        Ok(self.0.get_or_init(|| client))
    }
}

/// The machine to which an address leads. Fails where it leads to none, or to somebody else's. `attach` is the
/// command that lets it lead to one.
pub(super) fn at(
    provider: &dyn Provider,
    address: &str,
    is_own: impl FnOnce(&str) -> Result<bool>,
    attach: &str,
) -> Result<String> {
    let missing = |message, hint| Err(Error::new(Code::SourceMissing, message).hint(hint));
    match provider.holder(address)? {
        Some(holder) if is_own(&holder)? => Ok(holder),
        Some(other) => missing(
            format!(
                "address {address} leads to {other}, which is neither {} nor restored from it",
                provider.original()
            ),
            "correct `instance` or `address`, so that they are of one machine".to_owned(),
        ),
        None => missing(
            format!("address {address} leads to no machine"),
            format!("{attach} lets it lead to one"),
        ),
    }
}

/// What is wrong where a provider says that it did something, and does not show it.
pub(super) fn not_shown(doing: &str, service: &str) -> Error {
    Error::new(Code::SourceFailed, doing)
        .cause(format!("{service} says that it did, and does not show it"))
        .hint("look at it with the provider's own tools, and try again")
}
