//! The connection beneath the protocol: two pipes that the caller opens and watches. So this crate
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

/// The pipes of an open connection.
pub struct Pipes {
    /// The pipe to the server.
    pub to: Box<dyn Write + Send>,
    /// The pipe from the server.
    pub from: Box<dyn Read + Send>,
    /// The connection itself.
    pub link: Arc<dyn Link>,
}

/// The connection beneath two pipes. Dropping it ends the connection.
pub trait Link: Send + Sync {
    /// Ends the connection at once, whatever its state: both pipes close.
    fn cut(&self);

    /// Returns why the connection ended, once the pipe from the server has closed. It is called at
    /// most once, and may wait a moment for the last output.
    fn why(&self) -> LinkError;
}

/// The reason why there is no connection.
#[derive(Clone)]
pub struct LinkError {
    /// True if another attempt may help.
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
    /// An error whose reason is this text.
    pub(super) fn words(may_pass: bool, reason: &str) -> Self {
        LinkError {
            may_pass,
            reason: Arc::from(Box::<dyn Error + Send + Sync>::from(reason)),
        }
    }
}
