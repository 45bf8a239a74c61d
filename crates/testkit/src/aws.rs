//! What gives out keys that expire, and a gate in front of a bucket that knows which have.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Keys that were given out, with the time from which they are refused.
#[derive(Clone, Default)]
pub struct Issued(Arc<Mutex<BTreeMap<String, Instant>>>);

impl Issued {
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of keys that were given out.
    pub fn count(&self) -> usize {
        self.held().len()
    }
}

/// The metadata service of an instance, and the credential service of a container, on one port. Each
/// asks for its token, and gives out new keys each time.
pub struct Metadata {
    address: SocketAddr,
    /// What was given out.
    pub issued: Issued,
}

/// The token that the container's service wants to see.
pub const CONTAINER_TOKEN: &str = "container-token";
/// The token that the instance's service gives out.
const INSTANCE_TOKEN: &str = "instance-token";

impl Metadata {
    /// Starts the service. It says that its keys last so many seconds; they do for `lasts` seconds.
    pub fn start(seconds: u64, lasts: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let issued = Issued::default();
        let known = issued.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let known = known.clone();
                thread::spawn(move || answer(&stream, &known, seconds, lasts));
            }
        });
        Metadata { address, issued }
    }

    /// The URL of the service.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn answer(mut stream: &TcpStream, issued: &Issued, seconds: u64, lasts: u64) {
    let Some(head) = Head::read(&mut BufReader::new(stream)) else {
        return;
    };
    let keys = || {
        let number = issued.count() + 1;
        let key = format!("ASIATESTTESTTEST{number:04}");
        let until = Instant::now() + Duration::from_secs(lasts);
        issued.held().insert(key.clone(), until);
        let told = SystemTime::now() + Duration::from_secs(seconds);
        let at = jiff::Timestamp::try_from(told).unwrap();
        format!(
            r#"{{"Code": "Success", "AccessKeyId": "{key}", "SecretAccessKey": "secret-of-{number}", "Token": "token-{number}", "Expiration": "{at:.0}"}}"#
        )
    };
    let has = |name: &str, value: &str| head.value(name) == Some(value);
    let (method, path) = head.method_and_path();
    let roles = "/latest/meta-data/iam/security-credentials/";
    let known = has("x-aws-ec2-metadata-token", INSTANCE_TOKEN);
    let (status, body) = match (method, path) {
        ("PUT", "/latest/api/token") => ("200 OK", INSTANCE_TOKEN.to_owned()),
        ("GET", path) if path == roles && known => ("200 OK", "backup-role".to_owned()),
        ("GET", path) if path.starts_with(roles) && known => ("200 OK", keys()),
        ("GET", "/container") if has("authorization", CONTAINER_TOKEN) => ("200 OK", keys()),
        ("GET", _) => ("401 Unauthorized", String::new()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}

/// The service that gives a CI job a token of its own, for whom it names. What it asks and answers is from
/// GitHub's documentation.
pub struct JobTokens {
    address: SocketAddr,
    given: Arc<Mutex<usize>>,
}

/// What a job asks for its token with.
pub const JOB_BEARER: &str = "bearer-of-the-job";

impl JobTokens {
    /// Starts the service.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let given = Arc::new(Mutex::new(0));
        let count = Arc::clone(&given);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                give_token(&stream, &count);
            }
        });
        JobTokens { address, given }
    }

    /// The URL as a job has it, with a query of its own.
    pub fn url(&self) -> String {
        format!("http://{}/job/token?api-version=2.0", self.address)
    }

    /// The number of tokens that were given.
    pub fn given(&self) -> usize {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn give_token(mut stream: &TcpStream, given: &Mutex<usize>) {
    let Some(head) = Head::read(&mut BufReader::new(stream)) else {
        return;
    };
    let bearer = format!("Bearer {JOB_BEARER}");
    let target = "/job/token?api-version=2.0&audience=sts.amazonaws.com";
    let asked = (head.method_and_path(), head.value("authorization"));
    let (status, body) = match asked {
        (("GET", path), Some(known)) if path == target && known == bearer => {
            let mut count = given.lock().unwrap_or_else(PoisonError::into_inner);
            *count += 1;
            let body = format!(r#"{{"count": 1, "value": "eyJhbGciOi.{count}.sig"}}"#);
            ("200 OK", body)
        }
        (_, Some(known)) if known == bearer => ("400 Bad Request", String::new()),
        _ => ("401 Unauthorized", String::new()),
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}

/// The head of a request.
struct Head {
    text: String,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> Option<Self> {
        let mut text = String::new();
        loop {
            let before = text.len();
            if reader.read_line(&mut text).ok()? == 0 {
                return None;
            }
            if text[before..].trim().is_empty() {
                return Some(Head { text });
            }
        }
    }

    fn method_and_path(&self) -> (&str, &str) {
        let mut words = self.text.split(' ');
        (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        )
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// Stands before an S3 server: refuses keys that have expired as Amazon does, whatever the server would
/// do, and lets so many bytes a second through.
pub struct Gate {
    address: SocketAddr,
    refused: Arc<Mutex<usize>>,
}

impl Gate {
    /// Stands before the server at an address.
    pub fn start(server: SocketAddr, issued: Issued, bytes_per_second: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let refused = Arc::new(Mutex::new(0));
        let count = Arc::clone(&refused);
        // All connections together.
        let pace = Arc::new(Mutex::new(bytes_per_second));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (issued, count) = (issued.clone(), Arc::clone(&count));
                let pace = Arc::clone(&pace);
                thread::spawn(move || pass(&stream, server, &issued, &pace, &count));
            }
        });
        Gate { address, refused }
    }

    /// The URL of the gate.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests it refused since their keys had expired.
    pub fn refused(&self) -> usize {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes one request on, and its answer back.
fn pass(
    client: &TcpStream,
    server: SocketAddr,
    issued: &Issued,
    pace: &Mutex<u64>,
    refused: &Mutex<usize>,
) -> Option<()> {
    let mut reader = BufReader::new(client);
    let head = Head::read(&mut reader)?;
    let length: u64 = head.value("content-length").unwrap_or("0").parse().ok()?;
    let signed = head.value("authorization").unwrap_or_default();
    let key = signed.split_once("Credential=").map(|(_, rest)| rest);
    let key = key
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default();
    let until = issued.held().get(key).copied();
    let mut body = reader.take(length);
    if until.is_none_or(|until| until <= Instant::now()) {
        *refused.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let _ = std::io::copy(&mut body, &mut std::io::sink());
        let text = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
        // An answer to HEAD says nothing.
        let text = if head.method_and_path().0 == "HEAD" {
            ""
        } else {
            text
        };
        let size = text.len();
        let mut client = client;
        return write!(
            client,
            "HTTP/1.1 400 Bad Request\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n{text}"
        )
        .ok();
    }
    let mut upstream = TcpStream::connect(server).ok()?;
    let lines = head.text.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !line.is_empty() && !name.eq_ignore_ascii_case("connection")
    });
    let lines: Vec<&str> = lines.collect();
    write!(
        upstream,
        "{}\r\nConnection: close\r\n\r\n",
        lines.join("\r\n")
    )
    .ok()?;
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = body.read(&mut piece).ok()?;
        if count == 0 {
            break;
        }
        upstream.write_all(&piece[..count]).ok()?;
        let pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        let micros = count as u64 * 1_000_000 / *pace;
        thread::sleep(Duration::from_micros(micros));
    }
    let mut out = client;
    std::io::copy(&mut upstream, &mut out).ok()?;
    client.shutdown(Shutdown::Both).ok()
}
