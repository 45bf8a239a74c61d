//! A small HTTP client: one request, one answer, both bounded.
//!
//! A URL may be a secret: errors name its scheme, host and port, and never its path or query.
//! Redirects are not followed, so that a request reaches nobody but the host it was meant for; the
//! answer that redirects is returned. Certificates are judged as this system judges them, and the
//! usual variables name a proxy. A status that reports an error is an answer like any other.

use crate::secret::{Scrubber, Secret};
use crate::visible::{cut, visible};
use jiff::Timestamp;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;
use ureq::http::{self, HeaderValue, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Proxy, Timeout};
use zeroize::Zeroizing;

/// Largest number of bytes that are read of an answer's body, unless a request says otherwise.
const BODY_BYTES_MAX: u64 = 64 << 10;
/// Longest time that a server may ask for before the next request.
const RETRY_AFTER_SECONDS_MAX: u64 = 86_400;
/// Shortest part of a URL that is taken for a secret of its own.
const SECRET_PART_BYTES_MIN: usize = 8;
/// Longest reason in an error.
const REASON_CHARS_MAX: usize = 200;

/// A URL with the scheme `http` or `https`. Its path and query may hold a secret and are never
/// shown.
#[derive(Clone)]
pub struct Url {
    text: Zeroizing<String>,
    scheme: &'static str,
    host: String,
    port: Option<u16>,
    /// Who is asked, instead of whom the name resolves to.
    at: Option<IpAddr>,
}

impl Url {
    /// Parses a whole URL. `None` if it has another scheme, no host, or a user name.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let scheme = match uri.scheme_str()? {
            "http" => "http",
            "https" => "https",
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        Some(Url {
            scheme,
            host: authority.host().to_owned(),
            port: authority.port_u16(),
            at: None,
            text: Zeroizing::new(text.to_owned()),
        })
    }

    /// The same URL, asked of the server at this address, whatever its name resolves to.
    pub fn asked_at(self, address: IpAddr) -> Self {
        Url {
            at: Some(address),
            ..self
        }
    }

    /// The URL of `path`, which begins with a slash, below this one.
    pub fn join(&self, path: &str) -> Option<Self> {
        Url::parse(&format!("{}{path}", self.text.trim_end_matches('/')))
    }

    /// The URL with one more parameter, `NAME=VALUE`.
    pub fn query(&self, parameter: &str) -> Option<Self> {
        let joint = if self.text.contains('?') { '&' } else { '?' };
        Url::parse(&format!("{}{joint}{parameter}", *self.text))
    }

    /// Scheme, host and port: what may be shown of it.
    pub fn site(&self) -> String {
        match self.port {
            Some(port) => format!("{}://{}:{port}", self.scheme, self.host),
            None => format!("{}://{}", self.scheme, self.host),
        }
    }

    /// Returns whether others between this host and the server can read what is sent.
    pub fn is_readable_by_others(&self) -> bool {
        self.scheme == "http" && !is_loopback(&self.host)
    }

    /// Tells a scrubber of the URL and of those parts of it that may be secret.
    pub fn teach(&self, scrubber: &Scrubber) {
        let learn = |part: &str| scrubber.learn(&Secret::new(part.as_bytes().to_vec()));
        let authority = self.text.split_once("://").map_or("", |(_, rest)| rest);
        let Some((_, path)) = authority.split_once('/') else {
            return;
        };
        if path.len() < SECRET_PART_BYTES_MIN {
            return;
        }
        learn(&self.text);
        learn(path);
        // Words of an address, such as `webhooks` or `2016-06-01`, are none.
        let is_mixed = |part: &str| {
            part.contains(|c: char| c.is_ascii_digit())
                && part.contains(|c: char| c.is_ascii_alphabetic())
        };
        for part in path.split(['/', '?', '&', '=']) {
            if part.len() >= SECRET_PART_BYTES_MIN && (is_mixed(part) || part.len() >= 16) {
                learn(part);
            }
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({}/…)", self.site())
    }
}

/// Returns whether a host, as a URL or a configuration names it, is this one.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<std::net::IpAddr, _> = bare.parse();
    bare.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Returns whether a host is this one, or of this network alone, as what gives keys to a machine is.
fn is_near(host: &str) -> bool {
    let address = host.parse::<std::net::Ipv4Addr>();
    is_loopback(host) || address.is_ok_and(|address| address.is_link_local())
}

