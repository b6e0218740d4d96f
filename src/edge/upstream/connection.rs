//! Opens connections to nanoservices, and observes each of them: whether it was used before, and how it ended.
//! An endpoint that cannot be reached, or whose TLS handshake fails, is an error of whoever waits for the connection.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::resolver::Resolver;

/// Opens connections: TCP, and TLS on top of it for `https`.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector<Resolver>>,
    /// Longest time to connect, the TLS handshake included.
    timeout: Duration,
}

/// What is known of one connection. All requests that are sent on it share it.
#[derive(Debug)]
pub(super) struct ConnectionState {
    opened: Instant,
    /// Whether a response began on it.
    was_used: AtomicBool,
    /// Whether a byte came since something was last sent.
    has_received: AtomicBool,
    /// Whether the nanoservice, or the network, ended it.
    has_ended: AtomicBool,
}

/// A connection to a nanoservice, in plain text.
pub(super) struct ObservedStream {
    inner: TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>,
    state: Arc<ConnectionState>,
}

impl Connector {
    /// Connects to the addresses of a resolver.
    pub(super) fn new(resolver: Resolver, tls: rustls::ClientConfig, timeout: Duration) -> Self {
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(timeout));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions();
        Self { https: https.wrap_connector(http), timeout }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<ObservedStream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, timeout) = (self.https.call(uri), self.timeout);
        async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            let stream = tokio::time::timeout(timeout, connecting).await.map_err(late)??;
            Ok(TokioIo::new(ObservedStream { inner: TokioIo::new(stream), state: Arc::new(ConnectionState::new()) }))
        }
        .boxed()
    }
}

impl ConnectionState {
    fn new() -> Self {
        Self {
            opened: Instant::now(),
            was_used: AtomicBool::new(false),
            has_received: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        }
    }

    /// A response began.
    pub(super) fn mark_used(&self) {
        self.was_used.store(true, Ordering::Relaxed);
    }

    /// Whether it was open before a request that began at this instant was sent on it.
    pub(super) fn is_older_than(&self, request: Instant) -> bool {
        self.was_used.load(Ordering::Relaxed) || self.opened < request
    }

    /// Whether a byte came since something was last sent.
    pub(super) fn has_received(&self) -> bool {
        self.has_received.load(Ordering::Relaxed)
    }

    /// Whether the nanoservice, or the network, ended it.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    fn observe<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.has_ended.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Connection for ObservedStream {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(Arc::clone(&self.state))
    }
}

impl AsyncRead for ObservedStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, has_room) = (buf.filled().len(), buf.remaining() > 0);
        let result = ready!(Pin::new(&mut self.inner).poll_read(context, buf));
        if buf.filled().len() > before {
            self.state.has_received.store(true, Ordering::Relaxed);
        } else if has_room {
            self.state.has_ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for ObservedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.state.has_received.store(false, Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_write(context, buf).map(|result| self.state.observe(result))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.state.has_received.store(false, Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_write_vectored(context, bufs).map(|result| self.state.observe(result))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context).map(|result| self.state.observe(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
