//! SFTP with OpenSSH's servers: the one within `sshd`, and the separate program with every
//! extension of the protocol switched off.

use super::{Noise, get, keys, suite};
use lifeboat_store::sftp::{Connect, Link, LinkError, Pipes};
use lifeboat_store::{Ending, PutOptions, SftpOptions, SftpStore, Store, StoreError};
use lifeboat_testkit::ssh::SshServer;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The path of OpenSSH's program on Debian.
const SERVER: &str = "/usr/lib/openssh/sftp-server";

/// Starts servers of several kinds, each selected by the name of a subsystem.
pub fn server() -> SshServer {
    let bare = format!(
        "Subsystem bare {SERVER} -P posix-rename,statvfs,fstatvfs,hardlink,fsync,lsetstat,limits,expand-path,copy-data,home-directory,users-groups-by-id"
    );
    let noisy = format!("Subsystem noisy echo Welcome to this machine; exec {SERVER}");
    let nobody =
        format!("Subsystem nobody setpriv --reuid=65534 --regid=65534 --clear-groups {SERVER}");
    let mute = "Subsystem mute sleep 600";
    SshServer::start_with(&[&bare, &noisy, &nobody, mute])
}

/// Connects with the system's `ssh`.
#[derive(Clone)]
pub struct Ssh {
    pub config: PathBuf,
    pub alias: String,
    pub port: u16,
    pub subsystem: &'static str,
    pub opened: Arc<AtomicUsize>,
    /// If set, the answer to the next packet that contains this text is lost, and the connection
    /// with it.
    pub lose_answer_to: Arc<Mutex<Option<&'static str>>>,
}

impl Ssh {
    pub fn to(server: &SshServer) -> Ssh {
        Ssh {
            config: server.config_path(),
            alias: format!("HostKeyAlias=[127.0.0.1]:{}", server.port()),
            port: server.port(),
            subsystem: "sftp",
            opened: Arc::default(),
            lose_answer_to: Arc::default(),
        }
    }
}

struct Process(Mutex<Child>, Arc<AtomicBool>);

impl Link for Process {
    fn cut(&self) {
        let _ = self.0.lock().unwrap().kill();
    }

    fn why(&self) -> LinkError {
        let mut child = self.0.lock().unwrap();
        if self.1.load(Ordering::SeqCst) {
            let _ = child.kill();
        }
        let mut text = String::new();
        let _ = child.stderr.take().unwrap().read_to_string(&mut text);
        let _ = child.wait();
        let denied = text.contains("Permission denied") || text.contains("verification failed");
        LinkError {
            may_pass: !denied,
            reason: Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(text)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.0.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Connect for Ssh {
    fn connect(&self) -> Result<Pipes, LinkError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let mut child = Command::new("ssh")
            .arg("-F")
            .arg(&self.config)
            .args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
            .args(["-o", &self.alias, "-o", "LogLevel=ERROR"])
            .args(["-p", &self.port.to_string()])
            .args(["-s", "127.0.0.1", self.subsystem])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lost = Arc::new(AtomicBool::new(false));
        let to = Sending {
            inner: child.stdin.take().unwrap(),
            lose_answer_to: Arc::clone(&self.lose_answer_to),
            lost: Arc::clone(&lost),
        };
        let from = Receiving {
            inner: child.stdout.take().unwrap(),
            lost: Arc::clone(&lost),
        };
        Ok(Pipes {
            to: Box::new(to),
            from: Box::new(from),
            link: Arc::new(Process(Mutex::new(child), lost)),
        })
    }
}

struct Sending<W> {
    inner: W,
    lose_answer_to: Arc<Mutex<Option<&'static str>>>,
    lost: Arc<AtomicBool>,
}

impl<W: Write> Write for Sending<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut wanted = self.lose_answer_to.lock().unwrap();
        if let Some(text) = *wanted
            && bytes.windows(text.len()).any(|w| w == text.as_bytes())
        {
            *wanted = None;
            self.lost.store(true, Ordering::SeqCst);
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

struct Receiving<R> {
    inner: R,
    lost: Arc<AtomicBool>,
}

impl<R: Read> Read for Receiving<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        // The request was carried out, but its answer is lost.
        Ok(if self.lost.load(Ordering::SeqCst) {
            0
        } else {
            n
        })
    }
}

/// A store below the server's directory.
pub fn store(ssh: &Ssh, path: &Path, change: impl FnOnce(&mut SftpOptions)) -> SftpStore {
    let mut options = SftpOptions {
        location: format!("sftp://127.0.0.1{}", path.display()),
        path: path.display().to_string(),
        create: true,
        stall: Duration::from_secs(30),
        ending: Ending::default(),
    };
    change(&mut options);
    SftpStore::open(Box::new(ssh.clone()), options)
}

pub fn put(store: &dyn Store, key: &str, bytes: &[u8]) -> Result<u64, StoreError> {
    let receipt = store.put(key, &mut &bytes[..], &PutOptions::default())?;
    Ok(receipt.bytes)
}

/// The unfinished objects in a store's directory.
pub fn unfinished(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root.join(".incoming")) else {
        return Vec::new();
    };
    entries.map(|e| e.unwrap().path()).collect()
}

