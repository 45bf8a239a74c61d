//! A real OpenSSH server for tests, on a free port of this host. Its host keys, users' keys and
//! configuration are in one directory that is removed with it.
//!
//! It accepts logins of the user that runs the test, by public key only. It lives as long as its
//! value, and no longer than the test process even if that is killed.

#![allow(clippy::disallowed_types, clippy::unwrap_used, clippy::panic)]

use rustix::process::{Pid, Signal};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The time limit for any action of the server.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `sshd`. Dropping it ends the server and its connections, and removes its files.
pub struct SshServer {
    directory: tempfile::TempDir,
    port: u16,
    user: String,
    lines: Vec<String>,
    server: Option<Child>,
}

/// The key pair of a user.
#[derive(Debug, Clone)]
pub struct UserKey {
    /// The path of the private key, mode 0600. The public key is beside it, with `.pub` appended.
    pub path: PathBuf,
    /// The private key, as in its file.
    pub private: String,
    /// The public key, as a line of `authorized_keys`.
    pub public: String,
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn sshd() -> &'static Path {
    let path = Path::new("/usr/sbin/sshd");
    assert!(path.exists(), "tests need apt-get install openssh-server");
    path
}

fn generate(path: &Path, kind: &str, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f"]);
    if kind == "rsa" {
        command.args([path.as_os_str(), "-b".as_ref(), "2048".as_ref()]);
    } else {
        command.arg(path);
    }
    run(&mut command);
}

impl SshServer {
    /// Starts a server.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with these lines before the others of its `sshd_config`, so that they take
    /// precedence: for example `SetEnv PATH=…` or `MaxSessions 1`. `%D` in a line is the server's
    /// directory, in which `files` is [`SshServer::sftp_root`].
    pub fn start_with(lines: &[&str]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("lbssh")
            .tempdir_in("/tmp")
            .unwrap();
        if rustix::process::geteuid().is_root() {
            // The directory that Debian's sshd needs for privilege separation; elsewhere its init
            // script makes it.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        generate(&directory.path().join("host"), "ed25519", "");
        std::fs::create_dir(directory.path().join("files")).unwrap();
        std::fs::write(directory.path().join("authorized_keys"), "").unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut server = SshServer {
            directory,
            port,
            user: run(Command::new("id").arg("-un")),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            server: None,
        };
        let key = server.user_key("id", "ed25519", "");
        server.write("known_hosts", &server.known_hosts());
        let config = format!(
            "User {}\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\n",
            server.user,
            key.path.display(),
            server.known_hosts_path().display(),
        );
        server.write("ssh_config", &config);
        server.launch();
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn launch(&mut self) {
        let place = self.directory.path().display().to_string();
        let mut config = self.lines.join("\n").replace("%D", &place);
        config.push_str(&format!(
            "\nListenAddress 127.0.0.1:{}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile {}\n",
            self.port,
            self.path("host").display(),
            self.path("authorized_keys").display(),
            self.path("pid").display(),
        ));
        config.push_str(
            "UsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\n\
             UseDNS no\nLogLevel VERBOSE\nMaxStartups 100\nSubsystem sftp internal-sftp\n",
        );
        self.write("sshd_config", &config);
        // Newer versions block clients that fail often, and these tests fail on purpose.
        let stricter = format!("{config}PerSourcePenalties no\n");
        self.write("sshd_config.new", &stricter);
        let knows = Command::new(sshd())
            .args(["-t", "-f"])
            .arg(self.path("sshd_config.new"))
            .output()
            .unwrap();
        if knows.status.success() {
            self.write("sshd_config", &stricter);
        }
        let _ = std::fs::remove_file(self.path("pid"));
        // `read` returns when the pipe closes, which the kernel guarantees.
        let script = "\"$@\" </dev/null & pid=$!; read -r _; kill -9 $pid; wait $pid";
        let child = Command::new("/bin/sh")
            .args(["-c", script, "server"])
            .arg(sshd())
            .args(["-D", "-f"])
            .arg(self.path("sshd_config"))
            .arg("-E")
            .arg(self.path("log"))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.server = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            assert!(
                Instant::now() < deadline,
                "the test server does not start:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let mut banner = [0; 4];
        self.path("pid").exists()
            && TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
                .and_then(|mut stream| stream.read_exact(&mut banner))
                .is_ok_and(|()| &banner == b"SSH-")
    }

    /// The address: 127.0.0.1.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user that may log in: the one that runs the test.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The address as `user@127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("{}@127.0.0.1:{}", self.user, self.port)
    }

    /// Makes a key pair (`ed25519`, `ecdsa` or `rsa`) that may log in. An empty passphrase means
    /// none.
    pub fn user_key(&self, name: &str, kind: &str, passphrase: &str) -> UserKey {
        let key = self.stranger_key(name, kind, passphrase);
        let mut authorized = std::fs::read_to_string(self.path("authorized_keys")).unwrap();
        authorized.push_str(&key.public);
        self.write("authorized_keys", &authorized);
        key
    }

    /// Makes a key pair that may not log in.
    pub fn stranger_key(&self, name: &str, kind: &str, passphrase: &str) -> UserKey {
        let path = self.path(name);
        generate(&path, kind, passphrase);
        UserKey {
            private: std::fs::read_to_string(&path).unwrap(),
            public: std::fs::read_to_string(path.with_extension("pub")).unwrap(),
            path,
        }
    }

    /// The private key named in [`SshServer::config_path`].
    pub fn identity_path(&self) -> PathBuf {
        self.path("id")
    }

    /// A client configuration for `ssh -F` that logs in and knows the host key.
    pub fn config_path(&self) -> PathBuf {
        self.path("ssh_config")
    }

    /// A `known_hosts` file with the first host key. [`SshServer::rotate_host_key`] does not change
    /// it.
    pub fn known_hosts_path(&self) -> PathBuf {
        self.path("known_hosts")
    }

    /// The line of a `known_hosts` file for the current host key.
    pub fn known_hosts(&self) -> String {
        let public = std::fs::read_to_string(self.path("host.pub")).unwrap();
        format!("[127.0.0.1]:{} {public}", self.port)
    }

    /// The fingerprint of the current host key: `SHA256:…`.
    pub fn host_fingerprint(&self) -> String {
        let shown = run(Command::new("ssh-keygen").arg("-lf").arg(self.path("host")));
        shown.split(' ').nth(1).unwrap().to_owned()
    }

    /// An empty directory for users that log in. `internal-sftp` serves it by its absolute path.
    pub fn sftp_root(&self) -> PathBuf {
        self.path("files")
    }

    /// The whole log of the server.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The number of logins so far.
    pub fn logins(&self) -> usize {
        self.log().matches("Accepted publickey for").count()
    }

    /// Makes a new host key and restarts the server.
    pub fn rotate_host_key(&mut self) {
        for name in ["host", "host.pub"] {
            std::fs::remove_file(self.path(name)).unwrap();
        }
        generate(&self.path("host"), "ed25519", "");
        self.restart();
    }

    /// Restarts the server on the same port; connections are cut.
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    /// Stops the server and its connections.
    pub fn stop(&mut self) {
        self.kill_connections();
        if let Some(mut server) = self.server.take() {
            drop(server.stdin.take());
            let _ = server.wait();
        }
    }

    /// The processes that serve the current connections, without the commands they started.
    pub fn connections(&self) -> Vec<u32> {
        let pid = std::fs::read_to_string(self.path("pid")).unwrap_or_default();
        let Ok(listener) = pid.trim().parse() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut waiting = vec![listener];
        while let Some(parent) = waiting.pop() {
            for (child, name) in children(parent) {
                if name.starts_with("sshd") {
                    found.push(child);
                    waiting.push(child);
                }
            }
        }
        found
    }

    /// Cuts every connection at once, as when the network to the server fails. The commands that
    /// run for them get no other notice.
    pub fn kill_connections(&self) {
        self.signal(Signal::KILL);
    }

    /// Suspends every connection without closing it, as when packets are lost.
    pub fn freeze_connections(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes what [`SshServer::freeze_connections`] suspended.
    pub fn thaw_connections(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        for pid in self.connections() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The children of a process, with the names of their programs.
fn children(parent: u32) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let of_parent = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let ppid: u32 = rest.split_whitespace().nth(1)?.parse().ok()?;
        (ppid == parent).then(|| (pid, name.to_owned()))
    });
    of_parent.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(server: &SshServer, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(server.config_path());
        ssh.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]);
        ssh.args(["-p", &server.port().to_string(), server.host(), command]);
        ssh.stdin(Stdio::null());
        ssh
    }

