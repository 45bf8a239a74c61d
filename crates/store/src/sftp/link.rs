//! What carries the protocol: two pipes that somebody else opened and watches, so that this crate
//! starts no process and knows nothing of hosts and keys.

use std::error::Error;
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

/// Opens connections to one SFTP server, whose identity it has checked.
pub trait Connect: Send + Sync {
    /// Opens a connection; the server waits for the first packet, or is about to.
    fn connect(&self) -> Result<Pipes, LinkError>;
}

/// An open connection.
pub struct Pipes {
    /// To the server.
    pub to: Box<dyn Write + Send>,
    /// From the server.
    pub from: Box<dyn Read + Send>,
    /// What is beneath.
    pub link: Arc<dyn Link>,
}

/// What is beneath the pipes of a connection. Dropping it ends the connection.
pub trait Link: Send + Sync {
    /// Ends the connection now, whatever its state: both pipes close.
    fn cut(&self);

    /// Why the connection ended, once the pipe from the server has closed. Called once at most,
    /// and may wait a moment for the last words.
    fn why(&self) -> LinkError;
}

/// Why there is no connection.
#[derive(Clone)]
pub struct LinkError {
    /// Trying again may help.
    pub may_pass: bool,
    /// The reason, which the caller gets back in [`crate::StoreError::Link`].
    pub reason: Arc<dyn Error + Send + Sync>,
}

impl fmt::Debug for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (may pass: {})", self.reason, self.may_pass)
    }
}

impl LinkError {
    /// A reason in words.
    pub(super) fn words(may_pass: bool, reason: &str) -> Self {
        LinkError {
            may_pass,
            reason: Arc::from(Box::<dyn Error + Send + Sync>::from(reason)),
        }
    }
}
