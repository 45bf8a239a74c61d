//! Connections to an SFTP server that break, freeze or send garbage. Whatever they do, data is
//! complete or there is an error, in bounded time.

use super::sftp::{Ssh, put, server, store, unfinished};
use super::{Noise, get, keys};
use lifeboat_store::{PutOptions, SftpStore, Store, StoreError};
use lifeboat_testkit::s3::{Fault, FaultyProxy, Way};
use lifeboat_testkit::ssh::SshServer;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

struct Net {
    server: SshServer,
    root: PathBuf,
    proxy: FaultyProxy,
    ssh: Ssh,
    /// The store through the proxy.
    store: SftpStore,
    /// The store without the proxy.
    direct: SftpStore,
}

fn net() -> Net {
    let server = server();
    let root = server.sftp_root().join("s");
    let proxy = FaultyProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port())));
    let straight = Ssh::to(&server);
    let address = proxy.endpoint();
    let ssh = Ssh {
        port: address.rsplit(':').next().unwrap().parse().unwrap(),
        opened: std::sync::Arc::default(),
        lose_answer_to: std::sync::Arc::default(),
        ..straight.clone()
    };
    Net {
        store: store(&ssh, &root, |_| {}),
        direct: store(&straight, &root, |_| {}),
        ssh,
        proxy,
        root,
        server,
    }
}

impl Net {
    /// The store through the proxy, with shorter pauses between attempts: for a network that does
    /// not recover.
    fn impatient(&self) -> SftpStore {
        store(&self.ssh, &self.root, |o| o.stall = Duration::from_secs(2))
    }
}

fn put_noise(store: &dyn Store, bytes: u64, if_absent: bool) -> Result<u64, StoreError> {
    let options = PutOptions {
        if_absent,
        bytes_hint: None,
    };
    let receipt = store.put("d/k", &mut Noise::new(1, bytes), &options)?;
    Ok(receipt.bytes)
}

#[test]
fn a_broken_upload_resumes() {
    for subsystem in ["sftp", "bare"] {
        let net = net();
        let ssh = Ssh {
            subsystem,
            ..net.ssh.clone()
        };
        let store = store(&ssh, &net.root, |_| {});
        net.proxy.set(Fault::Cut(Way::Up, 7 * MIB), 4);
        assert_eq!(put_noise(&store, 60 * MIB, false).unwrap(), 60 * MIB);
        assert_eq!(net.proxy.done(), 4);
        assert!(get(&net.direct, "d/k", 0) == Noise::all(1, 60 * MIB));
        assert_eq!(unfinished(&net.root), Vec::<PathBuf>::new());
    }
}

/// A body that pauses for a while, during which the connection breaks.
struct Pausing<'a> {
    data: Noise,
    at: u64,
    cut: Option<&'a (dyn Fn() + Sync)>,
}

impl Read for Pausing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.data.read(buffer)?;
        self.at = self.at.saturating_sub(n as u64);
        if self.at == 0
            && let Some(cut) = self.cut.take()
        {
            cut();
        }
        Ok(n)
    }
}

#[test]
fn a_server_killed_during_an_upload_costs_only_time() {
    let net = net();
    let cut = || {
        net.server.kill_connections();
        assert_eq!(keys(&net.direct, ""), [""; 0]);
    };
    let mut body = Pausing {
        data: Noise::new(1, 40 * MIB),
        at: 20 * MIB,
        cut: Some(&cut),
    };
    let options = PutOptions::default();
    assert_eq!(
        net.store.put("k", &mut body, &options).unwrap().bytes,
        40 * MIB
    );
    assert!(get(&net.direct, "k", 0) == Noise::all(1, 40 * MIB));
    assert!(net.ssh.opened.load(Ordering::SeqCst) > 1);
}

#[test]
fn an_upload_that_keeps_breaking_is_an_error_and_leaves_nothing_visible() {
    let net = net();
    let store = net.impatient();
    put(&store, "first", b"x").unwrap();
    net.proxy.set(Fault::Cut(Way::Up, 0), i64::MAX);
    let error = put_noise(&store, 40 * MIB, false).unwrap_err();
    assert!(matches!(error, StoreError::Link { .. }), "{error:?}");
    assert_eq!(keys(&net.direct, ""), ["first"]);
}

