//! Just enough HTTP for a server in tests.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, which is JSON or a form by its type.
    pub fn document(&self) -> Option<Value> {
        let kind = self.header("content-type");
        if kind.starts_with("application/json") {
            return serde_json::from_slice(&self.body).ok();
        }
        if kind.starts_with("application/x-www-form-urlencoded") {
            let text = self.text();
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            let decoded = pairs.map(|(name, value)| (name.to_owned(), Value::from(decode(value))));
            return Some(Value::Object(decoded.collect()));
        }
        None
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap().to_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// What a service made of a request.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The service.
    pub api: &'static str,
    /// Path and query.
    pub target: String,
    /// Headers by name, in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as it came.
    pub raw: Vec<u8>,
    /// The body.
    pub body: Value,
    /// Why the service refuses it.
    pub refused: Option<String>,
    /// People whom the texts would call by name, or all at once.
    pub called: Vec<String>,
}

/// Reads a request. None if the client said nothing.
pub fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .ok()
        .filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    let length = headers
        .get("content-length")
        .map_or(Ok(0), |text| text.parse());
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        target,
        headers,
        body,
    })
}

/// Writes an answer; the connection ends with it.
pub fn write(mut stream: &TcpStream, status: u16, headers: &str, body: &str) {
    let kind = match body.starts_with('{') {
        true => "application/json",
        false => "text/html",
    };
    let answer = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}",
        body.len()
    );
    // A client that went away is not the server's concern.
    let _ = stream.write_all(answer.as_bytes());
}
