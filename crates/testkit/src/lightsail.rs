//! A stand-in for Amazon Lightsail: a server that checks each request, signature included, against the
//! model of the service, keeps instances, snapshots and addresses, and fails on demand.
//!
//! It lives as long as its value, and no longer than the test process even if that is killed. What it
//! answers is from Amazon's model, documentation and examples; it is not Amazon.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot have its server fails"
)]

use crate::s3::tool;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running server. Dropping it ends it, with all machines that it has booted.
pub struct Lightsail {
    address: SocketAddr,
    /// The access key it accepts from the start.
    pub access_key: String,
    /// The secret key that belongs to it.
    pub secret_key: String,
    child: Child,
    directory: tempfile::TempDir,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 400 `ThrottlingException`.
    Throttle,
    /// This status, such as 500 or 503.
    Status(u16),
    /// No answer, and the connection stays open.
    Hang,
    /// The connection is closed, and nothing is done.
    Close,
    /// It is done, and the connection closed without an answer.
    CloseAfter,
    /// It is done, and half of the answer sent.
    Half,
    /// The answer says that it was done, as does its operation; it was not.
    Nothing,
    /// 403 `AccessDeniedException`.
    Denied,
    /// 400 `InvalidInputException`, since the account may not have more.
    Quota,
    /// The next snapshot, or copy of one, ends in the state `error`.
    SnapshotError,
    /// The instance is gone as soon as its next snapshot has begun, which ends in the state `error`.
    Vanish,
    /// The next instance from a snapshot never runs, and is gone.
    InstanceFails,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Throttle => "throttle",
            Fault::Status(_) => "status",
            Fault::Hang => "hang",
            Fault::Close => "close",
            Fault::CloseAfter => "close-after",
            Fault::Half => "half",
            Fault::Nothing => "nothing",
            Fault::Denied => "denied",
            Fault::Quota => "quota",
            Fault::SnapshotError => "snapshot-error",
            Fault::Vanish => "vanish",
            Fault::InstanceFails => "instance-fails",
        }
    }
}

/// A request that arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The operation, such as `GetInstance`; empty if the request named none.
    pub operation: String,
    /// The region of its signature; empty if that is wrong.
    pub region: String,
    /// The parameters; null if they are not JSON.
    pub parameters: Value,
    /// The error that was answered, such as `NotFoundException`.
    pub refused: Option<String>,
}

