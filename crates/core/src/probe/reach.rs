//! Whether somebody answers on the network: a web server as it should, a port at all.

use super::{CheckOutcome, CheckResult, Subject};
use crate::cancel;
use crate::http::{Limits, Method, Request, Url, send};
use crate::span::Span;
use jiff::Timestamp;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The pause between two.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of an answer in which a text is looked for.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// What a web server must answer.
pub struct Page<'a> {
    /// Where it is asked.
    pub url: &'a str,
    /// Name or address of the server that is asked, if it is not the one of the URL.
    pub at: Option<&'a str>,
    /// The status.
    pub status: u16,
    /// What must be in the body.
    pub contains: Option<&'a str>,
}

/// Asks a web server until it answers as it must, or the time is over: what has just started needs some.
pub fn check_http(name: Subject, page: &Page<'_>, within: Span) -> CheckResult {
    let expected = match page.contains {
        Some(text) => format!("status {} and {text:?}", page.status),
        None => format!("status {}", page.status),
    };
    let Some(url) = Url::parse(page.url) else {
        return CheckResult::unknown(name, expected, "it is no URL of a web server");
    };
    let url = match page.at.map(address_of) {
        None => url,
        Some(Ok(address)) => url.asked_at(address),
        Some(Err(why)) => return CheckResult::unknown(name, expected, why),
    };
    let request = Request {
        method: Method::Get,
        url,
        headers: Vec::new(),
        body: Vec::new(),
    };
    let limits = Limits {
        connect: ATTEMPT,
        total: ATTEMPT,
        body: BODY_BYTES_MAX,
    };
    until(name, &expected, within, || {
        let answer = match send(&request, limits, Timestamp::now()) {
            Ok(answer) => answer,
            Err(error) => return Err(error.to_string()),
        };
        let body = String::from_utf8_lossy(&answer.body);
        let lacks = page.contains.is_some_and(|text| !body.contains(text));
        match (answer.status == page.status, lacks) {
            (true, false) => Ok(()),
            (true, true) => Err(format!("status {}, without the text", answer.status)),
            (false, _) => Err(format!("status {}", answer.status)),
        }
    })
}

/// Connects to a port until somebody takes the connection, or the time is over.
pub fn check_tcp(name: Subject, host: &str, port: u16, within: Span) -> CheckResult {
    let expected = format!("port {port} takes connections");
    until(name, &expected, within, || {
        let address = SocketAddr::new(address_of(host)?, port);
        let connected = TcpStream::connect_timeout(&address, ATTEMPT);
        connected.map(drop).map_err(|error| error.to_string())
    })
}

fn address_of(host: &str) -> Result<IpAddr, String> {
    let addresses = (host, 0).to_socket_addrs();
    let mut addresses = addresses.map_err(|error| error.to_string())?;
    let first = addresses.next();
    first
        .map(|address| address.ip())
        .ok_or_else(|| "its name has no address".to_owned())
}

/// Tries until it succeeds, or the time is over.
fn until(
    name: Subject,
    expected: &str,
    within: Span,
    mut attempt: impl FnMut() -> Result<(), String>,
) -> CheckResult {
    let end = Instant::now() + Duration::from_secs(within.seconds);
    loop {
        let failed = match attempt() {
            Ok(()) => return CheckResult::new(name, expected, expected, CheckOutcome::Passed),
            Err(failed) => failed,
        };
        if Instant::now() + PAUSE >= end || cancel::wait(PAUSE).is_err() {
            return CheckResult::new(name, expected, failed, CheckOutcome::Failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A server that gives these answers, one to each connection.
    fn server(answers: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        port
    }

    fn page(port: u16, contains: Option<&str>, seconds: u64) -> (CheckOutcome, String) {
        let url = format!("http://127.0.0.1:{port}/");
        let page = Page {
            url: &url,
            at: None,
            status: 200,
            contains,
        };
        let result = check_http(Subject::word("http"), &page, Span { seconds });
        (result.outcome, result.observed().to_owned())
    }

    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

    #[test]
    fn a_server_has_time_to_start_and_none_to_be_wrong() {
        let (outcome, _) = page(server(&[BUSY, HELLO]), Some("hello"), 10);
        assert_eq!(outcome, CheckOutcome::Passed);
        let (outcome, observed) = page(server(&[HELLO]), Some("welcome"), 0);
        assert_eq!(outcome, CheckOutcome::Failed);
        assert_eq!(observed, "status 200, without the text");
        let (outcome, observed) = page(server(&[BUSY]), None, 0);
        assert_eq!(
            (outcome, observed.as_str()),
            (CheckOutcome::Failed, "status 503")
        );
    }

    #[test]
    fn a_port_takes_connections_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let tcp = |seconds| check_tcp(Subject::word("tcp"), "127.0.0.1", port, Span { seconds });
        assert_eq!(tcp(0).outcome, CheckOutcome::Passed);
        drop(listener);
        let refused = tcp(0);
        assert_eq!(refused.outcome, CheckOutcome::Failed);
        assert!(
            refused.observed().contains("refused"),
            "{}",
            refused.observed()
        );
    }
}
