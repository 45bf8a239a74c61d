//! Commands on another host, with a real OpenSSH server: input arrives there, the end of a command
//! is reported here, and a broken connection is an error.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod commands;
mod logins;

use lifeboat_core::config::SshConfig;
use lifeboat_core::transport::{Login, Transport, Via};
use lifeboat_testkit::ssh::SshServer;
use std::time::{Duration, Instant};

/// A transport to the server, with the client configuration it comes with.
fn transport(server: &SshServer) -> Transport {
    let config = SshConfig {
        config: Some(server.config_path()),
        ..SshConfig::default()
    };
    with(server, &config)
}

fn with(server: &SshServer, config: &SshConfig) -> Transport {
    through(server, config.login())
}

fn through(server: &SshServer, login: Login) -> Transport {
    let via: Via = format!("ssh:{}", server.address()).parse().unwrap();
    Transport::open(Some(&via), Some(login))
}

/// Waits for something that another process does.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "it never happens: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes whose arguments contain this text.
fn processes_with(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text)).collect()
}