    #[test]
    fn a_server_takes_logins_and_can_be_cut_and_changed() {
        let mut server = SshServer::start();
        assert_eq!(run(&mut ssh(&server, "echo here")), "here");
        assert_eq!(server.logins(), 1);

        let mut running = ssh(&server, "echo begun; sleep 60")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut begun = [0; 6];
        let pipe = running.stdout.as_mut().unwrap();
        pipe.read_exact(&mut begun).unwrap();
        server.kill_connections();
        assert_eq!(running.wait().unwrap().code(), Some(255));

        let before = server.host_fingerprint();
        server.rotate_host_key();
        assert_ne!(server.host_fingerprint(), before);
        assert!(!ssh(&server, "true").output().unwrap().status.success());
        server.write("known_hosts", &server.known_hosts());
        assert!(ssh(&server, "true").output().unwrap().status.success());
    }

    #[test]
    fn files_come_through_sftp() {
        let server = SshServer::start();
        std::fs::write(server.sftp_root().join("a"), "content").unwrap();
        let target = server.sftp_root().join("b");
        let mut sftp = Command::new("sftp");
        sftp.arg("-q").arg("-F").arg(server.config_path());
        sftp.args(["-P", &server.port().to_string()]);
        sftp.arg(format!("127.0.0.1:{}/a", server.sftp_root().display()));
        run(sftp.arg(&target));
        assert_eq!(std::fs::read_to_string(target).unwrap(), "content");
    }
}
