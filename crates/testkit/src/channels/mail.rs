//! A real mail server, and a server that shows a certificate of an unknown authority.

use crate::s3::tool;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How a mail server wants to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// In clear, without a login.
    Clear,
    /// Encrypted after the greeting.
    Starttls,
    /// Encrypted from the first byte on.
    Implicit,
}

/// A mail that arrived.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Sender, recipients, whether it was encrypted, and who logged in: a line each.
    pub envelope: String,
    /// Headers and text.
    pub text: String,
}

/// A mail server. It ends when it is dropped.
pub struct MailServer(Program);

impl MailServer {
    /// Starts one that asks nobody to log in.
    pub fn start(want: Want) -> Self {
        Self::with_login(want, "", "")
    }

    /// Starts one that asks everybody to log in.
    pub fn with_login(want: Want, user: &str, password: &str) -> Self {
        let kind = match want {
            Want::Clear => "none",
            Want::Starttls => "starttls",
            Want::Implicit => "implicit",
        };
        MailServer(Program::start(&[kind, user, password]))
    }

    /// The port on this host.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// The certificate of the authority that vouches for it.
    pub fn authority(&self) -> PathBuf {
        self.0.path("ca.pem")
    }

    /// The mails that arrived, in order.
    pub fn mails(&self) -> Vec<Mail> {
        let read = |number: usize| {
            let bytes = std::fs::read(self.0.path(&format!("mail-{number}"))).ok()?;
            let text = String::from_utf8(bytes).unwrap();
            let (envelope, text) = text.split_once("\n\n").unwrap();
            Some(Mail {
                envelope: envelope.to_owned(),
                text: text.to_owned(),
            })
        };
        (0..).map_while(read).collect()
    }
}

/// A web server whose certificate is of an authority of its own. It ends when it is dropped.
pub struct TlsServer(Program);

impl TlsServer {
    /// Starts one with a certificate that is right, but for the `fault`: `other-name` or `expired`.
    pub fn start(fault: Option<&str>) -> Self {
        let arguments: Vec<&str> = ["https", "", ""].into_iter().chain(fault).collect();
        TlsServer(Program::start(&arguments))
    }

    /// The URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.0.port)
    }

    /// The certificate of the authority that vouches for it.
    pub fn authority(&self) -> PathBuf {
        self.0.path("ca.pem")
    }
}

struct Program {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("mail_server.py");
        std::fs::write(&script, include_str!("mail_server.py")).unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new(tool("venv/bin/python"))
            .arg(&script)
            .arg(directory.path())
            .args(arguments)
            // It ends when this pipe does, also if the test is killed.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut program = Program {
            child,
            port: 0,
            directory,
        };
        program.port = program.wait_for_port();
        program
    }

    fn wait_for_port(&mut self) -> u16 {
        let begun = Instant::now();
        loop {
            if let Ok(port) = std::fs::read_to_string(self.path("port")) {
                return port.parse().unwrap();
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || begun.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
                panic!("the mail server does not start ({ended:?}):\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        let directory: &Path = self.directory.path();
        directory.join(name)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
