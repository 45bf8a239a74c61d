//! Connections that acknowledge data at once.
//!
//! Some servers send the head of an answer and then its body without turning off Nagle's algorithm.
//! So they wait for our acknowledgement between the two, which the kernel delays by 40 ms: each
//! small answer takes that long, and with sixteen requests at a time there are never more than 400
//! objects a second. Here every acknowledgement is sent at once. Also, a path is sent byte for
//! byte, even with steps like `..` in it, which reqwest would resolve. Proxies are not supported
//! here: see [`is_proxied`].

use http::{Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_platform_verifier::ConfigVerifierExt;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// An HTTP client that acknowledges at once.
#[derive(Clone)]
pub(super) struct Wire {
    client: Client<HttpsConnector<Connector>, reqwest::Body>,
}

/// A request that was not answered.
pub(super) struct Unanswered {
    /// The reason, in words.
    pub(super) detail: String,
    /// True if no connection could be opened.
    pub(super) is_connect: bool,
    /// True if it is pointless to send the request again.
    pub(super) is_hopeless: bool,
}

impl Wire {
    pub(super) fn new(connect: Duration, idle: Duration) -> Result<Self, String> {
        let tls = rustls::ClientConfig::with_platform_verifier().map_err(|e| e.to_string())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector::new(connect));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(idle)
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(connector);
        Ok(Wire { client })
    }

    pub(super) async fn send(
        &self,
        request: Request<reqwest::Body>,
    ) -> Result<reqwest::Response, Unanswered> {
        match self.client.request(request).await {
            Ok(answer) => Ok(answer.map(reqwest::Body::wrap).into()),
            Err(error) => Err(Unanswered {
                detail: super::http::chain(&error),
                is_connect: error.is_connect(),
                is_hopeless: false,
            }),
        }
    }
}

/// Returns whether this user's environment names a proxy. Then reqwest must make the connections.
pub(super) fn is_proxied() -> bool {
    ["http_proxy", "https_proxy", "all_proxy"]
        .iter()
        .any(|name| {
            let is_set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
            is_set(name) || is_set(&name.to_ascii_uppercase())
        })
}

type BoxError = Box<dyn Error + Send + Sync>;

#[derive(Clone)]
struct Connector {
    tcp: HttpConnector,
    patience: Duration,
}

impl Connector {
    fn new(patience: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Connector { tcp, patience }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Prompt>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Prompt>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let patience = self.patience;
        let connecting = self.tcp.call(uri);
        Box::pin(async move {
            let stream = tokio::time::timeout(patience, connecting)
                .await
                .map_err(|_| {
                    let waited = format!("no connection within {} s", patience.as_secs());
                    io::Error::new(io::ErrorKind::TimedOut, waited)
                })??;
            Ok(TokioIo::new(Prompt(stream.into_inner())))
        })
    }
}

/// A connection that acknowledges every piece at once.
struct Prompt(TcpStream);

impl Connection for Prompt {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.0).poll_read(context, buffer);
        if buffer.filled().len() > before {
            // The kernel resets this option repeatedly. Without it everything works, only slower.
            let _ = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
        }
        read
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;
    use rustix::net::sockopt::{set_tcp_quickack, tcp_quickack};
    use std::future::poll_fn;
    use std::io::Write;

    #[test]
    fn received_data_is_acknowledged_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let at_once = runtime::run(crate::Ending::default().work(), "here", async move {
            let stream = TcpStream::connect(address).await.unwrap();
            set_tcp_quickack(&stream, false).unwrap();
            assert!(!tcp_quickack(&stream).unwrap());
            let (mut server, _) = listener.accept().unwrap();
            server.write_all(b"head").unwrap();
            let (mut prompt, mut bytes) = (Prompt(stream), [0; 16]);
            let mut buffer = ReadBuf::new(&mut bytes);
            poll_fn(|context| Pin::new(&mut prompt).poll_read(context, &mut buffer))
                .await
                .unwrap();
            assert_eq!(buffer.filled(), b"head");
            tcp_quickack(&prompt.0).unwrap()
        });
        assert!(at_once.unwrap());
    }
}