#[test]
fn leftovers_of_dead_writers_are_swept() {
    let net = net();
    put(&net.direct, "first", b"x").unwrap();
    let incoming = net.root.join(".incoming");
    let left = |name: &str| {
        fs::write(incoming.join(name), "half").unwrap();
        incoming.join(name)
    };
    // A living writer shows what names look like here.
    struct Look<'a>(&'a PathBuf, Option<String>);
    impl Read for Look<'_> {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            let mut names = fs::read_dir(self.0).unwrap();
            let name = names.next().unwrap().unwrap().file_name();
            self.1 = name.into_string().ok();
            Ok(0)
        }
    }
    let mut look = Look(&incoming, None);
    net.direct
        .put("second", &mut look, &PutOptions::default())
        .unwrap();
    let name = look.1.unwrap();
    let parts: Vec<_> = name.split('-').collect();
    let gone = left(&format!("{}-4294967295-1-{}", parts[0], parts[3]));
    let live = left(&format!("{}-{}-{}-0", parts[0], parts[1], parts[2]));
    let elsewhere = left("0123456789ab-1-1-0");
    let old = left("0123456789ab-2-2-0");
    let day = std::time::SystemTime::now() - Duration::from_secs(25 * 3600);
    fs::File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_modified(day)
        .unwrap();
    let again = store(&net.ssh, &net.root, |_| {});
    put(&again, "third", b"x").unwrap();
    assert!(!gone.exists() && !old.exists());
    assert!(live.exists() && elsewhere.exists());
}

#[test]
fn a_broken_download_resumes_where_it_broke() {
    let net = net();
    put_noise(&net.direct, 40 * MIB, false).unwrap();
    net.proxy.set(Fault::Cut(Way::Down, 5 * MIB), 4);
    assert!(get(&net.store, "d/k", 0) == Noise::all(1, 40 * MIB));
    assert_eq!(net.proxy.done(), 4);
    net.proxy.set(Fault::Cut(Way::Down, 5 * MIB), 1);
    let tail = get(&net.store, "d/k", 3 * MIB + 7);
    assert!(tail == Noise::all(1, 40 * MIB)[usize::try_from(3 * MIB + 7).unwrap()..]);
    assert_eq!(net.proxy.done(), 5);
}

#[test]
fn a_download_that_keeps_breaking_is_an_error_and_not_an_end() {
    let net = net();
    put_noise(&net.direct, 40 * MIB, false).unwrap();
    let mut reader = net.impatient().open("d/k", 0).unwrap();
    net.proxy.set(Fault::Cut(Way::Down, 0), i64::MAX);
    let mut out = Vec::new();
    let error = reader.read_to_end(&mut out).unwrap_err();
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    assert!(matches!(inner, Some(StoreError::Link { .. })), "{error:?}");
    assert!(out.len() < usize::try_from(40 * MIB).unwrap());
    assert!(out == Noise::all(1, 40 * MIB)[..out.len()]);
}

#[test]
fn an_object_that_changes_while_it_is_read_is_never_mixed() {
    let net = net();
    put_noise(&net.direct, 40 * MIB, false).unwrap();
    let mut reader = net.store.open("d/k", 0).unwrap();
    let mut out = vec![0; 1 << 20];
    reader.read_exact(&mut out).unwrap();
    let other = &mut Noise::new(99, 39 * MIB);
    net.direct
        .put("d/k", other, &PutOptions::default())
        .unwrap();
    net.server.kill_connections();
    let error = reader.read_to_end(&mut out).unwrap_err();
    assert!(
        out == Noise::all(1, 40 * MIB)[..out.len()],
        "old and new are mixed"
    );
    assert!(error.to_string().contains("changed meanwhile"), "{error}");

    // A file that is truncated while it is read is not a shorter object.
    let mut reader = net.direct.open("d/k", 0).unwrap();
    let file = fs::File::options()
        .write(true)
        .open(net.root.join("d/k"))
        .unwrap();
    file.set_len(20 * MIB).unwrap();
    let error = reader.read_to_end(&mut out).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
}

