//! Secrets of HashiCorp Vault, or of what speaks as it does, such as OpenBao. Source: the reference of its
//! HTTP API: "KV secrets engine", "AppRole auth method", "Kubernetes auth method".
//!
//! Where it is and who asks is in the environment, as the tools of Vault have it.

use super::field;
use crate::error::{Code, Error, Result};
use crate::http::{Answer, Limits, Method, Request, Url, Value as Header, send_again};
use crate::percent;
use crate::secret::Secret;
use crate::shell;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where the tools of Vault look for it, unless they are told.
const ADDRESS: &str = "https://127.0.0.1:8200";
/// The token of a pod's service account.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// The time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);
const ATTEMPTS: u32 = 3;
/// Bytes that are read of an answer: a secret has at most 1 MiB.
const BODY_BYTES_MAX: u64 = 2 << 20;
/// A login is not used in the last part of its time.
const SPARE: Duration = Duration::from_secs(10);

/// The last login, since some may not be repeated often.
static LOGGED_IN: Mutex<Option<LoggedIn>> = Mutex::new(None);

fn forget_login() {
    LOGGED_IN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
}

/// A token, and whether it was used before.
struct Token {
    secret: Secret,
    is_used: bool,
}

struct LoggedIn {
    server: Server,
    login: Login,
    token: Secret,
    until: Instant,
}

/// Fetches a field of a secret.
///
/// # Errors
/// Those of code `secret`: it is not known who asks, the login or the secret is refused, there is none, or
/// nothing answers. None holds a secret.
pub fn fetch(path: &str, key: &str) -> Result<Vec<u8>> {
    let what = format!("vault:{path}");
    let server = Server::of_environment(&variable)?;
    let login = Login::of_environment(&variable)?;
    let mut asking = Asking {
        what: &what,
        server: &server,
        token: login.token(&server, &what)?,
        who: login.who(),
    };
    let (mut engine, mut answer) = asking.secret(path)?;
    // A login that was good may have been revoked.
    if answer.status == 403 && asking.token.is_used {
        forget_login();
        asking.token = login.token(&server, &what)?;
        (engine, answer) = asking.secret(path)?;
    }
    let data = match answer.status {
        200 => Ok(body(&answer)),
        status => Err(asking.refused(&engine, path, key, status, &body(&answer))),
    };
    let data = match engine.is_versioned {
        true => data?.pointer_mut("/data/data").map(Value::take),
        false => data?.pointer_mut("/data").map(Value::take),
    };
    let fields = match data {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    field(&what, &fields, key)
}

/// A variable of this process's environment that is set, and not to nothing.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    value.filter(|value| !value.trim().is_empty())
}

type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where Vault is.
#[derive(Clone, PartialEq, Eq)]
struct Server {
    address: String,
    namespace: Option<String>,
}