/// Method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Asks for something, without a body.
    Get,
    /// Sends the body.
    Post,
    /// Puts the body.
    Put,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Where it goes.
    pub url: Url,
    /// Headers beside those that every request has.
    pub headers: Vec<(&'static str, Value)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Value of a header.
#[derive(Debug, Clone)]
pub enum Value {
    /// Text that may be shown.
    Plain(String),
    /// A secret, behind a word in clear: `Bearer `.
    Secret(&'static str, Secret),
}

impl Value {
    fn header(&self) -> Option<HeaderValue> {
        match self {
            Value::Plain(text) => HeaderValue::from_str(text).ok(),
            Value::Secret(word, secret) => {
                let mut bytes = Zeroizing::new(word.as_bytes().to_vec());
                bytes.extend_from_slice(secret.expose());
                let mut value = HeaderValue::from_bytes(&bytes).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        }
    }
}

/// Longest times that a request may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the answer was read.
    pub total: Duration,
    /// Bytes of the answer that are read.
    pub body: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(10),
            total: Duration::from_secs(30),
            body: BODY_BYTES_MAX,
        }
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// How long the server asks to wait before the next request, at most a day.
    pub retry_after: Option<Duration>,
    /// The beginning of the body: at most as much as was allowed.
    pub body: Vec<u8>,
}

/// A request without an answer. No field holds a path, a query or a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The name of the host does not resolve.
    #[error("the name of {site} does not resolve")]
    NameUnknown {
        /// Scheme, host and port.
        site: String,
        /// What the system says.
        reason: String,
    },
    /// Nothing answers there.
    #[error("{site} cannot be reached")]
    Unreachable {
        /// Scheme, host and port.
        site: String,
        /// What the system says.
        reason: String,
    },
    /// A bound in time was reached.
    #[error("{site} did not {deed} in time")]
    TimedOut {
        /// Scheme, host and port.
        site: String,
        /// What was awaited.
        deed: &'static str,
    },
    /// The server's certificate is not believed.
    #[error("{site} shows a certificate that is not believed")]
    Certificate {
        /// Scheme, host and port.
        site: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection cannot be encrypted.
    #[error("{site} does not speak TLS as it should")]
    Tls {
        /// Scheme, host and port.
        site: String,
        /// What is wrong.
        reason: String,
    },
    /// The proxy did not open a way.
    #[error("the proxy does not open a way to {site}")]
    Proxy {
        /// Scheme, host and port.
        site: String,
    },
    /// The answer is no HTTP, or ends early.
    #[error("{site} does not speak HTTP")]
    Garbage {
        /// Scheme, host and port.
        site: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The request itself cannot be written.
    #[error("a request to {site} cannot be written: a header holds what no header may")]
    Unwritable {
        /// Scheme, host and port.
        site: String,
    },
}

impl HttpError {
    /// The reason, in the words of the system or of a library.
    pub fn reason(&self) -> Option<&str> {
        match self {
            HttpError::NameUnknown { reason, .. }
            | HttpError::Unreachable { reason, .. }
            | HttpError::Certificate { reason, .. }
            | HttpError::Tls { reason, .. }
            | HttpError::Garbage { reason, .. } => Some(reason),
            HttpError::TimedOut { .. } | HttpError::Proxy { .. } | HttpError::Unwritable { .. } => {
                None
            }
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            HttpError::NameUnknown { .. } => {
                "check the host name in the URL, and the name servers of this host"
            }
            HttpError::Unreachable { .. } => {
                "check the URL, the network and the firewall; HTTPS_PROXY names a proxy"
            }
            HttpError::TimedOut { .. } => {
                "check the network and that service; it is tried again later"
            }
            HttpError::Certificate { .. } => {
                "check the host name in the URL; install the authority of a private certificate in this system, or name its file in SSL_CERT_FILE"
            }
            HttpError::Tls { .. } => "check the scheme and the port of the URL",
            HttpError::Proxy { .. } => {
                "check the proxy that HTTPS_PROXY or ALL_PROXY names, or exclude the host with NO_PROXY"
            }
            HttpError::Garbage { .. } => "check the host and the port of the URL",
            HttpError::Unwritable { .. } => {
                "check the token: it may hold a line break or a character that is not ASCII"
            }
        }
    }
}

/// Sends a request and reads the answer. `now` is the time from which a date in `Retry-After`
/// counts.
pub fn send(request: &Request, limits: Limits, now: Timestamp) -> Result<Answer, HttpError> {
    let site = request.url.site();
    let unwritable = || HttpError::Unwritable { site: site.clone() };
    let mut message = http::Request::builder()
        .method(match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
        })
        .uri(request.url.text.as_str());
    for (name, value) in &request.headers {
        message = message.header(*name, value.header().ok_or_else(unwritable)?);
    }
    let message = message.body(&*request.body).map_err(|_| unwritable())?;
    let answer = agent(&request.url, limits)
        .run(message)
        .map_err(|error| told(&site, error))?;
    let status = answer.status().as_u16();
    let retry_after = answer
        .headers()
        .get("retry-after")
        .and_then(|value| wait_of(value.to_str().ok()?, now));
    let mut body = Vec::new();
    answer
        .into_body()
        .into_reader()
        .take(limits.body)
        .read_to_end(&mut body)
        .map_err(|error| told(&site, error.into()))?;
    Ok(Answer {
        status,
        retry_after,
        body,
    })
}

/// Sends a request, again and up to so many times while nothing answers or the server is busy, with a
/// short and growing wait between. An answer of any other status is one.
pub fn send_again(request: &Request, limits: Limits, attempts: u32) -> Result<Answer, HttpError> {
    let mut attempt = 1;
    loop {
        let answer = send(request, limits, Timestamp::now());
        let busy = match &answer {
            Ok(answer) => answer.status >= 500 || answer.status == 429,
            Err(_) => true,
        };
        if !busy || attempt >= attempts {
            return answer;
        }
        sleep(Duration::from_millis(200 << attempt));
        attempt += 1;
    }
}

/// An agent for one request, so that certificates and proxies are those of this moment. What stays
/// on this host passes no proxy.
fn agent(url: &Url, limits: Limits) -> Agent {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let direct = url.at.is_some() || is_near(&url.host);
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(Proxy::try_from_env().filter(|_| !direct))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(limits.connect))
        .timeout_global(Some(limits.total))
        .build();
    match url.at {
        Some(address) => Agent::with_parts(config, DefaultConnector::default(), At(address)),
        None => config.into(),
    }
}