/// The server did the work but its answer was lost; the repeat must not be taken for a rival.
#[test]
fn a_lost_answer_is_not_taken_for_a_rival() {
    for if_absent in [false, true] {
        for text in ["s/d/k", "s/.incoming/", "fsync@openssh.com"] {
            let net = net();
            put(&net.store, "d/other", b"x").unwrap();
            let before = net.ssh.opened.load(Ordering::SeqCst);
            *net.ssh.lose_answer_to.lock().unwrap() = Some(text);
            put_noise(&net.store, 3 * MIB, if_absent).unwrap();
            assert_eq!(net.ssh.opened.load(Ordering::SeqCst), before + 1, "{text}");
            assert!(get(&net.direct, "d/k", 0) == Noise::all(1, 3 * MIB));
        }
    }
}

#[test]
fn a_server_that_freezes_is_given_up_in_time() {
    let net = net();
    let patience = Duration::from_secs(2);
    let impatient = || store(&net.ssh, &net.root, |o| o.stall = patience);
    put_noise(&net.direct, 40 * MIB, false).unwrap();
    let uploading = impatient();
    put(&uploading, "first", b"x").unwrap();
    let mut reader = impatient().open("d/k", 0).unwrap();
    net.server.freeze_connections();
    let asking = Instant::now();
    let mut errors = vec![
        uploading.stat("d/k").unwrap_err().to_string(),
        reader.read_to_end(&mut Vec::new()).unwrap_err().to_string(),
    ];
    assert!(
        asking.elapsed() < Duration::from_secs(15),
        "{:?}",
        asking.elapsed()
    );
    net.server.thaw_connections();
    // A server that was given up is not asked again at once: a thousand objects would take a
    // thousand times as long.
    let asking = Instant::now();
    let again = uploading.stat("d/k").unwrap_err();
    assert!(matches!(again, StoreError::Unreachable { .. }), "{again:?}");
    assert!(asking.elapsed() < patience, "{:?}", asking.elapsed());
    let store = impatient();
    put(&store, "first", b"x").unwrap();
    struct Freeze<'a>(&'a SshServer, Noise, bool);
    impl Read for Freeze<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if !std::mem::replace(&mut self.2, true) {
                self.0.freeze_connections();
            }
            self.1.read(buffer)
        }
    }
    let asking = Instant::now();
    let mut body = Freeze(&net.server, Noise::new(1, 200 * MIB), false);
    let error = store
        .put("k", &mut body, &PutOptions::default())
        .unwrap_err();
    errors.push(error.to_string());
    assert!(
        asking.elapsed() < Duration::from_secs(15),
        "{:?}",
        asking.elapsed()
    );
    for error in errors {
        assert!(error.contains("no answer for 2 s"), "{error}");
    }
}

#[test]
fn a_server_with_another_protocol_is_told_from_a_silent_one() {
    let net = net();
    let told = |subsystem| {
        let ssh = Ssh {
            subsystem,
            ..net.ssh.clone()
        };
        let store = store(&ssh, &net.root, |o| o.stall = Duration::from_secs(2));
        store.list("").unwrap_err()
    };
    let error = told("noisy");
    assert!(matches!(&error, StoreError::Other { .. }), "{error:?}");
    assert!(error.to_string().contains("\"Welc\"… where"), "{error}");
    let error = told("mute");
    assert!(
        matches!(&error, StoreError::Unreachable { .. }),
        "{error:?}"
    );
    let error = told("unknown");
    assert!(matches!(&error, StoreError::Link { .. }), "{error:?}");
}

#[test]
fn one_store_survives_many_broken_connections() {
    let net = net();
    for n in 0..4 {
        put(&net.store, &format!("k{n}"), b"x").unwrap();
        net.server.kill_connections();
    }
    assert_eq!(keys(&net.store, "").len(), 4);
    assert_eq!(net.ssh.opened.load(Ordering::SeqCst), 5);
}
