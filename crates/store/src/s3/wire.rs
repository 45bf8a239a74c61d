//! Connections for reading many small objects.
//!
//! Some servers send the head of an answer and then its body without turning off Nagle's
//! algorithm, and so wait for our acknowledgement between the two, which the kernel delays by
//! 40 ms: with sixteen requests at a time, never more than 400 objects a second. Here every
//! acknowledgement is asked for at once. And a path goes out byte for byte, also with steps like
//! `..` in it, which reqwest would follow. Proxies are not known here: see [`is_proxied`].

use http::{Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_platform_verifier::ConfigVerifierExt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A client that acknowledges at once.
#[derive(Clone)]
pub(super) struct Wire {
    client: Client<HttpsConnector<Connector>, reqwest::Body>,
}

/// What became of a request that was not answered.
pub(super) struct Unanswered {
    /// In words.
    pub(super) detail: String,
    /// There was no connection.
    pub(super) is_connect: bool,
    /// Nothing would come of sending it again.
    pub(super) is_hopeless: bool,
}

impl Wire {
    pub(super) fn new(connect: Duration, idle: Duration) -> Result<Self, String> {
        let tls = rustls::ClientConfig::with_platform_verifier().map_err(|e| e.to_string())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector { patience: connect });
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

/// Whether this user's environment names a proxy: then connections are for reqwest to make.
pub(super) fn is_proxied() -> bool {
    ["http_proxy", "https_proxy", "all_proxy"]
        .iter()
        .any(|name| {
            let is_set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
            is_set(name) || is_set(&name.to_ascii_uppercase())
        })
}

#[derive(Clone)]
struct Connector {
    patience: Duration,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Prompt>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Prompt>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let patience = self.patience;
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let host = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            let secure = uri.scheme_str() == Some("https");
            let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
            let connecting = TcpStream::connect((host.as_str(), port));
            let stream = tokio::time::timeout(patience, connecting)
                .await
                .map_err(|_| {
                    let waited = format!("no connection within {} s", patience.as_secs());
                    io::Error::new(io::ErrorKind::TimedOut, waited)
                })??;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(Prompt(stream)))
        })
    }
}

/// A connection whose every piece is acknowledged at once.
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
        let read = Pin::new(&mut self.0).poll_read(context, buffer);
        // The kernel forgets it again and again. Without it all is slower, and nothing wrong.
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
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
