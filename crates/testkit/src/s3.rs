//! Real S3 servers for tests, and a proxy that breaks connections to them.
//!
//! A server lives as long as its value, and no longer than the test process even if that is killed:
//! each runs under a shell that waits for the end of a pipe. `moto` keeps objects in memory and
//! supports storage classes, encryption and accounts; `s3s-fs` keeps files and is fast.

#![allow(clippy::disallowed_types, clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Returns the path of an installed tool, below `LIFEBOAT_TOOLS` or else `.tools` in the workspace.
///
/// # Panics
/// Panics if the tool is missing; the message says what to do.
pub fn tool(relative: &str) -> PathBuf {
    let tools = std::env::var_os("LIFEBOAT_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools"),
        PathBuf::from,
    );
    let path = tools.join(relative);
    assert!(
        path.exists(),
        "{} is missing: run scripts/tools once, which installs what the tests need",
        path.display()
    );
    path
}

/// A child process that is killed when this value is dropped, and when this process ends in any
/// way.
struct Server {
    child: Child,
}

impl Server {
    fn start(program: &Path, arguments: &[&str], directory: &Path) -> Server {
        // `read` returns when the pipe closes, which the kernel guarantees.
        let script = "\"$@\" </dev/null & pid=$!; read -r _; kill -9 $pid; wait $pid";
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.join("server.log"))
            .unwrap();
        let child = Command::new("/bin/sh")
            .args(["-c", script, "server"])
            .arg(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Server { child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Returns a port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn wait_until_it_answers(what: &str, address: SocketAddr, directory: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if try_request(address, "GET", "/", &[], b"").is_ok_and(|answer| answer.status > 0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    let log = std::fs::read_to_string(directory.join("server.log")).unwrap_or_default();
    panic!("{what} does not answer at {address}:\n{log}");
}

/// A `moto_server`: keeps everything in memory, and checks no credentials until
/// [`MotoServer::enforce`].
pub struct MotoServer {
    address: SocketAddr,
    /// An access key for clients. Any other works too, until credentials are enforced.
    pub access_key: String,
    /// The secret key that belongs to it.
    pub secret_key: String,
    _server: Server,
    _directory: tempfile::TempDir,
}

impl MotoServer {
    /// Starts a server on a free port and waits until it answers.
    pub fn start() -> MotoServer {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let port = address.port().to_string();
        let program = tool("venv/bin/python");
        for (name, text) in [
            ("closed_moto.py", include_str!("closed_moto.py")),
            ("closed_ec2.py", include_str!("closed_ec2.py")),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let arguments = ["closed_moto.py", "-H", "127.0.0.1", "-p", &port];
        let server = Server::start(&program, &arguments, directory.path());
        wait_until_it_answers("moto_server", address, directory.path());
        MotoServer {
            address,
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            _server: server,
            _directory: directory,
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

    /// Makes a bucket in us-east-1.
    pub fn create_bucket(&self, name: &str) {
        self.create_bucket_with(name, &[]);
    }

    /// Makes a bucket that keeps every version of its objects, and can lock them.
    pub fn create_locking_bucket(&self, name: &str) {
        self.create_bucket_with(name, &[("x-amz-bucket-object-lock-enabled", "true")]);
    }

    /// Makes a bucket lock for some days whatever is put without a lock of its own.
    pub fn lock_by_default(&self, bucket: &str, days: u32) {
        let body = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>{days}</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
        );
        let path = format!("/{bucket}?object-lock");
        let answer = self.request("PUT", &path, &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn create_bucket_with(&self, name: &str, headers: &[(&str, &str)]) {
        // While moto is still loading, it sometimes fails.
        let mut attempts = 0;
        let answer = loop {
            let answer = self.request("PUT", &format!("/{name}"), headers, b"");
            attempts += 1;
            if answer.status < 500 || attempts == 5 {
                break answer;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Allows anybody these actions on a bucket and its objects, such as `s3:GetObject` or
    /// `s3:ListBucket`.
    pub fn publish(&self, bucket: &str, actions: &[&str]) {
        let actions: Vec<String> = actions.iter().map(|a| format!("\"{a}\"")).collect();
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":[{}],"Resource":["arn:aws:s3:::{bucket}","arn:aws:s3:::{bucket}/*"]}}]}}"#,
            actions.join(",")
        );
        let path = format!("/{bucket}?policy");
        let answer = self.request("PUT", &path, &[], policy.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Makes a bucket keep every version of its objects from now on.
    pub fn version(&self, bucket: &str) {
        let body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        let answer = self.request("PUT", &format!("/{bucket}?versioning"), &[], body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Locks a version of an object until a time (RFC 3339), so that nobody can delete it before.
    pub fn retain(&self, bucket: &str, key: &str, version: &str, until: &str) {
        let body = format!(
            "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
        );
        let path = format!("/{bucket}/{key}?retention&versionId={version}");
        let answer = self.request("PUT", &path, &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Places a version of an object under a legal hold, or ends it.
    pub fn hold(&self, bucket: &str, key: &str, version: &str, held: bool) {
        let status = if held { "ON" } else { "OFF" };
        let body = format!("<LegalHold><Status>{status}</Status></LegalHold>");
        let path = format!("/{bucket}/{key}?legal-hold&versionId={version}");
        let answer = self.request("PUT", &path, &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Sends a request with a dummy signature, which is enough until credentials are enforced. It
    /// sees and sets what a client cannot.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut headers = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            headers.push(("authorization", S3_SCOPE));
        }
        try_request(self.address, method, path, &headers, body).unwrap()
    }

    /// Makes a user with this policy (a JSON document), and accepts only known keys from now on.
    /// Returns the user's access key and secret key.
    pub fn enforce(&self, policy: &str) -> (String, String) {
        self.enforce_each(&[policy.to_owned()]).remove(0)
    }

    /// Makes a role with this policy, which anybody may assume. It is `arn:aws:iam::123456789012:role/NAME`.
    pub fn create_role(&self, name: &str, policy: &str) {
        let trust = percent_encode(r#"{"Version":"2012-10-17","Statement":[]}"#);
        let role = format!("RoleName={name}&Version=2010-05-08");
        self.iam(&format!(
            "Action=CreateRole&{role}&AssumeRolePolicyDocument={trust}"
        ));
        let policy = percent_encode(policy);
        self.iam(&format!(
            "Action=PutRolePolicy&{role}&PolicyName=p&PolicyDocument={policy}"
        ));
    }

    /// Asks EC2 in us-east-1, as long as credentials are not enforced. Returns its answer in XML.
    pub fn ec2(&self, form: &str) -> String {
        self.ec2_in("us-east-1", form)
    }

    /// The same in another region.
    pub fn ec2_in(&self, region: &str, form: &str) -> String {
        let scope = EC2_SCOPE.replace("us-east-1", region);
        self.query(&format!("{form}&Version=2016-11-15"), &scope)
    }

    fn iam(&self, form: &str) -> String {
        self.query(form, IAM_SCOPE)
    }

    fn query(&self, form: &str, scope: &str) -> String {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("authorization", scope),
        ];
        let answer = self.request("POST", "/", &headers, form.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Accepts any key again.
    pub fn relax(&self) {
        let answer = self.request("POST", "/moto-api/reset-auth", &[], b"inf");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Makes a user with each of these policies, and accepts only known keys from now on. Returns their
    /// access keys and secret keys.
    pub fn enforce_each(&self, policies: &[String]) -> Vec<(String, String)> {
        let iam = |form: String| self.iam(&form);
        let user_of = |(number, policy): (usize, &String)| {
            let user = format!("UserName=tester{number}&Version=2010-05-08");
            iam(format!("Action=CreateUser&{user}"));
            let policy = percent_encode(policy);
            iam(format!(
                "Action=PutUserPolicy&{user}&PolicyName=p&PolicyDocument={policy}"
            ));
            let made = iam(format!("Action=CreateAccessKey&{user}"));
            let of = |name| element(&made, name);
            (of("AccessKeyId"), of("SecretAccessKey"))
        };
        let users = policies.iter().enumerate().map(user_of).collect();
        let answer = self.request("POST", "/moto-api/reset-auth", &[], b"0");
        assert_eq!(answer.status, 200, "{}", answer.text());
        users
    }
}

const S3_SCOPE: &str = "AWS4-HMAC-SHA256 Credential=mock/20260101/us-east-1/s3/aws4_request, \
                        SignedHeaders=host, Signature=0";

/// A credential scope that tells moto that a request is for IAM. moto checks nothing else in it.
const IAM_SCOPE: &str = "AWS4-HMAC-SHA256 Credential=mock/20260101/us-east-1/iam/aws4_request, \
                         SignedHeaders=host, Signature=0";

/// The same for EC2.
const EC2_SCOPE: &str = "AWS4-HMAC-SHA256 Credential=mock/20260101/us-east-1/ec2/aws4_request, \
                         SignedHeaders=host, Signature=0";

/// An `s3s-fs`: buckets are directories, objects are files, and signatures are checked.
pub struct S3sServer {
    address: SocketAddr,
    /// The access key it accepts.
    pub access_key: String,
    /// The secret key that belongs to it.
    pub secret_key: String,
    _server: Server,
    directory: tempfile::TempDir,
}

impl S3sServer {
    /// Starts a server on a free port and waits until it answers.
    pub fn start() -> S3sServer {
        Self::start_in(&std::env::temp_dir())
    }

    /// Starts a server that keeps its files below `parent`.
    pub fn start_in(parent: &Path) -> S3sServer {
        let directory = tempfile::tempdir_in(parent).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (access_key, secret_key) = ("s3s-access".to_owned(), "s3s-secret".to_owned());
        std::fs::create_dir(directory.path().join("data")).unwrap();
        let port = address.port().to_string();
        let arguments = [
            "--host",
            "127.0.0.1",
            "--port",
            &port,
            "--access-key",
            &access_key,
            "--secret-key",
            &secret_key,
            "data",
        ];
        let server = Server::start(&tool("bin/s3s-fs"), &arguments, directory.path());
        wait_until_it_answers("s3s-fs", address, directory.path());
        S3sServer {
            address,
            access_key,
            secret_key,
            _server: server,
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

    /// Makes a bucket.
    pub fn create_bucket(&self, name: &str) {
        std::fs::create_dir(self.data().join(name)).unwrap();
    }

    /// The directory of its files, which include parts of unfinished uploads.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

/// The answer to a plain request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers; names are in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one request on its own connection, and reads the answer to its end.
fn try_request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|l| l.split(' ').nth(1)?.parse().ok());
    Ok(Answer {
        status: status.unwrap_or(0),
        headers: lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
            .collect(),
        body: bytes.get(end + 4..).unwrap_or_default().to_vec(),
    })
}

fn element(text: &str, name: &str) -> String {
    text.split_once(&format!("<{name}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{name}>")))
        .map(|(content, _)| content.to_owned())
        .unwrap()
}

fn percent_encode(text: &str) -> String {
    let encode = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// A TCP proxy that damages connections on demand.
pub struct FaultyProxy {
    address: SocketAddr,
    shared: Arc<Faults>,
}

/// The direction in which bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the server to the client.
    Down,
    /// From the client to the server.
    Up,
}

/// A fault to inject into a connection.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Cuts the connection after more than this many bytes in this direction.
    Cut(Way, u64),
    /// Stops passing bytes after more than this many in this direction, and keeps the connection
    /// open.
    Stall(Way, u64),
    /// Flips one bit of the byte at this offset in this direction.
    Flip(Way, u64),
    /// Passes on a request that contains this text, and cuts the connection before its answer.
    LoseAnswerTo(String),
    /// Keeps each request that changes something without an answer, from the so many-th on: before
    /// it is passed to the server (`Up`), or after the server has carried it out (`Down`).
    Hold(Way, u64),
    /// Answers a request that contains the first text with this status and body, then cuts the
    /// connection.
    Answer(String, u16, String),
}

/// What becomes of the answers on a connection.
#[derive(Default)]
struct Answers {
    /// They are thrown away.
    lost: AtomicBool,
    /// They are kept back.
    held: AtomicBool,
}

struct Faults {
    target: SocketAddr,
    fault: Mutex<Option<Fault>>,
    left: AtomicI64,
    done: AtomicU64,
    requests: Mutex<Vec<String>>,
    /// Requests that change something, since the last fault was set.
    changes: AtomicU64,
}

impl FaultyProxy {
    /// Forwards a free local port to `target`, without faults until [`FaultyProxy::set`].
    pub fn start(target: SocketAddr) -> FaultyProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Faults {
            target,
            fault: Mutex::new(None),
            left: AtomicI64::new(0),
            done: AtomicU64::new(0),
            requests: Mutex::default(),
            changes: AtomicU64::new(0),
        });
        let faults = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let faults = Arc::clone(&faults);
                std::thread::spawn(move || faults.serve(client));
            }
        });
        FaultyProxy { address, shared }
    }

    /// The URL of the proxy.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Injects this fault from now on, this many times.
    pub fn set(&self, fault: Fault, times: i64) {
        *self.shared.fault.lock().unwrap() = Some(fault);
        self.shared.changes.store(0, Ordering::SeqCst);
        self.shared.left.store(times, Ordering::SeqCst);
    }

    /// Returns the first lines of the requests since the last call, in the order of arrival.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.requests.lock().unwrap())
    }

    /// The number of faults that were injected.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::SeqCst)
    }
}

impl Faults {
    fn serve(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.target) else {
            return;
        };
        let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        let answers = Arc::new(Answers::default());
        let (other, answers_too) = (Arc::clone(&self), Arc::clone(&answers));
        let up =
            std::thread::spawn(move || other.copy(client_too, server_too, Way::Up, &answers_too));
        self.copy(server, client, Way::Down, &answers);
        let _ = up.join();
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, way: Way, answers: &Answers) {
        let mut buffer = vec![0; 16 << 10];
        let mut passed = 0;
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let chunk = buffer.get_mut(..n).unwrap();
            if way == Way::Up {
                self.note(chunk);
                if self.is_held(Way::Up, chunk) {
                    park();
                }
                if self.is_held(Way::Down, chunk) {
                    answers.held.store(true, Ordering::SeqCst);
                }
            } else if answers.held.load(Ordering::SeqCst) {
                self.done.fetch_add(1, Ordering::SeqCst);
                park();
            }
            if let Some(answer) = self.own_answer(way, chunk) {
                let _ = from.write_all(answer.as_bytes());
                let _ = from.shutdown(Shutdown::Write);
                // Closing with unread data would reset the connection, and the answer would be
                // lost.
                let _ = from.set_read_timeout(Some(Duration::from_secs(5)));
                while matches!(from.read(&mut buffer), Ok(1..)) {}
                break;
            }
            if !self.lets_pass(way, passed, chunk, answers) || to.write_all(chunk).is_err() {
                break;
            }
            passed += n as u64;
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }

    /// Counts a request that changes something, and returns whether it is one to be held this way.
    fn is_held(&self, held: Way, chunk: &[u8]) -> bool {
        let Some(Fault::Hold(way, nth)) = *self.fault.lock().unwrap() else {
            return false;
        };
        let changes = ["PUT /", "POST /", "DELETE /"].map(str::as_bytes);
        if way != held || !changes.iter().any(|change| chunk.starts_with(change)) {
            return false;
        }
        let is_held = self.changes.fetch_add(1, Ordering::SeqCst) + 1 >= nth;
        if is_held && way == Way::Up {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        is_held
    }

    /// Records the first line of a request, if a chunk begins with one.
    fn note(&self, chunk: &[u8]) {
        let line = chunk.split(|b| *b == b'\r').next().unwrap_or_default();
        if line.ends_with(b" HTTP/1.1") {
            let line = String::from_utf8_lossy(line).into_owned();
            self.requests.lock().unwrap().push(line);
        }
    }

    /// Injects the fault that is due. Returns false if the connection must end here.
    fn lets_pass(&self, way: Way, passed: u64, chunk: &mut [u8], answers: &Answers) -> bool {
        let end = passed + chunk.len() as u64;
        if way == Way::Down && answers.lost.load(Ordering::SeqCst) {
            return false;
        }
        let fault = self.fault.lock().unwrap().clone();
        match fault {
            Some(Fault::Stall(w, after)) if w == way && end > after && self.take() => park(),
            Some(Fault::Cut(w, after)) if w == way && end > after => !self.take(),
            Some(Fault::Flip(w, at)) if w == way && (passed..end).contains(&at) && self.take() => {
                if let Some(byte) = chunk.get_mut(usize::try_from(at - passed).unwrap()) {
                    *byte ^= 1;
                }
                true
            }
            Some(Fault::LoseAnswerTo(text)) if way == Way::Up => {
                if contains(chunk, text.as_bytes()) && self.take() {
                    answers.lost.store(true, Ordering::SeqCst);
                }
                true
            }
            _ => true,
        }
    }

    /// The answer to give in place of the server, if any.
    fn own_answer(&self, way: Way, chunk: &[u8]) -> Option<String> {
        match self.fault.lock().unwrap().clone() {
            Some(Fault::Answer(text, status, body))
                if way == Way::Up && contains(chunk, text.as_bytes()) && self.take() =>
            {
                Some(format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                ))
            }
            _ => None,
        }
    }

    /// Takes one of the faults still to be injected. Returns whether there was one.
    fn take(&self) -> bool {
        let due = self.left.fetch_sub(1, Ordering::SeqCst) > 0;
        if due {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        due
    }
}

/// Never returns: both ends of a connection stay open for as long as its threads run.
fn park() -> ! {
    loop {
        std::thread::park();
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}
