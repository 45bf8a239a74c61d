//! A Debian to install packages in: the bare one that `scripts/tools` made, with a file system over it
//! that takes what is written and goes with the value. systemd is installed there and does not run.

use crate::s3::tool;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Holds the mounts until its standard input ends. `$1` is the bare Debian.
const HOLD: &str = "set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=\"$1\",upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
mount -t proc proc /mnt/root/proc
mount -t tmpfs -o mode=755 tmpfs /mnt/root/run
echo ready
read -r _ || true";

/// The Debian. Only root can make one.
pub struct Debian {
    holder: Child,
}

impl Debian {
    /// Lays one over the bare Debian.
    ///
    /// # Panics
    /// Panics if it cannot be mounted; the message says why.
    pub fn lay() -> Self {
        let bare = tool("debian").canonicalize().unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", HOLD, "sh"])
            .arg(bare)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        if said != "ready\n" {
            let mut why = String::new();
            let _ = holder.stderr.take().unwrap().read_to_string(&mut why);
            panic!("no Debian can be mounted here: {why}");
        }
        Debian { holder }
    }

    /// A program of this machine in the mounts, whose root is not changed; not started.
    fn beside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// A program of the Debian in it, as root with nothing of this environment; not started.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.beside("chroot");
        command
            .args(["/mnt/root", program])
            .args(args)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Copies a file of this machine to a path in it.
    ///
    /// # Panics
    /// Panics if it cannot be copied.
    pub fn put(&self, file: &Path, to: &str) {
        let to = format!("/mnt/root{to}");
        let copied = self
            .beside("install")
            .args(["-D"])
            .arg(file)
            .arg(to)
            .status();
        assert!(
            copied.unwrap().success(),
            "{} cannot be copied",
            file.display()
        );
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
