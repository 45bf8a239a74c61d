//! Certificates of an authority of its own.

use super::succeed;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority that nobody knows until they are given its certificate.
pub struct Authority {
    directory: tempfile::TempDir,
}

impl Default for Authority {
    fn default() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority { directory };
        succeed(
            request("/CN=authority of a test")
                .args(["-x509", "-days", "30"])
                .arg("-keyout")
                .arg(authority.key())
                .arg("-out")
                .arg(authority.certificate()),
        );
        authority
    }
}

impl Authority {
    /// Its own certificate, which vouches for those that it issues.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("authority.key")
    }

    /// Writes a certificate for a host name, and its key.
    pub(super) fn issue(&self, name: &str, certificate: &Path, key: &Path) {
        let asked = self.directory.path().join("request");
        let names = self.directory.path().join("names");
        std::fs::write(&names, format!("subjectAltName=DNS:{name}\n")).unwrap();
        succeed(
            request(&format!("/CN={name}"))
                .arg("-keyout")
                .arg(key)
                .arg("-out")
                .arg(&asked),
        );
        succeed(
            Command::new("openssl")
                .args(["x509", "-req", "-days", "30", "-set_serial", "2"])
                .arg("-in")
                .arg(&asked)
                .arg("-CA")
                .arg(self.certificate())
                .arg("-CAkey")
                .arg(self.key())
                .arg("-extfile")
                .arg(&names)
                .arg("-out")
                .arg(certificate),
        );
    }
}

fn request(subject: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    command.args(["-nodes", "-subj", subject]);
    command
}