impl Server {
    fn of_environment(variable: Variable<'_>) -> Result<Self> {
        if variable("VAULT_SKIP_VERIFY").is_some_and(|value| value != "false" && value != "0") {
            return Err(Error::new(
                Code::Secret,
                "VAULT_SKIP_VERIFY is set, and Lifeboat sends no token to whom it cannot believe",
            )
            .hint(
                "install the authority of Vault's certificate, or name its file in SSL_CERT_FILE",
            ));
        }
        let address = variable("VAULT_ADDR").unwrap_or_else(|| ADDRESS.to_owned());
        Ok(Server {
            address: address.trim_end_matches('/').to_owned(),
            namespace: variable("VAULT_NAMESPACE"),
        })
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        body: &Value,
    ) -> Result<Answer> {
        let url = Url::parse(&format!("{}{path}", self.address)).ok_or_else(|| {
            Error::new(Code::Secret, "VAULT_ADDR is no URL").hint(format!("write it as {ADDRESS}"))
        })?;
        let mut headers = vec![("x-vault-request", Header::Plain("true".to_owned()))];
        if let Some(namespace) = &self.namespace {
            headers.push(("x-vault-namespace", Header::Plain(namespace.clone())));
        }
        if let Some(token) = token {
            headers.push(("x-vault-token", Header::Secret("", token.clone())));
        }
        let site = url.site();
        let request = Request {
            method,
            url,
            headers,
            body: match body {
                Value::Null => Vec::new(),
                body => body.to_string().into_bytes(),
            },
        };
        let limits = Limits {
            connect: PATIENCE,
            total: PATIENCE,
            body: BODY_BYTES_MAX,
        };
        let answer = send_again(&request, limits, ATTEMPTS).map_err(|error| {
            let message = format!("the Vault cannot be asked: {error}");
            let failed = Error::new(Code::SecretUnreachable, message).hint(match error.reason() {
                Some(_) => format!("{}; VAULT_ADDR names Vault", error.hint()),
                None => "check that VAULT_ADDR names Vault, and that it runs".to_owned(),
            });
            match error.reason() {
                Some(reason) => failed.cause(reason.to_owned()),
                None => failed,
            }
        })?;
        match answer.status {
            503 => Err(Error::new(
                Code::SecretUnreachable,
                format!("the Vault at {site} is sealed, or in maintenance"),
            )
            .hint("unseal it: vault operator unseal")),
            _ => Ok(answer),
        }
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
enum Login {
    /// Whoever has this token; with where it is from.
    Token(String, &'static str),
    AppRole {
        mount: String,
        role: String,
        secret: Option<String>,
    },
    Kubernetes {
        mount: String,
        role: String,
        token: PathBuf,
    },
}

impl Login {
    fn of_environment(variable: Variable<'_>) -> Result<Self> {
        let mount = |name: &str, usual: &str| variable(name).unwrap_or_else(|| usual.to_owned());
        if let Some(token) = named_or_in_file(variable, "VAULT_TOKEN")? {
            return Ok(Login::Token(token, "VAULT_TOKEN"));
        }
        if let Some(role) = variable("VAULT_ROLE_ID") {
            return Ok(Login::AppRole {
                mount: mount("VAULT_APPROLE_MOUNT", "approle"),
                role,
                secret: named_or_in_file(variable, "VAULT_SECRET_ID")?,
            });
        }
        if let Some(role) = variable("VAULT_KUBERNETES_ROLE") {
            return Ok(Login::Kubernetes {
                mount: mount("VAULT_KUBERNETES_MOUNT", "kubernetes"),
                role,
                token: mount("VAULT_KUBERNETES_TOKEN_FILE", POD_TOKEN).into(),
            });
        }
        let left = variable("HOME").map(|home| PathBuf::from(home).join(".vault-token"));
        if let Some(text) = left.and_then(|path| crate::plain::read(&path).ok()) {
            let token = String::from_utf8_lossy(&text).trim().to_owned();
            return Ok(Login::Token(token, "~/.vault-token"));
        }
        Err(Error::new(Code::Secret, "it is not known how to log in to Vault")
            .cause("none of VAULT_TOKEN, VAULT_ROLE_ID and VAULT_KUBERNETES_ROLE is set, and there is no ~/.vault-token")
            .hint("set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID, for the user that runs lifeboat"))
    }

    /// Who it is, for errors.
    fn who(&self) -> String {
        match self {
            Login::Token(_, from) => format!("the token from {from}"),
            Login::AppRole { .. } => "the AppRole of VAULT_ROLE_ID".to_owned(),
            Login::Kubernetes { role, .. } => format!("the Kubernetes role {role}"),
        }
    }

    /// A token for it: the one that it is, that of the last login while it is good, or that of a new one.
    fn token(&self, server: &Server, what: &str) -> Result<Token> {
        let token = |secret: Secret, is_used| Token { secret, is_used };
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        let (mount, body) = match self {
            Login::Token(text, _) => return Ok(token(secret(text), false)),
            Login::AppRole {
                mount,
                role,
                secret: Some(secret),
            } => (mount, json!({ "role_id": role, "secret_id": secret })),
            Login::AppRole { mount, role, .. } => (mount, json!({ "role_id": role })),
            Login::Kubernetes { mount, role, token } => {
                let jwt = read(token)?;
                (mount, json!({ "role": role, "jwt": jwt.trim() }))
            }
        };
        let mut known = LOGGED_IN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*known
            && (&last.server, &last.login) == (server, self)
            && Instant::now() < last.until
        {
            return Ok(token(last.token.clone(), true));
        }
        let answer = server.ask(
            Method::Post,
            &format!("/v1/auth/{mount}/login"),
            None,
            &body,
        )?;
        let told = self::body(&answer);
        let Some(text) = told.pointer("/auth/client_token").and_then(Value::as_str) else {
            return Err(Error::new(
                Code::Secret,
                format!(
                    "Vault does not let {} in, which is to read {what}",
                    self.who()
                ),
            )
            .cause(said(answer.status, &told))
            .hint(format!(
                "check that role, its secret and that it may log in at auth/{mount}"
            )));
        };
        let fresh = secret(text);
        let seconds = told
            .pointer("/auth/lease_duration")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let lasts = Duration::from_secs(seconds).saturating_sub(SPARE);
        *known = Some(LoggedIn {
            server: server.clone(),
            login: self.clone(),
            token: fresh.clone(),
            until: Instant::now() + lasts,
        });
        Ok(token(fresh, false))
    }
}

/// The value of a variable, or of the file that `NAME_FILE` names.
fn named_or_in_file(variable: Variable<'_>, name: &str) -> Result<Option<String>> {
    if let Some(value) = variable(name) {
        return Ok(Some(value.trim().to_owned()));
    }
    let path = variable(&format!("{name}_FILE"));
    let text = path.map(|path| read(&PathBuf::from(path))).transpose()?;
    Ok(text.map(|text| text.trim().to_owned()))
}

fn read(path: &std::path::Path) -> Result<String> {
    let bytes = crate::plain::read(path).map_err(|error| {
        let message = format!(
            "the file {} cannot be read, which Vault wants to see",
            path.display()
        );
        Error::new(Code::Secret, message)
            .cause(error)
            .hint("let the user that runs lifeboat read it, or correct the variable that names it")
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The engine that keeps a secret.
struct Engine {
    /// Where it is mounted, without slashes at the ends.
    mount: String,
    /// Whether it keeps versions, as version 2 does.
    is_versioned: bool,
}

impl Engine {
    /// The path of a secret below the mount. What is written as the API has it, with `data`, is meant the
    /// same.
    fn below<'a>(&self, path: &'a str) -> &'a str {
        let path = path.trim_matches('/');
        let below = path.strip_prefix(&*self.mount).unwrap_or(path);
        let below = below.trim_start_matches('/');
        match self.is_versioned {
            true => below.strip_prefix("data/").unwrap_or(below),
            false => below,
        }
    }

    /// The address of a secret, percent-encoded.
    fn address(&self, path: &str) -> String {
        let mut address = encoded(&self.mount);
        if self.is_versioned {
            address.push_str("/data");
        }
        let _ = write!(address, "/{}", encoded(self.below(path)));
        address
    }
}

fn encoded(path: &str) -> String {
    let parts = path.split('/').map(percent::encode);
    parts.collect::<Vec<_>>().join("/")
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// What a refusal says.
fn said(status: u16, told: &Value) -> String {
    let errors = told.get("errors").and_then(Value::as_array);
    let errors: Vec<&str> = errors
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match errors.is_empty() {
        true => format!("status {status}"),
        false => errors
            .join("; ")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// Somebody who is logged in and asks for a secret.
struct Asking<'a> {
    what: &'a str,
    server: &'a Server,
    token: Token,
    who: String,
}

impl Asking<'_> {
    fn get(&self, path: &str) -> Result<Answer> {
        self.server
            .ask(Method::Get, path, Some(&self.token.secret), &Value::Null)
    }

    /// The answer to the question for a secret, and the engine that was asked.
    fn secret(&self, path: &str) -> Result<(Engine, Answer)> {
        let engine = self.engine(path)?;
        let answer = self.get(&format!("/v1/{}", engine.address(path)))?;
        Ok((engine, answer))
    }

    /// The engine of a path, as Vault says it; where it does not say, version 2 at the first part of it.
    fn engine(&self, path: &str) -> Result<Engine> {
        let path = path.trim_matches('/');
        let answer = self.get(&format!("/v1/sys/internal/ui/mounts/{}", encoded(path)))?;
        let told = body(&answer);
        let mount = told
            .pointer("/data/path")
            .and_then(Value::as_str)
            .map(|mount| mount.trim_matches('/'));
        Ok(
            match mount.filter(|mount| !mount.is_empty() && answer.status == 200) {
                Some(mount) => Engine {
                    mount: mount.to_owned(),
                    is_versioned: told
                        .pointer("/data/options/version")
                        .is_some_and(|version| version == "2"),
                },
                None => Engine {
                    mount: path.split('/').next().unwrap_or_default().to_owned(),
                    is_versioned: true,
                },
            },
        )
    }

    /// The error for an answer that is no secret.
    fn refused(&self, engine: &Engine, path: &str, key: &str, status: u16, told: &Value) -> Error {
        let (what, mount, below) = (self.what, &engine.mount, engine.below(path));
        let error = |message: String| Error::new(Code::Secret, message);
        let metadata = |name: &str| told.pointer("/data/metadata")?.get(name);
        let time = metadata("deletion_time").and_then(Value::as_str);
        let is_destroyed = metadata("destroyed").is_some_and(|destroyed| destroyed == true);
        let is_deleted = is_destroyed || time.is_some_and(|time| !time.is_empty());
        match status {
            404 if is_deleted => {
                error(format!("the newest version of {what} was deleted")).hint(format!(
                    "bring it back: vault kv undelete -mount={} -versions={} {}",
                    shell::quote(mount),
                    metadata("version").unwrap_or(&Value::Null),
                    shell::quote(below)
                ))
            }
            404 => error(format!("there is no secret at {what}"))
                .cause(said(status, told))
                .hint(format!(
                    "correct the path, or put it there: vault kv put -mount={} {} {}=-",
                    shell::quote(mount),
                    shell::quote(below),
                    shell::quote(key)
                )),
            403 => error(format!("{what} may not be read by {}", self.who))
                .cause(said(status, told))
                .hint(format!(
                    "check that it has not expired, and that its policy allows read on {}",
                    engine.address(path)
                )),
            _ => error(format!("the secret at {what} cannot be fetched"))
                .cause(said(status, told))
                .hint("see the log of Vault"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(mount: &str, is_versioned: bool) -> Engine {
        let mount = mount.to_owned();
        Engine {
            mount,
            is_versioned,
        }
    }

    #[test]
    fn a_path_is_meant_as_the_tool_or_as_the_api_writes_it() {
        for path in ["secret/crm/db", "/secret/crm/db/", "secret/data/crm/db"] {
            assert_eq!(engine("secret", true).address(path), "secret/data/crm/db");
        }
        assert_eq!(
            engine("team/kv", true).address("team/kv/a b"),
            "team/kv/data/a%20b"
        );
        assert_eq!(engine("old", false).address("old/data/x"), "old/data/x");
    }

    #[test]
    fn who_asks_is_in_the_environment() {
        let of = |set: &'static [(&str, &str)]| {
            Login::of_environment(&move |name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let token = of(&[("VAULT_TOKEN", "t\n"), ("VAULT_ROLE_ID", "r")]);
        assert!(token.unwrap() == Login::Token("t".to_owned(), "VAULT_TOKEN"));
        let role = of(&[("VAULT_ROLE_ID", "r"), ("VAULT_APPROLE_MOUNT", "m")]).unwrap();
        let Login::AppRole { mount, secret, .. } = role else {
            panic!("no AppRole");
        };
        assert_eq!((mount.as_str(), secret), ("m", None));
        assert!(of(&[]).is_err_and(|error| error.message.contains("how to log in")));
        let missing = of(&[("VAULT_TOKEN_FILE", "/does/not/exist")]);
        assert!(missing.is_err_and(|error| error.message.contains("/does/not/exist")));
    }
}