fn conforms(subsystem: &'static str) {
    let server = server();
    let ssh = Ssh {
        subsystem,
        ..Ssh::to(&server)
    };
    let mut n = 0..;
    let n = Mutex::new(&mut n);
    suite::run(
        &|| {
            let name = format!("s {}", n.lock().unwrap().next().unwrap());
            Box::new(store(&ssh, &server.sftp_root().join(name), |_| {}))
        },
        &[],
    );
}

#[test]
fn sftp_within_sshd_conforms() {
    conforms("sftp");
}

#[test]
fn sftp_without_extensions_conforms() {
    conforms("bare");
}

#[test]
fn sftp_writes_private_complete_files_and_nothing_else() {
    let server = server();
    let root = server.sftp_root().join("s");
    let ssh = Ssh::to(&server);
    let store = store(&ssh, &root, |_| {});
    put(&store, "a/b/c", b"content").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&root.join("a/b")), 0o700);
    assert_eq!(mode(&root.join("a/b/c")), 0o600);
    assert_eq!(unfinished(&root), Vec::<PathBuf>::new());
    assert_eq!(ssh.opened.load(Ordering::SeqCst), 1);
    // What others put there is not an object, or has no key.
    fs::write(root.join(std::ffi::OsStr::new("plain")), "x").unwrap();
    use std::os::unix::ffi::OsStrExt;
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"bad-\xff")), "x").unwrap();
    std::os::unix::fs::symlink("plain", root.join("link")).unwrap();
    std::os::unix::fs::symlink("a", root.join("tree")).unwrap();
    assert_eq!(keys(&store, ""), ["a/b/c", "plain"]);
    let error = store.open("link", 0).err().unwrap();
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    // The last deletion removes the directories, too.
    store.delete("a/b/c").unwrap();
    assert!(!root.join("a").exists());
    for error in [
        put(&store, "plain/below", b"x").unwrap_err(),
        put(&store, ".incoming/x", b"x").unwrap_err(),
    ] {
        let told = error.to_string();
        assert!(
            told.contains("both a file and a directory") || told.contains("unfinished"),
            "{told}"
        );
    }
    fs::create_dir(root.join("dir")).unwrap();
    let error = put(&store, "dir", b"x").unwrap_err();
    assert!(error.to_string().contains("both"), "{error}");
    assert_eq!(unfinished(&root), Vec::<PathBuf>::new());
}

#[test]
fn an_impossible_directory_is_reported_as_missing() {
    let server = server();
    let ssh = Ssh::to(&server);
    let below = server.sftp_root().join("no/where");
    let file = server.sftp_root().join("file");
    fs::write(&file, "x").unwrap();
    for (path, words) in [(&below, "parent"), (&file, "not a directory")] {
        let error = put(&store(&ssh, path, |_| {}), "k", b"x").unwrap_err();
        assert!(matches!(&error, StoreError::Missing { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let absent = server.sftp_root().join("absent");
    let reading = store(&ssh, &absent, |o| o.create = false);
    let error = reading.list("").unwrap_err();
    assert!(matches!(&error, StoreError::Missing { .. }), "{error:?}");
    assert!(!absent.exists());
}

#[test]
fn a_login_that_may_not_write_is_denied() {
    if lifeboat_testkit::privilege::needs_root("serve another user") {
        return;
    }
    let server = server();
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = parent.path().join("s");
    let ssh = Ssh::to(&server);
    put(&store(&ssh, &root, |_| {}), "k", b"x").unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(root.join("k"), fs::Permissions::from_mode(0o644)).unwrap();
    let nobody = Ssh {
        subsystem: "nobody",
        ..ssh
    };
    let store = store(&nobody, &root, |_| {});
    assert_eq!(get(&store, "k", 0), b"x");
    for error in [
        put(&store, "new", b"x").unwrap_err(),
        store.delete("k").unwrap_err(),
        store.probe().unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Denied { .. }), "{error:?}");
    }
}

/// A mounted file system, unmounted when dropped; `None` if mounting is not permitted.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str) -> Option<Mount> {
        fs::create_dir(at).unwrap();
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at);
        let mounted = command.stderr(Stdio::null()).status().unwrap().success();
        mounted.then(|| Mount(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn full_and_read_only_disks_are_reported_as_such() {
    let server = server();
    let Some(mount) = Mount::tmpfs(&server.sftp_root().join("m"), "size=6m") else {
        return;
    };
    let ssh = Ssh::to(&server);
    let root = mount.0.join("s");
    let store = store(&ssh, &root, |_| {});
    put(&store, "old", b"old").unwrap();
    let body = &mut Noise::new(1, 20 << 20);
    let error = store.put("new", body, &PutOptions::default()).unwrap_err();
    assert!(matches!(&error, StoreError::Full { .. }), "{error:?}");
    assert_eq!(unfinished(&root), Vec::<PathBuf>::new());
    assert_eq!(keys(&store, ""), ["old"]);
    // There is space again.
    put(&store, "fits", &Noise::all(2, 2 << 20)).unwrap();
    let status = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&mount.0)
        .status();
    assert!(status.unwrap().success());
    assert_eq!(get(&store, "old", 0), b"old");
    for error in [
        put(&store, "more", b"x").unwrap_err(),
        store.delete("old").unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::ReadOnly { .. }), "{error:?}");
    }
}
