//! Measures `put` and the reading back, in MiB/s, and this program's peak memory:
//!
//! ```text
//! throughput local DIRECTORY MIB
//! throughput s3 ENDPOINT BUCKET ACCESS_KEY SECRET_KEY MIB
//! throughput sftp SSH_CONFIG HOST PORT PATH MIB
//! ```

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types
)]

use lifeboat_store::aws::Credentials;
use lifeboat_store::sftp::{Connect, Link, LinkError, Pipes};
use lifeboat_store::{
    Ending, LocalStore, PutOptions, S3Options, S3Store, SftpOptions, SftpStore, Store,
};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (store, mib): (Box<dyn Store>, &str) = match words[..] {
        ["local", directory, mib] => (
            Box::new(LocalStore::create(directory.as_ref()).unwrap()),
            mib,
        ),
        ["s3", endpoint, bucket, access_key, secret_key, mib] => {
            let options = S3Options {
                bucket: bucket.to_owned(),
                endpoint: Some(endpoint.to_owned()),
                credentials: Credentials::given(access_key, secret_key, None),
                ..S3Options::default()
            };
            (Box::new(S3Store::open(options).unwrap()), mib)
        }
        ["sftp", config, host, port, path, mib] => {
            let words = ["-F", config, "-p", port, "-s", host, "sftp"];
            let options = SftpOptions {
                location: format!("sftp://{host}:{port}{path}"),
                path: path.to_owned(),
                create: true,
                stall: Duration::from_secs(60),
                ending: Ending::default(),
            };
            let ssh = Ssh(words.map(str::to_owned).to_vec());
            (Box::new(SftpStore::open(Box::new(ssh), options)), mib)
        }
        _ => panic!(
            "usage: throughput local DIRECTORY MIB | s3 ENDPOINT BUCKET KEY SECRET MIB | sftp CONFIG HOST PORT PATH MIB"
        ),
    };
    let bytes = mib.parse::<u64>().unwrap() << 20;

    let begun = Instant::now();
    let mut body = Pattern(0).take(bytes);
    let receipt = store.put("throughput", &mut body, &PutOptions::default());
    assert_eq!(receipt.unwrap().bytes, bytes);
    report("put", bytes, begun);

    let begun = Instant::now();
    let mut reader = store.open("throughput", 0).unwrap();
    let read = std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    assert_eq!(read, bytes);
    report("get", bytes, begun);

    store.delete("throughput").unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{}", peak.unwrap());
}

fn report(what: &str, bytes: u64, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    let mib = bytes >> 20;
    println!("{what}: {:.0} MiB/s ({seconds:.2} s)", mib as f64 / seconds);
}

/// Bytes that cost nothing to make and are not all alike.
struct Pattern(u8);

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0 = self.0.wrapping_add(1);
        buffer.fill(self.0);
        Ok(buffer.len())
    }
}

/// The system's `ssh` with these arguments.
struct Ssh(Vec<String>);

impl Connect for Ssh {
    fn connect(&self) -> Result<Pipes, LinkError> {
        let mut child = Command::new("ssh")
            .args(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Ok(Pipes {
            to: Box::new(child.stdin.take().unwrap()),
            from: Box::new(child.stdout.take().unwrap()),
            link: Arc::new(Process(Mutex::new(child))),
        })
    }
}

struct Process(Mutex<Child>);

impl Link for Process {
    fn cut(&self) {
        let _ = self.0.lock().unwrap().kill();
    }

    fn why(&self) -> LinkError {
        LinkError {
            may_pass: false,
            reason: Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(
                "ssh ended",
            )),
        }
    }
}
