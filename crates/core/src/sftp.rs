//! Opens connections for SFTP stores: an `ssh` of the transport, through the connection that is
//! shared with everything else that runs on that host, asks for the server's SFTP subsystem. The
//! store speaks the protocol; hosts, keys and processes are the business of this side.

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

/// How long an `ssh` whose output has ended may take to end itself.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How often it is looked at in that time.
const LOOK: Duration = Duration::from_millis(20);

/// Logs in to the host of a store.
pub(crate) struct Logins {
    host: Host,
    scrubber: Scrubber,
    /// The connection beneath stays open between two uses.
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
            // An interrupt from the terminal is for us, and we end it in order: what is unfinished
            // over there is removed first.
            .own_group()
            .cleanup()
            .scrub_with(&self.scrubber);
        let (tell, told) = bounded(1);
        let (order, orders) = bounded(2);
        let (say, said) = bounded(1);
        // A thread of its own: the kernel ends a child with the thread that started it.
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

/// What becomes of an `ssh`.
enum Order {
    /// It ends now.
    Cut,
    /// Its output has ended, so it will, too.
    Await,
}

/// Until it is told what to do, or nobody is left who could.
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

/// An `ssh` that runs. It ends when this is dropped, because nobody can give it orders then.
struct Ssh {
    host: Host,
    order: Sender<Order>,
    said: Receiver<String>,
}

impl Link for Ssh {
    fn cut(&self) {
        // One that has had its orders is ending.
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

/// The error as a store hands it on; what may pass is a host that cannot be reached now.
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
