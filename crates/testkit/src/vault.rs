//! What answers as HashiCorp Vault does, to the few requests that reading a secret needs: logins, the
//! mounts, and the key-value engine of both versions. Source: the reference of its HTTP API. The tests drive
//! it with `hvac`, the client for Python, first.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The token of the operator, who may do everything.
pub const ROOT: &str = "root-token";
/// The AppRole that may log in, and its secret.
pub const APP_ROLE: (&str, &str) = ("role-of-lifeboat", "secret-of-lifeboat");
/// The Kubernetes role that may log in, and the token of its service account.
pub const POD_ROLE: (&str, &str) = ("lifeboat", "eyJ.token-of-the-pod");

/// A secret: its versions, the newest last; `None` is one that was deleted.
type Versions = Vec<Option<Map<String, Value>>>;

#[derive(Default)]
struct Kept {
    secrets: BTreeMap<String, Versions>,
    tokens: Vec<String>,
    logins: usize,
    is_sealed: bool,
}

/// The server. Its secrets are in memory: version 2 below `secret/`, version 1 below `old/`. Tokens of
/// logins may read what does not lie in a folder `closed`.
pub struct Vault {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl Vault {
    /// Starts it.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let shared = Arc::clone(&kept);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &kept));
            }
        });
        Vault { address, kept }
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The number of logins so far.
    pub fn logins(&self) -> usize {
        held(&self.kept).logins
    }

    /// Seals it.
    pub fn seal(&self) {
        held(&self.kept).is_sealed = true;
    }
}

fn held(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: &TcpStream, kept: &Mutex<Kept>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let token = headers.get("x-vault-token").map(String::as_str);
    let path = path.split('?').next()?.replace("%20", " ");
    let is_request = headers.get("x-vault-request").map(String::as_str) == Some("true");
    let (status, answer) = match is_request {
        true => held(kept).answer(&method, path.strip_prefix("/v1/")?, token, &body),
        false => errors(412, "missing X-Vault-Request"),
    };
    let answer = match answer {
        Value::Null => String::new(),
        answer => answer.to_string(),
    };
    let length = answer.len();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
    )
    .ok()
}

fn errors(status: u16, text: &str) -> (u16, Value) {
    (status, json!({ "errors": [text] }))
}

impl Kept {
    fn answer(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> (u16, Value) {
        if self.is_sealed {
            return errors(503, "Vault is sealed");
        }
        if let Some(mount) = path
            .strip_prefix("auth/")
            .and_then(|p| p.strip_suffix("/login"))
        {
            return self.login(mount, body);
        }
        let is_root = token == Some(ROOT);
        let is_known = token.is_some_and(|token| self.tokens.iter().any(|known| known == token));
        let asked = path.strip_prefix("sys/internal/ui/mounts/");
        let place = asked.unwrap_or(path);
        let is_open = is_known && !place.contains("/closed/");
        if !is_root && !is_open {
            return errors(403, "permission denied");
        }
        let mount = |version: &str, path: &str| json!({ "data": { "path": path, "type": "kv", "options": { "version": version } } });
        match (asked, place.split('/').next()) {
            (Some(_), Some("secret")) => (200, mount("2", "secret/")),
            (Some(_), Some("old")) => (200, mount("1", "old/")),
            (Some(_), _) => errors(403, "preflight capability check returned 403"),
            (None, _) if place == "sys/leases/revoke-prefix/auth/approle" && is_root => {
                self.tokens.clear();
                (204, Value::Null)
            }
            (None, _) => self.secret(method, path, body),
        }
    }

    fn login(&mut self, mount: &str, body: &Value) -> (u16, Value) {
        let is = |name: &str, value: &str| body[name] == value;
        let fits = match mount {
            "approle" => is("role_id", APP_ROLE.0) && is("secret_id", APP_ROLE.1),
            "kubernetes" => is("role", POD_ROLE.0) && is("jwt", POD_ROLE.1),
            _ => return errors(404, "no handler for route"),
        };
        if !fits {
            return match mount {
                "approle" => errors(400, "invalid role or secret ID"),
                _ => errors(403, "permission denied"),
            };
        }
        self.logins += 1;
        let token = format!("login-{}", self.logins);
        self.tokens.push(token.clone());
        let auth = json!({
            "client_token": token, "lease_duration": 1200, "renewable": true, "policies": ["default"],
        });
        (200, json!({ "auth": auth }))
    }

    fn secret(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (key, is_versioned) = match path.strip_prefix("secret/data/") {
            Some(below) => (format!("secret/{below}"), true),
            None if path.starts_with("old/") => (path.to_owned(), false),
            None => return errors(404, "no handler for route"),
        };
        let versions = self.secrets.entry(key).or_default();
        match method {
            "POST" | "PUT" => {
                let data = if is_versioned { &body["data"] } else { body };
                let Value::Object(data) = data else {
                    return errors(400, "no data provided");
                };
                versions.push(Some(data.clone()));
                (200, json!({ "data": metadata(versions) }))
            }
            "DELETE" => {
                if let Some(newest) = versions.last_mut() {
                    *newest = None;
                }
                (204, Value::Null)
            }
            _ => match versions.last() {
                None => (404, json!({ "errors": [] })),
                Some(None) => (
                    404,
                    json!({ "data": { "data": null, "metadata": metadata(versions) } }),
                ),
                Some(Some(data)) if is_versioned => (
                    200,
                    json!({ "data": { "data": data, "metadata": metadata(versions) } }),
                ),
                Some(Some(data)) => (200, json!({ "data": data })),
            },
        }
    }
}

fn metadata(versions: &Versions) -> Value {
    let is_deleted = versions.last().is_some_and(Option::is_none);
    json!({
        "created_time": "2026-01-01T00:00:00Z",
        "deletion_time": if is_deleted { "2026-02-01T00:00:00Z" } else { "" },
        "destroyed": false,
        "version": versions.len(),
    })
}
