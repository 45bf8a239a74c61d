//! A GnuPG home of its own, with keys made by the real `gpg`.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A new GnuPG home; its agent ends, and its files go, with the value.
pub struct GpgHome {
    directory: TempDir,
}

impl Default for GpgHome {
    fn default() -> Self {
        Self::new()
    }
}

impl GpgHome {
    /// An empty home.
    pub fn new() -> Self {
        // Short: the agent's socket lies in it, and its path must fit into 107 bytes.
        let directory = tempfile::Builder::new()
            .prefix("gpg")
            .tempdir_in("/tmp")
            .unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(directory.path(), private).unwrap();
        GpgHome { directory }
    }

    /// The directory, for `--homedir`.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `gpg` with this home, not started. It asks nothing.
    pub fn command(&self) -> Command {
        let mut command = Command::new("gpg");
        command
            .args(["--batch", "--no-tty", "--yes", "--homedir"])
            .arg(self.path())
            .args(["--pinentry-mode", "loopback", "--trust-model", "always"])
            .env("LC_ALL", "C.UTF-8")
            .env_remove("GNUPGHOME");
        command
    }

    /// Runs `gpg` on `input`.
    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &[u8]) -> Output {
        let mut child = self
            .command()
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg starts: install it with apt-get install gnupg");
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // gpg may refuse before it has read everything.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        output
    }

    /// Runs `gpg`, which must succeed; what it printed.
    pub fn ok(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(args, input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {args:?}: {said}");
        output.stdout
    }

    /// Makes a primary key of this algorithm and usage, `never` expiring or after `2y`; its
    /// fingerprint. `at` is the time it is made at, as in `20200131T120000`.
    pub fn primary(
        &self,
        user: &str,
        kind: &str,
        expire: &str,
        passphrase: &str,
        at: &str,
    ) -> String {
        let mut args = time(at);
        let (algorithm, usage) = kind.split_once(' ').unwrap_or((kind, "cert,sign"));
        args.extend([
            "--passphrase",
            passphrase,
            "--quick-gen-key",
            user,
            algorithm,
            usage,
            expire,
        ]);
        self.ok(&args, b"");
        let listed = self.ok(&["--list-keys", "--with-colons", user], b"");
        fingerprints(&listed).remove(0)
    }

    /// Adds a subkey; its fingerprint.
    pub fn subkey(
        &self,
        primary: &str,
        kind: &str,
        expire: &str,
        passphrase: &str,
        at: &str,
    ) -> String {
        let mut args = time(at);
        let (algorithm, usage) = kind.split_once(' ').unwrap_or((kind, "encr"));
        args.extend([
            "--passphrase",
            passphrase,
            "--quick-add-key",
            primary,
            algorithm,
            usage,
            expire,
        ]);
        self.ok(&args, b"");
        let listed = self.ok(&["--list-keys", "--with-colons", primary], b"");
        fingerprints(&listed).pop().unwrap()
    }

    /// Makes a key that signs with one algorithm and a subkey that encrypts with another; its
    /// fingerprint.
    pub fn key(&self, user: &str, primary: &str, subkey: &str, passphrase: &str) -> String {
        let fingerprint = self.primary(user, primary, "never", passphrase, "");
        self.subkey(&fingerprint, subkey, "never", passphrase, "");
        fingerprint
    }

    /// Writes the public keys of these users into a file beside the home's own.
    pub fn export(&self, file: &str, users: &[&str]) -> PathBuf {
        let path = self.path().join(file);
        let armor = if file.ends_with(".asc") {
            "--armor"
        } else {
            "--no-armor"
        };
        let mut args = vec![armor, "--export"];
        args.extend(users);
        std::fs::write(&path, self.ok(&args, b"")).unwrap();
        path
    }

    /// The secret keys of a user.
    pub fn export_secret(&self, armor: &str, user: &str, passphrase: &str) -> Vec<u8> {
        self.ok(
            &[
                armor,
                "--passphrase",
                passphrase,
                "--export-secret-keys",
                user,
            ],
            b"",
        )
    }

    /// Revokes a whole key by the certificate that was made with it.
    pub fn revoke(&self, fingerprint: &str) {
        let path = self
            .path()
            .join(format!("openpgp-revocs.d/{fingerprint}.rev"));
        let text = std::fs::read_to_string(path).unwrap();
        self.ok(&["--import"], text.replace("\n:---", "\n---").as_bytes());
    }

    /// Revokes the subkey of this number, counted from one.
    pub fn revoke_subkey(&self, fingerprint: &str, number: usize, passphrase: &str) {
        let said = format!("key {number}\nrevkey\ny\n0\nreplaced\n\ny\nsave\n");
        let mut command = Command::new("gpg");
        command
            .args([
                "--no-tty",
                "--yes",
                "--pinentry-mode",
                "loopback",
                "--homedir",
            ])
            .arg(self.path())
            .args([
                "--passphrase",
                passphrase,
                "--command-fd",
                "0",
                "--status-fd",
                "2",
            ])
            .args(["--edit-key", fingerprint]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(said.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

/// Lets the agent forget what it knows, and read its configuration again.
pub fn reload(home: &GpgHome) {
    let gpgconf = |args: &[&str]| {
        let mut command = Command::new("gpgconf");
        command.arg("--homedir").arg(home.path()).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    gpgconf(&["--kill", "gpg-agent"]);
    // It answers before it has gone, and who asks it then gets nothing.
    let socket = gpgconf(&["--list-dirs", "agent-socket"]);
    let socket = Path::new(socket.trim_end());
    let begun = std::time::Instant::now();
    while socket.exists() && begun.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn time(at: &str) -> Vec<&str> {
    match at {
        "" => Vec::new(),
        at => vec!["--faked-system-time", at],
    }
}

fn fingerprints(listed: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(listed);
    let lines = text.lines().filter_map(|line| line.strip_prefix("fpr:"));
    lines
        .map(|line| line.trim_matches(':').to_owned())
        .collect()
}

impl Drop for GpgHome {
    fn drop(&mut self) {
        reload(self);
    }
}
