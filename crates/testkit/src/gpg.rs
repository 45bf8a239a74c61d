//! A separate GnuPG home, with keys made by the real `gpg`.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A new GnuPG home. When it is dropped, its agent ends and its files are removed.
pub struct GpgHome {
    directory: TempDir,
}

impl Default for GpgHome {
    fn default() -> Self {
        Self::new()
    }
}

impl GpgHome {
    /// Makes an empty home.
    pub fn new() -> Self {
        // A short path: the agent's socket lies in it, and its path must fit in 107 bytes.
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

    /// A `gpg` command with this home, not yet started. It never prompts.
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

    /// Runs `gpg` with this input.
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

    /// Runs `gpg` and returns what it printed. Panics if it fails.
    pub fn ok(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(args, input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {args:?}: {said}");
        output.stdout
    }

    /// Makes a primary key of this algorithm and usage, and returns its fingerprint. `expires` may
    /// be `never` or `2y`. `at` is the creation time, as in `20200131T120000`.
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

    /// Adds a subkey, and returns its fingerprint.
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

    /// Makes a key that signs with one algorithm, with a subkey that encrypts with another, and
    /// returns its fingerprint.
    pub fn key(&self, user: &str, primary: &str, subkey: &str, passphrase: &str) -> String {
        let fingerprint = self.primary(user, primary, "never", passphrase, "");
        self.subkey(&fingerprint, subkey, "never", passphrase, "");
        fingerprint
    }

    /// Writes the public keys of these users to a file in the home.
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

    /// Exports the secret keys of a user.
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

    /// Revokes a whole key with the certificate that was made with it.
    pub fn revoke(&self, fingerprint: &str) {
        let path = self
            .path()
            .join(format!("openpgp-revocs.d/{fingerprint}.rev"));
        let text = std::fs::read_to_string(path).unwrap();
        self.ok(&["--import"], text.replace("\n:---", "\n---").as_bytes());
    }

    /// Revokes the subkey with this number, counted from one.
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

/// Makes the agent forget its passphrases and read its configuration again.
pub fn reload(home: &GpgHome) {
    let gpgconf = |args: &[&str]| {
        let mut command = Command::new("gpgconf");
        command.arg("--homedir").arg(home.path()).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    gpgconf(&["--kill", "gpg-agent"]);
    // gpgconf returns before the agent has ended, and requests until then get no answer.
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
