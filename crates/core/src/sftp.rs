//! Opens connections for SFTP stores. An `ssh` of the transport asks for the server's SFTP
//! subsystem through the connection that everything on that host shares. The store speaks the
//! protocol; this side handles hosts, keys and processes.

use crate::config::{SftpConfig, SshConfig};
use crate::error::{Code, Error, Fact};
use crate::secret::Scrubber;
use crate::transport::ssh::{Host, Sessions};
use crate::transport::{Command, Running, Transport};
use crossbeam_channel::{Receiver, Sender, bounded};
use lifeboat_store::sftp::{Connect, Link, LinkError, Pipes};
use std::process::{ChildStdin, ChildStdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an `ssh` whose output has ended may take to exit.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Interval at which it is polled in that time.
const LOOK: Duration = Duration::from_millis(20);

/// Logs in to the host of a store.
pub(crate) struct Logins {
    host: Host,
    scrubber: Scrubber,
    /// Keeps the underlying connection open between two uses.
    _sessions: Sessions,
}

impl Logins {
    pub(crate) fn new(sftp: &SftpConfig, scrubber: &Scrubber) -> Self {
        let user = sftp.user.as_deref();
        Logins {
            host: Host::new(
                user,
                &sftp.host,
                sftp.port,
                sftp.ssh.as_ref().map(SshConfig::login),
            ),
            scrubber: scrubber.clone(),
            _sessions: Sessions::hold(),
        }
    }

    fn start(&self) -> Result<Login, Error> {
        let command = Command::new("ssh")
            .arg("-s")
            .args(self.host.connect()?)
            .arg("sftp")
            .env("SSH_ASKPASS", "/bin/false")
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin_piped()
            // An interrupt from the terminal is meant for us. We end `ssh` in order, after removing
            // what is unfinished on the server.
            .own_group()
            .cleanup()
            .scrub_with(&self.scrubber);
        let (tell, told) = bounded(1);
        let (order, orders) = bounded(2);
        let (say, said) = bounded(1);
        // A thread of its own: the kernel kills a child when the thread that started it ends.
        crate::thread::start(move || match Transport::Local.spawn(&command) {
            Err(error) => drop(tell.send(Err(error))),
            Ok(mut running) => {
                let pipes = running.stdin.take().zip(running.stdout.take());
                let _ = tell.send(Ok(pipes));
                keep(running, &orders, &say);
            }
        })?;
        let lost = || Error::new(Code::Io, "ssh was not started");
        let (stdin, stdout) = told.recv().map_err(|_| lost())??.ok_or_else(lost)?;
        Ok((stdin, stdout, order, said))
    }
}

type Login = (ChildStdin, ChildStdout, Sender<Order>, Receiver<String>);

/// An order about an `ssh` process.
enum Order {
    /// End it now.
    Cut,
    /// Wait for it: its output has ended, so it exits soon.
    Await,
}

/// Keeps an `ssh` until an order comes, or until nobody is left who could give one.
fn keep(mut running: Running, orders: &Receiver<Order>, say: &Sender<String>) {
    if let Ok(Order::Await) = orders.recv() {
        let deadline = Instant::now() + LAST_WORDS;
        while !running.ended() && Instant::now() < deadline {
            if let Ok(Order::Cut) = orders.recv_timeout(LOOK) {
                break;
            }
        }
    }
    let _ = say.send(running.kill());
}

impl Connect for Logins {
    fn connect(&self) -> Result<Pipes, LinkError> {
        let (stdin, stdout, order, said) = self.start().map_err(link_error)?;
        Ok(Pipes {
            to: Box::new(stdin),
            from: Box::new(stdout),
            link: Arc::new(Ssh {
                host: self.host.clone(),
                order,
                said,
            }),
        })
    }
}

/// A running `ssh`. It ends when this value is dropped, because nobody can give it orders then.
struct Ssh {
    host: Host,
    order: Sender<Order>,
    said: Receiver<String>,
}

impl Link for Ssh {
    fn cut(&self) {
        // One that already has an order is ending.
        let _ = self.order.try_send(Order::Cut);
    }

    fn why(&self) -> LinkError {
        let _ = self.order.try_send(Order::Await);
        let said = self.said.recv_timeout(2 * LAST_WORDS).unwrap_or_default();
        let place = self.host.display();
        if said.contains("subsystem request failed") {
            let message = format!("{place} has no SFTP");
            return link_error(Error::new(Code::Store, message).cause(said).hint(
                "let its sshd_config have `Subsystem sftp internal-sftp`, and this user use it",
            ));
        }
        link_error(self.host.refused(&said).unwrap_or_else(|| {
            Error::new(Code::SourceUnreachable, format!("the connection to {place} broke"))
                .cause(said)
                .hint("check the network and that host, then run again; what other stores received is safe")
        }))
    }
}

/// Converts an error for the store. A host that cannot be reached now counts as transient.
fn link_error(error: Error) -> LinkError {
    let may_pass = error.code == Code::SourceUnreachable && error.fact != Some(Fact::HostKey);
    let code = match error.code {
        Code::SourceUnreachable | Code::SourceDenied | Code::SourceFailed => Code::Store,
        code => code,
    };
    LinkError {
        may_pass,
        reason: Arc::new(Error { code, ..error }),
    }
}
