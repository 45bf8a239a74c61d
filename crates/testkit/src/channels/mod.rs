//! A server that answers as the services behind channels do: Slack, Discord, Teams, Telegram, ntfy,
//! Gotify, Pushover, PagerDuty and Opsgenie.
//!
//! What each requires and answers is from its public documentation, not from what Lifeboat sends:
//! required fields, types, limits, where the secret stands, and the form of an error. It also knows
//! whom a text would call, as the service would. A client library of somebody else is accepted by
//! it, too.

mod apis;
mod http;
mod mail;

pub use apis::Secrets;
pub use http::Seen;
pub use mail::{Mail, MailServer, TlsServer, Want};

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As the real one does.
    Real,
    /// It answers everything with this status and no body.
    Status(u16),
    /// It answers with 429, as each service says it.
    TooMany,
    /// It takes the request and never answers.
    Hang,
    /// It answers with something that is no HTTP.
    Garbage,
    /// It closes the connection without a word.
    Close,
    /// It redirects to another server.
    Redirect,
    /// A proxy in between shows a page, with the status 200.
    Page,
    /// It refuses, and repeats the request in its answer.
    Repeat,
}

/// The server. It ends with the process.
pub struct ChannelServer {
    address: SocketAddr,
    secrets: Secrets,
    state: Arc<Mutex<State>>,
}

struct State {
    manner: Manner,
    seen: Vec<Seen>,
}

impl ChannelServer {
    /// Starts a server on a free port of this host.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let secrets = Secrets::default();
        let state = Arc::new(Mutex::new(State {
            manner: Manner::Real,
            seen: Vec::new(),
        }));
        let (shared, known) = (Arc::clone(&state), secrets.clone());
        std::thread::Builder::new()
            .spawn(move || {
                for stream in listener.incoming() {
                    let (shared, known) = (Arc::clone(&shared), known.clone());
                    let serve = move || serve(&stream.unwrap(), &shared, &known);
                    std::thread::Builder::new().spawn(serve).unwrap();
                }
            })
            .unwrap();
        ChannelServer {
            address,
            secrets,
            state,
        }
    }

    /// The URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The secrets that it accepts.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Changes its behaviour.
    pub fn behave(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    /// Returns what it was sent since it was last asked.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>, secrets: &Secrets) {
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let Some(request) = http::read(stream) else {
        return;
    };
    let manner = state.lock().unwrap().manner;
    let (seen, status, body) = apis::answer(&request, secrets);
    let (status, headers, body) = match manner {
        Manner::Real => (status, String::new(), body),
        Manner::Status(status) => (status, String::new(), String::new()),
        Manner::TooMany => {
            let (headers, body) = apis::too_many(seen.api);
            (429, headers, body)
        }
        Manner::Redirect => (
            302,
            "Location: http://127.0.0.1:9/elsewhere\r\n".into(),
            String::new(),
        ),
        Manner::Page => (200, String::new(), "<html>please log in</html>".into()),
        Manner::Repeat => {
            let message = format!(
                "cannot {} {:?} {}",
                request.target,
                request.headers,
                request.text()
            );
            let body = serde_json::json!({
                "ok": false, "error": message, "message": message, "errorDescription": message,
                "description": message, "errors": [message], "status": 0,
            });
            (400, String::new(), body.to_string())
        }
        Manner::Hang => {
            state.lock().unwrap().seen.push(seen);
            std::thread::sleep(Duration::from_secs(120));
            return;
        }
        Manner::Garbage => {
            let _ = (&mut &*stream).write_all(b"220 this is a mail server\r\n\r\n");
            return;
        }
        Manner::Close => return,
    };
    state.lock().unwrap().seen.push(seen);
    http::write(stream, status, &headers, &body);
}