impl Lightsail {
    /// Starts a server on a free port and waits until it answers.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            ("lightsail.py", include_str!("lightsail.py")),
            ("lightsail_state.py", include_str!("lightsail_state.py")),
        ];
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let log = std::fs::File::create(directory.path().join("server.log")).unwrap();
        let access_key = "AKIALIGHTSAILEXAMPLE".to_owned();
        let secret_key = "lightsail/secret+key/EXAMPLE".to_owned();
        // `read` returns when the pipe closes, which the kernel guarantees.
        let script = "\"$@\" </dev/null & pid=$!; read -r _; kill -9 $pid; wait $pid";
        let mut child = Command::new("/bin/sh")
            .args(["-c", script, "lightsail"])
            .arg(tool("venv/bin/python"))
            .args(["lightsail.py", &access_key, &secret_key])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        told.read_line(&mut line).unwrap();
        let Ok(port) = line.trim().parse::<u16>() else {
            let log = std::fs::read_to_string(directory.path().join("server.log"));
            panic!("the server does not start:\n{}", log.unwrap_or_default());
        };
        Lightsail {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            access_key,
            secret_key,
            child,
            directory,
        }
    }

    /// The URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the server and its machines have written, which names each answer that was a defect of it.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("server.log")).unwrap()
    }

    /// Sends a request to the control endpoint: `{"do": ...}` as `lightsail.py` describes.
    ///
    /// # Panics
    /// Panics if the server refuses it.
    pub fn control(&self, request: &Value) -> Value {
        let body = request.to_string();
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5)).unwrap();
        let limit = Some(Duration::from_secs(60));
        stream.set_read_timeout(limit).unwrap();
        write!(
            stream,
            "POST /_control HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{request}: {body}");
        serde_json::from_str(body).unwrap()
    }

    /// Makes a running instance of the bundle `small_3_0`, and returns what `GetInstance` says of it.
    pub fn make_instance(&self, region: &str, name: &str) -> Value {
        self.make_instance_of(region, name, "small_3_0")
    }

    /// Makes a running instance of a bundle.
    pub fn make_instance_of(&self, region: &str, name: &str, bundle: &str) -> Value {
        let request = json!({ "do": "instance", "region": region, "name": name, "bundle": bundle });
        self.control(&request)["instance"].take()
    }

    /// Makes a running instance that answers at an address of this host.
    pub fn make_instance_at(&self, region: &str, name: &str, address: &str) {
        self.control(
            &json!({ "do": "instance", "region": region, "name": name, "address": address }),
        );
    }

    /// Makes a static IP address that is one of this host, and attaches it to an instance: what reaches it at
    /// one of the ports of [`Lightsail::forward`] reaches the instance that it is attached to.
    pub fn make_static_ip_at(&self, region: &str, name: &str, address: &str, attached_to: &str) {
        self.control(&json!({
            "do": "static-ip", "region": region, "name": name, "address": address, "attached_to": attached_to,
        }));
    }

    /// Lets static addresses of this host lead to their instances at these ports from now on.
    pub fn forward(&self, ports: &[u16]) {
        self.control(&json!({ "do": "settings", "forward": ports }));
    }

    /// Runs a command for each snapshot that is taken from now on, with `{instance}` and `{snapshot}` filled in.
    pub fn on_snapshot(&self, command: &[&str]) {
        self.control(&json!({ "do": "settings", "snapshot": command }));
    }

    /// Tells host keys from now on: that in the file of this path, with `{instance}` and `{address}` filled in.
    pub fn host_keys(&self, path: &str) {
        self.control(&json!({ "do": "settings", "hostKeys": path }));
    }

    /// Makes a static IP address, and attaches it to an instance. Returns the address.
    pub fn make_static_ip(&self, region: &str, name: &str, attached_to: Option<&str>) -> String {
        let answer = self.control(&json!({
            "do": "static-ip", "region": region, "name": name, "attached_to": attached_to,
        }));
        answer["staticIp"]["ipAddress"].as_str().unwrap().to_owned()
    }

    /// Adds an automatic snapshot of a day (YYYY-MM-DD) to an instance.
    pub fn make_auto_snapshot(&self, region: &str, instance: &str, date: &str) {
        self.control(&json!({
            "do": "auto-snapshot", "region": region, "instance": instance, "date": date,
        }));
    }

    /// Removes an instance, a snapshot or an address behind everybody's back.
    pub fn forget(&self, region: &str, name: &str) {
        self.control(&json!({ "do": "forget", "region": region, "name": name }));
    }

    /// Accepts keys for a time: an access key, a secret key and a session token.
    pub fn accept(&self, access_key: &str, secret_key: &str, session_token: &str) {
        self.control(&json!({
            "do": "key", "access_key": access_key, "secret_key": secret_key, "session_token": session_token,
        }));
    }

    /// Lets snapshots and instances be pending for so many seconds from now on.
    pub fn delay(&self, snapshots: f64, instances: f64) {
        self.control(&json!({
            "do": "settings", "snapshotDelay": snapshots, "instanceDelay": instances,
        }));
    }

    /// Ends the waiting for all that is pending.
    pub fn finish(&self) {
        self.control(&json!({ "do": "finish" }));
    }

    /// Takes requests of any time from now on, however far away it is.
    pub fn any_time(&self) {
        self.control(&json!({ "do": "settings", "clockSkew": 10_u64.pow(12) }));
    }

    /// Answers listings in pages of this size from now on; 50 until then.
    pub fn page(&self, size: usize) {
        self.control(&json!({ "do": "settings", "pageSize": size }));
    }

    /// Runs a command for each instance that is made from a snapshot from now on, until that is deleted.
    /// `{instance}`, `{snapshot}`, `{origin}` (the snapshot of which that is a copy) and `{address}` (its public
    /// address, which is one of this host's) are filled in.
    pub fn boot(&self, command: &[&str]) {
        self.control(&json!({ "do": "settings", "boot": command }));
    }

    /// Makes the next calls of an operation (or of all) go wrong: so many, or all until
    /// [`Lightsail::reset`].
    pub fn fail(&self, fault: Fault, operation: Option<&str>, times: Option<u32>) {
        self.fail_after(0, fault, operation, times);
    }

    /// The same, after so many calls of that operation (or of all) that go well.
    pub fn fail_after(&self, skip: u32, fault: Fault, operation: Option<&str>, times: Option<u32>) {
        let mut request = json!({
            "do": "fault", "fault": fault.name(), "operation": operation, "times": times, "skip": skip,
        });
        if let Fault::Status(status) = fault {
            request["status"] = json!(status);
        }
        self.control(&request);
    }

    /// Ends all faults.
    pub fn reset(&self) {
        self.control(&json!({ "do": "reset" }));
    }

    /// All that the account holds: `regions` by their names, each with `instances`, `staticIps`, `snapshots`
    /// and `operations`, as the service shows them; `settings`; `faults`.
    pub fn state(&self) -> Value {
        self.control(&json!({ "do": "state" }))
    }

    /// The names of what a region holds of a kind: `instances`, `staticIps` or `snapshots`.
    pub fn names(&self, region: &str, kind: &str) -> Vec<String> {
        let state = self.state();
        let held = state["regions"][region][kind].as_array();
        let name = |item: &Value| item["name"].as_str().unwrap().to_owned();
        held.into_iter().flatten().map(name).collect()
    }

    /// The requests since the last call of this, in the order of their arrival.
    pub fn calls(&self) -> Vec<Call> {
        let mut answer = self.control(&json!({ "do": "calls", "clear": true }));
        let Value::Array(calls) = answer["calls"].take() else {
            panic!("no list of calls: {answer}");
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let call = |call: Value| Call {
            operation: text(&call["operation"]),
            region: text(&call["region"]),
            parameters: call["parameters"].clone(),
            refused: call.get("refused").map(text),
        };
        calls.into_iter().map(call).collect()
    }
}

impl Drop for Lightsail {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests;