/// Resolves every name to one address.
#[derive(Debug)]
struct At(IpAddr);

impl Resolver for At {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let default = match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        };
        let mut addresses = self.empty();
        addresses.push(SocketAddr::new(self.0, uri.port_u16().unwrap_or(default)));
        Ok(addresses)
    }
}

/// The wait that `Retry-After` asks for: seconds, or a date.
fn wait_of(text: &str, now: Timestamp) -> Option<Duration> {
    let seconds = match text.trim().parse::<f64>() {
        Ok(seconds) => return wait_of_seconds(seconds),
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            until.as_second().saturating_sub(now.as_second())
        }
    };
    let seconds = u64::try_from(seconds).unwrap_or(0);
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_SECONDS_MAX)))
}

/// A wait in seconds, as a server gives it; at most a day.
pub fn wait_of_seconds(seconds: f64) -> Option<Duration> {
    let day = Duration::from_secs(RETRY_AFTER_SECONDS_MAX);
    match seconds.is_nan() || seconds < 0.0 {
        true => None,
        false => Some(Duration::try_from_secs_f64(seconds).map_or(day, |wait| wait.min(day))),
    }
}

/// The error without anything that may be secret: of ureq's own only the kind is taken.
fn told(site: &str, error: ureq::Error) -> HttpError {
    use ureq::Error as E;
    let site = site.to_owned();
    match error {
        E::HostNotFound => HttpError::NameUnknown {
            site,
            reason: "it has no address".into(),
        },
        E::Timeout(at) => HttpError::TimedOut {
            site,
            deed: match at {
                Timeout::Resolve | Timeout::Connect => "accept a connection",
                _ => "answer",
            },
        },
        E::Rustls(error) => of_tls(site, &error),
        E::ConnectProxyFailed(_) | E::InvalidProxyUrl => HttpError::Proxy { site },
        E::Io(error) => of_io(site, &error),
        E::ConnectionFailed => HttpError::Unreachable {
            site,
            reason: "no address of it accepts a connection".into(),
        },
        E::Tls(reason) => HttpError::Tls {
            site,
            reason: reason.into(),
        },
        E::Protocol(error) => HttpError::Garbage {
            site,
            reason: cut(&visible(&error.to_string()), REASON_CHARS_MAX),
        },
        _ => HttpError::Garbage {
            site,
            reason: "the answer cannot be understood".into(),
        },
    }
}

fn of_io(site: String, error: &io::Error) -> HttpError {
    if let Some(inner) = error.get_ref() {
        if let Some(error) = inner.downcast_ref::<rustls::Error>() {
            return of_tls(site, error);
        }
        if let Some(ureq::Error::Timeout(_)) = inner.downcast_ref::<ureq::Error>() {
            let deed = "answer";
            return HttpError::TimedOut { site, deed };
        }
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => HttpError::Garbage {
            site,
            reason: "the connection ended before the answer did".into(),
        },
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => HttpError::TimedOut {
            site,
            deed: "answer",
        },
        _ => {
            let reason = error.to_string();
            // The standard library has no kind for it.
            match reason.starts_with("failed to lookup address information") {
                true => HttpError::NameUnknown { site, reason },
                false => HttpError::Unreachable { site, reason },
            }
        }
    }
}

fn of_tls(site: String, error: &rustls::Error) -> HttpError {
    let reason = cut(&visible(&error.to_string()), REASON_CHARS_MAX);
    match error {
        rustls::Error::InvalidCertificate(_) => HttpError::Certificate { site, reason },
        _ => HttpError::Tls { site, reason },
    }
}

#[cfg(test)]
mod tests;
